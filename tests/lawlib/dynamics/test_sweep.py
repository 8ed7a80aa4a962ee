"""A sweep gives every member what its own trajectory gives, however it is cut, stopped, resumed or spread."""

import functools
import math
import sys
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from liveness import finish, without_settings
from sweep_devices import DEVICES, TIMES, mesh_of, shared_by_all, walk

from lawlib.dynamics.sweep import Members, Plan, Position, grid, outline, plan, spread, sweep
from lawlib.dynamics.system import Dynamics, Monitored, simulate, until

ROOT = Path(__file__).parents[3]
KEY = jax.random.key(11)
HYPERPARAMETERS = {"rate": (0.3, 0.9), "noise": (0.05,)}
NUM_SEEDS = 3
# 6 members and 7 times: side by side, in turn, batches of unequal size, chunks with fillers, uneven segments.
PLANS = [Plan(6, 6, 7), Plan(6, 1, 7), Plan(6, 4, 3), Plan(4, 2, 4)]


def run(members, *, cut, times=TIMES, dtype=jnp.float64, system=None, **options):
    system, shared = system or walk(dtype), shared_by_all(dtype)
    return list(sweep(system, KEY, members, shared, times, plan=cut, mesh=mesh_of(1), **options))


def assembled(segments, name):
    """One observation of all members and times, put together by the slices that the segments name."""
    size = (max(s.members.stop for s in segments), max(s.times.stop for s in segments))
    whole = np.full((*size, *segments[0].observations[name].shape[2:]), np.nan)
    for segment in segments:
        whole[segment.members, segment.times] = segment.observations[name]
    return whole


@functools.cache
def alone(dtype, seed, rate, noise, keep=()):
    """The trajectory of one member, from ``simulate``."""
    hyperparameters = {"rate": jnp.asarray(rate, dtype), "noise": jnp.asarray(noise, dtype)}
    return _simulated(dtype, keep)(jax.random.fold_in(KEY, seed), hyperparameters)


@functools.cache
def _simulated(dtype, keep):
    return jax.jit(
        lambda key, hyperparameters: simulate(walk(dtype), key, hyperparameters, shared_by_all(dtype), TIMES, keep=keep)
    )


def each_alone(members, dtype=jnp.float64, keep=()):
    columns = zip(
        members.seeds.tolist(), *(values.tolist() for values in members.hyperparameters.values()), strict=True
    )
    return [alone(dtype, *column, keep=keep) for column in columns]


@functools.cache
def uninterrupted():
    return run(grid(NUM_SEEDS, HYPERPARAMETERS, np.float64), cut=Plan(4, 2, 3), keep=(1, 12))


def is_key(x):
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def plain(tree):
    """Numbers in place of keys, on the host."""
    return jax.tree.map(lambda x: np.asarray(jax.random.key_data(x) if is_key(x) else x), tree)


def assert_segments_equal(found, expected):
    assert [s.position for s in found] == [s.position for s in expected]
    for one, other in zip(found, expected, strict=True):
        assert (one.members, one.times, one.last) == (other.members, other.times, other.last)
        chex.assert_trees_all_equal(plain(one[3:7]), plain(other[3:7]), strict=True)


def test_a_grid_has_every_combination_seeds_slowest_then_hyperparameters_in_order():
    members = grid(2, {"b": (3.0, 1.0), "a": (5.0, 6.0, 7.0)}, np.float32)
    rows = list(
        zip(
            members.seeds.tolist(),
            members.hyperparameters["b"].tolist(),
            members.hyperparameters["a"].tolist(),
            strict=True,
        )
    )
    assert rows == [(seed, b, a) for seed in (0, 1) for b in (3.0, 1.0) for a in (5.0, 6.0, 7.0)]
    assert list(members.hyperparameters) == ["b", "a"]
    assert {values.dtype for values in members.hyperparameters.values()} == {np.dtype(np.float32)}
    assert grid(3, {}, np.float64).seeds.tolist() == [0, 1, 2]


