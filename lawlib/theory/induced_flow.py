"""The flow that gradient flow on a linear network induces on its product W = W_N ... W_1 (Eftekhari 2020).

"Training Linear Neural Networks: Non-Local Convergence and Complexity Results". X (d_x, m) is whitened, X X^T = m I,
and thus of full row rank; Z = Y X^T / m (d_y, d_x). Gradient flow on 1/2 ||Y - W_N ... W_1 X||_F^2 (a sum over
entries) from balanced factors, W_{j+1}^T W_{j+1} = W_j W_j^T, induces on the product the flow

    dW/dt = -m A_W(W - Z),   A_W(D) = sum_{j=1}^N (W W^T)^{(N-j)/N} D (W^T W)^{(j-1)/N}.

For W = s u v^T of rank one, A_W contains no matrix power, and the depth N may be any real number >= 2.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lawlib.networks.deep_linear import end_to_end
from lawlib.types import Array, Float, Matrix, Number, Scalar, Vector, Weights, matmul

__all__ = [
    "RankOne",
    "alignment",
    "factor_field",
    "factor_loss",
    "field",
    "loss",
    "matrix",
    "operator",
    "operator_by_svd",
    "operator_of_rank_one",
    "rank_one",
    "rank_one_field",
]


class RankOne(NamedTuple):
    """The matrix s u v^T: value s > 0, left u (d_y,) and right v (d_x,) of length 1."""

    value: Scalar
    left: Vector
    right: Vector


def rank_one(W: Matrix, reference: Vector | None = None) -> RankOne:
    """The best rank-one part s u v^T of W (d_y, d_x), with u^T reference >= 0 if a reference (d_y,) is given."""
    U, s, Vt = jnp.linalg.svd(W, full_matrices=False)
    u, v = U[:, 0], Vt[0]
    turn = jnp.ones((), W.dtype) if reference is None else jnp.where(matmul(u, reference) < 0, -1, 1).astype(W.dtype)
    return RankOne(s[0], turn * u, turn * v)


def matrix(part: RankOne) -> Matrix:
    """The matrix s u v^T, shape (d_y, d_x)."""
    return part.value * jnp.outer(part.left, part.right)


def operator(W: Matrix, D: Matrix, *, depth: int, rank: int) -> Matrix:
    """A_W(D) (d_y, d_x) by its definition, in powers of W W^T and W^T W (Eftekhari 2020, eq. 16), N = depth.

    Both are truncated to the known ``rank`` of W, since a fractional power turns rounding errors of 1e-17 into 1e-2;
    the power 0 is the identity, not the projector onto the range.

    Raises:
        ValueError: depth is below 2, or rank outside 1..min(W.shape).
    """
    _check(W, depth, rank)
    left, right = (_powers(gram, depth, rank) for gram in (matmul(W, W.T), matmul(W.T, W)))
    return sum((matmul(matmul(left[depth - j], D), right[j - 1]) for j in range(1, depth + 1)), jnp.zeros_like(D))


def operator_by_svd(W: Matrix, D: Matrix, *, depth: int, rank: int) -> Matrix:
    """A_W(D) (d_y, d_x) in the singular bases of W, a matrix of this ``rank`` (Eftekhari 2020, eq. 173).

    W = U S V^T with square U and V: A_W(D) = U (K . U^T D V) V^T, K_ik = sum_j s_i^{2(N-j)/N} s_k^{2(j-1)/N}, 0^0 = 1.

    Raises:
        ValueError: depth is below 2, or rank outside 1..min(W.shape).
    """
    _check(W, depth, rank)
    U, s, Vt = jnp.linalg.svd(W)
    rows, columns = (jnp.zeros(n, W.dtype).at[:rank].set(s[:rank]) for n in W.shape)
    powers = [2 * i / depth for i in range(depth)]
    outer = (jnp.outer(rows**a, columns**b) for a, b in zip(reversed(powers), powers, strict=True))
    K = sum(outer, jnp.zeros_like(W))
    return matmul(matmul(U, K * matmul(matmul(U.T, D), Vt.T)), Vt)


def operator_of_rank_one(part: RankOne, D: Matrix, depth: Number) -> Matrix:
    """A_W(D) = s^{2-2/N} [P_u D + D P_v + (N-2) P_u D P_v] of W = s u v^T, P_u = u u^T, P_v = v v^T, N = depth.

    Eq. (173) for a single singular value, where the power 0 is the identity (Eftekhari 2020, eq. 139): j = 1 gives
    P_u D, j = N gives D P_v, and every other j gives P_u D P_v.

    Raises:
        ValueError: depth is a number below 2.
    """
    _check_depth(depth)
    s, u, v = part
    across, along = matmul(u, D), matmul(D, v)
    twice = (depth - 2) * matmul(across, v) * u
    return s ** (2 - 2 / depth) * (jnp.outer(u, across) + jnp.outer(along + twice, v))


def field(W: Matrix, Z: Matrix, *, num_samples: Number, depth: Number) -> Matrix:
    """The induced flow -m A_W(W - Z) at W (d_y, d_x) of rank one, m = num_samples, N = depth (Eftekhari 2020, eq. 17).

    No decomposition is needed, since s = ||W||_F and s^2 P_u = W W^T at such W:
    A_W(D) = s^{-2/N} [W W^T D + D W^T W + (N-2) <W, D> W]. At W = 0 the flow is 0 and its derivatives are finite.

    Raises:
        ValueError: depth is a number below 2.
    """
    _check_depth(depth)
    D, square = W - Z, jnp.sum(jnp.square(W))
    safe = jnp.where(square > 0, square, 1)
    moved = matmul(matmul(W, W.T), D) + matmul(matmul(D, W.T), W) + (depth - 2) * jnp.sum(W * D) * W
    return -num_samples * safe ** (-1 / jnp.asarray(depth, W.dtype)) * moved


def rank_one_field(part: RankOne, Z: Matrix, *, num_samples: Number, depth: Number) -> RankOne:
    """The flow in (s, u, v), which keeps rank one exactly (Eftekhari 2020, eqs. 128 and 140), m = num_samples.

    ds/dt = -m N s^{2-2/N} (s - u^T Z v), du/dt = m s^{1-2/N} (I - P_u) Z v, dv/dt = m s^{1-2/N} (I - P_v) Z^T u.

    Raises:
        ValueError: depth is a number below 2.
    """
    _check_depth(depth)
    s, u, v = part
    Zv, uZ = matmul(Z, v), matmul(u, Z)
    overlap, turning = matmul(u, Zv), num_samples * s ** (1 - 2 / depth)
    return RankOne(-depth * turning * s * (s - overlap), turning * (Zv - overlap * u), turning * (uZ - overlap * v))


def factor_loss(weights: Weights, Z: Matrix, num_samples: Number) -> Scalar:
    """m/2 ||W_N ... W_1 - Z||_F^2, a sum over entries: 1/2 ||Y - W_N ... W_1 X||_F^2 minus a constant."""
    return num_samples / 2 * jnp.sum(jnp.square(end_to_end(weights) - Z))


def factor_field(weights: Weights, Z: Matrix, num_samples: Number) -> Weights:
    """Gradient flow dW_j/dt = -grad_{W_j} of ``factor_loss`` (Eftekhari 2020, eq. 13)."""
    return jax.tree.map(jnp.negative, jax.grad(factor_loss)(weights, Z, num_samples))


def alignment(part: RankOne, leading: RankOne) -> Scalar:
    """u^T Z_1 v in units of s_Z, in [-1, 1], with Z_1 = ``leading`` the best rank-one part of Z."""
    return matmul(part.left, leading.left) * matmul(part.right, leading.right)


def loss(part: RankOne, leading: RankOne) -> Scalar:
    """L_{1,1}(W) = 1/2 ||Z_1 - W||_F^2, a sum over entries (Eftekhari 2020, eq. 31), without cancellation at Z_1."""
    return jnp.sum(jnp.square(matrix(part) - matrix(leading))) / 2


def _powers(gram: Matrix, depth: int, rank: int) -> list[Array]:
    """The powers i/N, i = 0, ..., N-1, of a positive semidefinite matrix of known rank."""
    values, vectors = jnp.linalg.eigh(gram)
    values, vectors = jnp.maximum(values[-rank:], 0), vectors[:, -rank:]
    ranged = [matmul(vectors * (values ** (i / depth))[None], vectors.T) for i in range(1, depth)]
    return [jnp.eye(gram.shape[0], dtype=gram.dtype), *ranged]


def _check(W: Float[Array, "d_y d_x"], depth: int, rank: int) -> None:
    _check_depth(depth)
    if not 1 <= rank <= min(W.shape):
        msg = f"rank must be in 1..{min(W.shape)} for a matrix of shape {W.shape}, got {rank}"
        raise ValueError(msg)


def _check_depth(depth: Number) -> None:
    if isinstance(depth, (int, float)) and depth < 2:
        msg = f"the induced flow needs a network of depth 2 or more, got depth={depth}"
        raise ValueError(msg)
