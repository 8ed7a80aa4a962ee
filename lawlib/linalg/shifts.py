"""Low-rank shifts of a weight that a user's own loss applies, and products with the gradient in that weight."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from lawlib.linalg.batches import check_batches
from lawlib.linalg.spectra import JointProducts, Products
from lawlib.types import Array, Float, PyTree, Scalar, matmul

__all__ = ["Shift", "products_of_shifts", "shifted_gradient_products", "zero_shift"]


class Shift(NamedTuple):
    """The matrix M = left right^T (m, n) to be added to a weight of this shape, as left (m, b) and right (n, b)."""

    left: Float[Array, "m b"]
    right: Float[Array, "n b"]

    def columns(self, x: Array) -> Float[Array, "m ..."]:
        """The product M x for samples in columns, x (n, N), to be added to W x; at least in the dtype of the shift."""
        x, left, right = self._promoted(x)
        return matmul(left, matmul(right.T, x))

    def rows(self, x: Array) -> Float[Array, "*N n"]:
        """The product x M for samples in rows, x (*N, m), to be added to x K, K a kernel; dtype as in ``columns``."""
        x, left, right = self._promoted(x)
        return matmul(matmul(x, left), right.T)

    def _promoted(self, x: Array) -> tuple[Array, Array, Array]:
        """All in the dtype of the shift, or of the inputs where that is more precise; integers are converted."""
        with jax.numpy_dtype_promotion("standard"):
            dtype = jnp.promote_types(x.dtype, self.left.dtype)
        return x.astype(dtype), self.left.astype(dtype), self.right.astype(dtype)


def shifted_gradient_products(
    loss: Callable[[Shift, Any], Scalar],
    batches: PyTree,
    shape: tuple[int, int],
    dtype: DTypeLike = jnp.float32,
) -> Products:
    """Products with G = sum_i dloss(W, batch_i)/dW (m, n), ``shape`` = (m, n): one pass over the data for each block.

    ``loss(shift, batch)`` is the loss of one batch with the layer's output shifted, ``W @ x + shift.columns(x)`` or
    ``x @ K + shift.rows(x)``; then
        G V = d/dA sum_i loss(A V^T, batch_i) at A = 0,   G^T U = d/dB sum_i loss(U B^T, batch_i) at B = 0.
    G is the gradient through the shifted output only: other uses of W, such as an L2 penalty, do not contribute.
    ``batches`` is a tree of arrays whose leading axis runs over the batches, taken one at a time. Losses are *summed*
    over the batches: for a mean over all samples, divide the sum over a batch by the number of all samples. The weights
    may have any dtype. The blocks have ``dtype``, a float of at least 32 bits, and so has the shift, unless the inputs
    are more precise; with half-precision weights, cast the shift's product to the dtype of W x. Pass the weights of a
    large layer to jit as an argument, since a compiled function contains a copy of the arrays that it closes over.

    Raises:
        ValueError: batches or a loss that ``batches.check_batches`` refuses.
    """
    check_batches(loss, zero_shift(shape, dtype), batches)
    of_one = lambda shifts, batch: loss(shifts[""], batch)  # noqa: E731
    return products_of_shifts(of_one, batches, {"": shape}, {"": dtype}).only("")


def zero_shift(shape: tuple[int, ...], dtype: DTypeLike) -> Shift:
    """The matrix 0 (m, n) or the matrices 0 (L, m, n), with factors of one column."""
    *stack, m, n = shape
    return Shift(jnp.zeros((*stack, m, 1), dtype), jnp.zeros((*stack, n, 1), dtype))


def products_of_shifts(
    loss: Callable[[dict[str, Shift], Any], Scalar],
    batches: PyTree,
    shapes: dict[str, tuple[int, ...]],
    dtypes: dict[str, DTypeLike],
) -> JointProducts:
    """``shifted_gradient_products`` for shifts of several weights, by name, with batches that have been checked.

    Every shift is 0, whichever factor is differentiated, so that the derivatives do not depend on each other: one
    gradient has the products of all of them.
    """

    def apply(right: Mapping[str, Array], left: Mapping[str, Array]) -> dict[str, Array]:
        def of_factors(factors: dict[str, Array], batch: Any) -> Scalar:
            shifts = {name: Shift(factors[name], V) for name, V in right.items()}
            return loss(shifts | {name: Shift(U, factors[name]) for name, U in left.items()}, batch)

        def add(summed: dict[str, Array], batch: Any) -> tuple[dict[str, Array], None]:
            return jax.tree.map(jnp.add, summed, jax.grad(of_factors)(unknown, batch)), None

        zeros = {name: _zeros(shapes[name], V, -2) for name, V in right.items()}
        zeros |= {name: _zeros(shapes[name], U, -1) for name, U in left.items()}
        # A shift that XLA knows to be 0 is folded into the loss, whose gradient XLA then compiles
        # wrongly on a CPU in some cases, with random results: a cross-entropy of 1,000 samples and ten classes.
        unknown = lax.optimization_barrier(zeros)
        return lax.scan(add, zeros, batches)[0]

    return JointProducts(apply, shapes, dtypes)


def _zeros(shape: tuple[int, ...], given: Array, side: int) -> Array:
    """The other factor for as many columns as are given, on this side of the matrix."""
    return jnp.zeros((*shape[:-2], shape[side], given.shape[-1]), given.dtype)
