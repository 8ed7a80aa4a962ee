"""The directive ``summary``: numbers of a published run that have no bound."""

from collections.abc import Iterable
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx

from experiments import published, summaries
from extension.basics import PublishedDirective, depends_on, root, table

__all__ = ["SummaryDirective", "setup"]


def setup(app: Sphinx) -> None:
    """Register the directive."""
    app.add_directive("summary", SummaryDirective)


class SummaryDirective(PublishedDirective):
    """``summary NAME``: a table of its runs, or with the option ``compared`` of what is compared between them.

    Either option takes patterns of names, separated by semicolons: ``columns: final *; epochs *``.
    """

    required_arguments = 1
    option_spec = {"columns": directives.unchanged, "compared": directives.unchanged}  # noqa: RUF012  # docutils' form

    def shown(self) -> list[nodes.Node]:
        """The tables."""
        (name,), place = self.arguments, root(self.env)
        depends_on(self.env, published.folder(name, place).path.glob("summary.*"))
        return [table(f"Summary of {name}", *each) for each in self._tables(name, place)]

    def _tables(self, name: str, place: Path) -> Iterable[summaries.Table]:
        if "columns" in self.options or "compared" not in self.options:
            yield summaries.of_runs(name, _patterns(self.options.get("columns")), place)
        if "compared" in self.options:
            yield summaries.of_comparisons(name, _patterns(self.options["compared"]), place)


def _patterns(text: str | None) -> list[str]:
    return [each.strip() for each in (text or "").split(";") if each.strip()]
