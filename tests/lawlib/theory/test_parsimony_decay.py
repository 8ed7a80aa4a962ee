"""The closed form of rho against its recursion, and the thresholds of weight decay against scalar gradient descent."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lawlib.theory.parsimony_decay import (
    critical_decay,
    critical_value,
    idle_decay,
    idle_decay_error,
    kept_decay,
    kept_value,
)

DEPTHS = st.integers(2, 6)
SIGMAS = st.floats(0.2, 5.0)


def recursion(num_steps, *, scale, depth, step_size, weight_decay):
    """rho(0), ..., rho(T) of eq. (6)."""
    values = [scale]
    for _ in range(num_steps):
        rho = values[-1]
        values.append(rho - step_size * (weight_decay * rho + rho ** (2 * depth - 1)))
    return np.array(values)


@given(depth=DEPTHS, scale=st.floats(0.1, 1.2), step_size=st.floats(1e-3, 0.05), weight_decay=st.floats(0.0, 3.0))
def test_rho_is_between_the_closed_form_and_its_error(depth, scale, step_size, weight_decay):
    setting = {"scale": scale, "depth": depth, "step_size": step_size, "weight_decay": weight_decay}
    off = np.log(idle_decay(np.arange(301), **setting) / recursion(300, **setting))
    assert off.min() > -1e-11
    assert off.max() <= idle_decay_error(**setting) + 1e-11


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_the_error_of_the_closed_form_is_of_the_order_of_the_step(weight_decay):
    """At a fixed eta t, half the step has half the error, and the bound is no more than some times as large."""
    errors, bounds = [], []
    for halvings in range(3):
        setting = {"scale": 1.0, "depth": 3, "step_size": 0.01 / 2**halvings, "weight_decay": weight_decay}
        steps = 500 * 2**halvings
        errors.append(np.log(idle_decay(steps, **setting) / recursion(steps, **setting)[-1]))
        bounds.append(idle_decay_error(**setting))
    np.testing.assert_allclose(np.divide(errors[:-1], errors[1:]), 2, rtol=0.05)
    assert np.all(np.divide(bounds, errors) < 10)


def test_the_closed_form_ends_exponentially_with_decay_and_as_a_power_without():
    setting = {"scale": 0.9, "depth": 3, "step_size": 0.01}
    late = idle_decay(np.array([20_000, 20_001]), weight_decay=0.1, **setting)
    np.testing.assert_allclose(late[1] / late[0], 1 - 0.001, rtol=1e-12)
    free = idle_decay(10.0**12, weight_decay=0.0, **setting)
    np.testing.assert_allclose(free, (4 * 0.01 * 10.0**12) ** -0.25, rtol=1e-9)


def test_the_closed_form_solves_the_recursion_whose_series_is_cut():
    """y+ = (1 - eta lambda)^-p (y + p eta / (1 - eta lambda)), p = 4, for steps that are not small."""
    setting = {"scale": 0.8, "depth": 3, "step_size": 0.4, "weight_decay": 0.7}
    y = idle_decay(np.arange(6), **setting) ** -4
    np.testing.assert_allclose(y[0], 0.8**-4, rtol=1e-14)
    np.testing.assert_allclose(y[1:], 0.72**-4 * (y[:-1] + 1.6 / 0.72), rtol=1e-13)


def limit(w, sigma, decay, depth, step=0.02, most=400_000):
    """Where gradient descent on (w^L - sigma)^2 / (2 L) + lambda w^2 / 2 ends."""
    for _ in range(most):
        moved = w - step * (decay * w + (w**depth - sigma) * w ** (depth - 1))
        if abs(moved - w) < 1e-13:
            break
        w = moved
    return moved


@pytest.mark.parametrize("depth", [2, 3, 5])
@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("scale", [0.4, 1.3])
def test_a_start_is_kept_up_to_its_threshold_and_lost_beyond(depth, sigma, scale):
    threshold = kept_decay(sigma, scale=scale, depth=depth)
    for ratio in (0.5, 0.97):
        ended = limit(scale, sigma, ratio * threshold, depth)
        kept = kept_value(sigma, weight_decay=ratio * threshold, scale=scale, depth=depth)
        np.testing.assert_allclose(ended, kept, atol=1e-8)
        assert ended >= critical_value(sigma, depth=depth)
    assert limit(scale, sigma, 1.03 * threshold, depth) < 1e-8
    assert kept_value(sigma, weight_decay=1.03 * threshold, scale=scale, depth=depth) == 0


@given(depth=DEPTHS, sigma=SIGMAS)
def test_the_critical_decay_is_the_largest_that_a_positive_value_stands(depth, sigma):
    w = np.linspace(0, sigma ** (1 / depth), 100_001)
    held = w ** (depth - 2) * (sigma - w**depth)
    assert critical_decay(sigma, depth=depth) == pytest.approx(held.max(), rel=1e-7)
    assert critical_value(sigma, depth=depth) == pytest.approx(w[held.argmax()], abs=2 * w[1])


@given(depth=DEPTHS, sigma=SIGMAS, scale=st.floats(0.01, 2.0), ratio=st.floats(0.0, 0.999))
def test_a_kept_value_is_a_root(depth, sigma, scale, ratio):
    decay = ratio * kept_decay(sigma, scale=scale, depth=depth)
    s = kept_value(sigma, weight_decay=decay, scale=scale, depth=depth) ** depth
    assert s + decay * s ** (2 / depth - 1) == pytest.approx(sigma, rel=1e-10)


def test_two_layers_shrink_a_singular_value_by_the_decay_whatever_the_start():
    for scale in (1e-3, 2.0):
        assert kept_decay(3.0, scale=scale, depth=2) == 3
        assert kept_value(3.0, weight_decay=1.0, scale=scale, depth=2) ** 2 == pytest.approx(2, rel=1e-14)


def test_a_small_start_survives_less_than_its_power_of_scale():
    assert kept_decay(2.0, scale=1e-3, depth=4) == pytest.approx(2e-6, rel=1e-11)


NAN = float("nan")
KEPT = {"sigma": 1.0, "scale": 0.3, "depth": 3, "weight_decay": 0.1}
RATES = {"scale": 0.3, "depth": 3, "step_size": 0.1, "weight_decay": 0.1}


@pytest.mark.parametrize(
    ("number", "value", "words"),
    [
        ("sigma", 0.0, "sigma must be finite and above 0, got 0.0"),
        ("sigma", NAN, "sigma must be finite and above 0, got nan"),
        ("depth", 1, "depth must be a whole number of at least 2, got 1"),
        ("scale", -0.1, "scale must be finite and above 0, got -0.1"),
        ("scale", NAN, "scale must be finite and above 0, got nan"),
        ("weight_decay", -0.1, "weight_decay must be finite and at least 0, got -0.1"),
        ("weight_decay", NAN, "weight_decay must be finite and at least 0, got nan"),
    ],
)
def test_numbers_that_no_network_has_are_refused(number, value, words):
    takes = {critical_value: 2, critical_decay: 2, kept_decay: 3, kept_value: 4}
    for function, count in takes.items():
        names = list(KEPT)[:count] if count > 2 else ["sigma", "depth"]
        if number in names:
            sigma, rest = (KEPT | {number: value})["sigma"], {n: (KEPT | {number: value})[n] for n in names[1:]}
            with pytest.raises(ValueError, match=f"^{words}$"):
                function(sigma, **rest)


@pytest.mark.parametrize(
    ("number", "value", "words"),
    [
        ("scale", 0.0, "scale must be finite and above 0, got 0.0"),
        ("scale", NAN, "scale must be finite and above 0, got nan"),
        ("scale", 1e-100, r"scale\^\(2L-2\) must be a number from 1e-300 to 1e300, got scale = 1e-100 and depth = 3"),
        ("depth", 1, "depth must be a whole number of at least 2, got 1"),
        ("step_size", -0.1, "step_size must be finite and at least 0, got -0.1"),
        ("step_size", NAN, "step_size must be finite and at least 0, got nan"),
        ("step_size", 10.0, r"step_size \* weight_decay must be below 1, got 1"),
        ("weight_decay", -0.1, "weight_decay must be finite and at least 0, got -0.1"),
        ("weight_decay", NAN, "weight_decay must be finite and at least 0, got nan"),
    ],
)
def test_numbers_that_no_descent_has_are_refused(number, value, words):
    rates = RATES | {number: value}
    with pytest.raises(ValueError, match=f"^{words}$"):
        idle_decay(5, **rates)
    with pytest.raises(ValueError, match=f"^{words}$"):
        idle_decay_error(**rates)


@pytest.mark.parametrize("steps", [-1, NAN, np.array([0, -2])])
def test_steps_before_the_start_are_refused(steps):
    with pytest.raises(ValueError, match="steps must be at least 0, got "):
        idle_decay(steps, **RATES)


def test_all_wrong_numbers_are_told_at_once():
    with pytest.raises(
        ValueError, match=r"^sigma .* got -1.0; depth .* got 1; scale .* got 0.0; weight_decay .* got -2.0$"
    ):
        kept_value(-1.0, depth=1, scale=0.0, weight_decay=-2.0)


def test_the_steps_may_be_traced():
    np.testing.assert_allclose(jax.jit(lambda t: idle_decay(t, **RATES))(7), idle_decay(7, **RATES), rtol=1e-12)


@pytest.mark.parametrize("step_size", [1.0, 1.5])
def test_a_step_that_changes_the_sign_of_rho_has_no_error_bound(step_size):
    with pytest.raises(ValueError, match="< 1, got"):
        idle_decay_error(scale=1.0, depth=3, step_size=step_size, weight_decay=0.1)
