"""What low rank leaves of a trained head, and how low-rank heads train: digits, test accuracy in percent.

Heads with GELU, weights and biases as Flax draws them from the seed, mean cross-entropy; 1400 of the 1797 images are
for training and 397 for the test. "loss" is that of the 1400, the first batch. "SVD" is the truncated SVD of every
hidden kernel; "default" and "truncated" are the starts of lawlib.compress.low_rank_mlp, which take r >= 2 num_classes:
with num_classes = 5 at r = 10, else 10. The key of low_rank_mlp is the seed plus 1.

(a) Hidden layers of 256 units after 300 steps of gradient descent of size 0.1 on the 1400, images in random order.
(b) Three such layers after 100 steps of Adam of size 3e-3, images in the order of the file, whose last have other
writers. (c) Training from initialization: three hidden layers of 256 units, r = 20, Adam of size 1e-3 on random batches
of 128, images in random order, means over three seeds; "drawn" is inner="drawn", "random" a random basis. (d) README's
example: 100 steps of Adam of size 3e-3 from the default start, images in the order of the file.
"""

import functools as ft
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

from lawlib.compress import LowRankNetwork, low_rank_mlp
from lawlib.networks.initializers import orthogonal

WIDTH, CLASSES, TRAINING = 256, 10, 1400
DEPTHS, RANKS, SEEDS = (1, 2, 3), (10, 20, 40), (5, 6)
TRAINED_SEEDS, STEPS, BATCH = (0, 1, 2), (30, 300), 128


class Problem(NamedTuple):
    """A head, its loss, and its images with their classes: for training and for the test."""

    network: nn.Module
    loss: Callable[[Any, Any], jax.Array]
    training: tuple[jax.Array, jax.Array]
    test: tuple[jax.Array, jax.Array]


def measure() -> dict[str, float]:
    """Accuracies and losses of trained heads cut to rank r, and accuracies of low-rank heads that were trained."""
    measured = {}
    for depth in DEPTHS:
        measured |= _cut(f"(a) {depth} hidden", _problem(depth, shuffled=True), optax.sgd(0.1), 300, RANKS)
    example = _problem(3, shuffled=False)
    measured |= _cut("(b) 3 hidden", example, optax.adam(3e-3), 100, (20,))
    return measured | _from_initialization(_problem(3, shuffled=True)) | _example(example)


def _problem(depth: int, *, shuffled: bool) -> Problem:
    digits: Any = load_digits()
    count = len(digits.target)
    order = np.random.default_rng(0).permutation(count) if shuffled else np.arange(count)
    x, classes = jnp.asarray(digits.data[order] / 16, jnp.float32), jnp.asarray(digits.target[order])
    hidden = [layer for _ in range(depth) for layer in (nn.Dense(WIDTH), nn.gelu)]
    network = nn.Sequential([*hidden, nn.Dense(CLASSES)])

    def loss(variables: Any, batch: tuple) -> jax.Array:
        outputs = jnp.asarray(network.apply(variables, batch[0]))
        return optax.softmax_cross_entropy_with_integer_labels(outputs, batch[1]).mean()

    return Problem(network, loss, (x[:TRAINING], classes[:TRAINING]), (x[TRAINING:], classes[TRAINING:]))


