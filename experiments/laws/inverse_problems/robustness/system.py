"""Noise robustness of networks trained on inverse problems (Laus et al. 2025, Figs. 1a and 1b), and on real digits.

With and without weight decay: test errors over the noise, compared with the oracle map that knows the subspace. Signals
of a union of subspaces need the network W_L relu(W_{L-1} ... W_1 x) (eq. 90), whose linear layers act on the few
columns of an orthonormal basis Q of the measurements, Y = Q C.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments.data.datasets import digits
from experiments.laws.inverse_problems import common
from experiments.laws.inverse_problems.common import PAPER, Problem, Tests
from experiments.runner.checks import Checks
from experiments.runner.experiment import Variable
from experiments.runner.hyperparameters import value_of
from experiments.runner.schema import choice, integer
from lawlib.descent.rates import PARAMETRIZATIONS, Rates, fan_in_weights
from lawlib.descent.steps import Iterate, gradient_descent, sum_squared_error
from lawlib.dynamics.system import Dynamics, Hyperparameters, Time
from lawlib.problems import inverse
from lawlib.problems.inverse import InverseProblem
from lawlib.types import Array, Matrix, PRNGKey, Scalar, Weights

STUDIES = ("robustness", "union", "digits")
VARIABLES = common.COMMON_VARIABLES | {
    "test_error": Variable(("noise",), "1", "mean ||f(y) - x|| over unit-norm test signals, y = A x + noise", PAPER),
    "oracle_error": Variable(("noise",), "1", "the same of the map that knows the subspace of each signal"),
    "operator_error": Variable((), "1", "||W_{L:1} - X Y^+||_F"),
}
FIELDS = {
    **common.COMMON_FIELDS,
    **common.TEST_FIELDS,
    "study": choice("signals of one subspace, of a union of subspaces, or digits", *STUDIES),
    "data.num_subspaces": integer("number of subspaces in the union", at_least=1),
}
# Of the 1797 digits.
DIGITS_DIMENSION, DIGITS_TRAINING, DIGITS_TESTS = 64, 1500, 297


class Member(NamedTuple):
    """What a member draws once: its training data and rates, its tests and the oracle's errors on them.

    ``problem`` is a linear network's, or that of a union.
    """

    problem: "Problem | Factored"
    tests: Tests
    oracle_error: Array


class Factored(NamedTuple):
    """A union's training data, Y = Q C and X, and its rates."""

    basis: Matrix
    coordinates: Matrix
    targets: Matrix
    rates: Rates


class Pictures(NamedTuple):
    """Digits projected on their s leading principal components: training signals, basis, test signals of norm 1."""

    signals: Matrix
    basis: Matrix
    tests: Matrix


def check(checks: Checks) -> None:
    """Rules on several fields at once."""
    common.check_common(checks)
    common.check_noise(checks)
    data, study = checks.config.data, checks.config.study
    one = data.num_subspaces == 1 or study == "union"
    checks.require("data.num_subspaces", one, f"must be 1 for study = {study!r}: a linear network knows one subspace")
    if study == "union":
        rank = data.num_subspaces * data.subspace_dimension
        within = rank < min(data.num_measurements, data.num_samples + 1)
        rule = f"spans {rank} dimensions, which must be below data.num_measurements and at most data.num_samples"
        checks.require("data.num_subspaces", within, rule)
        checks.require("opt.step_unit", checks.config.opt.step_unit == "one", "must be 'one' for a network with a ReLU")
    if study == "digits":
        is_image = data.dimension == DIGITS_DIMENSION
        checks.require("data.dimension", is_image, f"must be {DIGITS_DIMENSION} for the digits")
        for field, most, use in (("num_samples", DIGITS_TRAINING, "training"), ("num_tests", DIGITS_TESTS, "tests")):
            few = data[field] <= most
            checks.require(f"data.{field}", few, f"must be at most {most}, the digits kept for {use}")


def shared(config: ConfigDict) -> tuple | Pictures:
    """The digits, projected on the span of their leading principal components; nothing where signals are drawn."""
    if config.study != "digits":
        return ()
    pictures = digits(np.dtype(config.precision)).inputs
    training = pictures[:, : config.data.num_samples]
    basis = np.linalg.svd(training, full_matrices=False)[0][:, : config.data.subspace_dimension]
    projected = basis @ (basis.T @ training)
    tests = basis @ (basis.T @ pictures[:, DIGITS_TRAINING : DIGITS_TRAINING + config.data.num_tests])
    scale = np.linalg.norm(projected, 2)
    return Pictures(*map(jnp.asarray, (projected / scale, basis, tests / np.linalg.norm(tests, axis=0))))


