"""VGG-16 with full and low-rank heads: families, measures and comparisons, and the figures of special results."""

import functools as ft

import numpy as np
import pytest
import synthetic
from smooth_mlp.vgg_heads.cases import lawful, raised

from experiments.data.vgg16 import TRAINED_ON
from experiments.laws.smooth_mlp.families import slowdown
from experiments.laws.smooth_mlp.vgg_heads.claims import COMPARISONS
from experiments.laws.smooth_mlp.vgg_heads.figures import WEIGHTS, figures
from experiments.laws.smooth_mlp.vgg_heads.measures import by_form_and_rank, heads, plateau, sum_of_step_sizes
from experiments.runner.runs import find, runs

config_of = ft.partial(synthetic.config_of, num_seeds=2)
runs_of, verdict = ft.partial(synthetic.runs_of, lawful), ft.partial(synthetic.verdict, lawful)


def drawn(config, *without):
    return figures(runs(synthetic.results_of(lawful, config).drop_nodes(without)))


def with_others(name, *others):
    config = config_of(name)
    config.variants = (*config.variants, *others)
    return config


# Measures. ------------------------------------------------------------------------------------------------------------


def test_step_sizes_add_up_as_the_optimizer_makes_them():
    (run, *_) = runs_of(config_of("vgg16_cifar10"))
    sizes = [5e-3 * (1 + np.cos(np.pi * step / 2730)) / 2 for step in range(2 * 78)]
    np.testing.assert_allclose(sum_of_step_sizes(run)[:3], [0, sum(sizes[:78]), sum(sizes)], rtol=1e-12)


def test_a_plateau_ends_where_the_loss_is_first_below_it():
    def leaving(name, seen):
        if name == "silu_random":
            # The second seed leaves its plateau at epoch 20, and comes back.
            seen["train_loss"][1, 20:25] = 2.2

    (run,) = find(runs_of(config_of("vgg16_cifar10"), leaving), net__form="random", net__activation="silu")[:1]
    np.testing.assert_array_equal(plateau(run, 2.29), [np.inf, 20])
    run.data["train_loss"][0, -1] = np.nan
    np.testing.assert_array_equal(plateau(run, 2.29), [np.nan, 20])


def test_a_full_head_of_fewer_seeds_is_compared_as_far_as_it_goes():
    """The middle is that of means over all seeds; differences are taken in the seeds that both have."""

    def uneven(name, seen):
        if name == "silu_all_r40":
            seen["test_accuracy"][1] += 0.2

    config = config_of("vgg16_rank")
    middle = "final test accuracy, S_big of all images, r = 4K minus the middle of r = 2K and full"
    beyond = COMPARISONS[middle](runs_of(config, uneven))
    np.testing.assert_allclose(beyond["SiLU"], [0.005 - 0.035 / 2, 0.205 - 0.035 / 2])
    lacks = COMPARISONS["final test accuracy, full minus S_big of all images, r = 16K"](runs_of(config, uneven))
    np.testing.assert_allclose(lacks["SiLU"], [0.035 - 3 * 0.005])


def test_epochs_to_a_share_of_the_full_heads_accuracy():
    found = runs_of(config_of("vgg16_cifar10"), raised("silu_s_big_batch", -0.2))
    epochs = COMPARISONS["epochs to 90% of the full head's final test accuracy"](found)
    assert list(epochs) == [
        f"{title}, {form}" for title in ("SiLU", "GELU") for form in ("full", "s_big", "s_big_batch")
    ]
    # The accuracies rise from 0.1 to 0.7 and to 0.665 within a third of 35 epochs.
    for form, end in (("full", 0.7), ("s_big", 0.665)):
        np.testing.assert_array_equal(epochs[f"SiLU, {form}"], np.ceil((0.63 - 0.1) / (end - 0.1) * 35 / 3))
    assert np.isinf(epochs["SiLU, s_big_batch"]).all()


def test_epochs_are_not_compared_with_those_of_a_head_that_never_gets_there():
    rows = verdict(config_of("vgg16_cifar10"), raised("silu_s_big_batch", -0.02))
    late = ("not_reached", "2 of 4 members did not reach 90% of its accuracy")
    assert (rows["F7.epochs[SiLU]"].status, rows["F7.epochs[SiLU]"].reason) == late
    assert rows["F7.epochs_cause[SiLU]"].reason == "2 of 6 members did not reach 90% of its accuracy"
    # From 0.1 to 0.63 on the way to 0.7 in a third of 35 epochs, and on the way to 0.64 in half of them.
    epochs = np.ceil([0.53 / 0.6 * 35 / 3, 0.53 / 0.54 * 35 / 2])
    assert rows["F7.epochs[GELU]"].measured == pytest.approx(epochs[1] / epochs[0])


def test_epochs_that_were_not_all_observed_are_not_compared():
    rows = verdict(config_of("vgg16_cifar10", "observe.num_times=18"))
    assert rows["F7.epochs[SiLU]"].reason == rows["F7.epochs_cause[GELU]"].reason == "not every epoch was observed"


