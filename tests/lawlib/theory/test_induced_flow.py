"""The flow induced on the product of a linear network."""

import functools as ft

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st
from induced_flow_reference import SHAPE, spectral, state, unit

from lawlib.descent.flows import adaptive_step
from lawlib.networks.deep_linear import end_to_end, imbalances
from lawlib.networks.initializers import balanced_factorization
from lawlib.problems.synthetic import rotated_start, whitened_regression
from lawlib.theory import induced_flow as flow

seeds = st.integers(0, 2**31)


def power(gram, exponent, rank):
    """A fractional power in float64 by scipy, cut to a rank; the power 0 is the identity."""
    if exponent == 0:
        return np.eye(len(gram))
    values, vectors = scipy.linalg.eigh(gram)
    values[:-rank] = 0
    return (vectors * np.maximum(values, 0) ** exponent) @ vectors.T


def by_definition(W, D, depth, rank):
    W, D = np.asarray(W, np.float64), np.asarray(D, np.float64)
    terms = [
        power(W @ W.T, (depth - j) / depth, rank) @ D @ power(W.T @ W, (j - 1) / depth, rank)
        for j in range(1, depth + 1)
    ]
    return sum(terms)


# The operator A_W ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [2, 5])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_the_forms_of_the_operator_agree_at_every_rank(depth, rank, dtype, tol):
    rng = np.random.default_rng(10 * depth + rank)
    W = sum(np.outer(unit(rng, 3), unit(rng, 5)) * scale for scale in (2.0, 0.9, 0.4)[:rank])
    D = rng.standard_normal(SHAPE)
    expected = by_definition(W, D, depth, rank)
    W, D = jnp.asarray(W, dtype), jnp.asarray(D, dtype)
    # W W^T halves the digits of the small values, and their fractional powers lose more.
    loose = tol(D, 1e4)
    np.testing.assert_allclose(flow.operator(W, D, depth=depth, rank=rank), expected, atol=loose)
    np.testing.assert_allclose(flow.operator_by_svd(W, D, depth=depth, rank=rank), expected, atol=loose)


@jax.jit
def moved(part, Z, depth):
    """Every form of the rank-one flow with m = 7: the operator, the matrix field, and that of (s, u, v)."""
    W = flow.matrix(part)
    _, from_vectors = jax.jvp(flow.matrix, (part,), (flow.rank_one_field(part, Z, num_samples=7, depth=depth),))
    return (
        W,
        -7 * flow.operator_of_rank_one(part, W - Z, depth),
        flow.field(W, Z, num_samples=7, depth=depth),
        from_vectors,
    )


@given(seed=seeds, depth=st.sampled_from([2, 3, 8]))
def test_every_form_of_the_rank_one_flow_is_that_of_the_operator(seed, depth):
    rng = np.random.default_rng(seed)
    part, Z = state(rng), rng.standard_normal(SHAPE)
    W, *forms = moved(part, jnp.asarray(Z), jnp.asarray(float(depth)))
    expected = -7 * by_definition(W, np.asarray(W) - Z, depth, 1)
    for form in forms:
        np.testing.assert_allclose(form, expected, atol=1e-11)


def test_powers_beyond_the_rank_would_spoil_the_definition():
    """Without the cut the rounding of W W^T comes back a million times larger."""
    rng = np.random.default_rng(0)
    part, D = state(rng), jnp.asarray(rng.standard_normal(SHAPE))
    exact = flow.operator_of_rank_one(part, D, 8)
    assert np.abs(flow.operator(flow.matrix(part), D, depth=8, rank=1) - exact).max() < 1e-12
    assert np.abs(flow.operator(flow.matrix(part), D, depth=8, rank=3) - exact).max() > 1e-6


def test_the_field_and_its_derivative_at_zero_are_finite(dtype):
    Z, zero = jnp.ones(SHAPE, dtype), jnp.zeros(SHAPE, dtype)

    @jax.jit
    def looked_at(W):
        field = ft.partial(flow.field, Z=Z, num_samples=2.0, depth=3.0)
        return field(W), jax.jacfwd(field)(W)

    moved, derivative = looked_at(zero)
    np.testing.assert_array_equal(moved, 0)
    assert np.isfinite(derivative).all()
    assert moved.dtype == dtype


def test_the_rank_one_part_and_its_sign(dtype, tol):
    rng = np.random.default_rng(3)
    part = state(rng, dtype, value=2.0)
    for reference in (part.left, -part.left):
        found = flow.rank_one(flow.matrix(part), reference)
        sign = np.sign(float(jnp.dot(part.left, reference)))
        np.testing.assert_allclose(found.value, 2.0, rtol=tol(part.right))
        np.testing.assert_allclose(found.left, sign * np.asarray(part.left), atol=tol(part.right))
        np.testing.assert_allclose(found.right, sign * np.asarray(part.right), atol=tol(part.right))


@pytest.mark.parametrize(("depth", "rank"), [(1, 1), (2, 0), (2, 4)])
def test_a_depth_or_rank_that_cannot_be_is_refused(depth, rank):
    for operator in (flow.operator, flow.operator_by_svd):
        with pytest.raises(ValueError, match=f"depth={depth}" if depth < 2 else f"rank must be in 1..3.*{rank}"):
            operator(jnp.ones(SHAPE), jnp.ones(SHAPE), depth=depth, rank=rank)


