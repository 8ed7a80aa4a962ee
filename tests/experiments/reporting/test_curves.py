"""Curves of a run: median and range of the members, at the steps and places that are shown, read in parts."""

import json
import tracemalloc

import numpy as np
import pytest
import xarray as xr
from finished_folders import DIVERGED, STEPS, config, finished

from experiments.reporting import curves as of_curves
from experiments.reporting.curves import read
from experiments.runner import settings
from experiments.runner.finished import FinishedRun
from experiments.runs import frame, load


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return load(finished(tmp_path_factory.mktemp("made") / "toy", num_seeds=4))


def expected(run, name, label_of):
    """Median, least and most by variant, label and step, from the table that notebooks get."""
    table = frame(run, name)
    table["value"] = table.value.astype(float).replace([np.inf, -np.inf], np.nan)
    table["label"] = [label_of(row) for row in table.to_dict("records")]
    return table.groupby(["variant", "label", "step"]).value.agg(["median", "min", "max"])


def of_sizes(row):
    swept = [f"momentum = {row['momentum']:g}"] if row["variant"] == "swept" else []
    return ", ".join([*swept, f"step_size = {row['step_size']:g}"])


@pytest.mark.parametrize("name", ["loss", "count", "single"])
def test_curves_are_median_and_range_of_the_members(run, name):
    table = expected(run, name, of_sizes)
    found = [curve for curve in read(run).curves if curve.variable == name]
    assert {(curve.variant, curve.label) for curve in found} == {key[:2] for key in table.index}
    for curve in found:
        rows = table.loc[curve.variant, curve.label]
        assert list(rows.index) == list(STEPS)
        for values, column in ((curve.middle, "median"), (curve.low, "min"), (curve.high, "max")):
            np.testing.assert_allclose(values, rows[column], rtol=1e-12)


def test_a_diverged_member_is_counted_and_leaves_its_curve(run):
    one = {(c.variant, c.label): c for c in read(run).curves if c.variable == "count"}
    lost = one["plain", "step_size = 0.1"]
    assert (lost.members, lost.diverged) == (4, 1)
    values = run.results["plain"]["count"].sel(step_size=0.1).values
    others = np.delete(values, DIVERGED[0], axis=0)
    assert list(lost.middle) == [np.median(values[:, 0]), *np.median(others[:, 1:], axis=0)]
    assert list(lost.high[1:]) == list(others[:, 1:].max(0))
    assert one["plain", "step_size = 0.2"].diverged == 0


def test_axes_of_a_variable_have_a_curve_for_each_place_and_long_ones_for_some(run):
    found = read(run)
    layers = {c.label for c in found.curves if c.variable == "angle" and c.variant == "plain"}
    assert layers == {f"step_size = {size}, layer {i}" for size in (0.1, 0.2) for i in (0, 1)}
    wide = {c.label.partition(", ")[2] for c in found.curves if c.variable == "wide" and c.variant == "plain"}
    assert wide == {f"layer {i}, index {j}" for i in (0, 1) for j in (0, 3, 5, 8)}
    about = {variable.name: variable for variable in found.variables}
    assert about["wide"].chosen == "4 of 9 places on the axis index"
    assert about["angle"].chosen == ""
    assert (about["loss"].units, about["loss"].source) == ("rad", "eq. 2")
    assert "diverged_at" not in about


def test_of_many_observations_some_are_shown_and_both_ends_among_them(run, monkeypatch):
    monkeypatch.setattr(of_curves, "MOST_STEPS", 2)
    found = read(run)
    assert found.observed == 3
    assert all(list(steps) == [0, 4] for steps in found.steps.values())
    assert all(len(curve.middle) == 2 for curve in found.curves)
    whole = {c.label: c for c in read(load(run.path)).curves if (c.variable, c.variant) == ("count", "swept")}
    monkeypatch.undo()
    for curve in read(run).curves:
        if (curve.variable, curve.variant) == ("count", "swept"):
            assert list(whole[curve.label].middle) == list(curve.middle[[0, 2]])


@pytest.mark.parametrize("shape", [(2, 160, 1600), (400, 160, 8)], ids=["in part", "whole"])
def test_large_results_are_read_one_by_one_and_nothing_stays_in_memory(tmp_path, shape):
    """Twelve variables of 4 MB, with room for few; of the first shape a few places are read at all."""
    whole = config(variants=({"name": "plain"},), sweep={}, num_seeds=shape[0])
    own = dict(settings.expand(whole))["plain"]
    axes, about = ("seed", "step", "index"), {"units": "1", "long_name": "x", "source": ""}
    data = {f"v{i}": (axes, np.full(shape, float(i)), about) for i in range(12)}
    data |= {"diverged_at": (("seed",), np.full(shape[0], -1)), "converged_at": (("seed",), np.full(shape[0], -1))}
    attrs = {"variant": "plain", "config": json.dumps(settings.to_plain(own))}
    tree = xr.DataTree.from_dict(
        {"plain": xr.Dataset(data, {"seed": np.arange(shape[0]), "step": np.arange(160)}, attrs)}
    )
    run = FinishedRun(tmp_path, whole, (), {}, {})
    file = tmp_path / "results.nc"
    tree.attrs = {"config": json.dumps(settings.to_plain(run.config))}
    tree.to_netcdf(file, engine="h5netcdf")
    del tree, data
    run.results  # noqa: B018  what is opened once is not counted
    tracemalloc.start()
    try:
        found = read(run)
        kept, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found.variables) == 12
    assert all(curve.middle[0] == float(curve.variable[1:]) for curve in found.curves)
    one = 8 * np.prod(shape)
    assert most < 6 * one
    assert kept < one
