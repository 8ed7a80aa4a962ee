"""Synthetic problems: low-rank targets, Gaussian data, whitening, observation masks. Columns are samples."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from lawlib.types import Array, Float, Int, Matrix, Number, PRNGKey, Scalar, Vector, matmul

__all__ = [
    "PartlyObserved",
    "Regression",
    "Whitened",
    "WhitenedRegression",
    "completion_2x2",
    "gaussian_data",
    "gaussian_mixture",
    "low_rank_target",
    "numerical_rank",
    "observation_mask",
    "regression",
    "rotated_start",
    "whiten",
    "whiten_symmetric",
    "whitened_regression",
]

# The variance of a mixture's samples around the mean of their class, in every coordinate.
MIXTURE_VARIANCE = 3.0


class Whitened(NamedTuple):
    """Whitened inputs (k, N) and the transform (k, d) that makes them: inputs = transform @ X."""

    inputs: Float[Array, "k N"]
    transform: Float[Array, "k d"]


class Regression(NamedTuple):
    """Cross-correlation Phi = Y X^T (K, d), and the minimum of the loss, 1/2 (||Y||_F^2 - ||Phi||_F^2)."""

    target: Float[Array, "K d"]
    floor: Scalar


class WhitenedRegression(NamedTuple):
    """Inputs X (d, N) with X X^T = N I, outputs Y (K, N), and the target Z = Y X^T / N (K, d)."""

    inputs: Float[Array, "d N"]
    outputs: Float[Array, "K N"]
    target: Float[Array, "K d"]


class PartlyObserved(NamedTuple):
    """A target (m, n) of which the N entries (rows[k], columns[k]) are observed."""

    target: Float[Array, "m n"]
    rows: Int[Array, " N"]
    columns: Int[Array, " N"]

    @property
    def values(self) -> Float[Array, " N"]:
        """The observed values."""
        return self.target[self.rows, self.columns]


def low_rank_target(key: PRNGKey, shape: Sequence[int], rank: int, dtype: DTypeLike = float) -> Matrix:
    """The best rank-r approximation (r = rank, truncated SVD) of a matrix of this shape with iid N(0, 1) entries.

    Raises:
        ValueError: shape is not two positive sizes, or rank is outside 1..min(shape).
    """
    _check_shape(shape)
    _check_within("rank", rank, shape)
    U, s, Vt = jnp.linalg.svd(jax.random.normal(key, tuple(shape), dtype), full_matrices=False)
    return matmul(U[:, :rank] * s[None, :rank], Vt[:rank])


def gaussian_data(
    key: PRNGKey, *, num_inputs: int, num_outputs: int, num_samples: int, dtype: DTypeLike = float
) -> tuple[Float[Array, "d N"], Float[Array, "K N"]]:
    """Draw X (d, N) and Y (K, N), d = num_inputs, K = num_outputs, N = num_samples, with iid N(0, 1) entries.

    X and Y are independent.
    """
    key_X, key_Y = jax.random.split(key)
    X = jax.random.normal(key_X, (num_inputs, num_samples), dtype)
    Y = jax.random.normal(key_Y, (num_outputs, num_samples), dtype)
    return X, Y


def gaussian_mixture(
    key: PRNGKey, *, dimension: int, num_classes: int, num_samples: int, dtype: DTypeLike = float
) -> tuple[Float[Array, "d N"], Float[Array, "K N"]]:
    """Draw X (d, N) and one-hot Y (K, N) of K = num_classes Gaussian classes, n = N/K samples each, ordered by class.

    mu_k ~ N(0, I_d), x_{k,i} ~ N(mu_k, 3 I_d), Y = I_K (x) 1_n^T; d = dimension, N = num_samples (Xu et al. 2026,
    Appendix A.1).

    Raises:
        ValueError: a size is not positive, or num_samples is not a multiple of num_classes.
    """
    sizes = {"dimension": dimension, "num_classes": num_classes, "num_samples": num_samples}
    if min(sizes.values()) < 1:
        msg = f"a mixture needs positive sizes, got {sizes}"
        raise ValueError(msg)
    if num_samples % num_classes:
        msg = f"balanced classes need num_samples a multiple of num_classes={num_classes}, got {num_samples}"
        raise ValueError(msg)
    key_means, key_samples = jax.random.split(key)
    means = jax.random.normal(key_means, (dimension, num_classes), dtype)
    Y = jnp.repeat(jnp.eye(num_classes, dtype=dtype), num_samples // num_classes, axis=1)
    spread = jax.random.normal(key_samples, (dimension, num_samples), dtype)
    return matmul(means, Y) + MIXTURE_VARIANCE**0.5 * spread, Y


def regression(X: Float[Array, "d N"], Y: Float[Array, "K N"]) -> Regression:
    """Regression on whitened inputs (X X^T = I) in W only: 1/2 ||W X - Y||_F^2 = 1/2 ||W - Phi||_F^2 + floor.

    Phi = Y X^T (K, d) and floor = 1/2 (||Y||_F^2 - ||Phi||_F^2); losses are sums over entries.
    """
    target = matmul(Y, X.T)
    return Regression(target, (jnp.sum(jnp.square(Y)) - jnp.sum(jnp.square(target))) / 2)


def whitened_regression(
    key: PRNGKey,
    *,
    num_inputs: int,
    num_outputs: int,
    num_samples: int,
    spectrum: Vector | None = None,
    dtype: DTypeLike = float,
) -> WhitenedRegression:
    """Draw a regression on whitened inputs, X X^T = N I (Eftekhari 2020, eq. 23), with d = num_inputs, K = num_outputs.

    X is sqrt(N) times d orthonormal rows, uniformly distributed. Without a ``spectrum`` Y has iid N(0, 1) entries;
    with one, Y = Z X for Z = U diag(spectrum) V^T with uniform U and V: these are the singular values of Z.

    Raises:
        ValueError: N < d, so that X cannot be whitened; or spectrum is longer than min(d, K).
    """
    if num_samples < num_inputs:
        msg = f"whitened inputs need full row rank: num_samples >= num_inputs = {num_inputs}, got {num_samples}"
        raise ValueError(msg)
    rank = 0 if spectrum is None else spectrum.size
    if rank > min(num_inputs, num_outputs):
        msg = f"a {num_outputs} x {num_inputs} matrix has {min(num_inputs, num_outputs)} singular values, got {rank}"
        raise ValueError(msg)
    key_X, key_Y, key_V = jax.random.split(key, 3)
    X = num_samples**0.5 * jax.random.orthogonal(key_X, num_samples, dtype=dtype)[:num_inputs]
    if spectrum is None:
        Y = jax.random.normal(key_Y, (num_outputs, num_samples), dtype)
    else:
        U, V = (jax.random.orthogonal(k, d, dtype=dtype) for k, d in ((key_Y, num_outputs), (key_V, num_inputs)))
        Y = matmul(matmul(U[:, :rank] * spectrum[None], V[:, :rank].T), X)
    return WhitenedRegression(X, Y, matmul(Y, X.T) / num_samples)


def rotated_start(key: PRNGKey, target: Matrix, *, angle: Number, norm: Number) -> Matrix:
    """A matrix W_0 of rank one and norm ||W_0||_F = norm at an angle in radians from Z_1, Z = target (K, d).

    cos(angle) = <W_0, Z_1> / (||W_0||_F ||Z_1||_F) = (u^T u_Z) (v^T v_Z) with Z_1 = s_Z u_Z v_Z^T the best rank-one
    part of Z. Both vectors are rotated by the same angle, towards random directions; if one of them has a
    single entry, only the other is rotated. Beyond pi/2 the sign of v changes as well.

    Raises:
        ValueError: norm is a number that is not positive; W_0 = 0 is a fixed point of the flow.
    """
    if isinstance(norm, (int, float)) and norm <= 0:
        msg = f"norm must be positive, since W_0 = 0 is a fixed point of the flow, got {norm}"
        raise ValueError(msg)
    U, _, Vt = jnp.linalg.svd(target, full_matrices=False)
    cosine = jnp.asarray(jnp.cos(angle), target.dtype)
    each = jnp.abs(cosine) if 1 in target.shape else jnp.sqrt(jnp.abs(cosine))
    keys = jax.random.split(key)
    u, v = (_rotate_by(k, w, each) for k, w in zip(keys, (U[:, 0], Vt[0]), strict=True))
    return norm * jnp.where(cosine < 0, -1, 1).astype(target.dtype) * jnp.outer(u, v)


def completion_2x2(eps: Number, dtype: DTypeLike = float) -> PartlyObserved:
    """The target [[1, 1/eps], [eps, 1]] of rank 1, with all entries observed except the large entry 1/eps.

    A smaller eps makes rank 1 harder to find (Wang and Jacot 2024, Section 4). eps may be traced.

    Raises:
        ValueError: eps is a number that is not positive and finite.
    """
    if isinstance(eps, (int, float)) and not 0 < eps < math.inf:
        msg = f"eps must be positive and finite, got {eps}"
        raise ValueError(msg)
    eps, one = jnp.asarray(eps, dtype), jnp.ones((), dtype)
    target = jnp.stack([jnp.stack([one, 1 / eps]), jnp.stack([eps, one])])
    return PartlyObserved(target, jnp.asarray([0, 1, 1]), jnp.asarray([0, 0, 1]))


def whiten(X: Float[Array, "d N"], dimension: int) -> Whitened:
    """PCA whitening of X (d, N) to k = dimension rows: X_w = S_k^{-1} U_k^T X = V_k^T with X = U S V^T.

    X_w X_w^T = I_k is a sum over samples, not a mean, and X is not centred; directions are ordered by
    descending singular value. dimension is static and should be at most numerical_rank(X): beyond it the transform
    is infinite or noise.

    Raises:
        ValueError: dimension is outside 1..min(d, N).
    """
    _check_within("dimension", dimension, X.shape)
    U, s, Vt = jnp.linalg.svd(X, full_matrices=False)
    return Whitened(inputs=Vt[:dimension], transform=U[:, :dimension].T / s[:dimension, None])


def whiten_symmetric(X: Float[Array, "d N"]) -> Whitened:
    """Symmetric (ZCA) whitening of X (d, N): X_w = (X X^T)^{-1/2} X = U V^T with X = U S V^T, so X_w X_w^T = I_d.

    X_w X_w^T is a sum over samples, not a mean, and X is not centred. Of all whitenings this is the closest to a
    multiple of X; it keeps the coordinates, and transform (d, d) is symmetric. X must have full row rank.

    Raises:
        ValueError: N < d, where no X_w has d orthonormal rows.
    """
    d, num_samples = X.shape
    if num_samples < d:
        msg = f"whitening d={d} dimensions needs at least as many samples, got {num_samples}"
        raise ValueError(msg)
    U, s, Vt = jnp.linalg.svd(X, full_matrices=False)
    return Whitened(inputs=matmul(U, Vt), transform=matmul(U / s[None, :], U.T))


def numerical_rank(X: Matrix) -> Int[Array, ""]:
    """The number of singular values above eps max(d, N) sigma_1, with eps the rounding unit of X's dtype."""
    s = jnp.linalg.svd(X, compute_uv=False)
    return jnp.sum(s > jnp.finfo(X.dtype).eps * max(X.shape) * s[0])


