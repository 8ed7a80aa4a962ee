"""A config on a cluster of this machine: workers die, a shard fails, the launcher is killed, and nothing is lost."""

import importlib.util
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest
import xarray as xr
from liveness import communicate, finish
from small_run import ROOT, SMALL

from experiments.launch import main
from experiments.merge import main as merge_main
from experiments.runner.settings import load, to_plain
from experiments.runner.store import open_run

# One batch is one seed: 4 shards of each of the two variants.
MORE = ["--config.run.batch=4", "--config.opt.num_steps=400", "--config.observe.num_times=21", "--seeds=1"]
ONE_DEVICE = "--xla_force_host_platform_device_count=1"
NO_DISTRIBUTED = "dask.distributed is not installed (extra cluster)"


def command(folder, *more):
    return [sys.executable, "-m", "experiments.launch", *SMALL, *MORE, f"--workdir={folder}", *more]


def launched(shell, folder, *more):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command(folder, *more), cwd=ROOT, env=shell.env, **pipes)


def computing(folder):
    """The workers that compute a shard which has a checkpoint: those named in the locks of the folders."""
    found = []
    for begun in folder.parent.glob(f"{folder.name}-shards/*/checkpoint"):
        if any(begun.glob("[0-9]*.json")):
            with suppress(OSError, ValueError, KeyError):  # done meanwhile
                found.append(json.loads((begun.parent / ".lock").read_text())["pid"])
    return found


def raw(folder):
    with xr.open_datatree(folder / "results.nc", engine="h5netcdf", decode_cf=False) as tree:
        return tree.load()


def assert_equal(one, other):
    for name, group in one.children.items():
        for field, variable in group.variables.items():
            assert variable.values.tobytes() == other[name].variables[field].values.tobytes(), (name, field)


@pytest.fixture(scope="module")
def undivided(shell, tmp_path_factory):
    """The run in one process, on one device as each of four workers has here."""
    folder = tmp_path_factory.mktemp("undivided") / "run"
    flags = re.sub(r"--xla_force_host_platform_device_count=\d+", "", shell.env.get("XLA_FLAGS", ""))
    words = [sys.executable, "-m", "experiments.main", *SMALL, *MORE[:-1], f"--workdir={folder}"]
    child = finish(words, cwd=ROOT, env={**shell.env, "XLA_FLAGS": f"{flags} {ONE_DEVICE}"})
    assert child.returncode == 0, child.stderr
    return raw(folder)


@pytest.mark.slow
@pytest.mark.skipif((os.cpu_count() or 1) >= 8, reason="four workers have several devices each")
def test_two_of_four_workers_are_killed_and_the_result_is_that_of_one_process(shell, tmp_path, undivided):
    pytest.importorskip("distributed", reason=NO_DISTRIBUTED)
    folder, killed, chance = tmp_path / "run", [], random.Random(0)
    process = launched(shell, folder, "--workers=4")
    while len(killed) < 2 and process.poll() is None:
        time.sleep(chance.uniform(0.0, 0.1))
        if found := [pid for pid in computing(folder) if pid not in killed]:
            killed.append(chance.choice(found))
            os.kill(killed[-1], signal.SIGKILL)
    out, err = communicate(process)
    assert process.returncode == 0, err
    assert len(killed) == 2
    assert "8 shards in" in out
    assert_equal(undivided, raw(folder))


@pytest.mark.slow
def test_a_killed_launcher_is_started_again_and_a_shard_that_always_fails_is_named(shell, tmp_path):
    pytest.importorskip("distributed", reason=NO_DISTRIBUTED)
    folder = tmp_path / "run"
    process = launched(shell, folder, "--workers=2")
    while not computing(folder) and process.poll() is None:
        time.sleep(0.1)
    process.kill()
    process.communicate()
    bad = tmp_path / "run-shards" / "single-2-2"
    bad.mkdir(exist_ok=True)
    (bad / "provenance.json").mkdir()
    again = finish(command(folder, "--workers=2", "--tries=2"), cwd=ROOT, env=shell.env)
    assert again.returncode == 2, again.stderr
    named, kept = again.stderr.splitlines()[-2:]
    assert named.startswith(f"{bad}: ")
    assert kept == "7 of 8 shards are complete and kept; the same command tries the others again"
    assert not folder.exists()
    assert len(list((tmp_path / "run-shards").glob("*/results.nc"))) == 7
    other = finish(command(folder, "--seeds=2"), cwd=ROOT, env=shell.env)
    assert (other.returncode, "was cut with --seeds=1" in other.stderr) == (2, True)


