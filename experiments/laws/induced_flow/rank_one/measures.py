"""What claims and figures of the induced flow measure: runs that differ in depth, and observations at a given time."""

from collections.abc import Sequence

import numpy as np

from experiments.runner.runs import Run, grouped

# The nearby regime is observed at this value of x.
LATE_X = 10.0


def by_depth(found: Sequence[Run]) -> list[list[Run]]:
    """Runs that differ in their depth alone, each list from the smallest depth to the largest."""

    def others(run: Run) -> tuple:
        return run.variant, *(value for path, value in run.hyperparameters.items() if path != "net.depth")

    return [sorted(part, key=lambda run: run.config.net.depth) for part in grouped(found, others).values()]


def times(run: Run) -> np.ndarray:
    """The time of every observation: seconds, or x in the study ``rescaled_time``."""
    return run.steps * run.config.opt.interval


def is_observed(run: Run, time: float) -> bool:
    """Whether a run has an observation at this time."""
    return bool(np.isclose(times(run), time, rtol=1e-9).any())


def at(run: Run, name: str, time: float) -> np.ndarray:
    """A variable at the observation nearest to this time, shape (seed,)."""
    return run.all(name)[:, np.argmin(np.abs(times(run) - time))]


def off_law(run: Run) -> np.ndarray:
    """|(rate of ||Z_1 - W||) / (m s_Z^{2-2/N} (1 - gamma_Z)) - 1| at x = 10, shape (seed,)."""
    return np.abs(at(run, "rate", LATE_X) / at(run, "rate_law", LATE_X) - 1)


def before_tau(run: Run) -> np.ndarray:
    """The smallest (T_1 - s_Z T_2) / s_Z^2 before tau, of the members that start above sqrt(6) s_Z."""
    before = run.all("tau") < 0
    return np.where(before, run.all("fast"), np.inf).min(1)[before[:, 0]]


def spreads(found: Sequence[Run]) -> list[float]:
    """For each depth the largest difference, at one x, of distances that differ in seed, s_Z and gamma_Z."""
    alike = grouped(found, lambda run: (run.variant, run.config.net.depth, run.config.start.ratio, *times(run)[1:2]))
    return [np.ptp(np.concatenate([run.all("distance") for run in part]), axis=0).max() for part in alike.values()]
