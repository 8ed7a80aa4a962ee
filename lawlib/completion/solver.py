"""Completion of a low-rank matrix from observed entries: by the compressed network, or by alternating least squares.

The network is W_comp = U W~_L ... W~_1 V^T with k = 2 r^ columns in U and V, r^ an upper bound on the rank, and
k x k layers in between (Yaras et al. 2023, Section 4.1, eqs. 9 and 11). The layers start at eps I, and U and V at the
active subspaces of a wide network for singular vectors estimated from the entries; all factors are trained. A step
costs O(|Omega| k) on sparse entries, without any m x n array. Alternating least squares (``alternating``) has r^
columns and trusts r^; a sweep over both factors costs O(|Omega| r^^2).

The solver of the network works in units of the data: entries are divided by an estimate of sigma_1 and the loss by the
observed share of the fullest row or column. Gradients are preconditioned: curvatures are of order one in every
direction, one step size is used for all, and an error that does not fall in fifty checks is at the level of noise, not
on a plateau (``stopping``).
"""

import functools as ft
import itertools
import math
import operator
import warnings
from numbers import Real
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lawlib.completion.alternating import alternate, falling_ridges
from lawlib.completion.centering import CENTERS, levels, with_levels, without_levels
from lawlib.completion.compressed_network import two_factors
from lawlib.completion.entries import Entries, as_entries, check_range, hold_out, norm, relative_error, without_entries
from lawlib.completion.fitting import descend, final_errors, task_of
from lawlib.completion.layouts import arrange, scaled
from lawlib.completion.momentum import preconditioned, restarted_momentum
from lawlib.completion.result import Completion
from lawlib.completion.spectral_init import SpectralInit, spectral_init, trimming_weights
from lawlib.completion.stopping import CONVERGED
from lawlib.compress import draw_bases
from lawlib.compress.adapters import Adapter, deep_lora
from lawlib.linalg.spectra import SVD
from lawlib.types import Array, Float, PRNGKey, Rate, Scalar

__all__ = ["METHODS", "complete"]

METHODS = ("deep", "als")
# The initial scale of the layers: for two layers, the one with the fewest steps; for more, the root of this product,
# below which the first plateau would be too long.
SCALE, DEEPER_PRODUCT = 3e-4, 3.4e-6
DAMPING = 0.5  # Relative to the remaining distance: half as much fits noise sooner, twice as much takes longer.
MAX_HELD_OUT = 100_000  # Enough for an estimate with an error of 0.5%.
ENOUGH_TO_JUDGE, NO_BETTER = 30, 0.9  # With fewer entries the ratio of errors is random.


class _Settings(NamedTuple):
    """The options of ``complete``; ``ridge`` is in units of the largest entry, the factors have ``num_columns``."""

    rank: int
    num_columns: int
    depth: int
    scale: float
    transform: optax.GradientTransformation
    ridge: float | None
    max_steps: int
    dense: bool | None


class _Solved(NamedTuple):
    """The two factors, the norm of the error of the fitted entries, the errors of the others, steps, reason, ridge."""

    left: Float[Array, "m k"]
    right: Float[Array, "n k"]
    observed: float
    missed: Float[np.ndarray, " N"]
    steps: int
    reason: str
    ridge: float


