"""The figures of deep matrix completion: depth and width, compressed against narrow networks, and the outer step size.

A run is not timed member by member, so that counted arithmetic replaces the paper's wall times.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from experiments.laws.parsimony.completion.measures import (
    capped,
    degrees_of_freedom,
    final_recovery,
    operations_per_step,
    steps_to_tolerance,
)
from experiments.runner import plots
from experiments.runner.runs import Run, find, grouped

__all__ = ["CAPTIONS", "figures"]

# What each picture shows, by patterns of names.
CAPTIONS = {
    "depth_width": (
        "Recovery error at the end, and gradient steps to the tolerance, over the width of the hidden layers. "
        "Markers are members, lines medians, and hollow markers did not reach the tolerance. Three layers recover "
        "the matrix far better than two, except in the narrowest networks, and need fewer steps the wider they are."
    ),
    "compressed": (
        "Gradient steps, and counted floating-point operations, to the tolerance over the estimated rank, for the "
        "compressed network and a narrow one; markers are members, lines medians. The compressed network takes fewer "
        "steps and less arithmetic, and its number of steps hardly depends on the estimate."
    ),
    "gamma": (
        "Trajectories on two principal components, and recovery error over steps and over counted arithmetic, of one "
        "seed. With slow outer factors the compressed network follows the original one at a fraction of the "
        "arithmetic. With fixed outer factors (gamma = 0) it stops far from the matrix, and with gamma = 1 it "
        "diverges (dotted)."
    ),
    "sampling": (
        "Recovery error at the end, and gradient steps to the tolerance, over the share of observed entries, a curve "
        "for each network. The dotted line marks as many entries as the matrix has degrees of freedom. Networks of "
        "three layers go from failure to recovery within a short range of shares; with two layers the error falls "
        "gradually."
    ),
}

COST = "floating-point operations\nin matrix products (counted)"


class Curve(NamedTuple):
    """One network of one seed, and how it is drawn."""

    label: str
    config: ConfigDict
    member: xr.Dataset
    look: plots.Look


def figures(found: Sequence[Run]) -> dict[str, Figure]:
    """The figure that the config is for."""
    drawings = {
        "depth_width": _depth_and_width,
        "compressed": _compression,
        "gamma": _discrepancy,
        "sampling": _sampling,
    }
    study = found[0].config.study
    return {study: drawings[study](found)}


def _depth_and_width(found: Sequence[Run]) -> Figure:
    """Figure 4: recovery error over the width at each depth, and the number of steps of the deep networks."""
    drawn = plots.figure(11.0, 3.5)
    drawn.suptitle(_title(found[0].config))
    errors, steps = drawn.subplots(1, 2)
    depths = sorted({run.config.net.depth for run in found})
    for own, depth in zip(plots.looks(len(depths)), depths, strict=True):
        look = {"look": own, "label": f"L = {depth}"}
        family = find(found, net__depth=depth)
        widths, stopped = [run.config.net.width for run in family], [capped(run) for run in family]
        _members(errors, widths, [final_recovery(run) for run in family], stopped, **look)
        if depth > 2:
            _members(steps, widths, [steps_to_tolerance(run) for run in family], stopped, **look)
    errors.set(xlabel="width of the hidden layers", ylabel="recovery error at the end (mean)", yscale=_scale(found))
    steps.set(xlabel="width of the hidden layers", ylabel="gradient steps to the tolerance", ylim=(0, None))
    _legend(drawn, errors, found)
    return drawn


def _compression(found: Sequence[Run]) -> Figure:
    """Figure 5: steps and counted arithmetic to the tolerance over r^, compressed against narrow."""
    drawn = plots.figure(11.0, 3.5)
    drawn.suptitle(_title(found[0].config))
    steps, cost = drawn.subplots(1, 2)
    names = {"narrow": "narrow network of width 2r̂", "compressed": "compressed network, γ = {:g}"}
    for own, (kind, name) in zip(plots.looks(len(names)), names.items(), strict=True):
        family = find(found, net__kind=kind)
        ranks, stopped = [run.config.net.rank for run in family], [capped(run) for run in family]
        label = name.format(family[0].config.opt.discrepancy if family else 0)
        look = {"look": own, "label": label}
        counts = [steps_to_tolerance(run) for run in family]
        work = [operations_per_step(run.config) * count for run, count in zip(family, counts, strict=True)]
        _members(steps, ranks, counts, stopped, **look)
        _members(cost, ranks, work, stopped, **look)
    for axes in (steps, cost):
        axes.set_xticks(sorted({run.config.net.rank for run in found}))
    steps.set(xlabel="estimated rank r̂", ylabel="gradient steps to the tolerance", ylim=(0, None))
    cost.set(xlabel="estimated rank r̂", ylabel=COST, yscale="log")
    _legend(drawn, steps, found)
    return drawn


def _discrepancy(found: Sequence[Run]) -> Figure:
    """Figure 6: paths of the end-to-end matrices, and recovery over steps and counted arithmetic, of one seed."""
    drawn = plots.figure(14.0, 3.9)
    drawn.suptitle(f"{_title(found[0].config)}; seed 0")
    paths, by_step, by_cost = drawn.subplots(1, 3)
    curves = _curves(found)
    _principal_paths(paths, [curve for curve in curves if not _diverged(curve.member)])
    for curve in curves:
        if _diverged(curve.member):
            bad = int(curve.member.diverged_at)
            by_step.axvline(bad, color=curve.look.colour, linestyle=":", label=f"{curve.label} diverges")
            continue
        moving = _until_stopped(curve.member)
        errors = np.maximum(moving.recovery_error, plots.LOG_FLOOR)
        for axes, per_step in ((by_step, 1), (by_cost, operations_per_step(curve.config))):
            # A log axis has no place for step 0.
            shown = slice(0 if per_step == 1 else 1, None)
            at = moving.step.values[shown] * float(per_step)
            axes.semilogy(at, errors[shown], label=curve.label, **curve.look.curve)
            axes.plot(at[-1], errors[-1], "o", color=curve.look.colour)
    if reached := [curve for curve in curves if int(curve.member.converged_at) > 0]:
        # Most of a run is a plateau: what differs happens at its end.
        ends = [int(curve.member.converged_at) for curve in reached]
        by_step.set_xlim(0.8 * min(ends), 1.1 * max(ends))
        work = [end * operations_per_step(curve.config) for curve, end in zip(reached, ends, strict=True)]
        by_cost.set_xlim(0.1 * min(work), 2.0 * max(work))
    by_step.set(xlabel="gradient steps", ylabel="recovery error (mean)")
    by_cost.set(xlabel=COST, ylabel="recovery error (mean)", xscale="log")
    handles, labels = by_step.get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside right center")
    return drawn


def _sampling(found: Sequence[Run]) -> Figure:
    """Recovery error at the end, and steps to the tolerance, over the share of observed entries, for each network."""
    drawn = plots.figure(11.0, 3.8)
    drawn.suptitle(_title(found[0].config))
    errors, steps = drawn.subplots(1, 2)
    families = grouped(found, lambda run: _network(run.config)).values()
    for own, family in zip(plots.looks(len(families)), families, strict=True):
        shares, stopped = [run.config.data.observed for run in family], [capped(run) for run in family]
        look = {"look": own, "label": _network(family[0].config)}
        _members(errors, shares, [final_recovery(run) for run in family], stopped, **look)
        _members(steps, shares, [steps_to_tolerance(run) for run in family], stopped, **look)
    data = found[0].config.data
    for axes in (errors, steps):
        share = degrees_of_freedom(data) / data.size**2
        axes.axvline(share, color="black", linestyle=":", label="as many as degrees of freedom, r(2d − r)")
        axes.set_xlabel("share of the entries that is observed")
    errors.set(ylabel="recovery error at the end (mean)", yscale=_scale(found))
    steps.set(ylabel="gradient steps to the tolerance", yscale="log")
    _legend(drawn, errors, found)
    return drawn


def _network(config: ConfigDict) -> str:
    """A network of Section 4.1 in words."""
    net, kinds = (
        config.net,
        {"full": "full, width {0}", "narrow": "narrow, width {1}", "compressed": "compressed, γ = {2:g}"},
    )
    return kinds[net.kind].format(net.width, 2 * net.rank, config.opt.discrepancy) + f", L = {net.depth}"


def _curves(found: Sequence[Run]) -> list[Curve]:
    """Seed 0 of the original network and of the compressed one at each gamma."""
    kinds = {"full": "original network", "narrow": "narrow network", "compressed": "compressed, γ = {:g}"}
    return [
        Curve(kinds[run.config.net.kind].format(run.config.opt.discrepancy), run.config, run.member(0), look)
        for run, look in zip(found, plots.looks(len(found)), strict=True)
    ]


def _principal_paths(axes: Axes, curves: Sequence[Curve]) -> None:
    """Paths of U_Phi^T W_{L:1} V_Phi in the plane of the two principal components of them all."""
    if not curves:
        axes.text(0.5, 0.5, "every network diverged", ha="center", transform=axes.transAxes)
        return
    paths = [_flat(_until_stopped(curve.member)) for curve in curves]
    snapshots = np.concatenate(paths)
    centre = snapshots.mean(axis=0)
    _, spread, directions = np.linalg.svd(snapshots - centre, full_matrices=False)
    share = spread**2 / np.sum(spread**2)
    for curve, path in zip(curves, paths, strict=True):
        x, y = ((path - centre) @ directions[:2].T).T
        axes.plot(x, y, **curve.look.curve)
        axes.plot(x[-1], y[-1], "o", color=curve.look.colour)
    axes.set(xlabel=f"principal component 1 ({share[0]:.0%})", ylabel=f"principal component 2 ({share[1]:.0%})")


def _flat(member: xr.Dataset) -> np.ndarray:
    values = member.projection.values.reshape(member.sizes["step"], -1)
    # A matrix of rank 1 has one coordinate, and a plane has two.
    return np.pad(values, ((0, 0), (0, max(0, 2 - values.shape[1]))))


def _until_stopped(member: xr.Dataset) -> xr.Dataset:
    """The observations while it moved, and the first one after."""
    stopped = int(member.converged_at)
    after = int(np.searchsorted(member.step.values, stopped)) if stopped >= 0 else member.sizes["step"]
    return member.isel(step=slice(0, after + 1))


def _diverged(member: xr.Dataset) -> bool:
    return int(member.diverged_at) >= 0


def _members(
    axes: Axes,
    places: Sequence[int],
    values: Sequence[np.ndarray],
    stopped: Sequence[np.ndarray],
    *,
    look: plots.Look,
    label: str,
) -> None:
    """Every member as a marker, hollow where it did not reach the tolerance, and a line through the medians."""
    axes.plot(places, [_median(each) for each in values], **look.curve)
    axes.plot([], [], marker=look.marker, markersize=4.5, label=label, **look.curve)
    for place, each, hollow in zip(places, values, stopped, strict=True):
        for chosen, filling in ((~hollow, look.colour), (hollow, "white")):
            where, filled = np.full(chosen.sum(), place), {"markerfacecolor": filling, "markersize": 4.5}
            axes.plot(where, each[chosen], linestyle="", **look.points, **filled)


def _median(values: np.ndarray) -> float:
    """Of the members with a number; NaN, which is not drawn, if there are none."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else np.nan


def _scale(found: Sequence[Run]) -> str:
    """Of an axis of recovery errors: a log axis cannot be drawn if every member diverged."""
    return "log" if any(np.isfinite(final_recovery(run)).any() for run in found) else "linear"


def _legend(drawn: Figure, axes: Axes, found: Sequence[Run]) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if any(capped(run).any() for run in found):
        handles.append(axes.plot([], [], "o", color="grey", markerfacecolor="white")[0])
        labels.append(f"not at the tolerance after {found[0].config.opt.num_steps} steps")
    drawn.legend(handles, labels, loc="outside right center")


def _title(config: ConfigDict) -> str:
    data, depth = config.data, f", L = {config.net.depth}" if config.study in ("compressed", "gamma") else ""
    share = "" if config.study == "sampling" else f", {data.observed:.0%} of the entries observed"
    problem = f"d = {data.size}, r = {data.rank}{share}{depth}"
    return f"matrix completion: {problem}; to a mean loss of {config.opt.tolerance:g}"
