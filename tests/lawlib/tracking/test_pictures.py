"""One picture shows what was recorded: curves at the recorded numbers, full marks only where certified."""

import jax
import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from tracked import comparison, recorded

from lawlib.tracking import dataset, picture

STEPS = (0, 5, 10, 15)
FIRST = recorded(0, steps=STEPS, reached=4, k=3, compared={"start": comparison(1, 4, 3, 3)})


def curves(axes):
    """The curves that have a name, by it."""
    named = [line for line in axes.lines if not line.get_label().startswith("_")]
    return {line.get_label(): line for line in named if len(line.get_xdata())}


def drawn(records=None, members=(), **options):
    return picture(dataset({"first": FIRST} if records is None else records, members), **options)


def test_the_curves_are_the_records():
    values, angles, shares = drawn().axes
    np.testing.assert_array_equal(curves(values)["value 2"].get_ydata(), FIRST.values[:, 1])
    np.testing.assert_array_equal(curves(values)["Frobenius norm"].get_ydata(), FIRST.norm)
    one = FIRST.compared["start"]
    np.testing.assert_allclose(curves(angles)["left 3"].get_ydata(), np.degrees(one.left_angles[:, 2]))
    np.testing.assert_allclose(curves(angles)["right 1"].get_ydata(), np.degrees(one.right_angles[:, 0]))
    np.testing.assert_allclose(curves(angles)["bound on the error"].get_ydata(), np.degrees(one.error))
    np.testing.assert_array_equal(curves(shares)["inside left only"].get_ydata(), one.fractions.inside_left_only)
    assert [axes.get_ylabel() for axes in (values, angles, shares)] == [
        "singular value",
        "angle\nto the start (degrees)",
        "share relative\nto the start",
    ]
    assert (values.get_title(), shares.get_xlabel()) == ("first", "step")


def test_full_marks_are_certified():
    values, angles, _ = drawn().axes
    for axes, certified in ((values, FIRST.certified), (angles, FIRST.compared["start"].certified)):
        marks = [line for line in axes.lines if line.get_linestyle() == "None" and len(line.get_xdata())]
        for line in marks:
            full = not mpl.colors.same_color(line.get_markerfacecolor(), "white")
            np.testing.assert_array_equal(line.get_xdata(), np.asarray(STEPS)[certified if full else ~certified])
    assert {text.get_text() for text in values.get_legend().get_texts()} >= {"certified", "not certified"}


def test_angles_may_be_in_radians():
    _, angles, _ = drawn(degrees=False).axes
    np.testing.assert_allclose(curves(angles)["left 3"].get_ydata(), FIRST.compared["start"].left_angles[:, 2])
    assert angles.get_ylabel() == "angle\nto the start (radians)"


def test_members_are_a_median_with_their_range():
    many = jax.tree.map(lambda x: np.stack([x, x, x * 3 if x.dtype == float else x]), FIRST)
    values, *_ = drawn({"first": many}, ["seed"]).axes
    np.testing.assert_array_equal(curves(values)["value 1"].get_ydata(), FIRST.values[:, 0])
    corners = values.collections[0].get_paths()[0].vertices[:, 1]
    np.testing.assert_allclose([corners.min(), corners.max()], [FIRST.values[:, 0].min(), 3 * FIRST.values[:, 0].max()])


def test_each_matrix_has_a_column_and_a_selection_is_drawn():
    alone = recorded(4, steps=STEPS, reached=3, k=8, compared={})
    both = dataset({"first": FIRST, "alone": alone})
    assert [axes.get_title() for axes in picture(both).axes[:2]] == ["first", "alone"]
    values, *_ = picture(both.sel(matrix="alone", against="start")).axes
    assert set(curves(values)) == {"value 1", "value 8", "Frobenius norm"}


def test_legends_lie_beside_the_curves_and_nothing_of_matplotlib_is_changed():
    before = dict(mpl.rcParams)
    figure = drawn()
    FigureCanvasAgg(figure).draw()
    assert dict(mpl.rcParams) == before
    for axes in figure.axes:
        assert axes.get_legend().get_window_extent().x0 > axes.get_window_extent().x1
        assert axes.get_legend().get_window_extent().x1 <= figure.bbox.x1


def test_what_has_nothing_to_show_is_refused():
    nothing = recorded(0, steps=STEPS, reached=0, k=3, compared={})
    with pytest.raises(ValueError, match="no step was recorded"):
        drawn({"first": nothing})
    with pytest.raises(ValueError, match=r"a data set of lawlib.tracking.dataset: it lacks \['norm'\]"):
        picture(dataset({"first": FIRST}).drop_vars("norm"))
