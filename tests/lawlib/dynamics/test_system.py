"""One trajectory and its four combinators, against closed forms and plain numpy loops."""

import functools
import itertools
import operator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lawlib.dynamics.system import Dynamics, Pair, advance, begin, gaps, pair, simulate, until

# The fixtures used below are pure functions of the dtype, so sharing them between examples is safe.
shares_fixtures = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
TIMES = (0, 1, 4, 5, 11, 20)
KEY = jax.random.key(0)


def affine(dtype=jnp.float64, power=1):
    """The map x <- (rate a)^power x + drift with a and x(0) drawn; a is the problem, drift is shared."""

    def init(key, hyperparameters, shared):
        key_a, key_x = jax.random.split(key)
        a = hyperparameters["rate"] * jax.random.uniform(key_a, (3,), dtype, 0.5, 0.9)
        return a, jax.random.uniform(key_x, (3,), dtype, -2.0, 2.0)

    def step(_, x, a, shared):
        return a**power * x + shared

    def observe(_, x, a, shared):
        return {"x": x, "sum": jnp.sum(x)}

    return Dynamics(init, step, observe)


class Walk(NamedTuple):
    x: jax.Array
    key: jax.Array
    made: jax.Array


def walk():
    """A chaotic walk with a key and a count of its own steps in its state, so that a lost or repeated step shows."""

    def init(key, hyperparameters, shared):
        matrix = hyperparameters["rate"] * jnp.asarray(np.random.default_rng(0).standard_normal((4, 4)))
        return matrix, Walk(jnp.ones(4), key, jnp.asarray(0, jnp.int32))

    def step(t, walk, matrix, shared):
        return walk._replace(x=jnp.tanh(matrix @ walk.x) + jnp.cos(t.astype(walk.x.dtype)), made=walk.made + 1)

    return Dynamics(init, step, lambda t, walk, matrix, shared: {"x": walk.x, "made": walk.made, "t": t})


def powers():
    """The map x <- a x from x(0) = start, all hyperparameters: one product a step, which numpy rounds alike."""

    def init(key, hyperparameters, shared):
        return hyperparameters["a"], hyperparameters["start"]

    return Dynamics(init, lambda _, x, a, shared: a * x, lambda t, x, a, shared: {"x": x, "t": t})


def closed_form(a, x, drift):
    """The states x(t) of x <- a x + drift at TIMES, one a row."""
    t = np.array(TIMES)[:, None]
    return a**t * x + drift * (1 - a**t) / (1 - a)


def below(_, x, a, shared):
    return jnp.abs(x) < shared


def unfold(a, x, num_steps):
    """[x(0), ..., x(num_steps)] by a plain loop."""
    found = [x]
    with np.errstate(over="ignore"):
        for _ in range(num_steps):
            found.append(a * found[-1])
    return np.array(found)


def first(flags):
    return int(np.argmax(flags)) if np.any(flags) else -1


def assert_trees_equal(tree, other, atol=0.0):
    plain = functools.partial(jax.tree.map, lambda x: np.asarray(jax.random.key_data(x) if is_key(x) else x))
    assert jax.tree.structure(tree) == jax.tree.structure(other)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=0, atol=atol), plain(tree), plain(other))


def is_key(x):
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


@functools.cache
def compiled(build, times, keep=(), **options):
    """The jitted simulate of a system, one program for all tests that share it."""
    return jax.jit(
        lambda key, hyperparameters, shared: simulate(build(**options), key, hyperparameters, shared, times, keep=keep)
    )


@functools.cache
def powers_until(times):
    return jax.jit(lambda hyperparameters, size: simulate(until(powers(), below), KEY, hyperparameters, size, times))


@shares_fixtures
@given(seed=st.integers(0, 2**31 - 1), rate=st.floats(0.2, 1.0), drift=st.floats(-1, 1))
def test_a_linear_system_follows_its_closed_form_at_irregular_times(seed, rate, drift, dtype, tol):
    hyperparameters, shared = {"rate": jnp.asarray(rate, dtype)}, jnp.full(3, drift, dtype)
    run = compiled(affine, TIMES, dtype=dtype)(jax.random.key(seed), hyperparameters, shared)
    a, x = (np.asarray(each, np.float64) for each in affine(dtype).init(jax.random.key(seed), hyperparameters, shared))
    expected = closed_form(a, x, drift)
    np.testing.assert_allclose(run.observations["x"], expected, rtol=0, atol=tol(run.state, 100))
    np.testing.assert_allclose(run.observations["sum"], expected.sum(axis=1), rtol=0, atol=tol(run.state, 300))
    np.testing.assert_array_equal(run.state, run.observations["x"][-1])
    np.testing.assert_allclose(run.problem, a, rtol=tol(run.state))
    assert run.kept is None


