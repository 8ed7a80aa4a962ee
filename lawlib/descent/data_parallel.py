"""One large network on several devices: each holds all weights and takes a part of the samples of a batch."""

from collections.abc import Callable

import jax
from jax import lax
from jax.flatten_util import ravel_pytree

from lawlib.types import PyTree, Scalar

__all__ = ["data_parallel"]


def data_parallel(loss: Callable[..., Scalar], axis: str) -> Callable[..., Scalar]:
    """The same loss with its samples divided over the devices of a mesh axis.

    ``loss(weights, samples, *common)`` must be a mean over the samples: the leading axis of every array of ``samples``.
    The new function takes the same arguments, in full, inside a ``jax.shard_map`` over that axis (``check_vma=False``).
    On each of N devices it computes the loss and its gradient from n / N samples,

        L = 1/N sum_k L_k,    grad L = 1/N sum_k grad L_k,

    and averages both by one all-reduce for each dtype of the weights, so that all devices make the same step. It has
    first derivatives in the weights alone; everything else is a constant to it.

    Raises:
        ValueError: The number of samples is not a multiple of the number of devices.
    """

    def own(samples: PyTree) -> PyTree:
        return jax.tree.map(lambda x: _part(x, axis), samples)

    @jax.custom_vjp
    def divided(weights: PyTree, samples: PyTree, common: tuple) -> Scalar:
        return lax.pmean(loss(weights, own(samples), *common), axis)

    def forward(weights: PyTree, samples: PyTree, common: tuple) -> tuple[Scalar, PyTree]:
        return _averaged(jax.value_and_grad(loss)(weights, own(samples), *common), axis)

    def backward(gradients: PyTree, cotangent: Scalar) -> tuple[PyTree, None, None]:
        return jax.tree.map(lambda gradient: cotangent.astype(gradient.dtype) * gradient, gradients), None, None

    divided.defvjp(forward, backward)
    return lambda weights, samples, *common: divided(weights, samples, common)


def _part(x: jax.Array, axis: str) -> jax.Array:
    """The rows of this device."""
    count = lax.axis_size(axis)
    if len(x) % count:
        msg = f"the number of samples must be a multiple of the {count} devices of axis {axis!r}, got {len(x)}"
        raise ValueError(msg)
    size = len(x) // count
    return lax.dynamic_slice_in_dim(x, lax.axis_index(axis) * size, size)


def _averaged(tree: PyTree, axis: str) -> PyTree:
    """The mean over the devices, by one all-reduce for each dtype, however many leaves there are."""
    leaves, structure = jax.tree.flatten(tree)
    for dtype in {x.dtype: None for x in leaves}:
        places = [place for place, x in enumerate(leaves) if x.dtype == dtype]
        flat, restore = ravel_pytree([leaves[place] for place in places])
        for place, mean in zip(places, restore(lax.pmean(flat, axis)), strict=True):
            leaves[place] = mean
    return jax.tree.unflatten(structure, leaves)
