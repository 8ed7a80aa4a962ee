"""The folder of an export: written aside and then put in place, where only an earlier export is replaced."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from experiments.runner.files import PARTIAL, read_digested, with_digest, write_json
from experiments.runner.store import InputError

__all__ = ["in_place_of", "obstacle"]

# Lists the files of an export: a later one replaces these and no others.
MARK = "export.json"


def obstacle(target: Path) -> str:
    """Why an export cannot be written to ``target``; empty if it can."""
    nearest = next(place for place in (target, *target.parents) if os.path.lexists(place))
    if not nearest.is_dir():
        return f"{target}: {nearest} is a file; choose another -o FOLDER"
    if not os.access(nearest, os.W_OK | os.X_OK):
        return f"{target}: {nearest} cannot be written to; choose another -o FOLDER"
    if nearest == target and any(target.iterdir()) and _listed(target) is None:
        return f"{target}: holds files that are no export; choose another -o FOLDER"
    return ""


@contextmanager
def in_place_of(target: Path) -> Iterator[Path]:
    """Yield an empty folder whose files replace those of the last export in ``target``, if the block raises nothing.

    Raises:
        InputError: The files cannot be written, since the disk is full for example.
    """
    aside = target.with_name(f"{PARTIAL}{os.getpid()}-{target.name}")
    try:
        aside.mkdir(parents=True)
        yield aside
        _put(aside, target)
    except OSError as error:
        raise InputError([f"{target}: cannot be written: {error}"]) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _put(aside: Path, target: Path) -> None:
    files = sorted(str(file.relative_to(aside)) for file in aside.rglob("*") if file.is_file())
    before = _listed(target) or []
    target.mkdir(exist_ok=True)
    # Both lists until all files are in place: an export that was cut short can be replaced as well.
    write_json(target / MARK, with_digest({"files": sorted({*before, *files})}))
    for file in target.rglob("*"):
        if file.is_file() and str(file.relative_to(target)) in before:
            file.unlink()
    for name in files:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(aside / name, target / name)
    write_json(target / MARK, with_digest({"files": files}))


def _listed(target: Path) -> list[str] | None:
    """The files of the last export in a folder; None if it holds none."""
    try:
        return read_digested(target / MARK)["files"]
    except (OSError, ValueError, LookupError):
        return None
