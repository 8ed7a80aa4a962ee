"""Theorem A.2 and Corollary 2.6 of Laus et al. 2025: two phases of descent with weight decay, then the effect of noise.

In the ``ntk`` parametrization, to the theorem's own stopping time T. The state records what the theorem bounds at every
step: tau, the slowest step before it, and the largest regression error after it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from experiments.laws.inverse_problems import common
from experiments.laws.inverse_problems.common import PAPER, Problem, Tests
from experiments.runner.checks import Checks
from experiments.runner.experiment import Variable
from experiments.runner.schema import choice, number
from lawlib.descent.steps import Iterate, evaluated, sum_squared_error
from lawlib.dynamics.system import Dynamics, Hyperparameters, Time, until
from lawlib.problems.inverse import oracle_map
from lawlib.theory import inverse_problems as theory
from lawlib.types import Array, Matrix, PRNGKey, Scalar, Weights

VARIABLES = common.COMMON_VARIABLES | {
    "stopping_time": Variable((), "step", "T", f"{PAPER}, eq. 30b"),
    "accuracy": Variable((), "1", "gamma = lambda sqrt(d/m) / sigma_min^2", f"{PAPER}, eq. 29"),
    "first_phase_end": Variable((), "step", "tau, -1: not so far", f"{PAPER}, eq. 30a"),
    "first_phase_rate": Variable(
        (), "1", "largest ||Phi(t+1)|| / ||Phi(t)|| over its bound, every t < tau so far", f"{PAPER}, eq. 31"
    ),
    "second_phase_error": Variable((), "1", "largest ||Phi(t)|| / ||X||_F from tau to now, at every step"),
    "test_error": Variable(("noise",), "1", "mean ||W_{L:1} y - x|| over unit-norm test signals, y = A x + noise"),
    "oracle_error": Variable(("noise",), "1", "the same of the oracle map X Y^+"),
    "test_norm": Variable(("noise",), "1", "mean ||y|| of the tests"),
}
FIELDS = {
    **common.COMMON_FIELDS,
    **common.TEST_FIELDS,
    "study": choice("the theorem that the runs are for", "theorem"),
    "net.parametrization": choice("step sizes: eta / d_{l-1} in layer l", "ntk"),
    "opt.rescaling_decay": number("weight decay lambda of the stopping time T", above=0.0),
}


class Member(NamedTuple):
    """A problem, its tests with the oracle's errors and norms, gamma, T."""

    problem: Problem
    tests: Tests
    oracle_error: Array
    test_norm: Array
    accuracy: Scalar
    stopping_time: Scalar


class State(NamedTuple):
    """The iterate with its loss and gradient, and what the theorem bounds at all steps so far."""

    iterate: Iterate
    first_phase_end: Array
    first_phase_rate: Scalar
    second_phase_error: Scalar


def check(checks: Checks) -> None:
    """Rules on several fields at once."""
    common.check_common(checks)
    common.check_noise(checks)


def dynamics(config: ConfigDict) -> Dynamics:
    """Gradient descent to T, monitored at every step."""
    descent = evaluated(_loss)

    def init(key: PRNGKey, hyperparameters: Hyperparameters, shared: tuple) -> tuple[Member, State]:
        member, weights = _draw(config, key, hyperparameters)
        zero = jnp.zeros_like(member.accuracy)
        start = descent.init(weights, member.problem.inputs, member.problem.targets)
        state = State(start, jnp.asarray(-1, jnp.int32), zero, zero)
        return member, _mark(jnp.asarray(0, jnp.int32), state, config, member)

    def step(t: Time, state: State, member: Member, shared: tuple) -> State:
        problem, bound = member.problem, _bound(config, member)
        data = problem.inputs, problem.targets
        stepped = descent.step(state.iterate, *data, **problem.rates._asdict())
        ratio = jnp.sqrt(stepped.memory.loss / state.iterate.memory.loss) / bound
        worst = jnp.maximum(state.first_phase_rate, ratio)
        rate = jnp.where(state.first_phase_end < 0, worst, state.first_phase_rate)
        return _mark(t + 1, state._replace(iterate=stepped, first_phase_rate=rate), config, member)

    def observe(t: Time, state: State, member: Member, shared: tuple) -> dict[str, Array]:
        weights = state.iterate.weights
        tests = common.test_errors(lambda y: common.through(weights, y), member.tests, config.data.noise)
        constants = {name: getattr(member, name) for name in ("accuracy", "stopping_time", "oracle_error", "test_norm")}
        marks = {name: getattr(state, name) for name in ("first_phase_rate", "second_phase_error")}
        tau = state.first_phase_end.astype(member.accuracy.dtype)
        seen = common.observe_common(t, weights, member.problem)
        return seen | constants | marks | {"first_phase_end": tau, "test_error": tests}

    def done(t: Time, state: State, member: Member, shared: tuple) -> Array:
        return jnp.asarray(t, member.stopping_time.dtype) >= member.stopping_time

    return until(Dynamics(init, step, observe), done)


def _loss(weights: Weights, inputs: Matrix, targets: Matrix) -> Scalar:
    return sum_squared_error(common.through(weights, inputs), targets)


def _draw(config: ConfigDict, key: PRNGKey, hyperparameters: Hyperparameters) -> tuple[Member, Weights]:
    key_data, key_start, key_tests = jax.random.split(key, 3)
    data = common.draw(config, key_data)
    problem, weights = common.start(config, hyperparameters, key_start, data)
    tests = common.draw_tests(config, key_tests, data.operator, data.basis[None])
    oracle = oracle_map(problem.targets, problem.inputs, config.data.subspace_dimension)
    sizes = {"dimension": config.data.dimension, "num_measurements": config.data.num_measurements}
    smallest = problem.signal_values[-1]
    gamma = jnp.asarray(theory.accuracy(weight_decay=problem.rates.weight_decay[0], smallest=smallest, **sizes))
    about = {"width": config.net.width, "weight_decay": config.opt.rescaling_decay, "smallest": smallest}
    last = theory.stopping_time(**sizes, **about, step_size=problem.step_size)
    errors = common.test_errors(lambda y: oracle @ y, tests, config.data.noise)
    norms = common.test_errors(lambda y: y, tests._replace(signals=jnp.zeros_like(tests.clean)), config.data.noise)
    return Member(problem, tests, errors, norms, gamma, jnp.ceil(last)), weights


def _bound(config: ConfigDict, member: Member) -> Scalar | float:
    about = {"depth": config.net.depth, "num_measurements": config.data.num_measurements}
    smallest = member.problem.signal_values[-1]
    return theory.rate_bound(step_size=member.problem.step_size, smallest=smallest, **about)


def _mark(t: Time, state: State, config: ConfigDict, member: Member) -> State:
    """Record tau, the first step at which the regression error is at its level, and the largest error since."""
    error = jnp.sqrt(2 * state.iterate.memory.loss) / jnp.linalg.norm(member.problem.targets)
    level = theory.first_phase_level(gamma=member.accuracy, depth=config.net.depth)
    tau = jnp.where((state.first_phase_end < 0) & (error <= level), t, state.first_phase_end)
    largest = jnp.where(tau >= 0, jnp.maximum(state.second_phase_error, error), state.second_phase_error)
    return state._replace(first_phase_end=tau, second_phase_error=largest)
