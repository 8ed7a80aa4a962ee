"""VGG-16 with full and low-rank heads: data, starts and epochs."""

import functools as ft
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import xarray as xr
from tiny_vgg import CHANNELS, TRAIN, WEIGHTS, K, config_of, install, variant

from experiments.data import vgg16_features
from experiments.laws.smooth_mlp.vgg_heads import EXPERIMENT
from experiments.laws.smooth_mlp.vgg_heads import system as vgg_heads
from experiments.runner import run
from experiments.runner.checks import collect
from experiments.runner.claims import failing, from_json
from lawlib.networks import low_rank, mlp
from lawlib.networks.linen import VGGFeatures

D = 9 * CHANNELS[-1][-1]


@pytest.fixture(autouse=True)
def tiny(monkeypatch, tmp_path):
    install(monkeypatch.setattr, monkeypatch.setitem)
    monkeypatch.setenv("LAWLIB_CACHE", str(tmp_path))


# Rules ----------------------------------------------------------------------------------------------------


def test_the_weights_must_be_of_the_kind_that_the_config_names():
    line = "data.pretrained = 'edges': the weights found are 'imagenet': made up"
    assert collect(config_of("data.pretrained=edges"), EXPERIMENT.validate) == [line]


# Data -----------------------------------------------------------------------------------------------------


def test_features_are_loaded_once_for_all_variants_of_a_run(monkeypatch):
    loads = []
    monkeypatch.setattr(
        vgg16_features, "cached_features", lambda extract, images, *_: loads.append(1) or extract(images)
    )
    work = [work.system[3] for work in run.work_of(config_of(), EXPERIMENT)]
    assert len(work) == 6
    assert len(loads) == 2  # training and test images; one variant trains the whole network and reads no features
    assert all(data is work[0] for data in work[:5])


def test_the_classes_take_turns_whatever_their_order():
    train = vgg_heads.shared(variant("silu_full")).train
    np.testing.assert_array_equal(np.argmax(train.labels, 1), np.tile(np.arange(K), TRAIN // K))


def test_features_are_those_of_the_resized_images():
    config = variant("silu_full", "data.size=9")
    whole = vgg_heads.shared(variant("silu_full", "data.size=9", "opt.trains=all"))
    found = vgg_heads.shared(config).train.inputs[:3]
    images = np.asarray(whole.train.inputs[:3])
    resized = jax.image.resize(images.astype(np.float32), (3, 9, 9, 3), "bilinear")
    maps = VGGFeatures(blocks=2, channels=CHANNELS).apply(WEIGHTS.variables, WEIGHTS.preprocessing.apply(resized))
    # 2 x 2 maps: the windows of 3 are rows 0, both, and 1.
    rows = np.stack([maps[:, 0], maps.mean(1), maps[:, 1]], axis=1)
    wanted = np.stack([rows[:, :, 0], rows.mean(2), rows[:, :, 1]], axis=2).reshape(3, -1)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    assert np.abs(wanted).max() > 0.1


# Starts and epochs ----------------------------------------------------------------------------------------


@ft.cache
def begun(name, *words):
    config = variant(name, *words)
    data = vgg_heads.shared(config)
    system = vgg_heads.dynamics(config)
    problem, monitored = jax.jit(lambda key: system.init(key, {}, data))(jax.random.key(3))
    return data, system, problem, monitored


def cross_entropy(weights, apply, X, Y):
    outputs = apply(weights, X.T, "silu").T
    return -jnp.mean(jnp.sum(Y * (outputs - jax.scipy.special.logsumexp(outputs, axis=1, keepdims=True)), axis=1))


gradient = jax.jit(jax.grad(cross_entropy), static_argnums=1)
BEGIN = jnp.asarray(0)
RATES = "opt.step_size=0.1", "opt.weight_decay=0.01", "opt.num_steps=2"


def test_an_epoch_is_sgd_with_momentum_as_pytorch_has_it():
    data, system, problem, monitored = begun("silu_s_big_batch", *RATES)
    apply = low_rank.apply
    weights = monitored.state.weights.head
    velocity = jax.tree.map(jnp.zeros_like, weights)
    order = jax.random.permutation(jax.random.fold_in(problem.key, 0), TRAIN)
    for t, batch in enumerate(order.reshape(-1, 20)):
        rate = 0.1 * (1 + np.cos(np.pi * t / 6)) / 2
        gradients = gradient(weights, apply, data.train.inputs[batch], data.train.labels[batch])
        velocity = jax.tree.map(lambda v, G, W: 0.9 * v + G + 0.01 * W, velocity, gradients, weights)
        weights = jax.tree.map(lambda W, v, rate=rate: W - rate * v, weights, velocity)
    moved = jax.jit(system.step)(BEGIN, monitored, problem, data)
    found = moved.state.weights.head
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-10), found, weights)
    seen = jax.jit(system.observe)(BEGIN + 1, moved, problem, data)
    X, Y = data.test
    np.testing.assert_allclose(seen["test_loss"], cross_entropy(weights, apply, X, Y), rtol=1e-9)
    right = np.argmax(apply(weights, X.T, "silu"), 0) == np.argmax(Y, 1)
    np.testing.assert_allclose(seen["test_accuracy"], right.mean())


