"""Levels of rows and columns: subtracted from the entries before completion, and added as columns of the factors.

Data with a mean, such as ratings, are the sum of a large matrix of rank one or two and a small matrix, which is the one
to complete.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from lawlib.completion.entries import Entries, without_entries
from lawlib.types import Array, Float

__all__ = ["CENTERS", "Levels", "levels", "with_levels", "without_levels"]

CENTERS = (None, "rows", "columns", "both")
# Row and column means alternate until they change by less than this, relative to the largest value.
SWEEPS, SETTLED = 200, 1e-9

Levels = tuple[Float[np.ndarray, " m"], Float[np.ndarray, " n"]]


def levels(entries: Entries, center: str) -> Levels:
    """Levels a of the rows and b of the columns, in float64, to be subtracted as a_i + b_j.

    ``center`` "rows": a_i is the mean of the entries of row i, and b = 0; "columns": the reverse; "both": the
    least-squares fit of a_i + b_j to the entries, by alternating means of rows and columns. A row or column without
    entries has the level NaN if only its own mean is used; with "both" it has the mean level.
    """
    sides = (entries.rows, entries.columns)
    unseen = without_entries(entries)
    counts = [np.bincount(side, minlength=size) for side, size in zip(sides, entries.shape, strict=True)]
    values = entries.values.astype(np.float64)

    def means(side: int, of: np.ndarray) -> np.ndarray:
        return np.bincount(sides[side], of, entries.shape[side]) / np.maximum(counts[side], 1)

    if center != "both":
        side = ("rows", "columns").index(center)
        own = np.where(unseen[side], np.nan, means(side, values))
        other = np.zeros(entries.shape[1 - side])
        return (own, other) if side == 0 else (other, own)
    # The fit determines a and b up to a constant: the mean of b over the columns with entries is set to 0.
    a, b = np.full(entries.shape[0], values.mean()), np.zeros(entries.shape[1])
    for _ in range(SWEEPS):
        before = a
        a = np.where(unseen[0], 0.0, means(0, values - b[sides[1]]))
        a[unseen[0]] = a[~unseen[0]].mean()
        b = means(1, values - a[sides[0]])
        b -= b[~unseen[1]].mean() * ~unseen[1]
        if np.abs(a - before).max() <= SETTLED * np.abs(values).max():
            break
    return a, b


def without_levels(entries: Entries, level: Levels | None, dtype: Any) -> Entries:
    """The entries minus their levels, in the dtype of the computation."""
    values = entries.values
    if level is not None:
        values = values - level[0][entries.rows] - level[1][entries.columns]
    return entries._replace(values=values.astype(dtype))


def with_levels(
    left: Array, right: Array, level: Levels | None, unseen: tuple[np.ndarray, np.ndarray], unit: Any
) -> tuple[Float[Array, "m q"], Float[Array, "n q"]]:
    """The factors in the data's units, left times ``unit``, with one more column for each level.

    Rows and columns without entries (``unseen``) are NaN, or, with levels, equal to their level.
    """
    left = left * jnp.asarray(unit, left.dtype)
    fill = jnp.nan if level is None else 0.0
    left, right = (
        jnp.where(jnp.asarray(empty)[:, None], fill, x) for empty, x in zip(unseen, (left, right), strict=True)
    )
    if level is None:
        return left, right
    # Levels are as large as the entries, so that the other column of each pair has entries of one or ``unit``.
    a, b = (jnp.asarray(np.stack(pair, 1), left.dtype) for pair in _level_columns(level, float(unit)))
    return jnp.concatenate([left, a], 1), jnp.concatenate([right, b], 1)


def _level_columns(level: tuple[np.ndarray, np.ndarray], unit: float) -> tuple[tuple, tuple]:
    a, b = level
    return (a * unit, np.full_like(a, unit)), (np.ones_like(b), b)
