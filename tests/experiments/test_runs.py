"""Finished runs in a notebook: what is loaded, when results are opened, and what of a folder is refused."""

import dataclasses
import json
import re
import shutil
import sys

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from finished_folders import DIVERGED, MOMENTA, SIZES, STEPS, SUMMARY, config, finished, rows
from liveness import finish
from PIL import Image

from experiments.runner import files, store
from experiments.runner.checkout import SOURCE
from experiments.runner.publish import publish
from experiments.runner.settings import load as load_config
from experiments.runner.settings import to_plain
from experiments.runner.store import InputError
from experiments.runs import compare, frame, load

RESUME = "python -m experiments.main --config=configs/toy.py:smoke --strict --workdir="


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished run, not to be changed."""
    return finished(tmp_path_factory.mktemp("made") / "toy")


@pytest.fixture
def folder(made, tmp_path):
    """A copy to be changed."""
    return shutil.copytree(made, tmp_path / "toy")


def refusal(attempt, *values):
    """The lines of a refusal, each of which is one line."""
    with pytest.raises(InputError) as caught:
        attempt(*values)
    assert all("\n" not in line for line in caught.value.problems)
    return caught.value.problems


def only(attempt, *values):
    (line,) = refusal(attempt, *values)
    return line


# Loading. -------------------------------------------------------------------------------------------------------------


def test_a_run_is_its_files(made):
    run = load(str(made))
    assert run.config == config()
    assert run.config.variants[1]["sweep.opt.momentum"] == MOMENTA
    assert run.summary == SUMMARY
    assert run.provenance == json.loads((made / "provenance.json").read_text())
    written = json.loads((made / "claims.json").read_text())["claims"]
    assert [claim.id for claim in run.claims] == [row["id"] for row in written] == ["T1.first", "T1.nan", "T1.last"]
    assert run.claims[0].measured == written[0]["measured"] == 2e-15
    assert np.isnan(run.claims[1].measured)
    assert (run.name, run.path) == ("toy", made)
    assert repr(run) == "<toy: toy, 3 claims>"


def test_a_run_cannot_be_changed(made):
    run = load(made)
    with pytest.raises(dataclasses.FrozenInstanceError):
        run.claims = ()
    with pytest.raises(AttributeError, match="locked"):
        run.config.width = 3


def test_results_are_labelled_and_opened_once(made):
    run = load(made)
    assert run.results is run.results
    assert list(run.results.children) == list(run.variants) == ["plain", "swept"]
    assert run.variants["swept"].net.depth == 3
    with h5py.File(made / "results.nc") as file:
        np.testing.assert_array_equal(
            run.results["swept"].loss.sel(momentum=0.9, step=4), file["swept/loss"][:, 1, :, 2]
        )
    assert run.results["plain"].loss.attrs["units"] == "rad"
    assert list(run.variables)[:2] == ["loss", "angle"]
    assert "gram" in run.variables


READER = """
import sys
from experiments.runs import load
run = load(sys.argv[1])
print(run.claims[0].id, run.config.net.depth, run.summary["runs"][0]["run"], run.provenance["run_s"])
print(*({"jax", "jaxlib", "xarray", "pandas", "h5py", "h5netcdf", "matplotlib"} & set(sys.modules)))
"""


def test_the_tables_are_read_without_results_and_without_jax(folder):
    (folder / "results.nc").write_text("nothing that could be opened")
    child = finish([sys.executable, "-c", READER, str(folder)], cwd=SOURCE)
    assert child.returncode == 0, child.stderr
    assert child.stdout.splitlines() == ["T1.first 2 plain 2.0", ""]


def test_results_that_were_replaced_are_read_anew(folder):
    before = frame(load(folder), "count")
    with store.open_run(folder, to_plain(config())) as run:
        groups = {name: node.to_dataset().load() for name, node in load(folder).results.children.items()}
        groups["plain"]["count"] += 1
        run.write_results(groups.items(), load(folder).results.attrs)
    after = frame(load(folder), "count")
    plain = after.variant == "plain"
    assert (after[plain].value - before[plain].value == 1).all()
    assert (after[~plain].value == before[~plain].value).all()


@pytest.mark.slow
def test_a_real_run_has_the_config_that_its_file_builds(smoke):
    path, (code, _, err) = smoke("dln_parsimony")
    assert code == 0, err
    run = load(path)
    assert run.config == load_config(f"{SOURCE}/configs/dln_parsimony.py:smoke")
    table = frame(run, "idle_value")
    assert list(table) == ["variant", "seed", "momentum", "weight_decay", "step", "layer", "value"]
    with h5py.File(path / "results.nc") as file:
        names = list(table.variant.unique())
        assert names == [variant["name"] for variant in run.config.variants]
        np.testing.assert_array_equal(table.value, np.concatenate([file[f"{n}/idle_value"][:].ravel() for n in names]))
    assert (compare(run, run).bound != "").all()


# One variable. --------------------------------------------------------------------------------------------------------


def by_hand(made, name):
    """The numbers of a variable by their labels, read by h5py and walked through index by index."""
    found = {}
    with h5py.File(made / "results.nc") as file:
        for variant, swept in (("plain", ["step_size"]), ("swept", ["momentum", "step_size"])):
            if name not in file[variant]:
                continue
            group = file[variant]
            labels = [group[axis][:] for axis in ("seed", *swept, "step")]
            for place in np.ndindex(group[name].shape):
                own = dict(
                    zip(
                        ("seed", *swept, "step"),
                        (label[i] for label, i in zip(labels, place, strict=False)),
                        strict=True,
                    )
                )
                key = (variant, own["seed"], own.get("momentum", 0.5), own["step_size"], own["step"])
                lost = variant == "plain" and place[:2] == DIVERGED and own["step"] >= 2
                found[(*key, *place[len(labels) :])] = np.nan if lost else float(group[name][place])
    return found


@pytest.mark.parametrize(
    ("name", "axes"),
    [("loss", []), ("angle", ["layer"]), ("count", []), ("stable", []), ("single", []), ("gram", ["row", "column"])],
)
def test_a_frame_has_every_number_under_its_labels(made, name, axes):
    table = frame(load(made), name)
    swept = ["step_size"] if name == "gram" else ["momentum", "step_size"]
    assert list(table) == ["variant", "seed", *swept, "step", *axes, "value"]
    momentum = table.get("momentum", pd.Series(0.5, table.index))
    keys = zip(
        table.variant, table.seed, momentum, table.step_size, table.step, *(table[axis] for axis in axes), strict=True
    )
    values = table.value.astype("float64" if name != "stable" else "Float64").to_numpy(float, na_value=np.nan)
    found = dict(zip(keys, values, strict=True))
    expected = by_hand(made, name)
    assert found.keys() == expected.keys()
    np.testing.assert_array_equal([found[key] for key in expected], list(expected.values()))
    assert len(table) == len(expected)


def test_a_variant_that_sweeps_less_has_the_value_of_its_config(made):
    table = frame(load(made), "loss")
    assert set(table[table.variant == "plain"].momentum) == {0.5}
    assert set(table[table.variant == "swept"].momentum) == set(MOMENTA)
    assert set(table.step_size) == set(SIZES)
    assert set(table.step) == set(STEPS)


def test_integers_and_truths_stay_what_they_are_where_a_member_diverged(made):
    run = load(made)
    for name, kind in (("count", "Int64"), ("stable", "boolean")):
        table = frame(run, name)
        assert table.value.dtype == kind
        lost = (table.variant == "plain") & (table.seed == 1) & (table.step_size == 0.1) & (table.step >= 2)
        assert (table.value.isna() == lost).all()
        assert lost.sum() == 2
    assert frame(run, "single").value.dtype == np.float32


def test_the_marks_have_a_row_for_each_member(made):
    table = frame(load(made), "diverged_at")
    assert list(table) == ["variant", "seed", "momentum", "step_size", "value"]
    assert len(table) == 4 + 8
    assert table[table.value != -1].drop(columns="value").to_numpy().tolist() == [["plain", 1, 0.5, 0.1]]


def test_an_axis_that_one_variant_lacks_is_empty_there(made):
    table = frame(load(made), "depends")
    assert list(table) == ["variant", "seed", "momentum", "step_size", "step", "layer", "value"]
    assert table[table.variant == "plain"].layer.isna().all()
    assert table[table.variant == "swept"].layer.tolist()[:4] == [0, 1, 2, 0]
    assert table.layer.dtype == "Int64"


def test_swept_fields_of_one_name_have_their_paths(tmp_path):
    variants = ({"name": "a", "sweep.net.scale": (1.0, 2.0)}, {"name": "b", "sweep.opt.scale": (3.0, 4.0)})
    groups = {"net": {"depth": 3, "scale": 0.5}, "opt": {"scale": 0.25}, "sweep": {}}
    table = frame(load(finished(tmp_path / "run", variants=variants, **groups)), "loss")
    assert list(table) == ["variant", "seed", "net.scale", "opt.scale", "step", "value"]
    assert set(zip(table.variant, table["net.scale"], table["opt.scale"], strict=True)) == {
        ("a", 1.0, 0.25), ("a", 2.0, 0.25), ("b", 0.5, 3.0), ("b", 0.5, 4.0),
    }  # fmt: skip


def test_a_variable_that_is_not_there_is_refused_with_those_that_are(made):
    line = only(frame, load(made), "los")
    assert line.startswith(f"{made}: has no variable 'los'; did you mean loss?; the variables are loss, angle, count")
    assert "gram" in line


def test_a_path_is_no_run(made):
    assert only(frame, "runs/a", "loss") == "frame: 'runs/a' is no run; give what load(FOLDER) returns"
    assert len(refusal(compare, load(made), "a", None)) == 2


# Claims side by side. -------------------------------------------------------------------------------------------------


def test_claims_of_different_configs_stand_side_by_side(made, tmp_path):
    other = load(finished(tmp_path / "other", table=rows(last="T2.new"), num_seeds=1))
    table = compare(load(made), other)
    assert list(table) == [
        "id", "statement", "bound", "toy: measured", "toy: verdict", "other: measured", "other: verdict",
    ]  # fmt: skip
    assert table.id.tolist() == ["T1.first", "T1.nan", "T1.last", "T2.new"]
    assert table.statement.tolist() == ["small, [and] so", "never", "later", "later"]
    assert table.bound.tolist() == ["< 1e-12", "< 1", "", ""]
    assert table["toy: verdict"].tolist() == ["holds", "fails", "not_run", ""]
    assert table["other: verdict"].tolist() == ["holds", "fails", "", "not_run"]
    np.testing.assert_array_equal(table["toy: measured"], [2e-15, np.nan, np.nan, np.nan])
    assert table["toy: measured"].dtype == float


def test_bounds_that_differ_stand_with_their_runs(made, tmp_path):
    strict = load(finished(tmp_path / "strict", table=rows(bound=1e-15)))
    table = compare(load(made), strict)
    assert "bound" not in table
    assert table["toy: bound"].tolist() == ["< 1e-12", "< 1", ""]
    assert table["strict: bound"].tolist() == ["< 1e-15", "< 1", ""]
    assert table["strict: verdict"].tolist()[0] == "fails"


def test_one_run_two_of_one_name_and_none(made, folder):
    assert list(compare(load(made))) == ["id", "statement", "bound", "toy: measured", "toy: verdict"]
    names = [
        name.removesuffix(": verdict") for name in compare(load(made), load(folder), load(folder)) if "verdict" in name
    ]
    assert names == [str(made), str(folder), f"{folder} (2)"]
    assert only(compare) == "compare: no run is given; give what load() returns, compare(load(FOLDER), load(FOLDER))"


def test_statements_that_differ_are_both_named(made, tmp_path):
    changed = tuple(dataclasses.replace(row, statement="tiny") if row.id == "T1.first" else row for row in rows())
    table = compare(load(made), load(finished(tmp_path / "other", table=changed)))
    assert table.statement.tolist()[0] == "small, [and] so / tiny"


# Published folders. ---------------------------------------------------------------------------------------------------


def test_a_published_folder_has_all_but_results(folder, tmp_path):
    (folder / "summary.md").touch()
    (folder / "figures").mkdir()
    Image.new("P", (2, 2)).save(folder / "figures" / "loss.png")
    publish(folder, tmp_path / "figures" / "dln_momentum_smoke")
    run = load(tmp_path / "figures" / "dln_momentum_smoke")
    assert [claim.id for claim in run.claims] == ["T1.first", "T1.nan", "T1.last"]
    assert (run.config, run.summary) == (config(), SUMMARY)
    assert "command" not in run.provenance
    assert not run.has_results
    line = only(lambda: run.results)
    assert line.startswith(f"{run.path}: has no results.nc (a published folder has none)")
    assert line.endswith("run python -m experiments.main --config=configs/dln_momentum.py:smoke")
    assert "results.nc" in only(frame, run, "loss")


def test_every_published_folder_of_this_version_loads():
    published = sorted(path.parent for path in (SOURCE / "figures").glob("*/config.json"))
    assert len(published) > 5
    for path in published:
        written = json.loads((path / "claims.json").read_text())["claims"]
        assert [claim.status for claim in load(path).claims] == [row["status"] for row in written]


# Bad input. -----------------------------------------------------------------------------------------------------------


def test_a_folder_that_does_not_exist_is_refused_with_the_nearest(folder):
    assert only(load, folder.parent / "toi") == f"{folder.parent / 'toi'}: there is no such folder; did you mean toy?"
    assert only(load, "/nowhere/at/all").endswith("there is no such folder")


def test_a_file_is_refused(folder):
    file = folder / "claims.json"
    assert only(load, file) == f"{file}: is not a folder; give the run folder, such as {folder}"


def test_a_folder_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    def denied(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.listdir", denied)  # root may read what others may not
    assert only(load, tmp_path).startswith(f"{tmp_path}: cannot be read: [Errno 13] Permission denied")


def test_a_folder_of_something_else_is_refused(tmp_path):
    assert only(load, tmp_path) == f"{tmp_path}: is not a run folder: it is empty"
    for name in "abcd":
        (tmp_path / name).touch()
    assert only(load, tmp_path).endswith("is not a run folder: it has no config.json but contains a, b, c, ...")


def test_a_folder_of_runs_is_refused_with_their_names(folder):
    assert only(load, folder.parent).endswith("is not a run folder, but holds some; give one of them: toy")


def test_a_folder_that_version_1_published_is_refused(tmp_path):
    (tmp_path / "claims.md").touch()
    assert "was published by version 0.1 of lawlib, without a config" in only(load, tmp_path)


@pytest.mark.parametrize(("layout", "version"), [({}, "version 0.1"), ({"layout": 3}, "a later version")])
def test_another_layout_is_refused_in_one_line(tmp_path, layout, version):
    files.write_json(tmp_path / "config.json", files.with_digest({**layout, "experiment": "toy"}))
    assert f"was made by {version} of lawlib, which this version cannot read; run its config again" in only(
        load, tmp_path
    )


@pytest.mark.parametrize(
    ("gone", "lacks"),
    [
        (["claims.json"], "claims.json"),
        (["claims.json", "results.nc"], "claims.json, results.nc"),
        (["claims.json", "summary.json", "results.nc"], "claims.json, summary.json, results.nc"),
    ],
)
def test_an_unfinished_run_is_refused_with_the_command_that_resumes_it(folder, gone, lacks):
    for name in gone:
        (folder / name).unlink()
    assert only(load, folder) == (
        f"{folder}: the run is not finished: it has no {lacks}; unless it is running, resume it with {RESUME}{folder}"
    )
    (folder / "provenance.json").unlink()
    assert only(load, folder).endswith("resume it with the command that started it")


def test_the_command_is_for_a_shell_and_for_this_folder(folder):
    record = json.loads((folder / "provenance.json").read_text())
    words = ["python3", "-m", "experiments.main", "--workdir", "x", "--replot", "--config.variants=({'a': 1},)"]
    record["starts"][-1]["command"] = words
    files.write_json(folder / "provenance.json", record)
    (folder / "claims.json").unlink()
    quoted = """'--config.variants=({'"'"'a'"'"': 1},)'"""
    assert only(load, folder).endswith(f"resume it with python -m experiments.main {quoted} --workdir={folder}")


def test_a_lost_provenance_is_empty(folder):
    (folder / "provenance.json").unlink()
    assert load(folder).provenance == {}


@pytest.mark.parametrize("text", ["{", "[]", "null", '{"runs": 3}', '{"claims": [{}]}', "\x00"])
def test_damaged_tables_are_all_named_at_once(folder, text):
    for name in ("claims.json", "summary.json"):
        (folder / name).write_text(text)
    first, second = refusal(load, folder)
    assert first.startswith(f"{folder / 'claims.json'}: is damaged (")
    assert second.startswith(f"{folder / 'summary.json'}: is damaged (")
    assert first.endswith(f"write it anew with {RESUME}{folder} --replot")
    (folder / "results.nc").unlink()
    assert refusal(load, folder)[0].endswith("; restore it")


def test_a_damaged_provenance_and_a_damaged_config_are_named_at_once(folder):
    (folder / "provenance.json").write_text("[1]")
    (folder / "config.json").write_text((folder / "config.json").read_text().replace("orthogonal", "orthogonaL"))
    first, second = refusal(load, folder)
    assert re.search(r"config\.json: cannot be trusted: .*; restore it, or run the config again", first)
    assert second.endswith("delete it to read the run without it")


def test_results_that_are_cut_short_or_something_else_are_refused_when_they_are_asked_for(folder):
    whole = (folder / "results.nc").read_bytes()
    for bad in (whole[: len(whole) // 2], whole[:100], b"", b"text"):
        (folder / "results.nc").write_bytes(bad)
        run = load(folder)
        assert run.claims
        line = only(lambda run=run: run.results)
        assert line.startswith(f"{folder / 'results.nc'}: cannot be read, it is cut short or damaged (")
        assert line.endswith(f"delete the file and run {RESUME}{folder} again")


def test_a_number_that_fails_its_checksum_is_refused_and_the_others_are_read_without_the_digest(folder):
    file = folder / "results.nc"
    whole, numbers = file.read_bytes(), load(folder).results["swept"].angle.values
    index = whole.index(numbers.tobytes()[:16])
    file.write_bytes(whole[: index + 3] + bytes([whole[index + 3] ^ 4]) + whole[index + 4 :])
    assert "its SHA-256 is not the one in results.nc.sha256" in only(frame, load(folder), "loss")
    (folder / "results.nc.sha256").unlink()
    run = load(folder)
    assert "cannot be read, it is cut short or damaged" in only(frame, run, "angle")
    assert len(frame(run, "loss")) == 2 * 2 * 3 + 2 * 4 * 3
    with pytest.raises(OSError, match="filter"):
        _ = run.results["swept"].angle.values


def test_results_of_another_run_are_refused(folder, tmp_path):
    other = finished(tmp_path / "other", seed=8)
    for name in ("results.nc", "results.nc.sha256"):
        shutil.copy(other / name, folder / name)
    assert "is of another config than config.json; delete the file" in only(lambda: load(folder).results)


def test_results_that_lack_a_variant_are_refused(folder):
    with store.open_run(folder, to_plain(config())) as run:
        run.write_results([("plain", xr.Dataset())], {"config": json.dumps(to_plain(config()))})
    assert "is of another config" in only(lambda: load(folder).results)


@pytest.mark.parametrize("starts", [3, [3], [{"command": 3}], [{"command": [1, "experiments.main", 2]}]])
def test_a_provenance_that_holds_something_else_is_damaged(folder, starts):
    (folder / "provenance.json").write_text(json.dumps({"starts": starts}))
    assert only(load, folder).startswith(f"{folder / 'provenance.json'}: is damaged (")


def test_a_table_nested_without_end_is_damaged(folder):
    (folder / "claims.json").write_text("[" * 100_000)
    assert only(load, folder).startswith(f"{folder / 'claims.json'}: is damaged (RecursionError")


def test_a_summary_of_bare_numbers_is_damaged(folder):
    row = {"run": "a", "members": 1, "diverged": 0, "columns": {"rate": 3}}
    (folder / "summary.json").write_text(json.dumps({"runs": [row], "comparisons": {}}))
    assert only(load, folder).startswith(f"{folder / 'summary.json'}: is damaged (AttributeError")
