"""Exports of finished runs: every number arrives, what is left out is said, and what cannot be done is one line."""

import csv
import json
import shutil
import struct
import sys
from types import ModuleType

import h5py
import numpy as np
import pytest
from finished_folders import finished

from experiments import export
from experiments.exporters import curves
from experiments.runs import load


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished run, not to be changed."""
    return finished(tmp_path_factory.mktemp("made") / "toy")


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Runs the command in an empty folder: (exit code, lines on stdout, lines on stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        try:
            code = export.main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code
        out, err = capsys.readouterr()
        return code, out.splitlines(), err.splitlines()

    return run


def table(file):
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# CSV. -----------------------------------------------------------------------------------------------------------------


def test_every_number_of_a_variable_is_in_its_table(call, made, tmp_path):
    assert call(made, "--to", "csv") == (0, [f"{made} -> exports/csv/toy"], [])
    folder = tmp_path / "exports" / "csv" / "toy"
    with h5py.File(made / "results.nc") as results:
        plain, swept = results["plain"], results["swept"]
        names = {name for group in (plain, swept) for name in group if group[name].attrs.get("units") is not None}
        assert files(folder / "variables") == {f"{name}.csv" for name in names}
        rows = table(folder / "variables" / "gram.csv")
        expected = plain["gram"][:]
        expected[1, 0, 1:] = np.nan  # it diverged
        found = np.array([float(row["value"] or "nan") for row in rows]).reshape(expected.shape)
        np.testing.assert_array_equal(found, expected)
        assert list(rows[0]) == ["variant", "seed", "step_size", "step", "row", "column", "value"]
        assert [row["column"] for row in rows[:4]] == ["0", "1", "0", "1"]
        rows = [row for row in table(folder / "variables" / "loss.csv") if row["variant"] == "swept"]
        found = np.array([float(row["value"] or "nan") for row in rows]).reshape(swept["loss"].shape)
        np.testing.assert_array_equal(found, swept["loss"][:])
        assert {row["value"] for row in rows} >= {"", "inf"}


def test_integers_and_truths_are_written_as_such(call, made, tmp_path):
    call(made, "--to", "csv", "-o", "here")
    for name, kinds in (("count", str.isdecimal), ("stable", ("True", "False").__contains__)):
        values = [row["value"] for row in table(tmp_path / "here" / "toy" / "variables" / f"{name}.csv")]
        assert sum(value == "" for value in values) == 2  # one member after its divergence
        assert all(map(kinds, filter(None, values)))


def test_claims_summary_and_meanings_are_tables(call, made, tmp_path):
    call(made, "--to", "csv", "-o", "here")
    folder = tmp_path / "here" / "toy"
    first, second, third = table(folder / "claims.csv")
    assert (first["id"], first["statement"]) == ("T1.first", "small, [and] so")
    assert (float(first["measured"]), float(first["bound"]), first["relation"]) == (2e-15, 1e-12, "<")
    assert [float(first[name]) for name in ("low", "middle", "high")] == [1e-15, np.median([1e-15, 2e-15]), 2e-15]
    assert (second["measured"], second["status"]) == ("", "fails")
    assert (third["measured"], third["low"], third["status"], third["reason"]) == ("", "", "not_run", "no time")
    loss, ratio = table(folder / "summary.csv")
    assert (loss["run"], loss["quantity"], loss["median"], loss["min"], loss["of"]) == ("plain", "loss", "0.5", "", "2")
    assert (ratio["run"], ratio["quantity"], ratio["max"]) == ("", "ratio", "3.0")
    meaning = {row["name"]: row for row in table(folder / "variables.csv")}["gram"]
    assert (meaning["units"], meaning["meaning"]) == ("rad", "a loss, of course; with a comma")
    assert meaning["axes"] == "seed step_size step row column"


def test_a_published_folder_has_claims_and_summary_alone(call, made, tmp_path):
    published = shutil.copytree(made, tmp_path / "published")
    (published / "results.nc").unlink()
    code, out, (err,) = call("published", made, "--to", "csv")
    assert (code, len(out)) == (0, 2)
    assert err.startswith("published: has no results.nc")
    assert files(tmp_path / "exports" / "csv" / "published") == {"claims.csv", "summary.csv", "export.json"}


# The folder. ----------------------------------------------------------------------------------------------------------


def test_an_export_replaces_the_last_one_and_leaves_other_files(call, made, tmp_path):
    source = shutil.copytree(made, tmp_path / "toy")
    call("toy", "--to", "csv", "-o", "here")
    before = files(tmp_path / "here" / "toy")
    (tmp_path / "here" / "toy" / "notes.txt").write_text("mine")
    (source / "results.nc").unlink()
    assert call("toy", "--to", "csv", "-o", "here")[0] == 0
    after = files(tmp_path / "here" / "toy")
    assert after == {"claims.csv", "summary.csv", "export.json", "notes.txt"}
    assert len(before) > 10
    assert not list((tmp_path / "here").glob(".*"))


def test_a_folder_of_something_else_is_refused_and_untouched(call, made, tmp_path):
    (tmp_path / "here" / "toy").mkdir(parents=True)
    (tmp_path / "here" / "toy" / "thesis.tex").write_text("mine")
    assert call(made, "--to", "csv", "-o", "here") == (
        2, [], ["here/toy: holds files that are no export; choose another -o FOLDER"],
    )  # fmt: skip
    assert files(tmp_path) == {"here/toy/thesis.tex"}


def test_the_run_folder_itself_is_refused(call, made):
    before = files(made)
    assert call(made, "--to", "csv", "-o", made.parent)[0] == 2
    assert files(made) == before


def test_a_file_in_the_way_is_refused(call, made, tmp_path):
    (tmp_path / "here").touch()
    assert call(made, "--to", "csv", "-o", "here")[2] == ["here/toy: here is a file; choose another -o FOLDER"]


def test_a_full_disk_leaves_the_last_export(call, made, tmp_path, monkeypatch):
    call(made, "--to", "csv", "-o", "here")
    before = files(tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("experiments.exporters.tables._save", full)
    code, out, err = call(made, "--to", "csv", "-o", "here")
    assert (code, out, err) == (2, [], ["here/toy: cannot be written: [Errno 28] No space left on device"])
    assert files(tmp_path) == before


# Bad input. -----------------------------------------------------------------------------------------------------------


def test_all_problems_are_reported_at_once_and_nothing_is_written(call, made, tmp_path):
    other = finished(tmp_path / "toy")
    before = files(tmp_path)
    code, out, err = call("nowhere", made, other, tmp_path, "--to", "csv", "--project", "x")
    assert (code, out) == (2, [])
    assert [line.split(": ")[1] for line in err] == [
        "is for wandb and trackio",
        "there is no such folder",
        "is not a run folder, but holds some; give one of them",
        "two of the runs would be written here; export them to two folders",
    ]
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), "required"),
        (("--to", "csv"), "required: RUN"),
        (("runs/a",), "required: --to"),
        (("runs/a", "--to", "excel"), "invalid choice: 'excel'"),
        (("runs/a", "--to", "csv", "--all"), "unrecognized arguments: --all"),
    ],
)
def test_a_wrong_command_line_is_one_line(call, arguments, line):
    code, out, err = call(*arguments)
    assert (code, out, len(err)) == (2, [], 1)
    assert line in err[0]


def test_one_run_that_is_damaged_leaves_the_others(call, made, tmp_path):
    bad = shutil.copytree(made, tmp_path / "bad")
    (bad / "results.nc").write_bytes((bad / "results.nc").read_bytes()[:5000])
    code, out, err = call("bad", made, "--to", "csv")
    assert (code, out) == (2, [f"{made} -> exports/csv/toy"])
    assert len(err) == 1
    assert "bad/results.nc: cannot be read, it is cut short or damaged" in err[0]
    assert not (tmp_path / "exports" / "csv" / "bad").exists()


def test_a_fault_of_ours_and_an_interrupt_have_their_codes(call, made, monkeypatch):
    for error, code in ((ZeroDivisionError, 70), (KeyboardInterrupt, 130)):

        def fail(*_, error=error):
            raise error

        monkeypatch.setattr("experiments.exporters.tables.write", fail)
        assert call(made, "--to", "csv")[0] == code


@pytest.mark.parametrize(
    ("to", "package", "extra"),
    [("tensorboard", "tensorboardX", " (the extra export has it)"), ("wandb", "wandb", ""), ("trackio", "trackio", "")],
)
def test_a_missing_package_is_one_line_that_names_it(call, made, monkeypatch, tmp_path, to, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    code, out, err = call(made, "--to", to)
    assert (code, out, files(tmp_path)) == (2, [], set())
    assert err == [f"--to {to}: the package {package} is not installed; pip install {package}{extra}"]


# Curves. --------------------------------------------------------------------------------------------------------------


def test_a_member_is_a_seed_of_a_setting_with_its_own_values(made):
    found = list(curves.members(load(made)))
    assert [(member.variant, member.place) for member in found[:3]] == [
        ("plain", "step_size=0.1,seed=0"), ("plain", "step_size=0.1,seed=1"), ("plain", "step_size=0.2,seed=0"),
    ]  # fmt: skip
    assert len(found) == 4 + 8
    assert len({(member.variant, member.place) for member in found}) == 12
    last = found[-1]
    assert last.varied == {"variant": "swept", "net.depth": 3, "opt.momentum": 0.9, "opt.step_size": 0.2, "seed": 1}
    assert last.config["opt"] == {"momentum": 0.9, "step_size": 0.2}
    assert [member.diverged_at for member in found] == [-1, 2] + [-1] * 10
    with h5py.File(made / "results.nc") as file:
        np.testing.assert_array_equal(last.curves["angle/layer_2"], file["swept/angle"][1, 1, 1, :, 2])
        np.testing.assert_array_equal(found[2].curves["gram/row_2_column_1"], file["plain/gram"][0, 1, :, 2, 1])
        np.testing.assert_array_equal(last.curves["stable"], file["swept/stable"][1, 1, 1].astype(float))


def test_only_finite_numbers_are_points_and_a_curve_ends_where_its_member_diverged(made):
    first, diverged, infinite, *_ = curves.members(load(made))
    steps = {tag: [step for step, numbers in diverged.points() if tag in numbers] for tag in diverged.curves}
    assert set(map(tuple, steps.values())) == {(0,)}
    assert [("loss" in numbers, "count" in numbers) for _, numbers in first.points()] == [
        (True, True), (False, True), (True, True),
    ]  # fmt: skip
    assert ["loss" in numbers for _, numbers in infinite.points()] == [True, False, True]
    large = first._replace(curves={"a": np.array([1e38, 1e39, -1e39])})
    assert [numbers for _, numbers in large.points()] == [{"a": 1e38}, {}, {}]


def test_what_is_too_wide_or_too_many_is_left_out_and_said(made, tmp_path, monkeypatch):
    (wide,) = curves.left_out(load(made))
    assert "no curves of wide (2 x 9), at most 16 a member are legible; --to csv has them" in wide
    assert not any(tag.startswith("wide") for member in curves.members(load(made)) for tag in member.curves)
    many = load(finished(tmp_path / "many", num_seeds=30))
    found = list(curves.members(many))
    assert len(found) == 6 * 10
    assert {member.varied["seed"] for member in found} == set(range(10))
    assert "of 6 settings with up to 30 seeds each, seeds 0 to 9 are shown" in curves.left_out(many)[0]
    monkeypatch.setattr(curves, "MAX_MEMBERS", 4)
    assert len(list(curves.members(many))) == 6
    assert "seed 0 is shown" in curves.left_out(many)[0]


# TensorBoard. ---------------------------------------------------------------------------------------------------------


def events(folder):
    """The scalars of a folder as TensorBoard reads them: records of a length, its checksum, data and their checksum."""
    from tensorboardX.proto.event_pb2 import Event

    (file,) = folder.glob("events.out.tfevents.*")
    data, found, tags = file.read_bytes(), {}, set()
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        event = Event.FromString(data[12 : 12 + length])
        for value in event.summary.value:
            tags.add(value.tag)
            if value.WhichOneof("value") == "simple_value":
                found.setdefault(value.tag, {})[event.step] = value.simple_value
        data = data[16 + length :]
    return found, tags


def test_tensorboard_gets_a_run_for_each_member(call, made, tmp_path):
    pytest.importorskip("tensorboardX", reason="tensorboardX is an extra: pip install tensorboardX")
    for _ in range(2):  # again: no point twice
        code, out, err = call(made, "--to", "tensorboard")
        assert (code, out) == (0, [f"{made} -> exports/tensorboard/toy"])
        assert len(err) == 1
        assert "no curves of wide" in err[0]
    root = tmp_path / "exports" / "tensorboard" / "toy"
    runs = {str(path.parent.relative_to(root)) for path in root.rglob("events*")}
    assert len(runs) == 12 + 1
    found, tags = events(root / "swept" / "momentum=0.9,step_size=0.2,seed=1")
    with h5py.File(made / "results.nc") as file:
        expected = file["swept/angle"][1, 1, 1, :, 2].astype(np.float32)
        assert found["angle/layer_2"] == dict(zip([0, 2, 4], expected.tolist(), strict=True))
        assert found["count"] == dict(zip([0, 2, 4], file["swept/count"][1, 1, 1].tolist(), strict=True))
    infinite, _ = events(root / "swept" / "momentum=0.9,step_size=0.2,seed=0")
    assert set(infinite["loss"]) == {0, 4}  # the number between is infinite
    assert set(events(root / "plain" / "step_size=0.1,seed=1")[0]["loss"]) == {0}  # it diverged at step 2
    assert {"_hparams_/experiment", "_hparams_/session_start_info"} <= tags
    assert {"claims/text_summary", "config/text_summary"} <= events(root)[1]


def test_a_published_folder_has_no_curves(call, made, tmp_path):
    pytest.importorskip("tensorboardX", reason="tensorboardX is an extra: pip install tensorboardX")
    published = shutil.copytree(made, tmp_path / "published")
    (published / "results.nc").unlink()
    code, out, (err,) = call("published", "--to", "tensorboard")
    assert (code, out) == (2, [])
    assert err.startswith("published: has no results.nc")
    assert not (tmp_path / "exports" / "tensorboard" / "published").exists()


# Trackers. ------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["wandb", "trackio"])
def tracker(request, monkeypatch):
    """A module of the tracker's name that writes down its calls; ``broken`` names the call that fails."""
    module, calls = ModuleType(request.param), []

    def noted(name):
        def called(*values, **options):
            calls.append((name, *values, options))
            if name == module.broken:
                msg = "no\nnetwork"
                raise ConnectionError(msg)

        return called

    module.calls, module.broken = calls, ""
    for name in ("init", "log", "finish"):
        setattr(module, name, noted(name))
    monkeypatch.setitem(sys.modules, request.param, module)
    return module


