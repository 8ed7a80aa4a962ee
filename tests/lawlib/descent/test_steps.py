"""Losses and their reductions; descent steps against eq. (4) written by hand, numpy loops and optax."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lawlib.descent import steps
from lawlib.networks.deep_linear import end_to_end

# The fixtures used below are pure functions of the dtype, so sharing them between examples is safe.
shares_fixtures = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
WIDTHS, NUM_SAMPLES = (4, 5, 3, 2), 6
MASKED = [steps.masked_sum_squared_error, steps.masked_mean_squared_error]
seeds = st.integers(0, 2**32 - 1)
rates = st.floats(0.01, 0.5)


def draw(seed, dtype, *shapes):
    rng = np.random.default_rng(seed)
    return tuple(jnp.asarray(rng.standard_normal(shape) / 2, dtype) for shape in shapes)


def draw_network(seed, dtype):
    """Weights (W_1, W_2, W_3) and the data (X, Y)."""
    shapes = [(out, into) for into, out in itertools.pairwise(WIDTHS)]
    *weights, X, Y = draw(seed, dtype, *shapes, (WIDTHS[0], NUM_SAMPLES), (WIDTHS[-1], NUM_SAMPLES))
    return tuple(weights), (X, Y)


def loss(weights, X, Y):
    return steps.sum_squared_error(end_to_end(weights) @ X, Y)


def product(factors, size):
    """The last factor times ... times the first one, in float64; the identity when there are none."""
    result = np.eye(size)
    for factor in factors:
        result = np.asarray(factor, np.float64) @ result
    return result


def layer_gradients(weights, X, Y):
    """W_{L:l+1}^T Gamma W_{l-1:1}^T with Gamma = (W_{L:1} X - Y) X^T, layer by layer (Yaras et al. 2023, eq. 4)."""
    X, Y = (np.asarray(each, np.float64) for each in (X, Y))
    gamma = (product(weights, WIDTHS[0]) @ X - Y) @ X.T
    return [
        product(weights[layer + 1 :], len(W)).T @ gamma @ product(weights[:layer], WIDTHS[0]).T
        for layer, W in enumerate(weights)
    ]


def as_numpy(weights):
    return [np.asarray(W, np.float64) for W in weights]


def assert_close(weights, expected, tolerance):
    assert len(weights) == len(expected)
    for W, E in zip(weights, expected, strict=True):
        np.testing.assert_allclose(np.asarray(W, np.float64), E, rtol=0, atol=tolerance)


gradient_step = jax.jit(steps.gradient_descent(loss).step)
momentum_step = jax.jit(steps.heavy_ball(loss).step)


@shares_fixtures
@given(seed=seeds)
def test_losses_are_half_squared_errors_and_differ_by_the_number_of_entries(seed, dtype, tol):
    outputs, targets = draw(seed, dtype, (3, 5), (3, 5))
    total = steps.sum_squared_error(outputs, targets)
    mean = steps.mean_squared_error(outputs, targets)
    assert total.dtype == mean.dtype == dtype
    expected = 0.5 * np.linalg.norm(np.asarray(outputs, np.float64) - np.asarray(targets, np.float64)) ** 2
    np.testing.assert_allclose(total, expected, rtol=tol(outputs))
    np.testing.assert_allclose(3 * 5 * mean, total, rtol=tol(outputs))


@shares_fixtures
@given(seed=seeds, observed=st.lists(st.booleans(), min_size=15, max_size=15))
def test_masked_losses_see_observed_entries_alone_and_average_over_all(seed, observed, dtype, tol):
    outputs, targets = draw(seed, dtype, (3, 5), (3, 5))
    observed = np.reshape(observed, (3, 5))
    gaps = (np.asarray(outputs, np.float64) - np.asarray(targets, np.float64))[observed]
    total, mean = (masked(outputs, targets, jnp.asarray(observed, dtype)) for masked in MASKED)
    np.testing.assert_allclose(total, 0.5 * sum(gap**2 for gap in gaps), rtol=tol(outputs))
    np.testing.assert_allclose(mean, 0.5 * sum(gap**2 for gap in gaps) / 15, rtol=tol(outputs))


@shares_fixtures
@given(seed=seeds, step_size=rates, weight_decay=rates)
def test_gradient_descent_is_equation_4(seed, step_size, weight_decay, dtype, tol):
    weights, data = draw_network(seed, dtype)
    eta, decay = (jnp.asarray(rate, dtype) for rate in (step_size, weight_decay))
    iterate = gradient_step(steps.gradient_descent(loss).init(weights), *data, step_size=eta, weight_decay=decay)
    gradients = layer_gradients(weights, *data)
    shrink = 1 - step_size * weight_decay
    expected = [shrink * W - step_size * G for W, G in zip(as_numpy(weights), gradients, strict=True)]
    scale = 1 + max(np.abs(G).max() for G in gradients)
    assert_close(iterate.weights, expected, scale * tol(weights[0]))
    assert all(W.dtype == dtype for W in iterate.weights)


def test_layers_step_from_the_old_weights(tol):
    weights, data = draw_network(0, jnp.float64)
    moved = gradient_step(steps.gradient_descent(loss).init(weights), *data, step_size=0.1, weight_decay=0.0).weights
    in_turn = as_numpy(weights)
    for layer in range(len(weights)):
        in_turn[layer] = in_turn[layer] - 0.1 * layer_gradients(in_turn, *data)[layer]
    np.testing.assert_allclose(moved[0], in_turn[0], atol=tol(weights[0]))
    assert all(np.abs(W - E).max() > 1e-3 for W, E in zip(moved[1:], in_turn[1:], strict=True))


@shares_fixtures
@given(seed=seeds, step_size=rates, weight_decay=rates)
def test_weight_decay_is_a_step_on_the_regularized_loss(seed, step_size, weight_decay, dtype, tol):
    weights, data = draw_network(seed, dtype)
    eta, decay = (jnp.asarray(rate, dtype) for rate in (step_size, weight_decay))
    start = steps.Iterate(weights, ())
    decayed = gradient_step(start, *data, step_size=eta, weight_decay=decay)
    plain = regularized_step(start, *data, decay, step_size=eta, weight_decay=jnp.zeros_like(eta))
    assert_close(plain.weights, as_numpy(decayed.weights), 10 * tol(weights[0]))


def regularized(weights, X, Y, weight_decay):
    return loss(weights, X, Y) + weight_decay / 2 * sum(jnp.sum(jnp.square(W)) for W in weights)


regularized_step = jax.jit(steps.gradient_descent(regularized).step)


@shares_fixtures
@given(seed=seeds, step_size=st.floats(0.01, 0.1), weight_decay=rates, momentum=st.floats(0.0, 0.9))
def test_heavy_ball_is_a_two_term_recursion_that_starts_at_rest(seed, step_size, weight_decay, momentum, dtype, tol):
    weights, data = draw_network(seed, dtype)
    given_rates = {"step_size": step_size, "weight_decay": weight_decay, "momentum": momentum}
    given_rates = {name: jnp.asarray(rate, dtype) for name, rate in given_rates.items()}
    iterate = steps.heavy_ball(loss).init(weights)
    before = now = as_numpy(weights)
    for _ in range(4):
        iterate = momentum_step(iterate, *data, **given_rates)
        after = [
            (1 - step_size * weight_decay) * W - step_size * G + momentum * (W - B)
            for W, G, B in zip(now, layer_gradients(now, *data), before, strict=True)
        ]
        before, now = now, after
    scale = 1 + max(np.abs(W).max() for W in now) ** len(weights)
    assert_close(iterate.weights, now, 10 * scale * tol(weights[0]))
    assert_close(iterate.memory, before, 10 * scale * tol(weights[0]))


@shares_fixtures
@given(seed=seeds, step_size=rates, weight_decay=rates)
def test_without_momentum_heavy_ball_is_gradient_descent_to_the_last_bit(seed, step_size, weight_decay, dtype):
    weights, data = draw_network(seed, dtype)
    eta, decay, none = (jnp.asarray(rate, dtype) for rate in (step_size, weight_decay, 0.0))
    ball, plain = steps.heavy_ball(loss).init(weights), steps.gradient_descent(loss).init(weights)
    for _ in range(3):
        ball = momentum_step(ball, *data, step_size=eta, weight_decay=decay, momentum=none)
        plain = gradient_step(plain, *data, step_size=eta, weight_decay=decay)
    for W, expected in zip(ball.weights, plain.weights, strict=True):
        np.testing.assert_array_equal(W, expected)


def run(method, weights, data, **given_rates):
    step, iterate = jax.jit(method.step), method.init(weights)
    for _ in range(4):
        iterate = step(iterate, *data, **given_rates)
    return iterate.weights


def test_optax_sgd_with_decay_is_gradient_descent(dtype, tol):
    weights, data = draw_network(1, dtype)
    chain = optax.chain(optax.add_decayed_weights(0.3), optax.sgd(0.05))
    expected = run(steps.gradient_descent(loss), weights, data, step_size=0.05, weight_decay=0.3)
    assert_close(run(steps.transformed(loss, chain), weights, data), as_numpy(expected), tol(weights[0]))


def test_optax_sgd_with_momentum_is_the_heavy_ball(dtype, tol):
    weights, data = draw_network(2, dtype)
    expected = run(steps.heavy_ball(loss), weights, data, step_size=0.05, weight_decay=0.0, momentum=0.8)
    transform = optax.sgd(0.05, momentum=0.8)
    assert_close(run(steps.transformed(loss, transform), weights, data), as_numpy(expected), tol(weights[0]))


def test_adam_starts_with_steps_of_its_own_size_and_remembers(dtype, tol):
    weights, data = draw_network(3, dtype)
    # Halves make the bias corrections exact, and eps = 0 makes the first step lr in every entry.
    method = steps.transformed(loss, optax.adam(0.01, b1=0.5, b2=0.5, eps=0.0))
    iterate, step, now = method.init(weights), jax.jit(method.step), as_numpy(weights)
    mean, square = [np.zeros_like(W) for W in now], [np.zeros_like(W) for W in now]
    for t in range(1, 4):
        before, iterate = iterate.weights, step(iterate, *data)
        gradients = layer_gradients(now, *data)
        mean = [m / 2 + G / 2 for m, G in zip(mean, gradients, strict=True)]
        square = [v / 2 + G**2 / 2 for v, G in zip(square, gradients, strict=True)]
        debias = 1 - 0.5**t
        moments = zip(now, mean, square, strict=True)
        now = [W - 0.01 * (m / debias) / np.sqrt(v / debias) for W, m, v in moments]
        if t == 1:
            moves = [np.asarray(W - B) for W, B in zip(iterate.weights, before, strict=True)]
            assert_close(moves, [-0.01 * np.sign(G) for G in gradients], tol(weights[0]))
    assert_close(iterate.weights, now, tol(weights[0]))


@pytest.mark.parametrize("method", [steps.gradient_descent(loss), steps.heavy_ball(loss)])
def test_rates_may_be_mapped_over(method, dtype, tol):
    weights, data = draw_network(4, dtype)
    names = ("step_size", "weight_decay", "momentum") if method.init(weights).memory else ("step_size", "weight_decay")
    swept = {name: jnp.linspace(0.02, 0.3, 3, dtype=dtype) for name in names}

    # Two steps, since momentum is felt at the second.
    @jax.jit
    def twice(rates):
        return method.step(method.step(method.init(weights), *data, **rates), *data, **rates).weights

    together = jax.jit(jax.vmap(twice))(swept)
    for member in range(3):
        alone = twice({name: values[member] for name, values in swept.items()})
        assert_close([W[member] for W in together], as_numpy(alone), tol(weights[0]))
    assert np.abs(together[0][0] - together[0][2]).max() > 1e-2


evaluated = steps.evaluated(loss)
evaluated_start, evaluated_step = jax.jit(evaluated.init), jax.jit(evaluated.step)


@shares_fixtures
@given(seed=seeds, step_size=st.floats(0.01, 0.05), weight_decay=rates)
def test_the_evaluated_descent_is_gradient_descent_and_knows_its_loss(seed, step_size, weight_decay, dtype, tol):
    weights, data = draw_network(seed, dtype)
    step_size, weight_decay = jnp.asarray(step_size, dtype), jnp.asarray(weight_decay, dtype)
    iterate, plain = evaluated_start(weights, *data), steps.gradient_descent(loss).init(weights)
    for _ in range(2):
        iterate = evaluated_step(iterate, *data, step_size=step_size, weight_decay=weight_decay)
        plain = gradient_step(plain, *data, step_size=step_size, weight_decay=weight_decay)
    assert_close(iterate.weights, as_numpy(plain.weights), tol(data[0]))
    np.testing.assert_allclose(iterate.memory.loss, loss(iterate.weights, *data), rtol=tol(data[0]))
    assert_close(iterate.memory.gradients, layer_gradients(iterate.weights, *data), tol(data[0]))


def test_each_branch_of_the_weights_may_have_its_own_rates(tol):
    """Two branches of a tree of weights, each with its own step size and decay: eq. (4) with those of the branch."""
    weights, data = draw_network(4, jnp.float64)
    tree = {"outer": (weights[0], weights[2]), "inner": weights[1]}

    def of_tree(tree, *data):
        return loss((tree["outer"][0], tree["inner"], tree["outer"][1]), *data)

    method = steps.gradient_descent(of_tree)
    eta, decay = {"outer": 0.1, "inner": 0.3}, {"outer": 0.2, "inner": 0.0}
    moved = method.step(method.init(tree), *data, step_size=eta, weight_decay=decay).weights
    first, middle, last = layer_gradients(weights, *data)
    expected = [0.98 * weights[0] - 0.1 * first, weights[1] - 0.3 * middle, 0.98 * weights[2] - 0.1 * last]
    assert_close((moved["outer"][0], moved["inner"], moved["outer"][1]), as_numpy(expected), tol(data[0]))


def test_a_loss_summed_over_batches_has_the_gradient_of_the_whole(dtype, tol):
    rng = np.random.default_rng(5)
    W, X, Y = (jnp.asarray(rng.standard_normal(shape), dtype) for shape in ((3, 4), (5, 4, 6), (5, 3, 6)))

    def loss(weights, inputs, targets):
        return steps.sum_squared_error(jnp.tanh(weights[0] @ inputs), targets)

    def whole(weights):
        return loss(weights, jnp.concatenate(list(X), axis=1), jnp.concatenate(list(Y), axis=1))

    summed = steps.summed_over_batches(loss)
    value, (gradient,) = jax.jit(jax.value_and_grad(lambda weights: 2 * summed(weights, (X, Y))))((W,))
    wanted, (wanted_gradient,) = jax.value_and_grad(lambda weights: 2 * whole(weights))((W,))
    np.testing.assert_allclose(value, wanted, rtol=tol(W))
    np.testing.assert_allclose(gradient, wanted_gradient, atol=tol(W) * float(jnp.abs(wanted_gradient).max()))
    np.testing.assert_allclose(summed((W,), (X, Y)), whole((W,)), rtol=tol(W))
