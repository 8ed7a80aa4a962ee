"""The figures of the law of parsimony: every layer over time, and every member's distance from the law."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.laws.parsimony.theorem.measures import (
    REAL,
    by_condition,
    deviation,
    deviations,
    final_block,
    final_excess,
    final_tilt,
)
from experiments.runner import plots
from experiments.runner.runs import Run, find, grouped

__all__ = ["CAPTIONS", "figures"]

# What each picture shows, by patterns of names.
CAPTIONS = {
    "layers_*": (
        "Maps and curves of every layer over the steps, a column for each layer. The maps show each singular value "
        "minus rho(t), white where they are equal, and the angle of each singular vector to the idle subspace known "
        "at initialization, dark where it is 0. Below, the predicted rho(t) is drawn over the measured idle value, "
        "and then the deviations from the law: floating-point error where the law is exact, and more where data are "
        "not whitened."
    ),
    "deviations": (
        "Strip plot with a row for each variant and a tick for each member: its worst deviation from the law over "
        "all layers and steps, on a log axis. The black lines are the bounds for float64 and, where such members "
        "were run, float32. The law holds where all ticks of a precision are left of its bound."
    ),
    "condition": (
        "Log-log plots of three deviations from the law over kappa - 1, where kappa is the condition number of the "
        "data: the first idle singular value, the blocks, and the angle of the idle subspaces. Whitened data "
        "(dashed) give floating-point error. Away from there each deviation grows, while it is small about as a "
        "power of log kappa (dotted)."
    ),
}

IMAGES = {"digits": "handwritten digits", "fashion_mnist": "Fashion-MNIST"}
LETTERS = {"weight_decay": "λ", "momentum": "μ", "scale": "ε", "step_size": "η"}
# What is drawn over the condition number, and the power of log kappa that it follows near kappa = 1.
OVER_CONDITION = {
    "σ₂ᵣ₊₁(W(t) − ρ(t)/ε W(0)), power 2": (final_excess, 2),
    "blocks off [W̃ 0; 0 ρI], power 1": (final_block, 1),
    "largest angle of an idle subspace (rad), power 1": (final_tilt, 1),
}
LABELS = {
    "idle_deviation": "|repeated value − ρ(t)|",
    "block_deviation": "blocks off [W̃ 0; 0 ρI]",
    "excess": "σ₂ᵣ₊₁(W(t) − ρ(t)/ε W(0))",
    "readout_leak": "last layer on idle directions",
}


def figures(found: Sequence[Run]) -> dict[str, Figure]:
    """All layers of one member of every float64 variant, and every member's deviations in one picture."""
    conditioned = find(found, precision="float64", data__source="conditioned")
    if conditioned:
        return {"condition": _condition(conditioned)}
    variants = grouped(find(found, precision="float64"), lambda run: run.variant)
    drawn = {f"layers_{variant}": _layers(family) for variant, family in variants.items()}
    whitened = find(found, data__whiten=True)
    return drawn | ({"deviations": _deviations(whitened)} if whitened else {})


def _layers(family: list[Run]) -> Figure:
    """A column for each layer, time along every axis: spectrum, angles, rho, deviations (Figures 3, 8, 9, 10)."""
    run, config = family[0], family[0].config
    steps, num_layers = run.steps, run.data.sizes["layer"]
    drawn = plots.figure(3.1 * num_layers + 2.8, 11.0)
    drawn.suptitle(_title(run))
    rows = drawn.subplots(5, num_layers, sharex=True, sharey="row", squeeze=False, height_ratios=(1.3, 1, 1, 1.1, 1.1))
    moves = run.all("singular_values")[0] - np.abs(run.all("rho")[0])[:, None, None]
    plots.heat(rows[0], steps, moves.transpose(1, 2, 0), "singular value − ρ(t)")
    for row, side, frame in ((rows[1], "right", "V₂"), (rows[2], "left", "U₂")):
        angles = np.degrees(run.all(f"{side}_angles")[0].transpose(1, 2, 0))
        angles[..., steps == 0] = np.nan  # all values coincide at the start: its singular vectors mean nothing
        plots.heat(row, steps, angles, f"angle of {side} vector\nto span {frame} (degrees)", limits=(0, 90))
    curves = {label: deviations(run, name)[0] for name, label in LABELS.items() if name != "readout_leak"}
    for layer in range(num_layers):
        rows[0, layer].set_title(f"layer {layer + 1}")
        _rho_panel(rows[3, layer], family, layer)
        own = {label: values[:, layer] for label, values in curves.items()}
        plots.series(rows[4, layer], steps, own, bound=1e-12 if config.data.whiten else None)
    # The colour bar beside a single column is the narrowest.
    plots.legends_beside(rows[3:], 0.75 if num_layers > 1 else 0.4)
    deviation_axis = "deviation / σ₁" if config.data.source in REAL else "deviation"
    names = ("index i, descending", "index i", "index i", "idle singular value", deviation_axis)
    plots.label_rows(rows, names)
    plots.time_axis(rows, config.observe.spacing)
    return drawn


