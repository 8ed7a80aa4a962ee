"""One-way jumps of SGD from high to low rank (Wang and Jacot 2024): Figures 1 to 4.

A deep linear network completes [[1, *], [eps, 1]] by SGD on single observed entries under an L2 ridge. The schedule
of step sizes and weight decays is data: phases, a tail, and a branch at which a member leaves both for its own rates.
A branch of a run is the member of the same seed that branches earlier: until then it makes the same steps.
"""

import itertools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer
from ml_collections import ConfigDict

from experiments.runner.checks import Checks
from experiments.runner.experiment import Variable
from experiments.runner.hyperparameters import value_of
from experiments.runner.schema import choice, flag, integer, number, values
from lawlib.descent.schedules import Schedule, branched, piecewise, rates_at
from lawlib.descent.single_entry import FORMS, Entry, Tracked, draw_entries, form, track, tracked_step
from lawlib.dynamics.system import Dynamics, Hyperparameters, Time, until
from lawlib.networks.initializers import fan_in_uniform
from lawlib.problems.synthetic import PartlyObserved, completion_2x2
from lawlib.theory.collapse import imbalance
from lawlib.types import Array, Scalar, Weights

STUDIES = ("annealing", "depth", "epsilon", "periodic")
DRAWS = ("with_replacement", "without_replacement")
PUT_BACK = ("never", "low", "high")
# A run has jumped at the first step after which s2/s1 stays below JUMPED. A state is monitored for its return once it
# is below ENTERED, is put back where it was when it falls below LEFT, and has returned when it is above RETURNED.
JUMPED, ENTERED, LEFT, RETURNED = 1e-2, 1e-3, 1e-4, 0.05
# The determinant of a network of rank 2 can pass through 0, mostly soon after its start, and is then below JUMPED for a
# step or two. A network that falls takes some forty steps from JUMPED to ENTERED.
LASTING = 20
SIDE = 2

VARIABLES = {
    "product": Variable(("row", "column"), "1", "A = W_L ... W_1"),
    "ratio": Variable((), "1", "s2/s1 of A, from its determinant"),
    "first_sigma_2": Variable((), "1", "second singular value of W_1"),
    "last_above": Variable((), "step", "last step so far with s2/s1 >= 1e-2; -1: none"),
    "monitored": Variable((), "1", "steps made since s2/s1 was first below 1e-3 and for 20 steps below 1e-2"),
    "highest": Variable((), "1", "largest s2/s1 of the monitored steps"),
    "returned": Variable((), "1", "how many of the monitored steps had s2/s1 above 0.05"),
    "imbalance": Variable(("joint",), "1", "||W_{l+1}^T W_{l+1} - W_l W_l^T||_F, l = 1, ..., L-1"),
}


class Problem(NamedTuple):
    """What a member draws once: its matrix, its schedule, the entry of every step, and the step at which it ends."""

    observed: PartlyObserved
    schedule: Schedule
    draws: Array
    end: Array


class Monitor(NamedTuple):
    """What is observed of every step (``VARIABLES`` says what), and the state to put back, () where there is none."""

    last_above: Array
    monitored: Array
    highest: Array
    returned: Array
    saved: Any


class State(NamedTuple):
    """What a step changes: the network with its product, and its monitor."""

    network: Tracked
    monitor: Monitor


def _is_put_back_high(config: ConfigDict) -> bool:
    return config.monitor.put_back == "high"


