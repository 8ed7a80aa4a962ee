"""Observed entries of a matrix: converted from common formats, checked, and split into fitted and held-out entries.

Everything here is numpy on the host and runs once, before any computation on a device.
"""

import inspect
import math
import operator
import warnings
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from lawlib.types import PRNGKey

__all__ = [
    "Entries",
    "UnrecoverableWarning",
    "as_entries",
    "check_range",
    "checked_indices",
    "depth_of_caller",
    "from_coo",
    "from_mask",
    "from_nan",
    "from_scipy",
    "hold_out",
    "norm",
    "relative_error",
    "some",
    "without_entries",
]

MAX_NAMED = 5  # A message names this many entries and counts the others.


class UnrecoverableWarning(UserWarning):
    """A row or a column has no observed entry, so nothing can recover it."""


class Entries(NamedTuple):
    """The observed entries Omega . Phi of an m x n matrix Phi: values[i] is at (rows[i], columns[i]), from 0.

    NumPy arrays, in any order and without repetition. ``shape`` is (m, n).
    """

    rows: Int[np.ndarray, " N"]
    columns: Int[np.ndarray, " N"]
    values: Float[np.ndarray, " N"]
    shape: tuple[int, int]

    @property
    def density(self) -> float:
        """The share of the matrix that is observed, N / (m n)."""
        return len(self.values) / math.prod(self.shape)


def from_coo(rows: Any, columns: Any, values: Any, shape: tuple[int, int]) -> Entries:
    """Entries from three sequences of equal length N and the shape (m, n) of the matrix.

    float32 and float64 values keep their dtype, half precision becomes float32, and other dtypes float64.

    Raises:
        TypeError: an index is not an integer, a value is neither a real number nor a bool, or the values are masked.
        ValueError: the shape is not two positive sizes, the lengths differ, there is no entry, a value is not finite,
            or an entry is given twice.
        IndexError: a row is outside 0..m-1 or a column outside 0..n-1.

    Warns:
        UnrecoverableWarning: a row or a column has no entry.

    Example:
        >>> import lawlib
        >>> known = lawlib.from_coo(rows=[0, 0, 1], columns=[0, 1, 1], values=[5.0, 3.0, 4.0], shape=(2, 2))
        >>> float(known.density)
        0.75
    """
    return _checked(rows, columns, values, shape)


def from_scipy(matrix: Any) -> Entries:
    """Entries from a scipy sparse matrix or array of any format: stored values are observed, explicit zeros included.

    Raises and warns as ``from_coo``, and TypeError if there is no method ``tocoo``.
    """
    if not hasattr(matrix, "tocoo"):
        msg = f"a scipy sparse matrix is needed, got {type(matrix).__name__}; from_mask takes a matrix and its mask"
        raise TypeError(msg)
    coo = matrix.tocoo()
    return _checked(coo.row, coo.col, coo.data, coo.shape)


def from_mask(matrix: Any, mask: Any) -> Entries:
    """Entries from an m x n matrix and a mask of the same shape, True or 1 where the matrix is observed.

    Values that are not observed may be anything, NaN included. Raises and warns as ``from_coo``, and ValueError if the
    shapes differ or the mask has values other than 0 and 1.
    """
    matrix, mask = np.asarray(matrix), np.asarray(mask)
    if matrix.ndim != 2 or matrix.shape != mask.shape:
        msg = f"a matrix and its mask have one shape (m, n), got {matrix.shape} and {mask.shape}"
        raise ValueError(msg)
    if not np.all((mask == 0) | (mask == 1)):
        msg = "a mask is 1 (True) where the matrix is observed and 0 (False) elsewhere, got other values"
        raise ValueError(msg)
    rows, columns = np.nonzero(mask)
    return _checked(rows, columns, matrix[rows, columns], matrix.shape)


def from_nan(matrix: Any) -> Entries:
    """Entries from an m x n matrix of floats with NaN where it is unknown.

    Raises and warns as ``from_coo``, and TypeError if the matrix is masked or its dtype has no NaN, ValueError if it is
    not a matrix, or if none or all of it is NaN: ``from_mask`` takes a matrix that is known everywhere.
    """
    if isinstance(matrix, np.ma.MaskedArray):
        msg = (
            "the matrix must not be masked: use from_mask(matrix.data, ~mask), with a mask that is True where observed"
        )
        raise TypeError(msg)
    matrix = np.asarray(matrix)
    if matrix.ndim != 2:
        msg = f"a matrix has two axes (m, n), got shape {matrix.shape}"
        raise ValueError(msg)
    if matrix.dtype.kind != "f":
        mend = "use from_mask(matrix, mask), with a mask that is True where observed (matrix != 0 if 0 means unknown)"
        msg = f"unknown entries are marked by NaN in a matrix of floats, got {matrix.dtype}: {mend}"
        raise TypeError(msg)
    unknown = np.isnan(matrix)
    if unknown.all():
        msg = f"no entry of the {matrix.shape[0]} x {matrix.shape[1]} matrix is known: all are NaN"
        raise ValueError(msg)
    if not unknown.any():
        msg = (
            "the matrix has no NaN, so that nothing in it is unknown: mark unknown entries by NaN, or use "
            "from_mask(matrix, mask), with a mask that is True where observed, also if that is everywhere"
        )
        raise ValueError(msg)
    return from_mask(matrix, ~unknown)


