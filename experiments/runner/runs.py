"""Runs: the members of a variant that differ in their seed alone, as claims, summaries and figures read them."""

import copy
import json
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import xarray as xr
from ml_collections import ConfigDict

from experiments.runner import settings
from experiments.runner.fields import assign, leaves

__all__ = ["Run", "Where", "before_divergence", "divergence", "drawable", "find", "grouped", "runs", "where"]

# No axis shows more than this: the last observations before a member diverges can be as large as a float.
LARGEST_DRAWN = 1e100

Key = TypeVar("Key", bound=Hashable)


class Run(NamedTuple):
    """The members that differ in their seed alone.

    Attributes:
        variant: The variant's name.
        config: The variant's config; a swept field has this run's own value.
        data: What was observed, with the axes seed, step and those of each variable. From the step at which a member
            diverged on, its observations are NaN.
    """

    variant: str
    config: ConfigDict
    data: xr.Dataset

    @property
    def hyperparameters(self) -> dict[str, float]:
        """The values of the swept fields, by dotted path."""
        own = leaves(self.config)
        return {path: own[path] for path in settings.hyperparameters(self.config)}

    @property
    def label(self) -> str:
        """The run in words, unique among the runs of a config: ``case1_L3, momentum=0.9``."""
        swept = (f"{path.split('.')[-1]}={value:g}" for path, value in self.hyperparameters.items())
        return ", ".join((self.variant, *swept))

    @property
    def num_seeds(self) -> int:
        """How many members the run has."""
        return self.data.sizes["seed"]

    @property
    def diverged(self) -> np.ndarray:
        """Which members met a value that is not finite, shape (seed,)."""
        return self.data.diverged_at.values >= 0

    @property
    def num_diverged(self) -> int:
        """How many members met a value that is not finite."""
        return int(self.diverged.sum())

    @property
    def steps(self) -> np.ndarray:
        """The observation times, in steps, shape (step,)."""
        return self.data.step.values

    def all(self, name: str) -> np.ndarray:
        """A variable at every observation, shape (seed, step, ...)."""
        return self.data[name].transpose("seed", "step", ...).values

    def first(self, name: str) -> np.ndarray:
        """A variable at the first observation, shape (seed, ...)."""
        return self.all(name)[:, 0]

    def last(self, name: str) -> np.ndarray:
        """A variable at the last observation, shape (seed, ...)."""
        return self.all(name)[:, -1]

    def worst(self, name: str, first_step: int = 0, reduce: Callable[..., np.ndarray] = np.max) -> np.ndarray:
        """The largest (or ``reduce=np.min``: smallest) value of a variable from ``first_step`` on, shape (seed,)."""
        values = self.all(name)[:, self.steps >= first_step]
        return reduce(values, axis=tuple(range(1, values.ndim)))

    def members(self, chosen: np.ndarray) -> "Run":
        """The run with these members alone; ``chosen`` is a mask, shape (seed,)."""
        return self._replace(data=self.data.isel(seed=np.flatnonzero(chosen)))


def runs(results: xr.DataTree) -> list[Run]:
    """Every variant at every value of its swept fields, in the order of the results.

    Some observations of a state that is not finite are finite themselves, a count for example, and mean nothing: from
    the step at which a member diverged on, all of its observations are NaN.
    """
    return [run for name, node in results.children.items() for run in _runs(name, node)]


def _runs(name: str, node: xr.DataTree) -> Iterator[Run]:
    whole = ConfigDict(json.loads(node.attrs["config"]))
    data = _while_finite(node.to_dataset().load())
    swept = settings.hyperparameters(whole)
    axes = [path.split(".")[-1] for path in swept]
    for place in np.ndindex(*(len(values) for values in swept.values())):
        config = copy.deepcopy(whole)
        for (path, values), index in zip(swept.items(), place, strict=True):
            assign(config, path, values[index])
        yield Run(name, config, data.isel(dict(zip(axes, place, strict=True))))


def _while_finite(data: xr.Dataset) -> xr.Dataset:
    """The observations before each member diverged; NaN in place of the others, other members untouched."""
    if not (data.diverged_at >= 0).any():
        return data
    known = before_divergence(data)
    kept = {name: values.where(known).transpose(*values.dims) for name, values in data.items() if "step" in values.dims}
    return data.assign(kept)


def before_divergence(data: xr.Dataset) -> xr.DataArray:
    """Which observation times come before the member's divergence, with the axes seed, step and the swept ones."""
    return (data.diverged_at < 0) | (data.step < data.diverged_at)


def drawable(results: xr.DataTree) -> xr.DataTree:
    """The results with NaN for every observation that is not finite or too large for an axis: curves end there."""
    drawn = {name: node.to_dataset().map(_shown, keep_attrs=True) for name, node in results.children.items()}
    return xr.DataTree.from_dict(drawn | {"/": results.to_dataset()})


def _shown(values: xr.DataArray) -> xr.DataArray:
    return values.where(np.abs(values) < LARGEST_DRAWN) if values.dtype.kind == "f" else values


def divergence(found: Iterable[Run]) -> str:
    """What a figure says of members that diverged; empty if none did."""
    lost, every = np.sum([(run.num_diverged, run.num_seeds) for run in found], axis=0)
    return f"{lost} of this run's {every} members diverged: their curves end there" if lost else ""


# Choosing among runs. -------------------------------------------------------------------------------------------------

Where = Callable[[Run], bool]


def where(**fields: Any) -> Where:
    """The runs whose config has these values; a double underscore is the dot of a path, a callable value is a test.

    ``where(net__depth=3, net__scale=lambda scale: scale < 1)``; a field that the config lacks fits nothing.
    """
    wanted = {path.replace("__", "."): value for path, value in fields.items()}

    def fits(run: Run) -> bool:
        own = leaves(run.config)
        return all(
            path in own and bool(value(own[path]) if callable(value) else own[path] == value)
            for path, value in wanted.items()
        )

    return fits


def find(found: Iterable[Run], **fields: Any) -> list[Run]:
    """The runs whose config has these values (``where``)."""
    return list(filter(where(**fields), found))


def grouped(found: Sequence[Run], key: str | Callable[[Run], Key]) -> dict[Any, list[Run]]:
    """Runs by a field of their config, given as a dotted path, or by a key; in order of first appearance."""
    groups: dict[Any, list[Run]] = {}
    for run in found:
        groups.setdefault(leaves(run.config)[key] if isinstance(key, str) else key(run), []).append(run)
    return groups
