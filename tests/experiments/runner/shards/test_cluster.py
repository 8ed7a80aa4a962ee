"""What becomes of shards whose workers refuse, fail or die, on a cluster within this process."""

import threading
from types import SimpleNamespace

import pytest

from experiments.runner.provenance import code
from experiments.runner.setbacks import Setback
from experiments.runner.shards import cluster, worker
from experiments.runner.shards.cut import Shard
from experiments.runner.shards.worker import Job
from experiments.runner.store import InputError
from lawlib.dynamics.sweep import Plan

distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed (extra cluster)")

CODE = {"source_sha256": "abc", "versions": {"jax": "1"}}


@pytest.fixture(scope="module")
def client():
    import dask

    quiet = {"processes": False, "dashboard_address": ":0", "silence_logs": 50}
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 2}),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, **quiet) as local,
        distributed.Client(local) as client,
    ):
        yield client


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(cluster, "POLL_S", 0.02)
    monkeypatch.setattr(cluster, "UNSEEN_S", 0.0)


def job(first):
    return Job({}, Shard("v", first, first + 1, Plan(4, 4, 2)), f"/nowhere/v-{first}-{first}", CODE, redo=False)


class Doing:
    """In place of what a worker computes; notes where each shard was tried."""

    def __init__(self, what):
        self.what, self.tried, self.most, self.at_once, self.lock = what, [], 0, {}, threading.Lock()

    def __call__(self, job):
        here = distributed.get_worker().address
        with self.lock:
            self.tried.append((job.shard.first, here))
            self.at_once[here] = self.at_once.get(here, 0) + 1
            assert self.at_once[here] == 1
        try:
            self.what(job, here)
        finally:
            self.at_once[here] -= 1


def computed(monkeypatch, client, what, count, tries=3):
    doing, reports = Doing(what), []
    monkeypatch.setattr(worker, "compute", doing)
    failed = cluster.compute(client, [job(i) for i in range(count)], tries, lambda *counts: reports.append(counts))
    return {shard.first: outcome for shard, outcome in failed.items()}, doing, reports


def test_every_shard_is_computed_once_where_none_fails(monkeypatch, client):
    failed, doing, reports = computed(monkeypatch, client, lambda *_: None, 5)
    assert not failed
    assert sorted(shard for shard, _ in doing.tried) == [0, 1, 2, 3, 4]
    assert reports[-1] == (5, 0)


def test_no_more_shards_are_handed_out_than_there_are_workers(monkeypatch, client):
    begun, out = cluster._begun, []

    def counted(client, waiting, num_running):
        found = begun(client, waiting, num_running)
        out.append(num_running + len(found))
        return found

    monkeypatch.setattr(cluster, "_begun", counted)
    computed(monkeypatch, client, lambda *_: None, 5)
    assert max(out) == 2


@pytest.mark.parametrize(
    ("error", "exit_code", "said"),
    [
        (InputError(["one", "two"]), 2, "one; two"),
        (Setback("no room"), 75, "no room"),
        (ValueError("a\nb"), 70, "ValueError: a b"),
    ],
)
def test_a_shard_that_always_fails_is_tried_so_often_and_named_and_the_others_are_kept(
    monkeypatch, client, error, exit_code, said
):
    def what(job, _):
        if job.shard.first == 1:
            raise error

    failed, doing, reports = computed(monkeypatch, client, what, 3)
    assert {first: (outcome.code, outcome.reason) for first, outcome in failed.items()} == {1: (exit_code, said)}
    assert ("Traceback" in str(failed[1].value)) == (exit_code == 70)
    assert [shard for shard, _ in doing.tried].count(1) == 3
    assert reports[-1] == (2, 1)


def test_a_worker_that_can_compute_nothing_costs_no_shard(monkeypatch, client):
    bad = min(client.nthreads())

    def what(_, here):
        if here == bad:
            raise InputError(["not here"])

    failed, doing, _ = computed(monkeypatch, client, what, 6, tries=2)
    assert not failed
    assert bad in {here for _, here in doing.tried}


def test_a_shard_under_which_workers_die_is_given_up_by_the_scheduler(monkeypatch, client):
    asked = []

    def dies(name, arguments):
        asked.append(name)
        raise distributed.KilledWorker(name, SimpleNamespace(address="tcp://a:1"), 2)

    monkeypatch.setattr(worker, "answer", dies)
    (outcome,) = cluster.compute(client, [job(0)], 3, lambda *_: None).values()
    assert asked == ["compute"]
    assert (outcome.code, outcome.reason) == (
        75,
        "3 workers died while they computed it (out of memory? see their logs)",
    )


def test_workers_of_other_code_or_without_the_folder_are_named(client, monkeypatch, tmp_path):
    lines = cluster.unfit(client, CODE, tmp_path)
    assert len(lines) == 2
    assert all(
        line.endswith("is not there; a worker needs a file system that it shares with the launcher") for line in lines
    )
    (tmp_path / "config.json").write_text("{}")
    lines = cluster.unfit(client, CODE, tmp_path)
    assert {line.partition(": ")[0] for line in lines} == set(client.nthreads())
    assert any(
        'has another source_sha256 than the launcher: "' in line and line.endswith(', not "abc"') for line in lines
    )

    assert not cluster.unfit(client, code(), tmp_path)
    monkeypatch.setattr(worker, "unfit", None)
    lines = cluster.unfit(client, CODE, tmp_path)
    assert [line.partition(": ")[2] for line in lines] == ["TypeError: 'NoneType' object is not callable"] * 2


def test_workers_of_several_threads_or_another_python_are_named(client, monkeypatch):
    monkeypatch.setattr(client, "nthreads", lambda: {"tcp://a:1": 8})
    monkeypatch.setattr("platform.python_version_tuple", lambda: ("2", "7", "18"))
    scheduler, *others = cluster.unlike(client)
    assert scheduler.startswith("the scheduler has Python 3.")
    assert scheduler.endswith(", and the launcher 2.7; give both the same environment")
    assert len(others) == 3
    assert others[-1] == "tcp://a:1 has 8 threads; start it with --nthreads 1: a shard uses all devices of its worker"


def test_a_plan_that_a_worker_refuses_is_refused_with_its_lines(monkeypatch, client, tmp_path):
    def plans(*_):
        raise InputError(["too large", "too long"])

    monkeypatch.setattr(worker, "plans", plans)
    with pytest.raises(InputError) as refused:
        cluster.planned(client, {}, tmp_path)
    said, addresses = zip(*(line.rpartition(": ")[::-2] for line in refused.value.problems), strict=True)
    assert said == ("too large", "too long")
    assert set(addresses) <= set(client.nthreads())
    monkeypatch.setattr(worker, "plans", lambda *_: [("v", {})])
    assert cluster.planned(client, {}, tmp_path) == [("v", {})]


def test_a_scheduler_that_does_not_answer_is_one_line(monkeypatch):
    monkeypatch.setattr(cluster, "ANSWER_S", 0.5)
    nowhere = cluster.connected("tcp://127.0.0.1:9", 0, 3)
    with pytest.raises(InputError, match="no scheduler of dask") as refused, nowhere:
        pass
    assert len(refused.value.problems) == 1


def test_a_scheduler_that_is_lost_meanwhile_is_a_setback():
    from distributed.comm import CommClosedError

    client = cluster.connected("", 1, 3)
    with pytest.raises(Setback, match="the scheduler is lost"), client:
        raise CommClosedError
