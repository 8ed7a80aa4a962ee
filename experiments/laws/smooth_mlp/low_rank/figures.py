"""The figures of low-rank MLPs on real images: Figures 6 and 14 of Xu et al. 2026, and one batch against all images."""

import itertools
import re
from collections.abc import Callable, Mapping, Sequence

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.laws.smooth_mlp.families import SHARES, TITLES, families, first_step, goal, last
from experiments.laws.smooth_mlp.low_rank.claims import ROLES, form, unread
from experiments.runner import plots
from experiments.runner.results import Group, groups

__all__ = ["LineStyle", "band", "columns", "figures", "in_common", "looks", "on_lines", "one_batch_or_all"]

LineStyle = str | tuple[int, tuple[int, ...]]
CURVES = (("test_loss", "test loss an image"), ("test_accuracy", "test accuracy"))
FORMS = {
    "full": ("full", plots.COLOURS[0], "-"),
    "s_big": ("low rank, $S_{big}$ of all images", plots.COLOURS[1], "-"),
    "s_big_batch": ("low rank, $S_{big}$ of one batch", plots.COLOURS[4], "--"),
    "s_big_transported": ("low rank, all images, transported", plots.COLOURS[3], "-."),
    "s_big_batch_transported": ("low rank, one batch, transported", plots.COLOURS[5], "-."),
    "random": ("low rank, random subspace", plots.COLOURS[2], ":"),
}
# Of forms that have no look of their own: styles that none above has.
STYLES: tuple[LineStyle, ...] = ((0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (3, 1, 3, 1, 1, 1)))

# What begins in S_big, of all images and of one batch, and the full network whose accuracy they try to reach.
COMPARED = {"full": "full network", "s_big": "$S_{big}$ of all images", "s_big_batch": "$S_{big}$ of one batch"}
DATA = {"fashion_mnist": "Fashion-MNIST"}


def figures(results: xr.DataTree) -> dict[str, Figure]:
    """The figure that the config names as its study."""
    found = groups(results)
    if found[0].config.study == "angle":
        return {"angle": _angle(found[0])}
    of_each = families(found, ROLES, form, unread)
    about = in_common(found, _data, lambda group: f"a batch of {group.config.data.gradient_batch}")
    return {"low_rank": _low_rank(of_each)} | one_batch_or_all(of_each, "steps", about)


def in_common(found: Sequence[Group], *reported: Callable[[Group], str]) -> str:
    """What is the same of all groups; where they differ, their families' titles tell it."""
    rows = [{tell(group) for group in found} for tell in reported]
    return ", ".join(row.pop() for row in rows if len(row) == 1)


def _low_rank(of_each: dict[str, dict[str, Group]]) -> Figure:
    """A column for each family, test loss above and test accuracy below."""
    drawn, rows = columns(of_each, CURVES, lambda family: _data(next(iter(family.values()))), (4.4, 0.4, 5.6))
    _finish(rows)
    return drawn


def columns(
    of_each: Mapping[str, Mapping[str, Group]],
    curves: Sequence[tuple[str, str]],
    beside: Callable[[Mapping[str, Group]], str],
    size: tuple[float, float, float],
) -> tuple[Figure, np.ndarray]:
    """A column for each family, titled with what is told beside its name, a row for each curve, and one legend.

    ``size`` is the width of a column and of the rest, and the height.
    """
    width, rest, height = size
    drawn = plots.figure(width * len(of_each) + rest, height)
    rows = drawn.subplots(len(curves), len(of_each), sharex=True, sharey="row", squeeze=False)
    found = looks(of_each)
    for column, (title, family) in zip(rows.T, of_each.items(), strict=True):
        column[0].set_title(f"{on_lines(title)}, {beside(family)}")
        for name, group in family.items():
            for axes, (field, _) in zip(column, curves, strict=True):
                band(axes, group.data[field], *found[name])
    _legend_above(drawn, rows)
    return drawn, rows


def looks(of_each: Mapping[str, Mapping[str, Group]]) -> dict[str, tuple[str, LineStyle, str]]:
    """Colour, line and label of every form in these families, no two of them alike."""
    names = dict.fromkeys(name for family in of_each.values() for name in family)
    others = itertools.cycle(itertools.product(STYLES, plots.COLOURS))
    found: dict[str, tuple[str, LineStyle, str]] = {}
    found |= {name: (colour, style, label) for name, (label, colour, style) in FORMS.items() if name in names}
    for name in (name for name in names if name not in FORMS):
        style, colour = next(others)
        found[name] = colour, style, _in_words(name)
    return found


def _in_words(name: str) -> str:
    (start, images, beside), *_ = re.findall(r"^(random|s_big)_?(batch|\d+)?_?(.*)$", name)
    whose = {"": "all images", "batch": "one batch"}.get(images, f"{images} images")
    begins = "random subspace" if start == "random" else f"$S_{{big}}$ of {whose}"
    return ", ".join(filter(None, ("low rank", begins, *beside.split("_"))))


