"""The figures of weight decay: idle values against the predicted rate, and what is kept at each decay."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.laws.parsimony.decay.measures import (
    LEAST_IDLE,
    closed_form,
    is_case_1,
    is_followed,
    thresholds,
)
from experiments.runner import plots
from experiments.runner.runs import Run, find, grouped
from lawlib.theory.parsimony_decay import kept_decay, kept_value

__all__ = ["CAPTIONS", "figures"]

# What each picture shows, by patterns of names.
CAPTIONS = {
    "idle_values": (
        "Idle singular value over the steps on a log axis, a panel for each variant and a curve for each weight "
        "decay. The black line, the prediction rho(t), runs inside every measured curve. More decay empties the idle "
        "directions faster."
    ),
    "kept_values": (
        "Leading singular values at the end of training over the weight decay, a panel for each variant. Dots are "
        "members and layers, curves the predicted roots, and dotted lines the decay beyond which a value of the "
        "target is lost. The dots follow the curves and are 0 beyond the dotted lines; from a small start that is "
        "not aligned with the target a value can be lost earlier."
    ),
}

MOST_CURVES = 5
DRAWN_FLOOR = 1e-9


def figures(found: Sequence[Run]) -> dict[str, Figure]:
    """Idle values over time, and kept singular values over the decay, a panel for each variant."""
    families = list(grouped(find(found, precision="float64"), lambda run: run.variant).values())
    if not families:
        return {}
    return {
        "idle_values": _panels(families, _idle, "step t", "idle singular value"),
        "kept_values": _panels(families, _kept, "weight decay λ / λ*", "leading singular values at the end"),
    }


def _panels(families: list[list[Run]], draw: Callable[[Axes, list[Run]], None], below: str, beside: str) -> Figure:
    """A panel for each variant, with one legend for all."""
    columns = min(3, len(families))
    rows = -(-len(families) // columns)
    drawn = plots.figure(3.6 * columns, 3.2 * rows + 0.9)
    axes = drawn.subplots(rows, columns, sharey=True, squeeze=False)
    for place, family in zip(axes.flat, families, strict=False):
        draw(place, family)
        place.set_title(_title(family[0]))
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


def _title(run: Run) -> str:
    net, start = run.config.net, {"independent": "", "aligned": ", aligned"}[run.config.net.start]
    return f"Case {run.config.data.case}, L = {net.depth}, ε = {net.scale:g}{start}"


def _idle(axes: Axes, family: list[Run]) -> None:
    """The first layer's idle value of all members, the closed form over it, and the factor 1 - eta lambda alone."""
    shown, _ = plots.some(len(family), MOST_CURVES, "decays")
    for look, place in zip(plots.looks(len(shown)), shown, strict=True):
        run = family[place]
        values = np.where(run.all("idle_value")[..., 0] > DRAWN_FLOOR, run.all("idle_value")[..., 0], np.nan)
        label = f"measured, λ/λ* = {run.config.opt.decay_ratio:g}"
        plots.band(axes, run.steps, values, linewidth=4, label=label, **look.curve)
        form = closed_form(run) if is_case_1(run) else run.all("rho")[0]
        inside = form > DRAWN_FLOOR
        axes.plot(run.steps[inside], form[inside], color="black", linewidth=0.9, label="closed form of ρ(t)")
    axes.axhline(LEAST_IDLE, color="grey", linestyle=":", linewidth=1.0, label="judged above 1e-6")
    axes.set_yscale("log")


def _kept(axes: Axes, family: list[Run]) -> None:
    """Each layer's leading values of every member, the roots, and the decay at which each is lost."""
    first, ratios = family[0], np.array([run.config.opt.decay_ratio for run in family])
    net, values = first.config.net, first.config.data.spectrum
    unit = kept_decay(values[0], scale=net.scale, depth=net.depth)
    fine = np.linspace(0, 1.02 * ratios.max(), 400)
    root = "largest root" if is_followed(first) else "largest root from an aligned start"
    looks = plots.looks(len(values))
    for place, (look, value, limit) in enumerate(zip(looks, values, thresholds(first), strict=True)):
        curve = [kept_value(value, weight_decay=ratio * unit, scale=net.scale, depth=net.depth) for ratio in fine]
        axes.plot(fine, curve, label=f"{root}, σ = {value:g}", **look.curve)
        axes.axvline(limit, color=look.colour, linestyle=":", linewidth=1.0)
        for run in family:
            dots = run.last("leading_values")[..., place].ravel()
            axes.plot(np.full(dots.size, run.config.opt.decay_ratio), dots, "o", color=look.colour, markersize=3)
    axes.plot([], [], "o", color="black", markersize=3, label="every member and layer")
    axes.plot([], [], ":", color="black", linewidth=1.0, label="λ* of each σ")
