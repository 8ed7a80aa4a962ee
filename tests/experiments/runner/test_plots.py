"""Pictures are whole, to a pixel: no mark, name, tick or legend is cut, and ticks differ in what they say."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from experiments.runner import plots


def test_a_small_picture_has_room_for_its_names(tmp_path):
    drawn = plots.figure(1.0, 0.5)
    drawn.subplots().set_ylabel("share of the change since initialization", fontsize=10)
    drawn.suptitle("the singular values of one network")
    plots.save(drawn, tmp_path, "small")
    drawn.draw_without_rendering()  # the PDF left pixels of its own size
    for text in (drawn.axes[0].yaxis.label, drawn._suptitle):
        box = text.get_window_extent()
        assert -1 <= box.x0 < box.x1 <= drawn.bbox.width + 1
        assert -1 <= box.y0 < box.y1 <= drawn.bbox.height + 1


@pytest.mark.parametrize("count", [1, 2, 5])
def test_marks_beside_a_row_are_in_the_picture(count):
    axes = Figure().subplots()
    for offset in (-0.27, 0.27):
        rows = [np.array([1.0, 2.0])] * count
        plots.strip(axes, rows, colour="black", offset=offset, label="")
    plots.name_rows(axes, [f"no. {place}" for place in range(count)])
    below, above = axes.get_ylim()
    assert all(((line.get_ydata() > above) & (line.get_ydata() < below)).all() for line in axes.lines)
    assert [label.get_text() for label in axes.get_yticklabels()] == [f"no. {place}" for place in range(count)]


def test_legends_of_any_width_stand_beside_the_panels(tmp_path):
    for label in ("short", "measured μ = 0.9, λ = 0.1, ε = 0.25, η = 0.0011"):
        drawn = plots.figure(6.0, 4.0)
        rows = drawn.subplots(1, 2, squeeze=False)
        rows[0, 1].plot([0, 1], [0, 1], label=label)
        plots.legends_beside(rows)
        plots.save(drawn, tmp_path, "beside")
        box = rows[0, 1].get_legend().get_window_extent()
        assert rows[0, 1].get_window_extent().x1 <= box.x0 < box.x1 <= drawn.bbox.width


@pytest.mark.parametrize("count", [0, 1, 7, 13, 100])
def test_no_two_looks_are_alike(count):
    looks = plots.looks(count)
    assert len({repr(look.curve) for look in looks}) == len({repr(look.points) for look in looks}) == count


@pytest.mark.parametrize("count", [1, 7, 13])
def test_every_series_is_drawn(count):
    axes = Figure().subplots()
    plots.series(axes, np.arange(3), {f"no. {place}": np.ones(3) + place for place in range(count)})
    assert len({(line.get_color(), repr(line._dash_pattern)) for line in axes.lines}) == count
    Figure().savefig(io.BytesIO())


def test_the_largest_of_all_is_a_number_whatever_they_are():
    assert plots.largest([np.arange(3), np.array([np.nan, 1.5, np.inf])]) == 2.0
    assert plots.largest([np.arange(4), np.arange(2)]) == 3.0
    assert plots.largest([np.array([np.nan])], default=7.0) == plots.largest([np.zeros(0)], default=7.0) == 7.0


def test_a_choice_is_put_in_words():
    assert plots.some(40, 3, "seeds") == ([0, 20, 39], "3 of 40 seeds")
    assert plots.some(2, 5, "seeds") == ([0, 1], "2 seeds")
    assert plots.some(0, 5, "seeds") == ([], "0 seeds")


def test_a_band_is_that_of_the_members_that_are_numbers():
    axes = Figure().subplots()
    plots.band(axes, np.arange(2), np.array([[1.0, 1.0], [3.0, np.nan], [5.0, 2.0]]), color="black")
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [3.0, 1.5])


@pytest.mark.parametrize(("width", "pixels"), [(6.0, 960), (7.5, 1200), (12.1, 1200), (18.0, 1620)])
def test_a_wide_picture_has_as_many_pixels_as_a_page_shows_or_its_letters_need(tmp_path, width, pixels):
    plots.save(plots.figure(width, 4.0), tmp_path, "wide")
    with Image.open(tmp_path / "wide.png") as saved:
        assert abs(saved.width - pixels) <= 1
