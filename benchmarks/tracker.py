"""What tracking adds to training: a look every ten steps at a trained network, where it certifies and where not.

A 784-784-784-784-10 network (SiLU, orthogonal at first) has been trained for 300 steps of SGD (0.01, momentum 0.9, mean
cross-entropy, batches of 128) on the digits of scikit-learn, enlarged to 28 x 28 pixels; its loss is then about 0.01.
The next 50 steps run with and without a tracker of the k = K = 10 leading triplets of the second layer's kernel, of
its gradient, or of its change since initialization, without a reference. "default" has the tracker's own two passes and
tolerance (sqrt(eps) of float32, 3.5e-4), "certifying" up to eight passes and a tolerance of 0.01. The two run in turn
in one process. Times are CPU time of the process, all threads together, which other processes do not enter.
"certified" is the share of the looks, "bound" that of the last one.
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

from benchmarks.timing import cpu_seconds
from lawlib.tracking import TrackedLeaf, Tracker, Tracks, records, tracker

WIDTHS, K, BATCH, EVERY, BEFORE, STEPS, REPEATS = (784, 784, 784, 784, 10), 10, 128, 10, 300, 50, 3
SETTINGS = {"default": {}, "certifying": {"max_passes": 8, "tolerance": 1e-2}}
OPTIMIZER = optax.sgd(1e-2, momentum=0.9)
TRACKED = {"kernel": "weights/1", "gradient": "gradient/1", "change": TrackedLeaf("weights/1", change=True)}

Weights = list[jax.Array]


def measure() -> dict[str, float]:
    """A look in milliseconds and over ten steps of training, the share that is certified, passes and bounds."""
    images, classes = _digits()
    rng = np.random.default_rng(0)
    start = [jnp.asarray(np.linalg.qr(rng.standard_normal(shape))[0], jnp.float32) for shape in pairwise(WIDTHS)]
    train = jax.jit(lambda weights: _trained(weights, images, classes, BEFORE))
    (weights, _), losses = train(start)
    measured = {"loss after training": float(losses[-1])}
    plain = jax.jit(lambda weights: _trained(weights, images, classes, STEPS))
    at_start = {"weights": start, "gradient": start}
    for what, watched in TRACKED.items():
        for name, options in SETTINGS.items():
            monitor = tracker({what: watched}, K, every=EVERY, num_steps=STEPS, against=(), **options)
            watching = jax.jit(lambda w, tracks, own=monitor: _trained(w, images, classes, STEPS, tracks, own))
            found = _tracking(monitor.init(jax.random.key(0), at_start), weights, watching, plain)
            measured |= {f"{what}, {name}: {of}": value for of, value in found.items()}
    return measured


def _digits() -> tuple[jax.Array, jax.Array]:
    """The digits at 28 x 28 pixels, to mean 0 and variance 1, and their classes."""
    digits: Any = load_digits()
    large = np.kron(digits.data.reshape(-1, 8, 8), np.ones((1, 4, 4)))[:, 2:-2, 2:-2].reshape(-1, WIDTHS[0])
    return jnp.asarray((large - large.mean()) / large.std(), jnp.float32), jnp.asarray(digits.target)


def _trained(
    weights: Weights,
    images: jax.Array,
    classes: jax.Array,
    steps: int,
    tracks: Tracks | None = None,
    monitor: Tracker | None = None,
) -> tuple[tuple[Weights, Any], jax.Array]:
    """The weights and the tracks after so many steps, and all losses."""

    def loss(weights: Weights, x: jax.Array, y: jax.Array) -> jax.Array:
        for W in weights[:-1]:
            x = jax.nn.silu(x @ W)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(x @ weights[-1], y))

    def step(carry: tuple, t: jax.Array) -> tuple:
        weights, state, tracks = carry
        batch = jax.random.randint(jax.random.fold_in(jax.random.key(3), t), (BATCH,), 0, len(classes))
        value, gradient = jax.value_and_grad(loss)(weights, images[batch], classes[batch])
        if monitor is not None:
            tracks = monitor.update(tracks, t, {"weights": weights, "gradient": gradient})
        updates, state = OPTIMIZER.update(gradient, state)
        return (optax.apply_updates(weights, updates), state, tracks), value

    (weights, _, tracks), losses = lax.scan(step, (weights, OPTIMIZER.init(weights), tracks), jnp.arange(steps))
    return (weights, tracks), losses


def _tracking(tracks: Tracks, weights: Weights, watched: Callable, plain: Callable) -> dict[str, float]:
    """Training with a tracker against training without, after a call of each that warms up."""
    (found,) = records(watched(weights, tracks)[0][1]).values()
    jax.block_until_ready(plain(weights))
    pairs = [
        (cpu_seconds(lambda: watched(weights, tracks)), cpu_seconds(lambda: plain(weights))) for _ in range(REPEATS)
    ]
    looking, training = (float(np.median(each)) for each in zip(*pairs, strict=True))
    return {
        "ms per step without": training / STEPS * 1e3,
        "ms per look": (looking - training) / (STEPS / EVERY) * 1e3,
        "share of the training": float(np.median([one / other for one, other in pairs])) - 1,
        "certified": float(jnp.mean(found.certified)),
        "passes, mean": float(jnp.mean(found.passes)),
        "bound": float(found.bound[-1]),
    }
