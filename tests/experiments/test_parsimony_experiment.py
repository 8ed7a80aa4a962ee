"""The experiment of the law of parsimony: its rules, its verdict on made-up results, its figures."""

import functools as ft
import importlib
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
import synthetic
from matplotlib.figure import Figure

from experiments import parsimony
from experiments.checks import collect
from experiments.datasets import ImageData, flattened
from experiments.image_files import Images
from experiments.pretrained import RGB_TORCH, Pretrained
from experiments.results import Variable, assemble, groups
from experiments.run import observation_times
from experiments.settings import expand, knobs, load, to_plain
from lawlib.sweep import grid

CONFIGS = Path(__file__).parents[2] / "configs"


def config_of(name, *words):
    """The smoke profile's config, with overrides."""
    return load(f"{CONFIGS / name}.py:smoke", [f"--config.{word}" for word in words])


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
    assert collect(config, parsimony.validate) == [line]


@pytest.mark.parametrize("field", ["opt.weight_decay", "opt.momentum"])
@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_rates_stay_in_their_range(field, value):
    config = config_of("dln_parsimony", f"sweep.{field}=({value},)")
    allowed = field == "opt.weight_decay" and value > 0
    assert len(collect(config, parsimony.validate)) == (not allowed)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.py")), ids=lambda path: path.stem)
@pytest.mark.parametrize("profile", ["smoke", "cpu", "paper"])
def test_every_config_passes_its_own_experiments_rules(path, profile, monkeypatch):
    config = load(f"{path}:{profile}")
    experiment = importlib.import_module(f"experiments.{config.experiment}")
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
    monkeypatch.setattr(parsimony, "image_data", lambda *_: ImageData(drawn, drawn, "made up"))
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
    assert line in collect(fashion(word), parsimony.validate)
    assert collect(fashion(), parsimony.validate) == []


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
    inputs, labels = parsimony.shared(fashion())
    np.testing.assert_allclose(inputs @ inputs.T, np.eye(196), atol=1e-12)
    pixels = flattened(images, 1000, 2, np.dtype("float64")).inputs
    np.testing.assert_allclose(pixels - (pixels @ inputs.T) @ inputs, 0, atol=1e-11)
    assert labels.shape == (10, 1000)


def test_sources_are_told_of_images_alone(images):
    assert parsimony.sources(fashion()) == {"fashion_mnist": "made up"}
    assert parsimony.sources(expand(config_of("dln_parsimony"))[0].config) == {}


def test_the_published_images_can_be_whitened_from_the_stated_count_on(fashion_mnist):
    for pool, count in parsimony.LEAST_IMAGES.items():
        pixels = flattened(fashion_mnist.train, count, pool, np.dtype("float64")).inputs
        values = np.sqrt(np.linalg.eigvalsh(pixels @ pixels.T))
        assert values[0] > 1e-5 * values[-1]


def test_the_law_of_images_is_judged_relative_to_their_largest_value():
    config = config_of("dln_fashion_mnist")

    def change(name, seen, wrong=2e-12):
        seen["excess"][:] = wrong

    claims = verdict(config, change)  # the largest singular value is 3
    assert [claim.id for claim in claims] == ["T1.a Fashion-MNIST"] * 4 + ["T1.b Fashion-MNIST"] * 2
    assert failing(claims) == set()
    assert failing(verdict(config, ft.partial(change, wrong=4e-12))) == {"T1.a Fashion-MNIST"}


# Results --------------------------------------------------------------------------------------------------


