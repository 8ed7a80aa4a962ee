"""On two cores jaxlib 0.10.2 stops for ever in programs that hold LAPACK calls, unless NPROC is 4 or more."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NUM_RUNS = 10
TIME_LIMIT = 60.0  # seconds; a run takes about ten


def python(*arguments, nproc=None):
    """The outcome of a child process whose environment has this NPROC, or none."""
    environment = {name: value for name, value in os.environ.items() if name != "NPROC"}
    environment |= {"PYTHONPATH": str(ROOT)} | ({} if nproc is None else {"NPROC": nproc})
    return subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=ROOT, timeout=TIME_LIMIT, capture_output=True, text=True
    )


@pytest.mark.parametrize(("nproc", "seen"), [(None, str(max(4, os.cpu_count() or 1))), ("2", "2"), ("64", "64")])
def test_experiments_set_nproc_where_it_is_unset(nproc, seen):
    child = python("-c", "import experiments, os; print(os.environ['NPROC'])", nproc=nproc)
    assert (child.returncode, child.stdout.strip()) == (0, seen), child.stderr


@pytest.mark.slow
def test_a_program_that_deadlocks_on_two_cores_finishes():
    def finishes(_):
        try:
            child = python("tests/deadlock_reproducer.py")
        except subprocess.TimeoutExpired:
            return f"hung for {TIME_LIMIT} s"
        return child.stdout.strip() or child.stderr

    with ThreadPoolExecutor(2) as two_at_a_time:
        outcomes = list(two_at_a_time.map(finishes, range(NUM_RUNS)))
    assert outcomes == ["(32, 50, 30) True"] * NUM_RUNS
