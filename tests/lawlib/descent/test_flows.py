"""Steps along flows, against exact solutions."""

import functools as ft

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lawlib.descent.flows import adaptive_step, euler_step
from lawlib.dynamics.system import Dynamics, simulate, until
from lawlib.theory import induced_flow


@jax.jit
def decayed(state, rates, duration):
    """Exponential decay of a pytree, one rate for each member."""

    def follow(y, rate):
        return adaptive_step(lambda y: jax.tree.map(lambda leaf: -rate * leaf, y), y, duration, rtol=1e-6, atol=1e-9)

    return jax.vmap(follow)(state, rates)


def test_exponential_decay_of_a_pytree_under_vmap(dtype):
    state = {"a": jnp.ones((3, 2), dtype), "b": (2 * jnp.ones(3, dtype),)}
    rates = jnp.asarray([0.0, 1.0, 30.0], dtype)
    found = decayed(state, rates, jnp.asarray(0.5, dtype))
    exact = np.exp(-0.5 * np.asarray(rates, np.float64))
    assert found["a"].dtype == dtype
    np.testing.assert_allclose(found["a"], np.stack([exact] * 2, 1), atol=2e-5)
    np.testing.assert_allclose(found["b"][0], 2 * exact, atol=2e-5)
    still = decayed(state, rates, jnp.asarray(0.0, dtype))
    np.testing.assert_array_equal(still["a"], state["a"])


def test_only_the_member_that_cannot_be_followed_is_nan():
    """Of dy/dt = y^2 the solution 1 / (1/y_0 - t) ends at t = 1/y_0."""
    starts = jnp.asarray([0.1, 1.0, np.nan])

    def follow(y, max_steps=4096):
        return adaptive_step(jnp.square, y, 2.0, rtol=1e-10, atol=1e-10, max_steps=max_steps)

    found = jax.jit(jax.vmap(follow))(starts)
    assert float(found[0]) == pytest.approx(1 / (10 - 2), rel=1e-9)
    assert np.isnan(found[1:]).all()
    assert np.isnan(jax.jit(lambda y: follow(y, max_steps=1))(jnp.asarray(0.1)))


@pytest.mark.parametrize("exponent", [4, 8])
def test_the_error_follows_the_tolerance(exponent):
    """A pendulum's energy, 1/2 p^2 - cos q, is kept to the tolerance."""
    tolerance = 10.0**-exponent

    def field(state):
        q, p = state
        return p, -jnp.sin(q)

    start = jnp.asarray(1.0), jnp.asarray(0.5)
    q, p = jax.jit(lambda y: adaptive_step(field, y, 10.0, rtol=tolerance, atol=tolerance))(start)
    drift = abs(float(p**2 / 2 - jnp.cos(q)) - (0.125 - np.cos(1.0)))
    assert tolerance * 1e-4 < drift < 100 * tolerance


@ft.partial(jax.jit, static_argnames=("rtol", "atol", "max_steps"))
def oscillated(y, duration, **given):
    return adaptive_step(lambda y: (y[1], -y[0]), y, duration, **given)


def swing(q, p, duration, **given):
    """A harmonic oscillator, which turns by the duration."""
    return np.asarray(oscillated((jnp.asarray(q), jnp.asarray(p)), duration, **given))


@pytest.mark.parametrize(("rtol", "atol"), [(1e-13, 1e-5), (1e-5, 1e-13)])
def test_either_tolerance_alone_lets_the_error_in(rtol, atol):
    error = np.abs(swing(1.0, 0.0, 10.0, rtol=rtol, atol=atol) - (np.cos(10), -np.sin(10))).max()
    assert 1e-9 < error < 1e-3


def test_the_absolute_tolerance_has_the_unit_of_the_state():
    """Of a linear flow the steps are those of the state in units of atol; with another atol they are others."""
    known = swing(1.0, 0.5, 10.0, rtol=1e-5, atol=1e-4)
    scaled = swing(2.0**-20, 2.0**-21, 10.0, rtol=1e-5, atol=2.0**-20 * 1e-4) * 2.0**20
    np.testing.assert_allclose(scaled, known, rtol=1e-12)
    assert np.abs(swing(2.0**-20, 2.0**-21, 10.0, rtol=1e-5, atol=1e-4) * 2.0**20 - known).max() > 1e-9


def test_a_long_way_takes_as_many_steps_as_are_allowed():
    tolerances = {"rtol": 1e-10, "atol": 1e-10}
    exact = np.cos(300), -np.sin(300)
    np.testing.assert_allclose(swing(1.0, 0.0, 300.0, **tolerances), exact, atol=1e-6)
    assert np.isnan(swing(1.0, 0.0, 300.0, **tolerances, max_steps=64)).all()


def test_eulers_step_is_of_first_order(dtype, tol):
    y = {"a": jnp.asarray([1.0, -2.0], dtype)}
    stepped = euler_step(lambda y: {"a": -3 * y["a"]}, y, 0.1)
    np.testing.assert_allclose(stepped["a"], [0.7, -1.4], rtol=tol(y["a"]))
    errors = []
    for num_steps in (100, 200):
        x = jnp.asarray(1.0)
        for _ in range(num_steps):
            x = euler_step(lambda x: -x, x, 1 / num_steps)
        errors.append(abs(float(x) - np.exp(-1)))
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.02)


def test_a_step_of_eulers_method_that_is_too_long_ends_at_the_step_that_diverges():
    """At N layers and s = s_Z the error of s goes by the factor 1 - h m N s_Z^{2-2/N}: it grows below -1."""
    Z = jnp.asarray([[0.0, 2.0]])

    def init(key, hyperparameters, shared):
        return hyperparameters["duration"], jnp.asarray([[1.0, 1.0]])

    def step(_, W, duration, shared):
        return euler_step(lambda W: induced_flow.field(W, Z, num_samples=50.0, depth=4.0), W, duration)

    system = until(Dynamics(init, step, lambda _, W, duration, shared: {"W": W}))
    largest = 2 / (50 * 4 * 2**1.5)

    @jax.jit
    def run(duration):
        return simulate(system, jax.random.key(0), {"duration": duration}, (), (0, 400))

    stable, unstable = run(0.5 * largest), run(20 * largest)
    assert int(stable.state.diverged_at) == -1
    np.testing.assert_allclose(stable.observations["W"][-1], Z, atol=1e-9)
    first = int(unstable.state.diverged_at)
    assert 1 < first < 400
    W = jnp.asarray([[1.0, 1.0]])
    for _ in range(first - 1):
        W = step(None, W, 20 * largest, ())
    assert np.isfinite(W).all()
    assert not np.isfinite(step(None, W, 20 * largest, ())).all()


@pytest.mark.parametrize("bad", [{"rtol": 0.0}, {"atol": -1.0}, {"max_steps": 0}])
def test_what_is_not_positive_is_refused(bad):
    with pytest.raises(ValueError, match="rtol, atol and max_steps must be positive"):
        adaptive_step(jnp.negative, jnp.ones(2), 1.0, **({"rtol": 1e-6, "atol": 1e-6} | bad))
