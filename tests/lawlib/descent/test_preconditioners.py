"""Shampoo and GaLore: their steps by other routes, and that they commute with rotations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from lawlib.descent.preconditioners import projected_descent, shampoo
from lawlib.theory.equivariance import equivariance_defect


def steps_of(transform, gradients):
    """The update of each gradient in turn."""
    memory, updates = transform.init(gradients[0]), []
    for gradient in gradients:
        update, memory = transform.update(gradient, memory)
        updates.append(update)
    return updates


def drawn(count, shape, dtype):
    return [jax.random.normal(jax.random.key(seed), shape, dtype) for seed in range(count)]


@pytest.mark.parametrize("shape", [(5, 5), (3, 6)])
def test_shampoo_divides_by_the_fourth_roots_of_its_sums(shape, dtype, tol):
    gradients = drawn(4, shape, dtype)
    updates = steps_of(shampoo(0.3, start=0.5), [{"W": G} for G in gradients])
    left, right = 0.5 * np.eye(shape[0]), 0.5 * np.eye(shape[1])
    for gradient, update in zip(gradients, updates, strict=True):
        G = np.asarray(gradient, float)
        left, right = left + G @ G.T, right + G.T @ G
        roots = [scipy.linalg.fractional_matrix_power(M, -0.25) for M in (left, right)]
        expected = -0.3 * roots[0] @ G @ roots[1]
        assert update["W"].dtype == dtype
        np.testing.assert_allclose(update["W"], expected, atol=tol(gradient))


def test_shampoos_first_step_without_a_start_is_the_polar_factor():
    (gradient,) = drawn(1, (6, 6), jnp.float64)
    (update,) = steps_of(shampoo(2.0, start=0.0), [gradient])
    np.testing.assert_allclose(update, -2 * scipy.linalg.polar(np.asarray(gradient))[0], atol=1e-10)


@pytest.mark.parametrize("rank", [1, 3])
def test_a_projected_step_is_the_best_approximation_of_the_gradient(rank, dtype, tol):
    (gradient,) = drawn(1, (6, 4), dtype)
    U, s, Vt = np.linalg.svd(np.asarray(gradient, float), full_matrices=False)
    (update,) = steps_of(projected_descent(0.2, rank=rank), [(gradient,)])
    np.testing.assert_allclose(update[0], -0.2 * (U[:, :rank] * s[:rank]) @ Vt[:rank], atol=tol(gradient))


def test_a_rank_above_the_size_projects_on_everything():
    (gradient,) = drawn(1, (3, 4), jnp.float64)
    (update,) = steps_of(projected_descent(1.0, rank=7), [gradient])
    np.testing.assert_allclose(update, -gradient, atol=1e-13)


def test_a_rank_that_projects_on_nothing_is_refused():
    with pytest.raises(ValueError, match="rank of 1 or more, got 0"):
        projected_descent(0.1, rank=0)


def test_both_commute_with_rotations_and_galore_only_above_the_idle_values():
    key = jax.random.key(3)
    assert equivariance_defect(shampoo(0.1, start=0.1), key=key, repeated=4) < 1e-10
    assert equivariance_defect(projected_descent(0.1, rank=2), key=key, repeated=4) < 1e-10
    # A rank that cuts through equal singular values has to pick among their vectors.
    assert equivariance_defect(projected_descent(0.1, rank=7), key=key, shapes=((12, 12),), repeated=8) > 1e-3
