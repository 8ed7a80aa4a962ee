import errno
import gc
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
import weakref
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from experiments.runner import files, store
from experiments.runner.checkout import SOURCE
from experiments.runner.setbacks import Setback
from experiments.runner.store import InputError, open_run

CONFIG = {
    "experiment": "toy",
    "net": {"depth": 3, "scale": 1.0},
    "variants": ({"net.width": 8}, {"net.width": 16}),
}

HOLDER = """
import signal, sys
from experiments.runner.store import open_run
with open_run(sys.argv[1], {"experiment": "toy"}):
    print("held", flush=True)
    signal.pause()
"""


def tree(folder):
    return {p.relative_to(folder).as_posix(): p.is_file() and p.read_bytes() for p in folder.rglob("*")}


def refusal(path, config=CONFIG):
    with pytest.raises(InputError) as caught, open_run(path, config):
        pass
    assert all("\n" not in line for line in caught.value.problems)
    return caught.value.problems


# Opening --------------------------------------------------------------------------------------------------


def test_a_new_folder_holds_the_config_and_its_hash(tmp_path):
    with open_run(tmp_path / "a" / "b", CONFIG) as run:
        assert run.path == tmp_path / "a" / "b"
    record = json.loads((tmp_path / "a" / "b" / "config.json").read_text())
    assert record.pop("hash") == files.digest({"layout": store.LAYOUT, **CONFIG})
    assert record == json.loads(json.dumps({"layout": store.LAYOUT, **CONFIG}))
    assert tree(tmp_path / "a" / "b").keys() == {"config.json", ".lock"}


@pytest.mark.parametrize(
    ("layout", "version"), [({}, "version 0.1"), ({"layout": store.LAYOUT + 1}, "a later version")]
)
def test_a_folder_of_another_version_is_refused_in_one_line_and_not_touched(tmp_path, layout, version):
    files.write_json(tmp_path / "config.json", files.with_digest({**layout, **CONFIG}))
    (tmp_path / "results.nc").write_bytes(b"data")
    before = tree(tmp_path)
    assert refusal(tmp_path) == [
        f"{tmp_path}: was made by {version} of lawlib, which this version cannot read; choose another --workdir"
    ]
    assert tree(tmp_path) == before


def test_the_same_config_is_let_in_again_and_nothing_changes(tmp_path):
    with open_run(tmp_path / "run", CONFIG):
        pass
    before = tree(tmp_path)
    with open_run(tmp_path / "run", CONFIG):
        pass
    assert tree(tmp_path) == before


@pytest.mark.parametrize("below", ["", "run", "deep/run"])
def test_a_file_in_the_way_is_refused(tmp_path, below):
    (tmp_path / "file").write_text("mine")
    before = tree(tmp_path)
    (problem,) = refusal(tmp_path / "file" / below)
    assert f"{tmp_path / 'file'} is a file" in problem
    assert tree(tmp_path) == before


def test_a_parent_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write where others may not
    (problem,) = refusal(tmp_path / "deep" / "run")
    assert f"{tmp_path} cannot be written to" in problem
    assert not tree(tmp_path)


def test_a_name_no_file_system_takes_is_refused(tmp_path):
    assert "cannot be created" in refusal(tmp_path / ("x" * 300))[0]
    assert not tree(tmp_path)


def test_a_name_that_is_no_text_is_refused_in_ascii(tmp_path):
    with pytest.raises(InputError) as refused, open_run(tmp_path / "a\udcff", {}):
        pass
    (problem,) = refused.value.problems
    assert problem.isascii()
    assert "not UTF-8 text" in problem
    assert not list(tmp_path.iterdir())


