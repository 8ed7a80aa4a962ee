"""JSON that is laid out for people reads back as it was."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.runner.layout import WIDTH, laid_out, shortened

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
NAMES = st.text() | st.just("n" * 90)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner), max_leaves=40)


@given(VALUES)
def test_what_is_laid_out_reads_back_equal(value):
    assert json.loads(laid_out(value)) == value


@given(VALUES)
def test_a_line_is_long_only_where_it_holds_nothing_that_could_be_split(value):
    for line in laid_out(value).split("\n"):
        split = line.rstrip(",").endswith(("}", "]")) and len(line) > 2
        assert not split or len(line) <= WIDTH + 1


def test_short_parts_of_a_long_value_stay_on_their_lines():
    value = {"columns": {f"column {i}": {"median": i, "min": 0} for i in range(20)}}
    lines = laid_out(value).splitlines()
    assert lines[:3] == ["{", ' "columns": {', '  "column 0": {"median": 0, "min": 0},']
    assert lines[-2:] == [" }", "}"]


@pytest.mark.parametrize("value", [float("nan"), {"a": [float("inf")]}])
def test_json_has_no_words_for_nan(value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        laid_out(value)


def test_floats_are_shortened_and_nothing_else_changes():
    value = {"a": [1.23456789e-12, float("inf")], "n": 123456789, "t": "0.123456789", "f": True, "v": 0.5}
    assert shortened(value) == value | {"a": [1.23457e-12, float("inf")]}
