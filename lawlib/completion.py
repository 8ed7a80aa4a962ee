"""Completion of a low-rank matrix from observed entries by the compressed network (Yaras et al. 2023, Section 4.1).

The network is W_comp = U W~_L ... W~_1 V^T with k = 2 r^ columns in U and V, r^ an over-estimate of the rank, and
k x k layers in between (eqs. 9 and 11). The layers start at eps I and the bases where a wide network's active
subspaces would lie for singular vectors guessed from the entries; all of it is trained. A step costs O(|Omega| k) on
sparse entries, and nothing m x n is made for them.

The solver works in units of the data: entries are divided by an estimate of sigma_1 and the loss by the observed share
of the fullest line. Gradients are preconditioned: curvatures are of order one along every
direction, one step size serves all, and a floor that outlasts ``STALL`` looks is noise and no plateau.
"""

import functools as ft
import math
import operator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from lawlib.centering import CENTERS, less, levels, with_levels
from lawlib.compress import Bases, draw_bases
from lawlib.entries import Entries, check_range, hold_out, relative_error, taken_in, without_entries
from lawlib.guesses import Guess, line_weights, spectral_guess
from lawlib.layouts import Layout, arrange, scaled, sum_squared_error
from lawlib.networks.deep_linear import end_to_end
from lawlib.transforms import preconditioned, restarted_momentum
from lawlib.types import Array, Bool, Float, Int, Matrix, PRNGKey, PyTree, Scalar, Weights

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
CHECK = 5  # Steps between two looks at the held-out entries.
PATIENCE, RISE = 20, 1.02  # So many looks without a lowest error, and then one that stands so far above it, are enough.
STALL, LEAST_FALL = 50, 1e-4  # So many looks over which the observed error falls by less than this are enough, too,
LEFT_START = 0.9  # once it has fallen below this: the start is a plateau of its own.
CONVERGED = ("tolerance", "error rises", "stalled")  # Noise is no failure.
MAX_HELD_OUT = 100_000  # Enough for an estimate to half a per cent.

_matmul = ft.partial(jnp.matmul, precision="highest")


class Factors(NamedTuple):
    """The compressed network U W~_L ... W~_1 V^T: ``left`` is U, ``core`` (W~_1, ..., W~_L), ``right`` V."""

    left: Float[Array, "m k"]
    core: Weights
    right: Float[Array, "n k"]


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


class _Judged(NamedTuple):
    """Entries that were held out, in the solver's units, and the norm that their errors refer to."""

    rows: Int[Array, " N"]
    columns: Int[Array, " N"]
    values: Float[Array, " N"]
    norm: Scalar


class _Task(NamedTuple):
    """The entries in the solver's units, fitted and held out, and what their loss and errors refer to.

    ``share`` divides the loss, ``square`` is the sum of the squared entries, ``tolerance`` the relative error to reach.
    """

    layout: Layout
    judged: _Judged
    share: Scalar
    square: Scalar
    tolerance: Scalar


class _Progress(NamedTuple):
    """The factors, the transform's memory, the relative observed error before the last step, and the steps so far."""

    factors: Factors
    memory: PyTree
    error: Scalar
    steps: Int[Array, ""]


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
    Warns of rows and columns without entries.
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
    goal = tolerance * _norm(fitted)
    solve = _solve if _norm(rest) > goal else _nothing
    left, right, observed, missed, steps, reason = solve(
        key,
        rest,
        rest_judged,
        rank,
        goal,
        depth=depth,
        scale=scale,
        transform=transform,
        max_steps=max_steps,
        dense=dense,
    )
    error, spread = relative_error(
        missed, judged.values.astype(np.float64), _norm(fitted) / math.sqrt(len(fitted.values))
    )
    left, right = with_levels(left, right, level, without_entries(entries), unit)
    empty_rows, empty_columns = (int(unseen.sum()) for unseen in without_entries(entries))
    return Completion(
        left, right, observed / _norm(fitted), error, steps, reason in CONVERGED, reason,
        spread, len(judged.values), empty_rows, empty_columns,
    )  # fmt: skip