def test_a_folder_of_something_else_is_refused_and_untouched(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    before = tree(tmp_path)
    (problem,) = refusal(tmp_path)
    assert "not a run folder" in problem
    assert "thesis.tex" in problem
    assert tree(tmp_path) == before


def test_an_empty_folder_and_one_of_a_start_cut_short_are_let_in(tmp_path):
    for name in (".lock", ".partial-config.json", ".partial-log"):
        (tmp_path / name).write_text("half")
    with open_run(tmp_path, CONFIG):
        assert tree(tmp_path).keys() == {"config.json", ".lock"}


def test_a_folder_that_another_process_begins_meanwhile_is_no_stranger(tmp_path, monkeypatch):
    file, exists = tmp_path / "config.json", os.path.exists

    def begun_after(path):
        found = exists(path)
        if path == file and not found:
            files.write_json(file, files.with_digest({"layout": store.LAYOUT, **CONFIG}))
        return found

    monkeypatch.setattr(os.path, "exists", begun_after)
    with open_run(tmp_path, CONFIG):
        assert files.read_digested(file) == json.loads(json.dumps({"layout": store.LAYOUT, **CONFIG}))
        assert tree(tmp_path).keys() == {"config.json", ".lock"}


def test_another_config_is_refused_field_by_field(tmp_path):
    with open_run(tmp_path, CONFIG):
        pass
    before = tree(tmp_path)
    net = {"depth": 4, "scale": 1, "bias": True}
    problems = refusal(tmp_path, {**CONFIG, "net": net, "variants": ({"net.width": 8},)})
    expected = [
        "net.bias: folder has nothing, this run wants true",
        "net.depth: folder has 3, this run wants 4",
        "net.scale: folder has 1.0, this run wants 1",
        "variants[1].net.width: folder has 16, this run wants nothing",
    ]
    assert [line.split("made by another config: ")[1] for line in problems] == expected
    assert tree(tmp_path) == before


def test_many_differences_are_counted(tmp_path):
    with open_run(tmp_path, {f"f{i:02d}": i for i in range(25)}):
        pass
    problems = refusal(tmp_path, {f"f{i:02d}": -1 for i in range(25)})
    assert len(problems) == 11
    assert problems[0].endswith("f00: folder has 0, this run wants -1")
    assert problems[-1].endswith("15 more of 25 differences")


leaves = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.0, 1.0, -0.5]) | st.sampled_from("ab")
configs = st.dictionaries(
    st.sampled_from(["net", "opt", "x"]),
    st.recursive(leaves, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("pq"), inner)),
)


@given(configs, configs)
def test_configs_differ_exactly_when_their_json_does(old, new):
    same = json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True)
    assert (store._differences(old, files.with_digest(new)) == []) == same
    assert (files.digest(old) == files.digest(new)) == same


def test_any_flipped_bit_of_the_config_is_refused(tmp_path):
    with open_run(tmp_path, CONFIG):
        file = tmp_path / "config.json"
    whole = file.read_bytes()
    for index in range(len(whole)):
        file.write_bytes(whole[:index] + bytes([whole[index] ^ 1]) + whole[index + 1 :])
        try:
            with open_run(tmp_path, CONFIG):
                # White space alone may change without a trace: the content is what the hash is of.
                assert json.loads(file.read_bytes()) == json.loads(whole)
        except InputError as refused:
            assert "cannot be trusted" in refused.problems[0]  # noqa: PT017
        else:
            assert whole[index : index + 1].isspace()


def test_a_folder_is_held_by_one_process_until_it_dies(tmp_path):
    folder, config = tmp_path / "run", {"experiment": "toy"}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True, cwd=SOURCE
    )
    try:
        assert holder.stdout.readline() == "held\n"
        before = tree(tmp_path)
        (problem,) = refusal(folder, config)
        assert problem.startswith(f"{folder}: is in use by process {holder.pid} on host ")
        assert tree(tmp_path) == before
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with open_run(folder, config):
        assert f"is in use by process {os.getpid()} " in refusal(folder, config)[0]
    with open_run(folder, config):
        pass


def test_complete_means_results_and_claims(tmp_path):
    with open_run(tmp_path, CONFIG) as run:
        for name in ("claims.json", "results.nc"):
            assert not run.is_complete
            run.write_json(name, [])
        assert run.is_complete


# Files --------------------------------------------------------------------------------------------------


@pytest.mark.reliability
def test_a_name_of_a_run_that_something_else_has_is_one_line_for_each_and_all_stays(tmp_path):
    with open_run(tmp_path, CONFIG):
        pass
    for name in ("log.jsonl", "claims.json", "results.nc"):
        (tmp_path / name).mkdir()
    for name in ("figures", "checkpoint"):
        (tmp_path / name).write_text("mine")
    before = tree(tmp_path)
    assert refusal(tmp_path) == [
        *(f"{tmp_path / n}: is a folder, and a run needs a file there; move it" for n in ("results.nc", "claims.json")),
        f"{tmp_path / 'log.jsonl'}: is a folder, and a run needs a file there; move it",
        *(f"{tmp_path / n}: is a file, and a run needs a folder there; move it" for n in ("figures", "checkpoint")),
    ]
    assert tree(tmp_path) == before


