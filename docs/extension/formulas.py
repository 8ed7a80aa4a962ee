"""Formulas as MathML, which browsers draw by themselves: no script and no font is loaded."""

from html import escape

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

__all__ = ["setup"]

LOGGER = logging.getLogger(__name__)


def setup(app: Sphinx) -> None:
    """Register the renderer ``mathml``."""
    app.add_html_math_renderer("mathml", inline_renderers=(_inline, None), block_renderers=(_block, None))


def _inline(self: HTML5Translator, node: nodes.math) -> None:
    self.body.append(_converted(node))
    raise nodes.SkipNode


def _block(self: HTML5Translator, node: nodes.math_block) -> None:
    self.body.append(self.starttag(node, "div", CLASS="math"))
    self.body.append(_converted(node, as_block=True) + "</div>\n")
    raise nodes.SkipNode


def _converted(node: nodes.Node, *, as_block: bool = False) -> str:
    text = node.astext()
    try:
        return tex2mathml(text, as_block=as_block)
    except MathError as error:
        LOGGER.warning("the formula %r cannot be drawn: %s", text, error, location=node)
        return f"<code>{escape(text)}</code>"
