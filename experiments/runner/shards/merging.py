"""Shards put together: the results that an undivided run has, from the folders of its parts.

Nothing is computed, and one piece of a shard is in memory at a time.
"""

import json
import math
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

import xarray as xr
from ml_collections import ConfigDict

from experiments.runner import settings, streams
from experiments.runner.checkpoints import Checkpoints
from experiments.runner.experiment import Experiment, load
from experiments.runner.files import read_digested
from experiments.runner.finished import as_config
from experiments.runner.layout import differing
from experiments.runner.results import Piece, streamed
from experiments.runner.run import observation_times
from experiments.runner.shards.parts import Part, gaps, of_other_code, of_variant, opened, parts_in
from experiments.runner.store import MAX_DIFFERENCES, InputError, RunFolder, check_folder, make_folder, open_run

__all__ = ["check_creatable", "check_place", "merge"]


def check_place(workdir: Path, config: Mapping[str, Any]) -> None:
    """Check that shards can be merged into a folder.

    Raises:
        InputError: It holds shards, is another run's, or has an undivided run that is not finished.
    """
    _refuse(_holding_shards(workdir))
    check_folder(workdir, config)
    if Checkpoints(workdir).exist and not (workdir / "results.nc").exists():
        begun = "holds an undivided run that is not finished; resume it there, or choose another --workdir"
        raise InputError([f"{workdir}: {begun}"])


def check_creatable(folder: Path) -> None:
    """Check that a folder exists or can be created; one that is created for this is removed again.

    Raises:
        InputError: It cannot be created.
        Setback: There is no room.
    """
    missing = [place for place in (folder, *folder.parents) if not os.path.lexists(place)]
    try:
        make_folder(folder)
    finally:
        for place in missing:
            with suppress(OSError):  # it was not created, or another process uses it
                place.rmdir()


def _holding_shards(workdir: Path) -> list[str]:
    """Why shards are not merged into a folder that has some, or is one."""
    try:
        record = read_digested(workdir / "config.json")
    except (OSError, ValueError):  # `check_folder` says what is wrong with it
        return []
    found = {"shards": "holds the shards of a run", "shard": "is a shard of a run"}
    remedy = "choose another --workdir for the merged run"
    return [f"{workdir}: {what}; {remedy}" for key, what in found.items() if key in record]


def merge(folders: Sequence[Path], workdir: Path, *, mixed: bool = False) -> ConfigDict:
    """Write the results of these shards into one run folder, and return the config of the undivided run.

    A folder that has results keeps them, and a line says so. Where they may not be equal to the bit to those of an
    undivided run, a warning says so. ``mixed`` allows shards of different code, versions, settings or data.

    Raises:
        InputError: A shard is missing, there twice, damaged, unfinished, or of another config or other code; a line for
            each.
        Setback: There is no room.
    """
    parts = parts_in(folders)
    config = as_config(parts[0].config).lock()
    _refuse(gaps(config, parts))
    _refuse([] if mixed else of_other_code(parts))
    check_place(workdir, parts[0].config)
    with open_run(workdir, parts[0].config) as folder:
        if (folder.path / "results.nc").exists():
            streams.write(
                f"{workdir} has results, which are kept: the shards are not merged into it; --workdir names another\n"
            )
        else:
            _write(folder, config, load(config.experiment), parts)
    return config


def _write(folder: RunFolder, config: ConfigDict, experiment: Experiment, parts: Sequence[Part]) -> None:
    mixed = _mixed(parts)
    for line in [*mixed[:MAX_DIFFERENCES], *_batches(parts)]:
        warnings.warn(f"{line}: not equal to the bit to an undivided run", stacklevel=2)
    folder.record_merged(_start(parts, mixed))
    groups = (
        (name, streamed(name, own, observation_times(own), _chunks(of_variant(name, parts)), experiment.variables))
        for name, own in settings.expand(config)
    )
    attrs = {"config": json.dumps(settings.to_plain(config)), **({"mixed": json.dumps([mixed])} if mixed else {})}
    folder.write_results(groups, attrs, num_bytes=sum(part.file.stat().st_size for part in parts))


# The pieces -----------------------------------------------------------------------------------------------------------


def _chunks(parts: Iterable[Part]) -> Iterator[Iterator[Piece]]:
    """The results of these shards in order of seeds, about as many members at a time as were computed together."""
    for part in parts:
        with opened(part) as node:
            num_settings = math.prod(node.converged_at.shape[1:])
            seeds = max(1, part.shard.plan.chunk // num_settings)
            for first in range(0, node.sizes["seed"], seeds):
                yield _pieces(node.isel(seed=slice(first, first + seeds)), part.shard.plan.segment)


def _pieces(node: xr.Dataset, segment: int) -> Iterator[Piece]:
    """The results of some members, members first and times second, a segment at a time."""
    for start in range(0, node.sizes["step"], segment):
        seen = node.isel(step=slice(start, start + segment))
        arrays = {str(name): seen[name].values for name in seen.data_vars}
        yield {name: values.reshape(-1, *values.shape[node.converged_at.ndim :]) for name, values in arrays.items()}


# What is said of them -------------------------------------------------------------------------------------------------


def _mixed(parts: Sequence[Part]) -> list[str]:
    """What differs between the conditions of the first shard and the others, and what was mixed in one, by shard."""
    first, lines = next((part for part in parts if part.starts), parts[0]), []
    for part in parts:
        if not part.starts:
            lines.append(f"{part.shard.name} has no provenance, and may be of other conditions")
            continue
        changed = differing(first.conditions, part.conditions)
        others = f"{part.shard.name} was computed under other conditions than {first.shard.name}"
        lines += [f"{others}: {path} was {now}, not {before}" for path, before, now in changed]
        mixed = chain.from_iterable(start.get("mixed", ()) for start in part.starts)
        lines += [f"{part.shard.name} was continued under other conditions: {line}" for line in mixed]
    return lines


def _batches(parts: Sequence[Part]) -> list[str]:
    """A line for each variant whose shards step different numbers of members together."""
    found: dict[str, set[int]] = {}
    for part in parts:
        found.setdefault(part.shard.variant, set()).add(part.shard.plan.batch)
    return [
        f"{variant} was computed in batches of {' and '.join(map(str, sorted(sizes)))} members"
        for variant, sizes in found.items()
        if len(sizes) > 1
    ]


def _start(parts: Sequence[Part], mixed: list[str]) -> dict[str, Any]:
    """One start that tells of all shards: seconds are sums, of all machines."""
    starts = [start for part in parts for start in part.starts]
    ends = [start["end"] for start in starts if start["end"]]
    newest = next((part.starts[-1] for part in parts if part.starts), {})
    return {
        **newest,
        "start": min((start["start"] for start in starts), default=None),
        "end": max(ends, default=None),
        **{name: sum(start[name] or 0.0 for start in starts) for name in ("compile_s", "run_s")},
        "shards": len(parts),
        **({"mixed": mixed} if mixed else {}),
    }


def _refuse(problems: list[str]) -> None:
    if problems:
        raise InputError(problems)