def on_lines(title: str) -> str:
    """A family's title with a line for each field in which it differs from others."""
    return title.replace(", ", "\n")


def _legend_above(drawn: Figure, rows: np.ndarray) -> None:
    """One legend for all columns, which need not have the same curves."""
    curves = {label: curve for axes in rows[0] for curve, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    drawn.legend(curves.values(), curves.keys(), loc="outside upper center", ncols=2)


def one_batch_or_all(of_each: dict[str, dict[str, Group]], unit: str, about: str) -> dict[str, Figure]:
    """A row for each family that has both: the accuracy at the end, and the steps to shares of the full network's."""
    compared = {title: family for title, family in of_each.items() if COMPARED.keys() <= family.keys()}
    if not compared:
        return {}
    drawn = plots.figure(10.0, 1.9 * len(compared) + 1.3)
    rows = drawn.subplots(len(compared), 3, sharey=True, squeeze=False, width_ratios=(1, 1, 1))
    for row, (title, family) in zip(rows, compared.items(), strict=True):
        groups = [family[which] for which in COMPARED]
        _bars(row[0], [last(group, "test_accuracy") for group in groups], "{:.3f}")
        for axes, share in zip(row[1:], SHARES, strict=True):
            _bars(axes, [first_step(group, goal(family["full"], share)) for group in groups], "{:.0f}")
        row[0].set_yticks(range(len(COMPARED)), COMPARED.values())
        row[0].set_ylabel(on_lines(title))
    rows[0, 0].invert_yaxis()
    labels = ["final test accuracy", *(f"{unit} to {share:.0%} of full's accuracy" for share in SHARES)]
    for axes, label in zip(rows[-1], labels, strict=True):
        axes.set_xlabel(label)
    drawn.suptitle(": ".join(filter(None, (about, "mean over the seeds, dots are seeds"))))
    return {"batch": drawn}


def _bars(axes: Axes, rows: list[np.ndarray], form: str) -> None:
    """A bar up to the mean of each row with its number beside it; one that never gets there says so."""
    colours = [FORMS[which][1] for which in COMPARED]
    most = max([row[np.isfinite(row)].max() for row in rows if np.isfinite(row).any()], default=1.0)
    for place, (row, colour) in enumerate(zip(rows, colours, strict=True)):
        reached = bool(np.isfinite(row).all())
        mean = row.mean() if reached else 0.0
        axes.barh(place, mean, color=colour, height=0.6)
        axes.plot(row[np.isfinite(row)], np.full(np.isfinite(row).sum(), place), "o", color="black", markersize=3)
        late, lost = (f"{there.sum()} of {row.size}" if there.any() else "" for there in (np.isinf(row), np.isnan(row)))
        missing = " and ".join(filter(None, (late and f"not reached by {late}", lost and f"diverged: {lost}")))
        reported = missing or form.format(mean)
        axes.text(max(mean, row[np.isfinite(row)].max(initial=0.0)) + 0.03 * most, place, reported, va="center")
    # Room for what is told beside the longest bar: a number, or words.
    axes.set_xlim(0, (1.3 if all(np.isfinite(row).all() for row in rows) else 1.8) * most)


def _angle(group: Group) -> Figure:
    """One curve for each angle, from S_big to what is orthogonal to it."""
    drawn = plots.figure(5.4, 5.8)
    rows = drawn.subplots(2, 1, sharex=True, squeeze=False)
    rows[0, 0].set_title(f"{TITLES[group.config.net.activation]}, {_data(group)}")
    angles = group.data.angle.values
    for place, angle in zip(np.linspace(0, 0.92, len(angles)), angles, strict=True):
        for axes, (field, _) in zip(rows[:, 0], CURVES, strict=True):
            # At a right angle the loss stays, and so it may before: one curve must not hide the other.
            colour, style = mpl.colormaps["viridis"](place), "-" if angle < 90 else "--"
            band(axes, group.data[field].sel(angle=angle), colour, style, f"$\\psi$ = {angle:g}°")
    _finish(rows)
    drawn.legend(*rows[0, 0].get_legend_handles_labels(), loc="outside right center")
    return drawn


def band(axes: Axes, values: xr.DataArray, colour: object, style: LineStyle, label: str) -> None:
    """The mean over the seeds (seed, step), as long as they are numbers, and all of them between their extremes."""
    lines = np.ma.masked_invalid(values.transpose("seed", "step").values)
    lost = int(np.ma.getmaskarray(lines)[:, -1].sum())
    label += f" ({lost} of {len(lines)} diverged)" if lost else ""
    axes.plot(values.step, lines.mean(0), linestyle=style, color=colour, label=label)
    axes.fill_between(values.step, lines.min(0), lines.max(0), color=colour, alpha=0.2, linewidth=0)


def _finish(rows: np.ndarray) -> None:
    plots.label_rows(rows, [name for _, name in CURVES])
    plots.time_axis(rows, "even")


def _data(group: Group) -> str:
    data = group.config.data
    return f"{DATA[data.name]}, N = {data.num_train}"
