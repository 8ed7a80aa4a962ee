"""A run resumes under the conditions of its checkpoints alone, unless it is told to compute the rest anew."""

import copy
import json
import signal
import warnings

import numpy as np
import pytest
import xarray as xr
from liveness import communicate
from small_run import SMALL, bytes_of

from experiments.runner import resuming
from experiments.runner.checkpoints import Checkpoints
from experiments.runner.provenance import conditions, environment
from experiments.runner.store import InputError
from lawlib.dynamics.sweep import Plan

PLANS = [Plan(4, 2, 2), Plan(2, 1, 3)]
ADVICE = (
    "the results would mix the two; go back to them, or give --redo-unfinished (it keeps finished chunks of members "
    "and computes the others anew), or choose another --workdir"
)


@pytest.fixture(scope="module")
def now():
    return conditions(environment(), {"digits": "as published"})


def found(folder, now, redo=False):
    return resuming.found(folder, Checkpoints(folder), now, redo=redo)


def plans(found):
    return resuming.divided(found, lambda: PLANS).plans


def begun(folder, now, *, at):
    """Checkpoints of a run that reached this position: chunks of two segments, in order."""
    first = found(folder, now)
    assert plans(first) == PLANS
    variant, chunk, segment = at
    order = [(v, c, s) for v in (0, 1) for c in (0, 1, 2) for s in (0, 1)]
    pieces = {resuming.piece(*place): {"loss": np.arange(3.0)} for place in order if place <= at}
    position = {"variant": variant, "chunk": chunk, "segment": segment, "last": segment == 1}
    first.checkpoints.save(position, None, pieces)


def changed(now, path, value):
    other = copy.deepcopy(now)
    *groups, leaf = path.split(".")
    node = other
    for group in groups:
        node = node[group]
    node[leaf] = value
    return other


CHANGES = {
    "source_sha256": "0" * 64,
    "versions.jax": "0.0.1",
    "versions.numpy": "0.0.1",
    "versions.python": "3.0.0",
    "prng_impl": "rbg",
    "jax_settings.jax_threefry_partitionable": "no",
    "xla_flags.xla_cpu_enable_fast_math": "true",
    "environment_variables.OPENBLAS_NUM_THREADS": "3",
    "matmul_precision": "default",
    "x64": "no",
    "device_kind": "abacus",
    "device_count": 64,
    "processor": "abacus",
    "sources.digits": "of somebody",
}


@pytest.mark.parametrize("path", CHANGES)
def test_whatever_decides_numbers_is_compared_and_the_difference_is_told(tmp_path, now, path):
    begun(tmp_path, now, at=(0, 1, 0))
    other = changed(now, path, CHANGES[path])
    before = bytes_of(tmp_path)
    with pytest.raises(InputError) as refused:
        found(tmp_path, other)
    line, advice = refused.value.problems
    assert line.startswith(f"{tmp_path}: was begun under other conditions: {path} was ")
    assert line.endswith(f", is now {json.dumps(CHANGES[path])}")
    assert advice == f"{tmp_path}: {ADVICE}"
    assert bytes_of(tmp_path) == before
    assert found(tmp_path, now).changed == []


def test_many_differences_are_counted(tmp_path, now):
    begun(tmp_path, now, at=(0, 1, 0))
    with pytest.raises(InputError) as refused:
        found(tmp_path, {**now, "versions": {}})
    assert len(refused.value.problems) == 12
    assert refused.value.problems[-2].endswith(" more differences")


def test_without_a_checkpoint_nothing_can_be_mixed_and_the_run_is_planned_anew(tmp_path, now):
    assert plans(found(tmp_path, now)) == PLANS
    other = changed(now, "versions.jax", "0.0.1")
    assert resuming.divided(found(tmp_path, other), lambda: PLANS[:1]) == resuming.Division(PLANS[:1], [])
    assert found(tmp_path, other).changed == []


