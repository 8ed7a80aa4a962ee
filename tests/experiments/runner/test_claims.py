"""Claims: the worst member decides, NaN and divergence never pass for a law, and files keep every value."""

import dataclasses
import io
import json
import math
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from experiments.runner.claims import each, failing, from_json, judge, markdown, not_run, over, report, table, to_json

SOURCE = {
    "paper": "Yaras et al. 2023",
    "figure": "Fig. 3",
    "statement": "the gap |s - rho| [L = 3] stays small",
}
RELATIONS = ("<", "<=", ">", ">=", "==")
COMPARE = {
    "<": lambda x, b: x < b,
    "<=": lambda x, b: x <= b,
    ">": lambda x, b: x > b,
    ">=": lambda x, b: x >= b,
    "==": lambda x, b: x == b,
}
numbers = st.floats(allow_nan=False, width=32)
samples = st.lists(numbers, min_size=1, max_size=8)


def law(values, relation="<", bound=1.0, **changes):
    return judge(**({"id": "T1.a", "kind": "law", **SOURCE} | changes), values=values, relation=relation, bound=bound)


@given(values=samples, bound=numbers, relation=st.sampled_from(RELATIONS))
def test_the_worst_holds_exactly_if_every_member_holds(values, bound, relation):
    claim = law(values, relation, bound)
    assert (claim.status == "holds") == all(COMPARE[relation](value, bound) for value in values)
    assert claim.measured in values
    assert claim.members == len(values)


@given(
    values=samples,
    bound=numbers,
    relation=st.sampled_from(RELATIONS),
    statistic=st.sampled_from(["worst", "median", "mean", "min", "max", "fraction"]),
    data=st.data(),
)
def test_the_order_of_the_members_does_not_matter(values, bound, relation, statistic, data):
    shuffled = data.draw(st.permutations(values))
    verdicts = [to_json([law(v, relation, bound, statistic=statistic)]) for v in (values, shuffled)]
    assert verdicts[0] == verdicts[1]


@given(
    values=samples,
    bound=numbers,
    relation=st.sampled_from(RELATIONS),
    statistic=st.sampled_from(["worst", "median", "mean", "fraction"]),
    kind=st.sampled_from(["law", "printed"]),
    place=st.integers(0, 8),
)
def test_one_nan_fails(values, bound, relation, statistic, kind, place):
    values.insert(place, math.nan)
    claim = law(values, relation, bound, statistic=statistic, kind=kind)
    assert claim.status == "fails"
    assert math.isnan(claim.measured)


def test_equality_is_judged_by_the_farthest_member():
    assert law([5, 4, 7, 5], "==", 5).measured == 7
    assert law([5, 2, 7, 5], "==", 5).measured == 2
    assert law([math.inf, math.inf], "==", math.inf).status == "holds"
    assert law([1.0, math.inf], "==", math.inf).status == "fails"


@pytest.mark.parametrize(
    ("statistic", "measured"),
    [("median", 2.0), ("mean", 3.0), ("min", 0.0), ("max", 8.0), ("fraction", 0.75)],
)
def test_other_statistics_are_measured_over_the_members(statistic, measured):
    claim = law([0.0, 8.0, 1.0, 3.0], "<", 100.0, statistic=statistic)
    assert claim.measured == measured
    assert claim.spread == (0.0, 2.0, 8.0)
    assert claim.statistic == statistic


def test_no_members_never_hold():
    for relation in RELATIONS:
        assert law([], relation, 0.0).status == "fails"
        assert law([], relation, 0.0, statistic="fraction").status == "fails"
    assert law([]).spread == ()
    assert report("R", **SOURCE, values=[]).status == "fails"


def test_divergence_fails_a_law_unless_it_is_counted():
    assert law([0.5]).status == "holds"
    assert law([0.5], diverged=1).status == "fails"
    assert law([0.5], diverged=1, counts_divergence=True).status == "holds"
    assert law([0.5], diverged=1, kind="printed").status == "fails"
    assert law([0.5], diverged=1, kind="printed", counts_divergence=True).status == "holds"
    assert law([0.5], diverged=1).diverged == 1


def test_a_nan_bound_never_holds():
    assert all(law([1.0], relation, math.nan).status == "fails" for relation in RELATIONS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "report"}, "kind must be one of 'law', 'printed', got 'report'"),
        ({"relation": "=<"}, "relation must be one of '<', '<=', '>', '>=', '==', got '=<'"),
        ({"statistic": "mode"}, "statistic must be one of .*'fraction', got 'mode'"),
    ],
)
def test_unknown_words_are_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=message):
        law([1.0], **changes)


