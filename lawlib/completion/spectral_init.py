"""A first guess of singular vectors from observed entries alone, without any m x n array for sparse entries."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lawlib.completion.entries import Entries
from lawlib.completion.layouts import Layout, multiply, multiply_transposed
from lawlib.types import Array, Float, Matrix, PRNGKey, Scalar, matmul

__all__ = ["SpectralInit", "spectral_init", "trimming_weights"]

TRIM = 0.5  # Lines with a norm above this part of the root mean square are scaled down to it.
SWEEPS = 10  # Of subspace iteration: the guess is then as good as the sampling lets it be.


class SpectralInit(NamedTuple):
    """Leading singular vectors guessed from the entries, orthonormal, and sigma_1 of Omega . Phi between them."""

    left: Float[Array, "m r"]
    right: Float[Array, "n r"]
    norm: Scalar


def trimming_weights(entries: Entries) -> tuple[Float[Array, " m"], Float[Array, " n"]]:
    """Weights of rows and columns in (0, 1] that bring norms above half of their root mean square down to it.

    w_i = min(1, 1/2 sqrt(mean_j ||row j||^2) / ||row i||), likewise for columns. Rows that happen to be large would
    otherwise pull the leading singular vectors to themselves where few entries are observed.
    """
    weights = []
    for lines, size in zip((entries.rows, entries.columns), entries.shape, strict=True):
        squares = np.bincount(lines, np.square(entries.values, dtype=np.float64), size)
        limit = TRIM**2 * squares.mean()
        weights.append(jnp.asarray(np.sqrt(limit / np.maximum(squares, limit)), entries.values.dtype))
    return weights[0], weights[1]


def spectral_init(
    key: PRNGKey, layout: Layout, weights: tuple[Float[Array, " m"], Float[Array, " n"]], *, rank: int
) -> SpectralInit:
    """Guess U_Phi and V_Phi, ``rank`` columns each, from the entries alone.

    The leading singular vectors of D_1 (Omega . Phi) D_2 by subspace iteration, with D_1, D_2 the ``trimming_weights``
    of rows and columns; undone in the vectors found, D_1^{-1} U and D_2^{-1} V, made orthonormal again. ``norm`` is
    ||U^T (Omega . Phi) V||_2, which is p sigma_1(Phi) in the mean for true vectors at density p.
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
