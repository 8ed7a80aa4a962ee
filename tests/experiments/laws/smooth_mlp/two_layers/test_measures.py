"""The measures of two-layer smooth MLPs, and their laws in other settings than ours."""

import numpy as np
import pytest
import scipy.stats
from smooth_mlp.two_layers.cases import lawful, scaled
from synthetic import config_of, runs_of, verdict

from experiments.laws.smooth_mlp.two_layers.measures import Bounded, exponents, lemma_d9, measured, secant, slopes
from experiments.laws.smooth_mlp.two_layers.summary import COMPARISONS, SUMMARY
from experiments.runner.run import observation_times
from experiments.runner.runs import find
from experiments.runner.summary import summarized


def rows_of(name, *words, change=lambda name, seen: None):
    return verdict(lawful, config_of(name, "num_seeds=3", *words), change)


@pytest.mark.parametrize("name", ["mlp_theorem", "mlp_gradient_decay"])
def test_every_step_of_a_training_run_is_observed(name):
    for profile in ("smoke", "cpu", "paper"):
        config = config_of(name, profile=profile)
        assert observation_times(config).tolist() == list(range(config.opt.num_steps + 1))


def test_slopes_are_those_of_a_regression():
    found = find(runs_of(lawful, config_of("mlp_gradient_tail", "num_seeds=3")), net__activation="tanh")
    rng, scales = np.random.default_rng(0), [run.config.net.scale for run in found]
    for run in found:
        run.data.gradient_values.values[...] *= np.exp(rng.standard_normal(run.data.gradient_values.shape))
    assert scales == [0.001, 0.01, 0.1]
    for place in ((0, 0), (1, 40), (2, 63)):
        logs = [np.log(run.all("gradient_values")[place[0], 0, place[1]]) for run in found]
        line = scipy.stats.linregress(np.log(scales), logs)
        assert slopes(found)[place] == pytest.approx(line.slope, rel=1e-10)


def test_exponents_are_the_slopes_of_the_largest_block():
    found = find(runs_of(lawful, config_of("mlp_epsilon", "num_seeds=3")), net__activation="relu")
    rng, scales = np.random.default_rng(0), [run.config.net.scale for run in found]
    for name in ("step_distances", "random_step_distances"):
        for run in found:
            run.data[name].values[...] *= np.exp(rng.standard_normal(run.data[name].shape))
        # The blocks come last, and at the second time the largest is another one.
        logs = np.log([np.max(run.data[name].values[1, 0]) for run in found])
        assert exponents(found, name)[1] == pytest.approx(scipy.stats.linregress(np.log(scales), logs).slope, rel=1e-10)


def test_measured_constants_are_finite_for_relu():
    (run,) = find(runs_of(lawful, config_of("mlp_theorem", "num_seeds=3")), net__activation="relu")
    moved = np.array([[np.sqrt(run.all("blocks")[i, t].sum()) for t in range(1, 251)] for i in range(3)])
    assert secant(run) == pytest.approx((run.all("gradient_change")[:, 1:] / moved).max(1))
    values, t = run.all("gradient_values"), 7
    norms = np.linalg.norm(values[1], axis=-1)
    decay = max((norms[s] / norms[0]) ** (1 / s) for s in range(1, 251))
    path = run.config.opt.step_size * norms[0] * sum(decay**s for s in range(t))
    delta = secant(run)[1] * path / (values[1, 0, 3] - values[1, t, 4])
    assert lemma_d9(run, measured).bound[1, t - 1] == pytest.approx(delta, rel=1e-9)


def test_a_bound_is_judged_where_it_is_below_the_trivial_one():
    measured, bound = np.array([[1.0, 3.0], [1.0, 1.9], [1.9, 1.9]]), np.array([[2.0, 5.0], [1.0, 4.0], [2.0, 2.0]])
    steps = Bounded(measured, bound, np.array([[2.5, 5.0], [2.0, 5.0], [2.0, 1.0]]))
    np.testing.assert_array_equal(steps.is_informative, [[True, False], [True, True], [False, False]])
    np.testing.assert_array_equal(steps.ratio, [0.5, 1.0])
    unknown = Bounded(measured, np.where(measured == 3, np.nan, bound), 2.5)
    np.testing.assert_array_equal(unknown.ratio, [np.nan, 1.0, 0.95])


