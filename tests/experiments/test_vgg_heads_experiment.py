"""VGG-16 with full and low-rank heads: rules, data, starts, epochs, and the verdict on made-up results."""

import functools as ft
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import synthetic
import xarray as xr
from synthetic import failing

from experiments import run, vgg_heads, vgg_heads_figures, vgg_inputs
from experiments.checks import collect
from experiments.claims import from_json
from experiments.datasets import DATA_SETS, ImageData
from experiments.features import CHUNK, cached_features
from experiments.image_files import Images
from experiments.pretrained import RGB_TORCH, TRAINED_ON, Pretrained
from experiments.run import observation_times
from experiments.settings import expand, knobs
from lawlib.networks import low_rank, mlp
from lawlib.networks.vgg import CONFIGURATION_D, VGGFeatures, kernel_shapes
from lawlib.sweep import grid

REAL = DATA_SETS["cifar10"]
SIDE, K, TRAIN, TEST = 8, 10, 60, 40
CHANNELS = ((3,), (10,))
RELU = f"variants={tuple({'net.activation': 'relu', 'net.form': 's_big', 'net.rank': r} for r in (20, 40))!r}"
TINY = {
    "net.width": 48,
    "opt.batch_size": 20,
    "data.num_train": TRAIN,
    "data.num_test": TEST,
    "data.num_probe": 40,
    "data.eval_batch": 10,
    "data.size": 8,
    "data.block": 2,
    "data.pretrained": "imagenet",
    "precision": "float64",
}
D = 9 * CHANNELS[-1][-1]


