"""Tables of text, in columns and in markdown, and numbers as a reader wants them."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from lawlib.types import Scalar

__all__ = ["Table", "exact", "marked", "percent", "plain", "short"]

NOTHING = "-"


class Table(NamedTuple):
    """The heads of the columns, and rows of as many cells."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def plain(table: Table) -> str:
    """The table as text: the first column to the left, the others to the right."""
    lines = [table.head, *table.rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.head))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def marked(table: Table) -> str:
    """The table in markdown."""
    rule = ["---", *("---:" for _ in table.head[1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in (table.head, rule, *table.rows))


def percent(share: Scalar | float) -> str:
    """A share as "12.3%", or a dash for NaN."""
    return NOTHING if math.isnan(share) else f"{100 * float(share):.3g}%"


def short(number: Scalar | float) -> str:
    """A number with three digits, or a dash for NaN."""
    return NOTHING if math.isnan(number) else f"{float(number):.3g}"


def exact(number: Scalar | float) -> str:
    """A number with six digits, for losses that are compared, or a dash for NaN."""
    return NOTHING if math.isnan(number) else f"{float(number):.6g}"
