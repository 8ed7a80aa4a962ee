"""The theory of rank jumps (Wang and Jacot 2024) beside descents: minima, their ends, the sets B_r, the bound.

Each variant names its study. Numbers are in the units of the figures' update, theta <- (1 - eta lambda) theta - eta
grad (A*_ij - A_ij)^2: in expectation steps of 2 eta on L_{lambda/4}, and the theorems' update with 2 eta and lambda/2.
"""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike
from ml_collections import ConfigDict

from experiments.laws.rank_jumps.landscape.claims import STUDIES, claims, constants_of
from experiments.laws.rank_jumps.landscape.figures import figures
from experiments.runner.checks import Checks
from experiments.runner.hyperparameters import value_of
from experiments.runner.results import Variable
from lawlib.descent.single_entry import Entry, draw_entries, entry_step, form
from lawlib.descent.steps import Iterate, evaluated
from lawlib.dynamics.system import Dynamics, Hyperparameters, until
from lawlib.networks.deep_linear import end_to_end, imbalances
from lawlib.networks.initializers import balanced_factorization, fan_in_normal, fan_in_uniform
from lawlib.theory import rank_jumps as theory
from lawlib.theory import rank_jumps_landscape as landscape
from lawlib.theory import rank_jumps_region as region
from lawlib.types import Array, Matrix, Scalar, Weights

__all__ = ["VARIABLES", "claims", "dynamics", "figures", "shared", "validate"]

PAPER = "Wang and Jacot 2024"
MASK = np.asarray([[1, 0], [1, 1]])
OBSERVED = np.asarray([[0, 0], [1, 0], [1, 1]])
# Just inside of the ridge at which the rank-1 minimum ceases to exist: where a member beyond it begins.
INSIDE = 0.999
# How far from it, in weights of N(0, ASIDE^2 / fan_in).
ASIDE = 0.01
# Around a minimum of C_lambda, where it is seen to rise: one fixed set of directions serves every member.
NEAR = np.concatenate([radius * np.random.default_rng(0).normal(size=(64, 2, 2)) for radius in (1e-5, 1e-4)])
# Steps at which a point is tried for leaving by its soft rank, and the rounding of that rank.
TRIED = 10.0 ** np.linspace(-6, 1, 36)
ROUNDING = 1e-9

VARIABLES = {
    "product": Variable(("row", "column"), "1", "A = W_L ... W_1; A_01 is the missing entry"),
    "loss": Variable((), "1", "mean (A*_ij - A_ij)^2 over the three observed entries, 2 C(A)", f"{PAPER}, Sec. 2.1"),
    "value": Variable((), "1", "C(A) + lambda/4 ||theta||^2, or C_{lambda/4}(A)", f"{PAPER}, Sec. 2.2"),
    "gradient_norm": Variable((), "1", "norm of the gradient of 2 L_{lambda/4}, or the length of a proximal step"),
    "imbalance": Variable(("joint",), "1", "||W_{l+1}^T W_{l+1} - W_l W_l^T||_F", f"{PAPER}, Prop. A.1"),
    "curvature": Variable((), "1", "smallest eigenvalue of the Hessian of L_{lambda/4}"),
    "rise": Variable((), "1", "least of C_{lambda/4} nearby less its value here"),
    "leaving": Variable(
        ("bound",), "1", "smallest leaving eta over the admissible one: by norm, imbalance, soft rank", "Theorem B.1"
    ),
}


class Problem(NamedTuple):
    """What a member draws once: A* and its own numbers."""

    target: Matrix
    step_size: Scalar
    weight_decay: Scalar
    tolerance: Scalar
    norm_times: Scalar


class Noisy(NamedTuple):
    """A state of SGD: the weights and the step."""

    weights: Weights
    step: Array


class Drawn(NamedTuple):
    """A state of the study of B_r: each step draws another point."""

    key: Array
    step: Array


