"""The line that a supervisor says of the process it started, whatever that one and JAX had to say."""

import os
import sys

import pytest

from experiments.runner.team.peers import Peers
from experiments.runner.team.supervisor import VARIABLE, is_supervised, supervise

LOG = "1130 01:48:12.325210    1661 client.h:86]"
FATAL = f"F{LOG} Terminating process because the JAX distributed service detected fatal errors. UNAVAILABLE:\n:more\n"
AGAIN = "give all of them the same command again, which resumes the run\n"


@pytest.fixture
def ends(tmp_path, monkeypatch, capsys):
    """What a supervisor returns and says when the process that it starts says this on stderr and ends so."""

    def run(said, end):
        program = tmp_path / "program"
        program.write_text(f"#!/bin/sh\ncat <<'EOF' >&2\n{said}EOF\n{end}\n")
        program.chmod(0o700)
        monkeypatch.setattr(sys, "executable", str(program))
        return supervise(["--distributed"], Peers("host:1", 4, 2)), capsys.readouterr().err

    return run


@pytest.mark.parametrize("code", [0, 1, 2, 70, 75, 130])
def test_lines_and_the_exit_code_are_handed_on_and_the_log_is_not(ends, code):
    said = f"one\nI{LOG} Connected\nW{LOG} slow\ntwo\nE{LOG} Polled\nthree\n"
    assert ends(said, f"exit {code}") == (code, "one\ntwo\nthree\n")


@pytest.mark.parametrize("end", ["kill -ABRT $$", "exit 76", "exit 1"])
def test_a_process_that_jax_ends_because_of_another_is_one_line_and_resumes(ends, end):
    line = f"process 2 of 4: another process of the run has ended or cannot be reached; {AGAIN}"
    assert ends(f"E{LOG} Polled an error\n{FATAL}", end) == (75, line)


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ("DEADLINE_EXCEEDED: Deadline Exceeded", "the others have not joined within 300 s"),
        ("ALREADY_EXISTS: Aborted connect attempt", "another process has joined with its index"),
    ],
)
def test_a_process_that_waits_in_vain_for_the_others_is_one_line(ends, status, why):
    said = f"{FATAL.partition(' UNAVAILABLE')[0]} absl::Status: {status}\n\nRPC: /x.CoordinationService/RegisterTask\n"
    line = f"process 2 of 4: {why}; start all of them, each with its own --process and the same --coordinator\n"
    assert ends(said, "kill -ABRT $$") == (2, line)


def test_a_killed_process_is_one_line_and_resumes_and_another_signal_is_an_error(ends):
    line = f"process 2 of 4: was killed (SIGKILL: by somebody, or for want of memory); {AGAIN}"
    assert ends("", "kill -KILL $$") == (75, line)
    assert ends("Fatal Python error: Segmentation fault\n", "kill -SEGV $$") == (
        139,
        "Fatal Python error: Segmentation fault\n",
    )


def test_a_process_is_supervised_by_its_parent_alone(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert not is_supervised()
    monkeypatch.setenv(VARIABLE, str(os.getpid()))
    assert not is_supervised()
