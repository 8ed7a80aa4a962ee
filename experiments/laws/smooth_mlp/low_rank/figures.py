"""The figures of low-rank MLPs on real images: Figures 6 and 14 of Xu et al. 2026, and one batch against all images."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from experiments.laws.smooth_mlp.common import TITLES
from experiments.laws.smooth_mlp.family_figures import band, columns, in_common, one_batch_or_all
from experiments.laws.smooth_mlp.low_rank.measures import LASTS, by_form, by_last
from experiments.runner import plots
from experiments.runner.runs import Run

__all__ = ["CAPTIONS", "figures"]

# What each picture shows, by patterns of names.
CAPTIONS = {
    "low_rank": (
        "Test loss (top) and test accuracy (bottom) over the steps, for the full network and for low-rank networks "
        "in several subspaces; means and ranges over the seeds. In S_big the low-rank network learns as fast as the "
        "full one or faster. In a random subspace its loss stays at its initial value."
    ),
    "angle": (
        "Test loss (top) and test accuracy (bottom) over the steps, a curve for each angle between the subspace of a "
        "low-rank network and S_big; means and ranges over the seeds. Small angles change little. The larger the "
        "angle, the slower the network learns, and at 90 degrees it does not learn at all."
    ),
    "batch": (
        "Bar charts of the final test accuracy, and of the steps to two shares of the full network's accuracy, for "
        "the full network and for S_big of all images or of one batch. Bars are means, dots seeds. S_big of one "
        "batch reaches about the accuracy of S_big of all images."
    ),
}

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
    """A column for each initialization of the last layer, one curve for each angle, from S_big to its complement."""
    of_each = by_last(found)
    drawn = plots.figure(4.4 * len(of_each) + 1.0, 5.8)
    rows = drawn.subplots(2, len(of_each), sharex=True, sharey="row", squeeze=False)
    for column, (last, runs) in zip(rows.T, of_each.items(), strict=True):
        column[0].set_title("\n".join(filter(None, (_of_activation(runs[0]), LASTS[last]))))
        for place, run in zip(np.linspace(0, 0.92, len(runs)), runs, strict=True):
            angle = run.config.net.angle
            for axes, (variable, _) in zip(column, CURVES, strict=True):
                # At a right angle the loss stays where it is, and may do so at others: no curve must hide another.
                colour, style = mpl.colormaps["viridis"](place), "-" if angle < 90 else "--"
                band(axes, run, variable, colour, style, f"$\\psi$ = {angle:g}°")
    plots.label_rows(rows, [label for _, label in CURVES])
    plots.time_axis(rows, "even")
    drawn.legend(*rows[0, 0].get_legend_handles_labels(), loc="outside right center")
    return drawn


def _of_activation(run: Run) -> str:
    return f"{TITLES[run.config.net.activation]}, {_data(run)}"


def _data(run: Run) -> str:
    data = run.config.data
    pixels = "" if data.average == 1 else " of 14 x 14 pixels"
    return f"{DATA[data.name]}{pixels}, N = {data.num_train}"
