"""The benchmarks' own methods, each on a case it solves and by its definition."""

import functools as ft

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import baselines
from benchmarks.baselines import Stop
from lawlib.networks.initializers import orthogonal_weights

SHAPE, RANK, GUESS = (40, 30), 2, 4
NUM_SINGULAR = min(SHAPE)


def problem(dtype, share=0.6):
    """A target of rank 2 with singular values 3 and 2, and its mask."""
    rng = np.random.default_rng(0)
    U, V = (np.linalg.qr(rng.standard_normal((size, RANK)))[0] for size in SHAPE)
    mask = rng.random(SHAPE) < share
    return jnp.asarray(U @ np.diag([3.0, 2.0]) @ V.T, dtype), jnp.asarray(mask, dtype)


@ft.cache
def compiled(method, **static):
    """One program of a method for each choice that is not a number; when to stop is traced as well."""
    return jax.jit(ft.partial(method, **static))


def fitted(dtype, program, stop, **settings):
    """The relative error on the entries that were not observed, 0 standing there, and the iterations."""
    matrix, mask = problem(dtype)
    completed = program(jax.random.key(1), mask * matrix, mask, stop=stop, **settings)
    return float(baselines.relative_error(completed.recovered, matrix, 1 - mask)), int(completed.iterations)


def reach(dtype):
    return 1e-9 if dtype == jnp.float64 else 1e-5


@pytest.mark.parametrize(
    ("dtype", "spectral"), [(jnp.dtype("float64"), True), (jnp.dtype("float32"), True), (jnp.dtype("float64"), False)]
)
def test_als_recovers_at_the_true_rank(dtype, spectral):
    program = compiled(baselines.als, rank=RANK, spectral=spectral)
    ridges = jnp.asarray([np.finfo(dtype).eps], dtype)
    error, _ = fitted(dtype, program, Stop(0.0, reach(dtype), 200), ridges=ridges)
    # The change of an iteration is what is left times one less the rate, which is .5 or better here.
    assert error < 10 * reach(dtype)


def test_als_with_more_columns_recovers_along_falling_ridges():
    program, stop = compiled(baselines.als, rank=10), Stop(0.0, 1e-5, 100)
    falling = jnp.geomspace(0.3, 1e-4, 8)
    path, _ = fitted(jnp.float64, program, stop, ridges=falling)
    first, _ = fitted(jnp.float64, program, stop, ridges=jnp.full(8, falling[0]))
    # A ridge c takes about c/p from each singular value, p = .6 and the least is 2.
    assert path < 1e-3
    assert first > 0.1


def test_ridge_rows_solve_the_normal_equations_of_every_row(dtype, tol):
    matrix, mask = problem(dtype)
    V = jax.random.normal(jax.random.key(2), (SHAPE[1], GUESS), dtype)
    U = np.asarray(jax.jit(baselines.ridge_rows)(matrix, mask, V, 0.3))
    assert U.dtype == dtype
    for row, values, seen in zip(U, np.asarray(matrix, float), np.asarray(mask) == 1, strict=True):
        own = np.asarray(V, float)[seen]
        expected = np.linalg.solve(own.T @ own + 0.3 * np.eye(GUESS), own.T @ values[seen])
        np.testing.assert_allclose(row, expected, atol=tol(V))


def test_soft_impute_recovers_along_falling_penalties():
    along = jnp.geomspace(0.5, 1e-3, 8)
    error, _ = fitted(jnp.float64, compiled(baselines.soft_impute, rank=10), Stop(0.0, 1e-5, 300), penalties=along)
    assert error < 5e-3


def assert_minimizes_with_the_nuclear_norm(W, gradient, penalty, rtol):
    """W minimizes a convex f + c ||.||_* where G = -grad f(W) has ||G||_2 <= c and <G, W> = c ||W||_*."""
    assert np.linalg.norm(W) > 1
    assert np.linalg.norm(gradient, ord=2) <= penalty * (1 + rtol)
    np.testing.assert_allclose(np.sum(gradient * W), penalty * np.linalg.norm(W, ord="nuc"), rtol=rtol)