def test_every_step_counts_once():
    run = compiled(walk, TIMES)(jax.random.key(0), {"rate": jnp.asarray(1.0)}, ())
    assert run.observations["made"].tolist() == run.observations["t"].tolist() == list(TIMES)
    x = np.ones(4)
    for t in range(TIMES[-1]):
        x = np.tanh(np.asarray(run.problem) @ x) + np.cos(t)
    # Chaotic: what rounding leaves grows from step to step.
    np.testing.assert_allclose(run.observations["x"][-1], x, rtol=1e-6)


@settings(max_examples=8)
@given(cuts=st.sets(st.sampled_from(range(1, len(TIMES)))))
def test_segments_give_the_same_trajectory_bit_for_bit(cuts):
    key, hyperparameters, keep = jax.random.key(3), {"rate": jnp.asarray(0.7)}, (1, 11)
    whole = compiled(walk, TIMES, keep)(key, hyperparameters, ())
    problem, state, kept = begin(walk(), key, hyperparameters, (), len(keep))
    seen, steps, edges = [], gaps(TIMES, keep), [0, *sorted(cuts), len(TIMES)]
    for start, stop in itertools.pairwise(edges):
        now = jnp.asarray(TIMES[start - 1] if start else 0, jnp.int32)
        part = advance_walk(problem, state, kept, now, steps[start:stop], np.asarray(keep, np.int32))
        state, kept = part.state, part.kept
        seen.append(part.observations)
    assert_trees_equal((state, kept), (whole.state, whole.kept))
    assert_trees_equal(jax.tree.map(lambda *parts: np.concatenate(parts), *seen), dict(whole.observations))


@jax.jit
def advance_walk(problem, state, kept, now, steps, keep):
    return advance(walk(), problem, state, kept, (), now, steps, keep)


@settings(max_examples=50)
@given(
    a=st.floats(0.3, 0.95),
    start=st.floats(0.1, 100.0),
    size=st.sampled_from([0.05, 0.1, 1.0, 1000.0]),
)
def test_until_stops_at_the_first_step_that_is_done_and_stays(a, start, size):
    run = powers_until(TIMES)({"a": jnp.asarray(a), "start": jnp.asarray(start)}, jnp.asarray(size))
    alone = unfold(a, start, TIMES[-1])
    stop = first(np.abs(alone) < size)
    assert int(run.state.converged_at) == stop
    assert int(run.state.diverged_at) == -1
    assert run.observations["t"].tolist() == [min(t, stop) if stop >= 0 else t for t in TIMES]
    frozen = alone[: stop + 1] if stop >= 0 else alone
    expected = [frozen[min(t, len(frozen) - 1)] for t in TIMES]
    np.testing.assert_array_equal(run.observations["x"], expected)
    np.testing.assert_array_equal(run.state.state, expected[-1])


@pytest.mark.parametrize(("start", "stop"), [(0.01, 0), (3.0, 2), (100.0, 7), (1e9, -1)])
def test_done_is_seen_between_observations_and_at_the_start(start, stop):
    hyperparameters = {"a": jnp.asarray(0.5), "start": jnp.asarray(start)}
    assert int(powers_until((0, 20))(hyperparameters, jnp.asarray(1.0)).state.converged_at) == stop


def test_a_system_that_has_stopped_stays_where_it_is_under_another_until():
    hyperparameters = {"a": jnp.asarray(0.5), "start": jnp.asarray(3.0)}
    found = simulate(until(until(powers(), below)), KEY, hyperparameters, jnp.asarray(1.0), TIMES)
    outer, inner = found.state, found.state.state
    assert (int(inner.converged_at), int(outer.converged_at), int(outer.diverged_at)) == (2, -1, -1)
    np.testing.assert_array_equal(found.observations["x"], [3.0, 1.5, 0.75, 0.75, 0.75, 0.75])


