"""What the experiments on subspace inverse problems share: data, start, rates and rescaled time, and how a run is read.

A network sees n samples of rank s as s samples (``lawlib.compress.samples``), so that every layer acts on s of them.
"""

import copy
import functools as ft
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from ml_collections import ConfigDict

from experiments.runner import settings
from experiments.runner.checks import Checks
from experiments.runner.fields import assign
from experiments.runner.hyperparameters import value_of
from experiments.runner.results import Group, Variable, groups
from lawlib.compress.samples import compress_samples
from lawlib.descent.rates import PARAMETRIZATIONS, Rates, fan_in_weights
from lawlib.descent.steps import Iterate
from lawlib.dynamics.system import Hyperparameters
from lawlib.linalg.curvature import extreme_eigenvalues
from lawlib.linalg.subspaces import complement
from lawlib.problems import inverse
from lawlib.problems.inverse import InverseProblem
from lawlib.theory import inverse_problems as theory
from lawlib.types import Array, Matrix, PRNGKey, Scalar, Weights

__all__ = [
    "COMMON_VARIABLES",
    "PAPER",
    "Counted",
    "Problem",
    "Run",
    "Tests",
    "check_linear",
    "draw",
    "draw_tests",
    "observe_common",
    "runs",
    "start",
    "test_errors",
    "through",
    "widths",
]

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


class Problem(NamedTuple):
    """What a member draws once: compressed samples, the basis across them, rates, and the step at which it ends.

    ``outside`` is W_1(0) on that basis, ``time_rate`` eta_1 lambda.
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


class Counted(NamedTuple):
    """A descent's iterate and the number of its steps."""

    iterate: Iterate
    step: Array


class Tests(NamedTuple):
    """Test signals x of norm 1 (d, q), their measurements A x (m, q), noise of N(0, 1) entries (m, q)."""

    signals: Matrix
    clean: Matrix
    noise: Matrix


def check_linear(checks: Checks) -> None:
    """The fields that every one of these experiments reads."""
    checks.choice("precision", ("float64",))
    checks.integer("net.depth", at_least=2)
    checks.integer("net.width", at_least=1)
    checks.choice("net.parametrization", tuple(PARAMETRIZATIONS))
    checks.number("opt.step_size", above=0.0)
    checks.choice("opt.step_unit", STEP_UNITS)
    stable = checks.config.opt.step_unit != "curvature" or checks.config.opt.step_size < 2
    checks.require("opt.step_size", stable, "must be below 2 in units of 1 / lambda_max(P(0)), or descent diverges")
    checks.number("opt.weight_decay", at_least=0.0)
    checks.integer("data.dimension", at_least=2)
    checks.integer("data.num_measurements", at_least=2)
    checks.integer("data.subspace_dimension", at_least=1)
    checks.integer("data.num_samples", at_least=1)
    checks.number("data.condition_number", at_least=1.0)
    checks.sweeps("opt.weight_decay")
    data = checks.config.data
    for field in ("num_measurements", "num_samples"):
        rule = f"must be at most data.{field} = {data[field]}"
        checks.require("data.subspace_dimension", data.subspace_dimension <= data[field], rule)
    below = data.num_measurements < data.dimension
    checks.require("data.num_measurements", below, f"must be below data.dimension = {data.dimension}")
    outside = data.subspace_dimension < data.num_measurements
    rule = f"must be below data.num_measurements = {data.num_measurements}, or nothing lies off the subspace"
    checks.require("data.subspace_dimension", outside, rule)


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
    """A member's problem and its first weights; ``data.compressed`` false keeps all n samples."""
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


