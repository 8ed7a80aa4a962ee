"""The flow induced on a linear network's product when one layer is a single neuron (Eftekhari 2020, Section 4).

Two studies of one flow. In ``time`` an interval is a number of seconds, explicit Euler steps as the paper makes them
run beside an adaptive solver, and Figure 1 is drawn. In ``rescaled_time`` an interval is a part of x = m s_Z^{2-2/N} t,
the adaptive solver runs alone, and every scale of the target reaches the same x. Depth is a number like any other here.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from ml_collections import ConfigDict

from experiments.laws.induced_flow.rank_one.claims import claims
from experiments.laws.induced_flow.rank_one.figures import figures
from experiments.runner.checks import Checks
from experiments.runner.hyperparameters import value_of
from experiments.runner.results import Variable
from lawlib.descent.flows import adaptive_step, euler_step
from lawlib.dynamics.system import Dynamics, Hyperparameters
from lawlib.problems.synthetic import rotated_start, whitened_regression
from lawlib.theory import induced_flow as flow
from lawlib.theory import induced_flow_bounds as bounds
from lawlib.types import Array, Matrix, Scalar

__all__ = ["VARIABLES", "claims", "dynamics", "figures", "shared", "validate"]

STUDIES = "time", "rescaled_time"
# data.spectral_ratio is gamma_Z, or its share of the largest gamma_Z for which Theorem 20 says something.
UNITS = ("one", "largest")
# Of a prescribed spectrum (1, gamma_Z, gamma_Z / 2, ...) in units of s_Z.
DECAY = 0.5
PAPER = "Eftekhari 2020"

VARIABLES = {
    "seconds": Variable((), "s", "time t of the flow"),
    "rescaled_time": Variable((), "1", "x = m s_Z^{2-2/N} t"),
    "target_value": Variable((), "1", "s_Z, the largest singular value of Z", f"{PAPER}, eq. 26"),
    "gamma": Variable((), "1", "gamma_Z, the second over the largest singular value of Z", f"{PAPER}, eq. 26"),
    "distance": Variable((), "1", "||Z_1 - W||_F / s_Z of the adaptive solver", f"{PAPER}, Fig. 1"),
    "value": Variable((), "1", "s / s_Z, the value of W in units of the target's"),
    "alignment": Variable((), "1", "u^T Z_1 v / s_Z", f"{PAPER}, eq. 28"),
    "in_set": Variable((), "1", "1 where W lies in N_{alpha,beta}(Z_1)", f"{PAPER}, eq. 36"),
    "fast": Variable((), "1", "(T_1 - s_Z T_2) / s_Z^2, positive in the fast regime", f"{PAPER}, eq. 206"),
    "tau": Variable(
        (), "s", "first time of an interval's end with s <= sqrt(6) s_Z; -1: not so far", f"{PAPER}, T. 20"
    ),
    "excess": Variable((), "1", "ln ||Z_1 - W||_F^2 - ln of Theorem 20's bound as proved", f"{PAPER}, eq. 208"),
    "excess_printed": Variable((), "1", "the same with the exponent s_Z^{-2/N} of eq. (38)", f"{PAPER}, eq. 38"),
    "rate": Variable((), "1/s", "-d/dt ln ||Z_1 - W||_F"),
    "rate_law": Variable((), "1/s", "m s_Z^{2-2/N} (1 - gamma_Z)", f"{PAPER}, Fig. 1"),
    "euler": Variable(
        (), "1", "||W_Euler - W||_F / s_Z, explicit Euler against the adaptive solver", f"{PAPER}, Fig. 1"
    ),
    "euler_halved": Variable((), "1", "the same of Euler's method with half the step"),
    "euler_distance": Variable((), "1", "||Z_1 - W_Euler||_F / s_Z of explicit Euler", f"{PAPER}, Fig. 1"),
}


class Problem(NamedTuple):
    """What a member draws once: Z and its best rank-one part, the start, and its own numbers."""

    Z: Matrix
    leading: flow.RankOne
    target: bounds.Target
    start: flow.RankOne
    depth: Scalar
    interval: Scalar
    alpha: Scalar
    beta: Scalar


class Beside(NamedTuple):
    """The adaptive solver's state, and the W of Euler's method with a step and with half of it."""

    followed: "Followed"
    euler: Matrix
    halved: Matrix


class Followed(NamedTuple):
    """The adaptive solver's s u v^T, the intervals made, tau (-1: not so far) and the squared distance there."""

    part: flow.RankOne
    intervals: Scalar
    tau: Scalar
    at_tau: Scalar