@pytest.mark.reliability
@pytest.mark.parametrize("way", ["removed", "renamed", "replaced"])
def test_a_folder_that_is_moved_away_meanwhile_ends_the_run_with_a_line_and_is_not_made_again(tmp_path, way):
    folder, away = tmp_path / "run", tmp_path / "away"
    with pytest.raises(Setback) as setback, open_run(folder, CONFIG) as run:  # noqa: PT012
        folder.rename(away)
        if way == "removed":
            shutil.rmtree(away)
        if way == "replaced":
            folder.mkdir()
        run.write_json("claims.json", {}) if way != "replaced" else run.log({"share": 0.5})
    (line,) = str(setback.value).splitlines()
    assert line == (
        f"{folder}: was removed or renamed while the run went on; put it back and give the same command again, which "
        "resumes the run"
    )
    assert not folder.exists() or not list(folder.iterdir())


@pytest.mark.reliability
def test_an_error_of_the_system_about_the_folder_is_a_line_and_another_is_raised(tmp_path):
    with pytest.raises(InputError) as refused, open_run(tmp_path / "run", CONFIG) as run:  # noqa: PT012
        (run.path / "summary.json").mkdir()
        run.write_json("summary.json", {})
    (line,) = refused.value.problems
    assert line.startswith(f"{tmp_path / 'run'}")
    assert line.endswith("Is a directory; mend or move it, and try again")
    with pytest.raises(FileNotFoundError) as other, open_run(tmp_path / "run2", CONFIG):
        (tmp_path / "of another").read_bytes()
    assert other.value.__cause__ is None


