"""The lemmas behind Theorems B.1 and B.2 of Wang and Jacot 2024: what a step of SGD, and many steps, do to B_r.

Points are made in numpy from the hypotheses: balanced up to eps_1, with soft ranks up to r + eps_2 and norms up to C.
The largest ridges are used that leave room for r values above alpha, where the constants are large enough for float64.
C_1 = max A*_ij^2 is 1 unless said otherwise.
"""

import functools as ft
import itertools
import math
from fractions import Fraction
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lawlib.networks.deep_linear import end_to_end, imbalances
from lawlib.theory import rank_jumps as theory
from lawlib.theory import rank_jumps_region as region

norm = np.linalg.norm
sgd_step = jax.jit(region.sgd_step)
soft_rank = jax.jit(region.soft_rank)
leaving_steps = jax.jit(region.leaving_steps)
K = theory.SLOPE
WIDTHS = [(2, 3, 2, 3), (3, 3, 3, 3), (2, 3, 3, 2, 2)]
SEEDS = st.integers(0, 2**31)


class Constants(NamedTuple):
    """The numbers of Theorem B.1: B = 2 (C_1 + C^L) bounds ||G||^2, and M = B C^{L-1} + lambda^2 C."""

    decay: float
    depth: int
    rank: int
    n: int
    slack: float
    C: float
    cutoff: float
    imbalance: float
    steps: np.ndarray
    B: float
    M: float


def constants(widths, *, decay=0.5, rank=1, slack=0.4, times=1.0, C1=1.0):
    L, entry = len(widths) - 1, math.sqrt(C1)
    C = times * float(theory.smallest_norm_bound(weight_decay=decay, largest_entry=entry))
    sizes = {"depth": L, "rank": rank, "width": max(widths)}
    found = theory.absorbing_constants(weight_decay=decay, largest_entry=entry, norm_bound=C, slack=slack, **sizes)
    alpha, eps1, steps = (np.exp(np.asarray(x)) for x in found)
    B = 2 * (C1 + C**L)
    M = B * C ** (L - 1) + decay**2 * C
    return Constants(decay, L, rank, max(widths), slack, C, float(alpha), float(eps1), steps, B, M)


def arrays(weights):
    return tuple(jnp.asarray(W) for W in weights)


def chain(weights):
    return ft.reduce(lambda P, W: W @ P, weights)


def stepped(weights, G, c, eta):
    moved = sgd_step(arrays(weights), jnp.asarray(G), step_size=eta, weight_decay=c.decay)
    return [np.asarray(W) for W in moved]


def pushes(weights, G):
    """T_l = (W_L ... W_{l+1})^T G (W_{l-1} ... W_1)^T."""
    below = itertools.accumulate(weights[:-1], lambda P, W: W @ P, initial=np.eye(weights[0].shape[1]))
    above = list(itertools.accumulate(weights[:0:-1], np.matmul, initial=np.eye(len(weights[-1]))))[::-1]
    return [P.T @ G @ Q.T for P, Q in zip(above, below, strict=True)]


def residual(weights, entry, target):
    A = chain(weights)
    G = np.zeros_like(A)
    G[entry] = A[entry] - target
    return G


def frame(rng, rows, columns):
    return np.linalg.qr(rng.standard_normal((rows, columns)))[0]


def far_apart(weights):
    """The largest spectral norm of an imbalance."""
    return max(norm(up.T @ up - W @ W.T, 2) for W, up in itertools.pairwise(map(np.asarray, weights)))


# Lemma D.1 and Propositions D.2, D.3 --------------------------------------------------------------------------------


def bounded(rng, widths, C):
    """Layers of norm up to C, all of them or all but one of norm C; often of rank one and aligned."""
    if rng.random() < 0.5:
        weights = [rng.standard_normal(shape) for shape in zip(widths[1:], widths[:-1], strict=True)]
    else:
        frames = [frame(rng, width, 1) for width in widths]
        weights = [up @ down.T for down, up in itertools.pairwise(frames)]
    weights = [W * math.sqrt(C) / norm(W) for W in weights]
    if rng.random() < 0.5:
        weights[rng.integers(len(weights))] *= rng.uniform(0, 1)
    return weights


