"""The picture of the small equivalent network's benchmark, from made-up times."""

import numpy as np
import pytest
from legibility import faults

from benchmarks import equivalent
from experiments.runner.legible import make_legible


@pytest.fixture
def drawn(monkeypatch):
    """Figure 1 with matrices of 60 rows, 0.2 s a step of the d x d network and 2 us of the small one."""
    monkeypatch.setattr(equivalent, "WIDTH", 60)
    monkeypatch.setattr(equivalent, "STEP_SIZE", 0.01)
    return equivalent.figure({"full_step_s": 0.2, "small_step_us": 2.0})


def test_both_networks_have_one_loss_at_each_step_until_the_tolerance(drawn):
    (axes,) = drawn.axes
    full, small = (line.get_xydata() for line in axes.lines)
    np.testing.assert_allclose(full[:, 0] / 0.2, np.arange(1, len(full) + 1))
    np.testing.assert_allclose(small[:, 0] / 2e-6, np.arange(1, len(full) + 1))
    np.testing.assert_array_equal(full[:, 1], small[:, 1])
    assert (np.diff(full[:, 1]) < 0).all()
    assert full[-1, 1] <= equivalent.TOLERANCE < full[-2, 1]
    # Five singular values of about 2 sqrt(60), of which none is learned after a step.
    assert full[0, 1] == pytest.approx(5 * 4 * 60 / 2 / 60**2, rel=0.3)


def test_the_picture_can_be_read(drawn):
    make_legible(drawn)
    assert faults(drawn) == []
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in drawn.axes)
