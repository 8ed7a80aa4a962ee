"""The directive ``exhibit``: a published picture with its alternative text, its caption and where it comes from."""

import os
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from experiments import published
from extension.basics import PublishedDirective, depends_on, root
from extension.sources import link

__all__ = ["ExhibitDirective", "image", "setup"]


def setup(app: Sphinx) -> None:
    """Register the directive."""
    app.add_directive("exhibit", ExhibitDirective)


class ExhibitDirective(PublishedDirective):
    """``exhibit NAME PICTURE``: the picture, its caption, the config that drew it and its profile."""

    required_arguments = 2

    def shown(self) -> list[nodes.Node]:
        """The figure."""
        found = published.picture(*self.arguments, root=root(self.env))
        depends_on(self.env, [found.file])
        config = f"configs/{found.folder.config}.py"
        origin = [
            nodes.Text(" ("),
            link(self.env, config, found.folder.config),
            nodes.Text(f", {found.folder.profile})"),
        ]
        caption = nodes.caption("", "", nodes.Text(found.caption), *origin)
        return [nodes.figure("", image(self.env, found.file, found.alt), caption)]


def image(env: BuildEnvironment, file: Path, alt: str, **attributes: Any) -> nodes.image:
    """A picture that may lie outside the folder of the pages."""
    return nodes.image(uri=f"/{os.path.relpath(file, env.srcdir)}", alt=alt, **attributes)
