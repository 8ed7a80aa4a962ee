"""As a script, epochs of SGD of a small convolutional network on one device and on four.

``python -m tests.support.data_parallel_devices FILE`` with XLA_FLAGS=--xla_force_host_platform_device_count=4 writes
the weights of every device, and the number of all-reduces in one step, as lowered and as compiled.
"""

import sys

import experiments  # noqa: F401  (prepares the process before JAX touches a device)

import jax  # isort: skip
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from lawlib.descent.data_parallel import data_parallel
from lawlib.descent.steps import epoch_batches, mean_cross_entropy, transformed

AXIS, DEVICES, NUM_EPOCHS, BATCH = "samples", 4, 2, 8


def loss(weights, rows, images, labels):
    """Two convolutions and a head: the mean over the images of these rows."""
    x = images[rows]
    for kernel in weights["kernels"]:
        x = jax.nn.silu(lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")))
    return mean_cross_entropy(weights["head"] @ x.reshape(len(rows), -1).T, labels[rows].T)


def drawn(dtype):
    """Weights, images and labels."""
    rng = np.random.default_rng(0)

    def draw(*shape):
        return jnp.asarray(rng.normal(size=shape) / 2, dtype)

    weights = {"kernels": (draw(3, 3, 2, 4), draw(3, 3, 4, 3)), "head": draw(5, 48)}
    return weights, draw(24, 4, 4, 2), jax.nn.one_hot(rng.integers(5, size=24), 5, dtype=dtype)


def train(loss, weights, images, labels):
    """The weights after some epochs."""
    descent = transformed(loss, optax.sgd(0.1, momentum=0.9))

    def epoch(iterate, t):
        batches = epoch_batches(jax.random.key(3), epoch=t, num_samples=len(images), batch_size=BATCH)
        return lax.scan(lambda iterate, rows: (descent.step(iterate, rows, images, labels), None), iterate, batches)

    return lax.scan(epoch, descent.init(weights), jnp.arange(NUM_EPOCHS))[0].weights


def on_mesh(run, mesh):
    """The function on each device, from the same arguments; results are stacked over the devices."""

    def stacked(*given):
        return jax.tree.map(lambda x: x[None], run(*given))

    return jax.jit(jax.shard_map(stacked, mesh=mesh, in_specs=P(), out_specs=P(AXIS), check_vma=False))


def main(path):
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    mesh, divided, found = Mesh(np.array(jax.devices()), (AXIS,)), data_parallel(loss, AXIS), {}
    assert mesh.size == DEVICES
    for dtype in ("float64", "float32"):
        given = drawn(dtype)
        for name, weights in (
            ("one", jax.tree.map(lambda x: x[None], jax.jit(lambda *given: train(loss, *given))(*given))),
            ("four", on_mesh(lambda *given: train(divided, *given), mesh)(*given)),
        ):
            found |= {f"{name}_{dtype}_{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(weights))}
    step = on_mesh(lambda weights, *data: jax.value_and_grad(divided)(weights, jnp.arange(BATCH), *data), mesh)
    lowered = step.lower(*drawn("float32"))
    # XLA makes one of several small ones; those of a large network are above its limit.
    counts = lowered.as_text().count("stablehlo.all_reduce"), lowered.compile().as_text().count(" all-reduce(")
    found["all_reduces"] = np.array(counts)
    try:
        jax.eval_shape(on_mesh(lambda weights, *data: divided(weights, jnp.arange(6), *data), mesh), *drawn("float32"))
    except ValueError as refused:
        found["refused"] = np.array(str(refused))
    np.savez(path, **found)


if __name__ == "__main__":
    main(sys.argv[1])
