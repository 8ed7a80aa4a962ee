"""What is put right in a whole figure before it is saved: equal ticks, legends on curves, and marks that an axis cuts.

None of the three can be judged by one panel's code: they depend on the sizes and limits of the finished figure.
"""

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import (
    FixedLocator,
    LogFormatterSciNotation,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
    ScalarFormatter,
)
from matplotlib.transforms import Bbox

__all__ = ["cut_marks", "legends_on_curves", "make_legible", "set_aside"]

# Of the height that a legend takes, for the space below it.
SPARE = 1.1


def make_legible(drawn: Figure) -> None:
    """Tell the ticks apart, draw marks at the border of a panel whole, and make room for legends above the curves."""
    _tell_ticks_apart(drawn)
    drawn.draw_without_rendering()
    for axes in legends_on_curves(drawn):
        set_aside(axes)
    for line in cut_marks(drawn):
        line.set_clip_on(False)


def _tell_ticks_apart(drawn: Figure) -> None:
    """On a log axis of less than a decade: few ticks, with all digits in which they differ; of two: no minor names."""
    for axis in (axis for axes in drawn.axes for axis in (axes.xaxis, axes.yaxis) if axis.get_scale() == "log"):
        low, high = sorted(axis.get_view_interval())
        if isinstance(axis.get_major_locator(), FixedLocator) or not 0 < low < high < 100 * low:
            continue
        if high < 10 * low:
            axis.set_major_locator(MaxNLocator(4))
            axis.set_major_formatter(ScalarFormatter())
            axis.set_minor_locator(NullLocator())
        else:
            axis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
            axis.set_major_formatter(LogFormatterSciNotation(minor_thresholds=(np.inf, np.inf)))
            axis.set_minor_formatter(NullFormatter())


def legends_on_curves(drawn: Figure) -> list[Axes]:
    """The panels of a laid-out figure whose legend covers a part of one of their own curves or marks."""
    return [axes for axes in drawn.axes if axes.get_legend() and any(map(_covers(axes), axes.lines))]


def _covers(axes: Axes) -> Callable[[Line2D], bool]:
    """Whether the legend of these axes covers a part of a line; a vertical line has no height at which to avoid it."""
    legend = axes.get_legend()
    assert legend is not None
    box = Bbox.intersection(legend.get_window_extent(), axes.bbox)

    def covers(line: Line2D) -> bool:
        transform = line.get_transform()
        if box is None or not line.get_visible() or not transform.contains_branch_seperately(axes.transData)[1]:
            return False
        if line.get_linestyle() == "None":
            return any(box.contains(x, y) for x, y in transform.transform(line.get_xydata()))
        return bool(line.get_path().transformed(transform).intersects_bbox(box, filled=False))

    return covers


def set_aside(axes: Axes) -> None:
    """Make room for the legend of laid-out axes above all that they show, whatever the scale."""
    legend = axes.get_legend()
    assert legend is not None
    legend.set_loc("upper right")
    share = min(SPARE * legend.get_window_extent().height / axes.bbox.height, 0.8)
    scale = axes.yaxis.get_transform()
    low, high = scale.transform(np.asarray(axes.get_ylim()))
    axes.set_ylim(top=float(scale.inverted().transform(np.asarray(high + (high - low) * share / (1 - share)))))


def cut_marks(drawn: Figure) -> list[Line2D]:
    """The lines of a laid-out figure with a mark that a border cuts, all of whose marks are centred in their panel."""
    return [line for axes in drawn.axes for line in axes.lines if _is_cut(axes, line)]


def _is_cut(axes: Axes, line: Line2D) -> bool:
    if line.get_marker() in ("None", "", " ", None) or not line.get_clip_on() or not line.get_visible():
        return False
    points = line.get_transform().transform(line.get_xydata())
    points = points[np.isfinite(points).all(1)]
    half = (line.get_markersize() + line.get_markeredgewidth()) / 2 * axes.figure.dpi / 72
    rounding = 0.5
    return bool(_inside(points, axes.bbox, rounding).all() and not _inside(points, axes.bbox, -half).all())


def _inside(points: np.ndarray, box: Bbox, spare: float) -> np.ndarray:
    """Which points are in the box, made larger by so many pixels on each side."""
    low, high = np.asarray(box.min) - spare, np.asarray(box.max) + spare
    return np.all((points >= low) & (points <= high), axis=1)