@given(seed=SEEDS, widths=st.sampled_from(WIDTHS), C=st.floats(0.1, 2))
def test_lemma_d1_bounds_the_residual(seed, widths, C):
    rng, L = np.random.default_rng(seed), len(widths) - 1
    weights = bounded(rng, widths, C)
    A = chain(weights)
    entry = np.unravel_index(np.argmax(np.abs(A)), A.shape)
    target = rng.choice([-1, 1]) * rng.uniform(0.5, 1)
    assert norm(residual(weights, entry, target)) ** 2 <= 2 * (1 + C**L) * (1 + 1e-12)


def test_lemma_d1_is_attained():
    assert norm(residual([np.diag([1.0, 0.0])] * 3, (0, 0), -1.0)) ** 2 == 2 * (1 + 1)


@given(seed=SEEDS, widths=st.sampled_from(WIDTHS), decay=st.floats(0.01, 20), times=st.floats(1, 3))
def test_proposition_d2_a_step_keeps_the_norm(seed, widths, decay, times):
    rng, c = np.random.default_rng(seed), constants(widths, decay=decay, times=times)
    weights = bounded(rng, widths, c.C)
    A = chain(weights)
    entry = tuple(rng.integers(size) for size in A.shape)
    target = rng.choice([np.clip(2 * A[entry], -1, 1), -1, 1, rng.uniform(-1, 1)])
    G = residual(weights, entry, target)
    for W, T, new in zip(weights, pushes(weights, G), stepped(weights, G, c, c.steps[0]), strict=True):
        assert norm(T + c.decay * W) ** 2 <= 2 * c.M * (1 + 1e-12)
        assert np.sum(W * T) >= -(target**2) / 4 - 1e-12  # equal at A* = 2 A_ij
        assert norm(new) ** 2 <= c.C * (1 + 1e-14)


def across(C, target):
    """Three layers of norm C, aligned and of rank one, and the residual at an entry where A is zero."""
    up = np.sqrt(C) * np.diag([1.0, 0.0])
    weights = [up[:, ::-1], up, up]
    return weights, residual(weights, (0, 0), target)


@pytest.mark.parametrize("decay", [20, 1, 0.6])
def test_proposition_d2_fails_at_four_to_eight_times_its_step(decay):
    # Where T is orthogonal to W the norm grows from eta = C_1 / (C_1 C^{L-1} + lambda^2 C) on.
    c = constants((2, 2, 2, 2), decay=decay)
    weights, G = across(c.C, 1.0)
    last = 1 / (c.C**2 + decay**2 * c.C)
    assert 4 <= last / c.steps[0] < 8 * (1 + c.C**3)
    sizes = [norm(stepped(weights, G, c, times * last)[0]) ** 2 for times in (0.999, 1.001)]
    assert sizes[0] < c.C < sizes[1]


def test_proposition_d2_as_printed_has_a_power_of_c_too_many():
    # It prints C^L for C^{L-1} in its bound on eta; for small C that admits steps that leave, Theorem B.1's does not.
    C = 0.02
    C1 = 0.5 * C**3
    decay = C1 / (2 * C)
    c = constants((2, 2, 2, 2), decay=decay, C1=C1)
    np.testing.assert_allclose(c.C, C)
    printed = C1 / (4 * (c.B * C**3 + decay**2 * C))
    weights, G = across(C, math.sqrt(C1))
    assert printed > 20 * c.steps[0]
    assert norm(stepped(weights, G, c, c.steps[0])[0]) ** 2 < C
    assert norm(stepped(weights, G, c, printed)[0]) ** 2 > C * (1 + 1e-6)


