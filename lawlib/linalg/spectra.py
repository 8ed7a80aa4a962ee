"""Leading singular triplets with a certificate, of a linear operator given by its products or of a matrix.

The subspace of the k leading triplets is well determined only if sigma_k is well above sigma_{k+1}. Where the two
coincide, as for orthogonal weights, every iterative method returns an arbitrary subspace. So each result states a bound
on its error, whether that bound meets the tolerance, and the number of passes.
"""

import functools as ft
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike

from lawlib.checks import number_fault, refuse, whole_fault
from lawlib.linalg.krylov import Search, TallProducts, Triplets, each, frobenius, iterated, orthonormal, ratio, rounding
from lawlib.types import Array, Bool, Float, Int, Matrix, PRNGKey, PyTree, Scalar, matmul

__all__ = [
    "SVD",
    "Certified",
    "JointProducts",
    "Products",
    "block_krylov_svd",
    "joint_block_krylov_svd",
    "matrix_products",
    "matrix_svd",
    "search_faults",
]


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


class JointProducts(NamedTuple):
    """Matrices G_i, by name, given by products that are computed together, as those that share a pass over data.

    ``apply(right, left)`` has G_i V_i for the blocks V_i (n, b) in ``right``, and G_i^T U_i for the U_i (m, b) in
    ``left``: two mappings of names to float blocks of ``dtypes``. Matrices that neither names take no part. ``shapes``
    are (m, n), or (L, m, n) for a stack of L matrices, whose blocks are stacks as well.
    """

    apply: Callable[[Mapping[str, Array], Mapping[str, Array]], dict[str, Array]]
    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, DTypeLike]

    def only(self, name: str) -> Products:
        """The products of one matrix alone."""
        m, n = self.shapes[name]

        def forward(V: Matrix) -> Matrix:
            return self.apply({name: V}, {})[name]

        def adjoint(U: Matrix) -> Matrix:
            return self.apply({}, {name: U})[name]

        return Products(forward, adjoint, (m, n), self.dtypes[name])


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
        ValueError: k is no whole number in 1..min(m, n), oversample none from 1 or max_passes none from 2; tolerance is
            not finite and above 0; or start has other shapes. All at once.

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

    def apply(right: Mapping[str, Array], left: Mapping[str, Array]) -> dict[str, Array]:
        forward = {name: products.forward(V) for name, V in right.items()}
        return forward | {name: products.adjoint(U) for name, U in left.items()}

    one = JointProducts(apply, {"": products.shape}, {"": products.dtype})
    options = {"oversample": oversample, "tolerance": tolerance, "max_passes": max_passes}
    return _found({"": key}, one, k, **options, start=start)[""]


def joint_block_krylov_svd(
    keys: Mapping[str, Array],
    products: JointProducts,
    k: int,
    *,
    oversample: int = 10,
    tolerance: float | None = None,
    max_passes: int = 8,
) -> dict[str, Certified]:
    """``block_krylov_svd`` of several matrices that share their passes: to rounding, the triplets of each one alone.

    ``keys`` has a key for each matrix, or L keys for a stack of L, whose results have a first axis of length L. A
    matrix that has met the tolerance, or has used its passes, keeps its triplets while the others go on; ``passes`` of
    each are those that its triplets come from. What is done to each matrix alone is compiled once for all matrices of
    one shape, their transposes included. The memory is the sum over all matrices of (k + oversample)(m + 2n) numbers,
    m >= n, for each pair of passes.

    Raises:
        TypeError: products are no ``JointProducts``, or a dtype is neither float32 nor float64.
        ValueError: a matrix without a key, or a stack without one for each of its matrices; or as ``block_krylov_svd``.
    """
    if not isinstance(products, JointProducts):
        msg = f"products must be JointProducts, got {type(products).__name__}"
        raise TypeError(msg)
    _check_keys(keys, products)
    return _found(keys, products, k, oversample=oversample, tolerance=tolerance, max_passes=max_passes, start=None)


