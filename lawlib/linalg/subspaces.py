"""Subspaces given by orthonormal bases in columns: angles, distances, complements, sums, perturbation.

Nothing here depends on the choice of a basis. Every distance is computed from the residual V - U U^T V, since
1 - cos^2 loses half of the digits of a small angle. The products have the highest precision, since the
default of an accelerator keeps three digits.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax.core import Tracer

from lawlib.types import Array, Float, Scalar, matmul

__all__ = [
    "SubspaceSum",
    "Wedin",
    "block_energies",
    "block_fractions",
    "complement",
    "orthonormal_sum",
    "principal_angles",
    "projector_distance",
    "sin_theta",
    "value_after",
    "wedin",
]


class SubspaceSum(NamedTuple):
    """A basis of a sum of subspaces, and how well the blocks determine it.

    basis is (d, k); kept is sigma_k and dropped is sigma_{k+1} of the scaled blocks side by side, 0 where
    there is no further value. The span is well determined if kept exceeds dropped by much more than the
    error of the scaled blocks.
    """

    basis: Float[Array, "d k"]
    kept: Scalar
    dropped: Scalar


class Wedin(NamedTuple):
    """Both sides of Wedin's inequality max(left, right) <= bound; all are scalars.

    left and right are ||sin Theta||_F between the leading singular subspaces of A~ and A; perturbation_left
    is ||P^T L_1(A~)||_F and perturbation_right ||P R_1(A~)||_F with P = A~ - A; gap is
    sigma_K(A~) - sigma_{K+1}(A); bound is max(perturbation_left, perturbation_right) / gap, and +inf where
    the gap is not positive.
    """

    left: Scalar
    right: Scalar
    perturbation_left: Scalar
    perturbation_right: Scalar
    gap: Scalar
    bound: Scalar


def principal_angles(U: Float[Array, "d r"], V: Float[Array, "d s"]) -> Float[Array, " min(r,s)"]:
    """Principal angles in radians, ascending, between the spans of orthonormal U (d, r) and V (d, s).

    theta_i = atan2(sin_i, cos_i), with the cosines the singular values of U^T V and the sines those of
    V - U U^T V, V the smaller of the two: the sines carry the small angles and the cosines those near pi/2
    (Bjorck and Golub, Math. Comp. 27, 1973; Knyazev and Argentati, SIAM J. Sci. Comput. 23, 2002).

    Raises:
        ValueError: The two are not matrices with the same number of rows, or one that is not traced is not orthonormal.

    Example:
        >>> import jax.numpy as jnp, lawlib
        >>> U, V = jnp.eye(3)[:, :2], jnp.eye(3)[:, 1:]  # two planes that share a line
        >>> [round(float(angle), 4) for angle in lawlib.principal_angles(U, V)]
        [0.0, 1.5708]
    """
    larger, smaller = _by_dimension(U, V)
    cosines = jnp.linalg.svd(matmul(larger.T, smaller), compute_uv=False)
    sines = jnp.linalg.svd(_residual(larger, smaller), compute_uv=False)
    return jnp.arctan2(sines[::-1], cosines)


def sin_theta(U: Float[Array, "d r"], V: Float[Array, "d s"]) -> Scalar:
    """||sin Theta(U, V)||_F = sqrt(sum_i sin^2 theta_i) over the min(r, s) principal angles.

    Equals ||V - U U^T V||_F, V the smaller of the two orthonormal bases U (d, r) and V (d, s).

    Raises:
        ValueError: As ``principal_angles``.
    """
    return jnp.linalg.norm(_residual(*_by_dimension(U, V)))


def projector_distance(U: Float[Array, "d r"], V: Float[Array, "d s"]) -> Scalar:
    """||U U^T - V V^T||_F for orthonormal U (d, r) and V (d, s), without a d x d matrix.

    Equals sqrt(2 ||sin Theta(U, V)||_F^2 + |r - s|).
    """
    excess = abs(U.shape[1] - V.shape[1])
    return jnp.sqrt(2 * jnp.square(sin_theta(U, V)) + excess)


def block_energies(M: Float[Array, "m n"], left: Float[Array, "m p"], right: Float[Array, "n q"]) -> Float[Array, "4"]:
    """The squared Frobenius norms (b_1, b_2, b_3, b_4) of the blocks of M in the bases [U_1, U_2] and [V_1, V_2].

    b_1 = ||U_1^T M V_1||^2, b_2 = ||U_1^T M V_2||^2, b_3 = ||U_2^T M V_1||^2, b_4 = ||U_2^T M V_2||^2 from orthonormal
    U_2 = left and V_2 = right only: U_1 and V_1 enter through the projectors I - U_2 U_2^T and I - V_2 V_2^T, and no
    difference of squares is taken. The four sum to ||M||_F^2 (Xu et al. 2026, eq. 9, for the change of a layer).
    """
    from_right, from_left = matmul(M, right), matmul(left.T, M)
    small = matmul(left.T, from_right)
    upper = from_right - matmul(left, small)
    lower = from_left - matmul(small, right.T)
    rest = M - matmul(from_right, right.T) - matmul(left, lower)
    return jnp.stack([jnp.sum(jnp.square(block)) for block in (rest, upper, lower, small)])


def block_fractions(M: Float[Array, "m n"], left: Float[Array, "m p"], right: Float[Array, "n q"]) -> Float[Array, "4"]:
    """``block_energies`` over their sum ||M||_F^2, for any scale of M; NaN for M = 0 (Xu et al. 2026, Figs. 3 to 5)."""
    largest = jnp.max(jnp.abs(M))
    energies = block_energies(M / largest, left, right)
    return energies / jnp.sum(energies)


def complement(U: Float[Array, "d r"]) -> Float[Array, "d d-r"]:
    """Orthonormal basis (d, d - r) of the orthogonal complement of the span of U (d, r), r <= d.

    The last d - r columns of Q in the full U = Q R; U must have full column rank.

    Raises:
        ValueError: U has more columns than rows.
    """
    d, r = U.shape
    if r > d:
        msg = f"a basis has at most as many columns as rows, got shape {U.shape}"
        raise ValueError(msg)
    return jnp.linalg.qr(U, mode="complete")[0][:, r:]


def orthonormal_sum(*blocks: Float[Array, "d _"], dimension: int) -> SubspaceSum:
    """Orthonormal basis (d, k), k = dimension, of span(B_1) + span(B_2) + ... for blocks B_i (d, c_i).

    The k leading left singular vectors of [B_1 / ||B_1||_2, B_2 / ||B_2||_2, ...]: each block is scaled to
    spectral norm 1, so that the units of a block do not matter; orthonormal blocks are unchanged. A zero block
    adds nothing. Where kept is at the level of rounding, the sum has fewer than k dimensions and the last columns
    are arbitrary.

    Raises:
        ValueError: there is no block, or dimension is outside 1..min(d, sum_i c_i).
    """
    if not blocks:
        msg = "the sum of subspaces needs at least one block, got none"
        raise ValueError(msg)
    stacked = jnp.concatenate([_to_unit_norm(B) for B in blocks], axis=1)
    if not 1 <= dimension <= min(stacked.shape):
        msg = (
            f"dimension must be in 1..{min(stacked.shape)} for blocks of shapes {[B.shape for B in blocks]}, "
            f"got {dimension}"
        )
        raise ValueError(msg)
    basis, s, _ = jnp.linalg.svd(stacked, full_matrices=False)
    return SubspaceSum(basis[:, :dimension], s[dimension - 1], value_after(s, dimension))


def wedin(A: Float[Array, "m n"], A_tilde: Float[Array, "m n"], rank: int) -> Wedin:
    """Wedin's sin Theta theorem for the K = rank leading singular subspaces of A and A~, both (m, n).

    max(||sin Theta(L_1(A~), L_1(A))||_F, ||sin Theta(R_1(A~), R_1(A))||_F)
        <= max(||P^T L_1(A~)||_F, ||P R_1(A~)||_F) / (sigma_K(A~) - sigma_{K+1}(A)),
    with P = A~ - A, where the gap is positive; sigma_{K+1} = 0 at K = min(m, n). Lemma D.5 of Xu et al. 2026,
    "Emergent Low-Rank Training Dynamics in MLPs with Smooth Activations", in the form of its proof, which is
    sharper than the statement with ||P||_F (Wedin, BIT 12, 1972).

    Raises:
        ValueError: rank is outside 1..min(m, n).
    """
    if not 1 <= rank <= min(A.shape):
        msg = f"rank must be in 1..{min(A.shape)} for matrices of shape {A.shape}, got {rank}"
        raise ValueError(msg)
    L, s, R = _leading(A, rank)
    L_tilde, s_tilde, R_tilde = _leading(A_tilde, rank)
    P = A_tilde - A
    perturbation_left = jnp.linalg.norm(matmul(P.T, L_tilde))
    perturbation_right = jnp.linalg.norm(matmul(P, R_tilde))
    gap = s_tilde[rank - 1] - value_after(s, rank)
    bound = jnp.where(gap > 0, jnp.maximum(perturbation_left, perturbation_right) / gap, jnp.inf)
    return Wedin(sin_theta(L_tilde, L), sin_theta(R_tilde, R), perturbation_left, perturbation_right, gap, bound)


def _by_dimension(U: Array, V: Array) -> tuple[Array, Array]:
    """The basis of more columns first, both checked."""
    if U.ndim != 2 or V.ndim != 2 or len(U) != len(V):
        msg = f"two bases need the shapes (d, r) and (d, s), got {U.shape} and {V.shape}"
        raise ValueError(msg)
    for basis in (U, V):
        off = jnp.linalg.norm(matmul(basis.T, basis) - jnp.eye(basis.shape[1], dtype=basis.dtype))
        if not isinstance(off, Tracer) and off > jnp.finfo(off.dtype).eps ** 0.5:
            msg = f"a basis {basis.shape} is not orthonormal: ||B^T B - I||_F is {off:.2g}; give jnp.linalg.qr(B)[0]"
            raise ValueError(msg)
    return (U, V) if U.shape[1] >= V.shape[1] else (V, U)


def _residual(U: Array, V: Array) -> Array:
    """The part V - U U^T V of V outside the span of U."""
    return V - matmul(U, matmul(U.T, V))


def _to_unit_norm(B: Array) -> Array:
    norm = jnp.linalg.norm(B, ord=2)
    return B / jnp.where(norm > 0, norm, 1)


def _leading(A: Array, rank: int) -> tuple[Array, Array, Array]:
    """The leading left basis, all singular values, and the leading right basis."""
    L, s, Rt = jnp.linalg.svd(A, full_matrices=False)
    return L[:, :rank], s, Rt[:rank].T


def value_after(s: Float[Array, " n"], rank: int) -> Scalar:
    """sigma_{rank+1} of singular values s in descending order; 0 beyond the last value."""
    return s[rank] if rank < s.size else jnp.zeros((), s.dtype)