def as_entries(data: Any) -> Entries:
    """Entries from data in any of these formats, with the checks of the function for each.

    ``Entries``; a scipy sparse matrix (``from_scipy``); a pair of a matrix and its mask (``from_mask``); a masked
    array; an m x n array with NaN for entries that are not observed (``from_nan``). Raises and warns as these
    functions, and TypeError for other types.
    """
    if isinstance(data, Entries):
        return _checked(*data)
    if hasattr(data, "tocoo"):
        return from_scipy(data)
    if isinstance(data, tuple) and len(data) == 2:
        return from_mask(*data)
    if isinstance(data, np.ma.MaskedArray):
        return from_mask(data.data, ~np.ma.getmaskarray(data))
    if getattr(data, "ndim", 0) == 2:
        return from_nan(data)
    msg = (
        "entries must be an Entries (as from_coo of lawlib.completion.entries returns), a scipy sparse matrix, a pair "
        f"(matrix, mask) or an m x n array with NaN for entries that are not observed, got {type(data).__name__}"
    )
    raise TypeError(msg)


def without_entries(entries: Entries) -> tuple[Bool[np.ndarray, " m"], Bool[np.ndarray, " n"]]:
    """Which rows and which columns have no entry."""
    rows, columns = (
        np.bincount(indices, minlength=size) == 0
        for indices, size in zip((entries.rows, entries.columns), entries.shape, strict=True)
    )
    return rows, columns


def hold_out(key: PRNGKey, entries: Entries, share: float, *, at_most: int) -> tuple[Entries, Entries]:
    """Split the entries at random: the ones to fit, and about ``share`` of all, about ``at_most``, that are held out.

    The last entry of every row and column, in a random order, is fitted, so that none is emptied.

    Raises:
        ValueError: share is outside [0, 1).
    """
    if not 0 <= share < 1:
        msg = f"the share to hold out must be in [0, 1), got {share}"
        raise ValueError(msg)
    lots = np.asarray(jax.random.uniform(key, entries.values.shape, "float32"))
    held = lots < min(share, at_most / len(lots))
    for indices, size in zip((entries.rows, entries.columns), entries.shape, strict=True):
        highest = np.full(size, -1, lots.dtype)
        np.maximum.at(highest, indices, lots)
        held &= lots < highest[indices]
    return _select(entries, ~held), _select(entries, held)


def norm(entries: Entries) -> float:
    """||Omega . Phi||_F in float64."""
    # The dot product of BLAS would start threads, which cost more than the sum.
    return math.sqrt(np.sum(np.square(entries.values, dtype=np.float64)))


def relative_error(missed: np.ndarray, values: np.ndarray, typical: float) -> tuple[float, float]:
    """h = ||e|| / ||Phi|| over held-out entries with errors e and ``values`` Phi, and the standard error of h.

    The standard error is sqrt(N / (N - 1) sum_i (e_i^2 - h^2 Phi_i^2)^2) / (2 h sum_i Phi_i^2), as of a ratio of two
    sums over N independent draws: infinite for one entry, NaN for none. If all held-out values are zero, the
    ``typical`` size of the fitted values replaces them.
    """
    count = len(values)
    if not count:
        return math.nan, math.nan
    squares = np.square(values if np.any(values) else np.full(count, typical))
    share = float(np.sum(np.square(missed)) / squares.sum())
    if count == 1 or not share:
        return math.sqrt(share), math.inf if count == 1 else 0.0
    apart = np.square(missed) - share * squares
    spread = math.sqrt(count / (count - 1) * np.sum(np.square(apart))) / squares.sum()
    return math.sqrt(share), spread / (2 * math.sqrt(share))


def check_range(unit: Any, shape: tuple[int, int], dtype: Any) -> None:
    """Check that a dtype can represent entries of which ``unit`` is the largest.

    The largest singular value must not overflow, and only numbers below rounding may underflow.

    Raises:
        ValueError: it cannot.
    """
    limits = np.finfo(dtype)
    largest = float(limits.max) / (8 * math.sqrt(math.prod(shape)))
    smallest = float(limits.tiny) / float(limits.eps)
    if not smallest <= float(unit) <= largest:
        mend = "multiply the entries by a power of ten"
        if np.dtype(dtype) == np.float32:
            mend = f'{mend}, or keep them in float64: jax.config.update("jax_enable_x64", True)'
        msg = (
            f"the largest entry must be in {smallest:.1e}..{largest:.1e} to compute in {dtype}, got {unit:.1e}; {mend}"
        )
        raise ValueError(msg)


