"""Appendix A of Wang and Jacot 2024: what descent and flow do on L_lambda; its saddles; two layers; spectral functions.

The completion has any mask of N observed entries; the 2 x 2 one is [[1, *], [eps, 1]]. The 2/N of Appendix A's gradient
of C is 1/N for C(A) = 1/(2N) sum (A* - A)^2 over the observed entries.
"""

import functools as ft
import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
from hypothesis import given
from hypothesis import strategies as st
from rank_jumps_reference import MASK, target_of

from lawlib.theory import rank_jumps as theory
from lawlib.theory import rank_jumps_landscape as landscape
from lawlib.theory import rank_jumps_region as region

norm = np.linalg.norm
soft_slope = jax.jit(jax.grad(region.soft_rank))
SEEDS = st.integers(0, 2**31)
SHAPES = [(2, 3, 3, 2), (3, 3, 3, 3), (2, 2, 2, 2, 2), (2, 3, 2)]


class Problem(NamedTuple):
    """A completion: A*, its mask, and lambda of L_lambda."""

    target: np.ndarray
    mask: np.ndarray
    ridge: float

    @property
    def N(self):
        return self.mask.sum()

    @property
    def size(self):
        """||M o A*||_F."""
        return norm(self.mask * self.target)

    def loss(self, weights):
        """L_lambda and its gradient as one vector."""
        below = list(itertools.accumulate(weights, lambda P, W: W @ P, initial=np.eye(weights[0].shape[1])))
        above = list(itertools.accumulate(weights[::-1], np.matmul, initial=np.eye(len(weights[-1]))))[-2::-1]
        off = self.mask * (below[-1] - self.target)
        slopes = [
            P.T @ off @ Q.T / self.N + 2 * self.ridge * W for P, Q, W in zip(above, below[:-1], weights, strict=True)
        ]
        return norm(off) ** 2 / (2 * self.N) + self.ridge * norm(flat(weights)) ** 2, flat(slopes)


def chain(weights):
    return ft.reduce(lambda P, W: W @ P, weights)


def flat(weights):
    return np.concatenate([np.ravel(W) for W in weights])


def layers(theta, widths):
    shapes = list(zip(widths[1:], widths[:-1], strict=True))
    ends = np.cumsum([0, *(m * n for m, n in shapes)])
    return [theta[a:b].reshape(shape) for a, b, shape in zip(ends[:-1], ends[1:], shapes, strict=True)]


def completion(rng, widths, ridge, scale=1.0):
    shape = widths[-1], widths[0]
    mask = (rng.random(shape) < 0.7).astype(float)
    mask[0, 0] = 1.0
    return Problem(scale * rng.standard_normal(shape), mask, ridge)


def test_the_loss_and_its_gradient_are_lawlibs():
    rng, widths = np.random.default_rng(0), (3, 4, 3, 2)
    problem = completion(rng, widths, 0.3)
    weights = tuple(rng.standard_normal(shape) for shape in zip(widths[1:], widths[:-1], strict=True))
    lawlibs = jax.jit(jax.value_and_grad(theory.factored_loss))(weights, *problem)
    value, slope = problem.loss(weights)
    assert value == pytest.approx(float(lawlibs[0]), rel=1e-12)
    np.testing.assert_allclose(slope, flat(lawlibs[1]), rtol=1e-11, atol=1e-12)


# Lemma A.1 and Proposition A.5 --------------------------------------------------------------------------------------


def lipschitz(problem, D, L):
    """((2L - 1) D^{2L-2} + (L - 1) ||M o A*|| D^{L-2}) / N + 2 lambda, which the proof of Lemma A.1 gives."""
    return ((2 * L - 1) * D ** (2 * L - 2) + (L - 1) * problem.size * D ** (L - 2)) / problem.N + 2 * problem.ridge


def printed(problem, D, L):
    """2 L sqrt(L - 1) / N (2 D^{2L-2} + c D^{L-2} + 2 lambda), with the larger reading of c, ||A*||."""
    inner = 2 * D ** (2 * L - 2) + norm(problem.target) * D ** (L - 2) + 2 * problem.ridge
    return 2 * L * math.sqrt(L - 1) / problem.N * inner