def validate(checks: Checks) -> None:
    """The fields that this experiment reads, and what it asks of them."""
    checks.choice("precision", ("float64",))
    checks.choice("study", STUDIES)
    checks.integer("net.depth", at_least=3)
    checks.integer("net.width", at_least=2)
    checks.choice("net.init", ("uniform", "normal", "minimum"))
    checks.number("net.scale", above=0.0)
    checks.number("opt.step_size", above=0.0)
    checks.number("opt.weight_decay", above=0.0)
    checks.number("opt.tolerance", at_least=0.0)
    checks.number("opt.warmup_step_size", above=0.0)
    checks.integer("opt.warmup_steps", at_least=0)
    checks.number("data.offdiagonal", above=0.0, at_most=1.0)
    checks.integer("region.rank", at_least=0, at_most=1)
    checks.number("region.slack", above=0.0, below=0.5)
    checks.number("region.norm_times", above=0.0)
    checks.sweeps("net.scale", "opt.step_size", "opt.weight_decay", "data.offdiagonal", "region.norm_times")


def shared(_: ConfigDict) -> tuple:
    """Nothing: A* is a member's own."""
    return ()


def dynamics(config: ConfigDict) -> Dynamics:
    """What the study of this variant runs."""
    build = dict.fromkeys(STUDIES, _descent) | {"matrix": _proximal, "region": _region, "jumps": _noisy}
    return build[str(config.study)](config)


# Gradient descent on the mean over the observed entries. --------------------------------------------------------------


def _descent(config: ConfigDict) -> Dynamics:
    """Full-batch gradient descent with weight decay, stopped where the gradient is small."""
    descent = evaluated(_mean_loss)

    def init(key: Array, hyperparameters: Hyperparameters, _: tuple) -> tuple[Problem, Iterate]:
        problem = _problem(config, hyperparameters)
        return problem, descent.init(_start(config, hyperparameters, key, problem), problem.target)

    def step(iterate: Iterate, problem: Problem, _: tuple) -> Iterate:
        return descent.step(iterate, problem.target, step_size=problem.step_size, weight_decay=problem.weight_decay)

    def observe(iterate: Iterate, problem: Problem, _: tuple) -> dict[str, Array]:
        seen = _seen(iterate.weights, problem)
        seen |= {"loss": iterate.memory.loss, "gradient_norm": jnp.sqrt(_squared_gradient(iterate, problem))}
        return seen | ({"curvature": _curvature(iterate.weights, problem)} if config.study == "factors" else {})

    def done(iterate: Iterate, problem: Problem, _: tuple) -> Array:
        return _squared_gradient(iterate, problem) < problem.tolerance**2

    return until(Dynamics(init, step, observe), done)


def _mean_loss(weights: Weights, target: Matrix) -> Scalar:
    # From the output side, where the products stay two rows high.
    product = weights[-1]
    for W in weights[-2::-1]:
        product = product @ W
    return 2 * theory.observed_loss(product, target, jnp.asarray(MASK, target.dtype))


def _squared_gradient(iterate: Iterate, problem: Problem) -> Scalar:
    pairs = zip(iterate.weights, iterate.memory.gradients, strict=True)
    return sum((jnp.sum(jnp.square(G + problem.weight_decay * W)) for W, G in pairs), start=jnp.zeros(()))


def _seen(weights: Weights, problem: Problem) -> dict[str, Array]:
    return {
        "product": end_to_end(weights),
        "value": theory.factored_loss(weights, problem.target, jnp.asarray(MASK, float), problem.weight_decay / 4),
        "imbalance": jnp.stack([jnp.linalg.norm(D) for D in imbalances(weights)]),
    }


def _curvature(weights: Weights, problem: Problem) -> Scalar:
    flat, unravel = ravel_pytree(weights)
    mask, ridge = jnp.asarray(MASK, flat.dtype), problem.weight_decay / 4
    hessian = jax.hessian(lambda x: theory.factored_loss(unravel(x), problem.target, mask, ridge))(flat)
    return jnp.linalg.eigvalsh(hessian)[0]


def _problem(config: ConfigDict, hyperparameters: Hyperparameters) -> Problem:
    eps = value_of(config, hyperparameters, "data.offdiagonal")
    target = jnp.eye(2, dtype=eps.dtype).at[1, 0].set(eps)
    names = ("opt.step_size", "opt.weight_decay", "opt.tolerance", "region.norm_times")
    return Problem(target, *(value_of(config, hyperparameters, name) for name in names))