def observation_mask(key: PRNGKey, shape: Sequence[int], fraction: Number, dtype: DTypeLike = float) -> Matrix:
    """Draw a mask of this shape with iid Bernoulli(fraction) entries: 1 is observed, 0 is not.

    Raises:
        ValueError: shape is not two positive sizes, or fraction is a number outside [0, 1].
    """
    _check_shape(shape)
    if isinstance(fraction, (int, float)) and not 0 <= fraction <= 1:
        msg = f"fraction must be in [0, 1], got {fraction}"
        raise ValueError(msg)
    # In the dtype of the mask, so that a traced fraction and a number draw the same mask.
    return jax.random.bernoulli(key, jnp.asarray(fraction, dtype), tuple(shape)).astype(dtype)


def _rotate_by(key: PRNGKey, w: Vector, cosine: Scalar) -> Vector:
    """A vector at this cosine from w, both of length 1, towards a random direction; w itself in one dimension."""
    if w.size == 1:
        return w
    drawn = jax.random.normal(key, w.shape, w.dtype)
    aside = drawn - matmul(drawn, w) * w
    return cosine * w + jnp.sqrt(1 - jnp.square(cosine)) * aside / jnp.linalg.norm(aside)


def _check_shape(shape: Sequence[int]) -> None:
    if len(shape) != 2 or min(shape) < 1:
        msg = f"shape must be two positive sizes, got shape {tuple(shape)}"
        raise ValueError(msg)


def _check_within(name: str, value: int, shape: Sequence[int]) -> None:
    if not 1 <= value <= min(shape):
        msg = f"{name} must be in 1..{min(shape)} for a matrix of shape {tuple(shape)}, got {value}"
        raise ValueError(msg)
