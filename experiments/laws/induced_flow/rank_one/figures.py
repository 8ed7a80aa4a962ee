"""The figures of the induced flow: Figure 1 of Eftekhari 2020 with Theorem 20's bounds, one clock, nearby rates."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.runner import plots
from experiments.runner.results import Group, groups

__all__ = ["figures"]


class Panel(NamedTuple):
    """The members of the first seed at one s_Z, and what that s_Z is called."""

    name: str
    data: xr.Dataset


def figures(results: xr.DataTree) -> dict[str, Figure]:
    """Figure 1 in seconds, the same on the clock x, and how loose Theorem 20 is with a second singular value."""
    found = groups(results)
    timed = [g for g in found if g.config.study == "time"]
    single = [g for g in found if g.config.study == "rescaled_time" and g.config.data.num_outputs == 1]
    several = [g for g in found if g.config.data.num_outputs > 1 and g.config.data.spectral_ratio_unit == "largest"]
    drawn = {}
    if timed:
        drawn["distance"] = _distances(timed)
    if single:
        drawn["rescaled_time"] = _rescaled_time(single, timed)
    if several:
        drawn["bounds"] = _bounds(several)
    return drawn


def _distances(timed: list[Group]) -> Figure:
    """Figure 1: a panel for each s_Z, a colour for each depth; tau, Euler's method and the bounds of Theorem 20."""
    panels, step = [panel for g in timed for panel in _panels(g)], _euler_step(timed[0])
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    drawn = plots.figure(3.6 * columns, 3.0 * rows + 0.7)
    grid = drawn.subplots(rows, columns, squeeze=False).ravel()
    for axes, panel in zip(grid[: len(panels)], panels, strict=True):
        _distance(axes, panel)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    handles = [Line2D([], [], label=f"N = {depth:g}", **look.curve) for look, depth in _looked(panels[0])]
    others = [("black", "--", "bound of Theorem 20, as proved"), ("0.4", ":", f"explicit Euler, step {step:g} s")]
    handles += [Line2D([], [], color=c, ls=style, label=label) for c, style, label in others]
    handles.append(Line2D([], [], color="black", marker="o", linestyle="", markersize=4, label="τ: s = √6 $s_Z$"))
    drawn.legend(handles=handles, loc="outside upper center", ncols=4)
    return drawn


def _distance(axes: Axes, panel: Panel) -> None:
    for look, depth in _looked(panel):
        colour, member = look.colour, panel.data.sel(depth=depth).isel(step=slice(1, None))
        t, distance = member["seconds"].values, member["distance"].values
        axes.loglog(t, distance, **look.curve)
        axes.loglog(t, distance * np.exp(-member["excess"].values / 2), "--", color=colour, linewidth=0.9)
        axes.loglog(t, member["euler_distance"].values, ":", color="0.4", linewidth=1.0)
        tau = float(member["tau"].isel(step=-1))
        if tau > 0:
            there = np.exp(np.interp(np.log(tau), np.log(t), np.log(distance)))
            axes.loglog(tau, there, "o", color=colour, markersize=4)
    axes.set_title(panel.name)
    axes.set_xlabel("time t (s)")
    axes.set_ylabel("‖Z − W‖ / $s_Z$")


def _rescaled_time(single: list[Group], timed: list[Group]) -> Figure:
    """Every s_Z on one clock; the nearby rate by depth; how far Euler's method is off."""
    drawn = plots.figure(11.0 if timed else 7.6, 3.9)
    left, middle, *others = drawn.subplots(1, 3 if timed else 2)
    panels = [panel for g in single for panel in _panels(g)]
    # The targets of one depth fall on one curve: each further one is thinner, and lies on those before.
    for place, panel in enumerate(panels):
        for look, depth in _looked(panel):
            member = panel.data.sel(depth=depth).isel(step=slice(1, None))
            width = 3.0 - 2.4 * place / len(panels)
            left.loglog(member["rescaled_time"], member["distance"], linewidth=width, alpha=0.7, **look.curve)
    for look, depth in _looked(panels[0]):
        left.plot([], [], label=f"N = {depth:g}", **look.curve)
    left.set_title(f"{len(panels)} targets $s_Z$ on one clock")
    left.set_xlabel("clock x = m $s_Z^{2−2/N}$ t")
    left.set_ylabel("‖Z − W‖ / $s_Z$")
    left.legend()
    _rates(middle, panels)
    names = dict.fromkeys(panel.name for panel in (*panels, *(panel for g in timed for panel in _panels(g))))
    for right in others:
        _euler(right, timed, dict(zip(names, plots.looks(len(names)), strict=True)))
    return drawn


