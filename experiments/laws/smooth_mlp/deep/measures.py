"""What claims and figures of deep smooth networks measure, for each member, the first axis."""

from collections.abc import Callable, Sequence

import numpy as np

from experiments.runner.runs import Run

# Smooth and other networks are compared where their loss first falls to this share of its start.
MATCHED_LOSS = 0.55

Reduce = Callable[..., np.ndarray]


def is_matched(run: Run) -> np.ndarray:
    """Where the loss is MATCHED_LOSS of its start or less, shape (seed, step)."""
    return run.all("loss") <= MATCHED_LOSS * run.first("loss")[:, None]


def matched_step(run: Run) -> np.ndarray:
    """A member's first matched step; NaN without one."""
    matched = is_matched(run)
    return np.where(matched.any(1), run.steps[matched.argmax(1)], np.nan)


def middle_matched(run: Run, reduce: Reduce) -> np.ndarray:
    """The largest or smallest change of a middle subspace at the first matched step; NaN without one."""
    matched = is_matched(run)
    first = run.all("middle")[np.arange(len(matched)), matched.argmax(1)]
    return np.where(matched.any(1), reduce(first, axis=(1, 2)), np.nan)


def middle_at(step: int) -> Callable[[Run, Reduce], np.ndarray]:
    """The largest or smallest change of a middle subspace at a step, of all layers and sides."""
    return lambda run, reduce: reduce(run.all("middle")[:, run.steps == step], axis=(1, 2, 3))


def shares_matched(run: Run, name: str = "fractions") -> np.ndarray:
    """Block 1's share of the change of each layer at the first matched step, shape (seed, layer); NaN without one."""
    matched = is_matched(run)
    first = run.all(name)[np.arange(len(matched)), matched.argmax(1), :, 0]
    return np.where(matched.any(1)[:, None], first, np.nan)


def lead_matched(found: Sequence[Run], name: str = "fractions") -> np.ndarray:
    """Seed by seed, by how much the first run's share in layer 1 exceeds the second's, each at its matched step."""
    first, second = (shares_matched(run, name)[:, 0] for run in found)
    return first - second


def moved(run: Run, at: int = -1) -> np.ndarray:
    """The largest change of a middle singular value of a layer since the start, where all of them equal eps.

    ``at`` is the place of an observation: the last by default.
    """
    every, K = run.all("singular_values"), run.config.data.num_classes
    return np.abs(every[:, at] - every[:, 0])[..., K:-K].max((1, 2))


def moved_by(step: int) -> Callable[[Run], np.ndarray]:
    """The same at a step."""
    return lambda run: moved(run, int(np.argmax(run.steps == step)))


def shares(run: Run, name: str = "fractions") -> np.ndarray:
    """Block 1's share of the change of each layer at the last observation, shape (seed, layer)."""
    return run.last(name)[..., 0]


def smallest_fall(found: Sequence[Run], name: str = "fractions") -> np.ndarray:
    """Seed by seed, the smallest fall of block 1's share in layer 1 from one run to the next."""
    first = np.stack([shares(run, name)[:, 0] for run in found])
    return (first[:-1] - first[1:]).min(0)


def last_minority(run: Run, name: str = "fractions") -> np.ndarray:
    """The last observed step at which block 1 has less than half of the change of layer 1, or 0."""
    return ((run.all(name)[:, :, 0, 0] < 0.5) * run.steps).max(1)
