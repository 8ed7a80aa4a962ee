"""The sets and bounds that say how fast the induced flow of rank one nears its target."""

import functools as ft

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
from hypothesis import given
from hypothesis import strategies as st
from induced_flow_reference import spectral, state, turned
from jax.flatten_util import ravel_pytree

from lawlib.theory import induced_flow as flow
from lawlib.theory import induced_flow_bounds as bounds

seeds = st.integers(0, 2**31)


@jax.jit
def judged(part, Z, leading, target, m, depth):
    """L and its bound (33), dL/dt by its definition (34) and its bound (35), and u^T Z_1 v."""
    W, Z_1 = flow.matrix(part), flow.matrix(leading)
    overlap = target.value * flow.alignment(part, leading)
    rate = -m * jnp.sum((W - Z_1) * flow.operator_of_rank_one(part, W - Z, depth))
    loss_bound = bounds.loss_bound(target, s=part.value, overlap=overlap)
    rate_bound = bounds.loss_rate_bound(target, s=part.value, overlap=overlap, num_samples=m, depth=depth)
    return flow.loss(part, leading), loss_bound, rate, rate_bound, overlap


def floats(*numbers):
    return tuple(jnp.asarray(float(number)) for number in numbers)


@given(seed=seeds, depth=st.sampled_from([2, 3, 6]), ratio=st.sampled_from([0.0, 0.3, 0.9]))
def test_33_and_lemma_18_at_any_state(seed, depth, ratio):
    rng = np.random.default_rng(seed)
    s_Z = rng.uniform(0.1, 3.0)
    Z, leading = spectral(rng, (s_Z, ratio * s_Z, 0.5 * ratio * s_Z))
    part, target, (m, N) = state(rng), bounds.Target(*floats(s_Z, ratio)), floats(5, depth)
    loss, loss_bound, rate, rate_bound, overlap = (float(x) for x in judged(part, Z, leading, target, m, N))
    Z_1 = s_Z * np.outer(leading.left, leading.right)
    assert overlap == pytest.approx(float(part.left @ Z_1 @ part.right), abs=1e-12)
    assert loss_bound - loss == pytest.approx((s_Z - overlap) ** 2 / 2, abs=1e-10)
    assert rate <= rate_bound + 1e-9 * abs(rate_bound)


def test_lemma_18_is_an_equality_where_its_proof_loses_nothing():
    """At gamma_Z = 0 and u^T u_Z = v^T v_Z."""
    rng = np.random.default_rng(6)
    Z, leading = spectral(rng, (1.3, 0.0, 0.0))
    part = turned(rng, leading, 0.8, 2.0)
    m, depth, s_Z, ratio = floats(5, 4, 1.3, 0)
    _, _, rate, rate_bound, _ = judged(part, Z, leading, bounds.Target(s_Z, ratio), m, depth)
    assert float(rate) == pytest.approx(float(rate_bound), rel=1e-12)


@pytest.mark.parametrize(("depth", "ratio", "cosine", "value"), [(2, 0.3, 0.8, 3.0), (5, 0.7, 0.6, 2.5)])
def test_lemma_18_is_loose_by_one_cosine_where_z_pulls_towards_its_second_pair(depth, ratio, cosine, value):
    """Its proof takes (a + b) sin^2 <= 2 sin^2, and no more: there 2 m s^p s_{Z,2} s_Z sin^2 (1 - cos^2) is lost."""
    s_Z, sine = 1.3, np.sqrt(1 - cosine**2)
    Z, _ = spectral(np.random.default_rng(8), (s_Z, ratio * s_Z, 0.1))
    U, _, Vt = np.linalg.svd(Z)
    leading = flow.RankOne(*(jnp.asarray(x) for x in (s_Z, U[:, 0], Vt[0])))
    part = (value, cosine * U[:, 0] + sine * U[:, 1], cosine * Vt[0] + sine * Vt[1])
    part = flow.RankOne(*(jnp.asarray(x) for x in part))
    _, _, rate, rate_bound, _ = judged(part, Z, leading, bounds.Target(*floats(s_Z, ratio)), *floats(5, depth))
    lost = 2 * 5 * value ** (2 - 2 / depth) * ratio * s_Z**2 * sine**4
    assert float(rate_bound) - float(rate) == pytest.approx(lost, rel=1e-11)


