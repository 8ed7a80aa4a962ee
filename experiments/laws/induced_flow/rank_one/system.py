"""The flow induced on a linear network's product when one layer is a single neuron (Eftekhari 2020, Section 4).

Two studies of one flow. In ``time`` a step is an interval in seconds: an adaptive solver is compared with explicit
Euler, the paper's method, and Figure 1 is drawn. In ``rescaled_time`` a step is an interval of x = m s_Z^{2-2/N} t: the
adaptive solver runs alone, and every scale of the target reaches the same x. The depth N may be swept like any number.
"""

import functools as ft
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from ml_collections import ConfigDict

from experiments.runner.checks import Checks
from experiments.runner.experiment import Variable
from experiments.runner.hyperparameters import value_of
from experiments.runner.schema import choice, integer, number
from lawlib.descent.flows import adaptive_step, euler_step
from lawlib.dynamics.system import Dynamics, Hyperparameters, Time
from lawlib.problems.synthetic import rotated_start, whitened_regression
from lawlib.theory import induced_flow as flow
from lawlib.theory import induced_flow_bounds as bounds
from lawlib.types import Array, Matrix, PRNGKey, Scalar

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
    "tau": Variable((), "s", "end of the first interval with s <= sqrt(6) s_Z; -1: not yet", f"{PAPER}, Theorem 20"),
    "excess": Variable((), "1", "ln ||Z_1 - W||_F^2 - ln of Theorem 20's bound as proved", f"{PAPER}, eq. 208"),
    "excess_printed": Variable((), "1", "the same with the exponent s_Z^{-2/N} of eq. (38)", f"{PAPER}, eq. 38"),
    "rate": Variable((), "1/s", "-d/dt ln ||Z_1 - W||_F"),
    "rate_law": Variable((), "1/s", "m s_Z^{2-2/N} (1 - gamma_Z)", f"{PAPER}, Fig. 1"),
    "euler": Variable((), "1", "||W_Euler - W||_F / s_Z, explicit Euler against the solver", f"{PAPER}, Fig. 1"),
    "euler_halved": Variable((), "1", "the same for Euler's method with half the step"),
    "euler_distance": Variable((), "1", "||Z_1 - W_Euler||_F / s_Z of explicit Euler", f"{PAPER}, Fig. 1"),
}
FIELDS = {
    "precision": choice("floating-point type of everything computed", "float64"),
    "study": choice("what opt.interval is a length of: t, or x = m s_Z^{2-2/N} t", "time", "rescaled_time"),
    "net.depth": number("depth N", sweepable=True, at_least=2.0),
    "data.num_inputs": integer("number of inputs d_x", at_least=2),
    "data.num_outputs": integer("number of outputs d_y", at_least=1),
    "data.num_samples": integer("number of samples m", at_least=1),
    "data.scale": number("s_Z; 0: Y ~ N(0, 1) is drawn and determines it", sweepable=True, at_least=0.0),
    "data.leading_ratio": number("gamma_Z, in the unit below", sweepable=True, at_least=0.0, below=1.0),
    "data.leading_ratio_unit": choice(
        "unit of it: 1, or the gamma_Z at which Theorem 20's rate is 0", "one", "largest"
    ),
    "start.angle": number("angle between W_0 and Z_1", unit="degree", at_least=0.0, below=90.0),
    "start.ratio": number("s_0 / s_Z", sweepable=True, above=0.0),
    "bound.alpha": number("alpha of N_{alpha,beta}", above=0.0, below=1.0),
    "bound.margin": number("beta / (s_0 / s_Z) of N_{alpha,beta}", above=1.0),
    "opt.interval": number("length of a step: seconds, or x in rescaled_time", sweepable=True, above=0.0),
    "opt.substeps": integer("Euler steps in a step", at_least=1, when=lambda config: config.study == "time"),
    "opt.rtol": number("relative tolerance of the adaptive solver", above=0.0),
    "opt.atol": number("absolute tolerance of the adaptive solver", above=0.0),
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


class Followed(NamedTuple):
    """The adaptive solver's s u v^T, tau (-1: not yet) and the squared distance at tau."""

    part: flow.RankOne
    tau: Scalar
    at_tau: Scalar


class Compared(NamedTuple):
    """The adaptive solver's state, and the W of Euler's method with a step and with half of it."""

    followed: Followed
    euler: Matrix
    halved: Matrix


def check(checks: Checks) -> None:
    """Rules on several fields at once."""
    data, alpha, require = checks.config.data, checks.config.bound.alpha, checks.require
    ratios, starts = checks.values("data.leading_ratio"), checks.values("start.ratio")
    cosine, single = math.cos(math.radians(checks.config.start.angle)), data.num_outputs == 1
    rule = f"must be at least data.num_inputs = {data.num_inputs}: whitened inputs have full row rank"
    require("data.num_samples", data.num_samples >= data.num_inputs, rule)
    rule = "must be 0.0 for one output: Z then has one singular value"
    require("data.leading_ratio", not single or not any(ratios), rule)
    rule = "must be 1 for the study time: Euler's steps keep rank one for a row only"
    require("data.num_outputs", single or checks.config.study == "rescaled_time", rule)
    require("bound.alpha", alpha < cosine, f"must be below cos(start.angle) = {cosine:.4g}, the start's own alignment")
    above = data.leading_ratio_unit == "largest" or max(ratios) < alpha
    require("bound.alpha", above, "must lie in (gamma_Z, 1), above every data.leading_ratio")
    rule = "must make beta = bound.margin * start.ratio exceed 1, or Z_1 is not in the set"
    require("bound.margin", min(starts) * checks.config.bound.margin > 1, rule)
    rule = "must be positive for several outputs: a drawn Y would decide gamma_Z"
    require("data.scale", single or 0.0 not in checks.values("data.scale"), rule)
    require("start.ratio", min(starts) > alpha, f"must exceed bound.alpha = {alpha}, so that W_0 is in N_alpha")


def dynamics(config: ConfigDict) -> Dynamics:
    """The adaptive solver, one interval a step; in the study ``time`` with explicit Euler for comparison."""
    system = _adaptive(config)
    return system if config.study == "rescaled_time" else _compared(config, system)


def _adaptive(config: ConfigDict) -> Dynamics:
    m, tolerances = config.data.num_samples, {"rtol": config.opt.rtol, "atol": config.opt.atol}

    def init(key: PRNGKey, hyperparameters: Hyperparameters, shared: tuple) -> tuple[Problem, Followed]:
        problem, zero = _draw(config, key, hyperparameters), jnp.zeros((), config.precision)
        return problem, _note_tau(zero, Followed(problem.start, zero - 1, zero), problem)

    def step(t: Time, state: Followed, problem: Problem, shared: tuple) -> Followed:
        field = ft.partial(flow.rank_one_field, Z=problem.Z, num_samples=m, depth=problem.depth)
        part = adaptive_step(field, state.part, problem.interval, **tolerances)
        return _note_tau(_elapsed(t + 1, problem), state._replace(part=part), problem)

    def observe(t: Time, state: Followed, problem: Problem, shared: tuple) -> dict[str, Array]:
        return _observations(_elapsed(t, problem), state, problem, m)

    return Dynamics(init, step, observe)


def _compared(config: ConfigDict, system: Dynamics) -> Dynamics:
    m, substeps = config.data.num_samples, config.opt.substeps

    def init(key: PRNGKey, hyperparameters: Hyperparameters, shared: tuple) -> tuple[Problem, Compared]:
        problem, followed = system.init(key, hyperparameters, shared)
        W = flow.matrix(problem.start)
        return problem, Compared(followed, W, W)

    def step(t: Time, state: Compared, problem: Problem, shared: tuple) -> Compared:
        field = ft.partial(flow.field, Z=problem.Z, num_samples=m, depth=problem.depth)

        def substep(_: int, at: tuple[Matrix, Matrix]) -> tuple[Matrix, Matrix]:
            half = euler_step(field, at[1], duration / 2)
            return euler_step(field, at[0], duration), euler_step(field, half, duration / 2)

        duration = problem.interval / substeps
        moved = lax.fori_loop(0, substeps, substep, (state.euler, state.halved))
        return Compared(system.step(t, state.followed, problem, shared), *moved)

    def observe(t: Time, state: Compared, problem: Problem, shared: tuple) -> dict[str, Array]:
        W, Z_1, s_Z = flow.matrix(state.followed.part), flow.matrix(problem.leading), problem.target.value
        return {
            **system.observe(t, state.followed, problem, shared),
            "euler": jnp.linalg.norm(state.euler - W) / s_Z,
            "euler_halved": jnp.linalg.norm(state.halved - W) / s_Z,
            "euler_distance": jnp.linalg.norm(state.euler - Z_1) / s_Z,
        }

    return Dynamics(init, step, observe)


def _draw(config: ConfigDict, key: PRNGKey, hyperparameters: Hyperparameters) -> Problem:
    key_data, key_start = jax.random.split(key)
    own = ft.partial(value_of, config, hyperparameters)
    depth, alpha, ratio, interval = own("net.depth"), own("bound.alpha"), own("start.ratio"), own("opt.interval")
    beta, leading_ratio = own("bound.margin") * ratio, own("data.leading_ratio")
    # One output has no second value, and the bisection would be compiled for nothing.
    if config.data.leading_ratio_unit == "largest" and config.data.num_outputs > 1:
        leading_ratio = leading_ratio * bounds.largest_ratio(depth=depth, alpha=alpha, beta=beta)
    Z = _target(config, key_data, own("data.scale"), leading_ratio)
    values = jnp.linalg.svd(Z, compute_uv=False)
    target = bounds.Target(values[0], values[1] / values[0] if values.size > 1 else jnp.zeros_like(values[0]))
    leading = flow.rank_one(Z)
    W = rotated_start(key_start, Z, angle=jnp.deg2rad(config.start.angle), norm=ratio * target.value)
    start = flow.rank_one(W, leading.left)
    if config.study == "rescaled_time":
        interval = interval / (config.data.num_samples * target.value ** (2 - 2 / depth))
    return Problem(Z, leading, target, start, depth, interval, alpha, beta)


def _target(config: ConfigDict, key: PRNGKey, scale: Scalar, leading_ratio: Scalar) -> Matrix:
    """Z = Y X^T / m of Y ~ N(0, 1); where a scale s_Z is given, with the values s_Z (1, gamma_Z, gamma_Z / 2, ...)."""
    data = config.data
    sizes = {name: data[name] for name in ("num_inputs", "num_outputs", "num_samples")}
    Z = whitened_regression(key, **sizes, dtype=jnp.dtype(config.precision)).target
    U, s, Vt = jnp.linalg.svd(Z, full_matrices=False)
    ratios = [jnp.ones_like(leading_ratio), *(leading_ratio * DECAY**i for i in range(s.size - 1))]
    return jnp.where(scale > 0, (U * (scale * jnp.stack(ratios))[None]) @ Vt, Z)


def _elapsed(t: Time, problem: Problem) -> Scalar:
    """Seconds after t steps."""
    return jnp.asarray(t, problem.interval.dtype) * problem.interval


def _note_tau(elapsed: Scalar, state: Followed, problem: Problem) -> Followed:
    """Note tau, and the distance there, at the end of the interval in which s falls to sqrt(6) s_Z."""
    arrived = (state.tau < 0) & (state.part.value <= bounds.fast_until(problem.target))
    square = 2 * flow.loss(state.part, problem.leading)
    return state._replace(tau=jnp.where(arrived, elapsed, state.tau), at_tau=jnp.where(arrived, square, state.at_tau))


def _observations(elapsed: Scalar, state: Followed, problem: Problem, m: int) -> dict[str, Any]:
    target, depth, part = problem.target, problem.depth, state.part
    overlap = target.value * flow.alignment(part, problem.leading)
    tau = jnp.where(state.tau < 0, jnp.inf, state.tau)
    squares = {"start": 2 * flow.loss(problem.start, problem.leading), "at_tau": state.at_tau}
    sizes = {"num_samples": m, "depth": depth}
    hypotheses = {"alpha": problem.alpha, "beta": problem.beta}
    velocity = flow.rank_one_field(part, problem.Z, **sizes)
    loss, slope = jax.jvp(ft.partial(flow.loss, leading=problem.leading), (part,), (velocity,))

    def excess(*, as_printed: bool) -> Scalar:
        rate = bounds.rates(target, **sizes, **hypotheses, as_printed=as_printed)
        return jnp.log(2 * loss) - bounds.log_distance_bound(rate, elapsed=elapsed, tau=tau, **squares)

    fast = bounds.value_error(s=part.value, overlap=overlap) - target.value * bounds.misalignment(overlap, target)
    in_set = bounds.in_stable_set(target, s=part.value, overlap=overlap, **hypotheses)
    return {
        "seconds": elapsed,
        "rescaled_time": m * target.value ** (2 - 2 / depth) * elapsed,
        "target_value": target.value,
        "gamma": target.ratio,
        "distance": jnp.sqrt(2 * loss) / target.value,
        "value": part.value / target.value,
        "alignment": overlap / target.value,
        "in_set": in_set.astype(loss.dtype),
        "fast": fast / target.value**2,
        "tau": state.tau,
        "excess": excess(as_printed=False),
        "excess_printed": excess(as_printed=True),
        "rate": -slope / (2 * loss),
        "rate_law": bounds.nearby_rate(target, **sizes),
    }