def test_heads_of_unequal_seeds_are_compared_in_those_that_both_have():
    first, full = (
        find(runs_of(config_of("vgg16_cifar10")), net__form=form, net__activation="silu", opt__trains="head")[0]
        for form in ("random", "full")
    )
    # The full head is at 90% of its accuracy after 11 epochs, the other one at epochs 22 and never.
    first.data["test_accuracy"][:] = 0.1
    first.data["test_accuracy"][0, 22:] = 0.9
    np.testing.assert_array_equal(slowdown(first, full, full, 0.9), [2, np.inf])
    fewer = full._replace(data=full.data.isel(seed=slice(1)))
    np.testing.assert_array_equal(slowdown(first, fewer, fewer, 0.9), [2])
    np.testing.assert_array_equal(slowdown(fewer, first, fewer, 0.9), [0.5])


RELU = f"variants={tuple({'net.activation': 'relu', 'net.form': 's_big', 'net.rank': r} for r in (20, 40))!r}"
WORDS = ["net.width=2048", "net.orthonormal=True", "opt.step_size=0.01", "data.size=64", "opt.num_steps=34", RELU]


@pytest.mark.parametrize("word", WORDS)
def test_another_setting_is_not_judged(word):
    rows = verdict(config_of("vgg16_rank", word)).values()
    assert {row.status for row in rows} <= {"not_judged", "not_run"}
    is_another_variant = word == "net.orthonormal=True"
    assert is_another_variant or any(row.status == "not_judged" and row.members for row in rows)


# Families. ------------------------------------------------------------------------------------------------------------


S_BIG = {"net.activation": "silu", "net.form": "s_big", "data.gradient_images": 128}
OTHERS = {
    "transported": ({"net.inner": "transported"}, "SiLU", "s_big_batch_transported, r = 20"),
    "orthonormal": ({"net.orthonormal": True}, "SiLU", "s_big_batch_orthonormal, r = 20"),
    "a rank": ({"net.rank": 40}, "SiLU", "s_big_batch, r = 40"),
    "images": ({"data.gradient_images": 500}, "SiLU", "s_big_500, r = 20"),
    "a step size": ({"opt.step_size": 0.01}, "SiLU, opt.step_size = 0.01", "s_big_batch, r = 20"),
}


@pytest.mark.parametrize(("fields", "title", "role"), OTHERS.values(), ids=OTHERS)
def test_a_variant_that_differs_in_one_field_more_overwrites_no_other(fields, title, role):
    config = with_others("vgg16_cifar10", {"name": "other"} | S_BIG | fields)
    of_each = by_form_and_rank(heads(runs_of(config)))
    assert of_each[title][role].variant == "other"
    assert sum(map(len, of_each.values())) == 11
    assert {f"F7.batch[{each}]" for each in of_each} <= verdict(config).keys()
    assert len(synthetic.curves_of(drawn(config)["classifier_only"])) == 2 * (11 + ("net.rank" in fields))


def test_whole_networks_of_two_ranks_have_rows_and_curves_of_their_own():
    whole = {"opt.trains": "all", "net.rank": 40, "data.gradient_images": 128, "net.form": "s_big"}
    config = with_others("vgg16_cifar10", {"name": "other"} | whole, {"name": "again"} | whole | {"net.rank": 20})
    learnt = [id for id in verdict(config) if id.startswith("F7.learns")]
    # Of the config's own six, two are in a random subspace and need not learn.
    assert len(find(runs_of(config), opt__trains="all")) == len(learnt) + 2 == 8
    assert len(synthetic.curves_of(drawn(config)["all_layers"])) == 2 * 8


# Figures. -------------------------------------------------------------------------------------------------------------


def test_weights_of_every_kind_have_a_name_in_the_figures():
    assert WEIGHTS.keys() == set(TRAINED_ON)


def test_the_legend_has_curves_of_one_activation_alone():
    legends = [axes.get_legend() for axes in drawn(config_of("vgg16_rank"), "gelu_full")["rank"].axes]
    counts = [sum("full" in text.get_text() for text in legend.get_texts()) for legend in legends if legend]
    assert counts == [1, 1]


def test_a_caption_says_what_all_have_in_common():
    few = ({"name": f"few_{form}", "net.form": form, "data.num_train": 4000} for form in ("full", "s_big"))
    figure = drawn(with_others("vgg16_cifar10", *few))["classifier_only"]
    assert figure.get_supxlabel().endswith("CIFAR-10 at 96 x 96, 2 seeds")
    assert [axes.get_title() for axes in figure.axes[:3]] == [
        "SiLU\ndata.num_train = 10000, classifier only",
        "GELU\ndata.num_train = 10000, classifier only",
        "SiLU\ndata.num_train = 4000, classifier only",
    ]


def test_every_start_has_its_line_over_the_ranks():
    others = ({"name": f"other_{r}", "net.rank": r, "net.inner": "transported"} for r in (20, 40))
    figure = drawn(with_others("vgg16_rank", *(S_BIG | other for other in others)))["rank"]
    lines = {line.get_label(): len(line.get_xdata()) for line in figure.axes[2].lines if line.get_marker() == "o"}
    synthetic.curves_of(figure)
    assert lines == {
        "low rank, $S_{big}$ of all images": 4,
        "low rank, $S_{big}$ of one batch": 4,
        "low rank, one batch, transported": 2,
    }
