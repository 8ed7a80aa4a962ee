"""Low-rank MLPs on images: the verdict on made-up results, and the figures of them."""

import numpy as np
import pytest
import synthetic
from synthetic import failing

from experiments.laws.smooth_mlp.low_rank import system as low_rank
from experiments.runner.run import observation_times
from experiments.runner.settings import hyperparameters
from lawlib.dynamics.sweep import grid


def config_of(*words, profile="cpu", name="fashion_mnist_low_rank"):
    return synthetic.config_of(name, *words, profile=profile)


def lawful(config):
    """The full network and S_big end alike, a random subspace stays where it began."""
    times, members = observation_times(config), grid(config.num_seeds, hyperparameters(config), "float64")
    end = {"full": 0.84, "s_big": 0.83, "random": 0.1}[config.net.form]
    rise = np.linspace(0, 1, len(times))
    shape = (len(members.seeds), len(times))
    loss = np.broadcast_to(0.5 - 0.4 * rise * (config.net.form != "random"), shape)
    accuracy = np.broadcast_to(0.1 + (end - 0.1) * rise, shape)
    never = np.full(shape[0], -1)
    seen = {"train_loss": loss, "test_loss": loss, "test_accuracy": accuracy}
    return {name: x.copy() for name, x in seen.items()} | {"converged_at": never, "diverged_at": never}


def verdict(change=lambda name, seen: None, *words, profile="cpu"):
    config = config_of("num_seeds=2", *words, profile=profile)
    return low_rank.claims(synthetic.results_of(lawful, low_rank.VARIABLES, config, change))


def measured(claims, words):
    (found,) = [claim.measured for claim in claims if words in claim.statement]
    return found


def lowered(variant, seed=1, amount=0.05, field="test_accuracy"):
    def change(name, seen):
        if name == variant:
            seen[field][seed, -1] -= amount

    return change


BREAKS = {
    "s_big falls behind": (lowered("silu_s_big"), "S_big less full"),
    "random learns": (lowered("silu_random", amount=0.39, field="test_loss"), "random subspace over the larger"),
    "none learns": (lowered("silu_full", amount=-0.4, field="test_loss"), "random subspace over the larger"),
}


def test_the_lawful_pass_all():
    assert failing(verdict()) == []


@pytest.mark.parametrize(("change", "words"), BREAKS.values(), ids=BREAKS)
def test_one_member_is_enough_to_fail(change, words):
    (found,) = failing(verdict(change, profile="once"))
    assert words in found


def test_where_the_full_network_has_fewer_seeds_the_common_ones_are_compared():
    def kept(seed):
        (claim,) = [c for c in verdict(lowered("silu_s_big", seed), "num_seeds=5") if "S_big less full" in c.statement]
        return claim

    assert [kept(seed).members for seed in (2, 3)] == [3, 3]
    assert [kept(seed).measured for seed in (2, 3)] == pytest.approx([-0.06, -0.01])


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
    change = lowered("silu_s_big_transported", amount=-0.04)
    assert measured(verdict(change), "transported less drawn") == pytest.approx(0.02)


def test_too_short_a_run_is_not_judged():
    short = verdict(BREAKS["s_big falls behind"][0], "opt.num_steps=1400")
    assert {claim.status for claim in short if claim.kind == "law"} == {"not_judged"}
    assert all("eta N T = 750" in claim.statement for claim in short if claim.status == "not_judged")


@pytest.mark.parametrize(
    "word",
    ["net.rank=40", "net.angle=60.0", "net.depth=3", "net.scale=0.2", "opt.step_size=1e-4", "opt.step_size=4e-5"],
)
def test_another_setting_is_not_judged(word):
    found = verdict(BREAKS["s_big falls behind"][0], word)
    assert {claim.status for claim in found if claim.kind == "law"} == {"not_judged"}


