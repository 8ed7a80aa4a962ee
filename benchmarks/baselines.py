"""Other ways to complete a matrix of low rank, in their minimal form: what the deep solver is measured against.

Every method reads ``method(key, matrix, mask, rank, ...) -> Completed``: of ``matrix`` (m, n) only the entries where
``mask`` is 1 are looked at; ``rank`` is the number of columns of the factors (of a network, its hidden units). A method
stops where the observed error ||mask . (W - matrix)||_F / ||mask . matrix||_F is at most ``tolerance``, where W changes
by less than ``stall`` from one iteration to the next, ||W(t+1) - W(t)||_F < stall ||W(t+1)||_F, or at
``max_iterations``.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.linalg import cho_solve

from lawlib.descent.steps import Iterate, gradient_descent, masked_sum_squared_error
from lawlib.linalg.spectra import SVD
from lawlib.networks.deep_linear import end_to_end
from lawlib.networks.initializers import orthogonal_weights
from lawlib.types import Array, Bool, Float, Int, Matrix, PRNGKey, PyTree, Scalar, Vector, Weights

__all__ = [
    "Completed",
    "Stop",
    "als",
    "leading_svd",
    "masked_loss",
    "network",
    "relative_error",
    "ridge_rows",
    "soft_impute",
    "threshold_values",
]


class Completed(NamedTuple):
    """The matrix W (m, n) that a method ends with, and the number of its iterations."""

    recovered: Matrix
    iterations: Int[Array, ""]


class Stop(NamedTuple):
    """When to stop: an observed error, a relative change of W, a number of iterations (of each penalty)."""

    tolerance: float | Scalar
    stall: float | Scalar
    max_iterations: int | Int[Array, ""]


class _Progress(NamedTuple):
    state: PyTree
    recovered: Matrix
    iterations: Int[Array, ""]
    error: Scalar
    change: Scalar


def relative_error(recovered: Matrix, matrix: Matrix, mask: Matrix) -> Scalar:
    """||mask . (W - matrix)||_F / ||mask . matrix||_F; with 1 - mask in place of the mask, the recovery error."""
    return jnp.linalg.norm(mask * (recovered - matrix)) / jnp.linalg.norm(mask * matrix)


def als(
    key: PRNGKey, matrix: Matrix, mask: Matrix, rank: int, *, ridges: Vector, stop: Stop, spectral: bool = True
) -> Completed:
    """Alternating least squares: W = U V^T, U (m, k) and V (n, k) exact minimizers in turn, k = rank.

    1/2 ||mask . (U V^T - matrix)||_F^2 + ridge/2 (||U||_F^2 + ||V||_F^2), a sum over the observed entries, for one
    ridge after the other, each from where the last one ended; an iteration renews both factors (Hastie et al. 2015).
    With (u_i, s_i, v_i) the triplets of mask . matrix and p the observed share, V starts from the columns
    v_i sqrt(s_i / p), or, where the start is not ``spectral``, from Gaussian columns of length sqrt(s_1 / p).
    """
    _, s, V = leading_svd(key, mask * matrix, rank)
    # Either way U and V start in balance: with entries of 1 in V a small ridge needs hundreds of iterations for that.
    if not spectral:
        V = jax.random.normal(key, V.shape, V.dtype)
        V, s = V / jnp.linalg.norm(V, axis=0, keepdims=True), jnp.full_like(s, s[0])
    start = jnp.zeros((matrix.shape[0], rank), V.dtype), V * jnp.sqrt(s / jnp.mean(mask))[None]

    def step(factors: tuple, ridge: Scalar) -> tuple:
        U = ridge_rows(matrix, mask, factors[1], ridge)
        return U, ridge_rows(matrix.T, mask.T, U, ridge)

    return _along(ridges, step, lambda factors: factors[0] @ factors[1].T, start, matrix, mask, stop)


def ridge_rows(matrix: Matrix, mask: Matrix, V: Float[Array, "n k"], ridge: float | Scalar) -> Float[Array, "m k"]:
    """The rows u_i that minimize 1/2 sum_j mask_ij (matrix_ij - u_i^T v_j)^2 + ridge/2 |u_i|^2.

    (sum_j mask_ij v_j v_j^T + ridge I) u_i = sum_j mask_ij matrix_ij v_j; all left sides at once are the product of
    the mask and the outer products v_j v_j^T, of which the upper triangles suffice.
    """
    k = V.shape[1]
    rows, columns = jnp.triu_indices(k)
    upper = mask @ (V[:, rows] * V[:, columns])
    place = jnp.zeros((k, k), int).at[rows, columns].set(jnp.arange(rows.size))
    grams = upper[:, jnp.maximum(place, place.T)] + ridge * jnp.eye(k, dtype=V.dtype)[None]
    right = (mask * matrix) @ V
    return cho_solve((jnp.linalg.cholesky(grams), True), right[..., None])[..., 0]


def soft_impute(key: PRNGKey, matrix: Matrix, mask: Matrix, rank: int, *, penalties: Vector, stop: Stop) -> Completed:
    """SoftImpute: W <- S_c(mask . matrix + (1 - mask) . W), S_c the soft threshold of the singular values.

    The proximal iteration of 1/2 ||mask . (W - matrix)||_F^2 + c ||W||_* from W = 0, one penalty c after the other,
    each from where the last one ended (Mazumder et al. 2010, Algorithm 1). Of each decomposition ``rank`` values are
    kept, by one step of subspace iteration from the last right vectors.
    """
    observed = mask * matrix
    start = leading_svd(key, observed, rank)
    start = start._replace(values=jnp.zeros_like(start.values))

    def step(svd: SVD, penalty: Scalar) -> SVD:
        filled = observed + (1 - mask) * _product(svd)
        leading = _subspace_step(filled, svd.right)
        return leading._replace(values=threshold_values(leading.values, penalty))

    return _along(penalties, step, _product, start, matrix, mask, stop)


def threshold_values(values: Vector, penalty: float | Scalar) -> Vector:
    """max(s_i - c, 0), c = penalty: the singular values of argmin_W 1/2 ||W - Z||_F^2 + c ||W||_*, s_i those of Z."""
    return jnp.maximum(values - penalty, 0)


def leading_svd(key: PRNGKey, Z: Matrix, rank: int, num_steps: int = 10) -> SVD:
    """The ``rank`` leading singular triplets of Z (m, n) by subspace iteration from a Gaussian block."""
    V = jax.random.normal(key, (Z.shape[1], rank), Z.dtype)
    start = _subspace_step(Z, V)
    return lax.fori_loop(1, num_steps, lambda _, svd: _subspace_step(Z, svd.right), start)


def network(
    key: PRNGKey,
    matrix: Matrix,
    mask: Matrix,
    rank: int,
    *,
    depth: int,
    scale: float | Scalar,
    step_size: float | Scalar,
    stop: Stop,
    every: int = 10,
) -> Completed:
    """Plain gradient descent on a deep linear network with ``rank`` hidden units, from eps-orthogonal weights.

    W_L ... W_1 with L = depth and eps = scale, on ``masked_loss``, without weight decay; with rank = min(m, n) the
    network has full width. The iterations are steps; the run may stop at every ``every``-th, and ``stop.stall`` is
    the change over so many.
    """
    widths = (matrix.shape[1], *[rank] * (depth - 1), matrix.shape[0])
    descent = gradient_descent(masked_loss)

    def step(iterate: Iterate) -> Iterate:
        def go(_: int, at: Iterate) -> Iterate:
            return descent.step(at, matrix, mask, step_size=step_size, weight_decay=0.0)

        return lax.fori_loop(0, every, go, iterate)

    begun = _begin(descent.init(orthogonal_weights(key, widths, scale, matrix.dtype.type)), matrix)
    ended = _iterate(
        step, lambda at: end_to_end(at.weights), begun, matrix, mask, stop, -(-stop.max_iterations // every)
    )
    return Completed(ended.recovered, every * ended.iterations)


def masked_loss(weights: Weights, matrix: Matrix, mask: Matrix) -> Scalar:
    """1/2 ||mask . (W_L ... W_1 - matrix)||_F^2, a sum over the observed entries (Yaras et al. 2023, eq. 9)."""
    return masked_sum_squared_error(end_to_end(weights), matrix, mask)


def _along(
    penalties: Vector,
    step: Callable[[PyTree, Scalar], PyTree],
    assemble: Callable[[PyTree], Matrix],
    start: PyTree,
    matrix: Matrix,
    mask: Matrix,
    stop: Stop,
) -> Completed:
    def relax(at: _Progress, penalty: Scalar) -> tuple[_Progress, None]:
        fresh = at._replace(change=jnp.full_like(at.change, jnp.inf))
        cap = at.iterations + stop.max_iterations
        return _iterate(lambda state: step(state, penalty), assemble, fresh, matrix, mask, stop, cap), None

    ended, _ = lax.scan(relax, _begin(start, matrix), penalties)
    return Completed(ended.recovered, ended.iterations)


def _begin(state: PyTree, matrix: Matrix) -> _Progress:
    far = jnp.asarray(jnp.inf, matrix.dtype)
    return _Progress(state, jnp.zeros_like(matrix), jnp.asarray(0), far, far)


def _iterate(
    step: Callable[[PyTree], PyTree],
    assemble: Callable[[PyTree], Matrix],
    begun: _Progress,
    matrix: Matrix,
    mask: Matrix,
    stop: Stop,
    cap: int | Int[Array, ""],
) -> _Progress:
    def unfinished(at: _Progress) -> Bool[Array, ""]:
        # Written so that a value that is not finite ends the run.
        return (at.iterations < cap) & (at.error > stop.tolerance) & (at.change >= stop.stall)

    def advance(at: _Progress) -> _Progress:
        state = step(at.state)
        W = assemble(state)
        change = jnp.linalg.norm(W - at.recovered) / jnp.linalg.norm(W)
        return _Progress(state, W, at.iterations + 1, relative_error(W, matrix, mask), change)

    return lax.while_loop(unfinished, advance, begun)


def _subspace_step(Z: Matrix, V: Float[Array, "n k"]) -> SVD:
    Q = jnp.linalg.qr(Z @ V)[0]
    # The triangle's decomposition in place of the wide matrix's: a fifth of the time.
    P, R = jnp.linalg.qr(Z.T @ Q)
    U, s, Vt = jnp.linalg.svd(R.T)
    return SVD(Q @ U, s, P @ Vt.T)


def _product(svd: SVD) -> Matrix:
    return (svd.left * svd.values[None]) @ svd.right.T