def drawn(size, seed):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (size, SIDE, SIDE, 3), np.uint8)
    return Images(pixels, np.sort(np.tile(np.arange(K, dtype=np.uint8), size // K)))


def kernels():
    rng, variables = np.random.default_rng(2), {}
    for name, shape in kernel_shapes(CHANNELS).items():
        kernel = rng.standard_normal(shape, np.float32) / np.sqrt(np.prod(shape[:-1]))
        variables[name] = {"kernel": kernel.astype(np.float32), "bias": rng.standard_normal(shape[-1:], np.float32)}
    return {"params": variables}


IMAGES = ImageData(drawn(TRAIN, 0), drawn(TEST, 1), "made up")
WEIGHTS = Pretrained(kernels(), RGB_TORCH._replace(scale=0.1), "made up", "imagenet")


@pytest.fixture(autouse=True)
def tiny(monkeypatch, tmp_path):
    known = REAL._replace(shape=(SIDE, SIDE, 3), sizes=(TRAIN, TEST))
    monkeypatch.setitem(DATA_SETS, "cifar10", known)
    for module in (vgg_heads, vgg_inputs):
        monkeypatch.setattr(module, "CONFIGURATION_D", CHANNELS)
        monkeypatch.setattr(module, "image_data", lambda *_: IMAGES)
        monkeypatch.setattr(module, "pretrained", lambda _: WEIGHTS)
    monkeypatch.setenv("LAWLIB_CACHE", str(tmp_path))


def config_of(*words, name="vgg16_cifar10", profile="smoke"):
    return synthetic.config_of(name, *words, profile=profile, **(TINY if profile == "smoke" else {}))


def variant(name, *words):
    return dict(expand(config_of(*words)))[name]


# Rules ----------------------------------------------------------------------------------------------------

RULES = {
    "rank": ("net.rank=19", "net.rank = 19: must be in 20..45, from 2K up"),
    "size": ("data.size=3", "data.size = 3: must be at least 4 for 2 poolings"),
    "classes": ("data.num_train=45", "data.num_train = 45: must be a multiple of 10, at most 60"),
    "cut": ("data.num_probe=35", "data.num_probe = 35: must be a multiple of data.eval_batch = 10"),
    "batch": ("opt.batch_size=61", "opt.batch_size = 61: must be at most data.num_train = 60"),
    "gradient": (
        "data.gradient_images=55",
        "data.gradient_images = 55: must be 0 for all, or at most data.num_train = 60, and a multiple of 10",
    ),
    "kind": ("data.pretrained=edges", "data.pretrained = 'edges': the weights at hand are 'imagenet': made up"),
}


@pytest.mark.parametrize(("word", "line"), RULES.values(), ids=RULES)
def test_every_rule_has_its_line(word, line):
    assert any(told.endswith(line) for told in collect(config_of(word), vgg_heads.validate))


@pytest.mark.parametrize("profile", ["smoke", "cpu", "paper"])
@pytest.mark.parametrize("name", ["vgg16_cifar10", "vgg16_rank"])
def test_our_own_configs_pass(name, profile, monkeypatch):
    words = ()
    if profile != "smoke":
        monkeypatch.setitem(DATA_SETS, "cifar10", REAL)
        for module in (vgg_heads, vgg_inputs):
            monkeypatch.setattr(module, "CONFIGURATION_D", CONFIGURATION_D)
        words = ("data.pretrained=imagenet",)
    assert collect(config_of(*words, name=name, profile=profile), vgg_heads.validate) == []


# Data -----------------------------------------------------------------------------------------------------


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


def test_features_are_computed_once_and_survive_an_interruption(tmp_path):
    images, calls = np.arange(2 * CHUNK, dtype=np.float32)[:, None], []

    def extract(chunk):
        calls.append(len(chunk))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return 2 * chunk

    with pytest.raises(KeyboardInterrupt):
        cached_features(extract, images, "double", tmp_path)
    np.testing.assert_array_equal(cached_features(extract, images, "double", tmp_path), 2 * images)
    assert len(calls) == 3
    cached_features(extract, images, "double", tmp_path)
    assert len(calls) == 3
    cached_features(extract, images, "another", tmp_path)
    assert len(calls) == 5


def test_features_that_were_damaged_are_computed_again(tmp_path):
    images = np.ones((3, 2), np.float32)
    cached_features(lambda chunk: 2 * chunk, images, "double", tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-4] + bytes(4))
    np.testing.assert_array_equal(cached_features(lambda chunk: 2 * chunk, images, "double", tmp_path), 2 * images)


# Starts and epochs ----------------------------------------------------------------------------------------


@ft.cache
def begun(name, *words):
    config = variant(name, *words)
    data = vgg_heads.shared(config)
    system = vgg_heads.dynamics(config)
    problem, watched = jax.jit(lambda key: system.init(key, {}, data))(jax.random.key(3))
    return data, system, problem, watched


def cross_entropy(weights, apply, X, Y):
    outputs = apply(weights, X.T, "silu").T
    return -jnp.mean(jnp.sum(Y * (outputs - jax.scipy.special.logsumexp(outputs, axis=1, keepdims=True)), axis=1))


gradient = jax.jit(jax.grad(cross_entropy), static_argnums=1)
RATES = "opt.step_size=0.1", "opt.weight_decay=0.01", "opt.num_steps=2"


def test_an_epoch_is_sgd_with_momentum_as_pytorch_has_it():
    data, system, problem, watched = begun("silu_s_big_batch", *RATES)
    apply = low_rank.apply
    weights = watched.state.iterate.weights.head
    velocity = jax.tree.map(jnp.zeros_like, weights)
    order = jax.random.permutation(jax.random.fold_in(watched.state.key, 0), TRAIN)
    for t, batch in enumerate(order.reshape(-1, 20)):
        rate = 0.1 * (1 + np.cos(np.pi * t / 6)) / 2
        gradients = gradient(weights, apply, data.train.inputs[batch], data.train.labels[batch])
        velocity = jax.tree.map(lambda v, G, W: 0.9 * v + G + 0.01 * W, velocity, gradients, weights)
        weights = jax.tree.map(lambda W, v, rate=rate: W - rate * v, weights, velocity)
    moved = jax.jit(system.step)(watched, problem, data)
    found = moved.state.iterate.weights.head
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-10), found, weights)
    seen = jax.jit(system.observe)(moved, problem, data)
    X, Y = data.test
    np.testing.assert_allclose(seen["test_loss"], cross_entropy(weights, apply, X, Y), rtol=1e-9)
    right = np.argmax(apply(weights, X.T, "silu"), 0) == np.argmax(Y, 1)
    np.testing.assert_allclose(seen["test_accuracy"], right.mean())


def test_the_head_of_a_whole_network_takes_the_same_first_step():
    """Trained with the convolutions or without: at the first step they have not moved yet."""
    heads = []
    for trains in ("head", "all"):
        words = f"opt.trains={trains}", "opt.batch_size=60"
        data, system, problem, watched = begun("silu_full", *RATES, *words)
        moved = jax.jit(system.step)(watched, problem, data).state.iterate.weights
        heads.append(moved.head)
        before = watched.state.iterate.weights.convolutions
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-6), *heads)
    change = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), moved.convolutions, before)
    assert min(jax.tree.leaves(change)) > 0


