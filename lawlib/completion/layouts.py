"""Layouts of observed entries in memory, for gradients and row by row: dense with a mask, or padded CSR and CSC.

Rows are grouped in blocks of about equal degree, padded to the largest of the block, and processed in chunks that fit
in cache: the rows of the other factor are gathered, the residuals and the gradient are two small products, and nothing
is scattered. CSC is the CSR of the transpose. No m x n array is made.
"""

import functools as ft
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lawlib.completion.entries import Entries
from lawlib.types import Array, Float, Int, Scalar, matmul

__all__ = [
    "Block",
    "Dense",
    "Layout",
    "PaddedCSR",
    "Sparse",
    "arrange",
    "arrange_dense",
    "arrange_sparse",
    "multiply",
    "multiply_residual",
    "multiply_transposed",
    "normal_equations",
    "scaled",
    "sum_squared_error",
    "transposed",
]

_einsum = ft.partial(jnp.einsum, precision="highest")
# Indices are in range; the check of the default mode would take half of a step.
_rows_at = ft.partial(jnp.take, axis=0, mode="clip")

PADDING, MOST_BLOCKS = 0.1, 12  # Blocks are added until padding is at most a tenth of the entries.
MAX_DENSE = 2**27  # The largest array of a dense layout that is chosen by default: 1 GB for its two arrays in float32.
CHUNK = 2**17  # Entries of a chunk, padding included: gathered rows stay in cache, and there are few chunks.


class Block(NamedTuple):
    """Rows of about equal degree, in chunks of c rows with room for w entries each.

    ``rows`` are their indices; ``columns`` the column indices of their entries and ``values`` the entries. Padding has
    the value 0 and a column index of one beyond the last, at which the other factor has a row of zeros.
    """

    rows: Int[Array, "chunks c"]
    columns: Int[Array, "chunks c w"]
    values: Float[Array, "chunks c w"]


class PaddedCSR(NamedTuple):
    """A sparse matrix by rows; ``position`` is where each row lies in the blocks one after another.

    A row without entries has a position of one beyond the last.
    """

    blocks: tuple[Block, ...]
    position: Int[Array, " m"]


class Sparse(NamedTuple):
    """Every entry twice: by rows in ``csr`` (m rows) and by columns in ``csc``, the CSR of the transpose (n rows)."""

    csr: PaddedCSR
    csc: PaddedCSR


class Dense(NamedTuple):
    """Omega . Phi and Omega as m x n arrays; the mask is 1 where an entry is observed and 0 elsewhere."""

    values: Float[Array, "m n"]
    mask: Float[Array, "m n"]


Layout = Sparse | Dense


def arrange(entries: Entries, num_columns: int, *, dense: bool | None = None) -> Layout:
    """The entries in the layout in which a step on factors of ``num_columns`` columns is faster, or as ``dense`` says.

    Dense where density > 1 / (3 + num_columns / 4), unless the arrays would be too large. On a CPU both took the same
    time at densities of 0.15 to 0.2 with 10 columns and of 0.08 with 40, for sides of 300 to 4000.
    """
    if dense is None:
        small = entries.shape[0] * entries.shape[1] <= MAX_DENSE
        dense = small and entries.density > 1 / (3 + num_columns / 4)
    return arrange_dense(entries) if dense else arrange_sparse(entries)


def arrange_sparse(entries: Entries) -> Sparse:
    """The entries by rows and by columns: about 18 bytes per entry in float32, built on the host."""
    sides = (entries.rows, entries.columns), (entries.columns, entries.rows)
    shapes = entries.shape, entries.shape[::-1]
    return Sparse(*(_padded_csr(*side, entries.values, *shape) for side, shape in zip(sides, shapes, strict=True)))


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
    return Sparse(*(_scaled_csr(csr, factor) for csr in layout))


def transposed(layout: Layout) -> Layout:
    """The same entries as those of Phi^T."""
    return Dense(layout.values.T, layout.mask.T) if isinstance(layout, Dense) else Sparse(layout.csc, layout.csr)