@given(seed=SEEDS, widths=st.sampled_from(SHAPES), D=st.floats(0.05, 3), apart=st.floats(1e-3, 2))
def test_lemma_a1_the_gradient_is_lipschitz_in_a_ball(seed, widths, D, apart):
    rng, L = np.random.default_rng(seed), len(widths) - 1
    problem = completion(rng, widths, rng.choice([0.001, 0.1, 1]), scale=rng.choice([0, 0.3, 3]))
    dimension = sum(m * n for m, n in itertools.pairwise(widths))
    first, off = rng.standard_normal((2, dimension))
    first *= D / norm(first)
    second = first + apart * D * off / norm(off)
    second *= min(1, D / norm(second))
    slopes = [problem.loss(layers(theta, widths))[1] for theta in (first, second)]
    assert norm(slopes[0] - slopes[1]) <= lipschitz(problem, D, L) * norm(first - second) * (1 + 1e-9)


def test_lemma_a1_is_attained_by_two_layers():
    problem = Problem(np.outer([3.0, 0.0], [0.0, 1.0]), np.ones((2, 2)), 0.1)
    for D in (1e-3, 1e-4):
        # The largest curvature at 0 is in W_1 = -e_1 e_2^T and W_2 = e_1 e_1^T.
        theta = [D / math.sqrt(2) * W for W in (np.outer([-1, 0], [0, 1]), np.outer([1, 0], [1, 0]))]
        slope = norm(problem.loss(theta)[1] - problem.loss([0 * W for W in theta])[1]) / norm(flat(theta))
        assert slope == pytest.approx(lipschitz(problem, D, 2), rel=4 * D**2)


def test_lemma_a1_and_proposition_a5_as_printed_fail_for_many_entries():
    # 2 L sqrt(L-1) / N multiplies 2 lambda too: for L = 3 that is less than the ridge's own 2 lambda from N = 9 on.
    for width, D, times in ((3, 0.1, 1.05), (4, 0.2, 1.8)):
        widths = (width,) * 4
        problem = Problem(np.full((width, width), 1e-4), np.ones((width, width)), 1.0)
        rng = np.random.default_rng(width)
        theta = rng.standard_normal(3 * width**2)
        theta *= D / norm(theta)
        slope = norm(problem.loss(layers(theta, widths))[1] - problem.loss(layers(0 * theta, widths))[1]) / D
        ball = math.sqrt(problem.loss(layers(theta, widths))[0] / problem.ridge)
        assert printed(problem, ball, 3) * times < slope < lipschitz(problem, ball, 3)
        losses, sizes = descended(layers(theta, widths), problem, 1.99 / printed(problem, ball, 3), 2)
        assert losses[1] > losses[0]
        assert sizes[1] > ball


def descended(weights, problem, eta, num_steps=60):
    """L_lambda and ||theta|| over steps of gradient descent."""
    theta, widths, losses, sizes = flat(weights), (weights[0].shape[1], *map(len, weights)), [], []
    for _ in range(num_steps):
        value, slope = problem.loss(layers(theta, widths))
        losses.append(value)
        sizes.append(norm(theta))
        theta = theta - eta * slope
    return np.array(losses), np.array(sizes)


@given(seed=SEEDS, widths=st.sampled_from(SHAPES), start=st.floats(0.01, 2), ridge=st.floats(0.003, 1))
def test_proposition_a5_descent_stays_in_the_ball_and_does_not_rise(seed, widths, start, ridge):
    rng = np.random.default_rng(seed)
    problem = completion(rng, widths, ridge, scale=rng.choice([0, 0.3, 3]))
    weights = [start * rng.standard_normal(shape) for shape in zip(widths[1:], widths[:-1], strict=True)]
    ball = math.sqrt(problem.loss(weights)[0] / ridge)
    losses, sizes = descended(weights, problem, 1.999 / lipschitz(problem, ball, len(widths) - 1))
    assert np.all(np.diff(losses) <= 1e-13 * losses[0])
    assert np.all(sizes <= ball * (1 + 1e-12))


