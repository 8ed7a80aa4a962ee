"""The update of an optax transformation on block arrays, the layers and gradients of a network in the form of the law.

It is traced at the sizes of the whole network and run by the rules of ``block_programs``. The same keywords of optax
reach it as on whole arrays.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from lawlib.compress.block_arrays import Axis, BlockArray, Unreadable, conformed
from lawlib.compress.block_programs import Program, called, conformed_tree, steady, traced
from lawlib.descent.steps import taken_by
from lawlib.types import Array, PyTree, Scalar

__all__ = ["Axes", "blocks", "first_memory", "layer_axes", "traced_update", "update_of", "updated"]

Axes = list[tuple[Axis | None, ...]]


def layer_axes(width: int, active: int, shapes: Sequence[tuple[int, ...]]) -> Axes:
    """(rows, columns) of each layer, for the shapes of its core.

    Layer l maps space l - 1 to space l, each of ``width`` directions of which ``active`` are in the core. Fewer outputs
    than ``active`` ones are no space of their own.
    """
    spaces = [Axis(f"space {place}", active, width - active) for place in range(len(shapes) + 1)]
    pairs = zip(shapes, itertools.pairwise(spaces), strict=True)
    return [(rows if shape[0] == active else None, columns) for shape, (columns, rows) in pairs]


def blocks(axes: Axes, cores: Sequence[Array], idle: Sequence[Array]) -> tuple[BlockArray, ...]:
    """Each layer with its idle value; zeros for layers that have none."""
    zeros = (jnp.zeros(len(W), W.dtype) for W in cores[len(idle) :])
    return tuple(map(BlockArray, cores, [*idle, *zeros], axes))


def update_of(transform: optax.GradientTransformation) -> Callable[[PyTree, PyTree, PyTree, Scalar], tuple]:
    """The update of a transformation as a function of gradients, memory, weights and loss, of any kind of arrays."""

    def update(gradients: PyTree, memory: PyTree, weights: PyTree, value: Scalar) -> tuple[PyTree, PyTree]:
        more = _asked_for(transform, value, gradients)
        # optax raises its rates to an integer power, a mixture of dtypes that strict promotion refuses.
        with jax.numpy_dtype_promotion("standard"):
            return transform.update(gradients, memory, weights, **more)

    return update


def traced_update(transform: optax.GradientTransformation, memory: PyTree, weights: tuple[BlockArray, ...]) -> Program:
    """The update of a transformation for memory and weights of these shapes, the first argument of ``updated``.

    Raises:
        Unreadable: the transformation asks for the loss at other weights.
    """
    return traced(update_of(transform), weights, memory, weights, jnp.ones((), weights[0].dtype))


def updated(
    program: Program, gradients: tuple, memory: PyTree, weights: tuple, value: Scalar
) -> tuple[tuple[BlockArray, ...], PyTree]:
    """The update of each layer, and the new memory.

    Raises:
        Unreadable: the transformation does what block arrays cannot follow.
    """
    updates, after = called(program, gradients, memory, weights, value, layers=_shapes(weights))
    return tuple(map(_as_update, updates, weights)), conformed_tree(after, memory)


def first_memory(transform: optax.GradientTransformation, weights: tuple[BlockArray, ...]) -> tuple[Program, PyTree]:
    """The update, and the memory at the start, its zeros in the form that they have after a step.

    Raises:
        Unreadable: the transformation does what block arrays cannot follow.
    """
    memory = called(traced(transform.init, weights), weights, layers=_shapes(weights))
    program = traced_update(transform, memory, weights)

    def after(memory: PyTree) -> PyTree:
        # Gradients have the form of the weights.
        return updated(program, weights, memory, weights, jnp.ones((), weights[0].dtype))[1]

    memory = steady(after, memory)
    if jax.tree.structure(jax.eval_shape(after, memory)) != jax.tree.structure(memory):
        msg = "its state changes its form in the first step"
        raise Unreadable(msg)
    return program, memory


def _shapes(weights: tuple[BlockArray, ...]) -> frozenset:
    """The shapes of the whole network's layers, in both orders."""
    return frozenset(shape for W in weights for shape in (W.shape, W.shape[::-1]))


def _as_update(update: Any, layer: BlockArray) -> BlockArray:
    update = conformed(update, layer)
    if not isinstance(update, BlockArray) or update.axes != layer.axes or update.kind != "turning":
        msg = "its update of a layer is not made of that layer's gradient and weights"
        raise Unreadable(msg)
    return update


def _asked_for(transform: optax.GradientTransformation, value: Scalar, gradients: PyTree) -> dict[str, Any]:
    """The keywords of optax's transformations that the update of this one takes."""

    # A line search looks for these keywords.
    def elsewhere(*_: Any, obj_fn: Any = None, grad_fn: Any = None) -> None:
        del obj_fn, grad_fn
        msg = "it asks for the loss at other weights, as line searches do"
        raise Unreadable(msg)

    known = {"value": value, "grad": gradients, "value_fn": elsewhere, "obj_fn": elsewhere, "grad_fn": elsewhere}
    return taken_by(transform, known)
