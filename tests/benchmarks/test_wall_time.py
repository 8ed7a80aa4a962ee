"""The picture of the wall times of Figure 5, from made-up times."""

import numpy as np
import pytest
from legibility import faults

from benchmarks import wall_time
from experiments.runner.legible import make_legible


@pytest.fixture
def drawn():
    """Two r^: a narrow network takes twice the steps of a compressed one, and both take 0.5 ms a step."""
    rows = {"r^ = 5: full, ms a step": 4.0}
    for rank in (5, 20):
        for kind, steps in (("narrow", 40_000), ("compressed", 20_000)):
            rows[f"r^ = {rank}: {kind}, ms a step"] = 0.5
            rows[f"r^ = {rank}: {kind}, steps to the tolerance"] = steps
    return wall_time.figure(rows)


def test_the_time_to_the_tolerance_is_that_of_its_steps(drawn):
    (axes,) = drawn.axes
    narrow, compressed = (line.get_xydata() for line in axes.lines)
    np.testing.assert_allclose(narrow, [(5, 20), (20, 20)])
    np.testing.assert_allclose(compressed, [(5, 10), (20, 10)])


def test_the_picture_can_be_read(drawn):
    make_legible(drawn)
    assert faults(drawn) == []
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in drawn.axes)