def _rates(axes: Axes, panels: list[Panel]) -> None:
    for look, panel in zip(plots.looks(len(panels)), panels, strict=True):
        end = panel.data.isel(step=-1)
        axes.semilogy(end["depth"], end["rate_law"], "--", color=look.colour, linewidth=1.0)
        axes.semilogy(end["depth"], end["rate"], linestyle="", markersize=5, label=panel.name, **look.points)
    x = float(panels[0].data["rescaled_time"].isel(step=-1).max())
    axes.plot([], [], "--", color="black", linewidth=1.0, label="m $s_Z^{2−2/N}$")
    axes.set_title(f"nearby rate, at x = {x:g}")
    axes.set_xlabel("depth N")
    axes.set_ylabel("rate of ‖Z − W‖ (1/s)")
    axes.set_ylim(bottom=axes.get_ylim()[0] / 20)
    axes.legend(fontsize=7, ncols=2, loc="lower left")


def _euler(axes: Axes, timed: list[Group], looks: dict[str, plots.Look]) -> None:
    """The largest distance of Euler's method from the flow by depth, for every s_Z and both steps."""
    for g in timed:
        for panel in _panels(g):
            for name, style, label in (("euler", "-", panel.name), ("euler_halved", ":", None)):
                most, about = panel.data[name].max("step"), {"linestyle": style, "markersize": 4, "label": label}
                axes.semilogy(most["depth"], most, **looks[panel.name].points, **about)
        step = _euler_step(g)
        axes.plot([], [], "-", color="black", label=f"step {step:g} s")
        axes.plot([], [], ":", color="black", label=f"step {step / 2:g} s")
    axes.set_title("explicit Euler against the flow")
    axes.set_xlabel("depth N")
    axes.set_ylabel("largest ‖$W_{Euler}$ − W‖ / $s_Z$")
    axes.set_ylim(top=axes.get_ylim()[1] * 300)
    axes.legend(fontsize=6.5, ncols=2, loc="upper left")


def _bounds(several: list[Group]) -> Figure:
    """Of d_y = 3: the distance and the bound along the clock, for the largest gamma_Z, a panel for each start."""
    panels = [(g, ratio) for g in several for ratio in _each(g, "ratio", g.config.start.ratio)]
    drawn = plots.figure(5.0 * len(panels), 4.2)
    row = drawn.subplots(1, len(panels), squeeze=False)[0]
    for axes, (g, ratio) in zip(row, panels, strict=True):
        data = g.data.isel(seed=0, spectral_ratio=-1, scale=0)
        data = data.sel(ratio=ratio) if "ratio" in g.hyperparameters else data
        for look, depth in _looked(Panel("", data)):
            member = data.sel(depth=depth).isel(step=slice(1, None))
            gamma = float(member["gamma"].isel(step=-1))
            axes.loglog(
                member["rescaled_time"], member["distance"], label=f"N = {depth:g}, γ = {gamma:.2g}", **look.curve
            )
            bound = member["distance"] * np.exp(-member["excess"] / 2)
            axes.loglog(member["rescaled_time"], bound, "--", color=look.colour, linewidth=0.9)
        axes.plot([], [], "--", color="black", linewidth=0.9, label="bound of Theorem 20")
        beta = g.config.bound.margin * ratio
        axes.set_title(f"$d_y$ = {g.config.data.num_outputs}, $s_0$ = {ratio:.3g} $s_Z$, β = {beta:.3g}")
        axes.set_xlabel("clock x = m $s_Z^{2−2/N}$ t")
        axes.set_ylabel("‖$Z_1$ − W‖ / $s_Z$")
        axes.legend(fontsize=7.5, loc="lower left")
    return drawn


def _each(g: Group, hyperparameter: str, own: float) -> list[float]:
    """The values of a hyperparameter: the swept ones, or the config's own."""
    return [float(value) for value in g.data[hyperparameter].values] if hyperparameter in g.hyperparameters else [own]


def _panels(g: Group) -> Iterator[Panel]:
    """One panel for each s_Z, of the first seed."""
    data = g.data.isel(seed=0)
    for scale in _each(g, "scale", g.config.data.scale):
        chosen = data.sel(scale=scale) if "scale" in g.hyperparameters else data
        name = f"$s_Z$ = {float(chosen['target_value'].isel(step=0, depth=0)):.3g}"
        yield Panel(name if scale > 0 else f"{name}, Y ~ N(0, 1)", chosen)


def _euler_step(g: Group) -> float:
    """Seconds of one step of Euler's method."""
    return g.config.opt.interval / g.config.opt.substeps


def _looked(panel: Panel) -> Iterator[tuple[plots.Look, float]]:
    """Every depth with its look."""
    depths = [float(depth) for depth in panel.data["depth"].values]
    return zip(plots.looks(len(depths)), depths, strict=True)