@given(seed=SEEDS, widths=st.sampled_from(WIDTHS), decay=st.floats(0.01, 20), C=st.floats(0.1, 2))
def test_proposition_d3_a_step_keeps_the_balance(seed, widths, decay, C):
    rng, c = np.random.default_rng(seed), constants(widths, decay=decay)
    weights = bounded(rng, widths, C)
    L, eps = len(weights), far_apart(weights) * rng.choice([1, 1.01])
    assume(eps > 1e-6)
    entry = tuple(rng.integers(size) for size in (widths[-1], widths[0]))
    G = residual(weights, entry, rng.choice([-1, 1]))
    eta = 2 * decay * eps / (4 * (1 + C**L) * C ** (L - 1) + decay**2 * eps)
    moved = stepped(weights, G, c, eta)
    assert far_apart(moved) <= eps * (1 + 1e-12)
    # Without cancellation: D becomes (1 - eta lambda)^2 D - eta^2 (T_l T_l^T - T_{l+1}^T T_{l+1}).
    before, after = (map(np.asarray, imbalances(arrays(W))) for W in (weights, moved))
    for D, new, (T, up) in zip(before, after, itertools.pairwise(pushes(weights, G)), strict=True):
        X = T @ T.T - up.T @ up
        np.testing.assert_allclose(new, (1 - eta * decay) ** 2 * D - eta**2 * X, atol=1e-13 * (1 + C))
        assert norm(X, 2) <= 2 * (1 + C**L) * C ** (L - 1) * (1 + 1e-12)
    worst = leaving_steps(arrays(weights), jnp.asarray(G), weight_decay=decay, imbalance=eps).by_imbalance
    assert np.min(worst) >= eta * (1 - 1e-12)


def test_proposition_d3_fails_at_five_times_its_step():
    decay, C, eps = 0.3, 0.4, 1e-6
    c = constants((2, 2, 2, 2), decay=decay)
    weights, G = across(C, 1.0)
    weights = [weights[0], *(W * math.sqrt(1 - eps / C) for W in weights[1:])]
    eta = 2 * decay * eps / (4 * (1 + C**3) * C**2 + decay**2 * eps)
    assert far_apart(weights) == pytest.approx(eps)
    apart = [far_apart(stepped(weights, G, c, times * eta)) for times in (1, 4, 5)]
    assert apart[0] < apart[1] < eps < apart[2]


# Theorem D.5 and Lemmas D.6 to D.8, with Theorem B.1's constants ----------------------------------------------------


class Weight(NamedTuple):
    value: object
    slope: object


def power_weight(cutoff, K):
    """f(x) = 1 - (1 - x/alpha)^K up to alpha: it has slopes up to K/alpha, is concave, and is the paper's for K = 2."""

    def left(x):
        return np.maximum(1 - np.maximum(x, 0) / cutoff, 0)

    return Weight(lambda x: 1 - left(x) ** K, lambda x: K / cutoff * left(x) ** (K - 1))


def spectrum(rng, c, size, total):
    """Squared singular values of soft rank ``total`` <= rank + slack: some above alpha, or rank + 1 alike below it."""
    share = np.zeros(size)
    whole = min(c.rank, math.floor(total)) if rng.random() < 0.5 else 0
    rest = total - whole
    if rest < 1:
        share[whole:] = rest * rng.dirichlet(np.ones(size - whole))
    else:
        share[whole : c.rank + 1] = rest / (c.rank + 1 - whole)
    squares = c.cutoff * (1 - np.sqrt(1 - share))
    squares[:whole] = c.cutoff * rng.uniform(1, 1.02, whole)
    squares[:whole][:1] += rng.choice([0, 1]) * (c.C - squares.sum() - 20 * c.imbalance - 1e-14)
    return squares


def inside(rng, c, widths, total):
    """A point of B_r with this soft rank (up to the imbalance) whose largest imbalance is .9 eps_1."""
    size = min(widths)
    core = np.sqrt(spectrum(rng, c, size, total - 100 * c.imbalance / c.cutoff))
    turn = frame(rng, size, size)
    frames = [frame(rng, width, size) @ turn for width in widths]
    if rng.random() < 0.5:  # the first singular vectors meet the entry (0, 0)
        frames[0], frames[-1] = np.eye(widths[0], size), np.eye(widths[-1], size)
    weights = [up * core @ down.T for down, up in itertools.pairwise(frames)]
    off = [rng.standard_normal(W.shape) for W in weights]
    apart = far_apart([W + 1e-6 * P for W, P in zip(weights, off, strict=True)]) / 1e-6
    return [W + 0.9 * c.imbalance / apart * P for W, P in zip(weights, off, strict=True)]


