"""How long the two errors take to fall, at each depth and for each weight decay."""

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from experiments.laws.inverse_problems.measures import decay
from experiments.runner.laws import across
from experiments.runner.runs import Run

__all__ = ["HALF", "TENTH", "arrivals", "cost_of_accuracy", "fitted_at", "halved_at", "over_depths", "tenth_at"]

# Shares of its start to which the off-subspace error falls.
HALF, TENTH = 1 / 2, 1 / 10


def arrivals(run: Run, name: str, levels: np.ndarray, *, in_steps: bool) -> np.ndarray:
    """When every member's error first falls to its level, shape (seed,): in steps, or in x; infinite if it does not.

    The log of the error is interpolated between observations.
    """
    clocks = np.broadcast_to(run.steps, run.all(name).shape) if in_steps else run.all("rescaled_time")
    return np.array([_arrival(*member) for member in zip(clocks, run.all(name), levels, strict=True)])


def _arrival(clock: np.ndarray, errors: np.ndarray, level: float) -> float:
    is_below = errors <= level
    if not is_below.any():
        return np.inf
    at = int(is_below.argmax())
    if at == 0:
        return float(clock[0])
    return float(np.interp(np.log(level), np.log(errors[[at, at - 1]]), clock[[at, at - 1]]))


def fitted_at(run: Run, *, in_steps: bool) -> np.ndarray:
    """When the regression error is down to lambda."""
    return arrivals(run, "regression_error", np.full(run.num_seeds, decay(run)), in_steps=in_steps)


def halved_at(run: Run, *, in_steps: bool) -> np.ndarray:
    """When the off-subspace error is down to half of its start."""
    return _down_to(HALF, run, in_steps=in_steps)


def tenth_at(run: Run, *, in_steps: bool) -> np.ndarray:
    """When the off-subspace error is down to a tenth of its start."""
    return _down_to(TENTH, run, in_steps=in_steps)


def _down_to(share: float, run: Run, *, in_steps: bool) -> np.ndarray:
    return arrivals(run, "off_subspace_error", share * run.first("off_subspace_error"), in_steps=in_steps)


def over_depths(found: Sequence[Run], *, of: Callable[[Run], np.ndarray]) -> np.ndarray:
    """Every seed's time at each depth over that at the next smaller one; NaN where neither came."""
    times = [of(run) for run in sorted(found, key=lambda run: run.config.net.depth)]
    with np.errstate(invalid="ignore"):
        return np.concatenate([deep / shallow for shallow, deep in itertools.pairwise(times)])


@across
def cost_of_accuracy(found: Sequence[Run]) -> np.ndarray:
    """How far the steps to a tenth of the off-subspace error, times the error at rest, differ over the decays."""
    costs = [tenth_at(run, in_steps=True) * run.last("regression_error") for run in found]
    with np.errstate(invalid="ignore"):
        return np.max(costs, axis=0) / np.min(costs, axis=0) - 1
