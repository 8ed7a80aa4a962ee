"""Gradients of convolutions inside a loop, float32: ``same_convolution`` beside JAX's own, and beside no loop.

The first three blocks of VGG-16 on a batch of four images, 32 x 32; a step is the gradient in all kernels, taken alone
or four times in ``lax.scan``. Each pair runs in turn in one process; "over" is the median over the turns.
"""

import statistics
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks.timing import alternate
from lawlib.networks.convolution import same_convolution
from lawlib.networks.vgg import CONFIGURATION_D, kernel_shapes

BLOCKS, IMAGES, SIZE, STEPS, REPEATS = CONFIGURATION_D[:3], 4, 32, 4, 5
Kernels = list[list[jax.Array]]


def measure() -> dict[str, float]:
    """Milliseconds of a step and their ratios."""
    keys = iter(jax.random.split(jax.random.key(0), 1 + sum(map(len, BLOCKS))))
    images = jax.random.normal(next(keys), (IMAGES, SIZE, SIZE, 3), jnp.float32)
    shapes = iter(kernel_shapes(BLOCKS).values())
    kernels = [[jax.random.normal(next(keys), next(shapes), jnp.float32) / 50 for _ in block] for block in BLOCKS]
    ours, plain = (_step(convolve, images) for convolve in (same_convolution, _plain))

    def run(step: Callable[[Kernels], Kernels], length: int) -> Callable[[], Any]:
        program = jax.jit(lambda at: lax.scan(lambda at, _: (step(at), None), at, length=length)[0])
        once = jax.jit(step)
        return (lambda: program(kernels)) if length > 1 else (lambda: once(kernels))

    alone = alternate(run(ours, 1), run(plain, 1), REPEATS)
    looped = alternate(run(ours, STEPS), run(plain, STEPS), REPEATS)
    return {
        "alone, same_convolution: step, ms": alone[0] * 1e3,
        "alone, JAX's own: step, ms": alone[1] * 1e3,
        "alone, same_convolution over JAX's own": statistics.median(alone[2]),
        "in a loop, same_convolution: step, ms": looped[0] / STEPS * 1e3,
        "in a loop, JAX's own: step, ms": looped[1] / STEPS * 1e3,
        "in a loop, same_convolution over JAX's own": statistics.median(looped[2]),
    }


def _plain(images: jax.Array, kernel: jax.Array) -> jax.Array:
    form = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(images, kernel, (1, 1), "SAME", dimension_numbers=form)


def _step(convolve: Callable, images: jax.Array) -> Callable[[Kernels], Kernels]:
    def loss(kernels: Sequence[Sequence[jax.Array]]) -> jax.Array:
        x = images
        for block in kernels:
            for kernel in block:
                x = jax.nn.relu(convolve(x, kernel))
            x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        return jnp.mean(jnp.square(x))

    return lambda kernels: jax.tree.map(lambda W, G: W - 1e-3 * G, kernels, jax.grad(loss)(kernels))
