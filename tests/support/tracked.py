"""Made-up records of a tracker."""

import numpy as np

from lawlib.tracking import Comparison, Fractions, Records


def comparison(seed, rows, left, right):
    """Random angles and shares."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.ones(4), rows).T
    angles = (np.sort(rng.uniform(0, 1.5, (rows, columns))) for columns in (left, right))
    return Comparison(*angles, rng.uniform(0, 0.1, rows), rng.uniform(0, 1, rows) < 0.5, Fractions(*shares))


def recorded(seed, *, steps, reached, k, compared):
    """Random values in the first rows, which are certified in turn."""
    rng, rows = np.random.default_rng(seed), len(steps)
    return Records(
        step=np.where(np.arange(rows) < reached, steps, -1).astype(np.int32),
        values=-np.sort(-rng.uniform(1, 2, (rows, k))),
        norm=rng.uniform(3, 4, rows),
        bound=rng.uniform(0, 1, rows),
        certified=np.arange(rows) % 2 == 1,
        passes=np.full(rows, 2, np.int32),
        compared=compared,
    )