def test_proposition_a5_at_a_hundredth_more_than_its_step_fails():
    # Where the ridge is all of the curvature, a step of 1/lambda mirrors the weights.
    widths = (2, 3, 3, 2)
    weights = [1e-3 * np.eye(m, n) for m, n in zip(widths[1:], widths[:-1], strict=True)]
    problem = Problem(np.zeros((2, 2)), np.ones((2, 2)), 0.7)
    ball = math.sqrt(problem.loss(weights)[0] / problem.ridge)
    for times, rises in ((0.99, False), (1.01, True)):
        losses, _ = descended(weights, problem, times * 2 / lipschitz(problem, ball, 3))
        assert (losses[1] > losses[0]) == rises


# Lemma A.2 and Propositions A.6 and A.7 -----------------------------------------------------------------------------


def ratio(problem, weights):
    """||grad L||^2 / (2 L), the beta of the PL inequality at a point, lambda = 0."""
    value, slope = problem._replace(ridge=0.0).loss(weights)
    return norm(slope) ** 2 / (2 * value)


@given(seed=SEEDS, widths=st.sampled_from(SHAPES))
def test_proposition_a7_the_pl_constant_is_that_of_the_lower_layers(seed, widths):
    """1/2 ||grad L||^2 >= sigma_min(W_{L-1} ... W_1)^2 / N L.

    Its proof prints ||grad L||^2 >= 2 sigma^2 / N L, the same; Lemma A.2's beta is half of the beta it names.
    """
    rng = np.random.default_rng(seed)
    problem = completion(rng, widths, 0.0, scale=2.0)
    weights = [rng.standard_normal(shape) for shape in zip(widths[1:], widths[:-1], strict=True)]
    weights[-1] *= rng.choice([0, 0.1, 1])
    least = np.linalg.svd(chain(weights[:-1]), compute_uv=False)[-1]
    assert ratio(problem, weights) >= least**2 / problem.N * (1 - 1e-10)


def test_the_pl_constant_of_proposition_a7_is_attained():
    weights = [np.diag([2.0, 0.5]), np.diag([1.0, 0.6]), np.zeros((2, 2))]
    problem = Problem(np.outer([0.8, 0.6], [0, 1]), np.ones((2, 2)), 0.0)
    assert ratio(problem, weights) == pytest.approx(0.3**2 / 4, rel=1e-12)


def frames_of(A, depth, width=4):
    """Singular vectors of A and, between them, those of the hidden layers of balanced factors."""
    U, s, Vt = np.linalg.svd(A)
    return [Vt.T, *[np.eye(width)[:, :2]] * (depth - 1), U], s


def completed(depth, offdiagonal=0.25):
    """The balanced global minimum of rank 1 of the 2 x 2 completion, its problem, and the product."""
    A = np.array([[1, 1 / offdiagonal], [offdiagonal, 1]])
    frames, s = frames_of(A, depth)
    weights = [s[0] ** (1 / depth) * np.outer(up[:, 0], down[:, 0]) for down, up in itertools.pairwise(frames)]
    return weights, Problem(target_of(offdiagonal), MASK, 0.0), A


