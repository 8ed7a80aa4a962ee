"""What the systems of subspace inverse problems share: fields, data, start, rates and observations.

A network sees n samples of rank s as s samples (``lawlib.compress.samples``), so that every layer acts on s of them.
"""

import functools as ft
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from experiments.runner.checks import Checks
from experiments.runner.experiment import Variable
from experiments.runner.hyperparameters import value_of
from experiments.runner.schema import choice, integer, number, values
from lawlib.compress.samples import compress_samples
from lawlib.descent.rates import PARAMETRIZATIONS, Rates, fan_in_weights
from lawlib.dynamics.system import Hyperparameters, Time
from lawlib.linalg.curvature import extreme_eigenvalues
from lawlib.linalg.subspaces import complement
from lawlib.problems import inverse
from lawlib.problems.inverse import InverseProblem
from lawlib.theory import inverse_problems as theory
from lawlib.types import Array, Matrix, PRNGKey, Scalar, Weights

PAPER = "Laus et al. 2025"
# What a step size is counted in: itself, 1 / lambda_max(P(0)), or the theorem's m / (L sigma_max^2).
STEP_UNITS = ("one", "curvature", "theorem")
# Lanczos finds the isolated largest eigenvalue of P(0) to 1e-4 and better.
NUM_PRODUCTS = 30

COMMON_VARIABLES = {
    "regression_error": Variable((), "1", "||W_{L:1} Y - X||_F / ||X||_F", f"{PAPER}, Section 3"),
    "off_subspace_error": Variable((), "1", "||W_{L:1} P_perp||_op, P_perp = I - Y Y^+", f"{PAPER}, Section 3"),
    "outside_norm": Variable((), "1", "||W_{L:1} P_perp||_F"),
    "rescaled_time": Variable((), "1", "x = eta_1 lambda t, the member's own time; eta_1 is layer 1's step size"),
    "law_deviation": Variable((), "1", "||W_1(t) P_perp - (1 - eta_1 lambda)^t W_1(0) P_perp||_F over that of the law"),
    "step_size": Variable((), "1", "eta"),
    "sharpness": Variable((), "1", "eta lambda_max(P(0)) by Lanczos; descent is unstable above 2", f"{PAPER}, eq. 38"),
    "isometry": Variable((), "1", "restricted isometry constant of A on range(R)", f"{PAPER}, eq. 6"),
    "measured_values": Variable(("index",), "1", "rho_i, the singular values of A R"),
    "signal_values": Variable(("index",), "1", "the s leading singular values of X"),
}


# Numbers of a member's problem that are observed as they are.
CONSTANTS = ("step_size", "sharpness", "isometry", "measured_values", "signal_values")


class Problem(NamedTuple):
    """What a member draws once: compressed samples Y (m, s) and X (d, s), rates, and numbers of its start.

    ``across`` is an orthonormal basis (m, m - s) of the complement of range(Y), ``outside`` is W_1(0) on that basis,
    ``time_rate`` is eta_1 lambda.
    """

    inputs: Matrix
    targets: Matrix
    across: Matrix
    outside: Matrix
    rates: Rates
    step_size: Scalar
    time_rate: Scalar
    sharpness: Scalar
    isometry: Scalar
    measured_values: Array
    signal_values: Array


class Tests(NamedTuple):
    """Test signals x of norm 1 (d, q), their measurements A x (m, q), noise of N(0, 1) entries (m, q)."""

    signals: Matrix
    clean: Matrix
    noise: Matrix


COMMON_FIELDS = {
    "precision": choice("floating-point type of everything computed", "float64"),
    "net.depth": integer("number of layers L", at_least=2),
    "net.width": integer("width d_w of the hidden layers", at_least=1),
    "net.parametrization": choice("step sizes: eta in every layer, or eta / d_{l-1} in layer l", *PARAMETRIZATIONS),
    "opt.step_size": number("step size eta, in its unit", above=0.0),
    "opt.step_unit": choice("unit of eta: 1, 1 / lambda_max(P(0)), or the theorem's m / (L sigma_max^2)", *STEP_UNITS),
    "opt.weight_decay": number("weight decay lambda", sweepable=True, at_least=0.0),
    "data.dimension": integer("length d of the signals", at_least=2),
    "data.num_measurements": integer("measurements m of each signal", at_least=2),
    "data.subspace_dimension": integer("dimension s of a subspace of signals", at_least=1),
    "data.num_samples": integer("training signals n", at_least=1),
    "data.condition_number": number("ratio kappa of the largest to the smallest singular value of X", at_least=1.0),
}
TEST_FIELDS = {
    "data.num_tests": integer("test signals", at_least=1),
    "data.noise": values(
        "noise levels sigma, standard deviations of every measurement of a test signal", items="numbers >= 0"
    ),
}


def check_common(checks: Checks) -> None:
    """Rules on several fields that all of these experiments share."""
    opt, data = checks.config.opt, checks.config.data
    stable = opt.step_unit != "curvature" or opt.step_size < 2
    checks.require("opt.step_size", stable, "must be below 2 in units of 1 / lambda_max(P(0)), or descent diverges")
    for field in ("num_measurements", "num_samples"):
        rule = f"must be at most data.{field} = {data[field]}"
        checks.require("data.subspace_dimension", data.subspace_dimension <= data[field], rule)
    below = data.num_measurements < data.dimension
    checks.require("data.num_measurements", below, f"must be below data.dimension = {data.dimension}")
    outside = data.subspace_dimension < data.num_measurements
    rule = f"must be below data.num_measurements = {data.num_measurements}, or nothing lies off the subspace"
    checks.require("data.subspace_dimension", outside, rule)