@pytest.mark.parametrize("word", ["net.gradient=batch", "net.activation=relu", "net.inner=transported"])
def test_the_angle_is_judged_in_its_own_setting(word):
    config = config_of("num_seeds=2", word, name="fashion_mnist_angle")
    found = low_rank.claims(synthetic.results_of(angle_lawful, low_rank.VARIABLES, config))
    assert {claim.status for claim in found if claim.kind != "report"} == {"not_judged"}


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
    """The nearer to S_big, the better; but 45 degrees fall behind and 60 do not; the loss stays from 75 on."""
    seen = lawful(config)
    members = grid(config.num_seeds, hyperparameters(config), "float64").hyperparameters["net.angle"]
    angles = hyperparameters(config)["net.angle"]
    less = np.asarray([dict(zip(angles, lost, strict=True))[angle] for angle in members])
    rise = np.linspace(0, 1, len(observation_times(config)))
    accuracy = 0.1 + np.outer(0.73 - less, rise)
    loss = 0.5 - 0.4 * np.outer(members < 75, rise)
    never = np.full(len(members), -1)
    return (
        seen
        | {"test_loss": loss, "train_loss": loss, "test_accuracy": accuracy}
        | dict.fromkeys(("converged_at", "diverged_at"), never)
    )


def angle_results(change=lambda name, seen: None):
    config = config_of("num_seeds=2", name="fashion_mnist_angle")
    return synthetic.results_of(angle_lawful, low_rank.VARIABLES, config, change)


def set_end(member, field, value):
    def change(name, seen):
        seen[field][member, -1] = value

    return change


# Members are two seeds of seven angles each, and their ends without a change .83, .82, .81, .73, .81, .43, .13.
ANGLE_BREAKS = {
    "30 falls behind": (set_end(9, "test_accuracy", 0.79), "psi = 30 degrees"),
    "75 learns": (set_end(12, "test_accuracy", 0.82), "psi = 75 degrees"),
    "60 stays": (set_end(11, "test_loss", 0.48), "SiLU, psi = 60 degrees, step 1500: test loss over"),
    "75 falls": (set_end(12, "test_loss", 0.49), "is false: SiLU, psi = 75 degrees, step 1500: test loss over"),
    "90 learns": (set_end(13, "test_loss", 0.47), "psi = 90 degrees"),
}


@pytest.mark.parametrize(("change", "words"), ANGLE_BREAKS.values(), ids=ANGLE_BREAKS)
def test_one_member_at_an_angle_is_enough_to_fail(change, words):
    assert failing(low_rank.claims(angle_results())) == []
    (found,) = failing(low_rank.claims(angle_results(change)))
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
    claims = low_rank.claims(angle_results(at_pace(**paces)))
    (printed,) = [claim for claim in claims if "nearly identical" in claim.statement]
    assert f"at {angle} degrees" in printed.statement
    assert (printed.status, printed.members, pytest.approx(printed.measured)) == (status, 2, measured)


def assert_named(drawn):
    assert all(axes.get_ylabel() or axes.get_xlabel() for axes in drawn.axes)


def test_every_figure_has_named_axes():
    results = synthetic.results_of(lawful, low_rank.VARIABLES, config_of("num_seeds=2"))
    drawn = low_rank.figures(results)
    assert drawn.keys() == {"low_rank", "batch"}
    (turned,) = low_rank.figures(angle_results()).values()
    for figure in (*drawn.values(), turned):
        assert_named(figure)


def test_every_start_has_its_curve():
    config = config_of("num_seeds=2")
    results = synthetic.results_of(lawful, low_rank.VARIABLES, config)
    (legend,) = low_rank.figures(results)["low_rank"].legends
    reported = [text.get_text() for text in legend.get_texts()]
    assert sum("transported" in words for words in reported) == 1
    assert len(reported) == len(set(reported)) == len(config.variants) == 5


def test_the_figure_of_one_batch_tells_what_is_not_reached():
    config = config_of("num_seeds=2")
    results = synthetic.results_of(lawful, low_rank.VARIABLES, config, late_batch)
    ends, *steps = low_rank.figures(results)["batch"].axes
    assert [text.get_text() for text in ends.texts] == ["0.840", "0.830", "0.740"]
    assert [axes.texts[2].get_text() for axes in steps] == ["not reached by 2 of 2"] * 2
    assert all(text.get_text().isdigit() for axes in steps for text in axes.texts[:2])


