"""The small run of small_run.py, never interrupted, and in processes that a test may stop."""

import os

import pytest
from small_run import PAUSING, SMALL


@pytest.fixture(scope="session")
def whole(once):
    """The small run, never interrupted."""
    folder, (code, _, err) = once("whole", *SMALL)
    assert code == 0, err
    return folder


@pytest.fixture
def running(shell, tmp_path):
    """Starts the small run in a process of its own, which is stopped once this share of the work is done."""
    processes = []

    def start(share):
        folder = tmp_path / "scale[0.1] [bold]"  # a glob and a word of rich's own to whoever does not quote it
        process = shell.program(PAUSING.format(share=share), *SMALL, f"--workdir={folder}")
        processes.append(process)
        seen = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        assert seen.si_code == os.CLD_STOPPED, process.communicate()
        return process, folder

    yield start
    for process in processes:
        process.kill()
        process.communicate()
