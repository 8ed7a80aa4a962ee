"""What a diagnosis costs: both calls together over 30 steps of training.

An MLP of ten layers, 784 wide with ten outputs (SiLU, at first 1.4 times orthogonal), learns scikit-learn's digits,
enlarged to 28 x 28 pixels, by SGD (0.01, momentum 0.9, mean cross-entropy, batches of 128). ``before`` sees one batch,
``after`` the network after 120 steps and two held-out batches, with K = 10 and the default ranks. Both are compiled, as
the steps are; "first call" is the time with compilation. In one process, seven times in turn, ``before``, ``after`` and
30 steps run; the table has median, smallest and largest of the seven ratios of neighbors in time. CPU times are of all
threads together, which other processes do not enter.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from sklearn.datasets import load_digits

from benchmarks.timing import seconds, wall_and_cpu_seconds
from lawlib.diagnose import Report, Start, after, before

WIDTHS, K, BATCH, HELD_OUT, STEPS, TRAINED, REPEATS = (*(784,) * 10, 10), 10, 128, 2, 30, 120, 7
OPTIMIZER = optax.sgd(1e-2, momentum=0.9)
KEY = jax.random.key(0)

Weights = dict[str, jax.Array]


def measure() -> dict[str, float]:
    """The cost of the two calls over that of the steps."""
    batches, held_out = _digits()
    rng = np.random.default_rng(0)
    weights = {
        f"layer {i}": jnp.asarray(1.4 * np.linalg.qr(rng.standard_normal(shape))[0], jnp.float32)
        for i, shape in enumerate(pairwise(WIDTHS))
    }
    train = jax.jit(lambda weights, steps: _trained(weights, batches, steps))
    first = jax.jit(lambda weights, batches: before(KEY, _loss, weights, batches, k=K))
    second = jax.jit(lambda start, weights, held_out: after(KEY, start, weights, held_out))
    trained, one = train(weights, TRAINED), jax.tree.map(lambda x: x[:1], batches)

    def both() -> tuple[Start, Report]:
        start = first(weights, one)
        return start, second(start, trained, held_out)

    compiling = seconds(both)
    start, report = both()
    print(report)
    found = {"first call, compilation included, s": compiling, "recommended rank": float(report.recommended)}
    calls: tuple[Callable[[], Any], ...] = (
        lambda: first(weights, one),
        lambda: second(start, trained, held_out),
        lambda: train(weights, STEPS),
    )
    turns = np.asarray([[wall_and_cpu_seconds(call) for call in calls] for _ in range(REPEATS)])
    for i, kind in enumerate(("", ", CPU time")):
        begun, ended, steps = turns[:, :, i].T
        found[f"ms per step{kind}"] = float(np.median(steps)) / STEPS * 1e3
        for name, cost in (("before", begun), ("after", ended), ("both", begun + ended)):
            title, ratios = f"{name} over {STEPS} steps{kind}", cost / steps
            numbers = {title: np.median(ratios), f"{title}, smallest": ratios.min(), f"{title}, largest": ratios.max()}
            found |= {title: float(number) for title, number in numbers.items()}
    return found


def _loss(weights: Weights, batch: tuple[jax.Array, jax.Array]) -> jax.Array:
    x, y = batch
    *hidden, last = weights.values()
    for W in hidden:
        x = jax.nn.silu(x @ W)
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(x @ last, y))


def _digits() -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
    """Batches of the digits at 28 x 28 pixels, to mean 0 and variance 1, and their classes; two are held out."""
    digits: Any = load_digits()
    large = np.kron(digits.data.reshape(-1, 8, 8), np.ones((1, 4, 4)))[:, 2:-2, 2:-2].reshape(-1, WIDTHS[0])
    order = np.random.default_rng(1).permutation(len(large))
    order = order[: len(order) // BATCH * BATCH].reshape(-1, BATCH)
    images = jnp.asarray((large - large.mean()) / large.std(), jnp.float32)[order]
    classes = jnp.asarray(digits.target)[order]
    return (images[HELD_OUT:], classes[HELD_OUT:]), (images[:HELD_OUT], classes[:HELD_OUT])


def _trained(weights: Weights, batches: tuple[jax.Array, jax.Array], steps: int) -> Weights:
    """The weights after so many steps, through the batches in turn."""

    def step(t: jax.Array, carry: tuple) -> tuple:
        weights, state = carry
        batch = jax.tree.map(lambda x: x[t % len(x)], batches)
        updates, state = OPTIMIZER.update(jax.grad(_loss)(weights, batch), state)
        return optax.apply_updates(weights, updates), state

    return lax.fori_loop(0, steps, step, (weights, OPTIMIZER.init(weights)))[0]
