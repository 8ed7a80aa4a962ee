"""The experiment of layers of any widths: its steps and observations against numpy, its measures and figures."""

import functools as ft
import itertools

import jax
import numpy as np
import pytest
import synthetic
from synthetic import cases_of

from experiments.laws.parsimony.widths import EXPERIMENT, system
from experiments.laws.parsimony.widths.measures import is_naive_refuted, least_moved, naive, predicted
from experiments.runner.runs import runs
from experiments.runner.settings import expand
from lawlib.dynamics.system import simulate

# One profile of widths, without weight decay and momentum.
ALONE = (
    "variants=({'name': 'one', 'net.widths': (30, 16, 16, 30)},)",
    "sweep.opt.weight_decay=(0.0,)",
    "sweep.opt.momentum=(0.0,)",
)
config_of = ft.partial(synthetic.config_of, "dln_widths")
cases = cases_of("parsimony.widths")


@pytest.mark.parametrize("widths", [(12, 16, 3), (10, 7, 9)])
def test_the_network_descends_with_momentum_and_is_compared_with_both_recursions(widths):
    fields = {"net.widths": widths, "data.rank": 2, "opt.step_size": 0.02}
    ((_, config),) = expand(
        config_of("sweep.opt.weight_decay=(0.3,)", "sweep.opt.momentum=(0.5,)", f"variants=({fields!r},)")
    )
    rates = {"opt.weight_decay": np.float64(0.3), "opt.momentum": np.float64(0.5)}
    ran = jax.jit(lambda key: simulate(system.dynamics(config), key, rates, (), (0, 40)))(jax.random.key(0))
    problem = ran.problem.first
    target = np.asarray(problem.target)
    before = weights = [np.asarray(W) for W in problem.start]
    past = rho = (1.0, 1.0)
    for _ in range(40):
        (A, B), residual = weights, weights[1] @ weights[0] - target
        slopes = (B.T @ residual + 0.3 * A, residual @ A.T + 0.3 * B)
        moved = [W - 0.02 * S + 0.5 * (W - P) for W, S, P in zip(weights, slopes, before, strict=True)]
        before, weights = weights, moved
        pulls = (rho[0] ** 3, 0)
        now = tuple(r - 0.02 * (0.3 * r + pull) + 0.5 * (r - p) for r, p, pull in zip(rho, past, pulls, strict=True))
        past, rho = rho, now
    seen = {name: np.asarray(values[-1]) for name, values in ran.observations.items()}
    assert (float(seen["rho"]), float(seen["rho_stopped"])) == pytest.approx(rho, rel=1e-12)
    assert float(seen["loss"]) == pytest.approx(np.sum((weights[1] @ weights[0] - target) ** 2) / 2, rel=1e-12)
    values = [np.linalg.svd(W, compute_uv=False) for W in weights]
    for name, size in zip(("num_passed", "num_stopped"), rho, strict=True):
        np.testing.assert_array_equal(seen[name], [np.sum(np.abs(s - size) < 1e-9) for s in values])
    idle = [np.abs(s[:, None] - rho).min(1) for s in values]
    np.testing.assert_array_equal(seen["num_moved"], [np.sum(off > 1e-9) for off in idle])
    assert seen["idle_deviation"].max() < 1e-13
    assert seen["excess"].max() < 1e-13
    # What is left of a layer spans what it does to vectors that differ from a multiple of what it did at the start.
    start = [np.asarray(W) for W in problem.start]
    if widths == (12, 16, 3):  # nothing is passed on
        rest = [W - rho[1] * W0 for W, W0 in zip(weights, start, strict=True)]
        assert seen["num_spanned"] == [np.linalg.matrix_rank(np.hstack([rest[0], rest[1].T]), 1e-9)]
        np.testing.assert_allclose(seen["remainder_values"][0], np.linalg.svd(rest[0], compute_uv=False), atol=1e-13)
        assert np.isnan(seen["remainder_values"][1, 3:]).all()


def test_the_experiment_counts_as_by_hand():
    for run in synthetic.runs_of(cases.lawful, config_of("num_seeds=2")):
        moved, spanned, passed, stopped = cases.BY_HAND[tuple(run.config.net.widths)]
        found = predicted(run)
        assert (tuple(found.moved), tuple(found.spanned), tuple(found.stopped)) == (moved, spanned, stopped)
        assert set(found.passed) == {passed}
        assert is_naive_refuted(run) == (moved != tuple(naive(run)))
        assert tuple(naive(run)) == tuple(min(6, *pair) for pair in itertools.pairwise(run.config.net.widths))


def test_the_smallest_moved_value_is_that_of_the_last_direction_of_some_layer():
    def change(name, seen):
        seen["remainder_values"][1, -1, 1, 5] = 0.25

    config = config_of("num_seeds=2", *ALONE)
    (run,) = synthetic.runs_of(cases.lawful, config, change)
    np.testing.assert_array_equal(least_moved(run), [1, 0.25])


def test_every_variant_has_a_panel_with_the_laws_numbers():
    config = config_of("num_seeds=2")
    drawn = EXPERIMENT.figures(runs(synthetic.results_of(cases.lawful, config), drawn=True))
    assert drawn.keys() == {"directions", "idle_deviations"}
    titled = [axes for axes in drawn["directions"].axes if axes.get_title()]
    assert len(titled) == len(expand(config)) == 8
    (widening,) = [axes for axes in titled if axes.get_title() == "30-36-40-3"]
    places = [line.get_xdata()[0] for line in widening.lines if list(line.get_ydata()) == [0, 1]]
    np.testing.assert_allclose(places, [6.35, 9.5, 3.65, 6.5])
