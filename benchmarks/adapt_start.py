"""What the start of adapters costs: all layers in the same passes over the data, against one call for each layer.

The transformer of 1.02 million parameters of text_adaptation.md, at random weights, and 64 random rows of 64 characters
in batches of 8. Adapters of rank 8 in 12 of its kernels (two blocks) and in all 30, from at most two pairs of passes.
"together" is lawlib.compress.adapt(...).init, compiled. "one by one" finds the triplets of the same gradients with a
compiled function for each layer, by gradient_products and block_krylov_svd: so did init before its layers shared their
passes. The first call traces and compiles; a later call is the median of three. Times are of all layers; CPU times are
of all threads of the process, which other processes do not enter; the machine was busy with other work.

Memory is XLA's count of the temporaries: that of the transformer in MiB ("one by one": the layer that takes most),
and that of the start at one layer of 4096 x 4096 (16 batches of 32, float32) over the size of the layer.
"""

import functools as ft
import statistics
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import transformer
from benchmarks.starts import Params, kernel_of
from benchmarks.text_adaptation import BATCH, RANK, SAMPLE, SIZES
from benchmarks.timing import wall_and_cpu_seconds
from lawlib.compress import adapt
from lawlib.linalg.gradients import gradient_products
from lawlib.linalg.spectra import SVD, block_krylov_svd

NUM_LAYERS, REPEATS = (12, 30), 3
SEARCH = {"oversample": 10, "tolerance": 0.1, "max_passes": 4}
WIDTH, RANKS, SAMPLES, OUTPUTS, BATCHES = 4096, (8, 16), 32, 10, 16
KEY = jax.random.key(0)

Triplets = dict[str, SVD]


def measure() -> dict[str, float]:
    """Times and memory."""
    key_params, key_rows = jax.random.split(jax.random.key(1))
    params = transformer.drawn(key_params, SIZES)
    rows = jax.random.randint(key_rows, (SAMPLE // BATCH, BATCH, SIZES.length + 1), 0, SIZES.characters)
    measured = {}
    for number in NUM_LAYERS:
        names = [kernel_of(layer) for layer in transformer.layers(SIZES)[:number]]
        measured |= {f"{number} layers, {what}": value for what, value in _timed(names, params, rows).items()}
    return measured | {f"4096 x 4096, rank {rank}: temporaries over the layer": _memory(rank) for rank in RANKS}


def _loss(params: Params, rows: jax.Array) -> jax.Array:
    return transformer.loss(params, rows, SIZES)


def _timed(names: list[str], params: Params, rows: jax.Array) -> dict[str, float]:
    """First and later calls of both ways, and their memory."""
    together, one_by_one = [ft.partial(_together, names)], [ft.partial(_alone, name) for name in names]
    measured = {}
    for way, functions in (("together", together), ("one by one", one_by_one)):
        measured |= {f"{way}: {what}": value for what, value in _calls(functions, params, rows).items()}
    for clock in ("first call, s", "first call, CPU s", "later call, s", "later call, CPU s"):
        measured[f"one by one over together: {clock}"] = (
            measured[f"one by one: {clock}"] / measured[f"together: {clock}"]
        )
    return measured


def _calls(functions: list[Callable[..., Triplets]], *given: Any) -> dict[str, float]:
    """Seconds of a first and of later calls of all functions, and their memory."""
    compiled: list[Any] = []

    def call() -> Triplets:
        return {name: svd for function in compiled for name, svd in function(*given).items()}

    def first() -> Triplets:
        compiled.extend(jax.jit(function).lower(*given).compile() for function in functions)
        return call()

    wall, cpu = wall_and_cpu_seconds(first)
    measured = {"first call, s": wall, "first call, CPU s": cpu}
    clocks = zip(*(wall_and_cpu_seconds(call) for _ in range(REPEATS)), strict=True)
    measured |= dict(zip(("later call, s", "later call, CPU s"), map(statistics.median, clocks), strict=True))
    return measured | {"temporaries, MiB": max(map(_temporaries, compiled)) / 2**20}


def _together(names: list[str], params: Params, rows: jax.Array) -> Triplets:
    start = adapt(_loss, params, rows, rank=RANK, layers=names, **SEARCH).init(KEY, params, rows)
    return {name: of.svd for name, of in start.gradients.items()}


def _alone(name: str, params: Params, rows: jax.Array) -> Triplets:
    products = gradient_products(_loss, params, name, rows, route="matrix_free")
    return {name: block_krylov_svd(KEY, products, RANK, **SEARCH).svd}


def _temporaries(compiled: Any) -> int:
    """Bytes, by XLA's count."""
    memory = compiled.memory_analysis()
    if memory is None:
        msg = "this backend does not count the memory of a compiled program"
        raise RuntimeError(msg)
    return memory.temp_size_in_bytes


def _memory(rank: int) -> float:
    """Temporaries of the start at one large layer, over the size of the layer."""
    shapes = {"kernel": (WIDTH, WIDTH), "head": (WIDTH, OUTPUTS)}
    params = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}
    data = [jax.ShapeDtypeStruct((BATCHES, SAMPLES, n), jnp.float32) for n in (WIDTH, OUTPUTS)]

    def loss(params: Any, batch: Any) -> jax.Array:
        return jnp.sum((jnp.tanh(batch[0] @ params["kernel"]) @ params["head"] - batch[1]) ** 2)

    def begin(key: jax.Array, params: Any, data: Any) -> Any:
        return adapt(loss, params, data, rank=rank, layers=["kernel"]).init(key, params, data)

    return _temporaries(jax.jit(begin).lower(KEY, params, data).compile()) / (4 * WIDTH**2)
