"""Shards, put together, are the undivided run; what does not fit together is refused."""

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from small_run import SMALL

from experiments.main import main
from experiments.runner import settings
from experiments.runner.experiment import load
from experiments.runner.files import read_digested, with_digest, write_json
from experiments.runner.integrity import damage_of, seal_of
from experiments.runner.run import plans_of, run_shard, work_of
from experiments.runner.shards.cut import cut
from experiments.runner.shards.merging import check_place, merge
from experiments.runner.shards.parts import Part, check_code, gaps, shard_folders
from experiments.runner.store import InputError
from experiments.runs import frame
from experiments.runs import load as load_run


@pytest.fixture(scope="module")
def config():
    return settings.load(SMALL[0].removeprefix("--config="), SMALL[1:])


@pytest.fixture(scope="module")
def shards(config):
    work = work_of(config, load(config.experiment))
    sizes = {"num_seeds": 4, "num_settings": 4, "block": 2}
    each = zip(work, plans_of(work), strict=True)
    return [shard for w, p in each for shard in cut(w.name, **sizes, plan=p, num_devices=w.mesh.size)]


@pytest.fixture(scope="module")
def made(config, shards, tmp_path_factory):
    """The folder of all shards; not to be changed."""
    folder = tmp_path_factory.mktemp("made")
    for shard in shards:
        run_shard(config, folder / shard.name, shard)
    return folder


@pytest.fixture(scope="module")
def merged(config, made, tmp_path_factory):
    """All shards in one run, given in another order."""
    workdir = tmp_path_factory.mktemp("merged") / "run"
    assert merge(shard_folders([made])[::-1], workdir) == config
    return workdir


@pytest.fixture
def folder(made, tmp_path):
    """A copy of all shards."""
    return shutil.copytree(made, tmp_path / "shards")


def raw(folder):
    with xr.open_datatree(folder / "results.nc", engine="h5netcdf", decode_cf=False) as tree:
        return tree.load()


def refusal(folder, tmp_path):
    with pytest.raises(InputError) as refused:
        merge(shard_folders([folder]), tmp_path / "merged")
    assert not (tmp_path / "merged" / "results.nc").exists()
    return refused.value.problems


def renewed(folder, **changes):
    record = read_digested(folder / "config.json") | changes
    write_json(folder / "config.json", with_digest(record))


def test_the_merged_results_are_those_of_the_undivided_run(merged, shards, whole):
    one, other = raw(whole), raw(merged)
    assert one.attrs == other.attrs
    assert list(one.children) == list(other.children) == ["double", "single"]
    for name, group in one.children.items():
        assert group.attrs == other[name].attrs
        assert list(group.variables) == list(other[name].variables)
        for field, variable in group.variables.items():
            put = other[name].variables[field]
            assert (variable.dims, variable.dtype, str(variable.attrs)) == (put.dims, put.dtype, str(put.attrs))
            assert variable.values.tobytes() == put.values.tobytes(), (name, field)
    if all(shard.plan.chunk == 8 for shard in shards):  # as the undivided run has them, on up to eight devices
        assert (whole / "results.nc").read_bytes() == (merged / "results.nc").read_bytes()


def test_a_shard_has_its_own_seeds_and_no_checkpoint(made, shards):
    for shard in shards:
        with xr.open_datatree(made / shard.name / "results.nc", engine="h5netcdf") as tree:
            assert tree[shard.variant].seed.values.tolist() == list(shard.seeds)
        assert not (made / shard.name / "checkpoint").exists()


def test_the_provenance_tells_of_all_shards(made, merged):
    merged = json.loads((merged / "provenance.json").read_text())
    parts = [json.loads(file.read_text()) for file in made.glob("*/provenance.json")]
    assert merged["shards"] == len(parts)
    assert merged["run_s"] == pytest.approx(sum(part["run_s"] for part in parts))
    assert merged["start"] == min(part["start"] for part in parts)
    assert merged["source_sha256"] == parts[0]["source_sha256"]


