"""Activations against closed forms and their constants on a grid; both forms of the network against a dense forward."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import scipy.stats

from lawlib.descent import steps
from lawlib.networks import mlp
from lawlib.networks.activations import ACTIVATIONS, Activation, activation
from lawlib.networks.deep_linear import to_params
from lawlib.networks.linen import MLP

SMOOTH, KINKED = ("elu", "gelu", "silu", "tanh"), ("relu", "leaky_relu", "rrelu")
NUM_INPUTS, NUM_SAMPLES, WIDTHS = 4, 6, (5, 5, 3)
CLOSED_FORMS = {
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "gelu": lambda x: x * scipy.special.ndtr(x),
    "silu": lambda x: x * scipy.special.expit(x),
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "rrelu": lambda x: np.where(x > 0, x, 11 / 48 * x),
}
apply = jax.jit(mlp.apply, static_argnums=2)


def draw_weights(seed, dtype):
    rng = np.random.default_rng(seed)
    return tuple(
        jnp.asarray(rng.standard_normal((out, into)), dtype) for into, out in itertools.pairwise((NUM_INPUTS, *WIDTHS))
    )


def draw_inputs(seed, dtype):
    return jnp.asarray(np.random.default_rng(seed).standard_normal((NUM_INPUTS, NUM_SAMPLES)), dtype)


def dense_forward(weights, X, function):
    H = np.asarray(X, np.float64)
    for W in weights[:-1]:
        H = function(np.asarray(W, np.float64) @ H)
    return np.asarray(weights[-1], np.float64) @ H


@functools.cache
def slopes_on_grid(name, half_width=8.0, num_intervals=80_000):
    """The grid, the step, and phi' on it; the grid holds 0 and misses it in its shifted twin."""
    grid = np.linspace(-half_width, half_width, num_intervals + 1)
    grid[num_intervals // 2] = 0
    return (
        grid,
        2 * half_width / num_intervals,
        np.asarray(jax.jit(jax.vmap(jax.grad(ACTIVATIONS[name].function)))(grid)),
    )


def test_the_table_holds_the_activations_of_the_paper():
    assert set(ACTIVATIONS) == set(SMOOTH + KINKED) == set(CLOSED_FORMS)
    assert all(name == phi.name for name, phi in ACTIVATIONS.items())
    assert {name for name, phi in ACTIVATIONS.items() if phi.is_smooth} == set(SMOOTH)
    assert {name for name, phi in ACTIVATIONS.items() if phi.randomized} == {"rrelu"}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_functions_are_their_closed_forms(name, dtype):
    x = np.linspace(-6, 6, 1001).astype(dtype)
    function = jax.jit(ACTIVATIONS[name].function)
    values = function(jnp.asarray(x))
    assert values.dtype == dtype
    expected = CLOSED_FORMS[name](x.astype(np.float64))
    np.testing.assert_allclose(values, expected, rtol=0, atol=20 * jnp.finfo(dtype).eps)
    assert values[x == 0] == 0


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_beta_is_the_largest_slope(name):
    _, step, slopes = slopes_on_grid(name)
    beta = ACTIVATIONS[name].beta
    # Within half a step of a smooth maximum the slope falls by less than step^2.
    assert beta - step**2 < np.abs(slopes).max() < beta + 1e-14


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_constants_are_those_of_the_slope(name):
    phi, (grid, step, slopes) = ACTIVATIONS[name], slopes_on_grid(name)
    np.testing.assert_allclose(slopes[grid == 0], phi.slope_at_zero, rtol=1e-14)
    steepest = np.abs(np.diff(slopes)).max() / step
    # Never above mu, beyond the rounding of a difference quotient; below it by the curvature of phi' over a step.
    assert phi.mu * (1 - step) < steepest < phi.mu * (1 + 1e-10)


@pytest.mark.parametrize("name", KINKED)
def test_a_kink_has_no_slope_and_no_lipschitz_constant(name):
    phi, (_, _, slopes) = ACTIVATIONS[name], slopes_on_grid(name)
    assert np.isnan(phi.slope_at_zero)
    assert phi.mu == np.inf
    # A jump of phi' however fine the grid.
    assert np.abs(np.diff(slopes)).max() > 0.6


def test_a_randomized_slope_is_uniform_and_new_for_every_entry_and_key(dtype):
    Z = -jnp.ones((60, 50), dtype)
    randomized = jax.jit(ACTIVATIONS["rrelu"].randomized)
    slopes = np.asarray(-randomized(jax.random.key(0), Z))
    assert slopes.dtype == dtype
    uniform = scipy.stats.uniform(1 / 8, 1 / 3 - 1 / 8)
    assert scipy.stats.kstest(slopes.ravel(), uniform.cdf).pvalue > 1e-4
    assert len(np.unique(slopes)) > 0.99 * slopes.size
    assert not np.array_equal(slopes, -randomized(jax.random.key(1), Z))
    np.testing.assert_array_equal(randomized(jax.random.key(0), -Z), -Z)


def test_the_backward_pass_uses_the_slopes_of_the_forward_pass():
    Z = jnp.asarray(np.random.default_rng(0).standard_normal((30, 20)))
    randomized = functools.partial(ACTIVATIONS["rrelu"].randomized, jax.random.key(3))
    values, slopes = jax.jit(lambda Z: (randomized(Z), jax.grad(lambda Z: jnp.sum(randomized(Z)))(Z)))(Z)
    np.testing.assert_allclose(slopes, np.where(Z > 0, 1, values / Z), rtol=1e-14)


def test_every_layer_draws_its_own_slopes_and_only_with_a_key():
    eye, X, phi = jnp.eye(5), -jnp.ones((5, 40)), ACTIVATIONS["rrelu"]
    features = jax.jit(mlp.hidden_features, static_argnums=2)((eye, eye, eye), X, phi, jax.random.key(0))
    X, first, second = map(np.asarray, features)
    assert np.abs(second / first - first / X).min() > 0
    np.testing.assert_allclose(apply((eye, eye, eye), jnp.asarray(X), phi), (11 / 48) ** 2 * X, rtol=1e-14)
    smooth = [apply((eye, eye, eye), jnp.asarray(X), ACTIVATIONS["elu"], key) for key in (None, jax.random.key(0))]
    np.testing.assert_array_equal(*smooth)


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_both_forms_are_the_dense_forward(name, dtype, tol):
    weights, X = draw_weights(1, dtype), draw_inputs(2, dtype)
    expected = dense_forward(weights, X, CLOSED_FORMS[name])
    outputs = apply(weights, X, ACTIVATIONS[name])
    by_flax = jax.jit(MLP(WIDTHS, name, param_dtype=dtype).apply)(to_params(weights), X.T)
    assert outputs.dtype == by_flax.dtype == dtype
    scale = np.abs(expected).max()
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=scale * tol(X))
    np.testing.assert_allclose(by_flax.T, expected, rtol=0, atol=scale * tol(X))