def complete(
    key: PRNGKey,
    entries: Any,
    rank: int,
    *,
    method: str = "deep",
    center: str | None = None,
    depth: int | None = None,
    scale: float | None = None,
    transform: optax.GradientTransformation | None = None,
    ridge: float | None = None,
    tolerance: float = 3e-5,
    max_steps: int = 5000,
    held_out: float = 0.05,
    dense: bool | None = None,
) -> Completion:
    """Recover a matrix from its observed entries; ``rank`` is an upper bound r^ on its rank, or with "als" the rank.

    ``method`` "deep" descends on 1/(2 p) ||Omega . (U W~_{L:1} V^T - Phi / sigma)||_F^2, a sum over the observed
    entries, with p the observed share of the fullest row or column and sigma an estimate of sigma_1(Phi), from layers
    eps I. L is ``depth`` and eps ``scale``. A depth of 2, the default, takes the fewest steps, with a default scale of
    3e-4. More layers start with eps^L = 3.4e-6 by default and tolerate a larger over-estimate of the rank. Directions
    that are not needed stay at about eps^L, so that a tolerance near that value needs a smaller scale.

    ``method`` "als" minimizes 1/2 ||Omega . (A B^T - Phi)||_F^2 + lambda/2 (||A||_F^2 + ||B||_F^2), a sum over the
    observed entries, over A (m x r^) and B (n x r^) in turn, exactly (``alternating``); a step is a sweep over both.
    lambda is ``ridge``, in the units of the data. By default it falls from sweep to sweep, from half of the value at
    which the best fit is 0, and the held-out entries choose it. A rank that is too low leaves an error that the
    held-out entries show; one that is too high costs accuracy under noise.

    Both methods end when the relative observed error is at most ``tolerance``, when the error on the share ``held_out``
    of the entries, which are not fitted, has risen permanently, or when the observed error no longer falls.

    ``entries`` are ``Entries``, a scipy sparse matrix, a pair (matrix, mask), a masked array, or an array with NaN for
    entries that are not observed. ``center`` subtracts a level from every row ("rows"), every column ("columns") or
    a_i + b_j from both ("both"), and adds it to the result by two more columns of the factors: for data such as
    ratings, whose mean would be by far the largest singular value.

    ``transform`` is any optax transform on an ``Adapter``, by default ``momentum.preconditioned(0.5)`` followed by
    ``restarted_momentum(1 / (L + 2))``. Gradient descent and line searches can be used directly; wrap transforms that
    scale every entry separately, such as Adam, in ``momentum.entrywise``. ``dense`` chooses the layout of the entries,
    by default the faster one. The computation has the dtype of the values (float32 if float64 is not enabled in JAX).

    Raises:
        TypeError: rank, depth or max_steps is not a whole number, or the entries are of an unknown type.
        ValueError: an option is unknown, out of its range or of the other method, the entries are not finite, beyond
            the range of the dtype, or given twice, every value is 0, or an array has no NaN.

    Warns:
        UnrecoverableWarning: rows or columns have no entries.
        UserWarning: the mean of the entries predicts the held-out entries nearly as well.

    Example:
        >>> import jax, numpy as np, lawlib
        >>> rng = np.random.default_rng(0)
        >>> matrix = rng.standard_normal((60, 2)) @ rng.standard_normal((2, 50))
        >>> seen = np.where(rng.random(matrix.shape) < 0.5, matrix, np.nan)  # half of the entries
        >>> found = lawlib.complete(jax.random.key(0), seen, rank=4)
        >>> bool(np.linalg.norm(found.left @ found.right.T - matrix) < 1e-3 * np.linalg.norm(matrix))
        True
    """
    _check_method(method, ridge, depth=depth, scale=scale, transform=transform)
    depth = 2 if depth is None else depth
    rank, depth, max_steps = (
        _whole(name, number) for name, number in (("rank", rank), ("depth", depth), ("max_steps", max_steps))
    )
    scale = _default_scale(depth) if scale is None else scale
    entries = as_entries(entries)
    _check(entries, rank, method, center, depth=depth, scale=scale, tolerance=tolerance, max_steps=max_steps)
    dtype = jax.dtypes.canonicalize_dtype(entries.values.dtype)
    entries, unit = _in_units(entries, dtype)
    key_held, key = jax.random.split(key)
    fitted, judged = hold_out(key_held, entries, held_out, at_most=MAX_HELD_OUT)
    if not np.any(fitted.values):
        fitted, judged = hold_out(key_held, entries, 0.0, at_most=MAX_HELD_OUT)
    level = None if center is None else levels(fitted, center)
    rest, rest_judged = (without_levels(part, level, dtype) for part in (fitted, judged))
    goal = tolerance * norm(fitted)
    transform = _default_transform(depth) if transform is None else transform
    ridge = None if ridge is None else ridge / unit
    num_columns = {"deep": 2 * rank, "als": rank}[method]
    settings = _Settings(rank, num_columns, depth, scale, transform, ridge, max_steps, dense)
    solve = {"deep": _descend, "als": _alternate}[method] if norm(rest) > goal else _nothing
    solved = solve(key, rest, rest_judged, goal, settings)
    _warn_of_a_mean(solved.missed, judged, fitted, center)
    typical = norm(fitted) / math.sqrt(len(fitted.values))
    error, spread = relative_error(solved.missed, judged.values.astype(np.float64), typical)
    unseen = without_entries(entries)
    left, right = with_levels(solved.left, solved.right, level, unseen, unit)
    return Completion(
        left,
        right,
        observed_error=solved.observed / norm(fitted),
        held_out_error=error,
        steps=solved.steps,
        converged=solved.reason in CONVERGED,
        reason=solved.reason,
        held_out_spread=spread,
        held_out_count=len(judged.values),
        unseen_rows=unseen[0],
        unseen_columns=unseen[1],
        ridge=solved.ridge * unit,
    )


