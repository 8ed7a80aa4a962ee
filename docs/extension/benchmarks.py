"""The directive ``benchmark``: what a benchmark measures, on which machine, its tables and its picture."""

import re
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

from experiments import published
from extension.basics import PublishedDirective, depends_on, paragraph, root, table
from extension.exhibits import image

__all__ = ["BenchmarkDirective", "setup"]


def setup(app: Sphinx) -> None:
    """Register the directive."""
    app.add_directive("benchmark", BenchmarkDirective)


class BenchmarkDirective(PublishedDirective):
    """``benchmark NAME``: what its JSON file holds."""

    required_arguments = 1

    def shown(self) -> list[nodes.Node]:
        """Text, tables and the picture, if there is one."""
        (name,) = self.arguments
        about = published.benchmark(name, root(self.env))
        folder = root(self.env) / "benchmarks" / "results"
        depends_on(self.env, [folder / f"{name}.json"])
        texts = [about["title"], about.get("introduction") or "", _machine(about)]
        shown = [node for text in texts for node in _written(text)]
        for each in about["tables"]:
            shown += _table(each, about["title"])
        picture = folder / f"{name}.png"
        return [*shown, image(self.env, picture, about["title"])] if picture.exists() else shown


def _machine(about: dict[str, Any]) -> str:
    machine = about.get("machine") or ""
    return machine if not machine or machine.startswith("Measured") else f"Measured on {machine.rstrip('.')}."


def _table(about: dict[str, Any], title: str) -> list[nodes.Node]:
    own = about.get("title") or ""
    rows = [[published.shown(cell) for cell in row] for row in about["rows"]]
    return [*_written(own), *_written(about.get("note") or ""), table(own or title, about["columns"], rows)]


def _written(text: str) -> list[nodes.Node]:
    """The paragraphs of a docstring, and its lists."""
    found: list[nodes.Node] = []
    for part in filter(str.strip, text.split("\n\n")):
        if part.startswith("- "):
            items = [nodes.list_item("", paragraph(*_inline(item))) for item in re.split(r"(?:^|\n)- ", part)[1:]]
            found.append(nodes.bullet_list("", *items))
        else:
            found.append(paragraph(*_inline(part)))
    return found


def _inline(text: str) -> Iterator[nodes.Node]:
    """Words in backquotes as code, all others as they are."""
    for i, part in enumerate(re.split(r"`{1,2}(.+?)`{1,2}", " ".join(text.split()))):
        if part:
            yield nodes.literal("", part) if i % 2 else nodes.Text(part)