def test_members_stand_where_their_seed_and_knobs_say():
    config = config_of("dln_parsimony", "sweep.net.scale=0.5,2.0", "num_seeds=3", "variants=({},)")
    ((_, own),) = expand(config)
    members = grid(own.num_seeds, knobs(own), "float64")
    assert len(members.seeds) == 3 * 2 * 2 * 2
    code = 1000 * members.seeds + 100 * members.knobs["net.scale"] + 10 * members.knobs["opt.momentum"]
    code = code + members.knobs["opt.weight_decay"]
    times = np.array([0, 5, 9])
    whole = code[:, None] + 1e-3 * times
    never = np.full(len(code), -1)
    cuts = [slice(0, 10), slice(10, 20), slice(20, None)]
    chunks = [
        [
            {"loss": whole[rows, part], "first_done": never[rows], "first_bad_step": never[rows]}
            for part in (slice(2), [2])
        ]
        for rows in cuts
    ]
    data = assemble(
        "all", own, times, iter(chunks), {"loss": Variable((), "1", "code"), "unseen": Variable((), "1", "")}
    )
    assert data.loss.dims == ("seed", "scale", "momentum", "weight_decay", "step")
    assert list(data.data_vars) == ["loss", "first_done", "first_bad_step"]
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
        "first_done": np.array([-1, -1]),
        "first_bad_step": np.array([-1, -1]),
    }
    marks = {"first_done": np.array([1, 2]), "first_bad_step": np.array([-1, -1])}
    early = [
        {
            "loss": np.array([[7.0, 6.0], [3.0, 2.0]]),
            "first_done": np.array([1, -1]),
            "first_bad_step": np.array([-1, -1]),
        },
        {"loss": np.array([[6.0], [1.0]]), **marks},
    ]
    data = assemble("early", own, times, [[full], early], {"loss": Variable((), "1", "")})
    np.testing.assert_array_equal(data.loss.sel(seed=0).values, full["loss"])
    np.testing.assert_array_equal(data.loss.sel(seed=1).values, [[7, 6, 6, 6, 6], [3, 2, 1, 1, 1]])
    np.testing.assert_array_equal(data.first_done.values, [[-1, -1], [1, 2]])


# Claims ---------------------------------------------------------------------------------------------------


def lawful(config):
    """Observations, members first and times second, of networks that obey the law to the last bit."""
    width, rank, dtype = config.net.width, config.data.rank, config.precision
    square = config.net.depth - (config.data.source != "low_rank")
    times = observation_times(config)
    n = config.num_seeds * int(np.prod([len(values) for values in knobs(config).values()]))
    layers, triplets = (n, len(times), square), (n, len(times), square, width)
    values = np.concatenate([np.full(rank, 3.0), np.ones(width - 2 * rank), np.full(rank, 0.2)])
    seen = {name: np.zeros(layers, dtype) for name in ("idle_deviation", "block_deviation", "excess")}
    seen |= {"loss": np.ones(layers[:2]), "rho": np.ones(layers[:2]), "idle_value": np.ones(layers)}
    seen |= {"singular_values": np.broadcast_to(values, triplets).copy()}
    seen |= {f"{side}_angles": np.zeros(triplets) for side in ("left", "right")}
    seen |= {f"{side}_subspace_angles": np.zeros((*layers, 2 * rank)) for side in ("left", "right")}
    seen["num_moved"] = np.full(layers, 2 * rank)
    seen["num_moved"][:, 0] = 0  # at the start all values coincide, and their vectors mean nothing
    seen["left_subspace_angles"][:, 0] = 1.5
    if square < config.net.depth:
        seen["readout_leak"] = np.zeros(layers[:2])
    return seen | {"first_done": np.full(n, -1), "first_bad_step": np.full(n, -1)}


results_of = ft.partial(synthetic.results_of, lawful, parsimony.VARIABLES)


def verdict(config, change=lambda name, seen: None):
    return parsimony.claims(results_of(config, change))


def failing(claims):
    return {claim.id for claim in claims if claim.status == "fails"}


@pytest.fixture(scope="module")
def config():
    return config_of("dln_parsimony")


def test_the_lawful_pass_all_and_every_member_is_counted(config):
    claims = verdict(config)
    assert [claim.id for claim in claims] == (
        ["T1.a Case 1"] * 3 + ["T1.b Case 1"] * 2 + ["T1.a Case 2"] * 4 + ["T1.b Case 2"] * 2
        + ["T1.a digits"] * 4 + ["T1.b digits"] * 2 + ["T1.c Case 1"] * 3
    )  # fmt: skip
    assert {claim.status for claim in claims} == {"holds"}
    assert {claim.kind for claim in claims} == {"law"}
    assert {claim.id: claim.members for claim in claims} == dict.fromkeys((claim.id for claim in claims), 8)
    assert {claim.bound for claim in claims if claim.id[:4] == "T1.a"} == {1e-12}
    assert {claim.bound for claim in claims if claim.id[:4] == "T1.c"} == {2e-4}


