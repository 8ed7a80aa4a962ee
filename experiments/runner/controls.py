"""Controls: where the number of a law stands for something that the law is not about.

A number that is small for S_big says something only beside that of a random subspace. A law names its control, and its
sentence ends with that name::

    F3.law("F3.100", "block 1's share", share >= 0.99, control=in_summary("block 1's share, of a random S_big"))
"""

from typing import NamedTuple

__all__ = ["Control", "in_row", "in_summary", "uncontrolled"]


class Control(NamedTuple):
    """``kind`` is "row" (``name`` is an id of the table), "summary" (a heading of it) or "none" (why there is none).

    Where a law has several rows and one of them is the control of the others, ``back`` is the id of its own.
    """

    kind: str
    name: str
    back: str = ""

    def words(self, id: str) -> str:
        """How the sentence of the row with this id ends."""
        row = self.back if id == self.name else self.name
        named = {"row": f"control: row {row}", "summary": f'control: "{self.name}" in the summary'}
        return named.get(self.kind, f"no control: {self.name}")


def in_row(id: str, back: str = "") -> Control:
    """The control is a row of the same table, with this id; that of this row, if the law has it too, is ``back``."""
    return Control("row", id, back)


def in_summary(heading: str) -> Control:
    """The control is a number of the summary: the heading of a column or of a comparison."""
    return Control("summary", heading)


def uncontrolled(why: str) -> Control:
    """There is no such number, and why."""
    return Control("none", why)
