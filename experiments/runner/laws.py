"""Claims as data: what a paper says, of which runs, by which measure and against which bound; one function judges.

A ``Measure`` gives one number (or a few) per member. Compared with a bound it is an ``Expected``; with a sentence, an
id and the runs that it speaks of it is a ``Law``. A ``Source`` is the figure or theorem that laws come from::

    off_law = measure(lambda run: np.abs(ratios(run) / law(run) - 1).max(1))
    F2 = Source(paper=PAPER, figure="Figs. 2, 7", of=where(study="depth"))
    LAWS = (F2.law("F2.rate", "linear: |(D_{l+1}/D_l) / (eps^2/n^(1/L)) - 1|", off_law < 0.05, exact),)
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import ArrayLike

from experiments.runner.claims import VERDICTS, Claim, judge, unjudged
from experiments.runner.controls import Control
from experiments.runner.fields import leaves
from experiments.runner.runs import Run, Where

__all__ = [
    "Expected",
    "Law",
    "Measure",
    "Source",
    "across",
    "at_least",
    "differing_in",
    "judged",
    "lasting",
    "measure",
    "of_size",
    "stated_for",
]

Runs = Sequence[Run]
# Why runs cannot be judged, or lie outside the setting of a bound; an empty text where they can.
Objection = Callable[[Runs], str]
NO_SUCH_RUN = "no run of this config is of that kind"
NO_SUCH_VARIANT = "this config has no such variant"
AMBIGUOUS = "several runs of this config are of that kind, and it compares one of each"
COMPARES = "it compares {} settings or more"


class Expected(NamedTuple):
    """A measure and its bound: what ``off_law < 0.05`` is. A bound may be a function of the runs."""

    measure: "Measure"
    relation: str
    bound: float | Callable[[Run], float]

    def __bool__(self) -> NoReturn:
        msg = "a law has one bound: Python keeps only the last one of 0 < measure < 1; write two laws"
        raise TypeError(msg)


@dataclass(frozen=True)
class Measure:
    """Numbers of the members of runs; ``least`` runs are needed."""

    of: Callable[[Runs], Sequence[ArrayLike]]
    least: int = 1

    def __lt__(self, bound: Any) -> Expected:
        return Expected(self, "<", bound)

    def __le__(self, bound: Any) -> Expected:
        return Expected(self, "<=", bound)

    def __gt__(self, bound: Any) -> Expected:
        return Expected(self, ">", bound)

    def __ge__(self, bound: Any) -> Expected:
        return Expected(self, ">=", bound)

    def equals(self, bound: Any) -> Expected:
        """What is expected of an exact count."""
        return Expected(self, "==", bound)


def measure(of: Callable[[Run], ArrayLike]) -> Measure:
    """Each run by itself: one number per member, or several, members first; members without one may be left out."""
    return Measure(lambda found: [_checked(of(run), run) for run in found])


def _checked(values: ArrayLike, run: Run) -> np.ndarray:
    """The numbers of a run.

    Raises:
        ValueError: It is a single number, which the table would count as one member.
    """
    numbers = np.asarray(values)
    if numbers.ndim == 0:
        msg = f"a measure of {run.label} gives one number; give one for each member, or [number] for the whole run"
        raise ValueError(msg)
    return numbers


def across(of: Callable[..., ArrayLike], least: int = 2) -> Measure:
    """Runs that are compared: ``of`` takes the list of them (``least`` or more)."""
    return Measure(lambda found: [of(found)], least)


@dataclass(frozen=True, kw_only=True)
class Law:
    """A sentence that could fail; ``Source``'s methods ``law``, ``printed`` and ``check`` describe the attributes."""

    id: str
    says: str | Callable[[Runs], str]
    expected: Expected
    source: "Source"
    of: Where | tuple[Where, ...] | None
    each: str | tuple[str, ...] | Callable[[Run], str | None]
    kind: str
    statistic: str
    counts_divergence: bool
    event: Callable[[Run], np.ndarray] | None
    needs: tuple[Objection, ...]
    awaits: tuple[Objection, ...]
    stated: tuple[Objection, ...]
    vacuous: tuple[Objection, ...]
    control: Control | None