def _start(config: ConfigDict, hyperparameters: Hyperparameters, key: Array, problem: Problem) -> Weights:
    """W(0): U(-1, 1)/sqrt(fan_in), N(0, scale^2/fan_in), or balanced factors of the rank-1 minimum."""
    depth, widths, scale = config.net.depth, _widths(config), value_of(config, hyperparameters, "net.scale")
    if config.net.init == "minimum":
        eps = problem.target[1, 0]
        last = landscape.last_ridge(eps, depth=depth, rank=1).ridge
        ridge = jnp.minimum(problem.weight_decay / 4, INSIDE * last)
        there = landscape.local_minimum(eps, ridge, depth=depth, rank=1).matrix
        # Beside the minimum, so that it has to be found: one that is not stable would be left.
        aside = _drawn(key, widths, fan_in_normal(ASIDE * scale), scale.dtype)
        return jax.tree.map(jnp.add, balanced_factorization(there, widths, rank=1), aside)
    init = fan_in_uniform(3**-0.5 * scale) if config.net.init == "uniform" else fan_in_normal(scale)
    return _drawn(key, widths, init, scale.dtype)


def _drawn(key: Array, widths: tuple[int, ...], init: Initializer, dtype: DTypeLike) -> Weights:
    keys = jax.random.split(key, len(widths) - 1)
    return tuple(init(k, (out, into), dtype) for k, (into, out) in zip(keys, itertools.pairwise(widths), strict=True))


def _widths(config: ConfigDict) -> tuple[int, ...]:
    return (2, *[config.net.width] * (config.net.depth - 1), 2)


# Proximal descent on C_lambda itself. ---------------------------------------------------------------------------------


def _proximal(config: ConfigDict) -> Dynamics:
    """Proximal steps on C_{lambda/4} over matrices, which reach lower ranks exactly; stopped where they are short."""

    def moved(A: Matrix, problem: Problem) -> Matrix:
        descended = A - problem.step_size * jnp.asarray(MASK, A.dtype) * (A - problem.target) / 3
        return landscape.prox(descended, problem.step_size * problem.weight_decay / 4, depth=config.net.depth)

    def init(key: Array, hyperparameters: Hyperparameters, _: tuple) -> tuple[Problem, tuple[Matrix, Scalar]]:
        scale = value_of(config, hyperparameters, "net.scale")
        return _problem(config, hyperparameters), (
            scale * jax.random.normal(key, (2, 2), scale.dtype),
            jnp.ones_like(scale),
        )

    def step(state: tuple[Matrix, Scalar], problem: Problem, _: tuple) -> tuple[Matrix, Scalar]:
        after = moved(state[0], problem)
        return after, jnp.max(jnp.abs(after - state[0]))

    def observe(state: tuple[Matrix, Scalar], problem: Problem, _: tuple) -> dict[str, Array]:
        A, length = state
        mask = jnp.asarray(MASK, A.dtype)

        def value(A: Matrix) -> Scalar:
            return theory.matrix_loss(A, problem.target, mask, problem.weight_decay / 4, config.net.depth)

        near = jax.vmap(lambda away: value(A + away))(jnp.asarray(NEAR, A.dtype))
        loss = 2 * theory.observed_loss(A, problem.target, mask)
        seen = {"product": A, "value": value(A), "loss": loss, "gradient_norm": length}
        return seen | {"rise": jnp.min(near) - value(A)}

    def done(state: tuple[Matrix, Scalar], problem: Problem, _: tuple) -> Array:
        return state[1] < problem.tolerance

    return until(Dynamics(init, step, observe), done)


# Points of B_r at which its bounds are attained. ----------------------------------------------------------------------