@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize("eps", [1e-1, 1e-2])
def test_proposition_a7_near_a_global_minimum_is_one_with_a_pl_inequality(depth, eps):
    """The layers below the last grow by eps times isometries that their successors do not see."""
    rng = np.random.default_rng(depth)
    weights, problem, A = completed(depth)
    assert np.linalg.svd(chain(weights[:-1]), compute_uv=False)[-1] < 1e-12
    moved, below = [], np.eye(2)
    for l, W in enumerate(weights[:-1]):
        seen = chain([np.eye(4), *weights[l + 1 :]])
        unseen = np.linalg.svd(seen)[2][2:].T @ np.linalg.qr(rng.standard_normal((2, 2)))[0]
        moved.append(W + eps / math.sqrt(2 * depth) * unseen @ below.T)
        below = unseen
    moved.append(weights[-1])
    assert norm(flat(moved) - flat(weights)) <= eps
    np.testing.assert_allclose(chain(moved), A, atol=1e-12)
    least = np.linalg.svd(chain(moved[:-1]), compute_uv=False)[-1]
    assert least > 1e-2 * eps ** (depth - 1)
    for _ in range(5):
        near = [W + 1e-2 * least * rng.uniform(-1, 1, W.shape) / depth**2 for W in moved]
        assert np.linalg.svd(chain(near[:-1]), compute_uv=False)[-1] > least / 2
        assert ratio(problem, near) >= (least / 2) ** 2 / problem.N


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_a_balanced_minimum_of_low_rank_has_no_pl_inequality_where_all_is_observed(depth):
    """Growing the second singular values to t leaves ||grad L||^2 / (2 L) = L t^{2L-2} / N."""
    weights, _, A = completed(depth)
    second = [np.outer(up[:, 1], down[:, 1]) for down, up in itertools.pairwise(frames_of(A, depth)[0])]
    for t in (0.2, 0.1):
        grown = [W + t * S for W, S in zip(weights, second, strict=True)]
        found = ratio(Problem(A, np.ones((2, 2)), 0.0), grown)
        assert found == pytest.approx(depth * t ** (2 * depth - 2) / 4, rel=1e-6)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_the_balanced_minimum_of_the_2_x_2_completion_has_a_pl_inequality(depth):
    """Its three observed entries move independently: near it beta is the least eigenvalue of J J^T / N."""
    weights, problem, A = completed(depth)
    seen = []
    for place in zip(*np.nonzero(MASK), strict=True):
        shifted = A.copy()
        shifted[place] += problem.N  # so that the gradient is that of the entry
        seen.append(problem._replace(target=shifted).loss(weights)[1])
    J, widths = np.array(seen), (2, *[4] * (depth - 1), 2)
    values, vectors = np.linalg.eigh(J @ J.T)
    beta = values[0] / problem.N
    assert beta > 0.005
    rng = np.random.default_rng(depth)
    for size in (1e-3, 1e-5):
        steps = [J.T @ vectors[:, 0], *rng.standard_normal((9, J.shape[1]))]
        least = min(ratio(problem, layers(flat(weights) + size * step, widths)) for step in steps)
        assert least == pytest.approx(beta, rel=100 * size)


class Flow(NamedTuple):
    """A start of gradient flow on L_lambda, the PL constant of the ball of this radius around it, and k_0 of Lemma A.2.

    The radius is 2 sqrt(L_lambda(theta_0) / beta): the proof integrates (c - x)^{-1/2} without its factor 2.
    """

    problem: Problem
    widths: tuple
    start: np.ndarray
    value: float
    beta: float
    radius: float
    k0: float


def flow(seed, size, residual, ridge, widths=(2, 2, 2, 2)):
    """Lower layers near ``size`` times the identity, whose least singular value in the ball is known by Weyl."""
    rng, L = np.random.default_rng(seed), len(widths) - 1
    weights = [size * np.eye(2) + 0.01 * rng.standard_normal((2, 2)) for _ in range(L - 1)]
    weights.append(np.zeros((2, 2)))
    off = rng.standard_normal((2, 2))
    problem = Problem(chain(weights) + residual * off / norm(off), np.ones((2, 2)), ridge)
    value, start = problem.loss(weights)[0], flat(weights)
    least = min(np.linalg.svd(W, compute_uv=False)[-1] for W in weights[:-1])
    radius = 0.0
    for _ in range(100):
        beta = (least - radius) ** (2 * L - 2) / problem.N
        radius = 2 * math.sqrt(value / beta)
    far = norm(start) + radius
    k0 = 2 / beta * (2 * math.sqrt(2 * beta * value) * far + beta * far**2)
    return Flow(problem, widths, start, value, beta, radius, k0)


def integrated(f, until):
    """The flow until L_lambda = lambda k_0."""

    def slope(_, theta):
        return -f.problem.loss(layers(theta, f.widths))[1]

    def reached(_, theta):
        return f.problem.loss(layers(theta, f.widths))[0] - f.problem.ridge * f.k0

    reached.terminal = True
    return scipy.integrate.solve_ivp(slope, (0, until), f.start, events=reached, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("seed", "size", "residual", "ridge"), [(0, 2, 0.2, 1e-6), (1, 3, 1, 1e-6), (2, 5, 7, 1e-5)])
