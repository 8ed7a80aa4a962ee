"""The figures of four-layer smooth networks: spectra and subspaces over time, and where the change of a layer lies."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.laws.smooth_mlp.common import title
from experiments.laws.smooth_mlp.deep.measures import MATCHED_LOSS, shares, shares_matched
from experiments.laws.smooth_mlp.deep.system import METHODS
from experiments.runner import plots
from experiments.runner.runs import Run

__all__ = ["CAPTIONS", "figures"]

# What each picture shows, by patterns of names.
CAPTIONS = {
    "singular_values": (
        "All singular values of every layer over the steps, a column for each activation and a row for each layer, "
        "of one seed. With smooth activations (ELU, GELU, SiLU) the middle values (grey) stay together, and only the "
        "top and bottom K move. With ReLU and its relatives the middle ones spread too."
    ),
    "middle": (
        "Change of the middle singular subspaces over the steps on a log axis, a row for each layer, left and right "
        "subspaces, a curve for each activation; means and ranges over the seeds. With smooth activations (solid) it "
        "stays far smaller than with ReLU and its relatives (broken), whose subspaces turn toward random ones "
        "(dotted)."
    ),
    "ends": (
        "Change of the top and bottom K singular subspaces since step 1 over the steps, a row for each layer and a "
        "curve for each activation; means and ranges over the seeds. These subspaces turn with smooth activations "
        "too, though less than with ReLU and its relatives."
    ),
    "fractions": (
        "Share of each layer's change in the four blocks of its fixed bases over the training, a row for each "
        "setting and a column for each layer; means and ranges over the seeds. A first block (blue) near 1 means "
        "that the change has low rank. The dashed line is what the first block of a random subspace has."
    ),
    "final": (
        "Dot plot of the share of each layer's change that is in its first block at the end, a row for each setting, "
        "a column for each layer and a dot for each member. Dots near 1 mean that the change has low rank. Crosses "
        "are the same share for a random subspace."
    ),
    "matched": (
        "Dot plot of the share of each layer's change that is in its first block at an equal loss, a row for each "
        "setting, a column for each layer and a dot for each member. Dots near 1 mean that the change has low rank. "
        "Crosses are the same share for a random subspace."
    ),
}

# ReLU and Leaky ReLU are hard to tell apart by their curves: one has to show through the other.
STYLES = {"relu": "-.", "leaky_relu": ":", "rrelu": "--"}
SIDES = ("left, against $U_{l,2}$", "right, against $V_{l,2}$")
PARTS = {"top K": plots.COLOURS[0], "middle d − 2K": "grey", "bottom K": plots.COLOURS[1]}
BLOCKS = ("$\\tilde W_{l,1}$", "$\\tilde W_{l,2}$", "$\\tilde W_{l,3}$", "$\\tilde W_{l,4}$")
RANDOM = f"{BLOCKS[0]} of a random subspace"


def figures(found: Sequence[Run]) -> dict[str, Figure]:
    """Figures 1, 2 and 8 to 10 of the study of spectra; Figures 4 and 5, and shares at equal loss, of the others."""
    if found[0].config.study == "spectra":
        return {"singular_values": _singular_values(found), "middle": _middle(found), "ends": _ends(found)}
    if found[0].config.study == "symmetry":
        return {"fractions": _fractions(found), "matched": _dots(found, shares_matched, f"first L ≤ {MATCHED_LOSS} L₀")}
    return {"fractions": _fractions(found), "final": _dots(found, shares, f"last {_step(found)}")}


# Spectra --------------------------------------------------------------------------------------------------------------


def _singular_values(found: Sequence[Run]) -> Figure:
    """A column for each activation, a row for each layer: every singular value of seed 0."""
    num_layers = found[0].data.sizes["layer"]
    drawn = plots.figure(2.0 * len(found) + 0.8, 1.9 * num_layers + 0.9)
    rows = drawn.subplots(num_layers, len(found), sharex=True, sharey="row", squeeze=False)
    for column, run in zip(rows.T, found, strict=True):
        column[0].set_title(_name(run))
        K = run.config.data.num_classes
        for layer, axes in enumerate(column):
            values = run.all("singular_values")[0, :, layer]
            cuts = (slice(0, K), slice(K, -K), slice(-K, None))
            for (label, colour), cut in zip(PARTS.items(), cuts, strict=True):
                lines = axes.plot(run.steps, values[:, cut], color=colour, linewidth=0.8)
                lines[0].set_label(label)
    plots.label_rows(rows, [f"singular values\nof $W_{layer}$, seed 0" for layer in range(1, num_layers + 1)])
    plots.time_axis(rows, found[0].config.observe.spacing)
    drawn.legend(*rows[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return drawn


def _middle(found: Sequence[Run]) -> Figure:
    """Figures 8 to 10: the change of the middle subspaces of each side."""
    K, d = found[0].config.data.num_classes, found[0].config.data.dimension
    random = 2 * K * (d - 2 * K) / d
    levels = (
        (2 * K, "--", f"largest possible, 2K = {2 * K}"),
        (random, ":", f"random subspaces, {random:g}"),
    )
    columns = {f"middle d − 2K subspace, {side}": ("middle", place) for place, side in enumerate(SIDES)}
    return _subspaces(found, columns, levels, lambda axes: axes.set_yscale("log"))


def _ends(found: Sequence[Run]) -> Figure:
    """The change of the top and bottom K subspaces since step 1, the larger of the two sides."""
    K = found[0].config.data.num_classes
    columns = {f"{part} K subspace since step 1, larger of both sides": (part, None) for part in ("top", "bottom")}
    return _subspaces(found, columns, ((K, "--", f"largest possible, K = {K}"),), lambda axes: axes.set_ylim(0, None))


def _subspaces(
    found: Sequence[Run],
    columns: Mapping[str, tuple[str, int | None]],
    levels: Sequence[tuple[float, str, str]],
    finish: Callable[[Axes], Any],
) -> Figure:
    """A row for each layer, a column for each (variable, side), with levels to compare with."""
    num_layers = found[0].data.sizes["layer"]
    drawn = plots.figure(9.0, 2.2 * num_layers + 1.0)
    rows = drawn.subplots(num_layers, len(columns), sharex=True, sharey=True, squeeze=False)
    for layer, row in enumerate(rows):
        for axes, (variable, side) in zip(row, columns.values(), strict=True):
            _curves(axes, found, variable, layer, side)
            for level, line, label in levels:
                axes.axhline(level, color="black", linestyle=line, linewidth=1.0, label=label)
            finish(axes)
    for axes, name in zip(rows[0], columns, strict=True):
        axes.set_title(name)
    plots.label_rows(rows, [f"‖sin Θ‖²$_F$, $W_{layer}$" for layer in range(1, num_layers + 1)])
    return _finished(drawn, rows, found[0].config.observe.spacing)


def _curves(axes: Axes, found: Sequence[Run], name: str, layer: int, side: int | None) -> None:
    """The mean over the members of each activation in its range, from step 1 on; broken lines are not smooth."""
    for look, run in zip(plots.looks(len(found)), found, strict=True):
        sides = run.all(name)[:, 1:, layer]
        values = sides.max(-1) if side is None else sides[..., side]
        line = STYLES.get(run.config.net.activation, look.line) if look.line == "-" else look.line
        _band(axes, run.steps[1:], values, color=look.colour, label=_name(run), linestyle=line)


# Blocks ---------------------------------------------------------------------------------------------------------------


def _fractions(found: Sequence[Run]) -> Figure:
    """Figures 4 and 5: a row for each variant, a column for each layer, the four fractions over time."""
    num_layers = found[0].data.sizes["layer"]
    drawn = plots.figure(3.0 * num_layers + 0.8, 1.65 * len(found) + 1.0)
    rows = drawn.subplots(len(found), num_layers, sharex=True, sharey=True, squeeze=False)
    for row, run in zip(rows, found, strict=True):
        for layer, axes in enumerate(row):
            own, random = (run.all(name)[:, 1:, layer] for name in ("fractions", "random_fractions"))
            for block, (colour, label) in enumerate(zip(plots.COLOURS[: len(BLOCKS)], BLOCKS, strict=True)):
                _band(axes, run.steps[1:], own[..., block], color=colour, label=label)
            _band(axes, run.steps[1:], random[..., 0], color="black", label=RANDOM, linestyle="--")
            axes.set_ylim(-0.03, 1.03)
    for layer, axes in enumerate(rows[0], start=1):
        axes.set_title(f"$W_{layer}$")
    plots.label_rows(rows, ["\n".join(_setting(run)) for run in found])
    drawn.supylabel("share of the change since initialization", fontsize=10)
    return _finished(drawn, rows, found[0].config.observe.spacing, step=_step(found))


def _dots(found: Sequence[Run], of: Callable[[Run, str], np.ndarray], when: str) -> Figure:
    """One dot a member: block 1's share of the change of every layer at one time, and that of a random subspace."""
    num_layers = found[0].data.sizes["layer"]
    drawn = plots.figure(2.9 * num_layers + 1.4, 0.34 * len(found) + 1.5)
    row = drawn.subplots(1, num_layers, sharex=True, sharey=True, squeeze=False)[0]
    shown = (("fractions", plots.COLOURS[0], "o", "$S_{small}$"), ("random_fractions", "black", "x", "random subspace"))
    for layer, axes in enumerate(row):
        for name, colour, marker, label in shown:
            lasts = [of(run, name)[:, layer] for run in found]
            places = np.repeat(np.arange(len(found)), [len(last) for last in lasts])
            axes.plot(np.concatenate(lasts), places, marker, color=colour, markersize=3.5, alpha=0.6, label=label)
        axes.set_title(f"$W_{layer + 1}$")
        axes.set_xlim(-0.03, 1.03)
    plots.name_rows(row[0], [", ".join(_setting(run)) for run in found])
    row[num_layers // 2].set_xlabel(f"share of the change in {BLOCKS[0]} at the {when}, every member")
    drawn.legend(*row[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return drawn


# Words and curves -----------------------------------------------------------------------------------------------------


def _band(axes: Axes, steps: np.ndarray, values: np.ndarray, **look: Any) -> None:
    """The mean over the members within their range."""
    plots.band(axes, steps, values, middle=np.ma.mean, alpha=0.18, **look)


def _finished(drawn: Figure, rows: np.ndarray, spacing: str, step: str = "step") -> Figure:
    plots.time_axis(rows, spacing)
    for axes in rows[-1]:
        axes.set_xlabel(f"{step} t")
    drawn.legend(*rows[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=5)
    return drawn


def _name(run: Run) -> str:
    """The activation, and the values of swept fields."""
    return ", ".join((title(run), *(f"{path} = {value:g}" for path, value in run.hyperparameters.items())))


def _setting(run: Run) -> tuple[str, str]:
    """What tells the runs of a study apart."""
    config, name = run.config, _name(run)
    method = METHODS[config.opt.method] + (f", momentum {config.opt.momentum:g}" if config.opt.method == "sgd" else "")
    if config.study == "symmetry":
        return name, {"sgd": "GD"}.get(config.opt.method, METHODS[config.opt.method])
    if config.study == "deep":
        return name, f"d = {config.data.dimension}, N = {config.data.num_samples}"
    if config.data.source == "digits":
        return "whitened digits" if config.data.whiten else "digits", f"{name}, {method}"
    return name, method


def _step(found: Sequence[Run]) -> str:
    return "epoch" if found[0].config.opt.batch_size < found[0].config.data.num_samples else "step"
