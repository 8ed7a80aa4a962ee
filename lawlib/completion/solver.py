"""Completion of a low-rank matrix from observed entries by the compressed network (Yaras et al. 2023, Section 4.1).

The network is W_comp = U W~_L ... W~_1 V^T with k = 2 r^ columns in U and V, r^ an over-estimate of the rank, and
k x k layers in between (eqs. 9 and 11). The layers start at eps I and the bases where a wide network's active
subspaces would lie for singular vectors guessed from the entries; all of it is trained. A step costs O(|Omega| k) on
sparse entries, and nothing m x n is made for them.

The solver works in units of the data: entries are divided by an estimate of sigma_1 and the loss by the observed share
of the fullest line. Gradients are preconditioned: curvatures are of order one along every direction, one step size
serves all, and a floor that outlasts fifty looks is noise and no plateau (``stopping``).
"""

import functools as ft
import math
import operator
import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lawlib.completion.centering import CENTERS, less, levels, with_levels
from lawlib.completion.compressed_network import Factors, entries_of, product, start, two_factors
from lawlib.completion.entries import Entries, check_range, hold_out, norm, relative_error, taken_in, without_entries
from lawlib.completion.fitting import descend, final_errors, task_of
from lawlib.completion.layouts import arrange, scaled
from lawlib.completion.momentum import preconditioned, restarted_momentum
from lawlib.completion.spectral_init import SpectralInit, spectral_init, trimming_weights
from lawlib.completion.stopping import CONVERGED
from lawlib.compress import draw_bases
from lawlib.types import Array, Float, PRNGKey, Scalar

__all__ = [
    "Completion",
    "Factors",
    "complete",
    "entries_of",
    "product",
    "start",
    "two_factors",
]

# The scale at which layers start: for two layers the fewest steps; for more, eps^L of it is what a plateau allows.
SCALE, DEEPER_PRODUCT = 3e-4, 3.4e-6
DAMPING = 0.5  # Of the distance that is left: half as much fits noise sooner, twice as much takes longer.
MAX_HELD_OUT = 100_000  # Enough for an estimate to half a per cent.
ENOUGH_TO_JUDGE, NO_BETTER = 30, 0.9  # Of fewer entries a ratio of errors is a matter of chance.


