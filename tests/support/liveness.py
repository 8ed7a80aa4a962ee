"""A hung process is told from a slow one by what its threads do, never by the clock.

A process hangs when none of its threads, nor of its descendants', has used the CPU, been ready to, waited for a disk or
been stopped, in thirty looks in a row. A thread that a busy machine keeps waiting is ready, so that nothing here
fails for a busy machine. Outside Linux nothing is called hung.
"""

import faulthandler
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

CHECKS, CHECK_EVERY_S = 30, 1.0
ASLEEP = frozenset("SI")
GUARD = "liveness"  # the name of the threads that look, which are no sign of life


class HungError(AssertionError):
    """A process that would never have ended; it was killed."""


def quiet(pid: int) -> Callable[[], int]:
    """A function that looks at a process and its descendants, and returns how many looks in a row found nothing."""
    seen, in_a_row = None, 0

    def observe() -> int:
        nonlocal seen, in_a_row
        before, seen = seen, list(_threads(pid))
        still = bool(seen) and seen == before and all(state in ASLEEP for state, _ in seen)
        in_a_row = in_a_row + 1 if still else 0
        return in_a_row

    return observe


def _threads(pid: int) -> Iterator[tuple[str, int]]:
    """The state and the CPU time, in ticks, of every thread of a process and of its descendants."""
    parents = {int(stat.parent.name): int(fields[1]) for stat, fields in _stats("*")}
    family, size = {pid}, 0
    while size < len(family):
        size = len(family)
        family |= {child for child, parent in parents.items() if parent in family}
    for member in sorted(family):
        for _, fields in _stats(f"{member}/task/*"):
            yield fields[0], int(fields[11]) + int(fields[12])


def _stats(pattern: str) -> Iterator[tuple[Path, list[str]]]:
    for stat in sorted(Path("/proc").glob(f"{pattern}/stat")):
        try:
            # After the name, which may hold anything: state, parent, ...
            name, _, fields = stat.read_text().rpartition(")")
        except OSError:  # it has just ended
            continue
        if stat.parent.name.isdigit() and not name.endswith(f"({GUARD}"):
            yield stat, fields.split()


def communicate(process: subprocess.Popen) -> tuple[str, str]:
    """What a process writes to its end; one that hangs is killed.

    Raises:
        HungError: It hung; with what it had written.
    """
    observe = quiet(process.pid)
    while True:
        try:
            return process.communicate(timeout=CHECK_EVERY_S)
        except subprocess.TimeoutExpired:
            if observe() >= CHECKS:
                process.kill()
                out, err = process.communicate()
                msg = f"{process.args} hung: none of its threads did anything; stdout {out!r}, stderr {err!r}"
                raise HungError(msg) from None


def wait_for_line(process: subprocess.Popen, wanted: str) -> list[str]:
    """The lines that a process writes on stderr up to this one; one that hangs before it is killed.

    Raises:
        HungError: It hung, or ended, without the line; with what it had written.
    """
    observe, written = quiet(process.pid), b""
    while not written.endswith(f"{wanted}\n".encode()):
        if select.select([process.stderr], [], [], CHECK_EVERY_S)[0]:
            # Byte by byte, past the buffer: what follows is for the next reader.
            byte = os.read(process.stderr.fileno(), 1)
            written, over = written + byte, not byte
        else:
            over = observe() >= CHECKS
        if over:
            process.kill()
            msg = f"{process.args} hung or ended before it wrote {wanted!r}; stderr {written!r}"
            raise HungError(msg)
    return written.decode().splitlines(keepends=True)


def finish(command: list, **given) -> subprocess.CompletedProcess:
    """Run a command to its end, as `subprocess.run` does, without a limit in seconds."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes, **given) as process:
        try:
            out, err = communicate(process)
        finally:
            process.kill()
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def without_settings() -> dict[str, str]:
    """This environment without what prepares a process for JAX."""
    return {name: value for name, value in os.environ.items() if name not in ("NPROC", "XLA_FLAGS")}


def end_hung_tests(config: pytest.Config) -> None:
    """End this process when a test of it is under way and nothing moves in the session, and say where it stands.

    Of a session with several workers all must stand still: one may wait for what another computes.
    """
    session = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()

    def guard() -> None:
        Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text(GUARD)
        observe = quiet(session)
        while True:
            time.sleep(CHECK_EVERY_S)
            if observe() >= 2 * CHECKS and "PYTEST_CURRENT_TEST" in os.environ:
                config.pluginmanager.getplugin("capturemanager").suspend_global_capture(in_=True)
                print(f"hung: {os.environ['PYTEST_CURRENT_TEST']}", file=sys.__stderr__, flush=True)
                faulthandler.dump_traceback(sys.__stderr__)
                os._exit(1)

    if Path("/proc/self/task").exists():
        threading.Thread(target=guard, daemon=True).start()
