"""Low-rank MLPs on images: families, measures and comparisons, and the figures of special results."""

import functools as ft

import numpy as np
import pytest
import synthetic
from smooth_mlp.low_rank.cases import at_pace, lawful, lowered

from experiments.laws.smooth_mlp.low_rank.claims import COMPARISONS
from experiments.laws.smooth_mlp.low_rank.figures import figures
from experiments.laws.smooth_mlp.low_rank.measures import apart, by_form, plateau
from experiments.runner.runs import find, runs
from experiments.runner.summary import markdown, summarized

MINUS_BATCH = "final test accuracy, S_big of all images minus S_big of one batch"
STEPS = "steps to {}% of the full network's final test accuracy"

config_of = ft.partial(synthetic.config_of, "fashion_mnist_low_rank")
runs_of, verdict = ft.partial(synthetic.runs_of, lawful), ft.partial(synthetic.verdict, lawful)


def drawn(config, change=synthetic.unchanged):
    return figures(runs(synthetic.results_of(lawful, config, change), drawn=True))


def test_where_the_full_network_has_fewer_seeds_the_common_ones_are_compared():
    rows = [verdict(config_of("num_seeds=5"), lowered("silu_s_big", seed))["F6.s_big[SiLU]"] for seed in (2, 3)]
    assert [row.members for row in rows] == [3, 3]
    assert [row.measured for row in rows] == pytest.approx([-0.06, -0.01])


@pytest.mark.parametrize(("seed", "share"), [(2, 1 / 3), (3, 0)])
def test_curves_are_as_far_apart_as_their_means_over_the_common_seeds_where_they_are_most(seed, share):
    """S_big has its end, 0.1, where the full network, of three seeds, has two thirds of its way from 0.5."""

    def raised(name, seen):
        if name == "silu_s_big":
            seen["test_loss"][seed] += 0.03

    found = by_form(runs_of(config_of("num_seeds=5"), raised))["SiLU"]
    expected = 0.5 - 0.4 * 2 / 3 - 0.1 - 0.03 * share
    assert apart("test_loss", found["full"], found["s_big"]) == pytest.approx([expected])


def ends(random):
    """The others end at 0.4, of which 0.5, where the random subspace starts, is 1.25 times as much."""

    def change(name, seen):
        seen["test_loss"][:, -1] = random if name == "silu_random" else 0.4

    return change


@pytest.mark.parametrize(("end", "status"), [(0.5, "holds"), (0.48, "fails"), (0.53, "holds")])
def test_a_random_subspace_that_stays_is_bad_enough_and_one_that_leaves_is_not(end, status):
    assert verdict(config_of("num_seeds=2"), ends(end))["F6.random[SiLU]"].status == status


WORDS = ["net.rank=40", "net.angle=60.0", "net.depth=3", "net.scale=0.2", "opt.step_size=1e-4", "opt.step_size=4e-5"]
ANGLE_WORDS = ["net.gradient=batch", "net.activation=relu", "net.inner=transported"]
SETTINGS = [("low_rank", word) for word in WORDS] + [("angle", word) for word in ANGLE_WORDS]


@pytest.mark.parametrize(("name", "word"), SETTINGS)
def test_another_setting_is_not_judged(name, word):
    rows = verdict(synthetic.config_of(f"fashion_mnist_{name}", "num_seeds=2", word)).values()
    assert {row.status for row in rows} == {"not_judged"}


# Comparisons. ---------------------------------------------------------------------------------------------------------


def test_small_layers_are_compared():
    found = runs_of(config_of("num_seeds=2"), lowered("silu_s_big_transported", amount=-0.04))
    (transported,) = COMPARISONS["final test accuracy, small layers transported minus drawn"](found).values()
    np.testing.assert_allclose(transported, [0, 0.04])


def late_batch(name, seen):
    """One batch ends at 0.74; the accuracies rise evenly to their ends over 61 times of 25 steps."""
    if name == "silu_s_big_batch":
        seen["test_accuracy"][:] = 0.1 + 0.64 * np.linspace(0, 1, seen["test_accuracy"].shape[1])