def dynamics(config: ConfigDict) -> Dynamics:
    """Gradient descent with weight decay for the given number of steps."""
    descent = gradient_descent(_rectified_loss if config.study == "union" else _linear_loss)
    begin = _begin_union if config.study == "union" else _begin_linear

    def init(key: PRNGKey, hyperparameters: Hyperparameters, shared: tuple) -> tuple[Member, Iterate]:
        member, weights = begin(config, key, hyperparameters, shared)
        return member, descent.init(weights)

    def step(_: Time, iterate: Iterate, member: Member, shared: tuple) -> Iterate:
        problem = member.problem
        return descent.step(iterate, problem, **problem.rates._asdict())

    def observe(t: Time, iterate: Iterate, member: Member, shared: tuple) -> dict[str, Array]:
        weights, problem = iterate.weights, member.problem
        network = _rectified if isinstance(problem, Factored) else common.through
        errors = common.test_errors(lambda y: network(weights, y), member.tests, config.data.noise)
        seen = {"test_error": errors, "oracle_error": member.oracle_error}
        if isinstance(problem, Factored):
            outputs = _factored(weights, problem)
            fit = jnp.linalg.norm(outputs - problem.targets) / jnp.linalg.norm(problem.targets)
            rate = problem.rates.step_size[0] * problem.rates.weight_decay[0]
            return seen | {"regression_error": fit, "rescaled_time": rate * jnp.asarray(t, fit.dtype)}
        product = common.through(weights, jnp.eye(config.data.num_measurements, dtype=problem.inputs.dtype))
        off = {"operator_error": jnp.linalg.norm(product - _oracle(config, problem))}
        return seen | off | common.observe_common(t, weights, problem)

    return Dynamics(init, step, observe)


def _linear_loss(weights: Weights, problem: Problem) -> Scalar:
    return sum_squared_error(common.through(weights, problem.inputs), problem.targets)


def _rectified_loss(weights: Weights, problem: Factored) -> Scalar:
    return sum_squared_error(_factored(weights, problem), problem.targets)


def _rectified(weights: Weights, columns: Matrix) -> Matrix:
    """W_L relu(W_{L-1} ... W_1 Y) (eq. 90)."""
    return weights[-1] @ jax.nn.relu(common.through(weights[:-1], columns))


def _factored(weights: Weights, problem: Factored) -> Matrix:
    """The same on Y = Q C: every layer but the last acts on the columns of Q."""
    return weights[-1] @ jax.nn.relu(common.through(weights[:-1], problem.basis) @ problem.coordinates)


def _begin_linear(
    config: ConfigDict, key: PRNGKey, hyperparameters: Hyperparameters, shared: tuple
) -> tuple[Member, Weights]:
    """One subspace: drawn, or that of the digits under a drawn operator."""
    key_data, key_start, key_tests = jax.random.split(key, 3)
    data = _measured(config, key_data, shared) if isinstance(shared, Pictures) else common.draw(config, key_data)
    problem, weights = common.start(config, hyperparameters, key_start, data)
    tests = common.draw_tests(config, key_tests, data.operator, data.basis[None])
    if isinstance(shared, Pictures):
        tests = tests._replace(signals=shared.tests, clean=data.operator @ shared.tests)
    oracle = _oracle(config, problem)
    errors = common.test_errors(lambda y: oracle @ y, tests, config.data.noise)
    return Member(problem, tests, errors), weights


def _oracle(config: ConfigDict, problem: Problem) -> Matrix:
    return inverse.oracle_map(problem.targets, problem.inputs, config.data.subspace_dimension)


def _measured(config: ConfigDict, key: PRNGKey, pictures: Pictures) -> InverseProblem:
    sizes = {name: config.data[name] for name in ("num_measurements", "dimension")}
    A = inverse.measurement_operator(key, **sizes, dtype=jnp.dtype(config.precision))
    return InverseProblem(pictures.signals, A @ pictures.signals, A, pictures.basis)


def _begin_union(
    config: ConfigDict, key: PRNGKey, hyperparameters: Hyperparameters, shared: tuple
) -> tuple[Member, Weights]:
    """Several subspaces; the oracle inverts each of them and takes the one that explains the measurements best."""
    key_data, key_weights, key_tests = jax.random.split(key, 3)
    names = ("dimension", "num_measurements", "subspace_dimension", "num_samples", "num_subspaces")
    dtype = jnp.dtype(config.precision)
    data = inverse.draw_union(key_data, **{name: config.data[name] for name in names}, dtype=dtype)
    weights = fan_in_weights(key_weights, common.widths(config), dtype)
    about = {
        "step_size": value_of(config, hyperparameters, "opt.step_size"),
        "weight_decay": value_of(config, hyperparameters, "opt.weight_decay"),
    }
    rates = PARAMETRIZATIONS[config.net.parametrization](common.widths(config), **about)
    rank = config.data.num_subspaces * config.data.subspace_dimension
    Q = jnp.linalg.svd(data.measurements, full_matrices=False)[0][:, :rank]
    tests = common.draw_tests(config, key_tests, data.operator, data.bases)
    errors = common.test_errors(_nearest(data.operator, data.bases), tests, config.data.noise)
    problem = Factored(Q, Q.T @ data.measurements, data.signals, rates)
    return Member(problem, tests, errors), weights


def _nearest(operator: Matrix, bases: Array) -> Callable[[Matrix], Matrix]:
    """The map y -> R_j (A R_j)^+ y with the j whose A range(R_j) is nearest to y."""
    measured = jnp.einsum("md,kds->kms", operator, bases)
    inverses = jnp.linalg.pinv(measured)

    def reconstruct(y: Matrix) -> Matrix:
        z = jnp.einsum("ksm,mq->ksq", inverses, y)
        misfits = jnp.linalg.norm(jnp.einsum("kms,ksq->kmq", measured, z) - y[None], axis=1)
        best = jnp.argmin(misfits, axis=0)[None, :] == jnp.arange(bases.shape[0])[:, None]
        return jnp.einsum("kds,ksq->dq", bases, jnp.where(best[:, None, :], z, 0))

    return reconstruct
