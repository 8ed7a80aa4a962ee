"""What a low-rank MLP head saves: a training step of the full network against its low-rank forms, float32.

(a) Fashion-MNIST's MLP: 784-784-784-784-10 with SiLU on three batches of 1000 images, the squared error summed over
them, momentum, orthogonal weights. (b) VGG's head: 4608-4096-4096-10 with GELU and biases, a batch of 128, mean
cross-entropy, SGD with momentum, LeCun-normal weights, by lawlib.compress.low_rank_mlp. Random data.

Full and low rank run in turn in one process, steps in a compiled loop; "step over full" is the median over the turns.
"products" are those of a step, forward and backward, two FLOP a multiply-add; "by XLA" is its count of the program
before it is optimized, activations and update included; both for one batch. "temporary" is XLA's for a step. Beside
every pair a float32 product 2048 x 2048 x 2048 gives the machine's rate; "share" is how much of it the products of a
full step reach over its whole time. "rest" are, each in a program of its own, the activations with their derivatives,
the sum of the batches' gradients and the update.
"""

import functools as ft
import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from benchmarks.timing import median, seconds
from lawlib.compress import low_rank_mlp
from lawlib.compress.low_rank_init import random_init
from lawlib.descent.steps import sum_squared_error, summed_over_batches
from lawlib.networks import low_rank, mlp
from lawlib.networks.initializers import orthogonal_weights

RANKS, REPEATS, MATMUL = (20, 40, 80, 160), 5, 2048
FASHION, IMAGES, BATCHES = (784, 784, 784, 784, 10), 1000, 3
VGG, SAMPLES, CLASSES = (4608, 4096, 4096, 10), 128, 10
# Steps in a compiled loop, so that a call of the small networks is not mostly dispatch.
FULL_STEPS, LOW_STEPS = 2, 20


class Trained(NamedTuple):
    """A network in training: what it starts from, a step of it, and the products of a step, in GFLOP."""

    start: Any
    step: Callable[[Any], Any]
    gflop: float


def measure() -> dict[str, float]:
    """Sizes, step times, their ratios, memory, and where a full step's time goes."""
    return _fashion() | _vgg()


def _fashion() -> dict[str, float]:
    key_x, key_y, key_w, key_low = jax.random.split(jax.random.key(0), 4)
    X = jax.random.normal(key_x, (BATCHES, FASHION[0], IMAGES), jnp.float32)
    labels = jax.random.randint(key_y, (BATCHES, IMAGES), 0, FASHION[-1])
    Y = jnp.swapaxes(jax.nn.one_hot(labels, FASHION[-1], dtype=jnp.float32), 1, 2)
    weights = orthogonal_weights(key_w, FASHION, 0.1, jnp.float32)
    optimizer = optax.sgd(1e-6, momentum=0.9)

    def trained(predict: Callable, start: Any, layers: list[tuple[int, int]], batches: int = BATCHES) -> Trained:
        total = summed_over_batches(lambda W, x, y: sum_squared_error(predict(W, x, "silu"), y))
        step = _step(lambda W: total(W, (X[:batches], Y[:batches])), optimizer)
        return Trained((start, optimizer.init(start)), step, _gflop(layers, batches * IMAGES))

    dense = list(itertools.pairwise(FASHION))
    full, one = trained(mlp.apply, weights, dense), trained(mlp.apply, weights, dense, batches=1)
    measured = _described("(a) full", full, one)
    rest = {"activations": _activations(jax.nn.silu, (BATCHES, FASHION[1], IMAGES), 3)}
    rest["sum of the gradients"] = BATCHES * _in_place(ft.partial(jax.tree.map, jnp.add), weights, weights)
    rest["update"] = _updated(full.start, optimizer)
    for r in RANKS:
        start = random_init(key_low, weights, rank=r, scale=0.1)
        low = [(FASHION[0], r), *[(r, r)] * 3, (r, FASHION[-2]), FASHION[-2:]]
        small, small_one = (trained(low_rank.apply, start, low, batches=n) for n in (BATCHES, 1))
        measured |= _described(f"(a) r = {r}", small, small_one) | _raced("(a)", r, full, small)
    return measured | _shares("(a)", measured, rest)


class Head(nn.Module):
    """The head of a VGG."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """From features to outputs."""
        for width in VGG[1:-1]:
            x = nn.gelu(nn.Dense(width)(x), approximate=False)
        return nn.Dense(VGG[-1])(x)


def _vgg() -> dict[str, float]:
    key_x, key_y, key_w, key_low = jax.random.split(jax.random.key(1), 4)
    x = jax.random.normal(key_x, (SAMPLES, VGG[0]), jnp.float32)
    batch = x, jax.random.randint(key_y, (SAMPLES,), 0, CLASSES)
    network, optimizer = Head(), optax.sgd(5e-3, momentum=0.9)
    variables = jax.jit(network.init)(key_w, x)

    def loss(variables: Any, batch: tuple) -> jax.Array:
        outputs = network.apply(variables, batch[0])
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(jnp.asarray(outputs), batch[1]))

    def trained(loss: Callable, start: Any, layers: list[tuple[int, int]]) -> Trained:
        step = _step(lambda variables: loss(variables, batch), optimizer)
        return Trained((start, optimizer.init(start)), step, _gflop(layers, SAMPLES))

    full = trained(loss, variables, list(itertools.pairwise(VGG)))
    measured = _described("(b) full", full, full)
    rest = {"activations": _activations(ft.partial(jax.nn.gelu, approximate=False), (1, VGG[1], SAMPLES), 2)}
    rest["update"] = _updated(full.start, optimizer)
    stacked = jax.tree.map(lambda a: a[None], batch)
    for r in RANKS:
        low = low_rank_mlp(key_low, network, variables, loss, stacked, rank=r)
        small = trained(low.loss, low.variables, [(VGG[0], r), *[(r, r)] * 2, (r, VGG[-2]), VGG[-2:]])
        measured |= _described(f"(b) r = {r}", small, small) | _raced("(b)", r, full, small)
    return measured | _shares("(b)", measured, rest)


def _step(loss: Callable, optimizer: optax.GradientTransformation) -> Callable[[Any], Any]:
    def step(at: Any) -> Any:
        updates, state = optimizer.update(jax.grad(loss)(at[0]), at[1])
        return optax.apply_updates(at[0], updates), state

    return step


def _gflop(layers: list[tuple[int, int]], samples: int) -> float:
    """Forward, and backward to the weights and to the inputs, but not to the first layer's inputs."""
    sizes = [a * b for a, b in layers]
    return 2 * samples * (3 * sum(sizes) - sizes[0]) / 1e9


