"""Claims tables that version 0.1 published: Markdown alone, without a config and without JSON.

Its rows share ids: the third of ``F7`` becomes ``F7[3]``, so that an id names one row. Its ``report`` was a number
without a bound, and its ``printed`` row a sentence that says that the paper's is false.
"""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.runner.claims import RELATIONS, Claim
from experiments.runner.store import InputError

__all__ = ["BY_FIRST_VERSION", "of_first_version", "read_first_table"]

BY_FIRST_VERSION = "a number without a bound, published by version 0.1"
HEAD = ["id", "kind", "figure", "statement", "measured", "members", "status"]
CELLS = re.compile(r"(?<!\\)\|")
ESCAPED = re.compile(r"\\([|*_])")
SOURCE = re.compile(r"(?P<paper>.+? \d{4}), (?P<figure>.+)")
REASON = re.compile(r"(?P<statement>.*) \(not run: (?P<reason>.*)\)")
NUMBER = r"[-+]?(?:\d[\d.]*(?:e[-+]?\d+)?|inf|nan)"
MEASURED = re.compile(
    rf"(?:(?P<statistic>[a-z]+) )?(?P<measured>{NUMBER})"
    rf"(?: (?P<relation>{'|'.join(sorted(RELATIONS, key=len, reverse=True))}) (?P<bound>{NUMBER}))?"
)
MEMBERS = re.compile(r"(?P<members>\d+)(?: \((?P<diverged>\d+) diverged\))?")
VERDICTS = {("printed", "holds"): "refuted", ("printed", "fails"): "stands", ("report", "holds"): "not_judged"}


class _Row(NamedTuple):
    id: str
    kind: str
    source: str
    statement: str
    measured: str
    members: str
    status: str


def of_first_version(folder: Path) -> bool:
    """Whether version 0.1 published the folder: it has a table, and no config."""
    return (folder / "claims.md").exists() and not (folder / "config.json").exists()


def read_first_table(folder: Path) -> tuple[Claim, ...]:
    """The rows of claims.md; measured numbers have the three digits that the table has, and no spread.

    Raises:
        InputError: The table cannot be read, or is another one.
    """
    file = folder / "claims.md"
    try:
        head, _, *lines = [_cells(line) for line in file.read_text(encoding="utf-8").splitlines() if line]
        if head != HEAD:
            raise InputError([f"{file}: is no claims table of version 0.1: its columns are {', '.join(head)}"])
        rows = [_Row(*line) for line in lines]
        return tuple(_claim(row, name) for row, name in zip(rows, _names([row.id for row in rows]), strict=True))
    except (OSError, TypeError, ValueError) as error:
        raise InputError([f"{file}: cannot be read as a claims table of version 0.1: {error}"]) from error


def _cells(line: str) -> list[str]:
    return [ESCAPED.sub(r"\1", cell.strip()) for cell in CELLS.split(line)[1:-1]]


def _names(ids: Sequence[str]) -> list[str]:
    """Each id, numbered where several rows have it."""
    counts, seen = Counter(ids), Counter()
    names = []
    for id in ids:
        seen[id] += 1
        names.append(f"{id}[{seen[id]}]" if counts[id] > 1 else id)
    return names


def _claim(row: _Row, id: str) -> Claim:
    source, members = SOURCE.fullmatch(row.source), MEMBERS.fullmatch(row.members)
    numbers, without = MEASURED.fullmatch(row.measured), REASON.fullmatch(row.statement)
    if not source or not members or (not numbers and row.measured != "-"):
        msg = f"its row {' | '.join(row)} has another form"
        raise ValueError(msg)
    found = numbers.groupdict() if numbers else {}
    return Claim(
        id=id,
        kind="law" if row.kind == "report" else row.kind,
        paper=source["paper"],
        figure=source["figure"],
        statement=without["statement"] if without else row.statement,
        statistic=found.get("statistic") or "worst",
        measured=float(found["measured"]) if found else None,
        relation=found.get("relation") or "",
        bound=float(found["bound"]) if found.get("bound") else None,
        spread=(),
        members=int(members["members"]),
        diverged=int(members["diverged"] or 0),
        status=VERDICTS.get((row.kind, row.status), row.status),
        reason=without["reason"] if without else BY_FIRST_VERSION if row.kind == "report" else "",
    )