def observe_common(weights: Weights, step: Array, problem: Problem) -> dict[str, Array]:
    """What is seen of every linear network."""
    across = through(weights, problem.across)
    law = theory.first_layer_law(
        problem.outside,
        step_size=problem.rates.step_size[0],
        weight_decay=problem.rates.weight_decay[0],
        num_steps=step,
    )
    return {
        "regression_error": theory.regression_error(weights, problem.inputs, problem.targets),
        "off_subspace_error": jnp.linalg.norm(across, ord=2),
        "outside_norm": jnp.linalg.norm(across),
        "rescaled_time": problem.time_rate * step.astype(problem.time_rate.dtype),
        "law_deviation": jnp.linalg.norm(weights[0] @ problem.across - law) / jnp.linalg.norm(law),
        **{name: getattr(problem, name) for name in ("step_size", "sharpness", "isometry")},
        **{name: getattr(problem, name) for name in ("measured_values", "signal_values")},
    }


def test_errors(reconstruct: Callable[[Matrix], Matrix], tests: Tests, levels: tuple[float, ...]) -> Array:
    """The mean of ||reconstruct(A x + sigma noise) - x|| over the tests, for every sigma of ``levels``."""

    def at(level: Scalar) -> Scalar:
        off = reconstruct(tests.clean + level * tests.noise) - tests.signals
        return jnp.mean(jnp.linalg.norm(off, axis=0))

    return jax.lax.map(at, jnp.asarray(levels, tests.clean.dtype))


# What claims and figures read. ----------------------------------------------------------------------------------------


class Run(NamedTuple):
    """The members that differ in their seed alone: their config with their own weight decay, and what was seen."""

    name: str
    config: ConfigDict
    data: xr.Dataset

    @property
    def decay(self) -> float:
        """The weight decay lambda."""
        return float(self.config.opt.weight_decay)

    @property
    def signal_values(self) -> np.ndarray:
        """The singular values of every member's X, shape (seed, s)."""
        return self.data.signal_values.isel(step=0).transpose("seed", "index").values

    @property
    def hypotheses(self) -> dict[str, np.ndarray]:
        """What Theorem A.2 assumes, as quantities of every member, by name (``theory.Hypotheses``)."""
        data, values = self.config.data, self.signal_values.astype(float)
        sizes = {"depth": self.config.net.depth, "dimension": data.dimension, "num_measurements": data.num_measurements}
        members = zip(self.last("isometry"), self.last("step_size"), values[:, 0], values[:, -1], strict=True)
        each = [
            theory.hypotheses(
                isometry=float(delta),
                weight_decay=self.decay,
                step_size=float(eta),
                smallest=float(smallest),
                largest=float(largest),
                **sizes,
            )
            for delta, eta, largest, smallest in members
        ]
        names = theory.Hypotheses._fields
        return dict(zip(names, map(np.asarray, zip(*each, strict=True)), strict=True))

    @property
    def steps(self) -> np.ndarray:
        """The steps that every member has made at every observation; one that is done makes no more."""
        last = self.data.converged_at.values[:, None]
        return np.where(last >= 0, np.minimum(self.data.step.values, last), self.data.step.values)

    @property
    def diverged(self) -> int:
        """How many members met a value that is not finite."""
        return int((self.data.diverged_at >= 0).sum())

    def is_there(self, reached: np.ndarray) -> bool:
        """Whether every member has reached what is asked, or diverged: a run that is only too short has not."""
        return bool((reached | (self.data.diverged_at.values >= 0)).all())

    def last(self, name: str) -> np.ndarray:
        """A variable at the end of every member."""
        return self.data[name].isel(step=-1).values

    def all(self, name: str) -> np.ndarray:
        """A variable of every member at every observation, seeds first."""
        return self.data[name].transpose("seed", "step", ...).values


def runs(results: xr.DataTree) -> list[Run]:
    """Every variant at every one of its weight decays."""
    return [run for group in groups(results) for run in _runs(group)]


def _runs(group: Group) -> Iterator[Run]:
    for decay in settings.hyperparameters(group.config).get("opt.weight_decay", (None,)):
        config, data = copy.deepcopy(group.config), group.data
        if decay is not None:
            assign(config, "opt.weight_decay", decay)
            data = data.sel(weight_decay=decay)
        yield Run(group.name, config, data)
