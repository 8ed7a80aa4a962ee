"""Shards on the workers of a dask.distributed cluster, which may die and come back: what the launcher does of it."""

import importlib
import logging
import os
import pickle
import platform
import re
import uuid
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from experiments.runner.setbacks import STOPPED, Setback
from experiments.runner.shards.cut import Shard
from experiments.runner.shards.worker import Job
from experiments.runner.store import InputError

__all__ = ["Outcome", "compute", "connected", "planned", "unfit", "unlike"]

DONE, OUR_ERROR = 0, 70
# A scheduler, or a worker that has nothing else to do, answers within this.
ANSWER_S = 10.0
# For so long a worker may not see a folder that was just made.
UNSEEN_S = 5.0
POLL_S = 1.0
DEVICES = re.compile(r"--xla_force_host_platform_device_count=\d+")
LOST = "the scheduler is lost; complete shards are kept, and the same command continues"


class Outcome(NamedTuple):
    """How a try ended: what ``worker.answer`` returns, and by which worker."""

    code: int
    reason: str
    value: Any = None
    worker: str = ""
    # Whether another try would be of no use.
    is_final: bool = False


class Try(NamedTuple):
    """A shard to be computed: how many tries are left, this one included, and the workers that failed at it."""

    job: Job
    left: int
    failed_at: tuple[str, ...] = ()


@contextmanager
def connected(address: str, num_workers: int, tries: int) -> Iterator[Any]:
    """A client of the scheduler at ``address``, or of workers of this machine that live as long as the block.

    Raises:
        InputError: No scheduler answers.
        Setback: The scheduler is lost.
    """
    dask, distributed = importlib.import_module("dask"), _distributed()
    if address:
        # What it says, with tracebacks, of a scheduler that is lost is said in a line.
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
        try:
            client = distributed.Client(address, timeout=ANSWER_S)
        except (OSError, ValueError) as error:
            said = " ".join(str(error).split())
            refused = f"--address={address}: no scheduler of dask.distributed answers there ({said})"
            raise InputError([refused]) from error
        with client, _unless_lost():
            yield client
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = num_workers or cores
    flags = f"--xla_force_host_platform_device_count={max(1, cores // count)}"
    own = {"XLA_FLAGS": f"{DEVICES.sub('', os.environ.get('XLA_FLAGS', ''))} {flags}".strip()}
    # A worker that is killed for its memory would be started again and again: what does not fit a run refuses itself.
    local = {"threads_per_worker": 1, "memory_limit": 0, "dashboard_address": "127.0.0.1:0", "env": own}
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": tries - 1}),
        distributed.LocalCluster(n_workers=count, silence_logs=logging.CRITICAL, **local) as cluster,
        distributed.Client(cluster) as client,
        _unless_lost(),
    ):
        yield client


@contextmanager
def _unless_lost() -> Iterator[None]:
    distributed = _distributed()
    try:
        yield
    except (distributed.CancelledError, distributed.comm.CommClosedError) as error:
        raise Setback(LOST) from error


def _distributed() -> Any:
    """The package, where there is one: only then this module is used."""
    return importlib.import_module("distributed")


def unlike(client: Any) -> list[str]:
    """Why workers that are there now, and the scheduler, cannot be used, whatever they find: a line for each."""
    own, found = platform.python_version_tuple()[:2], client.get_versions(check=False)
    versions = {"the scheduler": found["scheduler"], **found["workers"]}
    pythons = {name: _python(version) for name, version in versions.items() if version}
    problems = [
        f"{name} has Python {'.'.join(python)}, and the launcher {'.'.join(own)}; give both the same environment"
        for name, python in pythons.items()
        if python != own
    ]
    return problems + [
        f"{name} has {count} threads; start it with --nthreads 1: a shard uses all devices of its worker"
        for name, count in client.nthreads().items()
        if count > 1
    ]


def unfit(client: Any, code: Mapping[str, Any], folder: Path) -> list[str]:
    """Why workers that are there now cannot compute shards in a folder for a launcher of this code: a line for each."""
    question = code, str(folder), UNSEEN_S
    asked = {_submitted(client, "unfit", question, workers=[worker]): worker for worker in client.nthreads()}
    # One that computes for somebody else answers later; each shard asks again.
    answered = {asked[future]: _outcome(future) for future in _ended(list(asked), ANSWER_S, "ALL_COMPLETED")}
    lines = {
        worker: outcome.value if outcome.code == DONE else [outcome.reason] for worker, outcome in answered.items()
    }
    return [f"{worker}: {line}" for worker, own in lines.items() for line in own]


