"""Writes docs/api/: a page for each module of lawlib with public names, and of what readers use of experiments."""

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config

from extension.docstrings import converted, plain

__all__ = ["documented", "page", "setup"]

EXPERIMENTS = (
    "experiments.runs",
    "experiments.runner.experiment",
    "experiments.runner.laws",
    "experiments.runner.claims",
    "experiments.runner.finished",
    "experiments.runner.runs",
    "experiments.runner.store",
)
FOLDER = "api"
LONGEST_VALUE = 200


def setup(app: Sphinx) -> None:
    """Write the pages before Sphinx looks for pages; ``lawlib_documented`` has the names that they show."""
    app.add_config_value("lawlib_documented", {}, "", types=(dict,))
    app.add_config_value("lawlib_modules", "all", "env", types=(str, list, tuple))
    app.connect("config-inited", _collect)
    app.connect("builder-inited", _write)


def _collect(app: Sphinx, config: Config) -> None:
    config.lawlib_documented = {name: name for module in modules(config) for name in documented(module)}


def modules(config: Config) -> list[ModuleType]:
    """The modules that have a page, in alphabetical order."""
    if config.lawlib_modules != "all":
        return [importlib.import_module(name) for name in config.lawlib_modules]
    import lawlib

    names = [found.name for found in pkgutil.walk_packages(lawlib.__path__, "lawlib.")]
    found = [importlib.import_module(name) for name in (*names, *EXPERIMENTS)]
    return [module for module in found if documented(module) or hasattr(module, "__path__")]


def documented(module: ModuleType) -> list[str]:
    """The full names that a module defines and lists in ``__all__``."""
    return [f"{module.__name__}.{name}" for name in getattr(module, "__all__", ()) if _own(module, name)]


def _own(module: ModuleType, name: str) -> bool:
    """Whether a module defines a name that it lists; a package may list names of its modules."""
    if not hasattr(module, "__path__"):
        return True
    value = getattr(module, name)
    return getattr(value, "__module__", module.__name__) == module.__name__ and not inspect.ismodule(value)


def _write(app: Sphinx) -> None:
    folder, found = Path(app.srcdir) / FOLDER, modules(app.config)
    if not found:
        return
    folder.mkdir(exist_ok=True)
    known = app.config.lawlib_documented
    pages = {f"{module.__name__}.rst": page(module, known) for module in found}
    pages["index.rst"] = index(found, known)
    for file in folder.glob("*.rst"):
        if file.name not in pages:
            file.unlink()
    for name, text in pages.items():
        # A file that stays as it is is not read again.
        if not (folder / name).exists() or (folder / name).read_text(encoding="utf-8") != text:
            (folder / name).write_text(text, encoding="utf-8")


def index(found: list[ModuleType], known: dict[str, str]) -> str:
    """The first page: the front door, and every module by its package."""
    import lawlib

    lines = [
        *_title("API"),
        ".. py:module:: lawlib",
        "",
        *converted(inspect.cleandoc(lawlib.__doc__ or "").splitlines()),
        *_title("The front door", "-"),
    ]
    lines += ["The names that ``import lawlib`` offers, each with the module that defines it.", ""]
    lines += [f"* ``lawlib.{name}``: {_home(getattr(lawlib, name), known)}" for name in dir(lawlib) if name[0] != "_"]
    lines += ["", *_title("Modules", "-"), ".. toctree::", "   :maxdepth: 1", ""]
    return "\n".join([*lines, *(f"   {module.__name__}" for module in found), ""])


def _home(value: Any, known: dict[str, str]) -> str:
    if inspect.ismodule(value):
        return f":py:mod:`{value.__name__}`"
    name = f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"
    return f":py:obj:`{name}`" if name in known else f"``{name}``"


def page(module: ModuleType, known: dict[str, str]) -> str:
    """The page of a module: what it is for, its file, and its names; those that a package gathers are links."""
    name = module.__name__
    path = name.replace(".", "/") + ("/__init__.py" if hasattr(module, "__path__") else ".py")
    lines = [
        *_title(name),
        f".. py:module:: {name}",
        "",
        *converted(inspect.cleandoc(module.__doc__ or "").splitlines()),
    ]
    lines += ["", f"Source: :source:`{path}`.", ""]
    gathered = [name for name in getattr(module, "__all__", ()) if not _own(module, name)]
    lines += [f"* ``{name}``: {_home(getattr(module, name), known)}" for name in gathered]
    lines.append("")
    for listed in documented(module):
        lines += [*_entry(module, listed.rpartition(".")[2]), ""]
    return "\n".join(lines)


def _title(text: str, line: str = "=") -> list[str]:
    return [text, line * len(text), ""]


def _entry(module: ModuleType, name: str) -> list[str]:
    value = getattr(module, name)
    whole = f"{module.__name__}.{name}"
    if inspect.isclass(value) and value.__module__.startswith(("lawlib", "experiments")):
        return [f".. autoclass:: {whole}", "   :members:"]
    if (callable(value) and hasattr(value, "__wrapped__")) or inspect.isfunction(value):
        return [f".. autofunction:: {whole}"]
    return list(_data(module, name))


def _data(module: ModuleType, name: str) -> Iterator[str]:
    """A constant or an alias of types, with its value in the words of the source and the comment above it."""
    text, comment = _assigned(module, name)
    if module.__name__ == "lawlib.types" or (text and "|" in text) or (name[0].isupper() and not name.isupper()):
        yield f".. py:type:: {name}"
    else:
        yield f".. py:data:: {name}"
    yield ""
    if comment:
        yield f"   {plain(comment)}"
        yield ""
    if text and len(text) <= LONGEST_VALUE:
        yield f"   ``{text}``"
    elif not text:
        value = getattr(module, name)
        yield (
            f"   Of ``{value.__module__.partition('.')[0]}``." if hasattr(value, "__module__") else f"   ``{value!r}``"
        )


def _assigned(module: ModuleType, name: str) -> tuple[str, str]:
    """The value that a module gives a name, and the comment above it."""
    source = inspect.getsource(module)
    lines = source.splitlines()
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and name in map(ast.unparse, _targets(node)):
            value = ast.unparse(node.value) if node.value else ""
            return " ".join(value.split()), _comment(lines[: node.lineno - 1])
    return "", ""


def _targets(node: ast.Assign | ast.AnnAssign) -> list[ast.expr]:
    return node.targets if isinstance(node, ast.Assign) else [node.target]


def _comment(above: list[str]) -> str:
    found = []
    while above and above[-1].startswith("#"):
        found.insert(0, above.pop()[1:].strip())
    return " ".join(found)
