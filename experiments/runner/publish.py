"""Publishing a finished run: pictures, tables and config in figures/, without what names a machine or a user."""

import hashlib
import io
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from experiments.runner.files import write_atomic, write_json
from experiments.runner.integrity import damage_of
from experiments.runner.store import InputError

__all__ = ["LARGEST_PICTURE", "publish"]

TABLES = ("claims.json", "claims.md", "summary.json", "summary.md", "config.json")
# A command line may hold paths, also in the parts that are left of them.
PRIVATE = ("command",)
RESULTS_HASH = "results_sha256"
# What a larger profile may have more of, for pictures that show the same; beside these, steps.
MORE = ("hash", "num_seeds", "observe", "run")
# In bytes: pictures stay in the history of the repository.
LARGEST_PICTURE = 200_000


def publish(run_folder: Path, target: Path, beside: Path | None = None) -> None:
    """Copy pictures (PNG), tables, config and provenance of a finished run, in place of what ``target`` holds of them.

    No picture is copied where the run published ``beside`` differs in nothing but fewer seeds, steps or times: it
    shows the same. Pictures of the same results, by the hash of results.nc, are kept as they were published, since each
    version of a picture stays in the history of the repository. A warning names those that are now drawn differently.

    Raises:
        InputError: The run is not finished, a file of it is damaged, or a picture is too large or has no palette.
    """
    if missing := [name for name in (*TABLES, "results.nc", "provenance.json") if not (run_folder / name).exists()]:
        raise InputError([f"{run_folder}: has no {', '.join(missing)} to publish; run it first"])
    if damage := damage_of(run_folder / "results.nc"):
        raise InputError([f"{run_folder / 'results.nc'}: {damage}; nothing was published: delete it and run again"])
    if problems := [line for name in TABLES if name.endswith(".json") for line in _torn(run_folder / name)]:
        raise InputError(problems)
    record = _public_provenance(run_folder / "provenance.json")
    pictures = {file.name: file.read_bytes() for file in sorted((run_folder / "figures").glob("*.png"))}
    if not pictures:
        raise InputError([f"{run_folder / 'figures'}: holds no picture; --replot draws them"])
    refused = {name: _refusal(picture) for name, picture in pictures.items()}
    if problems := [f"{run_folder / 'figures' / name}: {why}" for name, why in refused.items() if why]:
        raise InputError(problems)
    with (run_folder / "results.nc").open("rb") as results:
        found = hashlib.file_digest(results, "sha256").hexdigest()
    target.mkdir(parents=True, exist_ok=True)
    if beside and beside != target and _shows_the_same(run_folder, beside):
        pictures = {}
    _replace(pictures, target, same_results=_published_hash(target) == found)
    for name in TABLES:
        write_atomic(target / name, (run_folder / name).read_bytes())
    write_json(target / "provenance.json", record | {RESULTS_HASH: found})


def _torn(file: Path) -> list[str]:
    try:
        json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        said = " ".join(str(error).split())
        return [f"{file}: is damaged ({said}); nothing was published, --replot writes it anew"]
    return []


def _shows_the_same(run_folder: Path, beside: Path) -> bool:
    """Whether two runs differ in the number of seeds, steps and times alone."""
    try:
        own, other = (json.loads((folder / "config.json").read_bytes()) for folder in (run_folder, beside))
        return _without_numbers(own) == _without_numbers(other)
    except (OSError, ValueError, AttributeError):
        return False


def _without_numbers(config: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in config.items() if name not in MORE}
    return kept | ({"opt": {**kept["opt"], "num_steps": None}} if "opt" in kept else {})


def _public_provenance(file: Path) -> dict[str, Any]:
    try:
        return _public(json.loads(file.read_bytes()))
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError([f"{file}: is not the record of a run, so that nothing was published: {error}"]) from error


def _refusal(picture: bytes) -> str:
    """Why a picture cannot be published, or nothing."""
    try:
        with Image.open(io.BytesIO(picture), formats=["PNG"]) as opened:
            mode = opened.mode
            opened.verify()
    except Exception as error:  # whatever Pillow and zlib raise of damaged bytes
        return f"is not a whole PNG ({error}); --replot draws it again"
    if mode != "P":
        return "is not a PNG with a palette; --replot draws it again"
    if len(picture) > LARGEST_PICTURE:
        return f"has {len(picture):,} bytes, and {LARGEST_PICTURE:,} are allowed; draw it smaller"
    return ""


def _published_hash(target: Path) -> str | None:
    """The hash of the results that the pictures there show; version 0.1 published none."""
    try:
        return json.loads((target / "provenance.json").read_bytes()).get(RESULTS_HASH)
    except (OSError, ValueError, AttributeError):
        return None


def _replace(pictures: Mapping[str, bytes], target: Path, *, same_results: bool) -> None:
    """Write the pictures and remove those that are no longer drawn; keep those that are there of the same results."""
    if not same_results:
        # Until all is written: a publication that is cut short must not pass for one of the old results.
        (target / "provenance.json").unlink(missing_ok=True)
    old = {file.name: file.read_bytes() for file in target.glob("*.png")}
    for name in old.keys() - pictures.keys():
        (target / name).unlink()
    kept = old if same_results else {}
    for name in pictures.keys() - kept.keys():
        write_atomic(target / name, pictures[name])
    if changed := sorted(name for name in pictures.keys() & kept.keys() if kept[name] != pictures[name]):
        text = f"{target}: kept {', '.join(changed)}, which show the same results but are now drawn differently; "
        warnings.warn(f"{text}to publish a new drawing, delete the old one and publish again", stacklevel=2)


def _public(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record without what is private; of each start only what differs from the newest, which the record repeats."""
    kept = {name: value for name, value in record.items() if name not in PRIVATE}
    if "starts" in kept:
        kept["starts"] = [_differing(_public(start), kept) for start in kept["starts"]]
    return kept


def _differing(start: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in start.items() if (name, value) not in record.items()}
