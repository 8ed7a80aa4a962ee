"""The law of parsimony under several optimizers (Yaras et al. 2023, Section 3): networks from one start, side by side.

Each optimizer trains a deep linear network of its own from the same weights on the same data, and, where it has one,
the small equivalent network (``compress.transformed``), whose idle values are the recursion of ``theory.equivariance``.
Observed is how far each layer is from the law with its own measured idle value c(t).
"""

import functools as ft
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments.data.datasets import digits
from experiments.laws.parsimony.optimizers.methods import METHODS, Rates, is_reducible
from experiments.runner.checks import Checks
from experiments.runner.experiment import Variable
from experiments.runner.hyperparameters import value_of
from experiments.runner.schema import choice, integer, number, values
from lawlib import compress
from lawlib.descent.steps import Descent, Iterate, sum_squared_error, transformed
from lawlib.dynamics.system import Dynamics, Hyperparameters, Time, until
from lawlib.networks.deep_linear import end_to_end
from lawlib.networks.initializers import orthogonal_weights
from lawlib.problems.synthetic import gaussian_data, low_rank_target, whiten
from lawlib.theory import parsimony as theory
from lawlib.types import Array, Matrix, PyTree, Weights

DIGITS = {"net.width": 61, "data.rank": 10}
# A singular value counts as moved when it differs from |c| by more than this, in units of eps.
MOVED = 1e-9
PAPER = "Yaras et al. 2023"

ALONE, LAYER, RANKED = ("optimizer",), ("optimizer", "layer"), ("optimizer", "layer", "index")
VARIABLES = {
    "loss": Variable(ALONE, "1", "1/2 ||W_{L:1} X - Y||_F^2 on all samples, a sum over entries", f"{PAPER}, eq. 2"),
    "idle_value": Variable(LAYER, "1", "c_l = tr(U_{l,2}^T W_l V_{l,2}) / (d - 2r)"),
    "predicted_idle_value": Variable(
        LAYER, "1", "rho_l of the small network; NaN for an optimizer that has none", "theory.equivariance"
    ),
    "singular_values": Variable(RANKED, "1", "all singular values of W_l, descending"),
    "num_moved": Variable(LAYER, "1", f"singular values that differ from |c_l| by more than {MOVED:g} eps"),
    "block_deviation": Variable(
        LAYER, "1", "||U_l^T W_l V_l - [W~ 0; 0 c_l I]||_F, or in Case 2 ||W_L U_{L-1,2}||_F if that is larger"
    ),
    "excess": Variable(LAYER, "1", "sigma_{2r+1}(W_l(t) - (c_l(t)/eps) W_l(0))", f"{PAPER}, eq. 5"),
    "movement": Variable(LAYER, "1", "sigma_1(W_l(t) - (c_l(t)/eps) W_l(0))"),
    "difference": Variable(
        LAYER, "1", "||W_l - W_l expanded from the small network||_F / ||W_l||_F; NaN for an optimizer that has none"
    ),
}


class Problem(NamedTuple):
    """A member's own draws: its key, data (None where all share them), start, frames, small start and rates."""

    key: Array
    data: tuple | None
    start: Weights
    frames: tuple[theory.Frame, ...]
    reduction: compress.Reduction
    rates: dict[str, Array]


class Nets(NamedTuple):
    """The networks of one optimizer: the whole one, and the small one or ()."""

    whole: Iterate
    small: Any


FIELDS = {
    "net.depth": integer("number of layers L", at_least=2),
    "net.width": integer("width d of the inputs and the hidden layers", at_least=1),
    "net.scale": number("scale eps of the first weights", above=0.0),
    "opt.methods": values("optimizers that start together", items="one or more of " + ", ".join(METHODS), unit="-"),
    "opt.step_sizes": values("step size eta of each of them, on the sum loss", items="positive numbers"),
    "opt.momentum": number("momentum mu of those that have it, but for Muon's 0.95", at_least=0.0, below=1.0),
    "opt.weight_decay": number("weight decay lambda, coupled and decoupled", at_least=0.0),
    "opt.clip": number("global norm c of clipping", above=0.0),
    "opt.start": number("multiple of I at which Shampoo's sums start", above=0.0),
    "opt.beta_2": number("beta_2 of Adam; that of RMSprop is 0.9", sweepable=True, at_least=0.0, below=1.0),
    "opt.epsilon": number("epsilon of Adam, RMSprop and AdaGrad", sweepable=True, above=0.0),
    "opt.batch_size": integer("samples of a step, drawn anew; 0: all of them", at_least=0),
    "data.source": choice("a d x d target, X = I (Case 1), or r outputs (Case 2)", "low_rank", "gaussian", "digits"),
    "data.rank": integer("rank r of the target, the number of outputs in Case 2", at_least=1),
    "data.num_samples": integer("number of samples N of Gaussian data", at_least=1),
}


