"""Initial weights: isometry, distributions, balance, and use as a Flax kernel_init."""

import functools as ft
import itertools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lawlib.networks import initializers

# The fixtures used below are pure functions of the dtype, so sharing them between examples is safe.
shares_fixtures = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
BUILDERS = [initializers.orthogonal, initializers.fan_in_normal, initializers.fan_in_uniform]
DTYPES = [jnp.dtype(jnp.float64), jnp.dtype(jnp.float32)]
NUM_DRAWS = 8000
# One program per shape: outside jit every operation would be one. The tests themselves compute in numpy.
factorization = jax.jit(initializers.balanced_factorization, static_argnames=("widths", "rank"))


@ft.partial(jax.jit, static_argnames=("build", "shape", "dtype"))
def draw_one(build, scale, key, shape, dtype):
    return build(scale)(key, shape, dtype)


def imbalance(weights):
    layers = [np.asarray(W) for W in weights]
    return max(np.abs(above.T @ above - below @ below.T).max() for below, above in itertools.pairwise(layers))


def end_to_end(weights):
    product = np.eye(weights[0].shape[1])
    for W in weights:
        product = np.asarray(W, np.float64) @ product
    return product


def worst_mean(draws):
    """The largest mean of an entry, in standard deviations of that mean under the Haar law."""
    side = max(draws.shape[1:])
    return float(np.abs(np.mean(draws, axis=0)).max() * np.sqrt(side * len(draws)))


@pytest.mark.parametrize(("shape", "dtype"), list(zip([(5, 5), (6, 4), (4, 6), (4, 6)], 2 * DTYPES, strict=True)))
@pytest.mark.parametrize("scale", [1e-3, 1.0, 3.0])
def test_orthogonal_is_a_scaled_isometry_of_the_smaller_side(shape, scale, dtype, tol):
    W = np.asarray(draw_one(initializers.orthogonal, scale, jax.random.key(0), shape, dtype))
    assert W.shape == shape
    assert W.dtype == dtype
    gram = W.T @ W if shape[0] >= shape[1] else W @ W.T
    np.testing.assert_allclose(gram / scale**2, np.eye(min(shape)), atol=tol(W, 4))


@pytest.mark.parametrize("shape", [(3, 3), (5, 2), (2, 5)])
def test_orthogonal_is_haar(shape):
    keys = jax.random.split(jax.random.key(1), NUM_DRAWS)
    Q = np.asarray(jax.jit(jax.vmap(lambda key: initializers.orthogonal(1.0)(key, shape)))(keys))
    n = max(shape)
    # Entries have mean 0; their squares have mean 1/n and fourth powers 3/(n (n + 2)).
    assert worst_mean(Q) < 5
    for power, moment, bound in ((2, 1 / n, 3 / (n * (n + 2))), (4, 3 / (n * (n + 2)), 1)):
        np.testing.assert_allclose(np.mean(Q**power, axis=0), moment, rtol=0, atol=5 * np.sqrt(bound / NUM_DRAWS))
    if shape[0] == shape[1]:
        # Both components of O(n) are met alike, and E (tr Q)^2 = 1.
        assert abs(np.mean(np.linalg.det(Q))) < 5 / np.sqrt(NUM_DRAWS)
        traces = np.trace(Q, axis1=1, axis2=2)
        np.testing.assert_allclose(np.mean(traces**2), 1, atol=5 * np.sqrt(2 / NUM_DRAWS))
    # A column is uniform on the sphere: the square of an entry is Beta(1/2, (n - 1)/2).
    for entry in (Q[:, 0, 0], Q[:, -1, -1]):
        assert scipy.stats.kstest(entry**2, scipy.stats.beta(1 / 2, (n - 1) / 2).cdf).pvalue > 1e-4


def test_the_haar_test_sees_a_factorization_whose_signs_are_not_fixed():
    gaussian = np.random.default_rng(2).standard_normal((NUM_DRAWS, 3, 3))
    assert worst_mean(np.linalg.qr(gaussian)[0]) > 20


@pytest.mark.parametrize("in_axis", [-1, -2])
def test_fan_in_normal_has_its_law(in_axis, dtype):
    W = initializers.fan_in_normal(1.7, in_axis=in_axis)(jax.random.key(4), (300, 1000), dtype)
    assert W.dtype == dtype
    std = 1.7 / np.sqrt({-1: 1000, -2: 300}[in_axis])
    entries = np.asarray(W, np.float64).ravel()
    np.testing.assert_allclose(np.mean(entries**2), std**2, rtol=5 * np.sqrt(2 / entries.size))
    assert scipy.stats.kstest(entries, scipy.stats.norm(0, std).cdf).pvalue > 1e-4


