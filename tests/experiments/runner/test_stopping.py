"""Signals in every phase of a run: acknowledged at once, a second one ends at once, and nothing is lost."""

import json
import os
import signal
import sys

import pytest
from liveness import communicate, wait_for_line

from experiments import DEVICES
from experiments.runner import stopping
from experiments.runner.stopping import AFTER_CHECKPOINT, AS_IT_IS, ENDED

pytestmark = pytest.mark.slow

RUN = [
    "--config=configs/dln_parsimony.py:smoke",
    "--config.variants=({'name': 'double', 'net.depth': 2},)",
    "--config.num_seeds=1",
    "--config.run.checkpoint_seconds=0.0",
]
# Hangs in C, without Python's lock, as a long compilation does.
STUCK = """
import ctypes, sys
def stuck(*_, **__):
    lock, libc = ctypes.create_string_buffer(64), ctypes.CDLL(None)
    libc.pthread_mutex_lock(lock)
    print("stuck", file=sys.stderr, flush=True)
    libc.pthread_mutex_lock(lock)
from experiments import main
from experiments.runner import conclude, run, stopping
stopping.GRACE_S = 3600.0
{place} = stuck
sys.exit(main.main(sys.argv[1:]))
"""
# The process sends itself one signal at the first call, and continues.
SIGNALLED = """
import os, signal, sys
from experiments import main
from experiments.runner import conclude, run, stopping
stopping.GRACE_S = 3600.0
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests themselves may run under nohup
before = {place}
def signalled(*given, **named):
    {place} = before
    os.kill(os.getpid(), signal.{name})
    return before(*given, **named)
{place} = signalled
sys.exit(main.main(sys.argv[1:]))
"""


# Hangs in the second segment of a program, with no checkpoint of the first; nobody waits long for it.
ABANDONED = """
import sys, threading
from experiments import main
from experiments.runner import run, stopping
stopping.GRACE_S = 0.5
before = run.sweep
def sweep(*given, **named):
    segments = before(*given, **named)
    yield next(segments)
    print("stuck", file=sys.stderr, flush=True)
    threading.Event().wait()
run.sweep = sweep
sys.exit(main.main(sys.argv[1:]))
"""
IMPORTING = """
import sys, threading
from experiments import main
from experiments.runner import launch
def importing(*_, **__):
    print("begun", file=sys.stderr, flush=True)
    threading.Event().wait()
launch.checked = importing
sys.exit(main.main(sys.argv[1:]))
"""
# The signal comes while the garbage collector calls back, and Python lets no exception out of there.
COLLECTING = """
import gc, os, signal, sys
from experiments import main
from experiments.runner import conclude, run, stopping
stopping.GRACE_S = 3600.0
sent, before = [], run.work_of
def callback(*_):
    if not sent:
        sent.append(1)
        os.kill(os.getpid(), signal.SIGINT)
def collecting(*given):
    gc.callbacks.append(callback)
    gc.collect()
    return before(*given)
run.work_of = collecting
sys.exit(main.main(sys.argv[1:]))
"""


@pytest.fixture
def start(shell, tmp_path):
    """Starts the small run by a program that changes it; the run folder is ``tmp_path / "run"``."""
    processes = []

    def begin(program, *words):
        processes.append(shell.program(program, *RUN, *words, f"--workdir={tmp_path / 'run'}"))
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def test_a_run_that_is_stopped_in_every_phase_ends_whole(start, shell, tmp_path):
    def is_stopped(place, name):
        process = start(SIGNALLED.format(place=place, name=name))
        _, err = communicate(process)
        assert (process.returncode, err) == (75, AS_IT_IS.decode())

    def is_ended_where_python_does_not_reach_it(place, acknowledged):
        process = start(STUCK.format(place=place))
        assert wait_for_line(process, "stuck") == ["stuck\n"]
        process.send_signal(signal.SIGINT)
        assert wait_for_line(process, acknowledged.decode().rstrip()) == [acknowledged.decode()]
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        _, err = communicate(process)
        assert (process.returncode, err) == (130, ENDED.decode())

    folder = tmp_path / "run"
    is_stopped("run.work_of", "SIGHUP")  # while data are prepared
    is_ended_where_python_does_not_reach_it("run.sweep", AFTER_CHECKPOINT)  # while a program is compiled
    assert not (folder / "results.nc").exists()
    is_stopped("conclude.plots.save", "SIGUSR1")
    results = (folder / "results.nc").read_bytes()
    is_ended_where_python_does_not_reach_it("conclude.plots.save", AS_IT_IS)
    assert not (folder / "claims.json").exists()
    code, out, err = shell.finish(*RUN, f"--workdir={folder}")
    assert code == 0, err
    assert "T1.excess[case1]" in out
    assert (folder / "results.nc").read_bytes() == results
    starts = json.loads((folder / "provenance.json").read_text())["starts"]
    assert [bool(each["end"]) for each in starts] == [True, False, True]


