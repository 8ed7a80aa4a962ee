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

from lawlib.completion.entries import Entries
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
# Indices are in range; the check of the default mode takes half of a step.
_rows_at = ft.partial(jnp.take, axis=0, mode="clip")

PADDING, MOST_BUCKETS = 0.1, 12  # Buckets are added until padding takes a tenth of the room.
MAX_DENSE = 2**27  # Cells of an array that the choice of a layout allows: 1 GB for the two of them in float32.
CHUNK = 2**17  # Entries of a chunk, padding included: what they gather stays in cache, and chunks are few.


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
    """The entries in the layout in which a step on factors of ``num_columns`` columns is faster; ``dense`` overrules.

    Dense where density > 1 / (3 + num_columns / 4), unless the arrays would be too large. On a CPU both took the same
    time at densities of 0.15 to 0.2 with 10 columns and of 0.08 with 40, for sides of 300 to 4000.
    """
    if dense is None:
        small = entries.shape[0] * entries.shape[1] <= MAX_DENSE
        dense = small and entries.density > 1 / (3 + num_columns / 4)
    return arrange_dense(entries) if dense else arrange_lists(entries)


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
    factors. Its derivative in the factors is defined, once, and the layout is held constant; lists cost O(|Omega| q)
    for the value and the gradients.
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
        facing = _rows_at(other, bucket.others)
        residual = _einsum("cwq,cq->cw", facing, _rows_at(own, bucket.lines)) - bucket.values
        return jnp.sum(jnp.square(residual)), _einsum("cw,cwq->cq", residual, facing)

    nothing = jnp.zeros((1, own.shape[1]), own.dtype)
    other = jnp.concatenate([other, nothing])
    squares, gradients = zip(*(lax.map(chunk, bucket) for bucket in lines.buckets), strict=True)
    stacked = jnp.concatenate([*(g.reshape(-1, own.shape[1]) for g in gradients), nothing])
    return sum((s.sum() for s in squares), jnp.zeros((), own.dtype)) / 2, _rows_at(stacked, lines.place)


def _lines(lines: np.ndarray, others: np.ndarray, values: np.ndarray, num: int, num_others: int) -> Lines:
    """The list of every line, in buckets; the arrays are the entries' coordinates and values."""
    order = np.argsort(lines, kind="stable")
    others, values = np.append(others[order], np.int32(num_others)), np.append(values[order], values.dtype.type(0))
    degrees = np.bincount(lines, minlength=num)
    starts = np.cumsum(degrees) - degrees
    buckets, place, filled = [], np.empty(num, np.int32), 0
    for members in _by_degree(degrees):
        width = int(degrees[members].max())
        # A chunk holds a line at least, however long.
        chunks = min(len(members), -(-len(members) * width // CHUNK))
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
    """Lines with entries, in the fewest groups of near degrees that keep the padding within PADDING, or MOST_BUCKETS.

    Every group is a loop to compile, so there should be few; their edges are those that pad least.
    """
    filled = np.flatnonzero(degrees)
    # Edges are sought among degrees that lie 2% apart or more.
    steps, level = np.unique((np.log(degrees[filled]) / np.log(1.02)).astype(int), return_inverse=True)
    widths = np.zeros(len(steps), int)
    np.maximum.at(widths, level, degrees[filled])
    below = np.concatenate([[0], np.cumsum(np.bincount(level, minlength=len(widths)))])
    edges = _edges(widths, below, (1 + PADDING) * degrees.sum())
    group = np.searchsorted(edges, level)
    return [filled[group == number] for number in range(len(edges))]


def _edges(widths: np.ndarray, below: np.ndarray, room: float) -> list[int]:
    """The levels that close the groups: dynamic programming over their number until all entries fit into ``room``.

    A group of the levels i..j takes widths[j] (below[j+1] - below[i]) places.
    """
    taken = widths[None] * (below[None, 1:] - below[:-1, None])
    taken = np.where(np.tri(len(widths), k=-1), np.inf, taken)
    best, starts = taken[0], []
    while best[-1] > room and len(starts) + 1 < min(MOST_BUCKETS, len(widths)):
        # Groups end at the level before i; the new one is i..j.
        through = np.concatenate([[np.inf], best[:-1]])[:, None] + taken
        starts.append(np.argmin(through, axis=0))
        best = np.min(through, axis=0)
    edges = [len(widths) - 1]
    for start in reversed(starts):
        edges.insert(0, int(start[edges[0]]) - 1)
    return edges
