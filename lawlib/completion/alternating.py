"""Alternating least squares on observed entries: the exact minimizer in one factor at a time, along falling ridges.

The objective is 1/2 ||Omega . (A B^T - Phi)||_F^2 + lambda/2 (||A||_F^2 + ||B||_F^2), a sum over the observed entries,
with r columns in A and B and lambda the ridge (Koren, Bell and Volinsky, Computer 42, 2009). Of all factors of one
product W = U S V^T the balanced ones, A = U S^{1/2} and B = V S^{1/2}, have the smallest ridge term, lambda ||W||_*
(Hastie, Mazumder, Lee and Zadeh, J. Mach. Learn. Res. 16, 2015). W is kept as this decomposition, which balances the
factors after every half of a sweep, and the rows of A are found in the basis V.
"""

import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve

from lawlib.completion.fitting import Task, errors_of
from lawlib.completion.layouts import Layout, multiply_residual, normal_equations, transposed
from lawlib.completion.stopping import History, observe, reason_to_stop
from lawlib.linalg.spectra import SVD
from lawlib.types import Array, Float, Scalar, Vector, matmul

__all__ = ["alternate", "falling_ridges", "ridge_rows"]

# Ridges in units of ||Omega . Phi||_2, from which on the best fit is 0.
# They fall slowly enough that a sweep follows: with 0.5 a rank that is too high costs five times the error without
# noise.
FIRST_RIDGE, FALL = 0.5, 0.7


def falling_ridges(unit: float) -> Iterator[float]:
    """A ridge for each sweep: from half of ``unit`` = ||Omega . Phi||_2, at which the best fit is 0, on."""
    ridge = FIRST_RIDGE * unit
    while True:
        yield ridge
        ridge *= FALL


def alternate(start: SVD, task: Task, ridges: Iterator[float], max_steps: int) -> tuple[SVD, float, int, str]:
    """Sweeps over both factors, the errors checked after each, until there is a reason to stop.

    Returns the factors, their ridge, the number of sweeps and the reason. If no sweep predicts the held-out entries
    better than 0 does, the factors are 0, the best fit at an infinite ridge.
    """
    found, history, held_out = start, History(), task.judged.values.size > 0
    best = start._replace(values=jnp.zeros_like(start.values)), math.inf
    for steps in range(1, max_steps + 1):
        ridge = next(ridges)
        found, fitted, judged = _sweep(found, task, jnp.asarray(ridge, task.square.dtype))
        history = observe(history, fitted=float(fitted), judged=float(judged))
        reason = reason_to_stop(history, float(task.tolerance), held_out=held_out, plateau=False)
        best = (found, ridge) if history.since == 0 or reason == "tolerance" else best
        if reason:
            return best[0], best[1], steps, reason
    return best[0], best[1], max_steps, "steps"


def ridge_rows(layout: Layout, basis: Float[Array, "n q"], penalty: Vector) -> Float[Array, "m q"]:
    """The rows a_i that minimize 1/2 sum_j Omega_ij (a_i^T v_j - Phi_ij)^2 + 1/2 sum_k c_k a_ik^2, 0 without entries.

    v_j are the rows of ``basis`` and c = ``penalty``. By Cholesky factors of the normal equations, to whose diagonals a
    rounding error of the trace is added, so that rows with fewer than q entries have factors too. A correction by the
    residual of the entries takes away what was added, and with it all but the first power of the condition number (the
    corrected semi-normal equations of Bjorck, Linear Algebra Appl. 88/89, 1987).
    """
    grams, right_sides = normal_equations(layout, basis)
    q, limits = basis.shape[1], jnp.finfo(basis.dtype)
    floor = q * limits.eps * jnp.trace(grams, axis1=1, axis2=2) + limits.tiny
    diagonals = (penalty[None] + floor[:, None])[..., None] * jnp.eye(q, dtype=basis.dtype)[None]
    factors = jnp.linalg.cholesky(grams + diagonals)

    def solve(b: Float[Array, "m q"]) -> Float[Array, "m q"]:
        return cho_solve((factors, True), b[..., None])[..., 0]

    a = solve(right_sides)
    return a + solve(multiply_residual(layout, a, basis) - penalty[None] * a)


def _swept(now: SVD, task: Task, ridge: Scalar) -> tuple[SVD, Scalar, Scalar]:
    """Both factors renewed, the relative error of the fitted entries and that of the held-out ones.

    If none are held out, the objective takes the place of their error, as sqrt(2 objective) / ||Omega . Phi||_F.
    """
    half = _balanced(ridge_rows(task.layout, now.right, _penalty(ridge, now.values)), now.right)
    turned = _balanced(ridge_rows(transposed(task.layout), half.left, _penalty(ridge, half.values)), half.left)
    found = SVD(turned.right, turned.values, turned.left)
    observed, missed = errors_of(found.left * found.values[None], found.right, task)
    if missed.size:
        return found, observed, jnp.linalg.norm(missed) / task.judged.norm
    return found, observed, jnp.sqrt(jnp.square(observed) + 2 * ridge * jnp.sum(found.values) / task.square)


def _penalty(ridge: Scalar, values: Vector) -> Vector:
    """A ridge on A = A' S^{-1/2} in terms of A', the coefficients in an orthonormal basis; bounded where s_k is 0."""
    limits = jnp.finfo(values.dtype)
    return ridge / jnp.maximum(values, limits.eps * values[0] + jnp.sqrt(limits.tiny))


def _balanced(left: Float[Array, "m q"], basis: Float[Array, "n q"]) -> SVD:
    """The decomposition of A V^T for an orthonormal basis V."""
    Q, R = jnp.linalg.qr(left)
    U, s, Wt = jnp.linalg.svd(R, full_matrices=False)
    return SVD(matmul(Q, U), s, matmul(basis, Wt.T))


# Compiled once for each shape of the entries.
_sweep = jax.jit(_swept)
