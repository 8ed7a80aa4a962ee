"""The experiments of the induced flow and its landscape: their rules, and their verdicts on runs and on broken runs."""

import functools as ft
import json

import numpy as np
import pytest
import synthetic
import xarray as xr
from synthetic import failing, results_of

from experiments.laws.induced_flow.landscape import system as landscape
from experiments.laws.induced_flow.rank_one import system as rank_one
from experiments.runner.checks import collect

config_of = ft.partial(synthetic.config_of, num_seeds=3)

RULES = {
    "depth": ("induced_flow", {"sweep.net.depth": (1.0,)}, "sweep.net.depth = 1.0: must be a finite number >= 2.0"),
    "alpha": (
        "induced_flow",
        {"bound.alpha": 0.87},
        "bound.alpha = 0.87: must be below cos(start.angle) = 0.866, the start's own alignment",
    ),
    "spectral_ratio": (
        "induced_flow",
        {
            "data.spectral_ratio_unit": "one",
            "data.spectral_ratio": 0.9,
            "data.num_outputs": 3,
            "study": "rescaled_time",
            "sweep.data.scale": (1.0,),
        },
        "bound.alpha = 0.85: must lie in (gamma_Z, 1), above every data.spectral_ratio",
    ),
    "no start": ("induced_flow", {"start.ratio": 0.0}, "start.ratio = 0.0: must be a finite number > 0.0"),
    "start": (
        "induced_flow",
        {"start.ratio": 0.5},
        "start.ratio = 0.5: must exceed bound.alpha = 0.85, so that W_0 is in N_alpha",
    ),
    "rank of X": (
        "induced_flow",
        {"data.num_samples": 4},
        "data.num_samples = 4: must be at least data.num_inputs = 5: whitened inputs have full row rank",
    ),
    "rows": (
        "induced_flow",
        {"data.num_outputs": 3, "sweep.data.scale": (1.0,)},
        "data.num_outputs = 3: must be 1 for the study time: Euler's steps keep rank one for a row only",
    ),
    "layers": (
        "induced_flow_landscape",
        {"net.widths": (5, 3)},
        "net.widths = (5, 3): must be three or more positive sizes (d_x, ..., d_y): depth N >= 2",
    ),
    "alignments": (
        "induced_flow_landscape",
        {"start.least": 0.5},
        "start.spread = 0.65: must leave start.least + start.spread, here 1.15, at most 1",
    ),
    "alpha above the gap": (
        "induced_flow_landscape",
        {"bound.alpha": 0.2},
        "bound.alpha = 0.2: must lie in (gamma_Z, 1) = (0.3, 1)",
    ),
}


@pytest.mark.parametrize(("name", "fields", "line"), RULES.values(), ids=RULES)
def test_every_rule_has_its_line(name, fields, line):
    experiment = {"induced_flow": rank_one, "induced_flow_landscape": landscape}[name]
    lines = collect(config_of(name, f"variants=({fields!r},)"), experiment.validate)
    assert line in lines
    assert len(lines) == 1 or "start" in line


@pytest.mark.parametrize("name", ["induced_flow", "induced_flow_landscape"])
@pytest.mark.parametrize("profile", ["smoke", "cpu", "paper"])
def test_our_own_configs_pass(name, profile):
    experiment = {"induced_flow": rank_one, "induced_flow_landscape": landscape}[name]
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


def at_end(value, *member):
    """Change the last value of one member, or of the last one."""

    def change(values):
        values[member or (-1,) * (values.ndim - 1)][..., -1] = value
        return values

    return change


FLOW_BREAKS = {
    "bound": ("rescaled_time", "excess", at_end(0.01), "d_y = 1 (Figure 1): ln of"),
    "left the set": ("time", "in_set", at_end(0.0), "W(t) stays in N_{alpha,beta}"),
    "turned back": ("time", "alignment", at_end(0.0), "u^T Z_1 v never falls"),
    "no collapse": (
        "rescaled_time",
        "distance",
        lambda x: x + 1e-4 * (np.arange(len(x)) == 0)[:, None, None, None],
        "d_y = 1: the distance depends",
    ),
    "nearby": ("rescaled_time", "rate", lambda x: 1.05 * x, "d_y = 1: rate of ||Z_1 - W||"),
}


