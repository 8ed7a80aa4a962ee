"""A figure, a theorem or a sentence of a paper, and where it is judged."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

__all__ = ["Item", "Paper"]


class Item(NamedTuple):
    """A numbered figure or statement of a paper, or a sentence that a number can confirm or refute.

    Attributes:
        name: As the paper calls it: ``Theorem 1, Case 2``; a sentence by its place.
        says: What it states, in one line.
        claims: For each config, the ids of its claims that judge this, separated by spaces; ``*`` stands for any text.
        tests: Tests that check it, ``tests/.../test_file.py::test_name``.
        remark: What of it is missing or differs from print.
    """

    name: str
    says: str
    claims: Mapping[str, str] = {}
    tests: Sequence[str] = ()
    remark: str = ""


class Paper(NamedTuple):
    """A paper, as the claims name it, and its items in their order; its law in one sentence, and its arXiv id."""

    name: str
    title: str
    items: Sequence[Item]
    law: str = ""
    arxiv: str = ""