def test_a_low_rank_head_begins_in_s_big_of_the_gradient_of_its_images():
    data, _, problem, watched = begun("silu_s_big_batch", *RATES)
    full = begun("silu_full", *RATES, "opt.trains=head", "opt.batch_size=60")[3].state.iterate.weights.head
    start = watched.state.iterate.weights.head
    key_images = jax.random.split(jax.random.split(jax.random.key(3))[0], 5)[3]
    chosen = np.asarray(jax.random.permutation(key_images, TRAIN))[:40]
    X, Y = (x[chosen] for x in data.train)
    G = np.asarray(jax.grad(lambda W: cross_entropy((W, *full[1:]), mlp.apply, X, Y))(full[0]))
    L, s, Rt = np.linalg.svd(G)
    both = np.hstack([Rt[:K].T, np.asarray(full[0]).T @ L[:, :K] / 0.1])
    angles = scipy.linalg.subspace_angles(np.asarray(start.right), scipy.linalg.orth(both))
    # As far as the singular vectors may be off, and more where the two halves of S_big nearly meet.
    assert np.sin(angles).max() <= 2 * problem.basis_bound / np.linalg.svd(both, compute_uv=False)[-1] < 0.3
    np.testing.assert_allclose(problem.start_gradient[:2], s[K - 2 : K] / s[0], rtol=1e-3)
    assert s[K] / s[0] <= problem.start_gradient[2] < s[K - 1] / s[0]
    norms = np.linalg.norm(np.asarray(data.train.inputs[:40]), axis=1)
    np.testing.assert_allclose(problem.input_norm, np.sqrt(np.mean(norms**2)))
    np.testing.assert_array_equal(start.last, full[-1])


def test_a_run_ends_with_its_figures_its_claims_and_where_its_data_are_from(tmp_path):
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


# Claims ---------------------------------------------------------------------------------------------------

ENDS = {"full": 0.7, "s_big": 0.65, "random": 0.2}


def lawful(config):
    """S_big ends near the full head, all images nearer than one batch, more columns nearer; random stays at first."""
    times, members = observation_times(config), grid(config.num_seeds, knobs(config), "float64")
    net, data = config.net, config.data
    end = ENDS[net.form] + (net.form == "s_big") * 0.005 * np.log2(net.rank / 20)
    if net.form == "s_big" and data.gradient_images:
        end -= 0.05 if config.opt.trains == "head" else -0.04
    rise, shape = np.linspace(0, 1, len(times)), (len(members.seeds), len(times))
    accuracy = np.broadcast_to(0.1 + (end - 0.1) * np.minimum(1, 3 * rise), shape)
    stuck = net.form == "random"
    loss = np.broadcast_to(np.log(10) * np.where(rise > 0, 0.998 if stuck else 0.5, 1.0), shape)
    never = np.full(shape[0], -1)
    seen = {"train_loss": loss, "test_loss": loss, "test_accuracy": accuracy, "input_norm": np.ones(shape)}
    seen["basis_bound"] = np.ones(shape)
    seen["start_gradient"] = np.broadcast_to([0.1, 0.01, 0.005], (*shape, 3))
    return {name: x.copy() for name, x in seen.items()} | {"first_done": never, "first_bad_step": never}


def verdict(name, change=lambda name, seen: None, profile="cpu", words=()):
    config = config_of("num_seeds=2", *words, name=name, profile=profile)
    return vgg_heads.claims(synthetic.results_of(lawful, vgg_heads.VARIABLES, config, change))


def shifted(name, field, amount, step=-1):
    def change(variant, seen):
        if variant == name:
            seen[field][-1, step] += amount

    return change


