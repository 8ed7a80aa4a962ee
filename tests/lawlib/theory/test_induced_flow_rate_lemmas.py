"""What Eftekhari 2020 says of the induced flow of rank one: eqs. (28), (33), (202), (205) and three remarks on time.

The rates at a state are those of numpy, by the definition of A_W; flows are lawlib's fields, followed by scipy. Where a
remark only expects something, the tests say how far it is so.
"""

import functools as ft

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
from hypothesis import given
from hypothesis import strategies as st
from induced_flow_reference import SHAPE, spectral, state, turned

from lawlib.networks.deep_linear import end_to_end, imbalances
from lawlib.networks.initializers import balanced_factorization
from lawlib.theory import induced_flow as flow
from lawlib.theory import induced_flow_bounds as bounds

norm = np.linalg.norm
seeds = st.integers(0, 2**31)


# The loss and its rate -----------------------------------------------------------------------------------------------


@given(seed=seeds, close=st.sampled_from([1.0, 1e-2, 1e-5]), facing=st.sampled_from([1, -1]))
def test_both_terms_of_33_are_nonnegative(seed, close, facing):
    """T_2 / s_Z = (x + y) / 2 - x y / 4, x and y the squared distances of u and v: no cancellation, and at most 2."""
    rng = np.random.default_rng(seed)
    s_Z, part = rng.uniform(0.1, 3), state(rng)
    _, u, v = (np.asarray(x) for x in part)
    leading = [facing * x + close * rng.standard_normal(x.size) for x in (u, facing * v)]
    leading = flow.RankOne(jnp.asarray(s_Z), *(jnp.asarray(x / norm(x)) for x in leading))
    overlap, target = s_Z * float(flow.alignment(part, leading)), bounds.Target(s_Z, 0.0)
    x, y = (norm(one - np.asarray(other)) ** 2 for one, other in zip((u, v), leading[1:], strict=True))
    T_2 = s_Z * ((x + y) / 2 - x * y / 4)
    assert bounds.misalignment(overlap, target) == pytest.approx(T_2, abs=1e-14)
    assert 0 < T_2 <= 2 * s_Z * (1 + 1e-14)
    value_error = bounds.value_error(s=float(part.value), overlap=overlap)
    assert value_error == pytest.approx((float(part.value) - s_Z + T_2) ** 2 / 2, abs=1e-13)
    assert value_error >= 0


def operator(s, u, v, D, depth):
    """A_W(D) of W = s u v^T by (16): the power 0 is the identity."""
    left = [np.eye(len(u)), *(s ** (2 * i / depth) * np.outer(u, u) for i in range(1, depth))]
    right = [np.eye(len(v)), *(s ** (2 * i / depth) * np.outer(v, v) for i in range(1, depth))]
    return sum(left[depth - j] @ D @ right[j - 1] for j in range(1, depth + 1))


def in_set(rng, leading, alpha, s):
    """A state of value s with u^T Z_1 v > alpha s_Z: the angles of u and v differ."""
    alignment = rng.uniform(alpha, 1)
    share = rng.uniform()
    parts = [turned(rng, leading, alignment**power, s) for power in (share, 1 - share)]
    return s, np.asarray(parts[0].left), np.asarray(parts[1].right)


def of_state(Z, leading, part, m, depth):
    """L, dL/dt by (34), and u^T Z_1 v."""
    s, u, v = part
    Z_1, W = np.asarray(flow.matrix(leading)), s * np.outer(u, v)
    rate = -m * np.sum((W - Z_1) * operator(*part, W - Z, depth))
    return norm(W - Z_1) ** 2 / 2, rate, u @ Z_1 @ v


def largest_gap(regime, exponents, alpha):
    """The gamma_Z at which an exponent of Theorem 20 vanishes."""
    return scipy.optimize.brentq(lambda gap: getattr(exponents(bounds.Target(1.0, gap)), regime), 0, alpha - 1e-9)


