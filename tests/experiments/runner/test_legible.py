"""Finished figures can be read: ticks differ in what they say, legends cover no curve, and no axis cuts a mark."""

import numpy as np
import pytest
from legibility import faults

from experiments.runner import plots
from experiments.runner.legible import make_legible


def panel(**about):
    """A figure and its only panel, as experiments draw them."""
    drawn = plots.figure(6.0, 4.0)
    axes = drawn.subplots()
    axes.set(**about)
    return drawn, axes


@pytest.mark.parametrize(
    ("low", "high"), [(0.5612, 0.5618), (0.9, 4.0), (2e6, 5e7), (9.75431e-3, 9.75431e-3 * (1 + 2e-9)), (1e-17, 1e3)]
)
def test_ticks_of_a_log_axis_say_different_things(tmp_path, low, high):
    drawn, axes = panel()
    axes.semilogy([0, 1], [low, high])
    plots.save(drawn, tmp_path, "ticks")
    below, above = axes.get_ylim()
    seen = [label for label in axes.get_yticklabels(which="both") if below <= label.get_position()[1] <= above]
    reported = [label.get_text() for label in seen if label.get_text()]
    assert len(reported) >= 2
    assert len(set(reported)) == len(reported)


@pytest.mark.parametrize("scale", ["linear", "log", "symlog"])
@pytest.mark.parametrize("upwards", [True, False])
def test_a_legend_leaves_curves_alone(scale, upwards):
    drawn, axes = panel(yscale=scale)
    for height in np.geomspace(1e-3, 10, 25):
        axes.plot([0, 1], [height, 2 * height if upwards else height / 2], linewidth=3)
    axes.lines[0].set_label("a curve")
    axes.legend(loc="center")
    assert any("covers" in fault for fault in faults(drawn))
    make_legible(drawn)
    assert faults(drawn) == []
    low, high = axes.get_ylim()
    assert low < (1e-3 if upwards else 1e-3 / 2)
    assert high > 10


def test_a_legend_that_covers_nothing_stays_where_it_is():
    drawn, axes = panel(ylim=(0, 1))
    axes.plot([0, 1], [0.1, 0.1], label="a curve")
    axes.axvline(0.9, label="a line from bottom to top")
    axes.legend(loc="upper right")
    make_legible(drawn)
    assert axes.get_ylim() == (0, 1)


def test_a_legend_leaves_marks_alone():
    drawn, axes = panel()
    axes.plot(*np.meshgrid(np.arange(20), np.arange(20)), "o", color="black")
    axes.lines[0].set_label("a mark")
    axes.legend()
    make_legible(drawn)
    assert faults(drawn) == []


@pytest.mark.parametrize("place", [(0.0, 0.5), (1.0, 0.5), (0.5, 0.0), (0.5, 1.0)])
def test_marks_on_a_border_are_whole(place):
    drawn, axes = panel(xlim=(0, 1), ylim=(0, 1))
    axes.plot([0.5, place[0]], [0.5, place[1]], "o", markersize=9)
    assert any("cut" in fault for fault in faults(drawn))
    make_legible(drawn)
    assert faults(drawn) == []


def test_what_lies_beyond_a_border_stays_hidden():
    drawn, axes = panel(xlim=(0, 1), ylim=(0, 1))
    (line,) = axes.plot([0.5, 3.0], [0.5, 3.0], "-o")
    make_legible(drawn)
    assert line.get_clip_on()
