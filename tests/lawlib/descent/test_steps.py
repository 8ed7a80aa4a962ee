"""Losses and their reductions; minibatches; descent steps against eq. (4) by hand, numpy loops and optax."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optax import contrib

from lawlib.descent import steps
from lawlib.networks.deep_linear import end_to_end
from lawlib.networks.initializers import orthogonal_weights

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
    chex.assert_trees_all_close(as_numpy(weights), as_numpy(expected), rtol=0, atol=tolerance)


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


# Every kind of optax transformation ----------------------------------------------------------------------------------


NUM_METHOD_STEPS = 4


def distance(weights, target):
    return steps.sum_squared_error(end_to_end(weights), target)


def problem(dtype):
    target = jax.random.normal(jax.random.key(1), (5, 5), dtype)
    return orthogonal_weights(jax.random.key(0), (5, 5, 5, 5), 0.8, dtype), target


# What each of them asks for in its documentation, besides gradients, state and parameters.
LINE_SEARCH = ("value", "grad", "value_fn")
METHODS = {
    "adam": (optax.adam(1e-2), ()),
    "lbfgs": (optax.lbfgs(), LINE_SEARCH),
    "backtracking": (optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(5)), LINE_SEARCH),
    "polyak_sgd": (optax.polyak_sgd(0.1), ("value",)),
    "momo": (contrib.momo(), ("value",)),
    "momo_adam": (contrib.momo_adam(), ("value",)),
    "reduce_on_plateau": (optax.chain(optax.sgd(1e-2), contrib.reduce_on_plateau(patience=1, rtol=0.9)), ("value",)),
    "sophia": (contrib.sophia(1e-2, update_interval=2), ("obj_fn",)),
    "sam": (contrib.sam(optax.sgd(1e-2), optax.sgd(0.1), sync_period=2, opaque_mode=True), ("grad_fn",)),
    "every second step": (optax.MultiSteps(optax.polyak_sgd(0.1), 2).gradient_transformation(), ("value",)),
    "finite steps": (optax.apply_if_finite(optax.polyak_sgd(0.1), 3), ("value",)),
    "some layers": (optax.selective_transform(optax.polyak_sgd(0.1), freeze_mask=(True, False, True)), ("value",)),
}


def documented(method, asks, weights, target):
    """The loop as optax documents it: the loss closed over its data, and the keywords that this method asks for."""

    def fn(weights):
        return distance(weights, target)

    @jax.jit
    def step(weights, state):
        value, grad = jax.value_and_grad(fn)(weights)
        known = {"value": value, "grad": grad, "value_fn": fn, "obj_fn": fn, "grad_fn": lambda w, _: jax.grad(fn)(w)}
        with jax.numpy_dtype_promotion("standard"):
            updates, state = method.update(grad, state, weights, **{name: known[name] for name in asks})
        return optax.apply_updates(weights, updates), state

    state = method.init(weights)
    for _ in range(NUM_METHOD_STEPS):
        weights, state = step(weights, state)
    return weights


@pytest.mark.parametrize(("method", "asks"), METHODS.values(), ids=METHODS)
def test_a_transformation_gets_what_its_documentation_asks_for(method, asks, tol):
    """In a compiled scan over two members, in float32 with float64 enabled: the state must keep its dtypes."""
    dtype = jnp.float32
    (weights, target), descent = problem(dtype), steps.transformed(distance, method)

    def run(weights, target):
        def step(iterate, _):
            return descent.step(iterate, target), None

        return jax.lax.scan(step, descent.init(weights), length=NUM_METHOD_STEPS)[0].weights

    members = jax.tree.map(lambda x: jnp.stack([x, 1.1 * x]), (weights, target))
    found = jax.jit(jax.vmap(run))(*members)
    expected = documented(method, asks, weights, target)
    size = max(float(jnp.abs(W).max()) for W in expected)
    for W, wanted in zip(found, expected, strict=True):
        assert W.dtype == dtype
        np.testing.assert_allclose(W[0], wanted, rtol=0, atol=tol(wanted) * size)
    assert max(float(jnp.abs(W[0] - start).max()) for W, start in zip(found, weights, strict=True)) > 1e-3


# Minibatches and the cross-entropy -----------------------------------------------------------------------------------


sizes = st.sampled_from([(10, 3), (12, 4), (7, 7), (5, 1)])


@given(seed=seeds, size=sizes, epoch=st.integers(0, 1000))
def test_an_epoch_takes_every_sample_at_most_once_in_full_batches(seed, size, epoch):
    num_samples, batch_size = size
    batches = np.asarray(
        steps.epoch_batches(jax.random.key(seed), epoch=epoch, num_samples=num_samples, batch_size=batch_size)
    )
    assert batches.shape == (num_samples // batch_size, batch_size)
    assert len(np.unique(batches)) == batches.size
    assert 0 <= batches.min() <= batches.max() < num_samples


def test_epochs_and_keys_have_orders_of_their_own_and_each_is_drawn_again():
    draw = jax.jit(lambda key, epoch: steps.epoch_batches(key, epoch=epoch, num_samples=1000, batch_size=10))
    keys, epochs = jax.random.split(jax.random.key(0)), jnp.arange(2)
    orders = [np.asarray(draw(key, epoch)).ravel() for key in keys for epoch in epochs]
    for i, order in enumerate(orders):
        for other in orders[:i]:
            # Two permutations of 1000 agree in one place on average, hardly ever in 10.
            assert np.sum(order == other) < 10
    np.testing.assert_array_equal(orders[1], np.asarray(draw(keys[0], epochs[1])).ravel())
    together = np.asarray(jax.vmap(draw, (0, None))(keys, epochs[1]))
    np.testing.assert_array_equal(together.reshape(2, -1), [orders[1], orders[3]])


def test_every_sample_is_as_likely_to_sit_out():
    draw = jax.jit(
        jax.vmap(lambda epoch: steps.epoch_batches(jax.random.key(1), epoch=epoch, num_samples=8, batch_size=3))
    )
    batches = np.asarray(draw(jnp.arange(4000))).reshape(4000, 6)
    taken = np.bincount(batches.ravel(), minlength=8) / 4000
    # 3/4 of the epochs, with a standard deviation of 0.007.
    assert np.all(np.abs(taken - 0.75) < 0.035)


@pytest.mark.parametrize("batch_size", [0, 11])
def test_a_batch_larger_than_the_data_has_a_name(batch_size):
    with pytest.raises(ValueError, match=f"batch_size must be in 1..10, the number of samples, got {batch_size}"):
        steps.epoch_batches(jax.random.key(0), epoch=0, num_samples=10, batch_size=batch_size)


def test_cross_entropy_is_a_mean_over_samples_of_the_log_of_the_right_class(dtype, tol):
    rng = np.random.default_rng(0)
    outputs, classes = 20 * rng.standard_normal((4, 9)), rng.integers(0, 4, 9)
    expected = np.mean(scipy.special.logsumexp(outputs, axis=0) - outputs[classes, np.arange(9)])
    targets = jnp.asarray(np.eye(4)[:, classes], dtype)
    found = steps.mean_cross_entropy(jnp.asarray(outputs, dtype), targets)
    assert found.dtype == dtype
    assert float(found) == pytest.approx(expected, rel=tol(targets))


def test_cross_entropy_stays_finite_where_a_class_is_out_of_reach(dtype):
    outputs = jnp.asarray([[0.0], [1e4]], dtype)
    assert float(steps.mean_cross_entropy(outputs, jnp.asarray([[1.0], [0.0]], dtype))) == pytest.approx(1e4)
