"""The directive ``configs``: a card for each config of a paper, and the role ``config``, which links to one."""

from collections.abc import Mapping

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx_design.shared import create_component

from experiments import published
from experiments.runner.fields import nearest
from experiments.runner.store import InputError
from extension.basics import PublishedDirective, PublishedRole, depends_on, paragraph, root
from extension.exhibits import image
from extension.sources import link

__all__ = ["ConfigRole", "ConfigsDirective", "setup"]

GRID = ["sd-container-fluid", "sd-sphinx-override", "sd-mb-4"]
ROW = ["sd-row", "sd-row-cols-1", "sd-row-cols-sm-2", "sd-row-cols-lg-3", "sd-g-3"]
CARD = ["sd-card", "sd-sphinx-override", "sd-w-100", "sd-shadow-sm", "sd-card-hover"]


def setup(app: Sphinx) -> None:
    """Register the directive and the role."""
    app.add_directive("configs", ConfigsDirective)
    app.add_role("config", ConfigRole())


class ConfigsDirective(PublishedDirective):
    """``configs PAPER``: cards, of all configs of the paper or of those whose names match ``only``."""

    required_arguments = 1
    option_spec = {"only": directives.unchanged_required}  # noqa: RUF012  # docutils' own form

    def shown(self) -> list[nodes.Node]:
        """The grid of cards."""
        found = published.configs(self.arguments[0], self.options.get("only", "").split(), root(self.env))
        depends_on(self.env, [root(self.env) / "configs" / f"{entry.name}.py" for entry in found])
        return [
            create_component(
                "grid-container", GRID, children=[create_component("grid-row", ROW, children=self._cards(found))]
            )
        ]

    def _cards(self, found: list[published.ConfigEntry]) -> list[nodes.Node]:
        cards = [create_component("card", CARD, children=_card(self.env, entry)) for entry in found]
        return [create_component("grid-item", ["sd-col", "sd-d-flex-row"], children=[card]) for card in cards]


class ConfigRole(PublishedRole):
    """``config`` with a config's name: a link to its file."""

    def shown(self) -> list[nodes.Node]:
        """The link."""
        name = self.text.strip()
        known = sorted(file.stem for file in (root(self.env) / "configs").glob("[!._]*.py"))
        if name not in known:
            raise InputError([f"configs: there is no config {name}{nearest(name, known)}"])
        return [link(self.env, f"configs/{name}.py", name)]


def _card(env: BuildEnvironment, entry: published.ConfigEntry) -> list[nodes.Node]:
    title = link(env, f"configs/{entry.name}.py", entry.name, classes=["sd-stretched-link"])
    body = [
        nodes.paragraph("", "", title, classes=["sd-card-title", "sd-font-weight-bold"]),
        paragraph(f"{entry.title}: {entry.figure}."),
        paragraph(f"{_counted(entry.verdicts)}{entry.time}."),
    ]
    picture = entry.thumbnail
    top = [image(env, picture.file, picture.alt, classes=["sd-card-img-top"])] if picture else []
    return [*top, create_component("card-body", ["sd-card-body"], children=body)]


def _counted(verdicts: Mapping[str, int]) -> str:
    return "".join(f"{count} {status.replace('_', ' ')}, " for status, count in verdicts.items())
