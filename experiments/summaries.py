"""The summaries of published runs, for pages and prose: numbers without a bound, as tables and one by one.

A name that does not exist is an InputError of one line that has the nearest name that does.
"""

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

from experiments import published
from experiments.runner import summary
from experiments.runner.checkout import SOURCE
from experiments.runner.fields import nearest
from experiments.runner.finished import read
from experiments.runner.store import InputError

__all__ = ["Table", "number", "of_comparisons", "of_runs"]


class Table(NamedTuple):
    """Heads and rows of cells, as summary.md has them."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def of_runs(name: str, columns: Iterable[str] = (), root: Path = SOURCE) -> Table:
    """A row for each run of a published folder; all columns, or those that patterns name (``final *``).

    Raises:
        InputError: The folder does not exist or has no summary, or a pattern names no column.
    """
    rows = _summary(name, root)["runs"]
    heads = _chosen(columns, dict.fromkeys(each for row in rows for each in row["columns"]), name)
    rows = [row for row in rows if any(head in row["columns"] for head in heads)]
    cells = [[row["run"], *(summary.cell(row["columns"].get(head, {})) for head in heads)] for row in rows]
    return Table(["run", *heads], cells)


def of_comparisons(name: str, rows: Iterable[str] = (), root: Path = SOURCE) -> Table:
    """The numbers of several runs; all rows, or those that patterns name.

    Raises:
        InputError: The folder does not exist or has no summary, or a pattern names no row.
    """
    known = _summary(name, root)["comparisons"]
    return Table(["compared", "measured"], [[each, summary.cell(known[each])] for each in _chosen(rows, known, name)])


def number(name: str, row: str, column: str = "", root: Path = SOURCE) -> str:
    """The median of a column in a run, or of a comparison, for running text.

    Raises:
        InputError: The folder, the row or the column does not exist, or no member has a number.
    """
    found = _summary(name, root)
    if column:
        columns = {each["run"]: each["columns"] for each in found["runs"]}
        numbers = published.named(
            published.named(columns, row, f"figures/{name}: has no run"), column, f"figures/{name}: has no column"
        )
    else:
        numbers = published.named(found["comparisons"], row, f"figures/{name}: compares nothing named")
    if not numbers["numbers"]:
        raise InputError([f"figures/{name}: no member has a number for {' of '.join(filter(None, (column, row)))}"])
    return published.in_prose(numbers["median"])


def _summary(name: str, root: Path) -> Mapping[str, Any]:
    place = published.folder(name, root)
    if place.first_version:
        raise InputError([f"figures/{name}: was published by version 0.1, which wrote no summary"])
    return read(place.path).summary


def _chosen(patterns: Iterable[str], known: Iterable[str], name: str) -> list[str]:
    wanted, known = list(patterns), list(known)
    for pattern in wanted:
        if not _matching([pattern], known):
            raise InputError([f"figures/{name}: the summary has nothing named {pattern!r}{nearest(pattern, known)}"])
    return _matching(wanted, known) if wanted else known


def _matching(patterns: Sequence[str], known: Iterable[str]) -> list[str]:
    """The names that a pattern matches, or is: a name may have brackets."""
    return [each for each in known if any(each == pattern or fnmatch(each, pattern) for pattern in patterns)]