FIELDS = {
    "precision": choice("floating-point type of everything computed", "float64"),
    "study": choice("the figure that the runs are for", *STUDIES),
    "net.depth": integer("number of layers L", at_least=2),
    "net.width": integer("width of the hidden layers", at_least=SIDE),
    "net.init": choice("W(0): U(+-1/sqrt(fan_in)), or N(0, 1/width) in every layer", "uniform", "normal"),
    "data.epsilon": number("the observed off-diagonal entry eps", sweepable=True, above=0.0),
    "opt.form": choice("how the update is written: as drawn, or as either text prints it", *FORMS),
    "opt.draws": choice("how the entries of the steps are drawn", *DRAWS),
    "monitor.put_back": choice("where a run is put back whose s2/s1 falls below 1e-4", *PUT_BACK),
    "monitor.save_at": integer("step whose state is put back", unit="step", at_least=0, when=_is_put_back_high),
    "monitor.imbalance": flag("whether the imbalance is observed"),
    "schedule.phases": values(
        "phases (num_steps, step_size, weight_decay), one after the other", items="triples of numbers >= 0"
    ),
    "schedule.tail": values("(step_size, weight_decay) after the phases", items="two numbers >= 0"),
    "schedule.branch": integer("step at which a member branches", unit="step", sweepable=True, at_least=0),
    "schedule.branch_steps": integer("steps of the branch", unit="step", at_least=0),
    "schedule.branch_step_size": number("step size eta of the branch", at_least=0.0),
    "schedule.branch_weight_decay": number("weight decay lambda of the branch", at_least=0.0),
}


def check(checks: Checks) -> None:
    """Rules on the schedule."""
    schedule, last = checks.config.schedule, checks.config.opt.num_steps
    phases = all(_is_phase(phase, 3) for phase in schedule.phases)
    checks.require("schedule.phases", phases, "must be phases (num_steps, step_size, weight_decay), no number below 0")
    checks.require("schedule.tail", _is_phase(schedule.tail, 2), "must be (step_size, weight_decay), none below 0")
    ends = [branch + schedule.branch_steps for branch in checks.values("schedule.branch")]
    rule = f"must end by opt.num_steps = {last}, with schedule.branch_steps = {schedule.branch_steps} after them"
    checks.require("schedule.branch", all(end <= last for end in ends), rule)


def _is_phase(given: Any, size: int) -> bool:
    numbers = isinstance(given, tuple) and all(type(x) in (int, float) for x in given)
    return numbers and len(given) == size and all(0 <= x < math.inf for x in given)


def dynamics(config: ConfigDict) -> Dynamics:
    """SGD on single entries, monitored at every step, until the member's own end."""
    update = form(config.opt.form)

    def init(key: Array, hyperparameters: Hyperparameters, _: tuple) -> tuple[Problem, State]:
        key_weights, key_draws = jax.random.split(key)
        observed = completion_2x2(value_of(config, hyperparameters, "data.epsilon"), config.precision)
        replacement = config.opt.draws == DRAWS[0]
        draws = draw_entries(
            key_draws, num_entries=len(observed.rows), num_steps=config.opt.num_steps, replacement=replacement
        )
        schedule, end = _schedule(config, hyperparameters)
        network = track(_start(config, key_weights))
        return Problem(observed, schedule, draws, end), State(network, _begun(config, network))

    def step(t: Time, state: State, problem: Problem, _: tuple) -> State:
        k, rates = problem.draws[t], rates_at(problem.schedule, t)
        entry = Entry(problem.observed.rows[k], problem.observed.columns[k], problem.observed.values[k])
        network = tracked_step(state.network, entry, update, **rates._asdict())
        return _monitored(config, t + 1, network, state.monitor)

    def observe(_: Time, state: State, problem: Problem, shared: tuple) -> dict[str, Array]:
        network, monitor = state
        seen = {name: value for name, value in monitor._asdict().items() if name != "saved"}
        seen |= {"product": network.product, "ratio": _ratio(network.product)}
        seen["first_sigma_2"] = _second_value(network.weights[0])
        return seen | ({"imbalance": imbalance(network.weights)} if config.monitor.imbalance else {})

    def done(t: Time, state: State, problem: Problem, _: tuple) -> Array:
        return t >= problem.end

    # A value of any weight that is not finite shows in A.
    return until(Dynamics(init, step, observe), done, finite=lambda state: state.network.product)


