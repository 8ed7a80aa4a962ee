"""Tests know a process that hangs from one that is slow, and none of them has a limit in seconds."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import liveness
import pytest
from liveness import HungError, communicate, finish, quiet, wait_for_line

TESTS = Path(__file__).parent
HANGS = """
import ctypes, sys
print("begun", file=sys.stderr, flush=True)
lock, libc = ctypes.create_string_buffer(64), ctypes.CDLL(None)
libc.pthread_mutex_lock(lock)
libc.pthread_mutex_lock(lock)
"""
COMPUTES = "import time\nwhile time.process_time() < 0.5: pass\nprint('done')"
LETS_COMPUTE = f"import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', {COMPUTES!r}]).returncode)"

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="nothing is called hung here")


@pytest.fixture
def eager(monkeypatch):
    """Looks that follow each other quickly."""
    monkeypatch.setattr(liveness, "CHECKS", 5)
    monkeypatch.setattr(liveness, "CHECK_EVERY_S", 0.05)


def child(program):
    return subprocess.Popen([sys.executable, "-c", program], stdout=-1, stderr=-1, text=True)


@pytest.mark.usefixtures("eager")
def test_a_process_that_hangs_is_killed_and_what_it_said_is_told():
    process = child(HANGS)
    with pytest.raises(HungError, match="begun"):
        communicate(process)
    assert process.returncode == -signal.SIGKILL
    process = child(HANGS)
    assert wait_for_line(process, "begun") == ["begun\n"]
    with pytest.raises(HungError, match="before it wrote 'ended'"):
        wait_for_line(process, "ended")
    process.communicate()
    with pytest.raises(HungError, match="hung or ended"):
        wait_for_line(child("pass"), "begun")


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("program", [COMPUTES, LETS_COMPUTE], ids=["itself", "by a child"])
def test_a_process_that_computes_or_lets_another_compute_does_not_hang(program):
    assert finish([sys.executable, "-c", program]).stdout == "done\n"


def test_a_stopped_process_does_not_hang():
    process = child(HANGS)
    wait_for_line(process, "begun")
    process.send_signal(signal.SIGSTOP)
    observe = quiet(process.pid)
    assert [observe() for _ in range(5)] == [0] * 5
    process.kill()
    process.communicate()


def test_a_dead_process_does_not_hang():
    process = child("pass")
    process.communicate()
    observe = quiet(process.pid)
    assert [observe() for _ in range(5)] == [0] * 5


@pytest.mark.parametrize("path", sorted(TESTS.rglob("*.py")), ids=lambda path: path.name)
def test_no_test_has_a_limit_in_seconds(path):
    if path.name not in ("liveness.py", "test_liveness.py"):
        assert not re.search(r"timeout\s*[=(]|monotonic\(\)|perf_counter|deadline = |mark\.timeout", path.read_text())