class Parts(NamedTuple):
    """The parts of F(t+1) <= F(t) - 2 eta delta + 2 eta E + beta for one layer, E = error, and the sum of the f'."""

    before: float
    after: float
    delta: float
    error: float
    beta: float
    slopes: float


def parts(W, T, c, eta, weight):
    """F and its first-order change from the eigenvalues of W^T W; beta is all the rest of the step."""
    values, V = np.linalg.eigh(W.T @ W)
    new = (1 - eta * c.decay) * W - eta * T
    before, after = (np.sum(weight.value(np.linalg.svd(X, compute_uv=False) ** 2)) for X in (W, new))
    gradient = V * weight.slope(values) @ V.T
    beta = after - before + eta * np.sum(gradient * (W.T @ T + T.T @ W + 2 * c.decay * W.T @ W))
    squares = np.linalg.svd(W, compute_uv=False) ** 2
    slopes = weight.slope(squares)
    delta = np.sum(slopes * (c.decay * squares - math.sqrt(c.B) * squares ** (c.depth / 2)))
    error = math.sqrt(c.B) * c.C ** ((c.depth - 1) / 2) * c.depth * math.sqrt(c.imbalance) * np.sum(slopes)
    return Parts(before, after, delta, error, beta, np.sum(slopes))


POINTS = {"seed": SEEDS, "widths": st.sampled_from(WIDTHS), "decay": st.floats(0.4, 0.6)}
POINTS = st.fixed_dictionaries(POINTS | {"slack": st.floats(0.05, 0.499), "share": st.floats(0.01, 1)})


def drawn(low, *, seed, widths, decay, slack, share):
    """A point of soft rank in the lower or upper part of Lemmas D.8 and D.7, a residual, and Theorem D.5's step."""
    rng = np.random.default_rng(seed)
    c = constants(widths, decay=decay, slack=slack, rank=int(rng.integers(1, min(widths))))
    top = c.rank + slack / 2
    weights = inside(rng, c, widths, share * top if low else top + share * slack / 2)
    assert max(norm(W) ** 2 for W in weights) <= c.C
    assert far_apart(weights) <= c.imbalance + 1e-15
    entry = (0, 0) if rng.random() < 0.5 else tuple(rng.integers(size) for size in (widths[-1], widths[0]))
    G = residual(weights, entry, rng.choice([-1, 1]))
    return c, weights, G, float(min(c.steps[2:]))


@given(point=POINTS)
def test_theorem_d5_a_step_keeps_the_soft_rank(point):
    c, weights, G, eta = drawn(low=False, **point)
    for W, new in zip(weights, stepped(weights, G, c, eta), strict=True):
        before, after = (float(soft_rank(jnp.asarray(X), c.cutoff)) for X in (W, new))
        assert c.rank + c.slack / 2 < before <= c.rank + c.slack
        assert after < before


@given(seed=SEEDS, C=st.floats(0.5, 2), times=st.floats(0.01, 1))
def test_lemma_d6_bounds_the_second_order_of_any_step(seed, C, times):
    """Of its conditions it needs those on the norms; ``bounded_parts`` has it at points of B_r."""
    rng, widths = np.random.default_rng(seed), WIDTHS[seed % 3]
    c = constants(widths, decay=1 / (2 * C))
    weights = bounded(rng, widths, c.C)
    G = residual(weights, (0, 0), rng.choice([-1, 1]))
    for cutoff in (0.02, 0.3, 3.0):
        for W, T in zip(weights, pushes(weights, G), strict=True):
            p = parts(W, T, c, times, power_weight(cutoff, K))
            assert p.beta <= 2 * times**2 * c.M * p.slopes + 1e-12


def test_lemma_d6_is_within_a_factor_of_seven():
    # A layer of zeros grows by T alone.
    C = 0.35 ** (1 / 3)
    c = constants((1, 2, 2, 2), decay=1 / (2 * C))
    up = np.sqrt(C) * np.outer([1, 0], [1, 0])
    weights = [np.zeros((2, 1)), up, up]
    T = pushes(weights, residual(weights, (0, 0), 1.0))[0]
    p = parts(weights[0], T, c, 1e-3, power_weight(0.3, K))
    assert p.beta > 2 * 1e-6 * c.M * p.slopes / 7


