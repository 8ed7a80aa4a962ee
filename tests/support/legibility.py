"""What a reader cannot read in a saved figure, by matplotlib's own geometry: no pixels are looked at."""

import itertools

import numpy as np


def faults(drawn):
    """A line for each mark that an axis cuts, tick that is named like another, and legend that covers a curve."""
    if drawn.stale:  # Laying out takes longer than all else, and twice gives the same.
        drawn.draw_without_rendering()
    found = []
    for place, axes in enumerate(drawn.axes):
        where = f"panel {place} ({axes.get_title() or axes.get_ylabel()})"
        found += [f"{where}: marks of {line.get_label()!r} are cut" for line in axes.lines if marks_cut(axes, line)]
        found += [f"{where}: ticks {names}" for axis in (axes.xaxis, axes.yaxis) if (names := equal_ticks(axis))]
        found += [f"{where}: the legend covers {line.get_label()!r}" for line in axes.lines if covered(axes, line)]
    return found


def pixels(line):
    """The finite points of a line, in pixels."""
    points = line.get_transform().transform(np.asarray(line.get_xydata(), float))
    return points[np.isfinite(points).all(1)]


def marks_cut(axes, line):
    """Whether a mark of a clipped line reaches over a border of its panel; none that lies beyond it is shown at all."""
    if line.get_marker() in ("", " ", "None", None) or not line.get_clip_on():
        return False
    half = line.get_markersize() * drawn_dpi(axes) / 144
    (left, bottom), (right, top) = axes.bbox.min, axes.bbox.max
    x, y = pixels(line).T
    reaches = (x - half < left - 1) | (x + half > right + 1) | (y - half < bottom - 1) | (y + half > top + 1)
    shown = (x + half > left) & (x - half < right) & (y + half > bottom) & (y - half < top)
    return bool((reaches & shown).any())


def drawn_dpi(axes):
    """Pixels in an inch."""
    return axes.get_figure(root=True).dpi


def equal_ticks(axis):
    """The names that two visible ticks of an axis share."""
    low, high = sorted(axis.get_view_interval())
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    shown = [tick for tick in ticks if low <= tick.get_loc() <= high and tick.label1.get_visible()]
    names = [tick.label1.get_text() for tick in shown if tick.label1.get_text()]
    return sorted({name for name in names if names.count(name) > 1})


def covered(axes, line):
    """Whether the panel's own legend lies on a line of its panel, but for lines from its bottom to its top."""
    legend = axes.get_legend()
    if legend is None or (len(line.get_xdata()) == 2 and np.ptp(line.get_xdata()) == 0):
        return False
    (left, bottom), (right, top) = legend.get_window_extent().min, legend.get_window_extent().max
    shown = axes.bbox
    left, right = max(left, shown.x0), min(right, shown.x1)
    bottom, top = max(bottom, shown.y0), min(top, shown.y1)
    points = pixels(line)
    if line.get_linestyle() != "None" and len(points) > 1:
        # Fine enough that no piece of a pixel or more is missed.
        ends = itertools.pairwise(points)
        points = np.concatenate([np.linspace(a, b, 2 + int(np.abs(b - a).max())) for a, b in ends])
    x, y = points.T
    return left < right and bottom < top and bool(((left < x) & (x < right) & (bottom < y) & (y < top)).any())