def _region(config: ConfigDict) -> Dynamics:
    """Each step draws a point, and how far beyond the admissible eta a step must be to leave from there."""
    widths, slack = _widths(config), config.region.slack

    def init(key: Array, hyperparameters: Hyperparameters, _: tuple) -> tuple[Problem, Drawn]:
        return _problem(config, hyperparameters), Drawn(key, jnp.asarray(0))

    def step(drawn: Drawn, problem: Problem, _: tuple) -> Drawn:
        return drawn._replace(step=drawn.step + 1)

    def observe(drawn: Drawn, problem: Problem, _: tuple) -> dict[str, Array]:
        decay = problem.weight_decay / 2
        norm, constants = constants_of(config, decay, problem.norm_times)
        cutoff, admissible = jnp.exp(constants.log_cutoff), jnp.exp(jnp.min(constants.log_step_sizes))
        small = cutoff * (1 - jnp.sqrt(1 - slack))
        key_entry, key_point = jax.random.split(jax.random.fold_in(drawn.key, drawn.step))
        entry = jnp.asarray(OBSERVED)[jax.random.randint(key_entry, (), 0, len(OBSERVED))]
        weights = _balanced_point(key_point, widths, jnp.sqrt(jnp.stack([norm - small, small])), entry)
        product = end_to_end(weights)
        here = jnp.zeros_like(product).at[entry[0], entry[1]].set(1)
        residual = here * (product - problem.target)
        leaving = region.leaving_steps(weights, residual, decay, jnp.exp(constants.log_imbalance))
        bound = config.region.rank + slack
        tried = jnp.asarray(TRIED)
        beyond = jax.vmap(lambda eta: _soft_rank(region.sgd_step(weights, residual, eta, decay), cutoff))(tried)
        outside = beyond > bound + ROUNDING
        by_rank = jnp.where(jnp.any(outside), tried[jnp.argmax(outside)], tried[-1])
        steps = jnp.stack([jnp.min(leaving.by_norm), jnp.min(leaving.by_imbalance), by_rank])
        return {"product": product, "leaving": steps / admissible}

    return until(Dynamics(init, step, observe))


def _soft_rank(weights: Weights, cutoff: Scalar) -> Scalar:
    return jnp.max(jnp.stack([region.soft_rank(W, cutoff) for W in weights]))


def _balanced_point(key: Array, widths: tuple[int, ...], singular_values: Array, entry: Array) -> Weights:
    """Balanced weights of these singular values in random frames; every other time A is its row i alone."""
    keys = jax.random.split(key, len(widths) + 1)
    dtype = singular_values.dtype
    frames = [jnp.linalg.qr(jax.random.normal(k, (w, 2), dtype))[0] for k, w in zip(keys, widths, strict=False)]
    row = jnp.stack([jnp.arange(2) == entry[0], jnp.arange(2) != entry[0]], 1).astype(dtype)
    frames[-1] = jnp.where(jax.random.bernoulli(keys[-1]), row, frames[-1])
    return tuple(out * singular_values[None, :] @ into.T for into, out in itertools.pairwise(frames))


# SGD, for the frequency beside the bound. -----------------------------------------------------------------------------


def _noisy(config: ConfigDict) -> Dynamics:
    """SGD with replacement, one entry a step, after a warm-up at a smaller step."""
    update = form("figures")

    def init(key: Array, hyperparameters: Hyperparameters, _: tuple) -> tuple[tuple[Problem, Array], Noisy]:
        key_start, key_draws = jax.random.split(key)
        problem = _problem(config, hyperparameters)
        draws = draw_entries(key_draws, len(OBSERVED), config.opt.num_steps, replacement=True)
        return (problem, draws), Noisy(_start(config, hyperparameters, key_start, problem), jnp.asarray(0))

    def step(state: Noisy, drawn: tuple[Problem, Array], _: tuple) -> Noisy:
        problem, draws = drawn
        row, column = jnp.asarray(OBSERVED)[draws[state.step]]
        early = state.step < config.opt.warmup_steps
        rates = {
            "step_size": jnp.where(early, config.opt.warmup_step_size, problem.step_size),
            "weight_decay": problem.weight_decay,
        }
        entry = Entry(row, column, problem.target[row, column])
        return Noisy(entry_step(state.weights, entry, update, **rates), state.step + 1)

    def observe(state: Noisy, drawn: tuple[Problem, Array], _: tuple) -> dict[str, Array]:
        return {"product": end_to_end(state.weights), "loss": _mean_loss(state.weights, drawn[0].target)}

    return until(Dynamics(init, step, observe))
