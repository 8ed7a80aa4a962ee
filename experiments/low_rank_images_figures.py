"""The figures of low-rank MLPs on real images: Figures 6 and 14 of Xu et al. 2026, and one batch against all images."""

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments import plots
from experiments.low_rank_images_claims import TITLES, form
from experiments.results import Group, groups

__all__ = ["figures"]

CURVES = (("test_loss", "test loss an image"), ("test_accuracy", "test accuracy"))
FORMS = {
    "full": ("full", plots.COLOURS[0], "-"),
    "s_big": ("low rank, $S_{big}$ of all images", plots.COLOURS[1], "-"),
    "s_big_batch": ("low rank, $S_{big}$ of one batch", plots.COLOURS[4], "--"),
    "random": ("low rank, random subspace", plots.COLOURS[2], ":"),
}


def figures(results: xr.DataTree) -> dict[str, Figure]:
    """The figure that the config names as its study."""
    found = groups(results)
    return {"angle": _angle(found[0])} if found[0].config.study == "angle" else {"low_rank": _low_rank(found)}


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
                _band(axes, group.data[field], colour, style, label)
    _finish(rows)
    drawn.legend(*rows[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return drawn


def _angle(group: Group) -> Figure:
    """One curve for each angle, from S_big to what is orthogonal to it."""
    drawn = plots.figure(5.4, 5.8)
    rows = drawn.subplots(2, 1, sharex=True, squeeze=False)
    rows[0, 0].set_title(f"{TITLES[group.config.net.activation]}, {_data(group)}")
    angles = group.data.angle.values
    for place, angle in zip(np.linspace(0, 0.92, len(angles)), angles, strict=True):
        for axes, (field, _) in zip(rows[:, 0], CURVES, strict=True):
            colour = mpl.colormaps["viridis"](place)
            _band(axes, group.data[field].sel(angle=angle), colour, "-", f"$\\psi$ = {angle:g}°")
    _finish(rows)
    drawn.legend(*rows[0, 0].get_legend_handles_labels(), loc="outside right center")
    return drawn


def _band(axes: Axes, values: xr.DataArray, colour: object, style: str, label: str) -> None:
    """The mean over the seeds, and all of them between their extremes."""
    lines = values.transpose("seed", "step").values
    axes.plot(values.step, lines.mean(0), style, color=colour, label=label)
    axes.fill_between(values.step, lines.min(0), lines.max(0), color=colour, alpha=0.2, linewidth=0)


def _finish(rows: np.ndarray) -> None:
    plots.label_rows(rows, [name for _, name in CURVES])
    plots.time_axis(rows, "even")


def _data(group: Group) -> str:
    data = group.config.data
    return f"{data.name.replace('_', '-').title()}, N = {data.num_train}"
