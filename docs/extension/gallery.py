"""The cards of the gallery have links with a name: the style of sphinx-gallery hides the text of its own."""

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

__all__ = ["named", "setup"]

LINK = re.compile(
    r'(<div class="sphx-glr-thumbcontainer".*?<a )(class="reference internal".*?<span class="doc">)(.*?)</span>',
    re.DOTALL,
)


def setup(app: Sphinx) -> None:
    """Name the links of every page."""
    app.connect("html-page-context", _named)


def named(body: str) -> str:
    """A page in which the link of each card has its title as a name."""
    return LINK.sub(lambda found: f'{found[1]}aria-label="{found[3]}" {found[2]}{found[3]}</span>', body)


def _named(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    if "body" in context:
        context["body"] = named(context["body"])
