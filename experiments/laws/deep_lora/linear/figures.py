"""The figure of compressed Deep LoRA in its linear setting, drawn from results alone."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.runner import plots
from experiments.runner.runs import Run, grouped

__all__ = ["CAPTIONS", "figures"]

# What each picture shows, by patterns of names.
CAPTIONS = {
    "linear": (
        "Losses (top) and relative distances of the two updates (bottom) over the steps, a column for each variant; "
        "medians and ranges over the seeds. The compressed adapter (blue) trains like the one with d x d factors "
        "(orange). Their distance is the predicted term in rho (black); once that is added, it is floating-point "
        "error, except in the control, whose bases are of another draw."
    ),
}

FULL, SMALL = plots.COLOURS[1], plots.COLOURS[0]
TITLES = {
    "whitened": "least squares, whitened",
    "classes": "cross-entropy, few classes and samples",
    "control": "control: bases of another draw",
}


def figures(found: Sequence[Run]) -> dict[str, Figure]:
    """Losses on top and distances below, a column for each variant, of which the first swept value is drawn."""
    first = [family[0] for family in grouped(found, lambda run: run.variant).values()]
    drawn = plots.figure(3.9 * len(first), 6.6)
    rows = drawn.subplots(2, len(first), squeeze=False, sharex="col")
    for column, run in zip(rows.T, first, strict=True):
        single = ", float32" * (run.config.precision == "float32")
        column[0].set_title(f"{TITLES[run.config.net.kind]}{single}\n{run.label}", fontsize=9)
        _losses(column[0], run)
        _distances(column[1], run)
    plots.label_rows(rows, ("loss", "‖difference of Delta‖ / ‖Delta‖ (Frobenius)"))
    plots.time_axis(rows, "even")
    plots.legends_beside(rows)
    return {"linear": drawn}


def _losses(axes: Axes, run: Run) -> None:
    axes.set_yscale("log")
    for name, colour, width, label in (
        ("full_loss", FULL, 5.0, "d x d factors"),
        ("compressed_loss", SMALL, 1.4, "compressed"),
    ):
        plots.band(axes, run.steps, run.all(name), color=colour, linewidth=width, label=label)


def _distances(axes: Axes, run: Run) -> None:
    axes.set_yscale("log")
    plots.band(axes, run.steps, run.all("distance"), color=FULL, linewidth=5.0, label="without the term of ρ")
    predicted = np.median(run.all("predicted_distance"), axis=0)
    axes.plot(run.steps, predicted, color="black", linewidth=1.0, label="predicted: ρ³ √(d − k)")
    whole = np.maximum(run.all("whole_distance"), plots.LOG_FLOOR)
    plots.band(axes, run.steps, whole, color=SMALL, linewidth=1.4, label="with the term of ρ")
