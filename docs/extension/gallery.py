"""The gallery's cards have links with a name: the theme of sphinx-gallery leaves those without a text."""

from sphinx.application import Sphinx

__all__ = ["setup"]


def setup(app: Sphinx) -> None:
    """Nothing is registered yet."""
