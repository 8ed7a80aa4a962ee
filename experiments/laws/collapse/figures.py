"""The figures of progressive collapse: the separation after every layer, with the best line on a log axis."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.laws.collapse.measures import bound, ended, fit, is_descent, is_lawful, largest_scale, law, of_bound
from experiments.runner import plots
from experiments.runner.runs import Run, grouped

__all__ = ["CAPTIONS", "figures"]

# What each picture shows, by patterns of names.
CAPTIONS = {
    "separation": (
        "Separation D_l, within-class over between-class variance, after every layer on a log axis, a panel for each "
        "activation and final loss. Markers are members, lines the best exponential fits, and dotted lines the law "
        "for linear networks. Points on a straight line mean that each layer reduces D_l by the same factor."
    ),
    "bound": (
        "Strip plot with a row for each setting and a tick for each member: its largest ratio D_{l+1} / D_l over the "
        "bound of Theorem 2, on a log axis. Members left of the dashed line are within the bound. Only members that "
        "stop at too large a loss exceed it, and eps above eps_max (orange) does not."
    ),
}


def figures(found: Sequence[Run]) -> dict[str, Figure]:
    """The separation of every layer as the paper draws it; for the theorem, how far below its bound it falls."""
    drawn = {"separation": _separation(found)}
    return drawn | ({"bound": _bounds(found)} if found[0].config.study == "theorem" else {})


def _separation(found: Sequence[Run]) -> Figure:
    """A panel for each activation and loss; in it every member's D_l, the best lines and, for linear ones, the law."""
    panels = grouped(found, lambda run: (run.config.net.activation, -run.config.opt.tolerance))
    drawn = plots.figure(4.1 * len(panels), 3.6 + 0.2 * max(map(len, panels.values())))
    row = drawn.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (_, panel) in zip(row, sorted(panels.items()), strict=True):
        _panel(axes, panel)
    row[0].set_ylabel("separation $D_l$ = Tr Σ_W / Tr Σ_B")
    return drawn


def _panel(axes: Axes, panel: list[Run]) -> None:
    for look, run in zip(plots.looks(len(panel)), panel, strict=True):
        _draw_members(axes, run, look)
    if any(is_lawful(run) for run in panel):
        axes.plot([], [], color="black", linestyle=":", linewidth=1.0, label="law ε²/n^(1/L)")
    config = panel[0].config
    name = {"linear": "linear", "relu": "ReLU"}[config.net.activation]
    when = f"mean loss {config.opt.tolerance:g}" if config.opt.tolerance else f"after {config.opt.num_steps} steps"
    axes.set_title(f"{name}, {when}")
    axes.set_xlabel("layer l (0: inputs)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), fontsize=7.5)


def _draw_members(axes: Axes, run: Run, look: plots.Look) -> None:
    """Every member's points, crosses where it stopped on a plateau, the line of their geometric mean, and the law."""
    there, separations = ended(run), run.last("separation")
    layers = np.arange(separations.shape[1])
    reached, capped = separations[there], separations[~there]
    axes.semilogy(layers, reached.T, linestyle="", markersize=3.5, alpha=0.6, **look.points)
    axes.semilogy(layers, capped.T, "x", color=look.colour, markersize=4.5, alpha=0.8)
    if len(reached):
        line, poorest = fit(np.exp(np.log(reached).mean(0))), fit(reached).r_squared.min()
        predicted = f" (law {law(run):.3g})" if is_lawful(run) else ""
        # Rounded down: 1 would say exact.
        label = f"{_setting(run)}: rate {line.rate:.3g}{predicted}, R² ≥ {np.floor(1e4 * poorest) / 1e4:g}"
        axes.semilogy(layers, line.start * line.rate**layers, linewidth=1.0, **look.curve)
        axes.plot([], [], marker=look.marker, markersize=3.5, label=label, **look.curve)
        if is_lawful(run):
            axes.semilogy(layers, reached[0, 0] * law(run) ** layers, color="black", linestyle=":", linewidth=1.0)
    if len(capped):
        why = f"{run.num_diverged} diverged" if run.num_diverged else "at the cap of steps"
        label = f"{_setting(run)}: {len(capped)} of {len(there)} not there, {why}"
        axes.plot([], [], "x", color=look.colour, label=label)


def _setting(run: Run) -> str:
    """What tells the curves of a study apart."""
    net = run.config.net
    depth, scale = f"L = {net.depth}", f"ε = {net.scale:.3g}"
    theorem = f"{depth}, {scale}" + ", flow" * (not is_descent(run))
    return {"scale": scale, "init": net.init, "theorem": theorem}.get(run.config.study, depth)


def _bounds(found: Sequence[Run]) -> Figure:
    """Every member's largest D_{l+1}/D_l over the theorem's bound; 1 is the bound."""
    drawn = plots.figure(8.0, 0.32 * len(found) + 1.3)
    axes = drawn.subplots()
    shares = [of_bound(run)[ended(run)] for run in found]
    within = [run.config.net.scale <= largest_scale(run) for run in found]
    for colour, chosen, label in ((0, True, "ε ≤ ε_max"), (1, False, "ε > ε_max: the hypotheses fail")):
        rows = [share if is_within == chosen else np.empty(0) for share, is_within in zip(shares, within, strict=True)]
        plots.strip(axes, rows, colour=plots.COLOURS[colour], offset=0.0, label=label)
    axes.axvline(1, color="black", linestyle="--", linewidth=1.0, label="bound 2(√K + 1)ε²")
    vacuous = ["" if bound(run) < 1 else " (bound ≥ 1)" for run in found]
    names = (f"{_setting(run)}, loss {run.config.opt.tolerance:g}" for run in found)
    plots.name_rows(axes, [name + note for name, note in zip(names, vacuous, strict=True)])
    axes.set_xlabel("largest $D_{l+1}/D_l$ of a member over Theorem 2's bound")
    drawn.legend(loc="outside upper center", ncols=3)
    return drawn