def test_one_batch_is_compared_with_all_images_in_accuracy_and_in_steps():
    found = runs_of(config_of("num_seeds=2"), late_batch)
    np.testing.assert_allclose(COMPARISONS[MINUS_BATCH](found)["SiLU"], 0.83 - 0.74)
    steps = COMPARISONS[STEPS.format(90)](found)
    for form, end, pace in (("full", 0.84, 1.0), ("s_big", 0.83, 1.5)):
        reached = 1500 / pace * (0.9 * 0.84 - 0.1) / (end - 0.1)
        assert np.all((reached <= steps[f"SiLU, {form}"]) & (steps[f"SiLU, {form}"] < reached + 25))
    assert np.all(np.isinf(steps["SiLU, s_big_batch"]))
    summary = markdown(summarized(found, {}, COMPARISONS))
    assert summary.count("SiLU, s_big_batch | not reached by 2 of 2 |") == 2


def test_a_member_that_diverged_is_counted_and_the_others_are_compared():
    def lost(name, seen):
        if name == "silu_s_big_batch":
            seen["diverged_at"][1] = 700
            seen["test_accuracy"][1, 30:] = np.nan

    config = config_of("num_seeds=2")
    summary = markdown(summarized(runs_of(config, lost), {}, COMPARISONS))
    assert f"{MINUS_BATCH}: SiLU | 0 [1 of 2] |" in summary
    assert summary.count("SiLU, s_big_batch | 1.35e+03 [1 of 2] |") == 1
    seen = drawn(config, lost)
    assert [text.get_text() for text in seen["batch"].axes[0].texts][2] == "diverged: 1 of 2"
    curves = {label: curve for curve, label in zip(*seen["low_rank"].axes[1].get_legend_handles_labels(), strict=True)}
    shown = curves["low rank, $S_{big}$ of one batch (1 of 2 diverged)"].get_ydata()
    assert np.isfinite(np.ma.filled(shown, np.nan)).all()


def test_where_a_full_network_diverged_there_is_nothing_to_reach():
    def lost(name, seen):
        if name == "silu_full":
            seen["test_accuracy"][0, 30:] = np.nan

    found = runs_of(config_of("num_seeds=2"), lost)
    steps = [each for share in (90, 97) for each in COMPARISONS[STEPS.format(share)](found).values()]
    assert len(steps) == 6
    assert all(np.isnan(each).all() for each in steps)


# The angle. -----------------------------------------------------------------------------------------------------------


def angles():
    return synthetic.config_of("fashion_mnist_angle", "num_seeds=2", "data.num_train=50000", "opt.step_size=1e-5")


# Nine tenths of the end, 0.747, are seen at step 1350 of psi = 0, and at a pace of 0.89 at step 1500.
@pytest.mark.parametrize(
    ("paces", "angle", "measured", "status"),
    [
        ({}, 15, 1.0, "stands"),
        ({"at_45": (0.89, 0.89)}, 45, 1500 / 1350, "refuted"),
        ({"at_30": (0.89, 0.89)}, 30, 1500 / 1350, "refuted"),
        ({"at_45": (0.98, 0.98)}, 45, 1380 / 1350, "stands"),
        ({"at_30": (0.89, 1.0)}, 30, 1425 / 1350, "stands"),
    ],
)
def test_the_printed_statement_is_of_how_late_the_curves_are_in_the_mean_over_the_seeds(paces, angle, measured, status):
    found = runs_of(config := angles(), change := at_pace(**paces))
    row = verdict(config, change)["F14.alike"]
    assert (row.status, row.members, pytest.approx(row.measured)) == (status, 2, measured)
    late = COMPARISONS["steps to 90% of psi = 0's final test accuracy, over its own"](found)
    assert np.mean(late[f"psi = {angle}"]) == pytest.approx(measured)
    assert late.keys() == {f"psi = {psi}" for psi in (15, 30, 45, 60, 75, 90)}