class Completion(NamedTuple):
    """The recovered matrix left right^T in the data's own units, and how far to trust it.

    Errors are relative, ||Omega . (left right^T - Phi)||_F / ||Omega . Phi||_F: over the entries that were fitted, and
    over those held out, an estimate of the recovery error and of the noise together (NaN where none were).
    ``held_out_spread`` is the standard error of that estimate, from ``held_out_count`` entries
    (``entries.relative_error``): few make it wide.

    ``reason`` is "tolerance" (the observed error reached it), "error rises" (of what was held out, for good: what is
    left is noise, or there are too few entries), "stalled" (the observed error stands on a floor of noise), "steps" or
    "diverged" (not finite, or, where nothing was held out, risen for good: too large a step). ``converged`` says that
    the descent ended by itself, by one of the first three. "tolerance" returns the last factors, all else those of the
    lowest such error on the way, the start included.

    The ``empty_rows`` and ``empty_columns`` without entries come back as NaN, unless centring gives them their level:
    "both" that of the other side's mean, "columns" a row the columns' means, "rows" a column the rows' means.
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
    empty_rows: int
    empty_columns: int


class _Settings(NamedTuple):
    rank: int
    depth: int
    scale: float
    transform: optax.GradientTransformation
    max_steps: int
    dense: bool | None


class _Solved(NamedTuple):
    """The two factors, the norm of the error of what was fitted, the errors of what was not, steps and reason."""

    left: Float[Array, "m k"]
    right: Float[Array, "n k"]
    observed: float
    missed: Float[np.ndarray, " N"]
    steps: int
    reason: str


def complete(
    key: PRNGKey,
    entries: Any,
    rank: int,
    *,
    center: str | None = None,
    depth: int = 2,
    scale: float | None = None,
    transform: optax.GradientTransformation | None = None,
    tolerance: float = 3e-5,
    max_steps: int = 5000,
    held_out: float = 0.05,
    dense: bool | None = None,
) -> Completion:
    """Recover a matrix from its observed entries; ``rank`` is an over-estimate r^ of its rank.

    Descends on 1/(2 p) ||Omega . (U W~_{L:1} V^T - Phi / sigma)||_F^2, a sum over the observed entries, with p the
    observed share of the fullest row or column and sigma an estimate of sigma_1(Phi), from layers eps I. L is ``depth``
    and eps ``scale``: a depth of 2 takes the fewest steps, from 3e-4; more layers start where eps^L = 3.4e-6 and
    forgive a larger over-estimate. Directions that are not needed stay at about eps^L, so that a tolerance near that
    needs a smaller scale. The descent ends when the relative observed error is at most ``tolerance``, when the error on
    the share ``held_out`` of the entries, which are not fitted, has risen for good, or when the observed error falls no
    more.

    ``entries`` are ``Entries``, a scipy sparse matrix, a pair (matrix, mask) or an array with NaN where nothing was
    observed. ``center`` takes a level off every row ("rows"), column ("columns") or a_i + b_j off both ("both") and
    gives it back in two columns more of the factors: for ratings and the like, whose mean would be the largest singular
    value by far.

    ``transform`` is any optax transform on ``Factors``, by default ``transforms.preconditioned(0.5)`` and then
    ``restarted_momentum(1 / (L + 2))``. Gradient descent and line searches fit as they are; what scales every entry by
    itself, like Adam, goes into ``transforms.entrywise``. ``dense`` chooses the layout of the entries, by default the
    faster one. The computation has the dtype of the values (float32 where JAX has no float64 enabled).

    Raises:
        TypeError: rank, depth or max_steps is not a whole number, or the entries are of no kind that is known.
        ValueError: rank, center, depth, scale, tolerance, max_steps or held_out is out of its range, the entries are
            not finite, beyond the range of the dtype, or given twice, or every value is 0.
    Warns of rows and columns without entries, and of held-out entries that their mean predicts nearly as well.
    """
    rank, depth, max_steps = map(operator.index, (rank, depth, max_steps))
    scale = _default_scale(depth) if scale is None else scale
    entries = taken_in(entries)
    _check(entries, rank, center, depth=depth, scale=scale, tolerance=tolerance, max_steps=max_steps)
    # Squares of what is given may overflow; of this they do not.
    unit = np.abs(entries.values).max()
    dtype = jax.dtypes.canonicalize_dtype(entries.values.dtype)
    check_range(unit, entries.shape, dtype)
    entries = entries._replace(values=(entries.values.astype(np.float64) / unit).astype(entries.values.dtype))
    key_held, key = jax.random.split(key)
    fitted, judged = hold_out(key_held, entries, held_out, at_most=MAX_HELD_OUT)
    if not np.any(fitted.values):
        fitted, judged = hold_out(key_held, entries, 0.0, at_most=MAX_HELD_OUT)
    level = None if center is None else levels(fitted, center)
    rest, rest_judged = (less(part, level, dtype) for part in (fitted, judged))
    goal = tolerance * norm(fitted)
    transform = _default_transform(depth) if transform is None else transform
    settings = _Settings(rank, depth, scale, transform, max_steps, dense)
    solve = _solve if norm(rest) > goal else _nothing
    solved = solve(key, rest, rest_judged, goal, settings)
    _warn_of_a_mean(solved.missed, judged, fitted, center)
    typical = norm(fitted) / math.sqrt(len(fitted.values))
    error, spread = relative_error(solved.missed, judged.values.astype(np.float64), typical)
    empty = without_entries(entries)
    left, right = with_levels(solved.left, solved.right, level, empty, unit)
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
        empty_rows=int(empty[0].sum()),
        empty_columns=int(empty[1].sum()),
    )


def _warn_of_a_mean(missed: np.ndarray, judged: Entries, fitted: Entries, center: str | None) -> None:
    """Warn where the mean predicts what was held out nearly as well: beside a large mean any error looks small."""
    if len(judged.values) < ENOUGH_TO_JUDGE:
        return
    left = np.asarray(judged.values, np.float64) - np.mean(fitted.values, dtype=np.float64)
    ours, its = (float(np.sqrt(np.mean(x**2))) for x in (missed, left))
    if ours > NO_BETTER * its:
        mend = "" if center == "both" else "; center='both' takes off the levels of rows and columns first"
        msg = (
            f"the entries held out are predicted hardly better than by the mean of the others (error {ours:.3g}, of "
            f"the mean {its:.3g}, over the largest entry): of the matrix beside its mean nothing was recovered{mend}"
        )
        warnings.warn(msg, stacklevel=3)


def _nothing(key: PRNGKey, fitted: Entries, judged: Entries, goal: float, settings: _Settings) -> _Solved:
    """Of entries within the tolerance of their levels: factors of 0."""
    left, right = (jnp.zeros((size, 2 * settings.rank), fitted.values.dtype) for size in fitted.shape)
    return _Solved(left, right, norm(fitted), -judged.values.astype(np.float64), 0, "tolerance")


def _solve(key: PRNGKey, fitted: Entries, judged: Entries, goal: float, settings: _Settings) -> _Solved:
    key_init, key_bases = jax.random.split(key)
    layout = arrange(fitted, 2 * settings.rank, dense=settings.dense)
    init = _spectral_init(key_init, layout, trimming_weights(fitted), rank=settings.rank)
    sigma = _scale_of(fitted, init)
    bases = draw_bases(key_bases, init.left, init.right)
    factors = start(bases, depth=settings.depth, scale=settings.scale)
    task = task_of(scaled(layout, 1 / sigma), fitted, judged, sigma=sigma, tolerance=goal / norm(fitted))
    factors, steps, reason = descend(factors, task, settings.transform, settings.max_steps)
    observed, missed = final_errors(factors, task)
    left, right = two_factors(factors)
    missed = np.asarray(missed, np.float64) * float(sigma)
    return _Solved(left * sigma, right, float(observed) * norm(fitted), missed, steps, reason)


def _scale_of(fitted: Entries, init: SpectralInit) -> Scalar:
    """An estimate of sigma_1(Phi); the norm of all of Phi bounds what noise can make of the guess."""
    bound = norm(fitted) / math.sqrt(fitted.density)
    return jnp.minimum(init.norm / fitted.density, jnp.asarray(bound, init.norm.dtype))


def _default_scale(depth: int) -> float:
    return SCALE if depth <= 2 else DEEPER_PRODUCT ** (1 / depth)


@ft.cache
def _default_transform(depth: int) -> optax.GradientTransformation:
    """One object for each depth: what is compiled for it is found again.

    A fitted network has curvature about L + 2, the sum of one projection for each factor, and Nesterov's method is
    stable below 4/3 of the inverse.
    """
    return optax.chain(preconditioned(DAMPING), restarted_momentum(1 / (depth + 2)))


def _check(entries: Entries, rank: int, center: str | None, **positive: float | int) -> None:
    """Refuse what no compute could mend."""
    m, n = entries.shape
    largest = min(m, n, max(m, n) // 2)
    if largest < 1:
        msg = f"there is nothing to complete in a {m} x {n} matrix"
        raise ValueError(msg)
    if not 1 <= rank <= largest:
        msg = f"rank must be in 1..{largest} for a {m} x {n} matrix, whose bases have 2 rank columns, got {rank}"
        raise ValueError(msg)
    for name, value in positive.items():
        if not 0 < value < math.inf:
            msg = f"{name} must be positive and finite, got {value}"
            raise ValueError(msg)
    if center not in CENTERS:
        msg = f"center must be one of {', '.join(map(repr, CENTERS))}, got {center!r}"
        raise ValueError(msg)
    if not np.any(entries.values):
        msg = "every observed value is 0, and so is the matrix that fits them best"
        raise ValueError(msg)


# Compiled once for each shape of the entries.
_spectral_init = jax.jit(spectral_init, static_argnames="rank")
