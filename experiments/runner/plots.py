"""The style that all figures share, and panels that more than one experiment draws."""

import io
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, SymLogNorm
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from PIL import Image

from experiments.runner.files import write_atomic
from experiments.runner.legible import make_legible
from experiments.runner.palette import in_palette

__all__ = [
    "COLOURS",
    "Look",
    "band",
    "figure",
    "heat",
    "label_rows",
    "largest",
    "legends_beside",
    "looks",
    "name_rows",
    "note",
    "save",
    "series",
    "some",
    "strip",
    "time_axis",
]

# Okabe and Ito's palette: distinct under every kind of colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = "osD^vP<>Xp*h"
# In pixels: pages show no more of it, and the PDF is sharp at any size.
WIDEST = 1200
MOST_PIXELS = 1_100_000
# Per inch: with fewer, letters of 8 points cannot be read.
FEWEST_DOTS = 90
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
    # In points, so that the dashes of a wide line fit into its legend.
    "lines.scale_dashes": False,
    "image.cmap": "cividis",
    "savefig.dpi": 160,
}
# Rounding can leave an exact zero, which a log axis cannot show.
LOG_FLOOR = 1e-17
# Inches: in a smaller figure the name of an axis, a title or a legend is longer than the figure.
LEAST_SIZE = (5.4, 3.3)


mpl.rcParams.update(STYLE)


class Look(NamedTuple):
    """The style of one of several curves."""

    colour: str
    line: tuple[int, tuple[float, ...]] | str
    marker: str

    @property
    def curve(self) -> dict[str, Any]:
        """Keyword arguments for a curve."""
        return {"color": self.colour, "linestyle": self.line}

    @property
    def points(self) -> dict[str, Any]:
        """Keyword arguments for points."""
        return {"color": self.colour, "marker": self.marker}


def looks(count: int) -> list[Look]:
    """Styles for so many curves, no two alike as lines and no two alike as points.

    The colours come solid first, then dashed, then with one more dot between the dashes in each further round. Where
    the marker shapes run out, a number is the marker.
    """
    return [_look(place) for place in range(count)]


def _look(place: int) -> Look:
    rounds, colour = divmod(place, len(COLOURS))
    dashes: tuple[float, ...] = (6.0, 2.5, *(1.5, 2.5) * (rounds - 1))
    marker = MARKERS[place] if place < len(MARKERS) else f"${place + 1}$"
    return Look(COLOURS[colour], (0, dashes) if rounds else "-", marker)


def some(count: int, most: int, what: str) -> tuple[list[int], str]:
    """At most ``most`` indices, evenly spaced from the first to the last, and the choice in words: "5 of 40 seeds"."""
    shown = np.unique(np.linspace(0, max(count - 1, 0), min(count, most)).round().astype(int)).tolist()
    return shown, f"{len(shown)} of {count} {what}" if len(shown) < count else f"{count} {what}"


def figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches or the least that holds titles and legends, so that nothing overlaps."""
    return Figure(figsize=(max(width, LEAST_SIZE[0]), max(height, LEAST_SIZE[1])), layout="constrained")


def save(drawn: Figure, folder: Path, name: str) -> None:
    """Write NAME.png, with a palette of 256 colours, and NAME.pdf into the folder, each by rename."""
    folder.mkdir(exist_ok=True)
    dpi = dots_per_inch(drawn)
    drawn.set_dpi(dpi)
    make_legible(drawn)
    if drawn.axes and (engine := drawn.get_layout_engine()):
        # Panels of their final size may have other ticks, which the first layout left no room for.
        engine.execute(drawn)
    # Without an engine, matplotlib does not draw everything twice to lay it out for each format.
    drawn.set_layout_engine(None)
    write_atomic(folder / f"{name}.png", _png(in_palette(_pixels(drawn, dpi)), dpi))
    pdf = io.BytesIO()
    drawn.savefig(pdf, format="pdf", metadata={"CreationDate": None})
    write_atomic(folder / f"{name}.pdf", pdf.getvalue())


def dots_per_inch(drawn: Figure) -> float:
    """160, or as many as keep a picture within ``WIDEST`` and ``MOST_PIXELS``, but no fewer than small letters need."""
    width, height = drawn.get_size_inches()
    return max(FEWEST_DOTS, min(STYLE["savefig.dpi"], WIDEST / width, (MOST_PIXELS / (width * height)) ** 0.5))


def _pixels(drawn: Figure, dpi: float) -> Image.Image:
    whole = io.BytesIO()
    drawn.savefig(whole, format="png", dpi=dpi, pil_kwargs={"compress_level": 1})
    return Image.open(whole).convert("RGB")


def _png(picture: Image.Image, dpi: float) -> bytes:
    # No dates and no versions: equal pictures are equal bytes.
    whole = io.BytesIO()
    picture.save(whole, format="png", optimize=True, dpi=(dpi, dpi))
    return whole.getvalue()


def note(drawn: Figure, text: str) -> None:
    """Add a line of text below the whole figure; an empty text adds nothing."""
    if text:
        drawn.supxlabel("\n".join(filter(None, (drawn.get_supxlabel(), text))), fontsize=8)


def largest(values: Sequence[ArrayLike], default: float = 1.0) -> float:
    """The largest finite number, where an axis ends; the default if there is none."""
    every = np.concatenate([np.ravel(each) for each in values]).astype(float)
    return float(np.max(every[np.isfinite(every)], initial=-np.inf)) if np.isfinite(every).any() else default


def band(
    axes: Axes,
    x: ArrayLike,
    members: np.ndarray,
    *,
    middle: Callable[..., Any] = np.ma.median,
    alpha: float = 0.2,
    **look: Any,
) -> None:
    """The middle of the members, which come first, and their range; where some are no numbers, that of the others."""
    lines = np.ma.masked_invalid(members)
    axes.plot(x, middle(lines, axis=0), **look)
    if lines.count():
        axes.fill_between(x, lines.min(0), lines.max(0), color=look["color"], alpha=alpha, linewidth=0)


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
        most = max(largest([np.abs(values)]), 10 * linear_below)
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
    for look, (label, values) in zip(looks(len(lines)), lines.items(), strict=True):
        axes.semilogy(steps, np.maximum(values, LOG_FLOOR), label=label, **look.curve)
    if bound is not None:
        axes.axhline(bound, color="black", linestyle="--", linewidth=1.0, label=f"bound {bound:g}")


def strip(axes: Axes, rows: Sequence[np.ndarray], *, colour: str, offset: float, label: str) -> None:
    """One dot a member on each row, on a log axis: where every member lies, not an average."""
    places = np.concatenate([np.full(len(values), row + offset) for row, values in enumerate(rows)])
    dots = np.maximum(np.concatenate(list(rows)), LOG_FLOOR)
    axes.semilogx(dots, places, "|", color=colour, markersize=6, label=label)


# Of a variant that is called by its fields, more on a line would leave the dots no room.
NAME_WIDTH = 34


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Name the rows of a picture of dots, the first on top, and leave half a row above and below them."""
    wrapped = ["\n".join(textwrap.wrap(name.replace(",", ", "), NAME_WIDTH)) for name in names]
    axes.set_yticks(range(len(names)), wrapped)
    axes.set_ylim(len(names) - 0.5, -0.5)


def legends_beside(rows: np.ndarray, taken: float = 0.0) -> None:
    """A legend on the right of each row and room for the widest, of which colour bars have taken that many inches."""
    drawn, widths = rows[0, 0].figure, []
    for row in rows:
        legend = row[-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        legend.set_in_layout(False)
        widths.append(legend.get_window_extent().width / drawn.dpi)
    room = max(max(widths) + 0.1 - taken, 0.0)
    drawn.get_layout_engine().set(rect=(0, 0, 1 - room / drawn.get_figwidth(), 1))


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