def _schedule(config: ConfigDict, hyperparameters: Hyperparameters) -> tuple[Schedule, Array]:
    """The rates of every step, and the last step."""
    given, branch = config.schedule, value_of(config, hyperparameters, "schedule.branch")
    branch_rates = given.branch_step_size, given.branch_weight_decay
    schedule = branched(piecewise(given.phases, given.tail, config.precision), branch, branch_rates)
    return schedule, jnp.round(branch).astype(jnp.int32) + given.branch_steps


def _start(config: ConfigDict, key: Array) -> Weights:
    """W(0): U(-a, a) with a = 1/sqrt(fan_in), PyTorch's default, or N(0, 1/w) in every layer."""
    width, depth = config.net.width, config.net.depth
    widths = (SIDE, *[width] * (depth - 1), SIDE)
    init: Initializer = fan_in_uniform(3**-0.5)
    if config.net.init == "normal":
        init = jax.nn.initializers.normal(width**-0.5)
    shapes = [(out, into) for into, out in itertools.pairwise(widths)]
    keys = jax.random.split(key, depth)
    return tuple(init(k, shape, jnp.dtype(config.precision)) for k, shape in zip(keys, shapes, strict=True))


# The monitor. ---------------------------------------------------------------------------------------------------------


def _begun(config: ConfigDict, network: Tracked) -> Monitor:
    above = jnp.where(_ratio(network.product) >= JUMPED, 0, -1).astype(jnp.int32)
    zero, saved = jnp.asarray(0, jnp.int32), () if config.monitor.put_back == "never" else network
    return Monitor(above, zero, jnp.zeros((), config.precision), zero, saved)


def _monitored(config: ConfigDict, now: Time, network: Tracked, before: Monitor) -> State:
    """The state after a step, put back to where it entered (or to rank 2, the control) once it has fallen too low."""
    ratio = _ratio(network.product)
    entered = (before.monitored > 0) | ((ratio < ENTERED) & (now - before.last_above >= LASTING))
    saved = before.saved
    if config.monitor.put_back != "never":
        is_first = entered & (before.monitored == 0)
        kept = is_first if config.monitor.put_back == "low" else now == config.monitor.save_at
        saved = jax.tree.map(lambda new, old: jnp.where(kept, new, old), network, saved)
        low = entered & (ratio < LEFT)
        network = jax.tree.map(lambda old, new: jnp.where(low, old, new), saved, network)
    monitor = Monitor(
        jnp.where(ratio >= JUMPED, now, before.last_above),
        before.monitored + entered.astype(jnp.int32),
        jnp.where(entered, jnp.maximum(before.highest, ratio), before.highest),
        before.returned + (entered & (ratio > RETURNED)).astype(jnp.int32),
        saved,
    )
    return State(network, monitor)


def _ratio(A: Array) -> Scalar:
    """s2/s1 = |det A| / s1^2 of a 2 x 2 matrix, to rounding of s1; s1^2 is an eigenvalue of A^T A; 0 for A = 0."""
    largest = jnp.max(jnp.abs(A))
    # A run that falls to rank 0 reaches 1e-300, whose squares are 0.
    A = A / jnp.where(largest > 0, largest, 1)
    square = jnp.sum(jnp.square(A))
    det = A[0, 0] * A[1, 1] - A[0, 1] * A[1, 0]
    first = (square + jnp.sqrt(jnp.maximum(square - 2 * det, 0) * jnp.maximum(square + 2 * det, 0))) / 2
    return jnp.abs(det) / jnp.where(largest > 0, first, 1)


def _second_value(W: Array) -> Scalar:
    """sigma_2 of a matrix of two columns, |r_11 r_22| / sigma_1 with W = Q R; a Gram matrix would halve its digits."""
    (a, b), size = W.T, jnp.linalg.norm(W[:, 0])
    unit = a / size
    across = unit @ b
    rest = jnp.linalg.norm(b - across * unit)
    R = jnp.stack([jnp.stack([size, across]), jnp.stack([jnp.zeros_like(size), rest])])
    square, det = jnp.sum(jnp.square(R)), size * rest
    return det / jnp.sqrt((square + jnp.sqrt(jnp.maximum(jnp.square(square) - 4 * jnp.square(det), 0))) / 2)
