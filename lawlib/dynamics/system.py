"""A law is a dynamical system under observation: three pure functions, one trajectory, four combinators."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lawlib.types import Array, Bool, Int, PRNGKey, PyTree

__all__ = [
    "Dynamics",
    "Hyperparameters",
    "Monitored",
    "Pair",
    "Time",
    "Times",
    "Trajectory",
    "advance",
    "begin",
    "gaps",
    "pair",
    "simulate",
    "starting_at",
    "until",
]

Hyperparameters = Mapping[str, Any]
Observations = Mapping[str, Any]
Time = Int[Array, ""]
Times = Sequence[int] | np.ndarray


class Dynamics(NamedTuple):
    """A dynamical system and what is seen of it.

    ``init(key, hyperparameters, shared) -> (problem, state)`` draws the data and the weights of one member;
    ``step(t, state, problem, shared) -> state`` makes step t + 1; ``observe(t, state, problem, shared)`` returns
    ``{name: array}``. ``t`` is the number of steps made so far, so that a system needs no counter and draws for a step
    from ``fold_in(key, t)``. ``state`` is what a step changes, ``problem`` what a member draws once, ``shared`` what
    all members have in common and vmap must not copy. The key is the member's own: its seed decides it and its
    hyperparameters do not.
    """

    init: Callable[[PRNGKey, Hyperparameters, PyTree], tuple[PyTree, PyTree]]
    step: Callable[[Time, PyTree, PyTree, PyTree], PyTree]
    observe: Callable[[Time, PyTree, PyTree, PyTree], Observations]


class Trajectory(NamedTuple):
    """One run so far: the ``problem``, the last ``state``, whole states ``kept`` on the way, what was observed.

    ``observations`` maps each name to an array whose leading axis runs over the observation times; ``kept`` is the
    state with a leading axis over the times to keep (None when there are none).
    """

    problem: PyTree
    state: PyTree
    kept: PyTree
    observations: Observations


class Monitored(NamedTuple):
    """A state under ``until``: the system's own, and the steps at which it was first done and first not finite.

    -1 means: not so far. A trajectory ends at the earlier one.
    """

    state: PyTree
    converged_at: Int[Array, ""]
    diverged_at: Int[Array, ""]


class Pair(NamedTuple):
    """The problems, or the states, of two systems that run side by side."""

    first: PyTree
    second: PyTree


def until(
    dynamics: Dynamics,
    done: Callable[[Time, PyTree, PyTree, PyTree], Bool[Array, ""]] | None = None,
    *,
    finite: Callable[[PyTree], PyTree] = lambda state: state,
) -> Dynamics:
    """The same system, stopped for good where ``done(t, state, problem, shared)`` or where a value is not finite.

    Both are checked at every step, the start (t = 0) included, whatever the observation times. The state becomes a
    ``Monitored``, which ``advance``, ``pair`` and another ``until`` step no further once it has stopped; it is then
    observed at the time at which it stopped. ``done=None`` stops at values that are not finite alone.
    ``finite(state)`` picks the values that are checked, by default the whole state: a scalar into which all others
    enter makes the check cheaper.
    """

    def mark(t: Time, monitored: Monitored, problem: PyTree, shared: PyTree) -> Monitored:
        running = _running(monitored)
        is_done = jnp.asarray(False) if done is None else done(t, monitored.state, problem, shared)
        is_bad = ~_all_finite(finite(monitored.state))
        return monitored._replace(
            converged_at=jnp.where(running & is_done & ~is_bad, t, monitored.converged_at),
            diverged_at=jnp.where(running & is_bad, t, monitored.diverged_at),
        )

    def init(key: PRNGKey, hyperparameters: Hyperparameters, shared: PyTree) -> tuple[PyTree, Monitored]:
        problem, state = dynamics.init(key, hyperparameters, shared)
        never = jnp.asarray(-1, jnp.int32)
        return problem, mark(jnp.asarray(0, jnp.int32), Monitored(state, never, never), problem, shared)

    def step(t: Time, monitored: Monitored, problem: PyTree, shared: PyTree) -> Monitored:
        state = _step_if_moving(dynamics, t, monitored.state, problem, shared)
        return mark(t + 1, monitored._replace(state=state), problem, shared)

    def observe(t: Time, monitored: Monitored, problem: PyTree, shared: PyTree) -> Observations:
        stopped = jnp.maximum(monitored.converged_at, monitored.diverged_at)
        return dynamics.observe(jnp.where(_running(monitored), t, stopped), monitored.state, problem, shared)

    return Dynamics(init, step, observe)


def pair(first: Dynamics, second: Dynamics, observe: Callable[[Time, Pair, Pair, PyTree], Observations]) -> Dynamics:
    """Two systems run side by side from one draw (the same key, hyperparameters and shared) and compared as they run.

    ``observe(t, states, problems, shared)`` receives both as a ``Pair``; the systems' own observations are not made.
    """

    def init(key: PRNGKey, hyperparameters: Hyperparameters, shared: PyTree) -> tuple[Pair, Pair]:
        drawn = first.init(key, hyperparameters, shared), second.init(key, hyperparameters, shared)
        return Pair(*(problem for problem, _ in drawn)), Pair(*(state for _, state in drawn))

    def step(t: Time, states: Pair, problems: Pair, shared: PyTree) -> Pair:
        halves = zip((first, second), states, problems, strict=True)
        return Pair(*(_step_if_moving(system, t, state, problem, shared) for system, state, problem in halves))

    return Dynamics(init, step, observe)


def simulate(
    dynamics: Dynamics,
    key: PRNGKey,
    hyperparameters: Hyperparameters,
    shared: PyTree,
    times: Times,
    *,
    keep: Times = (),
    start: tuple[int, PyTree, PyTree] | None = None,
) -> Trajectory:
    """Run one trajectory and observe it at the given increasing step numbers.

    ``keep`` (some of the ``times``) returns whole states at those times. ``start=(t, problem, state)``, problem and
    state of this system after t steps, begins there instead of at ``init``. Raises ValueError when times are not
    integers that increase from 0 or from the t of ``start``, or when ``keep`` names a step that is not observed or one
    step twice.

    Example:
        >>> import jax, jax.numpy as jnp, lawlib
        >>> from lawlib.dynamics.system import Dynamics
        >>> halving = Dynamics(
        ...     init=lambda key, hyperparameters, shared: (None, jnp.ones(())),
        ...     step=lambda t, state, problem, shared: state / 2,
        ...     observe=lambda t, state, problem, shared: {"value": state},
        ... )
        >>> lawlib.simulate(halving, jax.random.key(0), {}, None, times=[0, 1, 3]).observations["value"].tolist()
        [1.0, 0.5, 0.125]
    """
    begun, *place = start or (0,)
    steps = gaps(times, keep, begun)
    dynamics = starting_at(dynamics, *place) if place else dynamics
    problem, state, kept = begin(dynamics, key, hyperparameters, shared, len(keep))
    return advance(dynamics, problem, state, kept, shared, begun, steps, np.asarray(keep, np.int32))


def gaps(times: Times, keep: Times = (), begun: int = 0) -> np.ndarray:
    """Numbers of steps from each observation to the next, the first one's from ``begun``. Raises as ``simulate``."""
    given, wanted = np.asarray(times), np.asarray(keep).tolist()
    numbered = given.ndim == 1 and given.size and np.issubdtype(given.dtype, np.integer)
    if not numbered or given[0] < begun or np.any(np.diff(given) <= 0):
        msg = f"observation times must be step numbers that increase from {begun} or more, got {given.tolist()}"
        raise ValueError(msg)
    if missing := sorted(set(wanted) - set(given.tolist())):
        msg = f"states can be kept at observation times only; {missing} are not among the times"
        raise ValueError(msg)
    if len(set(wanted)) < len(wanted):
        msg = f"a state is kept once at each time, got {wanted}"
        raise ValueError(msg)
    return np.diff(given, prepend=begun).astype(np.int32)