def _in_units(entries: Entries, dtype: Any) -> tuple[Entries, float]:
    """The entries divided by the largest, and that one: squares of the given values may overflow."""
    unit = np.abs(entries.values).max()
    check_range(unit, entries.shape, dtype)
    values = (entries.values.astype(np.float64) / unit).astype(entries.values.dtype)
    return entries._replace(values=values), float(unit)


def _warn_of_a_mean(missed: np.ndarray, judged: Entries, fitted: Entries, center: str | None) -> None:
    """Warn if the mean predicts the held-out entries nearly as well: relative to a large mean any error is small."""
    if len(judged.values) < ENOUGH_TO_JUDGE:
        return
    left = np.asarray(judged.values, np.float64) - np.mean(fitted.values, dtype=np.float64)
    ours, its = (float(np.sqrt(np.mean(x**2))) for x in (missed, left))
    if ours > NO_BETTER * its:
        mend = "" if center == "both" else "; center='both' subtracts the levels of rows and columns first"
        msg = (
            f"the entries held out are predicted hardly better than by the mean of the others (error {ours:.3g}, of "
            f"the mean {its:.3g}, over the largest entry): only the mean of the matrix was recovered{mend}"
        )
        warnings.warn(msg, stacklevel=3)


def _nothing(key: PRNGKey, fitted: Entries, judged: Entries, goal: float, settings: _Settings) -> _Solved:
    """Factors of 0, for entries within the tolerance of their levels."""
    left, right = (jnp.zeros((size, settings.num_columns), fitted.values.dtype) for size in fitted.shape)
    return _Solved(left, right, norm(fitted), -judged.values.astype(np.float64), 0, "tolerance", 0.0)


def _descend(key: PRNGKey, fitted: Entries, judged: Entries, goal: float, settings: _Settings) -> _Solved:
    """The compressed network."""
    key_init, key_bases = jax.random.split(key)
    layout = arrange(fitted, settings.num_columns, dense=settings.dense)
    init = _spectral_init(key_init, layout, trimming_weights(fitted), rank=settings.rank)
    sigma = _scale_of(fitted, init)
    factors = _start(key_bases, init, settings.scale, depth=settings.depth)
    task = task_of(_scaled(layout, 1 / sigma), fitted, judged, sigma=sigma, tolerance=goal / norm(fitted))
    factors, steps, reason = descend(factors, task, settings.transform, settings.max_steps)
    left, right = two_factors(factors)
    observed, missed = final_errors(left, right, task)
    missed = np.asarray(missed, np.float64) * float(sigma)
    return _Solved(left * sigma, right, float(observed) * norm(fitted), missed, steps, reason, 0.0)


def _alternate(key: PRNGKey, fitted: Entries, judged: Entries, goal: float, settings: _Settings) -> _Solved:
    """Alternating least squares; no singular value of entries within -1..1 is too large for a unit of 1."""
    rank = settings.rank
    layout = arrange(fitted, rank, dense=settings.dense)
    init = _spectral_init(key, layout, trimming_weights(fitted), rank=rank)
    task = task_of(layout, fitted, judged, sigma=jnp.ones_like(init.norm), tolerance=goal / norm(fitted))
    begun = SVD(init.left, jnp.broadcast_to(init.norm / fitted.density, (rank,)), init.right)
    # The best fit is 0 for a ridge of ||Omega . Phi||_2 <= 2 sqrt(m n). This far beyond it, one sweep gets there and
    # nothing overflows.
    largest = math.sqrt(math.prod(fitted.shape)) / float(jnp.finfo(init.norm.dtype).eps)
    ridges = (
        falling_ridges(float(init.norm)) if settings.ridge is None else itertools.repeat(min(settings.ridge, largest))
    )
    found, ridge, steps, reason = alternate(begun, task, ridges, settings.max_steps)
    left = found.left * found.values[None]
    observed, missed = final_errors(left, found.right, task)
    missed = np.asarray(missed, np.float64)
    return _Solved(left, found.right, float(observed) * norm(fitted), missed, steps, reason, ridge)