@pytest.mark.parametrize("depth", [2, 3, 6])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_the_loss_falls_at_the_rates_of_both_regimes(depth, share):
    """Eqs. (202) and (205), with the sharper forms of their proofs; gamma_Z up to where the exponent is 0."""
    rng, m = np.random.default_rng(depth), 5
    seen = {"fast": 0, "slow": 0}
    for _ in range(120):
        regime = min(seen, key=seen.get)
        alpha, beta, s_Z = rng.uniform(0.3, 0.999), rng.uniform(1.05, 3), rng.uniform(0.1, 3)
        exponents = ft.partial(bounds.rates, num_samples=m, depth=depth, alpha=alpha, beta=beta)
        gap = share * largest_gap(regime, exponents, alpha)
        target, p = bounds.Target(s_Z, gap), 2 - 2 / depth
        Z, leading = spectral(rng, (s_Z, gap * s_Z, 0.5 * gap * s_Z))
        part = in_set(rng, leading, alpha, rng.uniform(alpha - gap, beta) * s_Z)
        loss, rate, overlap = of_state(np.asarray(Z), leading, part, m, depth)
        assert bool(bounds.in_stable_set(target, s=part[0], overlap=overlap, alpha=alpha, beta=beta))
        T_1, T_2 = bounds.value_error(s=part[0], overlap=overlap), bounds.misalignment(overlap, target)
        if regime != ("slow" if s_Z * T_2 > T_1 else "fast"):
            continue
        seen[regime] += 1
        kept, lost = depth if regime == "fast" else alpha, gap * beta**p * (depth / 2**0.5 + 1)
        larger = 2 * max(T_1, s_Z * T_2)
        sharper = -m * s_Z**p * (kept * (alpha - gap) ** p - lost) * larger
        printed = -getattr(exponents(target), regime) * loss
        assert loss <= larger * (1 + 1e-12)
        assert rate <= sharper + 1e-12 * abs(rate)
        assert sharper <= printed + 1e-12
    assert min(seen.values()) > 15


@pytest.mark.parametrize("depth", [2, 5])
@pytest.mark.parametrize(("ratio", "regime"), [(0.0, "slow"), (0.999, "slow"), (1.001, "fast"), (50.0, "fast")])
def test_near_the_target_the_rates_of_the_regimes_are_off_by_a_known_factor(depth, ratio, regime):
    """At gamma_Z = 0 and T_1 = x s_Z T_2 the rate is 2 (N x + 1) / (1 + x) m s_Z^p; (202) has N for it and (205) 1.

    So (202) is off by 1 + 1/N at least, at x = 1, and (205) by 2, at x = 0.
    """
    m, s_Z, alpha, angle = 5, 0.7, 1 - 1e-6, 1e-4
    Z, leading = spectral(np.random.default_rng(0), (s_Z, 0.0, 0.0))
    _, u, v = turned(np.random.default_rng(1), leading, np.cos(angle), s_Z)
    T_2 = s_Z * np.sin(angle) ** 2
    part = s_Z - T_2 + np.sqrt(2 * ratio * s_Z * T_2), np.asarray(u), np.asarray(v)
    loss, rate, overlap = of_state(np.asarray(Z), leading, part, m, depth)
    exponents = bounds.rates(bounds.Target(s_Z, 0.0), num_samples=m, depth=depth, alpha=alpha, beta=1.1)
    expected = 2 * (depth * ratio + 1) / (1 + ratio) / (depth if regime == "fast" else 1)
    assert overlap == pytest.approx(s_Z - T_2, abs=1e-14)
    assert -rate / (getattr(exponents, regime) * loss) == pytest.approx(expected, rel=0.01)