def check(checks: Checks) -> None:
    """Rules on several fields at once."""
    net, opt, data = checks.config.net, checks.config.opt, checks.config.data
    names, sizes = list(opt.methods), list(opt.step_sizes)
    known = bool(names) and all(name in METHODS for name in names) and len(set(names)) == len(names)
    checks.require("opt.methods", known, f"must be different ones of {', '.join(METHODS)}")
    are_rates = len(sizes) == len(names) and all(type(size) is float and 0 < size < np.inf for size in sizes)
    checks.require("opt.step_sizes", are_rates, f"must be {len(names)} finite floats > 0, one for each of opt.methods")
    checks.require("net.width", net.width > 2 * data.rank, f"must exceed 2 * data.rank = {2 * data.rank}")
    if data.source == "gaussian":
        wide = f"must be >= net.width = {net.width} to be whitened"
        checks.require("data.num_samples", data.num_samples >= net.width, wide)
    most = data.num_samples if data.source == "gaussian" else 0
    why = f"must be at most {most}" if most else f"must be 0 for data.source = {data.source!r}"
    checks.require("opt.batch_size", opt.batch_size <= most, why)
    if data.source == "digits":
        for field, value in (("net.width", net.width), ("data.rank", data.rank)):
            checks.require(field, value == DIGITS[field], f"must be {DIGITS[field]} for the whitened digits")


def shared(config: ConfigDict) -> tuple:
    """The whitened digits (X, Y) for all members; nothing for data that each member draws."""
    if config.data.source != "digits":
        return ()
    found = digits(np.dtype(config.precision))
    return whiten(jnp.asarray(found.inputs), config.net.width).inputs, jnp.asarray(found.labels)


def dynamics(config: ConfigDict) -> Dynamics:
    """All networks of all optimizers, step by step."""
    dtype, names, batch = jnp.dtype(config.precision), tuple(config.opt.methods), config.opt.batch_size
    reduced = [batch == 0 and is_reducible(name) for name in names]

    def descents(problem: Problem) -> list[tuple[Descent, Descent]]:
        every = [_transform(config, place, problem.rates) for place in range(len(names))]
        return [(transformed(_loss, each), compress.transformed(each)) for each in every]

    def init(key: Array, hyperparameters: Hyperparameters, shared: tuple) -> tuple[Problem, tuple[Nets, ...]]:
        key_data, key_weights, key_steps = jax.random.split(key, 3)
        inputs, targets = shared or _draw(config, key_data, dtype)
        widths = (*[config.net.width] * config.net.depth, len(targets))
        weights = orthogonal_weights(key_weights, widths, value_of(config, hyperparameters, "net.scale"), dtype)
        cross = targets if inputs is None else targets @ inputs.T
        frames = theory.invariant_frames(weights, cross, config.data.rank)
        reduction = compress.reduce(weights, cross, config.data.rank)
        rates = {name: value_of(config, hyperparameters, f"opt.{name}") for name in ("beta_2", "epsilon")}
        data = None if shared else (inputs, targets)
        problem = Problem(key_steps, data, weights, frames, reduction, rates)
        starts = [
            Nets(whole.init(weights), small.init(reduction) if has else ())
            for (whole, small), has in zip(descents(problem), reduced, strict=True)
        ]
        return problem, tuple(starts)

    def step(t: Time, nets: tuple[Nets, ...], problem: Problem, shared: tuple) -> tuple[Nets, ...]:
        inputs, targets = problem.data or shared
        factor = jnp.ones((), dtype)
        if batch:
            count = targets.shape[1]
            chosen = jax.random.choice(jax.random.fold_in(problem.key, t), count, (batch,), replace=False)
            inputs, targets, factor = inputs[:, chosen], targets[:, chosen], jnp.asarray(count / batch, dtype)
        return tuple(
            Nets(
                whole.step(now.whole, inputs, targets, factor),
                small.step(now.small, problem.reduction) if has else (),
            )
            for (whole, small), has, now in zip(descents(problem), reduced, nets, strict=True)
        )

    def observe(_: Time, nets: tuple[Nets, ...], problem: Problem, shared: tuple) -> dict[str, Array]:
        return _observe(config, nets, problem, problem.data or shared)

    return until(Dynamics(init, step, observe))