def test_the_start_has_no_directions_to_judge(config):
    claims = [claim for claim in verdict(config) if claim.id.startswith("T1.b")]
    assert {claim.status for claim in claims} == {"holds"}  # lawful() has 0 moved and angles of 1.5 at t = 0

    def one_step_later(name, seen):
        seen["left_subspace_angles"][:, 1] = 1.5

    assert failing(verdict(config, one_step_later)) == {"T1.b Case 1", "T1.b Case 2", "T1.b digits"}


BREAKS = {
    "idle_deviation": {"T1.a"},
    "block_deviation": {"T1.a"},
    "excess": {"T1.a"},
    "readout_leak": {"T1.a"},
    "left_subspace_angles": {"T1.b"},
    "right_subspace_angles": {"T1.b"},
}


@pytest.mark.parametrize("wrong", [np.nan, 1.1e-9], ids=["nan", "too large"])
@pytest.mark.parametrize("field", BREAKS)
def test_one_number_of_one_member_is_enough_to_fail(config, field, wrong):
    def change(name, seen):
        if name == "case2_L2":
            seen[field][(-1,) * seen[field].ndim] = wrong

    assert failing(verdict(config, change)) == {f"{claim} Case 2" for claim in BREAKS[field]}


@pytest.mark.parametrize("field", BREAKS)
def test_what_rounding_leaves_does_not_fail(config, field):
    def change(name, seen):
        if field in seen:
            seen[field][:] = 9e-13

    assert failing(verdict(config, change)) == set()


def test_float32_has_its_own_bound(config):
    for wrong, failed in ((1.9e-4, set()), (2.1e-4, {"T1.c Case 1"}), (np.nan, {"T1.c Case 1"})):

        def change(name, seen, wrong=wrong):
            if "float32" in name:
                seen["excess"][0, 2, 0] = wrong

        assert failing(verdict(config, change)) == failed


def test_a_diverged_member_fails_the_laws_of_its_family(config):
    def change(name, seen):
        if name == "case1_L3":
            seen["first_bad_step"][3] = 12

    claims = verdict(config, change)
    assert failing(claims) == {"T1.a Case 1", "T1.b Case 1"}
    struck = {"T1.a Case 1", "T1.b Case 1"}
    assert {claim.diverged for claim in claims if claim.id in struck} == {1}
    assert {claim.diverged for claim in claims if claim.id not in struck} == {0}


@pytest.mark.parametrize("wrong", [5, 7, 0])
def test_a_wrong_count_of_moved_values_fails(config, wrong):
    def change(name, seen):
        if name == "case1_L3":
            seen["num_moved"][2, 3, 1] = wrong

    (failed,) = [claim for claim in verdict(config, change) if claim.status == "fails"]
    assert (failed.id, failed.measured, failed.bound) == ("T1.b Case 1", wrong, 6)


def test_two_ranks_are_counted_each_by_its_own():
    variants = tuple({"name": f"rank_{rank}", "data.rank": rank} for rank in (1, 3))
    claims = verdict(config_of("dln_momentum", f"variants={variants!r}"))
    assert failing(claims) == set()
    assert {claim.bound for claim in claims if "exactly" in claim.statement} == {2, 6}


def test_real_data_are_judged_relative_to_their_largest_value(config):
    def change(name, seen):
        if name == "digits_L3":
            seen["excess"][:] = 2e-12

    assert failing(verdict(config, change)) == set()  # the largest singular value is 3

    def larger(name, seen):
        if name == "digits_L3":
            seen["excess"][:] = 4e-12

    assert failing(verdict(config, larger)) == {"T1.a digits"}


def gaussian_figure_10(config, *, still, tilt):
    """Results of unwhitened Gaussian data with so many values at eps in one layer, and one angle that large."""

    def change(name, seen):
        if name == "gaussian_L3":
            seen["singular_values"][0, -1, 1] = np.where(np.arange(30) < still, 1.0 + 9e-4, 1.0 + 2e-3)
            seen["left_subspace_angles"][:, -1, 0, -1] = tilt
            seen["left_subspace_angles"][:, 0] = 0.0

    return [claim for claim in verdict(config, change) if claim.id == "F10 gaussian"]