# The set N_alpha of layers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("widths", [(5, 1, 3), (5, 2, 1, 4, 3), (5, 4, 1)])
def test_n_alpha_has_balls_as_large_as_wanted(widths):
    """After (28): it has a ball, and with its layers it has all their multiples by c >= 1, so balls without end.

    Balls of c = 1, k, k^2, ... do not meet for a large k, and none is smaller than the first. Their layers are not
    balanced: the balanced starts of Theorem 16 are a null set themselves.
    """
    rng, depth = np.random.default_rng(len(widths)), len(widths) - 1
    ratio = 0.0 if widths[-1] == 1 else 0.3
    U, _, Vt = np.linalg.svd(rng.standard_normal((widths[-1], widths[0])), full_matrices=False)
    leading = flow.RankOne(jnp.asarray(0.8), jnp.asarray(U[:, 0]), jnp.asarray(Vt[0]))
    target, alpha = bounds.Target(0.8, ratio), 0.6
    center = balanced_factorization(flow.matrix(leading), widths, rank=1)
    # ||W|| changes by at most this, s by as much, and u^T Z_1 v = <W, Z_1> / s by at most 2 s_Z / s times that.
    size = max(norm(W, 2) for W in center)
    radius = size * (1.08 ** (1 / depth) - 1)
    change = (size + radius) ** depth - size**depth
    assert 0.8 - 2 * 0.8 * change / (0.8 - change) > alpha * 0.8
    for c in (1.0, 1.001, 30.0, 1e4):
        steps = [[rng.standard_normal(W.shape) for W in center] for _ in range(5)]
        for step in steps:
            by = c * radius / np.sqrt(sum(norm(D) ** 2 for D in step))
            layers = tuple(jnp.asarray(c * W + by * D) for W, D in zip(center, step, strict=True))
            U, s, Vt = np.linalg.svd(end_to_end(layers))
            overlap = U[:, 0] @ np.asarray(flow.matrix(leading)) @ Vt[0]
            assert bool(bounds.in_stable_set(target, s=s[0], overlap=overlap, alpha=alpha))
        assert max(norm(I) for I in imbalances(layers)) > 1e-3 * radius * c**2


# Flows ---------------------------------------------------------------------------------------------------------------


@jax.jit
def _field(flat, Z, m, depth):
    part = flow.RankOne(flat[0], flat[1 : 1 + SHAPE[0]], flat[1 + SHAPE[0] :])
    moving = flow.rank_one_field(part, Z, num_samples=m, depth=depth)
    return jnp.concatenate([jnp.atleast_1d(moving.value), moving.left, moving.right])


def field(flat, Z, m, depth):
    """(ds/dt, du/dt, dv/dt) of lawlib."""
    return np.asarray(_field(*(jnp.asarray(x, float) for x in (flat, Z, m, depth))))


def followed(part, Z, m, depth, times, until=None):
    """The induced flow from a state, at some times; or the time at which s u v^T meets ``until(s, u, v) = 0``."""
    events = None
    if until is not None:

        def events(t, flat):
            return until(flat[0], flat[1 : 1 + SHAPE[0]], flat[1 + SHAPE[0] :])

        events.terminal = True
    start = np.concatenate([np.atleast_1d(np.asarray(x)) for x in part])
    found = scipy.integrate.solve_ivp(
        lambda t, flat: field(flat, Z, m, depth),
        (0, times[-1]),
        start,
        method="DOP853",
        t_eval=times,
        events=events,
        rtol=1e-10,
        atol=1e-14,
    )
    return found.t_events[0].item() if until else found.y


def terms(flat, leading):
    """T_1 and T_2 along a flow, without cancellation: T_2 from the distances of u and v."""
    s, u, v = flat[0], flat[1 : 1 + SHAPE[0]], flat[1 + SHAPE[0] :]
    s_Z, u_Z, v_Z = (np.asarray(x) for x in leading)
    x, y = (np.sum((one - other[:, None]) ** 2, axis=0) for one, other in ((u, u_Z), (v, v_Z)))
    T_2 = s_Z * ((x + y) / 2 - x * y / 4)
    return (s - s_Z + T_2) ** 2 / 2, T_2


@pytest.mark.parametrize("depth", [3.0, 8.0])
def test_the_error_of_an_aligned_value_falls_faster_in_deeper_networks_unless_it_is_small(depth):
    """After Lemma 18: at u = u_Z and v = v_Z T_1 falls at 2 m N s^{2-2/N}; below s = exp(-N/2) that falls with N.

    s is not in units of s_Z there: for a small Z all of the way is below.
    """
    s_Z, m = 1.7, 3.0
    Z, leading = spectral(np.random.default_rng(2), (s_Z, 0.0, 0.0))

    def rate(s, depth):
        change, *_ = field(np.concatenate([[s], leading.left, leading.right]), Z, m, depth)
        return (s_Z - s) * change / bounds.value_error(s=s, overlap=s_Z)

    for s in (0.01, 1.0, 4.0):
        assert rate(s, depth) == pytest.approx(2 * m * depth * s ** (2 - 2 / depth), rel=1e-12)
    border = np.exp(-depth / 2)
    assert rate(1.1 * border, depth + 0.1) > rate(1.1 * border, depth)
    assert rate(0.9 * border, depth + 0.1) < rate(0.9 * border, depth)


