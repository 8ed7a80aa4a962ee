"""The folders of shards: what each of them covers and was computed by, and why they are not one run."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import xarray as xr
from ml_collections import ConfigDict

from experiments.runner import settings
from experiments.runner.finished import as_config, read_config
from experiments.runner.integrity import DAMAGE, damage_of
from experiments.runner.layout import differing
from experiments.runner.shards.cut import Shard
from experiments.runner.store import MAX_DIFFERENCES, InputError, RunFolder, unreadable

__all__ = ["Part", "check_code", "gaps", "of_other_code", "of_variant", "opened", "parts_in", "shard_folders"]

ANEW = "delete its folder and launch the same command again, which computes this shard anew"
# Of a start of a run, what decides no number, and what is of the machine: such machines may compute one result.
NO_CONDITION = ("git_commit", "git_clean", "command", "start", "end", "compile_s", "run_s", "mixed")
MACHINE = ("platform", "device_kind", "device_count", "processor")


class Part(NamedTuple):
    """A shard that was computed: its folder, what it covers, the undivided config, and the starts of its run."""

    folder: Path
    shard: Shard
    config: Mapping[str, Any]
    starts: Sequence[Mapping[str, Any]]

    @property
    def file(self) -> Path:
        """Its results."""
        return self.folder / "results.nc"

    @property
    def conditions(self) -> dict[str, Any]:
        """What decided its numbers; empty if its provenance is lost."""
        newest = self.starts[-1:]
        return {name: value for start in newest for name, value in start.items() if name not in NO_CONDITION}

    @property
    def code(self) -> dict[str, Any]:
        """Of its conditions those that are not of the machine: code, versions, settings, data."""
        return {name: value for name, value in self.conditions.items() if name not in MACHINE}


def shard_folders(given: Iterable[Path]) -> list[Path]:
    """The run folders that are meant by these: themselves, or those that lie in a folder of shards."""
    found = []
    for folder in given:
        inside = sorted(file.parent for file in folder.glob("*/config.json")) if folder.is_dir() else []
        found += inside or [folder]
    return found


def parts_in(folders: Sequence[Path]) -> list[Part]:
    """The shards in these folders, in any order; every problem at once."""
    parts, problems = [], [] if folders else ["no shard is given; name their folders, or the one in which they lie"]
    for folder in folders:
        try:
            parts.append(_part(folder))
        except InputError as refusal:
            problems += refusal.problems
    for part in parts[1:]:
        changed = differing(part.config, parts[0].config)[:MAX_DIFFERENCES]
        there = f"{part.folder}: is of another config than {parts[0].folder}"
        problems += [f"{there}: {path} is {own}, not {other}" for path, own, other in changed]
    _refuse(problems)
    _refuse([line for part in parts for line in _of_another(part)])
    return parts


def _part(folder: Path) -> Part:
    if not (folder / "config.json").is_file():
        raise InputError([f"{folder}: is no shard: there is no config.json"])
    record, problems = read_config(folder)
    _refuse(problems)
    if "shard" not in record:
        raise InputError([f"{folder}: is a whole run, and no shard of one"])
    shard, file = Shard.of(record.pop("shard")), folder / "results.nc"
    if not file.exists():
        raise InputError([f"{folder}: is not finished: it has no results.nc; launch the same command again"])
    if damage := damage_of(file):
        raise InputError([unreadable(file, damage, ANEW)])
    return Part(folder, shard, record, RunFolder(folder).starts())


def _of_another(part: Part) -> list[str]:
    """Whether the results of a shard are another's."""
    own = dict(settings.expand(as_config(part.config)))[part.shard.variant]
    with opened(part) as node:
        is_its = json.loads(node.attrs["config"]) == json.loads(json.dumps(settings.to_plain(own)))
        if is_its and node.seed.values.tolist() == list(part.shard.seeds):
            return []
    return [f"{part.file}: is of another shard than its config.json; {ANEW}"]


def of_variant(variant: str, parts: Iterable[Part]) -> list[Part]:
    """The shards of a variant, in order of seeds."""
    return sorted((part for part in parts if part.shard.variant == variant), key=lambda part: part.shard.first)


@contextmanager
def opened(part: Part) -> Iterator[xr.Dataset]:
    """The results as they were observed: what xarray reads as not a number has one of many bit patterns."""
    undecoded: dict[str, Any] = {
        "decode_times": False,
        "decode_timedelta": False,
        "mask_and_scale": False,
        "cache": False,
    }
    try:
        with xr.open_dataset(part.file, engine="h5netcdf", group=part.shard.variant, **undecoded) as node:
            yield node
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise InputError([unreadable(part.file, str(error), ANEW)]) from error


def gaps(config: ConfigDict, parts: Sequence[Part]) -> list[str]:
    """A line for each block of seeds that no shard has, or that two have."""
    problems = []
    for name, own in settings.expand(config):
        covered, holder = 0, Path()
        for folder, shard, *_ in of_variant(name, parts):
            if shard.first > covered:
                problems.append(_gap(name, covered, shard.first))
            elif shard.first < covered:
                seeds, are = _seeds(shard.first, min(covered, shard.stop))
                problems.append(f"{name}: {seeds} {are} in {holder} and in {folder}; leave out one")
            covered, holder = max((covered, holder), (shard.stop, folder), key=lambda reached: reached[0])
        if covered < own.num_seeds:
            problems.append(_gap(name, covered, own.num_seeds))
    return problems


def _gap(variant: str, first: int, stop: int) -> str:
    seeds, are = _seeds(first, stop)
    return f"{variant}: {seeds} {are} in none of these folders"


def _seeds(first: int, stop: int) -> tuple[str, str]:
    """The seeds of a block, and the verb that goes with them."""
    return (f"seed {first}", "is") if stop - first == 1 else (f"seeds {first} to {stop - 1}", "are")


def check_code(folders: Sequence[Path], code: Mapping[str, Any]) -> None:
    """Check that these shards were computed by this code, before others are.

    Raises:
        InputError: Some were not; a line for each.
    """
    differences = []
    for folder in folders:
        known = {name: value for start in RunFolder(folder).starts()[-1:] for name, value in start.items()}
        changed = differing({name: known[name] for name in code if name in known}, {**code} if known else {})
        differences += [
            f"{folder}: was computed by other code: {path} was {old}, is now {new}" for path, old, new in changed
        ]
    _refuse(_with_remedy(differences, "give --redo-unfinished, which keeps it"))


def of_other_code(parts: Sequence[Part]) -> list[str]:
    """A line for each way in which a shard differs, in what no machine decides, from what most shards have."""
    known = [(json.dumps(part.code, sort_keys=True), part) for part in parts if part.starts]
    counts = Counter(text for text, _ in known)
    _, usual = max(known, key=lambda each: counts[each[0]], default=("", parts[0]))
    lines = []
    for _, part in known:
        there = f"{part.folder}: was computed by other code than {usual.folder}"
        changed = differing(usual.code, part.code)
        lines += [f"{there}: {path} was {own}, not {other}" for path, other, own in changed]
    return _with_remedy(lines, "give merge --mixed")


def _with_remedy(lines: list[str], otherwise: str) -> list[str]:
    shown = lines[:MAX_DIFFERENCES]
    more = [f"{len(lines) - len(shown)} more differences"] if lines[len(shown) :] else []
    remedy = f"the results would mix the two; {ANEW}, or {otherwise}"
    return [*shown, *more, remedy] if lines else []


def _refuse(problems: list[str]) -> None:
    if problems:
        raise InputError(problems)