def test_the_forward_pass_is_the_same_under_vmap(tol):
    weights, X = draw_weights(4, jnp.float64), jnp.stack([draw_inputs(s, jnp.float64) for s in (5, 6)])
    phi = ACTIVATIONS["gelu"]
    batch = jax.jit(jax.vmap(lambda X: mlp.apply(weights, X, phi)))(X)
    for mapped, alone in zip(batch, X, strict=True):
        np.testing.assert_allclose(mapped, apply(weights, alone, phi), atol=100 * tol(alone))


def test_an_activation_of_ones_own_brings_its_constants():
    own = Activation("sine", jnp.sin, slope_at_zero=1.0, beta=1.0, mu=1.0)
    assert activation(own) is own
    assert own.is_smooth
    weights, X = draw_weights(7, jnp.float64), draw_inputs(8, jnp.float64)
    outputs = MLP(WIDTHS, own, param_dtype=jnp.float64).apply(to_params(weights), X.T)
    np.testing.assert_allclose(outputs.T, dense_forward(weights, X, np.sin), rtol=0, atol=1e-12)


def test_names_are_looked_up_and_others_refused():
    assert activation("silu") is ACTIVATIONS["silu"]
    with pytest.raises(ValueError, match=r"one of elu, gelu, silu, tanh, relu, leaky_relu, rrelu, .* got 'swish'"):
        activation("swish")
    with pytest.raises(ValueError, match=r"needs its constants: Activation\(name, .* got .*sin"):
        activation(jnp.sin)
    with pytest.raises(TypeError, match="mu"):
        Activation("sine", jnp.sin, slope_at_zero=1.0, beta=1.0)


FROZEN = (False, False, True)
RATES = {"step_size": (0.01, 0.01, 0.0), "weight_decay": 0.1}


@pytest.mark.parametrize(
    ("method", "rates"),
    [
        (steps.gradient_descent, RATES),
        (steps.heavy_ball, RATES | {"momentum": 0.9}),
        (functools.partial(steps.transformed, transform=None), {}),
    ],
    ids=["gradient_descent", "heavy_ball", "adam"],
)
def test_a_layer_is_frozen_by_a_rate_of_zero_or_by_optaxs_mask(method, rates):
    if not rates:
        adam = optax.selective_transform(optax.adamw(0.01, weight_decay=0.1), freeze_mask=FROZEN)
        method = functools.partial(steps.transformed, transform=adam)
    X, Y, phi = draw_inputs(9, jnp.float64), jnp.ones((WIDTHS[-1], NUM_SAMPLES)), ACTIVATIONS["elu"]
    found = method(lambda weights, X, Y: steps.sum_squared_error(mlp.apply(weights, X, phi), Y))
    start = draw_weights(10, jnp.float64)
    iterate, step = found.init(start), jax.jit(found.step)
    for _ in range(3):
        iterate = step(iterate, X, Y, **rates)
    for frozen, W, before in zip(FROZEN, iterate.weights, start, strict=True):
        assert np.array_equal(W, before) == frozen


@pytest.mark.parametrize("constants", [(0.5, -1.0, 1.0), (0.5, 1.0, math.nan), (2.0, 1.0, 1.0), (0.5, math.inf, 1.0)])
def test_constants_that_no_activation_has_are_refused(constants):
    with pytest.raises(ValueError, match="odd needs 0 < beta"):
        Activation("odd", jnp.sin, *constants)


def test_the_forward_pass_takes_a_name():
    W = (jnp.ones((3, 2)), jnp.ones((1, 3)))
    np.testing.assert_array_equal(
        mlp.apply(W, jnp.ones((2, 4)), "silu"), mlp.apply(W, jnp.ones((2, 4)), ACTIVATIONS["silu"])
    )
    with pytest.raises(ValueError, match="activation must be one of"):
        mlp.apply(W, jnp.ones((2, 4)), "softplus")
