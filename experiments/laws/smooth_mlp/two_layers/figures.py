"""The figures of smooth two-layer MLPs: blocks of the change, bounds of a step, decay and spectrum of the gradient.

In the study of eps it is the first step that is drawn.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.laws.smooth_mlp.common import is_smooth, title
from experiments.laws.smooth_mlp.two_layers import measures
from experiments.laws.smooth_mlp.two_layers.measures import MOST_EXCESS, norm_ratio, num_classes, values
from experiments.runner import plots
from experiments.runner.runs import Run, find, grouped

__all__ = ["CAPTIONS", "figures"]

# What each picture shows, by patterns of names.
CAPTIONS = {
    "blocks": (
        "Share of the change of W_1 in the first block of S_big (top) and in the other blocks (bottom) over the "
        "steps, a column for each activation; medians and ranges over the seeds. With smooth activations nearly all "
        "of the change is in the first block, above the bounds (black dashes). With ReLU much of it is outside."
    ),
    "bounds": (
        "Largest step of a block with its bounds (top), and the gradient's subspaces and leading value (bottom), "
        "over the steps on log axes, a column for each activation; medians and ranges over the seeds. The measured "
        "step is below the first form of Theorem D.11. The gradient's subspaces turn until they are orthogonal to "
        "the first ones, while its leading value decays."
    ),
    "decay": (
        "Norm and leading singular values of the first gradient relative to their start (top), and the change of the "
        "norm in each step (bottom), over the steps, a column for each activation. The leading values fall with the "
        "norm, below a multiple of it (dashed). With smooth activations the norm grows in no step by more than the "
        "bound (dashed); with ReLU it does."
    ),
    "gradient_tail": (
        "Singular value K + 1 of the first layer's gradient over the steps on a log axis, a column for each "
        "activation and a curve for each eps; medians and ranges over the seeds. With smooth activations it stays "
        "below a hundredth of the target's K-th singular value (dashed). With ReLU it starts far above that."
    ),
    "spectrum": (
        "Singular values of the gradient at initialization by index on a log axis (top), and their slopes in log eps "
        "(bottom), a column for each activation. With smooth activations all values beyond K vanish with eps, for "
        "tanh as its square. With ReLU they do not depend on eps."
    ),
    "relu_bound": (
        "Strip plot with a row for each size and a tick for each member: singular value d - K of a ReLU network's "
        "gradient at initialization (blue), and its lower bound where that is positive (orange). The measured values "
        "are right of their bounds."
    ),
    "first_step": (
        "Log-log plots of the largest change of the other blocks in the first step over eps, outside of S_big (left) "
        "and of a random subspace (right), a curve for each activation. Outside of S_big it falls with slope 1 for "
        "smooth activations and slope 2 for tanh. For ReLU and Leaky ReLU it does not depend on eps."
    ),
}

Panel = Sequence[Run]


def figures(found: Panel) -> dict[str, Figure]:
    """The figures of the config's study."""
    study, singly, together = found[0].config.study, [[run] for run in found], list(grouped(found, title).values())
    if study == "theorem":
        blocks = ("share of block 1\nin $||W_1(t) - W_1(0)||_F^2$", "share of the others")
        bounds = ("change in a step", "of the first gradient")
        drawn = {"blocks": _columns(_blocks, singly, blocks, 2.7, 1.6, 5.2)}
        return drawn | {"bounds": _columns(_bounds, singly, bounds, 2.7, 2.0, 5.4)}
    if study == "epsilon":
        return {"first_step": _first_step(together)}
    if study == "decay":
        chosen = [[run] for run in find(found, net__scale=measures.SCALE) or found[:1]]
        names = ("of the first gradient", "change of the norm in a step")
        drawn = {"decay": _columns(_decay, chosen, names, 2.9, 1.9, 5.2)}
        return drawn | {"gradient_tail": _columns(_tail, together, ("singular value",), 2.9, 1.9, 3.2)}
    squares, spectra = find(found, net__init="normal"), find(found, net__init="orthogonal")
    names = ("$\\sigma_i(G_1(0))$", "slope of log $\\sigma_i$ in log ε")
    panels = grouped(spectra, title).values()
    drawn = {"spectrum": _columns(_spectrum, panels, names, 2.3, 1.7, 5.0)} if spectra else {}
    return drawn | ({"relu_bound": _squares(squares)} if squares else {})