def test_lemma_a2_the_flow_is_fast_under_a_pl_inequality(seed, size, residual, ridge):
    """T <= log(L_lambda(theta_0) / (lambda k_0)) / beta; it prints -(log lambda + log k_0) / beta."""
    f = flow(seed, size, residual, ridge)
    assert ridge * f.k0 < f.value
    bound = math.log(f.value / (ridge * f.k0)) / f.beta
    path = integrated(f, 2 * bound)
    assert bound / 4 < path.t_events[0][0] <= bound
    for t, theta in zip(path.t, path.y.T, strict=True):
        value, slope = f.problem.loss(layers(theta, f.widths))
        assert norm(theta - f.start) < f.radius
        assert norm(slope) ** 2 >= f.beta * (2 * value - ridge * f.k0)
        assert value <= f.value * math.exp(-f.beta * t) * (1 + 1e-6)
    assert norm(theta - f.start) > 1.1 * f.radius / 2  # it leaves the ball that the lemma prints


def test_lemma_a2_with_its_printed_radius_is_false():
    """L(x) = beta/2 (x - c)^2 up to R = sqrt(L_lambda(0) / beta) and constant beyond: the flow stops there."""
    beta, ridge = 1.0, 1e-4
    c = math.sqrt(2 / beta)
    R = math.sqrt(beta / 2 * c**2 / beta)
    k0 = 2 / beta * (2 * math.sqrt(2 * beta) * R + beta * R**2)

    def slope(_, x):
        return beta * (c - x) * (x <= R) - 2 * ridge * x

    path = scipy.integrate.solve_ivp(slope, (0, 100), [0.0], max_step=0.1)
    values = beta / 2 * (np.minimum(path.y[0], R) - c) ** 2 + ridge * path.y[0] ** 2
    assert values[0] == pytest.approx(1)
    assert values.min() > 0.085 > 50 * ridge * k0
    assert 10 * math.log(1 / (ridge * k0)) / beta < path.t[-1]


def test_lemma_a2_as_printed_has_a_negative_time():
    f = flow(0, 8, 60, 0.05)
    assert 1 < f.problem.ridge * f.k0 < f.value
    assert -(math.log(f.problem.ridge) + math.log(f.k0)) / f.beta < 0
    assert integrated(f, 1).t_events[0][0] > 0


@pytest.mark.parametrize("ridge", [1e-2, 1e-4])
def test_proposition_a6_the_flow_keeps_the_rank_that_a_fit_needs(ridge):
    """At eps = 0 matrices of rank 1 fit ever better and never exactly: r* = 1, and the other notion of rank is 2."""
    widths, problem, rng = (2, 4, 4, 2), Problem(target_of(0.0), MASK, ridge), np.random.default_rng(3)
    start = flat([0.7 * rng.standard_normal(shape) for shape in zip(widths[1:], widths[:-1], strict=True)])

    def ended(problem, until):
        path = scipy.integrate.solve_ivp(
            lambda _, theta: -problem.loss(layers(theta, widths))[1], (0, until), start, method="LSODA", rtol=1e-7
        )
        return layers(path.y[:, -1], widths)

    free = problem._replace(ridge=0.0)
    fitted = ended(free, 10)
    assert free.loss(fitted)[0] < 1e-4
    assert ratio(free, fitted) > 0.5
    weights = ended(problem, 40 / ridge)
    value, slope = problem.loss(weights)
    assert norm(slope) < 1e-4 * ridge
    assert np.linalg.svd(chain(weights), compute_uv=False)[1] > 0.4
    assert value < 6 * ridge


# Section 3: the rates of the constants, and the error of a fit ------------------------------------------------------


@pytest.mark.parametrize("depth", [3, 4, 6])
def test_the_rates_of_section_3_2_are_those_of_theorem_b1(depth):
    """As lambda falls at C = C_1/(2 lambda); any eps_2 < 1/2 will do at all of them."""
    found = []
    for decay in (1e-6, 1e-8):
        C = theory.smallest_norm_bound(weight_decay=decay, largest_entry=2.0)
        sizes = {"depth": depth, "rank": 1, "width": 5, "largest_entry": 2.0, "slack": 0.4}
        constants = theory.absorbing_constants(weight_decay=decay, norm_bound=float(C), **sizes)
        found.append([math.log(C), float(constants.log_cutoff), float(constants.log_imbalance)])
    slopes = np.subtract(*found) / math.log(100)
    power = (depth + 2) / (depth - 2)
    np.testing.assert_allclose(slopes, [-1, power, 2 * power + 2 * depth + 1], rtol=1e-6)


