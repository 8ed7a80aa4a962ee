"""What claims and figures of the theory of rank jumps measure, and the exact minima that they compare it with."""

import functools as ft
import math
from typing import Any

import jax
import numpy as np

from experiments.runner.runs import Run
from lawlib.theory import rank_jumps_landscape as landscape

# s_2/s_1 of a matrix of rank 1, and of a member that has jumped.
RANK_ONE, JUMPED = 1e-6, 1e-2


def setting(run: Run) -> tuple[float, float, int]:
    """(eps, lambda of L_lambda, L) of a run; its weight decay is 4 lambda."""
    config = run.config
    return config.data.offdiagonal, config.opt.weight_decay / 4, config.net.depth


def singular_values(products: np.ndarray) -> np.ndarray:
    """s_1 >= s_2 on the last axis; NaN where a product is not finite."""
    finite: np.ndarray = np.all(np.isfinite(products), axis=(-2, -1))
    s = np.linalg.svd(np.where(finite[..., None, None], products, 0), compute_uv=False)
    return np.where(finite[..., None], s, np.nan)


def ratio(products: np.ndarray) -> np.ndarray:
    """s_2/s_1; 0 for a matrix of zeros."""
    s = singular_values(products)
    return s[..., 1] / np.maximum(s[..., 0], np.finfo(float).tiny)


# Exact minima, and their ends. Each is compiled once: its bisections take longer to compile than to run. --------------

_last_ridge = jax.jit(landscape.last_ridge, static_argnames=("depth", "rank"))
_last_offdiagonal = jax.jit(landscape.last_offdiagonal, static_argnames="depth")
_minimum = jax.jit(landscape.local_minimum, static_argnames=("depth", "rank", "fill_sign"))


@ft.cache
def last_ridge(eps: float, depth: int, rank: int) -> float:
    """The exact lambda at which the minimum of that rank ends."""
    return float(_last_ridge(float(eps), depth=depth, rank=rank).ridge)


@ft.cache
def last_offdiagonal(ridge: float, depth: int) -> float:
    """The exact eps at which the rank-2 minimum ends."""
    return float(_last_offdiagonal(float(ridge), depth=depth))


@ft.cache
def minimum(eps: float, ridge: float, depth: int, rank: int, fill_sign: int = 1) -> landscape.Minimum:
    """The exact minimum, as numpy arrays."""
    return jax.tree.map(
        np.asarray, _minimum(float(eps), ridge=float(ridge), depth=depth, rank=rank, fill_sign=fill_sign)
    )


def known_minima(eps: float, ridge: float, depth: int) -> dict[str, Any]:
    """Every local minimum of C_lambda, by name."""
    kinds = {"rank 1": (1, 1), "rank 1, wrong sign": (1, -1), "rank 2": (2, 1)}
    found = {name: minimum(eps, ridge, depth, rank, sign).matrix for name, (rank, sign) in kinds.items()}
    return {"0": np.zeros((2, 2)), **found}


def cost(A: Any, eps: float, ridge: float, depth: int) -> float:
    """C_lambda(A) by numpy; NaN where A is not finite."""
    if not np.isfinite(A).all():
        return math.nan
    data = (A[0, 0] - 1) ** 2 + (A[1, 0] - eps) ** 2 + (A[1, 1] - 1) ** 2
    # A singular value that is rounding would add s^(2/L).
    s = np.linalg.svd(np.asarray(A), compute_uv=False)
    kept = s[s > 1e-13 * max(s[0], 1e-300)] if s[0] > 1e-12 else s[:0]
    return float(data / 6 + ridge * depth * np.sum(kept ** (2 / depth)))