BREAKS = {
    "one batch falls behind": (
        "vgg16_cifar10",
        shifted("gelu_s_big_batch", "test_accuracy", -0.06),
        "GELU: final test accuracy, S_big of one batch, r = 2K, less the full",
    ),
    "all images no better": (
        "vgg16_cifar10",
        shifted("silu_s_big", "test_accuracy", -0.04),
        "SiLU: final test accuracy, S_big of all images less S_big of one batch",
    ),
    "random learns early": (
        "vgg16_cifar10",
        shifted("silu_random", "train_loss", -0.1, step=12),
        "SiLU, random: training loss at the last epoch before 1000 steps are made",
    ),
    "S_big does not": (
        "vgg16_cifar10",
        shifted("silu_s_big", "train_loss", 0.5, step=7),
        "SiLU, S_big of all images: training loss at the last epoch before the step sizes add up to 2.7",
    ),
    "the whole network does not learn": (
        "vgg16_cifar10",
        shifted("silu_full_whole", "train_loss", 1.2),
        "SiLU, full, all layers, 480 images of 64 x 64: training loss after 240 steps",
    ),
    "more columns are worse": (
        "vgg16_rank",
        shifted("silu_all_r40", "test_accuracy", -0.04),
        "SiLU, S_big of all images: final test accuracy, r = 4K less r = 2K",
    ),
    "the gap is closed": (
        "vgg16_rank",
        lambda name, seen: seen["test_accuracy"].__iadd__(0.08 * (name == "gelu_batch_r40")),
        "GELU, S_big of one batch: 'r = 4K noticeably closes the gap' by half is false",
    ),
}


@pytest.mark.parametrize("name", ["vgg16_cifar10", "vgg16_rank"])
def test_the_lawful_pass_all(name):
    assert failing(verdict(name)) == []


@pytest.mark.parametrize(("name", "change", "words"), BREAKS.values(), ids=BREAKS)
def test_what_breaks_is_told(name, change, words):
    (found,) = failing(verdict(name, change))
    assert found.startswith(words)


def test_a_full_head_of_fewer_seeds_is_compared_as_far_as_it_goes():
    """The middle of the gap is that of the means; what is taken seed by seed, in the seeds that both have."""

    def uneven(name, seen):
        if name == "silu_all_r40":
            seen["test_accuracy"][1] += 0.2

    told = [c for c in verdict("vgg16_rank", uneven) if c.statement.startswith("SiLU, S_big of all images: ")]
    (middle,) = [claim for claim in told if "'r = 4K" in claim.statement]
    assert (middle.members, middle.status) == (2, "fails")
    np.testing.assert_allclose(middle.measured, (0.005 + 0.205) / 2 - 0.05 / 2)
    (lacks,) = [claim for claim in told if "still lacks" in claim.statement]
    assert lacks.members == 1


PRINTED_WORDS = ("ImageNet weights: final", "ImageNet weights, all layers: final")


def test_the_paper_is_judged_with_its_own_weights_alone():
    words = [f"{title}, {words}" for title in ("SiLU", "GELU") for words in PRINTED_WORDS]
    of_paper = [c for c in verdict("vgg16_cifar10", profile="paper") if c.statement.startswith(tuple(words))]
    assert [c.status for c in of_paper].count("holds") == len(of_paper) == 8
    assert {c.status for c in verdict("vgg16_cifar10") if c.statement.startswith(tuple(words))} == {"not_run"}
    stands_in = [c for c in verdict("vgg16_cifar10", profile="paper") if "S_big of one batch, r = 2K" in c.statement]
    assert {c.status for c in stands_in} == {"not_run"}


@pytest.mark.parametrize(
    "word", ["net.width=2048", "net.orthonormal=True", "opt.step_size=0.01", "data.size=64", "opt.num_steps=34", RELU]
)
def test_another_setting_is_not_judged(word):
    found = verdict("vgg16_rank", words=(word,))
    assert {claim.status for claim in found if claim.kind != "report"} == {"not_run"}


def test_weights_of_every_kind_have_a_name_in_the_figures():
    assert vgg_heads_figures.WEIGHTS.keys() == set(TRAINED_ON)


@pytest.mark.parametrize("name", ["vgg16_cifar10", "vgg16_rank"])
def test_every_figure_has_named_axes(name):
    results = synthetic.results_of(lawful, vgg_heads.VARIABLES, config_of("num_seeds=2", name=name, profile="cpu"))
    for drawn in vgg_heads.figures(results).values():
        first, last = drawn.axes[0], drawn.axes[-1]
        assert first.get_ylabel()
        assert last.get_xlabel()


def test_what_one_activation_alone_has_is_in_the_legend():
    config = config_of("num_seeds=2", name="vgg16_rank", profile="cpu")
    results = synthetic.results_of(lawful, vgg_heads.VARIABLES, config).drop_nodes("gelu_full")
    legends = [axes.get_legend() for axes in vgg_heads.figures(results)["rank"].axes if axes.get_legend()]
    assert [sum("full" in text.get_text() for text in legend.get_texts()) for legend in legends] == [1, 1]
