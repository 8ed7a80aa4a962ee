"""Calls are cut by what they take."""

from types import SimpleNamespace

import numpy as np
import pytest

from experiments.runner.pace import LONGEST_S, NOWHERE, TARGET_S, Pace
from lawlib.dynamics.sweep import Position

EVERY_100 = np.arange(0, 10_001, 100)


class Run:
    """A run of a chunk that a pace cuts, and a clock: a step takes ``step`` seconds and an observation ``seen``."""

    def __init__(self, times, segment, *, step, seen=0.0, begun=NOWHERE):
        self.now, self.calls = 0.0, []
        self._times, self._segment, self._costs = times, segment, (step, seen)
        self.pace = Pace(times, segment, lambda: self.now)
        self.end = [segment.position.now for segment in self.pace.timed(self._segments(begun), begun)][-1]

    def _segments(self, at):
        step, seen = self._costs
        while at.seen < len(self._times):
            ends = self._times[at.seen : at.seen + self._segment]
            most = self.pace.most_steps() or ends[-1]
            reached = ends[ends - at.now <= most]
            now = min(at.now + most, int(ends[-1]))
            took = step * (now - at.now) + seen * len(reached)
            self.now += took
            self.calls.append(took)
            at = Position(0, at.segment + 1, at.seen + len(reached), now)
            yield SimpleNamespace(position=at)


@pytest.mark.parametrize("step", [0.02, 0.5, 3.0, 7.0, 15.0])
def test_slow_steps_are_made_few_at_a_time_from_the_first_call_on(step):
    run = Run(EVERY_100, 9, step=step)
    assert run.end == 10_000
    assert max(run.calls[1:]) <= max(LONGEST_S, step)
    # The first call makes a 64th of the 800 steps of a segment, which would take up to an hour and a half.
    assert run.calls[0] == 12 * step
    assert np.mean(run.calls) > min(TARGET_S / 2, step / 2)


def test_a_resumed_run_does_not_take_the_steps_made_before_for_its_own():
    run = Run(EVERY_100, 9, step=0.1, begun=Position(0, 40, 51, 5050))
    assert run.calls[0] == pytest.approx(1.2)
    assert max(run.calls) <= LONGEST_S


def test_quick_steps_are_not_cut_but_for_the_first_call():
    run = Run(EVERY_100, 9, step=1e-5, seen=1e-4)
    assert len(run.calls) == 1 + int(np.ceil(101 / 9))


def test_where_observations_take_the_time_a_call_makes_few():
    run = Run(EVERY_100, 9, step=1e-5, seen=2.0)
    assert max(run.calls) <= LONGEST_S + 2.0
    assert len(run.calls) <= 3 * 101
    assert run.end == 10_000


@pytest.mark.parametrize("seen", [20.0, 200.0])
def test_a_call_has_one_observation_where_each_takes_long(seen):
    run = Run(EVERY_100, 9, step=1e-5, seen=seen)
    assert max(run.calls) == pytest.approx(seen, rel=1e-3)
    assert sum(run.calls) == pytest.approx(101 * seen, rel=1e-3)


def test_a_resumed_run_grows_before_its_first_observation():
    run = Run(EVERY_100, 9, step=1e-4, begun=Position(0, 40, 51, 5050))
    assert len(run.calls) < 12


def test_few_steps_to_an_observation_are_not_cut_at_first():
    run = Run(np.arange(50), 10, step=0.1)
    assert len(run.calls) == 5
    slow = Run(np.arange(50), 10, step=4.0)
    assert slow.calls[0] == 36.0
    assert max(slow.calls[1:]) <= LONGEST_S
