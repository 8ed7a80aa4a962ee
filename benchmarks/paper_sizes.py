"""What vgg16_cifar10:paper asks of a GPU: VGG-16 at 224 x 224, batches of 128, float32, compiled but not run.

A step of the whole network (resizing, convolutions, head 4608-4096-4096-10 full or at r = 20, mean cross-entropy, SGD
with momentum and weight decay) and the frozen convolutions' pass over a hundred images. GFLOP are XLA's count of the
program before it is optimized; "state" is weights and momentum; "temporary" is what the program compiled for this
machine holds besides, gradients included, which another backend's will differ from. One step that is run, at 64 x 64 in
batches of 16, tells how much of the matmul rate of the same minute such steps reach here.

"hours" assume 30 TFLOP/s, a little under half of the 67 that an H100 SXM has for float32 products of the highest
precision, which the runner asks for: they are arithmetic and no measurement. A run is 250 epochs of 390 steps for one
seed and one form, and 251 looks at 2,000 training images and 10,000 test images.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.timing import alternate
from lawlib.descent.steps import mean_cross_entropy
from lawlib.networks.linen import MLP, VGG16, LowRankMLP, VGGFeatures
from lawlib.networks.vgg import flat_averages

K, WIDTH, DEPTH, RANK = 10, 4096, 3, 20
SIZE, SAMPLES, ALL_IMAGES = 224, 128, 60_000
STEPS, IMAGES_SEEN = 250 * 390, 251 * 12_000
SMALL_SIZE, SMALL_SAMPLES, MATMUL, REPEATS = 64, 16, 2048, 3
AT_ONCE = 100
ASSUMED_TFLOPS = 30
HEADS = {
    "full": MLP((WIDTH, WIDTH, K), "silu"),
    f"r = {RANK}": LowRankMLP(RANK, WIDTH, DEPTH, K, "silu"),
}
METHOD = optax.chain(optax.add_decayed_weights(5e-4), optax.sgd(5e-3, momentum=0.9))


class Training(NamedTuple):
    """Variables and the optimizer's state; Flax's variables are a mapping of names."""

    variables: Any
    state: Any


def measure() -> dict[str, float]:
    """Arithmetic, memory and the hours they come to, for each head; the frozen pass; a small step that is run."""
    measured = {}
    for name, head in HEADS.items():
        measured |= _whole(f"whole, {name}", head)
    return measured | _frozen() | _run_here()


def _whole(name: str, head: nn.Module) -> dict[str, float]:
    network, batch = VGG16(head), _batch(SAMPLES)
    training = jax.eval_shape(lambda: _start(network, SIZE))
    program = jax.jit(lambda at, images, labels: _step(network, SIZE, at, images, labels)).lower(training, *batch)
    gflop, temporary = _costs(program)
    looks = IMAGES_SEEN / AT_ONCE * _seen(network, training.variables)
    size = sum(x.size for x in jax.tree.leaves(training.variables))
    return {
        f"{name}: parameters": size,
        f"{name}: GFLOP of a step": gflop,
        f"{name}: state, GiB": 2 * 4 * size / 2**30,
        f"{name}: temporary, GiB": temporary,
        f"{name}: hours of a run": _hours(STEPS * gflop + looks),
    }


def _seen(network: nn.Module, variables: Any) -> float:
    """GFLOP of what the network makes of a hundred images."""
    images, _ = _batch(AT_ONCE)
    return _gflop(jax.jit(lambda variables, x: network.apply(variables, _resized(x, SIZE))).lower(variables, images))


def _hours(gflop: float) -> float:
    return gflop / 1e3 / ASSUMED_TFLOPS / 3600


def _frozen() -> dict[str, float]:
    network = VGGFeatures()
    variables = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, SIZE, SIZE, 3)))
    images, _ = _batch(AT_ONCE)
    made = jax.jit(lambda variables, x: flat_averages(jnp.asarray(network.apply(variables, _resized(x, SIZE)))))
    gflop, temporary = _costs(made.lower(variables, images))
    d = made.eval_shape(variables, images).shape[1]
    return {
        "frozen: GFLOP of a hundred images": gflop,
        "frozen: temporary of a hundred images, GiB": temporary,
        "frozen: hours of all images, once": _hours(ALL_IMAGES / AT_ONCE * gflop),
        "frozen: features of all images, GiB": 4 * ALL_IMAGES * d / 2**30,
    }


def _run_here() -> dict[str, float]:
    network = VGG16(HEADS["full"])
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.integers(0, 256, (SMALL_SAMPLES, 32, 32, 3), np.uint8))
    labels = jax.nn.one_hot(jnp.arange(SMALL_SAMPLES) % K, K, dtype=jnp.float32)
    training = jax.jit(lambda: _start(network, SMALL_SIZE))()
    program = jax.jit(lambda at: _step(network, SMALL_SIZE, at, images, labels))
    gflop, _ = _costs(program.lower(training))
    A, multiply = jnp.ones((MATMUL, MATMUL), jnp.float32), jax.jit(jnp.matmul)
    step, product, ratios = alternate(lambda: program(training), lambda: multiply(A, A), REPEATS)
    product_gflop = 2 * MATMUL**3 / 1e9
    return {
        "run at 64 x 64: GFLOP of a step": gflop,
        "run at 64 x 64: GFLOP/s": gflop / step,
        "run at 64 x 64: machine's GFLOP/s beside it": product_gflop / product,
        "run at 64 x 64: share of it": float(np.median([gflop / product_gflop / ratio for ratio in ratios])),
    }


def _batch(count: int) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
    return jax.ShapeDtypeStruct((count, 32, 32, 3), jnp.uint8), jax.ShapeDtypeStruct((count, K), jnp.float32)


def _resized(images: jax.Array, size: int) -> jax.Array:
    shape = (images.shape[0], size, size, images.shape[3])
    return jax.image.resize(images.astype(jnp.float32), shape, "bilinear") / 255


def _start(network: nn.Module, size: int) -> Training:
    variables = network.init(jax.random.key(0), jnp.zeros((1, size, size, 3), jnp.float32))
    return Training(variables, METHOD.init(variables))


def _step(network: nn.Module, size: int, at: Training, images: jax.Array, labels: jax.Array) -> Training:
    def loss(variables: Any) -> jax.Array:
        outputs = jnp.asarray(network.apply(variables, _resized(images, size)))
        return mean_cross_entropy(outputs.T, labels.T)

    updates, state = METHOD.update(jax.grad(loss)(at.variables), at.state, at.variables)
    return Training(optax.apply_updates(at.variables, updates), state)


def _gflop(program: jax.stages.Lowered) -> float:
    flops = program.cost_analysis()
    if flops is None:
        msg = "this backend does not count the arithmetic of a program"
        raise RuntimeError(msg)
    return flops["flops"] / 1e9


def _costs(program: jax.stages.Lowered) -> tuple[float, float]:
    """GFLOP by XLA's count, and temporary GiB."""
    memory = program.compile().memory_analysis()
    if memory is None:
        msg = "this backend does not count the memory of a program"
        raise RuntimeError(msg)
    return _gflop(program), memory.temp_size_in_bytes / 2**30
