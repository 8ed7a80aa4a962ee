"""The figures of the theory of rank jumps: the landscape over eps, the minima found, and what the bounds say."""

import functools as ft
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.runner import plots
from experiments.runner.results import Group, groups
from lawlib.theory import rank_jumps_landscape as landscape

__all__ = ["figures", "known_minima", "last_offdiagonal", "last_ridge", "minimum", "ratio", "singular_values"]

RANK_ONE_COLOUR, RANK_TWO_COLOUR = plots.COLOURS[:2]


def singular_values(products: np.ndarray) -> np.ndarray:
    """s_1 >= s_2 on the last axis; NaN where a product is not finite."""
    finite: np.ndarray = np.all(np.isfinite(products), axis=(-2, -1))
    s = np.linalg.svd(np.where(finite[..., None, None], products, 0), compute_uv=False)
    return np.where(finite[..., None], s, np.nan)


def ratio(products: np.ndarray) -> np.ndarray:
    """s_2/s_1; 0 for a matrix of zeros."""
    s = singular_values(products)
    return s[..., 1] / np.maximum(s[..., 0], np.finfo(float).tiny)


@ft.cache
def last_ridge(offdiagonal: float, depth: int, rank: int) -> float:
    """The exact ridge at which the minimum of that rank ends."""
    return float(_ending(depth, rank)(float(offdiagonal)))


@ft.cache
def _ending(depth: int, rank: int) -> Callable[[float], jax.Array]:
    # Compiled once: the bisections inside take longer to compile than to run.
    return jax.jit(lambda offdiagonal: landscape.last_ridge(offdiagonal, depth=depth, rank=rank).ridge)


@ft.cache
def last_offdiagonal(ridge: float, depth: int) -> float:
    """The exact eps at which the rank-2 minimum ends."""
    return float(jax.jit(ft.partial(landscape.last_offdiagonal, depth=depth))(ridge))


@ft.cache
def minimum(eps: float, ridge: float, depth: int, rank: int, fill_sign: int = 1) -> landscape.Minimum:
    """The exact minimum, as numpy arrays."""
    return jax.tree.map(np.asarray, _solved(depth, rank, fill_sign)(float(eps), float(ridge)))


@ft.cache
def _solved(depth: int, rank: int, fill_sign: int) -> Callable[[float, float], landscape.Minimum]:
    return jax.jit(ft.partial(landscape.local_minimum, depth=depth, rank=rank, fill_sign=fill_sign))


def known_minima(eps: float, ridge: float, depth: int) -> dict[str, Any]:
    """Every local minimum of C_lambda, by name."""
    kinds = {"rank 1": (1, 1), "rank 1, wrong sign": (1, -1), "rank 2": (2, 1)}
    found = {name: minimum(eps, ridge, depth, rank, sign).matrix for name, (rank, sign) in kinds.items()}
    return {"0": np.zeros((2, 2)), **found}


def figures(results: xr.DataTree) -> dict[str, Figure]:
    """What there is to see of the studies that were run."""
    found = groups(results)
    drawn = {}
    if folds := [g for g in found if g.config.study == "fold"]:
        drawn["landscape"] = _landscape(folds)
    if searches := [g for g in found if g.config.study in ("factors", "matrix")]:
        drawn["minima"] = _minima(searches)
    if regions := [g for g in found if g.config.study == "region"]:
        drawn["region"] = _region(regions)
    if ends := [g for g in found if g.config.study == "end"]:
        drawn["ridge"] = _ridge(ends)
    if jumps := [g for g in found if g.config.study == "jumps"]:
        drawn["frequency"] = _frequency(jumps[0])
    return drawn


