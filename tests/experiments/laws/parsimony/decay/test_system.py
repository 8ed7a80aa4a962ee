"""The experiment of weight decay: its steps, its draws, its observations and its figures."""

import functools as ft

import jax
import numpy as np
import pytest
import synthetic
from synthetic import cases_of

from experiments.laws.parsimony.decay import EXPERIMENT, system
from experiments.laws.parsimony.decay.measures import largest_kept, off_rate, thresholds
from experiments.runner.checks import collect
from experiments.runner.runs import runs
from experiments.runner.settings import expand
from lawlib.dynamics.system import simulate

config_of = ft.partial(synthetic.config_of, "dln_decay", profile="smoke")
lawful = cases_of("parsimony.decay").lawful


def observed(times, key=0, **fields):
    """The trajectory of one member, and the observations by name."""
    ((_, config),) = expand(config_of("sweep.opt.decay_ratio=(0.5,)", f"variants=({fields!r},)"))
    hyperparameters = {"opt.decay_ratio": np.float64(0.5)}
    ran = jax.jit(lambda key: simulate(system.dynamics(config), key, hyperparameters, (), times))(jax.random.key(key))
    return ran, {name: np.asarray(values) for name, values in ran.observations.items()}


def spectra(weights):
    return [np.linalg.svd(np.asarray(W), compute_uv=False) for W in weights]


@pytest.mark.parametrize("case", [1, 2])
def test_the_network_descends_with_the_decay_in_units_of_its_threshold(case):
    """Two steps by hand: for L = 3 from eps = 1, half of lambda* = 3/4 (1/4)^(1/3) at sigma_1 = 1."""
    fields = {"data.case": case, "net.depth": 3}
    start, first = observed((0,), **fields)
    ran, seen = observed((2,), **fields)
    decay, target = 0.5 * 0.75 * 0.25 ** (1 / 3), np.asarray(ran.problem.first.target)
    weights, rho = [np.asarray(W) for W in start.state.first.weights], 1.0
    for _ in range(2):
        A, B, C = weights
        residual = C @ B @ A - target
        slopes = ((C @ B).T @ residual, C.T @ residual @ A.T, residual @ (B @ A).T)
        weights = [W - 0.05 * (slope + decay * W) for W, slope in zip(weights, slopes, strict=True)]
        rho -= 0.05 * (decay * rho + (rho**5 if case == 1 else 0))
    layers = 3 if case == 1 else 2
    assert float(seen["rho"][0]) == pytest.approx(rho, rel=1e-14)
    np.testing.assert_allclose(seen["leading_values"][0], [s[:3] for s in spectra(weights[:layers])], rtol=1e-12)
    (product,) = spectra([weights[2] @ weights[1] @ weights[0]])
    np.testing.assert_allclose(seen["product_values"][0], product[:3], rtol=1e-12)
    np.testing.assert_allclose(seen["idle_value"][0], rho, rtol=1e-13)
    assert seen["idle_deviation"].shape == (1, layers)
    assert seen["idle_deviation"].max() < 1e-13
    np.testing.assert_allclose(np.linalg.svd(target, compute_uv=False)[:3], [1, 0.7, 0.4], rtol=1e-13)
    assert first["idle_deviation"].max() < 1e-14


def test_an_aligned_start_has_the_singular_vectors_of_the_target():
    ran, _ = observed((0,), **{"net.start": "aligned", "net.scale": 0.3})
    product = ft.reduce(lambda P, W: np.asarray(W) @ P, ran.state.first.weights, np.eye(8))
    overlap = np.asarray(ran.problem.first.target).T @ product / 0.3**3
    np.testing.assert_allclose(overlap, overlap.T, atol=1e-13)
    np.testing.assert_allclose(np.linalg.eigvalsh(overlap)[-3:], [0.4, 0.7, 1], rtol=1e-12)


def test_idle_values_that_are_no_longer_seen_are_told_by_rho():
    """The deviation is relative: a network whose idle values are off by a part in a thousand shows it."""
    ran, seen = observed((40,))
    assert float(seen["rho"][0]) < 0.8
    assert seen["idle_deviation"].max() < 1e-12
    values = np.sort(np.abs(spectra(ran.state.first.weights[:1])[0] / seen["rho"][0] - 1))
    assert values[1] < 1e-12 < 1e-4 < values[2]


def test_a_spectrum_may_have_one_value_and_not_one_that_is_no_number():
    assert collect(config_of("data.spectrum=(1.0,)"), EXPERIMENT.validate) == []
    (line,) = collect(config_of("variants=({'data.spectrum': (1.0, True)},)"), EXPERIMENT.validate)
    assert "data.spectrum" in line


def test_thresholds_are_in_units_of_the_first():
    """lambda* goes like sigma^(2 - 2/L) from a large start, and for L = 2 from any."""
    for run in synthetic.runs_of(lawful, synthetic.config_of("dln_decay", "num_seeds=1")):
        if run.config.net.scale == 1:
            power = 2 - 2 / run.config.net.depth
            np.testing.assert_allclose(thresholds(run), [1, 0.7**power, 0.4**power], rtol=1e-12)


def test_a_rate_is_none_without_two_observations_of_it():
    found = synthetic.runs_of(lawful, synthetic.config_of("dln_decay", "num_seeds=2", "observe.num_times=2"))
    assert all(off_rate(run).size == 0 for run in found if run.config.opt.decay_ratio > 0.5)


def test_the_largest_decay_that_keeps_is_told_for_each_member():
    def change(name, seen):
        if name == "small_L3":
            seen["product_values"][7, -1] = 0  # the first seed's eighth decay, 0.8

    kept = largest_kept(synthetic.runs_of(lawful, synthetic.config_of("dln_decay", "num_seeds=2"), change))
    np.testing.assert_array_equal(kept["small_L3"], [0.65, 0.8])
    np.testing.assert_array_equal(kept["small_aligned_L3"], 0.95)


def test_every_variant_has_a_panel_with_its_thresholds():
    config = synthetic.config_of("dln_decay", "num_seeds=2")
    drawn = EXPERIMENT.figures(runs(synthetic.results_of(lawful, config), drawn=True))
    assert drawn.keys() == {"idle_values", "kept_values"}
    titled = [axes for axes in drawn["kept_values"].axes if axes.get_title()]
    assert len(titled) == len(expand(config)) == 6
    for axes in titled:
        limits = [line.get_xdata()[0] for line in axes.lines if list(line.get_ydata()) == [0, 1]]
        assert limits[0] == 1
        assert len(limits) == 3
