"""Low-rank MLPs on images: the rules, the starts, the steps, and the verdict on made-up results."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import synthetic
from synthetic import failing

from experiments import low_rank_images, run
from experiments.checks import collect
from experiments.datasets import DATA_SETS, ImageData
from experiments.image_files import Images
from experiments.run import observation_times, sources_of
from experiments.settings import expand, knobs
from experiments.store import Refused
from lawlib.networks import low_rank, mlp
from lawlib.sweep import grid
from lawlib.theory.smooth_mlp import big_and_small

SIDE, K, TRAIN, TEST = 7, 10, 40, 20
D = SIDE**2
TINY = {"data.num_train": TRAIN, "data.num_test": TEST, "data.batch_size": 10, "data.gradient_batch": 10}


def drawn(size, seed):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (size, SIDE, SIDE, 1), np.uint8)
    return Images(pixels, np.tile(np.arange(K, dtype=np.uint8), size // K))


@pytest.fixture(autouse=True)
def tiny_images(monkeypatch):
    data = ImageData(drawn(TRAIN, 0), drawn(TEST, 1), "made up")
    monkeypatch.setitem(
        DATA_SETS, "fashion_mnist", DATA_SETS["fashion_mnist"]._replace(shape=(SIDE, SIDE, 1), sizes=(TRAIN, TEST))
    )
    monkeypatch.setattr(low_rank_images, "image_data", lambda *_: data)


def config_of(*words, profile="smoke", name="fashion_mnist_low_rank"):
    return synthetic.config_of(name, *words, profile=profile, **(TINY if profile == "smoke" else {}))


def variants(*words):
    return dict(expand(config_of("precision=float64", *words)))


# Rules ----------------------------------------------------------------------------------------------------

RULES = {
    "rank": ("net.rank=19", "net.rank = 19: must be in 20..24, from 2K to d/2"),
    "angle": ("net.angle=91.0", "net.angle = 91.0: must be a finite number >= 0.0 and <= 90.0"),
    "train": ("data.num_train=45", "data.num_train = 45: must be at most 40"),
    "cut": ("data.num_train=35", "data.num_train = 35: must be a multiple of data.batch_size = 10"),
    "gradient": ("data.gradient_batch=11", "data.gradient_batch = 11: must be at most data.batch_size = 10"),
}


@pytest.mark.parametrize(("word", "line"), RULES.values(), ids=RULES)
def test_every_rule_has_its_line(word, line):
    assert line in collect(config_of(word), low_rank_images.validate)


ANGLE_RULES = {
    "sweep.opt.step_size=0.1,": (
        "sweep.opt.step_size = (0.1,): cannot be swept; use variants (what can be swept: net.angle)"
    ),
    "sweep.net.angle=()": "sweep.net.angle = (): must hold 0.0, beside which others are seen",
    "sweep.net.angle=15.0,30.0": "sweep.net.angle = (15.0, 30.0): must hold 0.0, beside which others are seen",
    "net.form=full": "net.form = 'full': must be 's_big' where the angle is studied",
}


@pytest.mark.parametrize(("word", "line"), ANGLE_RULES.items())
def test_the_angle_is_studied_beside_none(word, line):
    config = synthetic.config_of("fashion_mnist_angle", word, profile="smoke", **TINY)
    assert line in collect(config, low_rank_images.validate)


@pytest.mark.parametrize("name", ["fashion_mnist_low_rank", "fashion_mnist_angle"])
def test_our_own_configs_pass(name):
    assert collect(config_of(name=name), low_rank_images.validate) == []


def test_where_the_images_come_from_is_told_once_for_all_variants():
    assert sources_of(config_of(), low_rank_images) == {"fashion_mnist": "made up"}
    assert sources_of(config_of(), object()) == {}


def test_every_start_is_recorded_with_its_sources_and_a_run_is_not_made_of_two(monkeypatch, tmp_path):
    monkeypatch.setattr(run, "_simulate", lambda *_: False)  # as if stopped by a signal

    def start(origin):
        data = ImageData(drawn(TRAIN, 0), drawn(TEST, 1), origin)
        monkeypatch.setattr(low_rank_images, "image_data", lambda *_: data)
        return run.run(config_of(), tmp_path / "run")

    assert [start("as published"), start("as published")] == [run.STOPPED] * 2
    with pytest.raises(Refused, match=r"other data .fashion_mnist: was as published, is now compressed"):
        start("compressed")
    record = json.loads((tmp_path / "run" / "provenance.json").read_text())
    assert [each["sources"] for each in record["starts"]] == [{"fashion_mnist": "as published"}] * 2
    assert record["sources"] == {"fashion_mnist": "as published"}


# Starts and steps -----------------------------------------------------------------------------------------


def begun(config):
    data = low_rank_images.shared(config)
    system = low_rank_images.dynamics(config)
    step_size, watched = jax.jit(lambda key: system.init(key, {}, data))(jax.random.key(3))
    return data, system, step_size, watched


def whole(part):
    return tuple(jnp.concatenate(list(x), axis=1) for x in part)


def gradient(weights, apply, data, phi="silu"):
    X, Y = whole(data.train)
    return jax.grad(lambda weights: jnp.sum((apply(weights, X, phi) - Y) ** 2) / 2)(weights)


@pytest.mark.parametrize("name", ["silu_full", "silu_s_big"])
def test_a_step_descends_on_all_images_with_the_rate_of_the_cosine(name):
    config = variants("opt.num_steps=4", "opt.step_size=0.01")[name]
    data, system, step_size, watched = begun(config)
    apply = mlp.apply if name == "silu_full" else low_rank.apply
    weights = watched.state.weights
    for t in range(2):
        rate = 0.01 * (1 + np.cos(np.pi * t / 4)) / 2
        weights = jax.tree.map(lambda W, G, rate=rate: W - rate * G, weights, gradient(weights, apply, data))
        watched = system.step(watched, step_size, data)
    jax.tree.map(
        lambda found, wanted: np.testing.assert_allclose(found, wanted, atol=1e-12), watched.state.weights, weights
    )
    X, Y = whole(data.test)
    seen = system.observe(watched, step_size, data)
    outputs, Y = np.asarray(apply(weights, X, "silu")), np.asarray(Y)
    np.testing.assert_allclose(seen["test_loss"], np.sum((outputs - Y) ** 2) / 2 / TEST, rtol=1e-12)
    assert seen["test_accuracy"] == np.mean(np.argmax(outputs, 0) == np.argmax(Y, 0))


@pytest.mark.parametrize(("name", "angle"), [("silu_s_big", 0.0), ("silu_s_big", 40.0), ("silu_s_big_batch", 0.0)])
def test_low_rank_networks_begin_at_an_angle_from_the_big_subspace_of_the_full_one(name, angle):
    config = variants(f"net.angle={angle}")[name]
    data, _, _, watched = begun(config)
    full = begun(variants()["silu_full"])[3].state.weights
    if name.endswith("batch"):
        data = data._replace(train=jax.tree.map(lambda x: x[:1], data.train))
    big = np.asarray(big_and_small(full[0], gradient(full, mlp.apply, data)[0], K).big)
    start = watched.state.weights
    carried = np.linalg.multi_dot([*(np.asarray(W) for W in full[-2::-1]), big])
    for found, wanted in ((start.right, big), (start.left, carried)):
        turn = np.rad2deg(scipy.linalg.subspace_angles(np.asarray(found), wanted))
        np.testing.assert_allclose(turn, angle, atol=1e-5)
    np.testing.assert_array_equal(start.last, full[-1])


def test_small_layers_are_drawn_or_transported():
    drawn, transported = (
        begun(variants(f"net.inner={x}")["silu_s_big"])[3].state.weights for x in ("drawn", "transported")
    )
    np.testing.assert_array_equal(drawn.right, transported.right)
    for W in transported.inner:
        np.testing.assert_allclose(W, 0.1 * np.eye(len(W)), atol=1e-12)
    assert all(np.abs(W - 0.1 * np.eye(len(W))).max() > 0.01 for W in drawn.inner)


def test_pixels_are_standardized_by_one_mean_and_one_deviation_for_all():
    config = variants()["silu_full"]
    data, images = low_rank_images.shared(config), drawn(TRAIN, 0)
    X, Y = whole(data.train)
    by_hand = [(float(pixel) / 255 - 0.28604) / 0.35302 for pixel in images.images[7].ravel()]
    np.testing.assert_allclose(X[:, 7], by_hand, atol=1e-12)
    assert np.argmax(np.asarray(Y)[:, 7]) == images.labels[7]


# Claims ---------------------------------------------------------------------------------------------------


def lawful(config):
    """The full network and S_big end alike, a random subspace stays where it began."""
    times, members = observation_times(config), grid(config.num_seeds, knobs(config), "float64")
    end = {"full": 0.84, "s_big": 0.83, "random": 0.1}[config.net.form]
    rise = np.linspace(0, 1, len(times))
    shape = (len(members.seeds), len(times))
    loss = np.broadcast_to(0.5 - 0.4 * rise * (config.net.form != "random"), shape)
    accuracy = np.broadcast_to(0.1 + (end - 0.1) * rise, shape)
    never = np.full(shape[0], -1)
    seen = {"train_loss": loss, "test_loss": loss, "test_accuracy": accuracy}
    return {name: x.copy() for name, x in seen.items()} | {"first_done": never, "first_bad_step": never}


def verdict(change=lambda name, seen: None, *words):
    config = config_of("num_seeds=2", *words, profile="cpu")
    return low_rank_images.claims(synthetic.results_of(lawful, low_rank_images.VARIABLES, config, change))


def measured(claims, words):
    (found,) = [claim.measured for claim in claims if words in claim.statement]
    return found


def lowered(variant, field, amount):
    def change(name, seen):
        if name == variant:
            seen[field][1, -1] += amount

    return change


BREAKS = {
    "s_big falls behind": (lowered("silu_s_big", "test_accuracy", -0.05), "S_big less full"),
    "random learns": (lowered("silu_random", "test_loss", -0.39), "random subspace over the larger"),
    "none learns": (lowered("silu_full", "test_loss", 0.4), "random subspace over the larger"),
}


def test_the_lawful_pass_all():
    assert failing(verdict()) == []


@pytest.mark.parametrize(("change", "words"), BREAKS.values(), ids=BREAKS)
def test_one_member_is_enough_to_fail(change, words):
    (found,) = failing(verdict(change))
    assert words in found


def nearly_as_bad(name, seen):
    """The others end at .4, so that one that stays at .5 is 1.25 times as bad."""
    if name != "silu_random":
        seen["test_loss"][:, -1] = 0.4


def test_a_random_subspace_that_stays_is_bad_enough_and_one_that_leaves_is_not():
    assert failing(verdict(nearly_as_bad)) == []

    def leaves(name, seen):
        nearly_as_bad(name, seen)
        if name == "silu_random":
            seen["test_loss"][:, -1] = 0.48

    (found,) = failing(verdict(leaves))
    assert "random subspace over the larger" in found


def test_small_layers_are_compared():
    change = lowered("silu_s_big_transported", "test_accuracy", 0.04)
    assert measured(verdict(change), "transported less drawn") == pytest.approx(0.02)


def test_too_short_a_run_is_not_judged():
    short = verdict(BREAKS["s_big falls behind"][0], "opt.num_steps=1400")
    assert {claim.status for claim in short if claim.kind == "law"} == {"not_run"}
    assert all("eta N T = 750" in claim.statement for claim in short if claim.status == "not_run")


@pytest.mark.parametrize(
    "word",
    ["net.rank=40", "net.angle=60.0", "net.depth=3", "net.scale=0.2", "opt.step_size=1e-4", "opt.step_size=4e-5"],
)
def test_another_setting_is_not_judged(word):
    found = verdict(BREAKS["s_big falls behind"][0], word)
    assert {claim.status for claim in found if claim.kind == "law"} == {"not_run"}


@pytest.mark.parametrize("word", ["net.gradient=batch", "net.activation=relu", "net.inner=transported"])
def test_the_angle_is_judged_in_its_own_setting(word):
    config = config_of("num_seeds=2", word, profile="cpu", name="fashion_mnist_angle")
    found = low_rank_images.claims(synthetic.results_of(angle_lawful, low_rank_images.VARIABLES, config))
    assert {claim.status for claim in found if claim.kind != "report"} == {"not_run"}


def late_batch(name, seen):
    """One batch ends at .74; the accuracies rise evenly to their ends over 61 times of 25 steps."""
    if name == "silu_s_big_batch":
        seen["test_accuracy"][:] = 0.1 + 0.64 * np.linspace(0, 1, seen["test_accuracy"].shape[1])


def test_one_batch_is_compared_with_all_images_in_accuracy_and_in_steps():
    claims = verdict(late_batch)
    assert measured(claims, "all images less S_big of one batch") == pytest.approx(0.83 - 0.74)
    for which, end in (("full", 0.84), ("s_big", 0.83)):
        reached = 1500 * (0.9 * 0.84 - 0.1) / (end - 0.1)
        steps = measured(claims, f"SiLU, {which}: steps to 90%")
        assert reached <= steps < reached + 25
    late = [claim for claim in claims if "s_big_batch: steps to" in claim.statement]
    assert [claim.status for claim in late] == ["not_run"] * 2
    assert all("2 of 2 members do not get there" in claim.statement for claim in late)


def angle_lawful(config, lost=(0.0, 0.01, 0.02, 0.1, 0.02, 0.4, 0.7)):
    """The nearer to S_big, the better; but 45 degrees fall behind and 60 do not; nothing is learnt at 90."""
    seen = lawful(config)
    members = grid(config.num_seeds, knobs(config), "float64").knobs["net.angle"]
    angles = knobs(config)["net.angle"]
    less = np.asarray([dict(zip(angles, lost, strict=True))[angle] for angle in members])
    rise = np.linspace(0, 1, len(observation_times(config)))
    accuracy = 0.1 + np.outer(0.73 - less, rise)
    loss = 0.5 - 0.4 * np.outer(members < 90, rise)
    never = np.full(len(members), -1)
    return (
        seen
        | {"test_loss": loss, "train_loss": loss, "test_accuracy": accuracy}
        | dict.fromkeys(("first_done", "first_bad_step"), never)
    )


def angle_results(change=lambda name, seen: None):
    config = config_of("num_seeds=2", profile="cpu", name="fashion_mnist_angle")
    return synthetic.results_of(angle_lawful, low_rank_images.VARIABLES, config, change)


def set_end(member, field, value):
    def change(name, seen):
        seen[field][member, -1] = value

    return change


# Members are two seeds of seven angles each, and their ends without a change .83, .82, .81, .73, .81, .43, .13.
ANGLE_BREAKS = {
    "30 falls behind": (set_end(9, "test_accuracy", 0.79), "psi = 30 degrees"),
    "75 learns": (set_end(12, "test_accuracy", 0.82), "psi = 75 degrees"),
    "90 learns": (set_end(13, "test_loss", 0.47), "psi = 90 degrees"),
}


@pytest.mark.parametrize(("change", "words"), ANGLE_BREAKS.values(), ids=ANGLE_BREAKS)
def test_one_member_at_an_angle_is_enough_to_fail(change, words):
    assert failing(low_rank_images.claims(angle_results())) == []
    (found,) = failing(low_rank_images.claims(angle_results(change)))
    assert words in found


def at_pace(**paces):
    """At these angles of each seed the curve of psi = 0, run through at another pace; alike up to 45 else."""

    def change(name, seen):
        rise = np.linspace(0, 1, seen["test_accuracy"].shape[1])
        for place, angle in enumerate((15, 30, 45), 1):
            for seed, pace in enumerate(paces.get(f"at_{angle}", (1.0, 1.0))):
                seen["test_accuracy"][7 * seed + place] = 0.1 + 0.73 * np.minimum(1, rise * pace)

    return change


# Nine tenths of the end, .747, are seen at step 1350 of psi = 0, and at a pace of .89 at step 1500.
@pytest.mark.parametrize(
    ("paces", "angle", "measured", "status"),
    [
        ({}, 15, 1.0, "fails"),
        ({"at_45": (0.89, 0.89)}, 45, 1500 / 1350, "holds"),
        ({"at_30": (0.89, 0.89)}, 30, 1500 / 1350, "holds"),
        ({"at_45": (0.98, 0.98)}, 45, 1380 / 1350, "fails"),
        ({"at_30": (0.89, 1.0)}, 30, 1425 / 1350, "fails"),
    ],
)
def test_the_printed_statement_is_of_how_late_the_curves_are_in_the_mean_over_the_seeds(paces, angle, measured, status):
    claims = low_rank_images.claims(angle_results(at_pace(**paces)))
    (printed,) = [claim for claim in claims if claim.kind == "printed"]
    assert f"at {angle} degrees" in printed.statement
    assert (printed.status, pytest.approx(printed.measured)) == (status, measured)


def assert_named(drawn):
    assert all(axes.get_ylabel() or axes.get_xlabel() for axes in drawn.axes)


def test_every_figure_has_named_axes():
    results = synthetic.results_of(lawful, low_rank_images.VARIABLES, config_of("num_seeds=2", profile="cpu"))
    drawn = low_rank_images.figures(results)
    assert drawn.keys() == {"low_rank", "batch"}
    (turned,) = low_rank_images.figures(angle_results()).values()
    for figure in (*drawn.values(), turned):
        assert_named(figure)


def test_every_start_has_its_curve():
    config = config_of("num_seeds=2", profile="cpu")
    results = synthetic.results_of(lawful, low_rank_images.VARIABLES, config)
    (legend,) = low_rank_images.figures(results)["low_rank"].legends
    told = [text.get_text() for text in legend.get_texts()]
    assert sum("transported" in words for words in told) == 1
    assert len(told) == len(set(told)) == len(config.variants) == 5


def test_the_figure_of_one_batch_tells_what_is_not_reached():
    config = config_of("num_seeds=2", profile="cpu")
    results = synthetic.results_of(lawful, low_rank_images.VARIABLES, config, late_batch)
    ends, *steps = low_rank_images.figures(results)["batch"].axes
    assert [text.get_text() for text in ends.texts] == ["0.840", "0.830", "0.740"]
    assert [axes.texts[2].get_text() for axes in steps] == ["not reached by 2 of 2"] * 2
    assert all(text.get_text().isdigit() for axes in steps for text in axes.texts[:2])