@dataclass(frozen=True, kw_only=True)
class Source:
    """A figure, theorem or equation of a paper, and the runs that its sentences speak of.

    Attributes:
        paper: The paper.
        figure: The figure, theorem or equation.
        of: Chooses the runs. Where none fits, the laws of this source are left out of the table.
        parts: Splits the runs into parts, by name; a run may be in several. Each law has a row for each part, whose
            name ``{}`` stands for.
        stated: What the bounds were stated for (``stated_for``): outside of it a law is measured and not judged.
        vacuous: Where its sentences would hold whatever the law (``of_size``): see ``law``.
    """

    paper: str
    figure: str
    of: Where = lambda run: True
    parts: Callable[[Runs], Mapping[str, Runs]] = lambda found: {"": found}
    stated: tuple[Objection, ...] = ()
    vacuous: tuple[Objection, ...] = ()

    def law(
        self,
        id: str,
        says: str | Callable[[Runs], str],
        expected: Expected,
        of: Where | tuple[Where, ...] | None = None,
        *,
        each: str | tuple[str, ...] | Callable[[Run], str | None] = (),
        statistic: str = "worst",
        counts_divergence: bool = False,
        event: Callable[[Run], np.ndarray] | None = None,
        needs: tuple[Objection, ...] = (),
        awaits: tuple[Objection, ...] = (),
        stated: tuple[Objection, ...] = (),
        vacuous: tuple[Objection, ...] = (),
        control: Control | None = None,
    ) -> Law:
        """A sentence that must hold.

        Args:
            id: The row's name, unique in a table. With ``each`` it becomes ``id[value]``.
            says: The sentence; ``{}`` stands for the value of ``each``. A function of the runs where it names numbers.
            expected: The measure and its bound.
            of: Which runs of the source it speaks of. A tuple names one run each, in the order in which an ``across``
                measure takes them; where one is missing, or several are of one kind, the law is not run.
            each: A field, fields, or a function that names the part that a run belongs to (None: none). The law has a
                row for each of its values, judged by itself.
            statistic: As in ``judge``. A law of the mean and one of the worst member are two laws.
            counts_divergence: The sentence is about divergence, which then does not fail it.
            event: Which members of a run met what the sentence presupposes. Where none did, it is not reached.
            needs: Objections by which the law is not run (``lasting``, ``at_least``, ``differing_in``).
            awaits: Objections by which it is not reached: the runs were made, and some did not get where all have to.
            stated: Objections by which it is measured and not judged, besides those of the source.
            vacuous: Objections by which it is not judged if it holds, besides those of the source: it would hold
                whatever the law, since nothing moved for example. What fails there, fails.
            control: Where the same number stands for something that the sentence is not about (``controls``).
        """
        return Law(
            id=id,
            says=says,
            expected=expected,
            source=self,
            of=of,
            each=each,
            kind="law",
            statistic=statistic,
            counts_divergence=counts_divergence,
            event=event,
            needs=needs,
            awaits=awaits,
            stated=self.stated + stated,
            vacuous=self.vacuous + vacuous,
            control=control,
        )

    def printed(self, *args: Any, **options: Any) -> Law:
        """A sentence of the paper that we dispute: refuted where ``expected``, its failure by a margin, holds."""
        return replace(self.law(*args, **options), kind="printed")

    def check(self, *args: Any, **options: Any) -> Law:
        """What holds by construction, or of a useful run: if it fails the code or the run is wrong, not the paper."""
        return replace(self.law(*args, **options), kind="check")


# Objections. ----------------------------------------------------------------------------------------------------------


def stated_for(words: str, fits: Where) -> Objection:
    """The setting of a bound, in words; ``fits`` tells whether a run is in it."""
    return lambda found: "" if all(map(fits, found)) else f"stated for {words}"


def lasting(steps: int, end: Callable[[Run], int] = lambda run: int(run.steps[-1])) -> Objection:
    """Runs of so many steps or more; ``end(run)`` is the last one, by default the last observed."""

    def objection(found: Runs) -> str:
        last = min(map(end, found))
        return f"runs of {last} steps, of {steps} needed" if last < steps else ""

    return objection


def at_least(members: int) -> Objection:
    """So many members in every run, or more."""

    def objection(found: Runs) -> str:
        fewest = min(run.num_seeds for run in found)
        return f"{fewest} members, of {members} needed" if fewest < members else ""

    return objection


def of_size(words: str, size: Callable[[Run], ArrayLike], least: float | Callable[[Run], float]) -> Objection:
    """Members with a size, given in words, of ``least`` or more: beside a smaller one a small number says nothing."""

    def objection(found: Runs) -> str:
        limits = [float(least(run)) if callable(least) else least for run in found]
        short = [~(np.asarray(size(run)) >= limit) for run, limit in zip(found, limits, strict=True)]
        lost, members = sum(int(each.sum()) for each in short), sum(each.size for each in short)
        return f"it says nothing of {lost} of {members} members: {words} is below {max(limits):g}" if lost else ""

    return objection


def differing_in(field: str, alike: tuple[str, ...] = ("net", "data")) -> Objection:
    """Runs each with a value of its own of this field, and all with the same of the others in ``alike``.

    ``alike`` names fields and groups of fields. Without this rule a difference between the runs could come from another
    field, one that is swept for example.
    """

    def objection(found: Runs) -> str:
        settings = [
            {path: value for path, value in leaves(run.config).items() if {path, path.partition(".")[0]} & {*alike}}
            for run in found
        ]
        values = [str(own.pop(field, None)) for own in settings]
        is_so = len(set(values)) == len(values) and all(own == settings[0] for own in settings)
        return "" if is_so else f"it compares runs that differ in {field} alone"

    return objection


