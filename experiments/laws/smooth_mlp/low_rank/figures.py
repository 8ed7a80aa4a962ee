"""The figures of low-rank MLPs on real images: Figures 6 and 14 of Xu et al. 2026, and one batch against all images."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from experiments.laws.smooth_mlp.common import TITLES
from experiments.laws.smooth_mlp.family_figures import band, columns, in_common, one_batch_or_all
from experiments.laws.smooth_mlp.low_rank.measures import by_form
from experiments.runner import plots
from experiments.runner.runs import Run

__all__ = ["figures"]

CURVES = (("test_loss", "test loss an image"), ("test_accuracy", "test accuracy"))
DATA = {"fashion_mnist": "Fashion-MNIST"}


def figures(found: Sequence[Run]) -> dict[str, Figure]:
    """The figure that the config names as its study."""
    if found[0].config.study == "angle":
        return {"angle": _angle(found)}
    of_each = by_form(found)
    drawn, rows = columns(of_each, CURVES, lambda family: _data(next(iter(family.values()))), (4.4, 0.4, 5.6))
    plots.time_axis(rows, "even")
    about = in_common(found, _data, lambda run: f"a batch of {run.config.data.gradient_batch}")
    return {"low_rank": drawn} | one_batch_or_all(of_each, "steps", about)


def _angle(found: Sequence[Run]) -> Figure:
    """One curve for each angle, from S_big to its orthogonal complement."""
    drawn = plots.figure(5.4, 5.8)
    rows = drawn.subplots(2, 1, sharex=True, squeeze=False)
    rows[0, 0].set_title(f"{TITLES[found[0].config.net.activation]}, {_data(found[0])}")
    for place, run in zip(np.linspace(0, 0.92, len(found)), found, strict=True):
        angle = run.config.net.angle
        for axes, (variable, _) in zip(rows[:, 0], CURVES, strict=True):
            # At a right angle the loss stays where it is, and may do so at others: no curve must hide another.
            colour, style = mpl.colormaps["viridis"](place), "-" if angle < 90 else "--"
            band(axes, run, variable, colour, style, f"$\\psi$ = {angle:g}°")
    plots.label_rows(rows, [label for _, label in CURVES])
    plots.time_axis(rows, "even")
    drawn.legend(*rows[0, 0].get_legend_handles_labels(), loc="outside right center")
    return drawn


def _data(run: Run) -> str:
    data = run.config.data
    return f"{DATA[data.name]}, N = {data.num_train}"
