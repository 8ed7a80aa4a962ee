"""Extreme eigenvalues by products, against dense decompositions."""

import functools as ft

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from lawlib.curvature import extreme_eigenvalues, hessian_product


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
    for value, residual in ((found.smallest, found.residual_smallest), (found.largest, found.residual_largest)):
        assert float(residual) > 1e-6
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


def test_a_product_that_is_not_finite_shows():
    A, start = symmetric(4, np.arange(6.0), jnp.float64)
    assert np.isnan(extremes(A.at[2, 3].set(jnp.nan), start, 6)).all()


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
