"""What claims and figures of landscape and limits measure: the kinds of starts and the stationary points."""

import numpy as np

from experiments.runner.runs import Run

# Balanced starts in N_alpha, outside it but not exactly against Z, and exactly against Z; unbalanced ones in N_alpha.
INSIDE, NEGATIVE, OPPOSITE, UNBALANCED = "inside", "negative", "opposite", "unbalanced"
# A loss this close to the global minimum, in m s_Z^2, is that of a global minimum.
GLOBAL = 1e-9


def start(run: Run) -> str:
    """The kind of a run's starts; empty for other studies, higher ranks and unbalanced starts outside N_alpha."""
    if run.config.study != "convergence" or run.config.start.rank > 1:
        return ""
    least, is_balanced = run.config.start.least, run.config.start.skew == 1
    if least >= run.config.bound.alpha:
        return INSIDE if is_balanced else UNBALANCED
    return (OPPOSITE if least == -1 else NEGATIVE) if is_balanced else ""


def full_rank(run: Run) -> np.ndarray:
    """Which stationary points have the full rank r = min(widths), shape (seed, step)."""
    return run.all("rank") == min(run.config.net.widths)


def minima(run: Run) -> np.ndarray:
    """Which stationary points of full rank are global minima, shape (seed, step)."""
    return full_rank(run) & (run.all("excess") < GLOBAL)


def saddles(run: Run) -> np.ndarray:
    """Which stationary points of full rank are not global minima, shape (seed, step)."""
    return full_rank(run) & ~(run.all("excess") < GLOBAL)
