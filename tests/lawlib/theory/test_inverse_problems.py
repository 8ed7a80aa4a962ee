"""The theory of subspace inverse problems against dense algebra, scipy and descent itself."""

import functools as ft
import itertools

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
from hypothesis import given
from hypothesis import strategies as st

from lawlib.descent.rates import PARAMETRIZATIONS
from lawlib.descent.steps import gradient_descent, sum_squared_error
from lawlib.linalg.curvature import extreme_eigenvalues
from lawlib.networks.deep_linear import end_to_end
from lawlib.theory import inverse_problems as theory

M, D, S, WIDTH, DEPTH = 5, 7, 2, 9, 3
WIDTHS = (M, *[WIDTH] * (DEPTH - 1), D)


PLATEAU = jax.jit(lambda rho, decay, depth: theory.plateau(rho, weight_decay=decay, depth=depth), static_argnums=2)


def loss(weights, Y, X):
    return sum_squared_error(end_to_end(weights) @ Y, X)


@ft.cache
def setting(dtype="float64"):
    """A R with orthonormal R, s samples with singular values 1, and fan-in weights; drawn by numpy, which is quick."""
    draw = np.random.default_rng(0).standard_normal
    R, Z = np.linalg.qr(draw((D, S)))[0], np.linalg.qr(draw((S, S)))[0]
    measured = draw((M, D)) / np.sqrt(M) @ R
    weights = tuple(jnp.asarray(draw((b, a)) / np.sqrt(a), dtype) for a, b in itertools.pairwise(WIDTHS))
    return jnp.asarray(measured, dtype), jnp.asarray(measured @ Z, dtype), jnp.asarray(R @ Z, dtype), weights


def across(Y):
    """An orthonormal basis of what Y does not span."""
    return jnp.asarray(scipy.linalg.null_space(np.asarray(Y).T), Y.dtype)


# Errors ---------------------------------------------------------------------------------------------------


def test_errors_are_those_of_the_dense_product(dtype, tol):
    _, inputs, targets, weights = setting(dtype.name)
    Y, X = np.asarray(inputs, float), np.asarray(targets, float)
    W = ft.reduce(lambda P, w: np.asarray(w, float) @ P, weights, np.eye(M))
    fit = np.linalg.norm(W @ Y - X) / np.linalg.norm(X)
    off = np.linalg.norm(W @ (np.eye(M) - Y @ np.linalg.pinv(Y)), 2)
    errors = jax.jit(
        lambda W: (theory.regression_error(W, inputs, targets), theory.off_subspace_error(W, across(inputs)))
    )
    np.testing.assert_allclose(errors(weights), (fit, off), rtol=tol(weights[0]))


@pytest.mark.parametrize("name", PARAMETRIZATIONS)
def test_the_first_layer_decays_exactly_across_the_inputs(name):
    _, Y, X, weights = setting()
    rates = PARAMETRIZATIONS[name](WIDTHS, step_size=0.05, weight_decay=0.3)
    descent, basis = gradient_descent(loss), across(Y)
    step = jax.jit(lambda at: descent.step(at, Y, X, **rates._asdict()))
    at = ft.reduce(lambda at, _: step(at), range(40), descent.init(weights))
    law = theory.first_layer_law(weights[0] @ basis, step_size=rates.step_size[0], weight_decay=0.3, num_steps=40)
    np.testing.assert_allclose(at.weights[0] @ basis, law, atol=1e-14)
    assert np.linalg.norm(law) < 0.95 * np.linalg.norm(weights[0] @ basis)


# The operator P -------------------------------------------------------------------------------------------


def dense_operator(weights, Y, etas, decays):
    """Eq. 38 with Kronecker products, vec by columns."""
    W, Y = [np.asarray(w, float) for w in weights], np.asarray(Y, float)
    total = 0
    for i in range(len(W)):
        above = ft.reduce(lambda P, w: w @ P, W[i + 1 :], np.eye(W[i].shape[0]))
        below = ft.reduce(lambda P, w: w @ P, W[:i], Y)
        C = np.prod([1 - e * k for j, (e, k) in enumerate(zip(etas, decays, strict=True)) if j != i])
        total = total + etas[i] * C * np.kron(below.T @ below, above @ above.T)
    return total


def test_the_operator_is_the_kronecker_sum_and_its_largest_eigenvalue_is_found(dtype, tol):
    _, Y, _, weights = setting(dtype.name)
    etas, decays = (0.2, 0.1, 0.3), (0.5, 0.0, 0.25)
    dense = dense_operator(weights, Y, etas, decays)
    residual = np.random.default_rng(1).standard_normal((D, S))
    expected = (dense @ residual.ravel("F")).reshape((D, S), order="F")

    @jax.jit
    def applied(M):
        product = theory.residual_operator(weights, Y, step_size=etas, weight_decay=decays)
        return product(M), extreme_eigenvalues(product, M, D * S).largest

    product, largest = applied(jnp.asarray(residual, dtype))
    np.testing.assert_allclose(product, expected, atol=np.linalg.norm(dense, 2) * tol(weights[0]))
    assert float(largest) == pytest.approx(scipy.linalg.eigvalsh(dense)[-1], rel=tol(weights[0], 1e3))


