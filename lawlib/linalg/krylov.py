"""Block Krylov iterations of several matrices in step, so that what one pass computes serves all of them.

The matrices G (m, n) have m >= n, and those of one shape and dtype are a group, a stack of L matrices. Blocks are
(L, m, b) or (L, n, b), by group. What is done to a matrix alone is compiled once for its group.
"""

import functools as ft
from collections.abc import Callable, Hashable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lawlib.types import Array, Matrix, PyTree, Scalar, matmul

__all__ = [
    "Search",
    "TallProducts",
    "Triplets",
    "each",
    "frobenius",
    "iterated",
    "orthonormal",
    "ratio",
    "rounding",
]

# Rounding errors of the products and bases give a residual of a few eps sqrt(k) sigma_1; up to eight were measured.
ROUNDING = 32

Blocks = dict[Hashable, Array]


class TallProducts(NamedTuple):
    """``forward(V)`` = G V and ``adjoint(U)`` = G^T U for blocks of some of the groups."""

    forward: Callable[[Blocks], Blocks]
    adjoint: Callable[[Blocks], Blocks]


class Search(NamedTuple):
    """The number k of triplets, and for each group the tolerance and the largest number of pairs of passes."""

    k: int
    tolerance: dict[Hashable, float]
    stages: dict[Hashable, int]


class Triplets(NamedTuple):
    """k leading triplets of a matrix, their certificate in the terms of ``spectra.Certified``, and the passes."""

    left: Matrix
    values: Array
    right: Matrix
    residual: Scalar
    next_value: Scalar
    gap: Scalar
    bound: Scalar
    passes: Array


class _Space(NamedTuple):
    """The blocks so far: orthonormal Q on the left and P on the right, and Z = G^T Q."""

    Q: Matrix
    P: Matrix
    Z: Matrix


class _Ritz(NamedTuple):
    """U_k, G^T U_k and sigma_1..sigma_{k+1} from a Krylov space; ||G^T U_k - V_k S||_F, and next_value."""

    left: Matrix
    image: Matrix
    values: Array
    residual: Scalar
    next_value: Scalar
    passes: Array


def iterated(products: TallProducts, search: Search, first: Blocks) -> dict[Hashable, Triplets]:
    """The triplets of the matrices of all groups, by group and stacked, from orthonormal first blocks on the right.

    All matrices share their passes. One that has met its tolerance, or has used its passes, keeps its triplets; the
    passes end with the last of them.
    """
    ritz = _expanded(products, search, first, {})
    return {group: each(_refined, found) for group, found in ritz.items()}


def _expanded(
    products: TallProducts, search: Search, new: Blocks, spaces: Mapping[Hashable, _Space]
) -> dict[Hashable, _Ritz]:
    """A pair of passes from new right blocks, and further pairs while a bound is above its tolerance.

    Each stage compiles with its own shapes, so that the first is cheap.
    """
    formed = products.forward(new)
    before = {group: (space.Q,) for group, space in spaces.items()}
    added = {group: each(orthonormal, block, *before.get(group, ())) for group, block in formed.items()}
    images = products.adjoint(added)
    spaces = {group: _extended(spaces.get(group), _Space(added[group], new[group], images[group])) for group in new}
    ritz = {group: each(ft.partial(_rayleigh_ritz, search.k, new[group].shape[2]), spaces[group]) for group in new}
    going = [group for group in new if spaces[group].P.shape[2] < search.stages[group] * new[group].shape[2]]
    if not going:
        return ritz
    met = {group: jax.vmap(_bound)(ritz[group])[2] <= search.tolerance[group] for group in going}

    def further() -> dict[Hashable, _Ritz]:
        blocks = {group: each(orthonormal, images[group], spaces[group].P) for group in going}
        found = _expanded(products, search, blocks, {group: spaces[group] for group in going})
        return {group: jax.tree.map(ft.partial(_chosen, met[group]), ritz[group], found[group]) for group in going}

    all_met = jnp.all(jnp.concatenate(list(met.values())))
    return ritz | lax.cond(all_met, lambda: {group: ritz[group] for group in going}, further)


def _extended(space: _Space | None, added: _Space) -> _Space:
    """Stacked spaces with further columns."""
    if space is None:
        return added
    return _Space(*(jnp.concatenate(pair, axis=2) for pair in zip(space, added, strict=True)))


