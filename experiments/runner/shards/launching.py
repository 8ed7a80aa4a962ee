"""A config computed in shards, by the workers of a cluster: cut, computed, merged, and judged as one run."""

import os
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from experiments.runner import devices, settings, stopping, streams
from experiments.runner.command import BAD_INPUT
from experiments.runner.finished import read_config
from experiments.runner.launch import checked, ending, place, refuse, validate
from experiments.runner.outcome import OUR_ERROR
from experiments.runner.setbacks import STOPPED
from experiments.runner.shards import cluster
from experiments.runner.shards.cut import Shard, cut, wasted
from experiments.runner.shards.worker import Job
from experiments.runner.spec import default_workdir
from experiments.runner.store import InputError, open_run

__all__ = ["launch", "merge"]

REPORT_EVERY_S = 2.0
# Which of several exit codes counts.
GRAVITY = (OUR_ERROR, BAD_INPUT, STOPPED)
SUFFIX = "-shards"


def launch(options: Namespace, overrides: Sequence[str]) -> int:
    """Compute the config in shards, merge and judge them; return the exit code."""
    return ending(lambda stop: _launch(options, overrides, stop))


def merge(options: Namespace) -> int:
    """Merge the shards in the folders that the options name, and judge the result; return the exit code."""
    return ending(lambda stop: _merge(options, stop))


def _launch(options: Namespace, overrides: Sequence[str], stop: stopping.Stop) -> int:
    config = checked(options.config, overrides, validate)
    refuse(devices.problems())
    # Imported late, with JAX behind it.
    from experiments.runner.shards.merging import check_creatable, check_place

    stop.imported()
    workdir = place(options.workdir or default_workdir(options.config))
    check_place(workdir, settings.to_plain(config))
    if (workdir / "results.nc").exists():
        streams.write(f"{workdir} has results, which are kept: no shard is computed\n")
        return _judged(config, workdir, options, stop)
    # Of "." and ".." the name is another one.
    folder = Path(f"{os.path.abspath(workdir) if workdir.name in ('', '..') else workdir}{SUFFIX}")
    # Before the workers measure the room there: a folder that cannot be created has none.
    check_creatable(folder)
    shards, failed = _computed(config, folder, options)
    if failed:
        lines = [f"{folder / shard.name}: {_reason(folder / shard.name, outcome)}" for shard, outcome in failed.items()]
        kept = f"{len(shards) - len(failed)} of {len(shards)} shards are complete and kept"
        streams.complain([*lines, f"{kept}; the same command tries the others again"])
        return min((outcome.code for outcome in failed.values()), key=GRAVITY.index)
    return _merged([folder / shard.name for shard in shards], workdir, options, options.redo_unfinished, stop)


def _merge(options: Namespace, stop: stopping.Stop) -> int:
    # Imported late, with JAX behind it.
    from experiments.runner.shards.parts import shard_folders

    folders = [Path(os.path.expanduser(folder)) for folder in options.folders]
    is_one = len(folders) == 1 and folders[0].name.removesuffix(SUFFIX) not in ("", folders[0].name)
    if not options.workdir and not is_one:
        raise InputError([f"--workdir=DIR is missing: the run folder to write (of one folder DIR{SUFFIX}: DIR)"])
    stop.imported()
    workdir = place(options.workdir or folders[0].with_name(folders[0].name.removesuffix(SUFFIX)))
    return _merged(shard_folders(folders), workdir, options, options.mixed, stop)


def _merged(folders: Sequence[Path], workdir: Path, options: Namespace, mixed: bool, stop: stopping.Stop) -> int:
    from experiments.runner.shards.merging import merge as merge_folders

    return _judged(merge_folders(folders, workdir, mixed=mixed), workdir, options, stop)


def _judged(config: ConfigDict, workdir: Path, options: Namespace, stop: stopping.Stop) -> int:
    from experiments.runner.run import run

    return run(config, workdir, strict=options.strict, stop=stop)


