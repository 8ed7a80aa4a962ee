"""Trackers with the interface of Weights & Biases: init, log and finish, once for each member."""

import math
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any

from experiments.exporters.curves import left_out, members
from experiments.runner.finished import FinishedRun
from experiments.runner.store import InputError

__all__ = ["send"]


def send(run: FinishedRun, tracker: ModuleType, project: str) -> list[str]:
    """Send the curves of each member as a run of the project, and the claims as one more; return what is left out.

    Raises:
        InputError: The tracker refuses, or cannot be reached.
    """
    try:
        for member in members(run):
            with_step = dict(member.points())
            about = {**member.config, "member": member.varied, "diverged_at": member.diverged_at}
            _run(tracker, project, run.name, f"{member.variant},{member.place}", about, with_step)
        verdicts = {claim.id: claim.status for claim in run.claims}
        measured = {f"claims/{claim.id}": claim.measured for claim in run.claims}
        finite = {name: value for name, value in measured.items() if value is not None and math.isfinite(value)}
        _run(tracker, project, run.name, "claims", {"claims": verdicts}, {0: finite})
    finally:
        with suppress(Exception):  # a run that was left open; it is finished where all went well
            tracker.finish()
    return left_out(run)


def _run(
    tracker: ModuleType,
    project: str,
    group: str,
    name: str,
    config: dict[str, Any],
    points: dict[int, dict[str, float]],
) -> None:
    _ask(tracker, tracker.init, project=project, group=group, name=f"{group}/{name}", config=config)
    for step, numbers in points.items():
        if numbers:
            _ask(tracker, tracker.log, numbers, step=step)
    _ask(tracker, tracker.finish)


def _ask(tracker: ModuleType, call: Callable[..., Any], *values: Any, **options: Any) -> None:
    try:
        call(*values, **options)
    except Exception as error:  # whatever it is, it is the tracker's: the run folder is read by now
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError([f"--to {tracker.__name__}: {said}; the run folder is as it was, export it again"]) from error
