"""Curvature of a loss without its Hessian: extreme eigenvalues of a symmetric linear map given by its products."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lawlib.extras import imports_for
from lawlib.types import Array, Bool, Float, PyTree, Scalar

__all__ = ["Extremes", "extreme_eigenvalues", "hessian_product"]


class Extremes(NamedTuple):
    """The smallest and largest Ritz value theta of a symmetric map A, and their residuals ||A y - theta y|| / ||y||.

    An eigenvalue of A lies within the residual of each value; both values lie between A's extreme eigenvalues. Both
    statements hold up to the rounding errors of A's products.
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

    Squares of norms must neither underflow nor overflow: the norms of ``start`` and of the map, unless the map is 0,
    should be between 1e-8 and 1e18 in float32, and between 1e-130 and 1e150 in float64. Matrix products, including
    those in ``product``, have the highest precision unless they specify their own.

    Raises:
        ValueError: num_products is not positive, or start has no entries.
        ImportError: matfree is not installed.
    """
    if num_products < 1:
        msg = f"num_products must be at least 1, got {num_products}"
        raise ValueError(msg)
    dimension = sum(leaf.size for leaf in jax.tree.leaves(start))
    if dimension == 0:
        msg = "start must have at least one entry, got none"
        raise ValueError(msg)
    with imports_for("extreme_eigenvalues"):
        from matfree import decomp
    # Unlike tridiag_sym, hessenberg returns the norm of each new direction before its normalization.
    lanczos = decomp.hessenberg(min(num_products, dimension), reortho="full", custom_vjp=False)
    # By default a GPU or TPU rounds float32 factors to 10 bits or fewer, and the basis would not be orthogonal.
    with jax.default_matmul_precision("highest"):
        found = lanczos(product, start)
        values, vectors, reached = _ritz(jnp.asarray(found.J_small), dimension)
        ends = jnp.stack([jnp.asarray(0), jnp.sum(reached) - 1])
        thetas, coordinates = values[ends], vectors[:, ends]
        residual = jax.vmap(lambda c, theta: _residual(product, found.Q_tall, c, reached, theta))
        return Extremes(*thetas, *residual(coordinates.T, thetas))


def _ritz(projected: Float[Array, "k k"], dimension: int) -> tuple[Array, Array, Array]:
    """Eigenvalues and vectors of the tridiagonal part, and which of them the Krylov space has reached.

    Below its diagonal, ``projected`` has the norms of the new directions before their normalization.
    """
    diagonal, norms = jnp.diag(projected), jnp.diag(projected, -1)
    # For directions that are reached, the entries above the diagonal equal these norms up to rounding errors.
    beside = 0.5 * (jnp.diag(projected, 1) + norms)
    sizes = jnp.abs(jnp.concatenate([diagonal, beside]))
    largest = jnp.max(jnp.where(jnp.isfinite(sizes), sizes, 0))
    precision = jnp.finfo(diagonal.dtype)
    # The underflow of squares makes shorter norms inexact.
    least = float(precision.tiny / precision.eps) ** 0.5
    # Shorter directions are rounding errors: normalized, they need not be orthogonal to the others, and their
    # coefficients may be as large as A. A NaN compares as not reached.
    new = norms > jnp.maximum(dimension * precision.eps * largest, least)
    reached = jnp.concatenate([jnp.ones(1, bool), jnp.cumprod(new).astype(bool)])
    # Above all other eigenvalues, which are at most 3 largest by the row sums, so that these come last.
    diagonal = jnp.where(reached, diagonal, jnp.where(largest > 0, 4 * largest, 1))
    beside = jnp.where(reached[1:], beside, 0)
    values, vectors = jnp.linalg.eigh(jnp.diag(diagonal) + jnp.diag(beside, 1) + jnp.diag(beside, -1))
    return values, vectors, reached


def _residual(
    product: Callable, basis: PyTree, coordinates: Float[Array, " k"], reached: Bool[Array, " k"], theta: Scalar
) -> Scalar:
    """||A y - theta y|| / ||y|| of the Ritz vector y with these coordinates in the basis, whose leading axis is k."""

    def combine(vectors: Array) -> Array:
        used = jnp.where(reached.reshape(-1, *[1] * (vectors.ndim - 1)), vectors, 0)
        return jnp.tensordot(coordinates, used, axes=1, precision="highest")

    y = jax.tree.map(combine, basis)
    off = jax.tree.map(lambda Ay, y: Ay - theta * y, product(y), y)
    return _norm(off) / _norm(y)


def _norm(tree: PyTree) -> Scalar:
    """The Euclidean norm of all entries."""
    return jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(tree)))
