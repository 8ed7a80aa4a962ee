"""The gallery of examples: what sphinx-gallery leaves to others.

The links of its cards get a name, since its style hides their text.
"""

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from matplotlib.figure import Figure
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx_gallery.scrapers import figure_rst

__all__ = ["figures_apart", "forget", "named", "setup"]

LINK = re.compile(
    r'(<div class="sphx-glr-thumbcontainer".*?<a )(class="reference internal".*?<span class="doc">)(.*?)</span>',
    re.DOTALL,
)


def setup(app: Sphinx) -> None:
    """Name the links of every page, and drop pages of examples that are no more."""
    app.connect("config-inited", forget)
    app.connect("html-page-context", _named)


def forget(app: Sphinx, config: Config) -> None:
    """Drop pages whose example was renamed or removed."""
    settings = getattr(config, "sphinx_gallery_conf", None) or {}
    if "gallery_dirs" not in settings:
        return
    pages, examples = (Path(app.srcdir) / settings[name] for name in ("gallery_dirs", "examples_dirs"))
    for page in pages.glob("*.rst"):
        if page.stem != "index" and not (examples / f"{page.stem}.py").exists():
            page.unlink()


def named(body: str) -> str:
    """A page in which the link of each card has its title as a name."""
    return LINK.sub(lambda found: f'{found[1]}aria-label="{found[3]}" {found[2]}{found[3]}</span>', body)


def figures_apart(block: Any, variables: dict[str, Any], settings: dict[str, Any]) -> str:
    """Save the figures that an example holds by a name at the top and pyplot does not know; each once."""
    found = []
    for value in list(variables["example_globals"].values()):
        if isinstance(value, Figure) and not hasattr(value, "number") and not hasattr(value, "in_gallery"):
            value.in_gallery = True  # type: ignore[attr-defined]  # the mark goes with the figure
            found.append(next(variables["image_path_iterator"]))
            value.savefig(found[-1], dpi=90)
    return figure_rst(found, settings["src_dir"])


def _named(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    if "body" in context:
        context["body"] = named(context["body"])
