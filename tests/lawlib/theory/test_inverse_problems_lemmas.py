"""The lemmas of Laus et al. 2025 on fixed weights: minimizers, Gaussian products, the operator P and the start.

Signals X = R Z and an operator A are made from their singular value decompositions in numpy, so that A has exactly the
isometry constant 1/10 of Theorem A.2. Where a lemma is about Gaussian weights at large widths, its law is sampled by
triangular factors: the singular values of W_i ... W_1 U are those of a product of s x s factors.
"""

import functools as ft
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
import scipy.special
import scipy.stats
from hypothesis import assume, given
from hypothesis import strategies as st

from lawlib.descent.rates import fan_in_weights, ntk
from lawlib.problems.inverse import isometry_constant
from lawlib.theory import inverse_problems as theory

norm = np.linalg.norm
SEEDS = st.integers(0, 2**31)
DELTA = 0.1
UP, DOWN = np.log(1.1), -np.log(0.9)  # |log(1 +- 0.1)| of eq. (83)


def frame(rng, d, k):
    """Random orthonormal columns, uniformly distributed."""
    Q, R = np.linalg.qr(rng.standard_normal((d, k)))
    return Q * np.sign(np.diag(R))


def problem(rng, *, m, d, s, kappa=1.0):
    """A (m, d) with isometry constant exactly 1/10 on R (d, s), and X = R Z with singular values 1 to 1/kappa."""
    R, Q = frame(rng, d, s), frame(rng, m, s)
    across = np.eye(d) - R @ R.T
    # Its values on the signals reach both ends, sqrt(1 - delta) and sqrt(1 + delta).
    on = Q * np.sqrt(np.linspace(1 + DELTA, 1 - DELTA, s)) @ frame(rng, s, s).T
    A = on @ R.T + rng.standard_normal((m, d)) / np.sqrt(m) @ across
    return A, R, R @ (frame(rng, s, s) * np.linspace(1, 1 / kappa, s)) @ frame(rng, s, s).T


def chain(weights, start=None):
    """W_L ... W_1, or that times ``start``."""
    return ft.reduce(lambda P, W: W @ P, weights, np.eye(weights[0].shape[1]) if start is None else start)


def extremes(M):
    values = np.linalg.svd(M, compute_uv=False)
    return values[0], values[-1]


# Lemma B.1 ------------------------------------------------------------------------------------------------


def objective(weights, Y, X, decay, *, relu=False):
    """Eq. (2), with the network (90) where ``relu``."""
    hidden = chain(weights[:-1], Y)
    fit = norm(weights[-1] @ (np.maximum(hidden, 0) if relu else hidden) - X) ** 2
    return fit, decay * sum(norm(W) ** 2 for W in weights)


@given(seed=SEEDS, depth=st.integers(2, 4), relu=st.booleans())
def test_projecting_the_first_layer_keeps_the_fit_and_saves_the_penalty_across_the_inputs(seed, depth, relu):
    """The proof of Lemma B.1, for a linear network and for eq. (90)."""
    rng = np.random.default_rng(seed)
    A, _, X = problem(rng, m=5, d=7, s=2, kappa=3)
    Y, widths = A @ X, (5, *[6] * (depth - 1), 7)
    weights = [rng.standard_normal((b, a)) / np.sqrt(a) for a, b in itertools.pairwise(widths)]
    onto = Y @ np.linalg.pinv(Y, rcond=1e-10)
    fit, penalty = objective(weights, Y, X, 0.1, relu=relu)
    projected = objective([weights[0] @ onto, *weights[1:]], Y, X, 0.1, relu=relu)
    across = norm(weights[0] - weights[0] @ onto) ** 2
    assert across > 0.05
    np.testing.assert_allclose(projected, (fit, penalty - 0.1 * across), rtol=1e-11)


