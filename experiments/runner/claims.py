"""Claims: a sentence from a paper, a measured number, a bound and a verdict.

A claim is a statement that could fail. Its kind is ``law`` (must hold), ``printed`` (a statement of the paper
shown to fail: it holds when it fails by its own margin) or ``report`` (a number without a bound). The verdict
is a function of one number per member, the members being the trajectories of a sweep; NaN never holds, no bound holds
where a member diverged unless the statement is about that, and nothing holds of no members.
"""

import json
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "NO_SUCH_VARIANT",
    "Claim",
    "each",
    "failing",
    "from_json",
    "judge",
    "markdown",
    "not_run",
    "numbers_apiece",
    "over",
    "report",
    "table",
    "to_json",
]

KINDS = ("law", "printed", "report")
STATUSES = ("holds", "fails", "not_judged", "not_run")
RELATIONS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq}
STATISTICS = {"median": np.median, "mean": np.mean, "min": np.min, "max": np.max}
# Why a claim that compares variants is not judged where a config leaves one out.
NO_SUCH_VARIANT = "this run has no such variant"
COLOURS = {"holds": "green", "fails": "bold red", "not_judged": "yellow", "not_run": "yellow"}


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One row of the claims table.

    Attributes:
        id: The claim's name in the table, ``T1.a``.
        kind: ``law``, ``printed`` or ``report``.
        paper: Where the statement comes from.
        figure: The figure, theorem or equation.
        statement: The sentence that could fail.
        statistic: What is measured over the members: ``worst``, ``median``, ``mean``, ``fraction``, ...
        measured: The statistic's value; None if not run.
        relation: How it compares with the bound; empty where there is none.
        bound: The bound; None where there is none.
        spread: Minimum, median and maximum over the members; empty without members.
        members: How many members were measured.
        diverged: How many members diverged.
        status: ``holds``, ``fails``, ``not_judged`` (measured, but outside the setting of the bound) or ``not_run``.
    """

    id: str
    kind: str
    paper: str
    figure: str
    statement: str
    statistic: str
    measured: float | None
    relation: str
    bound: float | None
    spread: tuple[float, ...]
    members: int
    diverged: int
    status: str

    def __post_init__(self):
        _require("kind", self.kind, KINDS)
        _require("relation", self.relation, ("", *RELATIONS))
        _require("status", self.status, STATUSES)


def judge(
    id: str,
    *,
    kind: str,
    paper: str,
    figure: str,
    statement: str,
    values: ArrayLike,
    relation: str,
    bound: float,
    statistic: str = "worst",
    diverged: int = 0,
    apiece: int = 1,
    counts_divergence: bool = False,
    outside: str = "",
) -> Claim:
    """Judge a statement: it holds if ``statistic(values) relation bound`` does.

    The verdict does not depend on the order of the members. It is ``fails`` if any value is NaN, if there are
    none, and if a member diverged, unless the statement counts divergence. Where members diverged, what is measured is
    that of the others: as many NaN as these have numbers are left out; with more, some other member has no number, and
    what is measured is NaN.

    Args:
        id: The claim's name in the table.
        kind: ``law`` or ``printed``.
        paper: Where the statement comes from.
        figure: The figure, theorem or equation.
        statement: The sentence that could fail.
        values: One number per member, in any shape.
        relation: ``<``, ``<=``, ``>``, ``>=`` or ``==``.
        bound: The bound.
        statistic: ``worst`` (the largest value for < and <=, the smallest for > and >=, the farthest from
            the bound for ==), ``median``, ``mean``, ``min``, ``max``, or ``fraction`` (of the values not 0).
        diverged: How many members diverged.
        apiece: How many numbers each member has.
        counts_divergence: The statement is about divergence, which then does not fail it.
        outside: Why the bound does not apply to these members, which are then measured and not judged.

    Raises:
        ValueError: The kind, relation or statistic is unknown.
    """
    _require("kind", kind, KINDS[:2])
    _require("relation", relation, RELATIONS)
    sample = _sample(values)
    known = sample if counts_divergence else _known(sample, diverged * apiece)
    measured = _worst(known, relation, bound) if statistic == "worst" else _measure(known, statistic)
    holds = (counts_divergence or diverged == 0) and bool(RELATIONS[relation](measured, bound))
    return Claim(
        id=id,
        kind=kind,
        paper=paper,
        figure=figure,
        statement=f"{statement} (not judged: {outside})" if outside else statement,
        statistic=statistic,
        measured=measured,
        relation="" if outside else relation,
        bound=None if outside else float(bound),
        spread=_spread(known),
        members=sample.size,
        diverged=int(diverged),
        status="not_judged" if outside else "holds" if holds else "fails",
    )


def report(
    id: str,
    *,
    paper: str,
    figure: str,
    statement: str,
    values: ArrayLike,
    statistic: str = "median",
    diverged: int = 0,
    apiece: int = 1,
) -> Claim:
    """Report a number without a bound: it holds, unless it is NaN or there are no members.

    ``values`` holds one number per member; ``statistic`` is one of judge's other than ``worst``, which needs
    a bound. Where members diverged, the number is that of the others, as in ``judge``.

    Raises:
        ValueError: The statistic is unknown.
    """
    sample = _sample(values)
    known = _known(sample, diverged * apiece)
    measured = _measure(known, statistic)
    return Claim(
        id=id,
        kind="report",
        paper=paper,
        figure=figure,
        statement=statement,
        statistic=statistic,
        measured=measured,
        relation="",
        bound=None,
        spread=_spread(known),
        members=sample.size,
        diverged=int(diverged),
        status="fails" if np.isnan(measured) else "holds",
    )


def not_run(id: str, *, kind: str, paper: str, figure: str, statement: str, reason: str) -> Claim:
    """Record a claim that this profile or machine cannot judge; the reason stands in the statement."""
    return Claim(
        id=id,
        kind=kind,
        paper=paper,
        figure=figure,
        statement=f"{statement} (not run: {reason})",
        statistic="",
        measured=None,
        relation="",
        bound=None,
        spread=(),
        members=0,
        diverged=0,
        status="not_run",
    )


def over(
    family: Sequence[Any],
    measure: Callable[[Sequence[Any]], ArrayLike],
    *,
    kind: str = "law",
    missing: str = "no variant of this profile has such members",
    reason: str = "",
    outside: str = "",
    **about: Any,
) -> Claim:
    """Judge or report (by kind) what is measured over a family of runs, each with its ``diverged``; or say why not.

    ``measure(family)`` gives the numbers of all members. It is not run where the family is empty (``missing``) or where
    a ``reason`` is given; outside the setting of the bound it is measured and not judged. ``about`` are the other
    arguments of ``judge`` or ``report``.
    """
    if reason or not family:
        source = {name: about[name] for name in ("id", "paper", "figure", "statement")}
        return not_run(kind=kind, reason=reason or missing, **source)
    about |= {"values": measure(family), "diverged": sum(run.diverged for run in family)}
    return report(**about) if kind == "report" else judge(kind=kind, outside=outside, **about)


def each(measure: Callable[[Any], ArrayLike]) -> Callable[[Sequence[Any]], np.ndarray]:
    """What is measured of every run, in one row: a measure for ``over``."""
    return lambda family: np.concatenate([np.ravel(measure(run)) for run in family])


def numbers_apiece(values: Iterable[ArrayLike]) -> int:
    """The most numbers that a member has in arrays with the members first: an argument for ``judge``."""
    return max((row.size // max(len(row), 1) for row in map(np.atleast_1d, values)), default=1)


def failing(claims: Iterable[Claim]) -> tuple[Claim, ...]:
    """Return the law and printed claims that fail."""
    return tuple(claim for claim in claims if claim.kind != "report" and claim.status == "fails")


def to_json(claims: Iterable[Claim]) -> str:
    """Return the claims as strict JSON, a list of objects; NaN and infinities become strings."""
    rows = [{name: _strict(value) for name, value in asdict(claim).items()} for claim in claims]
    return json.dumps(rows, indent=2, allow_nan=False, ensure_ascii=False)


def from_json(text: str) -> tuple[Claim, ...]:
    """Return the claims that ``to_json`` wrote."""
    claims = []
    for row in json.loads(text):
        numbers = {name: None if row[name] is None else float(row[name]) for name in ("measured", "bound")}
        claims.append(Claim(**(row | numbers | {"spread": tuple(map(float, row["spread"]))})))
    return tuple(claims)


def table(claims: Iterable[Claim], console: "Console") -> None:
    """Print the claims as a table, readable at 100 columns."""
    from rich.table import Table
    from rich.text import Text

    grid = Table("id", "statement", "measured", "members", "status", expand=True)
    grid.columns[1].ratio = 1
    for column in (grid.columns[0], *grid.columns[2:]):
        column.no_wrap = True
    for claim in claims:
        status = Text(claim.status, style=COLOURS[claim.status])
        # Text, since brackets in a statement are not markup.
        grid.add_row(Text(claim.id), Text(claim.statement), Text(_comparison(claim)), Text(_members(claim)), status)
    console.print(grid)


def markdown(claims: Iterable[Claim]) -> str:
    """Return the claims as a Markdown table."""
    lines = ["| id | kind | figure | statement | measured | members | status |", "|" + " --- |" * 7]
    for claim in claims:
        source = f"{claim.paper}, {claim.figure}"
        row = (
            claim.id,
            claim.kind,
            source,
            claim.statement,
            _comparison(claim),
            _members(claim),
            claim.status,
        )
        cells = [" ".join(cell.split()).replace("|", "\\|") for cell in row]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _sample(values: ArrayLike) -> np.ndarray:
    """The values sorted, so that no rounding, no tie and no sign of zero depends on the members' order."""
    return np.sort(np.asarray(values, dtype=np.float64).ravel()) + 0.0


