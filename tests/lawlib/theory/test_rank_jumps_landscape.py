"""Rank jumps: the minima of the regularized loss of a 2x2 completion, where they end, and the proximal step."""

import functools as ft
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from rank_jumps_reference import MASK, dense_cost, target_of

from lawlib.theory import rank_jumps_landscape as landscape

RIDGES = (0.025, 0.00025)  # of the figures' two phases, in units of C + lambda ||theta||^2

SIZES = ("depth", "rank", "fill_sign")
# Compiled once for all tests: the bisections inside take longer to compile than to run.
local_minimum, last_ridge, last_offdiagonal, prox = (
    jax.jit(function, static_argnames=SIZES[:number])
    for function, number in (
        (landscape.local_minimum, 3),
        (landscape.last_ridge, 3),
        (landscape.last_offdiagonal, 1),
        (landscape.prox, 1),
    )
)


def dense_loss(A, offdiagonal, ridge, depth):
    return np.sum(MASK * (A - target_of(offdiagonal)) ** 2) / 6 + ridge * dense_cost(A, depth)


@pytest.mark.parametrize(("depth", "ridge"), [(3, RIDGES[0]), (4, RIDGES[1])])
def test_rank_two_minima_are_those_that_a_search_finds(depth, ridge):
    offdiagonal = 0.8 * float(last_offdiagonal(ridge, depth=depth))
    found = local_minimum(offdiagonal, ridge=ridge, depth=depth, rank=2)
    A = np.asarray(found.matrix)
    assert found.exists
    np.testing.assert_allclose(np.linalg.svd(A, compute_uv=False), found.singular_values, rtol=1e-11)

    def loss(x):
        return dense_loss(x.reshape(2, 2), offdiagonal, ridge, depth)

    rng = np.random.default_rng(depth)
    start = A.ravel() + 0.01 * np.linalg.svd(A, compute_uv=False)[1] * rng.normal(size=4)
    searched = scipy.optimize.minimize(loss, start, method="BFGS", options={"gtol": 1e-11})
    np.testing.assert_allclose(searched.x, A.ravel(), atol=1e-5)
    assert searched.fun >= loss(A.ravel()) - 1e-13


def outer(x):
    return np.outer(x[:2], x[2:])


def rank_one_loss(x, offdiagonal, ridge, depth):
    size = np.linalg.norm(x[:2]) * np.linalg.norm(x[2:])
    return np.sum(MASK * (outer(x) - target_of(offdiagonal)) ** 2) / 6 + ridge * depth * size ** (2 / depth)


def halves(A):
    U, s, Vt = np.linalg.svd(np.asarray(A))
    return math.sqrt(s[0]) * np.concatenate([U[:, 0], Vt[0]])


@pytest.mark.parametrize("fill_sign", [1, -1])
@pytest.mark.parametrize(("depth", "ridge"), [(3, RIDGES[0]), (4, RIDGES[1])])
def test_rank_one_minima_are_those_that_a_search_finds(depth, ridge, fill_sign):
    found = local_minimum(0.2, ridge=ridge, depth=depth, rank=1, fill_sign=fill_sign)
    assert found.exists
    assert np.sign(found.matrix[0, 1]) == fill_sign
    loss = ft.partial(rank_one_loss, offdiagonal=0.2, ridge=ridge, depth=depth)
    start = halves(found.matrix) * [1.01, 0.99, 1.02, 0.98]
    searched = scipy.optimize.minimize(loss, start, method="BFGS", options={"gtol": 1e-10})
    np.testing.assert_allclose(outer(searched.x), found.matrix, atol=2e-5 * abs(found.matrix[0, 1]))
    # s_2 > 0 costs more than it gives, in every direction: rank 1 is a minimum among all matrices.
    rng = np.random.default_rng(0)
    for size in (1e-7, 1e-8):
        near = [found.matrix + size * rng.normal(size=(2, 2)) for _ in range(100)]
        assert min(dense_loss(A, 0.2, ridge, depth) for A in near) > loss(halves(found.matrix)) - 1e-12


