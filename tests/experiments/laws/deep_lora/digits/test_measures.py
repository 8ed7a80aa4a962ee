"""The best step size of each form and rank, and the differences, on numbers that are read off."""

import numpy as np
import pytest
import synthetic

from experiments.laws.deep_lora.digits import measures
from experiments.laws.deep_lora.digits.claims import COMPARISONS

cases = synthetic.cases_of("deep_lora.digits")
config_of = synthetic.config_of


def runs(change=synthetic.unchanged):
    return synthetic.runs_of(cases.lawful, config_of("deep_lora_digits", "num_seeds=2", "observe.num_times=3"), change)


def diverging(name, seen):
    if name == "lora_r8":
        # Of two seeds of three step sizes, seeds slowest, one member of the best.
        seen["diverged_at"][1] = 10
        seen["test_accuracy"][1, 1:] = np.nan


def test_the_best_step_size_is_that_of_the_highest_mean_at_the_end():
    chosen = measures.best(runs())
    assert {name: sorted(ranks) for name, ranks in chosen.items()} == {
        "LoRA": [4, 8, 16, 32, 64],
        "Deep LoRA, gamma = 0.01": [4, 8, 16, 32, 64],
        "Deep LoRA, gamma = 1": [4, 8, 16, 32, 64],
        "Deep LoRA, d x d factors": [16],
    }
    assert {run.config.opt.step_size for own in chosen.values() for run in own.values()} == {0.01}


def test_a_step_size_at_which_a_member_diverges_is_not_the_best():
    assert measures.best(runs(diverging))["LoRA"][8].config.opt.step_size != 0.01


def test_the_compared_are_of_one_rank_and_the_spread_is_over_ranks():
    def worse(name, seen):
        if name == "deep_r4":
            seen["test_accuracy"][:, -1] = (0.5, 0.6, 0.4, 0.5, 0.7, 0.4)

    compared = {heading: compare(runs(worse)) for heading, compare in COMPARISONS.items()}
    minus = compared["test accuracy minus LoRA's, each at its best step size"]
    np.testing.assert_allclose(minus["Deep LoRA, gamma = 0.01, rank 4"], [0.6 - 0.78, 0.7 - 0.78])
    np.testing.assert_allclose(minus["Deep LoRA, gamma = 0.01, rank 8"], [0, 0], atol=1e-15)
    assert not any("d x d" in name for name in minus)
    spread = compared["largest minus smallest test accuracy over the ranks"]
    np.testing.assert_allclose(spread["Deep LoRA, gamma = 0.01"], [0.18, 0.08])
    assert spread["LoRA"].max() == pytest.approx(0, abs=1e-15)