@given(seed=seeds)
def test_the_stable_set_is_bounded_by_three_numbers(seed):
    rng = np.random.default_rng(seed)
    s_Z, ratio, beta = rng.uniform(0.1, 3), rng.uniform(0, 0.8), rng.uniform(1.1, 4)
    alpha = rng.uniform(ratio + 0.05, 0.99)
    low, high, least = (alpha - ratio) * s_Z, beta * s_Z, alpha * s_Z
    s = np.asarray([low * 0.999, low * 1.001, high * 0.999, high * 1.001, high * 0.9, high * 0.9])
    overlap = np.asarray([*[least * 1.001] * 4, least * 0.999, least * 1.001])
    numbers = {"s": jnp.asarray(s), "overlap": jnp.asarray(overlap), "alpha": alpha}
    inside = ft.partial(bounds.in_stable_set, bounds.Target(s_Z, ratio), **numbers)
    np.testing.assert_array_equal(inside(beta=beta), [False, True, True, False, False, True])
    np.testing.assert_array_equal(inside(), [False, True, True, True, False, True])


def test_the_borders_are_outside_of_the_stable_set():
    target = bounds.Target(2.0, 0.25)
    for s, overlap in ((0.5, 1.5), (3.0, 1.5), (1.0, 1.0)):
        assert not bounds.in_stable_set(target, s=s, overlap=overlap, alpha=0.5, beta=1.5)


def test_the_fast_regime_is_certain_from_where_the_proof_says():
    """The root of s^2 / 4 - s_Z^2 / 2 = s_Z^2 (eq. 214), above which 1/2 (s - o)^2 > s_Z (s_Z - o) at any o >= 0."""
    s_Z = np.asarray([0.1, 1.0, 3.0])
    s = np.asarray(bounds.fast_until(bounds.Target(jnp.asarray(s_Z), 0.0)))
    np.testing.assert_allclose(s**2 / 4 - s_Z**2 / 2, s_Z**2, rtol=1e-12)
    overlap = np.linspace(0, 1, 101)[:, None] * s_Z
    assert np.all((s - overlap) ** 2 / 2 > s_Z * (s_Z - overlap))


def test_theorem_20s_exponents_as_proved_and_as_printed():
    target = bounds.Target(0.1, 0.01)
    proved = bounds.rates(target, num_samples=50, depth=4, alpha=0.8, beta=2.0)
    kept, lost = 0.79**1.5, 2 * 0.01 * 2**1.5
    assert proved.fast == pytest.approx(50 * 4 * 0.1**1.5 * (kept - lost), rel=1e-12)
    assert proved.slow == pytest.approx(50 * 0.1**1.5 * (0.8 * kept - 4 * lost), rel=1e-12)
    printed = bounds.rates(target, num_samples=50, depth=4, alpha=0.8, beta=2.0, as_printed=True)
    assert printed.fast / proved.fast == pytest.approx(0.1**-2, rel=1e-12)
    assert printed.slow == proved.slow


def test_the_distance_bound_changes_its_exponent_at_tau():
    rate = bounds.Exponents(3.0, 0.5)
    log_bound = ft.partial(bounds.log_distance_bound, rate, start=4.0, at_tau=0.3)
    np.testing.assert_allclose(log_bound(elapsed=jnp.asarray(0.2), tau=jnp.asarray(0.5)), np.log(4) - 0.6)
    np.testing.assert_allclose(log_bound(elapsed=jnp.asarray(0.7), tau=jnp.asarray(0.5)), np.log(0.3) - 0.1)
    # At tau itself the distance is known: (39) is an equality.
    np.testing.assert_allclose(log_bound(elapsed=jnp.asarray(0.5), tau=jnp.asarray(0.5)), np.log(0.3))
    np.testing.assert_allclose(log_bound(elapsed=jnp.asarray(0.7), tau=jnp.asarray(np.inf)), np.log(4) - 2.1)


