"""Heads trained in small subspaces: S_big against the starts that other papers give adapters, and the whole network.

MLPs with two hidden layers of 256 units (GELU, biases, LeCun-normal kernels, float32, mean cross-entropy) learn digits
(8 x 8 pixels, 1100 images to train, 300 for validation, 397 to test) and Fashion-MNIST (pooled to 14 x 14; 10,000, 1000
and 2000), in batches of 64: from initialization, or adapted, after 200 steps of Adam (0.001) on upright images, to the
same images turned by 90 degrees. Five seeds draw the network, the batches and the start.

Adapters of rank r in both hidden kernels, which stay as they are, with biases and the last layer trained as well: LoRA
(2106.09685; Gaussian), orthogonal columns, EVA (2410.07170; one rank for all layers), PiSSA (2404.02948), LoRA-GA
(2407.05000; gamma = 16), and S_big (lawlib.compress.adapt: certified triplets of the gradient of all training images,
from products). EVA and LoRA-GA use all training images too, where their papers take a few batches. "head, S_big" and
"head, random" are lawlib.compress.low_rank_head of r = 20, from initialization, with S_big or a random basis of the
pixels. "full" trains everything.

SGD has no momentum. The step size of each method is that with the best mean validation accuracy over all checkpoints
of the first seed, of 0.03, 0.1, 0.3, 1, 3 (SGD) or 0.001, 0.003, 0.01, 0.03 (Adam). Numbers are test accuracy
in percent: mean over the seeds (least to most). Seconds are CPU time of the process without compilation, on a machine
that was busy with other work: they vary, the accuracy at a step does not.
"""

import functools as ft
from collections.abc import Mapping, Sequence
from itertools import pairwise, product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.page import Table
from benchmarks.starts import STARTS, Network, Params, kernel_of
from benchmarks.training import Curve, Method, Start, Task, averages, quickly_started, raced, tables
from experiments.data.datasets import digits, flattened, image_data
from experiments.runner import plots
from experiments.runner.plots import Look
from lawlib.compress import low_rank_head, with_adapters
from lawlib.linalg.matricization import Matricization
from lawlib.networks.initializers import orthogonal

WIDTH, CLASSES, BATCH, HEAD_RANK, RANKS = 256, 10, 64, 20, (2, 10)
SEEDS, STEPS, EVERY, PRETRAINING = 5, 200, 10, 200
OPTIMIZERS = {
    "SGD": (optax.identity(), (0.03, 0.1, 0.3, 1.0, 3.0)),
    "Adam": (optax.scale_by_adam(), (1e-3, 3e-3, 1e-2, 3e-2)),
}
SHOWN, BUDGETS = (10, 30, 100, 200), (30, 100)
LAYERS = ("layer_0", "layer_1", "layer_2")
HIDDEN = LAYERS[:-1]
# The columns of the picture: methods, with their names in the legend. Heads have tasks from initialization alone.
COLUMNS = {f"r = {rank}": {f"{start}, r = {rank}": start for start in STARTS} for rank in RANKS}
COLUMNS |= {"heads": {f"head, {kind}": f"head, {kind}" for kind in ("S_big", "random")}}

Data = tuple[jax.Array, jax.Array]


class Images(NamedTuple):
    """Squares of pixels (N, side, side) with their classes, in three parts."""

    training: Data
    validation: Data
    test: Data


def measure() -> list[Curve]:
    """Curves of all methods on the four tasks."""
    curves = []
    for name, images in {"digits": _digits(), "Fashion-MNIST": _fashion()}.items():
        curves += _curves(f"{name}, from initialization", images, adapted=False)
        curves += _curves(f"{name}, adapted", images, adapted=True)
    return curves


def table(curves: Sequence[Curve]) -> list[Table]:
    """The means over the tasks, and a table for each task and optimizer."""
    return [averages(curves, SHOWN), *tables(curves, SHOWN, "full", BUDGETS)]


