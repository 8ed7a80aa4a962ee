"""Claims: the worst member decides, NaN and divergence never pass for a law, and files keep every value."""

import dataclasses
import io
import json
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console

from experiments.runner.claims import failing, from_json, judge, markdown, table, table_row, to_json, unjudged, wilson

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
ABOUT = {"seed": 0, "num_seeds": 3, "commit": "abc", "versions": {"jax": "0.10.2"}}
ABOUT |= {"device_count": 2, "device_kind": "cpu", "platform": "cpu", "wall_s": 12.5}
VERDICTS = {"law": ("holds", "fails"), "printed": ("refuted", "stands"), "check": ("holds", "fails")}
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
    verdicts = [to_json([law(v, relation, bound, statistic=statistic)], ABOUT) for v in (values, shuffled)]
    assert verdicts[0] == verdicts[1]


@given(
    values=samples,
    bound=numbers,
    relation=st.sampled_from(RELATIONS),
    statistic=st.sampled_from(["worst", "median", "mean", "fraction"]),
    kind=st.sampled_from(["law", "printed", "check"]),
    place=st.integers(0, 8),
)
def test_one_nan_fails(values, bound, relation, statistic, kind, place):
    values.insert(place, math.nan)
    claim = law(values, relation, bound, statistic=statistic, kind=kind)
    assert claim.status == VERDICTS[kind][1]
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
    assert claim.spread == (wilson([0, 1, 1, 1]) if statistic == "fraction" else (0.0, 2.0, 8.0))
    assert claim.statistic == statistic


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (5, 5), (3, 7), (40, 64)])
def test_the_interval_of_a_fraction_is_that_of_scipy(hits, n):
    interval = scipy.stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
    low, share, high = wilson(np.arange(n) < hits)
    assert (low, share, high) == pytest.approx((interval.low, hits / n, interval.high), abs=1e-6)
    assert wilson([]) == ()


def test_no_members_never_hold():
    for relation in RELATIONS:
        assert law([], relation, 0.0).status == "fails"
        assert law([], relation, 0.0, statistic="fraction").status == "fails"
    assert law([]).spread == ()


def test_divergence_fails_a_law_unless_it_is_counted():
    assert law([0.5]).status == "holds"
    assert law([0.5], diverged=1).status == "fails"
    assert law([0.5], diverged=1, counts_divergence=True).status == "holds"
    assert law([0.5], diverged=1, kind="printed").status == "stands"
    assert law([0.5], diverged=1, kind="printed", counts_divergence=True).status == "refuted"
    assert law([0.5], diverged=1).diverged == 1


def test_a_nan_bound_never_holds():
    assert all(law([1.0], relation, math.nan).status == "fails" for relation in RELATIONS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "report"}, "kind must be one of 'law', 'printed', 'check', got 'report'"),
        ({"relation": "=<"}, "relation must be one of '<', '<=', '>', '>=', '==', got '=<'"),
        ({"statistic": "mode"}, "statistic must be one of .*'fraction', got 'mode'"),
    ],
)
def test_unknown_words_are_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=message):
        law([1.0], **changes)


@pytest.mark.parametrize("status", ["not_run", "not_reached"])
def test_a_claim_without_a_verdict_says_why(status):
    claim = unjudged(status, "F1", kind="law", **SOURCE, reason="the runs end at t = 20")
    assert (claim.status, claim.measured, claim.bound) == (status, None, None)
    assert (claim.statement, claim.reason) == (SOURCE["statement"], "the runs end at t = 20")
    assert f"({status.replace('_', ' ')}: the runs end at t = 20)" in markdown([claim], ABOUT)


def test_outside_the_setting_of_the_bound_a_number_is_shown_and_not_judged():
    claim = law([0.7, 0.9], bound=0.5, outside="stated for ELU")
    assert (claim.status, claim.measured, claim.members) == ("not_judged", 0.9, 2)
    assert (claim.relation, claim.bound, claim.reason) == ("", None, "stated for ELU")
    assert failing([claim]) == ()


