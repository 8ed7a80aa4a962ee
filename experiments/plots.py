"""The look that all figures share, and panels that more than one experiment draws."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, SymLogNorm
from matplotlib.figure import Figure

from experiments.store import replacing

__all__ = ["COLOURS", "figure", "heat", "label_rows", "legends_beside", "save", "series", "strip", "time_axis"]

# Okabe and Ito's palette: told apart by every kind of colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "lines.linewidth": 1.4,
    "image.cmap": "cividis",
    "savefig.dpi": 160,
}
# Rounding can leave an exact zero, which a log axis cannot show.
LOG_FLOOR = 1e-17


mpl.rcParams.update(STYLE)


def figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches, laid out so that nothing overlaps."""
    return Figure(figsize=(width, height), layout="constrained")


def save(drawn: Figure, folder: Path, name: str) -> None:
    """Write NAME.png and NAME.pdf into the folder, each by rename."""
    folder.mkdir(exist_ok=True)
    for kind in ("png", "pdf"):
        with replacing(folder / f"{name}.{kind}") as partial:
            drawn.savefig(partial, format=kind, metadata={"CreationDate": None} if kind == "pdf" else None)
        # Laid out once: the second format finds every axis in its place.
        drawn.set_layout_engine("none")


def heat(
    row: Sequence[Axes],
    steps: np.ndarray,
    values: np.ndarray,
    name: str,
    *,
    limits: tuple[float, float] | None = None,
    linear_below: float = 1e-3,
) -> None:
    """Maps of values (panel, index, step) with one colour bar, index 1 on top; grey where there is no value.

    Within ``limits`` colours are linear; without them they diverge from 0, linear up to ``linear_below`` and
    logarithmic beyond, so that what does not move stays white.
    """
    if limits:
        norm, palette = Normalize(*limits), "cividis"
    else:
        most = max(float(np.nanmax(np.abs(values))), 10 * linear_below)
        norm, palette = SymLogNorm(linear_below, vmin=-most, vmax=most), "PuOr_r"
    colours = mpl.colormaps[palette].with_extremes(bad="lightgrey")
    index = np.arange(1, values.shape[1] + 1)
    for axes, panel in zip(row, values, strict=True):
        axes.pcolormesh(steps, index, panel, cmap=colours, norm=norm, shading="nearest", rasterized=True)
        axes.set_ylim(len(index) + 0.5, 0.5)
        axes.grid(visible=False)
    row[0].figure.colorbar(ScalarMappable(norm, colours), ax=list(row), label=name, pad=0.01)


def series(axes: Axes, steps: np.ndarray, lines: Mapping[str, np.ndarray], *, bound: float | None = None) -> None:
    """Several curves over the steps on a log axis, with the bound that they must stay below."""
    for colour, (label, values) in zip(COLOURS, lines.items(), strict=False):
        axes.semilogy(steps, np.maximum(values, LOG_FLOOR), color=colour, label=label)
    if bound is not None:
        axes.axhline(bound, color="black", linestyle="--", linewidth=1.0, label=f"bound {bound:g}")


def strip(axes: Axes, rows: Sequence[np.ndarray], *, colour: str, offset: float, label: str) -> None:
    """One dot a member on each row, on a log axis: where every member lies, not an average."""
    places = np.concatenate([np.full(len(values), row + offset) for row, values in enumerate(rows)])
    dots = np.maximum(np.concatenate(list(rows)), LOG_FLOOR)
    axes.semilogx(dots, places, "|", color=colour, markersize=6, label=label)


def legends_beside(rows: np.ndarray, inches: float = 1.0) -> None:
    """A legend on the right of each row, where the colour bars of other rows are, and that much room beyond those."""
    drawn = rows[0, 0].figure
    for row in rows:
        row[-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5)).set_in_layout(False)
    drawn.get_layout_engine().set(rect=(0, 0, 1 - inches / drawn.get_figwidth(), 1))


def label_rows(rows: np.ndarray, names: Sequence[str]) -> None:
    """Name the vertical axis of each row, once, on its left."""
    for axes, name in zip(rows[:, 0], names, strict=True):
        axes.set_ylabel(name)


def time_axis(rows: np.ndarray, spacing: str) -> None:
    """Name the common horizontal axis, logarithmic where the observations are."""
    for axes in rows[-1]:
        axes.set_xlabel("step t")
        if spacing == "log":
            axes.set_xscale("symlog", linthresh=1.0)
