"""The figures of other optimizers: spectra over time, distances from the law, and how fast directions leave it."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.laws.parsimony.optimizers.measures import BOUNDS, MARGIN, alone, by_method, deviation, share
from experiments.laws.parsimony.optimizers.methods import METHODS, is_equivariant
from experiments.runner import plots
from experiments.runner.runs import Run, find

__all__ = ["CAPTIONS", "figures"]

# What each picture shows, by patterns of names.
CAPTIONS = {
    "deviations": (
        "Strip plot with a row for each optimizer and a tick for each member: the worst sigma_{2r+1} of a layer "
        "without its idle part, on a log axis. Optimizers that commute with rotations are left of the bound of their "
        "precision (dashed). Those that act on single entries, such as Adam, are far to the right where they were "
        "run."
    ),
    "spectra": (
        "Singular values of the first layer over the steps, a panel for each optimizer. Blue dots are the 2r values "
        "farthest from the predicted idle value, grey dots those at it, and orange dots others that have left it. "
        "Orange dots appear only with optimizers that act on single entries."
    ),
    "leaving": (
        "Distance from the law over the steps, sigma_{2r+1} / sigma_1 of the worst layer without its idle part, for "
        "settings of Adam and sizes of batches; medians and ranges over the seeds. The larger Adam's epsilon, the "
        "closer it stays to the law. The smaller the batch, the farther gradient descent itself leaves it."
    ),
}

# A singular value at the idle one, one of the 2r that are farthest from it, or another one that should be idle.
IDLE, ACTIVE, ASTRAY = "grey", plots.COLOURS[0], plots.COLOURS[1]
COLUMNS = 5
SAME = 1e-9


def figures(found: Sequence[Run]) -> dict[str, Figure]:
    """Spectra of the first float64 variant with three layers, every member's distances, and the swept variants."""
    whole = [run for run in found if run.config.opt.batch_size == 0 and not run.hyperparameters]
    shown = find(whole, precision="float64", net__depth=3) or find(whole, precision="float64")
    swept = [run for run in found if run not in whole or run.hyperparameters]
    drawn = {"spectra": _spectra(shown[0])} if shown else {}
    drawn |= {"deviations": _deviations(whole)} if whole else {}
    return drawn | ({"leaving": _leaving(swept)} if swept else {})


def _spectra(run: Run) -> Figure:
    """A panel for each optimizer: every singular value of layer 1, seed 0, at every observation."""
    names = list(run.config.opt.methods)
    columns = min(COLUMNS, len(names))
    rows = -(-len(names) // columns)
    drawn = plots.figure(2.3 * columns + 0.6, 2.1 * rows + 1.2)
    panels = drawn.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, name in zip(panels.flat, names, strict=False):
        _spectrum(axes, alone(run, name))
        axes.set_title(METHODS[name].title + ("" if is_equivariant(name) else " (entrywise)"))
    for axes in panels.flat[len(names) :]:
        axes.set_axis_off()
    for axes in [column[np.flatnonzero([each.axison for each in column])[-1]] for column in panels.T]:
        axes.set_xlabel("step t")
        axes.tick_params(labelbottom=True)
    plots.label_rows(panels, ["singular values\nof $W_1$"] * rows)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside upper center", ncols=3)
    net = run.config.net
    plots.note(
        drawn, f"{run.variant}: d = {net.width}, 2r = {2 * run.config.data.rank}, layer 1 of {net.depth}, seed 0"
    )
    return drawn


def _spectrum(axes: Axes, run: Run) -> None:
    values, idle = run.all("singular_values")[0, :, 0], np.abs(run.all("idle_value")[0, :, 0])
    off, active = np.abs(values - idle[:, None]), 2 * run.config.data.rank
    farthest = np.argsort(np.argsort(-off, axis=1), axis=1) < active
    still = off <= SAME
    times = np.broadcast_to(run.steps[:, None], values.shape)
    kinds = (
        (still, IDLE, ".", "at the idle value |c(t)|"),
        (farthest & ~still, ACTIVE, "o", "the 2r farthest from it"),
        (~farthest & ~still, ASTRAY, "x", "others that have left it"),
    )
    for chosen, colour, marker, label in kinds:
        axes.plot(times[chosen], values[chosen], marker, color=colour, markersize=2.2, label=label, linestyle="none")


def _deviations(found: Sequence[Run]) -> Figure:
    """Every member's worst sigma_{2r+1} over layers and steps, optimizer by optimizer."""
    families = by_method(found, lambda name: True)
    drawn = plots.figure(8.0, 0.32 * len(families) + 1.6)
    axes = drawn.subplots()
    for place, (precision, bound) in enumerate(BOUNDS.items()):
        rows = [
            np.concatenate([deviation(run, "excess") for run in find(family, precision=precision)] or [np.empty(0)])
            for family in families.values()
        ]
        if not any(row.size for row in rows):
            continue
        colour = plots.COLOURS[place]
        plots.strip(axes, rows, colour=colour, offset=0.2 * (2 * place - 1), label=f"a member in {precision}")
        axes.axvline(bound, color=colour, linestyle="--", linewidth=1.0, label=f"bound of the law, {precision}")
    if any(not is_equivariant(name) for run in found for name in run.config.opt.methods):
        axes.axvline(
            MARGIN, color="black", linestyle=":", linewidth=1.0, label="margin of the refuted sentence (of σ₁)"
        )
    plots.name_rows(axes, list(families))
    axes.set_xlabel("worst σ₂ᵣ₊₁(W(t) − (c(t)/ε) W(0)) over layers and steps (digits: relative to σ₁)")
    drawn.legend(loc="outside upper center", ncols=3)
    return drawn


def _leaving(found: Sequence[Run]) -> Figure:
    """How much of the change is beyond 2r directions over time: a panel for each swept field, one for the batches."""
    panels: dict[str, list[tuple[str, Run]]] = {}
    for run in found:
        for name in run.config.opt.methods:
            title = METHODS[name].title
            if run.hyperparameters:
                ((path, value),) = run.hyperparameters.items()
                field = {"opt.beta_2": "β₂", "opt.epsilon": "ε of Adam"}[path]
                panels.setdefault(f"{title}, {field}", []).append((f"{field} = {value:g}", alone(run, name)))
            else:
                label = f"{title}, {run.config.opt.batch_size} of {run.config.data.num_samples}"
                panels.setdefault("samples in a batch", []).append((label, alone(run, name)))
    drawn = plots.figure(3.6 * len(panels), 4.4)
    row = drawn.subplots(1, len(panels), sharey=True, squeeze=False)
    for axes, (title, curves) in zip(row[0], panels.items(), strict=True):
        for look, (label, run) in zip(plots.looks(len(curves)), curves, strict=True):
            plots.band(axes, run.steps, share(run), label=label, **look.curve)
        axes.set_title(title)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
    plots.label_rows(row, ["σ₂ᵣ₊₁ / σ₁ of W(t) − (c(t)/ε) W(0),\nworst layer"])
    plots.time_axis(row, found[0].config.observe.spacing)
    return drawn