def minimized(seed, Y, X, shapes, decay):
    """A local minimum of 1/2 of eq. (2) by L-BFGS from a random start, and its value."""
    cuts = np.cumsum([a * b for a, b in shapes])[:-1]

    def unpack(flat):
        return [part.reshape(shape) for part, shape in zip(np.split(flat, cuts), shapes, strict=True)]

    def value(flat):
        weights = unpack(flat)
        residual = chain(weights, Y) - X
        slopes = [decay * W for W in weights]
        for i, slope in enumerate(slopes):
            above = chain(weights[i + 1 :]) if i + 1 < len(weights) else np.eye(len(X))
            slope += above.T @ residual @ (chain(weights[:i], Y) if i else Y).T
        total = norm(residual) ** 2 / 2 + decay / 2 * flat @ flat
        return total, np.concatenate([s.ravel() for s in slopes])

    start = np.random.default_rng(seed).standard_normal(sum(a * b for a, b in shapes)) / 2
    exact = {"maxiter": 5000, "maxfun": 10000, "ftol": 0.0, "gtol": 1e-11}
    found = scipy.optimize.minimize(value, start, jac=True, method="L-BFGS-B", options=exact)
    return found.fun, unpack(found.x)


def lowest_value(A, R, decay, depth):
    """The sum of the scalar minima of 1/2 (p rho - 1)^2 + lambda L / 2 p^{2/L} over the values rho of A R."""
    total = 0.0
    for rho in np.linalg.svd(A @ R, compute_uv=False):
        q = 1 - float(theory.plateau(jnp.asarray([rho]), weight_decay=decay, depth=depth))
        total += (q - 1) ** 2 / 2 + decay * depth / 2 * (q / rho) ** (2 / depth)
    return total


@pytest.mark.parametrize("depth", [2, 3])
def test_global_minimizers_are_zero_across_the_inputs(depth):
    """Lemma B.1; the value of the minimum is known where the singular values of X are 1."""
    A, R, X = problem(np.random.default_rng(depth), m=4, d=5, s=2)
    Y, shapes = A @ X, [(4, 4), *[(4, 4)] * (depth - 2), (5, 4)]
    lowest, reached = lowest_value(A, R, 0.02, depth), 0
    complement = jnp.asarray(np.linalg.svd(Y)[0][:, 2:])
    for seed in range(6):
        value, weights = minimized(seed, Y, X, shapes, 0.02)
        assert value >= lowest * (1 - 1e-10)
        if value < lowest * (1 + 1e-8):
            reached += 1
            assert norm(weights[0] @ complement) < 1e-7
            assert float(theory.off_subspace_error(tuple(map(jnp.asarray, weights)), complement)) < 1e-7
    assert reached >= 2


def test_without_decay_a_global_minimizer_is_not_zero_across_the_inputs():
    A, _, X = problem(np.random.default_rng(0), m=4, d=5, s=2)
    Y = A @ X
    value, weights = minimized(0, Y, X, [(4, 4), (5, 4)], 0.0)
    assert value < 1e-15
    assert norm(weights[0] @ np.linalg.svd(Y)[0][:, 2:]) > 0.5


# Lemma B.2 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(2, 2), (3, 2, 1), (1, 3, 2), (2, 1, 1, 2)])
def test_the_mean_squared_norm_of_a_product_is_the_product_of_the_sizes(sizes):
    """Eq. (82), n_0 first: the square is quadratic in each entry, so that signs have the mean of Gaussian entries."""
    y = np.random.default_rng(0).standard_normal(sizes[0])
    images = y[None]
    for a, b in itertools.pairwise(sizes):
        signs = np.reshape(list(itertools.product((-1.0, 1.0), repeat=a * b)), (-1, b, a))
        images = np.einsum("kba,na->knb", signs, images).reshape(-1, b)
    assert np.mean(norm(images, axis=1) ** 2) == pytest.approx(norm(y) ** 2 * np.prod(sizes[1:]), rel=1e-12)


@pytest.mark.parametrize("sizes", [(3, 6), (4, 5, 7, 6)])
def test_the_squared_norm_of_a_gaussian_product_has_the_moments_of_chi_squares(sizes):
    """Eq. (82) on Gaussian matrices, within five standard errors, and the second moment prod n (n + 2)."""
    rng, draws = np.random.default_rng(1), 20_000
    images = np.broadcast_to(np.ones(sizes[0]) / np.sqrt(sizes[0]), (draws, sizes[0]))
    for a, b in itertools.pairwise(sizes):
        images = np.einsum("nba,na->nb", rng.standard_normal((draws, b, a)), images)
    squares, n = np.sum(images**2, axis=1), np.asarray(sizes[1:])
    moments = [np.prod([np.prod(k + 2 * np.arange(p)) for k in n]) for p in range(1, 5)]
    for p in (1, 2):
        error = np.sqrt((moments[2 * p - 1] - moments[p - 1] ** 2) / draws)
        assert error < 0.2 * moments[p - 1]
        assert abs(np.mean(squares**p) - moments[p - 1]) < 5 * error


