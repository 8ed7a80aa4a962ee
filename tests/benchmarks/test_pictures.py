"""The pictures of benchmarks, from made-up measurements."""

import numpy as np
import pytest
from legibility import faults

from benchmarks import equivalent, wall_time
from benchmarks.main import FIGURES
from experiments.runner.legible import make_legible

SECONDS = {"d x d": 0.2, "small": 2e-6}


def losses():
    """Rows of both networks: 1000 steps for each factor of 10 in the loss."""
    rows = {}
    for power, loss in enumerate(equivalent.LOSSES, start=1):
        rows |= {equivalent._row(loss, f"{name}, s"): 1000 * power * step for name, step in SECONDS.items()}
    return rows


def estimates():
    """Rows of two r^: a narrow network takes twice the steps of a compressed one, and both take 0.5 ms a step."""
    rows = {}
    for rank in (5, 20):
        for kind, steps in (("narrow", 40_000), ("compressed", 20_000)):
            rows[f"r^ = {rank}: {kind}, ms a step"] = 0.5
            rows[f"r^ = {rank}: {kind}, steps to the tolerance"] = steps
    return rows | {"r^ = 5: full, ms a step": 4.0}


MEASURED = {"equivalent": losses(), "wall_time": estimates()}


@pytest.mark.parametrize("name", FIGURES)
def test_a_picture_can_be_read(name):
    drawn = FIGURES[name].figure(MEASURED[name])
    make_legible(drawn)
    assert faults(drawn) == []
    (axes,) = drawn.axes
    assert axes.get_xlabel()
    assert axes.get_ylabel()


def test_the_time_to_a_loss_is_that_of_its_steps():
    (axes,) = equivalent.figure(losses()).axes
    curves = {line.get_label(): line.get_xydata() for line in axes.lines}
    for name, step in SECONDS.items():
        times, means = curves[f"{name} network"].T
        np.testing.assert_allclose(times, 1000 * step * np.arange(1, 10))
        np.testing.assert_allclose(means, 10.0 ** -np.arange(2, 11))


def test_the_time_to_the_tolerance_is_that_of_its_steps():
    (axes,) = wall_time.figure(estimates()).axes
    narrow, compressed = (line.get_xydata() for line in axes.lines)
    np.testing.assert_allclose(narrow, [(5, 20), (20, 20)])
    np.testing.assert_allclose(compressed, [(5, 10), (20, 10)])
