"""The whole page: the parts of each run, laid out by the templates, within the bytes that a page may have."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from experiments.mission import PAPERS
from experiments.reporting import curves, origin, packing, pictures, spread, subject, verdicts
from experiments.runner import catalog
from experiments.runner.checkout import SOURCE
from experiments.runner.claims import Claim, comparison
from experiments.runner.finished import FinishedRun
from experiments.runner.store import InputError
from experiments.runs import names

__all__ = ["MARK", "MOST_BYTES", "MOST_BYTES_A_RUN", "page"]

MARK = "lawlib experiments.report"
# A page of one run, and of however many.
MOST_BYTES_A_RUN, MOST_BYTES = 2_500_000, 12_000_000
# Of the markup around a picture and around curves, at most.
AROUND_A_PICTURE, AROUND_CURVES = 1000, 2000
TEMPLATES = Path(__file__).parent / "templates"


class Row(NamedTuple):
    """A claim with its chart, and the place of its row in the page."""

    anchor: str
    claim: Claim
    chart: spread.Chart | None
    measured: str
    tone: str
    words: str


@dataclass(frozen=True)
class Part:
    """What the page says of one run."""

    anchor: str
    name: str
    run: FinishedRun
    subject: subject.Subject
    verdict: verdicts.Verdict
    rows: tuple[Row, ...]
    images: tuple[pictures.Picture, ...] = ()
    images_left_out: int = 0
    drawn: curves.Curves | None = None
    packed: packing.Packed | None = None

    @property
    def failing(self) -> list[Row]:
        """The rows that fail or stand."""
        return [row for row in self.rows if row.tone == "bad"]


class Paper(NamedTuple):
    """A paper and the runs of it."""

    name: str
    title: str
    parts: tuple[Part, ...]


class Shared(NamedTuple):
    """Runs of one experiment, and the claims that more than one of them has: a row of each run for each id."""

    experiment: str
    parts: tuple[Part, ...]
    rows: Mapping[str, list[Row | None]]


def page(runs: Sequence[FinishedRun]) -> str:
    """The page about these runs; equal folders give equal text.

    Raises:
        InputError: Results or pictures are damaged; one line for each.
    """
    known = {entry.name: entry for entry in catalog.entries(SOURCE)}
    parts = [
        _part(f"run-{i}", name, run, known) for i, (name, run) in enumerate(zip(names(runs), runs, strict=True), 1)
    ]
    found, seen = _read(parts)
    room = min(MOST_BYTES_A_RUN * len(parts), MOST_BYTES) - len(_laid_out(parts).encode())
    kept = pictures.chosen(seen, room)
    room -= sum(len(picture.data) + AROUND_A_PICTURE for own in kept for picture in own)
    room -= AROUND_CURVES * len(found)
    packed = dict(zip(found, packing.shared(list(found.values()), room), strict=True))
    whole = [
        replace(
            part, images=tuple(own), images_left_out=len(every) - len(own), drawn=found.get(i), packed=packed.get(i)
        )
        for i, (part, own, every) in enumerate(zip(parts, kept, seen, strict=True))
    ]
    return _laid_out(whole)


def _part(anchor: str, name: str, run: FinishedRun, known: Mapping[str, catalog.Entry]) -> Part:
    rows = tuple(_row(f"{anchor}-claim-{i}", claim) for i, claim in enumerate(run.claims, 1))
    return Part(anchor, name, run, subject.of(run, known), verdicts.verdict(run.claims), rows)


def _row(anchor: str, claim: Claim) -> Row:
    tone, words = verdicts.tone(claim.status), verdicts.words(claim.status)
    return Row(anchor, claim, spread.chart(claim), comparison(claim), tone, words)


def _read(parts: Sequence[Part]) -> tuple[dict[int, curves.Curves], list[list[pictures.Picture]]]:
    """The curves of those that have results, and the pictures of all."""
    found, seen, problems = {}, [], []
    for i, part in enumerate(parts):
        try:
            seen.append(pictures.read(part.run, part.subject))
            if part.run.has_results:
                found[i] = curves.read(part.run)
        except InputError as refusal:
            problems += refusal.problems
    if problems:
        raise InputError(problems)
    return found, seen


@functools.cache
def _templates() -> Environment:
    """The templates, which are compiled when they are first used, and what they may call."""
    loader = FileSystemLoader(TEMPLATES)
    found = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    found.globals |= {"marks": verdicts.MARKS, "words": verdicts.words}
    found.globals |= {"fields": subject.fields, "variants": subject.variants}
    found.globals |= {"facts": origin.facts, "downloads": origin.downloads, "wall_time": origin.wall_time}
    return found


def _laid_out(parts: Sequence[Part]) -> str:
    return (
        _templates()
        .get_template("page.html")
        .render(
            mark=MARK,
            parts=parts,
            total=verdicts.verdict([claim for part in parts for claim in part.run.claims]),
            papers=_by_paper(parts),
            shared=_shared(parts),
            style=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
            script=Markup((TEMPLATES / "curves.js").read_text(encoding="utf-8")),
        )
    )


def _by_paper(parts: Iterable[Part]) -> list[Paper]:
    """The papers in their order, those that are unknown last."""
    titles = {paper.name: paper.title for paper in PAPERS}
    own: dict[str, list[Part]] = {name: [] for name in titles}
    for part in parts:
        own.setdefault(part.subject.paper, []).append(part)
    return [Paper(name, titles.get(name, ""), tuple(found)) for name, found in own.items() if found]


def _shared(parts: Iterable[Part]) -> list[Shared]:
    """The claims that runs of one experiment have in common, side by side."""
    groups: dict[str, list[Part]] = {}
    for part in parts:
        groups.setdefault(str(part.run.config.experiment), []).append(part)
    tables = []
    for experiment, own in groups.items():
        each = [{row.claim.id: row for row in part.rows} for part in own]
        ids = dict.fromkeys(id for rows in each for id in rows if sum(id in other for other in each) > 1)
        if ids:
            tables.append(Shared(experiment, tuple(own), {id: [rows.get(id) for rows in each] for id in ids}))
    return tables
