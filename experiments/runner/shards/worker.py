"""What a worker of a cluster does: it computes one shard at a time, in its own process.

The lock of a shard's folder ends with the process. What a shard meets is returned as an exit code of the runner and a
line, never raised.
"""

import os
import pickle
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from experiments.runner.layout import differing
from experiments.runner.lock import LockRefused
from experiments.runner.setbacks import STOPPED, Setback
from experiments.runner.shards.cut import Shard
from experiments.runner.store import MAX_DIFFERENCES, InputError

__all__ = ["Job", "answer", "compute", "plans", "unfit"]

DONE, BAD_INPUT, OUR_ERROR = 0, 2, 70
# A file system of a network tells seconds later that a folder was made, or that the process which held a lock is dead.
PATIENCE_S = 60.0


class Job(NamedTuple):
    """What a worker is told: the config as JSON holds it, the shard with its folder, the code of the launcher."""

    config: Mapping[str, Any]
    shard: Shard
    folder: str
    code: Mapping[str, Any]
    redo: bool


def answer(name: str, arguments: bytes) -> tuple[int, str, Any]:
    """Call a function of this module: an exit code of the runner, a line on what was wrong, and what it returns.

    Of an input that is refused that is every problem, and of an error of ours its traceback.
    """
    os.environ["MPLBACKEND"] = "agg"
    try:
        return DONE, "", globals()[name](*pickle.loads(arguments))
    except InputError as refusal:
        return BAD_INPUT, "; ".join(refusal.problems), refusal.problems
    except Setback as setback:
        return STOPPED, str(setback), None
    except Exception as error:
        return OUR_ERROR, f"{type(error).__name__}: {' '.join(str(error).split())}", traceback.format_exc()


def compute(job: Job) -> None:
    """Compute a shard, or resume it.

    Raises:
        InputError: This worker cannot compute it.
        Setback: There is no room, or the folder was moved away.
    """
    # Imported late, with JAX behind them.
    from experiments.runner.finished import as_config
    from experiments.runner.run import run_shard

    if problems := unfit(job.code, str(Path(job.folder).parent), PATIENCE_S):
        raise InputError(problems)
    began = time.monotonic()
    while True:
        try:
            return run_shard(as_config(job.config).lock(), Path(job.folder), job.shard, redo=job.redo)
        except InputError as refusal:
            if not isinstance(refusal.__cause__, LockRefused) or time.monotonic() - began > PATIENCE_S:
                raise
        time.sleep(1.0)


def unfit(code: Mapping[str, Any], folder: str, patience_s: float) -> list[str]:
    """Why this process cannot compute shards in a folder for a launcher of this code; no line if it can."""
    from experiments.runner import provenance

    if not _is_seen(Path(folder), patience_s):
        return [f"{folder} is not there; a worker needs a file system that it shares with the launcher"]
    changed = differing(code, provenance.code())[:MAX_DIFFERENCES]
    return [f"the worker has another {path} than the launcher: {own}, not {wanted}" for path, wanted, own in changed]


def _is_seen(folder: Path, patience_s: float) -> bool:
    end = time.monotonic() + patience_s
    while not (folder / "config.json").exists():
        if time.monotonic() > end:
            return False
        time.sleep(1.0)
    return True


def plans(config: Mapping[str, Any], folder: str) -> list[tuple[str, dict[str, Any]]]:
    """The variants by name, and what ``cut`` takes of each, for an undivided run in this process.

    Raises:
        InputError: The undivided run would not fit into its memory, or onto the disk of the folder.
    """
    from experiments.runner.experiment import load
    from experiments.runner.finished import as_config
    from experiments.runner.memory import room
    from experiments.runner.run import plans_of, prepare, work_of
    from lawlib.dynamics.sweep import MEMBERS

    prepare()
    whole = as_config(config).lock()
    work = work_of(whole, load(whole.experiment), room(Path(folder)))
    return [
        (
            part.name,
            {
                "num_seeds": len(part.seeds),
                "num_settings": part.need.num_settings,
                "num_devices": part.mesh.shape[MEMBERS],
                "plan": plan,
            },
        )
        for part, plan in zip(work, plans_of(work), strict=True)
    ]