@pytest.mark.parametrize(("depth", "offdiagonal"), [(3, 0.2), (4, 0.1)])
def test_a_minimum_of_rank_two_fits_with_an_error_of_the_order_of_the_ridge(depth, offdiagonal):
    """A* - A = 2 N lambda U S^{2/L-1} V^T on the observed entries, whose matrix tends to that of the fit."""
    minimum = jax.jit(ft.partial(landscape.local_minimum, offdiagonal, depth=depth, rank=2))
    errors = []
    for ridge in (1e-5, 1e-6):
        A = np.asarray(minimum(ridge=ridge).matrix)
        U, s, Vt = np.linalg.svd(A)
        errors.append(MASK * (target_of(offdiagonal) - A) / ridge)
        np.testing.assert_allclose(errors[-1], MASK * (2 * 3 * U * s ** (2 / depth - 1) @ Vt), atol=1e-8)
    np.testing.assert_allclose(errors[0], errors[1], atol=1e-3 * norm(errors[1]))
    assert norm(errors[1]) > 0.1


# Section 2.2: two layers --------------------------------------------------------------------------------------------


def certified(problem, A):
    """||grad C(A)|| / (2 lambda): at most 1 at a critical point if and only if it is a global minimum of C_lambda."""
    return norm(problem.mask * (A - problem.target) / problem.N, 2) / (2 * problem.ridge)


def curvature(problem, weights, direction):
    """d^2/dt^2 of L_lambda along a direction, from its gradients."""
    h = 1e-4
    slopes = [problem.loss([W + t * D for W, D in zip(weights, direction, strict=True)])[1] for t in (h, -h)]
    return (slopes[0] - slopes[1]) @ flat(direction) / (2 * h)


def descends(problem, weights):
    """The direction u h^T, h v^T of an idle hidden unit h, -u and v leading in grad C, and its curvature."""
    upper, A = weights[1], chain(weights)
    U, s, Vt = np.linalg.svd(problem.mask * (A - problem.target) / problem.N)
    h = np.linalg.svd(upper)[2][-1]
    assert norm(upper @ h) + norm(h @ weights[0]) < 1e-6
    found = curvature(problem, weights, [-np.outer(h, Vt[0]), np.outer(U[:, 0], h)])
    assert found == pytest.approx(2 * (2 * problem.ridge - s[0]), abs=1e-5)
    return found < 0


@pytest.mark.parametrize("shape", [(2, 2), (3, 2), (2, 3)])
@pytest.mark.parametrize("share", [0.1, 0.7])
def test_two_layers_have_only_global_minima_and_strict_saddles_where_all_is_observed(shape, share):
    """All critical points, up to turns: any subset of A*'s singular values above 2 N lambda, each less 2 N lambda."""
    rng, N = np.random.default_rng(shape[0]), shape[0] * shape[1]
    U, V = (np.linalg.qr(rng.standard_normal((size, 2)))[0] for size in shape)
    s = np.array([2.0, 1.0])
    problem = Problem(U * s @ V.T, np.ones(shape), share / (2 * N))
    lowest = []
    for kept in itertools.product([0, 1], repeat=2):
        root = np.sqrt(np.array(kept) * (s - share))
        weights = [np.pad((V * root).T, ((0, 1), (0, 0))), np.pad(U * root, ((0, 0), (0, 1)))]
        value, slope = problem.loss(weights)
        assert norm(slope) < 1e-12
        lowest.append(value)
        if all(kept):
            assert certified(problem, chain(weights)) == pytest.approx(1)
        else:
            assert descends(problem, weights)
    assert lowest[-1] < min(lowest[:-1])


