"""Tasks of a data set: three optimizers from three initializations, each network whole and with changes of rank r.

A member splits the samples at random into training, held-out and test data. For each optimizer and initialization an
MLP of two hidden layers learns by its whole matrices, and once for each rank r by W(0) + B A in every layer, from the
same start, on the same batches and at the same step size. B (m, r) starts at 0, and the rows of A (r, n) are the r
leading right singular vectors of the gradient over all training data at the start. The whole network is diagnosed
(``lawlib.diagnose``) on the way, on training and held-out data alone; accuracy is measured on the test data.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from ml_collections import ConfigDict

from experiments.data.datasets import DATA_SETS, digits, flattened, image_data
from experiments.data.tables import TABLES, table
from experiments.runner.checks import Checks
from experiments.runner.experiment import Variable
from experiments.runner.schema import choice, integer, number, values
from lawlib.descent.steps import Descent, Iterate, mean_cross_entropy, transformed
from lawlib.diagnose import after, before
from lawlib.dynamics.system import Dynamics, Hyperparameters, Time, until
from lawlib.networks.initializers import fan_in_normal, orthogonal
from lawlib.types import Array, Matrix, PyTree, Scalar, Weights

__all__ = ["FIELDS", "INITS", "OPTIMIZERS", "VARIABLES", "check", "dynamics", "num_classes", "shared", "sources"]

SOURCES = ("digits", "fashion_mnist", *TABLES)
POOL = 4
OPTIMIZERS = ("sgd", "momentum", "adam")
MOMENTUM = 0.9
# The start of a layer (outputs, inputs); sqrt(2) is He's factor, and the last one is small.
INITS = {"normal": fan_in_normal(2**0.5), "orthogonal": orthogonal(2**0.5), "small": orthogonal(0.5)}
# Of all samples; the others are for the test.
TRAIN, HELD_OUT = 0.5, 0.2
# Random subspaces are not looked at here.
DRAWS = 2
PAPER = "Xu et al. 2026"

TASK, RANKED = ("optimizer", "init"), ("optimizer", "init", "rank")
VARIABLES = {
    "train_loss": Variable(TASK, "1", "mean cross-entropy of the whole network on the training data"),
    "accuracy": Variable(TASK, "1", "fraction of the test data whose largest output is their class, whole network"),
    "low_accuracy": Variable(RANKED, "1", "the same of the network whose changes have rank r"),
    "cut_error": Variable(RANKED, "1", "held-out errors with each change so far cut to rank r, minus those without"),
    "cut_loss": Variable(RANKED, "1", "held-out loss that this cut adds, over what the changes of the layers gain"),
    "lost_share": Variable(RANKED, "1", "share of ||W - W(0)||_F^2 outside rank r, in the mean over layers"),
    "big_share": Variable(TASK, "1", "share of ||W - W(0)||_F^2 in S_big, in the mean over layers", PAPER),
    "stable_rank": Variable(TASK, "1", "||W(0)||_F^2 / sigma_1^2, in the mean over layers"),
    "change_rank": Variable(TASK, "1", "||W - W(0)||_F^2 / sigma_1^2, in the mean over layers; 0 at the start"),
}
FIELDS = {
    "precision": choice("floating-point type of everything computed", "float32", "float64"),
    "net.width": integer("width of both hidden layers", at_least=2),
    "net.ranks": values("ranks r of the changes", items="ascending integers >= 1"),
    "opt.sgd": number("step size of gradient descent", above=0.0),
    "opt.momentum": number(f"step size of gradient descent with momentum {MOMENTUM}", above=0.0),
    "opt.adam": number("step size of Adam", above=0.0),
    "opt.batch_size": integer("samples of a step, drawn with replacement", at_least=1),
    "data.source": choice("the data set", *SOURCES),
    "data.num_samples": integer("samples of Fashion-MNIST, the first of its training part", at_least=100),
}


class Part(NamedTuple):
    """Samples (N, d), and their one-hot classes (N, K)."""

    inputs: Matrix
    labels: Matrix


class Problem(NamedTuple):
    """What a member draws: its parts, and for each initialization (leading axis) the starts W(0) and the bases A."""

    key: Array
    train: Part
    held_out: Part
    test: Part
    starts: Weights
    bases: Weights


class Nets(NamedTuple):
    """Of one optimizer: the whole networks (init, ...), and the factors (B, A) of the changes (init, rank, ...)."""

    whole: Iterate
    low: Iterate


def check(checks: Checks) -> None:
    """Rules on several fields at once."""
    net, data = checks.config.net, checks.config.data
    ranks = list(net.ranks)
    rule = "must be different integers >= 1, ascending"
    known = bool(ranks) and all(type(rank) is int and rank >= 1 for rank in ranks) and sorted(set(ranks)) == ranks
    checks.require("net.ranks", known, rule)
    K = num_classes(data.source)
    checks.require("net.width", net.width >= K, f"must be at least {K}, the number of classes")
    if data.source == "fashion_mnist":
        most = DATA_SETS["fashion_mnist"].sizes[0]
        checks.require("data.num_samples", data.num_samples <= most, f"must be at most {most}")


def num_classes(source: str) -> int:
    """The number K of classes of a data set: those of images have ten."""
    return TABLES[source][1] if source in TABLES else 10


def shared(config: ConfigDict) -> Part:
    """All samples, each feature with mean 0 and variance 1 over them, or 0 where it does not vary."""
    source, dtype = config.data.source, np.dtype(config.precision)
    if source in TABLES:
        found = table(source, dtype)
    elif source == "digits":
        found = digits(dtype)
    else:
        found = flattened(image_data(source).train, config.data.num_samples, POOL, dtype)
    centred = found.inputs - found.inputs.mean(1, keepdims=True)
    spread = centred.std(1, keepdims=True)
    return Part(jnp.asarray((centred / np.where(spread > 0, spread, 1)).T), jnp.asarray(found.labels.T))


def sources(config: ConfigDict) -> Mapping[str, str]:
    """Where the images are from."""
    return {"images": image_data("fashion_mnist").origin} if config.data.source == "fashion_mnist" else {}


def dynamics(config: ConfigDict) -> Dynamics:
    """All networks of all optimizers, step by step."""
    ranks = tuple(config.net.ranks)
    dtype = jnp.dtype(config.precision)
    masks = jnp.asarray(np.arange(ranks[-1])[None] < np.asarray(ranks)[:, None], dtype)
    descents = [(transformed(_loss, one), transformed(_low_loss, one)) for one in _optimizers(config)]

    def init(key: Array, _: Hyperparameters, every: Part) -> tuple[Problem, tuple[Nets, ...]]:
        key_parts, key_weights, key_steps = jax.random.split(key, 3)
        order = jax.random.permutation(key_parts, len(every.inputs))
        first, second = (int(len(order) * share) for share in (TRAIN, TRAIN + HELD_OUT))
        train, held_out, test = (
            Part(every.inputs[at], every.labels[at]) for at in (order[:first], order[first:second], order[second:])
        )
        sizes = (every.inputs.shape[1], config.net.width, config.net.width, every.labels.shape[1])
        starts = _starts(key_weights, sizes, dtype)
        bases = jax.vmap(lambda weights: _bases(weights, train, ranks[-1]))(starts)
        factors = jax.tree.map(
            lambda x: jnp.broadcast_to(x[:, None], (len(INITS), len(ranks), *x.shape[1:])),
            tuple((jnp.zeros((*W.shape[:2], ranks[-1]), dtype), A) for W, A in zip(starts, bases, strict=True)),
        )
        nets = tuple(
            Nets(jax.vmap(whole.init)(starts), jax.vmap(jax.vmap(low.init))(factors)) for whole, low in descents
        )
        return Problem(key_steps, train, held_out, test, starts, bases), nets

    def step(t: Time, nets: tuple[Nets, ...], problem: Problem, _: Part) -> tuple[Nets, ...]:
        count = len(problem.train.inputs)
        chosen = jax.random.randint(jax.random.fold_in(problem.key, t), (config.opt.batch_size,), 0, count)
        batch = jax.tree.map(lambda x: x[chosen], problem.train)
        return tuple(
            _stepped(now, descent, problem.starts, masks, batch) for now, descent in zip(nets, descents, strict=True)
        )

    def observe(_: Time, nets: tuple[Nets, ...], problem: Problem, __: Part) -> dict[str, Array]:
        whole, low = (
            jax.tree.map(lambda *each: jnp.stack(each), *every)
            for every in ([now.whole.weights for now in nets], [now.low.weights for now in nets])
        )
        networks = jax.vmap(jax.vmap(_networks, (0, 0, None)), (0, None, None))(low, problem.starts, masks)
        # One at a time, so that the stages of a decomposition that are not needed are not run, and compiled once.
        diagnosed = lax.map(
            lambda own: lax.map(lambda one: _diagnosed(problem, one[0], one[1], ranks), (problem.starts, own)), whole
        )
        return {
            "train_loss": _over(lambda weights: _loss(weights, problem.train), whole, axes=2),
            "accuracy": 1 - _over(lambda weights: _error(weights, problem.test), whole, axes=2),
            "low_accuracy": 1 - _over(lambda weights: _error(weights, problem.test), networks, axes=3),
            **diagnosed,
        }

    return until(
        Dynamics(init, step, observe), finite=lambda nets: [(now.whole.weights, now.low.weights) for now in nets]
    )


def _over(function: Callable[[Weights], Array], weights: Weights, *, axes: int) -> Array:
    """A number of each network; these have so many leading axes."""
    for _ in range(axes):
        function = jax.vmap(function)
    return function(weights)


def _optimizers(config: ConfigDict) -> tuple[optax.GradientTransformation, ...]:
    opt = config.opt
    return optax.sgd(opt.sgd), optax.sgd(opt.momentum, momentum=MOMENTUM), optax.adam(opt.adam)


def _starts(key: Array, sizes: tuple[int, ...], dtype: Any) -> Weights:
    """W(0) of each layer (init, inputs, outputs)."""
    keys = jax.random.split(key, (len(INITS), len(sizes) - 1))
    return tuple(
        jnp.stack([draw(own[place], (n, m), dtype).T for own, draw in zip(keys, INITS.values(), strict=True)])
        for place, (m, n) in enumerate(pairwise(sizes))
    )


def _bases(weights: Weights, train: Part, rank: int) -> Weights:
    """For each layer (m, n) the leading right singular vectors of the gradient as rows (rank, n), and rows of 0."""

    def leading(G: Matrix) -> Matrix:
        rows = jnp.linalg.svd(G)[2][:rank]
        return jnp.pad(rows, ((0, rank - len(rows)), (0, 0)))

    return tuple(map(leading, jax.grad(_loss)(weights, train)))


def _outputs(weights: Weights, inputs: Matrix) -> Matrix:
    *hidden, last = weights
    for W in hidden:
        inputs = jax.nn.silu(inputs @ W)
    return inputs @ last


def _loss(weights: Weights, part: Part) -> Scalar:
    """Mean cross-entropy."""
    return mean_cross_entropy(_outputs(weights, part.inputs).T, part.labels.T)


def _error(weights: Weights, part: Part) -> Scalar:
    """The fraction of samples whose largest output is not their class."""
    wrong = jnp.argmax(_outputs(weights, part.inputs), axis=1) != jnp.argmax(part.labels, axis=1)
    return jnp.mean(wrong.astype(part.labels.dtype))


def _low(factors: PyTree, starts: Weights, mask: Array) -> Weights:
    """W(0) + B A with the columns of B that the mask leaves."""
    return tuple(W + (B * mask[None]) @ A for W, (B, A) in zip(starts, factors, strict=True))


def _networks(factors: PyTree, starts: Weights, masks: Array) -> Weights:
    """The networks of all ranks."""
    return jax.vmap(lambda own, mask: _low(own, starts, mask))(factors, masks)


def _low_loss(factors: PyTree, starts: Weights, mask: Array, part: Part) -> Scalar:
    return _loss(_low(factors, starts, mask), part)


def _stepped(now: Nets, descent: tuple[Descent, Descent], starts: Weights, masks: Array, batch: Part) -> Nets:
    """One step of all networks of an optimizer."""
    whole, low = descent
    of_ranks = jax.vmap(lambda iterate, start, mask: low.step(iterate, start, mask, batch), (0, None, 0))
    return Nets(
        jax.vmap(lambda iterate: whole.step(iterate, batch))(now.whole),
        jax.vmap(of_ranks, (0, 0, None))(now.low, starts, masks),
    )


def _diagnosed(problem: Problem, start: Weights, weights: Weights, ranks: tuple[int, ...]) -> dict[str, Array]:
    """What the diagnosis of a network says of each rank, from its training and held-out data."""
    train, held_out = (jax.tree.map(lambda x: x[None], part) for part in (problem.train, problem.held_out))
    begun = before(problem.key, _loss, start, train, k=problem.train.labels.shape[1])
    reports = [
        after(problem.key, begun, weights, held_out, ranks=ranks, measure=measure, draws=DRAWS)
        for measure in (_loss, _error)
    ]
    loss, error = (report.held_out for report in reports)
    layers = list(reports[0].layers.values())
    gained = loss.without - loss.trained
    added = loss.at_ranks - loss.trained

    def mean(each: list[Array]) -> Array:
        """The mean over layers; 0 of no change."""
        return jnp.mean(jnp.nan_to_num(jnp.stack(each)), axis=0)

    return {
        "cut_error": error.at_ranks - error.trained,
        "cut_loss": jnp.where(gained > 0, added / jnp.where(gained > 0, gained, 1), 0),
        "lost_share": mean([1 - one.kept for one in layers]),
        "big_share": mean([one.big.both for one in layers]),
        "stable_rank": mean([one.stable_rank_start for one in layers]),
        "change_rank": mean([one.stable_rank_change for one in layers]),
    }
