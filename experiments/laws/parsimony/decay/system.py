"""Weight decay in the law of parsimony (Yaras et al. 2023): what is left of idle and active directions.

The network descends on a target of given singular values with a weight decay in units of the one that loses the
largest of them. Beside it runs the recursion of rho.
"""

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from experiments.runner.checks import Checks
from experiments.runner.experiment import Variable
from experiments.runner.hyperparameters import value_of
from experiments.runner.schema import choice, integer, number, values
from lawlib.descent.steps import Iterate, gradient_descent, sum_squared_error
from lawlib.dynamics.system import Dynamics, Hyperparameters, Pair, Time, pair
from lawlib.networks.deep_linear import end_to_end
from lawlib.networks.initializers import orthogonal_weights
from lawlib.theory import parsimony as theory
from lawlib.theory.parsimony_decay import kept_decay
from lawlib.types import Array, Matrix, Rate, Weights

PAPER = "Yaras et al. 2023"
LAYER, RANKED = ("layer",), ("layer", "index")
# eps^(2L-2) of the closed form for rho is a number of float64 from 10^-300 to 10^300.
LARGEST_POWER = 300
VARIABLES = {
    "loss": Variable((), "1", "1/2 ||W_{L:1} - Phi||_F^2, a sum over entries", f"{PAPER}, eq. 2"),
    "rho": Variable((), "1", "idle singular value that the recursion predicts", f"{PAPER}, eqs. 6, 7"),
    "idle_value": Variable(LAYER, "1", "mean of the d - 2r singular values closest to rho"),
    "idle_deviation": Variable(LAYER, "1", "|repeated singular value / rho - 1|", f"{PAPER}, eq. 5"),
    "leading_values": Variable(RANKED, "1", "the r largest singular values of W_l, descending"),
    "product_values": Variable(("index",), "1", "the r largest singular values of W_{L:1}, descending"),
}
FIELDS = {
    "net.depth": integer("number of layers L", at_least=2),
    "net.width": integer("width d of the inputs and the hidden layers", at_least=1),
    "net.scale": number("scale eps of the first weights", above=0.0),
    "net.start": choice(
        "whether the layers are independent of the target, or its singular vectors are those of W_{L:1}(0)",
        "independent",
        "aligned",
    ),
    "opt.step_size": number("step size eta on the sum loss", above=0.0),
    "opt.decay_ratio": number(
        "weight decay lambda, in units of the largest that keeps sigma_1 from an aligned start",
        sweepable=True,
        at_least=0.0,
    ),
    "data.case": choice("Case 1: a square target; Case 2: as many outputs as singular values", 1, 2),
    "data.spectrum": values("nonzero singular values of the target", items="positive numbers that do not increase"),
}


def check(checks: Checks) -> None:
    """Rules on several fields at once."""
    net, data, rank = checks.config.net, checks.config.data, len(checks.config.data.spectrum)
    checks.require("net.width", net.width > 2 * rank, f"must exceed twice the number of data.spectrum = {2 * rank}")
    sizes = data.spectrum
    usable = all(type(size) is float and 0 < size < float("inf") for size in sizes) and rank >= 1
    ordered = usable and all(before >= after for before, after in itertools.pairwise(sizes))
    checks.require("data.spectrum", ordered, "must be one or more positive numbers that do not increase")
    powers = 2 * net.depth - 2
    in_range = not 0 < net.scale < math.inf or abs(powers * math.log10(net.scale)) <= LARGEST_POWER
    checks.require("net.scale", in_range, f"eps^(2L-2) must be between 1e-{LARGEST_POWER} and 1e{LARGEST_POWER}")
    square = net.start == "independent" or data.case == 1
    checks.require("net.start", square, "must be 'independent' for data.case = 2")


def dynamics(config: ConfigDict) -> Dynamics:
    """The network and the recursion of rho, side by side."""
    return pair(_network(config), _law(config), _compare(config))


