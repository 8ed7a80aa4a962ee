"""The figures of landscape and limits: where flows end, the Hessian at stationary points, the slack of the lemmas."""

from collections.abc import Iterator

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from experiments.laws.induced_flow.landscape.claims import started
from experiments.runner import plots
from experiments.runner.results import Group, groups

__all__ = ["figures"]

BALANCED, UNBALANCED = "balanced, in $N_α$", "unbalanced, in $N_α$"
NEGATIVE, OPPOSITE = "balanced, mildly against $Z_1$", "balanced, exactly against Z"
NOT_DRAWN = "unbalanced, mildly against $Z_1$"


def figures(results: xr.DataTree) -> dict[str, Figure]:
    """A figure for each study that was run."""
    found = groups(results)
    flowing = [g for g in found if g.config.study == "convergence" and g.config.start.rank == 1]
    states = [g for g in found if g.config.study == "states"]
    points = [g for g in found if g.config.study == "stationary"]
    drawn = {}
    if flowing:
        drawn["convergence"] = _convergence(flowing)
    if states:
        drawn["lemmas"] = _lemmas(states)
    if points:
        drawn["stationary"] = _stationary(points)
    return drawn


def _convergence(flowing: list[Group]) -> Figure:
    """A panel for each kind of start: every member's distance to Z_1 on the clock, a colour for each depth."""
    parts = [part for g in flowing for part in started(g)]
    depths = sorted({_depth(g) for g in parts})
    look = dict(zip(depths, plots.looks(len(depths)), strict=True))
    kinds = [kind for kind in (BALANCED, NEGATIVE, OPPOSITE, UNBALANCED) if any(_kind(g) == kind for g in parts)]
    drawn = plots.figure(3.4 * len(kinds), 3.4)
    row = drawn.subplots(1, len(kinds), squeeze=False)[0]
    for axes, kind in zip(row, kinds, strict=True):
        # Against Z the distance stays above s_Z, and what goes to 0 is W.
        seen, label = ("value", "s / $s_Z$") if kind == OPPOSITE else ("distance", "‖$Z_1$ − W‖ / $s_Z$")
        for g in (g for g in parts if _kind(g) == kind):
            lines, x = (g.data[name].transpose("seed", "step").values for name in (seen, "rescaled_time"))
            own = look[_depth(g)].curve
            axes.semilogy(_rescaled_time(x), np.maximum(lines, plots.LOG_FLOOR).T, linewidth=0.5, alpha=0.5, **own)
            axes.plot([], [], label=f"N = {_depth(g)}: {len(lines)} starts", **own)
        axes.set_title(kind)
        axes.set_xlabel("clock x = m $s_Z^{2−2/N}$ t")
        axes.set_ylabel(label)
        axes.legend(fontsize=7)
    return drawn


def _depth(g: Group) -> int:
    return len(g.config.net.widths) - 1


def _rescaled_time(members: np.ndarray) -> np.ndarray:
    """The clock that all members share: of the first that is whole."""
    return members[int(np.isfinite(members).sum(1).argmax())]


def _kind(g: Group) -> str:
    """What kind of start a group has."""
    start = g.config.start
    if start.least >= g.config.bound.alpha:
        return BALANCED if start.skew == 1 else UNBALANCED
    if start.skew != 1:
        return NOT_DRAWN
    return OPPOSITE if start.least == -1 else NEGATIVE


def _lemmas(states: list[Group]) -> Figure:
    """Histograms of what the inequalities leave: nothing may lie left of 0."""
    panels = {
        "loss_slack": ("(33)", "slack over the bound"),
        "rate_slack": ("Lemma 18", "slack over its largest term"),
        "turning": ("Lemma 23", "rate of $u^T Z_1 v$ / $s_Z$ in $N_α$, on the clock"),
    }
    drawn = plots.figure(3.5 * len(panels), 3.2)
    for axes, (name, (title, label)) in zip(drawn.subplots(1, len(panels)), panels.items(), strict=True):
        values = [(_depth(g), g.data[name].values.ravel()) for g in states]
        ends = (sign * plots.largest([sign * v for _, v in values]) for sign in (-1, 1))
        bins = np.linspace(min(0.0, next(ends)), next(ends), 40)
        for look, (depth, v) in zip(plots.looks(len(values)), values, strict=True):
            kind = {"histtype": "step", "label": f"N = {depth}, {v.size} states"}
            axes.hist(v[np.isfinite(v)], bins=list(bins), **look.curve, **kind)
        axes.axvline(0, color="black", linestyle="--", linewidth=1.0)
        axes.set_title(title)
        axes.set_xlabel(label)
        axes.set_ylabel("states")
        axes.legend(fontsize=7)
    return drawn


def _stationary(points: list[Group]) -> Figure:
    """Every stationary point: its loss above the global minimum, and the smallest eigenvalue of its Hessian."""
    drawn = plots.figure(7.5, 4.0)
    axes = drawn.subplots()
    for look, g in zip(plots.looks(len(points)), points, strict=True):
        widths = ", ".join(map(str, g.config.net.widths))
        for label, excess, smallest, face in _classes(g, look.colour):
            about = {"markerfacecolor": face, "markersize": 5, "label": f"({widths}) {label}"}
            axes.plot(excess, smallest, linestyle="", **look.points, **about)
    axes.axhline(0, color="black", linestyle="--", linewidth=1.0)
    axes.set_xlabel("($L_N$ − global minimum) / (m $s_Z^2$)")
    axes.set_ylabel("smallest eigenvalue / largest")
    axes.set_title("stationary points of linear networks, by widths $(d_x, …, d_y)$")
    drawn.legend(loc="outside right center", fontsize=7)
    return drawn


def _classes(g: Group, colour: str) -> Iterator[tuple[str, np.ndarray, np.ndarray, str]]:
    excess, smallest = (g.data[name].values for name in ("excess", "smallest"))
    full = g.data["rank"].values == min(g.config.net.widths)
    yield "full rank", excess[full], smallest[full], colour
    yield "0", excess[..., 0].ravel(), smallest[..., 0].ravel(), "none"