# With enough columns min ridge/2 (||U||^2 + ||V||^2) over W = U V^T is ridge ||W||_*: both methods solve one problem.
@pytest.mark.parametrize(("method", "name"), [(baselines.soft_impute, "penalties"), (baselines.als, "ridges")])
def test_both_methods_end_where_the_convex_problem_is_solved(method, name):
    matrix, mask = problem(jnp.float64)
    penalty, program = 0.3, compiled(method, rank=10)
    # Eight, as elsewhere: another number would compile anew.
    settings = {name: jnp.full(8, penalty), "stop": Stop(0.0, 1e-11, 300)}
    W = np.asarray(program(jax.random.key(1), matrix, mask, **settings).recovered)
    assert_minimizes_with_the_nuclear_norm(W, np.asarray(mask * (matrix - W)), penalty, rtol=1e-8)


def test_the_threshold_is_the_proximal_operator_of_the_nuclear_norm(dtype, tol):
    Z = np.random.default_rng(3).standard_normal((9, 6)).astype(dtype)
    U, s, Vt = np.linalg.svd(Z, full_matrices=False)
    penalty = float(np.median(s))
    kept = np.asarray(baselines.threshold_values(jnp.asarray(s), penalty))
    assert kept.dtype == dtype
    assert 0 < np.count_nonzero(kept) < len(s)
    W = (U * kept) @ Vt
    assert_minimizes_with_the_nuclear_norm(W, Z - W, penalty, rtol=tol(kept))


def test_the_leading_triplets_are_those_of_the_full_decomposition(dtype, tol):
    matrix, _ = problem(dtype)
    left, values, right = map(np.asarray, compiled(baselines.leading_svd, rank=RANK)(jax.random.key(0), matrix))
    np.testing.assert_allclose(
        values, np.linalg.svd(np.asarray(matrix, float), compute_uv=False)[:RANK], atol=tol(left)
    )
    np.testing.assert_allclose((left * values) @ right.T, matrix, atol=tol(left))


@pytest.mark.parametrize("width", [2 * RANK, NUM_SINGULAR], ids=["narrow", "full"])
def test_networks_recover(width):
    program = compiled(baselines.network, rank=width, depth=3, every=10)
    error, steps = fitted(jnp.float32, program, Stop(1e-3, 0.0, 4000), scale=0.05, step_size=0.1)
    assert steps < 4000
    # Seen to 1e-3; of what is not seen a full network keeps its start beside it, eps^3 sqrt(d) = 7e-4 of 3.6.
    assert error < 2e-2


def test_a_network_goes_by_the_masked_gradient(tol):
    dtype = jnp.float64
    matrix, mask = problem(dtype)
    key, eta = jax.random.key(4), 0.05
    widths = SHAPE[1], GUESS, GUESS, SHAPE[0]
    weights = jax.jit(lambda key: orthogonal_weights(key, widths, 0.8, dtype))(key)
    settings = {"depth": 3, "scale": 0.8, "step_size": eta, "stop": Stop(0.0, 0.0, 1), "every": 1}
    stepped = jax.jit(ft.partial(baselines.network, rank=GUESS, **settings))(key, matrix, mask)
    W1, W2, W3, target, seen = (np.asarray(A, float) for A in (*weights, matrix, mask))
    residual = seen * (W3 @ W2 @ W1 - target)
    by_hand = (W2.T @ W3.T @ residual, W3.T @ residual @ W1.T, residual @ (W2 @ W1).T)
    V1, V2, V3 = (W - eta * G for W, G in zip((W1, W2, W3), by_hand, strict=True))
    np.testing.assert_allclose(stepped.recovered, V3 @ V2 @ V1, atol=tol(matrix))
    for gradient, expected in zip(
        jax.jit(jax.grad(baselines.masked_loss))(weights, matrix, mask), by_hand, strict=True
    ):
        np.testing.assert_allclose(gradient, expected, atol=tol(matrix))
    assert stepped.iterations == 1


@pytest.mark.parametrize(
    ("stop", "expected"), [(Stop(0.0, 0.0, 7), 7), (Stop(10.0, 0.0, 7), 1), (Stop(0.0, 10.0, 7), 1)]
)
def test_a_method_stops_at_its_error_its_change_or_its_cap(stop, expected):
    program = compiled(baselines.als, rank=RANK, spectral=True)
    assert fitted(jnp.float64, program, stop, ridges=jnp.ones(1))[1] == expected


def test_a_network_that_diverges_ends():
    program = compiled(baselines.network, rank=2 * RANK, depth=3, every=10)
    error, steps = fitted(jnp.float32, program, Stop(1e-3, 0.0, 100_000), scale=1.0, step_size=100.0)
    assert not np.isfinite(error)
    assert steps < 1000
