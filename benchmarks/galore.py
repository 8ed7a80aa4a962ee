"""GaLore by a few products against optax's, by full decompositions: a refresh, memory, and the loss of each step.

MLPs (SiLU, orthogonal at first) learn the first 10,000 images of Fashion-MNIST by Adam (0.001, mean cross-entropy). The
gradient of a square layer, 784 wide (batches of 128) or 4096 wide (batches of 256), is taken at two steps. A refresh is
a whole update of the later gradient, projection and back included, with gradient descent inside: "cold" it is the
first, "warm" the one before was that of the earlier gradient. "default" takes up to 4 passes, "certifying" up to 8.
It is compared with jnp.linalg.svd alone. "error" is ||sin Theta||_F against that decomposition, "bound" the
certificate; "captured" is the share of ||G||_F^2 in the projector over the largest possible one.

Memory: the optimizer's state by its shapes, and the temporaries of one update by XLA's count, for one square layer with
Adam inside. Training: a 784-784-784-10 network, rank 16, Adam inside, the last layer not projected, three seeds; ours
at optax's steps (every 50), and where the angle asks (at the latest every 50). "final" is the mean loss of the last 40
steps, in the mean over seeds, and the range over seeds. "worst window": in windows of 20 steps, the mean loss of ours
minus that of optax, over the range of optax's seeds, in the window where that is largest; at most 1 is within the
spread of seeds, below 0 is better than optax in every window. Times are CPU time of the process, all threads together,
which other processes do not enter.
"""

import functools as ft
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from optax import contrib

from benchmarks.timing import cpu_seconds
from experiments.data.datasets import flattened, image_data
from lawlib.compress import low_rank_gradients
from lawlib.linalg.subspaces import sin_theta

IMAGES, STEP_SIZE, KEY = 10_000, 1e-3, jax.random.key(0)
# Width, batch, the steps of the two gradients, ranks, repeats: the 4096 x 4096 decomposition takes a minute or more.
SIZES = ((784, 128, (50, 60), (16, 64, 128), 5), (4096, 256, (4, 8), (128,), 1))
SETTINGS = {"default": {}, "certifying": {"max_passes": 8}}
WIDTHS, RANK, EVERY, STEPS, BATCH, SEEDS, WINDOW = (784, 784, 784, 10), 16, 50, 200, 128, 3, 20

Weights = list[jax.Array]


def measure() -> dict[str, float]:
    """Refreshes, memory and training."""
    images, classes = _fashion()
    measured = {}
    for width, batch, steps, ranks, repeats in SIZES:
        pair = _gradients(images, classes, width, batch, steps)
        measured |= _refreshes(*pair, ranks, repeats) | _memory(width, ranks[0] if width < 1000 else ranks[-1])
    return measured | _training(images, classes)


def _fashion() -> tuple[jax.Array, jax.Array]:
    """Images in rows, to mean 0 and variance 1, and their classes."""
    data = flattened(image_data("fashion_mnist").train, IMAGES, 1, np.dtype(np.float32))
    pixels = data.inputs.T
    return jnp.asarray((pixels - pixels.mean()) / pixels.std()), jnp.asarray(data.labels.argmax(0))


def _start(widths: tuple[int, ...], seed: int) -> Weights:
    keys = jax.random.split(jax.random.key(seed), len(widths))
    return [
        jax.nn.initializers.orthogonal()(key, shape, jnp.float32)
        for key, shape in zip(keys, pairwise(widths), strict=False)
    ]


def _train(optimizer: Any, images: jax.Array, classes: jax.Array, batch: int, steps: int, look: Callable) -> Any:
    """Training from weights, with batches by a key: losses, and what ``look(gradients, state)`` sees at each step."""

    def loss(weights: Weights, x: jax.Array, y: jax.Array) -> jax.Array:
        for W in weights[:-1]:
            x = jax.nn.silu(x @ W)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(x @ weights[-1], y))

    def step(carry: tuple, key: jax.Array) -> tuple:
        weights, state = carry
        rows = jax.random.randint(key, (batch,), 0, len(classes))
        value, gradients = jax.value_and_grad(loss)(weights, images[rows], classes[rows])
        updates, state = optimizer.update(gradients, state)
        updates = [-STEP_SIZE * U for U in updates]
        return (optax.apply_updates(weights, updates), state), (value, look(gradients, state))

    def run(weights: Weights, key: jax.Array) -> Any:
        return lax.scan(step, (weights, optimizer.init(weights)), jax.random.split(key, steps))

    return jax.jit(run)


def _gradients(
    images: jax.Array, classes: jax.Array, width: int, batch: int, steps: tuple[int, int]
) -> tuple[jax.Array, jax.Array]:
    """The gradients of the square layer at two steps of training with Adam."""
    run = _train(optax.scale_by_adam(), images, classes, batch, steps[1] + 1, lambda gradients, _: gradients[1])
    seen = run(_start((784, width, width, 10), seed=0), KEY)[1][1]
    return seen[steps[0]], seen[steps[1]]


def _timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """The result of a call and its CPU seconds."""
    kept = []
    taken = cpu_seconds(lambda: kept.append(jax.block_until_ready(function())))
    return kept[0], taken


