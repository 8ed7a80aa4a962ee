"""A run that stands still says so once; one that is slow, stopped, saving or done does not."""

import itertools
from types import SimpleNamespace

import jax
import pytest

from experiments.runner.watchdog import CHECK_EVERY_S, CHECKS, IDLE_SHARE, Watchdog
from experiments.runner.watchdog import monitored as watching

ENOUGH = CHECKS + 1  # the first check has nothing to compare with
LEAST_CPU = IDLE_SHARE * CHECK_EVERY_S


@pytest.fixture
def monitored():
    """A watchdog on a run of which the test says when a segment ends, and how much CPU it uses."""
    scene = SimpleNamespace(cpu=5.0, barks=0)

    def bark():
        scene.barks += 1

    watchdog = Watchdog(bark, lambda: scene.cpu)

    def observations(count, cpu_each=0.0):
        for _ in range(count):
            scene.cpu += cpu_each
            watchdog.check()

    scene.observations, scene.monitor = observations, watchdog.monitor
    return scene


def computing(scene, during):
    """Runs ``during`` while the only segment is computed."""

    def segments():
        during()
        yield "segment"

    assert list(scene.monitor(segments())) == ["segment"]


def test_a_minute_without_progress_and_cpu_is_told_once(monitored):
    computing(monitored, lambda: monitored.observations(ENOUGH))
    assert monitored.barks == 1
    computing(monitored, lambda: monitored.observations(5 * ENOUGH))
    assert monitored.barks == 2


def test_less_than_a_minute_is_not(monitored):
    computing(monitored, lambda: monitored.observations(ENOUGH - 1))
    assert monitored.barks == 0


@pytest.mark.parametrize(("share", "barks"), [(0.0, 1), (0.5, 1), (0.99, 1), (1.01, 0), (20.0, 0)])
def test_a_slow_run_is_told_from_a_still_one_by_its_cpu_time(monitored, share, barks):
    computing(monitored, lambda: monitored.observations(ENOUGH, share * LEAST_CPU))
    assert monitored.barks == barks


def test_one_check_that_finds_work_begins_the_minute_again(monitored):
    def during():
        for _ in range(3):
            monitored.observations(ENOUGH - 2)
            monitored.observations(1, 2 * LEAST_CPU)

    computing(monitored, during)
    assert monitored.barks == 0


def test_segments_that_end_between_checks_are_progress(monitored):
    for segment in monitored.monitor(itertools.repeat("segment", 3 * ENOUGH)):
        assert segment == "segment"
        monitored.observations(1)
    assert monitored.barks == 0


def test_saving_may_take_its_time(monitored):
    for _ in monitored.monitor(iter("ab")):
        monitored.observations(3 * ENOUGH)
    monitored.observations(3 * ENOUGH)
    assert monitored.barks == 0


def test_an_error_of_a_segment_comes_through_and_ends_the_watch(monitored):
    def segments():
        yield "a"
        msg = "the roof is on fire"
        raise RuntimeError(msg)

    with pytest.raises(RuntimeError, match="roof"):
        list(monitored.monitor(segments()))
    monitored.observations(3 * ENOUGH)
    assert monitored.barks == 0


def test_a_run_on_an_accelerator_is_not_watched(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr("experiments.runner.watchdog.guarding", None)
    segments = iter("ab")
    with watching(None) as monitor:
        assert monitor(segments) is segments
