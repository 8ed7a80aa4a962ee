"""Initializations of a low-rank MLP: in S_big, rotated out of it, or random (Xu et al. 2026, Section 5, Appendix F)."""

import jax
import jax.numpy as jnp

from lawlib.networks.initializers import orthogonal
from lawlib.networks.low_rank import LowRankWeights
from lawlib.theory.smooth_mlp import transported
from lawlib.types import Array, Float, Matrix, Number, PRNGKey, Rate, Weights, matmul

__all__ = ["INNER", "low_rank_init", "padded_basis", "positive_qr", "random_init", "rotate_by"]

# The start of the small layers: the full layers in the transported bases, or drawn, as in the paper's text.
INNER = ("transported", "drawn")


def low_rank_init(
    key: PRNGKey,
    weights: Weights,
    basis: Float[Array, "d r"],
    scale: Rate,
    *,
    inner: str = "drawn",
    orthonormal: bool = False,
) -> LowRankWeights:
    """The S_big initialization of width r from a full network (W_1(0), ..., W_L(0)) with eps-orthogonal hidden layers.

    V~ = basis, U~ = W_{L-1}(0) ... W_1(0) V~ / eps^{L-1} (eq. 8), W_L as in the full network, eps = scale. In the
    bases of eq. 8 the layers W_l(0) are eps I: this is ``inner`` "transported"; "drawn" draws eps-orthogonal W~_l, as
    in the paper's text. If a layer has fewer units than inputs, this U~ has singular values below 1; ``orthonormal``
    takes an orthonormal basis of its span, the factor Q of U~ = Q R with a nonnegative diagonal of R.

    Raises:
        ValueError: inner is neither of the two, or there is no hidden layer.
    """
    if inner not in INNER or len(weights) < 2:
        msg = f"inner must be one of {INNER}, with at least one hidden layer, got {inner!r} and {len(weights)} layers"
        raise ValueError(msg)
    *hidden, last = weights
    left = transported(tuple(hidden), basis, scale)[-1]
    left = positive_qr(left)[0] if orthonormal else left
    return LowRankWeights(basis, _inner(key, len(hidden), basis, scale, inner), left, last)


def random_init(key: PRNGKey, weights: Weights, *, rank: int, scale: Rate, inner: str = "drawn") -> LowRankWeights:
    """The control: U~ and V~ random semi-orthogonal of r = rank columns, the rest as in ``low_rank_init``."""
    *hidden, last = weights
    key_left, key_right, key_inner = jax.random.split(key, 3)
    dtype = last.dtype.type
    right = orthogonal(1.0)(key_right, (hidden[0].shape[1], rank), dtype)
    left = orthogonal(1.0)(key_left, (hidden[-1].shape[0], rank), dtype)
    return LowRankWeights(right, _inner(key_inner, len(hidden), right, scale, inner), left, last)


def padded_basis(key: PRNGKey, basis: Float[Array, "d k"], rank: int) -> Float[Array, "d r"]:
    """The basis and random orthonormal columns of its complement, r = rank >= k columns in all (Appendix F.2).

    Raises:
        ValueError: rank is outside k..d.
    """
    d, k = basis.shape
    if not k <= rank <= d:
        msg = f"rank must be in {k}..{d}, from the columns of the basis to the dimension, got {rank}"
        raise ValueError(msg)
    return basis if rank == k else jnp.concatenate([basis, _beside(key, basis, rank - k)], axis=1)


def rotate_by(key: PRNGKey, basis: Float[Array, "d r"], angle: Number) -> Float[Array, "d r"]:
    """cos(psi) B + sin(psi) B_perp, psi = angle in radians, B_perp random orthonormal in the complement (eq. 18).

    All r principal angles between its span and that of an orthonormal B are psi.

    Raises:
        ValueError: the complement has fewer than r dimensions.
    """
    d, r = basis.shape
    if d < 2 * r:
        msg = f"a basis of {r} columns can be rotated out of its span in {2 * r} dimensions or more, got {d}"
        raise ValueError(msg)
    angle = jnp.asarray(angle, basis.dtype)
    return jnp.cos(angle) * basis + jnp.sin(angle) * _beside(key, basis, r)


def _beside(key: PRNGKey, basis: Float[Array, "d k"], count: int) -> Float[Array, "d c"]:
    """Random orthonormal columns of the basis' complement, uniform in it, without a basis of the complement."""
    block = jax.random.normal(key, (basis.shape[0], count), basis.dtype)
    for _ in range(2):  # one projection leaves rounding errors in the span of the basis if the block is nearly singular
        block, _ = positive_qr(block - matmul(basis, matmul(basis.T, block)))
    return block


def positive_qr(block: Float[Array, "d k"]) -> tuple[Float[Array, "d k"], Float[Array, "k k"]]:
    """The factors of block = Q R, d >= k, with a nonnegative diagonal of R; Q is uniform for a Gaussian block."""
    Q, R = jnp.linalg.qr(block)
    signs = jnp.where(jnp.diagonal(R) < 0, -1, 1).astype(R.dtype)
    return Q * signs[None], signs[:, None] * R


def _inner(key: PRNGKey, count: int, basis: Matrix, scale: Rate, inner: str) -> Weights:
    r, dtype = basis.shape[1], basis.dtype.type
    if inner == "transported":
        return tuple(jnp.asarray(scale, dtype) * jnp.eye(r, dtype=dtype) for _ in range(count))
    return tuple(orthogonal(scale)(k, (r, r), dtype) for k in jax.random.split(key, count))