@pytest.mark.reliability
def test_what_does_not_end_in_time_is_abandoned_and_finished_work_is_kept(start, shell, tmp_path, records):
    process = start(ABANDONED, "--config.run.checkpoint_seconds=3600.0")
    assert wait_for_line(process, "stuck") == ["stuck\n"]
    for _ in range(3):  # of the kernel, every second: one wish
        process.send_signal(signal.SIGXCPU)
    _, err = communicate(process)
    assert (process.returncode, err) == (75, (AFTER_CHECKPOINT + stopping.ABANDONED).decode())
    folder = tmp_path / "run"
    saved = json.loads((folder / "checkpoint" / "1.json").read_text())
    assert (saved["position"]["segment"], len(saved["pieces"])) == (0, 1)
    code, _, err = shell.finish(*RUN, "--config.run.checkpoint_seconds=3600.0", f"--workdir={folder}")
    assert (code, err) == (0, "")
    assert all(log["share"] > 0 for log in records(folder)[1:])


@pytest.mark.reliability
def test_a_closed_terminal_that_is_to_be_ignored_is_ignored():
    handler = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with stopping.listening() as stop:
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            assert all(signal.getsignal(n) == stop.note for n in stopping.SIGNALS if n != signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.asked
    finally:
        signal.signal(signal.SIGHUP, handler)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_signal_while_modules_are_imported_ends_the_process_with_a_line(start):
    process = start(IMPORTING)
    assert wait_for_line(process, "begun") == ["begun\n"]
    process.send_signal(signal.SIGINT)
    _, err = communicate(process)
    assert (process.returncode, err) == (75, AS_IT_IS.decode())


def test_a_signal_that_comes_while_garbage_is_collected_is_not_lost(start):
    process = start(COLLECTING)
    _, err = communicate(process)
    assert (process.returncode, err) == (75, AS_IT_IS.decode())


def test_a_run_that_stands_still_says_so_with_what_helps(start):
    prepare = f"import os; os.environ |= {{'NPROC': '6', 'XLA_FLAGS': '--{DEVICES}=3'}}\n"
    often = "from experiments.runner import watchdog; watchdog.CHECK_EVERY_S = 0.1\n"
    process = start(prepare + often + STUCK.format(place="run.sweep"))
    reported = (
        "double: no progress and no CPU used for a minute: jaxlib may be deadlocked (NPROC=6, 3 CPU devices). "
        "Press Ctrl-C twice and give the same command with NPROC=12 before it"
    )
    assert {reported + "\n"} <= set(wait_for_line(process, reported)) <= {"stuck\n", reported + "\n"}


def test_a_signal_that_a_supervisor_hands_on_too_counts_once(monkeypatch, capfd):
    monkeypatch.setattr(os, "_exit", sys.exit)
    stop = stopping.Stop(doubled=True)
    stop.imported()
    for _ in range(2):
        stop.acknowledge(signal.SIGTERM)
    monkeypatch.setattr(stopping, "DOUBLED_S", 0.0)
    with pytest.raises(SystemExit, match="130"):
        stop.acknowledge(signal.SIGTERM)
    stop.end()
    assert capfd.readouterr().err == (AS_IT_IS + ENDED).decode()
