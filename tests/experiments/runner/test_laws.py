"""Laws as data: which runs they judge, in which parts, and why not."""

import numpy as np
import pytest
import xarray as xr
from ml_collections import ConfigDict

from experiments.runner.laws import (
    Source,
    across,
    at_least,
    differing_in,
    judged,
    lasting,
    measure,
    of_size,
    stated_for,
)
from experiments.runner.runs import Run, where

LAST = measure(lambda run: run.last("loss"))


def run_of(values, *, depth=2, study="depth", steps=10, diverged=(), name="a"):
    """A run whose members end with these losses."""
    losses = np.stack([np.ones(len(values)), np.asarray(values, float)], 1)
    data = xr.Dataset(
        {
            "loss": (("seed", "step"), losses),
            "diverged_at": ("seed", np.where(np.isin(np.arange(len(values)), diverged), 3, -1)),
        },
        {"seed": np.arange(len(values)), "step": [0, steps]},
    )
    return Run(name, ConfigDict({"study": study, "net": {"depth": depth}, "sweep": {}}), data)


SOURCE = Source(paper="a paper", figure="Fig. 1", of=where(study="depth"))


def rows(law, *found):
    return [(row.id, row.status, row.measured, row.members) for row in judged([law], found)]


def test_all_members_of_all_its_runs_are_judged_together():
    law = SOURCE.law("F1", "small", LAST < 4.0)
    assert rows(law, run_of([1, 2]), run_of([3])) == [("F1", "holds", 3.0, 3)]
    assert rows(law, run_of([1, 5]), run_of([3])) == [("F1", "fails", 5.0, 3)]


def test_runs_of_another_source_are_left_out_and_those_of_another_kind_are_not_run():
    law = SOURCE.law("F1", "small", LAST < 4.0, where(net__depth=3))
    assert rows(law, run_of([1], study="scale")) == []
    (row,) = judged([law], [run_of([1], depth=2)])
    assert (row.status, row.reason) == ("not_run", "no run of this config is of that kind")


@pytest.mark.parametrize("each", ["net.depth", ("net.depth",), lambda run: str(run.config.net.depth)])
def test_each_value_of_a_field_has_a_row(each):
    law = SOURCE.law("F1", "small at L = {}, D_{l+1}", LAST < 4.0, each=each)
    found = judged([law], [run_of([1], depth=2), run_of([9], depth=3), run_of([2], depth=2)])
    assert [(row.id, row.status, row.members) for row in found] == [("F1[2]", "holds", 2), ("F1[3]", "fails", 1)]
    assert found[0].statement == "small at L = 2, D_{l+1}"


def test_a_run_without_a_part_is_left_out():
    law = SOURCE.law("F1", "small", LAST < 4.0, each=lambda run: "deep" if run.config.net.depth > 2 else None)
    assert rows(law, run_of([9], depth=2), run_of([1], depth=3)) == [("F1[deep]", "holds", 1.0, 1)]


def test_a_printed_sentence_is_refuted_by_its_margin_or_stands():
    law = SOURCE.printed("F1", "'it grows'", LAST < 4.0)
    assert rows(law, run_of([1]))[0][1] == "refuted"
    assert rows(law, run_of([5]))[0][1] == "stands"
    assert judged([law], [run_of([1])])[0].kind == "printed"


def test_a_check_is_judged_as_a_law_and_named_apart():
    law = SOURCE.check("F1", "the start is what it is", LAST < 4.0)
    assert [judged([law], [run_of([value])])[0].status for value in (1, 5)] == ["holds", "fails"]
    assert judged([law], [run_of([1])])[0].kind == "check"


def test_runs_that_are_compared_are_two_or_more():
    law = SOURCE.law("F1", "close", across(lambda found: found[0].last("loss") / found[1].last("loss")) < 2.0)
    assert rows(law, run_of([3]), run_of([2]))[0][1:3] == ("holds", 1.5)
    (row,) = judged([law], [run_of([3])])
    assert (row.status, row.reason) == ("not_run", "it compares two settings or more")


def test_runs_named_one_by_one_are_taken_in_that_order():
    difference = across(lambda found: found[0].last("loss") - found[1].last("loss"))
    law = SOURCE.law("F1", "more", difference > 0.0, (where(net__depth=3), where(net__depth=2)))
    shallow, deep = run_of([1], depth=2), run_of([5], depth=3)
    assert rows(law, shallow, deep) == rows(law, deep, shallow) == [("F1", "holds", 4.0, 1)]
    (row,) = judged([law], [deep])
    assert (row.status, row.reason) == ("not_run", "this config has no such variant")


