"""The law of parsimony: its verdict on made-up results, and its figures of them."""

import functools as ft
import re

import numpy as np
import pytest
import synthetic
from matplotlib.figure import Figure

from experiments.laws.parsimony.theorem import system as theorem
from experiments.runner.results import groups
from experiments.runner.run import observation_times
from experiments.runner.settings import expand, hyperparameters

config_of = ft.partial(synthetic.config_of, profile="smoke")


# Claims ---------------------------------------------------------------------------------------------------


def lawful(config):
    """Observations, members first and times second, of networks that obey the law to the last bit."""
    width, rank, dtype = config.net.width, config.data.rank, config.precision
    square = config.net.depth - (config.data.source != "low_rank")
    times = observation_times(config)
    n = config.num_seeds * int(np.prod([len(values) for values in hyperparameters(config).values()]))
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
    return seen | {"converged_at": np.full(n, -1), "diverged_at": np.full(n, -1)}


results_of = ft.partial(synthetic.results_of, lawful, theorem.VARIABLES)


def verdict(config, change=lambda name, seen: None):
    return theorem.claims(results_of(config, change))


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
            seen["diverged_at"][3] = 12

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


def test_the_law_of_images_is_judged_relative_to_their_largest_value():
    config = config_of("dln_fashion_mnist")

    def change(name, seen, wrong=2e-12):
        seen["excess"][:] = wrong

    claims = verdict(config, change)  # the largest singular value is 3
    assert [claim.id for claim in claims] == ["T1.a Fashion-MNIST"] * 4 + ["T1.b Fashion-MNIST"] * 2
    assert failing(claims) == set()
    assert failing(verdict(config, ft.partial(change, wrong=4e-12))) == {"T1.a Fashion-MNIST"}


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
        ("law", "not_judged"),
        ("report", "holds"),
        ("printed", "not_judged"),
    ]
    assert all(np.isfinite(claim.measured) and claim.members for claim in claims)


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
    drawn = theorem.figures(results_of(config))
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
    (axes,) = theorem.figures(results)["deviations"].axes
    dots = sum(line.get_xdata().size for line in axes.lines if line.get_marker() == "|")
    members = {group.name: group.data.diverged_at.size for group in groups(results)}
    leaky = sum(count for name, count in members.items() if not name.startswith("case1"))
    assert dots == 3 * sum(members.values()) + leaky
    named = [re.sub(r" \(.*", "", label.get_text()) for label in axes.get_yticklabels()]
    assert named == list(members)
