"""Subspace inverse problems: what is drawn has the stated spans, spectra and laws; the oracle map inverts them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from lawlib.problems import inverse

SIZES = {"dimension": 12, "num_measurements": 8, "subspace_dimension": 3, "num_samples": 20}


@pytest.mark.parametrize("kappa", [1.0, 4.0])
def test_signals_lie_in_their_subspace_with_the_prescribed_values(dtype, tol, kappa):
    p = inverse.draw_problem(jax.random.key(0), **SIZES, condition_number=kappa, dtype=dtype)
    close = tol(p.signals)
    R, X, A, Y = (np.asarray(x, float) for x in (p.basis, p.signals, p.operator, p.measurements))
    np.testing.assert_allclose(R.T @ R, np.eye(3), atol=close)
    np.testing.assert_allclose(R @ (R.T @ X), X, atol=close)
    np.testing.assert_allclose(Y, A @ X, atol=close)
    np.testing.assert_allclose(scipy.linalg.svdvals(X)[:3], [1, (1 + 1 / kappa) / 2, 1 / kappa], atol=close)
    assert {x.dtype for x in p} == {dtype}


def test_measurements_keep_the_mean_square():
    A = np.asarray(inverse.measurement_operator(jax.random.key(1), num_measurements=400, dimension=300))
    assert np.mean(A**2) * 400 == pytest.approx(1, abs=0.02)
    assert np.mean(np.sum(A**2, 0)) == pytest.approx(1, abs=0.02)


def test_a_condition_number_may_be_traced_and_one_row_has_the_value_one():
    Z = jax.jit(
        lambda kappa: inverse.coefficients(
            jax.random.key(0), subspace_dimension=2, num_samples=5, condition_number=kappa
        )
    )(jnp.asarray(10.0))
    np.testing.assert_allclose(scipy.linalg.svdvals(Z), [1, 0.1], rtol=1e-12)
    assert scipy.linalg.svdvals(
        inverse.coefficients(jax.random.key(0), subspace_dimension=1, num_samples=5, condition_number=10.0)
    )[0] == pytest.approx(1)


def test_a_union_has_every_sample_in_the_subspace_of_its_label():
    p = inverse.draw_union(jax.random.key(2), **SIZES, num_subspaces=3)
    np.testing.assert_allclose(p.measurements, p.operator @ p.signals, atol=1e-13)
    for j, R in enumerate(np.asarray(p.bases)):
        outside = np.linalg.norm(p.signals - R @ (R.T @ p.signals), axis=0)
        assert np.all((outside < 1e-13) == (np.asarray(p.labels) == j))
    assert set(np.asarray(p.labels).tolist()) == {0, 1, 2}
    assert np.linalg.matrix_rank(p.signals) == 9


@pytest.mark.parametrize("num_subspaces", [1, 3])
def test_test_signals_have_norm_one_in_all_directions_of_the_union(num_subspaces):
    bases = inverse.draw_union(jax.random.key(2), **SIZES, num_subspaces=num_subspaces).bases
    x = np.asarray(inverse.unit_signals(jax.random.key(3), bases, 3000))
    np.testing.assert_allclose(np.linalg.norm(x, axis=0), 1, rtol=1e-12)
    distances = [np.linalg.norm(x - R @ (R.T @ x), axis=0) for R in np.asarray(bases)]
    assert np.max(np.min(distances, axis=0)) < 1e-12
    for R, off in zip(np.asarray(bases), distances, strict=True):
        mine = x[:, off < 1e-12]
        np.testing.assert_allclose(R.T @ mine @ mine.T @ R / mine.shape[1], np.eye(3) / 3, atol=0.04)


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.3])
def test_the_isometry_constant_is_the_largest_distortion(scale):
    p = inverse.draw_problem(jax.random.key(4), **SIZES)
    A = scale * np.asarray(p.operator)
    lengths = scipy.linalg.eigvalsh(np.asarray(p.basis).T @ A.T @ A @ np.asarray(p.basis))
    expected = np.max(np.abs(lengths - 1))
    assert float(inverse.isometry_constant(jnp.asarray(A), p.basis)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("num_measurements", [1, 2, 3])
def test_fewer_measurements_than_dimensions_leave_a_signal_unseen(num_measurements):
    """||A R z||^2 has an eigenvalue 0 for m < s, so that delta is at least 1; a small A has nothing above it."""
    A, R = (
        np.random.default_rng(3).standard_normal((num_measurements, 12)) / 10,
        inverse.signal_basis(jax.random.key(0), dimension=12, subspace_dimension=3),
    )
    lengths = scipy.linalg.eigvalsh(np.asarray(R).T @ A.T @ A @ np.asarray(R))
    found = float(inverse.isometry_constant(jnp.asarray(A), R))
    assert found == pytest.approx(np.max(np.abs(lengths - 1)), rel=1e-12)
    assert (found == 1.0) == (num_measurements < 3)


def test_the_oracle_map_inverts_on_the_subspace_and_is_zero_across(dtype, tol):
    p = inverse.draw_problem(jax.random.key(5), **SIZES, condition_number=3.0, dtype=dtype)
    W = np.asarray(inverse.oracle_map(p.signals, p.measurements, 3), float)
    R, A = np.asarray(p.basis, float), np.asarray(p.operator, float)
    np.testing.assert_allclose(W, R @ np.linalg.pinv(A @ R), atol=tol(p.signals, 1e3))


REFUSED = {
    "s > m": ({"subspace_dimension": 9}, "subspace_dimension must be in 1..8, the num_measurements, got 9"),
    "s > d": ({"dimension": 2}, "subspace_dimension must be in 1..2, the dimension, got 3"),
    "s > n": ({"num_samples": 2}, "subspace_dimension must be in 1..2, the num_samples, got 3"),
    "kappa": ({"condition_number": 0.5}, "condition_number must be finite and at least 1, got 0.5"),
    "not finite": ({"condition_number": float("nan")}, "condition_number must be finite and at least 1, got nan"),
}


@pytest.mark.parametrize(("sizes", "message"), REFUSED.values(), ids=REFUSED)
def test_impossible_problems_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        inverse.draw_problem(jax.random.key(0), **(SIZES | sizes))


def test_other_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="sizes must be positive, got num_subspaces=0"):
        inverse.draw_union(jax.random.key(0), **SIZES, num_subspaces=0)
    with pytest.raises(ValueError, match="sizes must be positive, got num_samples=0"):
        inverse.unit_signals(jax.random.key(0), jnp.ones((1, 3, 2)), 0)
    with pytest.raises(ValueError, match=r"rank must be in 1..8"):
        inverse.oracle_map(jnp.ones((12, 20)), jnp.ones((8, 20)), 9)
