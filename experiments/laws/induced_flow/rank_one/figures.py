"""The figures of the induced flow: Figure 1 of Eftekhari 2020 with Theorem 20's bounds, one time axis, nearby rates."""

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.laws.induced_flow.rank_one.measures import by_depth
from experiments.runner import plots
from experiments.runner.runs import Run, find, grouped

__all__ = ["CAPTIONS", "figures"]

# What each picture shows, by patterns of names.
CAPTIONS = {
    "distance": (
        "Log-log plots of the distance to the target over time, a panel for each scale s_Z of the target and a curve "
        "for each depth N; dashed curves are the bound of Theorem 20. Far from the target deeper networks are "
        "faster. Close to it they are slower if s_Z < 1 and faster if s_Z > 1."
    ),
    "rescaled_time": (
        "Distance over rescaled time, rate close to the target over the depth, and error of Euler's method over the "
        "depth, in three panels. In rescaled time the curves of all targets coincide for each depth, and the "
        "measured rates lie on the prediction (dashed). Half the step halves the error of Euler's method."
    ),
    "bounds": (
        "Log-log plots of the distance to the target over rescaled time, a curve for each depth N, with the bound of "
        "Theorem 20 (dashed). Every curve stays below its bound, and at late times far below."
    ),
}

# What a panel draws: runs of one s_Z by depth, of which the first seed is shown.
Panel = list[Run]


def figures(found: Sequence[Run]) -> dict[str, Figure]:
    """Figure 1 in seconds, the same over x, and how loose Theorem 20 is with a second singular value."""
    timed = by_depth(find(found, study="time"))
    single = by_depth(find(found, study="rescaled_time", data__num_outputs=1))
    several = find(found, data__num_outputs=lambda outputs: outputs > 1, data__leading_ratio_unit="largest")
    drawn = {}
    if timed:
        drawn["distance"] = _distances(timed)
    if single:
        drawn["rescaled_time"] = _rescaled_time(single, timed)
    if several:
        drawn["bounds"] = _bounds(several)
    return drawn


