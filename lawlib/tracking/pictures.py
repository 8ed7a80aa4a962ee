"""One picture of what a tracker recorded: values, angles and shares over the steps, and what of it is certified."""

from typing import TYPE_CHECKING, Any

import numpy as np

from lawlib.extras import imports_for

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["picture"]

# Distinct under every kind of colour vision (Okabe and Ito), and as lines without colour.
BLOCKS = {
    "inside_both": ("inside both", "#0072B2", "-"),
    "inside_left_only": ("inside left only", "#D55E00", (0, (6.0, 2.0))),
    "inside_right_only": ("inside right only", "#009E73", (0, (2.0, 2.0))),
    "inside_neither": ("inside neither", "#CC79A7", (0, (6.0, 2.0, 1.5, 2.0))),
}
SIDES = {"left_angles": ("left", "-", "o"), "right_angles": ("right", (0, (4.0, 2.0)), "s")}
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
    "lines.markersize": 4.0,
    "lines.scale_dashes": False,
}
INDEXED = ("values", "left_angles", "right_angles")
COMPARED = ("left_angles", "right_angles", "angle_error", "angles_certified", "shares")
OWN = {"matrix", "against", "step", "block", "index"}
# More curves than this have no entries of their own in a legend; more marks than this would hide the curves.
MOST_NAMES, MOST_MARKS = 6, 25
WIDTH, HEIGHT, LEGEND = 3.2, 2.0, 1.6