def _started(key: PRNGKey, init: SpectralInit, scale: Rate, *, depth: int) -> Adapter:
    """The layers at eps I, between the active bases of a wide network."""
    return deep_lora(draw_bases(key, init.left, init.right), depth=depth, scale=scale)


def _scale_of(fitted: Entries, init: SpectralInit) -> Scalar:
    """An estimate of sigma_1(Phi); bounded by an estimate of ||Phi||_F, in case of noise."""
    bound = norm(fitted) / math.sqrt(fitted.density)
    return jnp.minimum(init.norm / fitted.density, jnp.asarray(bound, init.norm.dtype))


def _default_scale(depth: int) -> float:
    return SCALE if depth <= 2 else DEEPER_PRODUCT ** (1 / depth)


@ft.cache
def _default_transform(depth: int) -> optax.GradientTransformation:
    """One object for each depth, so that its compiled programs are reused.

    A fitted network has a curvature of about L + 2, the sum of one projection for each factor, and Nesterov's method is
    stable for step sizes below 4/3 of the inverse.
    """
    return optax.chain(preconditioned(DAMPING), restarted_momentum(1 / (depth + 2)))


def _whole(name: str, number: Any) -> int:
    try:
        return operator.index(number)
    except TypeError:
        msg = f"{name} must be a whole number, got {number!r}"
        raise TypeError(msg) from None


def _check_method(method: str, ridge: float | None, **of_deep: Any) -> None:
    """Check the method, and that no option belongs to the other one."""
    if method not in METHODS:
        msg = f"method must be one of {', '.join(map(repr, METHODS))}, got {method!r}"
        raise ValueError(msg)
    foreign = {"ridge": ridge} if method == "deep" else of_deep
    if given := [name for name, value in foreign.items() if value is not None]:
        other = "als" if method == "deep" else "deep"
        msg = f"{', '.join(given)}: only method={other!r} has this, leave it out or change the method, got {method!r}"
        raise ValueError(msg)
    if ridge is not None and not (isinstance(ridge, Real) and 0 <= ridge < math.inf):
        msg = f"ridge must be a finite number and not negative, got {ridge!r}"
        raise ValueError(msg)


def _check(entries: Entries, rank: int, method: str, center: str | None, **positive: float | int) -> None:
    """Check rank, center and positive numbers, and that the entries are not all zero."""
    m, n = entries.shape
    largest, why = min(m, n), "its smaller side"
    if method == "deep":
        largest, why = min(m, n, max(m, n) // 2), "whose bases have 2 rank columns"
    if largest < 1:
        msg = f"there is nothing to complete in a {m} x {n} matrix"
        raise ValueError(msg)
    if not 1 <= rank <= largest:
        msg = f"rank must be in 1..{largest} for a {m} x {n} matrix, {why}, got {rank}"
        raise ValueError(msg)
    for name, value in positive.items():
        if not 0 < value < math.inf:
            msg = f"{name} must be positive and finite, got {value}"
            raise ValueError(msg)
    if center not in CENTERS:
        msg = f"center must be one of {', '.join(map(repr, CENTERS))}, got {center!r}"
        raise ValueError(msg)
    if not np.any(entries.values):
        msg = "every observed value is 0: the matrix that fits them best is 0"
        raise ValueError(msg)


# Compiled once for each shape of the entries: one by one, the operations of a start take a second to compile.
_spectral_init = jax.jit(spectral_init, static_argnames="rank")
_start = jax.jit(_started, static_argnames="depth")
_scaled = jax.jit(scaled)