def test_a_missing_a_repeated_and_an_unfinished_shard_are_named(folder, tmp_path):
    shutil.copytree(folder / "single-0-1", folder / "again")
    shutil.rmtree(folder / "double-2-3")
    again = [folder / "again", folder / "single-0-1"]
    assert refusal(folder, tmp_path) == [
        "double: seeds 2 to 3 are in none of these folders",
        f"single: seeds 0 to 1 are in {again[0]} and in {again[1]}; leave out one",
    ]
    (folder / "single-2-3" / "results.nc").unlink()
    lines = refusal(folder, tmp_path)
    assert lines == [f"{folder / 'single-2-3'}: is not finished: it has no results.nc; launch the same command again"]


def test_seeds_that_overlap_in_any_way_are_named(config, shards):
    def part(name, first, stop):
        return Part(Path(name), shards[0]._replace(variant="double", first=first, stop=stop), {}, ())

    lines = [line for line in gaps(config, [part("a", 0, 3), part("b", 1, 2)]) if line.startswith("double")]
    assert lines == [
        "double: seed 1 is in a and in b; leave out one",
        "double: seed 3 is in none of these folders",
    ]
    assert not [line for line in gaps(config, [part("a", 2, 4), part("b", 0, 2)]) if line.startswith("double")]


def test_what_is_no_shard_of_the_config_is_refused_with_every_reason(folder, tmp_path):
    renewed(folder / "single-0-1", seed=7)
    assert refusal(folder, tmp_path) == [
        f"{folder / 'single-0-1'}: is of another config than {folder / 'double-0-1'}: seed is 7, not 0"
    ]
    with (folder / "single-2-3" / "results.nc").open("r+b") as results:
        results.seek(3000)
        results.write(b"\x55\x55")
    record = read_digested(folder / "double-0-1" / "config.json")
    del record["shard"]
    write_json(folder / "double-0-1" / "config.json", with_digest(record))
    whole, damaged, _ = refusal(folder, tmp_path)
    assert whole == f"{folder / 'double-0-1'}: is a whole run, and no shard of one"
    assert "its SHA-256 is not the one in" in damaged
    with pytest.raises(InputError, match="is no shard: there is no config"):
        merge(shard_folders([tmp_path / "nothing"]), tmp_path / "merged")
    with pytest.raises(InputError, match="no shard is given"):
        merge([], tmp_path / "merged")


def test_results_that_were_copied_from_another_shard_are_refused(folder, tmp_path):
    for name in ("results.nc", "results.nc.sha256"):
        shutil.copy(folder / "single-2-3" / name, folder / "single-0-1" / name)
    (line,) = refusal(folder, tmp_path)
    assert line.startswith(f"{folder / 'single-0-1' / 'results.nc'}: is of another shard than its config.json; delete")
    with pytest.raises(InputError, match=r"of another config than config\.json"):
        _ = load_run(folder / "single-0-1").results


def recorded(folder, **changes):
    """Change the newest start of a run in its provenance."""
    file = folder / "provenance.json"
    record = json.loads(file.read_text())
    record["starts"][-1] |= changes
    file.write_text(json.dumps(record))


def warned(folder, workdir, **how):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        merge(shard_folders([folder]), workdir, **how)
    return [str(each.message) for each in caught if issubclass(each.category, UserWarning)]


def test_shards_of_other_code_are_merged_on_request_alone(folder, tmp_path):
    recorded(folder / "double-0-1", source_sha256="abc")
    first, remedy = refusal(folder, tmp_path)
    assert first.startswith(f"{folder / 'double-0-1'}: was computed by other code than {folder}")
    assert 'source_sha256 was "abc", not "' in first
    assert remedy.endswith("launch the same command again, which computes this shard anew, or give merge --mixed")
    ours = json.loads((folder / "single-0-1" / "provenance.json").read_text())
    with pytest.raises(InputError, match="was computed by other code: source_sha256") as refused:
        check_code(sorted(folder.iterdir()), {"source_sha256": ours["source_sha256"]})
    assert len(refused.value.problems) == 2
    assert len(warned(folder, tmp_path / "merged", mixed=True)) == 3
    assert "abc" in raw(tmp_path / "merged").attrs["mixed"]


