"""What claims and figures of the law of parsimony measure: distances from the law, moved values, idle subspaces."""

from collections.abc import Callable, Sequence

import numpy as np

from experiments.runner.runs import Run

REAL = ("digits", "fashion_mnist")
# What still counts as unmoved without whitening (Figure 10): a singular value off eps, an angle in radians.
STILL = 1e-3
# A distance below its bound says something beside a change of this many times the bound.
TELLING = 100


def deviations(run: Run, name: str) -> np.ndarray:
    """A distance from the law, shape (seed, step, layer); on real data relative to sigma_1 of the layer at that step.

    The leak of the last layer is one number, which is compared with every other layer.
    """
    values = run.all(name).reshape(run.num_seeds, len(run.steps), -1)
    return values / run.all("singular_values")[..., 0] if run.config.data.source in REAL else values


def deviation(run: Run, name: str) -> np.ndarray:
    """Each member's largest distance from the law over layers and steps, shape (seed,)."""
    return deviations(run, name).max((1, 2))


def moved(run: Run) -> np.ndarray:
    """The largest |singular value - |rho|| of a layer, in the one with the least, on real data / sigma_1, (seed,)."""
    values = run.all("singular_values")
    off = np.abs(values - np.abs(run.all("rho"))[..., None, None]).max(-1)
    return (off / values[..., 0] if run.config.data.source in REAL else off).max(1).min(1)


def num_moved(run: Run) -> np.ndarray:
    """How many singular values differ from rho, in the layer and at the step t >= 1 farthest from 2r, shape (seed,)."""
    active = 2 * run.config.data.rank
    fewest, most = (run.worst("num_moved", 1, reduce) for reduce in (np.min, np.max))
    return np.where(active - fewest > most - active, fewest, most)


def tilt(run: Run) -> np.ndarray:
    """The largest angle of an idle subspace to its start over layers and steps t >= 1, in radians, shape (seed,)."""
    return np.maximum(run.worst("left_subspace_angles", 1), run.worst("right_subspace_angles", 1))


def final_angles(run: Run) -> np.ndarray:
    """The larger of the left and the right angles of the idle subspaces at the end, shape (seed, layer, angle)."""
    return np.maximum(run.last("left_subspace_angles"), run.last("right_subspace_angles"))


def final_tilt(run: Run) -> np.ndarray:
    """The largest angle of an idle subspace at the end, in radians, shape (seed,)."""
    return final_angles(run).max((1, 2))


def num_still(run: Run) -> np.ndarray:
    """How many singular values are within ``STILL`` of eps at the end, in the layer with the fewest, shape (seed,)."""
    off = run.last("singular_values") - run.first("rho")[:, None, None]
    return (np.abs(off) < STILL).sum(-1).min(-1)


def num_shared(run: Run) -> int:
    """How many angles of an idle subspace are 0 by dimension alone.

    Two subspaces of dimension d - 2r in d dimensions share d - 4r directions.
    """
    return max(0, run.config.net.width - 4 * run.config.data.rank)


def num_small_angles(run: Run) -> np.ndarray:
    """How many angles of an idle subspace are below ``STILL`` at the end, in the layer with fewest, shape (seed,)."""
    return num_shared(run) + (final_angles(run) < STILL).sum(-1).min(-1)


# Where the condition number kappa of the data is swept. ---------------------------------------------------------------


def final_excess(run: Run) -> np.ndarray:
    """sigma_{2r+1}(W(t) - (rho(t)/eps) W(0)) at the end, in the layer with the largest, shape (seed,)."""
    return run.last("excess").max(1)


def final_block(run: Run) -> np.ndarray:
    """||U^T W(t) V - [W~ 0; 0 rho I]||_F at the end, in the layer with the largest, shape (seed,)."""
    return run.last("block_deviation").max(1)


def by_condition(found: Sequence[Run], of: Callable[[Run], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The condition numbers, ascending, and a measure at each of them, shape (condition, seed)."""
    ordered = sorted(found, key=lambda run: run.config.data.condition)
    return np.array([run.config.data.condition for run in ordered]), np.stack([of(run) for run in ordered])


def least_increase(found: Sequence[Run], of: Callable[[Run], np.ndarray]) -> np.ndarray:
    """The smallest increase of a measure from one condition number to the next, shape (seed,)."""
    return np.diff(by_condition(found, of)[1], axis=0).min(0)


def exponent(found: Sequence[Run], of: Callable[[Run], np.ndarray]) -> np.ndarray:
    """The power of log kappa that a measure follows from the smallest to the largest kappa > 1, shape (seed,)."""
    conditions, values = by_condition(found, of)
    size = np.log(conditions[[0, -1]])
    return np.log(values[-1] / values[0]) / np.log(size[1] / size[0])
