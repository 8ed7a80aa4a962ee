"""Many trajectories as one program: members side by side or in turn, in chunks, in segments, over devices."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from lawlib.dynamics import Dynamics, Times, Trajectory, Watched, advance, begin, gaps, starting_at, until
from lawlib.types import PRNGKey, PyTree

__all__ = ["Members", "Plan", "Position", "Segment", "grid", "outline", "plan", "sweep"]

MEMBERS = "members"
# One member's state beyond which stepping members together gains nothing on a CPU: the batch then leaves the
# caches. Measured with deep linear networks of depth 3 in float64, see benchmarks/README.md.
CPU_BATCH_BYTES = 512 * 1024
# What a compiled chunk may hold, by default; transient copies are counted as three more of each state.
CHUNK_BYTES = 1 << 30
TRANSIENTS = 4


class Members(NamedTuple):
    """Who takes part: the seed index and the numeric knobs of each member, all of length ``n``."""

    seeds: np.ndarray
    knobs: Mapping[str, np.ndarray]


class Plan(NamedTuple):
    """How a sweep is cut: ``chunk`` members and ``segment`` observations a call, ``batch`` members stepped together.

    ``batch`` 1 runs the members of a chunk in turn (``lax.map``), ``batch == chunk`` side by side (``vmap``); between
    the two, batches in turn.
    """

    chunk: int
    batch: int
    segment: int


class Position(NamedTuple):
    """A place in a sweep: the chunk and, in it, the segment."""

    chunk: int
    segment: int


class Segment(NamedTuple):
    """What a sweep yields: the members and times it covers, where the members stand, and what was observed.

    ``trajectory`` has a leading axis over the chunk's members, fillers at its end included; ``observations`` (host
    arrays, members first, times second), ``first_done`` and ``first_bad_step`` (-1: not so far) are without fillers.
    ``last`` says that this chunk ends here: by the last time, or because every member is done or bad.
    """

    position: Position
    members: slice
    times: slice
    trajectory: Trajectory
    observations: Mapping[str, np.ndarray]
    first_done: np.ndarray
    first_bad_step: np.ndarray
    last: bool


def grid(num_seeds: int, knobs: Mapping[str, Sequence[float]], dtype: Any) -> Members:
    """Every combination of a seed index and the knobs' values, seeds slowest, then the knobs in the order given."""
    axes = [np.arange(num_seeds), *(np.asarray(values, dtype) for values in knobs.values())]
    seeds, *values = (axis.ravel() for axis in np.meshgrid(*axes, indexing="ij"))
    return Members(seeds.astype(np.uint32), dict(zip(knobs, values, strict=True)))


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
) -> Plan:
    """Choose what was left open (0): chunks that fit in memory, batches that fit the caches, 4 to 12 segments.

    A CPU steps members together as long as a batch's states fit its caches and in turn beyond; an accelerator steps
    a whole chunk together. Chunks and batches are of nearly equal size, so that few fillers are needed.
    """
    n = len(members.seeds)
    segment = min(segment, num_times) or _even(num_times, range(4, 13))
    problem, state = _shapes(dynamics, key, members, shared)
    seen = jax.eval_shape(dynamics.observe, state, problem, shared)
    member_bytes = _bytes(problem) + TRANSIENTS * _bytes(state) + segment * _bytes(seen)
    most = chunk or max(1, CHUNK_BYTES // member_bytes)
    on_each = math.ceil(math.ceil(n / math.ceil(n / min(most, n))) / num_devices)
    together = min(on_each, batch or (max(1, CPU_BATCH_BYTES // max(1, _bytes(state))) if on_cpu else on_each))
    rounds = math.ceil(on_each / together)
    together = math.ceil(on_each / rounds)
    return Plan(rounds * together * num_devices, together, segment)


def outline(
    dynamics: Dynamics, key: PRNGKey, members: Members, shared: PyTree, plan: Plan, num_kept: int = 0
) -> Trajectory:
    """The shapes and dtypes of the trajectory that a segment yields, without its observations."""
    watched = until(dynamics) if _is_unwatched(dynamics, key, members, shared) else dynamics
    shapes = jax.eval_shape(lambda *drawn: begin(watched, *drawn, num_kept), key, _knob_shapes(members), shared)
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
    start: tuple[PyTree, PyTree] | None = None,
    resume: tuple[Position, Trajectory | None] | None = None,
) -> Iterator[Segment]:
    """Run every member, chunk by chunk and segment by segment, and yield each segment as it is done.

    A member's key is ``fold_in(key, seed)``: the members of one seed share data and weights across all knobs, and
    draws are the same bit for bit on any number of devices. Members are sharded over the one axis of ``mesh``, called
    "members". The system is watched (``until``) if it is not already. ``start`` holds problems and states with a
    leading axis over the members. ``resume`` names the last position done and the trajectory it yielded (None when it
    was the last of its chunk). Nothing is computed until the next segment is asked for. Raises ValueError as
    ``simulate`` does.
    """
    steps, observed = gaps(times, keep), np.asarray(times)
    begin_chunk, advance_chunk = _programs(dynamics, key, members, shared, plan.batch, mesh, np.asarray(keep, np.int32))
    done, trajectory = resume or (Position(0, -1), None)
    entered = Position(done.chunk + 1, 0) if resume and trajectory is None else Position(done.chunk, done.segment + 1)
    for chunk in range(entered.chunk, math.ceil(len(members.seeds) / plan.chunk)):
        rows = slice(chunk * plan.chunk, min((chunk + 1) * plan.chunk, len(members.seeds)))
        if trajectory is None:
            trajectory = begin_chunk(*_rows((members, start), rows, plan.chunk), shared)
        for segment in range(entered.segment if chunk == entered.chunk else 0, math.ceil(len(observed) / plan.segment)):
            cut = slice(segment * plan.segment, min((segment + 1) * plan.segment, len(observed)))
            now = int(observed[cut.start - 1]) if cut.start else 0
            # The last segment is filled with observations in place: one length is one compiled program.
            ahead = np.pad(steps[cut], (0, plan.segment - len(steps[cut])))
            trajectory = advance_chunk(trajectory, shared, now, ahead)
            yielded = _segment(Position(chunk, segment), rows, cut, trajectory, at_end=cut.stop == len(observed))
            yield yielded
            if yielded.last:
                break
        trajectory = None


def _programs(
    dynamics: Dynamics,
    key: PRNGKey,
    members: Members,
    shared: PyTree,
    batch: int,
    mesh: Mesh,
    keep: np.ndarray,
) -> tuple[Callable, Callable]:
    """The two compiled functions of a sweep: begin a chunk, and carry it on; each device maps over its own members."""
    each = P(MEMBERS)
    watched = until(dynamics) if _is_unwatched(dynamics, key, members, shared) else dynamics

    def begin_one(member: tuple[Members, tuple | None], shared: PyTree) -> Trajectory:
        (seed, knobs), start = member
        system = watched
        if start is not None:
            begun = starting_at(dynamics, *start)
            system = begun if watched is dynamics else until(begun)
        return Trajectory(*begin(system, jax.random.fold_in(key, seed), knobs, shared, len(keep)), {})

    def advance_one(at: Trajectory, shared: PyTree, now: jax.Array, steps: jax.Array) -> Trajectory:
        return advance(watched, at.problem, at.state, at.kept, shared, now, steps, keep)

    def over_members(one: Callable, num_common: int) -> Callable:
        def chunk(each_member: PyTree, *common: PyTree) -> PyTree:
            return lax.map(lambda member: one(member, *common), each_member, batch_size=batch)

        specs = (each, *[P()] * num_common)
        program = jax.jit(jax.shard_map(chunk, mesh=mesh, in_specs=specs, out_specs=each, check_vma=False))
        return lambda members, *common: program(jax.device_put(members, NamedSharding(mesh, each)), *common)

    begin_chunk, advance_chunk = over_members(begin_one, 1), over_members(advance_one, 3)
    return (
        lambda members, start, shared: begin_chunk((members, start), shared),
        lambda at, shared, now, steps: advance_chunk(at._replace(observations={}), shared, jnp.int32(now), steps),
    )


def _is_unwatched(dynamics: Dynamics, key: PRNGKey, members: Members, shared: PyTree) -> bool:
    _, state = _shapes(dynamics, key, members, shared)
    return not isinstance(state, Watched)


def _shapes(dynamics: Dynamics, key: PRNGKey, members: Members, shared: PyTree) -> tuple[PyTree, PyTree]:
    return jax.eval_shape(dynamics.init, key, _knob_shapes(members), shared)


def _knob_shapes(members: Members) -> dict[str, jax.ShapeDtypeStruct]:
    return {name: jax.ShapeDtypeStruct((), values.dtype) for name, values in members.knobs.items()}


def _segment(position: Position, rows: slice, cut: slice, trajectory: Trajectory, *, at_end: bool) -> Segment:
    real = slice(rows.stop - rows.start)
    watched: Watched = trajectory.state
    first_done, first_bad_step = (np.asarray(x)[real] for x in (watched.first_done, watched.first_bad_step))
    seen = slice(cut.stop - cut.start)
    observations = {name: np.asarray(values)[real, seen] for name, values in trajectory.observations.items()}
    all_stopped = bool(np.all((first_done >= 0) | (first_bad_step >= 0)))
    last = at_end or all_stopped
    return Segment(position, rows, cut, trajectory, observations, first_done, first_bad_step, last)


def _rows(tree: PyTree, rows: slice, size: int) -> PyTree:
    """These rows of every array, filled up to ``size`` by repeating the last one: every chunk has one shape."""
    index = np.minimum(np.arange(rows.start, rows.start + size), rows.stop - 1)
    return jax.tree.map(lambda x: x[index], tree)


def _even(total: int, parts: range) -> int:
    """The size of the parts into which ``total`` is cut with least waste, the more parts the better."""
    return min((math.ceil(total / k) * k - total, -k, math.ceil(total / k)) for k in parts)[-1]


def _bytes(tree: PyTree) -> int:
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))
