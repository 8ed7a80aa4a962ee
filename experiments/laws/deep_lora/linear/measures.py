"""What claims and figures of compressed Deep LoRA in its linear setting measure."""

import numpy as np

from experiments.runner.runs import Run


def off_prediction(run: Run) -> np.ndarray:
    """The largest difference of the distance from rho^3 sqrt(d - k), both relative to ||Delta||_F, shape (seed,)."""
    return np.abs(run.all("distance") - run.all("predicted_distance")).max(1)


def loss_apart(run: Run) -> np.ndarray:
    """The largest difference of the two losses, relative to the first one, shape (seed,)."""
    full, small = run.all("full_loss"), run.all("compressed_loss")
    return (np.abs(full - small) / full[:, :1]).max(1)


def loss_left(run: Run) -> np.ndarray:
    """The last loss of the d x d factors over their first, shape (seed,)."""
    return run.last("full_loss") / run.first("full_loss")
