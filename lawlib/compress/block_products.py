"""Products and decompositions of block arrays: diag(A, a I) diag(B, b I) = diag(A B, a b I), and likewise for U S V^T.

Only axes over the same directions are summed over: W W^T has a meaning in every basis, W W of a square layer has not.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax

from lawlib.compress.block_arithmetic import check_whole, default, refuse
from lawlib.compress.block_arrays import Axis, BlockArray, Raveled, Unreadable, Zero, is_lazy, without
from lawlib.types import Array

__all__ = ["DECOMPOSITIONS", "dot_general"]

Dimensions = tuple[tuple[tuple[int, ...], tuple[int, ...]], tuple[tuple[int, ...], tuple[int, ...]]]


def dot_general(eqn: Any, values: list, layers: frozenset) -> list:
    """Sums of products over axes that both arrays share."""
    if any(isinstance(value, Zero) for value in values):
        return [Zero(eqn.outvars[0].aval.shape, eqn.outvars[0].aval.dtype)]
    if all(isinstance(value, Raveled) for value in values):
        return [_inner_product(*(value.block for value in values))]
    if not any(isinstance(value, BlockArray) for value in values):
        return default(eqn, values, layers)
    if any(is_lazy(value) and not isinstance(value, BlockArray) for value in values):
        refuse(eqn.primitive.name)
    check_whole(eqn, *values)
    first, second = (_as_block(value) for value in values)
    (over, others), (batch, batches) = dimensions = eqn.params["dimension_numbers"]
    summed = [(first.axes[i], second.axes[j]) for i, j in zip(over, others, strict=True)]
    batched = [axis for i, j in zip(batch, batches, strict=True) for axis in (first.axes[i], second.axes[j])]
    axes = (None,) * len(batch) + without((*batch, *over), first.axes) + without((*batches, *others), second.axes)
    if any(one != other for one, other in summed) or any(batched) or not _has_form(first, second, axes):
        refuse("dot_general")
    rates = {name: eqn.params.get(name) for name in ("precision", "preferred_element_type")}
    core = lax.dot_general(first.core, second.core, dimensions, **rates)
    idle = lax.dot_general(first.idle, second.idle, _idle_dimensions(first, second, dimensions), **rates)
    if any(axes):
        return [BlockArray(core, idle, axes)]
    return [core + max(first.num_idle, second.num_idle) * idle if any(one for one, _ in summed) else core]


def _inner_product(first: BlockArray, second: BlockArray) -> Array:
    if first.axes != second.axes:
        refuse("dot_general")
    return jnp.sum(first.core * second.core) + first.num_idle * jnp.sum(first.idle * second.idle)


def _as_block(value: Any) -> BlockArray:
    if isinstance(value, BlockArray):
        return value
    array = jnp.asarray(value)
    return BlockArray(array, array, (None,) * array.ndim)


def _has_form(first: BlockArray, second: BlockArray, axes: tuple) -> bool:
    """Whether the result is a plain array, one axis of zeros, or diag(core, c I)."""
    num_left = sum(axis is not None for axis in axes)
    kinds = {first.kind, second.kind}
    return (kinds == {"turning"} and num_left <= 2) or (kinds == {"values"} and num_left == 0)


def _idle_dimensions(first: BlockArray, second: BlockArray, dimensions: Any) -> Dimensions:
    """The same axes after those over directions are dropped."""
    (over, others), (batch, batches) = dimensions
    places, others_places = _renumbered(first), _renumbered(second)
    return (places(over), others_places(others)), (places(batch), others_places(batches))


def _renumbered(block: BlockArray) -> Callable[[tuple[int, ...]], tuple[int, ...]]:
    kept = without(block.directions, tuple(range(len(block.axes))))
    return lambda places: tuple(kept.index(place) for place in places if place in kept)


def _decomposed(eqn: Any, value: Any, path: str) -> tuple[BlockArray, Axis]:
    """The matrix, and a new axis over its values; each decomposition has one of its own."""
    check_whole(eqn, value)
    outside = any(value.axes[:-2]) or not any(value.axes[-2:])
    if value.kind != "turning" or outside or eqn.params.get("subset_by_index") is not None:
        refuse(eqn.primitive.name)
    axis = next(axis for axis in value.axes[-2:] if axis)
    return value, Axis(f"values of {path}", axis.active, axis.idle, spectral=True)


def _eigh(eqn: Any, value: Any, path: str) -> list:
    """Eigenvectors and eigenvalues, those of the idle directions last whatever their size."""
    value, spectrum = _decomposed(eqn, value, path)
    if value.axes[-1] != value.axes[-2] or value.axes[-1] is None or value.axes[-1].spectral:
        refuse("eigh")
    vectors, values = eqn.primitive.bind(value.core, **eqn.params)
    one = jnp.ones_like(value.idle)
    return [
        BlockArray(vectors, one, (*value.axes[:-1], spectrum)),
        BlockArray(values, value.idle, (*value.axes[:-2], spectrum), "values"),
    ]


def _svd(eqn: Any, value: Any, path: str) -> list:
    """Singular values, and with them vectors, those of the idle directions last whatever their size."""
    value, spectrum = _decomposed(eqn, value, path)
    rows, columns = value.axes[-2:]
    whole = eqn.params["full_matrices"] and eqn.params["compute_uv"]
    square = rows is not None and columns is not None
    if (whole and not square) or (not square and value.core.shape[-1] < value.core.shape[-2]):
        msg = "it takes singular vectors of a rectangular layer beyond its rank"
        raise Unreadable(msg)
    found = eqn.primitive.bind(value.core, **eqn.params)
    if not square:
        return _of_a_wide_layer(found, value)
    batch, sizes = value.axes[:-2], jnp.abs(value.idle)
    values = BlockArray(found[0], sizes, (*batch, spectrum), "values")
    if len(found) == 1:
        return [values]
    left = BlockArray(found[1], jnp.where(value.idle < 0, -1, 1).astype(value.dtype), (*batch, rows, spectrum))
    return [values, left, BlockArray(found[2], jnp.ones_like(sizes), (*batch, spectrum, columns))]


def _of_a_wide_layer(found: list[Array], value: BlockArray) -> list:
    """Of r outputs from d directions: r values, the outputs' vectors, and r vectors among the active directions."""
    if len(found) == 1:
        return list(found)
    *plain, right = found
    return [*plain, BlockArray(right, jnp.zeros_like(value.idle), value.axes)]


DECOMPOSITIONS: dict[str, Callable] = {"eigh": _eigh, "svd": _svd}