def unit_of(c):
    return c.decay * c.slack / (K * (c.rank + 1) ** 2)


def bounded_parts(c, weights, G, eta):
    """The parts of every layer, with Lemma D.6 and what Lemmas D.7 and D.8 have in common."""
    for W, T in zip(weights, pushes(weights, G), strict=True):
        p = parts(W, T, c, eta, power_weight(c.cutoff, K))
        assert p.error <= unit_of(c) / 32 * (1 + 1e-12)
        assert p.beta <= 2 * eta**2 * c.M * p.slopes + 1e-13
        assert p.beta <= eta * unit_of(c) / 16
        assert p.after <= p.before - 2 * eta * p.delta + 2 * eta * p.error + p.beta + 1e-13
        yield p


@given(point=POINTS)
def test_lemma_d7_above_the_middle_of_the_slack_the_soft_rank_falls(point):
    c, weights, G, eta = drawn(low=False, **point)
    for p in bounded_parts(c, weights, G, eta):
        assert p.delta >= 2 * unit_of(c)  # the lemma has 1/16 of it
        assert -2 * eta * p.delta + 2 * eta * p.error + p.beta <= 0


@given(point=POINTS)
def test_lemma_d8_below_it_the_soft_rank_grows_by_half_the_slack_at_most(point):
    c, weights, G, eta = drawn(low=True, **point)
    for p in bounded_parts(c, weights, G, eta):
        assert p.before <= c.rank + c.slack / 2
        assert p.delta >= -1e-13
        assert -2 * eta * p.delta + 2 * eta * p.error + p.beta <= c.slack / 2


def test_the_bounds_on_e_and_beta_are_attained_at_zero():
    # With all n values near zero, where the slope is K/alpha, at the third of Theorem B.1's bounds on eta.
    c = constants((3, 3, 3, 3), rank=2)
    p = parts(np.zeros((3, 3)), np.zeros((3, 3)), c, 1.0, power_weight(c.cutoff, K))
    assert p.error == pytest.approx(unit_of(c) / 32, rel=1e-9)
    assert 2 * c.steps[2] * c.M * p.slopes == pytest.approx(unit_of(c) / 16, rel=1e-9)


@pytest.mark.parametrize("depth", [3, 4, 5])
def test_the_chain_of_inequalities_of_lemma_d7(depth):
    """Eqs. (14) to (17) for the paper's f_alpha and steeper ones, at the largest alpha."""
    decay, B = 0.5, 3.0
    alpha = (decay**2 / B) ** (1 / (depth - 2))
    x = np.linspace(0, alpha, 1001)[1:-1]
    for steep in (K, 3, 10):
        f, slope = (part(x) for part in power_weight(alpha, steep))
        assert np.all(slope >= (1 - f) / alpha)
        assert np.all(x >= f / steep * alpha)
        assert np.all(1 - (x / alpha) ** ((depth - 2) / 2) >= (1 - f) / 2)
        g = slope * (decay * x - math.sqrt(B) * x ** (depth / 2))
        assert np.all(g >= decay / (2 * steep) * f * (1 - f) ** 2)
    beyond = 1.01 * alpha
    assert decay * beyond < math.sqrt(B) * beyond ** (depth / 2)


@pytest.mark.parametrize("depth", [3, 4])
def test_beyond_the_cutoff_of_the_drawn_entry_soft_ranks_grow(depth):
    """A balanced value x that meets the entry falls if and only if x^{(L-2)/2} |G| < lambda; |G|^2 <= B."""
    decay = 0.3
    c = constants((2,) * (depth + 1), decay=decay)
    edge = (decay**2) ** (1 / (depth - 2))
    for times, grows in ((0.99, False), (1.01, True)):
        x = times * edge
        weights = [np.diag([math.sqrt(x), 0])] * depth
        # |G| = 1 > 0 once A* = A_ij + 1.
        G = residual(weights, (0, 0), x ** (depth / 2) + 1)
        before, after = (float(soft_rank(jnp.asarray(W[0]), 4 * edge)) for W in (weights, stepped(weights, G, c, 1e-6)))
        assert (after > before) == grows
        assert c.cutoff < edge


