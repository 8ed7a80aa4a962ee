"""Results as labelled arrays: put together from the pieces of a run, and read again by claims and figures."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from ml_collections import ConfigDict

from experiments.runner import settings

__all__ = ["Group", "Variable", "assemble", "divergence", "drawable", "groups"]

# No axis shows more than this: the last observations before a member diverges can be as large as a float.
LARGEST_DRAWN = 1e100

MARKS = {
    "converged_at": "first step at which it was done",
    "diverged_at": "first step with a value not finite",
}


class Variable(NamedTuple):
    """What an experiment says of one of its observations: the axes after member and step, units, meaning, source."""

    dims: tuple[str, ...]
    units: str
    meaning: str
    source: str = ""


class Group(NamedTuple):
    """The results of one variant, and the config that made them."""

    name: str
    config: ConfigDict
    data: xr.Dataset

    @property
    def hyperparameters(self) -> list[str]:
        """The swept hyperparameters, by the names of their dimensions."""
        return [str(dim) for dim in self.data.diverged_at.dims if dim != "seed"]

    @property
    def diverged(self) -> int:
        """How many members met a value that is not finite."""
        return int((self.data.diverged_at >= 0).sum())

    def worst(self, name: str, first_step: int = 0, reduce: str = "max") -> np.ndarray:
        """One number per member: a variable's largest (or smallest) value from ``first_step`` on, NaN if any is."""
        return self.per_member(self.data[name].sel(step=slice(first_step, None)), reduce)

    def per_member(self, values: xr.DataArray, reduce: str = "max") -> np.ndarray:
        """One number per member: the largest (or smallest) of values on any further axes, NaN if any is."""
        inner = [dim for dim in values.dims if dim not in ("seed", *self.hyperparameters)]
        return getattr(values, reduce)(inner, skipna=False).values.ravel()


def groups(results: xr.DataTree) -> list[Group]:
    """Every variant of the results, in the order of the run; of a member that diverged nothing is known from then on.

    Some observations of a state that is not finite are finite themselves, a count for example, and mean nothing.
    """
    return [
        Group(name, ConfigDict(json.loads(node.attrs["config"])), _while_finite(node.to_dataset()))
        for name, node in results.children.items()
    ]


def _while_finite(data: xr.Dataset) -> xr.Dataset:
    """The observations before each member's first bad step; NaN in place of the others, other members untouched."""
    if not (data.diverged_at >= 0).any():
        return data
    known = (data.diverged_at < 0) | (data.step < data.diverged_at)
    kept = {name: values.where(known).transpose(*values.dims) for name, values in data.items() if "step" in values.dims}
    return data.assign(kept)


def drawable(results: xr.DataTree) -> xr.DataTree:
    """The results with NaN for every observation not finite or too large for an axis: curves break off there."""
    drawn = {name: node.to_dataset().map(_shown, keep_attrs=True) for name, node in results.children.items()}
    return xr.DataTree.from_dict(drawn | {"/": results.to_dataset()})


def _shown(values: xr.DataArray) -> xr.DataArray:
    return values.where(np.abs(values) < LARGEST_DRAWN) if values.dtype.kind == "f" else values


def divergence(results: xr.DataTree) -> str:
    """What a figure says of members that diverged; empty if none did."""
    marks = [node.to_dataset()["diverged_at"].values >= 0 for node in results.children.values()]
    lost, every = (
        sum(int(count) for count in counts) for counts in ([m.sum() for m in marks], [m.size for m in marks])
    )
    return f"{lost} of this run's {every} members diverged: what is drawn of them ends there" if lost else ""


def assemble(
    name: str,
    config: ConfigDict,
    times: np.ndarray,
    chunks: Iterable[Sequence[Mapping[str, np.ndarray]]],
    variables: Mapping[str, Variable],
) -> xr.Dataset:
    """The labelled observations of one variant; members become the grid of seed and swept hyperparameters.

    ``chunks`` holds, for each chunk, the pieces of its segments: arrays with members first and times second.
    """
    hyperparameters = settings.hyperparameters(config)
    swept = {field.split(".")[-1]: np.asarray(values) for field, values in hyperparameters.items()}
    axes = {"seed": np.arange(config.num_seeds), **swept}
    shape = tuple(len(values) for values in axes.values())
    joined = [_join(pieces, len(times)) for pieces in chunks]

    if undeclared := joined[0].keys() - variables.keys() - MARKS.keys():
        msg = f"the experiment observes {', '.join(sorted(undeclared))} but its VARIABLES do not say what that is"
        raise ValueError(msg)

    def labelled(field: str, about: Variable, *step: str) -> tuple:
        values = np.concatenate([chunk[field] for chunk in joined])
        attrs = {"units": about.units, "long_name": about.meaning, "source": about.source}
        return (*axes, *step, *about.dims), values.reshape(*shape, *values.shape[1:]), attrs

    data = {field: labelled(field, about, "step") for field, about in variables.items() if field in joined[0]}
    data |= {mark: labelled(mark, Variable((), "step", f"{text}; -1: never")) for mark, text in MARKS.items()}
    attrs = {"variant": name, "config": json.dumps(settings.to_plain(config))}
    return xr.Dataset(data, {**axes, "step": times}, attrs)


def _join(pieces: Sequence[Mapping[str, np.ndarray]], num_times: int) -> dict[str, np.ndarray]:
    """Join the segments of a chunk in time; one that ended early is frozen, so its last observation repeats."""
    whole: dict[str, np.ndarray] = {mark: pieces[-1][mark] for mark in MARKS}
    for field in pieces[0].keys() - MARKS.keys():
        values = np.concatenate([piece[field] for piece in pieces], axis=1)
        whole[field] = np.concatenate([values, np.repeat(values[:, -1:], num_times - values.shape[1], axis=1)], axis=1)
    return whole