@ft.partial(jax.jit, static_argnums=4)
def searched(A, target, ridge, num_steps, depth):
    """The end of proximal steps of 1 on C_lambda."""
    return jax.lax.fori_loop(
        0, num_steps, lambda _, A: landscape.prox(A - MASK * (A - target) / 3, ridge, depth=depth), A
    )


def test_every_search_in_matrices_ends_at_a_known_minimum():
    # The paper speaks of three; the fourth fills the missing entry with the wrong sign.
    depth, ridge, offdiagonal = 3, 0.025, 0.2
    at = ft.partial(local_minimum, offdiagonal, ridge=ridge, depth=depth)
    known = [jnp.zeros((2, 2)), at(rank=1).matrix, at(rank=1, fill_sign=-1).matrix, at(rank=2).matrix]
    rng, target = np.random.default_rng(depth), target_of(offdiagonal)

    starts = rng.normal(size=(16, 2, 2)) * 10.0 ** rng.uniform(-1, 1, (16, 1, 1))
    ends = np.stack([searched(A, target, ridge, 1500, depth) for A in starts])
    apart = np.abs(ends[:, None] - np.stack(known)).max((2, 3))
    assert apart.min(1).max() < 1e-6
    assert set(apart.argmin(1)) == {1, 2, 3}
    # A step of 1 from around 0 leaves its basin, one of .01 does not.
    near = 1e-4 * rng.normal(size=(2, 2))
    moved = near - 0.01 * MASK * (near - target) / 3
    assert np.all(prox(jnp.asarray(moved), 0.01 * ridge, depth=depth) == 0)


@pytest.mark.parametrize(("depth", "beyond"), [(3, 0.26), (4, 0.11)])
def test_the_ends_of_rank_two_over_eps_and_over_the_ridge_agree(depth, beyond, dtype, tol):
    ridge = jnp.asarray(0.025, dtype)
    last = last_offdiagonal(ridge, depth=depth)
    assert last.dtype == dtype
    assert beyond - 0.01 < last < beyond
    fold = last_ridge(last, depth=depth, rank=2)
    assert fold.ridge == pytest.approx(0.025, rel=tol(jnp.zeros(1, dtype), 1000))


def test_beyond_the_last_offdiagonal_a_search_falls_to_rank_one():
    depth = 4
    last = float(last_offdiagonal(0.025, depth=depth))
    assert not local_minimum(1.001 * last, ridge=0.025, depth=depth, rank=2).exists
    start = local_minimum(0.99 * last, ridge=0.025, depth=depth, rank=2).matrix

    def end(offdiagonal):
        A = searched(start, target_of(offdiagonal), 0.025, 8000, depth)
        s = np.linalg.svd(A, compute_uv=False)
        return s[1] / s[0]

    fold = last_ridge(last, depth=depth, rank=2)
    assert end(0.999 * last) > fold.ratio > 0.1
    assert end(1.01 * last) < 1e-12


def entries_loss(x, ridge, offdiagonal, depth):
    """C_lambda by the entries (diagonal, corner, fill) of a matrix of rank 2, or (diagonal, corner) of rank 1."""
    diagonal, corner = x[:2]
    fill = x[2] if x.size == 3 else diagonal**2 / corner
    twice = 2 * abs(diagonal**2 - corner * fill) if x.size == 3 else 0.0  # of rank one it is 0, and so is its slope
    square = 2 * diagonal**2 + corner**2 + fill**2
    total, apart = jnp.sqrt(square + twice), jnp.sqrt(square - twice)
    cost = sum(s ** (2 / depth) for s in ([(total + apart) / 2, (total - apart) / 2] if x.size == 3 else [total]))
    return (2 * (1 - diagonal) ** 2 + (offdiagonal - corner) ** 2) / 6 + ridge * depth * cost


@jax.jit
def folded(y, offdiagonal, depth):
    """The gradient in the entries y[:-1] and the Hessian's determinant, both 0 at a fold; lambda = y[-1]."""
    loss = ft.partial(entries_loss, ridge=y[-1], offdiagonal=offdiagonal, depth=depth)
    return jnp.append(jax.grad(loss)(y[:-1]), jnp.linalg.det(jax.hessian(loss)(y[:-1])))


