"""What claims and figures read of rank-jump results: jump times, test errors, and intervals of frequencies."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from ml_collections import ConfigDict

from experiments.runner.fields import leaves
from experiments.runner.results import Group, groups

__all__ = ["Runs", "find", "high_periods", "runs", "wilson"]

# Of the normal distribution: a two-sided interval of 95%.
QUANTILE = 1.959964


class Runs(NamedTuple):
    """The members of one variant at one value of every swept hyperparameter: seeds first, then observed steps."""

    name: str
    config: ConfigDict
    epsilon: float
    branch: int
    end: int
    data: xr.Dataset

    @property
    def steps(self) -> np.ndarray:
        """The observed steps up to the member's end."""
        steps = self.data.step.values
        return steps[steps <= self.end]

    @property
    def bad(self) -> np.ndarray:
        """Which members met a value that is not finite."""
        return self.data.diverged_at.values >= 0

    @property
    def diverged(self) -> int:
        """How many members met a value that is not finite."""
        return int(self.bad.sum())

    @property
    def jump(self) -> np.ndarray:
        """The first step after which s2/s1 stays below 1e-2; infinite where there is none, or where it diverged."""
        last = self.data.last_above.values[:, -1]
        return np.where((last < self.end) & ~self.bad, last + 1.0, np.inf)

    @property
    def error(self) -> np.ndarray:
        """The relative test error (1 - eps A_01)^2 at every observed step; 1 where the entry is filled with 0."""
        return (1 - self.epsilon * self.data["product"].values[:, : len(self.steps), 0, 1]) ** 2

    @property
    def fit(self) -> np.ndarray:
        """The mean squared error of the three observed entries at every observed step."""
        A = self.data["product"].values[:, : len(self.steps)]
        return ((A[..., 0, 0] - 1) ** 2 + (A[..., 1, 0] - self.epsilon) ** 2 + (A[..., 1, 1] - 1) ** 2) / 3

    @property
    def success(self) -> np.ndarray:
        """Whether the relative test error is below 1/2 at the end; a diverged member has failed."""
        return (self.error[:, -1] < 0.5) & ~self.bad

    def values(self, name: str) -> np.ndarray:
        """An observation at every observed step."""
        return self.data[name].values[:, : len(self.steps)]


def runs(results: xr.DataTree) -> list[Runs]:
    """Every variant at every value of its swept hyperparameters."""
    return [one for group in groups(results) for one in _runs(group)]


def _runs(group: Group) -> Iterator[Runs]:
    sizes = [group.data.sizes[name] for name in group.hyperparameters]
    schedule = group.config.schedule
    for place in np.ndindex(*sizes):
        data = group.data.isel(dict(zip(group.hyperparameters, place, strict=True)))
        epsilon = float(data.coords.get("epsilon", group.config.data.epsilon))
        branch = round(float(data.coords.get("branch", schedule.branch)))
        yield Runs(group.name, group.config, epsilon, branch, branch + schedule.branch_steps, data)


def find(found: Sequence[Runs], **fields: object) -> list[Runs]:
    """Those whose config has these values; a double underscore stands for the dot of a field's path."""
    wanted = {path.replace("__", "."): value for path, value in fields.items()}
    return [r for r in found if all(leaves(r.config)[path] == value for path, value in wanted.items())]


def wilson(hits: np.ndarray) -> tuple[float, float, float]:
    """The frequency of ``hits`` between the ends of its Wilson interval of 95%: (low, frequency, high)."""
    n, p, z = hits.size, float(np.mean(hits)), QUANTILE
    centre, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return float((centre - half) / (1 + z**2 / n)), p, float((centre + half) / (1 + z**2 / n))


def high_periods(config: ConfigDict) -> list[tuple[int, int]]:
    """The phases of the largest step size, as (first step, end)."""
    ends = np.cumsum([phase[0] for phase in config.schedule.phases]).astype(int)
    sizes = [phase[1] for phase in config.schedule.phases]
    starts = [0, *ends[:-1]]
    return [(int(a), int(b)) for a, b, size in zip(starts, ends, sizes, strict=True) if size == max(sizes)]