def figure(curves: Sequence[Curve]) -> Figure:
    """How far each method is behind the whole network at the same step, and what its start costs in steps of it."""
    drawn = plots.figure(12.0, 6.0)
    panels = drawn.subplots(2, len(COLUMNS) + 1, squeeze=False)
    shorts = list(dict.fromkeys(short for methods in COLUMNS.values() for short in methods.values()))
    looks = dict(zip(shorts, plots.looks(len(shorts)), strict=True))
    found = {(curve.task, curve.optimizer, curve.method): curve for curve in curves}
    for (row, optimizer), (column, (title, methods)) in product(enumerate(OPTIMIZERS), enumerate(COLUMNS.items())):
        axes = panels[row, column]
        if column:
            axes.sharey(panels[row, 0])
        for method, short in methods.items():
            own = [curve for curve in curves if (curve.optimizer, curve.method) == (optimizer, method)]
            behind = [curve.scores.mean(0) - found[curve.task, optimizer, "full"].scores.mean(0) for curve in own]
            axes.semilogx(own[0].steps[1:], np.mean(behind, axis=0)[1:], label=short, **looks[short].curve)
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set(title=f"{optimizer}, {title}", xlabel="steps", ylabel="accuracy minus full, points")
        _costs(panels[row, -1], optimizer, found, looks)
    lines = [line for axes in (panels[0, 0], panels[0, 2]) for line in axes.lines if line.get_label()[0] != "_"]
    drawn.legend(lines, [str(line.get_label()) for line in lines], loc="outside lower center", ncols=8)
    return drawn


def _costs(axes: Axes, optimizer: str, found: Mapping[tuple[str, str, str], Curve], looks: Mapping[str, Look]) -> None:
    """A point for each task: the start of r = 10, over a step of the whole network."""
    methods = COLUMNS[f"r = {RANKS[-1]}"]
    for place, (method, short) in enumerate(methods.items()):
        own = [curve for key, curve in found.items() if key[1:] == (optimizer, method)]
        costs = [curve.start_s / found[curve.task, optimizer, "full"].step_s for curve in own]
        axes.plot(costs, [place] * len(costs), **looks[short].points)
    axes.set(xscale="log", xlabel="start, in steps of full (CPU time)", title=f"{optimizer}, r = {RANKS[-1]}")
    axes.set_yticks(range(len(methods)), methods.values())
    axes.invert_yaxis()


# Data. ----------------------------------------------------------------------------------------------------------------


def _digits() -> Images:
    data = digits(np.dtype(np.float32))
    order = np.random.default_rng(0).permutation(data.inputs.shape[1])
    pixels, classes = data.inputs.T[order].reshape(-1, 8, 8), data.labels.argmax(0)[order]
    return _parts(pixels, classes, (1100, 300, 397))


def _fashion() -> Images:
    data = image_data("fashion_mnist")
    both = [flattened(part, n, 2, np.dtype(np.float32)) for part, n in ((data.train, 11_000), (data.test, 2000))]
    pixels, classes = (np.concatenate([getattr(x, f).T for x in both]) for f in ("inputs", "labels"))
    return _parts(pixels.reshape(-1, 14, 14), classes.argmax(1), (10_000, 1000, 2000))


def _parts(pixels: np.ndarray, classes: np.ndarray, counts: tuple[int, ...]) -> Images:
    places = np.cumsum((0, *counts))
    scaled = (pixels - pixels[: counts[0]].mean()) / pixels[: counts[0]].std()
    return Images(*((jnp.asarray(scaled[a:b]), jnp.asarray(classes[a:b])) for a, b in pairwise(places)))


def _rows(part: Data, turned: bool) -> Data:
    """Images as rows of pixels, turned by 90 degrees or upright."""
    pixels = jnp.rot90(part[0], axes=(1, 2)) if turned else part[0]
    return pixels.reshape(len(pixels), -1), part[1]


def _batch(key: jax.Array, data: Data) -> Data:
    rows = jax.random.randint(key, (BATCH,), 0, len(data[1]))
    return data[0][rows], data[1][rows]


# The network. ---------------------------------------------------------------------------------------------------------


def _drawn(key: jax.Array, pixels: int) -> Params:
    widths, lecun = (pixels, WIDTH, WIDTH, CLASSES), jax.nn.initializers.lecun_normal()
    keys = jax.random.split(key, len(LAYERS))
    return {
        layer: {"kernel": lecun(k, shape, jnp.float32), "bias": jnp.zeros(shape[1], jnp.float32)}
        for k, layer, shape in zip(keys, LAYERS, pairwise(widths), strict=True)
    }