def each(function: Callable[..., PyTree], *stacks: PyTree) -> PyTree:
    """function(*one) for each matrix of the stacks; for several in a loop, whose body is compiled once."""
    if jax.tree.leaves(stacks)[0].shape[0] > 1:
        return lax.map(lambda one: function(*one), stacks)
    one = jax.tree.map(lambda x: x[0], stacks)
    return jax.tree.map(lambda x: x[None], function(*one))


def _chosen(first: Array, of_first: Array, of_second: Array) -> Array:
    return jnp.where(first.reshape(-1, *[1] * (of_first.ndim - 1)), of_first, of_second)


# Of one matrix. -------------------------------------------------------------------------------------------------------


def _rayleigh_ritz(k: int, columns: int, space: _Space) -> _Ritz:
    """The singular triplets of Q^T G P = Z^T P and their residuals; G P = Q Q^T G P, so that G V = U S."""
    Q, P, Z = space
    X, s, Yt = jnp.linalg.svd(matmul(Z.T, P))
    image = matmul(Z, X[:, : k + 1])
    R = image - matmul(P, Yt[: k + 1].T) * s[None, : k + 1]
    residual, own = frobenius(R[:, :k], s[0]), frobenius(R[:, k:], s[0])
    beyond = own + (s[k] if s.size > k else 0)
    next_value = frobenius(jnp.stack([residual, beyond]), s[0])
    passes = jnp.asarray(2 * (P.shape[1] // columns), jnp.int32)
    return _Ritz(matmul(Q, X[:, :k]), image[:, :k], s[:k], residual, next_value, passes)


def _bound(ritz: _Ritz) -> tuple[Array, Array, Array]:
    """Residual, gap and their ratio for the span of G^T U_k in place of V_k."""
    last = ritz.values[-1]
    shrink = ritz.next_value / jnp.where(last > 0, last, 1)
    residual = ritz.residual * shrink + rounding(ritz.values)
    gap = last - ritz.next_value
    return residual, gap, ratio(residual, gap)


def _refined(ritz: _Ritz) -> Triplets:
    """The triplets of the span of U_k, whose right vectors span G^T U_k: half a step beyond the Ritz triplets."""
    # QR first: the SVD of a tall matrix was measured to take two hundred times as long.
    basis, triangle = jnp.linalg.qr(ritz.image)
    inner, values, turn = jnp.linalg.svd(triangle)
    right = matmul(basis, inner)
    residual, gap, bound = _bound(ritz)
    return Triplets(matmul(ritz.left, turn.T), values, right, residual, ritz.next_value, gap, bound, ritz.passes)


def orthonormal(block: Array, Q: Array | None = None) -> Array:
    """An orthonormal basis of the part of a block outside the span of Q, which may be tiny: projected twice.

    What is left of a block inside the span is rounding error, which may lie in few directions, as where rows repeat:
    the basis of the rest is then arbitrary, and not orthogonal to Q. The last columns of a basis of both are.
    """
    if Q is None:
        return jnp.linalg.qr(block)[0]
    both = jnp.concatenate([Q, block], axis=1)
    for _ in range(2):
        block = jnp.linalg.qr(block - matmul(Q, matmul(Q.T, block)))[0]
    fine = jnp.linalg.norm(matmul(Q.T, block)) <= jnp.finfo(Q.dtype).eps ** 0.5
    return lax.cond(fine, lambda: block, lambda: jnp.linalg.qr(both)[0][:, Q.shape[1] :])


def frobenius(x: Array, scale: Scalar) -> Scalar:
    """||x||_F, without underflow of the squares of tiny numbers."""
    scale = jnp.where(scale > 0, scale, 1)
    return scale * jnp.linalg.norm(x / scale)


def rounding(values: Array) -> Scalar:
    """A few eps sqrt(k) sigma_1; +inf where eps sigma_1 underflows."""
    info = jnp.finfo(values.dtype)
    error = info.eps * values[0]
    return jnp.where(error > info.tiny, ROUNDING * values.size**0.5 * error, jnp.inf)


def ratio(residual: Scalar, gap: Scalar) -> Scalar:
    """residual / gap, +inf where the gap is not positive."""
    return jnp.where(gap > 0, residual / jnp.where(gap > 0, gap, 1), jnp.inf)
