"""How an array of any rank is read as a matrix, or as a stack of matrices: data, in the words of optax.

A convolution's kernel (h, w, c_in, c_out) is the matrix (h w c_in, c_out), ``Matricization((0, 1, 2), 3)``; attention's
projection (d, heads, head_dim) is (d, heads head_dim), ``Matricization(0, (1, 2))``, and its way back
(heads, head_dim, d) is ``Matricization((0, 1), 2)``; layer l of a stack (L, m, n) is ``Matricization(1, 2, l)``.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lawlib.types import Array, Float

__all__ = ["Axes", "Matricization"]


class Axes(NamedTuple):
    """The axes of an array that number its matrices, and that run over their rows and columns, none negative."""

    batch: tuple[int, ...]
    reduction: tuple[int, ...]
    output: tuple[int, ...]


class Matricization(NamedTuple):
    """Which axes of an array run over the rows (inputs) of a matrix, and which over its columns (outputs).

    ``reduction_axis`` are the axes that a layer sums over, and ``output_axis`` those of its results, in the order in
    which they are flattened; each is a number or several. All other axes number the matrices of a stack, and
    ``batch_index`` picks one, a number for each of them. A ``MuonDimensionNumbers`` or ``GaLoreDimensionNumbers`` of
    optax converts by ``Matricization(*numbers)``, and back by ``MuonDimensionNumbers(*matricization[:2])``.

    Example:
        >>> import jax.numpy as jnp
        >>> from lawlib.linalg.matricization import Matricization
        >>> kernel = jnp.ones((3, 3, 8, 16))
        >>> convolution = Matricization((0, 1, 2), 3)
        >>> convolution.matrix(kernel).shape, convolution.leaf(jnp.ones((72, 16)), kernel).shape
        ((72, 16), (3, 3, 8, 16))
    """

    reduction_axis: Sequence[int] | int = 0
    output_axis: Sequence[int] | int = 1
    batch_index: Sequence[int] | int = ()

    def axes(self, ndim: int) -> Axes:
        """The axes in an array with ``ndim`` axes.

        Raises:
            ValueError: an axis that the array does not have, or one that is named twice; no row or no column axis.
        """
        given = [_several(self.reduction_axis), _several(self.output_axis)]
        named = [axis for axes in given for axis in axes]
        normal = [axis % ndim if -ndim <= axis < ndim else None for axis in named]
        if None in normal or len(set(normal)) < len(normal) or not all(given):
            msg = (
                f"a matricization needs one or more row axes and column axes, each of them once and in "
                f"-{ndim}..{ndim - 1} for an array with {ndim} axes, got {self}"
            )
            raise ValueError(msg)
        reduction, output = (tuple(axis % ndim for axis in axes) for axes in given)
        batch = tuple(axis for axis in range(ndim) if axis not in (*reduction, *output))
        return Axes(batch, reduction, output)

    def indices(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The number of the matrix on each batch axis of an array of this shape, none negative.

        Raises:
            ValueError: as ``axes``; or ``batch_index`` has not one number for each batch axis, within its length.
        """
        sizes = [shape[axis] for axis in self.axes(len(shape)).batch]
        index = _several(self.batch_index)
        if len(index) != len(sizes) or not all(-size <= i < size for i, size in zip(index, sizes, strict=True)):
            allowed = ", ".join(f"0..{size - 1}" for size in sizes) or "none"
            msg = (
                f"an array of shape {tuple(shape)} read by {self} is a stack of {math.prod(sizes)} matrices: "
                f"batch_index needs a number for each axis that is neither row nor column ({allowed})"
            )
            raise ValueError(msg)
        return tuple(i % size for i, size in zip(index, sizes, strict=True))

    def shape(self, leaf: Array | np.ndarray | jax.ShapeDtypeStruct) -> tuple[int, int]:
        """The shape (m, n) of the matrix. Raises as ``axes``."""
        axes = self.axes(len(leaf.shape))
        m, n = (math.prod(leaf.shape[axis] for axis in side) for side in (axes.reduction, axes.output))
        return m, n

    def stack(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The lengths of the axes that number the matrices, if all are read, without an index. Raises as ``axes``."""
        return tuple(shape[axis] for axis in self.axes(len(shape)).batch) if _several(self.batch_index) == () else ()

    def matrix(self, leaf: Array | np.ndarray) -> Float[Array, "m n"]:
        """The matrix (m, n) of an array; of a stack the one at ``batch_index``. Raises as ``indices``."""
        index = self.indices(leaf.shape)
        return self._moved(jnp.asarray(leaf))[index].reshape(self.shape(leaf))

    def matrices(self, leaf: Array | np.ndarray) -> Float[Array, "L m n"]:
        """All matrices (L, m, n) of an array, its batch axes flattened. Raises as ``axes``."""
        return self._moved(jnp.asarray(leaf)).reshape(-1, *self.shape(leaf))

    def leaf(
        self, matrix: Float[Array, "m n"] | Float[Array, "L m n"], like: Array | np.ndarray | jax.ShapeDtypeStruct
    ) -> Array:
        """The array of the shape and dtype of ``like`` that has this matrix (m, n), or all these matrices (L, m, n).

        Other matrices of a stack are those of ``like``, which may otherwise be a ``jax.ShapeDtypeStruct``.

        Raises:
            ValueError: the matrix has another shape than that of ``like``, or as ``indices``.
        """
        m, n = self.shape(like)
        axes = self.axes(len(like.shape))
        order = (*axes.batch, *axes.reduction, *axes.output)
        number = math.prod(like.shape[axis] for axis in axes.batch)
        if matrix.shape not in ((m, n), (number, m, n)):
            msg = f"an array of shape {like.shape} read by {self} has the matrix {(m, n)}, got {matrix.shape}"
            raise ValueError(msg)
        moved = tuple(like.shape[axis] for axis in order)
        if matrix.ndim == 2 and axes.batch:
            inner = matrix.reshape(moved[len(axes.batch) :]).astype(like.dtype)
            filled = self._moved(jnp.asarray(like)).at[self.indices(like.shape)].set(inner)
        else:
            filled = matrix.reshape(moved).astype(like.dtype)
        return jnp.transpose(filled, [order.index(axis) for axis in range(len(order))])

    def _moved(self, leaf: Array) -> Array:
        axes = self.axes(leaf.ndim)
        return jnp.transpose(leaf, (*axes.batch, *axes.reduction, *axes.output))


def _several(axes: Sequence[int] | int) -> tuple[int, ...]:
    return tuple(axes) if isinstance(axes, Sequence) else (axes,)
