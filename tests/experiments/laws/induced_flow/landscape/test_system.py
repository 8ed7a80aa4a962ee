"""Landscape and limits from end to end: the smoke run, states that depend on the time alone, the kinds of starts."""

import json

import jax
import numpy as np
from induced_flow.landscape.cases import lawful
from synthetic import config_of, runs_of

from experiments.laws.induced_flow.landscape.measures import start
from experiments.laws.induced_flow.landscape.system import dynamics
from experiments.runner.settings import expand
from lawlib.dynamics.system import simulate


def test_the_smoke_run_of_the_landscape_keeps_its_laws(smoke):
    folder, (code, _, err) = smoke("induced_flow_landscape")
    assert code == 0, err
    status = {row["id"]: row["status"] for row in json.loads((folder / "claims.json").read_text())["claims"]}
    missing = ("T16.opposite", "flow.unbalanced", "flow.rank", "T8.zero_deep", "T8.zero_excess")
    expected = {"T8.zero": "refuted"} | dict.fromkeys(missing, "not_run")
    assert status == dict.fromkeys(status, "holds") | expected
    assert {path.stem for path in (folder / "figures").glob("*.png")} == {"convergence", "stationary"}


def test_each_time_draws_a_state_of_its_own():
    ((_, config),) = expand(config_of("induced_flow_landscape", "name=states_N2"))
    system = dynamics(config)
    run = jax.jit(lambda: [simulate(system, jax.random.key(3), {}, (), times).observations for times in ((1, 2), (2,))])
    both, second = run()
    for name, values in both.items():
        assert values[1] == second[name][0]
        assert values[0] != values[1]
        assert np.all(np.isfinite(values))


def test_starts_are_told_apart():
    found = runs_of(lawful, config_of("induced_flow_landscape", num_seeds=1))
    flows = {run.label: start(run) for run in found if run.config.study == "convergence"}
    assert flows == {
        "flow_N2, least=0.35": "inside",
        "flow_N2, least=-0.7": "negative",
        "flow_N3, least=0.35, skew=1": "inside",
        "flow_N3, least=0.35, skew=1.5": "unbalanced",
        "flow_N3, least=-0.7, skew=1": "negative",
        "flow_N3, least=-0.7, skew=1.5": "",
        "flow_N5, least=0.35": "inside",
        "flow_N5, least=-0.7": "negative",
        "opposite_N2": "opposite",
        "opposite_N3": "opposite",
        "rank2_N3": "",
    }
    assert {start(run) for run in found if run.config.study != "convergence"} == {""}
