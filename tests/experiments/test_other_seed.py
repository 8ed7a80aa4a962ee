"""The rows whose verdict depends on the root seed: those of the committed table, beside the published ones."""

import json

import pytest
from source_tree import ROOT

from experiments import published
from experiments.other_seed import differing
from experiments.runner.store import InputError

TABLE = json.loads((ROOT / "benchmarks" / "results" / "holdout.json").read_text(encoding="utf-8"))
DIFFERING = [row for row in TABLE["claims"] if row["part"] == "differs"]


def test_the_rows_that_differ_are_found_in_their_folders():
    found = {(name, id) for name in TABLE["about"]["seconds"] for id in differing(name)}
    assert found == {(row["config"], row["id"]) for row in DIFFERING} != set()


@pytest.mark.parametrize("row", DIFFERING, ids=lambda row: f"{row['config']} {row['id']}")
def test_a_row_has_the_other_number_and_the_other_verdict(row):
    found = differing(row["config"])[row["id"]]
    assert found.status == row["status"][1] != published.claims(row["config"], [row["id"]])[0].status
    number, relation, bound = found.comparison.split()
    assert float(number) == pytest.approx(row["measured"][1], rel=5e-3)
    assert (relation, float(bound), found.seed) == (row["relation"], row["bound"][1], 1)


@pytest.mark.parametrize("config", TABLE["about"]["seconds"])
def test_the_numbers_of_root_seed_0_are_those_that_are_published_now(config):
    """A table that is published anew makes the other one old: ``make holdout`` judges it again without a run."""
    own = [row for row in TABLE["claims"] if row["config"] == config and row["status"][0]]
    kept = {row["id"]: [str(row[name][0]) for name in ("measured", "bound", "status")] for row in own}
    assert kept == {row.id: [str(row.measured), str(row.bound), row.status] for row in published.claims(config)}


def test_other_profiles_have_none():
    assert differing("mlp_theorem_paper") == {}


@pytest.mark.parametrize("lacking", ["claims", "about"])
def test_a_damaged_table_is_a_line_that_says_what_to_do(tmp_path, lacking):
    for part in ("configs", "figures"):
        (tmp_path / part).symlink_to(ROOT / part)
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    kept = {name: value for name, value in TABLE.items() if name != lacking}
    (tmp_path / "benchmarks" / "results" / "holdout.json").write_text(json.dumps(kept), encoding="utf-8")
    with pytest.raises(InputError, match=r"is damaged .*git checkout restores it"):
        differing(DIFFERING[0]["config"], tmp_path)