def log_moment(n, power):
    """log E[(Z / n)^power] of a chi square Z with n degrees of freedom."""
    return power * np.log(2 / n) + scipy.special.gammaln(n / 2 + power) - scipy.special.gammaln(n / 2)


@given(sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=8))
def test_chernoffs_bound_of_a_product_is_the_printed_one_with_a_constant(sizes):
    """Eqs. (84), (85) with exact moments, at lambda = +- c / (4 S), S = sum 1/n_i: a constant times exp(-c^2 / (8 S)).

    For the lower tail the proof prints exp(-c^2 / (4 S) + c / 2), where its own lines give exp(-c^2 / (8 S) + c / 2).
    """
    assume(min(sizes) >= len(sizes))
    S = sum(1 / n for n in sizes)
    for c, sign, constant in ((UP, 1, 1.0), (DOWN, -1, np.exp(DOWN / 2))):
        power = sign * c / (4 * S)
        bound = -abs(power) * c + sum(log_moment(n, power) for n in sizes)
        assert bound <= -(c**2) / (8 * S) + np.log(constant)
        assert np.exp(bound + c**2 / (8 * S)) > 0.5 * np.exp(-(c**2) / (8 * S))
        for n in sizes:  # eq. (84)
            stirling = 2 * power**2 / n - np.log1p(2 * power / n) / 2
            assert log_moment(n, power) <= stirling + np.log1p(1 / n)


def tails(sizes):
    """log P{| ||A y||^2 / prod n_i - 1 | >= 0.1} for one or two factors, by the chi-square law."""
    first, *rest = sizes
    law = scipy.stats.chi2(first)
    if not rest:
        return np.logaddexp(law.logsf(1.1 * first), law.logcdf(0.9 * first))
    other, (n,) = scipy.stats.chi2(rest[0]), rest
    grid = first * np.linspace(0.6, 1.6, 4001)
    misses = other.sf(1.1 * n * first / grid) + other.cdf(0.9 * n * first / grid)
    return np.log(scipy.integrate.simpson(law.pdf(grid) * misses, x=grid))


@pytest.mark.parametrize("sizes", [(50,), (2000,), (20_000,), (200_000,), (100, 900), (4000, 4000), (9000, 40_000)])
def test_a_product_is_off_by_a_tenth_with_exponentially_small_probability(sizes):
    """Eq. (83) with c_1 = 2.06, c_2 = log(1.1)^2 / 8; c_2 is at most twice that."""
    S = sum(1 / n for n in sizes)
    logs = tails(sizes)
    assert logs <= np.log(1 + np.exp(DOWN / 2)) - UP**2 / (8 * S)
    if 1 / S > 1e4:
        assert -logs * S < 1.25 * UP**2 / 4


def test_the_exponent_printed_for_the_lower_tail_is_too_large():
    """exp(-c^2 / (4 S) + c / 2), c = -log 0.9, at q = 1: no constant in front of it would do."""
    law = [scipy.stats.chi2(n).logcdf(0.9 * n) + DOWN**2 * n / 4 - DOWN / 2 for n in (100_000, 200_000)]
    assert law[0] > 1
    assert law[1] > law[0] + 5


# Theorem B.3, Lemmas B.4 and B.5 ------------------------------------------------------------------------------

PAIRS = st.lists(st.tuples(st.floats(0, 1), st.floats(1, 20)), min_size=1, max_size=6)


@given(pairs=PAIRS, scale=st.sampled_from([1.0, 0.1, 1e-3]))
def test_the_inequality_of_weierstrass(pairs, scale):
    """Theorem B.3; the two sides agree to first order."""
    x, w = np.asarray(pairs).T * np.asarray([[scale], [1.0]])
    product, total = np.prod((1 - x) ** w), w @ x
    assert 1 - total <= product + 1e-13
    assert product <= np.exp(-total) + 1e-13  # so that the two are apart by total^2 / 2 at most