def _title(run: Run) -> str:
    config, data = run.config, run.config.data
    kind = {"low_rank": f"rank-{data.rank} target (Case 1)", **IMAGES}.get(data.source, "Gaussian data")
    whitened = ", whitened (Case 2)" if data.whiten else ", not whitened"
    size = f"d = {config.net.width}, L = {config.net.depth}, 2r = {2 * data.rank}"
    member = ", ".join(filter(None, ("seed 0", _setting(run))))
    return f"{kind}{'' if data.source == 'low_rank' else whitened}: {size}\nmaps and deviations: {member}"


def _setting(run: Run) -> str:
    """The run's values of the swept fields."""
    return ", ".join(f"{LETTERS[path.split('.')[-1]]} = {value:g}" for path, value in run.hyperparameters.items())


def _rho_panel(axes: Axes, family: list[Run], layer: int) -> None:
    """The measured idle value, wide and in colour, under the predicted rho, thin and black, for each setting."""
    for place, (look, run) in enumerate(zip(plots.looks(len(family)), family, strict=True)):
        label = f"measured {_setting(run)}".strip()
        axes.plot(run.steps, run.all("idle_value")[0, :, layer], linewidth=4, alpha=0.6, label=label, **look.curve)
        predicted = None if place else "predicted ρ(t)"
        axes.plot(run.steps, np.abs(run.all("rho")[0]), color="black", linewidth=0.9, label=predicted)


def _deviations(found: list[Run]) -> Figure:
    """Every member's worst deviation over layers and steps, variant by variant."""
    variants = grouped(found, lambda run: run.variant)
    drawn = plots.figure(9.0, 0.55 * len(variants) + 1.4)
    axes = drawn.subplots()
    for place, (name, label) in enumerate(LABELS.items()):
        members = [[deviation(run, name) for run in family if name in run.data] for family in variants.values()]
        values = [np.concatenate(each) if each else np.empty(0) for each in members]
        if any(value.size for value in values):
            plots.strip(axes, values, colour=plots.COLOURS[place], offset=0.18 * (place - 1.5), label=label)
    for precision, bound, line in (("float64", 1e-12, "--"), ("float32", 2e-4, ":")):
        if find(found, precision=precision):
            axes.axvline(bound, color="black", linestyle=line, linewidth=1.0, label=f"bound, {precision}")
    sizes = {variant: sum(run.num_seeds for run in family) for variant, family in variants.items()}
    plots.name_rows(axes, [f"{variant} ({size} members)" for variant, size in sizes.items()])
    axes.set_xlabel("a member's worst deviation from the law over layers and steps (real data: relative to σ₁)")
    drawn.legend(loc="outside upper center", ncols=3)
    return drawn


def _condition(found: list[Run]) -> Figure:
    """Three distances from the law at the end over kappa - 1, of each depth, with their powers and values at 1."""
    depths = grouped(found, "net.depth")
    drawn = plots.figure(12.0, 4.6)
    panels = drawn.subplots(1, len(OVER_CONDITION))
    for axes, (name, (of, power)) in zip(panels, OVER_CONDITION.items(), strict=True):
        known, beyond = False, False
        for look, (depth, family) in zip(plots.looks(len(depths)), depths.items(), strict=True):
            conditions, values = by_condition(family, of)
            _over_condition(axes, conditions, np.maximum(values, plots.LOG_FLOOR), power, f"L = {depth}", look)
            known |= bool(np.isfinite(values).any())
            beyond |= bool(np.isfinite(values[conditions > 1]).any())
        # A log axis needs a positive number: none is beyond kappa = 1 alone, or where every member diverged.
        axes.set_xscale("log" if beyond else "linear")
        axes.set_yscale("log" if known else "linear")
        axes.set_xlabel("κ − 1, κ the condition number of X Xᵀ")
        axes.set_ylabel(name)
    handles = {label: line for line, label in zip(*panels[0].get_legend_handles_labels(), strict=True)}
    drawn.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=len(depths))
    return drawn


def _over_condition(
    axes: Axes, conditions: np.ndarray, values: np.ndarray, power: int, depth: str, look: plots.Look
) -> None:
    """All members, a power of log kappa through the first median, and the median at kappa = 1."""
    beyond = conditions > 1
    axes.plot([], [], label=depth, **look.curve)
    if beyond.any():
        size, first = conditions[beyond] - 1, np.log(conditions[beyond])
        plots.band(axes, size, values[beyond].T, marker="o", markersize=3, **look.curve)
        through = np.median(values[beyond][0]) * (first / first[0]) ** power
        axes.plot(size, through, color=look.colour, linestyle=":", linewidth=1.0, label=f"{depth}: power of log κ")
    for floor in values[~beyond]:
        at_one = {"color": look.colour, "linestyle": "--", "linewidth": 1.0, "label": f"{depth}: κ = 1"}
        axes.axhline(np.median(floor), **at_one)
