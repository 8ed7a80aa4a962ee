"""The landscape of L2-regularized deep linear networks on the 2x2 completion problem, exactly.

A* = [[1, *], [eps, 1]] has N = 3 observed entries. Critical points of L_lambda are balanced, so they are those of

    C_lambda(A) = 1/(2N) sum over observed (A*_ij - A_ij)^2 + lambda L sum_i s_i(A)^{2/L},   L >= 3,

over the matrices of one rank (Wang and Jacot 2024, Propositions A.1 and A.2). Apart from A = 0 they form two curves.
Let s_1 >= s_2 = rho s_1 be the singular values and u the slope of the leading left singular vector, proportional to
(1, u). The diagonal entries are equal, A_00 = A_11, and the right singular vector is the left one with its entries
exchanged, (u, 1). Stationarity then reads

    s_1 = (eps + 1/u - u) (1 + u^2) / (1 - rho u^2),
    2 N lambda s_1^{2/L - 1} = u (u^2 - rho - eps (1 + rho) u) / (1 - rho u^2),
    rho = 0 for rank 1,   rho = u^{2L/(L-2)} for rank 2,

which gives lambda, and A_01 = eps + 1/u - u, as functions of u. As lambda grows, the minimum of that rank meets a
saddle at the largest lambda of the curve and ceases to exist.

The paper lists three minima: 0, one of rank 1 and one of rank 2. There is a fourth, of rank 1, whose A_01 has the wrong
sign, at the cost of the error in A_10 = eps. It is the rank-1 minimum for -eps with both off-diagonal signs changed.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lawlib.types import Array, Bool, Float, Matrix, Number, Scalar, matmul

__all__ = ["Fold", "Minimum", "last_offdiagonal", "last_ridge", "local_minimum", "prox"]

NUM_OBSERVED = 3
# Halvings of an interval, down to the last bit of float64.
HALVINGS = 60
# The smallest u on a curve of rank 2: at u = 0 itself s_1 is infinite.
NEAR_ZERO = 1e-3


class Fold(NamedTuple):
    """Where a local minimum meets a saddle: the ridge, and s_2/s_1 there."""

    ridge: Scalar
    ratio: Scalar


class Minimum(NamedTuple):
    """A local minimum of C_lambda: the matrix, s_1 >= s_2, and whether it exists (NaN and False where it does not)."""

    matrix: Float[Array, "2 2"]
    singular_values: Float[Array, " 2"]
    exists: Bool[Array, ""]


class _Point(NamedTuple):
    ridge: Scalar
    largest: Scalar
    ratio: Scalar


def last_ridge(offdiagonal: Number, *, depth: int, rank: int, fill_sign: int = 1) -> Fold:
    """The largest lambda at which C_lambda has a local minimum of rank 1 or 2, for eps = offdiagonal.

    The minimum has A_01 > 0, or A_01 < 0 for fill_sign = -1 (rank 1 only). lambda is in the units of
    L_lambda = C + lambda ||theta||^2. For rank 2 the result is 0 where there is no such minimum at any lambda > 0: for
    eps above 1/2 at L = 3, and above 1/sqrt(8) at L = 4.

    Raises:
        ValueError: depth < 3, rank not 1 or 2, fill_sign not 1 (or -1 for rank 1), or an offdiagonal that is a number
            and not positive.
    """
    _check(offdiagonal, depth, rank, fill_sign)
    eps, top = _fold(fill_sign * offdiagonal, depth, rank)
    point = _point(top, eps, depth, rank)
    return Fold(jnp.maximum(point.ridge, 0), point.ratio)


def local_minimum(offdiagonal: Number, *, ridge: Number, depth: int, rank: int, fill_sign: int = 1) -> Minimum:
    """The local minimum of C_lambda of rank 1 or 2, lambda = ridge > 0 in units of C + lambda ||theta||^2.

    The sign of A_01 is fill_sign: 1, or -1 for the other minimum of rank 1.

    Raises:
        ValueError: depth < 3, rank not 1 or 2, fill_sign not 1 (or -1 for rank 1), or an offdiagonal or ridge that is
            a number and not positive.
    """
    _check(offdiagonal, depth, rank, fill_sign)
    _require_positive("ridge", ridge)
    eps, top = _fold(fill_sign * offdiagonal, depth, rank)
    ridge = jnp.asarray(ridge, eps.dtype)
    # lambda falls from its value at the fold to 0 where the minimum of that rank fits the data.
    fitted = jnp.maximum(eps, 0) if rank == 1 else jnp.ones_like(eps)
    u = _bisected(lambda u: _point(u, eps, depth, rank).ridge - ridge, top, fitted)
    point, exists = _point(u, eps, depth, rank), _point(top, eps, depth, rank).ridge >= ridge
    s, rho, scale = point.largest, point.ratio, 1 + u**2
    diagonal, corner = (1 + rho) * s * u / scale, s * (u**2 - rho) / scale
    fill = eps + 1 / u - u
    matrix = jnp.stack([diagonal, fill_sign * fill, fill_sign * corner, diagonal]).reshape(2, 2)
    nan = jnp.asarray(jnp.nan, eps.dtype)
    return Minimum(jnp.where(exists, matrix, nan), jnp.where(exists, jnp.stack([s, rho * s]), nan), exists)


def last_offdiagonal(ridge: Number, *, depth: int) -> Scalar:
    """The largest eps at which C_lambda with lambda = ridge has a local minimum of rank 2; 0 if there is none.

    Raises:
        ValueError: depth < 3, or a ridge that is a number and not positive.
    """
    _check(1.0, depth, 2)
    _require_positive("ridge", ridge)
    ridge = jnp.asarray(ridge, ridge.dtype if isinstance(ridge, jax.Array) else float)
    return _bisected(
        lambda eps: last_ridge(eps, depth=depth, rank=2).ridge - ridge, jnp.zeros_like(ridge), jnp.ones_like(ridge)
    )


def prox(matrix: Matrix, ridge: Number, *, depth: int) -> Matrix:
    """argmin_B 1/2 ||A - B||_F^2 + mu L sum_i s_i(B)^{2/L}, A = matrix, mu = ridge: a proximal step on R(.; L).

    Each singular value y becomes 0 or the larger root x of x + 2 mu x^{2/L - 1} = y, whichever has the smaller
    objective. Descent on C followed by this step minimizes C_lambda itself, and reaches lower ranks exactly.

    Raises:
        ValueError: depth < 3.
    """
    _check(1.0, depth, 1)
    U, y, Vt = jnp.linalg.svd(matrix, full_matrices=False)
    x, q = y, 2 / depth - 1

    def newton(_: Array, x: Array) -> Array:
        # The function is convex in x: from y the iterates fall to the larger root, or past its minimum if there is
        # none.
        x = jnp.maximum(x, jnp.finfo(x.dtype).tiny)
        residual, slope = x + 2 * ridge * x**q - y, 1 + 2 * ridge * q * x ** (q - 1)
        return jnp.where(slope > 0, x - residual / slope, 0)

    x = lax.fori_loop(0, 30, newton, x)
    kept = (x > 0) & (jnp.square(x - y) / 2 + ridge * depth * jnp.maximum(x, 0) ** (2 / depth) < jnp.square(y) / 2)
    return matmul(U * jnp.where(kept, x, 0)[None, :], Vt)


def _point(u: Scalar, eps: Scalar, depth: int, rank: int) -> _Point:
    """The critical point of slope u: lambda (negative if there is none), s_1 and rho."""
    rho = jnp.zeros_like(u) if rank == 1 else u ** (2 * depth / (depth - 2))
    divisor = 1 - rho * u**2
    s = (eps + 1 / u - u) * (1 + u**2) / divisor
    force = u * (u**2 - rho - eps * (1 + rho) * u) / divisor
    return _Point(force * s ** (1 - 2 / depth) / (2 * NUM_OBSERVED), s, rho)


def _fold(offdiagonal: Number, depth: int, rank: int) -> tuple[Scalar, Scalar]:
    """eps as an array, and the slope u at which lambda is largest."""
    eps = jnp.asarray(offdiagonal, offdiagonal.dtype if isinstance(offdiagonal, jax.Array) else float)
    # Rank 1: lambda rises from 0 at u = eps, where the data are fitted, and falls to 0 at s_1 = 0. Rank 2, rho < 1:
    # from 0 at u = 0 lambda is negative first; if it becomes positive at all, its minimum lies before half of the u of
    # its maximum.
    zero = jnp.zeros_like(eps)
    low, high = (jnp.maximum(eps, 0), (eps + jnp.sqrt(eps**2 + 4)) / 2) if rank == 1 else (zero + NEAR_ZERO, zero + 1)
    return eps, _bisected(jax.grad(lambda u: _point(u, eps, depth, rank).ridge), low, high)


def _bisected(function: Callable[[Scalar], Scalar], positive: Scalar, negative: Scalar) -> Scalar:
    """Where a function changes its sign, between a point at which it is positive and one at which it is not."""

    def halve(_: Array, ends: tuple[Scalar, Scalar]) -> tuple[Scalar, Scalar]:
        positive, negative = ends
        middle = (positive + negative) / 2
        above = function(middle) > 0
        return jnp.where(above, middle, positive), jnp.where(above, negative, middle)

    positive, _ = lax.fori_loop(0, HALVINGS, halve, (positive, negative))
    return positive


def _check(offdiagonal: Number, depth: int, rank: int, fill_sign: int = 1) -> None:
    if depth < 3:
        msg = f"depth must be at least 3, since C_lambda is convex at 2 layers, got {depth}"
        raise ValueError(msg)
    if rank not in (1, 2):
        msg = f"rank must be 1 or 2 for a 2 x 2 matrix (the minimum of rank 0 is A = 0), got {rank}"
        raise ValueError(msg)
    if fill_sign != 1 and (rank, fill_sign) != (1, -1):
        msg = f"fill_sign must be 1, or -1 for rank 1, got {fill_sign} for rank {rank}"
        raise ValueError(msg)
    _require_positive("offdiagonal", offdiagonal)


def _require_positive(name: str, value: Number) -> None:
    if isinstance(value, float | int) and not 0 < value < math.inf:
        msg = f"{name} must be positive and finite, got {value}"
        raise ValueError(msg)
