"""Documents of the checkout that commands write: whole files, and what stands between two marks of one."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from experiments.runner import streams
from experiments.runner.files import write_atomic
from experiments.runner.store import InputError

__all__ = ["filled", "kept"]


def kept(root: Path, documents: Mapping[str, str], *, check: bool, command: str) -> int:
    """Write the documents, by path below ``root``, or check that they are up to date.

    Args:
        root: The checkout.
        documents: Their texts by path.
        check: Write nothing; return 1 if a file would change.
        command: What writes them, for the line that says so.

    Returns:
        The exit code.
    """
    changed = [name for name, text in documents.items() if _text(root / name) != text]
    for name in documents:
        if check:
            would = f"would change; write it with {command}" if name in changed else "up to date"
            streams.write(f"{name}: {would}\n")
        else:
            write_atomic(root / name, documents[name])
            streams.write(f"wrote {name}\n")
    return 1 if check and changed else 0


def filled(text: str, parts: Mapping[str, Iterable[str]], name: str) -> str:
    """The text of the document ``name`` with these lines between ``<!-- begin PART -->`` and ``<!-- end PART -->``.

    Raises:
        InputError: A mark is missing, or there twice.
    """
    problems = [line for part in parts for line in _misplaced(text, part, name)]
    if problems:
        raise InputError(problems)
    for part, lines in parts.items():
        begin, end = _marks(part)
        inner = "\n".join([begin, "", *lines, "", end])
        text = re.sub(rf"{re.escape(begin)}.*?{re.escape(end)}", lambda _, inner=inner: inner, text, flags=re.DOTALL)
    return text


def _misplaced(text: str, part: str, name: str) -> list[str]:
    begin, end = _marks(part)
    wrong = [mark for mark in (begin, end) if text.count(mark) != 1]
    lines = [f"{name}: has {text.count(mark)} marks {mark} in place of one" for mark in wrong]
    if not wrong and text.index(begin) > text.index(end):
        return [f"{name}: the mark {end} comes before {begin}"]
    return lines


def _marks(part: str) -> tuple[str, str]:
    return f"<!-- begin {part} -->", f"<!-- end {part} -->"


def _text(file: Path) -> str | None:
    return file.read_text(encoding="utf-8") if file.exists() else None
