"""The experiment of the small equivalent network: its rules, its verdict on made-up results, one run to the end."""

import functools as ft
import json

import numpy as np
import pytest
import synthetic
import xarray as xr

from experiments.laws.parsimony.compression import system as compression
from experiments.runner.checks import collect
from experiments.runner.settings import expand, to_plain

config_of = ft.partial(synthetic.config_of, "dln_factorization", profile="smoke")


def test_a_smoke_run_holds_every_claim_and_draws_every_figure(smoke):
    folder, (code, out, err) = smoke("dln_factorization")
    assert code == 0, out + err
    claims = json.loads((folder / "claims.json").read_text())
    assert len(claims) == 5
    assert {claim["status"] for claim in claims} == {"holds"}
    drawn = {path.stem for path in (folder / "figures").glob("*.png")}
    assert drawn == {"trajectory_pair_d24_r2", "trajectory_control_d24_r2", "trajectory_unfolded_d24_r2", "small_alone"}


RULES = {
    "shallow": ({"net.depth": 1}, "net.depth = 1: must be an integer >= 2"),
    "narrow": ({"data.rank": 12}, "must exceed 2 * data.rank = 24"),
    "kind": ({"net.kind": "x"}, "net.kind = 'x': must be one of 'pair', 'control', 'small'"),
    "tolerance": ({"opt.tolerance": 0.0}, "opt.tolerance = 0.0: must be a finite number > 0.0"),
    "skipping control": ({"net.kind": "control", "net.skip": 5}, "net.skip = 5: must be 0 unless net.kind = 'pair'"),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_setting_out_of_range_is_refused(rule):
    fields, message = RULES[rule]
    config = config_of()
    with config.unlocked():
        config.variants = ({"net.width": 24, "data.rank": 2} | fields,)
    problems = collect(config, compression.validate)
    assert any(message in problem for problem in problems), problems


DONE, NUM_STEPS, PREDICTED = 700, 8000, 1e-5
FIELDS = ("distance", "predicted_distance", "whole_distance", "reduced_done", "full_loss", "reduced_loss")


def results(**changes):
    """Made-up results in which everything holds, but for the changes: a pair, its control, and a small one alone."""
    nodes = {}
    seen = {
        "distance": PREDICTED * (1 + 1e-6),
        "predicted_distance": PREDICTED,
        "whole_distance": 1e-14,
        "reduced_done": DONE,
        "full_loss": 1e-11,
        "reduced_loss": 1e-11,
        "full_core": 1.0,
        "reduced_core": 1.0,
        "converged_at": DONE,
        "control_distance": 0.3,
        "diverged_at": -1,
    } | changes
    for name, config in expand(config_of()):
        kind, shape = config.net.kind, (config.num_seeds, 3)
        data = {field: (("seed", "step"), np.full(shape, seen[field])) for field in FIELDS}
        cores = {field: np.full((*shape, 2, 2), seen[field]) for field in ("full_core", "reduced_core")}
        for core in cores.values():
            core[:, 0] = 0.0
        data |= {field: (("seed", "step", "row", "column"), core) for field, core in cores.items()}
        if kind == "control":
            data["whole_distance"] = (("seed", "step"), np.full(shape, seen["control_distance"]))
        data |= {mark: ("seed", np.full(shape[0], seen[mark])) for mark in ("converged_at", "diverged_at")}
        coordinates = {"seed": np.arange(shape[0]), "step": [0, 10, NUM_STEPS]}
        nodes[name] = xr.DataTree(xr.Dataset(data, coordinates, {"config": json.dumps(to_plain(config))}))
    return xr.DataTree(children=nodes)


def statuses(**changes):
    return [claim.status for claim in compression.claims(results(**changes))]


def test_the_verdict_holds_where_everything_is_as_predicted():
    assert statuses() == ["holds"] * 5


@pytest.mark.parametrize(
    ("place", "changes"),
    [
        (0, {"reduced_done": DONE + 1}),
        (1, {"distance": PREDICTED * 1.002}),
        (1, {"distance": PREDICTED * 0.998}),
        (2, {"whole_distance": 2e-11}),
        (2, {"whole_distance": np.nan}),
        (3, {"control_distance": 1e-12}),
    ],
)
def test_each_claim_can_fail_alone(place, changes):
    found = statuses(**changes)
    assert found.pop(place) == "fails"
    assert set(found) == {"holds"}


def test_equal_steps_are_not_claimed_of_runs_that_were_cut():
    assert statuses(converged_at=-1, reduced_done=-1) == ["not_run", "holds", "holds", "holds", "fails"]


def test_a_member_that_was_cut_is_no_member_of_equal_steps():
    assert statuses(converged_at=np.array([DONE, -1]), reduced_done=[[DONE] * 3, [-1] * 3])[0] == "fails"


def test_a_member_that_diverged_is_drawn_up_to_there():
    drawn = compression.figures(results(converged_at=-1, diverged_at=10, full_core=np.nan))
    assert len(drawn) == 4