@pytest.mark.parametrize(("cut", "dtype"), [*((cut, jnp.float64) for cut in PLANS), (Plan(4, 4, 7), jnp.float32)])
def test_every_member_is_its_own_trajectory_however_the_sweep_is_cut(cut, dtype, tol):
    members = grid(NUM_SEEDS, HYPERPARAMETERS, dtype)
    segments, expected = run(members, cut=cut, dtype=dtype), each_alone(members, dtype)
    assert len(segments) == math.ceil(6 / cut.chunk) * math.ceil(7 / cut.segment)
    assert [s.last for s in segments] == [s.times.stop == 7 for s in segments]
    assert np.array_equal(assembled(segments, "draw"), [one.observations["draw"] for one in expected])
    assert np.array_equal(assembled(segments, "t"), np.tile(TIMES, (6, 1)))
    found = assembled(segments, "x")
    reference = np.array([one.observations["x"] for one in expected])
    np.testing.assert_allclose(found, reference, rtol=0, atol=tol(reference, 1000))
    for segment in segments:
        assert segment.observations["x"].dtype == dtype
        assert np.all(segment.converged_at == -1)
        assert np.all(segment.diverged_at == -1)
        seen = segment.observations["t"].tolist()
        assert seen == [list(TIMES[segment.times])] * len(seen)
        stand = segment.trajectory.state.state.x[: len(segment.converged_at)]
        assert np.array_equal(stand, segment.observations["x"][:, -1])
        assert len(segment.converged_at) == segment.members.stop - segment.members.start


def test_keys_depend_on_the_seed_alone():
    matrices = np.concatenate([np.asarray(s.trajectory.problem.matrix) for s in uninterrupted() if s.last])
    matrices = matrices[:6].reshape(NUM_SEEDS, 2, 2, 2)
    draws = assembled(uninterrupted(), "draw").reshape(NUM_SEEDS, 2, len(TIMES), 2)
    for found in (matrices, draws):
        assert np.array_equal(found[:, 0], found[:, 1])
        assert not np.any(found[0] == found[1])
    # Seed 2 without the others, under other hyperparameters: what it draws is its own.
    lone = Members(np.array([2], np.uint32), {"rate": np.array([0.5]), "noise": np.array([0.7])})
    (segment,) = run(lone, cut=Plan(1, 1, 7))
    assert np.array_equal(segment.trajectory.problem.matrix[0], matrices[2, 0])
    assert np.array_equal(segment.observations["draw"][0], draws[2, 0])


def powers():
    """The map x <- a x from 1, done below 1/100; a is a hyperparameter."""

    def init(key, hyperparameters, shared):
        return hyperparameters["a"], jnp.ones_like(hyperparameters["a"])

    bare = Dynamics(init, lambda _, x, a, shared: a * x, lambda _, x, a, shared: {"x": x})
    return bare, until(bare, lambda _, x, a, shared: jnp.abs(x) < 0.01)


def members_with(*rates):
    return Members(np.arange(len(rates), dtype=np.uint32), {"a": np.array(rates)})


def test_a_chunk_ends_when_all_its_members_are_done_or_bad_and_the_next_goes_on():
    # x falls below 1/100 at step 7 for 0.5 and 4 for 0.3; 1e80 overflows at step 4; 1 never ends.
    members, times = members_with(0.5, 1e80, 0.3, 1.0, 0.3), (0, 2, 4, 6, 8, 10, 12)
    segments = run(members, cut=Plan(2, 2, 2), times=times, system=powers()[1])
    assert [s.position[:2] for s in segments] == [(0, 0), (0, 1), (0, 2), *((1, j) for j in range(4)), (2, 0), (2, 1)]
    assert [s.last for s in segments] == [s.position[:2] in ((0, 2), (1, 3), (2, 1)) for s in segments]
    ends = {s.position.chunk: s for s in segments if s.last}
    assert [ends[chunk].converged_at.tolist() for chunk in range(3)] == [[7, -1], [4, -1], [4]]
    assert [ends[chunk].diverged_at.tolist() for chunk in range(3)] == [[-1, 4], [-1, -1], [-1]]
    assert (segments[1].converged_at.tolist(), segments[1].diverged_at.tolist()) == ([-1, -1], [-1, 4])
    np.testing.assert_array_equal(segments[-1].observations["x"], [[(0.3 * 0.3) * 0.3 * 0.3] * 2])


