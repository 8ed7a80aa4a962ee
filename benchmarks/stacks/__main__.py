"""``python -m benchmarks.stacks PYTHON PYTHON`` measures two stacks and writes benchmarks/results/stacks.md.

The rows of each part are kept in stacks.json with the time and the versions that they are of, so that ``--parts`` can
measure some again.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import page
from benchmarks import stacks as described
from benchmarks.stacks import agreement, hangs, scheduler
from benchmarks.stacks.children import ROOT, ChildError, Row, Stack, in_turn, measure, median, ratio, run, stack
from tests.support.liveness import HungError

RESULTS = ROOT / "benchmarks" / "results"
GROUPS = ("importing", "machine", "sweeps", "networks", "decompositions", "completing")
PARTS = ("times", "scheduler", "hangs", "results", "demo", "suite")
BAD_INPUT, FAILED = 2, 70


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the parts that are asked for, print and keep their rows; return the exit code."""
    options = _options(arguments)
    found, problems = _stacks(options.pythons)
    if problems:
        print(*problems, sep="\n", file=sys.stderr)
        return BAD_INPUT
    try:
        with tempfile.TemporaryDirectory() as folder:
            for part, rows in _measurements((found[0], found[1]), options, Path(folder)).items():
                if part in options.parts:
                    _keep(part, found, _printed(part, rows))
    except (ChildError, HungError) as error:
        print(error, file=sys.stderr)
        return FAILED
    return 0


def _printed(part: str, rows: Callable[[], Iterable[Row]]) -> dict[str, Any]:
    """Print the rows of a part as they come; they are returned with when they were measured."""
    print(f"{part} ...", file=sys.stderr, flush=True)
    began, table = _machine(), []
    for row in rows():
        table.append(row)
        print(_line(row), flush=True)
    return {"measured": f"{began} to {_machine()}", "rows": table}


def _keep(part: str, stacks: Sequence[Stack], measured: dict[str, Any]) -> None:
    """Put a part in place of what stacks.json has of it, and write the page of all parts."""
    kept = json.loads(path.read_text())["parts"] if (path := RESULTS / "stacks.json").exists() else {}
    kept[part] = measured | {"versions": [each.versions for each in stacks], "stacks": [each.name for each in stacks]}
    kept = {name: kept[name] for name in PARTS if name in kept}
    tables = [_table(name, part) for name, part in kept.items()]
    page.write(RESULTS, "stacks", page.described(described.__doc__), tables, kept={"parts": kept})


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stacks", description=described.__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("pythons", nargs=2, metavar="PYTHON", help="an interpreter with lawlib's extra 'tests'")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="measure these alone")
    parser.add_argument("--rounds", type=_count, default=3, help="processes of each stack for times and scheduler (3)")
    parser.add_argument("--runs", type=_count, default=3, help="runs of each reproducer on each number of devices (3)")
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


def _measurements(
    stacks: tuple[Stack, Stack], options: argparse.Namespace, folder: Path
) -> dict[str, Callable[[], Iterable[Row]]]:
    return {
        "times": partial(_times, stacks, options.rounds),
        "scheduler": partial(scheduler.rows, stacks, options.rounds),
        "hangs": partial(hangs.rows, stacks, options.runs),
        "results": partial(agreement.rows, stacks, agreement.CONFIGS, folder / "results"),
        "demo": partial(agreement.rows, stacks, agreement.DEMO, folder / "demo"),
        "suite": lambda: [_suite(*[_tests(each) for each in stacks])],
    }


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
    return f"| {' | '.join(_cells(row))} |"


def _cells(row: Row) -> tuple[str, ...]:
    return (row.what, *row.cells, row.compared)


def _table(part: str, measured: Mapping[str, Any]) -> page.Table:
    versions = [", ".join(f"{name} {version}" for name, version in each.items()) for each in measured["versions"]]
    note = f"Measured from {measured['measured']}, with {' and '.join(versions)}."
    columns = _cells(Row("what", tuple(measured["stacks"]), "second / first, or what agrees"))
    return page.Table(columns, [_cells(Row(*row)) for row in measured["rows"]], part, note)


def _machine() -> str:
    """The time, the machine and what else it was doing."""
    names = [line.partition(":")[2].strip() for line in _read("/proc/cpuinfo") if line.startswith("model name")]
    busy = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "load unknown"
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC ({os.cpu_count()} cores, {names[0] if names else '?'}, {busy})"


def _read(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


if __name__ == "__main__":
    sys.exit(main())