def test_the_inequality_of_weierstrass_needs_exponents_of_at_least_one():
    assert (1 - 0.5) ** 0.5 < 1 - 0.5 * 0.5


def test_the_induction_of_weierstrass_needs_a_case_of_its_own_for_large_sums():
    """Its second step multiplies by 1 - w x, which may be negative; then the left side of (87) is negative as well."""
    x, w = np.asarray([0.5, 0.9]), np.asarray([1.5, 2.0])
    product, total = (1 - x[0]) ** w[0], w[0] * x[0]
    assert (1 - w[1] * x[1]) * product < (1 - w[1] * x[1]) * (1 - total)
    assert 1 - w @ x < 0 < np.prod((1 - x) ** w)


@given(m=st.integers(1, 20), depth=st.integers(2, 6), extra=st.integers(0, 3), share=st.floats(1e-3, 1.0))
def test_the_decays_of_all_layers_together_are_at_most_their_sum(m, depth, extra, share):
    """Lemma B.4 for d_w >= m (L - 1), where its second bound is attained to first order."""
    width, decay = m * (depth - 1) + extra, share * m
    rates = ntk((m, *[width] * (depth - 1), 7), step_size=1.0, weight_decay=decay)
    shrinks = [1 - eta * lam for eta, lam in zip(*rates, strict=True)]
    total = (depth - 1) * decay / width + decay / m
    gap = abs(1 - np.prod(shrinks))
    assert gap <= total * (1 + 1e-12)
    assert total <= 2 * decay / m * (1 + 1e-12)
    assert gap >= total - total**2 / 2
    if not extra:
        assert total == pytest.approx(2 * share)


@given(alpha=st.floats(0, 0.5), j=st.integers(0, 8), more=st.integers(0, 8))
def test_a_geometric_sum(alpha, j, more):
    """Lemma B.5 for 0 <= alpha <= 1/2, with equality at 1/2."""
    total = sum(alpha**i for i in range(j, j + more + 1))
    bound = 2 * alpha**j * (1 - alpha ** (more + 1))
    assert total <= bound * (1 + 1e-12)
    assert total >= bound / 2 * (1 - 1e-12)


def test_a_geometric_sum_at_its_edges():
    """'For any alpha <= 1/2' is wrong below zero: -1/2 > 2 (-1/2) (1 + 1/2) at alpha = -1/2, j = k = 1."""
    assert sum(0.5**i for i in range(2, 6)) == 2 * 0.5**2 * (1 - 0.5**4)
    alpha = -0.5
    assert alpha > 2 * alpha * (1 - alpha)
    assert sum(0.51**i for i in range(2, 30)) > 2 * 0.51**2 * (1 - 0.51**28)


# Lemma A.7, and the constants of Lemmas A.25 and A.26 ------------------------------------------------------------


def spectrum(weights, Y, rates):
    """The ends of the spectrum of P, from lawlib's operator on every unit matrix."""
    product = theory.residual_operator(tuple(map(jnp.asarray, weights)), jnp.asarray(Y), **rates._asdict())
    d, n = weights[-1].shape[0], Y.shape[1]
    dense = jax.vmap(product)(jnp.eye(d * n).reshape(-1, d, n)).reshape(d * n, d * n)
    return np.linalg.eigvalsh(dense)[[-1, 0]]