def test_states_are_kept_at_later_times_than_the_last_member_needs():
    members, times, keep = members_with(0.5, 0.3), (0, 2, 4, 6, 8, 10, 12), (2, 12)
    segments = run(members, cut=Plan(2, 2, 2), times=times, keep=keep, system=powers()[1])
    for member, rate in enumerate(members.hyperparameters["a"]):
        hyperparameters = {"a": jnp.asarray(rate)}
        expected = simulate(powers()[1], KEY, hyperparameters, shared_by_all(), times, keep=keep)
        kept = jax.tree.map(lambda x, member=member: x[member], segments[-1].trajectory.kept)
        chex.assert_trees_all_equal(kept, expected.kept)


def test_a_system_without_a_rule_is_monitored_for_bad_values():
    segments = run(members_with(1e80, 0.5), cut=Plan(2, 2, 3), times=(0, 2, 9), system=powers()[0])
    assert isinstance(segments[-1].trajectory.state, Monitored)
    assert segments[-1].diverged_at.tolist() == [4, -1]
    assert segments[-1].converged_at.tolist() == [-1, -1]


@pytest.mark.parametrize("done", range(6))
def test_a_sweep_resumed_anywhere_repeats_the_rest_bit_for_bit(done):
    # As from a checkpoint: host arrays for a chunk under way, nothing for a chunk that ended.
    last = uninterrupted()[done]
    carry = None if last.last else jax.tree.map(lambda x: x if is_key(x) else np.asarray(x), last.trajectory)
    resume = last.position, carry
    rest = run(grid(NUM_SEEDS, HYPERPARAMETERS, np.float64), cut=Plan(4, 2, 3), keep=(1, 12), resume=resume)
    assert len(rest) == 5 - done
    assert_segments_equal(rest, uninterrupted()[done + 1 :])


@pytest.mark.parametrize("most", [1, 2, 5])
def test_cut_after_any_number_of_steps_and_resumed_anywhere_it_is_the_same_bit_for_bit(most):
    members, limits = grid(NUM_SEEDS, HYPERPARAMETERS, np.float64), iter([None, *[most] * 1000])
    options = {"cut": Plan(4, 2, 3), "keep": (1, 12)}
    segments = run(members, **options, most_steps=lambda: next(limits))
    for name in uninterrupted()[0].observations:
        np.testing.assert_array_equal(assembled(segments, name), assembled(uninterrupted(), name))
    ends, wanted = ([s.trajectory for s in each if s.last] for each in (segments, uninterrupted()))
    for one, other in zip(ends, wanted, strict=True):
        chex.assert_trees_all_equal(*(plain(each._replace(observations={})) for each in (one, other)))
    reached = [s.position.now for s in segments if s.position.chunk == 0]
    assert max(np.diff(reached)) <= most
    index = next(i for i, s in enumerate(segments) if s.position.segment == 1)
    resume = segments[index].position, segments[index].trajectory
    assert_segments_equal(run(members, **options, resume=resume, most_steps=lambda: most), segments[index + 1 :])


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("most", [None, 1, 5])
def test_only_the_observations_that_are_asked_for_are_made(batch, most):
    seen, times = [], (0, 2, 4, 9)

    def observe(t, state, *_):
        jax.debug.callback(lambda *at: seen.append([float(x) for x in at]), t, state)
        return {"t": t, "state": state}

    counting = Dynamics(lambda key, h, _: (None, h["start"]), lambda t, state, *_: state + 1, observe)
    members = Members(np.arange(2, dtype=np.uint32), {"start": np.array([10.0, 20.0])})
    segments = run(members, cut=Plan(2, batch, 3), times=times, system=counting, most_steps=lambda: most)
    jax.effects_barrier()
    assert sorted(seen) == sorted([t, start + t] for start in (10, 20) for t in times)
    np.testing.assert_array_equal(assembled(segments, "state"), [[start + t for t in times] for start in (10, 20)])


