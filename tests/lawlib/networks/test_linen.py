"""The Flax modules compute what the papers' matrices do, and start from the initializers that are given."""

import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lawlib.networks import low_rank
from lawlib.networks.deep_linear import end_to_end, to_params, to_weights
from lawlib.networks.initializers import fan_in_normal
from lawlib.networks.linen import MLP, DeepLinear, LowRankMLP

shares_fixtures = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=10)
NUM_INPUTS, NUM_SAMPLES = 4, 6
# One layer, a funnel, and enough layers that the alphabet would put the tenth before the second.
ALL_WIDTHS = [(3,), (5, 3, 2), (4, 6, *(4,) * 8, 3)]


def draw_weights(seed, widths, dtype):
    rng = np.random.default_rng(seed)
    sizes = zip(widths, (NUM_INPUTS, *widths[:-1]), strict=True)
    return tuple(jnp.asarray(rng.standard_normal(shape) / np.sqrt(shape[1]), dtype) for shape in sizes)


@functools.cache
def applied(widths, dtype):
    return jax.jit(DeepLinear(widths, param_dtype=dtype).apply)


def draw_inputs(seed, dtype):
    return jnp.asarray(np.random.default_rng(seed).standard_normal((NUM_SAMPLES, NUM_INPUTS)), dtype)


@pytest.mark.parametrize("widths", ALL_WIDTHS)
@shares_fixtures
@given(seed=st.integers(0, 2**32 - 1))
def test_the_module_multiplies_by_the_end_to_end_matrix(widths, seed, dtype, tol):
    weights, inputs = draw_weights(seed, widths, dtype), draw_inputs(seed + 1, dtype)
    outputs = applied(widths, dtype)(to_params(weights), inputs)
    expected = np.asarray(inputs, np.float64).T
    for W in weights:
        expected = np.asarray(W, np.float64) @ expected
    assert outputs.dtype == dtype
    assert outputs.shape == (NUM_SAMPLES, widths[-1])
    np.testing.assert_allclose(outputs, expected.T, rtol=0, atol=tol(inputs, 100 * len(widths)))
    np.testing.assert_allclose(outputs, inputs @ end_to_end(weights).T, rtol=0, atol=tol(inputs, 100 * len(widths)))


def test_layers_start_orthogonal_and_have_the_widths_given(dtype, tol):
    module = DeepLinear((5, 3), param_dtype=dtype)
    weights = to_weights(jax.jit(module.init)(jax.random.key(0), draw_inputs(0, dtype)))
    assert [W.shape for W in weights] == [(5, NUM_INPUTS), (3, 5)]
    for W in weights:
        assert W.dtype == dtype
        gram = W.T @ W if W.shape[0] >= W.shape[1] else W @ W.T
        np.testing.assert_allclose(gram, np.eye(min(W.shape)), rtol=0, atol=tol(W))


def test_a_kernel_initializer_is_asked_for_kernels_with_a_key_for_each_layer(dtype):
    keys = []

    def counting(key, shape, dtype):
        keys.append(tuple(jax.random.key_data(key).tolist()))
        return len(keys) + jnp.arange(shape[0] * shape[1], dtype=dtype).reshape(shape)

    module = DeepLinear((5, 3, 2), kernel_init=counting, param_dtype=dtype)
    weights = to_weights(module.init(jax.random.key(0), draw_inputs(0, dtype)))
    assert len(set(keys)) == 3
    for layer, W in enumerate(weights, start=1):
        assert W.dtype == dtype
        np.testing.assert_array_equal(W, layer + np.arange(W.size).reshape(W.shape[::-1]).T)


@pytest.mark.parametrize("kernel_init", [nn.initializers.lecun_normal(), fan_in_normal(0.3, in_axis=-2)])
def test_initializers_of_flax_and_of_this_library_fit(kernel_init):
    module = DeepLinear((5, 3, 2), kernel_init=kernel_init)
    inputs = draw_inputs(0, jnp.float32)
    weights = jax.eval_shape(lambda key: to_weights(module.init(key, inputs)), jax.random.key(0))
    assert [W.shape for W in weights] == [(5, NUM_INPUTS), (3, 5), (2, 3)]


@pytest.mark.parametrize("module", [DeepLinear, lambda widths, **options: MLP(widths, "rrelu", **options)])
@pytest.mark.parametrize("widths", ALL_WIDTHS)
def test_the_variables_are_those_of_the_matrices(module, widths, dtype):
    made = jax.eval_shape(module(widths, param_dtype=dtype).init, jax.random.key(0), draw_inputs(0, dtype))
    chex.assert_trees_all_equal_shapes_and_dtypes(to_params(draw_weights(3, widths, dtype)), made)


def test_the_module_draws_slopes_from_its_own_rng():
    module, params = MLP((40, 30), "rrelu", param_dtype=jnp.float64), to_params((-jnp.eye(40), jnp.eye(30, 40)))
    X = jnp.ones((20, 40))
    drawn = jax.jit(lambda key: module.apply(params, X, rngs={"activation": key}))
    with_key = [drawn(jax.random.key(seed)) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(with_key[0], with_key[1])
    assert not np.array_equal(with_key[0], with_key[2])
    uniform = scipy.stats.uniform(1 / 8, 1 / 3 - 1 / 8)
    assert scipy.stats.kstest(-np.asarray(with_key[0]).ravel(), uniform.cdf).pvalue > 1e-4
    np.testing.assert_allclose(module.apply(params, X), -11 / 48 * np.ones((20, 30)), rtol=1e-14)


def test_a_low_rank_network_computes_the_same_and_gives_its_weights_back(dtype, tol):
    rng = np.random.default_rng(0)
    r, m, classes = 3, 5, 2
    shapes = [(NUM_INPUTS, r), *[(r, r)] * 3, (m, r), (classes, m)]
    right, *inner, left, last = (jnp.asarray(rng.standard_normal(shape), dtype) for shape in shapes)
    weights, X = low_rank.LowRankWeights(right, tuple(inner), left, last), draw_inputs(1, dtype)
    network = LowRankMLP(rank=r, width=m, depth=4, num_outputs=classes, phi="silu", param_dtype=dtype)
    out = network.apply(low_rank.to_low_rank_params(weights), X)
    np.testing.assert_allclose(out.T, low_rank.apply(weights, X.T, "silu"), atol=tol(X) * float(jnp.abs(out).max()))
    variables = network.init(jax.random.key(0), X)
    there = low_rank.to_low_rank_params(low_rank.to_low_rank_weights(variables))
    chex.assert_trees_all_equal(there, dict(variables), strict=True)
