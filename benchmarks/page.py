"""The page of a benchmark: what was measured, as JSON for programs and as Markdown for people.

NAME.json has ``title``, ``introduction``, ``machine`` and ``tables``, each with ``columns``, ``rows`` and, where it has
them, ``title`` and ``note``. A cell is a number, which the table shows with four digits, or a text, which NAME.md,
written from NAME.json, escapes: it reads as the text does, in one line.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.published import shown
from experiments.runner.claims import table_row
from experiments.runner.files import write_atomic
from experiments.runner.layout import laid_out, shortened

__all__ = ["Cell", "Table", "as_markdown", "described", "measurements", "write"]

Cell = float | int | str


class Table(NamedTuple):
    """A table, and what is said above it."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    note: str = ""


def described(docstring: str | None) -> tuple[str, str]:
    """The title and the introduction that a module's docstring has: its first line, and what follows."""
    title, _, introduction = str(docstring).strip().partition("\n")
    return title, introduction.strip()


def measurements(measured: Mapping[str, float], columns: Sequence[str] = ("what", "measured")) -> Table:
    """A table with a row for each number."""
    return Table(columns, list(measured.items()))


def write(
    folder: Path,
    name: str,
    described: tuple[str, str],
    tables: Iterable[Table],
    *,
    machine: str = "",
    kept: Mapping[str, Any] | None = None,
) -> str:
    """Write NAME.json and NAME.md.

    Args:
        folder: Where the two go.
        name: The benchmark's name.
        described: Its title and its introduction.
        tables: Its tables.
        machine: What it was measured on.
        kept: What the benchmark itself reads again from NAME.json, by name.

    Returns:
        The Markdown.
    """
    title, introduction = described
    page = {"title": title, "introduction": introduction, "machine": machine, "tables": [*map(_plain, tables)]}
    text = laid_out(page | dict(kept or {})) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / f"{name}.json", text)
    page = as_markdown(json.loads(text))
    write_atomic(folder / f"{name}.md", page)
    return page


def as_markdown(page: Mapping[str, Any]) -> str:
    """The page as text."""
    parts = [f"# {page['title']}", page["introduction"]]
    parts += [f"Measured on {page['machine']}."] if page["machine"] else []
    for table in page["tables"]:
        parts += [f"## {table['title']}"] if table.get("title") else []
        parts += [table.get("note", ""), "\n".join(map(_row, (table["columns"], _rule(table), *table["rows"])))]
    return "\n\n".join(part for part in parts if part) + "\n"


def _rule(table: Mapping[str, Any]) -> list[str]:
    return ["---"] * len(table["columns"])


def _row(cells: Iterable[Cell]) -> str:
    return table_row(map(shown, cells))


def _plain(table: Table) -> dict[str, Any]:
    """The table as JSON holds it, with six digits of each number; NaN and infinities become texts."""
    rows = [[_cell(cell) for cell in row] for row in table.rows]
    about = {name: text for name, text in (("title", table.title), ("note", table.note)) if text}
    return about | {"columns": list(table.columns), "rows": rows}


def _cell(cell: Cell) -> Cell:
    return f"{cell:g}" if isinstance(cell, float) and not math.isfinite(cell) else shortened(cell)
