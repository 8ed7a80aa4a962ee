"""Errors are compared where runs differ in one field alone, and times are those at which a curve crosses its level."""

import numpy as np
import pytest
from inverse_problems.decay.cases import lawful, replaced, scaled
from synthetic import cases_of, config_of, runs_of, verdict

from experiments.laws.inverse_problems.decay.measures import arrivals

IDS = ("F2.fit", "F2.slope", "F2.apart")


def test_errors_under_several_weight_decays_are_not_compared():
    lawful, words = cases_of("inverse_problems.decay").lawful, ("sweep.opt.weight_decay=0.001,0.002",)
    before, after = (verdict(lawful, config_of("inverse_dimension", "num_seeds=2", *more)) for more in ((), words))
    assert {before[id].status for id in IDS} == {"holds"}
    assert {(after[id].status, after[id].reason) for id in IDS} == {
        ("not_run", "it compares runs that differ in data.subspace_dimension alone")
    }


@pytest.mark.parametrize(
    ("config", "change", "id", "reason"),
    [
        ("inverse_depth", replaced("L5_early", "regression_error", 1.0), "S4.time", "regression error down to lambda"),
        ("inverse_depth", replaced("L5_early", "regression_error", 1.0), "S4.steps", "regression error down to lambda"),
        ("inverse_depth", replaced("L3_early", "off_subspace_error", 1.0), "S4.time_off", "off-subspace error halved"),
        ("inverse_depth", replaced("L3_early", "off_subspace_error", 1.0), "S4.steps_off", "off-subspace error halved"),
        ("inverse_decay", replaced("rest", "off_subspace_error", 1.0), "S2.accuracy", "a tenth of it"),
    ],
)
def test_times_are_not_compared_with_those_of_members_that_do_not_arrive(config, change, id, reason):
    row = verdict(lawful, config_of(config, "num_seeds=2"), change)[id]
    # A change of one member is one of every decay of a run that is swept.
    late = row.reason.partition(" ")[0]
    assert (row.status, row.reason) == ("not_reached", f"{late} of {row.members} members did not reach {reason}")


def test_times_are_compared_depth_by_depth():
    # The made-up off-subspace error is e^(-(L + 1) x / 2), and deeper networks take (L / 5)^2 times the steps.
    rows = verdict(lawful, config_of("inverse_depth", "num_seeds=2"))
    depths = np.array([2, 3, 4, 5])
    at = 2 * np.log(2) / (depths + 1)
    assert rows["S4.time_off"].measured == pytest.approx(max(at[1:] / at[:-1]), rel=1e-10)
    steps = at * depths**2
    assert rows["S4.steps_off"].measured == pytest.approx(min(steps[1:] / steps[:-1]), rel=1e-10)


def test_the_cost_of_accuracy_is_the_spread_of_steps_times_the_error_at_rest():
    config = config_of("inverse_decay", "num_seeds=2")
    before, after = (
        verdict(lawful, config, *change)["S2.accuracy"].measured
        for change in ((), (scaled("rest", "regression_error", 1.5, 0),))
    )
    # The made-up costs are equal but for this spread, and one member's is then half as large again.
    assert before < 0.02
    assert after == pytest.approx(0.5, abs=2 * before)


@pytest.mark.parametrize("in_steps", [True, False])
def test_an_error_arrives_where_its_curve_crosses_the_level(in_steps):
    (run,) = (run for run in runs_of(lawful, config_of("inverse_depth", "num_seeds=2")) if run.variant == "L3_early")
    # The made-up off-subspace error of three layers is e^(-2x), and x = horizon (5/3)^2 t / t_end.
    levels = np.array([0.5, 0.9])
    exact = -np.log(levels) / 2
    expected = exact / (run.config.opt.horizon * (5 / 3) ** 2 / run.steps[-1]) if in_steps else exact
    np.testing.assert_allclose(arrivals(run, "off_subspace_error", levels, in_steps=in_steps), expected, rtol=1e-10)
    edges = arrivals(run, "off_subspace_error", np.array([1.0, 1e-9]), in_steps=in_steps)
    assert list(edges) == [0.0, np.inf]
