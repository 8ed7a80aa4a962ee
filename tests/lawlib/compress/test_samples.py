"""Sample compression: the same loss at every W up to a constant, the same gradients, the same iterates."""

import functools as ft

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lawlib.compress.samples import compress_samples
from lawlib.descent.steps import gradient_descent, heavy_ball, sum_squared_error
from lawlib.networks.deep_linear import end_to_end


def data(seed, m, n, d, rank, dtype="float64"):
    """Inputs of a given rank and any targets."""
    draw = np.random.default_rng(seed).standard_normal
    return jnp.asarray(draw((m, rank)) @ draw((rank, n)), dtype), jnp.asarray(draw((d, n)), dtype)


def loss(weights, inputs, targets):
    return sum_squared_error(end_to_end(weights) @ inputs, targets)


@given(st.integers(0, 2**31), st.sampled_from([1, 3, 5]), st.sampled_from([0, 2]))
def test_every_map_has_the_same_loss_up_to_the_floor(seed, rank, more):
    Y, X = data(seed, 5, 9, d := 4, rank)
    inputs, targets, floor = compress_samples(Y, X, min(rank + more, 5))
    W = np.random.default_rng(seed + 1).standard_normal((d, 5))
    of_all = np.sum((W @ np.asarray(Y) - np.asarray(X)) ** 2) / 2
    of_few = np.sum((W @ np.asarray(inputs) - np.asarray(targets)) ** 2) / 2
    assert of_few + float(floor) == pytest.approx(of_all, rel=1e-12)
    assert inputs.shape[1] == min(rank + more, 5)


def test_the_floor_is_what_the_best_map_leaves(dtype, tol):
    Y, X = data(0, 4, 12, 3, 2, dtype)
    best = np.linalg.lstsq(np.asarray(Y, float).T, np.asarray(X, float).T, rcond=1e-5)[0].T
    left = np.sum((best @ np.asarray(Y, float) - np.asarray(X, float)) ** 2) / 2
    found = compress_samples(Y, X)
    assert found.inputs.shape == (4, 2)
    assert found.floor.dtype == dtype
    assert float(found.floor) == pytest.approx(left, rel=tol(Y))


@pytest.mark.parametrize(("method", "rates"), [(gradient_descent, {}), (heavy_ball, {"momentum": 0.8})])
def test_iterates_are_those_of_all_samples(method, rates):
    Y, X = data(1, 6, 40, 5, 3)
    weights = tuple(
        jax.random.normal(k, (b, a)) / 3
        for k, a, b in zip(jax.random.split(jax.random.key(0), 3), (6, 7, 7), (7, 7, 5), strict=True)
    )
    descent = method(loss)
    step = jax.jit(lambda at, Y, X: descent.step(at, Y, X, step_size=1e-3, weight_decay=0.1, **rates))
    compressed = compress_samples(Y, X, 3)
    ends = []
    for Y_, X_ in ((Y, X), compressed[:2]):
        at = ft.reduce(lambda at, _, data=(Y_, X_): step(at, *data), range(60), descent.init(weights))
        ends.append(at.weights)
    chex.assert_trees_all_close(*ends, rtol=0, atol=1e-13)
    assert all(float(jnp.max(jnp.abs(W - start))) > 1e-2 for W, start in zip(ends[0], weights, strict=True))


@pytest.mark.parametrize("shape", [(3, 400), (400, 3)])
@pytest.mark.parametrize(("factor", "rank"), [(1.1, 2), (0.9, 1)])
def test_a_singular_value_counts_above_eps_times_the_longer_side_times_the_largest(shape, factor, rank, dtype):
    """Inputs of the values 7 and factor * eps * 400 * 7, which is far above the rounding of their decomposition."""
    values = np.array([7.0, factor * 7 * 400 * float(jnp.finfo(dtype).eps)])
    Y = np.zeros(shape)
    Y[[0, 1], [1, 2]] = values
    found = compress_samples(jnp.asarray(Y, dtype), jnp.ones((2, shape[1]), dtype))
    assert found.inputs.shape == (shape[0], rank)


def test_the_rank_may_be_given_under_jit_and_must_be():
    Y, X = data(2, 4, 8, 3, 2)
    under_jit = jax.jit(lambda Y, X: compress_samples(Y, X, 2))(Y, X)
    for a, b in zip(under_jit, compress_samples(Y, X), strict=True):
        np.testing.assert_allclose(np.abs(a), np.abs(b), atol=1e-12)
    with pytest.raises(ValueError, match="the rank of traced inputs is unknown"):
        jax.jit(compress_samples)(Y, X)


REFUSED = {
    "above": (5, "rank must be in 1..4 for inputs of shape"),
    "zero": (0, "rank must be in 1..4"),
    "below": (1, "rank must be at least 2, the numerical rank of the inputs, got 1"),
}


@pytest.mark.parametrize(("rank", "message"), REFUSED.values(), ids=REFUSED)
def test_a_rank_that_loses_samples_is_refused(rank, message):
    with pytest.raises(ValueError, match=message):
        compress_samples(*data(3, 4, 8, 3, 2), rank)


def test_other_numbers_of_samples_and_zero_inputs_are_refused():
    Y, X = data(3, 4, 8, 3, 2)
    with pytest.raises(ValueError, match="columns of the same samples"):
        compress_samples(Y, X[:, :7])
    with pytest.raises(ValueError, match="are zero"):
        compress_samples(0 * Y, X)