@pytest.mark.parametrize("in_axis", [-1, -2])
def test_fan_in_uniform_has_its_law(in_axis, dtype):
    W = initializers.fan_in_uniform(1.7, in_axis=in_axis)(jax.random.key(5), (300, 1000), dtype)
    assert W.dtype == dtype
    std = 1.7 / np.sqrt({-1: 1000, -2: 300}[in_axis])
    entries = np.asarray(W, np.float64).ravel()
    np.testing.assert_allclose(np.mean(entries**2), std**2, rtol=5 * np.sqrt(0.8 / entries.size))
    limit = np.sqrt(3) * std
    assert 0.999 * limit < np.abs(entries).max() <= limit * (1 + jnp.finfo(dtype).eps)
    assert scipy.stats.kstest(entries, scipy.stats.uniform(-limit, 2 * limit).cdf).pvalue > 1e-4


def test_fan_in_uniform_at_one_over_root_three_has_the_limits_of_pytorchs_linear():
    W = initializers.fan_in_uniform(1 / np.sqrt(3))(jax.random.key(6), (300, 1000))
    np.testing.assert_allclose(np.abs(W).max(), 1 / np.sqrt(1000), rtol=1e-3)  # 3e5 draws come this close.


@pytest.mark.parametrize("build", BUILDERS)
def test_one_program_sweeps_keys_and_scales_of_another_dtype(build, tol):
    dtype = jnp.dtype(jnp.float32)
    keys, scales = jax.random.split(jax.random.key(7), 2), jnp.array([1e-3, 2.5], jnp.float64)
    sweep = jax.vmap(lambda key, scale: build(scale)(key, (4, 6), dtype), in_axes=(None, 0))
    swept = jax.jit(jax.vmap(sweep, in_axes=(0, None)))(keys, scales)
    assert swept.dtype == dtype
    for by_scale, key in zip(swept, keys, strict=True):
        unit = np.asarray(draw_one(build, 1.0, key, (4, 6), dtype), np.float64)
        np.testing.assert_allclose(by_scale, np.array([1e-3 * unit, 2.5 * unit]), rtol=1e3 * tol(by_scale))
    assert np.abs(np.asarray(swept[0]) - swept[1]).max() > 0.01


@pytest.mark.parametrize(
    ("kernel_init", "square_norm"),
    [
        (initializers.orthogonal(2.0), 4 * 60),
        (initializers.fan_in_normal(2.0, in_axis=-2), 4 * 200),
        (initializers.fan_in_uniform(2.0, in_axis=-2), 4 * 200),
    ],
)
def test_builders_serve_as_flax_kernel_init(kernel_init, square_norm):
    dense = nn.Dense(200, kernel_init=kernel_init)
    kernel = jax.jit(dense.init)(jax.random.key(9), np.ones((1, 60), np.float32))["params"]["kernel"]
    assert kernel.shape == (60, 200)
    assert kernel.dtype == jnp.float32
    # min(in, out) values at the scale, or a variance of scale^2 / in, up to sampling.
    np.testing.assert_allclose(np.sum(np.square(kernel)), square_norm, rtol=5 * np.sqrt(2 / kernel.size))


@pytest.mark.parametrize("build", BUILDERS)
def test_bad_scales_and_shapes_are_refused(build):
    for scale in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="positive and finite, got"):
            build(scale)
    for shape in ((3,), (2, 3, 4), (0, 3)):
        with pytest.raises(ValueError, match="two positive sizes"):
            build(1.0)(jax.random.key(0), shape)
    assert build(1.0)(jax.random.key(0), (1, 1)).shape == (1, 1)


@pytest.mark.parametrize("build", BUILDERS[1:])
def test_an_unknown_axis_is_refused(build):
    with pytest.raises(ValueError, match=r"in_axis must be -1 .* got 0"):
        build(1.0, in_axis=0)


@pytest.mark.parametrize(
    ("widths", "dtype"), list(zip([(5, 7, 6, 4), (5, 7, 6, 4), (5, 1, 3), (3, 4)], 2 * DTYPES, strict=True))
)
def test_balanced_layers_are_balanced_and_as_wide_as_asked(widths, dtype, tol):
    draw = jax.jit(ft.partial(initializers.balanced, widths=widths, scale=0.7, dtype=dtype))
    weights = draw(jax.random.key(10))
    assert [W.shape for W in weights] == [(out, into) for into, out in itertools.pairwise(widths)]
    assert all(W.dtype == dtype for W in weights)
    if len(weights) > 1:
        assert imbalance(weights) < tol(weights[0], 10)
    assert np.linalg.matrix_rank(end_to_end(weights), tol=1e-4) == min(widths)


