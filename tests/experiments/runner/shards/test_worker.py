"""What a worker answers, with and without a folder, and while the last holder of a shard is not known to be dead."""

import pickle

import pytest

from experiments.runner.lock import LockRefused
from experiments.runner.provenance import code
from experiments.runner.setbacks import Setback
from experiments.runner.shards import worker
from experiments.runner.shards.cut import Shard
from experiments.runner.store import InputError
from lawlib.dynamics.sweep import Plan


@pytest.fixture
def job(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr("time.sleep", lambda _: None)
    return worker.Job({"seed": 1}, Shard("v", 0, 2, Plan(4, 4, 2)), str(tmp_path / "v-0-1"), code(), redo=True)


@pytest.fixture
def runs(monkeypatch):
    """The calls of the runner, and what they raise, one after the other."""
    calls, errors = [], []

    def run_shard(config, folder, shard, *, redo):
        calls.append((config.seed, folder.name, shard, redo))
        if errors:
            raise errors.pop(0)

    monkeypatch.setattr("experiments.runner.run.run_shard", run_shard)
    return calls, errors


def locked():
    refused = InputError(["is in use"])
    refused.__cause__ = LockRefused("is in use")
    return refused


def answered(job):
    return worker.answer("compute", pickle.dumps((job,)))


def test_a_shard_is_run_as_the_job_says(job, runs):
    assert answered(job) == (0, "", None)
    assert runs[0] == [(1, "v-0-1", job.shard, True)]


def test_a_lock_that_is_not_yet_known_to_be_free_is_waited_for_but_not_for_ever(job, runs, monkeypatch):
    calls, errors = runs
    errors += [locked(), locked()]
    assert answered(job)[0] == 0
    assert len(calls) == 3
    monkeypatch.setattr(worker, "PATIENCE_S", -1.0)
    (job_folder,) = {call[1] for call in calls}
    assert job_folder == "v-0-1"
    errors.append(locked())
    assert answered(job) == (2, "is in use", ["is in use"])


def test_what_a_shard_meets_is_an_exit_code_and_a_line(job, runs):
    _, errors = runs
    errors += [InputError(["a", "b"]), Setback("full"), ValueError("x\n y")]
    assert answered(job) == (2, "a; b", ["a", "b"])
    assert answered(job) == (75, "full", None)
    exit_code, line, trace = answered(job)
    assert (exit_code, line) == (70, "ValueError: x y")
    assert trace.startswith("Traceback")


def test_a_worker_of_other_code_refuses_its_shard(job, runs):
    other = job._replace(code={**job.code, "versions": {**job.code["versions"], "jax": "0.1"}})
    exit_code, line, _ = answered(other)
    assert exit_code == 2
    assert line.startswith('the worker has another versions.jax than the launcher: "')
    assert line.endswith('", not "0.1"')
    assert not runs[0]