# With how many curves there are in all: what leaves a field unread is beside both of its values.
OTHERS = {
    "a random subspace": ({"net.form": "random", "net.inner": "transported"}, "SiLU, random_transported, step 1500", 6),
    "a step size": ({"net.form": "s_big", "opt.step_size": 1e-4}, "SiLU, opt.step_size = 0.0001, s_big, step 1500", 6),
    "a folder": ({"net.form": "s_big", "data.folder": "/home/me"}, "SiLU, data.folder = no. 2, s_big, step 1500", 6),
    "what is not read": ({"net.form": "full", "net.inner": "transported"}, "SiLU, once more, full, step 1500", 6),
    "an angle": ({"net.form": "s_big", "net.angle": 15.0}, "SiLU, net.angle = 15.0, s_big, step 1500", 5 + 3),
    "a rank": ({"net.form": "s_big", "net.rank": 40}, "SiLU, net.rank = 40, s_big, step 1500", 5 + 2),
    "a batch": (
        {"net.form": "s_big", "net.gradient": "batch", "data.gradient_batch": 500},
        "SiLU, data.gradient_batch = 500, s_big_batch, step 1500",
        5 + 5,
    ),
}


@pytest.mark.parametrize(("change", "words", "count"), OTHERS.values(), ids=OTHERS)
def test_a_variant_that_differs_in_one_field_more_is_told_and_drawn_beside_the_others(change, words, count):
    config = config_of("num_seeds=2")
    config.variants = (*config.variants, {"name": "other", "net.activation": "silu"} | change)
    results = synthetic.results_of(lawful, low_rank.VARIABLES, config)
    reports = [c.statement for c in low_rank.claims(results) if c.statement.endswith(": test accuracy")]
    assert len(reports) == len(set(reports)) == count
    assert sum(words in statement for statement in reports) == 1
    assert len(synthetic.curves_of(low_rank.figures(results)["low_rank"])) == 2 * count


def test_a_member_that_diverged_is_counted_beyond_the_paper_too():
    def lost(name, seen):
        if name == "silu_s_big_batch":
            seen["diverged_at"][1] = 700
            seen["test_accuracy"][1, 30:] = np.nan

    beyond = [claim for claim in verdict(lost) if claim.id == "beyond"]
    (less,) = [claim for claim in beyond if "less S_big of one batch" in claim.statement]
    assert (less.status, less.diverged) == ("holds", 1)  # of the others
    late = [claim for claim in beyond if "s_big_batch: steps to" in claim.statement]
    assert [claim.status for claim in late] == ["not_run"] * 2
    assert all("1 of 2 members do not get there" in claim.statement for claim in late)
    results = synthetic.results_of(lawful, low_rank.VARIABLES, config_of("num_seeds=2"), lost)
    drawn = low_rank.figures(results)
    assert [text.get_text() for text in drawn["batch"].axes[0].texts][2] == "diverged: 1 of 2"
    curves = {label: curve for curve, label in zip(*drawn["low_rank"].axes[1].get_legend_handles_labels(), strict=True)}
    seen = curves["low rank, $S_{big}$ of one batch (1 of 2 diverged)"].get_ydata()
    assert np.isfinite(np.ma.filled(seen, np.nan)).all()


def test_where_a_full_network_diverged_there_is_nothing_to_reach():
    def lost(name, seen):
        if name == "silu_full":
            seen["test_accuracy"][0, 30:] = np.nan

    late = [claim for claim in verdict(lost) if ": steps to" in claim.statement]
    assert len(late) == 6
    assert all(claim.statement.endswith("(not run: a full network diverged)") for claim in late)


def test_where_psi_0_diverged_the_angles_are_not_compared():
    def lost(name, seen):
        seen["test_accuracy"][::7, 30:] = np.nan

    (printed,) = [c for c in low_rank.claims(angle_results(lost)) if "nearly identical" in c.statement]
    assert printed.statement.endswith("(not run: a network diverged at psi = 0)")