def validate(checks: Checks) -> None:
    """The fields that this experiment reads, and what it asks of them."""
    checks.choice("precision", ("float64",))
    checks.choice("study", STUDIES)
    checks.number("net.depth", at_least=2.0)
    checks.integer("data.num_inputs", at_least=2)
    checks.integer("data.num_outputs", at_least=1)
    checks.integer("data.num_samples", at_least=1)
    checks.number("data.scale", at_least=0.0)
    checks.number("data.spectral_ratio", at_least=0.0, below=1.0)
    checks.choice("data.spectral_ratio_unit", UNITS)
    checks.number("start.angle", at_least=0.0, below=90.0)
    checks.number("start.ratio", above=0.0)
    checks.number("bound.alpha", above=0.0, below=1.0)
    checks.number("bound.margin", above=1.0)
    checks.number("opt.interval", above=0.0)
    checks.integer("opt.substeps", at_least=1)
    checks.number("opt.rtol", above=0.0)
    checks.number("opt.atol", above=0.0)
    checks.sweeps("net.depth", "data.scale", "data.spectral_ratio", "start.ratio", "opt.interval")
    data, start, bound = checks.config.data, checks.config.start, checks.config.bound
    rule = f"must be at least data.num_inputs = {data.num_inputs}: whitened inputs have full row rank"
    checks.require("data.num_samples", data.num_samples >= data.num_inputs, rule)
    single = data.num_outputs == 1 and any(gamma > 0 for gamma in checks.values("data.spectral_ratio"))
    checks.require("data.spectral_ratio", not single, "must be 0.0 for one output, whose Z has a single value")
    rows = checks.config.study == "rescaled_time" or data.num_outputs == 1
    checks.require("data.num_outputs", rows, "must be 1 for the study time: Euler's steps keep rank one for a row only")
    cosine = float(jnp.cos(jnp.deg2rad(start.angle)))
    rule = f"must be below cos(start.angle) = {cosine:.4g}, the start's own alignment"
    checks.require("bound.alpha", bound.alpha < cosine, rule)
    wide = data.spectral_ratio_unit == "one" and any(
        gamma >= bound.alpha for gamma in checks.values("data.spectral_ratio")
    )
    checks.require("bound.alpha", not wide, "must lie in (gamma_Z, 1), above every data.spectral_ratio")
    beyond = all(ratio * bound.margin > 1 for ratio in checks.values("start.ratio"))
    checks.require(
        "bound.margin", beyond, "must make beta = bound.margin * start.ratio exceed 1, or Z_1 is not in the set"
    )
    drawn = data.num_outputs > 1 and 0.0 in checks.values("data.scale")
    checks.require("data.scale", not drawn, "must be positive for several outputs, whose gap a drawn Y would decide")
    inside = all(ratio > bound.alpha for ratio in checks.values("start.ratio"))
    checks.require("start.ratio", inside, f"must exceed bound.alpha = {bound.alpha}, so that W_0 is in N_alpha")


def shared(config: ConfigDict) -> tuple:
    """Nothing: every seed draws its own data."""
    return ()


def dynamics(config: ConfigDict) -> Dynamics:
    """The adaptive solver, one interval a step; in the study ``time`` with explicit Euler beside it."""
    system = _adaptive(config)
    return system if config.study == "rescaled_time" else _beside(config, system)


def _adaptive(config: ConfigDict) -> Dynamics:
    m, tolerances = config.data.num_samples, {"rtol": config.opt.rtol, "atol": config.opt.atol}

    def init(key: Array, hyperparameters: Hyperparameters, shared: tuple) -> tuple[Problem, Followed]:
        problem, zero = _draw(config, key, hyperparameters), jnp.zeros((), config.precision)
        return problem, _observe(Followed(problem.start, zero, zero - 1, zero), problem)

    def step(state: Followed, problem: Problem, shared: tuple) -> Followed:
        def field(part: flow.RankOne) -> flow.RankOne:
            return flow.rank_one_field(part, problem.Z, m, problem.depth)

        part = adaptive_step(field, state.part, problem.interval, **tolerances)
        return _observe(state._replace(part=part, intervals=state.intervals + 1), problem)

    def observe(state: Followed, problem: Problem, shared: tuple) -> dict[str, Array]:
        return _observations(state, problem, m)

    return Dynamics(init, step, observe)


def _beside(config: ConfigDict, system: Dynamics) -> Dynamics:
    m, substeps = config.data.num_samples, config.opt.substeps

    def init(key: Array, hyperparameters: Hyperparameters, shared: tuple) -> tuple[Problem, Beside]:
        problem, followed = system.init(key, hyperparameters, shared)
        W = flow.matrix(problem.start)
        return problem, Beside(followed, W, W)

    def step(state: Beside, problem: Problem, shared: tuple) -> Beside:
        def field(W: Matrix) -> Matrix:
            return flow.field(W, problem.Z, m, problem.depth)

        def substep(_: int, at: tuple[Matrix, Matrix]) -> tuple[Matrix, Matrix]:
            half = euler_step(field, at[1], duration / 2)
            return euler_step(field, at[0], duration), euler_step(field, half, duration / 2)

        duration = problem.interval / substeps
        moved = lax.fori_loop(0, substeps, substep, (state.euler, state.halved))
        return Beside(system.step(state.followed, problem, shared), *moved)

    def observe(state: Beside, problem: Problem, shared: tuple) -> dict[str, Array]:
        W, Z_1, s_Z = flow.matrix(state.followed.part), flow.matrix(problem.leading), problem.target.value
        return {
            **system.observe(state.followed, problem, shared),
            "euler": jnp.linalg.norm(state.euler - W) / s_Z,
            "euler_halved": jnp.linalg.norm(state.halved - W) / s_Z,
            "euler_distance": jnp.linalg.norm(state.euler - Z_1) / s_Z,
        }

    return Dynamics(init, step, observe)


