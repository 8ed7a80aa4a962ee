"""Extreme eigenvalues by products, against dense decompositions."""

import functools as ft
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from lawlib.linalg.curvature import _residual, extreme_eigenvalues, hessian_product


def symmetric(seed, values, dtype):
    """A symmetric matrix with these eigenvalues, and a generic vector."""
    rng = np.random.default_rng(seed)
    n = len(values)
    Q, _ = np.linalg.qr(rng.standard_normal((n, n)))
    return jnp.asarray((Q * np.asarray(values)) @ Q.T, dtype), jnp.asarray(rng.standard_normal(n), dtype)


@ft.partial(jax.jit, static_argnums=2)
def extremes(A, start, num_products):
    return extreme_eigenvalues(lambda x: A @ x, start, num_products)


@pytest.mark.parametrize("num_products", [6, 40])
def test_as_many_products_as_dimensions_give_the_extremes(dtype, tol, num_products):
    A, start = symmetric(0, np.linspace(-3, 5, 6) ** 3, dtype)
    found, dense = extremes(A, start, num_products), np.linalg.eigvalsh(np.asarray(A, np.float64))
    allowed = 125 * tol(start)
    assert found.smallest.dtype == dtype
    assert abs(float(found.smallest) - dense[0]) < allowed
    assert abs(float(found.largest) - dense[-1]) < allowed
    assert max(float(found.residual_smallest), float(found.residual_largest)) < allowed


def test_an_eigenvalue_lies_within_the_residual_and_no_value_beyond_the_extremes():
    A, start = symmetric(1, np.random.default_rng(2).standard_normal(60), jnp.float64)
    dense, found = np.linalg.eigvalsh(np.asarray(A)), extremes(A, start, 7)
    # The Ritz vectors by numpy: a basis of span(b, A b, ..., A^6 b), and A inside it.
    krylov = np.linalg.qr(np.stack([np.linalg.matrix_power(np.asarray(A), p) @ start for p in range(7)], axis=1))[0]
    thetas, within = np.linalg.eigh(krylov.T @ A @ krylov)
    residuals = np.linalg.norm(A @ krylov @ within - krylov @ within * thetas, axis=0)
    for at, value, residual in (
        (0, found.smallest, found.residual_smallest),
        (-1, found.largest, found.residual_largest),
    ):
        assert float(residual) > 1e-6
        assert float(residual) == pytest.approx(residuals[at], rel=1e-9)
        assert np.min(np.abs(dense - float(value))) <= float(residual)
    assert dense[0] < float(found.smallest) < float(found.largest) < dense[-1]


@pytest.mark.parametrize(
    "values",
    [[0.0] * 6, [2.0] * 6, [-1.0] * 3 + [4.0] * 3, [0.0] * 5 + [1e-3]],
    ids=["zero", "a multiple of I", "two values", "rank one"],
)
def test_an_exhausted_krylov_space_ends_cleanly(values, dtype, tol):
    A, start = symmetric(3, values, dtype)
    found = extremes(A, start, 6)
    np.testing.assert_allclose(found[:2], [min(values), max(values)], atol=10 * tol(start) * max(map(abs, values)))
    np.testing.assert_allclose(found[2:], 0.0, atol=10 * tol(start) * max(map(abs, values)))


@pytest.mark.parametrize(("entries", "start"), [([0.0] * 6, [1.0] * 6), ([3.0, *[1.0] * 5], [0.0, 1, 0, 0, 0, 0])])
def test_a_breakdown_without_any_rounding_ends_cleanly(entries, start, dtype):
    A, v = jnp.diag(jnp.asarray(entries, dtype)), jnp.asarray(start, dtype)
    expected = [entries[1]] * 2 + [0.0] * 2  # the eigenvalue 3 lies in no Krylov space of this start
    np.testing.assert_array_equal(extremes(A, v, 6), expected)


