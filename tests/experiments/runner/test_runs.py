"""Runs: what is read of results, member by member, and what of a member that diverged is left."""

import json

import numpy as np
import pytest
import xarray as xr

from experiments.runner import runs as of_runs
from experiments.runner.runs import divergence, find, grouped, runs, where
from experiments.runner.store import open_results

CONFIG = {"net": {"depth": 2, "scale": 1.0}, "num_seeds": 2, "sweep": {"net": {"scale": [0.5, 2.0]}}}


def results(loss=None, diverged_at=None):
    """Two seeds at two scales, observed at steps 0, 1 and 4."""
    loss = np.arange(12.0).reshape(2, 2, 3) if loss is None else loss
    axes = ("seed", "scale")
    data = {
        "loss": ((*axes, "step"), loss),
        "diverged_at": (axes, np.full((2, 2), -1) if diverged_at is None else diverged_at),
    }
    node = xr.Dataset(data, {"seed": [0, 1], "scale": [0.5, 2.0], "step": [0, 1, 4]}, {"config": json.dumps(CONFIG)})
    return xr.DataTree.from_dict({"a": node})


def test_every_value_of_a_swept_field_is_a_run_with_its_own_config():
    small, large = runs(results())
    assert (small.config.net.scale, large.config.net.scale) == (0.5, 2.0)
    assert (small.label, large.label) == ("a, scale=0.5", "a, scale=2")
    assert large.hyperparameters == {"net.scale": 2.0}
    np.testing.assert_array_equal(small.all("loss"), [[0, 1, 2], [6, 7, 8]])
    np.testing.assert_array_equal(large.first("loss"), [3, 9])
    np.testing.assert_array_equal(large.last("loss"), [5, 11])
    assert (large.num_seeds, large.num_diverged, large.steps.tolist()) == (2, 0, [0, 1, 4])


def test_the_worst_is_each_members_own():
    run = runs(results())[0]
    assert run.worst("loss").tolist() == [2, 8]
    assert run.worst("loss", reduce=np.min).tolist() == [0, 6]
    assert run.worst("loss", first_step=1, reduce=np.min).tolist() == [1, 7]


def test_from_its_divergence_on_nothing_is_known_of_a_member():
    small, large = runs(results(diverged_at=np.array([[1, -1], [-1, -1]])))
    np.testing.assert_array_equal(small.all("loss"), [[0, np.nan, np.nan], [6, 7, 8]])
    np.testing.assert_array_equal(large.all("loss"), [[3, 4, 5], [9, 10, 11]])
    assert small.diverged.tolist() == [True, False]
    assert divergence([small, large]) == "1 of this run's 4 members diverged: their curves end there"
    assert divergence([large]) == ""


def test_chosen_members_are_a_run():
    run = runs(results())[0].members(np.array([False, True]))
    assert run.last("loss").tolist() == [8]


def test_large_results_are_read_when_they_are_asked_for_and_are_not_kept(tmp_path, monkeypatch):
    whole = results(diverged_at=np.array([[1, -1], [-1, 4]]))
    whole.to_netcdf(tmp_path / "results.nc", engine="h5netcdf")
    monkeypatch.setattr(of_runs, "LOADED_BYTES", 0)
    with open_results(tmp_path / "results.nc", "") as opened:
        for kept, read in zip(runs(whole), runs(opened), strict=True):
            np.testing.assert_array_equal(read.all("loss"), kept.all("loss"))
            assert read.member(1).equals(kept.member(1))
            assert not read.data.loss.variable._in_memory


@pytest.mark.parametrize("large", [np.inf, 1e200])
def test_what_no_axis_can_show_is_not_drawn(large):
    loss = np.arange(12.0).reshape(2, 2, 3)
    loss[0, 0, 2] = large
    assert np.isnan(runs(results(loss), drawn=True)[0].last("loss")).tolist() == [True, False]


def test_runs_are_found_by_their_fields():
    found = runs(results())
    assert find(found, net__scale=2.0) == found[1:]
    assert find(found, net__scale=lambda scale: scale < 1) == found[:1]
    assert find(found, net__width=3) == []
    assert where(net__depth=2, net__scale=0.5)(found[0])
    assert {key: len(group) for key, group in grouped(found, "net.depth").items()} == {2: 2}
    assert list(grouped(found, lambda run: -run.config.net.scale)) == [-0.5, -2.0]
