"""The small chart of a claim: order, scale and side of the bound, for any numbers."""

import math

import numpy as np
import pytest
from claim_rows import row
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.reporting.spread import WIDTH, chart
from experiments.runner.claims import RELATIONS

FLOATS = st.floats(allow_nan=False)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(FLOATS, min_size=3, max_size=3).map(sorted), FLOATS.filter(math.isfinite), st.sampled_from(list(RELATIONS))
)
def test_places_have_the_order_of_the_numbers_and_lie_on_the_chart(spread, bound, relation):
    found = chart(row(spread=tuple(spread), measured=spread[2], bound=bound, relation=relation))
    places = [found.least, found.median, found.most, found.bound]
    assert all(0 <= place <= WIDTH for place in places)
    numbers = [*spread, bound]
    for i, j in np.ndindex(4, 4):
        if numbers[i] <= numbers[j]:
            assert places[i] <= places[j]


@pytest.mark.parametrize(
    ("spread", "bound", "is_log"),
    [
        ((1e-15, 1e-14, 1e-13), 1e-12, True),
        ((0.0, 1e-14, 1e-13), 1e-12, True),
        ((0.9, 0.95, 0.99), 0.5, False),
        ((-1e-9, 0.1, 100.0), 1e3, False),
        ((6.0, 6.0, 6.0), 6.0, False),
        ((0.0, 0.0, 0.0), 1.0, False),
    ],
)
def test_an_axis_is_logarithmic_where_numbers_span_decades(spread, bound, is_log):
    found = chart(row(spread=spread, bound=bound, measured=spread[2]))
    assert found.is_log == is_log
    assert ("log axis" in found.label) == is_log


def test_equal_ratios_are_equal_lengths_on_a_log_axis():
    found = chart(row(spread=(1e-6, 1e-4, 1e-2), bound=1.0, measured=1e-2))
    lengths = np.diff([found.least, found.median, found.most, found.bound])
    np.testing.assert_allclose(lengths, lengths[0], atol=0.11)  # places have one decimal


@pytest.mark.parametrize(
    ("relation", "side"), [("<", "left"), ("<=", "left"), (">", "right"), (">=", "right"), ("==", None)]
)
def test_the_shaded_side_is_the_one_on_which_the_relation_holds(relation, side):
    found = chart(row(relation=relation, bound=0.4, measured=0.5))
    expected = {"left": (0.0, found.bound), "right": (found.bound, WIDTH), None: None}
    assert found.allowed == expected[side]


def test_a_mean_has_a_mark_of_its_own():
    assert chart(row(statistic="mean", measured=0.35)).apart not in (None, 0)
    assert chart(row(measured=0.5)).apart is None
    assert chart(row(measured=math.nan)).apart is None


def test_without_numbers_there_is_no_chart_and_without_a_bound_no_line():
    assert chart(row(spread=(), measured=None)) is None
    assert chart(row(spread=(math.nan,) * 3, measured=math.nan)) is None
    found = chart(row(bound=None, relation="", status="not_judged"))
    assert (found.bound, found.allowed) == (None, None)
    assert "bound" not in found.label


def test_infinite_members_lie_at_the_ends():
    found = chart(row(spread=(0.1, 0.2, math.inf), bound=1.0, measured=math.inf))
    assert found.most > found.bound
    assert found.most <= WIDTH


def test_a_fraction_has_the_ends_of_its_interval():
    assert chart(row(statistic="fraction")).label.startswith("low end 0.25, fraction 0.3, high end 0.5")
