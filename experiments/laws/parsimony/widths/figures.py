"""The figures of layers of any widths: what is left of each layer without its idle part, and idle values over time."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.laws.parsimony.widths.measures import naive, predicted
from experiments.runner import plots
from experiments.runner.runs import Run, find, grouped

__all__ = ["CAPTIONS", "figures"]

# What each picture shows, by patterns of names.
CAPTIONS = {
    "directions": (
        "Singular values of every layer without its idle part at the end, by index on a log axis, a panel for each "
        "list of widths. Coloured lines mark how many directions of each layer the law says learn; the grey line is "
        "2r, as in square layers. Beyond its line a layer's values drop to floating-point error."
    ),
    "idle_deviations": (
        "Distance of the measured idle value from the predicted rho(t) over the steps on a log axis, a panel for "
        "each list of widths and a curve for each momentum and weight decay. All curves stay below the bound "
        "(dashed), at floating-point error."
    ),
}

LETTERS = {"weight_decay": "λ", "momentum": "μ", "step_size": "η"}
MOST_COLUMNS = 4


def figures(found: Sequence[Run]) -> dict[str, Figure]:
    """The spectrum without the idle part, and both idle values over time, a panel for each variant."""
    families = list(grouped(find(found, precision="float64"), lambda run: run.variant).values())
    if not families:
        return {}
    spectrum = ("index i, descending", "σᵢ of a layer without its idle part, at the end")
    return {"directions": _panels(families, _directions, *spectrum)} | {
        "idle_deviations": _panels(families, _idle, "step t", "|idle value − ρ(t)| of eqs. 6, 7")
    }


def _panels(families: list[list[Run]], draw: Callable[[Axes, list[Run]], None], below: str, beside: str) -> Figure:
    """A panel for each variant, with one legend for all."""
    columns = min(MOST_COLUMNS, len(families))
    rows = -(-len(families) // columns)
    drawn = plots.figure(3.1 * columns, 3.1 * rows + 1.0)
    axes = drawn.subplots(rows, columns, sharey=True, squeeze=False)
    for place, family in zip(axes.flat, families, strict=False):
        draw(place, family)
        place.set_title("-".join(map(str, family[0].config.net.widths)))
    for place in axes.flat[len(families) :]:
        place.set_axis_off()
    for place in axes[-1]:
        place.set_xlabel(below)
    plots.label_rows(axes, [beside] * rows)
    handles = {
        label: line for place in axes.flat for line, label in zip(*place.get_legend_handles_labels(), strict=True)
    }
    drawn.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=4)
    return drawn


def _directions(axes: Axes, family: list[Run]) -> None:
    """Each layer's values of all members, the number that the law predicts, and that of square layers."""
    first = family[0]
    moved = predicted(first).moved
    for layer, look in enumerate(plots.looks(len(moved))):
        for run in family:
            values = np.maximum(run.last("remainder_values")[:, layer], plots.LOG_FLOOR)
            index = np.broadcast_to(np.arange(1, values.shape[1] + 1) + 0.15 * (layer - 1), values.shape)
            axes.semilogy(
                index.ravel(), values.ravel(), ".", color=look.colour, markersize=2.5, label=f"layer {layer + 1}"
            )
        label = f"law, layer {layer + 1}"
        axes.axvline(moved[layer] + 0.5 + 0.15 * (layer - 1), color=look.colour, linewidth=1.0, label=label)
    square = naive(first).max() + 0.5
    axes.axvline(square, color="black", linestyle=":", linewidth=1.2, label="2r, as in square layers")
    axes.set_xlim(0, 1.6 * moved.max() + 4)


def _idle(axes: Axes, family: list[Run]) -> None:
    """The layer farthest off of all members."""
    for look, run in zip(plots.looks(len(family)), family, strict=True):
        setting = ", ".join(
            f"{LETTERS[path.split('.')[-1]]} = {value:g}" for path, value in run.hyperparameters.items()
        )
        off = np.maximum(run.all("idle_deviation").max(2), plots.LOG_FLOOR)
        plots.band(axes, run.steps, off, label=setting or "idle values off their recursions", **look.curve)
    axes.axhline(1e-12, color="black", linestyle="--", linewidth=1.0, label="bound 1e-12")
    axes.set_yscale("log")
