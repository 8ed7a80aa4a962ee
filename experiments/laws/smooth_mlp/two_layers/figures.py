"""The figures of smooth two-layer MLPs: blocks of the change, bounds of a step, decay and spectrum of the gradient."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.laws.smooth_mlp.common import is_smooth, title
from experiments.laws.smooth_mlp.two_layers.measures import (
    MOST_EXCESS,
    SCALE,
    bounded_value,
    first_form,
    leading_target,
    norm_ratio,
    num_classes,
    second_form,
    shares,
    slopes,
    tail,
    turned,
    value_ratio,
    values,
    wedin,
)
from experiments.runner import plots
from experiments.runner.runs import Run, find, grouped

__all__ = ["figures"]


def figures(found: Sequence[Run]) -> dict[str, Figure]:
    """The figures of the config's study."""
    study = found[0].config.study
    if study == "theorem":
        return {"blocks": _draw_blocks(found), "bounds": _draw_bounds(found)}
    if study == "decay":
        return {"decay": _draw_decay(found), "gradient_tail": _draw_tail(found)}
    squares, spectra = find(found, net__init="normal"), find(found, net__init="orthogonal")
    drawn = {"spectrum": _draw_spectra(spectra)} if spectra else {}
    return drawn | ({"relu_bound": _draw_squares(squares)} if squares else {})


def _draw_blocks(found: Sequence[Run]) -> Figure:
    """Figure 3: the share of block 1 above, the other blocks and a random subspace below."""
    drawn = plots.figure(2.7 * len(found) + 1.6, 5.2)
    rows = drawn.subplots(2, len(found), sharex=True, sharey="row", squeeze=False)
    for (upper, lower), run in zip(rows.T, found, strict=True):
        steps, own, random = run.steps[1:], shares(run, "blocks"), shares(run, "random_blocks")
        _band(upper, steps, own[..., 0], 0, "block 1 of $S_{big}$")
        _goals(upper, run)
        for block in (1, 2, 3):
            _band(lower, steps, own[..., block], block, f"block {block + 1} of $S_{{big}}$")
        _band(lower, steps, random[..., 0], 4, "block 1, random subspace")
        lower.set_yscale("log")
        upper.set_title(title(run))
        lower.set_xlabel("step t")
    plots.label_rows(rows, ("share of block 1\nin $||W_1(t) - W_1(0)||_F^2$", "share of the others"))
    plots.legends_beside(rows)
    return drawn


def _goals(axes: Axes, run: Run) -> None:
    bounds = ((100, 250), (0.99, 0.97)) if is_smooth(run) else ((), ())
    axes.plot(*bounds, "_", color="black", markersize=14, markeredgewidth=1.6, label="bounds (smooth alone)")
    axes.set_xlim(0, max(260, run.steps[-1]))


def _draw_bounds(found: Sequence[Run]) -> Figure:
    """Theorem D.11 above; below, the gradient's subspaces turn away while its leading value decays."""
    drawn = plots.figure(2.7 * len(found) + 2.0, 5.4)
    rows = drawn.subplots(2, len(found), sharex=True, sharey="row", squeeze=False)
    for (upper, lower), run in zip(rows.T, found, strict=True):
        step, largest = first_form(run), num_classes(run) ** 0.5
        _band(upper, run.steps, step.measured, 0, "largest block's step / $\\sqrt{p}$")
        _band(upper, run.steps, step.bound, 1, "first form: $\\eta\\,\\rho(t)$")
        loose = second_form(run).bound if is_smooth(run) else np.full((1, len(run.steps) - 1), np.nan)
        _band(upper, run.steps[1:], run.config.opt.step_size * loose, 3, "second form (smooth alone)")
        _band(lower, run.steps[1:], turned(run)[:, 1:] / largest, 2, "$A(t) / \\sqrt{K}$")
        angle = wedin(run).bound / largest
        _band(lower, run.steps[1:], np.where(np.isfinite(angle), angle, np.nan), 4, "Wedin's bound on it")
        leading = values(run)[..., 0] / values(run)[:, :1, 0]
        _band(lower, run.steps, leading, 5, "$\\sigma_1(G_1(t)) / \\sigma_1(G_1(0))$")
        for axes in (upper, lower):
            axes.set_yscale("log")
        lower.axhline(1, color="black", linestyle="--", linewidth=1.0, label="orthogonal: $\\sqrt{K}$")
        upper.set_title(title(run))
        lower.set_xlabel("step t")
    plots.label_rows(rows, ("change in a step", "of the first gradient"))
    plots.legends_beside(rows)
    return drawn