def test_a_smoke_run_of_figure_1_and_what_breaks_its_claims(smoke):
    folder, claims, results = smoke_results(smoke, "induced_flow")
    allowed = {"the bound as printed in (38)"}  # the short profile ends before tau
    assert all(c["status"] != "fails" or any(c["statement"].startswith(a) for a in allowed) for c in claims)
    assert {path.stem for path in (folder / "figures").glob("*.png")} == {"distance", "rescaled_time"}
    before = set(failing(rank_one.claims(results)))
    for group, name, change, start in FLOW_BREAKS.values():
        new = set(failing(rank_one.claims(broken(results, group, name, change)))) - before
        assert any(statement.startswith(start) for statement in new), start


# The first member of a seed starts in N_alpha, the second against Z_1.
INSIDE = (1, 0)
LANDSCAPE_BREAKS = {
    "not there": ("flow_N2", "distance", at_end(1e-7, *INSIDE), "balanced starts in N_alpha converge"),
    "near zero": ("flow_N2", "value", at_end(0.01, *INSIDE), "they stay away from 0"),
    "control": ("flow_N2", "distance", at_end(1e-7), "N_alpha is not necessary"),
    "two flows": ("flow_N2", "induced", at_end(1e-7), "from balanced factors gradient flow induces"),
    "imbalance": ("flow_N2", "drift", at_end(1e-8), "the imbalance is kept"),
    "gradient": ("stationary_N2", "gradient", at_end(1e-9), "stationary points: ||grad"),
    "a spurious point": ("stationary_N2", "smallest", lambda x: 0 * x, "those that are not global"),
    "a curved minimum": ("stationary_N2", "smallest", lambda x: x - 0.1, "those that are global"),
}


def test_a_smoke_run_of_the_landscape_and_what_breaks_its_claims(smoke):
    folder, claims, results = smoke_results(smoke, "induced_flow_landscape")
    assert {c["status"] for c in claims} <= {"holds", "not_run"}
    assert {path.stem for path in (folder / "figures").glob("*.png")} == {"convergence", "stationary"}
    for group, name, change, start in LANDSCAPE_BREAKS.values():
        new = failing(landscape.claims(broken(results, group, name, change)))
        assert any(statement.startswith(start) for statement in new), start


LAWFUL_STATES = {
    "operator": 1e-15,
    "loss_slack": 0.1,
    "rate_slack": 0.0,
    "turning": 0.1,
    "from_below": 0.1,
    "from_above": -0.1,
}
STATE_BREAKS = {
    "operator": (1e-11, "definition, SVD form and closed form"),
    "loss_slack": (-1e-8, "(33)"),
    "rate_slack": (-1e-8, "Lemma 18: its slack"),
    "turning": (0.0, "in N_alpha u^T Z_1 v rises"),
    "from_below": (0.0, "the flow enters where s = (alpha"),
    "from_above": (0.0, "the flow enters where s = beta"),
}


@pytest.mark.parametrize("broken_name", [None, *STATE_BREAKS])
def test_one_state_against_a_lemma_fails_it(broken_name):
    config = config_of("induced_flow_landscape", "variants=({'study': 'states', 'name': 'states'},)")

    def lawful(own):
        shape = (own.num_seeds, own.observe.num_times)
        marks = {name: np.full(own.num_seeds, -1) for name in ("converged_at", "diverged_at")}
        return {name: np.full(shape, value) for name, value in LAWFUL_STATES.items()} | marks

    def change(_, seen):
        if broken_name:
            seen[broken_name][1, 2] = STATE_BREAKS[broken_name][0]

    found = failing(landscape.claims(results_of(lawful, landscape.VARIABLES, config, change)))
    expected = [STATE_BREAKS[broken_name][1]] if broken_name else []
    assert len(found) == len(expected)
    assert all(statement.startswith(start) for statement, start in zip(found, expected, strict=True))
