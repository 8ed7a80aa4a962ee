"""Shapes of block arrays, and sums over their axes, one rule for each operation."""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from lawlib.compress.block_arithmetic import check_whole, default, is_zero, like_a_layer, refuse
from lawlib.compress.block_arrays import BlockArray, Eye, Fill, Iota, Raveled, Unreadable, Zero, without

__all__ = ["SHAPES"]


def _reduction(reduce: Callable, join: Callable, of_entries: str = "") -> Callable:
    """A reduction of one kind of entries over all directions, or of values over a spectrum; or over other axes."""

    def rule(eqn: Any, values: list, layers: frozenset) -> list:
        (value,) = values
        if isinstance(value, Zero) and reduce is jnp.sum:
            return [Zero(eqn.outvars[0].aval.shape, eqn.outvars[0].aval.dtype)]
        if isinstance(value, Fill) and reduce is jnp.sum:
            size = jnp.asarray(math.prod(value.shape) // math.prod(eqn.outvars[0].aval.shape), value.dtype)
            return [Fill(value.value * size, eqn.outvars[0].aval.shape)]
        if not isinstance(value, BlockArray):
            return default(eqn, values, layers)
        check_whole(eqn, value)
        axes = tuple(map(int, eqn.params["axes"]))
        over = [place in axes for place in value.directions]
        if reduce is jnp.sum and not any(over):
            left = tuple(place for place in range(len(value.axes)) if place not in value.directions)
            idle = jnp.sum(value.idle, axis=tuple(left.index(place) for place in axes))
            return [BlockArray(jnp.sum(value.core, axis=axes), idle, without(axes, value.axes), value.kind)]
        if not all(over) or value.kind not in ("values", of_entries):
            msg = f"it takes the {eqn.primitive.name} of single rows, columns or entries of a layer's array"
            raise Unreadable(msg)
        kept = without(value.directions, tuple(range(len(value.axes))))
        idle = reduce(value.idle, axis=tuple(kept.index(place) for place in axes if place in kept))
        core = reduce(value.core, axis=axes)
        return [join(core, idle, value.num_idle) if value.num_idle else core]

    return rule


def _transpose(eqn: Any, values: list, layers: frozenset) -> list:
    (value,) = values
    order = eqn.params["permutation"]
    if isinstance(value, BlockArray):
        kept = without(value.directions, tuple(range(len(value.axes))))
        inner = [kept.index(place) for place in order if place in kept]
        axes = tuple(value.axes[place] for place in order)
        return [BlockArray(jnp.transpose(value.core, order), jnp.transpose(value.idle, inner), axes, value.kind)]
    if isinstance(value, Zero | Fill | Eye):
        return [_reshaped(value, eqn.outvars[0].aval.shape)]
    return default(eqn, values, layers)


def _reshaped(value: Any, shape: tuple[int, ...]) -> Any:
    if isinstance(value, Zero):
        return Zero(shape, value.dtype)
    return type(value)(value.value, shape)


def _reshape(eqn: Any, values: list, layers: frozenset) -> list:
    """Axes of size 1 added or dropped."""
    (value,), shape = values, tuple(eqn.outvars[0].aval.shape)
    if isinstance(value, Zero | Fill):
        return [_reshaped(value, shape)]
    if not isinstance(value, BlockArray):
        return default(eqn, values, layers)
    long = [(size, axis) for size, axis in zip(value.core.shape, value.axes, strict=True) if axis or size != 1]
    if len(shape) == 1 and len(long) > 1 and value.kind == "turning":
        return [Raveled(value)]
    if [axis.active + axis.idle if axis else size for size, axis in long] != [size for size in shape if size != 1]:
        msg = "it reshapes a layer's array other than by axes of size 1"
        raise Unreadable(msg)
    rest = iter(long)
    pairs = [(1, None) if size == 1 else next(rest) for size in shape]
    core = jnp.reshape(value.core, tuple(size for size, _ in pairs))
    idle = jnp.reshape(value.idle, tuple(size for size, axis in pairs if not axis))
    return [BlockArray(core, idle, tuple(axis for _, axis in pairs), value.kind)]


def _broadcast(eqn: Any, values: list, layers: frozenset) -> list:
    """A number in all entries; the values of a decomposition along one axis of a matrix, or axes of size 1 added."""
    value, *_ = values
    shape, places = tuple(eqn.params["shape"]), eqn.params["broadcast_dimensions"]
    if isinstance(value, Zero):
        return [Zero(shape, value.dtype)]
    if isinstance(value, Fill):
        return [Fill(value.value, shape)]
    if isinstance(value, BlockArray):
        new = {place: source for source, place in enumerate(places)}
        if any(place not in new and size != 1 for place, size in enumerate(shape)) and value.kind != "values":
            refuse("broadcast")
        sizes = [value.core.shape[new[place]] if place in new else 1 for place in range(len(shape))]
        axes = tuple(value.axes[new[place]] if place in new else None for place in range(len(shape)))
        idle = jnp.reshape(value.idle, [size for size, axis in zip(sizes, axes, strict=True) if not axis])
        return [BlockArray(jnp.reshape(value.core, sizes), idle, axes, value.kind)]
    if like_a_layer(shape, layers) and jnp.size(value) == 1:
        if is_zero(value):
            return [Zero(shape, jnp.asarray(value).dtype)]
        return [Fill(jnp.reshape(jnp.asarray(value), ()), shape)]
    return default(eqn, values, layers)


def _iota(eqn: Any, values: list, layers: frozenset) -> list:
    shape = tuple(eqn.params["shape"])
    if len(shape) == 2 and like_a_layer(shape, layers) and not values:
        return [Iota(eqn.params["dimension"], shape, eqn.params["dtype"])]
    return default(eqn, values, layers)


def _picked(eqn: Any, values: list, layers: frozenset) -> list:
    if any(isinstance(value, BlockArray | Raveled) for value in values):
        msg = f"it picks rows, columns or singular vectors of a layer's array ({eqn.primitive.name})"
        raise Unreadable(msg)
    return default(eqn, values, layers)


SHAPES: dict[str, Callable] = {
    **dict.fromkeys(("slice", "dynamic_slice", "gather", "scatter", "dynamic_update_slice", "sort"), _picked),
    **dict.fromkeys(("reshape", "squeeze", "expand_dims"), _reshape),
    "reduce_sum": _reduction(jnp.sum, lambda core, idle, count: core + count * idle, "entries"),
    "reduce_and": _reduction(jnp.all, lambda core, idle, _: core & idle, "finite"),
    "reduce_max": _reduction(jnp.max, lambda core, idle, _: jnp.maximum(core, idle)),
    "reduce_min": _reduction(jnp.min, lambda core, idle, _: jnp.minimum(core, idle)),
    "transpose": _transpose,
    "broadcast_in_dim": _broadcast,
    "iota": _iota,
}