def test_balanced_layers_are_linear_in_scale_and_their_product_has_its_law(tol):
    widths, num_layers = (5, 8, 8, 4), 3
    keys = jax.random.split(jax.random.key(11), NUM_DRAWS)
    draw = jax.jit(jax.vmap(lambda key, s: initializers.balanced(key, widths, s), in_axes=(0, None)))
    weights, unit = (jax.tree.map(np.asarray, draw(keys, scale)) for scale in (1.5, 1.0))
    chex.assert_trees_all_close(weights, jax.tree.map(lambda W: 1.5 * W, unit), rtol=tol(weights[0]))
    # No width cuts the rank, so that the product is scale^L times iid N(0, 1/d_0) entries.
    products, std = weights[2] @ weights[1] @ weights[0], 1.5**num_layers / np.sqrt(5)
    np.testing.assert_allclose(np.mean(products**2), std**2, rtol=5 * np.sqrt(2 / products.size))
    assert scipy.stats.kstest(products[:, 1, 2], scipy.stats.norm(0, std).cdf).pvalue > 1e-4


@shares_fixtures
@given(seed=st.integers(0, 2**31), widths=st.sampled_from([(4, 3), (4, 5, 3), (3, 3, 6, 4, 5)]))
def test_balanced_factors_give_their_product_back(seed, widths, tol):
    product = np.random.default_rng(seed).standard_normal((widths[-1], widths[0]))
    weights = factorization(product, widths)
    np.testing.assert_allclose(end_to_end(weights), product, atol=tol(product, 10))
    if len(weights) > 1:
        assert imbalance(weights) < tol(product, 10)


@pytest.mark.parametrize("widths", [(5, 6, 6, 1, 6, 6, 6, 6, 4), (5, 3, 4)])
def test_a_known_rank_passes_a_narrow_layer_and_leaves_no_rounding_behind(widths, dtype, tol):
    rng = np.random.default_rng(12)
    product = np.outer(rng.standard_normal(4), rng.standard_normal(5)).astype(dtype)
    weights = factorization(product, widths, rank=1)
    np.testing.assert_allclose(end_to_end(weights), product, atol=tol(product, 10))
    assert imbalance(weights) < tol(product, 10)
    for W in weights:
        assert np.all(np.linalg.svd(W, compute_uv=False)[1:] < tol(product, 10))


@pytest.mark.parametrize(
    ("widths", "rank", "message"),
    [
        ((4, 2, 3), None, r"at least the rank 3 .* got widths \(4, 2, 3\)"),
        ((4, 5, 3), 4, "at least the rank 4"),
        ((4, 5, 3), 0, "at least the rank 0 >= 1"),
        ((3, 5, 4), None, r"shape \(4, 3\), got shape \(3, 4\)"),
        ((4,), None, "two or more positive sizes"),
        ((4, 0, 3), None, "two or more positive sizes"),
    ],
)
def test_widths_that_cannot_factor_the_product_are_refused(widths, rank, message):
    with pytest.raises(ValueError, match=message):
        initializers.balanced_factorization(jnp.ones((3, 4)), widths, rank=rank)


def test_bad_balanced_draws_are_refused():
    with pytest.raises(ValueError, match="positive and finite, got 0"):
        initializers.balanced(jax.random.key(0), (2, 2), 0.0)
    with pytest.raises(ValueError, match=r"two or more positive sizes .* got \(2,\)"):
        initializers.balanced(jax.random.key(0), (2,), 1.0)


def test_orthogonal_weights_are_independent_isometries_of_their_widths(dtype, tol):
    widths, scale = (4, 6, 6, 6, 3), 0.3
    weights = initializers.orthogonal_weights(jax.random.key(2), widths, scale, dtype)
    assert [W.shape for W in weights] == [(6, 4), (6, 6), (6, 6), (3, 6)]
    for W in weights:
        gram = W @ W.T if W.shape[0] <= W.shape[1] else W.T @ W
        np.testing.assert_allclose(gram, scale**2 * np.eye(len(gram)), atol=tol(W))
    assert jnp.linalg.norm(weights[1] - weights[2]) > scale


def test_a_layer_does_not_depend_on_the_shapes_of_the_others():
    one = initializers.orthogonal_weights(jax.random.key(2), (5, 5, 5), 0.3, jnp.float64)
    other = initializers.orthogonal_weights(jax.random.key(2), (5, 5, 2), 0.3, jnp.float64)
    np.testing.assert_array_equal(one[0], other[0])


def test_weights_of_one_width_are_refused():
    with pytest.raises(ValueError, match="two or more positive sizes"):
        initializers.orthogonal_weights(jax.random.key(0), (5,), 1.0)
