"""The project's source as data: its files, what each module imports, and what it defines."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Import(NamedTuple):
    """``from module import name as bound``, or ``import module`` without a name."""

    module: str
    name: str
    bound: str


def sources(*rooms: str) -> list[Path]:
    return sorted(path for room in rooms for path in (ROOT / room).rglob("*.py"))


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in sources("lawlib", "experiments", "configs", "benchmarks")}
# The packages, which gather names of their own modules.
DOORS = {name for name, path in MODULES.items() if path.stem == "__init__"}


def imported(source: str) -> Iterator[Import]:
    """Every import of a source, wherever it is written; relative modules keep their leading dots."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, "", alias.asname or alias.name.partition(".")[0])
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield Import("." * node.level + (node.module or ""), alias.name, alias.asname or alias.name)


def target(found: Import) -> str:
    """The module that an import reads: `from lawlib import theory` reads lawlib.theory."""
    whole = f"{found.module}.{found.name}"
    return whole if whole in MODULES else found.module


def imports(source: str) -> set[str]:
    return {target(found) for found in imported(source)}


def defined(tree: ast.Module) -> dict[str, ast.stmt]:
    """The names that the statements at the top define, with their statements; imports define nothing."""
    found = {}
    for node in tree.body:
        if isinstance(node, (*Function.__args__, ast.ClassDef)):
            found[node.name] = node
        elif isinstance(node, (ast.If, ast.Try, ast.With, ast.For)):
            found |= dict.fromkeys(_stored(node), node)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {name: node for one in targets for name in _stored(one)}
    return found


def _stored(node: ast.AST) -> Iterator[str]:
    names = (part for part in ast.walk(node) if isinstance(part, ast.Name))
    return (name.id for name in names if isinstance(name.ctx, ast.Store))


def listed(tree: ast.Module) -> set[str]:
    """The names in ``__all__``."""
    statement = defined(tree).get("__all__")
    return set(ast.literal_eval(statement.value)) if statement else set()