class Problem(NamedTuple):
    """The target Phi, and the rates of the descent."""

    target: Matrix
    rates: dict[str, Array]


def _network(config: ConfigDict) -> Dynamics:
    descent = gradient_descent(_loss)

    def init(key: Array, hyperparameters: Hyperparameters, shared: tuple) -> tuple[Problem, Iterate]:
        weights, target = _draw(config, key)
        return Problem(target, _rates(config, hyperparameters)), descent.init(weights)

    def step(_: Time, iterate: Iterate, problem: Problem, shared: tuple) -> Iterate:
        return descent.step(iterate, problem.target, **problem.rates)

    return Dynamics(init, step, lambda *_: {})


def _law(config: ConfigDict) -> Dynamics:
    """The recursion of rho, eqs. 6 and 7: it knows eps, the rates and the depth, and no matrix."""

    def init(key: Array, hyperparameters: Hyperparameters, shared: tuple) -> tuple[dict, Rate]:
        return _rates(config, hyperparameters), jnp.asarray(config.net.scale, config.precision)

    def step(_: Time, rho: Rate, rates: dict, shared: tuple) -> Rate:
        if config.data.case == 1:
            return theory.rho_square(rho, before=rho, depth=config.net.depth, momentum=0.0, **rates)
        return theory.rho_wide(rho, before=rho, momentum=0.0, **rates)

    return Dynamics(init, step, lambda *_: {})


def _compare(config: ConfigDict) -> Callable[[Time, Pair, Pair, tuple], dict[str, Array]]:
    """What is observed of the network, with the recursion beside it."""
    square, rank = config.net.depth - (config.data.case == 2), len(config.data.spectrum)

    def observe(_: Time, states: Pair, problems: Pair, shared: tuple) -> dict[str, Array]:
        weights, rho = states.first.weights, states.second
        s = jnp.linalg.svd(jnp.stack(weights[:square]), compute_uv=False)
        closest = jnp.argsort(jnp.abs(s - rho), axis=1)[:, : s.shape[1] - 2 * rank]
        idle = jnp.take_along_axis(s, closest, axis=1)
        return {
            "loss": _loss(weights, problems.first.target),
            "rho": rho,
            "idle_value": jnp.mean(idle, axis=1),
            "idle_deviation": jnp.max(jnp.abs(idle / rho - 1), axis=1),
            "leading_values": s[:, :rank],
            "product_values": jnp.linalg.svd(end_to_end(weights), compute_uv=False)[:rank],
        }

    return observe


def _loss(weights: Weights, target: Matrix) -> Array:
    return sum_squared_error(end_to_end(weights), target)


def _draw(config: ConfigDict, key: Array) -> tuple[Weights, Matrix]:
    """W(0), and the target U diag(sigma) V^T: V uniform, U uniform or W_{L:1}(0) V / eps^L."""
    net, rank, dtype = config.net, len(config.data.spectrum), jnp.dtype(config.precision)
    outputs = rank if config.data.case == 2 else net.width
    key_weights, key_left, key_right = jax.random.split(key, 3)
    weights = orthogonal_weights(key_weights, (*[net.width] * net.depth, outputs), net.scale, dtype)
    right = jax.random.orthogonal(key_right, net.width, dtype=dtype)[:, :rank]
    if net.start == "aligned":
        left = end_to_end(weights) @ right / net.scale**net.depth
    else:
        left = jax.random.orthogonal(key_left, outputs, dtype=dtype)[:, :rank]
    return weights, (left * jnp.asarray(config.data.spectrum, dtype)[None]) @ right.T


def _rates(config: ConfigDict, hyperparameters: Hyperparameters) -> dict[str, Array]:
    unit = kept_decay(config.data.spectrum[0], scale=config.net.scale, depth=config.net.depth)
    return {
        "step_size": value_of(config, hyperparameters, "opt.step_size"),
        "weight_decay": value_of(config, hyperparameters, "opt.decay_ratio") * unit,
    }