def test_theorem_d5_as_printed_is_false_for_steep_weights():
    # It prints sqrt(eps_1) <= lambda alpha eps_2 / (32 n L (r+1) ...), without K: eps_1 may be C, and alpha / K below
    # the square of what one step adds.
    steep, decay, slack = 1e5, 5.0, 0.49
    c = constants((2, 2, 2, 2), decay=decay, slack=slack)
    root = decay * c.cutoff * slack / (32 * 2 * 3 * 2 * c.C * math.sqrt(c.B))
    printed = min(decay * c.cutoff * slack / (32 * 2 * 2 * c.M), 4 / decay)
    weight = power_weight(c.cutoff, steep)
    small = c.cutoff * (1 - (1 - slack) ** (1 / steep))
    up = math.sqrt(c.C) * np.outer([1, 0], [1, 0])
    weights = [np.diag([math.sqrt(small), 0.2]), up, up]
    assert far_apart(weights) <= c.C <= root**2
    assert all(np.sum(weight.value(np.linalg.svd(W)[1] ** 2)) <= 1 + slack + 1e-9 for W in weights)
    G = residual(weights, (0, 0), 1.0)
    for eta in (printed, 1e-3 * printed):
        after = np.linalg.svd(stepped(weights, G, c, eta)[0])[1] ** 2
        assert np.sum(weight.value(after)) > 1 + slack + 1e-4
    # Theorem B.1's, with its K, do not admit the point.
    assert (root / (2 * steep * 2)) ** 2 < 1e-5 * c.C


def bent_weight(cutoff, K, step):
    """A C^2 f_alpha of slope K/alpha at 0 that takes most of ``step`` in a few alpha/K and the rest slowly."""
    bend = 3 * step * cutoff / (K - 3 * (1 - step))
    quick, slow = power_weight(bend, 3), power_weight(cutoff, 3)
    return bend, Weight(
        lambda x: step * quick.value(x) + (1 - step) * slow.value(x),
        lambda x: step * quick.slope(x) + (1 - step) * slow.slope(x),
    )


def test_lemma_d7_is_false_for_steep_weights():
    # Its bound on E takes f' <= 2/alpha, which is K = 2. A value past the bend hardly falls, and those at 0 make E.
    steep, slack = 4000, 0.49
    c = constants((4, 4, 4, 4), slack=slack)
    bend, weight = bent_weight(c.cutoff, steep, 0.9 * slack)
    assert weight.slope(0.0) == pytest.approx(steep / c.cutoff)
    squares = np.array([c.C - 1.1 * bend, 1.1 * bend, 0, 0])
    assert c.rank + slack / 2 < np.sum(weight.value(squares)) <= c.rank + slack
    slopes = weight.slope(squares)
    delta = np.sum(slopes * (c.decay * squares - math.sqrt(c.B) * squares**1.5))
    # Theorem B.1's sqrt(eps_1) has a K below.
    error = math.sqrt(c.B) * c.C * 3 * math.sqrt(c.imbalance) * K / steep * np.sum(slopes)
    assert 0 < 1.4 * delta < error  # and beta = O(eta^2)


# Theorems E.1 and E.2, which give Theorem B.2 ------------------------------------------------------------------------

MOST = 4000


@jax.jit
def after_draws(weights, target, entries, num_steps, eta, decay):
    """The weights after this many steps, the t-th on the entry that is one in ``entries[t]``."""

    def step(t, weights):
        G = entries[t] * (end_to_end(weights) - target)
        return region.sgd_step(weights, G, step_size=eta, weight_decay=decay)

    return jax.lax.fori_loop(0, num_steps, step, weights)


def draws(rng, allowed):
    """MOST random entries of a mask, each as a matrix that is one there."""
    places = np.argwhere(allowed)
    drawn = places[rng.integers(len(places), size=MOST)]
    entries = np.zeros((MOST, *allowed.shape))
    entries[np.arange(MOST), drawn[:, 0], drawn[:, 1]] = 1
    return jnp.asarray(entries)


