"""What a completion returns, and its values at single places."""

import warnings
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from lawlib.completion.compressed_network import entries_of
from lawlib.completion.entries import UnrecoverableWarning, checked_indices, depth_of_caller, some
from lawlib.types import Array, Bool, Float

__all__ = ["Completion", "predict"]


class Completion(NamedTuple):
    """The recovered matrix left right^T in the data's own units, and how far to trust it.

    Errors are relative, ||Omega . (left right^T - Phi)||_F / ||Omega . Phi||_F: over the fitted entries, and over
    the held-out entries as an estimate of recovery error and noise together (NaN if none are held out).
    ``held_out_spread`` is the standard error of this estimate, from ``held_out_count`` entries
    (``entries.relative_error``).

    ``reason`` is "tolerance" (the observed error reached it), "error rises" (that of the held-out
    entries, permanently: the rest is noise, or there are too few entries, or the rank is wrong), "stalled" (the
    observed error is at a floor: of noise, or of a rank that is too low), "steps" or "diverged" (not finite, or,
    without held-out entries, a permanent rise from too large a step). ``converged`` is True for the first three.
    "tolerance" returns the last factors, every other reason those with the lowest error of the held-out entries, or of
    the fitted ones if none are held out; the start is included. ``ridge`` is the ridge of the factors that are
    returned, 0 for method "deep".

    ``unseen_rows`` and ``unseen_columns`` are True for rows and columns without entries. They are NaN, unless centring
    determines them: with "both" they are at the mean level, with "columns" an empty row consists of the columns' means,
    with "rows" an empty column of the rows' means.
    """

    left: Float[Array, "m k"]
    right: Float[Array, "n k"]
    observed_error: float
    held_out_error: float
    steps: int
    converged: bool
    reason: str
    held_out_spread: float
    held_out_count: int
    unseen_rows: Bool[np.ndarray, " m"]
    unseen_columns: Bool[np.ndarray, " n"]
    ridge: float

    @property
    def empty_rows(self) -> int:
        """How many rows have no entry."""
        return int(self.unseen_rows.sum())

    @property
    def empty_columns(self) -> int:
        """How many columns have no entry."""
        return int(self.unseen_columns.sum())


def predict(found: Completion, rows: Any, columns: Any) -> Float[Array, "..."]:
    """The values left_i . right_j of a completion at the places (i, j), without the m x n matrix.

    ``rows`` and ``columns`` are integers from 0 in arrays of one shape, or of shapes that broadcast to one, which is
    that of the result. Memory does not grow with the number of columns of the factors.

    Raises:
        TypeError: an index is not an integer.
        ValueError: the shapes do not broadcast.
        IndexError: a row is outside 0..m-1 or a column outside 0..n-1; negative numbers are.

    Warns:
        UnrecoverableWarning: a place lies in a row or column without entries: its value is the level of the others if
            ``complete`` centred the entries, otherwise NaN.

    Example:
        >>> import jax, numpy as np
        >>> from lawlib.completion import complete, predict
        >>> rng = np.random.default_rng(0)
        >>> matrix = rng.standard_normal((60, 2)) @ rng.standard_normal((2, 50))
        >>> seen = np.where(rng.random(matrix.shape) < 0.5, matrix, np.nan)
        >>> found = complete(jax.random.key(0), seen, rank=2, method="als")
        >>> bool(np.allclose(predict(found, [0, 7], [3, 49]), matrix[[0, 7], [3, 49]], atol=1e-3))
        True
    """
    rows, columns = np.asarray(rows), np.asarray(columns)
    try:
        shape = np.broadcast_shapes(rows.shape, columns.shape)
    except ValueError:
        msg = f"rows and columns must have one shape, or shapes that broadcast, got {rows.shape} and {columns.shape}"
        raise ValueError(msg) from None
    at = [
        checked_indices(name, np.broadcast_to(given if given.size else given.astype(int), shape).ravel(), len(factor))
        for name, given, factor in (("rows", rows, found.left), ("columns", columns, found.right))
    ]
    if not at[0].size:
        return jnp.zeros(shape, found.left.dtype)
    values = entries_of(found.left, found.right, *(jnp.asarray(indices) for indices in at)).reshape(shape)
    _warn_of_unseen(found, *at, num_nan=int(np.isnan(values).sum()))
    return values


def _warn_of_unseen(found: Completion, rows: np.ndarray, columns: np.ndarray, *, num_nan: int) -> None:
    """Warn of places that nothing observed determines, and of what their values are."""
    unseen = found.unseen_rows[rows], found.unseen_columns[columns]
    count = int(np.sum(unseen[0] | unseen[1]))
    if not count:
        return
    lines = [
        f"{name} {some(np.unique(indices[empty]))}"
        for name, indices, empty in zip(("row", "column"), (rows, columns), unseen, strict=True)
        if empty.any()
    ]
    values = {0: "their values are the level of the others", count: "their values are NaN"}
    told = values.get(num_nan, f"{num_nan} of their values are NaN, the others the level of the others")
    msg = f"{count} of {len(rows)} places have no observed entry in their row or column ({'; '.join(lines)}): {told}"
    warnings.warn(msg, UnrecoverableWarning, stacklevel=depth_of_caller())