@pytest.mark.reliability
def test_an_error_of_a_library_for_want_of_the_folder_is_told_as_that(tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(Setback, match="was removed or renamed"), open_run(folder, CONFIG):  # noqa: PT012
        shutil.rmtree(folder)
        msg = "no such place"
        raise ValueError(msg)


@pytest.mark.reliability
@pytest.mark.parametrize("written", ["nothing", "half"])
def test_a_log_on_a_full_disk_is_a_setback(tmp_path, monkeypatch, written):
    class Full(io.BytesIO):
        def write(self, data):
            if written == "nothing":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return len(data) // 2

    with open_run(tmp_path, CONFIG) as run:
        monkeypatch.setattr(Path, "open", lambda *_, **__: Full())
        with pytest.raises(Setback, match=r"log\.jsonl: no room for \d\d bytes"):
            run.log({"share": 0.5})


def line(share, doing="running"):
    return json.dumps({"time": "2026", "variant": "deep", "doing": doing, "members_finished": 0, "share": share})


@pytest.mark.reliability
@pytest.mark.parametrize(
    ("log", "share", "kept"),
    [
        ([line(0.0, "compiling"), line(0.1), line(0.2), line(0.3)], 0.2, 3),
        ([line(0.0, "compiling"), line(0.1), line(0.1, "compiling"), line(0.1, "compiling")], 0.1, 2),
        ([line(0.0, "compiling"), line(0.1)], -1.0, 0),
        ([line(0.0, "compiling")], 0.5, 0),
        ([line(0.0, "compiling"), line(0.1), line(0.2)[:30]], 0.5, 2),
        ([line(0.1), "[]", line(0.2)], 0.5, 1),
        ([line(0.1), "", line(0.2)], 0.5, 1),
        ([], 0.5, 0),
    ],
)
def test_a_log_is_taken_back_to_the_checkpoint_that_the_run_resumes_from(tmp_path, log, share, kept):
    with open_run(tmp_path, CONFIG) as run:
        run.rewind_log(share)
        assert not (tmp_path / "log.jsonl").exists()
        (tmp_path / "log.jsonl").write_text("".join(f"{record}\n" for record in log))
        run.rewind_log(share)
        assert (tmp_path / "log.jsonl").read_text() == "".join(f"{record}\n" for record in log[:kept])


def test_a_line_that_a_power_cut_tore_is_not_continued(tmp_path):
    with open_run(tmp_path, CONFIG) as run:
        (tmp_path / "log.jsonl").write_text(f"{line(0.1)}\n{line(0.2)}")
        run.rewind_log(0.5)
        assert (tmp_path / "log.jsonl").read_text() == f"{line(0.1)}\n"


def test_the_log_has_one_object_a_line_with_the_time(tmp_path):
    with open_run(tmp_path, CONFIG) as run:
        run.log({"event": "segment", "loss": np.float32(np.nan)})
        run.log({"event": "two\nlines"})
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["segment", "two\nlines"]
    assert lines[0]["loss"] is None
    assert all(datetime.fromisoformat(line["time"]).utcoffset() == timedelta(0) for line in lines)


# Provenance -----------------------------------------------------------------------------------------------


def test_provenance_adds_up_the_starts_of_a_run(tmp_path):
    with open_run(tmp_path, CONFIG) as run:
        run.record_start(["python", "-m", "experiments.main"])
        run.record_end(compile_s=1.0, run_s=2.0)
        run.record_start(["python", "-m", "experiments.main", "--strict"])  # and killed
        run.record_start(["python", "-m", "experiments.main"])
        run.record_end(compile_s=0.5, run_s=4.0)
    record = json.loads((tmp_path / "provenance.json").read_text())
    assert (record["compile_s"], record["run_s"]) == (1.5, 6.0)
    assert [start["run_s"] for start in record["starts"]] == [2.0, None, 4.0]
    assert record["start"] == record["starts"][0]["start"] <= record["starts"][0]["end"] <= record["end"]
    assert record["starts"][1]["command"][-1] == "--strict"
    assert record["versions"]["numpy"] == np.__version__
    assert (record["x64"], record["matmul_precision"]) == (True, "highest")
    assert record["device_count"] >= 1


@pytest.mark.reliability
@pytest.mark.parametrize("text", ["{", "", "[]", "7", '{"starts": 7}', '{"starts": [{}]}', "[" * 10**5])
def test_a_damaged_provenance_is_replaced_with_a_warning(tmp_path, text):
    with open_run(tmp_path, CONFIG) as run:
        (tmp_path / "provenance.json").write_text(text)
        with pytest.warns(UserWarning, match=r"provenance\.json: cannot be read .* unless you restore the file"):
            run.record_start([])
    assert len(json.loads((tmp_path / "provenance.json").read_text())["starts"]) == 1


@pytest.mark.reliability
def test_a_provenance_that_is_removed_meanwhile_is_not_made_up_at_the_end(tmp_path):
    with open_run(tmp_path, CONFIG) as run:
        run.record_start([])
        (tmp_path / "provenance.json").unlink()
        run.record_end(compile_s=1.0, run_s=2.0)
    assert not (tmp_path / "provenance.json").exists()


def test_the_command_line_does_not_name_the_machine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = [
        "/usr/bin/python",
        "-m",
        f"--workdir={tmp_path}/runs/a",
        "--config=configs/a.py:smoke",
        "-x=/home/me/b",
    ]
    assert store._command(given) == [
        ".../python", "-m", "--workdir=runs/a", "--config=configs/a.py:smoke", "-x=.../b",
    ]  # fmt: skip


# Results --------------------------------------------------------------------------------------------------


def dataset(seed=0):
    draw = np.random.default_rng(seed)
    loss = draw.standard_normal((3, 500))
    loss[1, 7:] = np.nan
    return xr.Dataset(
        {
            "loss": (("seed", "step"), loss, {"units": "seconds", "source": "eq. 6"}),
            "angle": (("seed", "layer"), draw.standard_normal((3, 2)).astype(np.float32)),
            "converged_at": ("seed", np.array([3, -1, 2**31 - 1], np.int32)),
            "diverged": ("seed", np.array([False, True, False])),
            "margin": ((), 0.5),
            "nobody": ("none", np.zeros(0)),
        },
        coords={
            "seed": np.arange(3),
            "step": np.arange(500),
            "layer": ["first", "zweite, groß"],
            "bias": ("layer", np.array([True, False])),
            "init": "orthogonal",
        },
    )


GROUPS = ("depth=2", "depth=3")


def write(run):
    run.write_results(((name, dataset(seed)) for seed, name in enumerate(GROUPS)), {"experiment": "toy"})
    return run.path / "results.nc"


@pytest.fixture
def run(tmp_path):
    with open_run(tmp_path / "run", CONFIG) as run:
        yield run


def test_results_come_back_as_they_were(run):
    write(run)
    with run.read_results() as results:
        assert tuple(results.children) == GROUPS
        assert results.attrs == {"experiment": "toy"}
        for seed, name in enumerate(GROUPS):
            found, wanted = results[name].to_dataset().load(), dataset(seed)
            xr.testing.assert_identical(found, wanted)
            kinds = {variable: wanted[variable].dtype.kind for variable in wanted.variables}
            assert {v: found[v].dtype.kind.replace("O", "U").replace("T", "U") for v in kinds} == kinds
    assert tree(run.path).keys() == {"config.json", ".lock", "results.nc", "results.nc.sha256"}
    subprocess.run(["sha256sum", "--check", "results.nc.sha256"], cwd=run.path, check=True, capture_output=True)


def test_equal_results_have_equal_bytes(run):
    first = write(run).read_bytes()
    time.sleep(1.1)  # HDF5 counts whole seconds in its time stamps, if it sets any
    assert write(run).read_bytes() == first


def test_every_flipped_byte_of_the_data_is_noticed_without_a_digest_too(run):
    file = write(run)
    (run.path / "results.nc.sha256").unlink()  # as an older version left it
    whole = file.read_bytes()
    for array in (
        dataset(1).loss.values,
        dataset(0).angle.values,
        np.frombuffer("zweite, groß".encode(), "u1"),
    ):
        index = whole.index(array.tobytes()[:12])  # where its first values lie in the file
        file.write_bytes(whole[: index + 3] + bytes([whole[index + 3] ^ 4]) + whole[index + 4 :])
        with pytest.raises(InputError, match=r"results\.nc: cannot be read"), run.read_results() as results:  # noqa: PT012
            for name in GROUPS:
                results[name].to_dataset().load()


def damaged(run):
    """The line about results that are damaged; nothing of them is read."""
    with pytest.raises(InputError) as refused, run.read_results():
        pass
    (line,) = refused.value.problems
    remedy = "delete the file and give the same command again, without --replot, to compute it anew"
    start, end = f"{run.path / 'results.nc'}: cannot be read, it is cut short or damaged (", f"); {remedy}"
    assert line.startswith(start)
    assert line.endswith(end)
    return line.removeprefix(start).removesuffix(end)


def test_every_damage_of_the_results_is_noticed_in_the_data_and_in_the_index(run):
    file = write(run)
    whole = file.read_bytes()
    for index in [*range(0, 4096, 61), *range(4096, len(whole), 997), len(whole) - 1]:
        file.write_bytes(whole[:index] + bytes([whole[index] ^ 1]) + whole[index + 1 :])
        assert damaged(run) == "its SHA-256 is not the one in results.nc.sha256"
    for length in (1, 100, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        assert damaged(run) == "its SHA-256 is not the one in results.nc.sha256"
    file.write_bytes(b"")
    assert damaged(run) == "it is empty"
    file.write_bytes(whole)
    digest = run.path / "results.nc.sha256"
    digest.write_text("")
    assert damaged(run) == "results.nc.sha256 beside it holds no SHA-256"
    digest.unlink()
    with run.read_results():
        pass


@pytest.mark.parametrize("text", [b"", b"{}", b"not HDF5", b"\x89HDF\r\n\x1a\n"])
def test_results_of_an_older_version_that_are_something_else_are_damaged(run, text):
    (run.path / "results.nc").write_bytes(text)
    assert damaged(run)


def test_one_group_is_in_memory_at_a_time(run):
    alive = []

    def noted(one):
        alive.append(weakref.ref(one))
        return one

    def groups():
        for seed in range(3):
            gc.collect()
            assert not any(reference() for reference in alive)
            yield f"v{seed}", noted(dataset(seed))

    run.write_results(groups(), {})


def test_results_that_fail_midway_leave_the_old_ones(run):
    whole = write(run).read_bytes()

    def groups():
        yield "v0", dataset()
        raise RuntimeError

    with pytest.raises(RuntimeError):
        run.write_results(groups(), {})
    assert (run.path / "results.nc").read_bytes() == whole
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write(run)