def start(bases: Bases, *, depth: int, scale: float | Scalar) -> Factors:
    """The compressed network at the start: U and V from the bases, W~_l = eps I with eps = scale for l in 1..L."""
    layer = jnp.asarray(scale, bases.left.dtype) * jnp.eye(bases.left.shape[1], dtype=bases.left.dtype)
    return Factors(bases.left, (layer,) * depth, bases.right)


def two_factors(factors: Factors) -> tuple[Float[Array, "m k"], Float[Array, "n k"]]:
    """W_comp = A B^T in two factors, A = U W~_{L:1} and B = V."""
    return _matmul(factors.left, end_to_end(factors.core)), factors.right


def product(factors: Factors) -> Matrix:
    """The end-to-end matrix W_comp = U W~_{L:1} V^T (Yaras et al. 2023, eq. 11), m x n."""
    left, right = two_factors(factors)
    return _matmul(left, right.T)


def entries_of(
    left: Float[Array, "m k"], right: Float[Array, "n k"], rows: Int[Array, " N"], columns: Int[Array, " N"]
) -> Float[Array, " N"]:
    """The entries (rows[i], columns[i]) of left right^T, NaN beyond it, in blocks: memory does not grow with N k."""
    rows, columns = jnp.asarray(rows), jnp.asarray(columns)
    return lax.map(
        lambda at: jnp.sum(left.at[at[0]].get(mode="fill") * right.at[at[1]].get(mode="fill")),
        (rows, columns),
        batch_size=max(1, min(2**16, rows.size)),
    )


def _norm(entries: Entries) -> float:
    # BLAS would start threads for its dot product, which cost more than the sum.
    return math.sqrt(np.sum(np.square(entries.values, dtype=np.float64)))


def _nothing(
    key: PRNGKey, fitted: Entries, judged: Entries, rank: int, goal: float, **_: Any
) -> tuple[Array, Array, float, np.ndarray, int, str]:
    """Of entries within the tolerance of their levels: factors of 0."""
    left, right = (jnp.zeros((size, 2 * rank), fitted.values.dtype) for size in fitted.shape)
    return left, right, _norm(fitted), -judged.values.astype(np.float64), 0, "tolerance"


def _solve(
    key: PRNGKey,
    fitted: Entries,
    judged: Entries,
    rank: int,
    goal: float,
    *,
    depth: int,
    scale: float,
    transform: optax.GradientTransformation | None, max_steps: int, dense: bool | None,
) -> tuple[Array, Array, float, np.ndarray, int, str]:  # fmt: skip
    """The two factors, the norm of the error of what was fitted, the errors of what was not, steps and reason."""
    key_guess, key_bases = jax.random.split(key)
    layout = arrange(fitted, 2 * rank, dense=dense)
    guess = _spectral_guess(key_guess, layout, line_weights(fitted), rank=rank)
    sigma = _scale_of(fitted, guess)
    factors = start(draw_bases(key_bases, guess.left, guess.right), depth=depth, scale=scale)
    task = _task(scaled(layout, 1 / sigma), fitted, judged, sigma, goal / _norm(fitted))
    transform = _default_transform(depth) if transform is None else transform
    factors, steps, reason = _descend(factors, task, transform, max_steps)
    observed, missed = _final_errors(factors, task)
    left, right = two_factors(factors)
    missed = np.asarray(missed, np.float64) * float(sigma)
    return left * sigma, right, float(observed) * _norm(fitted), missed, steps, reason


def _scale_of(fitted: Entries, guess: Guess) -> Scalar:
    """An estimate of sigma_1(Phi); the norm of all of Phi bounds what noise can make of the guess."""
    norm = _norm(fitted) / math.sqrt(fitted.density)
    return jnp.minimum(guess.norm / fitted.density, jnp.asarray(norm, guess.norm.dtype))


def _task(layout: Layout, fitted: Entries, judged: Entries, sigma: Scalar, tolerance: float) -> _Task:
    def number(x: float) -> Scalar:
        return jnp.asarray(x, sigma.dtype)

    square = jnp.square(number(_norm(fitted)) / sigma)
    # Where zeros alone were held out, what was fitted tells what is small.
    missing = number(_norm(judged)) / sigma
    typical = jnp.sqrt(square * (len(judged.values) / len(fitted.values)))
    rows, columns, values = map(jnp.asarray, judged[:3])
    unseen = _Judged(rows, columns, values / sigma, jnp.where(missing > 0, missing, typical))
    return _Task(layout, unseen, number(_fullest_share(fitted)), square, number(tolerance))


