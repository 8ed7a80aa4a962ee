"""Leading singular triplets with a certificate, of a linear operator given by its products or of a matrix.

The subspace of the k leading triplets is well determined only if sigma_k is well above sigma_{k+1}. Where the two
coincide, as for orthogonal weights, every iterative method returns an arbitrary subspace. So each result states a bound
on its error, whether that bound meets the tolerance, and the number of passes.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike

from lawlib.types import Array, Bool, Float, Int, Matrix, PRNGKey, Scalar, matmul

__all__ = ["SVD", "Certified", "Products", "block_krylov_svd", "matrix_products", "matrix_svd"]

# Rounding errors of the products and bases give a residual of a few eps sqrt(k) sigma_1; up to eight were measured.
ROUNDING = 32


class SVD(NamedTuple):
    """Singular triplets G v_i = sigma_i u_i: orthonormal left (m, k) and right (n, k), values (k,) descending."""

    left: Float[Array, "m k"]
    values: Float[Array, " k"]
    right: Float[Array, "n k"]


class Certified(NamedTuple):
    """The k leading triplets of G (m, n) and a bound on their error.

    ``residual`` bounds ||[G V - U S; G^T U - V S]||_F; ``next_value`` is an upper estimate of sigma_{k+1}(G) and
    ``gap`` = sigma_k - next_value; ``bound`` = residual / gap (+inf where the gap is not positive) bounds the larger of
    ||sin Theta||_F of U and of V against the leading singular subspaces of G (Wedin, BIT 12, 1972), and ``certified``
    says that it is within the tolerance. ``passes`` counts the products G V and G^T U of whole blocks; ``dense`` says
    that the triplets come from a full decomposition. A matrix with eps sigma_1 below the dtype's smallest number is
    never certified, since the residual does not see underflow.

    The residual of the Ritz triplets is measured, so that U and V are certainly near *some* pair of singular subspaces.
    That these are the *leading* ones, and the gain of the last half step, depend on next_value, which is an estimate:
    the largest Ritz value beyond the k-th and its residual are measured, but a direction orthogonal to the block is not
    seen. Since the block contains random columns, also with a given start, this has probability zero, and a nearly
    orthogonal direction has small probability (Kuczynski and Wozniakowski 1992). With ``dense`` the result is certain.
    """

    svd: SVD
    residual: Scalar
    next_value: Scalar
    gap: Scalar
    bound: Scalar
    certified: Bool[Array, ""]
    passes: Int[Array, ""]
    dense: Bool[Array, ""]


class Products(NamedTuple):
    """A matrix G given by its products: ``forward(V)`` = G V (m, b), ``adjoint(U)`` = G^T U (n, b), shape and dtype.

    Both are called with float blocks of this dtype, and must be linear.
    """

    forward: Callable[[Matrix], Matrix]
    adjoint: Callable[[Matrix], Matrix]
    shape: tuple[int, int]
    dtype: DTypeLike


class _Ritz(NamedTuple):
    """U_k, G^T U_k and sigma_1..sigma_{k+1} from a Krylov space; ||G^T U_k - V_k S||_F, and next_value."""

    left: Matrix
    image: Matrix
    values: Array
    residual: Scalar
    next_value: Scalar
    passes: Array


def block_krylov_svd(
    key: PRNGKey,
    products: Products,
    k: int,
    *,
    oversample: int = 10,
    tolerance: float | None = None,
    max_passes: int = 8,
    start: SVD | None = None,
) -> Certified:
    """The k leading triplets of a matrix given by its products, by block Krylov iteration.

    With b = k + oversample columns P_1 (the right vectors of ``start`` and Gaussian columns, or Gaussian columns only),
    Q spans G P and the next block of P spans G^T Q; each pair of passes ends with the singular triplets of Q^T G P and
    their residual R = G^T U - V S, which needs no further pass (G V = U S holds by construction). The result is half a
    step more accurate: the span of G^T U, whose residual is at most ||G R|| / sigma_k, with ||G R|| <= next_value ||R||
    and next_value^2 = ||R||_F^2 + (sigma_{k+1} + ||r_{k+1}||)^2 over the Ritz triplets beyond the k-th. The iteration
    stops at the first pair where the bound meets the tolerance (default sqrt(eps) of the dtype; the bound is never
    below 32 eps sqrt(k) sigma_1 / gap), after ``max_passes``, used in pairs, or when the blocks fill the smaller side.
    After q pairs the error falls like T_{2q-1}(sigma_k / sigma_{k+1})^-1, T a Chebyshev polynomial; a block of more
    than half of the smaller side is extended to the whole side, and two passes suffice.

    Halko, Martinsson and Tropp, SIAM Review 53, 2011; Musco and Musco, NeurIPS 2015. Every stage has its
    own shapes: under vmap all stages run for all members. The result is not meant to be differentiated.

    Raises:
        TypeError: products are no ``Products``, or their dtype is neither float32 nor float64.
        ValueError: k is outside 1..min(m, n), oversample < 1, max_passes < 2, tolerance <= 0, or start has other
            shapes.

    Example:
        >>> import jax, lawlib
        >>> G = jax.random.normal(jax.random.key(0), (60, 8)) @ jax.random.normal(jax.random.key(1), (8, 40))
        >>> found = lawlib.block_krylov_svd(jax.random.key(2), lawlib.matrix_products(G), k=8)
        >>> found.svd.left.shape, bool(found.certified)
        ((60, 8), True)
    """
    if not isinstance(products, Products):
        msg = f"products must be the products of a matrix, matrix_products(A), got {type(products).__name__}"
        raise TypeError(msg)
    _check_dtype(products.dtype)
    _check(products.shape, k, oversample, max_passes, tolerance, start)
    m, n = products.shape
    if m < n:  # The block is on the right: make that the smaller side, so that it can be the whole space.
        flipped = Products(products.adjoint, products.forward, (n, m), products.dtype)
        transposed = None if start is None else SVD(start.right, start.values, start.left)
        found = block_krylov_svd(
            key, flipped, k, oversample=oversample, tolerance=tolerance, max_passes=max_passes, start=transposed
        )
        left, values, right = found.svd
        return found._replace(svd=SVD(right, values, left))
    tolerance = _tolerance(tolerance, products.dtype)
    columns = n if n < 2 * (k + oversample) else k + oversample
    stages = min(max_passes // 2, n // columns)
    first = _first_block(key, n, columns, products.dtype, start)
    empty = tuple(jnp.zeros((d, 0), products.dtype) for d in (m, n, n))
    ritz = _expand(products, k, tolerance, stages, first, *empty)
    return _refine(ritz, tolerance)


def matrix_products(G: Float[Array | np.ndarray, "m n"]) -> Products:
    """The products with a given matrix, at the highest precision.

    Example:
        >>> import jax.numpy as jnp, lawlib
        >>> products = lawlib.matrix_products(jnp.eye(3, 2))
        >>> products.forward(jnp.ones((2, 1))).shape, products.adjoint(jnp.ones((3, 1))).shape
        ((3, 1), (2, 1))
    """
    G = jnp.asarray(G)
    return Products(lambda V: matmul(G, V), lambda U: matmul(U.T, G).T, (G.shape[0], G.shape[1]), G.dtype)


def matrix_svd(
    key: PRNGKey,
    G: Float[Array | np.ndarray, "m n"],
    k: int,
    *,
    oversample: int = 10,
    tolerance: float | None = None,
    max_passes: int = 8,
    start: SVD | None = None,
) -> Certified:
    """The k leading triplets of a given matrix: ``block_krylov_svd``, and a full decomposition where it fails.

    Where the iteration ends without a certificate, as on a flat spectrum, lax.cond runs the dense SVD. The result then
    has ``dense`` set, and ``certified`` says whether the subspace is determined: it is False where
    sigma_k = sigma_{k+1}. Under vmap both run for every member.

    Raises:
        TypeError, ValueError: as ``block_krylov_svd``.
    """
    G = jnp.asarray(G)
    found = block_krylov_svd(
        key, matrix_products(G), k, oversample=oversample, tolerance=tolerance, max_passes=max_passes, start=start
    )
    return lax.cond(found.certified, lambda: found, lambda: _dense(G, k, _tolerance(tolerance, G.dtype), found.passes))


def _expand(
    products: Products, k: int, tolerance: float, stages: int, new: Array, Q: Array, P: Array, Z: Array
) -> _Ritz:
    """One pair of passes from the new right block, and further pairs if its bound is above the tolerance.

    P, Q and Z = G^T Q are the blocks so far. Each stage compiles with its own shapes, so that the first is cheap.
    """
    added = _orthonormal(products.forward(new), Q)
    image = products.adjoint(added)
    Q, P, Z = (jnp.concatenate(pair, axis=1) for pair in ((Q, added), (P, new), (Z, image)))
    ritz = _rayleigh_ritz(k, Q, P, Z, P.shape[1] // new.shape[1])
    if stages == 1:
        return ritz
    return lax.cond(
        _bound(ritz)[2] <= tolerance,
        lambda: ritz,
        lambda: _expand(products, k, tolerance, stages - 1, _orthonormal(image, P), Q, P, Z),
    )


def _rayleigh_ritz(k: int, Q: Array, P: Array, Z: Array, blocks: int) -> _Ritz:
    """The singular triplets of Q^T G P = Z^T P and their residuals; G P = Q Q^T G P, so that G V = U S."""
    X, s, Yt = jnp.linalg.svd(matmul(Z.T, P))
    image = matmul(Z, X[:, : k + 1])
    R = image - matmul(P, Yt[: k + 1].T) * s[None, : k + 1]
    residual, own = _norm(R[:, :k], s[0]), _norm(R[:, k:], s[0])
    beyond = own + (s[k] if s.size > k else 0)
    next_value = _norm(jnp.stack([residual, beyond]), s[0])
    return _Ritz(matmul(Q, X[:, :k]), image[:, :k], s[:k], residual, next_value, jnp.asarray(2 * blocks, jnp.int32))


def _bound(ritz: _Ritz) -> tuple[Array, Array, Array]:
    """Residual, gap and their ratio for the span of G^T U_k in place of V_k."""
    last = ritz.values[-1]
    shrink = ritz.next_value / jnp.where(last > 0, last, 1)
    residual = ritz.residual * shrink + _rounding(ritz.values)
    gap = last - ritz.next_value
    return residual, gap, _ratio(residual, gap)


def _refine(ritz: _Ritz, tolerance: float) -> Certified:
    """The triplets of the span of U_k, whose right vectors span G^T U_k: half a step beyond the Ritz triplets."""
    # QR first: the SVD of a tall matrix was measured to take two hundred times as long.
    basis, triangle = jnp.linalg.qr(ritz.image)
    inner, values, turn = jnp.linalg.svd(triangle)
    right = matmul(basis, inner)
    residual, gap, bound = _bound(ritz)
    svd = SVD(matmul(ritz.left, turn.T), values, right)
    certified = bound <= tolerance
    return Certified(svd, residual, ritz.next_value, gap, bound, certified, ritz.passes, jnp.asarray(False))


def _dense(G: Matrix, k: int, tolerance: float, passes: Array) -> Certified:
    L, s, Rt = jnp.linalg.svd(G, full_matrices=False)
    U, V, values = L[:, :k], Rt[:k].T, s[:k]
    off = [_norm(R, s[0]) for R in (matmul(G, V) - U * values[None], matmul(G.T, U) - V * values[None])]
    residual = _norm(jnp.stack(off), s[0]) + _rounding(values)
    next_value = s[k] if s.size > k else jnp.zeros((), s.dtype)
    gap = s[k - 1] - next_value
    bound = _ratio(residual, gap)
    dense = jnp.asarray(True)
    return Certified(SVD(U, values, V), residual, next_value, gap, bound, bound <= tolerance, passes, dense)


def _first_block(key: PRNGKey, n: int, columns: int, dtype: DTypeLike, start: SVD | None) -> Array:
    """Orthonormal columns: those of the start and Gaussian columns, for directions that the start misses."""
    if start is None:
        return _orthonormal(jax.random.normal(key, (n, columns), dtype), jnp.zeros((n, 0), dtype))
    drawn = jax.random.normal(key, (n, columns - start.right.shape[1]), dtype) / jnp.sqrt(jnp.asarray(n, dtype))
    return _orthonormal(jnp.concatenate([start.right, drawn], axis=1), jnp.zeros((n, 0), dtype))


def _orthonormal(block: Array, Q: Array) -> Array:
    """An orthonormal basis of the part of a block outside the span of Q, which may be tiny: projected twice.

    What is left of a block inside the span is rounding error, which may lie in few directions, as where rows repeat:
    the basis of the rest is then arbitrary, and not orthogonal to Q. The last columns of a basis of both are.
    """
    if not Q.shape[1]:
        return jnp.linalg.qr(block)[0]
    both = jnp.concatenate([Q, block], axis=1)
    for _ in range(2):
        block = jnp.linalg.qr(block - matmul(Q, matmul(Q.T, block)))[0]
    fine = jnp.linalg.norm(matmul(Q.T, block)) <= jnp.finfo(Q.dtype).eps ** 0.5
    return lax.cond(fine, lambda: block, lambda: jnp.linalg.qr(both)[0][:, Q.shape[1] :])


def _norm(x: Array, scale: Scalar) -> Scalar:
    """||x||_F, without underflow of the squares of tiny numbers."""
    scale = jnp.where(scale > 0, scale, 1)
    return scale * jnp.linalg.norm(x / scale)


def _rounding(values: Array) -> Scalar:
    """A few eps sqrt(k) sigma_1; +inf where eps sigma_1 underflows."""
    info = jnp.finfo(values.dtype)
    rounding = info.eps * values[0]
    return jnp.where(rounding > info.tiny, ROUNDING * values.size**0.5 * rounding, jnp.inf)


def _ratio(residual: Scalar, gap: Scalar) -> Scalar:
    return jnp.where(gap > 0, residual / jnp.where(gap > 0, gap, 1), jnp.inf)


def _tolerance(tolerance: float | None, dtype: DTypeLike) -> float:
    return float(jnp.finfo(dtype).eps) ** 0.5 if tolerance is None else tolerance


def _check_dtype(dtype: DTypeLike) -> None:
    if jnp.dtype(dtype) not in (jnp.float32, jnp.float64):
        msg = f"decompositions need float32 or float64, got {jnp.dtype(dtype)}; cast the matrix first"
        raise TypeError(msg)


def _check(
    shape: tuple[int, int], k: int, oversample: int, max_passes: int, tolerance: float | None, start: SVD | None
) -> None:
    m, n = shape
    if not 1 <= k <= min(shape):
        msg = f"k must be in 1..{min(shape)} for a matrix of shape {shape}, got {k}"
        raise ValueError(msg)
    for name, given, least in (("oversample", oversample, 1), ("max_passes", max_passes, 2)):
        if given < least:
            msg = f"{name} must be at least {least}, got {given}"
            raise ValueError(msg)
    if tolerance is not None and not tolerance > 0:
        msg = f"tolerance must be positive, got {tolerance}"
        raise ValueError(msg)
    if start is not None and (start.left.shape, start.right.shape) != ((m, k), (n, k)):
        msg = f"start needs left {(m, k)} and right {(n, k)}, got {start.left.shape} and {start.right.shape}"
        raise ValueError(msg)