def check_noise(checks: Checks) -> None:
    """There are noise levels, none negative."""
    levels = checks.config.data.noise
    checks.require("data.noise", len(levels) > 0 and min(levels) >= 0, "must be standard deviations of 0 or more")


def widths(config: ConfigDict) -> tuple[int, ...]:
    """(m, d_w, ..., d_w, d)."""
    return config.data.num_measurements, *[config.net.width] * (config.net.depth - 1), config.data.dimension


def draw(config: ConfigDict, key: PRNGKey) -> InverseProblem:
    """The member's signals and measurements."""
    sizes = {name: config.data[name] for name in ("dimension", "num_measurements", "subspace_dimension", "num_samples")}
    kappa, dtype = config.data.condition_number, jnp.dtype(config.precision)
    return inverse.draw_problem(key, **sizes, condition_number=kappa, dtype=dtype)


def draw_tests(config: ConfigDict, key: PRNGKey, operator: Matrix, bases: Array) -> Tests:
    """Unit-norm test signals of a subspace or a union, and their noise."""
    key_signals, key_noise = jax.random.split(key)
    x = inverse.unit_signals(key_signals, bases, config.data.num_tests)
    return Tests(x, operator @ x, jax.random.normal(key_noise, (operator.shape[0], x.shape[1]), x.dtype))


def start(
    config: ConfigDict, hyperparameters: Hyperparameters, key: PRNGKey, data: InverseProblem
) -> tuple[Problem, Weights]:
    """A member's problem, with the samples compressed, and its first weights."""
    key_weights, key_lanczos = jax.random.split(key)
    weights = fan_in_weights(key_weights, widths(config), data.signals.dtype)
    few = compress_samples(data.measurements, data.signals, config.data.subspace_dimension)
    across = complement(few.inputs)
    signal_values = jnp.linalg.svd(few.targets, compute_uv=False)
    eta, sharpness = _step_size(config, key_lanczos, weights, few.inputs, signal_values[0])
    decay = value_of(config, hyperparameters, "opt.weight_decay")
    rates = PARAMETRIZATIONS[config.net.parametrization](widths(config), step_size=eta, weight_decay=decay)
    problem = Problem(
        few.inputs,
        few.targets,
        across,
        weights[0] @ across,
        rates,
        eta,
        rates.step_size[0] * decay,
        sharpness,
        inverse.isometry_constant(data.operator, data.basis),
        jnp.linalg.svd(data.operator @ data.basis, compute_uv=False),
        signal_values,
    )
    return problem, weights


def _step_size(
    config: ConfigDict, key: PRNGKey, weights: Weights, inputs: Matrix, largest: Scalar
) -> tuple[Scalar, Scalar]:
    """A member's eta, and eta lambda_max(P(0)) by Lanczos on d x s matrices."""
    units = PARAMETRIZATIONS[config.net.parametrization](widths(config), step_size=1.0, weight_decay=0.0)
    product = theory.residual_operator(weights, inputs, **units._asdict())
    direction = jax.random.normal(key, (config.data.dimension, inputs.shape[1]), inputs.dtype)
    curvature = extreme_eigenvalues(product, direction, NUM_PRODUCTS).largest
    about = {"num_measurements": config.data.num_measurements, "depth": config.net.depth}
    unit = {
        "one": jnp.ones_like(curvature),
        "curvature": 1 / curvature,
        "theorem": theory.largest_step_size(**about, largest=largest),
    }[config.opt.step_unit]
    eta = config.opt.step_size * unit
    return eta, eta * curvature


def through(weights: Weights, columns: Matrix) -> Matrix:
    """W_{L:1} times columns, layer by layer: a few columns make every product thin."""
    return ft.reduce(lambda Z, W: W @ Z, weights, columns)


def observe_common(t: Time, weights: Weights, problem: Problem) -> dict[str, Array]:
    """The observations of every linear network after t steps."""
    across = through(weights, problem.across)
    eta, decay = (rate[0] for rate in problem.rates)
    law = theory.first_layer_law(problem.outside, step_size=eta, weight_decay=decay, num_steps=t)
    return {
        "regression_error": theory.regression_error(weights, problem.inputs, problem.targets),
        "off_subspace_error": jnp.linalg.norm(across, ord=2),
        "outside_norm": jnp.linalg.norm(across),
        "rescaled_time": problem.time_rate * jnp.asarray(t, problem.time_rate.dtype),
        "law_deviation": jnp.linalg.norm(weights[0] @ problem.across - law) / jnp.linalg.norm(law),
        **{name: getattr(problem, name) for name in CONSTANTS},
    }


def test_errors(reconstruct: Callable[[Matrix], Matrix], tests: Tests, levels: tuple[float, ...]) -> Array:
    """The mean of ||reconstruct(A x + sigma noise) - x|| over the tests, for every sigma of ``levels``."""

    def at(level: Scalar) -> Scalar:
        off = reconstruct(tests.clean + level * tests.noise) - tests.signals
        return jnp.mean(jnp.linalg.norm(off, axis=0))

    return jax.lax.map(at, jnp.asarray(levels, tests.clean.dtype))
