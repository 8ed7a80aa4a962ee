"""Rank jumps: losses, the constants of Theorems B.1 and B.2, and the errors of all that has to do with them."""

import functools as ft
import math

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from rank_jumps_reference import CASES, MASK, OBSERVED, constants_in, dense_cost, drawn, factorized, target_of

from lawlib.theory import rank_jumps as theory
from lawlib.theory import rank_jumps_landscape as landscape
from lawlib.theory import rank_jumps_region as region

# Losses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [3, 4])
def test_the_representation_cost_is_that_of_balanced_factors_and_of_no_others(depth, dtype, tol):
    widths = (3, *[5] * (depth - 1), 2)
    weights = drawn(depth, widths, dtype)
    product = ft.reduce(lambda P, W: W @ P, weights)
    cost = theory.representation_cost(product, depth)
    assert cost == pytest.approx(dense_cost(np.asarray(product, "float64"), depth), rel=tol(product, 10))
    factors = factorized(product, widths=widths)
    assert sum(jnp.sum(W**2) for W in factors) == pytest.approx(float(cost), rel=tol(product, 10))
    assert sum(jnp.sum(W**2) for W in weights) > cost
    target = jnp.asarray(np.arange(6).reshape(2, 3), dtype)
    mask = jnp.asarray([[1, 0, 1], [1, 1, 0]], dtype)
    losses = (
        theory.factored_loss(factors, target, mask, 0.3),
        theory.matrix_loss(product, target, mask, ridge=0.3, depth=depth),
    )
    assert losses[0] == pytest.approx(float(losses[1]), rel=tol(product, 10))
    expected = np.mean((np.asarray(product) - np.arange(6).reshape(2, 3))[np.asarray(mask) == 1] ** 2) / 2
    assert theory.observed_loss(product, target, mask) == pytest.approx(expected, rel=tol(product))


def test_the_figures_update_is_in_expectation_a_step_on_the_loss_with_a_quarter_of_the_ridge():
    weights, eta, decay, target = drawn(0, (2, 4, 3, 2)), 0.2, 0.1, target_of(0.25)

    @jax.jit
    def entry_step(W, observed):
        def loss(W):
            return jnp.sum(observed * (target - W[2] @ W[1] @ W[0]) ** 2)

        return jax.tree.map(lambda w, g: (1 - eta * decay) * w - eta * g, W, jax.grad(loss)(W))

    steps = [entry_step(weights, jnp.zeros((2, 2)).at[entry].set(1.0)) for entry in OBSERVED]
    mean = jax.tree.map(lambda *w: sum(w) / 3, *steps)
    loss = ft.partial(theory.factored_loss, target=jnp.asarray(target), mask=jnp.asarray(MASK), ridge=decay / 4)
    gradient = jax.jit(jax.grad(loss))(weights)
    for got, W, G in zip(mean, weights, gradient, strict=True):
        np.testing.assert_allclose(got, W - 2 * eta * G, rtol=1e-13, atol=1e-15)


def test_the_appendix_step_is_that_on_one_entry():
    weights, target = drawn(1, (2, 4, 3, 2)), target_of(0.25)

    def loss(W):
        return (target[1, 0] - (W[2] @ W[1] @ W[0])[1, 0]) ** 2

    product = weights[2] @ weights[1] @ weights[0]
    residual = jnp.zeros((2, 2)).at[1, 0].set(product[1, 0] - target[1, 0])
    got, gradient = jax.jit(
        lambda W: (region.sgd_step(W, residual, step_size=0.3, weight_decay=0.05), jax.grad(loss)(W))
    )(weights)
    for new, W, G in zip(got, weights, gradient, strict=True):
        np.testing.assert_allclose(new, (1 - 0.3 * 0.05) * W - 0.15 * G, rtol=1e-13, atol=1e-15)


# The constants of Theorems B.1 and B.2 --------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_constants_are_those_of_theorem_b1(case, dtype, tol):
    decay, depth, rank, width, _, slack = case
    C, alpha, eps1, terms = constants_in(mp, *case)
    given = dict(zip(("weight_decay", "norm_bound", "slack"), map(dtype.type, (decay, float(C), slack)), strict=True))
    given = {name: jnp.asarray(value) for name, value in given.items()}
    sizes = {"depth": depth, "rank": rank, "width": width, "largest_entry": jnp.asarray(1, dtype)}
    got = jax.jit(ft.partial(theory.absorbing_constants, depth=depth, rank=rank, width=width))(
        largest_entry=sizes["largest_entry"], **given
    )
    assert got.log_step_sizes.dtype == dtype
    close = ft.partial(pytest.approx, rel=tol(jnp.zeros(1, dtype)))
    assert got.log_cutoff == close(float(mp.log(alpha)))
    assert got.log_imbalance == close(float(mp.log(eps1)))
    np.testing.assert_allclose(got.log_step_sizes, [float(mp.log(x)) for x in terms], rtol=tol(jnp.zeros(1, dtype)))
    assert theory.smallest_norm_bound(weight_decay=decay, largest_entry=3.0) == pytest.approx(
        9 / (2 * decay), rel=1e-12
    )


