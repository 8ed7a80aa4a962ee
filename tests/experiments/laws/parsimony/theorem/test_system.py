"""The experiment of the law of parsimony: its steps and observations, its images, its figures."""

import functools as ft
import re

import jax
import numpy as np
import pytest
import synthetic

from experiments.data.datasets import ImageData, flattened
from experiments.laws.parsimony.theorem import EXPERIMENT, system
from experiments.laws.parsimony.theorem.measures import exponent, final_excess, least_increase, num_small_angles
from experiments.runner.checks import collect
from experiments.runner.runs import runs
from experiments.runner.settings import expand
from lawlib.dynamics.system import simulate

config_of = ft.partial(synthetic.config_of, profile="smoke")
lawful = synthetic.cases_of("parsimony.theorem").lawful


# Steps and observations -----------------------------------------------------------------------------------------------


def test_the_network_descends_with_momentum_and_is_compared_with_the_recursion():
    fields = {"net.depth": 2, "net.width": 9, "opt.step_size": 0.01, "opt.weight_decay": 0.1}
    ((_, config),) = expand(config_of("dln_momentum", f"variants=({fields!r},)"))
    assert config.opt.momentum == 0.9
    ran = jax.jit(lambda key: simulate(system.dynamics(config), key, {}, (), (0, 3)))(jax.random.key(0))
    Y = np.asarray(ran.problem.first.data[1])
    before = weights = [np.asarray(W) for W in ran.problem.first.start]
    past = rho = 1.0
    for _ in range(3):
        (W1, W2), residual = weights, weights[1] @ weights[0] - Y
        slopes = (W2.T @ residual + 0.1 * W1, residual @ W1.T + 0.1 * W2)
        moved = [W - 0.01 * S + 0.9 * (W - B) for W, S, B in zip(weights, slopes, before, strict=True)]
        before, weights = weights, moved
        past, rho = rho, rho - 0.01 * (0.1 * rho + rho**3) + 0.9 * (rho - past)
    seen = {name: np.asarray(values[-1]) for name, values in ran.observations.items()}
    values = np.linalg.svd(np.stack(weights), compute_uv=False)
    np.testing.assert_allclose(seen["singular_values"], values, rtol=1e-12)
    assert float(seen["rho"]) == pytest.approx(rho, rel=1e-13)
    assert float(seen["loss"]) == pytest.approx(np.sum((weights[1] @ weights[0] - Y) ** 2) / 2, rel=1e-12)
    idle = np.sort(np.abs(values - rho))[:, :3]
    np.testing.assert_allclose(seen["idle_value"], rho, atol=1e-13)
    np.testing.assert_allclose(seen["idle_deviation"], idle.max(1), atol=1e-14)
    np.testing.assert_array_equal(seen["num_moved"], [6, 6])


@pytest.mark.parametrize("field", ["opt.weight_decay", "opt.momentum"])
@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_rates_stay_in_their_range(field, value):
    config = config_of("dln_parsimony", f"sweep.{field}=({value},)")
    allowed = field == "opt.weight_decay" and value > 0
    assert len(collect(config, EXPERIMENT.validate)) == (not allowed)


# Images ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def images(monkeypatch):
    """A thousand made-up images of 28 x 28."""
    drawn = synthetic.images_of(1000, (28, 28, 1), 0)
    monkeypatch.setattr(system, "image_data", lambda *_: ImageData(drawn, drawn, "made up"))
    return drawn


def fashion(*words):
    ((_, own),) = expand(config_of("dln_fashion_mnist", "variants=({'name': 'one'},)", *words))
    return own


IMAGE_RULES = {
    "data.pool=3": "data.pool = 3: must be one of 1, 2",
    "data.pool=1": "net.width = 196: must be 784, the pixels of an image at this data.pool",
    "data.rank=9": "data.rank = 9: must be 10, one output per class",
    "data.num_samples=999": (
        "data.num_samples = 999: must be in 1000..60000, the images that can be whitened at this data.pool"
    ),
}


@pytest.mark.parametrize(("word", "line"), IMAGE_RULES.items())
def test_every_rule_on_images_has_its_line(images, word, line):
    assert line in collect(fashion(word), EXPERIMENT.validate)
    assert collect(fashion(), EXPERIMENT.validate) == []


def test_pixels_are_averaged_over_squares_and_images_are_columns(images):
    found = flattened(images, 7, 2, np.dtype("float64"))
    for image, row, column in ((0, 0, 0), (6, 13, 5), (3, 2, 11)):
        square = images.images[image, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2, 0].astype(float)
        assert found.inputs[14 * row + column, image] == pytest.approx(square.mean() / 255, rel=1e-14)
    np.testing.assert_array_equal(found.labels.argmax(0), images.labels[:7])
    whole = flattened(images, 7, 1, np.dtype("float64"))
    np.testing.assert_array_equal(whole.inputs[:, 4] * 255, images.images[4].ravel())


