"""Where a low-rank MLP begins: in S_big, at an angle from it, or anywhere (Xu et al. 2026, Section 5, Appendix F)."""

import jax
import jax.numpy as jnp

from lawlib.networks.initializers import orthogonal
from lawlib.networks.low_rank import LowRankWeights
from lawlib.theory.smooth_mlp import transported
from lawlib.types import Array, Float, Matrix, Number, PRNGKey, Rate, Weights, matmul

__all__ = ["INNER", "low_rank_init", "padded_basis", "positive_qr", "random_init", "rotate_by"]

# How the small layers begin: as the full ones act on the transported bases, or drawn anew, as the paper's text has it.
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

    V~ = basis, U~ = W_{L-1}(0) ... W_1(0) V~ / eps^{L-1} (eq. 8), W_L the full network's, eps = scale. The bases that
    eq. 8 puts between the layers turn W_l(0) into eps I: that is ``inner`` "transported"; "drawn" are eps-orthogonal
    W~_l of their own, as the paper's text says. Where a layer has fewer units than inputs, U~ so made has singular
    values below 1; ``orthonormal`` takes an orthonormal basis of its span, the factor Q of U~ = Q R with R's diagonal
    not negative.

    Raises:
        ValueError: inner is neither, or there is no hidden layer.
    """
    if inner not in INNER or len(weights) < 2:
        msg = (
            f"inner must be one of {INNER} and the network have a hidden layer, got {inner!r} and {len(weights)} layers"
        )
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
    """The basis and random orthonormal columns of its complement, r = rank >= k in all (Appendix F.2).

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
        msg = f"a basis of {r} columns can be turned out of itself in {2 * r} dimensions or more, got {d}"
        raise ValueError(msg)
    angle = jnp.asarray(angle, basis.dtype)
    return jnp.cos(angle) * basis + jnp.sin(angle) * _beside(key, basis, r)


def _beside(key: PRNGKey, basis: Float[Array, "d k"], count: int) -> Float[Array, "d c"]:
    """Random orthonormal columns of the basis' complement, uniform in it, without a basis of the complement."""
    block = jax.random.normal(key, (basis.shape[0], count), basis.dtype)
    for _ in range(2):  # the first time leaves of the basis what rounding makes of a block that is nearly singular
        block, _ = positive_qr(block - matmul(basis, matmul(basis.T, block)))
    return block


def positive_qr(block: Float[Array, "d k"]) -> tuple[Float[Array, "d k"], Float[Array, "k k"]]:
    """The factors of block = Q R, d >= k, R with a diagonal that is not negative; Q is uniform for a Gaussian block."""
    Q, R = jnp.linalg.qr(block)
    signs = jnp.where(jnp.diagonal(R) < 0, -1, 1).astype(R.dtype)
    return Q * signs[None], signs[:, None] * R


def _inner(key: PRNGKey, count: int, basis: Matrix, scale: Rate, inner: str) -> Weights:
    r, dtype = basis.shape[1], basis.dtype.type
    if inner == "transported":
        return tuple(jnp.asarray(scale, dtype) * jnp.eye(r, dtype=dtype) for _ in range(count))
    return tuple(orthogonal(scale)(k, (r, r), dtype) for k in jax.random.split(key, count))
