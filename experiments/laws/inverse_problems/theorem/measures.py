"""What claims and figures of Theorem A.2 and Corollary 2.6 measure: members at T, and bounds on the test error."""

import jax.numpy as jnp
import numpy as np

from experiments.runner.runs import Run
from lawlib.theory import inverse_problems as theory


def at_end(run: Run) -> np.ndarray:
    """Which members reached the stopping time T, or diverged."""
    return (run.data.converged_at.values >= 0) | run.diverged


def upper_bound(run: Run) -> np.ndarray:
    """(19) with all constants 1, for every member and sigma, with the member's own gamma."""
    about = {"width": run.config.net.width, "noise": jnp.asarray(run.config.data.noise)}
    members = zip(run.last("accuracy"), jnp.asarray(run.first("signal_values")), strict=True)
    return np.stack([theory.regularized_error(gamma=float(g), singular_values=v, **about) for g, v in members])


def lower_bound(run: Run) -> np.ndarray:
    """(20) with all constants 1, for every member and sigma, with the member's own regression error as beta."""
    data = run.config.data
    sizes = {"dimension": data.dimension, "num_measurements": data.num_measurements}
    members = zip(
        run.last("regression_error"), jnp.asarray(run.first("signal_values")), run.last("test_norm"), strict=True
    )
    return np.asarray(
        [
            [
                theory.unregularized_error(
                    noise=sigma, regression_error=float(beta), singular_values=values, norm=float(norm), **sizes
                )
                for sigma, norm in zip(data.noise, norms, strict=True)
            ]
            for beta, values, norms in members
        ]
    )


def noisy(run: Run, errors: np.ndarray) -> np.ndarray:
    """The errors of every member at every sigma >= 0.05."""
    return errors[:, np.asarray(run.config.data.noise) >= 0.05]
