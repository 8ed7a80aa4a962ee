"""The experiments of the induced flow and its landscape: their rules, and their verdicts on runs and on broken runs."""

import json

import numpy as np
import pytest
import xarray as xr
from synthetic import config_of, failing

from experiments import flow_landscape, induced_flow
from experiments.checks import collect

RULES = {
    "depth": ("induced_flow", {"sweep.net.depth": (1.0,)}, "sweep.net.depth = 1.0: must be a finite number >= 2.0"),
    "alpha": (
        "induced_flow",
        {"bound.alpha": 0.87},
        "bound.alpha = 0.87: must be below cos(start.angle) = 0.866, the start's own alignment",
    ),
    "gap": (
        "induced_flow",
        {"data.gap_unit": "one", "data.gap": 0.9, "data.num_outputs": 3, "study": "clock"},
        "bound.alpha = 0.85: must lie in (gamma_Z, 1), above every data.gap",
    ),
    "start": ("induced_flow", {"start.ratio": 0.0}, "start.ratio = 0.0: must be a finite number > 0.0"),
    "rank of X": (
        "induced_flow",
        {"data.num_samples": 4},
        "data.num_samples = 4: must be at least data.num_inputs = 5: whitened inputs have full row rank",
    ),
    "rows": (
        "induced_flow",
        {"data.num_outputs": 3},
        "data.num_outputs = 3: must be 1 for the study time: Euler's steps keep rank one for a row only",
    ),
    "layers": (
        "induced_flow_landscape",
        {"net.widths": (5, 3)},
        "net.widths = (5, 3): must be three or more positive sizes (d_x, ..., d_y): depth N >= 2",
    ),
    "alpha above the gap": (
        "induced_flow_landscape",
        {"bound.alpha": 0.2},
        "bound.alpha = 0.2: must lie in (gamma_Z, 1) = (0.3, 1)",
    ),
}


@pytest.mark.parametrize(("name", "fields", "line"), RULES.values(), ids=RULES)
def test_every_rule_has_its_line(name, fields, line):
    experiment = {"induced_flow": induced_flow, "induced_flow_landscape": flow_landscape}[name]
    lines = collect(config_of(name, f"variants=({fields!r},)"), experiment.validate)
    assert line in lines
    assert len(lines) == 1 or "start" in line


@pytest.mark.parametrize("name", ["induced_flow", "induced_flow_landscape"])
@pytest.mark.parametrize("profile", ["smoke", "cpu", "paper"])
def test_our_own_configs_pass(name, profile):
    experiment = {"induced_flow": induced_flow, "induced_flow_landscape": flow_landscape}[name]
    assert collect(config_of(name, profile=profile), experiment.validate) == []


def smoke_results(smoke, name):
    folder, (code, _, err) = smoke(name)
    assert code == 0, err
    claims = json.loads((folder / "claims.json").read_text())
    with xr.open_datatree(folder / "results.nc") as results:
        return folder, claims, results.load()


def broken(results, group, name, change):
    """The results with one observation of one variant changed."""
    tree = results.copy(deep=True)
    data = tree[group].to_dataset()
    data[name] = (data[name].dims, change(data[name].values.copy()), data[name].attrs)
    tree[group] = xr.DataTree(data)
    return tree


def last(value):
    def change(values):
        values.reshape(-1)[-1] = value
        return values

    return change


FLOW_BREAKS = {
    "bound": ("clock_fixed", "excess", last(0.01), "d_y = 1 (Figure 1): ln of"),
    "left the set": ("fixed", "in_set", last(0.0), "W(t) stays in N_{alpha,beta}"),
    "turned back": ("fixed", "alignment", last(0.0), "u^T Z_1 v never falls"),
    "no collapse": (
        "clock_fixed",
        "distance",
        lambda x: x + 1e-4 * (np.arange(len(x)) == 0)[:, None, None, None],
        "d_y = 1: the distance depends",
    ),
    "nearby": ("clock_fixed", "rate", lambda x: 1.05 * x, "d_y = 1: rate of ||Z_1 - W||"),
}


@pytest.mark.timeout(400)
def test_a_smoke_run_of_figure_1_and_what_breaks_its_claims(smoke):
    folder, claims, results = smoke_results(smoke, "induced_flow")
    allowed = {"the bound as printed in (38)"}  # the short profile ends before tau
    assert all(c["status"] != "fails" or any(c["statement"].startswith(a) for a in allowed) for c in claims)
    assert {path.stem for path in (folder / "figures").glob("*.png")} == {"distance", "clock"}
    before = set(failing(induced_flow.claims(results)))
    for group, name, change, start in FLOW_BREAKS.values():
        new = set(failing(induced_flow.claims(broken(results, group, name, change)))) - before
        assert any(statement.startswith(start) for statement in new), start


LANDSCAPE_BREAKS = {
    "not there": ("inside_N3", "distance", last(1e-7), "balanced starts in N_alpha converge"),
    "near zero": ("inside_N3", "value", last(0.01), "they stay away from 0"),
    "two flows": ("inside_N3", "induced", last(1e-7), "from balanced factors gradient flow induces"),
    "imbalance": ("inside_N3", "drift", last(1e-8), "the imbalance is kept"),
    "operator": ("states_N2", "operator", last(1e-11), "definition, SVD form and closed form"),
    "lemma": ("states_N2", "rate_slack", last(-1e-8), "Lemma 18: its slack"),
    "gradient": ("stationary_N3", "gradient", last(1e-9), "stationary points: ||grad"),
    "a spurious point": ("stationary_N3", "smallest", lambda x: 0 * x, "those that are not global"),
    "a curved minimum": ("stationary_N3", "smallest", lambda x: x - 0.1, "those that are global"),
}


@pytest.mark.timeout(400)
def test_a_smoke_run_of_the_landscape_and_what_breaks_its_claims(smoke):
    folder, claims, results = smoke_results(smoke, "induced_flow_landscape")
    assert {c["status"] for c in claims} <= {"holds", "not_run"}
    assert {path.stem for path in (folder / "figures").glob("*.png")} == {"convergence", "lemmas", "stationary"}
    for group, name, change, start in LANDSCAPE_BREAKS.values():
        new = failing(flow_landscape.claims(broken(results, group, name, change)))
        assert any(statement.startswith(start) for statement in new), start