def _forward(params: Params, x: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Outputs, and the inputs of the hidden layers."""
    inputs = {}
    for layer in HIDDEN:
        inputs[layer] = x
        x = jax.nn.gelu(x @ params[layer]["kernel"] + params[layer]["bias"][None])
    return x @ params[LAYERS[-1]]["kernel"] + params[LAYERS[-1]]["bias"][None], inputs


def _loss(params: Params, batch: Data) -> jax.Array:
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(_forward(params, batch[0])[0], batch[1]))


def _accuracy(params: Params, data: Data) -> jax.Array:
    return 100 * jnp.mean(jnp.argmax(_forward(params, data[0])[0], axis=1) == data[1])


NETWORK = Network(_loss, lambda params, batch: _forward(params, batch[0])[1], HIDDEN)


@ft.partial(jax.jit, static_argnames="steps")
def _trained(params: Params, key: jax.Array, data: Data, steps: int) -> Params:
    """Adam of size 0.001 on all parameters."""
    optimizer = optax.adam(1e-3)

    def step(at: Any, k: jax.Array) -> tuple[Any, None]:
        updates, state = optimizer.update(jax.grad(_loss)(at[0], _batch(k, data)), at[1])
        return (optax.apply_updates(at[0], updates), state), None

    return lax.scan(step, (params, optimizer.init(params)), jax.random.split(key, steps))[0][0]


# Methods. -------------------------------------------------------------------------------------------------------------


def _curves(name: str, images: Images, *, adapted: bool) -> list[Curve]:
    training, validation, test = (_rows(part, turned=adapted) for part in images)
    task = Task(name, training, validation, test, _batch, larger_is_better=True)
    upright = _rows(images.training, turned=False)

    @ft.cache
    def params(seed: int) -> Params:
        start = jax.jit(_drawn, static_argnums=1)(jax.random.key(seed), training[0].shape[1])
        return _trained(start, jax.random.key(100 + seed), upright, PRETRAINING) if adapted else start

    batches = jax.tree.map(lambda x: x[None], training)
    methods = [Method("full", lambda seed: Start(params(seed), {}, 0.0), _full_loss, _full_accuracy)]
    methods += [_adapters(start, rank, params, batches) for rank in RANKS for start in STARTS]
    methods += [] if adapted else [_head(kind, params, batches) for kind in ("S_big", "random")]
    return raced(task, methods, OPTIMIZERS, seeds=SEEDS, steps=STEPS, every=EVERY)


def _full_loss(trained: Params, _: Any, batch: Data) -> jax.Array:
    return _loss(trained, batch)


def _full_accuracy(trained: Params, _: Any, data: Data) -> jax.Array:
    return _accuracy(trained, data)


def _with_adapters(function: Any) -> Any:
    """The function(trained, kernels, data) of adapters and all other arrays, and of the frozen kernels."""
    shifted = with_adapters(function, {kernel_of(layer): Matricization() for layer in HIDDEN})

    def of_both(trained: Any, kernels: Mapping[str, jax.Array], data: Data) -> jax.Array:
        adapters, others = trained
        params = {layer: {**own, "kernel": kernels[layer]} for layer, own in others.items() if layer in kernels}
        return shifted(adapters, {**others, **params}, data)

    return of_both


ADAPTED_LOSS, ADAPTED_ACCURACY = _with_adapters(_loss), _with_adapters(_accuracy)


def _adapters(name: str, rank: int, params: Any, batches: Data) -> Method:
    @ft.cache
    def start(seed: int) -> Start:
        def of(key: jax.Array, given: Params, batches: Data) -> Any:
            return STARTS[name](key, NETWORK, given, batches, rank)

        found, seconds = quickly_started(of, jax.random.key(200 + seed), params(seed), batches)
        kernels = {layer: found.params[layer]["kernel"] for layer in HIDDEN}
        others = {
            layer: {at: x for at, x in own.items() if layer not in kernels or at != "kernel"}
            for layer, own in found.params.items()
        }
        return Start((found.adapters, others), kernels, seconds, float(found.certified))

    return Method(f"{name}, r = {rank}", start, ADAPTED_LOSS, ADAPTED_ACCURACY)


def _head(kind: str, params: Any, batches: Data) -> Method:
    layers = [kernel_of(layer) for layer in LAYERS]

    def made(key: jax.Array, given: Params, batches: Data) -> Any:
        key_basis, key_head = jax.random.split(key)
        shape = (batches[0].shape[-1], HEAD_RANK)
        basis = None if kind == "S_big" else orthogonal(1.0)(key_basis, shape, jnp.float32)
        return low_rank_head(key_head, _loss, given, batches, layers=layers, basis=basis)

    # All arrays are among the variables, so that one seed's functions are those of all.
    low = made(jax.random.key(0), params(0), batches)

    @ft.cache
    def start(seed: int) -> Start:
        def of(*given: Any) -> Any:
            low = made(*given)
            return low.variables, low.gradient.certified if low.gradient else jnp.nan

        (variables, certified), seconds = quickly_started(of, jax.random.key(300 + seed), params(seed), batches)
        return Start(variables, {}, seconds, float(certified))

    def loss(trained: Any, _: Any, batch: Data) -> jax.Array:
        return low.loss(trained, batch)

    def score(trained: Any, _: Any, data: Data) -> jax.Array:
        return _accuracy(low.model(trained), data)

    return Method(f"head, {kind}", start, loss, score)
