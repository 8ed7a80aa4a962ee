"""Curvature of a loss without its Hessian: extreme eigenvalues of a symmetric linear map given by its products."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lawlib.extras import imports_for
from lawlib.types import Array, Bool, Float, PyTree, Scalar

__all__ = ["Extremes", "extreme_eigenvalues", "hessian_product"]


class Extremes(NamedTuple):
    """The smallest and largest Ritz value of a symmetric map A, and their residuals ||A y - theta y||, ||y|| = 1.

    An eigenvalue of A lies within the residual of each value; both values lie between A's extreme eigenvalues.
    """

    smallest: Scalar
    largest: Scalar
    residual_smallest: Scalar
    residual_largest: Scalar


def hessian_product(loss: Callable[..., Scalar], weights: PyTree, *data: PyTree) -> Callable[[PyTree], PyTree]:
    """The map v -> H v of the Hessian H of ``loss(weights, *data)`` in the weights; v is a pytree like the weights."""
    return jax.linearize(lambda weights: jax.grad(loss)(weights, *data), weights)[1]


def extreme_eigenvalues(product: Callable[[PyTree], PyTree], start: PyTree, num_products: int) -> Extremes:
    """The extreme eigenvalues of the symmetric map v -> product(v), by Lanczos iteration from ``start``.

    Ritz values of the Krylov space of ``start``, a pytree of any shapes, with full reorthogonalization; a zero start
    gives NaN. ``num_products`` is limited to the dimension, at which the values are exact for a generic start. The
    iteration ends earlier if the Krylov space is exhausted: eigenvectors orthogonal to it are not found. Two more
    products measure the residuals (Lanczos 1950; Golub and Van Loan, Matrix Computations, ch. 10).

    Raises:
        ValueError: num_products is not positive.
        ImportError: matfree is not installed.
    """
    if num_products < 1:
        msg = f"num_products must be at least 1, got {num_products}"
        raise ValueError(msg)
    with imports_for("extreme_eigenvalues"):
        from matfree import decomp
    dimension = sum(leaf.size for leaf in jax.tree.leaves(start))
    lanczos = decomp.tridiag_sym(min(num_products, dimension), materialize=False, custom_vjp=False)
    found = lanczos(product, start)
    diagonal, beside = found.J_small
    values, vectors, reached = _ritz(diagonal, beside, dimension)
    ends = jnp.stack([jnp.asarray(0), jnp.sum(reached) - 1])
    thetas, coordinates = values[ends], vectors[:, ends]
    residual = jax.vmap(lambda c, theta: _residual(product, found.Q_tall, c, reached, theta))
    return Extremes(*thetas, *residual(coordinates.T, thetas))


def _ritz(diagonal: Float[Array, " k"], beside: Float[Array, " k-1"], dimension: int) -> tuple[Array, Array, Array]:
    """Eigenvalues and vectors of the tridiagonal matrix, and which of them the Krylov space has reached."""
    sizes = jnp.abs(jnp.concatenate([diagonal, beside]))
    largest = jnp.max(jnp.where(jnp.isfinite(sizes), sizes, 0))
    negligible = dimension * jnp.finfo(diagonal.dtype).eps * largest
    # Beyond a vanishing coefficient the vectors are 0/0 or rounding errors; a NaN there compares as vanishing.
    reached = jnp.concatenate([jnp.ones(1, bool), jnp.cumprod(beside > negligible).astype(bool)])
    # Above all other eigenvalues, which are at most 3 largest by the row sums, so that these come last.
    diagonal = jnp.where(reached, diagonal, jnp.where(largest > 0, 4 * largest, 1))
    beside = jnp.where(reached[1:], beside, 0)
    values, vectors = jnp.linalg.eigh(jnp.diag(diagonal) + jnp.diag(beside, 1) + jnp.diag(beside, -1))
    return values, vectors, reached


def _residual(
    product: Callable, basis: PyTree, coordinates: Float[Array, " k"], reached: Bool[Array, " k"], theta: Scalar
) -> Scalar:
    """||A y - theta y|| of the Ritz vector with these coordinates in the basis, whose leading axis is k.

    ||y|| = 1 to rounding: the coordinates are an eigenvector's, and the basis is reorthogonalized in full.
    """

    def combine(vectors: Array) -> Array:
        used = jnp.where(reached.reshape(-1, *[1] * (vectors.ndim - 1)), vectors, 0)
        return jnp.tensordot(coordinates, used, axes=1, precision="highest")

    y = jax.tree.map(combine, basis)
    off = jax.tree.map(lambda Ay, y: Ay - theta * y, product(y), y)
    return jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(off)))
