"""The law of parsimony for layers of any widths (Yaras et al. 2023, Assumption 1 relaxed).

A network whose layers narrow and widen descends on a target of rank r. Beside it run two recursions: that of idle
directions that all layers pass on, eq. (6), and that of those that a layer adds or cuts off, eq. (7). Observed is what
is left of each layer without them.
"""

import itertools
from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from experiments.runner.checks import Checks
from experiments.runner.experiment import Variable
from experiments.runner.hyperparameters import value_of
from experiments.runner.schema import integer, number, values
from lawlib.descent.steps import Iterate, heavy_ball, sum_squared_error
from lawlib.dynamics.system import Dynamics, Hyperparameters, Pair, Time, pair
from lawlib.networks.deep_linear import end_to_end
from lawlib.networks.initializers import orthogonal_weights
from lawlib.problems.synthetic import low_rank_target
from lawlib.theory import parsimony as theory
from lawlib.theory.parsimony_widths import active_dimensions, bases_of_any_widths, passed_products
from lawlib.types import Array, Matrix, Rate, Weights

PAPER = "Yaras et al. 2023"
# A singular value of what is left of a layer counts as a direction that moves from here on: rounding is below 1e-12.
MOVED = 1e-9

LAYER, BETWEEN, RANKED = ("layer",), ("hidden",), ("layer", "index")
VARIABLES = {
    "loss": Variable((), "1", "1/2 ||W_{L:1} - Phi||_F^2, a sum over entries", f"{PAPER}, eq. 2"),
    "rho": Variable(
        (), "1", "idle singular value of directions from the inputs to the outputs", f"{PAPER}, eqs. 6, 16"
    ),
    "rho_stopped": Variable(
        (), "1", "idle singular value of directions that a layer adds or cuts off", f"{PAPER}, eq. 7"
    ),
    "remainder_values": Variable(RANKED, "1", "singular values of W_l without its idle part; NaN where it has fewer"),
    "num_moved": Variable(LAYER, "1", f"of these, how many exceed {MOVED:g}"),
    "num_spanned": Variable(BETWEEN, "1", "dimension of what layers l and l + 1 move in R^{d_l}, l = 1, ..., L - 1"),
    "num_passed": Variable(LAYER, "1", f"singular values of W_l within {MOVED:g} of |rho|"),
    "num_stopped": Variable(LAYER, "1", f"singular values of W_l within {MOVED:g} of |rho_stopped|"),
    "idle_deviation": Variable(
        LAYER, "1", "|idle singular value - its recursion|; 0 for a layer without idle directions"
    ),
    "excess": Variable(LAYER, "1", "sigma_{k+1} of W_l without its idle part, k by the law; 0 if there is none"),
}
FIELDS = {
    "net.widths": values(
        "widths (d_0, ..., d_L) of inputs, hidden layers and outputs", items="three or more integers >= 1"
    ),
    "net.scale": number("scale eps of the first weights", above=0.0),
    "opt.step_size": number("step size eta on the sum loss", sweepable=True, above=0.0),
    "opt.weight_decay": number("weight decay lambda", sweepable=True, at_least=0.0),
    "opt.momentum": number("Polyak's momentum mu", sweepable=True, at_least=0.0, below=1.0),
    "data.rank": integer("rank r of the target", at_least=1),
}


def check(checks: Checks) -> None:
    """Rules on several fields at once."""
    widths, rank = list(checks.config.net.widths), checks.config.data.rank
    is_network = len(widths) >= 3 and all(type(width) is int and width >= 1 for width in widths)
    checks.require("net.widths", is_network, "must be three or more positive integers (d_0, ..., d_L)")
    if not is_network or type(rank) is not int or rank < 1:
        return
    ends = min(widths[0], widths[-1])
    checks.require("data.rank", rank <= ends, f"must be at most {ends}, the smaller of inputs and outputs")
    if rank <= ends:
        idle = active_dimensions(widths, rank).active != tuple(widths)
        checks.require("net.widths", idle, f"must leave a direction idle, and all of them move at data.rank = {rank}")


def dynamics(config: ConfigDict) -> Dynamics:
    """The network and the recursions of the two idle singular values, side by side."""
    return pair(_network(config), _law(config), _compare(config))


class Network(NamedTuple):
    """What one network draws once: its target, W(0), the part of W(0) / eps that idles and is passed on, its rates."""

    target: Matrix
    start: Weights
    passed: Weights
    rates: dict[str, Array]


class Rhos(NamedTuple):
    """Both idle singular values, now and a step before: of directions that are passed on, and of the others."""

    passed: Rate
    stopped: Rate
    passed_before: Rate
    stopped_before: Rate


