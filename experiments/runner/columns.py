"""Tables as plain text: aligned columns, whole in a pipe, and one block a row in a terminal that is too narrow."""

import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence

__all__ = ["table", "terminal_width"]

INDENT = "    "
Row = Sequence[str]


def table(header: Row, rows: Sequence[Row], block: Callable[[Row], Row], width: int | None) -> str:
    """The rows below a header, columns two spaces apart; no cell is cut.

    Args:
        header: A name of each column.
        rows: The cells.
        block: What a row says in a terminal narrower than the table: its first line, and those that are indented.
        width: Columns of the terminal; None where there is none, and every row has one line.
    """
    widths = [max(map(len, cells)) for cells in zip(header, *rows, strict=True)]
    pairs = ((zip(row, widths, strict=True)) for row in (header, *rows))
    lines = ["  ".join(cell.ljust(size) for cell, size in row).rstrip() for row in pairs]
    if width is None or max(map(len, lines)) <= width:
        return "\n".join(lines) + "\n"
    return "".join(_block(*block(row), width=width) for row in rows)


def _block(first: str, *below: str, width: int) -> str:
    lines = textwrap.wrap(first, width, subsequent_indent=INDENT)
    for text in below:
        lines += textwrap.wrap(text, width, initial_indent=INDENT, subsequent_indent=INDENT)
    return "\n".join(lines) + "\n"


def terminal_width() -> int | None:
    """The columns of the terminal that standard output is; None if it is none."""
    return shutil.get_terminal_size().columns if sys.stdout and sys.stdout.isatty() else None