def test_the_jump_bound_is_that_of_theorem_b2():
    numbers = {"step_size": 0.4, "weight_decay": 0.05, "norm_bound": 20.0, "start_norm": 17.0, "slack": 0.25}
    logs = {"log_cutoff": -15.0, "log_imbalance": -80.0}
    got = theory.jump_bound(rank=1, width=100, smallest_side=2, **numbers, **logs)
    assert got.settling_steps == pytest.approx(math.log(2 * 17 / math.exp(-80)) / 0.02, rel=1e-12)
    assert got.sampling_steps == pytest.approx(math.log(4 * 99 * 20 / (math.exp(-15) * 0.25)) / 0.04, rel=1e-12)
    assert got.log_probability == pytest.approx(float(got.sampling_steps) * math.log(1 / 2), rel=1e-12)
    assert theory.jump_bound(rank=0, width=100, smallest_side=2, **numbers, **logs).log_probability == -math.inf


# Errors ---------------------------------------------------------------------------------------------------

ADMITTED = {"weight_decay": 0.1, "depth": 3, "rank": 1, "width": 4, "largest_entry": 1.0, "norm_bound": 5.0}
ADMITTED |= {"slack": 0.25}
REFUSED = [
    ({"weight_decay": 0.0}, "weight_decay must be positive, got 0.0"),
    ({"weight_decay": -0.1}, "weight_decay must be positive, got -0.1"),
    ({"weight_decay": math.inf}, "weight_decay must be positive, got inf"),
    ({"depth": 2}, "depth must be at least 3, since alpha has the power 1/.L - 2., got 2"),
    ({"rank": 5}, "rank must be in 0..4, the largest width, got 5"),
    ({"rank": -1}, "rank must be in 0..4, the largest width, got -1"),
    ({"slack": 0.0}, "slack must be in .0, 1/2., got 0.0"),
    ({"slack": -0.1}, "slack must be in .0, 1/2., got -0.1"),
    ({"slack": 0.5}, "slack must be in .0, 1/2., got 0.5"),
    ({"norm_bound": 4.9}, "norm_bound must be at least C_1/.2 lambda. = 5, got 4.9"),
    ({"largest_entry": -1.0}, "largest_entry must be positive, got -1.0"),
    ({"largest_entry": 0.0}, "largest_entry must be positive, got 0.0"),
]


@pytest.mark.parametrize(("fields", "message"), REFUSED)
def test_constants_refuse_what_the_theorem_does_not_admit(fields, message):
    theory.absorbing_constants(**ADMITTED)
    with pytest.raises(ValueError, match=message):
        theory.absorbing_constants(**ADMITTED | fields)


def test_other_functions_refuse_bad_input():
    numbers = {"step_size": 0.4, "weight_decay": 0.05, "norm_bound": 20.0, "start_norm": 17.0, "slack": 0.25}
    numbers |= {"log_cutoff": -15.0, "log_imbalance": -80.0, "width": 4, "smallest_side": 2}
    for rank in (-1, 3):
        with pytest.raises(ValueError, match=rf"rank must be in 0..2 and below 4, got {rank}"):
            theory.jump_bound(rank=rank, **numbers)
    with pytest.raises(ValueError, match=r"rank must be in 0..2 and below 2, got 2"):
        theory.jump_bound(rank=2, **numbers | {"width": 2})
    with pytest.raises(ValueError, match="step_size must be positive, got 0"):
        theory.jump_bound(rank=1, **numbers | {"step_size": 0})
    with pytest.raises(ValueError, match="weight_decay must be positive, got 0"):
        theory.jump_bound(rank=1, **numbers | {"weight_decay": 0})
    with pytest.raises(ValueError, match="weight_decay must be positive, got 0"):
        theory.smallest_norm_bound(weight_decay=0.0, largest_entry=1.0)
    assert theory.representation_cost(jnp.diag(jnp.asarray([3.0, 4.0])), 1) == pytest.approx(25)
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        theory.representation_cost(jnp.eye(2), 0)
    for cutoff in (0.0, -1.0, math.inf):
        with pytest.raises(ValueError, match=f"cutoff must be positive and finite, got {cutoff}"):
            region.rank_weight(jnp.ones(1), cutoff)
    for depth, rank, eps, message in (
        (2, 1, 0.1, "depth must be at least 3"),
        (3, 0, 0.1, "rank must be 1 or 2"),
        (3, 3, 0.1, "rank must be 1 or 2"),
        (3, 1, 0.0, "offdiagonal must be positive and finite, got 0.0"),
        (3, 1, math.inf, "offdiagonal must be positive and finite, got inf"),
    ):
        with pytest.raises(ValueError, match=message):
            landscape.last_ridge(eps, depth=depth, rank=rank)
    for rank, fill_sign in ((2, -1), (1, 0), (1, 2)):
        with pytest.raises(ValueError, match=f"1, or -1 for rank 1, got {fill_sign} for rank {rank}"):
            landscape.last_ridge(0.1, depth=3, rank=rank, fill_sign=fill_sign)
    with pytest.raises(ValueError, match="ridge must be positive and finite, got 0"):
        landscape.local_minimum(0.1, ridge=0.0, depth=3, rank=1)
    with pytest.raises(ValueError, match="ridge must be positive and finite, got -1"):
        landscape.last_offdiagonal(-1.0, depth=3)
    with pytest.raises(ValueError, match="depth must be at least 3"):
        landscape.prox(jnp.eye(2), 0.1, depth=2)