@given(seed=SEEDS, ridge=st.sampled_from([0.01, 0.05, 0.15]), rank=st.sampled_from([1, 2]))
def test_two_layers_have_only_global_minima_and_strict_saddles_on_a_mask(seed, ridge, rank):
    """Critical points of rank 1, which a search among layers of one hidden unit finds, and of all ranks."""
    rng = np.random.default_rng(seed)
    problem, narrow = Problem(target_of(rng.uniform(0.05, 2)), MASK, ridge), (2, rank, 2)
    found = scipy.optimize.minimize(
        lambda theta: problem.loss(layers(theta, narrow)),
        rng.standard_normal(4 * rank),
        jac=True,
        method="BFGS",
        options={"gtol": 1e-10},
    )
    small = layers(found.x, narrow)
    weights = [np.pad(small[0], ((0, 3 - rank), (0, 0))), np.pad(small[1], ((0, 0), (0, 3 - rank)))]
    assert norm(problem.loss(weights)[1]) < 1e-6
    least = certified(problem, chain(weights))
    if least > 1 + 1e-4:
        assert rank == 1
        assert descends(problem, weights)
    else:
        rivals = [problem.loss(layers(rng.standard_normal(12), (2, 3, 2)))[0] for _ in range(20)]
        assert found.fun < min(rivals)


# Proposition A.2 at saddles -----------------------------------------------------------------------------------------


def on_curve(u, eps, depth, rank):
    """lambda and A of the critical point of slope u, by the formulas of ``rank_jumps_landscape``."""
    rho = 0.0 if rank == 1 else u ** (2 * depth / (depth - 2))
    divisor = 1 - rho * u**2
    s = (eps + 1 / u - u) * (1 + u**2) / divisor
    ridge = u * (u**2 - rho - eps * (1 + rho) * u) / divisor * s ** (1 - 2 / depth) / 6
    diagonal, corner = (1 + rho) * s * u / (1 + u**2), s * (u**2 - rho) / (1 + u**2)
    return ridge, np.array([[diagonal, eps + 1 / u - u], [corner, diagonal]])


def critical(eps, depth, rank, share):
    """The minimum and the saddle of one rank at a share of the ridge at which they meet."""
    low, high = (eps + 1e-9, (eps + math.sqrt(eps**2 + 4)) / 2 - 1e-9) if rank == 1 else (0.3, 1 - 1e-9)
    grid = np.linspace(low, high, 20001)
    top = grid[np.argmax(on_curve(grid, eps, depth, rank)[0])]
    ridge = share * on_curve(top, eps, depth, rank)[0]
    ends = [scipy.optimize.brentq(lambda u: on_curve(u, eps, depth, rank)[0] - ridge, top, end) for end in (low, high)]
    first, second = (on_curve(u, eps, depth, rank)[1] for u in ends)
    return (ridge, first, second) if rank == 1 else (ridge, second, first)


def same_rank(problem, A, depth, rank):
    """Eigenvalues of the Hessian of C_lambda over the matrices of A's rank: over the entries, or s, left and right."""
    U, s, Vt = np.linalg.svd(A)

    def value(x):
        if rank == 1:
            moved = (s[0] + x[0]) * np.outer(U[:, 0] + x[1] * U[:, 1], Vt[0] + x[2] * Vt[1])
        else:
            moved = A + x.reshape(2, 2)
        cost = depth * s_sum(moved, depth, rank)
        return np.sum(MASK * (moved - problem.target) ** 2) / 6 + problem.ridge * cost

    h = 1e-4
    steps = h * np.eye(3 if rank == 1 else 4)
    H = [
        [sum(a * b * value(a * e + b * f) for a in (1, -1) for b in (1, -1)) / (4 * h**2) for e in steps] for f in steps
    ]
    return np.linalg.eigvalsh(H)


def s_sum(A, depth, rank):
    """sum_i s_i^{2/L} over the leading values, so that rounding of those that are zero does not count."""
    return np.sum(np.linalg.svd(A, compute_uv=False)[:rank] ** (2 / depth))


def hessian(problem, weights, h=1e-5):
    """Of L_lambda in the factors, from its gradients."""
    theta, widths = flat(weights), (weights[0].shape[1], *map(len, weights))
    steps = h * np.eye(len(theta))
    rows = [problem.loss(layers(theta + e, widths))[1] - problem.loss(layers(theta - e, widths))[1] for e in steps]
    return np.array(rows) / (2 * h)


