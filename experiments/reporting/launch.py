"""One report from its command line: everything is checked first, then the page is made and written."""

import os
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from experiments.reporting.page import MARK, page
from experiments.runner import streams
from experiments.runner.files import write_atomic
from experiments.runner.finished import FinishedRun
from experiments.runner.outcome import exit_code
from experiments.runner.store import InputError
from experiments.runs import load

__all__ = ["launch"]

# A report names its maker within so many bytes.
HEAD = 1000


def launch(options: Namespace) -> int:
    """Check everything first, then write; return the exit code."""
    return exit_code(lambda: _report(options))


def _report(options: Namespace) -> int:
    runs, problems = [], []
    for path in options.runs:
        try:
            runs.append(load(path))
        except InputError as refusal:
            problems += refusal.problems
    target = Path(options.o).expanduser() if options.o is not None else _beside(runs)
    if options.o is not None or len(runs) == len(options.runs):
        problems += _obstacles(target, runs)
    if problems or not target:
        raise InputError(problems)
    text = page(runs)
    _write(target, text)
    streams.write(f"report: {target} ({len(text.encode()) / 1e6:.2f} MB); open it in a browser\n")
    return 0


def _beside(runs: Sequence[FinishedRun]) -> Path | None:
    """Where the page goes if no place is given; None where one is wanted."""
    if len(runs) != 1:
        return Path("runs") / "report.html"
    return runs[0].path / "report.html" if runs[0].has_results else None


def _obstacles(target: Path | None, runs: Sequence[FinishedRun]) -> list[str]:
    """Why no report can be written there, in a line; none if it can."""
    if target is None:
        return [f"{runs[0].path}: is a published folder, which holds no report; choose its place with -o FILE"]
    try:
        problem = _obstacle(target)
    except (OSError, ValueError) as error:
        problem = f"cannot be used: {error}"
    return [f"{target}: {problem}; choose another -o FILE"] if problem else []


def _obstacle(target: Path) -> str:
    nearest = next(place for place in (target, *target.absolute().parents) if os.path.lexists(place))
    if target.is_dir():
        return "is a folder"
    if nearest == target:
        if not _is_report(target):
            return "holds something other than a report"
        nearest = target.absolute().parent
    if not nearest.is_dir():
        return f"{nearest} is a file"
    return "" if os.access(nearest, os.W_OK | os.X_OK) else f"{nearest} cannot be written to"


def _is_report(file: Path) -> bool:
    with file.open("rb") as opened:
        return MARK.encode() in opened.read(HEAD)


def _write(target: Path, text: str) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(target, text)
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise InputError([f"{target}: cannot be written: {said}; choose another -o FILE"]) from error