@jax.custom_vjp
def sum_squared_error(left: Float[Array, "m q"], right: Float[Array, "n q"], layout: Layout) -> Scalar:
    """Half the squared error of A B^T summed over the observed entries: 1/2 ||Omega . (A B^T - Phi)||_F^2.

    A = left (m, q) and B = right (n, q); the objective of Yaras et al. 2023, eq. 9, for an end-to-end matrix in two
    factors. Only the first derivative in the factors is defined, and the layout is constant; sparse layouts cost
    O(|Omega| q) for the value and the gradients.
    """
    if isinstance(layout, Dense):
        return jnp.sum(jnp.square(_dense_residual(left, right, layout))) / 2
    return _pass_over(layout.csr, left, right)[0]


def _forward(left: Array, right: Array, layout: Layout) -> tuple[Scalar, tuple[Array, Array]]:
    if isinstance(layout, Dense):
        residual = _dense_residual(left, right, layout)
        return jnp.sum(jnp.square(residual)) / 2, (matmul(residual, right), matmul(residual.T, left))
    value, by_left = _pass_over(layout.csr, left, right)
    return value, (by_left, _pass_over(layout.csc, right, left)[1])


def _backward(gradients: tuple[Array, Array], cotangent: Scalar) -> tuple[Array, Array, None]:
    by_left, by_right = gradients
    return cotangent * by_left, cotangent * by_right, None


sum_squared_error.defvjp(_forward, _backward)


def multiply(layout: Layout, factor: Float[Array, "n q"]) -> Float[Array, "m q"]:
    """(Omega . Phi) B for B = factor (n, q)."""
    if isinstance(layout, Dense):
        return matmul(layout.values, factor)
    return _multiply_csr(layout.csr, factor)


def multiply_transposed(layout: Layout, factor: Float[Array, "m q"]) -> Float[Array, "n q"]:
    """(Omega . Phi)^T A for A = factor (m, q)."""
    if isinstance(layout, Dense):
        return matmul(layout.values.T, factor)
    return _multiply_csr(layout.csc, factor)


def normal_equations(layout: Layout, factor: Float[Array, "n q"]) -> tuple[Float[Array, "m q q"], Float[Array, "m q"]]:
    """For each row of A in Omega . (A B^T) = Omega . Phi: sum_j Omega_ij b_j b_j^T, and sum_j Omega_ij Phi_ij b_j."""
    q = factor.shape[1]
    if isinstance(layout, Dense):
        # All Gram matrices at once are the product of the mask and the b_j b_j^T, of which the upper triangles suffice.
        rows, columns = jnp.triu_indices(q)
        upper = matmul(layout.mask, factor[:, rows] * factor[:, columns])
        place = jnp.zeros((q, q), int).at[rows, columns].set(jnp.arange(rows.size))
        return upper[:, jnp.maximum(place, place.T)], matmul(layout.values, factor)
    padded = jnp.concatenate([factor, jnp.zeros((1, q), factor.dtype)])

    def chunk(block: Block) -> Array:
        gathered = _rows_at(padded, block.columns)
        # The values are one more column, so that one product makes both.
        return _einsum("cwq,cwp->cqp", gathered, jnp.concatenate([gathered, block.values[..., None]], 2))

    both = _in_place(layout.csr, [lax.map(chunk, block).reshape(-1, q * (q + 1)) for block in layout.csr.blocks])
    both = both.reshape(-1, q, q + 1)
    return both[..., :q], both[..., q]


def multiply_residual(layout: Layout, left: Float[Array, "m q"], right: Float[Array, "n q"]) -> Float[Array, "m q"]:
    """(Omega . (Phi - A B^T)) B for A = left and B = right: minus the gradient of ``sum_squared_error`` in A."""
    if isinstance(layout, Dense):
        return -matmul(_dense_residual(left, right, layout), right)
    return -_pass_over(layout.csr, left, right)[1]