def _columns(
    draw: Callable[..., None], panels: Iterable[Panel], names: Sequence[str], width: float, more: float, height: float
) -> Figure:
    """A column for each panel, drawn by ``draw(*axes, panel)``; a named row for each quantity."""
    panels = list(panels)
    drawn = plots.figure(width * len(panels) + more, height)
    rows = drawn.subplots(len(names), len(panels), sharex=True, sharey="row", squeeze=False)
    for column, panel in zip(rows.T, panels, strict=True):
        column[0].set_title(title(panel[0]))
        column[-1].set_xlabel("step t")
        draw(*column, panel)
    plots.label_rows(rows, names)
    plots.legends_beside(rows)
    return drawn


def _blocks(upper: Axes, lower: Axes, panel: Panel) -> None:
    """Figure 3: the share of block 1 above, the other blocks and a random subspace below."""
    (run,) = panel
    steps, own, random = run.steps[1:], *(measures.shares(run, name)[:, 1:] for name in ("blocks", "random_blocks"))
    _band(upper, steps, own[..., 0], 0, "block 1 of $S_{big}$")
    goals = ((100, 250), (0.99, 0.97)) if is_smooth(run.config.net.activation) else ((), ())
    upper.plot(*goals, "_", color="black", markersize=14, markeredgewidth=1.6, label="bounds (smooth alone)")
    upper.set_xlim(0, max(260, run.steps[-1]))
    for block in (1, 2, 3):
        _band(lower, steps, own[..., block], block, f"block {block + 1} of $S_{{big}}$")
    _band(lower, steps, random[..., 0], 4, "block 1, random subspace")
    lower.set_yscale("log")


def _bounds(upper: Axes, lower: Axes, panel: Panel) -> None:
    """Theorem D.11 above; below, the gradient's subspaces turn away while its leading value decays."""
    (run,) = panel
    step, largest, later = measures.first_form(run), num_classes(run) ** 0.5, run.steps[1:]
    _band(upper, run.steps, step.measured, 0, "largest block's step / $\\sqrt{p}$")
    _band(upper, run.steps, step.bound, 1, "first form: $\\eta\\,\\rho(t)$")
    _band(upper, run.steps, np.asarray(step.trivial), 2, "every step: $\\eta\\,||G_1(t)||_F / \\sqrt{p}$")
    smooth = is_smooth(run.config.net.activation)
    loose = measures.second_form(run).bound if smooth else np.full((1, len(later)), np.nan)
    _band(upper, later, run.config.opt.step_size * loose, 3, "second form (smooth alone)")
    _band(lower, later, measures.turned(run)[:, 1:] / largest, 2, "$A(t) / \\sqrt{K}$")
    angle = measures.wedin(run).bound / largest
    _band(lower, later, np.where(np.isfinite(angle), angle, np.nan), 4, "Wedin's bound on it")
    leading = values(run)[..., 0] / values(run)[:, :1, 0]
    _band(lower, run.steps, leading, 5, "$\\sigma_1(G_1(t)) / \\sigma_1(G_1(0))$")
    for axes in (upper, lower):
        axes.set_yscale("log")
    lower.axhline(1, color="black", linestyle="--", linewidth=1.0, label="orthogonal: $\\sqrt{K}$")


def _decay(upper: Axes, lower: Axes, panel: Panel) -> None:
    """Figure 12 above; below, the norm's change in each step, which the log axis hides."""
    (run,) = panel
    ratio = norm_ratio(run)
    _band(upper, run.steps, ratio, 0, "$||G_1(t)||_F / ||G_1(0)||_F$")
    _band(upper, run.steps, measures.value_ratio(run), 1, "largest $\\sigma_i(t) / \\sigma_i(0)$, i ≤ K")
    bound, label = MOST_EXCESS * ratio.mean(0), f"{MOST_EXCESS:g} × norm ratio"
    upper.semilogy(run.steps, bound, color="black", linestyle="--", label=label)
    upper.set_title(f"{title(run)}, ε = {run.config.net.scale:g}")
    lower.plot(run.steps[1:], np.diff(ratio, axis=1).T, color=plots.COLOURS[0], linewidth=0.7, alpha=0.7)
    lower.plot([], [], color=plots.COLOURS[0], label="change in a step\n(one line a seed)")
    lower.axhline(1e-5, color="black", linestyle="--", linewidth=1.0, label="bound $10^{-5}$")
    lower.axhline(0, color="grey", linewidth=0.8)
    lower.set_yscale("symlog", linthresh=1e-7)


