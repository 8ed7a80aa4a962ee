"""Whether a run may resume from its checkpoints: only under the conditions under which they were computed.

Two runs in one folder, half of the members by one version of the code or of JAX and half by another, would look like
one. So what decides the numbers is kept with the plan of the run, and a start under other conditions is refused, with
the difference. With ``--redo-unfinished`` it keeps the chunks of members that are finished and computes the others from
their beginning: a chunk is then of one kind, and the provenance and the results say that there are several.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from experiments.runner.checkpoints import Checkpoints
from experiments.runner.layout import differing
from experiments.runner.store import MAX_DIFFERENCES, InputError
from lawlib.dynamics.sweep import Plan

__all__ = ["Division", "Found", "divided", "found", "piece"]

REDO = "--redo-unfinished"


class Division(NamedTuple):
    """How each variant is cut, and what was changed on the way: a list of differences for each time."""

    plans: list[Plan]
    mixed: list[list[str]]


class Found(NamedTuple):
    """The checkpoints of a run folder, and the conditions under which they are to be used."""

    checkpoints: Checkpoints
    conditions: Mapping[str, Any]
    plan: Mapping[str, Any] | None  # as the first checkpoint has it
    changed: list[str]  # in what the conditions differ from those of the plan


def found(folder: Path, checkpoints: Checkpoints, now: Mapping[str, Any], *, redo: bool) -> Found:
    """What there is to resume from; ``redo`` tells that unfinished chunks are computed anew where conditions differ.

    Raises:
        InputError: They differ, and nobody asked for that; a line for each, and one that says what can be done.
    """
    plan = checkpoints.stored_plan() if checkpoints.exist else None
    changed = _changed(plan, now) if plan else []
    if changed and not redo:
        begun = [f"{folder}: was begun under other conditions: {line}" for line in changed]
        remedy = f"go back to them, or give {REDO} (it keeps finished chunks of members and computes the others anew)"
        raise InputError([*begun, f"{folder}: the results would mix the two; {remedy}, or choose another --workdir"])
    return Found(checkpoints, now, plan, changed)


def _changed(plan: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    if "conditions" not in plan:
        return ["it was begun by a version of lawlib that did not record what decides the numbers"]
    changed = differing(plan["conditions"], json.loads(json.dumps(now)))
    lines = [f"{path} was {old}, is now {new}" for path, old, new in changed[:MAX_DIFFERENCES]]
    return lines + ([f"{len(changed) - len(lines)} more differences"] if changed[len(lines) :] else [])


def divided(found: Found, choose: Callable[[], list[Plan]]) -> Division:
    """The plans of the first checkpoint, or else ``choose()``; stored with the conditions under which the run goes on.

    Under other conditions than the stored ones only the pieces of finished chunks are kept.
    """
    checkpoints, now, plan, changed = found
    if plan is not None and changed:
        mixed = {**plan, "conditions": now, "mixed": [*plan.get("mixed", ()), changed]}
        plan = mixed if "conditions" in plan and _keep_finished(checkpoints, mixed) else None
    if plan is None:
        checkpoints.clear()
        plan = {"conditions": now, "plans": [list(each) for each in choose()], "mixed": []}
        checkpoints.store_plan(plan)
    return Division([Plan(*each) for each in plan["plans"]], plan["mixed"])


def piece(variant: int, chunk: int, segment: int) -> str:
    """The name of what a segment observed."""
    return f"{variant:04d}-{chunk:06d}-{segment:06d}"


def _keep_finished(checkpoints: Checkpoints, plan: Mapping[str, Any]) -> bool:
    """Put the finished chunks under another plan; False if there are none."""
    newest = checkpoints.restore(lambda _: None, with_carry=False)
    if newest is None:
        return False
    at = newest.position
    unfinished = "" if at["last"] else piece(at["variant"], at["chunk"], 0).rpartition("-")[0]
    names = [name for name in newest.pieces if not unfinished or not name.startswith(unfinished)]
    if names:
        begun = at if at["last"] else at | {"chunk": at["chunk"] - 1, "last": True}
        checkpoints.adopt(plan, begun, names)
    return bool(names)
