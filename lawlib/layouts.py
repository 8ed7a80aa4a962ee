"""How observed entries lie in memory for a gradient step: dense with a mask, or lists of each row and each column.

The lists are for sparse entries. The lines (rows, or columns) are put in buckets of about equal degree, padded to the
largest of the bucket, and worked off in chunks that stay in cache: what a line needs of the other factor is gathered,
its residuals and its gradient are two small products, and nothing is scattered. No m x n array is made.
"""

import functools as ft
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lawlib.entries import Entries
from lawlib.types import Array, Float, Int, Scalar

__all__ = [
    "Bucket",
    "Dense",
    "Layout",
    "Lines",
    "Lists",
    "arrange",
    "arrange_dense",
    "arrange_lists",
    "multiply",
    "multiply_transposed",
    "scaled",
    "sum_squared_error",
]

_matmul = ft.partial(jnp.matmul, precision="highest")
_einsum = ft.partial(jnp.einsum, precision="highest")

GROWTH = 1.25  # The degrees of a bucket differ by this factor at most, so that padding costs a tenth.
DENSE_DENSITY = 0.03
MAX_DENSE = 2**28
CHUNK = 8192  # Entries of a chunk, padding included.


class Bucket(NamedTuple):
    """Lines of about equal degree, in chunks of c lines with room for w entries each.

    ``lines`` are their indices; ``others`` the places of their entries along the other side and ``values`` the entries.
    Padding points one beyond the other side, where a row of zeros stands, and has the value 0.
    """

    lines: Int[Array, "chunks c"]
    others: Int[Array, "chunks c w"]
    values: Float[Array, "chunks c w"]


class Lines(NamedTuple):
    """All rows, or all columns, with their entries; ``place`` is where each stands in the buckets one after another.

    A line without entries stands one beyond the last.
    """

    buckets: tuple[Bucket, ...]
    place: Int[Array, " m"]


class Lists(NamedTuple):
    """Every entry twice: in the list of its row and in that of its column."""

    rows: Lines
    columns: Lines


class Dense(NamedTuple):
    """Omega . Phi and Omega as m x n arrays; the mask is 1 where an entry is observed and 0 elsewhere."""

    values: Float[Array, "m n"]
    mask: Float[Array, "m n"]


Layout = Lists | Dense


def arrange(entries: Entries, num_columns: int, *, dense: bool | None = None) -> Layout:
    """The entries in the layout in which a step on factors of ``num_columns`` columns is faster.

    Dense where the density is above DENSE_DENSITY and m n at most MAX_DENSE; ``dense`` overrules.
    """
    m, n = entries.shape
    faster = entries.density > DENSE_DENSITY and m * n <= MAX_DENSE
    return arrange_dense(entries) if (faster if dense is None else dense) else arrange_lists(entries)


def arrange_lists(entries: Entries) -> Lists:
    """The entries by rows and by columns: about 18 bytes an entry in float32, built on the host."""
    sides = (entries.rows, entries.columns), (entries.columns, entries.rows)
    shapes = entries.shape, entries.shape[::-1]
    return Lists(*(_lines(*side, entries.values, *shape) for side, shape in zip(sides, shapes, strict=True)))


def arrange_dense(entries: Entries) -> Dense:
    """The entries as two m x n arrays."""
    values, mask = np.zeros((2, *entries.shape), entries.values.dtype)
    values[entries.rows, entries.columns] = entries.values
    mask[entries.rows, entries.columns] = 1
    return Dense(jnp.asarray(values), jnp.asarray(mask))


def scaled(layout: Layout, factor: Scalar) -> Layout:
    """The same entries, their values times ``factor``."""
    if isinstance(layout, Dense):
        return layout._replace(values=layout.values * factor)
    return Lists(*(_scaled_lines(lines, factor) for lines in layout))


@jax.custom_vjp
def sum_squared_error(left: Float[Array, "m q"], right: Float[Array, "n q"], layout: Layout) -> Scalar:
    """Half the squared error of A B^T summed over the observed entries: 1/2 ||Omega . (A B^T - Phi)||_F^2.

    A = left (m, q) and B = right (n, q); the objective of Yaras et al. 2023, eq. 9, for an end-to-end matrix in two
    factors. Its derivative in the factors is defined, once; lists cost O(|Omega| q) for the value and the gradients.
    """
    if isinstance(layout, Dense):
        return jnp.sum(jnp.square(_dense_residual(left, right, layout))) / 2
    return _pass_over(layout.rows, left, right)[0]