def _tail(axes: Axes, panel: Panel) -> None:
    """Figure 13: sigma_{K+1}(G_1(t)) for every eps below sigma_K(W_2^T Y X^T)."""
    for place, run in enumerate(panel):
        label = f"$\\sigma_{{K+1}}(G_1(t))$, ε = {run.config.net.scale:g}"
        _band(axes, run.steps, measures.tail(run), place, label)
    target = float(np.mean([measures.smallest_target(run) for run in panel]))
    axes.axhline(target, color="black", label="$\\sigma_K(W_2^T Y X^T)$, mean")
    axes.axhline(0.01 * target, color="black", linestyle="--", linewidth=1.0, label="a hundredth of it")
    axes.set_yscale("log")


def _spectrum(upper: Axes, lower: Axes, panel: Panel) -> None:
    """Figure 11 above, the slope of every value in eps below."""
    index = np.arange(1, values(panel[0]).shape[-1] + 1)
    for place, run in enumerate(panel):
        _band(upper, index, values(run)[:, 0], place, f"ε = {run.config.net.scale:g}")
    upper.set_yscale("log")
    if len(panel) > 1:
        _band(lower, index, measures.slopes(panel), 3, "all seeds")
    lower.set_yticks((0, 1, 2))
    lower.set_ylim(-0.2, 2.2)
    lower.set_xlabel(f"index i (K = {num_classes(panel[0])})")


def _first_step(panels: Sequence[Panel]) -> Figure:
    """The change of the other blocks in the first step over eps, for S_big and for a random subspace."""
    drawn = plots.figure(10.2, 4.4)
    rows = drawn.subplots(1, 2, sharex=True, sharey=True, squeeze=False)
    names = (("step_distances", "outside of $S_{big}$"), ("random_step_distances", "outside of a random subspace"))
    for axes, (name, words) in zip(rows[0], names, strict=True):
        for place, panel in enumerate(panels):
            changed = np.stack([measures.first_step(run, name) for run in panel], 1)
            scales = [run.config.net.scale for run in panel]
            # Each curve is thinner than those below it, so that equal ones are seen.
            thickness, look = max(4.0 - 0.6 * place, 0.8), plots.looks(place + 1)[place].curve
            plots.band(axes, scales, changed, alpha=0.2, label=title(panel[0]), linewidth=thickness, **look)
        axes.set_title(words)
        axes.set_xlabel("ε")
    for slope, most, line in ((1, 6e-4, "--"), (2, 3e-6, ":")):
        _slope_line(rows[0, 0], panels, slope, most, line)
    rows[0, 1].loglog()
    plots.label_rows(rows, ("largest $||\\tilde{W}_i(1) - \\tilde{W}_i(0)||_F / \\sqrt{p}$, i = 2, 3, 4",))
    handles, labels = rows[0, 0].get_legend_handles_labels()
    rows[0, 1].legend(handles, labels, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return drawn


def _slope_line(axes: Axes, panels: Sequence[Panel], slope: int, most: float, line: str) -> None:
    """A line of this slope that ends at the height ``most`` at the largest eps."""
    scales = np.unique([run.config.net.scale for panel in panels for run in panel])
    label = f"slope {slope}"
    axes.plot(scales, most * (scales / scales[-1]) ** slope, color="black", linewidth=1.0, linestyle=line, label=label)


def _squares(found: Panel) -> Figure:
    """Proposition B.1: every member's bound and the singular value that it bounds."""
    drawn = plots.figure(7.0, 0.34 * len(found) + 1.4)
    axes = drawn.subplots()
    measured = [measures.bounded_value(run) for run in found]
    positive = [bound[bound > 0] for bound in (run.first("relu_bound") for run in found)]
    plots.strip(axes, measured, colour=plots.COLOURS[0], offset=-0.12, label="$\\sigma_{d-K}(G_1(0))$")
    plots.strip(axes, positive, colour=plots.COLOURS[1], offset=0.12, label="lower bound, where it is positive")
    sizes = [(run.config.data.dimension, run.config.net.width, run.config.net.scale) for run in found]
    notes = ["" if len(bound) else " (no bound)" for bound in positive]
    plots.name_rows(
        axes, [f"d = N = {d}, m = {m}, ε = {s:g}{note}" for (d, m, s), note in zip(sizes, notes, strict=True)]
    )
    axes.set_xlabel("singular value")
    drawn.legend(loc="outside upper center", ncols=2)
    return drawn


def _band(axes: Axes, at: np.ndarray, values: np.ndarray, place: int, label: str) -> None:
    """The median over the seeds within their range, in the look of that place."""
    plots.band(axes, at, values, alpha=0.25, label=label, **plots.looks(place + 1)[place].curve)
