"""Claims judged with two root seeds: which verdicts differ, and which bounds are within the seeds' own spread."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.page import Table
from experiments.runner.claims import WITHOUT_VERDICT, Claim

__all__ = ["Row", "described", "from_plain", "paired", "ranked", "tables", "to_plain"]

HEADER = ("config", "id", "statement", "seed 0", "other seed", "verdicts")
PARTS = {
    "differs": ("Verdicts that differ", "The bound is met with one seed alone."),
    "edge": (
        "Knife edges",
        "Both verdicts agree, but the nearer of the two numbers is closer to the bound than they are to each other.",
    ),
    "rest": ("All other rows", "Both verdicts agree, with a margin larger than the difference of the seeds."),
    "single": ("Rows without a pair", "One of the two tables has no number or no verdict for them."),
}


@dataclass(frozen=True)
class Row:
    """A claim of a config with seed 0 (``first``, as published) and with another seed: number, bound and verdict."""

    config: str
    id: str
    statement: str
    relation: str
    measured: tuple[float | None, float | None]
    bound: tuple[float | None, float | None]
    status: tuple[str, str]

    @property
    def part(self) -> str:
        """A key of ``PARTS``."""
        if any(status in ("", *WITHOUT_VERDICT) for status in self.status) or None in (*self.measured, *self.bound):
            return "single"
        if self.status[0] != self.status[1]:
            return "differs"
        return "edge" if self.margin < self.difference else "rest"

    @property
    def difference(self) -> float:
        """How far the two numbers are apart."""
        first, other = (float("nan") if value is None else value for value in self.measured)
        return abs(other - first)

    @property
    def margin(self) -> float:
        """How far the nearer number is from its bound."""
        pairs = zip(self.measured, self.bound, strict=True)
        return min(abs(value - bound) for value, bound in pairs if value is not None and bound is not None)


def paired(config: str, first: Sequence[Claim], other: Sequence[Claim]) -> list[Row]:
    """A row for each id of either table, in order of first appearance."""
    tables = [{claim.id: claim for claim in claims} for claims in (first, other)]
    return [_row(config, [table.get(id) for table in tables]) for id in {**tables[0], **tables[1]}]


def _row(config: str, pair: Sequence[Claim | None]) -> Row:
    known = [claim for claim in pair if claim]
    first, other = pair
    return Row(
        config=config,
        id=known[0].id,
        statement=known[-1].statement,
        relation=next((claim.relation for claim in known if claim.relation), ""),
        measured=(first.measured if first else None, other.measured if other else None),
        bound=(first.bound if first else None, other.bound if other else None),
        status=(first.status if first else "", other.status if other else ""),
    )


def ranked(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """The rows by part, differing verdicts first."""
    found: dict[str, list[Row]] = {part: [] for part in PARTS}
    for row in rows:
        found[row.part].append(row)
    return found


def tables(rows: Iterable[Row]) -> list[Table]:
    """A table for each part that has rows."""
    parts = {part: [list(_cells(row)) for row in found] for part, found in ranked(rows).items()}
    return [Table(HEADER, found, *PARTS[part]) for part, found in parts.items() if found]


def described(rows: Iterable[Row], about: Mapping[str, Any]) -> tuple[str, str]:
    """Title and introduction: ``about`` has the seed, what was run and how long it took, and what was not run."""
    counts = ", ".join(f"{PARTS[part][0].lower()}: {len(found)}" for part, found in ranked(rows).items())
    parts = [
        "Bounds were chosen with root seed 0, whose tables are in figures/. Here the same configs run with another\n"
        "root seed, which shares no random draw with it. `make holdout` writes this table.",
        f"Rows: {counts}.",
        f"Runs, with their time in seconds: {_listed(about['seconds'])}.",
    ]
    parts += [f"Not run: {_listed(about['left_out'])}."] if about["left_out"] else []
    return f"The claims of {len(about['seconds'])} configs with root seed {about['seed']}", "\n\n".join(parts)


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} ({value})" for name, value in values.items()) or "none"


def _cells(row: Row) -> tuple[str, ...]:
    numbers = (_number(row, place) for place in range(2))
    same = row.status[0] == row.status[1]
    return (
        row.config,
        row.id,
        row.statement,
        *numbers,
        row.status[0] if same else " / ".join(s or "-" for s in row.status),
    )


def _number(row: Row, place: int) -> str:
    measured, bound = row.measured[place], row.bound[place]
    if measured is None:
        return "-"
    return f"{measured:.4g}" + ("" if bound is None else f" {row.relation} {bound:g}")


def to_plain(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """The rows as strict JSON has them; numbers that are none become strings."""
    return [{name: _strict(value) for name, value in asdict(row).items()} | {"part": row.part} for row in rows]


def from_plain(rows: Iterable[Mapping[str, Any]]) -> list[Row]:
    """What ``to_plain`` gave."""
    return [_from_plain(plain) for plain in rows]


def _from_plain(plain: Mapping[str, Any]) -> Row:
    known: dict[str, Any] = {name: plain[name] for name in ("config", "id", "statement", "relation")}
    for name in ("measured", "bound"):
        known[name] = tuple(None if value is None else float(value) for value in plain[name])
    return Row(**known, status=tuple(plain["status"]))


def _strict(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_strict(item) for item in value]
    return str(value) if isinstance(value, float) and value - value != 0 else value