def _forward(left: Array, right: Array, layout: Layout) -> tuple[Scalar, tuple[Array, Array]]:
    if isinstance(layout, Dense):
        residual = _dense_residual(left, right, layout)
        return jnp.sum(jnp.square(residual)) / 2, (_matmul(residual, right), _matmul(residual.T, left))
    value, by_left = _pass_over(layout.rows, left, right)
    return value, (by_left, _pass_over(layout.columns, right, left)[1])


def _backward(gradients: tuple[Array, Array], cotangent: Scalar) -> tuple[Array, Array, None]:
    by_left, by_right = gradients
    return cotangent * by_left, cotangent * by_right, None


sum_squared_error.defvjp(_forward, _backward)


def multiply(layout: Layout, factor: Float[Array, "n q"]) -> Float[Array, "m q"]:
    """(Omega . Phi) B for B = factor (n, q)."""
    if isinstance(layout, Dense):
        return _matmul(layout.values, factor)
    return _multiply_lines(layout.rows, factor)


def multiply_transposed(layout: Layout, factor: Float[Array, "m q"]) -> Float[Array, "n q"]:
    """(Omega . Phi)^T A for A = factor (m, q)."""
    if isinstance(layout, Dense):
        return _matmul(layout.values.T, factor)
    return _multiply_lines(layout.columns, factor)


def _scaled_lines(lines: Lines, factor: Scalar) -> Lines:
    buckets = tuple(bucket._replace(values=bucket.values * factor) for bucket in lines.buckets)
    return lines._replace(buckets=buckets)


def _dense_residual(left: Array, right: Array, layout: Dense) -> Array:
    return layout.mask * _matmul(left, right.T) - layout.values


def _multiply_lines(lines: Lines, other: Array) -> Array:
    # At A = 0 the residual is -Omega . Phi.
    return -_pass_over(lines, jnp.zeros((lines.place.shape[0], other.shape[1]), other.dtype), other)[1]


def _pass_over(lines: Lines, own: Array, other: Array) -> tuple[Scalar, Array]:
    """Half the squared error, summed, and its gradient in the factor that the lines belong to."""

    def chunk(bucket: Bucket) -> tuple[Array, Array]:
        facing = other[bucket.others]
        residual = _einsum("cwq,cq->cw", facing, own[bucket.lines]) - bucket.values
        return jnp.sum(jnp.square(residual)), _einsum("cw,cwq->cq", residual, facing)

    nothing = jnp.zeros((1, own.shape[1]), own.dtype)
    other = jnp.concatenate([other, nothing])
    squares, gradients = zip(*(lax.map(chunk, bucket) for bucket in lines.buckets), strict=True)
    stacked = jnp.concatenate([*(g.reshape(-1, own.shape[1]) for g in gradients), nothing])
    return sum((s.sum() for s in squares), jnp.zeros((), own.dtype)) / 2, stacked[lines.place]


def _lines(lines: np.ndarray, others: np.ndarray, values: np.ndarray, num: int, num_others: int) -> Lines:
    """The list of every line, in buckets; the arrays are the entries' coordinates and values."""
    order = np.argsort(lines, kind="stable")
    others, values = np.append(others[order], np.int32(num_others)), np.append(values[order], values.dtype.type(0))
    degrees = np.bincount(lines, minlength=num)
    starts = np.cumsum(degrees) - degrees
    buckets, place, filled = [], np.empty(num, np.int32), 0
    for members in _by_degree(degrees):
        width = int(degrees[members].max())
        chunks = -(-len(members) * width // CHUNK)
        room = -(-len(members) // chunks) * chunks
        # Beyond its degree a line points at the padding that was appended.
        at = np.full((room, width), len(order), np.int32)
        inside = np.arange(width) < degrees[members, None]
        at[: len(members)] = np.where(inside, starts[members, None] + np.arange(width), len(order))
        place[members] = filled + np.arange(len(members))
        filled += room
        lines_of = np.zeros(room, np.int32)
        lines_of[: len(members)] = members
        shape = chunks, room // chunks
        buckets.append(
            Bucket(
                *map(
                    jnp.asarray,
                    (lines_of.reshape(shape), others[at].reshape(*shape, width), values[at].reshape(*shape, width)),
                )
            )
        )
    place[degrees == 0] = filled
    return Lines(tuple(buckets), jnp.asarray(place))


def _by_degree(degrees: np.ndarray) -> list[np.ndarray]:
    """Lines with entries, in groups whose degrees differ by the factor GROWTH at most."""
    filled = np.flatnonzero(degrees)
    level = np.floor(np.log(degrees[filled] / degrees[filled].min()) / np.log(GROWTH)).astype(int)
    return [filled[level == step] for step in np.unique(level)]
