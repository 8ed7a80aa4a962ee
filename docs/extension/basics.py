"""What all directives and roles share: errors that fail the build with a sentence, and tables."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective, SphinxRole

from experiments.runner.store import InputError

__all__ = ["PublishedDirective", "PublishedRole", "depends_on", "paragraph", "root", "table", "words"]

# An id may have spaces in its brackets: OPT.excess[Muon, f32].
WORD = re.compile(r"[^\s\[]+(?:\[[^\]]*\]\S*)?")


class PublishedDirective(SphinxDirective):
    """A directive that shows what is published; a name that does not exist is an error at its place in the page."""

    def run(self) -> list[nodes.Node]:
        """The nodes of ``shown``, or an error."""
        try:
            return self.shown()
        except InputError as refusal:
            raise self.error("; ".join(refusal.problems)) from None

    def shown(self) -> list[nodes.Node]:
        """What the page shows."""
        raise NotImplementedError


class PublishedRole(SphinxRole):
    """The same within a line."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """The nodes of ``shown``, or an error."""
        try:
            return self.shown(), []
        except InputError as refusal:
            message = self.inliner.reporter.error("; ".join(refusal.problems), line=self.lineno)
            return [self.inliner.problematic(self.rawtext, self.rawtext, message)], [message]

    def shown(self) -> list[nodes.Node]:
        """What the line shows."""
        raise NotImplementedError


def root(env: BuildEnvironment) -> Path:
    """The checkout whose tables are shown."""
    return Path(env.config.lawlib_root)


def depends_on(env: BuildEnvironment, files: Iterable[Path]) -> None:
    """Have the page built again when one of the files changes."""
    for file in files:
        env.note_dependency(str(file))


def words(text: str) -> list[str]:
    """The words of an argument, an id with what stands in its brackets as one."""
    return WORD.findall(text)


def paragraph(*children: nodes.Node | str) -> nodes.paragraph:
    """A paragraph of nodes and plain texts, in which nothing is markup."""
    return nodes.paragraph("", "", *(nodes.Text(each) if isinstance(each, str) else each for each in children))


def table(
    label: str, columns: Sequence[str], rows: Iterable[Sequence[nodes.Node | str]], **attributes: Any
) -> nodes.table:
    """A table of plain texts and nodes; ``label`` is what a screen reader calls it."""
    body = nodes.tbody("", *(_row(cells) for cells in rows))
    widths = [nodes.colspec(colwidth=1) for _ in columns]
    group = nodes.tgroup("", *widths, nodes.thead("", _row(columns)), body, cols=len(columns))
    return nodes.table("", group, label=label, **attributes)


def _row(cells: Sequence[nodes.Node | str]) -> nodes.row:
    entries = [cell if isinstance(cell, nodes.entry) else nodes.entry("", paragraph(cell)) for cell in cells]
    return nodes.row("", *entries)
