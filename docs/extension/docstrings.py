"""Docstrings as reStructuredText: plain sentences with formulas, code in backquotes, and Google's sections.

In a docstring ``||W^T W||_F * 2`` is a formula and no markup. Lines that are indented are shown as they are.
"""

import re
from collections.abc import Iterator, Sequence
from textwrap import dedent
from typing import Any

from sphinx.application import Sphinx

__all__ = ["converted", "plain", "setup"]

SECTIONS = {
    "Args": "Arguments",
    "Attributes": "Attributes",
    "Raises": "Raises",
    "Returns": "Returns",
    "Yields": "Yields",
}
# Of these sections every item has a name.
NAMED = ("Args", "Attributes", "Raises")
HEAD = re.compile(rf"({'|'.join(SECTIONS)}):")
CODE = re.compile(r"``(.+?)``|`([^`]+)`")
BULLET = re.compile(r"[-*] ")
ITEM = re.compile(r"(?P<name>\*{0,2}\w[\w.,* ]*): (?P<text>.*)", re.DOTALL)


def setup(app: Sphinx) -> None:
    """Convert every docstring that autodoc reads."""
    app.connect("autodoc-process-docstring", _process)


def _process(app: Sphinx, what: str, name: str, of: Any, options: Any, lines: list[str]) -> None:
    lines[:] = converted(lines)


def converted(lines: Sequence[str]) -> list[str]:
    """The lines of a docstring as reStructuredText."""
    found: list[str] = []
    for head, block in _blocks(lines):
        found += [*(_section(head, block) if head else _block(block)), ""]
    return found


def plain(text: str) -> str:
    """Text in which nothing is markup but code in backquotes."""
    parts, end = [], 0
    for match in CODE.finditer(text):
        parts += [_escaped(text[end : match.start()]), _code(match[1] or match[2])]
        end = match.end()
    return "".join([*parts, _escaped(text[end:])]).strip()


def _code(text: str) -> str:
    # A backslash and a space are nothing, beside which code may begin and end.
    return f"\\ ``{text.strip()}``\\ "


def _escaped(text: str) -> str:
    return re.sub(r"[\\*_|`<>]", r"\\\g<0>", text)


def _blocks(lines: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Sections with their heads; paragraphs, bullets and what is indented, without."""
    head, block = "", []
    for line in lines:
        blank, indented, section = not line.strip(), line.startswith(" "), bool(HEAD.fullmatch(line))
        if head or (block and block[0].startswith(" ")):
            ends = not (blank or indented)
        else:
            ends = blank or section or bool(BULLET.match(line)) or (indented and not BULLET.match((block or ["- "])[0]))
        if ends and (head or block):
            yield head, block
            head, block = "", []
        if section:
            head = line[:-1]
        elif not blank or head or block:
            block.append(line)
    if head or block:
        yield head, block


def _block(lines: list[str]) -> list[str]:
    """A paragraph, a bullet, or lines that are shown as they are."""
    if lines[0].startswith(" "):
        return ["::", "", *(f"    {line}" for line in dedent("\n".join(lines)).splitlines())]
    text = " ".join(line.strip() for line in lines)
    if BULLET.match(text):
        return [f"* {plain(text[2:])}"]
    text = plain(text.removesuffix("::") + ":" if text.endswith("::") else text)
    # A first letter behind a backslash is that letter: "A. Person" begins no list.
    return [text if text.startswith("\\") else f"\\{text}"]


def _section(head: str, lines: list[str]) -> list[str]:
    body = dedent("\n".join(lines)).strip("\n")
    title = f":{SECTIONS[head]}:"
    if head not in NAMED:
        return [f"{title} {plain(' '.join(body.split()))}"]
    items = re.split(r"\n(?=\S)", body)
    return [title, *(f"    * {_item(' '.join(item.split()))}" for item in items)]


def _item(text: str) -> str:
    found = ITEM.fullmatch(text)
    return f"**{_escaped(found['name'])}**: {plain(found['text'])}" if found else plain(text)