@pytest.mark.parametrize(("depth", "alpha", "beta"), [(2, 0.8, 1.5), (10, 0.85, 10.5)])
def test_the_largest_gap_is_where_the_slow_exponent_vanishes(depth, alpha, beta):
    p = 2 - 2 / depth

    def balance(g):
        return alpha * (alpha - g) ** p - 2 * g * depth * beta**p

    expected = scipy.optimize.brentq(balance, 0, alpha, xtol=1e-16)
    assert float(bounds.largest_ratio(depth=depth, alpha=alpha, beta=beta)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("ratio", [0.0, 0.4])
def test_the_nearby_rate_is_the_slowest_of_the_linearized_flow(ratio):
    rng = np.random.default_rng(7)
    Z, leading = spectral(rng, (0.7, 0.7 * ratio, 0.0))
    flat, back = ravel_pytree(leading)
    jacobian = jax.jit(
        jax.jacfwd(lambda x: ravel_pytree(flow.rank_one_field(back(x), Z, num_samples=3.0, depth=4.0))[0])
    )(flat)
    # Only what changes s and turns u and v: the lengths of u and v are 1.
    tangents = np.zeros((9, 7))
    tangents[0, 0] = 1
    tangents[1:4, 1:3] = scipy.linalg.null_space(np.asarray(leading.left)[None])
    tangents[4:, 3:] = scipy.linalg.null_space(np.asarray(leading.right)[None])
    values = np.linalg.eigvals(tangents.T @ np.asarray(jacobian) @ tangents)
    expected = bounds.nearby_rate(bounds.Target(0.7, ratio), num_samples=3.0, depth=4.0)
    assert np.min(-values.real) == pytest.approx(expected, rel=1e-9)
    assert np.min(np.abs(-values.real - 4 * expected / (1 - ratio))) < 1e-9


@pytest.mark.parametrize(("alpha", "ratio"), [(1.0, 0.1), (1, 0.1), (0.1, 0.1), (0.05, 0.1)])
def test_an_alpha_outside_its_interval_is_refused(alpha, ratio):
    with pytest.raises(ValueError, match=rf"alpha must lie in \(gamma_Z, 1\) = \(0.1, 1\), got {alpha}"):
        bounds.in_stable_set(bounds.Target(1.0, ratio), s=1.0, overlap=1.0, alpha=alpha)


@given(seed=seeds, depth=st.sampled_from([2.0, 5.0]), ratio=st.floats(0.05, 0.6))
def test_the_flow_points_into_the_stable_set_on_its_border(seed, depth, ratio):
    """Lemmas 19, 22 and 23, on the border where each would be left."""
    rng, alpha, beta = np.random.default_rng(seed), ratio + 0.05, 1.5
    Z, leading = spectral(rng, (1.0, ratio, 0.3 * ratio))
    part = turned(rng, leading, np.sqrt(rng.uniform(alpha, 1)), 1.0)
    turning, at_least, at_most = borders(part, Z, leading, *floats(depth, alpha - ratio, beta))
    assert float(turning) > -1e-12
    assert float(at_least) > 0 > float(at_most)


@jax.jit
def borders(part, Z, leading, depth, least, most):
    """The rate of the alignment, and those of s on both borders."""
    moving = flow.rank_one_field(part, Z, num_samples=1.0, depth=depth)
    _, turning = jax.jvp(lambda p: flow.alignment(p, leading), (part,), (moving,))
    ends = [flow.rank_one_field(part._replace(value=s), Z, num_samples=1.0, depth=depth).value for s in (least, most)]
    return turning, *ends
