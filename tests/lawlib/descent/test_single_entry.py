"""SGD on single entries: against jax.grad of the dense product, the three forms against each other, the draws."""

import functools as ft

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lawlib.descent.single_entry import (
    FORMS,
    Entry,
    Form,
    check_entry,
    converted,
    draw_entries,
    entry_error,
    entry_gradients,
    entry_step,
    form,
    track,
    tracked_step,
)
from lawlib.problems.synthetic import completion_2x2

WIDTHS = {2: (2, 5, 3), 3: (2, 6, 5, 2), 4: (3, 4, 6, 5, 2)}


def drawn(depth, dtype):
    """Weights of some depth, layers of unequal widths."""
    keys = jax.random.split(jax.random.key(depth), depth)
    widths = WIDTHS[depth]
    shapes = zip(keys, widths[1:], widths, strict=False)
    return tuple(jax.random.normal(k, (out, into), dtype) / jnp.sqrt(out) for k, out, into in shapes)


def dense_loss(weights, entry):
    A = ft.reduce(lambda product, W: W @ product, weights)
    return jnp.square(entry.value - A[entry.row, entry.column])


@pytest.mark.parametrize("depth", WIDTHS)
def test_gradients_are_those_of_the_dense_product(depth, dtype, tol):
    weights = drawn(depth, dtype)

    @jax.jit
    @jax.vmap
    def both(row, column):
        entry = Entry(row, column, jnp.asarray(1.5, dtype))
        chains = [jnp.outer(*G) for G in entry_gradients(weights, entry)]
        losses = jnp.square(entry_error(weights, entry)), dense_loss(weights, entry)
        return chains, jax.grad(dense_loss)(weights, entry), losses

    rows, columns = np.indices((WIDTHS[depth][-1], WIDTHS[depth][0])).reshape(2, -1)
    found, expected, losses = both(rows, columns)
    for G, dense in zip(found, expected, strict=True):
        np.testing.assert_allclose(G, dense, atol=tol(dense))
    np.testing.assert_allclose(*losses, rtol=tol(losses[0]))


def by_hand(weights, entry, decay, gradient):
    """theta - decay theta - gradient grad, from the dense product."""
    grads = jax.grad(dense_loss)(weights, entry)
    return [W - decay * W - gradient * G for W, G in zip(weights, grads, strict=True)]


# The printed formulas, word by word: the coefficients of theta and of the gradient for given eta and lambda.
PRINTED = {
    "figures": lambda eta, decay: (eta * decay, eta),
    "main_text": lambda eta, decay: (2 * eta * decay, eta / 2),
    "appendix": lambda eta, decay: (eta * decay, eta / 2),
}


@pytest.mark.parametrize("name", PRINTED)
def test_a_step_is_the_printed_one(name, dtype, tol):
    rates = {"step_size": jnp.asarray(0.2, dtype), "weight_decay": jnp.asarray(0.1, dtype)}

    @jax.jit
    def steps(weights, entry):
        plain = entry_step(weights, entry, form(name), **rates)
        tracked = tracked_step(track(weights), entry, form(name), **rates).weights
        return plain, tracked, by_hand(weights, entry, *PRINTED[name](0.2, 0.1))

    plain, tracked, expected = steps(drawn(3, dtype), Entry(1, 0, jnp.asarray(0.25, dtype)))
    for W, tracked_W, by_formula in zip(plain, tracked, expected, strict=True):
        assert W.dtype == tracked_W.dtype == dtype
        np.testing.assert_allclose(W, by_formula, atol=tol(W))
        np.testing.assert_allclose(tracked_W, by_formula, atol=tol(W))


def test_the_product_is_that_of_the_present_weights(dtype, tol):
    tracked = track(drawn(4, dtype))
    step = jax.jit(lambda at, e: tracked_step(at, e, FORMS["figures"], step_size=0.1, weight_decay=0.1))
    for row, column in [(0, 2), (1, 1), (0, 0)]:
        tracked = step(tracked, Entry(row, column, jnp.asarray(1.0, dtype)))
        A = ft.reduce(lambda product, W: W @ product, tracked.weights)
        np.testing.assert_allclose(tracked.product, A, atol=tol(A))


@given(st.sampled_from(sorted(FORMS)), st.sampled_from(sorted(FORMS)), st.floats(1e-3, 1), st.floats(1e-4, 1))
def test_converted_rates_make_the_same_step(source, target, eta, decay):
    other = converted(step_size=eta, weight_decay=decay, source=form(source), target=form(target))
    np.testing.assert_allclose(PRINTED[target](*other), PRINTED[source](eta, decay), rtol=1e-14)


def test_the_conversions_are_those_of_the_paper():
    to = ft.partial(converted, step_size=0.2, weight_decay=0.1, source=form("figures"))
    np.testing.assert_allclose(to(target=form("main_text")), (0.4, 0.025), rtol=1e-15)
    np.testing.assert_allclose(to(target=form("appendix")), (0.4, 0.05), rtol=1e-15)


def test_the_three_forms_agree_to_rounding_along_a_run(dtype, tol):
    rows, columns, values = jnp.asarray([0, 1, 1]), jnp.asarray([0, 0, 1]), jnp.asarray([1.0, 0.25, 1.0], dtype)

    @jax.jit
    @jax.vmap
    def run(update, eta, decay):
        def step(at, k):
            entry = Entry(rows[k], columns[k], values[k])
            return tracked_step(at, entry, update, step_size=eta, weight_decay=decay), None

        draws = draw_entries(jax.random.key(1), num_entries=3, num_steps=60, replacement=True)
        return jax.lax.scan(step, track(drawn(3, dtype)), draws)[0].product

    rates = [
        converted(step_size=0.03, weight_decay=0.1, source=form("figures"), target=update) for update in FORMS.values()
    ]
    columns_of = [jnp.asarray(each, dtype) for each in (*zip(*FORMS.values(), strict=True), *zip(*rates, strict=True))]
    ours, *others = run(Form(*columns_of[:2]), *columns_of[2:])
    assert np.all(np.isfinite(ours))
    for other in others:
        np.testing.assert_allclose(other, ours, atol=tol(ours, 1000))


