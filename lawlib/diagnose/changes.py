"""What the change of one layer is made of: its shares in S_big and in random subspaces, its spectrum, its ranks."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lawlib.diagnose.state import LayerReport, LayerStart, Shares
from lawlib.linalg.spectra import block_krylov_svd, matrix_products
from lawlib.types import Array, Float, Key, Matrix, PRNGKey, Scalar, matmul

__all__ = ["LowRank", "approximations", "of_layer"]

# The error of sigma_1 is of the order of the square of this angle.
NORM_TOLERANCE = 1e-2
# Of the residual of eigenvectors, over sqrt(n) eps sigma_1^2: that of a full decomposition was measured to be 1.2.
ROUNDING = 2


class LowRank(NamedTuple):
    """The best approximations left[:, :r] right[:, :r]^T of a matrix (m, n), for each rank r up to s.

    The columns of one factor are orthonormal singular vectors, on the smaller side, and those of the other the images
    of them, whose norms are the singular values, the largest first.
    """

    left: Float[Array, "m s"]
    right: Float[Array, "n s"]
    values: Float[Array, " s"]

    def between(self, lower: int, upper: int) -> Float[Array, "m n"]:
        """The approximation of the rank ``upper`` minus that of the rank ``lower``."""
        return matmul(self.left[:, lower:upper], self.right[:, lower:upper].T)


def approximations(key: PRNGKey, D: Float[Array, "m n"], most: int) -> LowRank:
    """Those of each rank up to ``most``, by the eigenvectors of D^T D, or of D D^T where that is smaller.

    With n the smaller side, the square of a singular value s is off by at most about 2 sqrt(n) eps sigma_1^2, so s by
    about sqrt(n) eps sigma_1^2 / s. A value below sqrt(2 sqrt(n) eps) sigma_1, in float32 0.0026 sigma_1 for n = 784,
    may be off by its own size and depend on the key. What an approximation leaves out is off as the squares are. Where
    two squares are closer than their error, either vector may come first.
    """
    if len(D) < D.shape[1]:
        right, left, values = approximations(key, D.T, most)
        return LowRank(left, right, values)
    scale = _largest(D)
    unit = D / scale
    right = _leading(key, matmul(unit.T, unit), most)
    image = matmul(unit, right)
    values = jnp.linalg.norm(image, axis=0)
    order = jnp.argsort(values, descending=True)
    return LowRank(scale * image[:, order], right[:, order], scale * values[order])


def _leading(key: PRNGKey, A: Float[Array, "n n"], count: int) -> Float[Array, "n s"]:
    """Eigenvectors of the largest eigenvalues of a positive semidefinite matrix, the largest first.

    Three products with a block of random columns give them if the eigenvalues fall fast, as those of a change mostly
    do: up to a residual of 2 sqrt(n) eps times the largest, about twice that of a full decomposition. Eigenvalues below
    that are not told apart. A full decomposition is done otherwise: for few rows, where a block saves nothing, and in
    float64, where more products would be needed.
    """
    columns = count + count // 2
    if 2 * columns > len(A) or A.dtype == jnp.float64:
        return _decomposed(A, count)
    block = jax.random.rademacher(key, (len(A), columns), A.dtype)
    for _ in range(2):
        block = jnp.linalg.qr(matmul(A, block))[0]
    image = matmul(A, block)
    values, turn = jnp.linalg.eigh(matmul(block.T, image))
    values, turn = values[::-1][:count], turn[:, ::-1][:, :count]
    vectors = matmul(block, turn)
    residual = jnp.linalg.norm(matmul(image, turn) - vectors * values[None])
    fine = residual <= ROUNDING * len(A) ** 0.5 * jnp.finfo(A.dtype).eps * values[0]
    return lax.cond(fine, lambda: vectors, lambda: _decomposed(A, count))


def _decomposed(A: Float[Array, "n n"], count: int) -> Float[Array, "n s"]:
    return jnp.linalg.eigh(A)[1][:, ::-1][:, :count]


def of_layer(
    key: PRNGKey, start: LayerStart, W: Float[Array, "m n"], *, ranks: tuple[int, ...], draws: int
) -> tuple[LayerReport, LowRank]:
    """What is found about a layer with the weights W now, and the approximations of its change."""
    key_norms, key_draws, key_change = jax.random.split(key, 3)
    D, gradient = W - start.weights, start.gradient
    best = approximations(key_change, D, ranks[-1])
    changes = best.values
    P, Q = start.inputs.basis, start.outputs.basis
    drawn = _random_shares(jax.random.split(key_draws, draws), D, P.shape[1], Q.shape[1])
    first = gradient.svd.values[0]
    determined = jnp.where(first > 0, 1, jnp.nan).astype(D.dtype)
    size = _norm(D)
    cumulated = jnp.cumsum(jnp.square(changes / size))
    stable = lax.map(lambda one: _stable_rank(key_norms, one), jnp.stack([start.weights, W]))
    report = LayerReport(
        values=gradient.svd.values,
        gap=gradient.gap / jnp.where(first > 0, first, 1),
        bound=gradient.bound,
        certified=gradient.certified,
        big=jax.tree.map(lambda share: share * determined, _shares(D, P, Q)),
        random=jax.tree.map(lambda share: jnp.mean(share, axis=0), drawn),
        spread=jax.tree.map(lambda share: jnp.std(share, axis=0, ddof=1), drawn),
        moved=size / _norm(start.weights),
        stable_rank_start=stable[0],
        stable_rank=stable[1],
        stable_rank_change=jnp.square(size / changes[0]),
        changes=changes,
        kept=jnp.stack([cumulated[min(rank, *D.shape) - 1] for rank in ranks]),
    )
    return report, best


def _random_shares(keys: Key[Array, " draws"], D: Float[Array, "m n"], p: int, q: int) -> Shares:
    """The shares in random subspaces of p inputs and q outputs, one pair for each key."""

    def basis(key: PRNGKey, side: int, count: int) -> Array:
        return jnp.linalg.qr(jax.random.normal(key, (side, count), D.dtype))[0]

    def of_draw(key: PRNGKey) -> Shares:
        key_inputs, key_outputs = jax.random.split(key)
        return _shares(D, basis(key_inputs, len(D), p), basis(key_outputs, D.shape[1], q))

    # All draws at once: each product with D is then one wide product.
    return jax.vmap(of_draw)(keys)


def _shares(D: Float[Array, "m n"], P: Float[Array, "m p"], Q: Float[Array, "n q"]) -> Shares:
    unit = D / jnp.max(jnp.abs(D))
    inputs, total = matmul(P.T, unit), jnp.sum(jnp.square(unit))
    parts = (inputs, matmul(unit, Q), matmul(inputs, Q))
    return Shares(*(jnp.sum(jnp.square(part)) / total for part in parts))


def _stable_rank(key: PRNGKey, W: Float[Array, "m n"]) -> Scalar:
    """||W||_F^2 / sigma_1^2; sigma_1 is a Ritz value, which is never too large."""
    found = block_krylov_svd(key, matrix_products(W), 1, tolerance=NORM_TOLERANCE)
    return jnp.square(_norm(W) / found.svd.values[0])


def _norm(M: Array) -> Scalar:
    """||M||_F, without under- or overflow of the squares."""
    scale = _largest(M)
    return scale * jnp.linalg.norm(M / scale)


def _largest(M: Matrix | Array) -> Scalar:
    """The largest absolute entry, or 1 if all are 0."""
    largest = jnp.max(jnp.abs(M))
    return jnp.where(largest > 0, largest, 1)
