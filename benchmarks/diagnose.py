"""What a diagnosis costs: both calls together over 30 steps of training, and what its few products miss.

An MLP of ten layers, 784 wide with ten outputs (SiLU, orthogonal at first), learns the digits of scikit-learn, enlarged
to 28 x 28 pixels, by SGD (0.01, momentum 0.9, mean cross-entropy, batches of 128). ``before`` sees one batch, ``after``
the network after 30 steps and two held-out batches, with K = 10 and the default ranks. Both are compiled, as the steps
are; "first call" is the time with compilation. The diagnosis and the 30 steps run in turn in one process. CPU times are
of all threads together, which other processes do not enter. "kept" is the share of a change at the largest rank, over
that of a full decomposition, in the layer where this is lowest.
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

from benchmarks.timing import alternate, cpu_seconds, seconds
from lawlib.diagnose import Report, Start, after, before

WIDTHS, K, BATCH, HELD_OUT, STEPS, REPEATS = (*(784,) * 10, 10), 10, 128, 2, 30, 5
OPTIMIZER = optax.sgd(1e-2, momentum=0.9)
KEY = jax.random.key(0)

Weights = dict[str, jax.Array]


def measure() -> dict[str, float]:
    """The cost of the two calls over that of the steps, and the share that the triplets of the changes keep."""
    batches, held_out = _digits()
    rng = np.random.default_rng(0)
    weights = {
        f"layer {i}": jnp.asarray(np.linalg.qr(rng.standard_normal(shape))[0], jnp.float32)
        for i, shape in enumerate(pairwise(WIDTHS))
    }
    train = jax.jit(lambda weights: _trained(weights, batches))
    first = jax.jit(lambda weights, batches: before(KEY, _loss, weights, batches, k=K))
    second = jax.jit(lambda start, weights, held_out: after(KEY, start, weights, held_out))
    trained, one = train(weights), jax.tree.map(lambda x: x[:1], batches)

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
        _, steps, ratios = alternate(call, lambda: train(weights), REPEATS)
        pairs = [cpu_seconds(call) / cpu_seconds(lambda: train(weights)) for _ in range(REPEATS)]
        found |= {
            f"{name} over {STEPS} steps": float(np.median(ratios)),
            f"{name} over {STEPS} steps, CPU time": float(np.median(pairs)),
        }
        found["ms per step"] = steps / STEPS * 1e3
    return found | {f"kept at rank {report.ranks[-1]}, over the best": _worst(start, report, trained)}


def _worst(start: Start, report: Report, trained: Weights) -> float:
    """The kept share over that of a full decomposition, in the layer where it is lowest."""
    ratios = []
    for name, one in report.layers.items():
        s = np.linalg.svd(np.asarray(trained[name] - start.layers[name].weights, np.float64), compute_uv=False)
        best = np.sum(s[: int(report.ranks[-1])] ** 2) / np.sum(s**2)
        ratios.append(float(one.kept[-1]) / best)
    return min(ratios)


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


def _trained(weights: Weights, batches: tuple[jax.Array, jax.Array]) -> Weights:
    """The weights after so many steps, through the batches in turn."""

    def step(carry: tuple, t: jax.Array) -> tuple:
        weights, state = carry
        batch = jax.tree.map(lambda x: x[t % len(x)], batches)
        updates, state = OPTIMIZER.update(jax.grad(_loss)(weights, batch), state)
        return (optax.apply_updates(weights, updates), state), None

    return lax.scan(step, (weights, OPTIMIZER.init(weights)), jnp.arange(STEPS))[0][0]
