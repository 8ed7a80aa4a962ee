"""A transformation on block arrays against the same one on the whole arrays of a network small enough to form them.

The rules of ``block_programs`` are one for each operation, so a wrong one would be a wrong network without a sign. Here
a few steps with random gradients are taken by both, at the depth of the network in question and in float64.
"""

import functools as ft
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lawlib.compress.block_arithmetic import formed
from lawlib.compress.block_arrays import BlockArray, Raveled, is_lazy
from lawlib.compress.block_updates import Axes, blocks, first_memory, layer_axes, update_of, updated
from lawlib.types import PyTree

__all__ = ["IDLE", "ROUNDING", "SCALES", "largest_difference"]

# Idle directions of the network of a trial, and the sizes of its gradients, step by step: an optimizer that clips or
# guards against small norms passes its thresholds.
IDLE, SCALES = 3, (1e-4, 1.0, 1e4)
# Above what memory in float32 leaves of float64; a wrong rule differs by far more.
ROUNDING = 1e-5
# An update is compared with its own size and a tenth of the layer's: below is the rounding of the weights.
SHARE = 0.1
# Memory is compared with its own size, if that is not rounding itself.
TINY = 1e-9
Frames = Mapping[str, np.ndarray]


def largest_difference(
    transform: optax.GradientTransformation, *, depth: int, rank: int, num_outputs: int, seed: int = 0
) -> float:
    """The largest difference of three steps on block arrays from those on whole arrays, in updates and memory.

    The network has ``depth`` layers of width 2 rank + 3; the core of the last one has ``num_outputs`` rows: 2 rank in
    Case 1, ``rank`` in Case 2. Weights and gradients have the form of the law in random bases. The difference of an
    update is measured by its norm and a tenth of the layer's, that of an array in memory by its own norm. It is
    infinite where only the block arrays have a number that is not finite.

    Raises:
        Unreadable: the transformation does what block arrays cannot follow.
    """
    shapes = [*[(2 * rank, 2 * rank)] * (depth - 1), (num_outputs, 2 * rank)]
    axes = layer_axes(2 * rank + IDLE, 2 * rank, shapes)
    # jax has another program for each precision. Steps may diverge in both networks.
    with jax.enable_x64(True), np.errstate(over="ignore", invalid="ignore"):
        return _compare(transform, axes, shapes, np.random.default_rng(seed))


def _compare(
    transform: optax.GradientTransformation, axes: Axes, shapes: list, generator: np.random.Generator
) -> float:
    frames, is_square = _frames(axes, generator), axes[-1][0] is not None
    weights = _drawn(axes, shapes, generator, num_idle=len(axes) - (not is_square), scale=1.0)
    matrices = _in_frames(weights, frames)
    (program, memory), state = first_memory(transform, weights), transform.init(matrices)
    small, large, apart = jax.jit(ft.partial(updated, program)), jax.jit(update_of(transform)), [0.0]
    for scale in SCALES:
        gradients = _drawn(axes, shapes, generator, num_idle=len(axes) * is_square, scale=scale)
        value = jnp.asarray(scale, float)
        updates, after = small(gradients, _strong(memory), weights, value)
        moves, state = large(_in_frames(gradients, frames), state, matrices, value)
        sizes = [SHARE * np.linalg.norm(W) for W in matrices]
        apart += map(_ratio, _in_frames(updates, frames), moves, sizes)
        apart += _apart_in_memory(after, state, frames)
        weights = tuple(W.like(W.core + U.core, W.idle + U.idle) for W, U in zip(weights, updates, strict=True))
        matrices, memory = tuple(map(np.add, matrices, moves)), after
    return float(np.max(apart))


def _frames(axes: Axes, generator: np.random.Generator) -> Frames:
    """A random basis of each space, by the name of its axis."""
    sizes = {axis.name: axis.active + axis.idle for of_layer in axes for axis in of_layer if axis}
    return {name: np.linalg.qr(generator.standard_normal((size, size)))[0] for name, size in sizes.items()}


def _drawn(
    axes: Axes, shapes: list, generator: np.random.Generator, *, num_idle: int, scale: float
) -> tuple[BlockArray, ...]:
    """Gaussian cores, and as many Gaussian idle values; the other layers have none."""
    cores = [jnp.asarray(scale * generator.standard_normal(shape)) for shape in shapes]
    idle = [scale * generator.standard_normal() if place < num_idle else 0.0 for place in range(len(axes))]
    return blocks(axes, cores, [jnp.asarray(value, float) for value, (rows, _) in zip(idle, axes, strict=True) if rows])


def _in_frames(values: Sequence, frames: Frames) -> tuple[np.ndarray, ...]:
    return tuple(_whole(value, frames) for value in values)


def _whole(value: Any, frames: Frames) -> np.ndarray:
    """The whole array that a value stands for."""
    if isinstance(value, Raveled):
        return np.ravel(_whole(value.block, frames))
    if not isinstance(value, BlockArray):
        return np.asarray(formed(value))
    places, ends = value.directions, tuple(range(-len(value.directions), 0))
    core = np.moveaxis(np.asarray(value.core), places, ends)
    active = core.shape[-1]
    size = active + value.num_idle
    array = np.zeros((*core.shape[: core.ndim - len(places)], *[size] * len(places)))
    array[(..., *[slice(active)] * len(places))] = core
    if len(places) == 2:
        rest = np.arange(active, size)
        array[..., rest, rest] = np.asarray(value.idle)[..., None]
    for axis, end in zip(filter(None, value.axes), ends, strict=True):
        array = np.moveaxis(np.tensordot(array, frames[axis.name], (end, 1)), -1, end)
    return np.moveaxis(array, ends, places)


def _apart_in_memory(memory: PyTree, state: PyTree, frames: Frames) -> list[float]:
    """The difference of each array of numbers; of products of entries only sums are the same in every basis."""
    leaves, found = jax.tree.leaves(memory, is_leaf=is_lazy), []
    for leaf, array in zip(leaves, jax.tree.leaves(state), strict=True):
        if jnp.issubdtype(jnp.asarray(array).dtype, jnp.floating) and getattr(leaf, "kind", "turning") == "turning":
            found.append(_ratio(_whole(leaf, frames), array, 0.0))
    return found


def _strong(memory: PyTree) -> PyTree:
    """Without the weak types of the start, for which the step would be compiled once more."""
    arrays = jax.tree.map(jnp.asarray, memory)
    return jax.tree.map(lambda x: x if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else np.asarray(x), arrays)


def _ratio(found: np.ndarray, expected: Any, more: float) -> float:
    expected = np.asarray(expected, float)
    size = float(np.linalg.norm(expected)) + more
    # What diverges in the whole network may do so in the small one.
    if not np.isfinite(size):
        return 0.0
    if not np.all(np.isfinite(found)):
        return np.inf
    return float(np.linalg.norm(found - expected)) / (size if size > TINY else 1.0)