def _distances(timed: list[Panel]) -> Figure:
    """Figure 1: a panel for each s_Z, a colour for each depth; tau, Euler's method and the bounds of Theorem 20."""
    columns = min(3, len(timed))
    rows = -(-len(timed) // columns)
    drawn = plots.figure(3.6 * columns, 3.0 * rows + 0.7)
    grid = drawn.subplots(rows, columns, squeeze=False).ravel()
    for axes, panel in zip(grid[: len(timed)], timed, strict=True):
        _distance(axes, panel)
    for axes in grid[len(timed) :]:
        axes.set_visible(False)
    handles = [Line2D([], [], label=_depth(run), **look.curve) for look, run in _looked(timed[0])]
    step = f"explicit Euler, step {_euler_step(timed[0][0]):g} s"
    others = [("black", "--", "bound of Theorem 20, as proved"), ("0.4", ":", step)]
    handles += [Line2D([], [], color=c, ls=style, label=label) for c, style, label in others]
    handles.append(Line2D([], [], color="black", marker="o", linestyle="", markersize=4, label="τ: s = √6 $s_Z$"))
    drawn.legend(handles=handles, loc="outside upper center", ncols=4)
    return drawn


def _distance(axes: Axes, panel: Panel) -> None:
    for look, run in _looked(panel):
        names = ("seconds", "distance", "excess", "euler_distance")
        t, distance, excess, euler = (run.all(name)[0, 1:] for name in names)
        axes.loglog(t, distance, **look.curve)
        axes.loglog(t, distance * np.exp(-excess / 2), "--", color=look.colour, linewidth=0.9)
        axes.loglog(t, euler, ":", color="0.4", linewidth=1.0)
        if (tau := run.last("tau")[0]) > 0:
            there = np.exp(np.interp(np.log(tau), np.log(t), np.log(distance)))
            axes.loglog(tau, there, "o", color=look.colour, markersize=4)
    axes.set_title(_name(panel))
    axes.set_xlabel("time t (s)")
    axes.set_ylabel("‖Z − W‖ / $s_Z$")


def _rescaled_time(single: list[Panel], timed: list[Panel]) -> Figure:
    """Every s_Z over x; the nearby rate by depth; the error of Euler's method."""
    drawn = plots.figure(11.0 if timed else 7.6, 3.9)
    left, middle, *others = drawn.subplots(1, 3 if timed else 2)
    # The targets of one depth fall on one curve: each further one is thinner and drawn over the previous ones.
    for place, panel in enumerate(single):
        for look, run in _looked(panel):
            width = 3.0 - 2.4 * place / len(single)
            _curve(left, run, linewidth=width, alpha=0.7, **look.curve)
    for look, run in _looked(single[0]):
        left.plot([], [], label=_depth(run), **look.curve)
    left.set_title(f"{len(single)} targets $s_Z$ over x")
    left.set_ylabel("‖Z − W‖ / $s_Z$")
    left.legend()
    _rates(middle, single)
    names = dict.fromkeys(map(_name, (*single, *timed)))
    for right in others:
        _euler(right, timed, dict(zip(names, plots.looks(len(names)), strict=True)))
    return drawn


def _rates(axes: Axes, panels: list[Panel]) -> None:
    for look, panel in zip(plots.looks(len(panels)), panels, strict=True):
        depths = [run.config.net.depth for run in panel]
        law, rate = ([run.last(name)[0] for run in panel] for name in ("rate_law", "rate"))
        axes.semilogy(depths, law, "--", color=look.colour, linewidth=1.0)
        axes.semilogy(depths, rate, linestyle="", markersize=5, label=_name(panel), **look.points)
    x = max(run.last("rescaled_time")[0] for run in panels[0])
    axes.plot([], [], "--", color="black", linewidth=1.0, label="m $s_Z^{2−2/N}$")
    axes.set_title(f"nearby rate, at x = {x:g}")
    axes.set_xlabel("depth N")
    axes.set_ylabel("rate of ‖Z − W‖ (1/s)")
    axes.set_ylim(bottom=axes.get_ylim()[0] / 20)
    axes.legend(fontsize=7, ncols=2, loc="lower left")


def _euler(axes: Axes, timed: list[Panel], looks: dict[str, plots.Look]) -> None:
    """The largest distance of Euler's method from the flow by depth, for every s_Z and both steps."""
    for panel in timed:
        depths = [run.config.net.depth for run in panel]
        for name, style, label in (("euler", "-", _name(panel)), ("euler_halved", ":", None)):
            most = [np.fmax.reduce(run.all(name)[0]) for run in panel]
            about = {"linestyle": style, "markersize": 4, "label": label}
            axes.semilogy(depths, most, **looks[_name(panel)].points, **about)
    for step in dict.fromkeys(_euler_step(run) for panel in timed for run in panel):
        axes.plot([], [], "-", color="black", label=f"step {step:g} s")
        axes.plot([], [], ":", color="black", label=f"step {step / 2:g} s")
    axes.set_title("explicit Euler against the flow")
    axes.set_xlabel("depth N")
    axes.set_ylabel("largest ‖$W_{Euler}$ − W‖ / $s_Z$")
    axes.set_ylim(top=axes.get_ylim()[1] * 300)
    axes.legend(fontsize=6.5, ncols=2, loc="upper left")


def _bounds(several: list[Run]) -> Figure:
    """For d_y > 1: the distance and the bound over x, for the largest gamma_Z, a panel for each start."""
    panels = grouped(several, lambda run: (run.variant, run.config.start.ratio)).values()
    drawn = plots.figure(5.0 * len(panels), 4.2)
    for axes, runs in zip(drawn.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        first, most = runs[0].config, runs[-1].config.data.leading_ratio
        shown = by_depth(find(runs, data__scale=first.data.scale, data__leading_ratio=most))
        for look, run in _looked(shown[0]):
            _curve(axes, run, label=f"{_depth(run)}, γ = {run.last('gamma')[0]:.2g}", **look.curve)
            bound = run.all("distance")[0, 1:] * np.exp(-run.all("excess")[0, 1:] / 2)
            axes.loglog(run.all("rescaled_time")[0, 1:], bound, "--", color=look.colour, linewidth=0.9)
        axes.plot([], [], "--", color="black", linewidth=0.9, label="bound of Theorem 20")
        ratio, outputs = first.start.ratio, first.data.num_outputs
        axes.set_title(f"$d_y$ = {outputs}, $s_0$ = {ratio:.3g} $s_Z$, β = {first.bound.margin * ratio:.3g}")
        axes.set_ylabel("‖$Z_1$ − W‖ / $s_Z$")
        axes.legend(fontsize=7.5, loc="lower left")
    return drawn


def _curve(axes: Axes, run: Run, **look: object) -> None:
    """The distance over x."""
    axes.loglog(run.all("rescaled_time")[0, 1:], run.all("distance")[0, 1:], **look)
    axes.set_xlabel("rescaled time x = m $s_Z^{2−2/N}$ t")


def _name(panel: Panel) -> str:
    """What the target of a panel is called."""
    drawn = "" if panel[0].config.data.scale > 0 else ", Y ~ N(0, 1)"
    return f"$s_Z$ = {panel[0].first('target_value')[0]:.3g}{drawn}"


def _depth(run: Run) -> str:
    return f"N = {run.config.net.depth:g}"


def _euler_step(run: Run) -> float:
    """Seconds of one step of Euler's method."""
    return run.config.opt.interval / run.config.opt.substeps


def _looked(panel: Panel) -> Iterator[tuple[plots.Look, Run]]:
    """Every depth with its look."""
    return zip(plots.looks(len(panel)), panel, strict=True)
