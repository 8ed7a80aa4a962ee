"""Synthetic problems: low-rank targets, Gaussian data, whitening, observation masks. Columns are samples."""

import functools as ft
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from lawlib.types import Array, Float, Int, Matrix, PRNGKey, Scalar

__all__ = [
    "Regression",
    "Whitened",
    "gaussian_data",
    "low_rank_target",
    "numerical_rank",
    "observation_mask",
    "regression",
    "whiten",
]

_matmul = ft.partial(jnp.matmul, precision="highest")


class Whitened(NamedTuple):
    """Whitened inputs (k, N) and the transform (k, d) that makes them: inputs = transform @ X."""

    inputs: Float[Array, "k N"]
    transform: Float[Array, "k d"]


class Regression(NamedTuple):
    """Cross-correlation Phi = Y X^T (K, d), and the loss 1/2 (||Y||_F^2 - ||Phi||_F^2) that no weights remove."""

    target: Float[Array, "K d"]
    floor: Scalar


def low_rank_target(key: PRNGKey, shape: Sequence[int], rank: int, dtype: DTypeLike = float) -> Matrix:
    """The best rank-r part (r = rank, truncated SVD) of a matrix of this shape with iid N(0, 1) entries.

    Raises:
        ValueError: shape is not two positive sizes, or rank is outside 1..min(shape).
    """
    _check_shape(shape)
    _check_within("rank", rank, shape)
    U, s, Vt = jnp.linalg.svd(jax.random.normal(key, tuple(shape), dtype), full_matrices=False)
    return _matmul(U[:, :rank] * s[None, :rank], Vt[:rank])


def gaussian_data(
    key: PRNGKey, num_inputs: int, num_outputs: int, num_samples: int, dtype: DTypeLike = float
) -> tuple[Float[Array, "d N"], Float[Array, "K N"]]:
    """Draw X (d, N) and Y (K, N), d = num_inputs, K = num_outputs, N = num_samples, with iid N(0, 1) entries.

    X and Y are independent.
    """
    key_X, key_Y = jax.random.split(key)
    X = jax.random.normal(key_X, (num_inputs, num_samples), dtype)
    Y = jax.random.normal(key_Y, (num_outputs, num_samples), dtype)
    return X, Y


def regression(X: Float[Array, "d N"], Y: Float[Array, "K N"]) -> Regression:
    """What whitened inputs (X X^T = I) leave of a regression: 1/2 ||W X - Y||_F^2 = 1/2 ||W - Phi||_F^2 + floor.

    Phi = Y X^T (K, d) and floor = 1/2 (||Y||_F^2 - ||Phi||_F^2); losses are sums over entries.
    """
    target = _matmul(Y, X.T)
    return Regression(target, (jnp.sum(jnp.square(Y)) - jnp.sum(jnp.square(target))) / 2)


def whiten(X: Float[Array, "d N"], dimension: int) -> Whitened:
    """PCA whitening of X (d, N) to k = dimension: X_w = S_k^{-1} U_k^T X = V_k^T with X = U S V^T.

    X_w X_w^T = I_k is a sum over samples, not a mean, and X is not centred; directions come by descending
    singular value. dimension is static and should be at most numerical_rank(X): beyond it the transform is
    infinite or noise.

    Raises:
        ValueError: dimension is outside 1..min(d, N).
    """
    _check_within("dimension", dimension, X.shape)
    U, s, Vt = jnp.linalg.svd(X, full_matrices=False)
    return Whitened(inputs=Vt[:dimension], transform=U[:, :dimension].T / s[:dimension, None])


def numerical_rank(X: Matrix) -> Int[Array, ""]:
    """The number of singular values above eps max(d, N) sigma_1, with eps the rounding unit of X's dtype."""
    s = jnp.linalg.svd(X, compute_uv=False)
    return jnp.sum(s > jnp.finfo(X.dtype).eps * max(X.shape) * s[0])


def observation_mask(key: PRNGKey, shape: Sequence[int], fraction: float | Scalar, dtype: DTypeLike = float) -> Matrix:
    """Draw a mask of this shape with iid Bernoulli(fraction) entries: 1 is observed, 0 is not.

    Raises:
        ValueError: shape is not two positive sizes, or fraction is a number outside [0, 1].
    """
    _check_shape(shape)
    if isinstance(fraction, (int, float)) and not 0 <= fraction <= 1:
        msg = f"fraction must be in [0, 1], got {fraction}"
        raise ValueError(msg)
    # In the mask's own dtype, so that a traced fraction draws what a number draws.
    return jax.random.bernoulli(key, jnp.asarray(fraction, dtype), tuple(shape)).astype(dtype)


def _check_shape(shape: Sequence[int]) -> None:
    if len(shape) != 2 or min(shape) < 1:
        msg = f"a matrix has two positive sizes, got shape {tuple(shape)}"
        raise ValueError(msg)


def _check_within(name: str, value: int, shape: Sequence[int]) -> None:
    if not 1 <= value <= min(shape):
        msg = f"{name} must be in 1..{min(shape)} for a matrix of shape {tuple(shape)}, got {value}"
        raise ValueError(msg)