@pytest.mark.parametrize("name", PARAMETRIZATIONS)
def test_the_operator_moves_the_residual_to_first_order(name):
    _, Y, X, weights = setting()

    @jax.jit
    def gap(eta):
        rates = PARAMETRIZATIONS[name](WIDTHS, step_size=eta, weight_decay=0.0)
        descent = gradient_descent(loss)
        stepped = descent.step(descent.init(weights), Y, X, **rates._asdict()).weights
        before, after = (end_to_end(W) @ Y - X for W in (weights, stepped))
        expected = theory.residual_operator(weights, Y, **rates._asdict())(before)
        return jnp.linalg.norm(after - before + expected) / jnp.linalg.norm(expected)

    large, small = float(gap(1e-3)), float(gap(1e-4))
    assert small < 1e-3
    assert small == pytest.approx(large / 10, rel=0.05)


def test_a_layer_without_rates_is_refused():
    _, Y, _, weights = setting()
    with pytest.raises(ValueError, match="3 layers have as many step sizes and weight decays, got 2 step sizes and 3"):
        theory.residual_operator(weights, Y, step_size=(1.0, 1.0), weight_decay=(0.0, 0.0, 0.0))


# Where descent ends ---------------------------------------------------------------------------------------


@given(
    st.sampled_from([2, 3, 5]),
    st.floats(1e-6, 0.05),
    st.lists(st.floats(0.5, 2.0), min_size=3, max_size=3),
)
def test_the_plateau_minimizes_the_scalar_losses(depth, decay, values):
    def misfit(rho):
        objective = lambda p: (p * rho - 1) ** 2 / 2 + decay * depth / 2 * p ** (2 / depth)  # noqa: E731
        found = scipy.optimize.minimize_scalar(
            objective, bounds=(0.5 / rho, 1.01 / rho), method="bounded", options={"xatol": 1e-12}
        )
        return 1 - found.x * rho

    expected = np.sqrt(np.mean([misfit(rho) ** 2 for rho in values]))
    found = float(PLATEAU(jnp.asarray(values), decay, depth))
    # The flat bottom of a minimum: sqrt(eps) of p.
    assert found == pytest.approx(expected, abs=1e-7)
    assert found == pytest.approx(
        float(theory.plateau_estimate(jnp.asarray(values), weight_decay=decay, depth=depth)), rel=4 * 3 * decay
    )


def largest_decay(depth):
    """The lambda above which 1 - q = lambda q^(2/L-1) has no root, its two at the top of q^(1-2/L) - q^(2-2/L)."""
    power = mp.mpf(2) / depth
    q = (1 - power) / (2 - power)
    return q ** (1 - power) * (1 - q)


@pytest.mark.parametrize("depth", [3, 4, 6])
def test_the_plateau_is_the_largest_root_up_to_where_there_is_none(depth):
    """At rho = 1, where the root is nearly double and Newton's steps only halve the distance."""
    power = mp.mpf(2) / depth - 1
    with mp.workdps(40):
        last = largest_decay(depth)
        for short in (0.3, 1e-2, 1e-4, 1e-6, 1e-9):
            decay = float(last * (1 - short))
            excess = lambda q, decay=decay: 1 - q - mp.mpf(decay) * q**power  # noqa: E731
            top = (-power * mp.mpf(decay)) ** (1 / (1 - power))
            expected = float(1 - mp.findroot(excess, (top, mp.mpf(1)), solver="anderson", tol=1e-60, maxsteps=200))
            # Near a double root the error is that of lambda over the distance of the roots.
            found = float(PLATEAU(jnp.ones(1), decay, depth))
            assert found == pytest.approx(expected, abs=1e-14 / short**0.5)
        assert float(PLATEAU(jnp.ones(1), float(last * (1 + mp.mpf(1e-9))), depth)) == 1.0


def test_the_plateau_is_stationary(dtype, tol):
    rho, decay, depth = jnp.asarray([0.8], dtype), 0.01, 4
    q = 1 - float(PLATEAU(rho, decay, depth))
    p = q / 0.8
    assert (1 - q) * 0.8 == pytest.approx(decay * p ** (2 / depth - 1), rel=tol(rho) / decay)


def test_two_layers_shrink_by_lambda_over_rho_and_too_much_decay_leaves_nothing():
    rho = jnp.asarray([0.5, 2.0])
    assert float(PLATEAU(rho, 0.1, 2)) == pytest.approx(np.sqrt((0.2**2 + 0.05**2) / 2))
    for depth in (2, 3, 5):
        assert float(PLATEAU(rho, 5.0, depth)) == 1.0


def test_the_plateau_takes_a_traced_decay():
    values = jnp.asarray([0.9, 1.1])
    swept = jax.jit(jax.vmap(lambda decay: theory.plateau(values, weight_decay=decay, depth=3)))(
        jnp.asarray([0.0, 0.01])
    )
    assert float(swept[0]) == 0.0
    assert float(swept[1]) == pytest.approx(float(PLATEAU(values, 0.01, 3)), rel=1e-12)