def _select(entries: Entries, chosen: Bool[np.ndarray, " N"]) -> Entries:
    return Entries(entries.rows[chosen], entries.columns[chosen], entries.values[chosen], entries.shape)


def _checked(rows: Any, columns: Any, values: Any, shape: tuple[int, int]) -> Entries:
    shape = _checked_shape(shape)
    given = {"rows": np.asarray(rows), "columns": np.asarray(columns), "values": np.asanyarray(values)}
    _check_lengths(given)
    entries = Entries(
        checked_indices("rows", given["rows"], shape[0]),
        checked_indices("columns", given["columns"], shape[1]),
        _checked_values(given["values"]),
        shape,
    )
    _check_finite(entries)
    _check_distinct(entries)
    _warn_of_empty(entries)
    return entries


def _checked_shape(shape: tuple[int, int]) -> tuple[int, int]:
    try:
        m, n = map(operator.index, shape)
    except (TypeError, ValueError):
        m = n = 0
    if not (0 < m < 2**31 and 0 < n < 2**31):
        msg = f"shape must be two positive whole sizes below 2^31, got shape {shape}"
        raise ValueError(msg)
    return m, n


def _check_lengths(given: dict[str, np.ndarray]) -> None:
    shapes = {name: array.shape for name, array in given.items()}
    if len(set(shapes.values())) > 1 or given["values"].ndim != 1:
        msg = f"rows, columns and values must be three sequences of one length, got shapes {shapes}"
        raise ValueError(msg)
    if not given["values"].size:
        msg = "there is no observed entry"
        raise ValueError(msg)


def checked_indices(name: str, indices: np.ndarray, size: int) -> Int[np.ndarray, " N"]:
    """The indices in int32.

    Raises:
        TypeError: they are not integers.
        IndexError: one is outside 0..size-1.
    """
    if not np.issubdtype(indices.dtype, np.integer):
        msg = f"{name} must be integers, got {indices.dtype}"
        raise TypeError(msg)
    outside = (indices < 0) | (indices >= size)
    if outside.any():
        positions = some(np.flatnonzero(outside))
        msg = f"{name} must be in 0..{size - 1}, got {some(indices[outside])} at position {positions}"
        raise IndexError(msg)
    return indices.astype(np.int32, copy=False)


def _checked_values(values: np.ndarray) -> Float[np.ndarray, " N"]:
    if isinstance(values, np.ma.MaskedArray):
        msg = "values must not be masked: use from_mask(matrix, ~mask), with a mask that is True where observed"
        raise TypeError(msg)
    if values.dtype.kind not in "fiub":
        msg = f"values must be real numbers, got {values.dtype}"
        raise TypeError(msg)
    if values.dtype == np.float16:
        return values.astype(np.float32)
    return values if values.dtype == np.float32 else values.astype(np.float64)


def _check_finite(entries: Entries) -> None:
    bad = ~np.isfinite(entries.values)
    if bad.any():
        msg = f"values must be finite, got NaN or infinity at (row, column) {_places(entries, bad)}"
        raise ValueError(msg)


def _check_distinct(entries: Entries) -> None:
    places = entries.rows.astype(np.int64) * entries.shape[1] + entries.columns
    places.sort()
    repeated = places[1:][places[1:] == places[:-1]]
    if repeated.size:
        found = [divmod(int(place), entries.shape[1]) for place in np.unique(repeated)]
        msg = f"each entry must be given once, got (row, column) {some(found)} more than once"
        raise ValueError(msg)


def _warn_of_empty(entries: Entries) -> None:
    for name, unseen in zip(("row", "column"), without_entries(entries), strict=True):
        if unseen.any():
            msg = f"no observed entry, so that nothing can recover it, in {name} {some(np.flatnonzero(unseen))}"
            warnings.warn(msg, UnrecoverableWarning, stacklevel=depth_of_caller())


def depth_of_caller() -> int:
    """The stack level, as seen by the function that calls this one, of the caller of this library."""
    frame, level, outermost = inspect.currentframe(), 0, 0
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] == "lawlib":
            outermost = level
        frame, level = frame.f_back, level + 1
    return outermost + 1


def _places(entries: Entries, chosen: Bool[np.ndarray, " N"]) -> str:
    found = np.flatnonzero(chosen)
    return some([(int(entries.rows[i]), int(entries.columns[i])) for i in found[: MAX_NAMED + 1]], len(found))


def some(culprits: Any, count: int | None = None) -> str:
    """The first few culprits by name, and how many others there are."""
    count = len(culprits) if count is None else count
    named = ", ".join(str(culprit) for culprit in culprits[:MAX_NAMED])
    return named if count <= MAX_NAMED else f"{named} and {count - MAX_NAMED} others"
