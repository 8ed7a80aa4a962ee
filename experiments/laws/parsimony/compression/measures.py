"""What the claims on the small equivalent network measure: steps to the tolerance and distances of the two networks."""

import numpy as np

from experiments.runner.runs import Run


def ended(run: Run) -> np.ndarray:
    """Which members reached the tolerance, shape (seed,)."""
    return run.data.converged_at.values >= 0


def steps(run: Run) -> np.ndarray:
    """Each member's steps to the tolerance, shape (seed,); NaN where it was not reached."""
    return np.where(ended(run), run.data.converged_at.values, np.nan)


def steps_apart(run: Run) -> np.ndarray:
    """By how many steps the two networks of each member differ, shape (seed,); NaN where one did not reach it.

    Empty for a run without the steps to reach the tolerance.
    """
    small = run.last("reduced_done")
    apart = np.abs(np.where(small >= 0, small, np.nan) - steps(run))
    return apart if ended(run).any() else np.empty(0)


def fall(run: Run) -> np.ndarray:
    """1 - last / first mean loss of the d x d network, shape (seed,)."""
    return 1 - run.last("full_loss") / run.first("full_loss")


def off_prediction(run: Run) -> np.ndarray:
    """The largest relative error of eps^L sqrt(d - 2r) as the distance of the networks, shape (seed,)."""
    return np.abs(run.all("distance") / run.all("predicted_distance") - 1).max(1)