def waiting(eta, decay, **numbers):
    """Theorem B.2's T_0 and T_1 from lawlib."""
    given = {"rank": 1, "smallest_side": 2, "slack": 0.4, "start_norm": 1.0, "log_cutoff": 0.0}
    bound = theory.jump_bound(step_size=float(eta), weight_decay=decay, **given | numbers)
    return math.ceil(bound.settling_steps), math.ceil(bound.sampling_steps)


def settling(widths, C0, C, decay, eps1):
    """The step of Theorem E.1 and its T_0."""
    L, C0 = len(widths) - 1, float(C0)
    first = 1 / (4 * (2 * (1 + C0**L) * C0 ** (L - 1) + decay**2 * C0))
    eta = min(first, decay * eps1 / (4 * (1 + C**L) * C ** (L - 1) + 2 * decay**2 * C))
    return eta, waiting(eta, decay, width=max(widths), norm_bound=C, start_norm=C0, log_imbalance=math.log(eps1))[0]


def settled(weights, C, eps1):
    return max(norm(np.asarray(W)) ** 2 for W in weights) <= C and far_apart(weights) <= eps1


@given(seed=SEEDS, widths=st.sampled_from(WIDTHS[::2]), C0=st.floats(0.3, 2), decay=st.floats(0.7, 2))
def test_theorem_e1_every_start_comes_to_the_balanced_set(seed, widths, C0, decay):
    rng, C = np.random.default_rng(seed), 1 / decay
    eps1 = rng.uniform(0.2, 1) * C
    weights = bounded(rng, widths, C0)
    weights[rng.integers(len(weights))] *= rng.choice([0, 1])
    C0 = max(norm(W) ** 2 for W in weights)
    eta, T = settling(widths, C0, C, decay, eps1)
    assume(0 < T < MOST)
    shape = widths[-1], widths[0]
    target = jnp.asarray(rng.choice([-1, 1], shape) * rng.uniform(0.5, 1, shape))
    entries = draws(rng, np.ones(shape, bool) if rng.random() < 0.5 else np.eye(*shape, dtype=bool))
    assert settled(after_draws(arrays(weights), target, entries, T, eta, decay), C, eps1)


@pytest.mark.parametrize(("C0", "eps1"), [(2.0, 0.02), (0.4, 0.004)])
def test_theorem_e1_needs_almost_half_of_its_steps(C0, eps1):
    # One layer alone is not zero: nothing moves but by the decay, to a balance of C_0 (1 - eta lambda)^{2t}.
    widths, C, decay = (2, 3, 2, 3), 0.5, 2.0
    weights = [np.zeros(shape) for shape in zip(widths[1:], widths[:-1], strict=True)]
    weights[1][0, 0] = math.sqrt(C0)
    eta, T = settling(widths, C0, C, decay, eps1)
    target, entries = jnp.ones((3, 2)), draws(np.random.default_rng(0), np.ones((3, 2), bool))
    assert T < MOST
    for share, there in ((0.42, False), (0.5, True)):
        assert settled(after_draws(arrays(weights), target, entries, int(share * T), eta, decay), C, eps1) == there


@given(seed=SEEDS, sides=st.tuples(st.integers(1, 6), st.integers(1, 6)), density=st.floats(0.1, 1))
def test_the_best_columns_hold_their_share_of_the_entries(seed, sides, density):
    """|J| >= r/n |I|, so that T draws all lie in J with probability (|J|/|I|)^T >= (r/n)^T; equal for equal columns."""
    rng = np.random.default_rng(seed)
    mask = rng.random(sides) < density
    assume(mask.any())
    n = min(sides)
    counts = np.sort(mask.sum(0 if n == sides[1] else 1))[::-1]
    for r in range(1, n + 1):
        assert Fraction(int(counts[:r].sum()), int(mask.sum())) >= Fraction(r, n)
        assert (counts[:r].sum() * n == r * mask.sum()) or counts[0] > counts[-1]


def within(rng, shape, r):
    """The mask of the r columns that hold most of random observed entries, or of r rows where there are fewer rows."""
    mask = rng.random(shape) < 0.7
    mask[0, 0] = True
    axis = 0 if shape[1] <= shape[0] else 1
    best = np.argsort(-mask.sum(axis))[:r]
    chosen = np.zeros(shape, bool)
    chosen[(slice(None), best) if axis == 0 else best] = True
    return mask & chosen, chosen


