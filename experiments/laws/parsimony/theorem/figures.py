"""The figures of the law of parsimony: every layer over time, and every member's distance from the law."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from experiments.runner import plots
from experiments.runner.results import Group, groups

__all__ = ["deviation", "figures"]

REAL = {"digits": "handwritten digits", "fashion_mnist": "Fashion-MNIST"}
LETTERS = {"weight_decay": "λ", "momentum": "μ", "scale": "ε", "step_size": "η"}
LABELS = {
    "idle_deviation": "|repeated value − ρ(t)|",
    "block_deviation": "blocks off [W̃ 0; 0 ρI]",
    "excess": "σ₂ᵣ₊₁(W(t) − ρ(t)/ε W(0))",
    "readout_leak": "last layer on idle directions",
}


def deviation(group: Group, name: str) -> np.ndarray:
    """Each member's worst distance from the law over layers and steps, as ``_judged`` takes it."""
    return group.per_member(_judged(group.data, name, group.config))


def _judged(data: xr.Dataset, name: str, config: ConfigDict) -> xr.DataArray:
    """A distance from the law; on real data relative to sigma_1 of the layer at that step."""
    return data[name] / data.singular_values.isel(index=0) if config.data.source in REAL else data[name]


def figures(results: xr.DataTree) -> dict[str, Figure]:
    """All layers of one member of every float64 variant, and every member's deviations in one picture."""
    found = groups(results)
    drawn = {f"layers_{group.name}": _layers(group) for group in found if group.config.precision == "float64"}
    whitened = [group for group in found if group.config.data.whiten]
    return drawn | ({"deviations": _deviations(whitened)} if whitened else {})


def _layers(group: Group) -> Figure:
    """A column for each layer, time along every axis: spectrum, angles, rho, deviations (Figures 3, 8, 9, 10)."""
    config, steps = group.config, group.data.step.values
    member = group.data.isel(dict.fromkeys(group.hyperparameters, 0)).isel(seed=0)
    num_layers = member.sizes["layer"]
    drawn = plots.figure(3.1 * num_layers + 2.8, 11.0)
    drawn.suptitle(_title(config, member, group.hyperparameters))
    rows = drawn.subplots(5, num_layers, sharex=True, sharey="row", squeeze=False, height_ratios=(1.3, 1, 1, 1.1, 1.1))
    moves = (member.singular_values - np.abs(member.rho)).transpose("layer", "index", "step").values
    plots.heat(rows[0], steps, moves, "singular value − ρ(t)")
    for row, side, frame in ((rows[1], "right", "V₂"), (rows[2], "left", "U₂")):
        angles = np.degrees(member[f"{side}_angles"].transpose("layer", "index", "step").values)
        angles[..., steps == 0] = np.nan  # all values coincide at the start: its singular vectors mean nothing
        plots.heat(row, steps, angles, f"angle of {side} vector\nto span {frame} (degrees)", limits=(0, 90))
    for layer in range(num_layers):
        one = member.isel(layer=layer)
        rows[0, layer].set_title(f"layer {layer + 1}")
        _rho_panel(rows[3, layer], group, layer)
        layered = {name: label for name, label in LABELS.items() if name != "readout_leak"}
        curves = {label: _judged(one, name, config).values for name, label in layered.items()}
        plots.series(rows[4, layer], steps, curves, bound=1e-12 if config.data.whiten else None)
    # The colour bar beside a single column is the narrowest.
    plots.legends_beside(rows[3:], 0.75 if num_layers > 1 else 0.4)
    plots.label_rows(
        rows,
        (
            "index i, descending",
            "index i",
            "index i",
            "idle singular value",
            "deviation / σ₁" if config.data.source in REAL else "deviation",
        ),
    )
    plots.time_axis(rows, config.observe.spacing)
    return drawn


def _title(config: ConfigDict, member: xr.Dataset, hyperparameters: list[str]) -> str:
    kinds = {"low_rank": f"rank-{config.data.rank} target (Case 1)", **REAL}
    whitened = {"low_rank": ""}.get(
        config.data.source, ", whitened (Case 2)" if config.data.whiten else ", not whitened"
    )
    size = f"d = {config.net.width}, L = {config.net.depth}, 2r = {2 * config.data.rank}"
    drawn = ", ".join(
        [
            "seed 0",
            *(f"{LETTERS[hyperparameter]} = {float(member[hyperparameter]):g}" for hyperparameter in hyperparameters),
        ]
    )
    return f"{kinds.get(config.data.source, 'Gaussian data')}{whitened}: {size}\nmaps and deviations: {drawn}"


def _rho_panel(axes: Axes, group: Group, layer: int) -> None:
    """The idle value as measured, wide and in colour, under rho as predicted, thin and black, for each sweep."""
    seed = group.data.isel(seed=0, layer=layer)
    places = list(np.ndindex(*(seed.sizes[hyperparameter] for hyperparameter in group.hyperparameters)))
    for look, place in zip(plots.looks(len(places)), places, strict=True):
        one = seed.isel(dict(zip(group.hyperparameters, place, strict=True)))
        label = ", ".join(
            f"{LETTERS[hyperparameter]} = {float(one[hyperparameter]):g}" for hyperparameter in group.hyperparameters
        )
        axes.plot(one.step, one.idle_value, linewidth=4, alpha=0.6, label=f"measured {label}".strip(), **look.curve)
        axes.plot(
            one.step, np.abs(one.rho), color="black", linewidth=0.9, label=None if any(place) else "predicted ρ(t)"
        )


def _deviations(found: list[Group]) -> Figure:
    """Every member's worst deviation over layers and steps, variant by variant."""
    drawn = plots.figure(9.0, 0.55 * len(found) + 1.4)
    axes = drawn.subplots()
    for place, (name, label) in enumerate(LABELS.items()):
        values = [deviation(group, name) if name in group.data else np.empty(0) for group in found]
        if any(value.size for value in values):
            plots.strip(axes, values, colour=plots.COLOURS[place], offset=0.18 * (place - 1.5), label=label)
    for precision, bound, line in (("float64", 1e-12, "--"), ("float32", 2e-4, ":")):
        if any(group.config.precision == precision for group in found):
            axes.axvline(bound, color="black", linestyle=line, linewidth=1.0, label=f"bound, {precision}")
    plots.name_rows(axes, [f"{group.name} ({group.data.diverged_at.size} members)" for group in found])
    axes.set_xlabel("a member's worst deviation from the law over layers and steps (real data: relative to σ₁)")
    drawn.legend(loc="outside upper center", ncols=3)
    return drawn
