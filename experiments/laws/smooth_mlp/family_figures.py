"""Panels that the figures of low-rank MLPs and of VGG-16's heads share: a column or a row for each family."""

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.laws.smooth_mlp.families import COMPARED, SHARES, Families, first_step, goal
from experiments.runner import plots
from experiments.runner.runs import Run

LineStyle = str | tuple[int, tuple[int, ...]]
FORMS: dict[str, tuple[str, str, LineStyle]] = {
    "full": ("full", plots.COLOURS[0], "-"),
    "s_big": ("low rank, $S_{big}$ of all images", plots.COLOURS[1], "-"),
    "s_big_batch": ("low rank, $S_{big}$ of one batch", plots.COLOURS[4], "--"),
    "s_big_transported": ("low rank, all images, transported", plots.COLOURS[3], "-."),
    "s_big_batch_transported": ("low rank, one batch, transported", plots.COLOURS[5], "-."),
    "random": ("low rank, random subspace", plots.COLOURS[2], ":"),
}
# Line styles of other forms: none of those above.
STYLES: tuple[LineStyle, ...] = ((0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (3, 1, 3, 1, 1, 1)))
NAMES = ("full network", "$S_{big}$ of all images", "$S_{big}$ of one batch")


def in_common(found: Sequence[Run], *describe: Callable[[Run], str]) -> str:
    """Descriptions that are the same for all runs; the families' titles say in what runs differ."""
    rows = [{words(run) for run in found} for words in describe]
    return ", ".join(row.pop() for row in rows if len(row) == 1)


def on_lines(title: str) -> str:
    """A family's title with a line for each field in which it differs from others."""
    return title.replace(", ", "\n")


def columns(
    of_each: Families,
    curves: Sequence[tuple[str, str]],
    subtitle: Callable[[Mapping[str, Run]], str],
    size: tuple[float, float, float],
) -> tuple[Figure, np.ndarray]:
    """A column for each family, a row for each curve (variable, label) over the steps, and one legend.

    A column is titled with the family's title and ``subtitle``. ``size`` is the width of a column, the width of the
    rest, and the height.
    """
    width, rest, height = size
    drawn = plots.figure(width * len(of_each) + rest, height)
    rows = drawn.subplots(len(curves), len(of_each), sharex=True, sharey="row", squeeze=False)
    found = looks(form for family in of_each.values() for form in family)
    for column, (title, family) in zip(rows.T, of_each.items(), strict=True):
        column[0].set_title(f"{on_lines(title)}, {subtitle(family)}")
        for form, run in family.items():
            for axes, (variable, _) in zip(column, curves, strict=True):
                band(axes, run, variable, *found[form])
    # Not every family has the same curves.
    known = {label: curve for axes in rows[0] for curve, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    drawn.legend(known.values(), known.keys(), loc="outside upper center", ncols=2)
    plots.label_rows(rows, [label for _, label in curves])
    return drawn, rows


def band(axes: Axes, run: Run, variable: str, colour: object, style: LineStyle, label: str) -> None:
    """The mean over the members whose values are finite, and their range; the label counts the others."""
    values = run.all(variable)
    lost = int((~np.isfinite(values[:, -1])).sum())
    label += f" ({lost} of {len(values)} diverged)" if lost else ""
    plots.band(axes, run.steps, values, middle=np.ma.mean, color=colour, linestyle=style, label=label)


def looks(forms: Iterable[str]) -> dict[str, tuple[str, LineStyle, str]]:
    """Colour, line style and label of each form, no two of them alike while at most 18 are not in ``FORMS``."""
    names = dict.fromkeys(forms)
    found = {form: (colour, style, label) for form, (label, colour, style) in FORMS.items() if form in names}
    taken = {colour for colour, *_ in found.values()}
    # A colour that no other curve has comes first.
    others = itertools.cycle(itertools.product(STYLES, sorted(plots.COLOURS, key=taken.__contains__)))
    for form in (form for form in names if form not in FORMS):
        style, colour = next(others)
        found[form] = colour, style, _in_words(form)
    return found


def _in_words(form: str) -> str:
    (start, images, rest), *_ = re.findall(r"^(random|s_big)_?(batch|\d+)?_?(.*)$", form)
    whose = {"": "all images", "batch": "one batch"}.get(images, f"{images} images")
    subspace = "random subspace" if start == "random" else f"$S_{{big}}$ of {whose}"
    return ", ".join(filter(None, ("low rank", subspace, *rest.split("_"))))


def one_batch_or_all(of_each: Families, unit: str, about: str) -> dict[str, Figure]:
    """A row for each family that has both: final accuracies, and steps to shares of the full network's."""
    compared = {title: family for title, family in of_each.items() if set(COMPARED) <= family.keys()}
    if not compared:
        return {}
    drawn = plots.figure(10.0, 1.9 * len(compared) + 1.3)
    rows = drawn.subplots(len(compared), 3, sharey=True, squeeze=False, width_ratios=(1, 1, 1))
    for row, (title, family) in zip(rows, compared.items(), strict=True):
        found = [family[form] for form in COMPARED]
        _bars(row[0], [run.last("test_accuracy") for run in found], "{:.3f}")
        for axes, share in zip(row[1:], SHARES, strict=True):
            _bars(axes, [first_step(run, goal(family["full"], share)) for run in found], "{:.0f}")
        row[0].set_yticks(range(len(NAMES)), NAMES)
        row[0].set_ylabel(on_lines(title))
    rows[0, 0].invert_yaxis()
    labels = ["final test accuracy", *(f"{unit} to {share:.0%} of full's accuracy" for share in SHARES)]
    for axes, label in zip(rows[-1], labels, strict=True):
        axes.set_xlabel(label)
    drawn.suptitle(": ".join(filter(None, (about, "mean over the seeds, dots are seeds"))))
    return {"batch": drawn}


def _bars(axes: Axes, rows: list[np.ndarray], template: str) -> None:
    """A bar up to the mean of each row, labelled with its number or with how many members have none."""
    colours = [FORMS[form][1] for form in COMPARED]
    most = plots.largest(rows)
    for place, (row, colour) in enumerate(zip(rows, colours, strict=True)):
        known = row[np.isfinite(row)]
        mean = row.mean() if known.size == row.size else 0.0
        axes.barh(place, mean, color=colour, height=0.6)
        axes.plot(known, np.full(known.size, place), "o", color="black", markersize=3)
        late, lost = (f"{there.sum()} of {row.size}" if there.any() else "" for there in (np.isinf(row), np.isnan(row)))
        missing = " and ".join(filter(None, (late and f"not reached by {late}", lost and f"diverged: {lost}")))
        axes.text(max(mean, known.max(initial=0.0)) + 0.03 * most, place, missing or template.format(mean), va="center")
    # Room for the text right of the longest bar: a number, or words.
    axes.set_xlim(0, (1.3 if all(np.isfinite(row).all() for row in rows) else 1.8) * most)