@given(seed=SEEDS, widths=st.sampled_from([(2, 3, 2, 3), (3, 4, 4, 2)]), decay=st.floats(0.02, 0.1))
def test_theorem_e2_drawing_from_few_columns_leaves_the_rest_to_decay(seed, widths, decay):
    """W_1 (W_L for rows) keeps (1 - eta lambda)^T of its other columns, at rates of the figures' size."""
    rng, eta, T, r = np.random.default_rng(seed), 0.05, 900, 1
    weights = [0.8 * rng.standard_normal(shape) for shape in zip(widths[1:], widths[:-1], strict=True)]
    allowed, chosen = within(rng, (widths[-1], widths[0]), r)
    target = jnp.asarray(rng.choice([-1, 1], allowed.shape) * 2.0)
    moved = after_draws(arrays(weights), target, draws(rng, allowed), T, eta, decay)
    by_column = widths[0] <= widths[-1]
    start, end = (weights[0].T, np.asarray(moved[0]).T) if by_column else (weights[-1], np.asarray(moved[-1]))
    other = ~chosen.any(0 if by_column else 1)
    shrink = (1 - eta * decay) ** T
    np.testing.assert_allclose(end[other], shrink * start[other], rtol=1e-10)
    values = np.linalg.svd(end, compute_uv=False)
    assert values[r] <= shrink * norm(start, 2) * (1 + 1e-10)


@pytest.mark.parametrize("widths", [(2, 2, 2, 3), (3, 2, 2, 2)])
@pytest.mark.parametrize("seed", range(3))
def test_theorem_e2_those_draws_end_in_the_region(widths, seed):
    rng, decay, slack, r, L = np.random.default_rng(seed), 1.0, 0.4, 1, 3
    C, n = 1 / decay, max(widths)
    cutoff = decay**2 / (2 * (1 + C**L))
    eps1 = cutoff * slack / (2 * K * (n - r) * (L - 1))
    eta = decay * eps1 / (4 * (1 + C**L) * C ** (L - 1) + 2 * decay**2 * C)
    frames = [frame(rng, width, 2) for width in widths]
    core = np.sqrt(C * np.array([0.6, 0.4]))
    weights = arrays([up * core @ down.T for down, up in itertools.pairwise(frames)])
    logs = {"log_cutoff": math.log(cutoff), "log_imbalance": math.log(eps1)}
    _, T = waiting(eta, decay, width=n, norm_bound=C, slack=slack, **logs)
    assert T < MOST
    allowed, _ = within(rng, (widths[-1], widths[0]), r)
    target = jnp.asarray(rng.choice([-1.0, 1.0], allowed.shape))
    there = region.Region(r, slack, eps1, cutoff, C)
    entries = draws(rng, allowed)
    for steps, expected in ((int(0.3 * T), False), (T, True)):
        moved = after_draws(weights, target, entries, steps, eta, decay)
        assert bool(region.is_inside(region.region_quantities(moved, cutoff), there)) == expected
    last = np.linalg.svd(np.asarray(moved[0] if widths[0] == 2 else moved[-1]), compute_uv=False)[r:]
    assert np.all(last**2 <= cutoff * slack / (2 * K * (n - r)) * (1 + 1e-10))


def test_theorem_3_2_does_not_hold_from_any_start_at_one_step_size():
    """The eta of Theorem E.1 depends on the start; at a given one SGD diverges for sure from further out.

    There is one entry, and one weight w per layer: |w| doubles at every step once eta w^{2L-2} > 4 and w^L > 4.
    """
    decay, C, eps1, widths = 1.0, 1.0, 0.5, (1, 2, 2, 1)
    eta, _ = settling(widths, C, C, decay, eps1)
    corner = (4.1 / eta) ** (1 / 4) * np.diag([1.0, 0.0])
    weights = [corner[:, :1], corner, corner[:1]]
    c = constants(widths, decay=decay)
    for _ in range(4):
        moved = stepped(weights, residual(weights, (0, 0), 1.0), c, eta)
        assert abs(moved[0][0, 0]) > 2 * abs(weights[0][0, 0])
        weights = moved
    assert not settled(weights, 1e9 * C, eps1)