def lemma_a7(weights, Y, rates, end):
    """Eqs. (41), end = 0, and (42), end = -1: sum over the layers, in the fan-in weights of lawlib."""
    decayed, total = [1 - eta * lam for eta, lam in zip(*rates, strict=True)], 0.0
    for i, eta in enumerate(rates.step_size):
        below = np.linalg.svd(chain(weights[:i], Y) if i else Y, compute_uv=False)[end]
        above = np.linalg.svd(chain(weights[i + 1 :]), compute_uv=False)[end] if i + 1 < len(weights) else 1.0
        others = np.prod(decayed[:i] + decayed[i + 1 :])
        total += eta * others * below**2 * above**2
    return total


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_the_eigenvalues_of_the_operator_are_within_the_bounds_of_the_layers(depth):
    """Lemma A.7; one orthogonal basis for all layers makes both bounds equalities."""
    rng, (m, d, s, width) = np.random.default_rng(depth), (5, 4, 2, 6)
    A, _, X = problem(rng, m=m, d=d, s=s, kappa=2)
    widths = (m, *[width] * (depth - 1), d)
    rates = ntk(widths, step_size=1.0, weight_decay=0.5)
    weights = [rng.standard_normal((b, a)) / np.sqrt(a) for a, b in itertools.pairwise(widths)]
    largest, least = spectrum(weights, A @ X, rates)
    top, bottom = (lemma_a7(weights, A @ X, rates, end) for end in (0, -1))
    assert 0 < bottom < least < largest < top < 3 * largest
    diagonal = [np.eye(b, a) * np.linspace(1.5, 0.7, a) for a, b in itertools.pairwise(widths)]
    signals = np.eye(m, s) * np.asarray([1.2, 0.6])
    found = spectrum(diagonal, signals, rates)
    np.testing.assert_allclose(found, [lemma_a7(diagonal, signals, rates, end) for end in (0, -1)], rtol=1e-12)


def test_the_lower_bound_needs_the_smallest_singular_value_and_not_the_smallest_one_above_zero():
    """With d_w < s the operator has the eigenvalue 0; Section 1.2 takes sigma_min as the smallest nonzero value."""
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal((1, 3)), rng.standard_normal((2, 1))]
    A, _, X = problem(rng, m=3, d=2, s=2)
    rates = ntk((3, 1, 2), step_size=1.0, weight_decay=0.0)
    _, least = spectrum(weights, A @ X, rates)
    assert abs(least) < 1e-13
    nonzero = norm(weights[1]) ** 2 * extremes(A @ X)[1] ** 2 / 3 + norm(weights[0] @ A @ X) ** 2
    assert nonzero > 0.1


@pytest.mark.parametrize("depth", [2, 3, 5])
def test_the_operators_eigenvalues_in_the_second_phase(depth):
    """Lemma A.26: lambda_min >= sigma_min^2 / (10 m), even without W_1 Y; lambda_max <= 2 L sigma_max^2 / m fails.

    (9/7)^4 = 2.73 stands for the 2, which is passed for L >= 3; a decrease in the step needs eta lambda_max < 2.
    """
    A, _, X = problem(np.random.default_rng(depth), m=4, d=6, s=2)
    Y, rates = A @ X, ntk((4, *[6] * (depth - 1), 6), step_size=4.0, weight_decay=0.0)

    def at(value, inner):
        """m / sigma^2 times the spectrum, where W_{L:i} has the values ``value``, and W_{i:1} Y has ``inner``."""
        first = inner * np.sqrt(6 / 4) * np.eye(6, 2) @ np.linalg.pinv(Y)
        return spectrum([first, *[np.eye(6)] * (depth - 2), value * np.eye(6)], Y, rates)

    least, largest = at(5 / 7, 0.0)[1], at(9 / 7, 9 / 7)[0]
    assert least == pytest.approx((5 / 7) ** 2 * (1 - DELTA))
    assert least / 4 >= 1 / 10  # C_prod is at least 1/4
    assert largest == pytest.approx((9 / 7) ** 2 * (2 + DELTA) + (depth - 2) * (9 / 7) ** 4)
    assert (largest > 2 * depth) == (depth > 2)
    assert largest <= (9 / 7) ** 4 * depth


def test_the_width_of_lemma_a25_is_enough_up_to_the_time_of_the_theorem():
    """d_w = 4 L m log(d_w) / log(63/61) makes all decays to T at least 61/63, by 1 - x >= exp(-2 x).

    T is twice the log(d_w) m / (eta lambda) that the proof has for t - tau, so that its exponent is half of this.
    """
    width, depth = 10_000.0, 3
    m = width * np.log(63 / 61) / (4 * depth * np.log(width))
    per_step = 1e-9 / width  # eta lambda / d_w
    steps = 2 * np.log(width) * m / (per_step * width)
    assert np.exp(-2 * per_step * steps * depth) == pytest.approx(61 / 63)
    assert (1 - per_step) ** (steps * depth) >= 61 / 63
    left = 61 / 63 - 1 / 63
    assert 3 / 4 * left == pytest.approx(5 / 7)