def _python(version: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(version["host"]["python"]).split(".")[:2])


def planned(client: Any, config: Mapping[str, Any], folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """What ``worker.plans`` returns on one of the workers, which has the devices that will compute.

    Raises:
        InputError: The undivided run does not fit that worker, or the worker cannot be used.
    """
    outcome = _outcome(_submitted(client, "plans", (config, str(folder))))
    if outcome.code == OUR_ERROR:
        msg = f"{outcome.reason}\n{outcome.value}"
        raise RuntimeError(msg)
    if outcome.code == STOPPED:
        raise Setback(outcome.reason)
    if outcome.code != DONE:
        raise InputError([f"{outcome.worker}: {line}" for line in outcome.value or [outcome.reason]])
    return outcome.value


def compute(client: Any, jobs: Sequence[Job], tries: int, report: Callable[[int, int], None]) -> dict[Shard, Outcome]:
    """Compute all shards; return how the last try of each ended that failed ``tries`` times.

    ``report`` is told how many are done and how many have failed for good.

    Raises:
        CancelledError, CommClosedError: The scheduler is lost.
    """
    waiting, running = deque(Try(job, tries) for job in jobs), {}
    failed: dict[Shard, Outcome] = {}
    done = 0
    while waiting or running:
        running |= _begun(client, waiting, len(running))
        for future in _ended(list(running), POLL_S):
            this, outcome = running.pop(future), _outcome(future)
            if outcome.code == DONE:
                done += 1
            elif outcome.is_final or this.left == 1:
                failed[this.job.shard] = outcome
            else:
                waiting.append(Try(this.job, this.left - 1, (*this.failed_at, outcome.worker)))
            report(done, len(failed))
    return failed


def _begun(client: Any, waiting: deque[Try], num_running: int) -> dict[Any, Try]:
    """Hand out as many shards as there are workers: one that dies takes with it no try of a shard that only waits."""
    workers = client.nthreads()
    room = min(len(waiting), max(1, len(workers)) - num_running)
    begun = [waiting.popleft() for _ in range(room)]
    return {_tried(client, this, workers): this for this in begun}


def _tried(client: Any, this: Try, workers: Collection[str]) -> Any:
    # Rather not where it failed before: a worker that cannot compute at all is always the first to be free.
    others = [worker for worker in workers if worker not in this.failed_at]
    where = {"workers": others, "allow_other_workers": True} if this.failed_at and others else {}
    return _submitted(client, "compute", (this.job,), name=this.job.shard.name, **where)


def _submitted(client: Any, function: str, arguments: tuple, name: str = "", **where: Any) -> Any:
    """A future of a function of worker.py.

    Pickled by value: the scheduler need not have the checkout, and a worker that has none says so.
    """
    packed = pickle.dumps(arguments)

    def call() -> tuple:
        here = importlib.import_module("distributed").get_worker().address
        try:
            from experiments.runner.shards import worker
        except ImportError as error:
            remedy = "start workers in the checkout, with PYTHONPATH set to it and the packages of the extra run"
            return 2, f"a worker cannot import {error.name}; {remedy}", None, here
        return (*worker.answer(function, packed), here)

    return client.submit(call, key=f"{name or function}-{uuid.uuid4().hex}", pure=False, **where)


def _ended(futures: Sequence[Any], timeout_s: float, when: str = "FIRST_COMPLETED") -> list[Any]:
    with suppress(TimeoutError):
        _distributed().wait(futures, timeout=timeout_s, return_when=when)
    return [future for future in futures if future.done()]


def _outcome(future: Any) -> Outcome:
    error = future.exception()
    if error is None:
        return Outcome(*future.result())
    if isinstance(error, _distributed().KilledWorker):
        died = f"{error.allowed_failures + 1} workers died while they computed it (out of memory? see their logs)"
        return Outcome(STOPPED, died, is_final=True)
    return Outcome(OUR_ERROR, f"{type(error).__name__}: {' '.join(str(error).split())}")