def test_a_depth_below_two_is_refused_by_the_rank_one_forms_too():
    part, D = state(np.random.default_rng(0)), jnp.ones(SHAPE)
    calls = (
        lambda: flow.operator_of_rank_one(part, D, 1),
        lambda: flow.rank_one_field(part, D, num_samples=5, depth=1.5),
        lambda: flow.field(D, D, num_samples=5, depth=1),
    )
    for call in calls:
        with pytest.raises(ValueError, match="needs a network of depth 2 or more, got depth=1"):
            call()


# Factors ---------------------------------------------------------------------------------------------------


@jax.jit
def _along(factors, W, Z):
    """Both flows for a while: on factors, and on the product."""
    tolerances = {"rtol": 1e-11, "atol": 1e-11}
    depth = len(factors)
    moved = adaptive_step(lambda y: flow.factor_field(y, Z, 2.0), factors, 0.3, **tolerances)
    induced = adaptive_step(lambda W: -2 * flow.operator_by_svd(W, W - Z, depth=depth, rank=2), W, 0.3, **tolerances)
    return moved, induced


def test_balanced_factors_induce_the_flow_and_keep_imbalance_and_rank():
    rng = np.random.default_rng(4)
    Z, _ = spectral(rng, (2.0, 1.0, 0.5))
    W = jnp.asarray(rng.standard_normal((3, 2)) @ rng.standard_normal((2, 5)))
    factors = balanced_factorization(W, (5, 4, 3, 3), rank=2)
    moved, induced = _along(factors, W, Z)
    assert np.abs(end_to_end(moved) - W).max() > 0.1
    np.testing.assert_allclose(end_to_end(moved), induced, atol=1e-8)
    assert max(np.abs(x).max() for x in imbalances(moved)) < 1e-9
    assert np.linalg.svd(end_to_end(moved), compute_uv=False)[2] < 1e-12
    skewed = (factors[0] * 1.5, factors[1] / 1.2, factors[2])
    before, (after, induced) = imbalances(skewed), _along(skewed, W / 1.2 * 1.5, Z)
    assert np.abs(before[0]).max() > 0.1
    for one, other in zip(before, imbalances(after), strict=True):
        np.testing.assert_allclose(other, one, atol=1e-9)
    assert np.abs(end_to_end(after) - induced).max() > 1e-3


def test_the_factors_descend_on_the_error_of_the_data(tol, dtype):
    data = jax.jit(lambda key: whitened_regression(key, num_inputs=5, num_outputs=3, num_samples=8, dtype=dtype))(
        jax.random.key(1)
    )
    rng = np.random.default_rng(5)
    weights = tuple(jnp.asarray(rng.standard_normal(shape), dtype) for shape in ((1, 5), (3, 1)))
    residual = data.outputs - end_to_end(weights) @ data.inputs
    unreachable = np.sum(np.square(data.outputs)) / 2 - 4 * np.sum(np.square(data.target))
    expected = np.sum(np.square(residual)) / 2 - unreachable
    assert float(flow.factor_loss(weights, data.target, 8)) == pytest.approx(float(expected), rel=tol(data.inputs))
    moving = flow.factor_field(weights, data.target, 8)
    np.testing.assert_allclose(moving[1], residual @ data.inputs.T @ weights[0].T, rtol=tol(data.inputs, 1e3))


# Problems --------------------------------------------------------------------------------------------------


def test_a_whitened_regression_has_its_spectrum_and_starts_have_their_angle(dtype, tol):
    spectrum = jnp.asarray([2.0, 0.5], dtype)

    @jax.jit
    def draw(key, angle):
        data = whitened_regression(key, num_inputs=5, num_outputs=3, num_samples=8, spectrum=spectrum, dtype=dtype)
        return data, rotated_start(key, data.target, angle=angle, norm=7.0)

    for angle in (0.5, 2.5):
        data, W = draw(jax.random.key(0), jnp.asarray(angle, dtype))
        np.testing.assert_allclose(data.inputs @ data.inputs.T, 8 * np.eye(5), atol=tol(data.inputs))
        values = np.linalg.svd(data.target, compute_uv=False)
        np.testing.assert_allclose(values, [2.0, 0.5, 0.0], atol=tol(data.inputs))
        U, _, Vt = np.linalg.svd(np.asarray(data.target, np.float64))
        np.testing.assert_allclose(np.linalg.svd(W, compute_uv=False), [7, 0, 0], atol=tol(data.inputs))
        assert float(U[:, 0] @ np.asarray(W) @ Vt[0]) / 7 == pytest.approx(np.cos(angle), abs=tol(data.inputs))


def test_a_single_row_turns_by_the_whole_angle():
    target = jnp.asarray([[3.0, 0.0, 4.0]])
    start = jax.jit(ft.partial(rotated_start, jax.random.key(2), target))
    W = start(angle=np.pi / 6, norm=2.0)
    assert float(jnp.sum(W * target)) / 10 == pytest.approx(np.cos(np.pi / 6), rel=1e-12)
    np.testing.assert_allclose(start(angle=np.pi, norm=5.0), -target, atol=1e-12)


def test_what_cannot_be_drawn_is_refused():
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="full row rank: num_samples >= num_inputs = 5, got 4"):
        whitened_regression(key, num_inputs=5, num_outputs=1, num_samples=4)
    with pytest.raises(ValueError, match="a 1 x 5 matrix has 1 singular values, got 2"):
        whitened_regression(key, num_inputs=5, num_outputs=1, num_samples=8, spectrum=jnp.ones(2))
    with pytest.raises(ValueError, match=r"norm must be positive, since W_0 = 0 is a fixed point of the flow, got 0.0"):
        rotated_start(key, jnp.ones((1, 3)), angle=0.5, norm=0.0)