# Lemmas A.8 to A.11: the start ----------------------------------------------------------------------------------


def triangular(rng, draws, n, s):
    """The factor R of a Gaussian (n, s) matrix Q R: chi variables on the diagonal, N(0, 1) entries above it."""
    R = np.triu(rng.standard_normal((draws, s, s)), 1)
    R[:, range(s), range(s)] = np.sqrt(rng.chisquare(n - np.arange(s), (draws, s)))
    return R


def start_values(rng, sizes, inner, draws):
    """The singular values of sizes[i]^{-1/2} ... W_i ... W_1 ``inner``, for Gaussian W_i with sizes[i] rows."""
    products, found = np.broadcast_to(inner, (draws, *inner.shape)), []
    for n in sizes:
        products = triangular(rng, draws, n, len(inner)) @ products / np.sqrt(n)
        found.append(np.linalg.svd(products, compute_uv=False))
    return np.asarray(found)


def test_the_law_at_the_start_is_that_of_the_matrices_themselves():
    rng, inner = np.random.default_rng(6), measured(2.0)
    sizes, draws = (6, 5, 7), 2000
    products = np.broadcast_to(inner, (draws, 2, 2))
    for n in sizes:
        products = rng.standard_normal((draws, n, products.shape[1])) @ products / np.sqrt(n)
    dense, law = np.linalg.svd(products, compute_uv=False), start_values(rng, sizes, inner, draws)[-1]
    for one, other in zip(dense.T, law.T, strict=True):
        assert scipy.stats.ks_2samp(one, other).pvalue > 0.01


def measured(kappa=1.0, s=2):
    """Sigma V^T of A X, which is all of Y that the law at the start depends on; X has the values 1 to 1/kappa."""
    A, _, X = problem(np.random.default_rng(3), m=2 * s, d=3 * s, s=s, kappa=kappa)
    return np.linalg.qr(A @ X)[1]


@pytest.mark.parametrize(("depth", "kappa"), [(2, 1.0), (4, 1.0), (4, 3.0)])
def test_products_of_the_first_layers_are_well_conditioned_on_the_data_at_the_start(depth, kappa):
    """Lemma A.8: sigma_max <= 6/5 sigma_max(X) and sigma_min >= 4/5 sigma_min(X) for i < L, in units of d_w^{i/2}."""
    values = start_values(np.random.default_rng(0), [3000] * (depth - 1), measured(kappa), 1000)
    assert 1.04 < np.max(values) <= 6 / 5
    assert 0.8 <= np.min(values) * kappa < 0.96


def test_products_of_the_last_layers_are_well_conditioned_at_the_start():
    """Lemma A.10: between 4/5 and 6/5 in units of d_w^{(L-i+1)/2} for i > 1; W^T_{L:i} acts on R^d."""
    d, depth = 4, 4
    values = start_values(np.random.default_rng(1), [3000] * (depth - 1), np.eye(d), 1000)
    assert 1.05 < np.max(values) <= 6 / 5
    assert 0.8 <= np.min(values) < 0.95


def test_the_bounds_at_the_start_fail_with_a_probability_that_is_exponential_in_width_over_depth():
    """Lemma A.8: the frequency p of failures has log p about -c d_w / L, so that twice the width squares it."""
    rng, inner = np.random.default_rng(2), measured()

    def failures(width, depth):
        values = start_values(rng, [width] * (depth - 1), inner, 20_000)
        return np.mean(np.any((values > 6 / 5) | (values < 4 / 5), axis=(0, 2)))

    once, twice, thrice = (failures(width, 4) for width in (200, 400, 600))
    assert 0.05 < once < 0.8
    assert 0 < thrice < 0.5 * twice < 0.25 * once
    # Depth 7 has twice the factors: in twice the width it fails about as often.
    assert failures(400, 7) == pytest.approx(once, rel=0.5)


