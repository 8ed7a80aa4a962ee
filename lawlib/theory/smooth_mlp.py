"""Low-rank dynamics of MLPs with smooth activations (Xu et al. 2026, Section 3): what a step may change.

f(X) = W_2 phi(W_1 X) is trained in W_1 (m, d) alone on 1/2 ||f(X) - Y||_F^2 (a sum over entries) with whitened inputs
X (d, N), X X^T = I, from W_1(0)^T W_1(0) = eps^2 I. G_1(t) (m, d) is the gradient, L_{1,1}(t) and R_{1,1}(t) its K
leading left and right singular subspaces, K the number of outputs, p = d - 2K. With the subspaces of ``big_and_small``,

    U^T W_1(t) V = [[W~_1, W~_2], [W~_3, W~_4]],   U_2 = W_1(0) V_2 / eps,

the blocks 2, 3, 4 change by at most eta rho(t) sqrt p in a step (Theorem D.11). The paper's ||sin Theta||_2 is the
Frobenius norm sqrt(sum_i sin^2 theta_i). The constants of the theorem are in ``smooth_mlp_bounds``.
"""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lawlib.linalg.subspaces import SubspaceSum, block_energies, complement, orthonormal_sum, value_after, wedin
from lawlib.networks.activations import Activation, activation
from lawlib.types import Array, Float, Matrix, Rate, Scalar, Weights, matmul

__all__ = [
    "StepBound",
    "UpdateSubspaces",
    "alignment",
    "big_and_small",
    "big_subspace",
    "first_layer_gradient",
    "step_bound",
    "step_rate",
    "transported",
]


class UpdateSubspaces(NamedTuple):
    """Orthonormal bases of S_big (d, 2K) and of its complement S_small (d, p): V_{1,1} and V_{1,2}.

    kept is the smallest singular value of the two halves of S_big side by side, each of norm 1: where it is at the
    level of rounding, S_big has fewer than 2K dimensions and some of its columns are arbitrary. gap is the relative gap
    (sigma_K - sigma_{K+1}) / sigma_1 of the gradient, and 0 for a zero gradient: where it is at the level of rounding,
    as for a gradient of rank K - 1 or a very small eps, the K leading subspaces are themselves arbitrary.
    """

    big: Float[Array, "d k"]
    small: Float[Array, "d p"]
    kept: Scalar
    gap: Scalar


class StepBound(NamedTuple):
    """Both sides of Theorem D.11: distances (3,) <= bound, for the blocks 2, 3 and 4; ratio is the worst of the three.

    distances are ||W~_i(t+1) - W~_i(t)||_F / sqrt p; bound is eta rho(t).
    """

    distances: Float[Array, "3"]
    bound: Scalar
    ratio: Scalar


def first_layer_gradient(
    weights: Weights, inputs: Float[Array, "d N"], targets: Float[Array, "K N"], phi: str | Activation
) -> Float[Array, "m d"]:
    """G_1 = (W_2^T Delta_2 . phi'(W_1 X)) X^T (m, d), Delta_2 = W_2 phi(W_1 X) - Y (Xu et al. 2026, eq. 12).

    The gradient in W_1 of 1/2 ||W_2 phi(W_1 X) - Y||_F^2, a sum over entries.

    Raises:
        ValueError: the network does not have two layers.
    """
    if len(weights) != 2:
        msg = f"the formula is for networks of two layers, got {len(weights)} layers"
        raise ValueError(msg)
    W_1, W_2 = weights
    phi = activation(phi)
    Z = matmul(W_1, inputs)
    H, slopes = jax.jvp(phi.function, (Z,), (jnp.ones_like(Z),))
    residual = matmul(W_2, H) - targets
    return matmul(matmul(W_2.T, residual) * slopes, inputs.T)


def big_and_small(start: Float[Array, "m d"], gradient: Float[Array, "m d"], num_classes: int) -> UpdateSubspaces:
    """S_big = span[R_{1,1}(0), W_1(0)^T L_{1,1}(0)] and S_small, its complement (Xu et al. 2026, eq. 5).

    start is W_1(0), gradient that of the first layer at initialization, for any loss and depth; K = num_classes.
    S_small is the intersection of R(R_{1,2}(0)) and R^perp(W_1(0)^T L_{1,1}(0)/eps). It is computed as the complement
    of a sum, in which eps cancels.

    Raises:
        ValueError: 2K >= d, which leaves no S_small.
    """
    _num_small(start.shape[1], num_classes)
    L, s, Rt = jnp.linalg.svd(gradient, full_matrices=False)
    big = big_subspace(start, L[:, :num_classes], Rt[:num_classes].T)
    gap = (s[num_classes - 1] - value_after(s, num_classes)) / jnp.where(s[0] > 0, s[0], 1)
    return UpdateSubspaces(big.basis, complement(big.basis), big.kept, gap)


