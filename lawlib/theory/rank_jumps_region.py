"""The sets B_r that SGD with weight decay does not leave, and the steps that would leave them (Wang and Jacot 2024).

theta = (W_1, ..., W_L) is in B_r when every layer has ||W_l||_F^2 <= C and a soft rank
sum_i f_alpha(s_i(W_l^T W_l)) <= r + eps_2, and every imbalance D_l = W_{l+1}^T W_{l+1} - W_l W_l^T, l = 1, ..., L-1,
has norm at most eps_1: the squared Frobenius norm in the main text, the spectral norm in Theorem B.1. The units are
those of the appendix,

    W_l <- (1 - eta lambda) W_l - eta T_l,   T_l = (W_L ... W_{l+1})^T G (W_{l-1} ... W_1)^T,

with G the residual A - A* of the drawn entry and zero elsewhere.
"""

import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lawlib.networks.deep_linear import end_to_end, imbalances
from lawlib.types import Array, Bool, Float, Matrix, Number, PyTree, Scalar, Weights, matmul

__all__ = [
    "LeavingSteps",
    "Region",
    "RegionQuantities",
    "is_inside",
    "leaving_steps",
    "rank_weight",
    "region_quantities",
    "sgd_step",
    "soft_rank",
]


class Region(NamedTuple):
    """The constants of B_r: r, eps_2, eps_1 (for the spectral norm), alpha and C."""

    rank: Number | int
    slack: Number
    imbalance: Number
    cutoff: Number
    norm: Number


class RegionQuantities(NamedTuple):
    """||W_l||_F^2 (L,), ||D_l||_F^2 and ||D_l||_2 (L-1,) of all pairs of neighbours, and the soft ranks (L,)."""

    norms: Float[Array, " L"]
    squared_frobenius_imbalances: Float[Array, " L-1"]
    spectral_imbalances: Float[Array, " L-1"]
    soft_ranks: Float[Array, " L"]


class LeavingSteps(NamedTuple):
    """The smallest eta at which a step leaves B_r by the norm of a layer (L,) or by an imbalance (L-1,)."""

    by_norm: Float[Array, " L"]
    by_imbalance: Float[Array, " L-1"]


def rank_weight(x: Array, cutoff: Number) -> Array:
    """f_alpha(x) = x (2 alpha - x) / alpha^2 for x <= alpha, else 1; alpha = cutoff, any shape (ibid., Section 3.2).

    Its slope is at most K / alpha with K = 2.

    Raises:
        ValueError: cutoff is a number that is not positive.
    """
    if isinstance(cutoff, float | int) and not 0 < cutoff < math.inf:
        msg = f"cutoff must be positive and finite, got {cutoff}"
        raise ValueError(msg)
    share = jnp.minimum(x / cutoff, 1)
    return share * (2 - share)


def soft_rank(W: Matrix, cutoff: Number) -> Scalar:
    """sum_i f_alpha(s_i(W)^2), alpha = cutoff: at most the rank of W, and equal to it as alpha goes to 0."""
    return jnp.sum(rank_weight(jnp.square(jnp.linalg.svd(W, compute_uv=False)), cutoff))


def region_quantities(weights: Weights, cutoff: Number) -> RegionQuantities:
    """The quantities that decide membership in B_r, alpha = cutoff; imbalances below eps ||W_l||^2 are rounding."""
    between = imbalances(weights)
    return RegionQuantities(
        jnp.stack([jnp.sum(jnp.square(W)) for W in weights]),
        jnp.stack([jnp.sum(jnp.square(D)) for D in between]),
        jnp.stack([jnp.linalg.norm(D, ord=2) for D in between]),
        jnp.stack([soft_rank(W, cutoff) for W in weights]),
    )


def is_inside(quantities: RegionQuantities, region: Region) -> Bool[Array, ""]:
    """Whether weights with these quantities are in B_r, with Theorem B.1's spectral norm of the imbalance."""
    bounded = jnp.all(quantities.norms <= region.norm) & jnp.all(quantities.spectral_imbalances <= region.imbalance)
    return bounded & jnp.all(quantities.soft_ranks <= region.rank + region.slack)


def sgd_step(weights: Weights, residual: Matrix, *, step_size: Number, weight_decay: Number) -> Weights:
    """(1 - eta lambda) W_l - eta T_l, the appendix's step on the entry where G = residual (d_L, d_0) is not zero."""
    pushes = _pushes(weights, residual)
    return jax.tree.map(lambda W, T: (1 - step_size * weight_decay) * W - step_size * T, weights, pushes)


def leaving_steps(weights: Weights, residual: Matrix, *, weight_decay: Number, imbalance: Number) -> LeavingSteps:
    """The smallest eta at which a step leaves B_r from a point where its bounds are attained, without cancellation.

    At ||W_l||_F^2 = C a step grows the norm when eta > 2 (lambda C + Tr W_l^T T_l) / ||T_l + lambda W_l||_F^2 (ibid.,
    eq. 5), and for every eta > 0 where the numerator is negative. An imbalance D_l of spectral norm eps_1 = imbalance
    becomes (1 - eta lambda)^2 D_l - eta^2 X_l, X_l = T_l T_l^T - T_{l+1}^T T_{l+1}, exactly (Proposition D.3). Its norm
    grows, for the worst D_l of that norm, when eta > 2 lambda eps_1 / (lambda^2 eps_1 + ||X_l||_2). T is computed from
    the given weights: a D_l of 1e-24 changes T by as much, far below rounding.
    """
    pushes = _pushes(weights, residual)
    drifts = [weight_decay * jnp.sum(jnp.square(W)) + jnp.sum(W * T) for W, T in zip(weights, pushes, strict=True)]
    sizes = [jnp.sum(jnp.square(T + weight_decay * W)) for W, T in zip(weights, pushes, strict=True)]
    forces = [jnp.linalg.norm(matmul(T, T.T) - matmul(up.T, up), ord=2) for T, up in itertools.pairwise(pushes)]
    by_norm = 2 * jnp.maximum(jnp.stack(drifts), 0) / jnp.stack(sizes)
    return LeavingSteps(by_norm, 2 * weight_decay * imbalance / (weight_decay**2 * imbalance + jnp.stack(forces)))


def _pushes(weights: Weights, residual: Matrix) -> PyTree:
    """(T_1, ..., T_L) by automatic differentiation of <G, W_L ... W_1>."""
    return jax.grad(lambda weights: jnp.sum(residual * end_to_end(weights)))(weights)