def test_whitened_images_have_orthonormal_rows_in_the_span_of_the_pixels(images):
    inputs, labels = system.shared(fashion())
    np.testing.assert_allclose(inputs @ inputs.T, np.eye(196), atol=1e-12)
    pixels = flattened(images, 1000, 2, np.dtype("float64")).inputs
    np.testing.assert_allclose(pixels - (pixels @ inputs.T) @ inputs, 0, atol=1e-11)
    assert labels.shape == (10, 1000)


def test_images_alone_have_a_source(images):
    assert system.sources(fashion()) == {"fashion_mnist": "made up"}
    assert system.sources(expand(config_of("dln_parsimony"))[0].config) == {}


def test_the_published_images_can_be_whitened_from_the_stated_count_on(fashion_mnist):
    for pool, count in system.LEAST_IMAGES.items():
        pixels = flattened(fashion_mnist.train, count, pool, np.dtype("float64")).inputs
        values = np.sqrt(np.linalg.eigvalsh(pixels @ pixels.T))
        assert values[0] > 1e-5 * values[-1]


# Measures and figures -------------------------------------------------------------------------------------------------


def test_small_angles_count_those_that_are_0_by_dimension():
    gaussian, digits = synthetic.runs_of(lawful, config_of("dln_unwhitened"))
    np.testing.assert_array_equal(num_small_angles(gaussian), 30 - 4 * 3 + 5)
    np.testing.assert_array_equal(num_small_angles(digits), 64 - 4 * 10 + 19)


def test_scaled_inputs_have_the_condition_number_and_the_mean_of_whitened_ones():
    ((_, config),) = expand(config_of("dln_condition", "net.width=9", "data.num_samples=40", "data.rank=2"))
    found = {
        kappa: system.dynamics(config).init(jax.random.key(3), {"data.condition": np.float64(kappa)}, ())[0].first
        for kappa in (1.0, 50.0)
    }
    white, scaled = (np.asarray(found[kappa].data[0]) for kappa in (1.0, 50.0))
    np.testing.assert_allclose(white @ white.T, np.eye(9), atol=1e-13)
    values = np.linalg.eigvalsh(scaled @ scaled.T)
    np.testing.assert_allclose(values, 50.0 ** np.linspace(-0.5, 0.5, 9), rtol=1e-12)
    np.testing.assert_array_equal(*(problem.data[1] for problem in found.values()))
    for problem, inputs in zip(found.values(), (white, scaled), strict=True):
        cross = np.asarray(problem.data[1]) @ inputs.T
        np.testing.assert_allclose(cross @ np.asarray(problem.frames[0].idle), 0, atol=1e-12)


def test_powers_and_increases_are_those_of_the_sorted_conditions():
    def change(name, seen):
        # Two seeds of the conditions 1, 1.01 and 10, the last of which falls back in the second seed.
        size = np.log([1.0, 1.01, 10.0])
        seen["excess"][:] = 0
        seen["excess"][:, -1, 1] = np.tile(3 * size**2, 2)
        seen["excess"][5, -1, 1] = 1e-4

    found = synthetic.runs_of(lawful, config_of("dln_condition"), change)
    np.testing.assert_allclose(exponent(found[:0:-1], final_excess)[0], 2, rtol=1e-12)
    steps = np.diff(np.array([0, 3 * np.log(1.01) ** 2, 1e-4]))
    np.testing.assert_allclose(least_increase(found[::-1], final_excess), [3 * np.log(1.01) ** 2, steps.min()])


@pytest.mark.parametrize("name", ["dln_parsimony", "dln_momentum", "dln_unwhitened"])
def test_every_float64_variant_has_a_figure(name):
    config = config_of(name)
    drawn = EXPERIMENT.figures(runs(synthetic.results_of(lawful, config), drawn=True))
    wanted = {f"layers_{v.name}" for v in expand(config) if v.config.precision == "float64"}
    assert drawn.keys() == wanted | ({"deviations"} if name != "dln_unwhitened" else set())


def test_the_figure_of_the_condition_number_holds_every_depth():
    config = config_of("dln_condition", profile="cpu")
    drawn = EXPERIMENT.figures(runs(synthetic.results_of(lawful, config), drawn=True))
    assert drawn.keys() == {"condition"}
    for axes in drawn["condition"].axes:
        assert sum(line.get_marker() == "o" for line in axes.lines) == len(expand(config))
        assert sum(line.get_linestyle() == "--" for line in axes.lines) == len(expand(config))


def test_the_figure_of_deviations_holds_every_member():
    found = synthetic.runs_of(lawful, config_of("dln_parsimony"))
    (axes,) = EXPERIMENT.figures(found)["deviations"].axes
    dots = sum(line.get_xdata().size for line in axes.lines if line.get_marker() == "|")
    assert dots == sum(run.num_seeds * (3 + ("readout_leak" in run.data)) for run in found)
    named = [re.sub(r" \(.*", "", label.get_text()) for label in axes.get_yticklabels()]
    assert named == list(dict.fromkeys(run.variant for run in found))