def _landscape(folds: list[Group]) -> Figure:
    """C_lambda at the critical points over eps with the ends of GD on it, and s_2/s_1 below."""
    drawn = plots.figure(4.4 * len(folds) + 2.2, 5.6)
    grid = drawn.subplots(2, len(folds), squeeze=False, sharex="col")
    for column, group in zip(grid.T, folds, strict=True):
        _landscape_column(column, group)
    grid[0, 0].set_ylabel(r"$C_\lambda$ at the minimum")
    grid[1, 0].set_ylabel("$s_2/s_1$")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside upper center", ncols=2 if len(folds) == 1 else 4)
    return drawn


def _landscape_column(column: np.ndarray, group: Group) -> None:
    depth, ridge = group.config.net.depth, group.config.opt.weight_decay / 4
    seen, last = group.data.offdiagonal.values, last_offdiagonal(ridge, depth)
    eps = np.sort(np.append(np.linspace(0.9 * seen.min(), 1.05 * seen.max(), 200), last * (1 - 1e-9)))
    values = group.data.value.isel(step=-1).values
    ended = ratio(group.data["product"].isel(step=-1).values)
    for rank, colour in ((1, RANK_ONE_COLOUR), (2, RANK_TWO_COLOUR)):
        minima = [minimum(x, ridge, depth, rank) for x in eps]
        s = np.stack([at.singular_values for at in minima])
        exact = _values(np.stack([at.matrix for at in minima]), s, eps, ridge, depth)
        column[0].plot(eps, exact, color=colour, label=f"rank-{rank} minimum")
        if rank == 2:
            column[1].plot(eps, s[:, 1] / s[:, 0], color=colour)
    for low, colour in ((True, RANK_ONE_COLOUR), (False, RANK_TWO_COLOUR)):
        chosen = (ended < 1e-6) == low
        where = np.broadcast_to(seen, chosen.shape)[chosen]
        label = f"GD ends at rank {1 if low else 2}"
        column[0].plot(where, values[chosen], "o", color=colour, markersize=4.5, fillstyle="none", label=label)
        column[1].plot(where, ended[chosen], "o", color=colour, markersize=4.5, fillstyle="none")
    for axes in column:
        axes.axvline(last, color="black", linestyle=":", linewidth=1.0)
    at = last, 0.9 * plots.largest([ended])
    column[1].annotate(f"ends at ε = {last:.4f}", at, (6, 0), textcoords="offset points")
    column[0].set_title(f"L = {depth}, λ = {group.config.opt.weight_decay:g}")
    column[1].set_xlabel("ε")


def _values(A: np.ndarray, s: np.ndarray, eps: np.ndarray, ridge: float, depth: int) -> np.ndarray:
    data = (A[:, 0, 0] - 1) ** 2 + (A[:, 1, 0] - eps) ** 2 + (A[:, 1, 1] - 1) ** 2
    return data / 6 + ridge * depth * np.sum(s ** (2 / depth), axis=-1)