def test_shards_of_other_machines_or_batches_are_merged_with_a_warning(folder, tmp_path):
    recorded(folder / "single-2-3", processor="abacus")
    (folder / "single-0-1" / "provenance.json").unlink()
    shard = read_digested(folder / "double-2-3" / "config.json")["shard"]
    renewed(folder / "double-2-3", shard={**shard, "plan": [8, 8, shard["plan"][2]]})
    lost, machine, batches = warned(folder, tmp_path / "merged")
    assert lost.startswith("single-0-1 has no provenance, and may be of other conditions")
    assert machine.startswith("single-2-3 was computed under other conditions than double-0-1: processor was ")
    assert batches.startswith("double was computed in batches of ")
    assert all(line.endswith(": not equal to the bit to an undivided run") for line in (lost, machine, batches))
    assert "abacus" in raw(tmp_path / "merged").attrs["mixed"]


def test_shards_and_what_they_are_merged_into_are_read_as_runs(config, folder, whole, tmp_path):
    part = load_run(folder / "single-2-3")
    assert (part.config, list(part.variants), part.claims) == (config, ["single"], ())
    assert part.provenance["source_sha256"]
    table, of_whole = frame(part, "rho"), frame(load_run(whole), "rho")
    beside = of_whole[(of_whole.variant == "single") & (of_whole.seed >= 2)]
    assert table.value.tolist() == beside[list(table)].value.tolist()
    write_json(folder / "config.json", with_digest({"layout": 2, "shards": []}))
    with pytest.raises(InputError, match="holds the shards of a run; give one of them, or merge them"):
        load_run(folder)
    (folder / "single-2-3" / "results.nc").unlink()
    with pytest.raises(InputError, match="the shard is not finished"):
        load_run(folder / "single-2-3")


def test_a_merged_run_is_judged_and_drawn_again_as_any_other(merged, whole):
    assert damage_of(merged / "results.nc") == ""
    assert (merged / "results.nc.sha256").exists()
    assert main([*SMALL, f"--workdir={merged}", "--replot"]) == 0
    assert load_run(merged).claims == load_run(whole).claims
    assert load_run(merged).summary == load_run(whole).summary
    assert {file.name for file in (merged / "figures").iterdir()} == {
        file.name for file in (whole / "figures").iterdir()
    }


def test_an_undivided_run_that_is_not_finished_is_left_as_it_is(config, folder, tmp_path):
    merged = tmp_path / "merged"
    merged.mkdir()
    write_json(merged / "config.json", with_digest({"layout": 2, **settings.to_plain(config)}))
    (merged / "checkpoint").mkdir()
    (merged / "checkpoint" / "1.json").write_text("{}")
    (line,) = refusal(folder, tmp_path)
    assert "holds an undivided run that is not finished" in line
    assert (merged / "checkpoint" / "1.json").exists()


def test_a_place_that_cannot_be_used_is_refused_before_anything_is_computed(config, merged):
    check_place(merged, settings.to_plain(config))
    with pytest.raises(InputError, match="made by another config: seed"):
        check_place(merged, {**settings.to_plain(config), "seed": 3})


def test_results_that_are_there_are_kept_and_a_line_says_so(capsys, merged, made):
    before = (merged / "results.nc").read_bytes()
    merge(shard_folders([made]), merged)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{merged} has results, which are kept: the shards are not merged into it")
    assert (merged / "results.nc").read_bytes() == before


@pytest.mark.parametrize(("name", "what"), [("", "holds the shards of a run"), ("single-0-1", "is a shard of a run")])
def test_shards_are_not_merged_into_themselves_and_one_line_says_why(folder, name, what):
    write_json(folder / "config.json", with_digest({"layout": 2, "shards": []}))
    place = folder / name if name else folder
    with pytest.raises(InputError) as refused:
        merge(shard_folders([folder]), place)
    assert refused.value.problems == [f"{place}: {what}; choose another --workdir for the merged run"]


def test_no_value_is_touched_on_the_way(folder, tmp_path):
    """What is not a number keeps its bits: there are many."""
    import h5netcdf

    odd = np.array(-np.nan)
    file = folder / "double-0-1" / "results.nc"
    with h5netcdf.File(file, "a") as opened:
        variable = opened["double"]["rho"]
        variable[0] = np.full_like(variable[0], odd)
    file.with_name("results.nc.sha256").write_text(seal_of(file, "results.nc"))
    merge(shard_folders([folder]), tmp_path / "merged")
    assert np.signbit(raw(tmp_path / "merged")["double"]["rho"].values[0]).all()
