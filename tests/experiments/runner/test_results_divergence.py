"""Members that diverge: the verdict and the figures leave nothing else out, and say what they leave out."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from liveness import communicate
from ml_collections import ConfigDict
from synthetic import experiment_of

from experiments.runner import plots
from experiments.runner.claims import from_json
from experiments.runner.laws import judged
from experiments.runner.runs import divergence, runs
from experiments.runner.summary import summarized

ROOT = Path(__file__).parents[3]
# One of each experiment, of those that other tests run too.
RUN = ("dln_parsimony", "dln_factorization", "completion_gamma", "mlp_gradient_decay", "mlp_deep", "jumps_annealing")
RUN += ("jumps_theory", "collapse_scale", "induced_flow", "inverse_decay")


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
    claims = judged(experiment.laws, runs(results))
    assert claims
    about_that = {law.id for law in experiment.laws if law.counts_divergence}
    found = [claim for claim in claims if claim.id.split("[")[0] not in about_that]
    lost = [claim for claim in found if claim.diverged == claim.members > 0]
    assert all(claim.status in ("fails", "stands", "not_judged") for claim in lost)
    rows = summarized(runs(results), experiment.summary, experiment.comparisons)["runs"]
    assert sum(row["diverged"] for row in rows) == sum(run.num_diverged for run in runs(results)) > 0
    for figure in experiment.figures(runs(results, drawn=True)).values():
        plots.note(figure, divergence(runs(results)))
        assert "members diverged" in figure.get_supxlabel()
        if name in ("dln_factorization", "jumps_theory", "inverse_decay"):
            figure.savefig(io.BytesIO(), dpi=20)


def test_other_members_keep_every_bit_and_the_diverged_one_ends(smoke):
    folder, _ = smoke("dln_parsimony")
    with xr.open_datatree(folder / "results.nc", engine="h5netcdf") as whole:
        first = set()
        for before, after in zip(runs(whole), runs(broken(folder / "results.nc")), strict=True):
            lost = before.variant not in first
            first.add(before.variant)
            assert after.num_diverged == lost
            assert np.isnan(after.all("num_moved")[0, 1:]).all() == lost
            np.testing.assert_array_equal(after.first("loss"), before.first("loss"))
            assert np.isnan(after.all("loss")).sum() == lost * (len(before.steps) - 1)
            kept = np.isfinite(after.all("loss"))
            np.testing.assert_array_equal(after.all("loss")[kept], before.all("loss")[kept])


@pytest.mark.parametrize(("name", "fewest"), [("dln_parsimony", 8), ("jumps_theory", 8), ("inverse_decay", 4)])
@pytest.mark.filterwarnings("ignore")
def test_claims_without_a_diverged_member_are_what_they_were(smoke, name, fewest):
    folder, _ = smoke(name)
    with xr.open_datatree(folder / "results.nc", engine="h5netcdf", decode_times=False) as whole:
        laws = experiment_of(ConfigDict(json.loads(whole.attrs["config"]))).laws
        before = judged(laws, runs(whole))
    after = judged(laws, runs(broken(folder / "results.nc", variants=slice(1))))
    undisturbed = [(one, other) for one, other in zip(before, after, strict=True) if not other.diverged]
    assert fewest <= len(undisturbed) < len(after)
    for one, other in undisturbed:
        assert repr(one) == repr(other)


# One run after the other in a process, without the pictures.
IN_TURN = """
import sys
from experiments.main import main
from experiments.runner import conclude
conclude.plots.save = lambda *_: None
folder, runs, *words = sys.argv[1:]
for name, sizes in eval(runs):
    if code := main([*words, f"--config.sweep.opt.step_size={sizes}", f"--workdir={folder}/{name}"]):
        sys.exit(code)
"""


def test_beside_a_step_size_far_too_large_the_other_members_keep_every_bit(shell, tmp_path):
    """Stepped together with it, on one device: batches of one size, since a batch of another rounds otherwise."""
    small = [f"--config={ROOT / 'configs' / 'dln_momentum.py'}:smoke", "--config.net.width=8", "--config.data.rank=1"]
    small += ["--config.sweep.opt.momentum=0.9,", "--config.run.chunk=2", "--config.run.batch=2"]
    one_device = type(shell)()
    one_device.env = shell.env | {"XLA_FLAGS": f"{shell.env['XLA_FLAGS']} --xla_force_host_platform_device_count=1"}
    sizes = [("alone", (1e-3,)), ("beside", (1e-3, 5.0))]
    with one_device.program(IN_TURN, tmp_path, sizes, *small) as process:
        _, err = communicate(process)
    assert process.returncode == 0, err
    runs, verdicts = [], []
    for folder in (tmp_path / name for name, _ in sizes):
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
