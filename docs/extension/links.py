"""Links of Markdown to files of the repository that are no pages: ``[tracker](../benchmarks/results/tracker.md)``.

On the web place of the repository they work as they are; here they lead to a page that shows the file.
"""

import os
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

from extension.basics import root
from extension.sources import link

__all__ = ["LinksToFiles", "setup"]


def setup(app: Sphinx) -> None:
    """Register the transform."""
    app.add_transform(LinksToFiles)


class LinksToFiles(SphinxTransform):
    """Makes links of them, before Sphinx copies the files or looks for pages of these names."""

    default_priority = 5

    def apply(self, **_: Any) -> None:
        """Replace the links of the page that lead to text files."""
        kinds = (addnodes.pending_xref, addnodes.download_reference)
        for node in [found for kind in kinds for found in self.document.findall(kind)]:
            path = self._path(node) if node.get("reftype") == "myst" else None
            if path:
                found = link(self.env, path, "")
                found.clear()
                found.extend(node.children)
                node.replace_self(found)

    def _path(self, node: nodes.Element) -> str | None:
        """The file from the repository's root, if it is a text and no page."""
        target = node["reftarget"].partition("#")[0]
        base, pages = root(self.env).resolve(), Path(self.env.srcdir)
        if node.get("refdomain") == "doc":
            # MyST has taken off the suffix of what it holds to be a page.
            places = [pages / f"{target}.md"]
        else:
            places = [pages / Path(self.env.docname).parent / target, base / target]
        for place in (Path(os.path.normpath(each)) for each in places):
            if place.is_file() and place.is_relative_to(base) and not place.is_relative_to(pages):
                return str(place.relative_to(base)) if _readable(place) else None
        return None


def _readable(file: Path) -> bool:
    try:
        file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return False
    return True