@settings(max_examples=50)
@given(exponent=st.floats(16.0, 250.0), start=st.sampled_from([1.0, -3.5, 1e100]))
def test_until_names_the_first_step_that_is_not_finite(exponent, start):
    a = 10.0**exponent
    run = powers_until(TIMES)({"a": jnp.asarray(a), "start": jnp.asarray(start)}, jnp.asarray(0.0))
    alone = unfold(a, start, TIMES[-1])
    bad = first(~np.isfinite(alone))
    assert bad > 0
    assert int(run.state.diverged_at) == bad
    assert int(run.state.converged_at) == -1
    np.testing.assert_array_equal(run.observations["x"], [alone[min(t, bad)] for t in TIMES])


@pytest.mark.parametrize("start", [np.nan, np.inf])
def test_a_start_that_is_not_finite_is_bad_at_step_0_and_never_done(start):
    # Infinity is "done" under this rule, but no result: bad goes first.
    def either(_, x, a, shared):
        return ~(jnp.abs(x) < 1)

    hyperparameters = {"a": jnp.asarray(0.5), "start": jnp.asarray(start)}
    state = jax.jit(lambda hyperparameters: simulate(until(powers(), either), KEY, hyperparameters, (), TIMES[:2]))(
        hyperparameters
    ).state
    assert (int(state.converged_at), int(state.diverged_at)) == (-1, 0)


def test_a_member_that_is_done_never_becomes_bad():
    def above(_, x, a, shared):
        return x > 1e99

    hyperparameters = {"a": jnp.asarray(1e50), "start": jnp.asarray(1.0)}
    run = jax.jit(lambda hyperparameters: simulate(until(powers(), above), KEY, hyperparameters, (), TIMES))(
        hyperparameters
    )
    assert not np.all(np.isfinite(unfold(1e50, 1.0, TIMES[-1])))
    assert (int(run.state.converged_at), int(run.state.diverged_at)) == (2, -1)
    np.testing.assert_allclose(run.observations["x"][2:], 1e100, rtol=1e-12)


def test_without_a_rule_until_monitors_for_bad_values_alone():
    key, hyperparameters = jax.random.key(1), {"rate": jnp.asarray(0.9)}
    monitored = jax.jit(lambda hyperparameters: simulate(until(walk()), key, hyperparameters, (), TIMES))(
        hyperparameters
    )
    plain = compiled(walk, TIMES)(key, hyperparameters, ())
    assert (int(monitored.state.converged_at), int(monitored.state.diverged_at)) == (-1, -1)
    np.testing.assert_allclose(monitored.observations["x"], plain.observations["x"], rtol=1e-10)
    assert_trees_equal(monitored.state.state.key, key)


def test_a_pair_runs_two_systems_from_one_draw_and_sees_both(tol):
    def observe(_, states, problems, shared):
        return {"x": jnp.stack([*states]), "a": jnp.stack([*problems]), "shared": shared}

    key, hyperparameters, shared = jax.random.key(5), {"rate": jnp.asarray(0.8)}, jnp.full(3, 0.3)
    system = pair(affine(), affine(power=2), observe)
    both = jax.jit(lambda hyperparameters: simulate(system, key, hyperparameters, shared, TIMES))(hyperparameters)
    assert isinstance(both.state, Pair)
    a, x = (np.asarray(each) for each in affine().init(key, hyperparameters, shared))
    for which, power in enumerate((1, 2)):
        np.testing.assert_allclose(both.problem[which], a, rtol=1e-13)
        np.testing.assert_allclose(both.observations["a"][-1, which], a, rtol=1e-13)
        expected = closed_form(a**power, x, 0.3)
        np.testing.assert_allclose(both.observations["x"][:, which], expected, rtol=0, atol=tol(both.state.first))
    assert np.all(both.observations["x"][1, 0] != both.observations["x"][1, 1])
    np.testing.assert_array_equal(both.observations["shared"][-1], shared)


