"""Spectral initialization: singular vectors estimated from observed entries, without an m x n array if sparse."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lawlib.completion.entries import Entries
from lawlib.completion.layouts import Layout, multiply, multiply_transposed
from lawlib.types import Array, Float, Matrix, PRNGKey, Scalar, matmul

__all__ = ["SpectralInit", "spectral_init", "trimming_weights"]

TRIM = 0.5  # Rows and columns with a norm above this multiple of the root mean square are scaled down to it.
SWEEPS = 10  # Of subspace iteration: the error of the estimate is then that of the sampling.


class SpectralInit(NamedTuple):
    """Orthonormal estimates of the leading singular vectors, and sigma_1 of Omega . Phi between their spans."""

    left: Float[Array, "m r"]
    right: Float[Array, "n r"]
    norm: Scalar


def trimming_weights(entries: Entries) -> tuple[Float[Array, " m"], Float[Array, " n"]]:
    """Weights in (0, 1] that scale rows and columns down to half of the root mean square of their norms.

    w_i = min(1, 1/2 sqrt(mean_j ||row j||^2) / ||row i||), likewise for columns. With few observed
    entries the leading singular vectors would otherwise concentrate on rows that happen to be large.
    """
    weights = []
    for indices, size in zip((entries.rows, entries.columns), entries.shape, strict=True):
        squares = np.bincount(indices, np.square(entries.values, dtype=np.float64), size)
        limit = TRIM**2 * squares.mean()
        weights.append(jnp.asarray(np.sqrt(limit / np.maximum(squares, limit)), entries.values.dtype))
    return weights[0], weights[1]


def spectral_init(
    key: PRNGKey, layout: Layout, weights: tuple[Float[Array, " m"], Float[Array, " n"]], *, rank: int
) -> SpectralInit:
    """Estimate U_Phi and V_Phi, ``rank`` columns each, from the observed entries.

    The leading singular vectors of D_1 (Omega . Phi) D_2 by subspace iteration, with D_1, D_2 the ``trimming_weights``
    of rows and columns. The weights are then removed from the vectors, D_1^{-1} U and D_2^{-1} V, which are
    orthonormalized again. ``norm`` is ||U^T (Omega . Phi) V||_2, which is p sigma_1(Phi) in the mean for exact singular
    vectors at density p.
    """
    by_row, by_column = (w[:, None] for w in weights)

    def sweep(_: Array, right: Array) -> Array:
        left = _orthonormal(by_row * multiply(layout, by_column * right))
        return _orthonormal(by_column * multiply_transposed(layout, by_row * left))

    drawn = jax.random.normal(key, (weights[1].size, rank), weights[1].dtype)
    right = lax.fori_loop(0, SWEEPS, sweep, _orthonormal(drawn))
    left = _orthonormal(multiply(layout, by_column * right))
    right = _orthonormal(right / by_column)
    return SpectralInit(left, right, jnp.linalg.norm(matmul(left.T, multiply(layout, right)), 2))


def _orthonormal(block: Matrix) -> Matrix:
    return jnp.linalg.qr(block)[0]