@pytest.mark.parametrize("eps", [0.25, 3.0])
def test_the_completion_is_of_rank_one_and_hides_the_large_entry(eps, dtype, tol):
    observed = jax.jit(lambda eps: completion_2x2(eps, dtype))(eps)
    target = np.asarray(observed.target)
    assert target.dtype == dtype
    assert abs(np.linalg.det(target)) < tol(target)
    np.testing.assert_allclose(observed.values, [1, eps, 1], rtol=tol(target))
    assert (0, 1) not in set(zip(observed.rows.tolist(), observed.columns.tolist(), strict=True))


# Draws ----------------------------------------------------------------------------------------------------


def test_draws_with_replacement_are_independent_and_uniform():
    draws = np.asarray(draw_entries(jax.random.key(0), num_entries=3, num_steps=30_000, replacement=True))
    # Pairs of neighbours: nine equal frequencies, each with a standard deviation of 31 counts.
    pairs = np.bincount(3 * draws[:-1:2] + draws[1::2], minlength=9)
    np.testing.assert_allclose(pairs, 15_000 / 9, atol=6 * np.sqrt(15_000 / 9))


@pytest.mark.parametrize("num_steps", [0, 1, 3, 3001])
def test_an_epoch_without_replacement_holds_each_entry_once(num_steps):
    draws = np.asarray(draw_entries(jax.random.key(0), num_entries=3, num_steps=num_steps, replacement=False))
    assert draws.shape == (num_steps,)
    epochs = draws[: num_steps // 3 * 3].reshape(-1, 3)
    np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile([0, 1, 2], (len(epochs), 1)))
    if num_steps > 1000:
        # All six orders, each about a sixth of the thousand epochs (standard deviation 12).
        orders = np.bincount(epochs @ [9, 3, 1])
        np.testing.assert_allclose(orders[orders > 0], [1000 / 6] * 6, atol=75)


WEIGHTS = (np.zeros((4, 2)), np.zeros((2, 4)))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: form("printed"), "one of 'figures', 'main_text', 'appendix', got 'printed'"),
        (lambda: entry_error(tuple(map(jnp.asarray, WEIGHTS[:1])), Entry(0, 0, 1.0)), "at least two layers, got 1"),
        (lambda: entry_error(tuple(map(jnp.asarray, WEIGHTS)), Entry(2, 0, 1.0)), r"2 x 2 .* got \(2, 0\)"),
        (lambda: entry_gradients(tuple(map(jnp.asarray, WEIGHTS)), Entry(0, -1, 1.0)), r"got \(0, -1\)"),
        (lambda: check_entry((2, 3), row=0, column=3), r"a 2 x 3 matrix .* got \(0, 3\)"),
        (lambda: completion_2x2(0.0), "eps must be positive and finite, got 0.0"),
        (lambda: completion_2x2(-0.1), "got -0.1"),
        (
            lambda: draw_entries(jax.random.key(0), num_entries=0, num_steps=3, replacement=True),
            "got 0 entries, 3 steps",
        ),
        (
            lambda: draw_entries(jax.random.key(0), num_entries=3, num_steps=-1, replacement=False),
            "got 3 entries, -1 steps",
        ),
    ],
)
def test_bad_input_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()


WARM_UP, SEEDS = 500, 8


@ft.partial(jax.jit, static_argnames="num_warm_up")
@ft.partial(jax.vmap, in_axes=(0, None, None))
def outputs(key, step_size, num_warm_up):
    """||A||_F after each of 1500 steps in the setting of Figures 1 and 4 of Wang and Jacot 2024: L = 3, width 100."""
    key_weights, key_draws = jax.random.split(key)
    widths, problem = (2, 100, 100, 2), completion_2x2(0.25)
    keys = jax.random.split(key_weights, 3)
    shapes = zip(keys, widths[1:], widths, strict=False)
    weights = tuple(jax.random.uniform(k, (out, into), float, -1, 1) / jnp.sqrt(into) for k, out, into in shapes)
    draws = draw_entries(key_draws, num_entries=3, num_steps=1500, replacement=True)

    def step(weights, draw):
        t, place = draw
        eta = jnp.where(t < num_warm_up, 0.03, step_size)
        row, column = problem.rows[place], problem.columns[place]
        entry = Entry(row, column, problem.target[row, column])
        weights = entry_step(weights, entry, form("figures"), step_size=eta, weight_decay=0.1)
        return weights, jnp.linalg.norm(weights[2] @ weights[1] @ weights[0])

    return jax.lax.scan(step, weights, (jnp.arange(1500), draws))[1]


@pytest.mark.parametrize(("step_size", "least"), [(0.2, SEEDS // 2), (0.4, SEEDS)])
def test_large_steps_diverge_from_the_start_and_after_a_warm_up_they_do_not(step_size, least):
    keys = jax.random.split(jax.random.key(0), SEEDS)
    at_once, warmed = (outputs(keys, step_size, num_warm_up) for num_warm_up in (0, WARM_UP))
    assert jnp.sum(~jnp.isfinite(at_once[:, -1])) >= least
    assert jnp.all(warmed < 10)