def test_members_that_stop_in_a_segment_without_an_observation_are_observed_where_they_stopped():
    members, times = members_with(0.05, 0.05), (0, 6, 12)
    whole = run(members, cut=Plan(2, 2, 3), times=times, system=powers()[1])
    segments = run(members, cut=Plan(2, 2, 3), times=times, system=powers()[1], most_steps=lambda: 2)
    assert any(s.times.start == s.times.stop for s in segments)
    assert segments[-1].last
    assert segments[-1].position.now == 6
    assert segments[-1].converged_at.tolist() == whole[-1].converged_at.tolist()
    for name, values in whole[-1].observations.items():
        np.testing.assert_array_equal(segments[-1].observations[name][:, -1], values[:, -1])


def test_a_resumed_sweep_skips_chunks_that_stopped_early():
    members, times = members_with(0.05, 0.05, 1.0), (0, 2, 4, 6)
    whole = run(members, cut=Plan(2, 2, 1), times=times, system=powers()[1])
    assert [s.position for s in whole] == [
        *((0, j, j + 1, times[j]) for j in range(2)),
        *((1, j, j + 1, times[j]) for j in range(4)),
    ]
    resume = Position(0, 1), None
    assert_segments_equal(run(members, cut=Plan(2, 2, 1), times=times, system=powers()[1], resume=resume), whole[2:])


def test_states_kept_on_the_way_are_those_of_single_runs_and_start_a_second_sweep(tol):
    members, keep = grid(NUM_SEEDS, HYPERPARAMETERS, np.float64), (1, 12)
    segments = uninterrupted()
    ends = [s for s in segments if s.last]
    parts = [jax.tree.map(lambda x, s=s: x[: s.members.stop - s.members.start], s.trajectory) for s in ends]
    kept, problems = (
        jax.tree.map(lambda *x: jnp.concatenate(x), *each)
        for each in ([part.kept for part in parts], [part.problem for part in parts])
    )
    expected = [one.kept for one in each_alone(members, keep=keep)]
    np.testing.assert_allclose(kept.state.x, [one.x for one in expected], rtol=0, atol=tol(kept.state.x, 1000))
    start = 1, problems, jax.tree.map(lambda x: x[:, 0], kept.state)
    # Other hyperparameters: a member that starts from a given problem draws nothing.
    others = Members(members.seeds, {name: 0 * values for name, values in members.hyperparameters.items()})
    again = run(others, cut=Plan(4, 4, 6), times=TIMES[1:], start=start)
    np.testing.assert_array_equal(assembled(again, "draw"), assembled(segments, "draw")[:, 1:])
    whole = assembled(segments, "x")[:, 1:]
    np.testing.assert_allclose(assembled(again, "x"), whole, rtol=0, atol=tol(whole, 1000))


def test_a_monitored_system_starts_from_monitored_states():
    members, (_, system) = members_with(0.5, 0.3), powers()
    first = run(members, cut=Plan(2, 2, 3), times=(0, 1, 3), system=system)[-1].trajectory
    rest = run(members, cut=Plan(2, 2, 1), times=(9,), system=system, start=(3, first.problem, first.state))
    assert rest[-1].converged_at.tolist() == [7, 4]
    np.testing.assert_array_equal(rest[-1].observations["x"][0], 0.5**7)