def _network(config: ConfigDict) -> Dynamics:
    widths, rank, dtype = config.net.widths, config.data.rank, jnp.dtype(config.precision)
    descent = heavy_ball(_loss)

    def init(key: Array, hyperparameters: Hyperparameters, shared: tuple) -> tuple[Network, Iterate]:
        key_target, key_weights = jax.random.split(key)
        target = low_rank_target(key_target, (widths[-1], widths[0]), rank, dtype)
        weights = orthogonal_weights(key_weights, widths, config.net.scale, dtype)
        left, _, right = jnp.linalg.svd(target, full_matrices=False)
        passed = passed_products(weights, bases_of_any_widths(weights, left[:, :rank], right[:rank].T))
        return Network(target, weights, passed, _rates(config, hyperparameters)), descent.init(weights)

    def step(_: Time, iterate: Iterate, problem: Network, shared: tuple) -> Iterate:
        return descent.step(iterate, problem.target, **problem.rates)

    return Dynamics(init, step, lambda *_: {})


def _law(config: ConfigDict) -> Dynamics:
    """The recursions of eqs. 6, 7 and 16: they know eps, the rates and the depth, and no matrix."""
    depth = len(config.net.widths) - 1

    def init(key: Array, hyperparameters: Hyperparameters, shared: tuple) -> tuple[dict, Rhos]:
        return _rates(config, hyperparameters), Rhos(*[jnp.asarray(config.net.scale, config.precision)] * 4)

    def step(_: Time, rho: Rhos, rates: dict, shared: tuple) -> Rhos:
        passed = theory.rho_square(rho.passed, before=rho.passed_before, depth=depth, **rates)
        stopped = theory.rho_wide(rho.stopped, before=rho.stopped_before, **rates)
        return Rhos(passed, stopped, rho.passed, rho.stopped)

    return Dynamics(init, step, lambda *_: {})


def _compare(config: ConfigDict) -> Callable[[Time, Pair, Pair, tuple], dict[str, Array]]:
    """What is observed of the network, with the law's recursions and numbers beside it."""
    widths, scale = config.net.widths, config.net.scale
    active, num_passed = active_dimensions(widths, config.data.rank)
    depth, most = len(widths) - 1, max(map(min, widths, widths[1:]))
    moved = [min(active[layer : layer + 2]) for layer in range(depth)]
    stopped = [min(widths[i] - active[i], widths[i + 1] - active[i + 1]) - num_passed for i in range(depth)]

    def observe(_: Time, states: Pair, problems: Pair, shared: tuple) -> dict[str, Array]:
        weights, rho = states.first.weights, states.second
        problem: Network = problems.first
        rest = [
            W - rho.stopped / scale * W0 - (rho.passed - rho.stopped) * P
            for W, W0, P in zip(weights, problem.start, problem.passed, strict=True)
        ]
        left = [jnp.linalg.svd(R, compute_uv=False) for R in rest]
        values = [jnp.linalg.svd(W, compute_uv=False) for W in weights]
        sizes = jnp.abs(rho.passed), jnp.abs(rho.stopped)
        near = [jnp.stack([jnp.sum(jnp.abs(s - size) < MOVED) for s in values]) for size in sizes]
        return {
            "loss": _loss(weights, problem.target),
            "rho": rho.passed,
            "rho_stopped": rho.stopped,
            "remainder_values": jnp.stack([jnp.pad(s, (0, most - len(s)), constant_values=jnp.nan) for s in left]),
            "num_moved": jnp.stack([jnp.sum(s > MOVED) for s in left]),
            "num_spanned": jnp.stack([_spanned(*layers) for layers in itertools.pairwise(rest)]),
            "num_passed": near[0],
            "num_stopped": near[1],
            "idle_deviation": jnp.stack(
                [_off(s, zip(sizes, (num_passed, k), strict=True)) for s, k in zip(values, stopped, strict=True)]
            ),
            "excess": jnp.stack([jnp.max(s[k:], initial=0.0) for s, k in zip(left, moved, strict=True)]),
        }

    return observe


def _spanned(below: Matrix, above: Matrix) -> Array:
    """The dimension of the sum of the column space of a layer's remainder and the row space of the next one's."""
    joined = jnp.concatenate([below, above.T], axis=1)
    return jnp.sum(jnp.linalg.svd(joined, compute_uv=False) > MOVED)


def _off(values: Array, recursions: Iterable[tuple[Array, int]]) -> Array:
    """How far the count of singular values that lie closest to each recursion is from it; 0 where none should."""
    off = [jnp.sort(jnp.abs(values - size))[count - 1] for size, count in recursions if count > 0]
    return jnp.max(jnp.stack(off)) if off else jnp.zeros((), values.dtype)


def _loss(weights: Weights, target: Matrix) -> Array:
    return sum_squared_error(end_to_end(weights), target)


def _rates(config: ConfigDict, hyperparameters: Hyperparameters) -> dict[str, Array]:
    return {
        name: value_of(config, hyperparameters, f"opt.{name}") for name in ("step_size", "weight_decay", "momentum")
    }
