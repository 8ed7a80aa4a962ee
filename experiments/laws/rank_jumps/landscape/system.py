"""The theory of rank jumps (Wang and Jacot 2024), and descents that test it: minima, their ends, B_r, and the bound.

Each variant names its study. Numbers are in the units of the figures' update, theta <- (1 - eta lambda) theta - eta
grad (A*_ij - A_ij)^2: in expectation steps of 2 eta on L_{lambda/4}, and the theorems' update with 2 eta and lambda/2.
"""

import functools as ft
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike
from ml_collections import ConfigDict

from experiments.runner.experiment import Variable
from experiments.runner.hyperparameters import value_of
from experiments.runner.schema import choice, integer, number
from lawlib.descent.single_entry import Entry, draw_entries, entry_step, form
from lawlib.descent.steps import Iterate, evaluated
from lawlib.dynamics.system import Dynamics, Hyperparameters, Time, until
from lawlib.networks.deep_linear import end_to_end, imbalances
from lawlib.networks.initializers import balanced_factorization, fan_in_normal, fan_in_uniform
from lawlib.theory import rank_jumps as theory
from lawlib.theory import rank_jumps_landscape as landscape
from lawlib.theory import rank_jumps_region as region
from lawlib.types import Array, Matrix, PRNGKey, Scalar, Weights

Number = Scalar | float
STUDIES = ("fold", "factors", "matrix", "end", "avoid", "budget", "region", "jumps")
PAPER = "Wang and Jacot 2024"
MASK = np.asarray([[1, 0], [1, 1]])
OBSERVED = np.asarray([[0, 0], [1, 0], [1, 1]])
# The largest observed entry of A*, whose square is C_1.
LARGEST_ENTRY = 1.0
# A member beyond the ridge at which the rank-1 minimum ceases to exist starts just inside of that ridge.
INSIDE = 0.999
# Its distance from the minimum, in weights of N(0, ASIDE^2 / fan_in).
ASIDE = 0.01
# Points around a minimum of C_lambda, at which it must be larger: the same directions for every member.
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
    "rise": Variable((), "1", "least of C_{lambda/4} nearby minus its value here"),
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


def _reads(*studies: str) -> Callable[[ConfigDict], bool]:
    return lambda config: config.study in studies


FIELDS = {
    "precision": choice("floating-point type of everything computed", "float64"),
    "study": choice("what is run, and what it is for", *STUDIES),
    "net.depth": integer("number of layers L", at_least=3),
    "net.width": integer("width of the hidden layers", at_least=2),
    "net.init": choice(
        "W(0): uniform, normal, or balanced factors of the rank-1 minimum", "uniform", "normal", "minimum"
    ),
    "net.scale": number("scale of the start", sweepable=True, above=0.0),
    "opt.step_size": number("step size eta", sweepable=True, above=0.0),
    "opt.weight_decay": number("weight decay lambda of the update", sweepable=True, above=0.0),
    "opt.tolerance": number("norm of the gradient, or length of a step, at which a member ends", at_least=0.0),
    "opt.warmup_step_size": number("step size of the first steps of SGD", above=0.0, when=_reads("jumps")),
    "opt.warmup_steps": integer("how many these are", unit="step", at_least=0, when=_reads("jumps")),
    "data.offdiagonal": number("the observed off-diagonal entry eps", sweepable=True, above=0.0, at_most=1.0),
    "region.rank": integer("rank r of B_r", at_least=0, at_most=1, when=_reads("region", "jumps")),
    "region.slack": number("eps_2 of B_r", above=0.0, below=0.5, when=_reads("region", "jumps")),
    "region.norm_times": number("C over its least value", sweepable=True, above=0.0),
}


def dynamics(config: ConfigDict) -> Dynamics:
    """What the study of this variant runs."""
    build = dict.fromkeys(STUDIES, _descent) | {"matrix": _proximal, "region": _region, "jumps": _noisy}
    return build[str(config.study)](config)


def constants_of(config: ConfigDict, decay: Number, norm_times: Number) -> tuple[Scalar, theory.Constants]:
    """C = norm_times its least value, admitted or not, and Theorem B.1's constants; decay in the theorem's units."""
    sizes = {"depth": int(config.net.depth), "rank": int(config.region.rank), "width": int(config.net.width)}
    return _constants(decay, norm_times, float(config.region.slack), **sizes)


@ft.partial(jax.jit, static_argnames=("depth", "rank", "width"))
def _constants(decay: Scalar, norm_times: Scalar, slack: Scalar, **sizes: int) -> tuple[Scalar, theory.Constants]:
    norm = norm_times * theory.smallest_norm_bound(weight_decay=decay, largest_entry=LARGEST_ENTRY)
    numbers = {"weight_decay": decay, "largest_entry": LARGEST_ENTRY, "norm_bound": norm, "slack": slack}
    return norm, theory.absorbing_constants(**sizes, **numbers)


# Gradient descent on the mean over the observed entries. --------------------------------------------------------------


