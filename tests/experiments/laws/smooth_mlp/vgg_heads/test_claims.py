"""VGG-16 with full and low-rank heads: the verdict on made-up results, and their figures."""

import numpy as np
import pytest
import synthetic
from synthetic import failing

from experiments.data.vgg16 import TRAINED_ON
from experiments.laws.smooth_mlp.vgg_heads import figures as vgg_heads_figures
from experiments.laws.smooth_mlp.vgg_heads import system as vgg_heads
from experiments.runner.run import observation_times
from experiments.runner.settings import hyperparameters
from lawlib.dynamics.sweep import grid

RELU = f"variants={tuple({'net.activation': 'relu', 'net.form': 's_big', 'net.rank': r} for r in (20, 40))!r}"

ENDS = {"full": 0.7, "s_big": 0.65, "random": 0.2}


def lawful(config):
    """S_big ends near the full head, all images nearer than one batch, more columns nearer; random stays at first."""
    times, members = observation_times(config), grid(config.num_seeds, hyperparameters(config), "float64")
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
    return {name: x.copy() for name, x in seen.items()} | {"converged_at": never, "diverged_at": never}


def verdict(name, change=lambda name, seen: None, profile="cpu", words=()):
    config = synthetic.config_of(name, "num_seeds=2", *words, profile=profile)
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

    reported = [c for c in verdict("vgg16_rank", uneven) if c.statement.startswith("SiLU, S_big of all images: ")]
    (middle,) = [claim for claim in reported if "'r = 4K" in claim.statement]
    assert (middle.members, middle.status) == (2, "fails")
    np.testing.assert_allclose(middle.measured, (0.005 + 0.205) / 2 - 0.05 / 2)
    (lacks,) = [claim for claim in reported if "still lacks" in claim.statement]
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
    assert {claim.status for claim in found if claim.kind != "report"} <= {"not_judged", "not_run"}
    is_another_variant = word == "net.orthonormal=True"
    assert is_another_variant or any(claim.status == "not_judged" and claim.members for claim in found)


def test_weights_of_every_kind_have_a_name_in_the_figures():
    assert vgg_heads_figures.WEIGHTS.keys() == set(TRAINED_ON)


@pytest.mark.parametrize("name", ["vgg16_cifar10", "vgg16_rank"])
def test_every_figure_has_named_axes(name):
    results = synthetic.results_of(lawful, vgg_heads.VARIABLES, synthetic.config_of(name, "num_seeds=2", profile="cpu"))
    for drawn in vgg_heads.figures(results).values():
        first, last = drawn.axes[0], drawn.axes[-1]
        assert first.get_ylabel()
        assert last.get_xlabel()


def test_what_one_activation_alone_has_is_in_the_legend():
    config = synthetic.config_of("vgg16_rank", "num_seeds=2", profile="cpu")
    results = synthetic.results_of(lawful, vgg_heads.VARIABLES, config).drop_nodes("gelu_full")
    legends = [axes.get_legend() for axes in vgg_heads.figures(results)["rank"].axes if axes.get_legend()]
    assert [sum("full" in text.get_text() for text in legend.get_texts()) for legend in legends] == [1, 1]


S_BIG = {"net.activation": "silu", "net.form": "s_big", "data.gradient_images": 128}
OTHERS = {
    "transported": ({"net.inner": "transported"}, "SiLU, s_big_batch_transported, r = 20, 35 epochs"),
    "orthonormal": ({"net.orthonormal": True}, "SiLU, s_big_batch_orthonormal, r = 20, 35 epochs"),
    "a rank": ({"net.rank": 40}, "SiLU, s_big_batch, r = 40, 35 epochs"),
    "images": ({"data.gradient_images": 500}, "SiLU, s_big_500, r = 20, 35 epochs"),
    "a step size": ({"opt.step_size": 0.01}, "SiLU, opt.step_size = 0.01, s_big_batch, r = 20, 35 epochs"),
}


@pytest.mark.parametrize(("change", "words"), OTHERS.values(), ids=OTHERS)
def test_a_variant_that_differs_in_one_field_more_is_told_and_drawn_beside_the_others(change, words):
    config = synthetic.config_of("vgg16_cifar10", "num_seeds=2", profile="cpu")
    config.variants = (*config.variants, {"name": "other"} | S_BIG | change)
    results = synthetic.results_of(lawful, vgg_heads.VARIABLES, config)
    reports = [c.statement for c in vgg_heads.claims(results) if c.statement.endswith("steps: final test accuracy")]
    assert len(reports) == len(set(reports)) == 11
    assert sum(words in statement for statement in reports) == 1
    assert len(synthetic.curves_of(vgg_heads.figures(results)["classifier_only"])) == 2 * (11 + ("net.rank" in change))


def test_whole_networks_of_two_ranks_are_told_apart():
    config = synthetic.config_of("vgg16_cifar10", "num_seeds=2", profile="cpu")
    whole = {"opt.trains": "all", "net.rank": 40, "data.gradient_images": 128} | {"net.form": "s_big"}
    config.variants = (*config.variants, {"name": "other"} | whole, {"name": "again"} | whole | {"net.rank": 20})
    results = synthetic.results_of(lawful, vgg_heads.VARIABLES, config)
    reported = [claim.statement for claim in vgg_heads.claims(results) if "over that at the start" in claim.statement]
    assert len(reported) == len(set(reported)) == 4
    assert len(synthetic.curves_of(vgg_heads.figures(results)["all_layers"])) == 2 * 4


def test_a_caption_tells_what_is_the_same_of_all():
    config = synthetic.config_of("vgg16_cifar10", "num_seeds=2", profile="cpu")
    few = ({"name": f"few_{form}", "net.form": form, "data.num_train": 4000} for form in ("full", "s_big"))
    config.variants = (*config.variants, *few)
    drawn = vgg_heads.figures(synthetic.results_of(lawful, vgg_heads.VARIABLES, config))["classifier_only"]
    assert drawn.get_supxlabel().endswith("CIFAR-10 at 96 x 96, 2 seeds")
    assert [axes.get_title() for axes in drawn.axes[:3]] == [
        "SiLU\ndata.num_train = 10000, classifier only",
        "GELU\ndata.num_train = 10000, classifier only",
        "SiLU\ndata.num_train = 4000, classifier only",
    ]


def test_every_start_has_its_line_over_the_ranks():
    config = synthetic.config_of("vgg16_rank", "num_seeds=2", profile="cpu")
    others = ({"name": f"other_{r}", "net.rank": r, "net.inner": "transported"} for r in (20, 40))
    config.variants = (*config.variants, *(S_BIG | other for other in others))
    results = synthetic.results_of(lawful, vgg_heads.VARIABLES, config)
    below = vgg_heads.figures(results)["rank"].axes[2]
    lines = {line.get_label(): len(line.get_xdata()) for line in below.lines if line.get_marker() == "o"}
    synthetic.curves_of(vgg_heads.figures(results)["rank"])
    assert lines == {
        "low rank, $S_{big}$ of all images": 4,
        "low rank, $S_{big}$ of one batch": 4,
        "low rank, one batch, transported": 2,
    }


def test_what_was_seen_too_rarely_is_said_to_be():
    found = verdict("vgg16_cifar10", words=("observe.num_times=2",))
    rare = [claim.statement for claim in found if "training loss at the last epoch" in claim.statement]
    assert len(rare) == 12
    assert all("no epoch was seen in the last fifth before that time" in statement for statement in rare)
