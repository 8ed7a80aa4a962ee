"""Which leaves of a network a diagnosis covers, how they are read as matrices, and functions of each of them."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lawlib.checks import refuse, whole_fault
from lawlib.frameworks.nnx import functional, holds_modules
from lawlib.linalg.gradients import matricizations
from lawlib.linalg.leaves import Leaf, Where, array_leaves, pick
from lawlib.linalg.matricization import Matricization
from lawlib.tracking.tracked_leaves import TrackedLeaf, each_tracked
from lawlib.types import Array, Matrix, PyTree, Scalar

__all__ = ["Layer", "Plan", "mapped", "planned", "read", "signature", "unpacked", "wide", "written"]


class Layer(NamedTuple):
    """A leaf of the parameters: its name in the report, its place among their arrays, its shape, and how it is read.

    The matrices are (inputs, outputs). Those of a stack of layers are all taken, unless the matricization picks one.
    """

    name: str
    place: int
    shape: tuple[int, ...]
    matricization: Matricization

    def matrices(self, leaf: Array) -> list[Matrix]:
        """The matrices of the leaf, in its own dtype."""
        if self.matricization.batch_index != ():
            return [self.matricization.matrix(leaf)]
        return list(self.matricization.matrices(leaf))

    def leaf(self, matrices: Sequence[Matrix], like: Array) -> Array:
        """The leaf that has these matrices, in the dtype of ``like``."""
        stack = jnp.stack(list(matrices))
        return self.matricization.leaf(stack if self.matricization.batch_index == () else stack[0], like)

    def names(self) -> list[str]:
        """The names of its matrices: "layers[0]", "layers[1]", ... for a stack."""
        count = len(jax.eval_shape(self.matrices, jax.ShapeDtypeStruct(self.shape, jnp.float32)))
        return [self.name] if count == 1 else [f"{self.name}[{i}]" for i in range(count)]

    def size(self) -> tuple[int, int]:
        """The shape (m, n) of each of its matrices."""
        return self.matricization.shape(jax.ShapeDtypeStruct(self.shape, jnp.float32))


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Plan:
    """What a diagnosis covers: data without arrays, static under ``jax.jit``.

    ``left_out`` are the names of leaves that the loss multiplies by and that have fewer than k rows or columns, and
    ``unread`` those of other real leaves with two axes or more, which it only looks up, uses in both orientations or
    does not use. ``arrays`` are names, shapes and dtypes of all arrays of the parameters, and ``data`` structure and
    axes of the batches.
    """

    loss: Callable[[PyTree, Any], Scalar]
    k: int
    layers: tuple[Layer, ...]
    left_out: tuple[str, ...]
    unread: tuple[str, ...]
    arrays: tuple[tuple[str, tuple[int, ...], str], ...]
    data: tuple

    def names(self) -> list[str]:
        """The names of all matrices, in the order of the report."""
        return list(self.sizes())

    def sizes(self) -> dict[str, tuple[int, int]]:
        """The shapes of all matrices, by name."""
        return {name: layer.size() for layer in self.layers for name in layer.names()}


def planned(loss: Callable, params: PyTree, batches: PyTree, k: Any, matrices: Any) -> Plan:
    """The layers that are named, or all that the loss multiplies by and that have k rows and columns or more.

    Raises:
        TypeError: ``matrices`` is no mapping from names to leaves.
        ValueError: k is no whole number from 1; batches or a loss that ``check_batches`` refuses; a named leaf that
            ``leaves.pick`` refuses, that is no matrix, or has fewer than k rows or columns; no layer at all.
    """
    refuse(whole_fault("k", k, least=1))
    named = None if matrices is None else each_tracked(matrices)
    used = matricizations(loss, params, batches)
    _, arrays, names = unpacked(loss, params)
    if named is None:
        layers, left_out, unread = _used(used, names, arrays, k)
    else:
        layers, left_out, unread = _named(named, used, params, k), (), ()
    leaves, structure = jax.tree.flatten(batches)
    data = (structure, tuple(jnp.ndim(leaf) for leaf in leaves))
    return Plan(loss, k, layers, left_out, unread, signature(names, arrays), data)


def unpacked(loss: Callable, params: PyTree) -> tuple[Callable[[list[Any], Any], Scalar], list[Any], list[str]]:
    """loss(arrays, batch), the arrays of the parameters, and their names."""
    if holds_modules(params):
        loss, params, _ = functional(loss, params)
    arrays, names, tree = array_leaves(params)
    return lambda arrays, batch: loss(tree(arrays), batch), arrays, names


def signature(names: Sequence[str], arrays: Sequence[Any]) -> tuple[tuple[str, tuple[int, ...], str], ...]:
    """Name, shape and dtype of each array."""
    return tuple((name, tuple(x.shape), str(x.dtype)) for name, x in zip(names, arrays, strict=True))


def wide(dtype: Any) -> Any:
    """The dtype of the numbers about an array: its own, and at least float32."""
    return dtype if jnp.finfo(dtype).bits >= 32 else jnp.dtype(jnp.float32)


def read(layers: Sequence[Layer], leaves: Sequence[Array]) -> list[Matrix]:
    """The matrices of the leaves of all layers, in order, at least in float32."""
    return [M.astype(wide(M.dtype)) for layer, leaf in zip(layers, leaves, strict=True) for M in layer.matrices(leaf)]


def written(layers: Sequence[Layer], matrices: Sequence[Matrix], arrays: Sequence[Any]) -> list[Any]:
    """The arrays of the parameters with these matrices in place of those of the layers."""
    changed, rest = list(arrays), list(matrices)
    for layer in layers:
        count = len(layer.names())
        changed[layer.place] = layer.leaf(rest[:count], jnp.asarray(arrays[layer.place]))
        rest = rest[count:]
    return changed


def mapped(function: Callable[..., PyTree], arguments: Sequence[tuple]) -> list[Any]:
    """function(*one) for each tuple of arrays; those of the same shapes run in one loop, which is compiled once."""
    groups: dict[tuple, list[int]] = {}
    for place, one in enumerate(arguments):
        groups.setdefault(tuple((leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(one)), []).append(place)
    results: dict[int, Any] = {}
    for places in groups.values():
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(arguments[place] for place in places))
        found = lax.map(lambda one: function(*one), stacked)
        for row, place in enumerate(places):
            results[place] = jax.tree.map(lambda leaf, row=row: leaf[row], found)
    return [results[place] for place in range(len(arguments))]


def _used(
    used: Mapping[str, Matricization], names: Sequence[str], arrays: Sequence[Any], k: int
) -> tuple[tuple[Layer, ...], tuple[str, ...], tuple[str, ...]]:
    """A layer for each leaf that the loss multiplies by, and the names of those that are too small or not read."""
    layers, small, unread = [], [], []
    for place, (name, array) in enumerate(zip(names, arrays, strict=True)):
        if not jnp.issubdtype(array.dtype, jnp.floating):
            continue
        if name in used:
            layer = Layer(name, place, tuple(array.shape), _hashable(used[name], array.ndim))
            (layers if min(layer.matricization.shape(array)) >= k else small).append(layer)
        elif array.ndim >= 2:
            unread.append(name)
    if not layers:
        found = ", ".join(f"{one.name!r} {one.shape}" for one in small) or "none"
        others = f", and not, or not by the same axes each time, by {unread}" if unread else ""
        msg = (
            f"the loss multiplies by no leaf that has {k} rows and columns or more: it multiplies by {found}{others}; "
            "use a smaller k, or name the layers by matrices={...}"
        )
        raise ValueError(msg)
    return tuple(layers), tuple(one.name for one in small), tuple(unread)


def _named(
    tracked: Mapping[str, TrackedLeaf], used: Mapping[str, Matricization], params: PyTree, k: int
) -> tuple[Layer, ...]:
    layers, faults = [], []
    for name, one in tracked.items():
        try:
            layers.append(_layer(name, one, used, params, k))
        except ValueError as error:
            faults.append(f"{name!r}: {error}")
    places = [layer.place for layer in layers]
    if twice := sorted(layer.name for layer in layers if places.count(layer.place) > 1):
        faults.append(f"{twice} are the same leaf: name it once")
    if faults:
        raise ValueError("\n".join(faults))
    return tuple(layers)


def _layer(name: str, one: TrackedLeaf, used: Mapping[str, Matricization], params: PyTree, k: int) -> Layer:
    if one.change:
        msg = "a diagnosis always covers both the weights and their change: leave out change=True"
        raise ValueError(msg)
    leaf = _picked(params, one.where)
    shape = tuple(leaf.value.shape)
    given = one.matricization or used.get(leaf.name) or (Matricization() if len(shape) == 2 else None)
    if given is None:
        msg = (
            f"the leaf {leaf.name!r} of shape {shape} is no matrix: say which axes are rows and columns, "
            "TrackedLeaf(where, Matricization(reduction_axis, output_axis))"
        )
        raise ValueError(msg)
    layer = Layer(name, leaf.place, shape, _hashable(given, len(shape)))
    jax.eval_shape(layer.matrices, leaf.value)
    if k > min(layer.matricization.shape(leaf.value)):
        sides = layer.matricization.shape(leaf.value)
        msg = f"k must be in 1..{min(sides)} for the leaf {leaf.name!r}, a matrix {sides}, got {k}"
        raise ValueError(msg)
    return layer


def _picked(params: PyTree, where: Where) -> Leaf:
    if holds_modules(params):
        _, params, where = functional(lambda *_: jnp.zeros(()), params, where)
    return pick(params, where)


def _hashable(given: Matricization, ndim: int) -> Matricization:
    """The same, with tuples of axes."""
    axes = given.axes(ndim)
    index = given.batch_index
    return Matricization(axes.reduction, axes.output, tuple(index) if isinstance(index, Sequence) else (index,))
