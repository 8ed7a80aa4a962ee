"""Levels of rows and columns: taken off the entries before a matrix is completed, and given back as columns of factors.

Data with a mean, as ratings have, is a large matrix of rank one or two and a small one on top of it, which is what asks
for a solver.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from lawlib.completion.entries import Entries, without_entries
from lawlib.types import Array, Float

__all__ = ["CENTERS", "Levels", "less", "levels", "with_levels"]

CENTERS = (None, "rows", "columns", "both")
SWEEPS, SETTLED = 200, 1e-9  # Of row means and column means in turn, until they move by so much of the largest.

Levels = tuple[Float[np.ndarray, " m"], Float[np.ndarray, " n"]]


def levels(entries: Entries, center: str) -> Levels:
    """Levels a of the rows and b of the columns, in float64, to take off as a_i + b_j.

    ``center`` "rows": a_i the mean of row i's entries and b = 0; "columns": the reverse; "both": the least squares of
    a_i + b_j over the entries, by means of rows and columns in turn. A line without entries has the level NaN where its
    own mean is asked for alone; with "both" it has that of the mean line.
    """
    sides = (entries.rows, entries.columns)
    unseen = without_entries(entries)
    counts = [np.bincount(lines, minlength=size) for lines, size in zip(sides, entries.shape, strict=True)]
    values = entries.values.astype(np.float64)

    def means(side: int, of: np.ndarray) -> np.ndarray:
        return np.bincount(sides[side], of, entries.shape[side]) / np.maximum(counts[side], 1)

    if center != "both":
        side = ("rows", "columns").index(center)
        own = np.where(unseen[side], np.nan, means(side, values))
        other = np.zeros(entries.shape[1 - side])
        return (own, other) if side == 0 else (other, own)
    # Of a line's level only its distance from the mean level is told by the other lines.
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


def less(entries: Entries, level: Levels | None, dtype: Any) -> Entries:
    """What is left of the entries without the levels, in the dtype of the computation."""
    values = entries.values
    if level is not None:
        values = values - level[0][entries.rows] - level[1][entries.columns]
    return entries._replace(values=values.astype(dtype))


def with_levels(
    left: Array, right: Array, level: Levels | None, unseen: tuple[np.ndarray, np.ndarray], unit: Any
) -> tuple[Float[Array, "m q"], Float[Array, "n q"]]:
    """The factors in the data's units, left times ``unit``, with a column more for each level.

    Lines without entries (``unseen``, rows and columns) are NaN, or, with levels, at their level alone.
    """
    left = left * jnp.asarray(unit, left.dtype)
    fill = jnp.nan if level is None else 0.0
    left, right = (
        jnp.where(jnp.asarray(empty)[:, None], fill, x) for empty, x in zip(unseen, (left, right), strict=True)
    )
    if level is None:
        return left, right
    # Levels are as large as the entries, and the other factor's columns of length about one.
    a, b = (jnp.asarray(np.stack(pair, 1), left.dtype) for pair in _level_columns(level, float(unit)))
    return jnp.concatenate([left, a], 1), jnp.concatenate([right, b], 1)


def _level_columns(level: tuple[np.ndarray, np.ndarray], unit: float) -> tuple[tuple, tuple]:
    a, b = level
    return (a * unit, np.full_like(a, unit)), (np.ones_like(b), b)