def test_a_run_of_a_version_that_recorded_less_is_refused_and_begun_anew_on_request(tmp_path, now):
    begun(tmp_path, now, at=(0, 1, 0))
    Checkpoints(tmp_path).store_plan({"platform": {"versions": {}}, "plans": []})
    with pytest.raises(InputError, match="did not record what decides the numbers"):
        found(tmp_path, now)
    old = found(tmp_path, now, redo=True)
    assert plans(old) == PLANS
    assert old.checkpoints.restore(lambda _: None) is None


@pytest.mark.parametrize(
    ("at", "kept"), [((0, 0, 0), 0), ((0, 0, 1), 2), ((0, 1, 0), 2), ((1, 0, 0), 6), ((1, 0, 1), 8), ((1, 2, 0), 10)]
)
def test_finished_chunks_are_kept_and_the_others_are_begun_anew(tmp_path, now, at, kept):
    begun(tmp_path, now, at=at)
    other = changed(now, "versions.jax", "0.0.1")
    resumed = found(tmp_path, other, redo=True)
    division = resuming.divided(resumed, lambda: PLANS)
    assert division.plans == PLANS
    restored = resumed.checkpoints.restore(lambda _: None)
    assert len(restored.pieces if restored else ()) == kept
    if not restored:
        assert division.mixed == []
        return
    variant, chunk, segment = at
    assert restored.position["last"]
    assert (restored.position["variant"], restored.position["chunk"]) == (variant, chunk - (segment == 0))
    ((line,),) = division.mixed
    assert line.startswith("versions.jax was ")
    # From here on the run is one under the new conditions, and under the old ones it is refused.
    assert found(tmp_path, other).changed == []
    assert resuming.divided(found(tmp_path, other), lambda: []) == division
    with pytest.raises(InputError):
        found(tmp_path, now)


def test_a_process_that_dies_while_it_takes_on_other_conditions_loses_nothing(tmp_path, now, monkeypatch):
    begun(tmp_path, now, at=(0, 1, 0))

    def dies(*_):
        raise KeyboardInterrupt

    resumed = found(tmp_path, changed(now, "versions.jax", "0.0.1"), redo=True)
    monkeypatch.setattr(resumed.checkpoints, "store_plan", dies)
    with pytest.raises(KeyboardInterrupt):
        plans(resumed)
    same = found(tmp_path, now)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "checkpoint 2 is not used")
        restored = same.checkpoints.restore(lambda _: None)
    assert len(restored.pieces) == 3


@pytest.mark.slow
@pytest.mark.reliability
def test_a_run_is_not_mixed_in_silence(whole, shell, running):
    process, folder = running(0.6)  # in the second of four chunks of members, or rather in the third
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGCONT)
    communicate(process)
    assert process.returncode == 75
    before, other = bytes_of(folder), type(shell)()
    other.env = {**shell.env, "JAX_THREEFRY_PARTITIONABLE": "false"}
    code, _, err = other.finish(*SMALL, f"--workdir={folder}")
    changed = "jax_settings.jax_threefry_partitionable was true, is now false"
    assert (code, err.splitlines()) == (
        2,
        [f"{folder}: was begun under other conditions: {changed}", f"{folder}: {ADVICE}"],
    )
    assert bytes_of(folder) == before | {".lock": b""}
    code, _, err = other.finish(*SMALL, f"--workdir={folder}", "--redo-unfinished")
    assert code == 0, err
    with (
        xr.open_datatree(folder / "results.nc", engine="h5netcdf") as results,
        xr.open_datatree(whole / "results.nc", engine="h5netcdf") as wanted,
    ):
        assert json.loads(results.attrs["mixed"]) == [[changed]]
        assert "mixed" not in wanted.attrs
        same = {
            name: (results[name].loss == wanted[name].loss).all([d for d in results[name].loss.dims if d != "seed"])
            for name in ("double", "single")
        }
    assert same["double"].all()
    # The third chunk was under way: its members, and those of the fourth, are of the new draws.
    assert not same["single"].any()
    starts = json.loads((folder / "provenance.json").read_text())["starts"]
    assert [start.get("mixed") for start in starts] == [None, [changed]]