def big_subspace(start: Float[Array, "m d"], left: Float[Array, "m K"], right: Float[Array, "d K"]) -> SubspaceSum:
    """S_big (d, 2K), from the K leading left and right singular vectors of the first layer's gradient (eq. 5).

    start is W_1(0). The vectors may come from products (``spectra.block_krylov_svd``), without the gradient.
    """
    return orthonormal_sum(right, matmul(start.T, left), dimension=2 * right.shape[1])


def transported(weights: Weights, basis: Float[Array, "d k"], scale: Rate) -> tuple[Matrix, ...]:
    """The images of a basis under eps-orthogonal layers: (B_0 = basis, B_1, ..., B_n), B_l = W_l(0) B_{l-1} / eps.

    weights are the n hidden layers W_1(0), ..., W_n(0) and eps = scale. With basis = V_{1,2}, V_{l,2} = B_{l-1} and
    U_{l,2} = B_l (Xu et al. 2026, eqs. 6-8); with basis = V_{1,1} the last is the U~ of the S_big initialization.
    The images are orthonormal unless a layer is narrower than the one before.
    """
    return tuple(itertools.accumulate(weights, lambda B, W: matmul(W, B) / scale, initial=basis))


def alignment(gradient: Float[Array, "m d"], start: Float[Array, "m d"], num_classes: int) -> Scalar:
    """A(t) = max(||sin Theta(L_{1,1}(t), L_{1,1}(0))||_F, ||sin Theta(R_{1,1}(t), R_{1,1}(0))||_F) in [0, sqrt K].

    gradient is G_1(t) and start G_1(0) (Xu et al. 2026, Theorem 3.5). Both angles and Wedin's bound on them
    (eq. 17) come from ``lawlib.linalg.subspaces.wedin(gradient, start, num_classes)``.
    """
    angles = wedin(gradient, start, num_classes)
    return jnp.maximum(angles.left, angles.right)


def step_rate(gradient: Float[Array, "m d"], *, aligned: Scalar, num_classes: int) -> Scalar:
    """rho(t) = sqrt(sigma_1(G_1(t))^2 A(t)^2 / p + sigma_{K+1}(G_1(t))^2), p = d - 2K (Xu et al. 2026, Theorem 3.5).

    aligned is A(t) of ``alignment``; the bound on a block's change in a step is eta rho(t) sqrt p.

    Raises:
        ValueError: 2K >= d.
    """
    p = _num_small(gradient.shape[1], num_classes)
    s = jnp.linalg.svd(gradient, compute_uv=False)
    return jnp.sqrt(jnp.square(s[0] * aligned) / p + jnp.square(value_after(s, num_classes)))


def step_bound(
    step: Float[Array, "m d"],
    gradient: Float[Array, "m d"],
    start_gradient: Float[Array, "m d"],
    left: Float[Array, "m p"],
    right: Float[Array, "d p"],
    step_size: Rate,
) -> StepBound:
    """||W~_i(t+1) - W~_i(t)||_F / sqrt p <= eta rho(t), i = 2, 3, 4 (Xu et al. 2026, Theorem D.11, first form).

    step = W_1(t+1) - W_1(t), gradient = G_1(t), start_gradient = G_1(0), eta = step_size, right = V_2 of S_small at
    initialization, left = U_2 = W_1(0) V_2 / eps. The bound holds for every step of gradient descent with any eta and
    any activation, smooth or not: only the bounds on rho(t) need Assumptions 3.2 to 3.4.
    """
    d, p = right.shape
    num_classes = (d - p) // 2
    distances = jnp.sqrt(block_energies(step, left, right)[1:] / p)
    bound = step_size * step_rate(
        gradient, aligned=alignment(gradient, start_gradient, num_classes), num_classes=num_classes
    )
    ratio = jnp.max(distances) / jnp.where(bound > 0, bound, 1)
    return StepBound(distances, bound, ratio)


def _num_small(d: int, num_classes: int) -> int:
    """The dimension p = d - 2K of S_small."""
    if not 0 < 2 * num_classes < d:
        msg = f"S_small needs 0 < 2 num_classes < d={d}, got num_classes={num_classes}"
        raise ValueError(msg)
    return d - 2 * num_classes
