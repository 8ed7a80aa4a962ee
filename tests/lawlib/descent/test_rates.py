"""Parametrizations: the fan-in law of the start, and ntk as descent on normalized weights with N(0, 1) entries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lawlib.descent.rates import PARAMETRIZATIONS, fan_in, fan_in_weights, ntk
from lawlib.descent.steps import gradient_descent, sum_squared_error
from lawlib.networks.deep_linear import end_to_end

WIDTHS = (3, 7, 7, 5)
ETA, DECAY = 0.3, 0.2


def loss(weights, Y, X):
    return sum_squared_error(end_to_end(weights) @ Y, X)


def setting(dtype="float64"):
    draw = np.random.default_rng(0).standard_normal
    weights = fan_in_weights(jax.random.key(0), WIDTHS, jnp.dtype(dtype))
    return weights, jnp.asarray(draw((3, 4)), dtype), jnp.asarray(draw((5, 4)), dtype)


def test_entries_have_the_variance_of_fan_in_and_not_twice_that():
    weights = fan_in_weights(jax.random.key(1), (200, 300, 100))
    for W, into in zip(weights, (200, 300), strict=True):
        assert np.var(np.asarray(W)) * into == pytest.approx(1, abs=0.03)
    assert [W.shape for W in weights] == [(300, 200), (100, 300)]


def test_ntk_is_descent_on_the_normalized_weights_of_the_paper(dtype, tol):
    weights, Y, X = setting(dtype)
    rates = ntk(WIDTHS, step_size=ETA, weight_decay=DECAY)
    descent = gradient_descent(loss)
    at = descent.init(weights)
    # Eq. 23 and Algorithm 1, in float64: W~ has N(0, 1) entries, and lambda/2 sum_l ||W~_l||^2 / d_l.
    roots = [np.sqrt(width) for width in WIDTHS[:-1]]
    normalized = [np.asarray(W, float) * root for W, root in zip(weights, roots, strict=True)]
    Y_, X_ = np.asarray(Y, float), np.asarray(X, float)
    for _ in range(3):
        at = descent.step(at, Y, X, **rates._asdict())
        layers = [W / root for W, root in zip(normalized, roots, strict=True)]
        Z = [Y_]
        for W in layers:
            Z.append(W @ Z[-1])
        back, gradients = Z.pop() - X_, []
        for W in reversed(layers):
            gradients.insert(0, back @ Z.pop().T)
            back = W.T @ back
        normalized = [
            (1 - ETA * DECAY / root**2) * W - ETA * G / root
            for W, G, root in zip(normalized, gradients, roots, strict=True)
        ]
    for W, expected, root in zip(at.weights, normalized, roots, strict=True):
        np.testing.assert_allclose(W, expected / root, atol=tol(W))


def test_fan_in_has_one_rate_and_another_trajectory():
    weights, Y, X = setting()
    descent = gradient_descent(loss)
    ends = {}
    for name, rates_of in PARAMETRIZATIONS.items():
        rates = rates_of(WIDTHS, step_size=0.05, weight_decay=DECAY)
        ends[name] = descent.step(descent.init(weights), Y, X, **rates._asdict()).weights
    one = descent.step(descent.init(weights), Y, X, step_size=0.05, weight_decay=DECAY).weights
    for W, expected in zip(ends["fan_in"], one, strict=True):
        np.testing.assert_array_equal(W, expected)
    assert float(jnp.max(jnp.abs(ends["fan_in"][1] - ends["ntk"][1]))) > 1e-2


def test_rates_may_be_traced():
    stepped = jax.jit(lambda eta, decay: ntk(WIDTHS, step_size=eta, weight_decay=decay))(0.6, 0.1)
    np.testing.assert_allclose(stepped.step_size, [0.2, 0.6 / 7, 0.6 / 7], rtol=1e-6)
    np.testing.assert_allclose(stepped.weight_decay, [0.1] * 3, rtol=1e-6)


@pytest.mark.parametrize("widths", [(3,), (3, 0, 2)])
def test_impossible_widths_are_refused(widths):
    for refuse in (fan_in, ntk):
        with pytest.raises(ValueError, match="widths must be two or more positive sizes"):
            refuse(widths, step_size=1.0, weight_decay=0.0)
    with pytest.raises(ValueError, match="widths must be two or more positive sizes"):
        fan_in_weights(jax.random.key(0), widths)
