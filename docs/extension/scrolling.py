"""What is wider than the screen scrolls in a place of its own, which the keyboard reaches and a screen reader names."""

from typing import Any, cast

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.writers.html5 import HTML5Translator

__all__ = ["Region", "Scrolling", "setup"]

# The theme's wrappers, and what is said of those without a label of their own.
WRAPPERS = {"table-wrapper": "Table", "math-wrapper": "Formula"}


class Region(nodes.General, nodes.Element):
    """A part of the page that scrolls sideways; ``label`` names it."""


class Scrolling(SphinxPostTransform):
    """Turns the theme's wrappers into regions."""

    formats = ("html",)
    # After the theme's own transform, which has 500.
    default_priority = 510

    def run(self, **_: Any) -> None:
        """Replace each wrapper of the page."""
        for wrapper in list(self.document.findall(nodes.container)):
            for name in WRAPPERS.keys() & set(wrapper["classes"]):
                inner = cast(nodes.Element, wrapper.children[0])
                label = inner.get("label") or f"{WRAPPERS[name]}: {_heading(wrapper)}"
                wrapper.replace_self(Region("", *wrapper.children, classes=wrapper["classes"], label=label))


def setup(app: Sphinx) -> None:
    """Register the transform, and let code scroll by keyboard as well."""
    app.add_node(Region, html=(_enter, _leave))
    app.add_post_transform(Scrolling)
    app.connect("html-page-context", _reach_code)


def _enter(self: HTML5Translator, node: Region) -> None:
    attributes = {"tabindex": "0", "role": "region", "aria-label": node["label"]}
    self.body.append(self.starttag(node, "div", **attributes))


def _leave(self: HTML5Translator, node: Region) -> None:
    self.body.append("</div>\n")


def _heading(node: nodes.Node) -> str:
    """The title of the section that a node lies in."""
    while node.parent is not None and not isinstance(node, nodes.section):
        node = node.parent
    title = node.next_node(nodes.title) if isinstance(node, nodes.section) else None
    return title.astext() if title else "without a heading"


def _reach_code(
    app: Sphinx, pagename: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    if "body" in context:
        context["body"] = context["body"].replace("<pre>", '<pre tabindex="0">')
