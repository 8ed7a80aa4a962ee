"""``python -m benchmarks.stacks PYTHON PYTHON`` measures two stacks and writes benchmarks/results/stacks.md."""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from benchmarks import stacks as described
from benchmarks.stacks import agreement, hangs, scheduler
from benchmarks.stacks.children import ROOT, ChildError, Row, Stack, in_turn, measure, median, ratio, run, stack
from tests.support.liveness import HungError

RESULTS = ROOT / "benchmarks" / "results" / "stacks.md"
GROUPS = ("importing", "machine", "sweeps", "networks", "decompositions", "completing")
PARTS = ("times", "scheduler", "hangs", "results", "demo")
BAD_INPUT, FAILED = 2, 70


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the parts that are asked for; print every row, and write the table where it is whole."""
    options = _options(arguments)
    found, problems = _stacks(options.pythons)
    if problems:
        print(*problems, sep="\n", file=sys.stderr)
        return BAD_INPUT
    first, second = found
    began, table = _machine(), []
    try:
        for row in _rows((first, second), options):
            table.append(row)
            print(_line(row), flush=True)
    except (ChildError, HungError) as error:
        print(error, file=sys.stderr)
        return FAILED
    if tuple(options.parts) == PARTS:
        RESULTS.write_text(_document((first, second), table, began))
        print(RESULTS.relative_to(ROOT))
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stacks", description=described.__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("pythons", nargs=2, metavar="PYTHON", help="an interpreter with lawlib's extra 'tests'")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="measure these alone, and only print")
    parser.add_argument("--rounds", type=_count, default=3, help="processes of each stack for times and scheduler (3)")
    parser.add_argument("--runs", type=_count, default=3, help="runs of each reproducer on each number of devices (3)")
    suite = parser.add_mutually_exclusive_group()
    suite.add_argument("--suite", action="store_true", help="run the tests as well")
    suite.add_argument("--suite-seconds", nargs=2, type=_seconds, metavar=("A", "B"), help="what the tests took before")
    options = parser.parse_args(arguments)
    if "hangs" in options.parts and not Path("/proc/self/task").exists():
        parser.error("hangs: nothing tells a hung process from a slow one outside Linux; leave the part out by --parts")
    return options


def _stacks(pythons: Sequence[str]) -> tuple[list[Stack], list[str]]:
    """The stacks of the interpreters, and what is wrong with those that have none."""
    found, problems = [], []
    for python in dict.fromkeys(pythons):
        try:
            found += [stack(python)] * pythons.count(python)
        except ChildError as error:
            problems.append(str(error))
    return found, problems


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        msg = f"{text!r} is not a whole number from 1 on"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        msg = f"{text!r} is not a positive number of seconds"
        raise argparse.ArgumentTypeError(msg)
    return value


def _rows(stacks: tuple[Stack, Stack], options: argparse.Namespace) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        parts = {
            "times": partial(_times, stacks, options.rounds),
            "scheduler": partial(scheduler.rows, stacks, options.rounds),
            "hangs": partial(hangs.rows, stacks, options.runs),
            "results": partial(agreement.rows, stacks, agreement.CONFIGS, Path(folder, "results")),
            "demo": partial(agreement.rows, stacks, agreement.DEMO, Path(folder, "demo")),
        }
        for part, rows in parts.items():
            if part in options.parts:
                print(f"{part} ...", file=sys.stderr, flush=True)
                yield from rows()
    if options.suite_seconds:
        yield _suite(*[(taken, "") for taken in options.suite_seconds])
    elif options.suite:
        yield _suite(*[_tests(each) for each in stacks])


def _times(stacks: tuple[Stack, Stack], rounds: int) -> Iterator[Row]:
    first, second = in_turn(stacks, lambda each: measure(each, *GROUPS), rounds)
    for name in first[0]:
        yield Row(name, (median(first, name), median(second, name)), ratio(second, first, name))


def _tests(each: Stack) -> tuple[float, str]:
    """Seconds of the suite, and its last line, which says what passed."""
    began = time.perf_counter()
    said = run(each.python, "-m", "pytest", "--numprocesses=auto", "--quiet", fine=(0, 1))
    return time.perf_counter() - began, said.strip().splitlines()[-1].strip("= ")


def _suite(first: tuple[float, str], second: tuple[float, str]) -> Row:
    cells = _took(*first), _took(*second)
    return Row("tests (pytest --numprocesses=auto), s", cells, f"{second[0] / first[0]:.3g}")


def _took(seconds: float, said: str) -> str:
    return f"{seconds:.0f} ({said})" if said else f"{seconds:.0f}"


def _line(row: Row) -> str:
    return f"| {' | '.join((row.what, *row.cells, row.compared))} |"


def _document(stacks: tuple[Stack, Stack], table: Sequence[Row], began: str) -> str:
    versions = [", ".join(f"{name} {version}" for name, version in each.versions.items()) for each in stacks]
    head = Row("what", (stacks[0].name, stacks[1].name), "second / first, or what agrees")
    return "\n".join(
        [
            "# " + str(described.__doc__).strip(),
            "",
            f"Measured from {began} to {_machine()}, with {' and '.join(versions)}.",
            "",
            _line(head),
            _line(Row("---", ("---", "---"), "---")),
            *map(_line, table),
            "",
        ]
    )


def _machine() -> str:
    """The time, the machine and what else it was doing."""
    names = [line.partition(":")[2].strip() for line in _read("/proc/cpuinfo") if line.startswith("model name")]
    busy = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "load unknown"
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC ({os.cpu_count()} cores, {names[0] if names else '?'}, {busy})"


def _read(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


if __name__ == "__main__":
    sys.exit(main())
