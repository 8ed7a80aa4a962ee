"""What claims and figures of deep smooth networks measure: the change of subspaces, and the share of a block in it."""

from collections.abc import Callable, Sequence

import numpy as np

from experiments.runner.runs import Run

# Smooth and other networks are compared where their loss first falls to this share of its start.
MATCHED_LOSS = 0.55


def _over(values: np.ndarray, reduce: Callable[..., np.ndarray]) -> np.ndarray:
    """One number per member, the first axis."""
    return reduce(values, axis=tuple(range(1, values.ndim)))


# Spectra. -------------------------------------------------------------------------------------------------------------


def middle_at(run: Run, step: int, reduce: Callable[..., np.ndarray]) -> np.ndarray:
    """The largest or smallest change of a middle subspace at a step, of all layers and sides."""
    return _over(run.all("middle")[:, run.steps == step], reduce)


def is_matched(run: Run) -> np.ndarray:
    """Where the loss is MATCHED_LOSS of its start or less, shape (seed, step)."""
    return run.all("loss") <= MATCHED_LOSS * run.first("loss")[:, None]


def middle_matched(run: Run, reduce: Callable[..., np.ndarray]) -> np.ndarray:
    """The largest or smallest change of a middle subspace at a member's first matched step; NaN without one."""
    matched = is_matched(run)
    first = run.all("middle")[np.arange(len(matched)), matched.argmax(1)]
    return np.where(matched.any(1), _over(first, reduce), np.nan)


def matched_step(run: Run) -> np.ndarray:
    """A member's first matched step; NaN without one."""
    matched = is_matched(run)
    return np.where(matched.any(1), run.steps[matched.argmax(1)], np.nan)


def moved(run: Run) -> np.ndarray:
    """The largest change of a middle singular value since the start, where all of them equal eps."""
    K = run.config.data.num_classes
    change = np.abs(run.last("singular_values") - run.first("singular_values"))
    return _over(change[..., K:-K], np.max)


def end(run: Run, name: str) -> np.ndarray:
    """The change of the top or bottom subspaces at the last observation, the mean over layers and sides."""
    return _over(run.last(name), np.mean)


# Blocks. --------------------------------------------------------------------------------------------------------------


def shares(run: Run, name: str = "fractions") -> np.ndarray:
    """Block 1's share of the change of each layer at the last observation, shape (seed, layer)."""
    return run.last(name)[..., 0]


def least_share(run: Run) -> np.ndarray:
    """The least of block 1's shares over the layers."""
    return shares(run).min(1)


def smallest_gap(found: Sequence[Run]) -> np.ndarray:
    """Seed by seed, the smallest fall of block 1's share in layer 1 from one run to the next."""
    first = np.stack([shares(run)[:, 0] for run in found])
    return (first[:-1] - first[1:]).min(0)


def last_minority(run: Run) -> np.ndarray:
    """The last observed step at which block 1 has less than half of the change of layer 1, or 0."""
    return ((run.all("fractions")[:, :, 0, 0] < 0.5) * run.steps).max(1)
