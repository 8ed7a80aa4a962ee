"""The figures of landscape and limits: where flows end, the Hessian at stationary points, the slack of the lemmas."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from experiments.laws.induced_flow.landscape.measures import (
    INSIDE,
    NEGATIVE,
    OPPOSITE,
    UNBALANCED,
    full_rank,
    start,
)
from experiments.runner import plots
from experiments.runner.runs import Run, find, grouped

__all__ = ["CAPTIONS", "figures"]

# What each picture shows, by patterns of names.
CAPTIONS = {
    "convergence": (
        "Distance to the optimum over rescaled time on a log axis, a line for each start, a panel for each kind of "
        "start. Flows from inside N_alpha converge exponentially, and so do balanced ones that begin mildly against "
        "Z_1. From starts exactly against Z the flow goes to 0 instead; that panel shows its size s."
    ),
    "lemmas": (
        "Histograms of the slack of three inequalities over many states: (33), Lemma 18 and Lemma 23. No state is "
        "left of the dashed line at 0, so that all three hold."
    ),
    "stationary": (
        "Scatter plot of stationary points: smallest eigenvalue of the Hessian over the loss above the global "
        "minimum, a marker for each list of widths, hollow for the point 0. Points of full rank above the minimum "
        "have a negative eigenvalue: they are strict saddles. The point 0 has none in the networks with three and "
        "more layers."
    ),
}

TITLES = {
    INSIDE: "balanced, in $N_α$",
    NEGATIVE: "balanced, mildly against $Z_1$",
    OPPOSITE: "balanced, exactly against Z",
    UNBALANCED: "unbalanced, in $N_α$",
}


def figures(found: Sequence[Run]) -> dict[str, Figure]:
    """A figure for each study that was run."""
    flowing = [run for run in found if start(run)]
    states, points = find(found, study="states"), find(found, study="stationary")
    drawn = {"convergence": _convergence(flowing)} if flowing else {}
    drawn |= {"lemmas": _lemmas(states)} if states else {}
    return drawn | ({"stationary": _stationary(points)} if points else {})


def _convergence(flowing: Sequence[Run]) -> Figure:
    """A panel for each kind of start: every member's distance to Z_1 over x, a colour for each depth."""
    depths = sorted({_depth(run) for run in flowing})
    look = dict(zip(depths, plots.looks(len(depths)), strict=True))
    by_kind = grouped(flowing, start)
    kinds = [kind for kind in TITLES if kind in by_kind]
    drawn = plots.figure(3.4 * len(kinds), 3.4)
    for axes, kind in zip(drawn.subplots(1, len(kinds), squeeze=False)[0], kinds, strict=True):
        # Against Z the distance stays above s_Z, and W is what goes to 0.
        seen, label = ("value", "s / $s_Z$") if kind == OPPOSITE else ("distance", "‖$Z_1$ − W‖ / $s_Z$")
        for run in by_kind[kind]:
            lines, own = np.maximum(run.all(seen), plots.LOG_FLOOR), look[_depth(run)].curve
            axes.semilogy(run.steps * run.config.opt.interval, lines.T, linewidth=0.5, alpha=0.5, **own)
            axes.plot([], [], label=f"N = {_depth(run)}: {len(lines)} starts", **own)
        axes.set_title(TITLES[kind])
        axes.set_xlabel("rescaled time x = m $s_Z^{2−2/N}$ t")
        axes.set_ylabel(label)
        axes.legend(fontsize=7)
    return drawn


def _depth(run: Run) -> int:
    return len(run.config.net.widths) - 1


def _lemmas(states: Sequence[Run]) -> Figure:
    """Histograms of the slack of the inequalities: nothing may lie left of 0."""
    panels = {
        "loss_slack": ("(33)", "slack over the bound"),
        "rate_slack": ("Lemma 18", "slack over its largest term"),
        "turning": ("Lemma 23", "rate of $u^T Z_1 v$ / $s_Z$ in $N_α$, per x"),
    }
    drawn = plots.figure(3.5 * len(panels), 3.2)
    for axes, (name, (title, label)) in zip(drawn.subplots(1, len(panels)), panels.items(), strict=True):
        values = [(_depth(run), run.all(name).ravel()) for run in states]
        low, high = (sign * plots.largest([sign * v for _, v in values]) for sign in (-1, 1))
        bins = np.linspace(min(0.0, low), high, 40)
        for look, (depth, v) in zip(plots.looks(len(values)), values, strict=True):
            kind = {"histtype": "step", "label": f"N = {depth}, {v.size} states"}
            axes.hist(v[np.isfinite(v)], bins=list(bins), **look.curve, **kind)
        axes.axvline(0, color="black", linestyle="--", linewidth=1.0)
        axes.set_title(title)
        axes.set_xlabel(label)
        axes.set_ylabel("states")
        axes.legend(fontsize=7)
    return drawn


def _stationary(points: Sequence[Run]) -> Figure:
    """Every stationary point: its loss above the global minimum, and the smallest eigenvalue of its Hessian."""
    drawn = plots.figure(7.5, 4.0)
    axes = drawn.subplots()
    for look, run in zip(plots.looks(len(points)), points, strict=True):
        widths, full = ", ".join(map(str, run.config.net.widths)), full_rank(run)
        at_0 = np.zeros_like(full)
        at_0[:, 0] = True
        for label, chosen, face in (("full rank", full, look.colour), ("0", at_0, "none")):
            about = {"markerfacecolor": face, "markersize": 5, "label": f"({widths}) {label}"}
            excess, smallest = run.all("excess")[chosen], run.all("smallest")[chosen]
            axes.plot(excess, smallest, linestyle="", **look.points, **about)
    axes.axhline(0, color="black", linestyle="--", linewidth=1.0)
    axes.set_xlabel("($L_N$ − global minimum) / (m $s_Z^2$)")
    axes.set_ylabel("smallest eigenvalue / largest")
    axes.set_title("stationary points of linear networks, by widths $(d_x, …, d_y)$")
    drawn.legend(loc="outside right center", fontsize=7)
    return drawn
