"""The measures of deep smooth networks, and their laws in other settings than ours."""

import numpy as np
import pytest
from smooth_mlp.deep.cases import EVERY, lawful, put
from synthetic import config_of, results_of, runs_of, verdict

from experiments.laws.smooth_mlp.deep.claims import SUMMARY
from experiments.laws.smooth_mlp.deep.figures import figures
from experiments.laws.smooth_mlp.deep.measures import last_minority, lead_matched, matched_step, shares_matched
from experiments.runner.runs import find, runs


def rows_of(name, *words, change=lambda name, seen: None):
    return verdict(lawful, config_of(name, "num_seeds=3", *words), change)


def changed(name, change):
    return runs_of(lawful, config_of(name, "num_seeds=3"), change)


def test_the_step_of_the_matched_loss_is_that_of_the_members_that_reach_it():
    found = changed("mlp_spectra", put("elu", "loss", (slice(1, None),), 2.0))
    # exp(-t / 100) <= 0.55 first at t = 60.
    for run in found:
        np.testing.assert_array_equal(matched_step(run), [60, 60, np.nan if run.variant == "elu" else 60])


def test_a_loss_that_no_member_reaches_is_an_event_that_did_not_come():
    def high(name, seen):
        if name in ("elu", "gelu", "silu"):
            seen["loss"][:, 1:] = 2.0

    rows = rows_of("mlp_spectra", change=high)
    assert (rows["F8.smooth.matched"].status, rows["F8.smooth.matched"].members) == ("not_reached", 9)
    assert rows["F8.kinked.matched"].status == "holds"
    # An activation that never has the loss of the others cannot be compared with them.
    rows = rows_of("mlp_spectra", change=put("elu", "loss", (slice(1, None),), 2.0, EVERY))
    assert rows["F8.smooth.matched"].status == "fails"


def test_the_last_epoch_without_a_majority_is_the_last_observed_one():
    found = changed("mlp_optimizers", put("elu_muon", "fractions", (25, 0, 0), 0.4))
    (run,) = find(found, name="elu_muon")
    np.testing.assert_array_equal(last_minority(run), [24, 24, 50])  # every second epoch is observed


def test_shares_at_equal_loss_are_those_of_each_members_own_step():
    def change(name, seen):
        if name == "elu_adam":
            seen["loss"][1, 40:], seen["loss"][2, 1:] = 0.5, 2.0
            seen["fractions"][1, 40, 0, 0] = 0.61

    found = changed("mlp_symmetry", change)
    (adam,), (shampoo,) = find(found, name="elu_adam"), find(found, name="elu_shampoo")
    np.testing.assert_array_equal(shares_matched(adam)[:, 0], [0.6, 0.61, np.nan])
    np.testing.assert_allclose(lead_matched([adam, shampoo]), [0.3, 0.31, np.nan])
    np.testing.assert_allclose(lead_matched([shampoo, adam], "random_fractions"), [0, 0, np.nan])


def test_the_summary_has_a_column_for_each_layer():
    (run, *_) = changed("mlp_deep", put("elu_d64", "fractions", (-1, 1, 0), 0.5))
    columns = [SUMMARY[f"block 1's share in layer {layer}"](run) for layer in (1, 2, 3)]
    np.testing.assert_allclose(columns, [[0.98] * 3, [0.98, 0.98, 0.5], [0.98] * 3])


@pytest.mark.parametrize(
    ("name", "word"),
    [("mlp_spectra", "opt.step_size=2e-3"), ("mlp_deep", "net.scale=0.2"), ("mlp_optimizers", "net.scale=0.2")],
)
def test_bounds_are_not_carried_to_other_settings(name, word):
    rows = rows_of(name, word).values()
    assert {row.status for row in rows} == {"not_judged"}
    assert all(row.members and np.isfinite(row.measured) for row in rows)


def test_step_sizes_are_those_of_the_activation():
    swapped = rows_of("mlp_optimizers", "variants=({'net.activation': 'gelu', 'opt.step_size': 1e-4},)")
    assert swapped["F5.worst[GELU, SGD]"].status == "not_judged"


def test_a_run_too_short_or_observed_too_rarely_judges_no_middle():
    for words in (("opt.num_steps=50", "observe.num_times=51"), ("observe.num_times=7",)):
        statuses = {id: row.status for id, row in rows_of("mlp_spectra", *words).items()}
        short = "opt.num_steps=50" in words
        matched = "not_reached" if short else "not_run"
        assert {statuses[f"F8.{kind}.matched"] for kind in ("smooth", "kinked")} == {matched}
        assert (statuses["F8.smooth.100"] == "not_run") == short


@pytest.mark.parametrize("name", ["mlp_spectra", "mlp_deep", "mlp_optimizers", "mlp_symmetry"])
def test_the_figures_have_a_panel_for_every_layer(name):
    two = config_of(name).variants[-2:]
    config = config_of(name, "num_seeds=3", f"variants={two!r}", "observe.num_times=11")
    drawn = figures(runs(results_of(lawful, config), drawn=True))
    sizes = {"singular_values": 6, "middle": 6, "ends": 6} if name == "mlp_spectra" else {"fractions": 6, "final": 3}
    sizes = {"fractions": 6, "matched": 3} if name == "mlp_symmetry" else sizes
    assert {name: len(figure.axes) for name, figure in drawn.items()} == sizes
    assert all(figure.legends for figure in drawn.values())