def _minima(searches: list[Group]) -> Figure:
    """Every end of both searches: the missing entry against the observed one that differs."""
    depths = sorted({g.config.net.depth for g in searches})
    drawn = plots.figure(4.0 * len(depths) + 0.6, 3.9)
    row = drawn.subplots(1, len(depths), squeeze=False)[0]
    looks = {
        "factors": ("o", 9.0, RANK_ONE_COLOUR, r"GD on $L_\lambda$"),
        "matrix": ("x", 5.0, RANK_TWO_COLOUR, r"proximal on $C_\lambda$"),
    }
    for axes, depth in zip(row, depths, strict=True):
        for study, (marker, size, colour, label) in looks.items():
            family = [g for g in searches if (g.config.study, g.config.net.depth) == (study, depth)]
            found = [g.data["product"].isel(step=-1).values.reshape(-1, 2, 2) for g in family]
            ends = np.concatenate([np.empty((0, 2, 2)), *found])
            x, y = ends[:, 0, 1], ends[:, 1, 0]
            axes.plot(x, y, marker, color=colour, markersize=size, fillstyle="none", label=label)
        _name_minima(axes, next(g for g in searches if g.config.net.depth == depth))
        axes.set_xlabel("$A_{01}$ (missing)")
        axes.margins(0.2)
    row[0].set_ylabel("$A_{10}$ (observed as ε)")
    drawn.legend(*row[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return drawn


def _name_minima(axes: Axes, group: Group) -> None:
    depth, eps, decay = group.config.net.depth, group.config.data.offdiagonal, group.config.opt.weight_decay
    for name, A in known_minima(eps, decay / 4, depth).items():
        axes.annotate(name, (A[0, 1], A[1, 0]), (0, 9), textcoords="offset points", ha="center", fontsize=8)
    axes.axhline(eps, color="black", linestyle=":", linewidth=1.0)
    axes.set_title(f"L = {depth}, ε = {eps:g}, λ = {decay:g}")


def _ridge(ends: list[Group]) -> Figure:
    """s_1 of the rank-1 minimum over lambda, and where GD from it ends."""
    drawn = plots.figure(6.2, 3.4)
    axes = drawn.subplots()
    for look, group in zip(plots.looks(len(ends)), ends, strict=True):
        depth, eps = group.config.net.depth, group.config.data.offdiagonal
        last = 4 * last_ridge(eps, depth, 1)
        decays = np.append(np.linspace(0.02, last, 200)[:-1], last * (1 - 1e-9))
        exact = [minimum(eps, decay / 4, depth, 1).singular_values[0] for decay in decays]
        axes.plot(decays, exact, label=f"L = {depth}: exact, ends at λ = {last:.3f}", **look.curve)
        reached = singular_values(group.data["product"].isel(step=-1).values)[..., 0]
        for row in reached:
            axes.plot(group.data.weight_decay.values, row, "o", color=look.colour, markersize=5, fillstyle="none")
        axes.axvline(last, color=look.colour, linestyle=":", linewidth=1.0)
    axes.plot([], [], "o", color="black", fillstyle="none", label="GD from the rank-1 minimum")
    axes.set_xlabel("λ of the update")
    axes.set_ylabel("$s_1$ of A")
    axes.set_title(f"the rank-1 minimum, ε = {ends[0].config.data.offdiagonal:g}")
    axes.legend()
    return drawn


def _region(regions: list[Group]) -> Figure:
    """How far beyond the admissible step one must go to leave B_1, by each of its bounds."""
    drawn = plots.figure(7.6, 0.9 + 1.2 * len(regions))
    axes = drawn.subplots()
    names = (r"norm, $||W_l||_F^2 = C$", "imbalance $= ε_1$", "soft rank $= r + ε_2$")
    for index, (name, colour) in enumerate(zip(names, plots.COLOURS[: len(names)], strict=True)):
        # The exact zeros are steps that leave at once; none is expected here.
        rows = [g.data.leaving.sel(norm_times=1.0).values.reshape(-1, 3)[:, index] for g in regions]
        plots.strip(axes, rows, colour=colour, offset=0.2 * (index - 1), label=name)
    axes.axvline(1, color="black", linestyle="--", linewidth=1.0, label="Theorem B.1")
    plots.name_rows(axes, [f"L = {g.config.net.depth}" for g in regions])
    axes.set_xlabel("smallest η that leaves $B_1$, over the largest admissible η")
    drawn.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return drawn


def _frequency(group: Group) -> Figure:
    """How many members have jumped by a step."""
    drawn = plots.figure(6.2, 3.2)
    axes = drawn.subplots()
    steps = group.data.step.values
    jumped = ratio(group.data["product"].values) < 1e-2
    axes.plot(steps, jumped.mean(0), color=RANK_ONE_COLOUR, label=f"{len(jumped)} members of SGD")
    axes.set_xlabel("step t")
    axes.set_ylabel("fraction with $s_2/s_1 < 10^{-2}$")
    axes.set_ylim(-0.02, 1.02)
    axes.legend()
    return drawn
