"""Many trajectories as one program: members side by side or in turn, in chunks, in segments, over devices."""

import functools as ft
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from lawlib.dynamics.placement import gathered, placed
from lawlib.dynamics.system import Dynamics, Monitored, Times, Trajectory, advance, begin, gaps, starting_at, until
from lawlib.types import PRNGKey, PyTree

__all__ = [
    "Footprint",
    "Members",
    "Plan",
    "Position",
    "Segment",
    "footprint",
    "grid",
    "observed",
    "outline",
    "plan",
    "segment_length",
    "spread",
    "sweep",
]

MEMBERS = "members"
# States of a batch beyond which stepping more members together gains nothing on a CPU. Deep linear networks of depth 3
# in float64, two cores: side by side narrow ones (2 kB each at width 10) go faster than in turn, wide ones do not.
CPU_BATCH_BYTES = 512 * 1024
# What a compiled chunk may hold on a device, by default; transient copies count as three more of each state.
CHUNK_BYTES = 1 << 30
TRANSIENTS = 4
# A state from which on a member's own products keep all cores of a CPU busy. A head of 4608-4096-4096-10 in float32
# with momentum (286 MB), two cores: 2 members side by side take no less time an epoch than in turn.
FILLS_A_CPU_BYTES = 64 << 20


class Members(NamedTuple):
    """Who takes part: the seed index and the numeric hyperparameters of each member, all of length ``n``."""

    seeds: np.ndarray
    hyperparameters: Mapping[str, np.ndarray]


class Footprint(NamedTuple):
    """Bytes of one member: what it draws once, its state, and what is observed of it at one time."""

    problem: int
    state: int
    observation: int


class Plan(NamedTuple):
    """How a sweep is cut: ``chunk`` members and ``segment`` observations a call, ``batch`` members stepped together.

    ``batch`` 1 runs a device's members of a chunk in turn (``lax.map``), a ``batch`` of all of them side by side
    (``vmap``); between the two, batches in turn.
    """

    chunk: int
    batch: int
    segment: int


class Position(NamedTuple):
    """A place in a sweep: the chunk; in it the segment, the observations made so far, and the step reached."""

    chunk: int
    segment: int
    seen: int = 0
    now: int = 0


class Segment(NamedTuple):
    """What a sweep yields: the members and times it covers, where the members stand, and what was observed.

    ``trajectory`` has a leading axis over the chunk's members, fillers at its end included; ``observations`` (host
    arrays, members first, times second), ``converged_at`` and ``diverged_at`` (-1: not so far) are without fillers.
    A segment that ``most_steps`` cut off may end between two times, and may have no times and no observations.
    ``last`` says that this chunk ends here: by the last time, or because every member is done or bad and no state is
    left to keep.
    """

    position: Position
    members: slice
    times: slice
    trajectory: Trajectory
    observations: Mapping[str, np.ndarray]
    converged_at: np.ndarray
    diverged_at: np.ndarray
    last: bool


def grid(num_seeds: int, hyperparameters: Mapping[str, Sequence[float]], dtype: Any, *, first_seed: int = 0) -> Members:
    """Every combination of a seed index and values of the hyperparameters: seeds slowest, then in the order given.

    The seed indices are ``first_seed`` and the ``num_seeds - 1`` that follow.
    """
    axes = [
        np.arange(first_seed, first_seed + num_seeds),
        *(np.asarray(values, dtype) for values in hyperparameters.values()),
    ]
    seeds, *values = (axis.ravel() for axis in np.meshgrid(*axes, indexing="ij"))
    return Members(seeds.astype(np.uint32), dict(zip(hyperparameters, values, strict=True)))


def spread(
    dynamics: Dynamics, key: PRNGKey, members: Members, shared: PyTree, num_devices: int, *, on_cpu: bool
) -> int:
    """How many devices to spread the members over: one each at most, and one in all where a member fills a CPU."""
    if on_cpu and footprint(dynamics, key, members, shared).state >= FILLS_A_CPU_BYTES:
        return 1
    return min(num_devices, len(members.seeds))


