"""A small transformer adapted to another text: S_big against the starts of other papers' adapters, and full training.

A transformer of 1.02 million parameters (5 blocks of width 128, 4 heads, GELU, RMS norms, rows of 64 characters,
float32) learns the Old Testament (King James Version, Debian's bible-kjv-text) by 800 steps of Adam in batches of 16
rows, step sizes up to 0.003 with a warm-up and a cosine. It is then adapted to the New Testament, whose style is near,
and to the help topics of Python (pydoc_data.topics), which is far. A text is cut into blocks of 32 rows; of each ten,
eight are for training, one for validation (32 rows are used) and one for the test (64 rows).

Adapters of rank 8 in the query, key, value, output and MLP kernels of all blocks, all else frozen: LoRA (2106.09685;
Gaussian), orthogonal columns, EVA (2410.07170; one rank for all layers), PiSSA (2404.02948), LoRA-GA (2407.05000;
gamma = 16), and S_big: lawlib.compress.adapters.gradient_lora in certified triplets (block_krylov_svd) of the gradient.
EVA, LoRA-GA and S_big see the same 64 rows, other ones for each seed. "full" trains everything.

Adam in batches of 8 rows. Three seeds draw the batches and the start; the pretrained network is one. The step size of
each method is that with the best mean validation loss over all checkpoints of the first seed. For the New Testament it
is 0.0001, 0.0003, 0.001 or 0.003, for "full" 0.00003, 0.0001 or 0.0003; for Python's help 0.001, 0.003, 0.01 or 0.03,
for "full" 0.0003, 0.001 or 0.003. Numbers are nats per character on the test rows: mean over the seeds (least to most).
Seconds are CPU time of the process without compilation.
"""

import functools as ft
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from matplotlib.figure import Figure

from benchmarks import texts, transformer
from benchmarks.page import Table
from benchmarks.starts import STARTS, Params, kernel_of, s_big_of_whole_gradients
from benchmarks.training import Curve, Method, Start, Task, quickly_started, raced, tables
from benchmarks.training import figure as drawn
from lawlib.compress import with_adapters
from lawlib.linalg.matricization import Matricization

SIZES = transformer.Sizes(blocks=5, width=128, heads=4, expansion=4, length=64, characters=texts.CHARACTERS)
RANK, BATCH, SAMPLE, VALIDATION, TEST = 8, 8, 64, 32, 64
SEEDS, STEPS, EVERY = 3, 75, 25
PRETRAINING, LARGER_BATCH, LARGEST_STEP, WARM_UP = 800, 16, 3e-3, 80
# Step sizes of adapters and of full training: a text that is near needs smaller ones.
GRIDS = {
    "New Testament": ((1e-4, 3e-4, 1e-3, 3e-3), (3e-5, 1e-4, 3e-4)),
    "Python's help": ((1e-3, 3e-3, 1e-2, 3e-2), (3e-4, 1e-3, 3e-3)),
}
SHOWN, BUDGETS = (0, 25, 50, 75), (50,)


def measure() -> list[Curve]:
    """Curves of all methods on both texts.

    Raises:
        MissingTextError: a text is not on this machine.
    """
    read = {
        "New Testament": ft.partial(texts.bible, "New Testament"),
        "Python's help": texts.python_documentation,
    }
    targets = {name: texts.parts(text(), SIZES.length + 1) for name, text in read.items()}
    first = texts.parts(texts.bible("Old Testament"), SIZES.length + 1)
    params = pretrained(jax.random.key(0), jnp.asarray(first.training))
    before = float(jax.jit(_loss)(params, jnp.asarray(first.test[:TEST])))
    print(f"pretrained: {before:.4g} nats per character of the Old Testament", flush=True)
    return [curve for name, text in targets.items() for curve in _curves(name, text, params)]


def table(curves: Sequence[Curve]) -> list[Table]:
    """A table for each text."""
    return tables(curves, SHOWN, "full", BUDGETS)


def figure(curves: Sequence[Curve]) -> Figure:
    """All methods."""
    return drawn(curves, {name: name for name in ("full", *STARTS)}, "nats per character")


@jax.jit
def pretrained(key: jax.Array, rows: jax.Array) -> Params:
    """The network after training on these rows."""
    schedule = optax.warmup_cosine_decay_schedule(0.0, LARGEST_STEP, WARM_UP, PRETRAINING)
    optimizer = optax.adam(schedule)
    key_start, key_batches = jax.random.split(key)
    params = transformer.drawn(key_start, SIZES)

    def step(at: Any, k: jax.Array) -> tuple[Any, None]:
        batch = _rows(k, rows, LARGER_BATCH)
        updates, state = optimizer.update(jax.grad(_loss)(at[0], batch), at[1])
        return (optax.apply_updates(at[0], updates), state), None

    keys = jax.random.split(key_batches, PRETRAINING)
    return lax.scan(step, (params, optimizer.init(params)), keys)[0][0]


def _rows(key: jax.Array, rows: jax.Array, count: int) -> jax.Array:
    return rows[jax.random.randint(key, (count,), 0, len(rows))]


def _batch(key: jax.Array, rows: jax.Array) -> jax.Array:
    return _rows(key, rows, BATCH)


def _loss(params: Params, rows: jax.Array) -> jax.Array:
    return transformer.loss(params, rows, SIZES)


# Methods. -------------------------------------------------------------------------------------------------------------


def _curves(name: str, text: texts.Text, params: Params) -> list[Curve]:
    training, validation, test = map(jnp.asarray, (text.training, text.validation[:VALIDATION], text.test[:TEST]))
    task = Task(name, training, validation, test, _batch, larger_is_better=False)
    grid, full_grid = GRIDS[name]
    methods = [Method("full", lambda _: Start(params, {}, 0.0), _full, _full, full_grid)]
    methods += [_adapters(start, params, text.training) for start in STARTS]
    return raced(task, methods, {"Adam": (optax.scale_by_adam(), grid)}, seeds=SEEDS, steps=STEPS, every=EVERY)


def _full(trained: Params, _: Any, rows: jax.Array) -> jax.Array:
    return _loss(trained, rows)


@ft.cache
def _adapted_loss() -> Any:
    layers = {kernel_of(layer): Matricization() for layer in transformer.layers(SIZES)}
    return with_adapters(_loss, layers)


def _adapters(name: str, params: Params, rows: np.ndarray) -> Method:
    method = {**STARTS, "S_big": s_big_of_whole_gradients}[name]
    network = transformer.network(SIZES)

    @ft.cache
    def start(seed: int) -> Start:
        chosen = np.random.default_rng(seed).choice(len(rows), SAMPLE, replace=False)
        batches = jnp.asarray(rows[chosen].reshape(-1, BATCH, rows.shape[1]))

        def of(key: jax.Array, given: Params, batches: jax.Array) -> Any:
            return method(key, network, given, batches, RANK)

        found, seconds = quickly_started(of, jax.random.key(200 + seed), params, batches)
        return Start(found.adapters, found.params, seconds, float(found.certified))

    return Method(name, start, _adapted_loss(), _adapted_loss())
