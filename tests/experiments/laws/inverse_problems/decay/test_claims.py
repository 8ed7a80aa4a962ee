"""Errors are compared where runs differ in one field alone, and times are those at which a curve crosses its level."""

import numpy as np
import pytest
from inverse_problems.decay.cases import lawful
from synthetic import cases_of, config_of, runs_of, verdict

from experiments.laws.inverse_problems.decay.speed import arrivals

IDS = ("F2.fit", "F2.slope", "F2.apart")


def test_errors_under_several_weight_decays_are_not_compared():
    lawful, words = cases_of("inverse_problems.decay").lawful, ("sweep.opt.weight_decay=0.001,0.002",)
    before, after = (verdict(lawful, config_of("inverse_dimension", "num_seeds=2", *more)) for more in ((), words))
    assert {before[id].status for id in IDS} == {"holds"}
    assert {(after[id].status, after[id].reason) for id in IDS} == {
        ("not_run", "it compares runs that differ in data.subspace_dimension alone")
    }


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