def test_laws_and_checks_that_fail_and_printed_sentences_that_stand_are_failures():
    claims = [law([2.0], id="a"), law([2.0], id="b", kind="printed"), law([0.0], id="c")]
    claims += [law([0.0], id="d", kind="printed"), unjudged("not_run", "e", kind="law", **SOURCE, reason="slow")]
    claims += [law([2.0], id="f", kind="check"), law([0.0], id="g", kind="check")]
    assert [claim.id for claim in failing(claims)] == ["a", "b", "f"]
    assert [claim.status for claim in claims] == ["fails", "stands", "holds", "refuted", "not_run", "fails", "holds"]


@example(values=[1.7e308, 1.7e308], bound=1.0, statistic="mean")
@given(values=st.lists(st.floats(), max_size=4), bound=st.floats(), statistic=st.sampled_from(["worst", "mean"]))
def test_json_is_strict_and_keeps_every_value(values, bound, statistic):
    def refuse(word):
        raise AssertionError(word)

    claims = (
        law(values, bound=bound, statistic=statistic),
        unjudged("not_run", "n", kind="law", **SOURCE, reason="slow"),
    )
    text = to_json(claims, ABOUT)
    whole = json.loads(text, parse_constant=refuse)
    rows = whole["claims"]
    assert whole["run"] == ABOUT
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
    claims += [unjudged("not_run", "F1", kind="law", **SOURCE, reason="needs the paper profile")]
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


def test_markdown_says_how_the_run_was_made_and_has_a_row_for_each_claim():
    about, machine, empty, *lines = markdown([law([0.5]), law([1.0, 2.0], statistic="median")], ABOUT).splitlines()
    assert about == "Seed 0 and the following ones (3), commit abc, jax 0.10.2;"
    assert (machine, empty) == ("2 x cpu (cpu), 12.5 s.", "")
    assert "2 x cpu (cpu), time not known." in markdown([], ABOUT | {"wall_s": None})
    assert "how they were run is not known" in markdown([], ABOUT | {"versions": {}})
    assert len(lines) == 4
    assert all(line.replace("\\|", "").count("|") == 9 for line in lines)
    assert lines[2].startswith("| T1.a | law | Yaras et al. 2023, Fig. 3 | the gap \\|s - rho\\| [L = 3]")
    assert lines[2].endswith("| 0.5 < 1 | 0.5, 0.5, 0.5 | 1 | holds |")
    assert lines[3].endswith("| median 1.5 < 1 | 1, 1.5, 2 | 2 | fails |")


# Members that diverged. -----------------------------------------------------------------------------------------------


def test_the_number_of_the_others_is_shown_and_a_law_fails_all_the_same():
    found = law([1.0, np.nan, 3.0], bound=5.0, diverged=1)
    assert (found.measured, found.spread, found.members) == (3.0, (1.0, 2.0, 3.0), 3)
    assert (found.diverged, found.status) == (1, "fails")
    assert np.isnan(law([np.nan], bound=5.0, diverged=1).measured)
    printed = law([1.0, np.nan], bound=5.0, diverged=1, kind="printed")
    assert (printed.status, printed.measured) == ("stands", 1.0)


@pytest.mark.parametrize("statistic", ["median", "mean", "min", "max", "fraction"])
def test_a_member_that_did_not_diverge_and_has_no_number_is_not_left_out(statistic):
    values = [1.0, np.nan, 3.0, np.nan]
    assert np.isnan(law(values, bound=5.0, statistic=statistic, diverged=1).measured)
    assert np.isfinite(law(values, bound=5.0, statistic=statistic, diverged=2).measured)


def test_of_members_with_several_numbers_all_of_a_diverged_one_are_left_out():
    values = [1.0, 2.0, 3.0, np.nan, np.nan, np.nan, 4.0, 5.0, 6.0]
    assert law(values, bound=9.0, statistic="median", diverged=1, apiece=3).measured == 3.5
    assert np.isnan(law([*values, np.nan], bound=9.0, statistic="median", diverged=1, apiece=3).measured)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("||G_1||_F < U_{l,2}", r"\|\|G_1\|\|\_F < U_{l,2}"),
        ("(A*_ij - A_ij)^2", r"(A\*\_ij - A_ij)^2"),
        ("_a_ |\nb", r"\_a_ \| b"),
    ],
)
def test_formulas_of_a_table_are_no_markup(text, written):
    assert table_row(["id", text]) == f"| id | {written} |"