def test_where_psi_0_diverged_the_angles_are_not_compared():
    def lost(name, seen):
        seen["test_accuracy"][::7, 30:] = np.nan

    row = verdict(angles(), lost)["F14.alike"]
    assert (row.status, row.reason) == ("not_reached", "a network diverged at psi = 0")


def test_each_last_layer_has_a_panel_and_is_compared_with_its_own_psi_0():
    def behind(name, seen):
        if name == "silu_uniform":
            seen["test_accuracy"][0, -1] -= 0.1  # psi = 0 of the first seed

    config = synthetic.config_of("fashion_mnist_angle", "num_seeds=2", profile="pooled")
    minus = COMPARISONS["final test accuracy minus that of psi = 0"](runs_of(config, behind))
    np.testing.assert_allclose(minus["psi = 15"], [-0.01, -0.01])
    np.testing.assert_allclose(minus["psi = 15, last layer uniform"], [0.09, -0.01])
    assert len(minus) == 12
    titles = [axes.get_title() for axes in drawn(config)["angle"].axes[:2]]
    data = "SiLU, Fashion-MNIST of 14 x 14 pixels, N = 60000"
    assert titles == [data, f"{data}\nlast layer uniform"]


def test_a_plateau_ends_below_99_percent_of_the_first_loss():
    def seen(name, seen):
        if name == "silu_random":
            seen["test_loss"][1, :7], seen["test_loss"][1, 7:] = 0.6, 0.593

    (random,) = find(runs_of(config_of("num_seeds=2"), seen), net__form="random")
    np.testing.assert_array_equal(plateau(random), [1500, 7 * 25])
    random.data["test_loss"][0, -1] = np.nan
    np.testing.assert_array_equal(plateau(random), [np.nan, 7 * 25])


# Families and figures. ------------------------------------------------------------------------------------------------


def test_the_figure_of_one_batch_says_what_is_not_reached():
    final, *steps = drawn(config_of("num_seeds=2"), late_batch)["batch"].axes
    assert [text.get_text() for text in final.texts] == ["0.840", "0.830", "0.740"]
    assert [axes.texts[2].get_text() for axes in steps] == ["not reached by 2 of 2"] * 2
    assert all(text.get_text().isdigit() for axes in steps for text in axes.texts[:2])


# With the number of curves: a variant that leaves a field unread is in the families of both of its values.
OTHERS = {
    "a random subspace": ({"net.form": "random", "net.inner": "transported"}, "SiLU", "random_transported", 6),
    "a step size": ({"net.form": "s_big", "opt.step_size": 1e-4}, "SiLU, opt.step_size = 0.0001", "s_big", 6),
    "a folder": ({"net.form": "s_big", "data.folder": "/home/me"}, "SiLU, data.folder = no. 2", "s_big", 6),
    "an unread field": ({"net.form": "full", "net.inner": "transported"}, "SiLU, once more", "full", 6),
    "an angle": ({"net.form": "s_big", "net.angle": 15.0}, "SiLU, net.angle = 15.0", "s_big", 5 + 3),
    "a rank": ({"net.form": "s_big", "net.rank": 40}, "SiLU, net.rank = 40", "s_big", 5 + 2),
    "a batch": (
        {"net.form": "s_big", "net.gradient": "batch", "data.gradient_batch": 500},
        "SiLU, data.gradient_batch = 500",
        "s_big_batch",
        5 + 5,
    ),
}


@pytest.mark.parametrize(("fields", "title", "form", "count"), OTHERS.values(), ids=OTHERS)
def test_a_variant_that_differs_in_one_field_more_overwrites_no_other(fields, title, form, count):
    config = config_of("num_seeds=2")
    config.variants = (*config.variants, {"name": "other", "net.activation": "silu"} | fields)
    of_each = by_form(runs_of(config))
    assert of_each[title][form].variant == "other"
    assert sum(map(len, of_each.values())) == count
    assert {run.variant for family in of_each.values() for run in family.values()} == {
        v["name"] for v in config.variants
    }
    assert {f"F6.s_big[{each}]" for each in of_each} <= verdict(config).keys()
    assert len(synthetic.curves_of(drawn(config)["low_rank"])) == 2 * count
