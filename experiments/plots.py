"""The look that all figures share, and panels that more than one experiment draws."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.store import replacing

__all__ = ["COLOURS", "figure", "heat", "label_rows", "save", "series", "strip", "time_axis"]

# Okabe and Ito's palette: told apart by every kind of colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
STYLE = {
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


def figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches, laid out so that nothing overlaps."""
    with mpl.rc_context(STYLE):
        return Figure(figsize=(width, height), layout="constrained")


def save(drawn: Figure, folder: Path, name: str) -> None:
    """Write NAME.png and NAME.pdf into the folder, each by rename."""
    folder.mkdir(exist_ok=True)
    for kind in ("png", "pdf"):
        with replacing(folder / f"{name}.{kind}") as partial, mpl.rc_context(STYLE):
            drawn.savefig(partial, format=kind)


def heat(
    axes: Axes,
    steps: np.ndarray,
    values: np.ndarray,
    name: str,
    *,
    diverging: bool = False,
    limits: tuple[float, float] | None = None,
    last: bool = True,
) -> None:
    """A map of values (index, step), index 1 on top; grey where there is none; its colour bar beside the last column."""
    most = float(np.nanmax(np.abs(values))) or 1.0
    low, high = limits or ((-most, most) if diverging else (0.0, most))
    colours = mpl.colormaps["PuOr_r" if diverging else "cividis"].with_extremes(bad="lightgrey")
    index = np.arange(1, len(values) + 1)
    mesh = axes.pcolormesh(steps, index, values, cmap=colours, vmin=low, vmax=high, shading="nearest", rasterized=True)
    axes.set_ylim(len(values) + 0.5, 0.5)
    axes.grid(visible=False)
    bar = axes.figure.colorbar(mesh, ax=axes, fraction=0.05, pad=0.02)
    if last:
        bar.set_label(name)


def series(
    axes: Axes, steps: np.ndarray, lines: Mapping[str, np.ndarray], *, bound: float | None = None, legend: bool = True
) -> None:
    """Several curves over the steps on a log axis, with the bound that they must stay below."""
    for colour, (label, values) in zip(COLOURS, lines.items(), strict=False):
        axes.semilogy(steps, np.maximum(values, LOG_FLOOR), color=colour, label=label)
    if bound is not None:
        axes.axhline(bound, color="black", linestyle="--", linewidth=1.0, label=f"bound {bound:g}")
    if legend:
        axes.legend(loc="best")


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


def strip(axes: Axes, columns: Mapping[str, np.ndarray], *, colour: str, offset: float = 0.0, label: str = "") -> None:
    """One dot a member over each column's name, on a log axis: where every member lies, not an average."""
    for place, values in enumerate(columns.values()):
        spread = np.linspace(-0.1, 0.1, len(values)) if len(values) > 1 else np.zeros(1)
        dots = np.maximum(values, LOG_FLOOR)
        axes.semilogy(place + offset + spread, dots, ".", color=colour, markersize=3, label=label if not place else None)
    axes.set_xticks(range(len(columns)), list(columns), rotation=30, ha="right")