def test_a_given_start_that_is_not_finite_is_bad_at_its_own_step():
    bare, _ = powers()
    system = bare._replace(observe=lambda t, x, a, shared: {"t": t, "x": x})
    members, problems, states = members_with(0.5, 0.5), jnp.full(2, 0.5), jnp.asarray([1.0, jnp.nan])
    rest = run(members, cut=Plan(2, 2, 2), times=(4, 7), system=system, start=(4, problems, states))
    assert rest[-1].diverged_at.tolist() == [-1, 4]
    assert rest[-1].observations["t"].tolist() == [[4, 7], [4, 4]]
    np.testing.assert_array_equal(rest[-1].observations["x"][0], [1.0, 0.125])


def assert_outlined(promised, segment):
    found = segment.trajectory._replace(observations={})
    assert jax.tree.structure(promised) == jax.tree.structure(found)
    like = functools.partial(jax.tree.map, lambda x: (x.shape, x.dtype))
    assert like(promised) == like(found)


def test_the_outline_is_the_shape_of_what_is_yielded():
    members = grid(NUM_SEEDS, HYPERPARAMETERS, np.float64)
    promised = outline(walk(), KEY, members, shared_by_all(), Plan(4, 2, 3), 2)
    assert promised.kept.state.x.shape == (4, 2, 2)
    assert_outlined(promised, uninterrupted()[0])
    bare, system = powers()
    members, cut = members_with(0.5, 0.3, 0.2), Plan(2, 2, 2)
    segments = run(members, cut=cut, times=(0, 1), system=system)
    assert_outlined(outline(system, KEY, members, shared_by_all(), cut), segments[-1])
    assert_outlined(outline(bare, KEY, members, shared_by_all(), cut), segments[-1])


def test_a_system_is_traced_once_however_many_chunks_segments_and_sweeps():
    chex.clear_trace_counter()
    once = walk()._replace(**{part: chex.assert_max_traces(getattr(walk(), part), 1) for part in ("step", "observe")})
    for _ in range(2):
        assert len(run(grid(NUM_SEEDS, HYPERPARAMETERS, np.float64), cut=Plan(4, 2, 3), system=once)) == 6


def test_nothing_runs_before_it_is_asked_for_and_bad_times_are_refused():
    segments = sweep(
        walk(), KEY, grid(1, HYPERPARAMETERS, np.float64), shared_by_all(), (3, 1), plan=PLANS[0], mesh=mesh_of(1)
    )
    with pytest.raises(ValueError, match=r"\[3, 1\]"):
        next(segments)