def test_reports_hold_without_a_bound():
    claim = report("R", **SOURCE, values=[3.0, 1.0, 2.0], diverged=2)
    assert (claim.kind, claim.status, claim.measured, claim.bound) == ("report", "holds", 2.0, None)
    assert report("R", **SOURCE, values=[math.nan]).status == "fails"


def test_not_run_says_why():
    claim = not_run("F1", kind="law", **SOURCE, reason="needs the paper profile")
    assert claim.status == "not_run"
    assert claim.statement == f"{SOURCE['statement']} (not run: needs the paper profile)"


def test_failing_are_the_laws_and_printed_statements_that_fail():
    claims = [law([2.0], id="a"), law([2.0], id="b", kind="printed"), law([0.0], id="c")]
    claims += [report("d", **SOURCE, values=[]), not_run("e", kind="law", **SOURCE, reason="slow")]
    assert [claim.id for claim in failing(claims)] == ["a", "b"]


@given(values=st.lists(st.floats(), max_size=4), bound=st.floats(), statistic=st.sampled_from(["worst", "mean"]))
def test_json_is_strict_and_keeps_every_value(values, bound, statistic):
    def refuse(word):
        raise AssertionError(word)

    claims = (
        law(values, bound=bound, statistic=statistic),
        not_run("n", kind="law", **SOURCE, reason="slow"),
    )
    text = to_json(claims)
    rows = json.loads(text, parse_constant=refuse)
    assert set(rows[0]) == {field.name for field in dataclasses.fields(claims[0])}
    for claim, back in zip(claims, from_json(text), strict=True):
        for field in dataclasses.fields(claim):
            given_value, read = getattr(claim, field.name), getattr(back, field.name)
            if (field.name in ("measured", "bound") and given_value is not None) or field.name == "spread":
                np.testing.assert_array_equal(given_value, read)
                assert np.array_equal(np.signbit(given_value), np.signbit(read)) or np.isnan(given_value).any()
            else:
                assert given_value == read


def test_the_table_is_readable_at_100_columns():
    claims = [law([3.14159e-13], bound=1e-12), law([0.5, 2.0], "<", 1.0, diverged=1, statistic="median")]
    claims += [not_run("F1", kind="law", **SOURCE, reason="needs the paper profile")]
    stream = io.StringIO()
    table(claims, Console(file=stream, width=100))
    text = stream.getvalue()
    assert max(map(len, text.splitlines())) <= 100
    for cell in (
        "T1.a",
        "3.14e-13 < 1e-12",
        "median 1.25 < 1",
        "2 (1 diverged)",
        "holds",
        "fails",
        "not_run",
        "[L",
    ):
        assert cell in text


def test_markdown_has_one_row_of_seven_cells_for_each_claim():
    lines = markdown([law([0.5]), report("R", **SOURCE, values=[2.0])]).splitlines()
    assert len(lines) == 4
    assert all(line.replace("\\|", "").count("|") == 8 for line in lines)
    assert lines[2].startswith("| T1.a | law | Yaras et al. 2023, Fig. 3 | the gap \\|s - rho\\| [L = 3]")
    assert lines[2].endswith("| 0.5 < 1 | 1 | holds |")
    assert lines[3].endswith("| median 2 | 1 | holds |")


class Member(NamedTuple):
    values: list
    diverged: int = 0


def test_a_family_is_judged_by_all_its_members_and_their_divergence():
    family, about = [Member([1.0, 2.0]), Member([5.0])], {"id": "F1", **SOURCE, "relation": "<", "bound": 4.0}
    found = over(family, each(lambda run: run.values), **about)
    assert (found.measured, found.members, found.status) == (5.0, 3, "fails")
    assert over(family[:1], each(lambda run: run.values), **about).status == "holds"
    assert over([Member([1.0], diverged=1)], each(lambda run: run.values), **about).status == "fails"
    reported = over(family, each(lambda run: run.values), id="F1", kind="report", statistic="max", **SOURCE)
    assert (reported.kind, reported.measured) == ("report", 5.0)


@pytest.mark.parametrize(
    ("family", "reason", "reported"),
    [([], "", "no variant of this profile has such members"), ([Member([1.0])], "too short", "too short")],
)
def test_a_family_that_cannot_be_judged_says_why(family, reason, reported):
    about = {"id": "F1", "kind": "printed", "relation": "<", "bound": 4.0, **SOURCE}
    found = over(family, lambda _: 1 / 0, reason=reason, **about)
    assert (found.kind, found.status) == ("printed", "not_run")
    assert found.statement.endswith(f"(not run: {reported})")