def picture(found: "xr.Dataset", *, degrees: bool = True) -> "Figure":
    """A figure of a ``dataset``, a column for each matrix: its values, and angles and shares for each reference.

    Full marks are certified and hollow ones are not; of angles the dotted line is the bound on their error. Over the
    data set's members the curves are medians, with the range behind, and a mark is full where all are certified.
    ``found`` may be a selection, ``found.sel(matrix="first")``. The figure belongs to no window and is not written:
    ``picture(found).savefig("tracked.png")``.

    Raises:
        ImportError: matplotlib is missing.
        ValueError: no step was recorded, or ``found`` is no such data set.
    """
    with imports_for("picture"):
        import matplotlib as mpl
        from matplotlib.figure import Figure

    missing = {"values", "norm", "certified"} - set(found)
    if missing or not found.sizes.get("step", 1):
        wrong = f"it lacks {sorted(missing)}" if missing else "no step was recorded"
        msg = f"a picture needs a data set of lawlib.tracking.dataset: {wrong}"
        raise ValueError(msg)
    found = _whole(found)
    against = found["against"].values.tolist() if "against" in found else []
    count = len(found["matrix"])
    with mpl.rc_context(STYLE):
        rows = 1 + 2 * len(against)
        drawn = Figure(figsize=(WIDTH * count + LEGEND, HEIGHT * rows + 0.4), layout="constrained")
        axes = drawn.subplots(rows, count, squeeze=False, sharex=True)
        for column, name in zip(axes.T, found["matrix"].values.tolist(), strict=True):
            one = found.sel(matrix=name)
            column[0].set_title(name)
            _draw_values(column[0], one)
            for place, kind in enumerate(against):
                _draw_angles(column[1 + 2 * place], one.sel(against=kind), unit=180 / np.pi if degrees else 1.0)
                _draw_shares(column[2 + 2 * place], one.sel(against=kind))
            column[-1].set_xlabel("step")
        unit = "degrees" if degrees else "radians"
        labels = [
            f"{what}\nto {_named(kind)}{end}"
            for kind in against
            for what, end in (("angle", f" ({unit})"), ("share relative", ""))
        ]
        for row, label in zip(axes, ["singular value", *labels], strict=True):
            row[0].set_ylabel(label)
            row[-1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    return drawn


def _whole(found: "xr.Dataset") -> "xr.Dataset":
    """With all dimensions of its own, and all others as one, "member"."""
    for dim, names in {"matrix": found, "step": found, "index": INDEXED, "against": COMPARED}.items():
        if dim in found.coords and dim not in found.dims:
            found = found.assign({name: found[name].expand_dims(dim) for name in names if name in found})
    others = [dim for dim in found.dims if dim not in OWN]
    found = found.stack(member=others, create_index=False) if others else found.expand_dims("member")
    return found.transpose("member", "matrix", "against", "step", "block", "index", missing_dims="ignore")


def _named(kind: str) -> str:
    return {"start": "the start", "last": "the last observation"}.get(kind, "the reference")


def _draw_values(axes: "Axes", one: "xr.Dataset") -> None:
    steps, values = one["step"].values, _positive(one["values"].values)
    certified = one["certified"].values.all(0)
    for number, (colour, label) in enumerate(_shades(values.shape[-1], "value")):
        _curve(axes, steps, values[..., number], label, color=colour)
        _marks(axes, steps, values[..., number], certified, color=colour, marker="o")
    _curve(axes, steps, _positive(one["norm"].values), "Frobenius norm", color="black", linestyle=":")
    axes.set_yscale("log")
    _explain(axes, "o")


def _draw_angles(axes: "Axes", one: "xr.Dataset", *, unit: float) -> None:
    steps, certified = one["step"].values, one["angles_certified"].values.astype(bool).all(0)
    for side, (label, line, marker) in SIDES.items():
        angles = one[side].values * unit
        for number, (colour, name) in enumerate(_shades(angles.shape[-1], f"{label}")):
            _curve(axes, steps, angles[..., number], name, color=colour, linestyle=line)
            _marks(axes, steps, angles[..., number], certified, color=colour, marker=marker)
    _curve(axes, steps, one["angle_error"].values * unit, "bound on the error", color="black", linestyle=":")
    axes.set_ylim(-0.03 * np.pi * unit, 0.53 * np.pi * unit)


def _draw_shares(axes: "Axes", one: "xr.Dataset") -> None:
    for block in one["block"].values.tolist():
        label, colour, line = BLOCKS[block]
        _curve(axes, one["step"].values, one["shares"].sel(block=block).values, label, color=colour, linestyle=line)
    axes.set_ylim(-0.03, 1.03)


def _curve(axes: "Axes", steps: np.ndarray, members: np.ndarray, label: str, **style: Any) -> None:
    """The median of the members (member, step) and their range."""
    lines = np.ma.masked_invalid(members)
    axes.plot(steps, np.ma.median(lines, axis=0), label=label, **style)
    if len(lines) > 1 and lines.count():
        axes.fill_between(steps, lines.min(0), lines.max(0), color=style["color"], alpha=0.2, linewidth=0)


def _marks(axes: "Axes", steps: np.ndarray, members: np.ndarray, certified: np.ndarray, **style: Any) -> None:
    """A mark on some steps, full where certified."""
    middle = np.ma.median(np.ma.masked_invalid(members), axis=0)
    chosen = np.isin(np.arange(len(steps)), np.linspace(0, len(steps) - 1, MOST_MARKS).round())
    for mask, face in ((chosen & certified, style["color"]), (chosen & ~certified, "white")):
        axes.plot(steps[mask], middle[mask], linestyle="none", markerfacecolor=face, **style)


def _explain(axes: "Axes", marker: str) -> None:
    """Entries of the legend for the two kinds of marks."""
    for label, face in (("certified", "dimgrey"), ("not certified", "white")):
        axes.plot([], [], linestyle="none", marker=marker, color="dimgrey", markerfacecolor=face, label=label)


def _shades(count: int, what: str) -> list[tuple[Any, str]]:
    """Colours from dark to light, and the names of all numbers, or of the first and the last."""
    import matplotlib as mpl

    colours = mpl.colormaps["viridis"](np.linspace(0, 0.85, max(count, 2)))[:count]
    named = range(1, count + 1) if count <= MOST_NAMES else (1, count)
    return [(colour, f"{what} {i}" if i in named else "_") for i, colour in enumerate(colours, 1)]


def _positive(values: np.ndarray) -> np.ndarray:
    """NaN in place of what a logarithmic axis cannot show."""
    return np.where(values > 0, values, np.nan)
