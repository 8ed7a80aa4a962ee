"""Deep linear networks as tuples of matrices: their product, and the way to Flax variables and back."""

import chex
import jax.numpy as jnp
import numpy as np
import pytest

from lawlib.networks.deep_linear import end_to_end, to_params, to_weights

NUM_INPUTS = 4
# One layer, a funnel, and enough layers that the alphabet would put the tenth before the second.
ALL_WIDTHS = [(3,), (5, 3, 2), (4, 6, *(4,) * 8, 3)]


def draw_weights(seed, widths, dtype):
    rng = np.random.default_rng(seed)
    sizes = zip(widths, (NUM_INPUTS, *widths[:-1]), strict=True)
    return tuple(jnp.asarray(rng.standard_normal(shape) / np.sqrt(shape[1]), dtype) for shape in sizes)


@pytest.mark.parametrize("widths", ALL_WIDTHS)
def test_end_to_end_is_the_product_from_the_last_layer_to_the_first(widths, dtype, tol):
    weights = draw_weights(0, widths, dtype)
    found = end_to_end(weights)
    assert found.shape == (widths[-1], NUM_INPUTS)
    expected = np.linalg.multi_dot([np.asarray(W) for W in (*reversed(weights), np.eye(NUM_INPUTS, dtype=dtype))])
    np.testing.assert_allclose(found, expected, rtol=0, atol=tol(found, 100 * len(widths)))


@pytest.mark.parametrize("widths", ALL_WIDTHS)
def test_weights_and_params_are_inverse_both_ways(widths, dtype):
    weights = draw_weights(1, widths, dtype)
    chex.assert_trees_all_equal(to_weights(to_params(weights)), weights, strict=True)
    params = to_params(weights)
    chex.assert_trees_all_equal(to_params(to_weights(params)), params, strict=True)