def test_far_from_the_target_the_error_of_the_value_falls_faster_in_deeper_networks():
    """After Lemma 18: from s = 5 s_Z, at the angles of 0.8; the misalignment does not gain as much."""
    rng = np.random.default_rng(3)
    Z, leading = spectral(rng, (1.0, 0.0, 0.0))
    start, times = turned(rng, leading, 0.8, 5.0), np.array([0.0, 0.02])
    found = [[T[-1] / T[0] for T in terms(followed(start, Z, 1.0, depth, times), leading)] for depth in (2, 4, 8)]
    T_1, T_2 = np.asarray(found).T
    assert np.all(T_1[1:] < 0.75 * T_1[:-1])
    assert np.all(T_2[1:] > 0.9 * T_2[:-1])


@pytest.mark.parametrize("depth", [4, 6, 12])
def test_near_the_target_the_error_of_the_value_falls_at_one_rate_at_every_depth(depth):
    """After Lemma 18: T_1 loses its factor N and follows T_2, T_1 = 2 (T_2 / (N - 2))^2, at 4 m s_Z^p, p = 2 - 2/N.

    u^T Z_1 v rises at 2 m s_Z^p T_2, and (s - u^T Z_1 v)' = -N m s_Z^p (s - u^T Z_1 v) - 2 m s_Z^p T_2.
    """
    rng, s_Z, m = np.random.default_rng(4), 0.8, 3.0
    Z, leading = spectral(rng, (s_Z, 0.0, 0.0))
    pace = m * s_Z ** (2 - 2 / depth)
    times = np.array([0.0, 6.0, 6.5]) / pace
    T_1, T_2 = terms(followed(turned(rng, leading, 0.8, 1.5), Z, m, depth, times), leading)
    assert np.log(T_1[1] / T_1[2]) / (times[2] - times[1]) == pytest.approx(4 * pace, rel=1e-3)
    assert T_1[2] / T_2[2] ** 2 == pytest.approx(2 / (depth - 2) ** 2, rel=1e-3)


# Unbalanced layers ---------------------------------------------------------------------------------------------------


def velocity(layers, Z, m):
    """d/dt of the product along lawlib's gradient flow of the layers."""
    moving = [np.asarray(M) for M in flow.factor_field(tuple(jnp.asarray(W) for W in layers), Z, m)]
    layers = [np.asarray(W) for W in layers]
    changed = ([*layers[:j], moving[j], *layers[j + 1 :]] for j in range(len(layers)))
    return sum(ft.reduce(lambda product, W: W @ product, chain) for chain in changed)


@pytest.mark.parametrize("depth", [3, 6, 24])
def test_a_skew_of_two_layers_is_less_for_the_value_in_deeper_networks_and_the_same_for_the_direction(depth):
    """After Theorem 16: with c W_1 and W_2 / c, ds/dt is (N - 2 + c^2 + c^-2) / N of the balanced one, and dv/dt c^-2.

    The first tends to 1 with the depth, as the paper expects; the second does not. du/dt has no skew.
    """
    rng, c, m = np.random.default_rng(depth), 2.0, 3.0
    Z, part = rng.standard_normal(SHAPE), state(rng)
    s, u, v = (np.asarray(x) for x in part)
    layers = balanced_factorization(flow.matrix(part), (SHAPE[1], *[1] * (depth - 1), SHAPE[0]), rank=1)
    skewed = (c * layers[0], layers[1] / c, *layers[2:])
    before, after = (velocity(W, jnp.asarray(Z), m) for W in (layers, skewed))
    np.testing.assert_allclose(before, -m * operator(s, u, v, s * np.outer(u, v) - Z, depth), atol=1e-11)
    assert u @ after @ v == pytest.approx((depth - 2 + c**2 + c**-2) / depth * (u @ before @ v), rel=1e-10)
    off_u, off_v = (np.eye(len(x)) - np.outer(x, x) for x in (u, v))
    np.testing.assert_allclose(u @ after @ off_v, u @ before @ off_v / c**2, atol=1e-11)
    np.testing.assert_allclose(off_u @ after @ v, off_u @ before @ v, atol=1e-11)


