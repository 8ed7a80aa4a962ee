"""The small equivalent network (Yaras et al. 2023, Section 4.1, Figure 1): a d x d network and its 2r x 2r one.

Both are trained from one draw by separate code and compared as they run: the end-to-end matrices differ by the idle
part rho^L (Q - U V^T) alone. The control is a small network whose bases belong to another draw of Q. The small network
also runs alone, its bases drawn without any d x d weights.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from ml_collections import ConfigDict

from experiments.runner.checks import Checks
from experiments.runner.experiment import Variable
from experiments.runner.hyperparameters import value_of
from experiments.runner.schema import choice, integer, number
from lawlib import compress
from lawlib.descent.steps import Iterate, evaluated, sum_squared_error
from lawlib.dynamics.system import Dynamics, Hyperparameters, Monitored, Pair, Time, pair, until
from lawlib.networks.deep_linear import end_to_end
from lawlib.networks.initializers import orthogonal_weights
from lawlib.problems.synthetic import low_rank_target
from lawlib.types import Array, Matrix, Scalar, Weights

KINDS = ("pair", "control", "small")
PAPER = "Yaras et al. 2023"
CORE = ("row", "column")
VARIABLES = {
    "full_loss": Variable((), "1", "mean loss of the d x d network: 1/2 mean (W_{L:1} - Phi)^2", f"{PAPER}, Figure 1"),
    "reduced_loss": Variable((), "1", "the same of its small equivalent, term of rho included", f"{PAPER}, Figure 1"),
    "rho": Variable((), "1", "idle singular value of the small network", f"{PAPER}, eq. 6"),
    "defect": Variable((), "1", "how far the hypotheses of the small network fail, 0 to rounding: Reduction.defect"),
    "reduced_done": Variable((), "step", "first step at which the small network's loss is below tolerance; -1: none"),
    "distance": Variable((), "1", "||W_{L:1} - U W~_{L:1} V^T||_F / ||Phi||_F", f"{PAPER}, Section 4.1"),
    "predicted_distance": Variable((), "1", "eps^L sqrt(d - 2r) / ||Phi||_F", f"{PAPER}, Section 4.1"),
    "whole_distance": Variable((), "1", "the same distance once rho^L (Q - U V^T) is added to the small network"),
    "full_core": Variable(CORE, "1", "U^T W_{L:1} V of the d x d network"),
    "reduced_core": Variable(CORE, "1", "W~_{L:1}, in the same coordinates"),
}


class Full(NamedTuple):
    """What the d x d network draws once: its target, W(0) and its step size."""

    target: Matrix
    drawn: Weights
    rate: Scalar


class Small(NamedTuple):
    """What the small network is given once."""

    reduction: compress.Reduction
    rate: Scalar


FIELDS = {
    "precision": choice("floating-point type of everything computed", "float64"),
    "net.kind": choice("both networks, both with the bases of another draw, or the small one alone", *KINDS),
    "net.depth": integer("number of layers L", at_least=2),
    "net.width": integer("width d of the square network", at_least=1),
    "net.scale": number("scale eps of the first weights", sweepable=True, above=0.0),
    "net.skip": integer("steps that the small network makes alone before both begin", unit="step", at_least=0),
    "opt.step_size": number("step size eta on the sum loss", sweepable=True, above=0.0),
    "opt.tolerance": number("mean loss at which a member ends", above=0.0),
    "data.rank": integer("rank r of the target", at_least=1),
}


def check(checks: Checks) -> None:
    """Rules on several fields at once."""
    width, rank = checks.config.net.width, checks.config.data.rank
    checks.require("net.width", width > 2 * rank, f"must exceed 2 * data.rank = {2 * rank}")
    is_pair = checks.config.net.kind == "pair"
    checks.require("net.skip", is_pair or checks.config.net.skip == 0, "must be 0 unless net.kind = 'pair'")


def dynamics(config: ConfigDict) -> Dynamics:
    """The two networks side by side until the d x d one has reached the tolerance, or the small one alone."""
    small = until(_small(config), _small_is_done(config))
    if config.net.kind == "small":
        return small
    return until(pair(_full(config), small, _compare(small)), _full_is_done(config))


def _draw(config: ConfigDict, key: Array, hyperparameters: Hyperparameters) -> tuple[Matrix, Weights]:
    key_target, key_weights = jax.random.split(key)
    width, dtype = config.net.width, jnp.dtype(config.precision)
    target = low_rank_target(key_target, (width, width), config.data.rank, dtype)
    widths = (width,) * (config.net.depth + 1)
    return target, orthogonal_weights(key_weights, widths, value_of(config, hyperparameters, "net.scale"), dtype)


def _full(config: ConfigDict) -> Dynamics:
    descent = evaluated(lambda weights, target: sum_squared_error(end_to_end(weights), target))

    def init(key: Array, hyperparameters: Hyperparameters, shared: tuple) -> tuple[Full, Iterate]:
        target, weights = _draw(config, key, hyperparameters)
        rate, start = value_of(config, hyperparameters, "opt.step_size"), weights
        if config.net.skip:
            reduction = compress.reduce(weights, target, config.data.rank)
            start = compress.expand(reduction, _ahead(config, reduction, rate).weights, weights)
        return Full(target, weights, rate), descent.init(start, target)

    def step(_: Time, iterate: Iterate, problem: Full, shared: tuple) -> Iterate:
        return descent.step(iterate, problem.target, step_size=problem.rate, weight_decay=0.0)

    return Dynamics(init, step, lambda *_: {})


def _small(config: ConfigDict) -> Dynamics:
    def init(key: Array, hyperparameters: Hyperparameters, shared: tuple) -> tuple[Small, Iterate]:
        target, weights = _draw(config, key, hyperparameters)
        rate, rank = value_of(config, hyperparameters, "opt.step_size"), config.data.rank
        if config.net.kind == "pair":
            reduction = compress.reduce(weights, target, rank)
        else:
            # Bases for this target and a new draw of Q: the d x d weights are not used.
            left, values, right = jnp.linalg.svd(target, full_matrices=False)
            known = compress.LowRank(left[:, :rank], values[:rank], right[:rank].T)
            scale = value_of(config, hyperparameters, "net.scale")
            reduction = compress.draw_reduction(jax.random.fold_in(key, 1), known, depth=config.net.depth, scale=scale)
        return Small(reduction, rate), _ahead(config, reduction, rate)

    def step(_: Time, iterate: Iterate, problem: Small, shared: tuple) -> Iterate:
        return _small_step(iterate, problem.reduction, problem.rate)

    def observe(_: Time, iterate: Iterate, problem: Small, shared: tuple) -> dict[str, Array]:
        loss = compress.reduced_loss(problem.reduction, iterate.weights) / config.net.width**2
        core = end_to_end(iterate.weights.weights)
        defect = problem.reduction.defect
        return {"reduced_loss": loss, "rho": iterate.weights.rho, "reduced_core": core, "defect": defect}

    return Dynamics(init, step, observe)


def _small_step(iterate: Iterate, reduction: compress.Reduction, rate: Scalar) -> Iterate:
    return compress.step(iterate, reduction, step_size=rate, weight_decay=0.0, momentum=0.0)


def _ahead(config: ConfigDict, reduction: compress.Reduction, rate: Scalar) -> Iterate:
    """The small network after ``skip`` steps, where a run begins that leaves out the plateau of the start."""
    start = compress.init(reduction)
    return lax.fori_loop(0, config.net.skip, lambda _, iterate: _small_step(iterate, reduction, rate), start)


def _full_is_done(config: ConfigDict) -> Callable[[Time, Pair, Pair, tuple], Array]:
    return lambda t, states, problems, shared: states.first.memory.loss < config.opt.tolerance * config.net.width**2


def _small_is_done(config: ConfigDict) -> Callable[[Time, Iterate, Small, tuple], Array]:
    def done(_: Time, iterate: Iterate, problem: Small, shared: tuple) -> Array:
        loss = compress.reduced_loss(problem.reduction, iterate.weights)
        return loss < config.opt.tolerance * config.net.width**2

    return done


def _compare(small: Dynamics) -> Callable[[Time, Pair, Pair, tuple], dict[str, Array]]:
    def compare(t: Time, states: Pair, problems: Pair, shared: tuple) -> dict[str, Array]:
        full, drawn, reduction = problems.first, problems.first.drawn, problems.second.reduction
        monitored: Monitored = states.second
        reduced: compress.Reduced = monitored.state.weights
        V, U = reduction.bases[0], reduction.bases[-1]
        depth, (width, active), eps = len(drawn), V.shape, reduction.start.rho
        W, (left, right) = end_to_end(states.first.weights), compress.factors(reduction, reduced)
        size = _norm(full.target)
        apart = W - left @ right.T
        idle = (reduced.rho / eps) ** depth * end_to_end(drawn) - reduced.rho**depth * (U @ V.T)
        return {
            **small.observe(t, monitored, problems.second, shared),
            "full_loss": states.first.memory.loss / width**2,
            "reduced_done": monitored.converged_at,
            "distance": _norm(apart) / size,
            "predicted_distance": eps**depth * jnp.sqrt(jnp.asarray(width - active, W.dtype)) / size,
            "whole_distance": _norm(apart - idle) / size,
            "full_core": U.T @ W @ V,
        }

    return compare


_norm = jnp.linalg.norm