def _descend(
    factors: Factors, task: _Task, transform: optax.GradientTransformation, max_steps: int
) -> tuple[Factors, int, str]:
    """Stretches of steps with a look at the errors after each, until there is a reason to stop."""
    memory = transform.init(factors)
    progress = _Progress(factors, memory, jnp.asarray(jnp.inf, task.square.dtype), jnp.asarray(0, jnp.int32))
    # Of weights near 0 every relative error is 1.
    lowest, best, since, observed = 1.0, factors, 0, []
    while True:
        last = jnp.asarray(min(int(progress.steps) + CHECK, max_steps), jnp.int32)
        progress, judged = _stretch(progress, task, last, transform=transform)
        error, judged = float(progress.error), float(judged)
        observed.append(error)
        since = 0 if judged < lowest else since + 1
        lowest, best = (judged, progress.factors) if since == 0 else (lowest, best)
        if error <= float(task.tolerance):
            return progress.factors, int(progress.steps), "tolerance"
        if not math.isfinite(error + judged):
            return best, int(progress.steps), "diverged"
        if since >= PATIENCE and judged > RISE * lowest:
            return best, int(progress.steps), "error rises" if task.judged.values.size else "diverged"
        if len(observed) > STALL and LEFT_START > error > (1 - LEAST_FALL) * observed[-1 - STALL]:
            return best, int(progress.steps), "stalled"
        if int(progress.steps) == max_steps:
            return best, int(progress.steps), "steps"


def _run(progress: _Progress, task: _Task, last: Int[Array, ""], *, transform) -> tuple[_Progress, Scalar]:
    """Steps up to the number ``last`` or the tolerance, and the error that judges them after the last."""
    transform = optax.with_extra_args_support(transform)

    def objective(factors: Factors) -> Scalar:
        return sum_squared_error(*two_factors(factors), task.layout) / task.share

    def step(now: _Progress) -> _Progress:
        value, gradients = jax.value_and_grad(objective)(now.factors)
        error = jnp.sqrt(2 * task.share * value / task.square)
        # optax raises its rates to an integer count, a mixture of dtypes that strict promotion refuses.
        with jax.numpy_dtype_promotion("standard"):
            updates, memory = transform.update(
                gradients, now.memory, now.factors, value=value, grad=gradients, value_fn=objective
            )
        # What has reached the tolerance stays as it was judged.
        going = error > task.tolerance
        factors = jax.tree.map(lambda x, move: jnp.where(going, x + move, x), now.factors, updates)
        return _Progress(factors, memory, error, now.steps + going.astype(jnp.int32))

    def goes_on(now: _Progress) -> Bool[Array, ""]:
        return (now.steps < last) & (now.error > task.tolerance)

    progress = lax.while_loop(goes_on, step, progress)
    observed, missed = _errors(progress.factors, task)
    return progress, jnp.linalg.norm(missed) / task.judged.norm if missed.size else observed


def _errors(factors: Factors, task: _Task) -> tuple[Scalar, Float[Array, " N"]]:
    """The relative error of what was fitted, and what was missed of each entry held out."""
    rows, columns, values, _ = task.judged
    left, right = two_factors(factors)
    observed = jnp.sqrt(2 * sum_squared_error(left, right, task.layout) / task.square)
    return observed, entries_of(left, right, rows, columns) - values if values.size else values


def _fullest_share(entries: Entries) -> float:
    """The observed share of the row or column that has most of its entries observed."""
    m, n = entries.shape
    return max(np.bincount(entries.rows).max() / n, np.bincount(entries.columns).max() / m)


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


# Compiled once for each shape of the entries and each transform.
_spectral_guess = jax.jit(spectral_guess, static_argnames="rank")
_stretch = jax.jit(_run, static_argnames="transform")
_final_errors = jax.jit(_errors)
