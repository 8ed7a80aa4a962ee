"""Schedules: against the rates written out step by step, with traced lengths, repeated and branched."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lawlib.descent.schedules import Phase, branched, expand, piecewise, rates_at

rate = st.floats(0, 1, width=32)
# Four phases, of no steps where they lack: one shape is one program.
phases = st.lists(st.tuples(st.integers(0, 5), rate, rate), min_size=4, max_size=4)
LAST = 12


def written_out(phases, tail, num_steps):
    """Every step's rates, by repeating each phase's as often as it lasts."""
    steps = [pair for length, *pair in phases for _ in range(length)]
    return np.asarray((steps + [list(tail)] * num_steps)[:num_steps]).reshape(num_steps, 2)


every_step = jax.jit(lambda phases, tail: jnp.stack(expand(piecewise(phases, tail), LAST), axis=1))


@jax.jit
def every_step_branched(phases, tail, time):
    return jnp.stack(expand(branched(piecewise(phases, tail), time, (0.5, 0.25)), LAST), axis=1)


@given(phases, st.tuples(rate, rate))
def test_every_step_has_the_rates_of_its_phase(phases, tail):
    np.testing.assert_array_equal(every_step(phases, tail), written_out(phases, tail, LAST))


@given(phases, st.tuples(rate, rate), st.integers(0, 12))
def test_a_branch_leaves_the_schedule_at_its_time(phases, tail, time):
    expected = written_out(phases, tail, LAST)
    expected[time:] = 0.5, 0.25
    np.testing.assert_array_equal(every_step_branched(phases, tail, time), expected)


def test_phases_repeat_as_python_repeats(dtype):
    high, low = Phase(2, 0.4, 0.1), Phase(1, 0.1, 0.001)
    found = expand(piecewise([high, low] * 2, (0.0, 1.0), dtype), 8)
    assert {x.dtype for x in found} == {dtype}
    np.testing.assert_allclose(found.step_size, [0.4, 0.4, 0.1, 0.4, 0.4, 0.1, 0, 0], rtol=1e-7)


def test_lengths_and_rates_may_be_swept():
    def rates(length, size):
        return expand(branched(piecewise([(length, size, 0.1)], (0.3, 0.2)), 2 * length, (0.01, 0.0)), 7)

    swept = jax.jit(jax.vmap(rates))(jnp.asarray([1.0, 2.0]), jnp.asarray([0.7, 0.8]))
    expected = [[0.7, 0.3, 0.01, 0.01, 0.01, 0.01, 0.01], [0.8, 0.8, 0.3, 0.3, 0.01, 0.01, 0.01]]
    np.testing.assert_array_equal(swept.step_size, expected)


def test_one_step_reads_what_all_steps_hold():
    schedule = piecewise([(3, 0.4, 0.1), (2, 0.1, 0.001)], (0.2, 0.3))
    one = jax.jit(lambda step: rates_at(schedule, step))
    each = [one(step) for step in range(8)]
    for all_of, single in zip(expand(schedule, 8), zip(*each, strict=True), strict=True):
        np.testing.assert_array_equal(all_of, single)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: piecewise([(-1, 0.1, 0.1)], (0.1, 0.1)), "the length of a phase .* >= 0, got -1"),
        (lambda: piecewise([(np.nan, 0.1, 0.1)], (0.1, 0.1)), "got nan"),
        (lambda: piecewise([(1, 0.1)], (0.1, 0.1)), r"a phase is \(num_steps, step_size, weight_decay\)"),
        (lambda: piecewise([], (0.1,)), r"the tail \(step_size, weight_decay\), got \(0.1,\)"),
        (lambda: branched(piecewise([], (0.1, 0.1)), -5, (0.1, 0.1)), "time of a branch .* got -5"),
        (lambda: expand(piecewise([], (0.1, 0.1)), -2), "num_steps .* got -2"),
    ],
)
def test_bad_input_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