def sized(num_bytes, num_seen=1):
    """A system whose state holds so many bytes and whose observation holds so many numbers; it never runs."""

    def init(key, hyperparameters, shared):
        return (), jnp.zeros(num_bytes // 4, jnp.float32)

    return Dynamics(init, lambda t, x, _, shared: x, lambda t, x, _, shared: {"seen": jnp.zeros(num_seen)})


def planned(num_bytes, num_members, num_times=100, *, num_seen=1, on_cpu=True, **options):
    members = grid(num_members, {}, np.float64)
    return plan(sized(num_bytes, num_seen), KEY, members, (), num_times, on_cpu=on_cpu, **options)


@settings(max_examples=50)
@given(
    num_bytes=st.sampled_from([8, 1 << 12, 1 << 18, 1 << 24, 1 << 28]),
    num_members=st.integers(1, 5000),
    num_devices=st.integers(1, 9),
    chunk=st.sampled_from([0, 1, 5, 64]),
    batch=st.sampled_from([0, 1, 3, 50]),
    segment=st.sampled_from([0, 1, 7, 1000]),
    on_cpu=st.booleans(),
    num_times=st.integers(1, 300),
)
def test_a_plan_covers_its_members_and_respects_what_was_given(
    num_bytes, num_members, num_devices, chunk, batch, segment, on_cpu, num_times
):
    options = {"num_devices": num_devices, "chunk": chunk, "batch": batch, "segment": segment}
    made = planned(num_bytes, num_members, num_times, on_cpu=on_cpu, **options)
    assert made.chunk % num_devices == 0
    on_each = made.chunk // num_devices
    assert on_each % made.batch == 0
    rounds = on_each // made.batch
    if batch:
        assert made.batch <= batch
    elif not on_cpu:
        assert made.batch == on_each
    if chunk:
        # Rounding up to whole batches on every device adds less than one member a batch.
        assert made.chunk < chunk + num_devices * (rounds + 1)
    assert made.chunk < num_members + num_devices * (rounds + 1)
    # Chunks are nearly equal: none of them could be left out, and fillers are fewer than chunks plus rounding.
    num_chunks = math.ceil(num_members / made.chunk)
    assert (num_chunks - 1) * made.chunk < num_members <= num_chunks * made.chunk
    assert 1 <= made.segment <= num_times
    if segment:
        assert made.segment == min(segment, num_times)
    else:
        assert math.ceil(num_times / made.segment) <= 12
        assert math.ceil(num_times / made.segment) >= min(4, num_times) or num_times < 12


def test_huge_states_make_several_chunks_and_small_ones_a_single_one():
    state = 1 << 26
    many = planned(state, 40, on_cpu=False)
    assert many.chunk < 40
    # The default budget of 1 GiB holds a state and three transient copies of it for every member of a chunk.
    assert 4 * state * many.chunk <= 1 << 30 < 4 * state * 2 * (many.chunk + 1)
    assert planned(1 << 10, 40, on_cpu=False).chunk == 40
    assert planned(1 << 34, 3, on_cpu=False).chunk == 1
    # What is observed counts too: 100 observations of 1 MiB each.
    assert planned(8, 40, num_seen=1 << 17, on_cpu=False, segment=100).chunk == 10


def test_a_cpu_steps_small_states_together_and_large_ones_in_turn():
    assert planned(1 << 10, 64) == Plan(64, 64, planned(1 << 10, 64).segment)
    assert planned(1 << 20, 64).batch == 1
    assert planned(1 << 17, 64).batch == 4
    assert planned(1 << 20, 64, on_cpu=False).batch == 64


@pytest.mark.parametrize(
    ("num_bytes", "num_members", "on_cpu", "num_devices"),
    [(1 << 20, 5, True, 4), (1 << 20, 3, True, 3), (1 << 26, 5, True, 1), (1 << 26, 5, False, 4)],
)
def test_members_are_spread_unless_one_fills_the_cpu(num_bytes, num_members, on_cpu, num_devices):
    members = grid(num_members, {}, np.float64)
    assert spread(sized(num_bytes, 1), KEY, members, (), 4, on_cpu=on_cpu) == num_devices


@pytest.fixture(scope="module")
def on_devices(tmp_path_factory):
    """What the same sweep gives on 1, 2 and 8 simulated devices of a process of its own."""
    path = tmp_path_factory.mktemp("devices") / "found.npz"
    environment = without_settings() | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    command = [sys.executable, "-m", "tests.support.sweep_devices", str(path)]
    child = finish(command, cwd=ROOT, env=environment)
    assert child.returncode == 0, child.stderr
    return dict(np.load(path))


@pytest.mark.parametrize("devices", DEVICES[1:])
def test_draws_are_equal_bit_for_bit_on_any_number_of_devices_and_results_to_rounding(on_devices, devices, tol):
    assert on_devices["x_1"].shape == (11, len(TIMES), 2)
    for name in ("draw", "fresh", "matrix", "t"):
        assert np.array_equal(on_devices[f"{name}_{devices}"], on_devices[f"{name}_1"])
    found, expected = on_devices[f"x_{devices}"], on_devices["x_1"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=tol(expected, 1000))
    assert len(np.unique(expected[:, -1, 0])) == 11