FOLDED_SLOPE = jax.jit(jax.jacfwd(folded))
FOLDS = [
    (2, 1, 0.2, 3),
    (2, 1, 1e-7, 3),
    (2, 1, 0.49, 3),
    (2, 1, 0.1, 4),
    (2, 1, 0.02, 12),
    (1, 1, 0.2, 3),
    (1, 1, 2.0, 5),
    (1, -1, 0.2, 3),
    (1, -1, 0.9, 3),
]


@pytest.mark.parametrize(("rank", "fill_sign", "offdiagonal", "depth"), FOLDS)
def test_a_minimum_exists_up_to_where_its_hessian_is_singular(rank, fill_sign, offdiagonal, depth):
    of = {"depth": depth, "rank": rank, "fill_sign": fill_sign}
    last = float(last_ridge(offdiagonal, **of).ridge)
    near = np.asarray(local_minimum(offdiagonal, ridge=last * (1 - 1e-4), **of).matrix)
    start = np.append([near[0, 0], near[1, 0], near[0, 1]][: rank + 1], last)
    solved, _, status, message = scipy.optimize.fsolve(
        lambda y: np.asarray(folded(y, offdiagonal, float(depth))),
        start,
        fprime=lambda y: np.asarray(FOLDED_SLOPE(y, offdiagonal, float(depth))),
        full_output=True,
        xtol=1e-14,
    )
    assert np.abs(folded(solved, offdiagonal, float(depth))).max() < 1e-10, (status, message)
    assert last == pytest.approx(solved[-1], rel=1e-9)
    exists = [bool(local_minimum(offdiagonal, ridge=times * solved[-1], **of).exists) for times in (1 - 1e-8, 1 + 1e-8)]
    assert exists == [True, False]


def test_there_is_no_minimum_of_rank_two_beyond_one_half():
    below, beyond = (last_ridge(offdiagonal, depth=3, rank=2).ridge for offdiagonal in (0.499, 0.501))
    assert beyond == 0 < below
    assert last_offdiagonal(0.1, depth=3) == 0
    below, beyond = (last_ridge(s / math.sqrt(8), depth=4, rank=2).ridge for s in (0.99, 1.01))
    assert beyond == 0 < below


@pytest.mark.parametrize("fill_sign", [1, -1])
def test_rank_one_ends_where_a_search_falls_to_zero(fill_sign):
    at = ft.partial(local_minimum, 0.25, depth=3, rank=1, fill_sign=fill_sign)
    last = float(last_ridge(0.25, depth=3, rank=1, fill_sign=fill_sign).ridge)
    assert not at(ridge=1.001 * last).exists
    start = halves(at(ridge=0.999 * last).matrix)
    ends = []
    for times in (0.99, 1.02):
        args = 0.25, times * last, 3
        ended = scipy.optimize.minimize(rank_one_loss, start, args, method="BFGS", options={"gtol": 1e-9}).x
        ends.append(outer(ended))
    np.testing.assert_allclose(ends[0], at(ridge=0.99 * last).matrix, atol=1e-4)
    assert np.abs(ends[1]).max() < 1e-3


@pytest.mark.parametrize("depth", [3, 4])
def test_a_proximal_step_is_the_best_of_a_grid(depth, dtype):
    singular = np.array([2.0, 0.7, 0.05])
    rng = np.random.default_rng(depth)
    U, V = (np.linalg.qr(rng.normal(size=(n, 3)))[0] for n in (4, 3))
    A = jnp.asarray(U * singular @ V.T, dtype)
    grid = np.linspace(0, 2.2, 110_001)
    for ridge in (1e-4, 0.02, 0.3):
        objective = (grid[:, None] - singular) ** 2 / 2 + ridge * depth * grid[:, None] ** (2 / depth)
        best = grid[objective.argmin(0)]
        np.testing.assert_allclose(prox(A, ridge, depth=depth), U * best @ V.T, atol=3e-5)