def _draw(config: ConfigDict, key: Array, hyperparameters: Hyperparameters) -> Problem:
    key_data, key_start = jax.random.split(key)
    depth, alpha, margin, ratio, interval, scale, spectral_ratio = (
        value_of(config, hyperparameters, field)
        for field in (
            *("net.depth", "bound.alpha", "bound.margin", "start.ratio"),
            *("opt.interval", "data.scale", "data.spectral_ratio"),
        )
    )
    beta = margin * ratio
    # One output has no second value, and the bisection would be compiled for nothing.
    if config.data.spectral_ratio_unit == "largest" and config.data.num_outputs > 1:
        spectral_ratio = spectral_ratio * bounds.largest_ratio(depth, alpha, beta)
    Z = _target(config, key_data, scale, spectral_ratio)
    values = jnp.linalg.svd(Z, compute_uv=False)
    target = bounds.Target(values[0], values[1] / values[0] if values.size > 1 else jnp.zeros_like(values[0]))
    leading = flow.rank_one(Z)
    W = rotated_start(key_start, Z, jnp.deg2rad(config.start.angle), ratio * target.value)
    start = flow.rank_one(W, leading.left)
    if config.study == "rescaled_time":
        interval = interval / (config.data.num_samples * target.value ** (2 - 2 / depth))
    return Problem(Z, leading, target, start, depth, interval, alpha, beta)


def _target(config: ConfigDict, key: Array, scale: Scalar, spectral_ratio: Scalar) -> Matrix:
    """Z = Y X^T / m of Y ~ N(0, 1); where a scale s_Z is given, with the values s_Z (1, gamma_Z, gamma_Z / 2, ...)."""
    data = config.data
    sizes = data.num_inputs, data.num_outputs, data.num_samples
    Z = whitened_regression(key, *sizes, dtype=jnp.dtype(config.precision)).target
    U, s, Vt = jnp.linalg.svd(Z, full_matrices=False)
    ratios = [jnp.ones_like(spectral_ratio), *(spectral_ratio * DECAY**i for i in range(s.size - 1))]
    return jnp.where(scale > 0, (U * (scale * jnp.stack(ratios))[None]) @ Vt, Z)


def _observe(state: Followed, problem: Problem) -> Followed:
    """Note tau, and the distance there, at the end of the interval in which s falls to sqrt(6) s_Z."""
    arrived = (state.tau < 0) & (state.part.value <= bounds.fast_until(problem.target))
    elapsed, square = state.intervals * problem.interval, 2 * flow.loss(state.part, problem.leading)
    return state._replace(tau=jnp.where(arrived, elapsed, state.tau), at_tau=jnp.where(arrived, square, state.at_tau))


def _observations(state: Followed, problem: Problem, m: int) -> dict[str, Any]:
    target, depth, part = problem.target, problem.depth, state.part
    elapsed, loss = state.intervals * problem.interval, flow.loss(part, problem.leading)
    overlap = target.value * flow.alignment(part, problem.leading)
    tau = jnp.where(state.tau < 0, jnp.inf, state.tau)
    squares = 2 * flow.loss(problem.start, problem.leading), state.at_tau
    _, falling = jax.jvp(
        lambda part: flow.loss(part, problem.leading), (part,), (flow.rank_one_field(part, problem.Z, m, depth),)
    )

    def excess(*, as_printed: bool) -> Scalar:
        rate = bounds.rates(target, m, depth, alpha=problem.alpha, beta=problem.beta, as_printed=as_printed)
        return jnp.log(2 * loss) - bounds.log_distance_bound(elapsed, tau, *squares, rate)

    apart = bounds.value_error(part.value, overlap) - target.value * bounds.misalignment(overlap, target)
    return {
        "seconds": elapsed,
        "rescaled_time": m * target.value ** (2 - 2 / depth) * elapsed,
        "target_value": target.value,
        "gamma": target.ratio,
        "distance": jnp.sqrt(2 * loss) / target.value,
        "value": part.value / target.value,
        "alignment": overlap / target.value,
        "in_set": bounds.in_stable_set(part.value, overlap, target, problem.alpha, problem.beta).astype(loss.dtype),
        "fast": apart / target.value**2,
        "tau": state.tau,
        "excess": excess(as_printed=False),
        "excess_printed": excess(as_printed=True),
        "rate": -falling / (2 * loss),
        "rate_law": bounds.nearby_rate(target, m, depth),
    }