def test_of_several_runs_of_one_kind_none_is_taken_for_the_others():
    law = SOURCE.law("F1", "less", across(lambda pair: [1.0]) < 2.0, (where(net__depth=3), where(net__depth=2)))
    (row,) = judged([law], [run_of([1], depth=2), run_of([3], depth=3), run_of([9], depth=3, name="b")])
    assert (row.status, row.members) == ("not_run", 0)
    assert row.reason == "several runs of this config are of that kind, and it compares one of each"


def test_an_event_that_came_in_no_member_is_not_reached():
    law = SOURCE.law("F1", "small once below 1", LAST < 4.0, event=lambda run: run.last("loss") < 1)
    (row,) = judged([law], [run_of([1, 2]), run_of([3])])
    assert (row.status, row.members, row.measured) == ("not_reached", 3, None)
    assert row.reason == "in none of 3 members within 10 steps"
    assert rows(law, run_of([0.5, 2]))[0][1] == "holds"


def test_where_some_did_not_get_where_all_have_to_the_law_is_not_reached():
    def late(found):
        return "1 of 2 members did not reach T" * any(np.any(run.last("loss") > 2) for run in found)

    law = SOURCE.law("F1", "small", LAST < 4.0, awaits=(late,))
    (row,) = judged([law], [run_of([1, 3])])
    assert (row.status, row.reason, row.members) == ("not_reached", "1 of 2 members did not reach T", 2)
    assert rows(law, run_of([1, 2]))[0][1] == "holds"


def test_where_members_diverged_and_no_other_got_there_the_law_fails():
    law = SOURCE.law("F1", "small once below 1", LAST < 4.0, event=lambda run: run.last("loss") < 1)
    (row,) = judged([law], [run_of([np.nan, 2], diverged=(0,))])
    assert (row.status, row.members, row.diverged) == ("fails", 2, 1)
    assert np.isnan(row.measured)


@pytest.mark.parametrize(
    ("needs", "reason"),
    [(lasting(20), "runs of 10 steps, of 20 needed"), (at_least(3), "2 members, of 3 needed")],
)
def test_runs_that_are_too_short_or_too_few_are_not_judged(needs, reason):
    short, shown = SOURCE.law("F1", "s", LAST < 4.0, needs=(needs,)), SOURCE.law("F2", "s", LAST < 4.0, stated=(needs,))
    not_run, not_judged = judged([short, shown], [run_of([1, 2])])
    assert (not_run.status, not_run.reason, not_run.measured) == ("not_run", reason, None)
    assert (not_judged.status, not_judged.reason, not_judged.measured) == ("not_judged", reason, 2.0)
    enough = judged([short, shown], [run_of([1, 2, 3], steps=20)])
    assert [row.status for row in enough] == ["holds", "holds"]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, "holds"),
        ({"opt": {"step_size": 0.1}}, "holds"),
        ({"net": {"depth": 3, "scale": 0.3}}, "not_run"),
        ({"net": {"depth": 2}}, "not_run"),
        ({"data": {"rank": 2}}, "not_run"),
    ],
)
def test_runs_that_differ_in_another_field_too_are_not_compared(fields, status):
    law = SOURCE.law("F1", "alike", across(lambda found: [1.0]) < 2.0, needs=(differing_in("net.depth"),))
    one, other = run_of([1], depth=2), run_of([1], depth=3)
    other.config.update(fields)
    (row,) = judged([law], [one, other])
    assert (row.status, row.reason) == (status, "it compares runs that differ in net.depth alone" * (status != "holds"))


def test_outside_the_setting_of_its_source_a_law_is_measured_and_not_judged():
    source = Source(paper="p", figure="f", stated=(stated_for("L = 2", where(net__depth=2)),))
    law = source.law("F1", "small", LAST < 4.0)
    assert judged([law], [run_of([1], depth=2)])[0].status == "holds"
    (row,) = judged([law], [run_of([1], depth=2), run_of([9], depth=3)])
    assert (row.status, row.reason, row.measured) == ("not_judged", "stated for L = 2", 9.0)