def _described(name: str, network: Trained, one: Trained) -> dict[str, float]:
    """What it holds, and what XLA says of a step; of its arithmetic for one batch, since a loop's body counts once."""
    weights, state = network.start
    flops = jax.jit(one.step).lower(network.start).cost_analysis()
    memory = jax.jit(network.step).lower(network.start).compile().memory_analysis()
    if flops is None or memory is None:
        msg = "this backend does not count the arithmetic and the memory of a program"
        raise RuntimeError(msg)
    return {
        f"{name}: parameters": sum(x.size for x in jax.tree.leaves(weights)),
        f"{name}: products, GFLOP": one.gflop,
        f"{name}: GFLOP by XLA": flops["flops"] / 1e9,
        f"{name}: optimizer memory, MiB": sum(x.nbytes for x in jax.tree.leaves(state)) / 2**20,
        f"{name}: temporary memory, MiB": memory.temp_size_in_bytes / 2**20,
    }


def _raced(part: str, r: int, full: Trained, small: Trained) -> dict[str, float]:
    """Both networks and the machine's products, in turn."""
    A = jnp.ones((MATMUL, MATMUL), jnp.float32)
    multiply = jax.jit(jnp.matmul)
    big, little = _looped(full, FULL_STEPS), _looped(small, LOW_STEPS)
    runs = (lambda: big(full.start), lambda: little(small.start), lambda: multiply(A, A))
    for warm_up in runs:
        seconds(warm_up)
    turns = [[seconds(run) for run in runs] for _ in range(REPEATS)]
    fulls, smalls = ([turn[i] / n for turn in turns] for i, n in ((0, FULL_STEPS), (1, LOW_STEPS)))
    rates = [2 * MATMUL**3 / turn[2] / 1e9 for turn in turns]
    shares = [full.gflop / t / rate for t, rate in zip(fulls, rates, strict=True)]
    return {
        f"{part} r = {r}: step, ms": statistics.median(smalls) * 1e3,
        f"{part} r = {r}: full step beside it, ms": statistics.median(fulls) * 1e3,
        f"{part} r = {r}: step over full": statistics.median(b / a for a, b in zip(fulls, smalls, strict=True)),
        f"{part} r = {r}: GFLOP/s": small.gflop / statistics.median(smalls),
        f"{part} r = {r}: machine's GFLOP/s beside it": statistics.median(rates),
        f"{part} r = {r}: full step's share of it": statistics.median(shares),
    }


def _looped(network: Trained, steps: int) -> Callable[[Any], Any]:
    return jax.jit(lambda start: jax.lax.fori_loop(0, steps, lambda _, at: network.step(at), start))


def _activations(phi: Callable, shape: tuple[int, ...], layers: int) -> float:
    """Milliseconds of phi(Z) and of its derivative times what comes back, for all layers of all batches."""
    Z = jnp.ones(shape, jnp.float32)

    @jax.jit
    def both(Z: jax.Array, back: jax.Array) -> tuple[jax.Array, jax.Array]:
        out, pull = jax.vjp(phi, Z)
        return out, pull(back)[0]

    return layers * median(lambda: both(Z, Z), REPEATS) * 1e3


def _updated(start: Any, optimizer: optax.GradientTransformation) -> float:
    """Milliseconds of an update from gradients at hand."""

    def update(at: Any, gradients: Any) -> Any:
        updates, state = optimizer.update(gradients, at[1])
        return optax.apply_updates(at[0], updates), state

    return _in_place(update, start, start[0])


def _in_place(change: Callable[[Any, Any], Any], start: Any, given: Any) -> float:
    """Milliseconds of a change that reuses the memory of what it changes, as a training loop does."""
    compiled, at, times = jax.jit(change, donate_argnums=0), jax.tree.map(jnp.copy, start), []
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        at = jax.block_until_ready(compiled(at, given))
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:]) * 1e3


def _shares(part: str, measured: dict[str, float], rest: dict[str, float]) -> dict[str, float]:
    """The full step over all its races."""
    step = statistics.median(measured[f"{part} r = {r}: full step beside it, ms"] for r in RANKS)
    share = statistics.median(measured[f"{part} r = {r}: full step's share of it"] for r in RANKS)
    about = {f"{part} full: step, ms": step, f"{part} full: share of the machine's rate": share}
    return about | {f"{part} full, rest: {what}, of the step": ms / step for what, ms in rest.items()}
