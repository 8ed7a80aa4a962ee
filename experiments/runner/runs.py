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

__all__ = ["Run", "Where", "before_divergence", "divergence", "find", "grouped", "runs", "runs_of", "where"]

# No axis shows more than this: the last observations before a member diverges can be as large as a float.
LARGEST_DRAWN = 1e100
# Results of a variant up to this are read once and kept; of larger ones each variable is read when it is asked for.
LOADED_BYTES = 256 << 20

Key = TypeVar("Key", bound=Hashable)


class Run(NamedTuple):
    """The members that differ in their seed alone.

    Attributes:
        variant: The variant's name.
        config: The variant's config; a swept field has this run's own value.
        data: What was observed, with the axes seed, step and those of each variable; read from disk when it is asked
            for where it is large. The methods give NaN from the step at which a member diverged on: of a state that is
            not finite some observations are, a count for example, and mean nothing.
        largest: The methods give NaN for what is not below it.
    """

    variant: str
    config: ConfigDict
    data: xr.Dataset
    largest: float = np.inf

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
        return self._known(name).transpose("seed", "step", ...).values

    def member(self, index: int) -> xr.Dataset:
        """Everything that was observed of one member."""
        one = self.members(np.arange(self.num_seeds) == index)
        return one.data.assign({name: one._known(str(name)) for name in one.data.data_vars}).isel(seed=0)

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

    def _known(self, name: str) -> xr.DataArray:
        values = self.data[name]
        if self.diverged.any() and "step" in values.dims:
            values = values.where(before_divergence(self.data)).transpose(*values.dims)
        # An infinity is no NaN for a claim that counts what did not get there, and no point of a curve.
        is_bounded = values.dtype.kind != "f" or np.isinf(self.largest)
        return values if is_bounded else values.where(np.abs(values) < self.largest)

    def members(self, chosen: np.ndarray) -> "Run":
        """The run with these members alone; ``chosen`` is a mask, shape (seed,)."""
        return self._replace(data=self.data.isel(seed=np.flatnonzero(chosen)))


def runs(results: xr.DataTree, *, drawn: bool = False) -> list[Run]:
    """Every variant at every value of its swept fields, in the order of the results.

    With ``drawn`` what no axis could show is NaN too, and curves end there.
    """
    return [run for name, node in results.children.items() for run in runs_of(name, node.to_dataset(), drawn=drawn)]


def runs_of(name: str, data: xr.Dataset, *, drawn: bool = False) -> Iterator[Run]:
    """The same of one variant, or of some of its variables with ``diverged_at``."""
    whole, largest = ConfigDict(json.loads(data.attrs["config"])), LARGEST_DRAWN if drawn else np.inf
    data = data.load() if data.nbytes <= LOADED_BYTES else data
    swept = settings.hyperparameters(whole)
    axes = [path.split(".")[-1] for path in swept]
    for place in np.ndindex(*(len(values) for values in swept.values())):
        config = copy.deepcopy(whole)
        for (path, values), index in zip(swept.items(), place, strict=True):
            assign(config, path, values[index])
        yield Run(name, config, data.isel(dict(zip(axes, place, strict=True))), largest)


def before_divergence(data: xr.Dataset) -> xr.DataArray:
    """Which observation times come before the member's divergence, with the axes seed, step and the swept ones."""
    return (data.diverged_at < 0) | (data.step < data.diverged_at)


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