def _draw_decay(found: Sequence[Run]) -> Figure:
    """Figure 12, and below it what its log axis hides: the norm's change in each step."""
    chosen = find(found, net__scale=SCALE) or found[:1]
    drawn = plots.figure(2.9 * len(chosen) + 1.9, 5.2)
    rows = drawn.subplots(2, len(chosen), sharex=True, sharey="row", squeeze=False)
    for (upper, lower), run in zip(rows.T, chosen, strict=True):
        _band(upper, run.steps, norm_ratio(run), 0, "$||G_1(t)||_F / ||G_1(0)||_F$")
        _band(upper, run.steps, value_ratio(run), 1, "largest $\\sigma_i(t) / \\sigma_i(0)$, i ≤ K")
        bound, label = MOST_EXCESS * norm_ratio(run).mean(0), f"{MOST_EXCESS:g} × norm ratio"
        upper.semilogy(run.steps, bound, color="black", linestyle="--", label=label)
        lower.plot(run.steps[1:], np.diff(norm_ratio(run), axis=1).T, color=plots.COLOURS[0], linewidth=0.7, alpha=0.7)
        lower.plot([], [], color=plots.COLOURS[0], label="change in a step\n(one line a seed)")
        lower.axhline(1e-5, color="black", linestyle="--", linewidth=1.0, label="bound $10^{-5}$")
        lower.axhline(0, color="grey", linewidth=0.8)
        lower.set_yscale("symlog", linthresh=1e-7)
        upper.set_title(f"{title(run)}, ε = {run.config.net.scale:g}")
        lower.set_xlabel("step t")
    plots.label_rows(rows, ("of the first gradient", "change of the norm in a step"))
    plots.legends_beside(rows)
    return drawn


def _draw_tail(found: Sequence[Run]) -> Figure:
    """Figure 13: sigma_{K+1}(G_1(t)) for every eps below sigma_K(W_2^T Y X^T)."""
    panels = grouped(found, title)
    drawn = plots.figure(2.9 * len(panels) + 1.9, 3.2)
    rows = drawn.subplots(1, len(panels), sharey=True, squeeze=False)
    for axes, (name, panel) in zip(rows[0], panels.items(), strict=True):
        for place, run in enumerate(panel):
            _band(axes, run.steps, tail(run), place, f"$\\sigma_{{K+1}}(G_1(t))$, ε = {run.config.net.scale:g}")
        target = np.stack([leading_target(run)[:, -1] for run in panel]).mean()
        axes.axhline(target, color="black", label="$\\sigma_K(W_2^T Y X^T)$, mean")
        axes.axhline(0.01 * target, color="black", linestyle="--", linewidth=1.0, label="a hundredth of it")
        axes.set_yscale("log")
        axes.set_title(name)
        axes.set_xlabel("step t")
    plots.label_rows(rows, ("singular value",))
    plots.legends_beside(rows)
    return drawn


def _draw_spectra(found: Sequence[Run]) -> Figure:
    """Figure 11 above, the slope of every value in eps below."""
    panels = grouped(found, title)
    drawn = plots.figure(2.3 * len(panels) + 1.7, 5.0)
    rows = drawn.subplots(2, len(panels), sharex=True, sharey="row", squeeze=False)
    for (upper, lower), (name, panel) in zip(rows.T, panels.items(), strict=True):
        index = np.arange(1, values(panel[0]).shape[-1] + 1)
        for place, run in enumerate(panel):
            _band(upper, index, values(run)[:, 0], place, f"ε = {run.config.net.scale:g}")
        upper.set_yscale("log")
        if len(panel) > 1:
            _band(lower, index, slopes(panel), 3, "all seeds")
        lower.set_yticks((0, 1, 2))
        lower.set_ylim(-0.2, 2.2)
        upper.set_title(name)
        lower.set_xlabel(f"index i (K = {num_classes(panel[0])})")
    plots.label_rows(rows, ("$\\sigma_i(G_1(0))$", "slope of log $\\sigma_i$ in log ε"))
    plots.legends_beside(rows)
    return drawn


def _draw_squares(found: Sequence[Run]) -> Figure:
    """Proposition B.1: every member's bound and the singular value that it bounds."""
    drawn = plots.figure(7.0, 0.34 * len(found) + 1.4)
    axes = drawn.subplots()
    measured = [bounded_value(run) for run in found]
    positive = [bound[bound > 0] for bound in (run.first("relu_bound") for run in found)]
    plots.strip(axes, measured, colour=plots.COLOURS[0], offset=-0.12, label="$\\sigma_{d-K}(G_1(0))$")
    plots.strip(axes, positive, colour=plots.COLOURS[1], offset=0.12, label="lower bound, where it is positive")
    net = [(run.config.data.dimension, run.config.net.width, run.config.net.scale) for run in found]
    vacuous = ["" if len(bound) else " (no bound)" for bound in positive]
    labels = [f"d = N = {d}, m = {m}, ε = {s:g}{v}" for (d, m, s), v in zip(net, vacuous, strict=True)]
    plots.name_rows(axes, labels)
    axes.set_xlabel("singular value")
    drawn.legend(loc="outside upper center", ncols=2)
    return drawn


def _band(axes: Axes, at: np.ndarray, values: np.ndarray, place: int, label: str) -> None:
    """The median over the seeds within their range, in the look of that place."""
    plots.band(axes, at, values, alpha=0.25, label=label, **plots.looks(place + 1)[place].curve)
