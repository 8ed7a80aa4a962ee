"""One export from its command line: everything is checked first, then each run is written or sent."""

import importlib
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType

from experiments.runner import streams
from experiments.runner.finished import FinishedRun
from experiments.runner.outcome import exit_code
from experiments.runner.store import InputError
from experiments.runs import load

__all__ = ["launch"]

# The package that each format needs; those that are no files go to the tracker of this name.
PACKAGES = {"csv": "pandas", "tensorboard": "tensorboardX", "wandb": "wandb", "trackio": "trackio"}
FILES = ("csv", "tensorboard")


def launch(options: Namespace) -> int:
    """Check everything first, then export; return the exit code."""
    return exit_code(lambda: _export(options))


def _export(options: Namespace) -> int:
    """Export every run; one that fails on the way leaves the others as they are, and is reported at the end."""
    runs, problems = [], _misplaced(options)
    for path in options.runs:
        problems += _problems(lambda path=path: runs.append(load(path)))
    package: list[ModuleType] = []
    problems += _problems(lambda: package.append(_package(options.to)))
    targets = [Path(options.o or Path("exports") / options.to).expanduser() / run.name for run in runs]
    if options.to in FILES:
        problems += _unusable(targets)
    if problems:
        raise InputError(problems)
    failed = []
    for run, target in zip(runs, targets, strict=True):
        failed += _problems(partial(_one, run, target, options, package[0]))
    if failed:
        raise InputError(failed)
    return 0


def _one(run: FinishedRun, target: Path, options: Namespace, package: ModuleType) -> None:
    """Export one run, and say where it is and what is left out."""
    # Imported late, with xarray behind them.
    from experiments.exporters import tables, tensorboard, trackers
    from experiments.exporters.folders import in_place_of

    if options.to in FILES:
        with in_place_of(target) as folder:
            notes = {"csv": tables, "tensorboard": tensorboard}[options.to].write(run, folder)
        place = str(target)
    else:
        place = options.project or "lawlib"
        notes = trackers.send(run, package, place)
        place = f"project {place} of {options.to}"
    streams.complain(notes)
    streams.write(f"{run.path} -> {place}\n")


def _problems(attempt: Callable[[], None]) -> list[str]:
    """The problems of an attempt; none if it succeeds."""
    try:
        attempt()
    except InputError as refusal:
        return refusal.problems
    return []


def _misplaced(options: Namespace) -> list[str]:
    """Options that the format does not have."""
    if options.to in FILES:
        return ["--project: is for wandb and trackio"] if options.project is not None else []
    return (
        [f"-o: is for csv and tensorboard; where {options.to} keeps its files is its own setting"] if options.o else []
    )


def _package(format: str) -> ModuleType:
    name = PACKAGES[format]
    try:
        return importlib.import_module(name)
    except ImportError as error:
        reason = "is not installed" if error.name == name else f"cannot be imported ({error})"
        remedy = f"pip install {name}{' (the extra export has it)' if format == 'tensorboard' else ''}"
        raise InputError([f"--to {format}: the package {name} {reason}; {remedy}"]) from error


def _unusable(targets: Sequence[Path]) -> list[str]:
    from experiments.exporters.folders import obstacle

    twice = [target for target, count in Counter(targets).items() if count > 1]
    lines = [f"{target}: two of the runs would be written here; export them to two folders" for target in twice]
    return lines + [problem for target in targets if (problem := obstacle(target))]