def test_products_of_square_layers_are_of_the_order_of_the_root_of_the_depth():
    """Lemma A.9 with 1/c = 3: ||W_{j:k}|| <= sqrt(3 L) d_w^{(j-k+1)/2}; the proof's eq. (52) prints d_w^{j-k+1}.

    The norm of p = j - k + 1 factors tends to ((p + 1)^{p+1} / p^p)^{1/2}, at most sqrt(e (p + 1/2)).
    """
    width, most = 80, 5
    rng = np.random.default_rng(0)
    layers = [rng.standard_normal((width, width)) / np.sqrt(width) for _ in range(most)]
    for depth in (3, 4, most + 2):
        inner = layers[: depth - 2]
        norms = [extremes(chain(inner[k:j]))[0] for k, j in itertools.combinations(range(len(inner) + 1), 2)]
        p = len(inner)
        assert 0.75 * np.sqrt((p + 1) ** (p + 1) / p**p) < max(norms) <= np.sqrt(3 * depth)


def first_errors(draws, *, width, dimension, s=2, depth=3, seed=4):
    """||U(0)||_F / (sqrt(d/m) ||X||_F) over draws of the weights."""
    inner = measured(s=s)
    values = start_values(np.random.default_rng(seed), [*[width] * (depth - 1), dimension], inner, draws)[-1]
    return norm(values, axis=1) / np.sqrt(s)


@pytest.mark.parametrize(("d", "m"), [(200, 200), (200, 20)])
def test_the_first_residual_is_of_the_order_of_the_root_of_d_over_m(d, m):
    """Lemma A.11, eq. (57), on lawlib's fan-in weights and its regression error."""
    rng, s, width = np.random.default_rng(5), 3, 450
    A, _, X = problem(rng, m=m, d=d, s=s, kappa=2)
    for seed in range(3):
        weights = fan_in_weights(jax.random.key(seed), (m, width, d))
        start = norm(chain([np.asarray(W) for W in weights], A @ X)) / norm(X)
        error = float(theory.regression_error(weights, jnp.asarray(A @ X), jnp.asarray(X)))
        assert 0.85 * np.sqrt(d / m) < start <= 6 / 5 * np.sqrt(d / m)
        assert error == pytest.approx(np.hypot(start, 1), rel=0.15)  # U(0) and X are nearly orthogonal
        assert error <= 6 / 5 * np.sqrt(d / m) + 1 <= 11 / 5 * np.sqrt(d / m) + 1e-12


def test_the_first_residual_is_bounded_with_a_probability_that_is_exponential_in_the_dimension():
    """Lemma A.11 for d_w >= 4 L d; log p is about -c d."""
    p = [np.mean(first_errors(40_000, width=12 * d, dimension=d) > 6 / 5) for d in (20, 40, 80)]
    assert 0.02 < p[0] < 0.3
    assert p[1] < 0.5 * p[0]
    assert 0 < p[2] < 2 * p[1] ** 2 / p[0] + 1e-3


def test_a_width_of_the_order_of_the_depth_times_the_measurements_does_not_suffice():
    """Lemma A.11 prints d_w >~ L m, its proof has d_w >~ L d: at d_w = 4 L m the failures do not fall with d."""
    width = 4 * 3 * 4
    p = [np.mean(first_errors(20_000, width=width, dimension=d, s=1) > 6 / 5) for d in (40, 400, 4000, 40_000)]
    assert p[-1] > 0.1
    assert p[-1] == pytest.approx(p[-2], rel=0.2)


@given(depth=st.integers(2, 6), kappa=st.floats(1, 5), share=st.floats(0.05, 1), part=st.floats(1e-4, 1))
def test_the_slowest_decrease_that_is_allowed_ends_the_first_phase_in_time(depth, kappa, share, part):
    """Corollary A.18 from (31) and (57) alone: 11/5 sqrt(d/m) r^t <= 80 gamma / L.

    Its 35 stands for 400/11 = 36.4, which makes up for the rounding of tau.
    """
    eta = share * theory.largest_step_size(num_measurements=4, depth=depth, largest=1.0)
    about = {"dimension": 6, "num_measurements": 4, "smallest": 1 / kappa}
    decay = part * depth / kappa**2 / 14000
    level = theory.first_phase_level(gamma=theory.accuracy(weight_decay=decay, **about), depth=depth)
    rate = theory.rate_bound(step_size=eta, depth=depth, num_measurements=4, smallest=1 / kappa)
    tau = int(np.ceil(np.log(level / (11 / 5 * np.sqrt(6 / 4))) / np.log(rate)))
    assert 11 / 5 * np.sqrt(6 / 4) * rate**tau <= level * (1 + 1e-9)
    bound = 32 * 4 * kappa**2 / (eta * depth) * np.log(depth / (35 * decay * kappa**2))
    assert 0.95 * bound < tau <= bound


