"""The role ``source``: a link to a file of the repository, which the documentation shows in a page of its own.

Where ``lawlib_repository`` names the place of the files on the web, the link leads there.
"""

import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any, cast

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.builders import Builder
from sphinx.builders.html import StandaloneHTMLBuilder
from sphinx.environment import BuildEnvironment
from sphinx.util.osutil import relative_uri

from experiments.runner.fields import nearest
from experiments.runner.store import InputError
from extension.basics import PublishedRole, root

__all__ = ["SourceRole", "link", "setup"]

LANGUAGES = {".py": "python", ".sh": "bash", ".toml": "toml", ".yml": "yaml", ".json": "json", ".md": "markdown"}
FOLDER = "source"
# Names, punctuation and spaces have the colour of the text: without marks of their own a page has half the size.
COLOURLESS = re.compile(r'<span class="[npw]">([^<]*)</span>')


def setup(app: Sphinx) -> None:
    """Register the role, and the pages of the files that are linked."""
    app.add_config_value("lawlib_repository", "", "env", types=(str,))
    app.add_role("source", SourceRole())
    app.connect("env-purge-doc", _purge)
    app.connect("env-merge-info", _merge)
    app.connect("doctree-resolved", _resolve)
    app.connect("html-collect-pages", _pages)


class SourceRole(PublishedRole):
    """``source`` with a path from the repository's root: a link to that file."""

    def shown(self) -> list[nodes.Node]:
        """The link."""
        path = self.text.strip()
        return [link(self.env, path, path)]


def link(env: BuildEnvironment, path: str, text: str, classes: list[str] | None = None) -> nodes.reference:
    """A link to a file of the repository.

    Raises:
        InputError: There is no such file.
    """
    file, title = root(env) / path, nodes.literal("", text)
    if not file.is_file():
        raise InputError([f"the repository has no file {path}{_instead(root(env), path)}"])
    if env.config.lawlib_repository:
        return nodes.reference(
            "", "", title, refuri=f"{env.config.lawlib_repository.rstrip('/')}/{path}", classes=classes or []
        )
    linked(env).setdefault(env.docname, set()).add(path)
    return nodes.reference("", "", title, source_file=path, refuri="", classes=classes or [])


def linked(env: BuildEnvironment) -> dict[str, set[str]]:
    """The files that each page links to."""
    return vars(env).setdefault("lawlib_sources", {})


def _instead(base: Path, path: str) -> str:
    if (base / path).is_dir():
        return ", which is a folder: name a file of it"
    folder = next(parent for parent in (base / path).parents if parent.is_dir())
    known = [str(file.relative_to(base)) for file in folder.glob("**/*" if folder != base else "*") if file.is_file()]
    return nearest(path, known)


def _purge(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    linked(env).pop(docname, None)


def _merge(app: Sphinx, env: BuildEnvironment, docnames: set[str], other: BuildEnvironment) -> None:
    linked(env).update({name: paths for name, paths in linked(other).items() if name in docnames})


def _resolve(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Give each link the address from its page."""
    for node in doctree.findall(nodes.reference):
        if path := node.get("source_file"):
            node["refuri"] = address(app.builder, docname, path)


def address(builder: Builder, docname: str, path: str) -> str:
    """Where a file's page lies, seen from another page."""
    return relative_uri(builder.get_target_uri(docname), builder.get_target_uri(f"{FOLDER}/{path}"))


def _pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    highlighter = cast(StandaloneHTMLBuilder, app.builder).highlighter
    for path in sorted(set().union(*linked(app.env).values())):
        text = (Path(app.config.lawlib_root) / path).read_text(encoding="utf-8")
        language = LANGUAGES.get(Path(path).suffix, "text")
        shown = COLOURLESS.sub(r"\1", highlighter.highlight_block(text, language, force=True))
        yield f"{FOLDER}/{path}", {"title": path, "body": f"<h1>{escape(path)}</h1>\n{shown}"}, "page.html"