def _cut(
    name: str, given: Problem, optimizer: optax.GradientTransformation, steps: int, ranks: tuple[int, ...]
) -> dict[str, float]:
    """A head is trained, and cut to each rank in three ways."""
    measured: dict[str, float] = {}
    train = jax.jit(lambda v: _descended(given.loss, optimizer, v, given.training, steps))
    for seed in SEEDS:
        own = f"{name}, seed {seed}"
        variables = train(_drawn(given, seed))
        measured |= _judged(f"{own}: trained", given, variables)
        for r in ranks:
            measured |= _judged(f"{own}, r = {r}: SVD", given, _truncated_svd(variables, r))
            for inner in ("truncated", "transported"):
                low = _low(given, seed, variables, rank=r, num_classes=min(CLASSES, r // 2), inner=inner)
                start = "default" if inner == "transported" else inner
                measured |= _judged(f"{own}, r = {r}: {start}", given, low.to_dense(low.variables))
    return measured


def _from_initialization(given: Problem) -> dict[str, float]:
    """Mean accuracies after each number of steps, from each start."""
    optimizer, reached = optax.adam(1e-3), {}
    for seed in TRAINED_SEEDS:
        variables = _drawn(given, seed)
        basis = orthogonal(1.0)(jax.random.key(seed + 2), (64, 20), jnp.float32)
        lows = {
            "S_big": _low(given, seed, variables),
            "random": _low(given, seed, variables, basis=basis),
            "drawn": _low(given, seed, variables, inner="drawn"),
        }
        starts = {name: (low.loss, low.variables, low.to_dense) for name, low in lows.items()}
        starts["full"] = (given.loss, variables, lambda trained: trained)
        for name, (loss, start, to_dense) in starts.items():
            batches = _random_batches(jax.random.key(seed + 3), given.training, max(STEPS))
            for steps in STEPS:
                some = jax.tree.map(lambda x, n=steps: x[:n], batches)
                trained = jax.jit(ft.partial(_along, loss, optimizer))(start, some)
                accuracy = _accuracy(given, to_dense(trained))
                reached.setdefault(f"(c) {name}, {steps} steps: accuracy", []).append(accuracy)
    return {name: float(np.mean(each)) for name, each in reached.items()}


def _example(given: Problem) -> dict[str, float]:
    """What the default start reaches, and what it saves, from README's keys."""
    low = _low(given, 5, _drawn(given, 5))
    trained = jax.jit(lambda v: _descended(low.loss, optax.adam(3e-3), v, given.training, 100))(low.variables)
    before, after = low.savings
    return {
        "(d) S_big: accuracy": _accuracy(given, low.to_dense(trained)),
        "(d) parameters, full over low rank": before.parameters / after.parameters,
        "(d) multiply-adds, full over low rank": before.head_multiply_adds / after.head_multiply_adds,
    }


def _drawn(given: Problem, seed: int) -> Any:
    return jax.jit(given.network.init)(jax.random.key(seed), given.training[0][:1])


def _low(given: Problem, seed: int, variables: Any, **options: Any) -> LowRankNetwork:
    """Without the warning that a trained head is lost: that is measured here."""
    batches = jax.tree.map(lambda x: x[None], given.training)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*on the first batch, the low-rank one")
        return low_rank_mlp(jax.random.key(seed + 1), given.network, variables, given.loss, batches, **options)


def _descended(
    loss: Callable, optimizer: optax.GradientTransformation, variables: Any, batch: tuple, steps: int
) -> Any:
    def step(_: int, at: Any) -> Any:
        return _step(loss, optimizer, at, batch)

    return jax.lax.fori_loop(0, steps, step, (variables, optimizer.init(variables)))[0]


def _along(loss: Callable, optimizer: optax.GradientTransformation, variables: Any, batches: tuple) -> Any:
    def step(at: Any, batch: tuple) -> tuple[Any, None]:
        return _step(loss, optimizer, at, batch), None

    return jax.lax.scan(step, (variables, optimizer.init(variables)), batches)[0][0]


def _step(loss: Callable, optimizer: optax.GradientTransformation, at: Any, batch: tuple) -> Any:
    updates, state = optimizer.update(jax.grad(loss)(at[0], batch), at[1])
    return optax.apply_updates(at[0], updates), state


def _random_batches(key: jax.Array, data: tuple, count: int) -> tuple:
    chosen = jax.random.randint(key, (count, BATCH), 0, TRAINING)
    return jax.tree.map(lambda x: x[chosen], data)


def _judged(name: str, given: Problem, variables: Any) -> dict[str, float]:
    loss = float(given.loss(variables, given.training))
    return {f"{name}, accuracy": _accuracy(given, variables), f"{name}, loss": loss}


def _accuracy(given: Problem, variables: Any) -> float:
    x, classes = given.test
    return 100 * float(jnp.mean(jnp.argmax(jnp.asarray(given.network.apply(variables, x)), axis=1) == classes))


def _truncated_svd(variables: Any, rank: int) -> Any:
    """Every kernel but that of the last layer by its leading singular triplets."""

    def cut(x: jax.Array) -> jax.Array:
        if x.ndim != 2 or x.shape[1] == CLASSES:
            return x
        U, s, Vt = np.linalg.svd(np.asarray(x, np.float64), full_matrices=False)
        return jnp.asarray((U[:, :rank] * s[:rank]) @ Vt[:rank], x.dtype)

    return jax.tree.map(cut, variables)