# Section 3 --------------------------------------------------------------------------------------------------


def constants(rng, m, d, s, draws):
    """The isometry constants of ``draws`` Gaussian operators on one subspace of R^d, A = G / sqrt m."""
    R = jnp.asarray(frame(rng, d, s))
    operators = jnp.asarray(rng.standard_normal((draws, m, d)) / np.sqrt(m))
    return np.asarray(jax.vmap(isometry_constant, (0, None))(operators, R))


@pytest.mark.parametrize(("d", "s"), [(16, 2), (16, 8), (128, 4)])
def test_gaussian_operators_are_isometries_with_s_log_d_measurements(d, s):
    """m = ceil(4 s log d): delta <= (1 + sqrt(s/m) + t)^2 - 1 but for a probability of 2 exp(-m t^2 / 2)."""
    m = int(np.ceil(4 * s * np.log(d)))
    found = constants(np.random.default_rng(d + s), m, d, s, 60)
    # Probabilities of 1/100 over all draws, and of 1/2 for each.
    surely, likely = ((1 + np.sqrt(s / m) + np.sqrt(2 * np.log(x) / m)) ** 2 - 1 for x in (2 * 60 * 100, 4))
    assert np.max(found) <= surely
    assert np.mean(found <= likely) >= 1 / 2
    assert max(np.sqrt(s / m), 0.1) < np.median(found) < 0.9  # more than the 1/10 of Theorem A.2


def test_the_isometry_constant_on_one_subspace_does_not_depend_on_the_dimension():
    """So that m of order s would do; delta = 1/10 takes m of about 400 s."""
    rng = np.random.default_rng(0)
    near, far = (np.median(constants(rng, 48, d, 4, 60)) for d in (8, 128))
    assert near == pytest.approx(far, rel=0.15)
    s = 2
    enough, short = (np.median(constants(rng, c * s, 4, s, 50)) for c in (900, 50))
    assert enough < 0.1 < short


# The step of the decays and sizes that Section 3 and Figure 1 print: d, m, L, and lambda; all singular values are 1.
PRINTED = {
    "Figure 1": (200, 100, 5, (0.0, 1e-3, 1e-2, 3e-2)),
    "Figure 2": (256, 128, 2, (1e-3,)),
    "Figure 3": (64, 32, 5, (1e-4,)),
    "Figure 4": (64, 32, 3, (0.0, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)),
}


@pytest.mark.parametrize("figure", PRINTED)
def test_the_printed_decays_have_an_accuracy_between_zero_and_one(figure):
    """gamma = sqrt(2) lambda; lambda = 0 of Figures 1 and 4 has gamma = 0, which is not in (0, 1)."""
    d, m, _, decays = PRINTED[figure]
    for decay in decays:
        gamma = theory.accuracy(weight_decay=decay, dimension=d, num_measurements=m, smallest=1.0)
        assert decay == pytest.approx(gamma * np.sqrt(m / d), rel=1e-12)
        assert (0 < gamma < 0.05) == (decay > 0)


def test_a_valid_accuracy_does_not_make_a_valid_decay():
    """The cap of eq. (29) is lambda <= L / 14000: of the printed decays only 1e-4 keeps it."""
    kept = set()
    for d, m, depth, decays in PRINTED.values():
        about = {"dimension": d, "num_measurements": m, "smallest": 1.0, "largest": 1.0}
        for decay in filter(None, decays):
            found = theory.hypotheses(isometry=0.1, weight_decay=decay, step_size=1.0, depth=depth, **about)
            assert found.accuracy < 1
            if found.decay <= 1:
                kept.add(decay)
    assert kept == {1e-4}