# Judging. -------------------------------------------------------------------------------------------------------------


def judged(laws: Iterable[Law], found: Runs) -> list[Claim]:
    """The verdict on every law, a row for each part of its runs.

    Raises:
        ValueError: Two rows have one id.
    """
    rows = [row for law in laws for row in _rows(law, found)]
    ids = [row.id for row in rows]
    if doubled := sorted({id for id in ids if ids.count(id) > 1}):
        msg = f"claim ids must be unique in a table, and these are not: {', '.join(doubled)}"
        raise ValueError(msg)
    return rows


def _rows(law: Law, found: Runs) -> Iterator[Claim]:
    ours = [run for run in found if law.source.of(run)]
    if not ours:
        return
    parts: dict[str, list[Run]] = {}
    for name, part in law.source.parts(ours).items():
        chosen = [run for run in part if law.of is None or isinstance(law.of, tuple) or law.of(run)]
        for run in chosen:
            if (value := _value(law, run)) is not None:
                parts.setdefault(", ".join(filter(None, (name, value))), []).append(run)
    for value, part in (parts or {"": []}).items():
        yield _row(law, value, part)


def _value(law: Law, run: Run) -> str | None:
    """The value of ``each`` for a run; empty where the law has one row."""
    if callable(law.each):
        return law.each(run)
    own = leaves(run.config)
    return ", ".join(str(own[path]) for path in ((law.each,) if isinstance(law.each, str) else law.each))


def _row(law: Law, value: str, part: Runs) -> Claim:
    about: dict[str, Any] = {"paper": law.source.paper, "figure": law.source.figure, "statistic": law.statistic}
    about |= {"id": f"{law.id}[{value}]" if value else law.id, "kind": law.kind}
    several = False
    if isinstance(law.of, tuple):
        fitting = [list(filter(fits, part)) for fits in law.of]
        part, several = [run for each in fitting for run in each[:1]], any(len(each) > 1 for each in fitting)
    about["statement"] = _sentence(law, value, part) + (f"; {law.control.words(about['id'])}" if law.control else "")
    if reason := _obstacle(law, part) or AMBIGUOUS * several:
        return unjudged("not_run", reason=reason, members=0, **about)
    if late := _first(law.awaits, part):
        return unjudged("not_reached", reason=late, members=sum(run.num_seeds for run in part), **about)
    members, steps = sum(run.num_seeds for run in part), max(int(run.steps[-1]) for run in part)
    came = law.event is None or any(np.any(law.event(run)) for run in part)
    if not came and not any(run.num_diverged for run in part):
        reason = f"in none of {members} members within {steps} steps"
        return unjudged("not_reached", reason=reason, members=members, **about)
    # Where members diverged, that no other one got there is a failure: nothing else is known of the law.
    numbers = law.expected.measure.of(part) if came else [np.full(run.num_seeds, np.nan) for run in part]
    values = [np.atleast_1d(each) for each in numbers]
    apiece = max((each.size // max(run.num_seeds, 1) for each, run in zip(values, part, strict=False)), default=1)
    row = judge(
        values=np.concatenate([each.ravel() for each in values]),
        relation=law.expected.relation,
        bound=_bound(law.expected.bound, part),
        diverged=sum(run.num_diverged for run in part),
        apiece=max(apiece, 1) if law.expected.measure.least == 1 else 1,
        counts_divergence=law.counts_divergence,
        outside="; ".join(filter(None, (objection(part) for objection in law.stated))),
        **about,
    )
    empty = _first(law.vacuous, part) if row.status == VERDICTS[law.kind][0] else ""
    return replace(row, status="not_judged", reason=empty, relation="", bound=None) if empty else row


def _sentence(law: Law, value: str, part: Runs) -> str:
    """The sentence of a row, about any part where there is none; a function of the runs needs some to name numbers."""
    if callable(law.says):
        return law.says(part) if part else f"{law.id}, {law.source.figure}"
    return law.says.replace("{}", value or "any")


def _obstacle(law: Law, part: Runs) -> str:
    if isinstance(law.of, tuple) and len(part) < len(law.of):
        return NO_SUCH_VARIANT
    if not part:
        return NO_SUCH_RUN
    least = law.expected.measure.least
    if not isinstance(law.of, tuple) and len(part) < least:
        return COMPARES.format({2: "two", 3: "three"}.get(least, least))
    return _first(law.needs, part)


def _first(objections: Iterable[Objection], part: Runs) -> str:
    return next(filter(None, (objection(part) for objection in objections)), "")


def _bound(bound: float | Callable[[Run], float], part: Runs) -> float:
    """The bound of these runs.

    Raises:
        ValueError: It is a function, and differs between runs that are judged together.
    """
    bounds = {float(bound(run)) if callable(bound) else float(bound) for run in part}
    if len(bounds) > 1:
        msg = f"runs that are judged together need one bound, not {sorted(bounds)}; give the law an `each`"
        raise ValueError(msg)
    return bounds.pop()
