"""Which leaves of a gradient are matrices to project, and how: ``optax.contrib.galore``'s dimension numbers."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from optax.contrib import GaLoreDimensionNumbers

from lawlib.types import Array, Matrix, PyTree

__all__ = ["GradientMatrix", "gradient_matrices"]

MEND = "weight_dimension_numbers with None in its place leaves it to the inner optimizer"


class GradientMatrix(NamedTuple):
    """How a leaf is read as a matrix (m, n), projected on ``rank`` < min(m, n) directions of its longer side.

    ``axes`` are those of the leaf, first the reduction axes, then the output axes; ``shape`` is (m, n); ``dtype`` is
    that of the decomposition, float32 or float64.
    """

    axes: tuple[int, ...]
    shape: tuple[int, int]
    rank: int
    dtype: DTypeLike

    @property
    def is_tall(self) -> bool:
        """Whether the longer side is the first, as for a square."""
        return self.shape[0] >= self.shape[1]

    @property
    def projected_shape(self) -> tuple[int, int]:
        """The shape of what the inner optimizer sees: (rank, n), or (m, rank) where n is the longer side."""
        m, n = self.shape
        return (self.rank, n) if self.is_tall else (m, self.rank)

    def upright(self, matrix: Matrix) -> Matrix:
        """The matrix, or its transpose, so that the projected side comes first; its own inverse."""
        return matrix if self.is_tall else matrix.T

    def tall(self, leaf: Array) -> Matrix:
        """The leaf as a matrix with its longer side first."""
        return self.upright(leaf.transpose(self.axes).reshape(self.shape).astype(self.dtype))

    def leaf(self, tall: Matrix, like: Array) -> Array:
        """The leaf, of the shape and dtype of ``like``, that ``tall`` reads as this matrix."""
        sizes = [like.shape[axis] for axis in self.axes]
        back = sorted(range(len(self.axes)), key=self.axes.__getitem__)
        return self.upright(tall).reshape(sizes).transpose(back).astype(like.dtype)


def gradient_matrices(
    tree: PyTree, rank: int, numbers: PyTree | Callable[[PyTree], PyTree]
) -> list[GradientMatrix | None]:
    """The matrix that each leaf of a tree is read as, None for a leaf that is not projected.

    ``numbers`` are the dimension numbers of ``optax.contrib.galore``: None for all leaves with two axes, one
    ``GaLoreDimensionNumbers`` for all leaves with two axes or more, a tree of them and of None, or a function that maps
    the tree to one. A leaf with min(m, n) <= rank is not projected, since all of its directions would be kept.

    Raises:
        ValueError: dimension numbers do not fit the tree or a leaf, a leaf that would be projected is not real and
            floating-point, or no leaf is left to project; all such leaves are named.
    """
    named, treedef = jax.tree_util.tree_flatten_with_path(tree)
    if not named:
        return []
    matrices, problems = [], []
    for (path, leaf), own in zip(named, _of_leaves(named, treedef, tree, numbers), strict=True):
        try:
            matrices.append(None if own is None else _matrix(leaf, rank, own))
        except ValueError as error:
            problems.append(f"{jax.tree_util.keystr(path) or 'the gradient'}: {error}")
    if problems:
        raise ValueError("; ".join(problems))
    if not any(matrices):
        shapes = ", ".join(f"{jax.tree_util.keystr(path)} {jnp.shape(leaf)}" for path, leaf in named)
        msg = (
            f"no leaf is projected: rank={rank} has to be below both sides of a matrix, got {shapes}; lower the rank, "
            "give weight_dimension_numbers for leaves with more than two axes, or use the inner optimizer alone"
        )
        raise ValueError(msg)
    return matrices


def _of_leaves(named: list, treedef: Any, tree: PyTree, numbers: Any) -> list:
    """The dimension numbers of each leaf."""
    if numbers is None or isinstance(numbers, GaLoreDimensionNumbers):
        default, many = (GaLoreDimensionNumbers(), 2) if numbers is None else (numbers, math.inf)
        return [default if 2 <= jnp.ndim(leaf) <= many else None for _, leaf in named]
    # A tree may be callable as well, such as a module of Equinox.
    if callable(numbers) and jax.tree_util.all_leaves([numbers]):
        numbers = numbers(tree)
    try:
        return treedef.flatten_up_to(numbers)
    except (TypeError, ValueError) as error:
        found = jax.tree.structure(numbers, is_leaf=lambda x: x is None or isinstance(x, GaLoreDimensionNumbers))
        msg = (
            "weight_dimension_numbers needs a GaLoreDimensionNumbers or None for each leaf, in a tree like that of the "
            f"gradient, {treedef}, got {found}"
        )
        raise ValueError(msg) from error


def _matrix(leaf: Any, rank: int, numbers: Any) -> GradientMatrix | None:
    if not isinstance(numbers, GaLoreDimensionNumbers):
        msg = f"its dimension numbers must be a GaLoreDimensionNumbers or None, got {numbers!r}"
        raise ValueError(msg)  # noqa: TRY004  (told together with the problems of other leaves)
    shape, dtype = jnp.shape(leaf), jnp.result_type(leaf)
    sides = [axes if isinstance(axes, Sequence) else (axes,) for axes in numbers]
    axes = tuple(axis % len(shape) if -len(shape) <= axis < len(shape) else -1 for side in sides for axis in side)
    if sorted(axes) != list(range(len(shape))) or not all(sides):
        msg = (
            f"{numbers} must name each of the {len(shape)} axes of its shape {shape} once, some as rows and some as "
            f"columns; {MEND}"
        )
        raise ValueError(msg)
    m, n = (math.prod(shape[axis] for axis in side) for side in (axes[: len(sides[0])], axes[len(sides[0]) :]))
    if rank >= min(m, n):
        return None
    if not jnp.issubdtype(dtype, jnp.floating):
        msg = f"a projection needs real floating-point numbers, got {dtype} of shape {shape}; {MEND}"
        raise ValueError(msg)
    return GradientMatrix(axes, (m, n), rank, dtype if jnp.finfo(dtype).bits >= 32 else jnp.dtype(jnp.float32))
