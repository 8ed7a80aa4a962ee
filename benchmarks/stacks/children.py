"""Processes of a stack, and the rows that are made of what they print."""

import json
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from tests.support.liveness import finish, without_settings

ROOT = Path(__file__).parents[2]
NOTHING = "-"
EMPTY: Mapping[str, str] = MappingProxyType({})

Kind = TypeVar("Kind")
Measured = Mapping[str, float]


class Stack(NamedTuple):
    """An interpreter, and the versions that it says it has."""

    python: str
    versions: Mapping[str, str]
    is_affected: bool

    @property
    def name(self) -> str:
        """The stack in words."""
        return f"Python {self.versions['python']}, jax {self.versions['jax']}"


class Row(NamedTuple):
    """A row of the table: what, a cell for each stack, and how they compare."""

    what: str
    cells: tuple[str, str]
    compared: str = NOTHING


class ChildError(Exception):
    """A process of a stack that ended with an error; with the command and the end of what it said."""


def run(python: str, *arguments: str, environment: Mapping[str, str] = EMPTY, fine: Sequence[int] = (0,)) -> str:
    """What ``python arguments`` prints, from the checkout and on the CPU, without settings of this process.

    Raises:
        ChildError: It cannot be started, or its exit code is not one of ``fine``.
        HungError: It deadlocked.
    """
    inherited = {name: value for name, value in without_settings().items() if not name.startswith("JAX_")}
    inherited |= {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    command = [python, *arguments]
    try:
        child = finish(command, env=inherited | dict(environment), cwd=ROOT)
    except OSError as error:
        msg = f"{python}: {error.strerror}; give the path of a Python interpreter"
        raise ChildError(msg) from None
    if child.returncode not in fine:
        said = (child.stderr or child.stdout).strip().splitlines()[-3:]
        if any("ModuleNotFoundError" in line for line in said):
            said.append(f'lawlib\'s extra "tests" is not installed: {python} -m pip install -e ".[tests]"')
        msg = "\n  ".join([f"{' '.join(command)}: exit code {child.returncode}", *said])
        raise ChildError(msg)
    return child.stdout


def measure(stack: Stack, *groups: str, environment: Mapping[str, str] = EMPTY) -> Measured:
    """What a process of this stack measures of some groups of ``benchmarks.stacks.times``."""
    return json.loads(run(stack.python, "-m", "benchmarks.stacks.times", *groups, environment=environment))


def stack(python: str) -> Stack:
    """The stack of an interpreter.

    Raises:
        ChildError: It cannot run the checkout.
    """
    # Made absolute, but not resolved: a virtual environment is known by the path of its link.
    path = os.path.abspath(python) if os.sep in python else python
    said = json.loads(run(path, "-m", "benchmarks.stacks.times", "--versions"))
    return Stack(path, said["versions"], said["is_affected"])


def in_turn(kinds: Sequence[Kind], take: Callable[[Kind], Measured], rounds: int) -> list[list[Measured]]:
    """What ``take`` measures of each kind, a list over rounds; every other round goes backwards."""
    found: list[list[Measured]] = [[] for _ in kinds]
    order = list(range(len(kinds)))
    for _ in range(rounds):
        for i in order:
            found[i].append(take(kinds[i]))
        order.reverse()
    return found


def median(records: Sequence[Measured], name: str) -> str:
    """The median of one number over rounds, in four digits."""
    return f"{statistics.median(record[name] for record in records):.4g}"


def ratio(above: Sequence[Measured], below: Sequence[Measured], name: str) -> str:
    """The ratio of one number in the two processes of each round: median, least and most."""
    ratios = [a[name] / b[name] for a, b in zip(above, below, strict=True)]
    return f"{statistics.median(ratios):.3g} ({min(ratios):.3g} to {max(ratios):.3g})"
