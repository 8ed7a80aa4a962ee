"""Publishing a finished run: pictures, tables and config in figures/, without what names a machine or a user."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.runner.store import InputError, write_atomic, write_json

__all__ = ["publish"]

TABLES = ("claims.json", "claims.md", "summary.json", "summary.md", "config.json")
# A command line may hold paths, also in the parts that are left of them.
PRIVATE = ("command",)


def publish(run_folder: Path, target: Path) -> None:
    """Copy pictures (PNG), tables, config and provenance of a finished run, in place of what ``target`` holds of them.

    Raises:
        InputError: The run is not finished.
    """
    if missing := [name for name in (*TABLES, "provenance.json") if not (run_folder / name).exists()]:
        raise InputError([f"{run_folder}: has no {', '.join(missing)} to publish; run it first"])
    target.mkdir(parents=True, exist_ok=True)
    for old in target.glob("*.png"):
        old.unlink()
    for picture in sorted((run_folder / "figures").glob("*.png")):
        shutil.copyfile(picture, target / picture.name)
    for name in TABLES:
        write_atomic(target / name, (run_folder / name).read_bytes())
    write_json(target / "provenance.json", _public(json.loads((run_folder / "provenance.json").read_bytes())))


def _public(record: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in record.items() if name not in PRIVATE}
    return kept | ({"starts": [_public(start) for start in record["starts"]]} if "starts" in record else {})
