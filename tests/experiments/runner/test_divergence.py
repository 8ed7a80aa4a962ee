"""Members that diverge, and more series than colours: the verdict and the figures leave nothing out, and say what."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from ml_collections import ConfigDict
from synthetic import experiment_of

from experiments.runner import plots
from experiments.runner.claims import failing, from_json, judge, numbers_apiece, over, report
from experiments.runner.results import divergence, drawable, groups

ROOT = Path(__file__).parents[3]
# One of each experiment, of those that other tests run too.
RUN = ("dln_parsimony", "dln_factorization", "completion_gamma", "mlp_gradient_decay", "mlp_deep", "jumps_periodic")
RUN += ("jumps_theory", "collapse_scale", "induced_flow", "inverse_decay")
ABOUT = {"id": "F1", "paper": "a paper", "figure": "Fig. 1", "statement": "small"}


def broken(path, *, every=False, variants=slice(None)):
    """The results of a run in which the first member of these variants, or every one, diverges from the second step."""
    with xr.open_datatree(path, engine="h5netcdf", decode_times=False) as opened:
        results = opened.load()
    tree = {}
    names = list(results.children)
    for name, node in results.children.items():
        data = tree[name] = node.to_dataset().copy(deep=True)
        if name not in names[variants]:
            continue
        dims, steps = data.diverged_at.dims, data.step.values
        first = data.diverged_at.copy(data=np.full(data.diverged_at.shape, every))
        first[dict.fromkeys(dims, 0)] = True
        data["diverged_at"] = data.diverged_at.where(~first, int(steps[1]))
        data["converged_at"] = data.converged_at.where(~first, -1)
        lost = first & (data.step >= steps[1])
        for field, values in data.items():
            if "step" in values.dims and values.dtype.kind == "f":
                data[field] = values.where(~lost, np.nan).transpose(*values.dims)
    whole = xr.DataTree.from_dict(tree)
    whole.attrs = results.attrs
    return whole


@pytest.mark.parametrize("every", [False, True], ids=["one", "all"])
@pytest.mark.parametrize("name", RUN)
@pytest.mark.filterwarnings("ignore")
def test_what_diverges_is_judged_and_drawn(smoke, name, every):
    folder, (code, _, err) = smoke(name)
    assert code == 0, err
    results = broken(folder / "results.nc", every=every)
    experiment = experiment_of(ConfigDict(json.loads(results.attrs["config"])))
    claims = experiment.claims(results)
    assert claims
    assert any(claim.diverged for claim in claims)
    laws = [claim for claim in claims if claim.kind == "law" and claim.diverged == claim.members > 0]
    assert all(law.status in ("fails", "not_judged") for law in laws if "diverge" not in law.statement)
    for figure in experiment.figures(drawable(results)).values():
        plots.note(figure, divergence(results))
        assert "members diverged" in figure.get_supxlabel()
        if name in ("dln_factorization", "jumps_theory", "inverse_decay"):
            figure.savefig(io.BytesIO(), dpi=20)


def test_other_members_keep_every_bit_and_the_diverged_one_ends(smoke):
    folder, _ = smoke("dln_parsimony")
    with xr.open_datatree(folder / "results.nc", engine="h5netcdf") as whole:
        for before, after in zip(groups(whole), groups(broken(folder / "results.nc")), strict=True):
            gone = dict.fromkeys(before.data.diverged_at.dims, 0)
            assert after.diverged == 1
            assert np.isnan(after.data.num_moved[gone][1:]).all()
            np.testing.assert_array_equal(after.data.loss[gone][:1], before.data.loss[gone][:1])
            assert after.data.loss.isnull().sum() == len(before.data.step) - 1
            kept = after.data.loss.notnull()
            np.testing.assert_array_equal(after.data.loss.values[kept], before.data.loss.values[kept])


@pytest.mark.parametrize(("name", "fewest"), [("dln_parsimony", 8), ("jumps_theory", 8), ("inverse_decay", 8)])
@pytest.mark.filterwarnings("ignore")
def test_claims_without_a_diverged_member_are_what_they_were(smoke, name, fewest):
    folder, _ = smoke(name)
    with xr.open_datatree(folder / "results.nc", engine="h5netcdf", decode_times=False) as whole:
        judge_all = experiment_of(ConfigDict(json.loads(whole.attrs["config"]))).claims
        before = judge_all(whole)
    after = judge_all(broken(folder / "results.nc", variants=slice(1)))
    undisturbed = [(one, other) for one, other in zip(before, after, strict=True) if not other.diverged]
    assert fewest <= len(undisturbed) < len(after)
    for one, other in undisturbed:
        assert repr(one) == repr(other)


def test_beside_a_step_size_far_too_large_the_other_members_keep_every_bit(shell, tmp_path):
    """Stepped together with it, on one device: batches of one size, since a batch of another rounds otherwise."""
    small = [f"--config={ROOT / 'configs' / 'dln_momentum.py'}:smoke", "--config.net.width=8", "--config.data.rank=1"]
    small += ["--config.sweep.opt.momentum=0.9,", "--config.run.chunk=2", "--config.run.batch=2"]
    one_device = type(shell)()
    one_device.env = shell.env | {"XLA_FLAGS": f"{shell.env['XLA_FLAGS']} --xla_force_host_platform_device_count=1"}
    runs, verdicts = [], []
    for name, sizes in (("alone", (1e-3,)), ("beside", (1e-3, 5.0))):
        folder = tmp_path / name
        words = [f"--config.sweep.opt.step_size={sizes}", f"--workdir={folder}"]
        code, _, err = one_device.finish(*small, *words)
        assert code == 0, err
        with xr.open_datatree(folder / "results.nc", engine="h5netcdf") as opened:
            (node,) = opened.children.values()
            runs.append(node.to_dataset().load())
        verdicts.append(from_json((folder / "claims.json").read_text()))
    alone, beside = runs
    assert (beside.diverged_at.sel(step_size=5.0) > 0).all()
    xr.testing.assert_identical(beside.sel(step_size=[1e-3]).drop_attrs(), alone.drop_attrs())
    for one, other in zip(*verdicts, strict=True):
        assert (one.members, one.diverged, one.status) == (2, 0, "holds")
        assert (other.members, other.diverged, other.status) == (4, 2, "fails")
        assert (other.measured, other.spread) == (one.measured, one.spread)


def test_the_number_of_the_others_is_shown_and_a_law_fails_all_the_same():
    law = judge(**ABOUT, kind="law", values=[1.0, np.nan, 3.0], relation="<", bound=5.0, diverged=1)
    assert (law.measured, law.spread, law.members, law.diverged, law.status) == (3.0, (1.0, 2.0, 3.0), 3, 1, "fails")
    assert report(**ABOUT, values=[1.0, np.nan, 3.0], diverged=1).measured == 2.0
    assert np.isnan(judge(**ABOUT, kind="law", values=[np.nan], relation="<", bound=5.0, diverged=1).measured)
    printed = judge(**ABOUT, kind="printed", values=[1.0, np.nan], relation="<", bound=5.0, diverged=1)
    assert (printed.status, printed.measured) == ("fails", 1.0)


@pytest.mark.parametrize("statistic", ["median", "mean", "min", "max", "fraction"])
def test_a_member_that_did_not_diverge_and_has_no_number_is_not_left_out(statistic):
    values = [1.0, np.nan, 3.0, np.nan]
    reported = report(**ABOUT, values=values, statistic=statistic, diverged=1)
    assert np.isnan(reported.measured)
    assert reported.status == "fails"
    assert report(**ABOUT, values=values, statistic=statistic, diverged=2).status == "holds"
    for kind in ("law", "printed"):
        found = judge(**ABOUT, kind=kind, values=values, statistic=statistic, relation="<", bound=5.0, diverged=1)
        assert np.isnan(found.measured)


def test_of_members_with_several_numbers_all_of_a_diverged_one_are_left_out():
    rows = [np.array([[1.0, 2.0, 3.0], [np.nan] * 3]), np.array([[4.0, 5.0, 6.0]])]
    assert numbers_apiece(rows) == 3
    assert numbers_apiece([np.ones(4), np.float64(1.0)]) == numbers_apiece([]) == 1
    values = np.concatenate([np.ravel(row) for row in rows])
    assert report(**ABOUT, values=values, diverged=1, apiece=3).measured == 3.5
    assert np.isnan(report(**ABOUT, values=[*values, np.nan], diverged=1, apiece=3).measured)


class Member:
    diverged = 0


def test_outside_the_setting_of_the_bound_a_number_is_shown_and_not_judged():
    verdict = {"relation": "<", "bound": 0.5, "outside": "stated for ELU"}
    claim = over([Member()], lambda _: [0.7, 0.9], **verdict, **ABOUT)
    assert (claim.status, claim.measured, claim.members) == ("not_judged", 0.9, 2)
    assert (claim.relation, claim.bound, claim.statement) == ("", None, "small (not judged: stated for ELU)")
    assert failing([claim]) == ()
    assert over([], lambda _: [0.7], **verdict, **ABOUT).status == "not_run"
    assert over([Member()], lambda _: [0.7], kind="report", outside="stated for ELU", **ABOUT).status == "holds"


@pytest.mark.parametrize("count", [0, 1, 7, 13, 100])
def test_no_two_looks_are_alike(count):
    looks = plots.looks(count)
    assert len({repr(look.curve) for look in looks}) == len({repr(look.points) for look in looks}) == count


@pytest.mark.parametrize("count", [1, 7, 13])
def test_every_series_is_drawn(count):
    axes = Figure().subplots()
    plots.series(axes, np.arange(3), {f"no. {place}": np.ones(3) + place for place in range(count)})
    assert len({(line.get_color(), repr(line._dash_pattern)) for line in axes.lines}) == count
    Figure().savefig(io.BytesIO())


def test_the_largest_of_all_is_a_number_whatever_they_are():
    assert plots.largest([np.arange(3), np.array([np.nan, 1.5, np.inf])]) == 2.0
    assert plots.largest([np.arange(4), np.arange(2)]) == 3.0
    assert plots.largest([np.array([np.nan])], default=7.0) == plots.largest([np.zeros(0)], default=7.0) == 7.0


def test_a_choice_is_told():
    assert plots.some(40, 3, "seeds") == ([0, 20, 39], "3 of 40 seeds")
    assert plots.some(2, 5, "seeds") == ([0, 1], "2 seeds")
    assert plots.some(0, 5, "seeds") == ([], "0 seeds")


def test_a_band_is_that_of_the_members_that_are_numbers():
    axes = Figure().subplots()
    plots.band(axes, np.arange(2), np.array([[1.0, 1.0], [3.0, np.nan], [5.0, 2.0]]), color="black")
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [3.0, 1.5])