def _refreshes(earlier: jax.Array, G: jax.Array, ranks: tuple[int, ...], repeats: int) -> dict[str, float]:
    """An update that refreshes, over the decomposition, and its projector against that of the decomposition."""
    size = f"{len(G)} wide"
    dense = jax.jit(lambda G: jnp.linalg.svd(G, full_matrices=False)).lower(G).compile()
    (U, s, _), first = _timed(lambda: dense(G))
    svd = float(np.median([first, *(cpu_seconds(lambda: dense(G)) for _ in range(repeats - 1))]))
    measured = {f"{size}: svd_s": svd}
    for rank in ranks:
        best = jnp.sum(jnp.square(s[:rank])) / jnp.sum(jnp.square(s))
        measured[f"{size}, rank {rank}: next value over the last"] = float(s[rank] / s[rank - 1])
        for name, options in SETTINGS.items():
            method = low_rank_gradients(optax.identity(), rank, key=KEY, every=1, **options)
            update = jax.jit(method.update).lower(G, method.init(G)).compile()
            cold = method.init(G)
            states = {"cold": cold, "warm": update(earlier, cold)[1]}
            for start, state in states.items():
                (found,) = update(G, state)[1].projections
                seconds = [cpu_seconds(lambda at=state, run=update: run(G, at)) for _ in range(max(3, repeats))]
                measured |= {
                    f"{size}, rank {rank}, {name}, {start}: {what}": float(value)
                    for what, value in {
                        "over_svd": np.median(seconds) / svd,
                        "error": sin_theta(U[:, :rank], found.basis),
                        "bound": found.bound,
                        "captured": found.captured / best,
                    }.items()
                }
    return measured


def _memory(width: int, rank: int) -> dict[str, float]:
    """MiB of the state, and of the temporaries of an update that may refresh."""
    G, adam = jax.ShapeDtypeStruct((width, width), jnp.float32), optax.scale_by_adam()
    methods = {
        "adam": adam,
        "optax": contrib.scale_by_galore(rank, EVERY, base_optimizer=adam),
        "ours": low_rank_gradients(adam, rank, key=KEY, every=EVERY),
    }
    measured = {}
    for name, method in methods.items():
        state = jax.eval_shape(method.init, G)
        counted = jax.jit(method.update).lower(G, state).compile().memory_analysis()
        if counted is None:
            msg = "this backend does not count the memory of a compiled program"
            raise RuntimeError(msg)
        held = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
        measured |= {
            f"{width} wide, rank {rank}, {name}: state_mib": held / 2**20,
            f"{width} wide, rank {rank}, {name}: temporaries_mib": counted.temp_size_in_bytes / 2**20,
        }
    return measured


def _numbers(weights: Any) -> Any:
    """optax would project the last layer on as many directions as it has outputs; ours leaves it whole."""
    return [contrib.GaLoreDimensionNumbers() if min(W.shape) > RANK else None for W in weights]


def _training(images: jax.Array, classes: jax.Array) -> dict[str, float]:
    adam = optax.scale_by_adam()
    ours = ft.partial(low_rank_gradients, adam, RANK, key=KEY, every=EVERY)
    methods = {
        "adam": adam,
        "optax": contrib.scale_by_galore(RANK, EVERY, base_optimizer=adam, weight_dimension_numbers=_numbers),
        "same steps": ours(refresh_below=0.0),
        "by the angle": ours(),
    }
    losses, measured = {}, {}
    for name, method in methods.items():
        projects = name in ("same steps", "by the angle")

        def look(_: Weights, state: Any, projects: bool = projects) -> Any:
            return [(P.refreshes, P.certified) for P in state.projections if P is not None] if projects else ()

        run = _train(method, images, classes, BATCH, STEPS, look)
        compiled = run.lower(_start(WIDTHS, 0), KEY).compile()
        runs = []
        for seed in range(SEEDS):
            start, key = _start(WIDTHS, seed), jax.random.key(100 + seed)
            runs.append(_timed(lambda start=start, key=key, run=compiled: run(start, key)[1]))
        seen, seconds = zip(*runs, strict=True)
        losses[name] = np.asarray([values for values, _ in seen])
        final = losses[name][:, -40:].mean(1)
        measured |= {f"training, {name}: final": float(final.mean()), f"training, {name}: final, range": np.ptp(final)}
        measured[f"training, {name}: cpu_s"] = float(np.median(seconds))
        if projects:
            refreshes, certified = (np.asarray([[leaf[i] for leaf in look] for _, look in seen]) for i in (0, 1))
            new = np.diff(refreshes, axis=-1, prepend=0) > 0
            measured[f"training, {name}: refreshes per layer"] = float(refreshes[..., -1].mean())
            measured[f"training, {name}: certified share"] = float(certified[new].mean())
            measured[f"training, {name}: worst window"] = _worst_window(losses[name], losses["optax"])
    return measured


def _worst_window(losses: np.ndarray, others: np.ndarray) -> float:
    """The largest excess of the mean over the other's, over the range of the other's seeds, in windows of steps."""
    ours, theirs = (x.reshape(SEEDS, -1, WINDOW).mean(2) for x in (losses, others))
    return float(((ours.mean(0) - theirs.mean(0)) / np.ptp(theirs, axis=0)).max())