def _transform(config: ConfigDict, place: int, rates: dict[str, Array]) -> Any:
    """The transformation of one of the methods; numbers that are not swept are Python's."""
    opt = config.opt
    fixed = {name: opt[name] for name in ("momentum", "weight_decay", "clip", "start")}
    return METHODS[opt.methods[place]].build(Rates(opt.step_sizes[place], rank=config.data.rank, **fixed, **rates))


def _draw(config: ConfigDict, key: Array, dtype: Any) -> tuple[Matrix | None, Matrix]:
    width, rank = config.net.width, config.data.rank
    if config.data.source == "low_rank":
        return None, low_rank_target(key, (width, width), rank, dtype)
    sizes = {"num_inputs": width, "num_outputs": rank, "num_samples": config.data.num_samples}
    inputs, targets = gaussian_data(key, **sizes, dtype=dtype)
    return whiten(inputs, width).inputs, targets


def _loss(weights: Weights, inputs: Matrix | None, targets: Matrix, factor: Array) -> Array:
    outputs = end_to_end(weights) if inputs is None else end_to_end(weights) @ inputs
    return factor * sum_squared_error(outputs, targets)


def _observe(config: ConfigDict, nets: tuple[Nets, ...], problem: Problem, data: tuple) -> dict[str, Array]:
    """What is seen of every optimizer's networks, layer by layer (the last layer of Case 2 apart)."""
    frames, square = problem.frames, len(problem.frames) - 1
    weights = _stack([now.whole.weights for now in nets])
    start, left, right = (_stack(each[:square]) for each in (problem.start, frames[1:], frames[:-1]))
    layers = jax.vmap(ft.partial(_observe_layer, config), (0, 0, 0, 0))
    seen = jax.vmap(layers, (0, None, None, None))(jnp.stack(weights[:square], axis=1), start, left, right)
    if square < len(weights):
        leak = jnp.linalg.norm(weights[-1] @ frames[-1].idle, axis=(1, 2))
        seen["block_deviation"] = jnp.maximum(seen["block_deviation"], leak[:, None])
    (inputs, targets), one = data, jnp.ones((), problem.start[0].dtype)
    loss = jax.vmap(lambda W: _loss(W, inputs, targets, one))(weights)
    return {"loss": loss, **seen, **_stack([_observe_small(now, problem, square) for now in nets])}


def _stack(trees: Sequence[PyTree]) -> PyTree:
    return jax.tree.map(lambda *each: jnp.stack(each), *trees)


def _observe_small(nets: Nets, problem: Problem, square: int) -> dict[str, Array]:
    """The idle values of the small network, and how far it is from the whole one in each layer; NaN without one."""
    if not isinstance(nets.small, Iterate):
        unknown = jnp.full((square,), jnp.nan, problem.start[0].dtype)
        return {"predicted_idle_value": unknown, "difference": unknown}
    weights, expanded = nets.whole.weights, compress.expand(problem.reduction, nets.small.weights, problem.start)
    apart = [jnp.linalg.norm(W - E) / jnp.linalg.norm(W) for W, E in zip(weights, expanded, strict=True)]
    return {"predicted_idle_value": nets.small.weights.rho, "difference": jnp.stack(apart[:square])}


def _observe_layer(
    config: ConfigDict, W: Matrix, start: Matrix, left: theory.Frame, right: theory.Frame
) -> dict[str, Array]:
    blocks = theory.block_decomposition(W, left, right)
    c = jnp.mean(jnp.diagonal(blocks.idle))
    s = jnp.linalg.svd(W, compute_uv=False)
    scale, active = config.net.scale, right.active.shape[1]
    rest = jnp.linalg.svd(W - (c / scale) * start, compute_uv=False)
    return {
        "idle_value": c,
        "singular_values": s,
        "num_moved": jnp.sum(jnp.abs(s - jnp.abs(c)) > MOVED * scale),
        "block_deviation": theory.block_deviation(blocks, c),
        "excess": rest[active],
        "movement": rest[0],
    }