def _computed(config: ConfigDict, folder: Path, options: Namespace) -> tuple[list[Shard], dict[Shard, cluster.Outcome]]:
    """All shards, and how those ended that always failed."""
    from experiments.runner.provenance import code
    from experiments.runner.shards.parts import check_code

    plain, block, shards = settings.to_plain(config), *_stored(folder, options.seeds)
    with cluster.connected(options.address, options.workers, options.tries) as client:
        if options.address:
            _refuse(cluster.unlike(client))
        if not client.nthreads():
            streams.write("waiting for a worker of the cluster\n")
        shards = shards or _cut(client, plain, folder, block)
        with open_run(folder, {**plain, "block": block, "shards": [shard.record() for shard in shards]}):
            missing = [shard for shard in shards if not (folder / shard.name / "results.nc").exists()]
            for stale in folder.glob("*.error.txt"):
                stale.unlink()
            found, own = [folder / shard.name for shard in shards if shard not in missing], code()
            if not options.redo_unfinished:
                check_code(found, own)
            whole = folder.absolute()
            if options.address and missing:
                _refuse(cluster.unfit(client, own, whole))
            jobs = [Job(plain, shard, str(whole / shard.name), own, options.redo_unfinished) for shard in missing]
            streams.write(f"{len(shards)} shards in {folder}, {len(jobs)} to be computed\n")
            return shards, cluster.compute(client, jobs, options.tries, _reporting(len(shards), len(jobs)))


def _cut(client: Any, plain: dict[str, Any], folder: Path, block: int) -> list[Shard]:
    """The shards of a config that is launched for the first time, from the plan of the undivided run."""
    shards, members, filling = [], 0, 0
    for variant, sizes in cluster.planned(client, plain, folder.absolute()):
        own = cut(variant, **sizes, block=block)
        members += sizes["num_seeds"] * sizes["num_settings"]
        filling += sum(wasted(shard, sizes["num_settings"]) for shard in own)
        shards += own
    if filling:
        remedy = "without --seeds there are fewer; --config.run.batch sets the members of a batch"
        streams.complain([f"{filling} members are computed to fill batches, beside the run's {members} ({remedy})"])
    return shards


def _stored(folder: Path, block: int) -> tuple[int, list[Shard]]:
    """The seeds of a block, and the shards into which the config was cut before; none if it was not."""
    if not (folder / "config.json").exists():
        return block, []
    record, problems = read_config(folder)
    if not problems and "shards" not in record:
        problems = [f"{folder}: is needed for the shards, and is another run; move it, or choose another --workdir"]
    elif not problems and block and block != record["block"]:
        given = f"--seeds={record['block']}" if record["block"] else "no --seeds"
        problems = [f"--seeds={block}: {folder} was cut with {given}; give the same, or choose another --workdir"]
    _refuse(problems)
    return record["block"], [Shard.of(shard) for shard in record["shards"]]


def _reason(folder: Path, outcome: cluster.Outcome) -> str:
    """Why a shard failed; the traceback of an error of ours is kept in a file."""
    if outcome.code != OUR_ERROR or not outcome.value:
        return outcome.reason
    file = folder.with_name(f"{folder.name}.error.txt")
    file.write_text(outcome.value)
    return f"{outcome.reason} (see {file})"


def _reporting(num_shards: int, num_missing: int) -> Callable[[int, int], None]:
    before, last = num_shards - num_missing, [time.monotonic()]

    def report(done: int, failed: int) -> None:
        now = time.monotonic()
        if now - last[0] >= REPORT_EVERY_S or done + failed == num_missing:
            last[0] = now
            streams.write(f"{before + done} of {num_shards} shards done{f', {failed} failed' if failed else ''}\n")

    return report


def _refuse(problems: list[str]) -> None:
    if problems:
        raise InputError(problems)