@pytest.mark.parametrize(("factor", "seen"), [(100.0, True), (1.25, True), (0.8, False), (0.01, False)])
def test_a_coefficient_above_the_rounding_of_the_map_goes_on_and_one_below_ends(factor, seen, dtype):
    """Lanczos from e_1 gives A itself. Its 5 is in the Krylov space of e_1, by a coefficient next to n eps max |A|."""
    beside = factor * 6 * float(jnp.finfo(dtype).eps) * 5
    A = jnp.asarray(np.diag([1.0, 5, 5, 5, 5, 5]), dtype).at[0, 1].set(beside).at[1, 0].set(beside)
    found = extremes(A, jnp.eye(6, dtype=dtype)[0], 6)
    np.testing.assert_allclose(found[:2], [1.0, 5.0 if seen else 1.0], rtol=1e-5)


def test_one_product_gives_the_rayleigh_quotient_and_its_residual():
    A, start = (np.asarray(x) for x in symmetric(6, np.arange(6.0), jnp.float64))
    y = start / np.linalg.norm(start)
    theta = y @ A @ y
    off = np.linalg.norm(A @ y - theta * y)
    np.testing.assert_allclose(extremes(jnp.asarray(A), jnp.asarray(start), 1), [theta, theta, off, off], rtol=1e-12)


def test_the_largest_value_of_an_exhausted_space_may_be_above_all_coefficients(dtype):
    """Lanczos from e_1 ends after three products, with .9 on all three diagonals: .9 (1 +- sqrt 2) and .9."""
    A = np.zeros((6, 6), dtype)
    A[:3, :3] = 0.9 * (np.eye(3) + np.eye(3, k=1) + np.eye(3, k=-1))
    found = extremes(jnp.asarray(A), jnp.eye(6, dtype=dtype)[0], 6)
    np.testing.assert_allclose(found[:2], [0.9 * (1 - 2**0.5), 0.9 * (1 + 2**0.5)], rtol=1e-6)


def test_a_start_of_zero_gives_nan():
    A, start = symmetric(4, np.arange(6.0), jnp.float64)
    assert np.isnan(extremes(A, 0 * start, 6)).all()


def test_a_product_that_is_not_finite_shows():
    A, start = symmetric(4, np.arange(6.0), jnp.float64)
    assert np.isnan(extremes(A.at[2, 3].set(jnp.nan), start, 6)).all()


# Spectra of n eigenvalues, largest in magnitude 1 or 0.
SPECTRA = (
    np.ones,  # a multiple of I
    np.zeros,
    lambda n: np.arange(n) == n - 1,  # rank one
    lambda n: np.arange(n) % 2,  # a projection
    lambda n: (-1.0) ** np.arange(n),
    lambda n: 1 - 1e-6 * np.arange(n) - 0.5 * (np.arange(n) >= n / 2),  # two clusters
    lambda n: np.linspace(-0.7, 1, n),
)
# The smallest norm of a map, an ordinary one, and the largest.
SCALES = {np.float32: (1e-8, 2.0, 1e18), np.float64: (1e-130, 2.0, 1e150)}


def in_invariant_subspaces(n, dtype):
    """Symmetric matrices (cases, n, n), and starts from the spans of 1, 2, 3 and all n of their eigenvectors."""
    rng = np.random.default_rng(n)
    frames = (np.eye(n), np.linalg.qr(rng.standard_normal((n, n)))[0])
    matrices, starts = [], []
    dimensions = {1, min(2, n), min(3, n), n}
    for spectrum, scale, dimension, frame in itertools.product(SPECTRA, SCALES[dtype.type], dimensions, frames):
        inside = rng.permutation(n)[:dimension]
        matrices.append(scale * (frame * spectrum(n)) @ frame.T)
        starts.append(frame[:, inside] @ rng.choice([-1.0, 1.0, 0.3], dimension))
    return jnp.asarray(matrices, dtype), jnp.asarray(starts, dtype)


