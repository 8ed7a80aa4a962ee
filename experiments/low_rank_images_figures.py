"""The figures of low-rank MLPs on real images: Figures 6 and 14 of Xu et al. 2026, and one batch against all images."""

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments import plots
from experiments.low_rank_images_claims import SHARES, TITLES, first_step, form, goal, last
from experiments.results import Group, groups

__all__ = ["COMPARED", "FORMS", "band", "figures", "one_batch_or_all"]

CURVES = (("test_loss", "test loss an image"), ("test_accuracy", "test accuracy"))
FORMS = {
    "full": ("full", plots.COLOURS[0], "-"),
    "s_big": ("low rank, $S_{big}$ of all images", plots.COLOURS[1], "-"),
    "s_big_batch": ("low rank, $S_{big}$ of one batch", plots.COLOURS[4], "--"),
    "s_big_transported": ("low rank, all images, transported", plots.COLOURS[3], "-."),
    "s_big_batch_transported": ("low rank, one batch, transported", plots.COLOURS[5], "-."),
    "random": ("low rank, random subspace", plots.COLOURS[2], ":"),
}

# What begins in S_big, of all images and of one batch, and the full network whose accuracy they try to reach.
COMPARED = {"full": "full network", "s_big": "$S_{big}$ of all images", "s_big_batch": "$S_{big}$ of one batch"}
DATA = {"fashion_mnist": "Fashion-MNIST"}


def figures(results: xr.DataTree) -> dict[str, Figure]:
    """The figure that the config names as its study."""
    found = groups(results)
    if found[0].config.study == "angle":
        return {"angle": _angle(found[0])}
    names = dict.fromkeys(group.config.net.activation for group in found)
    families = {name: {form(g): g for g in found if g.config.net.activation == name} for name in names}
    compared = {name: family for name, family in families.items() if COMPARED.keys() <= family.keys()}
    return {"low_rank": _low_rank(found)} | (
        {"batch": one_batch_or_all(compared, "steps", _batch_of(found[0]))} if compared else {}
    )


def _low_rank(found: list[Group]) -> Figure:
    """A column for each activation, test loss above and test accuracy below."""
    names = list(dict.fromkeys(group.config.net.activation for group in found))
    drawn = plots.figure(4.4 * len(names) + 0.4, 5.6)
    rows = drawn.subplots(2, len(names), sharex=True, sharey="row", squeeze=False)
    for column, name in zip(rows.T, names, strict=True):
        column[0].set_title(f"{TITLES[name]}, {_data(found[0])}")
        for group in (group for group in found if group.config.net.activation == name):
            label, colour, style = FORMS[form(group)]
            for axes, (field, _) in zip(column, CURVES, strict=True):
                band(axes, group.data[field], colour, style, label)
    _finish(rows)
    drawn.legend(*rows[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return drawn


def one_batch_or_all(families: dict[str, dict[str, Group]], unit: str, about: str) -> Figure:
    """A row for each activation: the accuracy at the end, and the steps to shares of the full network's."""
    drawn = plots.figure(10.0, 1.9 * len(families) + 1.3)
    rows = drawn.subplots(len(families), 3, sharey=True, squeeze=False, width_ratios=(1, 1, 1))
    for row, (name, family) in zip(rows, families.items(), strict=True):
        groups = [family[which] for which in COMPARED]
        _bars(row[0], [last(group, "test_accuracy") for group in groups], "{:.3f}")
        for axes, share in zip(row[1:], SHARES, strict=True):
            _bars(axes, [first_step(group, goal(family["full"], share)) for group in groups], "{:.0f}")
        row[0].set_yticks(range(len(COMPARED)), COMPARED.values())
        row[0].set_ylabel(TITLES[name])
    rows[0, 0].invert_yaxis()
    labels = ["final test accuracy", *(f"{unit} to {share:.0%} of full's accuracy" for share in SHARES)]
    for axes, label in zip(rows[-1], labels, strict=True):
        axes.set_xlabel(label)
    drawn.suptitle(f"{about}: mean over the seeds, dots are seeds")
    return drawn


def _bars(axes: Axes, rows: list[np.ndarray], form: str) -> None:
    """A bar up to the mean of each row with its number beside it; one that never gets there says so."""
    colours = [FORMS[which][1] for which in COMPARED]
    most = max([row[np.isfinite(row)].max() for row in rows if np.isfinite(row).any()], default=1.0)
    for place, (row, colour) in enumerate(zip(rows, colours, strict=True)):
        reached = bool(np.isfinite(row).all())
        mean = row.mean() if reached else 0.0
        axes.barh(place, mean, color=colour, height=0.6)
        axes.plot(row[np.isfinite(row)], np.full(np.isfinite(row).sum(), place), "o", color="black", markersize=3)
        told = form.format(mean) if reached else f"not reached by {np.isinf(row).sum()} of {row.size}"
        axes.text(max(mean, row[np.isfinite(row)].max(initial=0.0)) + 0.03 * most, place, told, va="center")
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
            colour = mpl.colormaps["viridis"](place)
            band(axes, group.data[field].sel(angle=angle), colour, "-", f"$\\psi$ = {angle:g}°")
    _finish(rows)
    drawn.legend(*rows[0, 0].get_legend_handles_labels(), loc="outside right center")
    return drawn


def band(axes: Axes, values: xr.DataArray, colour: object, style: str, label: str) -> None:
    """The mean over the seeds (seed, step), and all of them between their extremes."""
    lines = values.transpose("seed", "step").values
    axes.plot(values.step, lines.mean(0), style, color=colour, label=label)
    axes.fill_between(values.step, lines.min(0), lines.max(0), color=colour, alpha=0.2, linewidth=0)


def _finish(rows: np.ndarray) -> None:
    plots.label_rows(rows, [name for _, name in CURVES])
    plots.time_axis(rows, "even")


def _batch_of(group: Group) -> str:
    return f"{_data(group)}, a batch of {group.config.data.gradient_batch}"


def _data(group: Group) -> str:
    data = group.config.data
    return f"{DATA[data.name]}, N = {data.num_train}"
