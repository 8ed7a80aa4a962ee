"""Descent of a compressed network on observed entries, with regular checks of its errors (``stopping``)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from lawlib.completion.compressed_network import entries_of, two_factors
from lawlib.completion.entries import Entries, norm
from lawlib.completion.layouts import Layout, sum_squared_error
from lawlib.completion.stopping import CHECK, History, observe, reason_to_stop
from lawlib.compress.adapters import Adapter
from lawlib.types import Array, Bool, Float, Int, PyTree, Scalar

__all__ = ["Task", "descend", "errors_of", "final_errors", "task_of"]


class _Judged(NamedTuple):
    """Held-out entries in the solver's units, and the norm that their errors are relative to."""

    rows: Int[Array, " N"]
    columns: Int[Array, " N"]
    values: Float[Array, " N"]
    norm: Scalar


class Task(NamedTuple):
    """The entries in the solver's units, fitted and held out, with the scales of loss and errors.

    ``share`` divides the loss, ``square`` is the sum of the squared entries, ``tolerance`` the relative error to reach.
    """

    layout: Layout
    judged: _Judged
    share: Scalar
    square: Scalar
    tolerance: Scalar


class _Progress(NamedTuple):
    """The factors, the transform's state, the relative observed error before the last step, and the steps so far."""

    factors: Adapter
    memory: PyTree
    error: Scalar
    steps: Int[Array, ""]


def task_of(layout: Layout, fitted: Entries, judged: Entries, *, sigma: Scalar, tolerance: float) -> Task:
    """The task of fitting a ``layout`` whose values are already divided by ``sigma``; those of the entries are not."""

    def number(x: float) -> Scalar:
        return jnp.asarray(x, sigma.dtype)

    square = jnp.square(number(norm(fitted)) / sigma)
    # If all held-out values are zero, errors are relative to the typical size of the fitted values.
    missing = number(norm(judged)) / sigma
    typical = jnp.sqrt(square * (len(judged.values) / len(fitted.values)))
    rows, columns, values = map(jnp.asarray, judged[:3])
    unseen = _Judged(rows, columns, values / sigma, jnp.where(missing > 0, missing, typical))
    return Task(layout, unseen, number(_fullest_share(fitted)), square, number(tolerance))


def descend(
    factors: Adapter, task: Task, transform: optax.GradientTransformation, max_steps: int
) -> tuple[Adapter, int, str]:
    """Descent with a check of the errors after every few steps, until there is a reason to stop.

    Returns the last factors if the tolerance is reached, otherwise those of the best check, the start included; the
    number of steps; and the reason.
    """
    memory, held_out = transform.init(factors), task.judged.values.size > 0
    progress = _Progress(factors, memory, jnp.asarray(jnp.inf, task.square.dtype), jnp.asarray(0, jnp.int32))
    best, history = factors, History()
    while True:
        last = jnp.asarray(min(int(progress.steps) + CHECK, max_steps), jnp.int32)
        progress, judged = _stretch(progress, task, last, transform=transform)
        history = observe(history, fitted=float(progress.error), judged=float(judged))
        steps, reason = int(progress.steps), reason_to_stop(history, float(task.tolerance), held_out=held_out)
        best = progress.factors if history.since == 0 or reason == "tolerance" else best
        if reason or steps == max_steps:
            return best, steps, reason or "steps"


def _run(progress: _Progress, task: Task, last: Int[Array, ""], *, transform) -> tuple[_Progress, Scalar]:
    """Steps up to the number ``last`` or the tolerance, and the error afterwards, of the held-out entries if any."""
    transform = optax.with_extra_args_support(transform)

    def objective(factors: Adapter) -> Scalar:
        return sum_squared_error(*two_factors(factors), task.layout) / task.share

    def step(now: _Progress) -> _Progress:
        value, gradients = jax.value_and_grad(objective)(now.factors)
        error = jnp.sqrt(2 * task.share * value / task.square)
        # optax raises its rates to an integer power, a mixture of dtypes that strict promotion refuses.
        with jax.numpy_dtype_promotion("standard"):
            updates, memory = transform.update(
                gradients, now.memory, now.factors, value=value, grad=gradients, value_fn=objective
            )
        # Factors that have reached the tolerance are not changed any more.
        running = error > task.tolerance
        factors = jax.tree.map(lambda x, move: jnp.where(running, x + move, x), now.factors, updates)
        return _Progress(factors, memory, error, now.steps + running.astype(jnp.int32))

    def is_running(now: _Progress) -> Bool[Array, ""]:
        return (now.steps < last) & (now.error > task.tolerance)

    progress = lax.while_loop(is_running, step, progress)
    observed, missed = errors_of(*two_factors(progress.factors), task)
    return progress, jnp.linalg.norm(missed) / task.judged.norm if missed.size else observed


def errors_of(left: Float[Array, "m k"], right: Float[Array, "n k"], task: Task) -> tuple[Scalar, Float[Array, " N"]]:
    """The relative error of left right^T on the fitted entries, and its error on each held-out entry."""
    rows, columns, values, _ = task.judged
    observed = jnp.sqrt(2 * sum_squared_error(left, right, task.layout) / task.square)
    return observed, entries_of(left, right, rows, columns) - values if values.size else values


def _fullest_share(entries: Entries) -> float:
    """The observed share of the fullest row or column."""
    m, n = entries.shape
    return max(np.bincount(entries.rows).max() / n, np.bincount(entries.columns).max() / m)


# Compiled once for each shape of the entries and each transform.
_stretch = jax.jit(_run, static_argnames="transform")
final_errors = jax.jit(errors_of)
