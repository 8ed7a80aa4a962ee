"""A process of a distributed run is watched by another, which says in a line how it ended.

When a process dies, JAX ends the others from threads of its own, with pages of its log and SIGABRT. The supervisor is
the process that was started; it starts the one that computes, hands signals on to it, keeps JAX's log back and gives
the exit code. If it is killed itself, the kernel kills the other one too.

Nothing outside Python's library is imported.
"""

import ctypes
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from experiments.runner.command import BAD_INPUT
from experiments.runner.setbacks import STOPPED, Setback
from experiments.runner.stopping import SHOW_CURSOR, SIGNALS
from experiments.runner.streams import complain, write
from experiments.runner.team.peers import JOIN_S, Peers

__all__ = ["is_supervised", "supervise"]

VARIABLE = "LAWLIB_SUPERVISOR"
# The exit code of a process that found another one gone.
LOST = 76
# A line of the log of JAX and the libraries below it: its kind, the date, the time, the thread.
LOGGED = re.compile(r"[IWEF]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ ")
FATAL = "JAX distributed service detected fatal errors"
JOINING, TAKEN = "CoordinationService/RegisterTask", "ALREADY_EXISTS"
AGAIN = "give all of them the same command again, which resumes the run"
PR_SET_PDEATHSIG = 1


def is_supervised() -> bool:
    """Whether the process that started this one watches it; then this one ends with it."""
    if os.environ.get(VARIABLE) != str(os.getppid()):
        return False
    with suppress(OSError, AttributeError):  # Linux alone has this call
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    return True


def supervise(arguments: Sequence[str], peers: Peers) -> int:
    """Run this command line in a process of its own; return its exit code, or 75 where the run can be resumed."""
    command = [sys.executable, "-m", "experiments.main", *arguments]
    environment = {**os.environ, VARIABLE: str(os.getpid())}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, errors="replace")
    before = {number: signal.signal(number, lambda number, _: process.send_signal(number)) for number in SIGNALS}
    try:
        with process:
            held = list(_passed_on(process.stderr or ()))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    code = process.returncode
    if sys.stdout and sys.stdout.isatty():
        with suppress(Setback):
            write(SHOW_CURSOR.decode())  # a progress bar hides it
    name = "this process" if peers.process is None else f"process {peers.process} of {peers.num_processes}"
    said = "".join(held)
    if FATAL in said and JOINING in said:
        taken = "another process has joined with its index"
        why = taken if TAKEN in said else f"the others have not joined within {JOIN_S} s"
        complain([f"{name}: {why}; start all of them, each with its own --process and the same --coordinator"])
        return BAD_INPUT
    if code == LOST or FATAL in said:
        complain([f"{name}: another process of the run has ended or cannot be reached; {AGAIN}"])
        return STOPPED
    for line in held:
        if not LOGGED.match(line):
            complain([line.rstrip("\n")])
    if code == -signal.SIGKILL:
        complain([f"{name}: was killed (SIGKILL: by somebody, or for want of memory); {AGAIN}"])
        return STOPPED
    return code if code >= 0 else 128 - code


def _passed_on(lines: Iterable[str]) -> Iterator[str]:
    """Hand lines on at once, up to the first that JAX logs as an error; that and the rest are returned."""
    held = False
    for line in lines:
        held = held or bool(LOGGED.match(line) and line[0] in "EF")
        if held:
            yield line
        elif not LOGGED.match(line):
            complain([line.rstrip("\n")])
