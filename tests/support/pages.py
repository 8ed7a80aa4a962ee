"""The pages of the documentation as text: their directives, their roles, and their prose."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from source_tree import ROOT

__all__ = ["DOCS", "PAPERS", "Directive", "directives", "pages", "prose", "roles", "words"]

DOCS = ROOT / "docs"
PAPERS = DOCS / "papers"
BLOCK = re.compile(
    r"^(?P<fence>`{3,}|:{3,})\{(?P<name>[\w-]+)\} ?(?P<argument>.*)\n(?P<body>(?:.*\n)*?)(?P=fence)$", re.MULTILINE
)
ROLE = re.compile(r"\{(?P<name>[\w:-]+)\}`(?P<text>[^`]+)`")
# A word is an id with what its brackets hold: OPT.excess[Muon, f32].
WORD = re.compile(r"[^\s\[]+(?:\[[^\]]*\]\S*)?")


class Directive(NamedTuple):
    """A directive of a page: its argument's words, and the words of its option ``status``."""

    name: str
    words: list[str]
    statuses: list[str]


def pages(folder: Path = DOCS) -> list[Path]:
    """The written pages, without what is built or generated."""
    return sorted(path for path in folder.rglob("*.md") if not {"_build", "api", "gallery"} & set(path.parts))


def words(text: str) -> list[str]:
    """The words of a directive's or role's text."""
    return WORD.findall(text)


def directives(text: str, name: str) -> Iterator[Directive]:
    """The directives of this name."""
    for found in BLOCK.finditer(text):
        if found["name"] == name:
            option = re.search(r"^:status:(.*)$", found["body"], re.MULTILINE)
            yield Directive(name, words(found["argument"]), re.findall(r"\w+", option[1]) if option else [])


def roles(text: str, name: str) -> list[str]:
    """The texts of the roles of this name."""
    return [found["text"] for found in ROLE.finditer(text) if found["name"] == name]


def prose(text: str) -> str:
    """The page without its directives and code."""
    return re.sub(r"^```.*?^```$", "", BLOCK.sub("", text), flags=re.MULTILINE | re.DOTALL)