def test_descent_comes_to_rest_on_the_plateau():
    measured, Y, X, weights = setting()
    descent, decay = gradient_descent(loss), 0.03
    step = lambda _, at: descent.step(at, Y, X, step_size=0.1, weight_decay=decay)  # noqa: E731
    at = jax.jit(lambda at: jax.lax.fori_loop(0, 20_000, step, at))(descent.init(weights))
    rho = jnp.asarray(scipy.linalg.svdvals(measured))
    rest = float(theory.regression_error(at.weights, Y, X))
    assert rest == pytest.approx(float(PLATEAU(rho, decay, DEPTH)), rel=1e-6)
    assert float(theory.off_subspace_error(at.weights, across(Y))) < 1e-12


def test_random_weights_have_the_norm_of_the_law_across_the_inputs():
    draw = np.random.default_rng(0).standard_normal
    product = draw((40, 32))
    product = np.linalg.qr(product)[0]
    for a, b in itertools.pairwise((40, 300, 300, 60)):
        product = draw((b, a)) / np.sqrt(a) @ product
    expected = theory.unregularized_norm(dimension=60, num_measurements=40, subspace_dimension=8)
    assert np.linalg.norm(product) == pytest.approx(expected, rel=0.05)


# The theorem and its corollary ----------------------------------------------------------------------------

SETTING = {"dimension": 64, "num_measurements": 32}


def test_the_two_stopping_times_agree_at_the_largest_step_only():
    about = {**SETTING, "width": 100, "weight_decay": 0.01}
    values = jnp.asarray([2.0, 0.5])
    largest = theory.largest_step_size(num_measurements=32, depth=3, largest=2.0)
    exact = theory.stopping_time(**about, step_size=largest, smallest=0.5)
    informal = float(theory.informal_stopping_time(**about, depth=3, singular_values=values))
    assert informal == pytest.approx(exact, rel=1e-12)
    assert theory.stopping_time(**about, step_size=largest / 4, smallest=0.5) == pytest.approx(4 * exact)
    # At T layer 1 has decayed across the inputs to d_w^{-2}.
    assert largest / 32 * 0.01 * exact == pytest.approx(2 * np.log(100), rel=1e-12)


def test_the_bounds_of_the_theorem():
    gamma = theory.accuracy(weight_decay=0.01, smallest=0.5, **SETTING)
    assert gamma == pytest.approx(0.01 * np.sqrt(2) / 0.25)
    assert theory.first_phase_level(gamma=gamma, depth=4) == pytest.approx(20 * gamma)
    assert theory.rate_bound(step_size=2.0, depth=4, num_measurements=32, smallest=0.5) == 1 - 2 / 1024
    assert theory.off_subspace_bound(100) == pytest.approx(1e-3)


def test_the_hypotheses_are_quantities_that_reach_one_at_their_limits():
    at_limit = {"isometry": 0.1, "weight_decay": 3 * 0.25 / 14000, "step_size": 32 / (3 * 4.0)}
    found = theory.hypotheses(**at_limit, depth=3, smallest=0.5, largest=2.0, **SETTING)
    assert found[:3] == pytest.approx((1, 1, 1))
    assert found.accuracy == pytest.approx(np.sqrt(2) * 3 / 14000)


def test_the_corollarys_bounds():
    values, noise = jnp.asarray([2.0, 1.0]), jnp.asarray([0.0, 0.5])
    assert float(theory.stable_rank(values)) == pytest.approx(1.25)
    above = theory.regularized_error(gamma=0.1, singular_values=values, width=100, noise=noise)
    np.testing.assert_allclose(above, 0.1 * np.sqrt(5) + 1e-3 + np.asarray([0, 0.5]) * np.sqrt(2), rtol=1e-12)
    for sigma in (0.0, 0.5):
        about = {"noise": sigma, "regression_error": 0.01, "norm": 3.0, **SETTING}
        below = float(theory.unregularized_error(singular_values=values, **about))
        assert below == pytest.approx(sigma * (np.sqrt(64 * 30 / 32) - np.sqrt(2)) - 0.01 * np.sqrt(5) * 3, rel=1e-12)


def test_without_decay_the_theorem_says_nothing():
    about = {**SETTING, "width": 100, "weight_decay": 0.0}
    with pytest.raises(ValueError, match=r"weight_decay must be positive, got 0\.0"):
        theory.stopping_time(**about, step_size=1.0, smallest=1.0)
    with pytest.raises(ValueError, match=r"weight_decay must be positive, got 0\.0"):
        theory.informal_stopping_time(**about, depth=3, singular_values=jnp.ones(2))
    with pytest.raises(ValueError, match="needs gamma > 0, got 0"):
        theory.regularized_error(gamma=0.0, singular_values=jnp.ones(2), width=10, noise=jnp.ones(1))
    with pytest.raises(ValueError, match="weight_decay must be at least 0, got -1"):
        theory.accuracy(weight_decay=-1.0, smallest=1.0, **SETTING)
