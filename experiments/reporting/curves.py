"""Curves of a run: median and range of the members at each observation that a screen can show."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from experiments.runner.finished import FinishedRun
from experiments.runner.plots import some
from experiments.runner.runs import Run, runs_of

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Curve", "Curves", "Variable", "read"]

# Observations of a curve: a screen shows about four pixels for each.
MOST_STEPS = 160
# Curves of one variable in one member; of longer axes some places are shown.
MOST_PLACES = 8
NUMBERS = "biuf"


class Variable(NamedTuple):
    """What a variable is; ``chosen`` says which places of its axes are shown, where not all are."""

    name: str
    units: str
    meaning: str
    source: str
    chosen: str


class Curve(NamedTuple):
    """Median, least and most of the members at each step; NaN where no member has a number."""

    variable: str
    variant: str
    label: str
    members: int
    diverged: int
    middle: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Curves(NamedTuple):
    """The curves of a run with the observed steps of each variant; ``observed`` is the largest number of these."""

    variables: tuple[Variable, ...]
    steps: Mapping[str, np.ndarray]
    curves: tuple[Curve, ...]
    observed: int


def read(run: FinishedRun) -> Curves:
    """Every variable over the steps, one of one variant in memory at a time.

    Raises:
        InputError: The data fail their checksum.
    """
    variables: dict[str, Variable] = {}
    steps, curves, observed = {}, [], 0
    for variant in run.variants:
        node = run.results[variant].to_dataset()
        kept, _ = some(node.sizes["step"], MOST_STEPS, "")
        observed = max(observed, node.sizes["step"])
        steps[variant] = node["step"].values[kept]
        for name, values in node.data_vars.items():
            own = {axis: size for axis, size in values.sizes.items() if axis not in _axes_of_members(node)}
            if "step" not in values.dims or values.dtype.kind not in NUMBERS or not values.size:
                continue
            places, chosen = _places({str(axis): size for axis, size in own.items()})
            variables.setdefault(str(name), _described(str(name), values.attrs, chosen))
            curves += _of_variable(run, variant, str(name), {"step": kept, **places})
    return Curves(tuple(variables.values()), steps, tuple(curves), observed)


def _axes_of_members(node: "xr.Dataset") -> set[str]:
    """The axes that are not the variable's own: ``diverged_at`` has one number for each member."""
    return {"step", *map(str, node["diverged_at"].dims)}


def _places(sizes: Mapping[str, int]) -> tuple[dict[str, list[int]], str]:
    """At most ``MOST_PLACES`` places on the axes, short axes whole if there is room, and the choice in words."""
    places, notes, room = {}, [], MOST_PLACES
    for axis, size in sorted(sizes.items(), key=lambda item: item[1]):
        places[axis], words = some(size, max(room, 1), f"places on the axis {axis}")
        room //= len(places[axis])
        notes += [words] if len(places[axis]) < size else []
    return {axis: places[axis] for axis in sizes}, ", ".join(notes)


def _described(name: str, attrs: Mapping[str, str], chosen: str) -> Variable:
    units, meaning, source = (str(attrs.get(key, "")) for key in ("units", "long_name", "source"))
    return Variable(name, units, meaning, source, chosen)


def _of_variable(run: FinishedRun, variant: str, name: str, at: Mapping[str, list[int]]) -> Iterator[Curve]:
    """A curve for each setting and each place on the variable's own axes."""
    sizes = run.results[variant][name].sizes
    part = {axis: kept for axis, kept in at.items() if len(kept) < sizes[axis]}
    data = run.observed(variant, name, "diverged_at", at=part)
    for setting in runs_of(variant, data, drawn=True):
        members = np.ma.masked_invalid(setting.all(name).astype(float))
        own = list(setting.data[name].transpose("seed", "step", ...).dims[2:])
        swept = [f"{path.split('.')[-1]} = {value:g}" for path, value in setting.hyperparameters.items()]
        for place in np.ndindex(*members.shape[2:]):
            where = [f"{axis} {at[str(axis)][index]}" for axis, index in zip(own, place, strict=True)]
            label = ", ".join([*swept, *where]) or variant
            yield _curve(name, setting, label, members[(slice(None), slice(None), *place)])


def _curve(name: str, setting: Run, label: str, lines: np.ma.MaskedArray) -> Curve:
    middle, low, high = (
        np.ma.filled(statistic(lines, axis=0), np.nan) for statistic in (np.ma.median, np.ma.min, np.ma.max)
    )
    return Curve(name, setting.variant, label, setting.num_seeds, setting.num_diverged, middle, low, high)