def _scaled_csr(csr: PaddedCSR, factor: Scalar) -> PaddedCSR:
    blocks = tuple(block._replace(values=block.values * factor) for block in csr.blocks)
    return csr._replace(blocks=blocks)


def _dense_residual(left: Array, right: Array, layout: Dense) -> Array:
    return layout.mask * matmul(left, right.T) - layout.values


def _multiply_csr(csr: PaddedCSR, other: Array) -> Array:
    # At A = 0 the residual is -Omega . Phi.
    return -_pass_over(csr, jnp.zeros((csr.position.shape[0], other.shape[1]), other.dtype), other)[1]


def _pass_over(csr: PaddedCSR, own: Array, other: Array) -> tuple[Scalar, Array]:
    """Half the squared error, summed, and its gradient in ``own``, the factor of the rows."""

    def chunk(block: Block) -> tuple[Array, Array]:
        gathered = _rows_at(other, block.columns)
        residual = _einsum("cwq,cq->cw", gathered, _rows_at(own, block.rows)) - block.values
        return jnp.sum(jnp.square(residual)), _einsum("cw,cwq->cq", residual, gathered)

    other = jnp.concatenate([other, jnp.zeros((1, own.shape[1]), own.dtype)])
    squares, gradients = zip(*(lax.map(chunk, block) for block in csr.blocks), strict=True)
    return sum((s.sum() for s in squares), jnp.zeros((), own.dtype)) / 2, _in_place(csr, gradients)


def _in_place(csr: PaddedCSR, found: Sequence[Array]) -> Float[Array, "m q"]:
    """What was found for the rows of each block, in the order of the rows; 0 for rows without entries."""
    q = found[0].shape[-1]
    stacked = jnp.concatenate([*(part.reshape(-1, q) for part in found), jnp.zeros((1, q), found[0].dtype)])
    return _rows_at(stacked, csr.position)


def _padded_csr(
    rows: np.ndarray, columns: np.ndarray, values: np.ndarray, num_rows: int, num_columns: int
) -> PaddedCSR:
    """The entries by rows, in blocks; the arrays are their coordinates and values."""
    order = np.argsort(rows, kind="stable")
    columns, values = np.append(columns[order], np.int32(num_columns)), np.append(values[order], values.dtype.type(0))
    degrees = np.bincount(rows, minlength=num_rows)
    starts = np.cumsum(degrees) - degrees
    blocks, position, filled = [], np.empty(num_rows, np.int32), 0
    for members in _by_degree(degrees):
        width = int(degrees[members].max())
        # A chunk holds a row at least, however long.
        chunks = min(len(members), -(-len(members) * width // CHUNK))
        room = -(-len(members) // chunks) * chunks
        # Beyond its degree a row points at the padding that was appended.
        at = np.full((room, width), len(order), np.int32)
        inside = np.arange(width) < degrees[members, None]
        at[: len(members)] = np.where(inside, starts[members, None] + np.arange(width), len(order))
        position[members] = filled + np.arange(len(members))
        filled += room
        rows_of = np.zeros(room, np.int32)
        rows_of[: len(members)] = members
        shape = chunks, room // chunks
        arrays = rows_of.reshape(shape), columns[at].reshape(*shape, width), values[at].reshape(*shape, width)
        blocks.append(Block(*map(jnp.asarray, arrays)))
    position[degrees == 0] = filled
    return PaddedCSR(tuple(blocks), jnp.asarray(position))


def _by_degree(degrees: np.ndarray) -> list[np.ndarray]:
    """Rows with entries, in the fewest groups of near degrees that keep the padding within PADDING, or MOST_BLOCKS.

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
    while best[-1] > room and len(starts) + 1 < min(MOST_BLOCKS, len(widths)):
        # Groups end at the level before i; the new one is i..j.
        through = np.concatenate([[np.inf], best[:-1]])[:, None] + taken
        starts.append(np.argmin(through, axis=0))
        best = np.min(through, axis=0)
    edges = [len(widths) - 1]
    for start in reversed(starts):
        edges.insert(0, int(start[edges[0]]) - 1)
    return edges