@pytest.mark.parametrize(("n", "num_products"), [(1, 1), (2, 2), (3, 3), (7, 3), (7, 7)])
def test_residuals_bound_the_error_wherever_the_krylov_space_ends(n, num_products, dtype, tol):
    A, starts = in_invariant_subspaces(n, dtype)
    found = jax.jit(jax.vmap(ft.partial(extremes, num_products=num_products)))(A, starts)
    factor = tol(starts, 4)
    A, starts = (np.asarray(x, np.float64) for x in (A, starts))
    dense = np.linalg.eigvalsh(A)
    allowed = factor * np.abs(dense).max(1)
    smallest, largest, *residuals = np.asarray(found, np.float64)
    for value, residual in zip((smallest, largest), residuals, strict=True):
        assert np.all(np.abs(dense - value[:, None]).min(1) <= residual + allowed)
        assert np.all(dense[:, 0] - allowed <= value)
        assert np.all(value <= dense[:, -1] + allowed)
    quotient = np.einsum("ci,cij,cj->c", starts, A, starts) / np.sum(starts**2, 1)
    assert np.all(smallest <= quotient + allowed)
    assert np.all(quotient - allowed <= largest)
    if num_products == n:
        assert np.all(np.maximum(*residuals) <= allowed)


@pytest.mark.parametrize("n", [2, 3, 7])
def test_a_multiple_of_the_identity_has_one_eigenvalue(n, dtype, tol):
    """The second direction is a rounding error, which after its normalization may be parallel to the first."""
    start = jnp.ones(n, dtype)
    np.testing.assert_allclose(extreme_eigenvalues(lambda v: 2 * v, start, n), [2.0, 2.0, 0.0, 0.0], atol=tol(start, 4))


@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize("size", [0, 1, 2])
def test_the_extremes_of_an_invariant_subspace_are_found(dimension, size, dtype, tol):
    scale = SCALES[dtype.type][size]
    A, _ = symmetric(7, scale * np.asarray([-2.0, -1, 0.5, 1, 3, 4]), jnp.float64)
    values, frame = np.linalg.eigh(np.asarray(A))
    start = jnp.asarray(frame[:, 2 : 2 + dimension].sum(1), dtype)
    found = extremes(A.astype(dtype), start, dimension)
    expected = [values[2], values[1 + dimension], 0.0, 0.0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=tol(start, 4) * 4 * scale)


def test_the_residual_is_relative_to_the_length_of_the_vector():
    basis = 0.5 * jnp.eye(2)
    residual = _residual(lambda v: jnp.asarray([1.0, 3.0]) * v, basis, basis[0], jnp.ones(2, bool), jnp.asarray(2.0))
    assert float(residual) == 1.0


def loss(weights, X):
    return jnp.sum(jnp.square(jnp.tanh(weights["b"] @ weights["a"] @ X)))


def test_the_hessian_of_any_pytree_under_vmap(dtype, tol):
    rng = np.random.default_rng(5)

    def draw(*members):
        return {name: jnp.asarray(rng.standard_normal((*members, 2, n)), dtype) for name, n in (("a", 3), ("b", 2))}

    def both(weights, start, X):
        flat, back = ravel_pytree(weights)
        return extreme_eigenvalues(hessian_product(loss, weights, X), start, 10), jax.hessian(
            lambda w: loss(back(w), X)
        )(flat)

    X = jnp.asarray(rng.standard_normal((3, 9)), dtype)
    found, dense = jax.jit(jax.vmap(both, in_axes=(0, 0, None)))(draw(3), draw(3), X)
    values = np.linalg.eigvalsh(np.asarray(dense, np.float64))
    size = np.abs(values).max()
    np.testing.assert_allclose(found.smallest, values[:, 0], atol=tol(X) * size)
    np.testing.assert_allclose(found.largest, values[:, -1], atol=tol(X) * size)


def test_no_products_are_refused():
    with pytest.raises(ValueError, match="num_products must be at least 1, got 0"):
        extreme_eigenvalues(lambda v: v, jnp.ones(3), 0)


@pytest.mark.parametrize("start", [jnp.ones(0), (), {"a": jnp.ones((3, 0))}])
def test_a_start_without_entries_is_refused(start):
    with pytest.raises(ValueError, match="start must have at least one entry, got none"):
        extreme_eigenvalues(lambda v: v, start, 2)