def _found(
    keys: Mapping[str, Array],
    products: JointProducts,
    k: int,
    *,
    oversample: int,
    tolerance: float | None,
    max_passes: int,
    start: SVD | None,
) -> dict[str, Certified]:
    _check({name: (m, n) for name, (*_, m, n) in products.shapes.items()}, k, oversample, max_passes, tolerance, start)
    groups: dict[tuple[int, int, str], list[str]] = {}
    for name, (*_, m, n) in products.shapes.items():
        _check_dtype(products.dtypes[name])
        # The block is on the right: make that the smaller side, so that it can be the whole space.
        groups.setdefault((max(m, n), min(m, n), jnp.dtype(products.dtypes[name]).name), []).append(name)
    wide = {name: shape[-2] < shape[-1] for name, shape in products.shapes.items()}
    if start is not None and wide[""]:
        start = SVD(start.right, start.values, start.left)
    first, tolerances, stages = {}, {}, {}
    for group, names in groups.items():
        _, n, dtype = group
        columns = n if n < 2 * (k + oversample) else k + oversample
        drawn = ft.partial(_first_block, n=n, columns=columns, dtype=dtype, start=start)
        of_group = [keys[name] if len(products.shapes[name]) > 2 else keys[name][None] for name in names]
        first[group] = each(drawn, jnp.concatenate(of_group))
        tolerances[group], stages[group] = _tolerance(tolerance, dtype), min(max_passes // 2, n // columns)
    triplets = iterated(_tall(products, groups), Search(k, tolerances, stages), first)
    found = {}
    for group, names in groups.items():
        members = _members(products, names, triplets[group])
        found |= {name: _certified(of, tolerances[group], wide=wide[name]) for name, of in members.items()}
    return {name: found[name] for name in products.shapes}


def _tall(products: JointProducts, groups: Mapping[Any, list[str]]) -> TallProducts:
    """The products of stacks of matrices of one shape, with the transposes of those that are wide."""

    def applied(blocks: Mapping[Any, Array], *, forward: bool) -> dict[Any, Array]:
        sides: tuple[dict[str, Array], dict[str, Array]] = {}, {}
        for group, block in blocks.items():
            for name, own in _members(products, groups[group], block).items():
                *_, m, n = products.shapes[name]
                sides[forward == (m < n)][name] = own
        results = products.apply(*sides)
        rows = {name: x if x.ndim > 2 else x[None] for name, x in results.items()}
        return {group: jnp.concatenate([rows[name] for name in groups[group]]) for group in blocks}

    return TallProducts(ft.partial(applied, forward=True), ft.partial(applied, forward=False))


def _members(products: JointProducts, names: list[str], stacked: PyTree) -> dict[str, Any]:
    """The parts of stacked arrays that belong to each of some matrices, stacks again or one."""
    parts, at = {}, 0
    for name in names:
        *stack, _, _ = products.shapes[name]
        rows = slice(at, at + stack[0]) if stack else at
        parts[name] = jax.tree.map(lambda x, rows=rows: x[rows], stacked)
        at += stack[0] if stack else 1
    return parts


def _certified(of: Triplets, tolerance: float, *, wide: bool) -> Certified:
    left, right = (of.right, of.left) if wide else (of.left, of.right)
    met = of.bound <= tolerance
    dense = jnp.zeros_like(met)
    svd = SVD(left, of.values, right)
    return Certified(svd, of.residual, of.next_value, of.gap, of.bound, met, of.passes, dense)


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


def _dense(G: Matrix, k: int, tolerance: float, passes: Array) -> Certified:
    L, s, Rt = jnp.linalg.svd(G, full_matrices=False)
    U, V, values = L[:, :k], Rt[:k].T, s[:k]
    off = [frobenius(R, s[0]) for R in (matmul(G, V) - U * values[None], matmul(G.T, U) - V * values[None])]
    residual = frobenius(jnp.stack(off), s[0]) + rounding(values)
    next_value = s[k] if s.size > k else jnp.zeros((), s.dtype)
    gap = s[k - 1] - next_value
    bound = ratio(residual, gap)
    dense = jnp.asarray(True)
    return Certified(SVD(U, values, V), residual, next_value, gap, bound, bound <= tolerance, passes, dense)


def _first_block(key: PRNGKey, *, n: int, columns: int, dtype: DTypeLike, start: SVD | None) -> Array:
    """Orthonormal columns: those of the start and Gaussian columns, for directions that the start misses."""
    if start is None:
        return orthonormal(jax.random.normal(key, (n, columns), dtype))
    drawn = jax.random.normal(key, (n, columns - start.right.shape[1]), dtype) / jnp.sqrt(jnp.asarray(n, dtype))
    return orthonormal(jnp.concatenate([start.right, drawn], axis=1))


def search_faults(oversample: Any, max_passes: Any, tolerance: Any) -> list[str]:
    """Why these are no options of ``block_krylov_svd``, a sentence for each fault."""
    found = (
        whole_fault("oversample", oversample, least=1),
        whole_fault("max_passes", max_passes, least=2),
        "" if tolerance is None else number_fault("tolerance", tolerance, above=0.0),
    )
    return [*filter(None, found)]


def _tolerance(tolerance: float | None, dtype: DTypeLike) -> float:
    return float(jnp.finfo(dtype).eps) ** 0.5 if tolerance is None else tolerance


def _check_keys(keys: Mapping[str, Array], products: JointProducts) -> None:
    """Raise ValueError unless there is a key for each matrix, and L keys for a stack of L."""
    wanted = {name: tuple(stack) for name, (*stack, _, _) in products.shapes.items()}
    if missing := [name for name in wanted if name not in keys]:
        msg = f"each matrix needs a key, got none for {missing}"
        raise ValueError(msg)
    given = {name: jax.random.key_data(keys[name]).shape[:-1] for name in wanted}
    if given != wanted:
        msg = f"a matrix needs one key, and a stack of L matrices an array of L keys: {wanted}, got {given}"
        raise ValueError(msg)


def _check_dtype(dtype: DTypeLike) -> None:
    if jnp.dtype(dtype) not in (jnp.float32, jnp.float64):
        msg = f"decompositions need float32 or float64, got {jnp.dtype(dtype)}; cast the matrix first"
        raise TypeError(msg)


def _check(
    shapes: Mapping[str, tuple[int, int]],
    k: int,
    oversample: int,
    max_passes: int,
    tolerance: float | None,
    start: SVD | None,
) -> None:
    """Raise ValueError with all that is wrong; a single matrix has no name."""
    is_whole = not whole_fault("k", k, least=0)
    faults = [
        f"k must be in 1..{min(shape)} for {f'the matrix {name!r}' if name else 'a matrix'} of shape {shape}, got {k}"
        for name, shape in shapes.items()
        if is_whole and not 1 <= k <= min(shape)
    ]
    faults += [] if is_whole else [whole_fault("k", k, least=1)]
    faults += search_faults(oversample, max_passes, tolerance)
    if start is not None:
        ((m, n),), given = shapes.values(), (start.left.shape, start.right.shape)
        wrong = f"start needs left {(m, k)} and right {(n, k)}, got {given[0]} and {given[1]}"
        faults += [wrong] if given != ((m, k), (n, k)) else []
    refuse(*faults)