def test_figure_10_is_one_law_one_count_and_one_printed_statement():
    config = config_of("dln_unwhitened", "opt.num_steps=10000")
    law, count, printed = gaussian_figure_10(config, still=20, tilt=1.3)
    assert [claim.kind for claim in (law, count, printed)] == ["law", "report", "printed"]
    assert [claim.status for claim in (law, count, printed)] == ["holds"] * 3
    assert (law.measured, law.relation, law.bound) == (20, ">=", 20)
    assert law.statement.startswith("at least 20 singular values (of 30) within 1e-3 of eps at the end")
    assert count.statement == "idle-subspace angles (of 24) below 1e-3 rad; 18 are 0 by dimension alone"
    assert count.measured == 18 + 5
    assert "'the subspaces evolve very little' is false" in printed.statement
    assert (printed.measured, printed.relation, printed.bound) == (1.3, ">", 0.1)


def test_figure_10_is_not_judged_where_it_was_not_stated():
    claims = [claim for claim in verdict(config_of("dln_unwhitened")) if claim.id == "F10 gaussian"]
    assert [(claim.kind, claim.status) for claim in claims] == [
        ("report", "holds"),
        ("law", "not_run"),
        ("printed", "not_run"),
    ]


def test_float32_is_judged_for_every_family():
    claims = verdict(config_of("dln_parsimony", "precision='float32'"))
    assert {claim.id for claim in claims} == {"T1.c Case 1", "T1.c Case 2", "T1.c digits"}


def test_figure_10_can_fail():
    config = config_of("dln_unwhitened", "opt.num_steps=10000")
    law, _, printed = gaussian_figure_10(config, still=19, tilt=0.09)
    assert (law.status, law.measured) == ("fails", 19)
    assert printed.status == "fails"


def test_the_digits_as_they_are_have_reports_alone():
    claims = [claim for claim in verdict(config_of("dln_unwhitened")) if claim.id == "F10 digits"]
    assert [claim.kind for claim in claims] == ["report"] * 3
    assert claims[1].statement == "idle-subspace angles (of 44) below 1e-3 rad; 24 are 0 by dimension alone"


# Figures --------------------------------------------------------------------------------------------------


def labels_of(drawn):
    return [text for axes in drawn.axes for text in (axes.get_xlabel(), axes.get_ylabel()) if text]


def assert_labelled(drawn):
    """The lowest panels name the time, the leftmost their quantity, and every colour bar its scale."""
    assert isinstance(drawn, Figure)
    grid_of = [axes.get_subplotspec().get_geometry() for axes in drawn.axes if axes.get_subplotspec()]
    assert grid_of
    for axes in drawn.axes:
        spec = axes.get_subplotspec()
        if spec is None:  # a colour bar
            assert axes.get_ylabel()
        else:
            assert axes.get_xlabel() or not spec.is_last_row()
            assert axes.get_ylabel() or axes.get_yticklabels() or not spec.is_first_col()


@pytest.mark.parametrize("name", ["dln_parsimony", "dln_momentum", "dln_unwhitened"])
def test_every_float64_variant_has_a_figure_with_named_axes(name):
    config = config_of(name)
    drawn = parsimony.figures(results_of(config))
    wanted = {f"layers_{v.name}" for v in expand(config) if v.config.precision == "float64"}
    wanted |= {"deviations"} if name != "dln_unwhitened" else set()
    assert drawn.keys() == wanted
    for figure in drawn.values():
        assert_labelled(figure)
    for label in ("step t", "index i, descending", "idle singular value", "deviation", "singular value − ρ(t)"):
        layered = [figure for key, figure in drawn.items() if key != "deviations"]
        assert all(any(name.startswith(label) for name in labels_of(figure)) for figure in layered)


def test_the_figure_of_deviations_holds_every_member(config):
    results = results_of(config)
    (axes,) = parsimony.figures(results)["deviations"].axes
    dots = sum(line.get_xdata().size for line in axes.lines if line.get_marker() == "|")
    members = {group.name: group.data.first_bad_step.size for group in groups(results)}
    leaky = sum(count for name, count in members.items() if not name.startswith("case1"))
    assert dots == 3 * sum(members.values()) + leaky
    named = [re.sub(r" \(.*", "", label.get_text()) for label in axes.get_yticklabels()]
    assert named == list(members)
