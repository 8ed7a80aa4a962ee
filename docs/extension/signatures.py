"""Signatures as they are written: ``Float[Array, "d r"]``, with links to the names that the documentation has."""

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Mapping
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

__all__ = ["in_lines", "setup", "signature"]

OWN = ("lawlib", "experiments")
LINES = re.compile(r"<dl>\n((?:<dd><em class=\"sig-param.*?</dd>\n)+)</dl>\n", re.DOTALL)
Function = ast.FunctionDef | ast.AsyncFunctionDef


def setup(app: Sphinx) -> None:
    """Take signatures from the source; names of other packages are no links."""
    app.connect("autodoc-process-signature", _process)
    app.connect("autodoc-skip-member", _without_aliases)
    app.connect("missing-reference", _foreign)
    app.connect("html-page-context", _without_lists)


def signature(of: Any, known: Mapping[str, str]) -> tuple[str, str | None] | None:
    """The arguments and the result of a function or class in the words of its source; None where there is no source.

    ``known`` has the full names of what the documentation shows, by module and name.
    """
    try:
        source = textwrap.dedent(inspect.getsource(inspect.unwrap(of)))
        (node,) = ast.parse(source).body
    except (OSError, TypeError, SyntaxError, ValueError):
        return None
    node = _Qualified(inspect.getmodule(inspect.unwrap(of)), known).visit(node)
    if isinstance(node, Function):
        return _of_function(node)
    return (_of_class(node), None) if isinstance(node, ast.ClassDef) else None


def _of_function(node: ast.FunctionDef | ast.AsyncFunctionDef, *, method: bool = False) -> tuple[str, str | None]:
    own = node.args.posonlyargs or node.args.args
    if own and (method or own[0].arg in ("self", "cls")):
        del own[0]
    return f"({ast.unparse(node.args)})", ast.unparse(node.returns) if node.returns else None


def _of_class(node: ast.ClassDef) -> str:
    """The fields of a class, or the arguments of its ``__init__``."""
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and part.name == "__init__":
            return _of_function(part, method=True)[0]
    fields = [part for part in node.body if isinstance(part, ast.AnnAssign)]
    return f"({', '.join(_field(part) for part in fields if not ast.unparse(part.target).startswith('_'))})"


def _field(part: ast.AnnAssign) -> str:
    default = f" = {ast.unparse(part.value)}" if part.value and "field(" not in ast.unparse(part.value) else ""
    return f"{ast.unparse(part.target)}: {ast.unparse(part.annotation)}{default}"


class _Qualified(ast.NodeTransformer):
    """Gives names in annotations their full names, and takes annotations out of their quotes."""

    def __init__(self, module: Any, known: Mapping[str, str]):
        self.module, self.known = module, known

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = self._annotation(node.annotation)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AnnAssign:
        node.annotation = self._annotation(node.annotation) or node.annotation
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.returns = self._annotation(node.returns)
        for part in ast.walk(node.args):
            if isinstance(part, ast.arg):
                self.visit_arg(part)
        return node

    def _annotation(self, node: ast.expr | None) -> ast.expr | None:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node = ast.parse(node.value, mode="eval").body
        return _Names(self.module, self.known).visit(node) if node else None


class _Names(ast.NodeTransformer):
    def __init__(self, module: Any, known: Mapping[str, str]):
        self.module, self.known = module, known

    def visit_Name(self, node: ast.Name) -> ast.expr:
        value = getattr(self.module, node.id, None)
        home = f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"
        aliases = [name for name in self.known if name.rpartition(".")[2] == node.id and _of_name(name) is value]
        for name in (home, f"{self.module.__name__}.{node.id}", *aliases):
            if name in self.known:
                return ast.parse(name, mode="eval").body
        return node


def _of_name(name: str) -> Any:
    """What a module of the project calls so; an alias of types does not know its module."""
    module, _, last = name.rpartition(".")
    return getattr(sys.modules.get(module), last, None)


def _process(
    app: Sphinx, what: str, name: str, of: Any, options: Any, given: str | None, result: str | None
) -> tuple[str | None, str | None] | None:
    # An exception takes a message, of which Sphinx has no signature to replace.
    shown = what in ("function", "class", "method") and not (isinstance(of, type) and issubclass(of, BaseException))
    return signature(of, app.config.lawlib_documented) if shown else None


def _without_aliases(app: Sphinx, what: str, name: str, of: Any, skip: bool, options: Any) -> bool | None:
    """Leave out the fields of a named tuple, of which Python says "Alias for field number 0"."""
    return True if type(of).__name__ == "_tuplegetter" else None


def _foreign(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, content: nodes.TextElement
) -> nodes.Node | None:
    """The name alone, where it belongs to another package; an own one that is not found remains a fault."""
    foreign = node.get("refdomain") == "py" and not node["reftarget"].startswith(OWN)
    return content if foreign else None


def _without_lists(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    if "body" in context:
        context["body"] = in_lines(context["body"])


def in_lines(body: str) -> str:
    """A page whose long signatures are lines: Sphinx makes lists of terms of them, in which there is no term."""
    return LINES.sub(lambda found: re.sub(r"<dd>(.*?)</dd>", r'<span class="sig-line">\1</span>', found[1]), body)