def plan(
    dynamics: Dynamics,
    key: PRNGKey,
    members: Members,
    shared: PyTree,
    num_times: int,
    *,
    on_cpu: bool,
    num_devices: int = 1,
    chunk: int = 0,
    batch: int = 0,
    segment: int = 0,
    num_kept: int = 0,
) -> Plan:
    """Choose what was left open (0): chunks that fit in memory, batches that fit the caches, up to 12 segments.

    A CPU steps members together as long as a batch's states fit its caches and in turn beyond; an accelerator steps
    a whole chunk together. Chunks and batches are of nearly equal size, so that few fillers are needed; a chunk holds
    no more members than ``chunk``, or one for each device if that is more.
    """
    segment = segment_length(num_times, segment)
    problem, state, observation = footprint(dynamics, key, members, shared)
    member_bytes = problem + (TRANSIENTS + num_kept) * state + segment * observation
    most = max(1, (chunk or CHUNK_BYTES * num_devices // member_bytes) // num_devices)
    together = min(most, batch or (max(1, CPU_BATCH_BYTES // max(1, state)) if on_cpu else most))
    n = math.ceil(len(members.seeds) / num_devices)
    chunks = math.ceil(n / (most // together * together))
    rounds = math.ceil(n / (chunks * together))
    together = math.ceil(n / (chunks * rounds))
    return Plan(rounds * together * num_devices, together, segment)


def segment_length(num_times: int, segment: int = 0) -> int:
    """The observations that ``plan`` makes in one call: ``segment``, or so many that there are 4 to 12 calls (0)."""
    return min(segment, num_times) or _even(num_times, range(4, 13))


def footprint(dynamics: Dynamics, key: PRNGKey, members: Members, shared: PyTree) -> Footprint:
    """What one member holds, from the shapes alone; nothing is computed."""
    problem, state = _shapes(dynamics, key, members, shared)
    return Footprint(_bytes(problem), _bytes(state), _bytes(observed(dynamics, key, members, shared)))


def observed(dynamics: Dynamics, key: PRNGKey, members: Members, shared: PyTree) -> Mapping[str, jax.ShapeDtypeStruct]:
    """The shapes and dtypes of what is observed of one member at one time; nothing is computed."""
    problem, state = _shapes(dynamics, key, members, shared)
    return jax.eval_shape(dynamics.observe, jax.ShapeDtypeStruct((), np.int32), state, problem, shared)


def outline(
    dynamics: Dynamics, key: PRNGKey, members: Members, shared: PyTree, plan: Plan, num_kept: int = 0
) -> Trajectory:
    """The shapes and dtypes of the trajectory that a segment yields, without its observations."""
    monitored = dynamics if _is_monitored(dynamics, key, members, shared) else until(dynamics)
    one = _hyperparameter_shapes(members)
    shapes = jax.eval_shape(
        lambda key, hyperparameters, shared: begin(monitored, key, hyperparameters, shared, num_kept), key, one, shared
    )
    each = jax.tree.map(lambda x: jax.ShapeDtypeStruct((plan.chunk, *x.shape), x.dtype), shapes)
    return Trajectory(*each, observations={})


def sweep(
    dynamics: Dynamics,
    key: PRNGKey,
    members: Members,
    shared: PyTree,
    times: Times,
    *,
    plan: Plan,
    mesh: Mesh,
    keep: Times = (),
    start: tuple[int, PyTree, PyTree] | None = None,
    resume: tuple[Position, Trajectory | None] | None = None,
    most_steps: Callable[[], int | None] = lambda: None,
) -> Iterator[Segment]:
    """Run every member, chunk by chunk and segment by segment, and yield each segment as it is done.

    A member's key is ``fold_in(key, seed)``: the members of one seed share data and weights, and
    draws are the same bit for bit on any number of devices. Members are sharded over the axis "members" of ``mesh``.
    Over other axes a member is divided by its own step alone, as a ``data_parallel`` loss does it. The devices may
    belong to several processes: then all of them sweep at once, with equal arguments and answers of ``most_steps``, and
    each yields the observations of all members; ``trajectory`` stays on the devices.
    The system is monitored (``until``) if it is not already. ``start=(t, problems, states)``, with a leading axis
    over the members, begins there as in ``simulate``. ``resume`` names the last position done and the trajectory it
    yielded (None when it was the last of its chunk). Nothing is computed until the next segment is asked for.
    ``most_steps`` is asked before each segment, which makes no more steps than that (None: no limit); wherever
    segments end, results are the same bit for bit. Raises ValueError as ``simulate`` does.

    Example:
        >>> import jax, jax.numpy as jnp, lawlib
        >>> from lawlib.dynamics.sweep import grid, plan
        >>> from lawlib.dynamics.system import Dynamics
        >>> decay = Dynamics(
        ...     init=lambda key, hyperparameters, shared: (hyperparameters["rate"], jnp.ones((), "float32")),
        ...     step=lambda t, state, rate, shared: (1 - rate) * state,
        ...     observe=lambda t, state, rate, shared: {"value": state},
        ... )
        >>> members = grid(3, {"rate": (0.0, 0.5)}, "float32")  # three seeds of each rate
        >>> cut = plan(decay, jax.random.key(0), members, None, num_times=2, on_cpu=True)
        >>> mesh = jax.make_mesh((1,), ("members",))
        >>> segments = lawlib.sweep(decay, jax.random.key(0), members, None, times=[0, 2], plan=cut, mesh=mesh)
        >>> [float(value) for segment in segments for value in segment.observations["value"][:, -1] if segment.last]
        [1.0, 0.25, 1.0, 0.25, 1.0, 0.25]
    """
    begun, *given = start or (0,)
    places = (np.full(len(members.seeds), begun, np.int32), *given) if given else ()
    gaps(times, keep, begun)  # refuses times that are none
    observed = np.asarray(times)
    is_monitored = _is_monitored(dynamics, key, members, shared)
    if not (everywhere := NamedSharding(mesh, P())).is_fully_addressable:
        key, shared = placed((key, shared), everywhere)
    begin_chunk, advance_chunk = _programs(dynamics, is_monitored, plan.batch, mesh, tuple(int(time) for time in keep))
    done, trajectory = resume or (Position(0, -1), None)
    first = done.chunk + 1 if resume and trajectory is None else done.chunk
    for chunk in range(first, math.ceil(len(members.seeds) / plan.chunk)):
        rows = slice(chunk * plan.chunk, min((chunk + 1) * plan.chunk, len(members.seeds)))
        at = done
        if trajectory is None:
            trajectory = begin_chunk(_rows((members, places), rows, plan.chunk), key, shared)
            at = Position(chunk, -1, 0, begun)
        while True:
            ahead, num_seen = _ahead(observed, at, plan.segment, most_steps())
            # All segments have one length, so that there is one compiled program; what fills them is not observed.
            filled, wanted = np.pad(ahead, (0, plan.segment - len(ahead))), np.arange(plan.segment) < num_seen
            trajectory = advance_chunk(trajectory._replace(observations={}), shared, np.int32(at.now), filled, wanted)
            cut = slice(at.seen, at.seen + num_seen)
            at = Position(chunk, at.segment + 1, cut.stop, at.now + int(ahead.sum()))
            # Members that stopped stay where they are, but they have to be seen, and states still to be kept written.
            is_seen = num_seen > 0 and at.now == int(observed[cut.stop - 1])
            may_stop = is_seen and not np.any(np.asarray(keep) > at.now)
            yielded = _segment(at, rows, cut, trajectory, at_end=cut.stop == len(observed), may_stop=may_stop)
            yield yielded
            if yielded.last:
                break
        trajectory = None


def _ahead(observed: np.ndarray, at: Position, segment: int, most: int | None) -> tuple[np.ndarray, int]:
    """The steps of the next segment up to each observation, and how many of these are at times that are asked for.

    What ``most`` leaves for steps towards another time is the last, without such an observation.
    """
    to_each = np.diff(observed[at.seen : at.seen + segment], prepend=at.now).astype(np.int32)
    reached = np.cumsum(to_each)
    if most is None or reached[-1] <= most:
        return to_each, len(to_each)
    num_seen = int(np.searchsorted(reached, most, side="right"))
    rest = most - (reached[num_seen - 1] if num_seen else 0)
    return np.append(to_each[:num_seen], np.int32(rest)), num_seen


@ft.lru_cache(maxsize=8)
def _programs(
    dynamics: Dynamics, is_monitored: bool, batch: int, mesh: Mesh, keep: tuple[int, ...]
) -> tuple[Callable, Callable]:
    """The two compiled functions of a sweep: begin a chunk, and carry it on; each device maps over its own members.

    Kept for the next sweep of the same system, which then compiles nothing.
    """
    each = P(MEMBERS)
    to_keep = np.asarray(keep, np.int32)
    monitor = (lambda system: system) if is_monitored else until

    def begin_one(member: tuple[Members, tuple], key: PRNGKey, shared: PyTree) -> Trajectory:
        (seed, hyperparameters), place = member
        system = monitor(starting_at(dynamics, *place[1:]) if place else dynamics)
        problem, state, kept = begin(system, jax.random.fold_in(key, seed), hyperparameters, shared, len(keep))
        if place and not is_monitored:  # ``until`` marks the start as step 0
            state = state._replace(diverged_at=jnp.where(state.diverged_at < 0, -1, place[0]))
        return Trajectory(problem, state, kept, {})

    def advance_one(at: Trajectory, shared: PyTree, now: jax.Array, steps: jax.Array, wanted: jax.Array) -> Trajectory:
        system = monitor(dynamics)
        system = system._replace(observe=jax.jit(system.observe))  # traced once for its shapes and its values
        return advance(system, at.problem, at.state, at.kept, shared, now, steps, to_keep, wanted)

    def over_members(one: Callable, num_common: int) -> Callable:
        def chunk(each_member: PyTree, *common: PyTree) -> PyTree:
            # Under vmap, even of one, a loop selects between the old and the new state at every step.
            together = None if batch == 1 else batch
            return lax.map(lambda member: one(member, *common), each_member, batch_size=together)

        specs = (each, *[P()] * num_common)
        divided = {"mesh": mesh, "axis_names": {MEMBERS}, "in_specs": specs, "out_specs": each, "check_vma": False}
        program = jax.jit(jax.shard_map(chunk, **divided))
        return lambda members, *common: program(placed(members, NamedSharding(mesh, each)), *common)

    return over_members(begin_one, 2), over_members(advance_one, 4)


def _is_monitored(dynamics: Dynamics, key: PRNGKey, members: Members, shared: PyTree) -> bool:
    _, state = _shapes(dynamics, key, members, shared)
    return isinstance(state, Monitored)


def _shapes(dynamics: Dynamics, key: PRNGKey, members: Members, shared: PyTree) -> tuple[PyTree, PyTree]:
    return jax.eval_shape(dynamics.init, key, _hyperparameter_shapes(members), shared)


def _hyperparameter_shapes(members: Members) -> dict[str, jax.ShapeDtypeStruct]:
    return {name: jax.ShapeDtypeStruct((), values.dtype) for name, values in members.hyperparameters.items()}


def _segment(
    position: Position, rows: slice, cut: slice, trajectory: Trajectory, *, at_end: bool, may_stop: bool
) -> Segment:
    real = slice(rows.stop - rows.start)
    monitored: Monitored = trajectory.state
    *ends, observed = gathered((monitored.converged_at, monitored.diverged_at, trajectory.observations))
    converged_at, diverged_at = (np.asarray(x)[real] for x in ends)
    seen = slice(cut.stop - cut.start)
    observations = {name: np.asarray(values)[real, seen] for name, values in observed.items()}
    all_stopped = bool(np.all((converged_at >= 0) | (diverged_at >= 0)))
    last = at_end or (may_stop and all_stopped)
    return Segment(position, rows, cut, trajectory, observations, converged_at, diverged_at, last)


def _rows(tree: PyTree, rows: slice, size: int) -> PyTree:
    """These rows of every array, filled up to ``size`` by repeating the last one: every chunk has one shape."""
    index = np.minimum(np.arange(rows.start, rows.start + size), rows.stop - 1)
    return jax.tree.map(lambda x: x[index], tree)


def _even(total: int, parts: range) -> int:
    """The size of the parts into which ``total`` is cut with least waste, the more parts the better."""
    return min((math.ceil(total / k) * k - total, -k, math.ceil(total / k)) for k in parts)[-1]


def _bytes(tree: PyTree) -> int:
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))
