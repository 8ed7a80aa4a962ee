"""Claims: a sentence from a paper, a measured number, a bound and a verdict.

A claim is a sentence that could fail. A ``law`` holds or fails. A ``printed`` claim is a sentence of the paper that we
dispute: it is refuted where it fails by the margin that the row states, and otherwise it stands. A ``check`` holds by
construction, or says that a run is of use: it is about the code or the run, and no evidence for the paper. The verdict
is a function of one number per member, the members being the trajectories of a sweep. NaN never holds, no bound holds
where a member diverged unless the sentence is about that, and nothing holds of no members.
"""

import json
import operator
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from experiments.runner.layout import laid_out

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "RELATIONS",
    "STATUSES",
    "Claim",
    "comparison",
    "escaped",
    "failing",
    "from_json",
    "judge",
    "markdown",
    "table",
    "table_row",
    "to_json",
    "unjudged",
    "wilson",
]

# What a verdict is where the relation to the bound holds, and where it does not.
VERDICTS = {"law": ("holds", "fails"), "printed": ("refuted", "stands"), "check": ("holds", "fails")}
# Measured, but outside the setting of the bound, or where it says nothing; an event did not come; this machine or
# profile cannot do it.
WITHOUT_VERDICT = ("not_judged", "not_reached", "not_run")
STATUSES = (*VERDICTS["law"], *VERDICTS["printed"], *WITHOUT_VERDICT)
RELATIONS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq}
STATISTICS = {"median": np.median, "mean": np.mean, "min": np.min, "max": np.max}
COLOURS = {"holds": "green", "refuted": "green", "fails": "bold red", "stands": "bold red"}
# Of the normal distribution: a two-sided interval of 95%.
QUANTILE = 1.959964


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One row of the claims table.

    Attributes:
        id: The row's name, unique in the table: ``T1.block[case1]``.
        kind: ``law``, ``printed`` or ``check``.
        paper: Where the sentence comes from.
        figure: The figure, theorem or equation.
        statement: The sentence that could fail.
        statistic: What is measured over the members: ``worst``, ``median``, ``mean``, ``fraction``, ...
        measured: The statistic's value; None where nothing was measured.
        relation: How it compares with the bound.
        bound: The bound; None where none was applied.
        spread: Minimum, median and maximum over the members; of a fraction, the fraction between the ends of its
            Wilson interval of 95%; empty without members.
        members: How many members were measured.
        diverged: How many members diverged.
        status: ``holds`` or ``fails``, ``refuted`` or ``stands``; ``not_judged`` (measured outside the setting of the
            bound, or where it says nothing), ``not_reached`` (the event did not come) or ``not_run``.
        reason: Why there is no verdict; empty where there is one.
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
    reason: str = ""

    def __post_init__(self):
        _require("kind", self.kind, VERDICTS)
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
    """Judge a sentence by whether ``statistic(values) relation bound`` holds.

    The verdict does not depend on the order of the members. It is ``fails`` if any value is NaN, if there are
    none, and if a member diverged, unless the sentence counts divergence. Where members diverged, what is measured is
    that of the others: as many NaN as these have numbers are left out; with more, some other member has no number, and
    what is measured is NaN.

    Args:
        id: The claim's name in the table.
        kind: ``law``, ``printed`` or ``check``.
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
    _require("kind", kind, VERDICTS)
    _require("relation", relation, RELATIONS)
    sample = _sample(values)
    known = sample if counts_divergence else _known(sample, diverged * apiece)
    measured = _worst(known, relation, bound) if statistic == "worst" else _measure(known, statistic)
    holds = (counts_divergence or diverged == 0) and bool(RELATIONS[relation](measured, bound))
    verdict = VERDICTS[kind][0 if holds else 1]
    return Claim(
        id=id,
        kind=kind,
        paper=paper,
        figure=figure,
        statement=statement,
        statistic=statistic,
        measured=measured,
        relation="" if outside else relation,
        bound=None if outside else float(bound),
        spread=wilson(known) if statistic == "fraction" else _spread(known),
        members=sample.size,
        diverged=int(diverged),
        status="not_judged" if outside else verdict,
        reason=outside,
    )


def unjudged(
    status: str,
    id: str,
    *,
    kind: str,
    paper: str,
    figure: str,
    statement: str,
    reason: str,
    statistic: str = "worst",
    members: int = 0,
) -> Claim:
    """A claim without a number: ``not_reached``, since the event did not come in any member, or ``not_run``."""
    return Claim(
        id=id,
        kind=kind,
        paper=paper,
        figure=figure,
        statement=statement,
        statistic=statistic,
        measured=None,
        relation="",
        bound=None,
        spread=(),
        members=members,
        diverged=0,
        status=status,
        reason=reason,
    )


def failing(claims: Iterable[Claim]) -> tuple[Claim, ...]:
    """The laws and checks that fail and the printed sentences that stand."""
    return tuple(claim for claim in claims if claim.status == VERDICTS[claim.kind][1])


def wilson(hits: ArrayLike) -> tuple[float, ...]:
    """The frequency of ``hits`` between the ends of its Wilson interval of 95%: (low, frequency, high)."""
    sample = np.asarray(hits, float).ravel()
    if not sample.size:
        return ()
    n, p, z = sample.size, float(np.mean(sample != 0)), QUANTILE
    centre, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return float((centre - half) / (1 + z**2 / n)), p, float((centre + half) / (1 + z**2 / n))


def to_json(claims: Iterable[Claim], about: Mapping[str, Any]) -> str:
    """The claims and what is known of their run, as strict JSON; NaN and infinities become strings."""
    rows = [{name: _strict(value) for name, value in asdict(claim).items()} for claim in claims]
    return laid_out({"run": dict(about), "claims": rows}) + "\n"


def from_json(text: str) -> tuple[Claim, ...]:
    """The claims that ``to_json`` wrote."""
    claims = []
    for row in json.loads(text)["claims"]:
        numbers = {name: None if row[name] is None else float(row[name]) for name in ("measured", "bound")}
        claims.append(Claim(**(row | numbers | {"spread": tuple(map(float, row["spread"]))})))
    return tuple(claims)


def table(claims: Iterable[Claim], console: "Console") -> None:
    """Print the claims as a table, readable at 100 columns."""
    from rich.table import Table
    from rich.text import Text

    grid = Table("id", "statement", "measured", "members", "verdict", expand=True)
    grid.columns[1].ratio = 1
    for column in (grid.columns[0], *grid.columns[2:]):
        column.no_wrap = True
    for claim in claims:
        status = Text(claim.status, style=COLOURS.get(claim.status, "yellow"))
        # Text, since brackets in a statement are not markup.
        cells = (claim.id, _sentence(claim), comparison(claim), _members(claim))
        grid.add_row(*map(Text, cells), status)
    console.print(grid)


def markdown(claims: Iterable[Claim], about: Mapping[str, Any]) -> str:
    """The claims as a Markdown table, below what is known of their run."""
    lines = [
        *_how(about),
        "",
        "| id | kind | source | statement | measured | min, median, max | members | verdict |",
        "|" + " --- |" * 8,
    ]
    for claim in claims:
        spread = ", ".join(f"{value:.3g}" for value in claim.spread)
        source = f"{claim.paper}, {claim.figure}"
        row = (
            claim.id,
            claim.kind,
            source,
            _sentence(claim),
            comparison(claim),
            spread,
            _members(claim),
            claim.status,
        )
        lines.append(table_row(row))
    return "\n".join(lines) + "\n"


def table_row(cells: Iterable[str]) -> str:
    """A row of a Markdown table in which the cells read as they are: ``||G||_F * 2`` is no table, and no emphasis."""
    return f"| {' | '.join(map(escaped, cells))} |"


def escaped(text: str) -> str:
    """A text as a piece of Markdown that reads as the text does, in one line."""
    return re.sub(r"[|*]|(?<![A-Za-z0-9])_", r"\\\g<0>", " ".join(text.split()))


def _how(about: Mapping[str, Any]) -> list[str]:
    """How a run was made, in two lines; in one where its provenance is lost."""
    seeds = f"Seed {about['seed']} and the following ones ({about['num_seeds']})"
    if not about["versions"]:
        return [f"{seeds}; how they were run is not known, since provenance.json was lost."]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    time = "time not known" if about["wall_s"] is None else f"{about['wall_s']} s"
    return [
        f"{seeds}, commit {about['commit']}, {versions};",
        f"{about['device_count']} x {about['device_kind']} ({about['platform']}), {time}.",
    ]


def _sentence(claim: Claim) -> str:
    """The statement, and why there is no verdict on it."""
    return f"{claim.statement} ({claim.status.replace('_', ' ')}: {claim.reason})" if claim.reason else claim.statement


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
    _require("statistic", statistic, ("worst", *STATISTICS, "fraction"))
    if sample.size == 0 or np.isnan(sample).any():
        return float("nan")
    # A sum beyond the largest float is infinite, and so is its mean.
    with np.errstate(invalid="ignore", over="ignore"):
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


def comparison(claim: Claim) -> str:
    """What was measured beside its bound, ``median 3.12e-13 < 1e-12``; the worst is not named."""
    words = [] if claim.statistic == "worst" else [claim.statistic]
    words += [] if claim.measured is None else [f"{claim.measured:.3g}"]
    words += [] if claim.bound is None else [claim.relation, f"{claim.bound:g}"]
    return " ".join(words).strip() or "-"


def _members(claim: Claim) -> str:
    return f"{claim.members} ({claim.diverged} diverged)" if claim.diverged else str(claim.members)
