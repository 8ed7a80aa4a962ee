"""What a diagnosis costs: both calls together over 30 steps of training.

An MLP of ten layers, 784 wide with ten outputs (SiLU, orthogonal at first), learns the digits of scikit-learn, enlarged
to 28 x 28 pixels, by SGD (0.01, momentum 0.9, mean cross-entropy, batches of 128). ``before`` sees one batch, ``after``
the network after 30 steps and two held-out batches, with K = 10 and the default ranks. Both are compiled, as the steps
are; "first call" is the time with compilation. The diagnosis and 60 steps run in turn in one process, seven times, and
the ratio is to half of the steps' time: the median, and the smallest and the largest of the seven. CPU times are of all
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

from benchmarks.timing import cpu_seconds, seconds
from lawlib.diagnose import Report, Start, after, before

WIDTHS, K, BATCH, HELD_OUT, STEPS, TIMED, REPEATS = (*(784,) * 10, 10), 10, 128, 2, 30, 60, 7
OPTIMIZER = optax.sgd(1e-2, momentum=0.9)
KEY = jax.random.key(0)

Weights = dict[str, jax.Array]


def measure() -> dict[str, float]:
    """The cost of the two calls over that of the steps."""
    batches, held_out = _digits()
    rng = np.random.default_rng(0)
    weights = {
        f"layer {i}": jnp.asarray(np.linalg.qr(rng.standard_normal(shape))[0], jnp.float32)
        for i, shape in enumerate(pairwise(WIDTHS))
    }
    train = jax.jit(lambda weights, steps: _trained(weights, batches, steps))
    first = jax.jit(lambda weights, batches: before(KEY, _loss, weights, batches, k=K))
    second = jax.jit(lambda start, weights, held_out: after(KEY, start, weights, held_out))
    trained, one = train(weights, STEPS), jax.tree.map(lambda x: x[:1], batches)

    def both() -> tuple[Start, Report]:
        start = first(weights, one)
        return start, second(start, trained, held_out)

    compiling = seconds(both)
    start, report = both()
    print(report)
    found = {"first call, compilation included, s": compiling, "recommended rank": float(report.recommended)}
    calls: dict[str, Callable[[], Any]] = {
        "before": lambda: first(weights, one),
        "after": lambda: second(start, trained, held_out),
        "both": both,
    }
    for name, call in calls.items():
        turns = [(_clocked(call), _clocked(lambda: train(weights, TIMED))) for _ in range(REPEATS)]
        for i, kind in enumerate(("", ", CPU time")):
            ratios = [one[i] / (steps[i] * STEPS / TIMED) for one, steps in turns]
            title = f"{name} over {STEPS} steps{kind}"
            found[title] = float(np.median(ratios))
            found |= {f"{title}, smallest": min(ratios), f"{title}, largest": max(ratios)}
        found["ms per step"] = float(np.median([steps[0] for _, steps in turns])) / TIMED * 1e3
    return found


def _clocked(function: Callable[[], Any]) -> tuple[float, float]:
    """Wall and CPU seconds of one call."""
    wall = 0.0

    def timed() -> None:
        nonlocal wall
        wall = seconds(function)

    cpu = cpu_seconds(timed)
    return wall, cpu


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
