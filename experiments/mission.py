"""Write docs/mission.md, what of the papers is judged where: python -m experiments.mission [--check].

The items are in experiments/papers; ids, sizes and verdicts are read from the tables in figures/. With --check nothing
is written, and the exit code is 1 if the file would change; it is 2 where a table or a config cannot be read.
"""

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments import papers
from experiments.papers.item import Item, Paper
from experiments.published import Folder, folders
from experiments.runner import catalog, settings
from experiments.runner.checkout import SOURCE
from experiments.runner.claims import Claim, failing, table_row
from experiments.runner.command import OneLineParser
from experiments.runner.finished import read
from experiments.runner.generated import kept
from experiments.runner.outcome import exit_code

__all__ = ["PAPERS", "document", "main", "of_no_item"]

PAPERS = tuple(papers.PAPERS.values())
DOCUMENT = "docs/mission.md"
HEADER = ("item", "statement", "config", "claims", "size", "verdict")
WITHOUT_TABLE = "published by 0.1"
# Fields that say how a run is made or drawn, not what is run.
BESIDE = ("run", "observe", "seed", "name")
MOST_FIELDS = 6
MANY = {"holds": "hold", "fails": "fail", "stands": "stand"}


class Table(NamedTuple):
    """The published table of a config's profile; ``rows`` is None where 0.1 published it, without JSON."""

    folder: str
    profile: str
    rows: tuple[Claim, ...] | None
    size: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the document, or check it; return the exit code."""
    parser = OneLineParser(prog="python -m experiments.mission", description=__doc__, allow_abbrev=False)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the file would change")
    options = parser.parse_args(arguments)
    command = "python -m experiments.mission"
    return exit_code(lambda: kept(SOURCE, {DOCUMENT: document(SOURCE)}, check=options.check, command=command))


def document(source: Path) -> str:
    """The whole table, as text."""
    tables = published(source)
    lines = [
        "# What of the papers is judged, and where",
        "",
        "Each figure, theorem, lemma and sentence with a number of the five papers, and what a successor of one adds,",
        "with the config that runs it, the ids of its claims, the size that was run and the verdicts. `python -m",
        "experiments.mission` writes this file from `experiments/papers` and the tables in `figures/`. 'not covered'",
        "means that nothing judges it. The size is the paper's where all fields but the number of seeds are those of",
        "the config's paper profile.",
        "",
        *_counted(tables),
    ]
    for paper in PAPERS:
        lines += ["", f"## {paper.name}: {paper.title}", "", f"| {' | '.join(HEADER)} |", "|" + " --- |" * len(HEADER)]
        lines += [table_row(cells) for item in paper.items for cells in _rows(item, tables)]
    lines += ["", "## Sizes", "", "How each published run differs from its config's paper profile.", ""]
    lines += ["| folder | profile | size |", "| --- | --- | --- |"]
    lines += [table_row((table.folder, table.profile, table.size)) for own in tables.values() for table in own]
    if left := of_no_item(tables):
        lines += ["", "## Claims of no item", ""]
        lines += [f"- {folder}: {_families(ids)}" for folder, ids in left.items()]
    return "\n".join(lines) + "\n"


def published(source: Path) -> dict[str, list[Table]]:
    """The published tables of every config, its profiles in their order."""
    found: dict[str, list[Table]] = {entry.name: [] for entry in catalog.entries(source)}
    for folder in folders(source):
        found[folder.config].append(_table(source, folder))
    return found


def _table(source: Path, folder: Folder) -> Table:
    if folder.first_version:
        return Table(folder.name, folder.profile, None, WITHOUT_TABLE)
    run, paper = read(folder.path), settings.read(f"{source / 'configs' / folder.config}.py:paper")
    # As JSON, in which tuples and lists are alike.
    own, there = (json.loads(json.dumps(settings.to_plain(one))) for one in (run.config, paper))
    return Table(folder.name, folder.profile, run.claims, _size(own, there))


def _size(own: Mapping[str, Any], paper: Mapping[str, Any]) -> str:
    """What was run, by the fields in which the two configs differ."""
    pairs = {path: (value, there) for path, value, there in _differing(own, paper)}
    seeds = pairs.pop("num_seeds", None)
    words = [f"{path} {_short(value)} (paper {_short(there)})" for path, (value, there) in pairs.items()]
    if len(words) > MOST_FIELDS:
        words[MOST_FIELDS:] = [f"and {len(words) - MOST_FIELDS} more fields"]
    size = "paper's" if not words else "; ".join(words)
    return size + (f", {seeds[0]} of its {seeds[1]} seeds" if seeds else "")


def _differing(own: Any, paper: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Paths of leaves that differ; variants are compared by their names."""
    if isinstance(own, Mapping) and isinstance(paper, Mapping):
        for key in [*own, *(key for key in paper if key not in own)]:
            if path or key not in BESIDE:
                yield from _differing(own.get(key), paper.get(key), f"{path}.{key}" if path else key)
    elif path == "variants" and own and paper:
        first, other = ({each.get("name", str(i)): each for i, each in enumerate(side)} for side in (own, paper))
        yield from _differing(first, other, path)
    elif own != paper:
        yield path, own, paper


