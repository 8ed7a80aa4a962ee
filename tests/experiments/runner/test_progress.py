"""Progress: plain lines in a file, a bar on a terminal, every report in the log, and a time left one can believe."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from experiments.runner import progress
from experiments.runner.progress import reporting


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves: clock.now, in seconds."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def reported(clock, reports, *, terminal=False, total=4):
    """What is shown and what is logged of (seconds, variant, finished, share, ends) reports."""
    log, begun = [], clock.now
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120)
    with reporting(console, log.append, total) as reporter:
        for seconds, *report in reports:
            clock.now = begun + seconds
            reporter.report(*report)
    return console.file.getvalue(), log


def test_without_a_terminal_there_are_plain_lines(clock):
    shown, _ = reported(clock, [(0, "deep", 0, 0.0, 1.0, "compiling"), (5, "deep", 1, 0.25, 1.0)])
    assert shown.splitlines() == [
        "deep: compiling, 0 of 4 members finished, 0%",
        "deep: running, 1 of 4 members finished, 25%, 15 s left",
    ]


def test_the_time_left_is_that_of_the_variant_at_its_own_pace(clock):
    # The wide network takes 1000 s, the narrow one 10: neither says anything of the other's time.
    wide = [(0, "wide", 0, 0.0, 0.5, "compiling"), (500, "wide", 0, 0.25, 0.5), (1000, "wide", 2, 0.5, 0.5)]
    narrow = [(1003, "narrow", 2, 0.5, 1.0, "compiling"), (1008, "narrow", 3, 0.75, 1.0)]
    shown, _ = reported(clock, wide + narrow)
    assert shown.splitlines() == [
        "wide: compiling, 0 of 4 members finished, 0%",
        "wide: running, 0 of 4 members finished, 25%, 500 s left of this variant",
        "wide: running, 2 of 4 members finished, 50%, 0 s left of this variant",
        "narrow: compiling, 2 of 4 members finished, 50%",
        "narrow: running, 3 of 4 members finished, 75%, 5 s left",
    ]


def test_lines_are_two_seconds_apart_and_the_log_holds_every_report(clock):
    reports = [(0.3 * i, "deep", 0, i / 100, 1.0) for i in range(100)]
    shown, log = reported(clock, reports)
    # Ticks of .3 s pass 2 s every 7th: 14 lines after the first in 30 s, where 100 reports were made.
    assert len(shown.splitlines()) == 1 + 99 // 7
    assert [record["share"] for record in log] == [i / 100 for i in range(100)]
    assert log[3] == {"variant": "deep", "doing": "running", "members_finished": 0, "share": 0.03}


def test_a_resumed_run_counts_only_its_own_time(clock):
    # Half was done before; a quarter takes 10 s, so that the last quarter takes 10 s more, not 3.
    shown, _ = reported(clock, [(0, "deep", 2, 0.5, 1.0, "compiling"), (10, "deep", 3, 0.75, 1.0)])
    assert shown.splitlines()[1:] == ["deep: running, 3 of 4 members finished, 75%, 10 s left"]


def test_no_time_is_promised_before_anything_is_done(clock):
    shown, _ = reported(clock, [(3, "deep", 2, 0.5, 1.0, "compiling"), (6, "deep", 2, 0.5, 1.0)])
    assert shown.splitlines() == [
        "deep: compiling, 2 of 4 members finished, 50%",
        "deep: running, 2 of 4 members finished, 50%",
    ]


def test_brackets_in_a_name_are_no_markup(clock):
    shown, _ = reported(clock, [(3, "a[bold]b", 0, 0.0, 1.0)])
    assert shown.startswith("a[bold]b: running")
    shown, _ = reported(clock, [(3, "a[bold]b", 0, 0.0, 1.0)], terminal=True)
    assert "a[bold]b: running" in shown


def test_a_terminal_has_a_bar_with_one_time_left(clock):
    shown, log = reported(clock, [(0, "deep", 2, 0.5, 1.0), (10, "deep", 3, 0.75, 1.0)], terminal=True)
    assert "━" in shown
    assert "deep: running, 3 of 4 members finished, 75%, 10 s left" in shown
    # rich's own estimate would take the half done before for the work of a moment.
    assert "0:00" not in shown
    assert "-:--" not in shown
    assert len(log) == 2