def starting_at(dynamics: Dynamics, problem: PyTree, state: PyTree) -> Dynamics:
    """The same system begun from a given problem and state of its own: nothing is drawn."""
    return dynamics._replace(init=lambda *_: (problem, state))


def begin(
    dynamics: Dynamics, key: PRNGKey, hyperparameters: Hyperparameters, shared: PyTree, num_kept: int
) -> tuple[PyTree, PyTree, PyTree]:
    """The problem, the first state and room for ``num_kept`` kept states: what ``advance`` carries on from."""
    problem, state = dynamics.init(key, hyperparameters, shared)
    kept = jax.tree.map(lambda x: jnp.broadcast_to(x, (num_kept, *x.shape)), state) if num_kept else None
    return problem, state, kept


def advance(
    dynamics: Dynamics,
    problem: PyTree,
    state: PyTree,
    kept: PyTree,
    shared: PyTree,
    now: int | Int[Array, ""],
    gaps: Int[Array | np.ndarray, " T"],
    keep: Int[Array | np.ndarray, " _"],
    wanted: Bool[Array | np.ndarray, " T"] | None = None,
) -> Trajectory:
    """Carry a run on from step ``now`` through ``len(gaps)`` observations: a scan, with a loop up to the next one.

    Cutting the gaps into several calls gives the same trajectory as one call, bit for bit. A monitored system that has
    stopped is not stepped any more. Observations that are not ``wanted`` are 0 and cost nothing.
    """

    def observed(is_wanted: Bool[Array, ""] | None, *here: Any) -> Observations:
        if is_wanted is None:
            return dynamics.observe(*here)
        shapes = jax.eval_shape(dynamics.observe, *here)
        nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        return lax.cond(is_wanted, dynamics.observe, lambda *_: nothing, *here)

    def to_next(carry: tuple, at: tuple[Int[Array, ""], Bool[Array, ""] | None]) -> tuple[tuple, Observations]:
        (state, kept, now), (gap, is_wanted) = carry, at
        end = now + gap
        _, state = lax.while_loop(
            lambda at: (at[0] < end) & _moves(at[1]),
            lambda at: (at[0] + 1, dynamics.step(*at, problem, shared)),
            (now, state),
        )
        now = end
        kept = _keep(kept, state, now == keep) if len(keep) else kept
        return (state, kept, now), observed(is_wanted, now, state, problem, shared)

    carry = state, kept, jnp.asarray(now, jnp.int32)
    (state, kept, _), observations = lax.scan(to_next, carry, jax.tree.map(jnp.asarray, (gaps, wanted)))
    return Trajectory(problem, state, kept, observations)


def _keep(kept: PyTree, state: PyTree, here: Bool[Array, " _"]) -> PyTree:
    def write(kept: PyTree) -> PyTree:
        return jax.tree.map(lambda all_kept, x: all_kept.at[jnp.argmax(here)].set(x), kept, state)

    return lax.cond(jnp.any(here), write, lambda kept: kept, kept)


def _step_if_moving(dynamics: Dynamics, t: Time, state: PyTree, problem: PyTree, shared: PyTree) -> PyTree:
    moved = dynamics.step(t, state, problem, shared)
    if not isinstance(state, Monitored):
        return moved
    return jax.tree.map(lambda new, old: jnp.where(_running(state), new, old), moved, state)


def _moves(state: PyTree) -> Bool[Array, ""] | bool:
    return _running(state) if isinstance(state, Monitored) else True


def _running(monitored: Monitored) -> Bool[Array, ""]:
    return (monitored.converged_at < 0) & (monitored.diverged_at < 0)


def _all_finite(state: PyTree) -> Bool[Array, ""]:
    inexact = (x for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.inexact))
    return jnp.all(jnp.stack([jnp.asarray(True), *(jnp.all(jnp.isfinite(x)) for x in inexact)]))
