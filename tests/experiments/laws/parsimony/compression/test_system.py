"""The experiment of the small equivalent network: its figures, and one run to the end."""

import functools as ft
import json

import numpy as np
import synthetic

from experiments.laws.parsimony.compression import EXPERIMENT
from experiments.runner.runs import runs

config_of = ft.partial(synthetic.config_of, "dln_factorization", profile="smoke")
cases = synthetic.cases_of("parsimony.compression")


def test_a_smoke_run_holds_every_claim_and_draws_every_figure(smoke):
    folder, (code, out, err) = smoke("dln_factorization")
    assert code == 0, out + err
    claims = json.loads((folder / "claims.json").read_text())["claims"]
    assert [claim["status"] for claim in claims] == ["holds"] * 4
    drawn = {path.stem for path in (folder / "figures").glob("*.png")}
    assert drawn == {"trajectory_pair_d24_r2", "trajectory_control_d24_r2", "trajectory_unfolded_d24_r2", "small_alone"}


def test_steps_of_a_pair_that_was_cut_short_are_not_claimed():
    def cut(name, seen):
        if name == "unfolded_d24_r2":
            seen["converged_at"][:] = seen["reduced_done"][:] = -1

    rows = synthetic.verdict(cases.lawful, config_of(), cut)
    assert (rows["F1.steps"].status, rows["F1.steps"].members) == ("holds", 2)
    assert (rows["F1.distance"].status, rows["F1.distance"].members) == ("holds", 4)


def test_a_member_that_diverged_is_drawn_up_to_there():
    def diverged(name, seen):
        seen["diverged_at"][:] = 10
        seen["converged_at"][:] = -1
        if "full_core" in seen:
            seen["full_core"][:] = np.nan

    results = synthetic.results_of(cases.lawful, config_of(), diverged)
    assert len(EXPERIMENT.figures(runs(results, drawn=True))) == 4
