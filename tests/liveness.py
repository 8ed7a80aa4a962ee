"""A hung process is told from a slow one by what its threads do, never by the clock.

A process hangs when none of its threads, nor of its descendants', has used the CPU, been ready to, waited for a disk or
been stopped, in thirty looks in a row. A thread that a busy machine keeps waiting is ready, so that nothing here
fails for a busy machine. Outside Linux nothing is called hung.
"""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

LOOKS, LOOK_EVERY_S = 30, 1.0
ASLEEP = frozenset("SI")


class HungError(AssertionError):
    """A process that would never have ended; it was killed."""


def quiet(pid: int) -> Callable[[], int]:
    """A function that looks at a process and its descendants, and returns how many looks in a row found nothing."""
    seen, in_a_row = None, 0

    def look() -> int:
        nonlocal seen, in_a_row
        before, seen = seen, list(_threads(pid))
        still = bool(seen) and seen == before and all(state in ASLEEP for state, _ in seen)
        in_a_row = in_a_row + 1 if still else 0
        return in_a_row

    return look


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
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if stat.parent.name.isdigit():
            yield stat, fields


def communicate(process: subprocess.Popen) -> tuple[str, str]:
    """What a process writes to its end; one that hangs is killed.

    Raises:
        HungError: It hung; with what it had written.
    """
    look = quiet(process.pid)
    while True:
        try:
            return process.communicate(timeout=LOOK_EVERY_S)
        except subprocess.TimeoutExpired:
            if look() >= LOOKS:
                process.kill()
                out, err = process.communicate()
                msg = f"{process.args} hung: none of its threads did anything; stdout {out!r}, stderr {err!r}"
                raise HungError(msg) from None


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
