"""The experiment of the law of parsimony: its rules, its images, and how members and chunks become results."""

import functools as ft
import itertools
import json

import numpy as np
import pytest
import synthetic

from experiments.data.datasets import ImageData, flattened
from experiments.data.idx import Images
from experiments.data.vgg16 import RGB_TORCH, Pretrained
from experiments.laws.parsimony.theorem import system as theorem
from experiments.runner.checks import collect
from experiments.runner.results import Variable, assemble
from experiments.runner.settings import expand, hyperparameters, to_plain
from lawlib.dynamics.sweep import grid

config_of = ft.partial(synthetic.config_of, profile="smoke")


# Rules ----------------------------------------------------------------------------------------------------

RULES = {
    "depth": ({"net.depth": 1}, "net.depth = 1: must be an integer >= 2"),
    "rank": ({"net.width": 6}, "net.width = 6: must exceed 2 * data.rank = 6"),
    "scale": ({"net.scale": 0.0}, "net.scale = 0.0: must be a finite number > 0.0"),
    "step": ({"opt.step_size": -1.0}, "opt.step_size = -1.0: must be a finite number > 0.0"),
    "no samples": ({"data.num_samples": 0}, "data.num_samples = 0: must be an integer >= 1"),
    "no rank": ({"data.rank": 0}, "data.rank = 0: must be an integer >= 1"),
    "source": (
        {"data.source": "x"},
        "data.source = 'x': must be one of 'low_rank', 'gaussian', 'digits', 'fashion_mnist'",
    ),
    "whitened identity": (
        {"data.whiten": False},
        "data.whiten = False: must be True for data.source = 'low_rank', whose inputs are I",
    ),
    "too few to whiten": (
        {"data.source": "gaussian", "data.num_samples": 29},
        "data.num_samples = 29: must be >= net.width = 30 to be whitened",
    ),
    "pixels": (
        {"data.source": "digits", "data.whiten": False, "net.width": 61, "data.rank": 10},
        "net.width = 61: must be 64, the digits' dimension for this data.whiten",
    ),
    "whitened pixels": (
        {"data.source": "digits", "net.width": 64, "data.rank": 10},
        "net.width = 64: must be 61, the digits' dimension for this data.whiten",
    ),
    "classes": (
        {"data.source": "digits", "net.width": 61, "data.rank": 9},
        "data.rank = 9: must be 10, one output per digit",
    ),
}


@pytest.mark.parametrize(("fields", "line"), RULES.values(), ids=RULES)
def test_every_rule_has_its_line(fields, line):
    config = config_of("dln_parsimony", f"variants=({fields!r},)")
    assert collect(config, theorem.validate) == [line]


@pytest.mark.parametrize("field", ["opt.weight_decay", "opt.momentum"])
@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_rates_stay_in_their_range(field, value):
    config = config_of("dln_parsimony", f"sweep.{field}=({value},)")
    allowed = field == "opt.weight_decay" and value > 0
    assert len(collect(config, theorem.validate)) == (not allowed)


@pytest.mark.parametrize("path", sorted(synthetic.CONFIGS.glob("*.py")), ids=lambda path: path.stem)
@pytest.mark.parametrize("profile", ["smoke", "cpu", "paper"])
def test_every_config_passes_its_own_experiments_rules(path, profile, monkeypatch):
    config = config_of(path.stem, profile=profile)
    experiment = synthetic.experiment_of(config)
    # Files need not be at hand, and are not read.
    for reader in ("image_data", "pretrained"):
        if hasattr(experiment, reader):
            wanted = Pretrained({}, RGB_TORCH, "", config.data.get("pretrained", ""))
            monkeypatch.setattr(experiment, reader, lambda *_, found=wanted: found)
    assert collect(config, experiment.validate) == []


# Images ---------------------------------------------------------------------------------------------------


@pytest.fixture
def images(monkeypatch):
    """A thousand made-up images of 28 x 28."""
    rng = np.random.default_rng(0)
    drawn = Images(rng.integers(0, 256, (1000, 28, 28, 1), np.uint8), np.tile(np.arange(10, dtype=np.uint8), 100))
    monkeypatch.setattr(theorem, "image_data", lambda *_: ImageData(drawn, drawn, "made up"))
    return drawn


def fashion(*words):
    ((_, own),) = expand(config_of("dln_fashion_mnist", "variants=({'name': 'one'},)", *words))
    return own


IMAGE_RULES = {
    "pool": ("data.pool=3", "data.pool = 3: must be one of 1, 2"),
    "pixels": ("data.pool=1", "net.width = 196: must be 784, the pixels of an image at this data.pool"),
    "classes": ("data.rank=9", "data.rank = 9: must be 10, one output per class"),
    "too few": (
        "data.num_samples=999",
        "data.num_samples = 999: must be in 1000..60000, the images that can be whitened at this data.pool",
    ),
}


@pytest.mark.parametrize(("word", "line"), IMAGE_RULES.values(), ids=IMAGE_RULES)
def test_every_rule_on_images_has_its_line(images, word, line):
    assert line in collect(fashion(word), theorem.validate)
    assert collect(fashion(), theorem.validate) == []