def _descent(config: ConfigDict) -> Dynamics:
    """Full-batch gradient descent with weight decay, stopped where the gradient is small."""
    descent = evaluated(_mean_loss)

    def init(key: Array, hyperparameters: Hyperparameters, _: tuple) -> tuple[Problem, Iterate]:
        problem = _problem(config, hyperparameters)
        return problem, descent.init(_start(config, hyperparameters, key, problem), problem.target)

    def step(_: Time, iterate: Iterate, problem: Problem, shared: tuple) -> Iterate:
        return descent.step(iterate, problem.target, step_size=problem.step_size, weight_decay=problem.weight_decay)

    def observe(_: Time, iterate: Iterate, problem: Problem, shared: tuple) -> dict[str, Array]:
        seen = _seen(iterate.weights, problem)
        seen |= {"loss": iterate.memory.loss, "gradient_norm": jnp.sqrt(_squared_gradient(iterate, problem))}
        return seen | ({"curvature": _curvature(iterate.weights, problem)} if config.study == "factors" else {})

    def done(_: Time, iterate: Iterate, problem: Problem, shared: tuple) -> Array:
        return _squared_gradient(iterate, problem) < problem.tolerance**2

    return until(Dynamics(init, step, observe), done)


def _mean_loss(weights: Weights, target: Matrix) -> Scalar:
    # From the output side, so that every product has two rows.
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
        there = landscape.local_minimum(eps, ridge=ridge, depth=depth, rank=1).matrix
        # Apart from the minimum, so that descent has to find it: one that is not stable would be left.
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
        start = scale * jax.random.normal(key, (2, 2), scale.dtype)
        return _problem(config, hyperparameters), (start, jnp.ones_like(scale))

    def step(_: Time, state: tuple[Matrix, Scalar], problem: Problem, shared: tuple) -> tuple[Matrix, Scalar]:
        after = moved(state[0], problem)
        return after, jnp.max(jnp.abs(after - state[0]))

    def observe(_: Time, state: tuple[Matrix, Scalar], problem: Problem, shared: tuple) -> dict[str, Array]:
        A, length = state
        mask = jnp.asarray(MASK, A.dtype)

        def value(A: Matrix) -> Scalar:
            return theory.matrix_loss(A, problem.target, mask, ridge=problem.weight_decay / 4, depth=config.net.depth)

        near = jax.vmap(lambda away: value(A + away))(jnp.asarray(NEAR, A.dtype))
        loss = 2 * theory.observed_loss(A, problem.target, mask)
        seen = {"product": A, "value": value(A), "loss": loss, "gradient_norm": length}
        return seen | {"rise": jnp.min(near) - value(A)}

    def done(_: Time, state: tuple[Matrix, Scalar], problem: Problem, shared: tuple) -> Array:
        return state[1] < problem.tolerance

    return until(Dynamics(init, step, observe), done)


# Points of B_r at which its bounds are attained. ----------------------------------------------------------------------


def _region(config: ConfigDict) -> Dynamics:
    """Each observation draws a point, and how far beyond the admissible eta a step must be to leave from there."""
    widths, slack = _widths(config), config.region.slack

    def init(key: PRNGKey, hyperparameters: Hyperparameters, _: tuple) -> tuple[Problem, PRNGKey]:
        return _problem(config, hyperparameters), key

    def step(_: Time, key: PRNGKey, problem: Problem, shared: tuple) -> PRNGKey:
        return key

    def observe(t: Time, key: PRNGKey, problem: Problem, _: tuple) -> dict[str, Array]:
        decay = problem.weight_decay / 2
        norm, constants = constants_of(config, decay, problem.norm_times)
        cutoff, admissible = jnp.exp(constants.log_cutoff), jnp.exp(jnp.min(constants.log_step_sizes))
        small = cutoff * (1 - jnp.sqrt(1 - slack))
        key_entry, key_point = jax.random.split(jax.random.fold_in(key, t))
        entry = jnp.asarray(OBSERVED)[jax.random.randint(key_entry, (), 0, len(OBSERVED))]
        weights = _balanced_point(key_point, widths, jnp.sqrt(jnp.stack([norm - small, small])), entry)
        product = end_to_end(weights)
        here = jnp.zeros_like(product).at[entry[0], entry[1]].set(1)
        residual = here * (product - problem.target)
        leaving = region.leaving_steps(
            weights, residual, weight_decay=decay, imbalance=jnp.exp(constants.log_imbalance)
        )
        bound = config.region.rank + slack
        tried = jnp.asarray(TRIED)

        def after(eta: Scalar) -> Scalar:
            return _soft_rank(region.sgd_step(weights, residual, step_size=eta, weight_decay=decay), cutoff)

        beyond = jax.vmap(after)(tried)
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


# SGD, whose frequency of jumps is compared with the bound. ------------------------------------------------------------


def _noisy(config: ConfigDict) -> Dynamics:
    """SGD with replacement, one entry a step, after a warm-up at a smaller step."""
    update = form("figures")

    def init(key: Array, hyperparameters: Hyperparameters, _: tuple) -> tuple[tuple[Problem, Array], Weights]:
        key_start, key_draws = jax.random.split(key)
        problem = _problem(config, hyperparameters)
        draws = draw_entries(key_draws, num_entries=len(OBSERVED), num_steps=config.opt.num_steps, replacement=True)
        return (problem, draws), _start(config, hyperparameters, key_start, problem)

    def step(t: Time, weights: Weights, drawn: tuple[Problem, Array], _: tuple) -> Weights:
        problem, draws = drawn
        row, column = jnp.asarray(OBSERVED)[draws[t]]
        step_size = jnp.where(t < config.opt.warmup_steps, config.opt.warmup_step_size, problem.step_size)
        entry = Entry(row, column, problem.target[row, column])
        return entry_step(weights, entry, update, step_size=step_size, weight_decay=problem.weight_decay)

    def observe(_: Time, weights: Weights, drawn: tuple[Problem, Array], shared: tuple) -> dict[str, Array]:
        return {"product": end_to_end(weights), "loss": _mean_loss(weights, drawn[0].target)}

    return until(Dynamics(init, step, observe))
