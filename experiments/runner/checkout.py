"""The checkout that the experiments run from, and why a folder is none. Nothing here imports lawlib or JAX."""

import importlib.util
from pathlib import Path

__all__ = ["SOURCE", "problems"]

SOURCE = Path(__file__).resolve().parents[2]
# Beside experiments/ in every checkout. A folder of installed packages may have a configs/, and has no pyproject.toml.
MARKS = ("configs", "pyproject.toml")


def problems(source: Path = SOURCE) -> list[str]:
    """Why the experiments in ``source`` cannot run there, one line each: no checkout, or another one's lawlib."""
    if missing := [name for name in MARKS if not (source / name).exists()]:
        there = f"{source / 'experiments'} is not in one: {source} has no {' and no '.join(missing)}"
        return [f"experiments runs from a checkout of lawlib, and {there}; clone lawlib, cd into it and run this there"]
    found = _lawlib()
    if found == source / "lawlib":
        return []
    other = f"from {found}" if found else "from nowhere: Python finds no such package"
    return [f"lawlib would be imported {other}, not from {source / 'lawlib'}; run this in its checkout: cd {source}"]


def _lawlib() -> Path | None:
    """The folder that ``import lawlib`` would read."""
    found = importlib.util.find_spec("lawlib")
    return Path(found.origin).resolve().parent if found and found.origin else None