def test_pixels_are_averaged_over_squares_and_stand_in_columns(images):
    found = flattened(images, 7, 2, np.dtype("float64"))
    for image, row, column in ((0, 0, 0), (6, 13, 5), (3, 2, 11)):
        square = images.images[image, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2, 0].astype(float)
        assert found.inputs[14 * row + column, image] == pytest.approx(square.mean() / 255, rel=1e-14)
    np.testing.assert_array_equal(found.labels.argmax(0), images.labels[:7])
    np.testing.assert_array_equal(
        flattened(images, 7, 1, np.dtype("float64")).inputs[:, 4] * 255, images.images[4].ravel()
    )


def test_whitened_images_have_orthonormal_rows_in_the_span_of_the_pixels(images):
    inputs, labels = theorem.shared(fashion())
    np.testing.assert_allclose(inputs @ inputs.T, np.eye(196), atol=1e-12)
    pixels = flattened(images, 1000, 2, np.dtype("float64")).inputs
    np.testing.assert_allclose(pixels - (pixels @ inputs.T) @ inputs, 0, atol=1e-11)
    assert labels.shape == (10, 1000)


def test_sources_are_told_of_images_alone(images):
    assert theorem.sources(fashion()) == {"fashion_mnist": "made up"}
    assert theorem.sources(expand(config_of("dln_parsimony"))[0].config) == {}


def test_the_published_images_can_be_whitened_from_the_stated_count_on(fashion_mnist):
    for pool, count in theorem.LEAST_IMAGES.items():
        pixels = flattened(fashion_mnist.train, count, pool, np.dtype("float64")).inputs
        values = np.sqrt(np.linalg.eigvalsh(pixels @ pixels.T))
        assert values[0] > 1e-5 * values[-1]


# Results --------------------------------------------------------------------------------------------------


def test_members_stand_where_their_seed_and_hyperparameters_say():
    config = config_of("dln_parsimony", "sweep.net.scale=0.5,2.0", "num_seeds=3", "variants=({},)")
    ((_, own),) = expand(config)
    members = grid(own.num_seeds, hyperparameters(own), "float64")
    assert len(members.seeds) == 3 * 2 * 2 * 2
    code = (
        1000 * members.seeds + 100 * members.hyperparameters["net.scale"] + 10 * members.hyperparameters["opt.momentum"]
    )
    code = code + members.hyperparameters["opt.weight_decay"]
    times = np.array([0, 5, 9])
    whole = code[:, None] + 1e-3 * times
    never = np.full(len(code), -1)
    cuts = [slice(0, 10), slice(10, 20), slice(20, None)]
    chunks = [
        [
            {"loss": whole[rows, part], "converged_at": never[rows], "diverged_at": never[rows]}
            for part in (slice(2), [2])
        ]
        for rows in cuts
    ]
    data = assemble(
        "all", own, times, iter(chunks), {"loss": Variable((), "1", "code"), "unseen": Variable((), "1", "")}
    )
    assert data.loss.dims == ("seed", "scale", "momentum", "weight_decay", "step")
    assert list(data.data_vars) == ["loss", "converged_at", "diverged_at"]
    for seed, scale, momentum, decay, step in itertools.product(range(3), (0.5, 2), (0, 0.9), (0, 0.1), times):
        place = {"seed": seed, "scale": scale, "momentum": momentum, "weight_decay": decay, "step": step}
        assert float(data.loss.sel(place)) == 1000 * seed + 100 * scale + 10 * momentum + decay + 1e-3 * step
    assert (data.loss.attrs["units"], data.attrs["variant"]) == ("1", "all")
    assert json.loads(data.attrs["config"]) == json.loads(json.dumps(to_plain(own)))


def test_a_chunk_that_ended_early_repeats_its_last_observation():
    config = config_of("dln_momentum", "sweep.opt.momentum=0.0,0.9", "num_seeds=2")
    ((_, own),) = expand(config)
    times = np.arange(5)
    full = {
        "loss": np.arange(10.0).reshape(2, 5),
        "converged_at": np.array([-1, -1]),
        "diverged_at": np.array([-1, -1]),
    }
    marks = {"converged_at": np.array([1, 2]), "diverged_at": np.array([-1, -1])}
    early = [
        {
            "loss": np.array([[7.0, 6.0], [3.0, 2.0]]),
            "converged_at": np.array([1, -1]),
            "diverged_at": np.array([-1, -1]),
        },
        {"loss": np.array([[6.0], [1.0]]), **marks},
    ]
    data = assemble("early", own, times, [[full], early], {"loss": Variable((), "1", "")})
    np.testing.assert_array_equal(data.loss.sel(seed=0).values, full["loss"])
    np.testing.assert_array_equal(data.loss.sel(seed=1).values, [[7, 6, 6, 6, 6], [3, 2, 1, 1, 1]])
    np.testing.assert_array_equal(data.converged_at.values, [[-1, -1], [1, 2]])