@pytest.mark.parametrize("share", [0.3, 0.8])
@pytest.mark.parametrize(("depth", "rank", "eps"), [(3, 1, 0.2), (3, 2, 0.2), (4, 1, 0.1), (4, 2, 0.1)])
def test_proposition_a2_the_saddles_of_both_losses_are_strict_and_the_same(depth, rank, eps, share):
    """Where a minimum of one rank meets a saddle: one negative curvature in matrices and in factors, or none."""
    ridge, minimum, saddle = critical(eps, depth, rank, share)
    for A, negative in ((minimum, 0), (saddle, 1)):
        problem = Problem(target_of(eps), MASK, ridge)
        U, s, Vt = np.linalg.svd(A)
        root = s[:rank] ** (1 / depth)
        frames = [Vt[:rank].T, *[np.eye(2)[:, :rank]] * (depth - 1), U[:, :rank]]
        weights = [up * root @ down.T for down, up in itertools.pairwise(frames)]
        value, slope = problem.loss(weights)
        assert norm(slope) < 1e-9
        assert value == pytest.approx(
            np.sum(MASK * (A - problem.target) ** 2) / 6 + ridge * depth * s_sum(A, depth, rank)
        )
        curvatures = np.linalg.eigvalsh(hessian(problem, weights))
        assert np.sum(curvatures < -1e-6) == negative
        inner = same_rank(problem, A, depth, rank)
        assert np.sum(inner < -1e-5) == negative
        assert np.abs(inner).min() > 1e-4


# Lemmas C.1 and C.2: spectral functions -----------------------------------------------------------------------------


@given(seed=SEEDS, values=st.sampled_from([(2, 1, 0.5, -1), (2, 2, 2, 0.5), (3, 3, -1, -1), (1, 1, 1, 1), (0.5, 0.25)]))
def test_lemmas_c1_and_c2_give_the_derivatives_of_a_spectral_function(seed, values):
    """For f(x) = sum x^3 + sum x sum x^2 those are of Tr A^3 + Tr A Tr A^2; also where eigenvalues are equal."""
    rng, x = np.random.default_rng(seed), np.array(values, float)
    n, total = len(x), x.sum()
    U = np.linalg.qr(rng.standard_normal((n, n)))[0]
    A, H = U * x @ U.T, rng.standard_normal((n, n))
    H = H + H.T
    slope = 3 * x**2 + np.sum(x**2) + 2 * total * x
    second = np.diag(6 * x + 2 * total) + 2 * x[:, None] + 2 * x
    direct = 3 * A @ A + np.sum(x**2) * np.eye(n) + 2 * total * A
    np.testing.assert_allclose(U * slope @ U.T, direct, atol=1e-12)
    inner = U.T @ H @ U
    equal = x[:, None] == x
    # b_i = f''_pp - f''_pq of two places p and q of a block of equal values.
    b = np.diag(second)[:, None] - second
    apart = np.where(equal, 1, x[:, None] - x)
    between = np.where(equal, b, (slope[:, None] - slope) / apart) * (1 - np.eye(n))
    found = np.diag(inner) @ second @ np.diag(inner) + np.sum(between * inner**2)
    expected = 6 * np.trace(A @ H @ H) + 4 * np.trace(H) * np.trace(A @ H) + 2 * total * np.sum(H**2)
    assert found == pytest.approx(expected, rel=1e-10, abs=1e-10)


@given(seed=SEEDS, cutoff=st.floats(0.1, 3))
def test_lemma_c1_gives_the_gradient_of_the_soft_rank(seed, cutoff):
    """d/dW of sum_i f_alpha(s_i(W)^2) is 2 W f_alpha'(W^T W)."""
    W = np.random.default_rng(seed).standard_normal((4, 3))
    x, V = np.linalg.eigh(W.T @ W)
    slope = 2 / cutoff * np.maximum(1 - x / cutoff, 0)
    np.testing.assert_allclose(soft_slope(jnp.asarray(W), cutoff), 2 * W @ (V * slope) @ V.T, atol=1e-10)
