"""Low-rank MLPs on images: sources, starts and steps."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import synthetic

from experiments.data.datasets import DATA_SETS, ImageData
from experiments.data.idx import Images
from experiments.laws.smooth_mlp.low_rank import EXPERIMENT
from experiments.laws.smooth_mlp.low_rank import system as low_rank_system
from experiments.runner import run
from experiments.runner.checkpoints import Checkpoints
from experiments.runner.provenance import conditions, environment
from experiments.runner.run import sources_of
from experiments.runner.setbacks import STOPPED
from experiments.runner.settings import expand
from experiments.runner.store import InputError
from lawlib.networks import low_rank, mlp
from lawlib.theory.smooth_mlp import big_and_small

SIDE, K, TRAIN, TEST = 7, 10, 40, 20
D = SIDE**2
TINY = {"data.num_train": TRAIN, "data.num_test": TEST, "data.batch_size": 10, "data.gradient_batch": 10}


def drawn(size, seed):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (size, SIDE, SIDE, 1), np.uint8)
    return Images(pixels, np.tile(np.arange(K, dtype=np.uint8), size // K))


IMAGES = ImageData(drawn(TRAIN, 0), drawn(TEST, 1), "made up")


@pytest.fixture(autouse=True)
def tiny_images(monkeypatch):
    monkeypatch.setitem(
        DATA_SETS, "fashion_mnist", DATA_SETS["fashion_mnist"]._replace(shape=(SIDE, SIDE, 1), sizes=(TRAIN, TEST))
    )
    monkeypatch.setattr(low_rank_system, "image_data", lambda *_: IMAGES)


def config_of(*words, profile="smoke", name="fashion_mnist_low_rank"):
    return synthetic.config_of(name, *words, profile=profile, **(TINY if profile == "smoke" else {}))


def variants(*words):
    return dict(expand(config_of("precision=float64", *words)))


# Sources -----------------------------------------------------------------------------------------------------


def test_the_source_of_the_images_is_named_once_for_all_variants():
    assert sources_of(config_of(), EXPERIMENT) == {"fashion_mnist": "made up"}


def test_variants_that_read_other_files_name_each():
    def sources(config):
        return {"images": "files", "weights": f"of {config.net.form}"}

    named = {"images": "files", "weights": "of s_big; of random; of full"}
    assert sources_of(config_of(), replace(EXPERIMENT, sources=sources)) == named


def test_the_images_are_loaded_once_for_all_variants(monkeypatch):
    loads = []
    monkeypatch.setattr(low_rank_system, "image_data", lambda *_: loads.append(1) or IMAGES)
    first, *others = [work.system[3] for work in run.work_of(config_of(), EXPERIMENT)]
    assert (len(loads), len(others)) == (1, 4)
    assert all(data is first for data in others)


def test_every_start_is_recorded_with_its_sources_and_a_run_is_not_made_of_two(monkeypatch, tmp_path):
    monkeypatch.setattr(run, "_simulate", lambda *_: False)  # as if stopped by a signal

    def start(origin):
        data = ImageData(drawn(TRAIN, 0), drawn(TEST, 1), origin)
        monkeypatch.setattr(low_rank_system, "image_data", lambda *_: data)
        return run.run(config_of(), tmp_path / "run")

    assert [start("as published"), start("as published")] == [STOPPED] * 2
    checkpoints = Checkpoints(tmp_path / "run")
    checkpoints.store_plan({"conditions": conditions(environment(), {"fashion_mnist": "as published"})})
    checkpoints.save({}, None, {})
    with pytest.raises(InputError, match=r'sources.fashion_mnist was "as published", is now "compressed"'):
        start("compressed")
    record = json.loads((tmp_path / "run" / "provenance.json").read_text())
    assert [each["sources"] for each in record["starts"]] == [{"fashion_mnist": "as published"}] * 2
    assert record["sources"] == {"fashion_mnist": "as published"}


# Starts and steps -----------------------------------------------------------------------------------------


KEY = jax.random.key(3)


def begun(config):
    data = low_rank_system.shared(config)
    system = low_rank_system.dynamics(config)
    step_size, monitored = jax.jit(lambda key: system.init(key, {}, data))(KEY)
    return data, system, step_size, monitored


def whole(part):
    return tuple(jnp.concatenate(list(x), axis=1) for x in part)


def gradient(weights, apply, data, phi="silu"):
    X, Y = whole(data.train)
    return jax.grad(lambda weights: jnp.sum((apply(weights, X, phi) - Y) ** 2) / 2)(weights)


@pytest.mark.parametrize("name", ["silu_full", "silu_s_big"])
def test_a_step_descends_on_all_images_with_the_rate_of_the_cosine(name):
    config = variants("opt.num_steps=4", "opt.step_size=0.01")[name]
    data, system, step_size, monitored = begun(config)
    apply = mlp.apply if name == "silu_full" else low_rank.apply
    weights = monitored.state.weights
    for t in range(2):
        rate = 0.01 * (1 + np.cos(np.pi * t / 4)) / 2
        weights = jax.tree.map(lambda W, G, rate=rate: W - rate * G, weights, gradient(weights, apply, data))
        monitored = system.step(jnp.asarray(t), monitored, step_size, data)
    jax.tree.map(
        lambda found, wanted: np.testing.assert_allclose(found, wanted, atol=1e-12), monitored.state.weights, weights
    )
    X, Y = whole(data.test)
    seen = system.observe(jnp.asarray(2), monitored, step_size, data)
    outputs, Y = np.asarray(apply(weights, X, "silu")), np.asarray(Y)
    np.testing.assert_allclose(seen["test_loss"], np.sum((outputs - Y) ** 2) / 2 / TEST, rtol=1e-12)
    assert seen["test_accuracy"] == np.mean(np.argmax(outputs, 0) == np.argmax(Y, 0))


@pytest.mark.parametrize(("name", "angle"), [("silu_s_big", 0.0), ("silu_s_big", 40.0), ("silu_s_big_batch", 0.0)])
def test_low_rank_networks_begin_at_an_angle_from_the_big_subspace_of_the_full_one(name, angle):
    config = variants(f"net.angle={angle}")[name]
    data, _, _, monitored = begun(config)
    full = begun(variants()["silu_full"])[3].state.weights
    if name.endswith("batch"):
        X, Y = whole(data.train)
        few = jax.random.permutation(jax.random.split(KEY, 6)[5], TRAIN)[: config.data.gradient_batch]
        data = data._replace(train=low_rank_system.Batches(X[None, :, few], Y[None, :, few]))
    big = np.asarray(big_and_small(full[0], gradient(full, mlp.apply, data)[0], K).big)
    start = monitored.state.weights
    carried = np.linalg.multi_dot([*(np.asarray(W) for W in full[-2::-1]), big])
    for found, wanted in ((start.right, big), (start.left, carried)):
        turn = np.rad2deg(scipy.linalg.subspace_angles(np.asarray(found), wanted))
        np.testing.assert_allclose(turn, angle, atol=1e-5)
    np.testing.assert_array_equal(start.last, full[-1])


def test_a_batch_of_all_images_in_another_order_gives_the_same_start():
    every, drawn = (variants(f"data.gradient_batch={TRAIN}")[f"silu_s_big{images}"] for images in ("", "_batch"))
    wanted, found = (begun(config)[3].state.weights for config in (every, drawn))
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, atol=1e-10), found, wanted)


def test_small_layers_are_drawn_or_transported():
    drawn, transported = (
        begun(variants("name=silu_s_big", f"net.inner={x}")["silu_s_big"])[3].state.weights
        for x in ("drawn", "transported")
    )
    np.testing.assert_array_equal(drawn.right, transported.right)
    for W in transported.inner:
        np.testing.assert_allclose(W, 0.1 * np.eye(len(W)), atol=1e-12)
    assert all(np.abs(W - 0.1 * np.eye(len(W))).max() > 0.01 for W in drawn.inner)


def test_pixels_are_standardized_by_one_mean_and_one_deviation_for_all():
    config = variants()["silu_full"]
    data, images = low_rank_system.shared(config), drawn(TRAIN, 0)
    X, Y = whole(data.train)
    by_hand = [(float(pixel) / 255 - 0.28604) / 0.35302 for pixel in images.images[7].ravel()]
    np.testing.assert_allclose(X[:, 7], by_hand, atol=1e-12)
    assert np.argmax(np.asarray(Y)[:, 7]) == images.labels[7]


def test_squares_of_pixels_are_averaged_and_standardized_by_their_own_deviation(monkeypatch):
    rng = np.random.default_rng(5)
    pixels = rng.integers(0, 256, (TRAIN, 6, 8, 1), np.uint8)
    images = Images(pixels, np.tile(np.arange(K, dtype=np.uint8), TRAIN // K))
    monkeypatch.setattr(low_rank_system, "image_data", lambda *_: ImageData(images, images, "made up"))
    data = low_rank_system.shared(variants("data.average=2")["silu_full"])
    X, _ = whole(data.train)
    corners = [pixels[7, row::2, column::2, 0].astype(float) for row in (0, 1) for column in (0, 1)]
    np.testing.assert_allclose(X[:, 7], (sum(corners).ravel() / 4 / 255 - 0.28604) / 0.33007, atol=1e-12)


@pytest.mark.parametrize("form", ["silu_full", "silu_s_big", "silu_random"])
def test_a_uniform_last_layer_is_pytorchs_and_all_else_is_drawn_as_with_the_other(form):
    orthogonal, uniform = (begun(variants(f"net.last={x}")[form])[3].state.weights for x in ("orthogonal", "uniform"))
    last = np.asarray(uniform[-1])
    # Of 490 entries of U(-1/7, 1/7) the largest is within 2% of its bound, all but once in ten thousand times.
    assert 0.98 / SIDE < np.abs(last).max() <= 1 / SIDE
    np.testing.assert_allclose([last.mean() * SIDE, last.std() * SIDE], [0, 1 / np.sqrt(3)], atol=0.1)
    np.testing.assert_allclose(orthogonal[-1] @ orthogonal[-1].T, 0.01 * np.eye(K), atol=1e-12)
    same = (lambda weights: weights.inner) if form != "silu_full" else (lambda weights: weights[:-1])
    jax.tree.map(np.testing.assert_array_equal, same(uniform), same(orthogonal))


def test_the_bases_of_a_uniform_last_layer_come_from_its_own_gradient():
    words = "net.last=uniform"
    full = begun(variants(words)["silu_full"])[3].state.weights
    data, _, _, monitored = begun(variants(words)["silu_s_big"])
    big = np.asarray(big_and_small(full[0], gradient(full, mlp.apply, data)[0], K).big)
    angles = scipy.linalg.subspace_angles(np.asarray(monitored.state.weights.right), big)
    np.testing.assert_allclose(angles, 0, atol=1e-7)
    np.testing.assert_array_equal(monitored.state.weights.last, full[-1])


def test_a_network_that_diverged_has_no_accuracy():
    config = variants("opt.step_size=1e9", "opt.num_steps=30")["silu_s_big"]
    data, system, step_size, monitored = begun(config)
    monitored = jax.lax.fori_loop(0, 20, lambda t, monitored: system.step(t, monitored, step_size, data), monitored)
    assert monitored.diverged_at > 0
    assert np.isnan(system.observe(jnp.asarray(20), monitored, step_size, data)["test_accuracy"])