def _known(sample: np.ndarray, explained: int) -> np.ndarray:
    """Without what is not a number, where divergence explains it and some are numbers: theirs alone was measured."""
    numbers = sample[~np.isnan(sample)]
    return numbers if numbers.size and sample.size - numbers.size <= explained else sample


def _worst(sample: np.ndarray, relation: str, bound: float) -> float:
    if sample.size == 0 or np.isnan(sample).any():
        return float("nan")
    if relation != "==":
        return float(sample[-1] if relation.startswith("<") else sample[0])
    unequal = sample[sample != bound]
    return float(unequal[np.argmax(np.abs(unequal - bound))] if unequal.size else bound)


def _measure(sample: np.ndarray, statistic: str) -> float:
    _require("statistic", statistic, (*STATISTICS, "fraction"))
    if sample.size == 0 or np.isnan(sample).any():
        return float("nan")
    with np.errstate(invalid="ignore"):
        return float(np.mean(sample != 0) if statistic == "fraction" else STATISTICS[statistic](sample))


def _spread(sample: np.ndarray) -> tuple[float, ...]:
    return tuple(_measure(sample, name) for name in ("min", "median", "max")) if sample.size else ()


def _require(name: str, value: str, allowed: Iterable[str]) -> None:
    if value not in allowed:
        msg = f"a claim's {name} must be one of {', '.join(map(repr, allowed))}, got {value!r}"
        raise ValueError(msg)


def _strict(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_strict(item) for item in value]
    return str(value) if isinstance(value, float) and not np.isfinite(value) else value


def _comparison(claim: Claim) -> str:
    """What was measured beside its bound, ``median 3.12e-13 < 1e-12``; the worst is not named."""
    words = [] if claim.statistic == "worst" else [claim.statistic]
    words += [] if claim.measured is None else [f"{claim.measured:.3g}"]
    words += [] if claim.bound is None else [claim.relation, f"{claim.bound:g}"]
    return " ".join(words).strip() or "-"


def _members(claim: Claim) -> str:
    return f"{claim.members} ({claim.diverged} diverged)" if claim.diverged else str(claim.members)
