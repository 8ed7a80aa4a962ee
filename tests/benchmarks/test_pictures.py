"""The pictures of benchmarks, from made-up measurements."""

import numpy as np
import pytest
from legibility import faults

from benchmarks import equivalent, wall_time
from benchmarks.main import FIGURES
from experiments.runner.legible import make_legible

TIMES = {"full_step_s": 0.2, "small_step_us": 2.0}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Figure 1 with matrices of 60 rows."""
    monkeypatch.setattr(equivalent, "WIDTH", 60)
    monkeypatch.setattr(equivalent, "STEP_SIZE", 0.01)


def estimates():
    """Rows of two r^: a narrow network takes twice the steps of a compressed one, and both take 0.5 ms a step."""
    rows = {}
    for rank in (5, 20):
        for kind, steps in (("narrow", 40_000), ("compressed", 20_000)):
            rows[f"r^ = {rank}: {kind}, ms a step"] = 0.5
            rows[f"r^ = {rank}: {kind}, steps to the tolerance"] = steps
    return rows | {"r^ = 5: full, ms a step": 4.0}


MEASURED = {"equivalent": TIMES, "wall_time": estimates()}


@pytest.mark.parametrize("name", FIGURES)
def test_a_picture_can_be_read(name):
    drawn = FIGURES[name].figure(MEASURED[name])
    make_legible(drawn)
    assert faults(drawn) == []
    (axes,) = drawn.axes
    assert axes.get_xlabel()
    assert axes.get_ylabel()


def test_both_networks_have_one_loss_at_each_step_until_the_tolerance():
    (axes,) = equivalent.figure(TIMES).axes
    full, small = (line.get_xydata() for line in axes.lines)
    np.testing.assert_allclose(full[:, 0] / 0.2, np.arange(1, len(full) + 1))
    np.testing.assert_allclose(small[:, 0] / 2e-6, np.arange(1, len(full) + 1))
    np.testing.assert_array_equal(full[:, 1], small[:, 1])
    assert (np.diff(full[:, 1]) < 0).all()
    assert full[-1, 1] <= equivalent.TOLERANCE < full[-2, 1]
    # Five singular values of about 2 sqrt(60), of which none is learned after a step.
    assert full[0, 1] == pytest.approx(5 * 4 * 60 / 2 / 60**2, rel=0.3)


def test_the_time_to_the_tolerance_is_that_of_its_steps():
    (axes,) = wall_time.figure(estimates()).axes
    narrow, compressed = (line.get_xydata() for line in axes.lines)
    np.testing.assert_allclose(narrow, [(5, 20), (20, 20)])
    np.testing.assert_allclose(compressed, [(5, 10), (20, 10)])