def test_the_head_of_a_whole_network_takes_the_same_first_step():
    """Trained with the convolutions or without: at the first step they have not moved yet."""
    heads = []
    for trains in ("head", "all"):
        words = f"opt.trains={trains}", "opt.batch_size=60"
        data, system, problem, monitored = begun("silu_full", *RATES, *words)
        moved = jax.jit(system.step)(BEGIN, monitored, problem, data).state.weights
        heads.append(moved.head)
        before = monitored.state.weights.convolutions
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-6), *heads)
    change = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), moved.convolutions, before)
    assert min(jax.tree.leaves(change)) > 0


def test_a_low_rank_head_begins_in_s_big_of_the_gradient_of_its_images():
    data, _, problem, monitored = begun("silu_s_big_batch", *RATES)
    full = begun("silu_full", *RATES, "opt.trains=head", "opt.batch_size=60")[3].state.weights.head
    start = monitored.state.weights.head
    key_images = jax.random.split(jax.random.split(jax.random.key(3))[0], 5)[3]
    chosen = np.asarray(jax.random.permutation(key_images, TRAIN))[:40]
    X, Y = (x[chosen] for x in data.train)
    G = np.asarray(jax.grad(lambda W: cross_entropy((W, *full[1:]), mlp.apply, X, Y))(full[0]))
    L, s, Rt = np.linalg.svd(G)
    both = np.hstack([Rt[:K].T, np.asarray(full[0]).T @ L[:, :K] / 0.1])
    angles = scipy.linalg.subspace_angles(np.asarray(start.right), scipy.linalg.orth(both))
    # As far as the singular vectors may be off, and more where the two halves of S_big nearly meet.
    assert np.sin(angles).max() <= 2 * problem.start.basis_bound / np.linalg.svd(both, compute_uv=False)[-1] < 0.3
    np.testing.assert_allclose(problem.start.start_gradient[:2], s[K - 2 : K] / s[0], rtol=1e-3)
    assert s[K] / s[0] <= problem.start.start_gradient[2] < s[K - 1] / s[0]
    norms = np.linalg.norm(np.asarray(data.train.inputs[:40]), axis=1)
    np.testing.assert_allclose(problem.start.input_norm, np.sqrt(np.mean(norms**2)))
    np.testing.assert_array_equal(start.last, full[-1])


def test_a_run_ends_with_its_figures_its_claims_and_the_sources_of_its_data(tmp_path):
    chosen = (
        {"name": "head", "net.form": "random"},
        {"name": "whole", "net.form": "s_big", "net.rank": 40, "opt.trains": "all"},
    )
    assert run.run(config_of("precision=float32", f"variants={chosen!r}"), tmp_path / "run") == run.DONE
    folder = tmp_path / "run"
    assert {path.stem for path in (folder / "figures").iterdir()} == {"classifier_only", "all_layers"}
    found = from_json((folder / "claims.json").read_text())
    assert not failing(found)
    assert len(found) > 10
    record = json.loads((folder / "provenance.json").read_text())
    assert record["sources"] == {"images": "made up", "weights": "made up"}
    with xr.open_datatree(folder / "results.nc", engine="h5netcdf") as results:
        assert np.isnan(results["head/basis_bound"]).all()
        assert (results["whole/basis_bound"] > 0).all()
        assert (results["whole/train_loss"].diff("step") != 0).all()


def test_a_network_that_diverged_has_no_accuracy():
    data, system, problem, monitored = begun("silu_s_big", "opt.step_size=1e300")
    monitored = system.step(BEGIN, monitored, problem, data)
    assert monitored.diverged_at == 1
    assert np.isnan(system.observe(BEGIN + 1, monitored, problem, data)["test_accuracy"])
