"""Formulas as MathML, which browsers draw by themselves: no script and no font is loaded."""

import re
from html import escape

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

__all__ = ["drawn", "setup"]

LOGGER = logging.getLogger(__name__)


def setup(app: Sphinx) -> None:
    """Register the renderer ``mathml``."""
    app.add_html_math_renderer("mathml", inline_renderers=(_inline, None), block_renderers=(_block, None))


def drawn(text: str, display: str) -> str:
    r"""The MathML of a formula in LaTeX's words; ``display`` is "inline" or "block".

    Raises:
        ValueError: The converter cannot read it, or does not know a command, which it would show as it is: \nosuch.
    """
    try:
        found = convert(text.strip(), display=display)
    except Exception as error:  # it has twenty classes of errors, and none that they share
        raise ValueError(type(error).__name__) from error
    if unknown := re.findall(r"\\\w+", found):
        raise ValueError("unknown: " + ", ".join(unknown))
    return found


def _inline(self: HTML5Translator, node: nodes.math) -> None:
    self.body.append(_converted(node, "inline"))
    raise nodes.SkipNode


def _block(self: HTML5Translator, node: nodes.math_block) -> None:
    self.body.append(self.starttag(node, "div", CLASS="math"))
    self.body.append(_converted(node, "block") + "</div>\n")
    raise nodes.SkipNode


def _converted(node: nodes.Node, display: str) -> str:
    text = node.astext()
    try:
        return drawn(text, display)
    except ValueError as error:
        LOGGER.warning("the formula %r cannot be drawn (%s)", text, error, location=node)
        return f"<code>{escape(text)}</code>"