def test_a_folder_that_cannot_be_created_is_named_before_a_worker_is_started(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("experiments.launch.extras.problems", lambda *_: [])
    monkeypatch.setattr("experiments.launch.extras.outdated", lambda *_: [])
    monkeypatch.setattr("experiments.runner.shards.cluster.connected", None)  # an error if it is called
    folder = tmp_path / "new" / ("x" * 250)
    assert main([SMALL[0], f"--workdir={folder}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{folder}-shards: cannot be created: ")
    assert not (tmp_path / "new").exists()


def test_a_launch_into_a_finished_run_keeps_it_and_says_so(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("experiments.launch.extras.problems", lambda *_: [])
    monkeypatch.setattr("experiments.launch.extras.outdated", lambda *_: [])
    monkeypatch.setattr("experiments.runner.shards.launching._judged", lambda *_: 0)
    folder = tmp_path / "run"
    with open_run(folder, to_plain(load(SMALL[0].removeprefix("--config=")))):
        (folder / "results.nc").touch()
    assert main([SMALL[0], f"--workdir={folder}"]) == 0
    assert capsys.readouterr().out == f"{folder} has results, which are kept: no shard is computed\n"
    assert not (tmp_path / "run-shards").exists()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--workers=0"], "--workers=0: must be 1 or more"),
        (["--seeds=-1", "--tries=0"], "--seeds=-1: must be 1 or more\n--tries=0: must be 1 or more"),
        (["--address=tcp://nowhere:1", "--workers=2"], "--workers: is for workers on this machine; those of --address"),
    ],
)
def test_options_that_cannot_be_given_are_refused(capsys, words, line):
    assert main([SMALL[0], *words]) == 2
    assert capsys.readouterr().err.startswith(line)


def test_a_misspelt_option_is_one_line(capsys):
    pytest.importorskip("distributed", reason=NO_DISTRIBUTED)
    assert main([SMALL[0], "--adress=tcp://a:1"]) == 2
    assert capsys.readouterr().err == "--adress=tcp://a:1: is not an override; write --config.FIELD=VALUE\n"


def test_an_engine_that_is_not_known_is_one_line(capsys):
    with pytest.raises(SystemExit) as ended:
        main([SMALL[0], "--engine=ray"])
    (line,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2
    assert "--engine: invalid choice: 'ray' (choose from " in line


def test_a_launch_with_a_distributed_that_is_too_old_names_both_versions(capsys, monkeypatch):
    monkeypatch.setattr("experiments.runner.extras._installed", lambda _: True)
    monkeypatch.setattr("importlib.metadata.version", lambda _: "2024.12.1")
    assert main([SMALL[0]]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("--engine dask needs distributed 2025.1 or later, and 2024.12.1 is installed: pip install")


def test_merging_nothing_or_into_nowhere_is_one_line(capsys, tmp_path):
    assert merge_main([str(tmp_path), str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("--workdir=DIR is missing")
    assert merge_main([str(tmp_path / "-shards")]) == 2
    assert "--workdir=DIR is missing" in capsys.readouterr().err
    (tmp_path / "run-shards").mkdir()
    assert merge_main([str(tmp_path / "run-shards")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"{tmp_path / 'run-shards'}: is no shard: there is no config.json"


def test_a_launch_without_distributed_names_the_extra(capsys, monkeypatch):
    real = importlib.util.find_spec

    def missing(name, *rest):
        return None if name == "distributed" else real(name, *rest)

    monkeypatch.setattr("importlib.util.find_spec", missing)
    assert main([SMALL[0]]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("--engine dask needs distributed (extra cluster): ")