@pytest.mark.parametrize("kind", ["law", "printed", "check"])
def test_what_holds_beside_nothing_is_measured_and_not_judged(kind):
    """All losses are below 4, and those of the first run are no larger than 2 either."""
    size = of_size("the loss", lambda run: run.last("loss"), lambda run: 2.5)
    law = getattr(SOURCE, kind)("F1", "small", LAST < 4.0, each="net.depth", vacuous=(size,))
    still, moving = judged([law], [run_of([1, 2, 3]), run_of([3, 3.5], depth=3)])
    assert (still.status, still.measured, still.bound, still.relation) == ("not_judged", 3.0, None, "")
    assert still.reason == "it says nothing of 2 of 3 members: the loss is below 2.5"
    assert (moving.status, moving.reason) == ("refuted" if kind == "printed" else "holds", "")


def test_what_fails_beside_nothing_fails():
    nothing = of_size("nothing", lambda run: np.zeros(run.num_seeds), 1.0)
    without = of_size("no number", lambda run: np.full(run.num_seeds, np.nan), 1.0)
    source = Source(paper="a paper", figure="Fig. 1", vacuous=(nothing,))
    law = source.law("F1", "small", LAST < 4.0)
    assert rows(law, run_of([1, 5])) == [("F1", "fails", 5.0, 2)]
    assert rows(law, run_of([1, 2], diverged=[0]))[0][1] == "fails"
    assert rows(law, run_of([1, 2]))[0][1] == "not_judged"
    assert rows(SOURCE.law("F1", "small", LAST < 4.0, vacuous=(without,)), run_of([1, 2]))[0][1] == "not_judged"


def test_a_diverged_member_fails_the_laws_of_its_run_unless_they_are_about_that():
    found = run_of([1, np.nan], diverged=(1,))
    assert rows(SOURCE.law("F1", "s", LAST < 4.0), found) == [("F1", "fails", 1.0, 2)]
    share = measure(lambda run: run.diverged)
    law = SOURCE.law("F1", "s", share <= 0.5, statistic="fraction", counts_divergence=True)
    assert rows(law, found) == [("F1", "holds", 0.5, 2)]


def test_of_a_member_with_several_numbers_all_may_be_missing_where_it_diverged():
    twice = measure(lambda run: np.stack([run.last("loss")] * 3, 1))
    (row,) = judged([SOURCE.law("F1", "s", twice < 4.0)], [run_of([1, np.nan], diverged=(1,))])
    assert (row.measured, row.status) == (1.0, "fails")


def test_a_bound_may_depend_on_the_runs_and_must_be_one():
    law = SOURCE.law("F1", "s", LAST.equals(lambda run: 2 * run.config.net.depth))
    assert rows(law, run_of([4], depth=2))[0][1] == "holds"
    assert judged([law], [run_of([4], depth=2)])[0].bound == 4.0
    with pytest.raises(ValueError, match=r"need one bound, not \[4.0, 6.0\]"):
        judged([law], [run_of([4], depth=2), run_of([6], depth=3)])


def test_a_single_number_is_no_measure_of_members():
    law = SOURCE.law("F1", "s", measure(lambda run: run.last("loss").mean()) < 4.0)
    with pytest.raises(ValueError, match=r"a measure of a gives one number; .* or \[number\] for the whole run"):
        judged([law], [run_of([1, 2])])


def test_two_bounds_are_two_laws():
    with pytest.raises(TypeError, match="a law has one bound"):
        assert 0 < LAST < 4


def test_ids_are_unique():
    law = SOURCE.law("F1", "s", LAST < 4.0)
    with pytest.raises(ValueError, match="unique in a table, and these are not: F1"):
        judged([law, law], [run_of([1])])


def test_a_sentence_may_name_numbers_of_its_runs():
    law = SOURCE.law("F1", lambda found: f"{len(found)} runs end small", LAST < 4.0)
    assert judged([law], [run_of([1]), run_of([2])])[0].statement == "2 runs end small"
    none = SOURCE.law("F1", lambda found: found[0].label, LAST < 4.0, where(net__depth=3))
    assert judged([none], [run_of([1])])[0].statement == "F1, Fig. 1"


def test_a_row_without_a_part_speaks_of_any():
    law = SOURCE.law("F1", "small at L = {}", LAST < 4.0, where(net__depth=3), each="net.depth")
    (row,) = judged([law], [run_of([1], depth=2)])
    assert (row.id, row.statement, row.status) == ("F1", "small at L = any", "not_run")