def test_a_tracker_gets_a_run_for_each_member_and_one_of_the_claims(call, made, tracker, tmp_path):
    code, out, err = call(made, "--to", tracker.__name__, "--project", "mine")
    assert (code, out, len(err)) == (0, [f"{made} -> project mine of {tracker.__name__}"], 1)
    assert not files(tmp_path)
    opened = [options for name, *_, options in tracker.calls if name == "init"]
    assert len(opened) == 12 + 1
    assert {options["project"] for options in opened} == {"mine"}
    assert {options["group"] for options in opened} == {"toy"}
    assert [options["name"] for options in opened][::12] == ["toy/plain,step_size=0.1,seed=0", "toy/claims"]
    assert opened[1]["config"]["diverged_at"] == 2
    assert opened[1]["config"]["member"] == {
        "variant": "plain", "net.depth": 2, "opt.momentum": 0.5, "opt.step_size": 0.1, "seed": 1,
    }  # fmt: skip
    json.dumps([options["config"] for options in opened])  # as it is sent
    names = [name for name, *_ in tracker.calls]
    assert names[:5] == ["init", "log", "log", "log", "finish"]
    assert names[5:8] == ["init", "log", "finish"]  # it diverged: one point
    with h5py.File(made / "results.nc") as file:
        _, numbers, options = tracker.calls[1]
        assert options == {"step": 0}
        assert numbers["loss"] == file["plain/loss"][0, 0, 0]
        assert numbers["angle/layer_1"] == file["plain/angle"][0, 0, 0, 1]
    assert [options["step"] for name, *_, options in tracker.calls[:5] if name == "log"] == [0, 2, 4]
    assert opened[-1]["config"] == {"claims": {"T1.first": "holds", "T1.nan": "fails", "T1.last": "not_run"}}
    (last,) = [values for name, *values, _ in tracker.calls[-4:] if name == "log"]
    assert last == [{"claims/T1.first": 2e-15}]


@pytest.mark.parametrize("broken", ["init", "log", "finish"])
def test_a_tracker_that_is_down_is_one_line_and_stops_nothing(call, made, tracker, broken, tmp_path):
    other, before = finished(tmp_path / "other"), files(made)
    tracker.broken = broken
    code, out, err = call(made, other, "--to", tracker.__name__)
    assert (code, out) == (2, [])
    said = f"--to {tracker.__name__}: ConnectionError: no network; the run folder is as it was, export it again"
    assert err == [said, said]
    assert sum(name == "init" for name, *_ in tracker.calls) == 2
    assert files(made) == before


def test_a_tracker_takes_no_folder(call, made, tracker):
    code, _, err = call(made, "--to", tracker.__name__, "-o", "here")
    assert (code, len(err)) == (2, 1)
    assert err[0].startswith("-o: is for csv and tensorboard")
    assert not tracker.calls


def test_output_without_room_is_a_line(made, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert export.main([str(made), "--to", "csv"]) == 75
    assert capsys.readouterr().err == "standard output: No space left on device\n"
