"""Every kind of optax transformation as a descent step, against the training loop of optax's own documentation."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax import contrib

from lawlib.descent.steps import sum_squared_error, transformed
from lawlib.networks.deep_linear import end_to_end
from lawlib.networks.initializers import orthogonal_weights

NUM_STEPS = 4


def loss(weights, target):
    return sum_squared_error(end_to_end(weights), target)


def problem(dtype):
    target = jax.random.normal(jax.random.key(1), (5, 5), dtype)
    return orthogonal_weights(jax.random.key(0), (5, 5, 5, 5), 0.8, dtype), target


# What each of them asks for in its documentation, beside gradients, state and parameters.
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
        return loss(weights, target)

    @jax.jit
    def step(weights, state):
        value, grad = jax.value_and_grad(fn)(weights)
        known = {"value": value, "grad": grad, "value_fn": fn, "obj_fn": fn, "grad_fn": lambda w, _: jax.grad(fn)(w)}
        with jax.numpy_dtype_promotion("standard"):
            updates, state = method.update(grad, state, weights, **{name: known[name] for name in asks})
        return optax.apply_updates(weights, updates), state

    state = method.init(weights)
    for _ in range(NUM_STEPS):
        weights, state = step(weights, state)
    return weights


@pytest.mark.parametrize(("method", "asks"), METHODS.values(), ids=METHODS)
def test_a_transformation_gets_what_its_documentation_asks_for(method, asks, tol):
    """In a compiled scan over two members, in float32 beside float64: the state must keep its dtypes."""
    dtype = jnp.float32
    (weights, target), descent = problem(dtype), transformed(loss, method)

    def run(weights, target):
        def step(iterate, _):
            return descent.step(iterate, target), None

        return jax.lax.scan(step, descent.init(weights), length=NUM_STEPS)[0].weights

    members = jax.tree.map(lambda x: jnp.stack([x, 1.1 * x]), (weights, target))
    found = jax.jit(jax.vmap(run))(*members)
    expected = documented(method, asks, weights, target)
    size = max(float(jnp.abs(W).max()) for W in expected)
    for W, wanted in zip(found, expected, strict=True):
        assert W.dtype == dtype
        np.testing.assert_allclose(W[0], wanted, rtol=0, atol=tol(wanted) * size)
    assert max(float(jnp.abs(W[0] - start).max()) for W, start in zip(found, weights, strict=True)) > 1e-3