def chain_flow(first, w, depth, z, duration):
    """W at the end of gradient flow on W = w^{N-1} W_1: one output, hidden layers of one unit, W_2 to W_N alike."""

    def moved(t, y):
        W_1, w = y[:-1], y[-1]
        error = z - w ** (depth - 1) * W_1
        return np.append(w ** (depth - 1) * error, w ** (depth - 2) * (W_1 @ error))

    y = scipy.integrate.solve_ivp(moved, (0, duration), np.append(first, w), rtol=1e-10, atol=1e-13).y[:, -1]
    return y[-1] ** (depth - 1) * y[:-1]


@pytest.mark.parametrize("depth", [4, 16, 64])
def test_at_every_depth_a_large_first_layer_turns_late(depth):
    """After Theorem 16: W_1 is c = 2 times too large, and the others smaller. What that costs stays at any depth.

    Near z, of norm 1, its angle falls at 1 / ||W_1||^2, and ||W_1||^2 = c^2 there, by the balance that the flow keeps.
    """
    z, angle = np.array([1.0, 0, 0]), 0.5
    start = np.array([np.cos(angle), np.sin(angle), 0])
    for c in (1.0, 2.0):
        flowed = [chain_flow(c * start, c ** (-1 / (depth - 1)), depth, z, time) for time in (8.0, 10.0)]
        before, after = (np.arctan2(W[1], W[0]) for W in flowed)
        assert np.log(before / after) / 2 == pytest.approx(c**-2, rel=0.02)


# Saddles -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [2, 3, 6])
def test_the_time_to_leave_a_strict_saddle_is_the_logarithm_of_the_distance(depth):
    """Section 4: the flow leaves the second pair of Z at the rate m s_2^{1-2/N} (s_Z - s_2), however late that is.

    A thousandth of the angle costs log(1000) over this rate: only starts that are exponentially near stay long.
    """
    m, s_Z, s_2 = 2.0, 1.5, 0.8
    Z, _ = spectral(np.random.default_rng(5), (s_Z, s_2, 0.0))
    U, _, Vt = np.linalg.svd(Z)

    def left(s, u, v):
        return abs(U[:, 0] @ u * (Vt[0] @ v)) - 0.5

    times = []
    for angle in (1e-3, 1e-6, 1e-9):
        u, v = (np.cos(angle) * x[1] + np.sin(angle) * x[0] for x in (U.T, Vt))
        times.append(followed((s_2, u, v), Z, m, depth, [1e3], until=left))
    expected = np.log(1000) / (m * s_2 ** (1 - 2 / depth) * (s_Z - s_2))
    np.testing.assert_allclose(np.diff(times), expected, rtol=1e-3)


@pytest.mark.parametrize("depth", [3, 6, 10])
def test_the_time_to_leave_zero_is_exponential_in_the_depth(depth):
    """Section 4: balanced layers of norm c = 1/2 need about c^{-(N-2)} / ((N - 2) m s_Z), up to s = s_Z / 2.

    It is this at least, less what is left at the end, and twice that at most, as s_Z - s is between s_Z / 2 and s_Z.
    At N >= 3 the saddle 0 is not strict; at N = 2 the time is a logarithm.
    """
    m, s_Z, c = 2.0, 1.5, 0.5
    Z, leading = spectral(np.random.default_rng(6), (s_Z, 0.0, 0.0))
    left = c ** -(depth - 2) - (s_Z / 2) ** (2 / depth - 1)
    least = left / ((depth - 2) * m * s_Z)
    start = leading._replace(value=jnp.asarray(c**depth))
    time = followed(start, Z, m, depth, [1e3], until=lambda s, u, v: s - s_Z / 2)
    assert least < time < 2 * least


def test_the_time_to_leave_zero_is_a_logarithm_in_two_layers():
    """Section 4, where 0 is a strict saddle: ds/dt = 2 m s (s_Z - s), the logistic curve."""
    m, s_Z = 2.0, 1.5
    Z, leading = spectral(np.random.default_rng(7), (s_Z, 0.0, 0.0))
    for small in (1e-2, 1e-6):
        time = followed(leading._replace(value=jnp.asarray(small)), Z, m, 2, [1e3], until=lambda s, u, v: s - s_Z / 2)
        assert time == pytest.approx(np.log((s_Z - small) / small) / (2 * m * s_Z), rel=1e-8)