def _short(value: Any) -> str:
    text = "none" if value is None else "some" if isinstance(value, Mapping) else json.dumps(value).strip('"')
    return text if len(text) <= 24 else f"{len(value)} values" if isinstance(value, list) else f"{text[:21]}..."


def _rows(item: Item, tables: Mapping[str, Sequence[Table]]) -> Iterator[tuple[str, ...]]:
    """The lines of an item: one for each published table, and one for its tests or for what is missing."""
    says = f"{item.says} ({item.remark})" if item.remark else item.says
    lines: list[tuple[str, str, str, str]] = []
    for config, patterns in item.claims.items():
        for table in tables[config]:
            lines.append((table.folder, *_judged(table, patterns)))
        if not tables[config]:
            lines.append((config, patterns, "-", "not published"))
    tests = [test.partition("::") for test in item.tests]
    lines += [("-", f"tested: {file} ({name})", "-", "tested") for file, _, name in tests]
    for place, line in enumerate(lines or [("-", "-", "-", "not covered")]):
        yield (item.name, says, *line) if place == 0 else ("", "", *line)


def _judged(table: Table, patterns: str) -> tuple[str, str, str]:
    """The ids, the size and the verdicts of the claims of a table that a pattern names."""
    size = "paper's" if table.size.startswith("paper's") else table.profile
    if table.rows is None:
        return patterns, table.profile, WITHOUT_TABLE
    rows = [row for row in table.rows if _named(row.id, patterns)]
    if not rows:
        return patterns, size, "no such claim in the published table"
    return _families([row.id for row in rows]), size, _verdicts(rows)


def _named(id: str, patterns: str) -> bool:
    """Whether one of the patterns names the id, or its family where the pattern has no value."""
    return any(re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), id) for pattern in patterns.split()) or (
        id.partition("[")[0] in patterns.split()
    )


def _families(ids: Sequence[str]) -> str:
    counts = Counter(id.partition("[")[0] for id in ids)
    return ", ".join(f"{family} ({count})" if count > 1 else family for family, count in counts.items())


def _verdicts(rows: Sequence[Claim]) -> str:
    """How many have each verdict; those that fail or stand with their ids."""
    bad = {row.id for row in failing(rows)}
    counts = Counter(row.status for row in rows)
    named = {status: [row.id for row in rows if row.status == status and row.id in bad] for status in counts}
    words = {status: (MANY.get(status, status) if n > 1 else status).replace("_", " ") for status, n in counts.items()}
    return ", ".join(
        f"{count} {words[status]}" + (f" ({', '.join(named[status])})" if named[status] else "")
        for status, count in counts.items()
    )


def _counted(tables: Mapping[str, Sequence[Table]]) -> list[str]:
    """A line for each paper: how many items are judged, tested alone, or not covered."""
    lines = ["| paper | items | judged by claims | by tests alone | not covered |", "|" + " --- |" * 5]
    for paper in PAPERS:
        judged = sum(any(tables[config] for config in item.claims) for item in paper.items)
        tested = sum(bool(item.tests) and not item.claims for item in paper.items)
        missing = len(paper.items) - judged - tested
        lines.append(table_row((paper.name, str(len(paper.items)), str(judged), str(tested), str(missing))))
    return lines


def of_no_item(tables: Mapping[str, Sequence[Table]], papers: Sequence[Paper] = PAPERS) -> dict[str, list[str]]:
    """The ids of published claims that no item names, by folder."""
    named: dict[str, str] = {}
    for config, patterns in (pair for paper in papers for item in paper.items for pair in item.claims.items()):
        named[config] = f"{named.get(config, '')} {patterns}"
    left = {
        table.folder: [row.id for row in table.rows or () if not _named(row.id, named.get(config, ""))]
        for config, own in tables.items()
        for table in own
    }
    return {folder: ids for folder, ids in left.items() if ids}


if __name__ == "__main__":
    sys.exit(main())