def test_the_row_says_how_many_steps_are_judged():
    # The bound of eq. 17 is 2 (1 - exp(-(t/60)^4)) / 0.8: below sqrt K = 2 to t = 67.
    rows = rows_of("mlp_theorem")
    assert "below sqrt K (67 of 250 in a member)" in rows["Wedin.17[ReLU]"].statement
    rows = rows_of("mlp_theorem", change=scaled("relu", "gradient_change", 4.0))
    assert "below sqrt K (41 to 67 of 250 in a member)" in rows["Wedin.17[ReLU]"].statement


def test_a_bound_that_is_never_below_the_trivial_one_is_not_reached():
    def large(name, seen):
        if name == "relu":
            seen["wedin_bound"] = np.full_like(seen["wedin_bound"], 2.1)
            seen["gradient_change"][1:] = 1e3

    rows = rows_of("mlp_theorem", change=large)
    assert (rows["Wedin.D5[ReLU]"].status, rows["Wedin.D5[ReLU]"].members) == ("not_reached", 3)
    # One member of three is judged.
    assert (rows["Wedin.17[ReLU]"].status, rows["Wedin.17[ReLU]"].members) == ("holds", 1)


def test_bounds_are_not_carried_to_another_setting():
    assert {row.status for row in rows_of("mlp_gradient_decay", "opt.step_size=0.02").values()} == {"not_judged"}


def test_runs_are_not_judged_at_times_at_which_they_were_not_observed():
    short = ("opt.num_steps=99", "observe.num_times=100")
    unjudged = {id: row.reason for id, row in rows_of("mlp_theorem", *short).items() if row.status == "not_run"}
    assert {id.split("[")[0] for id in unjudged} == {"F3.100", "F3.250", "D11.ends", "A.250", "A.decayed"}
    assert unjudged["F3.100[ELU]"] == "not observed at step 100"
    sparse = rows_of("mlp_gradient_decay", "observe.num_times=6")
    assert {id.split("[")[0] for id, row in sparse.items() if row.status != "not_run"} == {"F13"}


def test_a_single_eps_has_no_slope():
    rows = rows_of("mlp_gradient_tail", "sweep.net.scale=0.01,")
    assert all((row.status == "not_run") == id.startswith(("F11.tail", "F11.leading")) for id, row in rows.items())
    rows = rows_of("mlp_epsilon", "sweep.net.scale=0.01,")
    assert {id for id, row in rows.items() if row.status != "not_run"} == {
        f"E.bound[{name}]" for name in ("ELU", "GELU", "SiLU", "tanh")
    }
    config = config_of("mlp_epsilon", "num_seeds=3", "sweep.net.scale=0.01,")
    assert summarized(runs_of(lawful, config), SUMMARY, COMPARISONS)["comparisons"] == {}


def test_exponents_are_not_judged_beyond_the_eps_of_their_bound():
    rows = rows_of("mlp_epsilon", "sweep.net.scale=0.01,1.0")
    status = {id.partition("[")[0]: row.status for id, row in rows.items()}
    assert (status["E.slope"], status["E.random"]) == ("not_judged", "not_judged")
    assert "eps <= 0.1" in rows["E.slope[GELU]"].reason


def test_the_summary_counts_members_whose_gradient_rises():
    def falling(name, seen):
        values = seen["gradient_values"]
        values[0, :, :4] = values[0, :1, :4] * 0.99 ** np.arange(values.shape[1])[:, None]
        values[0, :, 4:] = 1e-9

    (run, *_) = runs_of(lawful, config_of("mlp_gradient_decay", "num_seeds=3", "sweep.net.scale=0.01,"), falling)
    rise = SUMMARY["step after which ||G_1||_F first rises, to t = 250"](run)
    norm = np.linalg.norm(run.all("gradient_values")[1], axis=-1)
    np.testing.assert_array_equal(rise, [np.nan, *[np.flatnonzero(np.diff(norm) > 0)[0]] * 2])
