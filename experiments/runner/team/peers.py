"""The processes of a distributed run: how each is told where the others are, before JAX is imported.

On Slurm, Open MPI, Kubernetes and TPU pods JAX finds that out by itself. Elsewhere each process is given the address of
process 0, how many there are and which it is, by an option or an environment variable.
"""

import os
import re
from argparse import Namespace
from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["JOIN_S", "Peers", "found", "problems"]

# By option: the variable that stands for it. The first one is JAX's own.
VARIABLES = {
    "coordinator": "JAX_COORDINATOR_ADDRESS",
    "num_processes": "JAX_NUM_PROCESSES",
    "process": "JAX_PROCESS_ID",
}
# Seconds in which all processes must have been started.
JOIN_S = 300
# What makes a folder again, or tells something, computes nothing.
ALONE = ("show", "replot")


class Peers(NamedTuple):
    """The address of process 0, the number of processes and the index of this one; all None: JAX finds them."""

    coordinator: str | None = None
    num_processes: int | None = None
    process: int | None = None


def problems(options: Namespace, environment: Mapping[str, str] = os.environ) -> list[str]:
    """Why the processes cannot be joined, or this one not be one of several; no line if they can."""
    options_given = [_dashed(name) for name in VARIABLES if getattr(options, name) is not None]
    if not options.distributed:
        return [f"{name} is of --distributed; give that too, or leave it out" for name in options_given]
    together = [f"--{name}" for name in ALONE if getattr(options, name) not in (None, False)]
    if together:
        return [f"{name} needs one process: leave out --distributed" for name in together]
    given = _given(options, environment)
    missing = [f"{_dashed(name)} (or {VARIABLES[name]})" for name, value in given.items() if not value]
    if len(missing) == len(given):
        return []
    if missing:
        return [f"--distributed: {' and '.join(missing)} missing; give all three, or none where JAX finds the cluster"]
    return _malformed(given)


def found(options: Namespace, environment: Mapping[str, str] = os.environ) -> Peers:
    """The peers that options without problems name, or else the environment."""
    coordinator, count, process = _given(options, environment).values()
    return Peers(coordinator, int(count), int(process)) if coordinator else Peers()


def _given(options: Namespace, environment: Mapping[str, str]) -> dict[str, str]:
    own = {name: getattr(options, name) for name in VARIABLES}
    return {name: environment.get(VARIABLES[name], "") if value is None else value for name, value in own.items()}


def _malformed(given: Mapping[str, str]) -> list[str]:
    address, count, process = given.values()
    lines = []
    port = re.fullmatch(r"(?:[\w.-]+|\[[0-9a-fA-F:.]+\]):(\d{1,5})", address)
    if not (port and 0 < int(port[1]) < 2**16):
        lines.append(f"--coordinator={address}: must be HOST:PORT, an address of process 0 and a free port of its host")
    if not (count.isdecimal() and int(count) > 0):
        lines.append(f"--num-processes={count}: must be the number of processes, at least 1")
    elif not (process.isdecimal() and int(process) < int(count)):
        lines.append(f"--process={process}: must be the index of this process, 0 to {int(count) - 1}")
    return lines


def _dashed(name: str) -> str:
    return f"--{name.replace('_', '-')}"
