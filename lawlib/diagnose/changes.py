"""What the change of one layer is made of: its shares in S_big and in random subspaces, its spectrum, its ranks."""

import jax
import jax.numpy as jnp
from jax import lax

from lawlib.diagnose.state import LayerReport, LayerStart, Shares
from lawlib.linalg.spectra import SVD, block_krylov_svd, matrix_products
from lawlib.types import Array, Float, Matrix, PRNGKey, Scalar, matmul

__all__ = ["of_layer"]

# The error of sigma_1 is of the order of the square of this angle.
NORM_TOLERANCE = 1e-2
# What the triplets of a change keep is measured, so that they need no certificate.
CHANGE_PASSES = 4


def of_layer(
    key: PRNGKey, start: LayerStart, W: Float[Array, "m n"], *, ranks: tuple[int, ...], draws: int
) -> tuple[LayerReport, SVD]:
    """What is found about a layer with the weights W now, and the leading triplets of its change."""
    key_change, key_before, key_now, key_draws = jax.random.split(key, 4)
    D, gradient = W - start.weights, start.gradient
    found = block_krylov_svd(key_change, matrix_products(D), min(ranks[-1], *D.shape), max_passes=CHANGE_PASSES)
    P, Q = start.inputs.basis, start.outputs.basis
    drawn = lax.map(lambda one: _random_shares(one, D, P.shape[1], Q.shape[1]), jax.random.split(key_draws, draws))
    first = gradient.svd.values[0]
    determined = jnp.where(first > 0, 1, jnp.nan).astype(D.dtype)
    size = _norm(D)
    cumulated = jnp.cumsum(jnp.square(found.svd.values / size))
    report = LayerReport(
        values=gradient.svd.values,
        gap=gradient.gap / jnp.where(first > 0, first, 1),
        bound=gradient.bound,
        certified=gradient.certified,
        big=jax.tree.map(lambda share: share * determined, _shares(D, P, Q)),
        random=jax.tree.map(lambda share: jnp.mean(share, axis=0), drawn),
        spread=jax.tree.map(lambda share: jnp.std(share, axis=0, ddof=1), drawn),
        moved=size / _norm(start.weights),
        stable_rank_start=_stable_rank(key_before, start.weights),
        stable_rank=_stable_rank(key_now, W),
        stable_rank_change=jnp.square(size / found.svd.values[0]),
        changes=found.svd.values,
        kept=jnp.stack([cumulated[min(rank, *D.shape) - 1] for rank in ranks]),
    )
    return report, found.svd


def _random_shares(key: PRNGKey, D: Float[Array, "m n"], p: int, q: int) -> Shares:
    """The shares in random subspaces of p inputs and q outputs."""
    keys = jax.random.split(key)
    P, Q = (
        jnp.linalg.qr(jax.random.normal(own, (side, count), D.dtype))[0]
        for own, side, count in zip(keys, D.shape, (p, q), strict=True)
    )
    return _shares(D, P, Q)


def _shares(D: Float[Array, "m n"], P: Float[Array, "m p"], Q: Float[Array, "n q"]) -> Shares:
    unit = D / jnp.max(jnp.abs(D))
    inputs, total = matmul(P.T, unit), jnp.sum(jnp.square(unit))
    parts = (inputs, matmul(unit, Q), matmul(inputs, Q))
    return Shares(*(jnp.sum(jnp.square(part)) / total for part in parts))


def _stable_rank(key: PRNGKey, W: Float[Array, "m n"]) -> Scalar:
    """||W||_F^2 / sigma_1^2; sigma_1 is a Ritz value, which is never too large."""
    found = block_krylov_svd(key, matrix_products(W), 1, tolerance=NORM_TOLERANCE)
    return jnp.square(_norm(W) / found.svd.values[0])


def _norm(M: Matrix) -> Scalar:
    """||M||_F, without under- or overflow of the squares."""
    largest = jnp.max(jnp.abs(M))
    scale = jnp.where(largest > 0, largest, 1)
    return scale * jnp.linalg.norm(M / scale)
