"""The figures of the theory of rank jumps: the landscape over eps, the minima found, and what the bounds say."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.laws.rank_jumps.landscape.measures import (
    JUMPED,
    RANK_ONE,
    cost,
    known_minima,
    last_offdiagonal,
    last_ridge,
    minimum,
    ratio,
    setting,
    singular_values,
)
from experiments.runner import plots
from experiments.runner.runs import Run, grouped

__all__ = ["CAPTIONS", "figures"]

# What each picture shows, by patterns of names.
CAPTIONS = {
    "frequency": (
        "Fraction of the SGD runs that have jumped to rank 1, over the steps. More and more runs jump, at different "
        "times."
    ),
    "landscape": (
        "Cost (top) and ratio of the singular values (bottom) of the rank-1 and rank-2 minima over eps, a column for "
        "each depth; circles are ends of gradient descent. The circles lie on the exact curves. The rank-2 minimum "
        "ends at the dotted line, beyond which gradient descent ends at rank 1."
    ),
    "minima": (
        "Scatter plots of the minima that were found: the missing entry and the observed entry that is eps, a panel "
        "for each depth. Gradient descent on the factors (circles) and a proximal method on the matrix (crosses) end "
        "at the same four points."
    ),
    "region": (
        "Strip plot with a row for each depth and a tick for each state: the smallest step size that leaves B_1, "
        "over the largest that Theorem B.1 admits, on a log axis. All ticks are right of the dashed line, so that "
        "the theorem holds, and by a wide margin."
    ),
    "ridge": (
        "Largest singular value of the rank-1 minimum over the ridge lambda, a curve for each depth; circles are "
        "where gradient descent from that minimum ends. The circles lie on the curve until the minimum ends (dotted "
        "line), and are at 0 beyond it."
    ),
}

RANK_ONE_COLOUR, RANK_TWO_COLOUR = plots.COLOURS[:2]


def figures(found: Sequence[Run]) -> dict[str, Figure]:
    """A figure for each of the studies that were run."""
    drawings = {
        "landscape": (_landscape, ("fold",)),
        "minima": (_minima, ("factors", "matrix")),
        "region": (_region, ("region",)),
        "ridge": (_ridge, ("end",)),
        "frequency": (_frequency, ("jumps",)),
    }
    chosen = {name: [r for r in found if r.config.study in studies] for name, (_, studies) in drawings.items()}
    return {name: draw(chosen[name]) for name, (draw, _) in drawings.items() if chosen[name]}


def _landscape(found: Sequence[Run]) -> Figure:
    """C_lambda at the critical points over eps with the ends of GD on it, and s_2/s_1 below."""
    folds = grouped(found, lambda run: run.variant)
    drawn = plots.figure(4.4 * len(folds) + 2.2, 5.6)
    grid = drawn.subplots(2, len(folds), squeeze=False, sharex="col")
    for column, runs in zip(grid.T, folds.values(), strict=True):
        _landscape_column(column, runs)
    grid[0, 0].set_ylabel(r"$C_\lambda$ at the minimum")
    grid[1, 0].set_ylabel("$s_2/s_1$")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside upper center", ncols=2 if len(folds) == 1 else 4)
    return drawn


def _landscape_column(column: np.ndarray, runs: Sequence[Run]) -> None:
    _, ridge, depth = setting(runs[0])
    seen, last = np.array([setting(run)[0] for run in runs]), last_offdiagonal(ridge, depth)
    eps = np.sort(np.append(np.linspace(0.9 * seen.min(), 1.05 * seen.max(), 200), last * (1 - 1e-9)))
    values, ended = (
        np.stack(each, axis=1)
        for each in ([run.last("value") for run in runs], [ratio(run.last("product")) for run in runs])
    )
    for rank, colour in ((1, RANK_ONE_COLOUR), (2, RANK_TWO_COLOUR)):
        minima = [minimum(x, ridge, depth, rank) for x in eps]
        exact = [cost(at.matrix, x, ridge, depth) for at, x in zip(minima, eps, strict=True)]
        column[0].plot(eps, exact, color=colour, label=f"rank-{rank} minimum")
        if rank == 2:
            s = np.stack([at.singular_values for at in minima])
            column[1].plot(eps, s[:, 1] / s[:, 0], color=colour)
    for low, colour in ((True, RANK_ONE_COLOUR), (False, RANK_TWO_COLOUR)):
        chosen = (ended < RANK_ONE) == low
        where = np.broadcast_to(seen, chosen.shape)[chosen]
        label = f"GD ends at rank {1 if low else 2}"
        column[0].plot(where, values[chosen], "o", color=colour, markersize=4.5, fillstyle="none", label=label)
        column[1].plot(where, ended[chosen], "o", color=colour, markersize=4.5, fillstyle="none")
    for axes in column:
        axes.axvline(last, color="black", linestyle=":", linewidth=1.0)
    at = last, 0.9 * plots.largest([ended])
    column[1].annotate(f"ends at ε = {last:.4f}", at, (6, 0), textcoords="offset points")
    column[0].set_title(f"L = {depth}, λ = {4 * ridge:g}")
    column[1].set_xlabel("ε")


def _minima(found: Sequence[Run]) -> Figure:
    """Every end of both searches: the missing entry against the observed one that differs."""
    panels = sorted(grouped(found, "net.depth").items())
    drawn = plots.figure(4.0 * len(panels) + 0.6, 3.9)
    row = drawn.subplots(1, len(panels), squeeze=False)[0]
    looks = {
        "factors": ("o", 9.0, RANK_ONE_COLOUR, r"GD on $L_\lambda$"),
        "matrix": ("x", 5.0, RANK_TWO_COLOUR, r"proximal on $C_\lambda$"),
    }
    for axes, (_, panel) in zip(row, panels, strict=True):
        for study, (marker, size, colour, label) in looks.items():
            ours = [run.last("product") for run in panel if run.config.study == study]
            ends = np.concatenate([np.empty((0, 2, 2)), *ours])
            x, y = ends[:, 0, 1], ends[:, 1, 0]
            axes.plot(x, y, marker, color=colour, markersize=size, fillstyle="none", label=label)
        _name_minima(axes, panel[0])
        axes.set_xlabel("$A_{01}$ (missing)")
        axes.margins(0.2)
    row[0].set_ylabel("$A_{10}$ (observed as ε)")
    drawn.legend(*row[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return drawn


def _name_minima(axes: Axes, run: Run) -> None:
    eps, ridge, depth = setting(run)
    for name, A in known_minima(eps, ridge, depth).items():
        axes.annotate(name, (A[0, 1], A[1, 0]), (0, 9), textcoords="offset points", ha="center", fontsize=8)
    axes.axhline(eps, color="black", linestyle=":", linewidth=1.0)
    axes.set_title(f"L = {depth}, ε = {eps:g}, λ = {4 * ridge:g}")


def _ridge(found: Sequence[Run]) -> Figure:
    """s_1 of the rank-1 minimum over lambda, and where GD from it ends."""
    ends = grouped(found, lambda run: run.variant).values()
    drawn = plots.figure(6.2, 3.4)
    axes = drawn.subplots()
    for look, runs in zip(plots.looks(len(ends)), ends, strict=True):
        eps, _, depth = setting(runs[0])
        last = 4 * last_ridge(eps, depth, 1)
        decays = np.append(np.linspace(0.02, last, 200)[:-1], last * (1 - 1e-9))
        exact = [minimum(eps, decay / 4, depth, 1).singular_values[0] for decay in decays]
        axes.plot(decays, exact, label=f"L = {depth}: exact, ends at λ = {last:.3f}", **look.curve)
        for run in runs:
            reached = singular_values(run.last("product"))[:, 0]
            where = np.full(run.num_seeds, run.config.opt.weight_decay)
            axes.plot(where, reached, "o", color=look.colour, markersize=5, fillstyle="none")
        axes.axvline(last, color=look.colour, linestyle=":", linewidth=1.0)
    axes.plot([], [], "o", color="black", fillstyle="none", label="GD from the rank-1 minimum")
    axes.set_xlabel("λ of the update")
    axes.set_ylabel("$s_1$ of A")
    axes.set_title(f"the rank-1 minimum, ε = {setting(found[0])[0]:g}")
    axes.legend()
    return drawn


def _region(found: Sequence[Run]) -> Figure:
    """How far beyond the admissible step one must go to leave B_1, by each of its bounds."""
    regions = [run for run in found if run.config.region.norm_times == 1]
    drawn = plots.figure(7.6, 0.9 + 1.2 * len(regions))
    axes = drawn.subplots()
    names = (r"norm, $||W_l||_F^2 = C$", "imbalance $= ε_1$", "soft rank $= r + ε_2$")
    for index, (name, colour) in enumerate(zip(names, plots.COLOURS[: len(names)], strict=True)):
        # An exact zero would be a step that leaves at once; none is expected here.
        rows = [run.all("leaving")[..., index].ravel() for run in regions]
        plots.strip(axes, rows, colour=colour, offset=0.2 * (index - 1), label=name)
    axes.axvline(1, color="black", linestyle="--", linewidth=1.0, label="Theorem B.1")
    plots.name_rows(axes, [f"L = {run.config.net.depth}" for run in regions])
    axes.set_xlabel("smallest η that leaves $B_1$, over the largest admissible η")
    drawn.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return drawn


def _frequency(found: Sequence[Run]) -> Figure:
    """How many members have jumped by a step."""
    run = found[0]
    drawn = plots.figure(6.2, 3.2)
    axes = drawn.subplots()
    jumped = ratio(run.all("product")) < JUMPED
    axes.plot(run.steps, jumped.mean(0), color=RANK_ONE_COLOUR, label=f"{len(jumped)} members of SGD")
    axes.set_xlabel("step t")
    axes.set_ylabel("fraction with $s_2/s_1 < 10^{-2}$")
    axes.set_ylim(-0.02, 1.02)
    axes.legend()
    return drawn