def test_a_half_that_is_done_stays_while_the_other_goes_on():
    """Half of one squares itself beyond all numbers after it is done: it may make neither itself nor the pair bad."""

    def above(_, x, a, shared):
        return x > 1e99

    def observe(_, states, problems, shared):
        return {"x": states.first.state, "done": states.first.converged_at}

    system = pair(until(powers(), above), powers(), observe)
    hyperparameters = {"a": jnp.asarray(1e50), "start": jnp.asarray(1.0)}
    run = jax.jit(lambda hyperparameters: simulate(system, KEY, hyperparameters, (), TIMES))(hyperparameters)
    assert not np.isfinite(run.state.second)
    np.testing.assert_allclose(run.observations["x"][2:], 1e100, rtol=1e-12)
    assert (int(run.state.first.converged_at), int(run.state.first.diverged_at)) == (2, -1)


@pytest.mark.parametrize("keep", [(0,), (11, 4), TIMES])
def test_kept_states_are_those_of_runs_that_end_there(keep):
    key, hyperparameters = jax.random.key(2), {"rate": jnp.asarray(0.6)}
    run = compiled(walk, TIMES, keep)(key, hyperparameters, ())
    assert run.kept.made.tolist() == list(keep)
    for place, time in enumerate(keep):
        alone = compiled(walk, (time,))(key, hyperparameters, ()).state
        # A step on the way to another observation is compiled apart, and may round apart.
        assert_trees_equal(jax.tree.map(operator.itemgetter(place), run.kept), alone, atol=1e-15)


@pytest.mark.parametrize("monitor", [until, lambda system: system])
def test_a_run_started_from_a_kept_state_goes_on_as_if_uninterrupted(monitor):
    key, hyperparameters, branch = jax.random.key(4), {"rate": jnp.asarray(0.6)}, TIMES.index(4)
    system = monitor(walk())
    whole = jax.jit(lambda: simulate(system, key, hyperparameters, (), TIMES, keep=(4,)))()
    state = jax.tree.map(lambda x: x[0], whole.kept)
    start = (whole.problem, state)
    # Another key and other hyperparameters: nothing is drawn again.
    drawn = jax.random.key(99), {"rate": jnp.asarray(0.1)}
    other = jax.jit(lambda start: simulate(system, *drawn, (), TIMES[branch:], start=(4, *start)))(start)
    assert_trees_equal((other.problem, other.state), (whole.problem, whole.state))
    assert_trees_equal(dict(other.observations), {name: x[branch:] for name, x in whole.observations.items()})


@pytest.mark.parametrize(
    ("times", "keep", "named"),
    [
        ((0, 3, 3), (), r"\[0, 3, 3\]"),
        ((0, 5, 4), (), r"\[0, 5, 4\]"),
        ((-1, 2), (), r"\[-1, 2\]"),
        ((), (), r"\[\]"),
        (np.array([2, 1]), (), r"\[2, 1\]"),
        (np.array([0, 1.5]), (), r"\[0\.0, 1\.5\]"),
        (np.array([[0, 1], [2, 3]]), (), r"\[\[0, 1\], \[2, 3\]\]"),
        ((0, 2), (1, 2, 3), r"\[1, 3\]"),
        (np.array([0, 2]), np.array([1]), r"\[1\]"),
        ((0, 2), (2, 2), r"\[2, 2\]"),
    ],
)
def test_times_that_cannot_be_are_refused_by_value(times, keep, named):
    with pytest.raises(ValueError, match=named):
        simulate(powers(), jax.random.key(0), {"a": jnp.ones(()), "start": jnp.ones(())}, (), times, keep=keep)


def test_members_under_vmap_stop_each_at_its_own_step():
    hyperparameters = {"a": jnp.array([0.5, 0.9, 1e80, 1.0]), "start": jnp.array([3.0, 2.0, 1.0, 5.0])}
    run = jax.jit(
        jax.vmap(lambda hyperparameters: simulate(until(powers(), below), KEY, hyperparameters, 1.0, TIMES, keep=(5,)))
    )(hyperparameters)
    assert run.state.converged_at.tolist() == [2, 7, -1, -1]
    assert run.state.diverged_at.tolist() == [-1, -1, 4, -1]
    np.testing.assert_array_equal(run.kept.state[:, 0], run.observations["x"][:, TIMES.index(5)])
    for member in range(4):
        one = jax.tree.map(operator.itemgetter(member), hyperparameters)
        alone = powers_until(TIMES)(one, jnp.asarray(1.0))
        np.testing.assert_array_equal(run.observations["x"][member], alone.observations["x"])
