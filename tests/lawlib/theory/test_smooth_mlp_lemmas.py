"""After Lemma D.7 of Xu et al. 2026: a small step lowers the loss. Its Appendix C: the network is nearly linear.

Activations, losses and runs are written out in numpy; constants and gradients are lawlib's.
"""

import functools as ft
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf, expit

from lawlib.networks.activations import ACTIVATIONS
from lawlib.theory import smooth_mlp as theory
from lawlib.theory import smooth_mlp_bounds as bounds

D, M, K, N = 16, 20, 3, 60
STEP_SIZE = 0.02
SMOOTH = ("elu", "gelu", "silu", "tanh")
KINKED = ("relu", "leaky_relu")
norm = np.linalg.norm
few = settings(max_examples=10)
lawlibs_gradient = jax.jit(theory.first_layer_gradient, static_argnums=3)


def normal_density(z):
    return np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)


# phi and phi'.
PHI = {
    "elu": (lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))), lambda z: np.exp(np.minimum(z, 0))),
    "gelu": (
        lambda z: z * (1 + erf(z / math.sqrt(2))) / 2,
        lambda z: (1 + erf(z / math.sqrt(2))) / 2 + z * normal_density(z),
    ),
    "silu": (lambda z: z * expit(z), lambda z: expit(z) * (1 + z * expit(-z))),
    "tanh": (np.tanh, lambda z: 1 / np.cosh(z) ** 2),
    "relu": (lambda z: np.maximum(z, 0), lambda z: np.where(z > 0, 1.0, 0.0)),
    "leaky_relu": (lambda z: np.where(z > 0, z, 0.01 * z), lambda z: np.where(z > 0, 1.0, 0.01)),
}


class Problem(NamedTuple):
    """Whitened inputs, targets, a semi-orthogonal W_1 of scale 1, and the last layer."""

    X: np.ndarray
    Y: np.ndarray
    Q: np.ndarray
    W_2: np.ndarray


@ft.cache
def problem(seed, sizes=(D, M, K, N)):
    rng, (d, m, k, n) = np.random.default_rng(seed), sizes
    Y = np.kron(np.eye(k), np.ones((1, n // k)))
    mixture = rng.standard_normal((d, k)) @ Y + math.sqrt(3) * rng.standard_normal((d, n))
    U, _, Vt = np.linalg.svd(mixture, full_matrices=False)
    Q = np.linalg.qr(rng.standard_normal((m, d)))[0]
    return Problem(U @ Vt, Y, Q, rng.uniform(-1, 1, (k, m)))


def residual(W, p, name):
    return p.W_2 @ PHI[name][0](W @ p.X) - p.Y


def loss(W, p, name):
    return np.sum(residual(W, p, name) ** 2) / 2


def gradient(W, p, name):
    return np.asarray(lawlibs_gradient((jnp.asarray(W), p.W_2), p.X, p.Y, ACTIVATIONS[name]))


def gamma(p, largest, name):
    return float(bounds.gradient_lipschitz(jnp.asarray(p.W_2), largest, ACTIVATIONS[name]))


# ---- after Lemma D.7 ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMOOTH)
@few
@given(seed=st.integers(0, 2**31), power=st.floats(-2, 1), share=st.floats(0.01, 1.0), on_segment=st.booleans())
def test_a_step_of_at_most_one_over_gamma_does_not_raise_the_loss(name, seed, power, share, on_segment):
    """It lowers the loss by eta (1 - eta gamma_L / 2) ||G_1||^2 at least, if M bounds the residuals on the way.

    M = sqrt(2 loss) does, up to where the loss would be exceeded, and so does the largest residual on the segment.
    """
    p, start = problem(seed % 5), np.random.default_rng(seed).standard_normal((M, D)) * 10**power
    before, G = loss(start, p, name), gradient(start, p, name)
    largest = math.sqrt(2 * before)
    if on_segment:
        way = np.linspace(0, 1 / gamma(p, np.abs(residual(start, p, name)).max(), name), 200)
        largest = 1.01 * max(np.abs(residual(start - s * G, p, name)).max() for s in way)
    lipschitz = gamma(p, largest, name)
    eta = share / lipschitz
    fall = eta * (1 - eta * lipschitz / 2) * norm(G) ** 2
    assert fall > 0
    assert loss(start - eta * G, p, name) <= before - fall + 1e-12 * before


# Where |phi'| = beta.
STEEPEST = {"elu": 1.0, "gelu": math.sqrt(2), "silu": 2.3993572805154674, "tanh": 0.0}


def nearly_fitted(name, distance=1e-5):
    """Z = W_1 X at the steepest place, moved along the leading right singular vector of W_2, with X = I."""
    rng = np.random.default_rng(0)
    W_2, fitted = rng.uniform(-1, 1, (K, M)), np.full((M, D), STEEPEST[name])
    p = Problem(np.eye(D), W_2 @ PHI[name][0](fitted), None, W_2)
    return p, fitted + distance * np.linalg.svd(W_2)[2][:1].T


@pytest.mark.parametrize("name", SMOOTH)
def test_the_descent_is_attained_and_twice_the_step_is_the_limit(name):
    p, W = nearly_fitted(name)
    before, G = loss(W, p, name), gradient(W, p, name)
    eta = 1 / gamma(p, np.abs(residual(W, p, name)).max(), name)
    fall = before - loss(W - eta * G, p, name)
    np.testing.assert_allclose(fall, eta / 2 * norm(G) ** 2, rtol=1e-3)
    assert loss(W - 1.99 * eta * G, p, name) < before < loss(W - 2.01 * eta * G, p, name)


@pytest.mark.parametrize("name", SMOOTH)
def test_the_descent_needs_the_second_term_of_gamma(name):
    p, W = nearly_fitted(name)
    before, G = loss(W, p, name), gradient(W, p, name)
    lipschitz = gamma(p, np.abs(residual(W, p, name)).max(), name)
    first = lipschitz - (ACTIVATIONS[name].beta * norm(p.W_2, 2)) ** 2
    assert loss(W - G / lipschitz, p, name) < before < loss(W - G / first, p, name)


@pytest.mark.parametrize("name", ["gelu", "silu"])
def test_the_descent_needs_the_first_term_of_gamma(name):
    """One small weight, a far target, and a start beside the minimum of phi: the step would go beyond it."""
    p = Problem(np.ones((1, 1)), np.full((1, 1), -5.0), None, np.full((1, 1), 0.1))
    W = np.full((1, 1), -0.5)
    before, G = loss(W, p, name), gradient(W, p, name)
    eta = 1 / gamma(p, math.sqrt(2 * before), name)
    second = (ACTIVATIONS[name].beta * 0.1) ** 2
    assert loss(W - eta * G, p, name) < before < loss(W - G / second, p, name)


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("scale", [0.01, 3.0])
def test_with_a_step_size_from_the_start_the_loss_falls_at_every_step(name, scale):
    """M = sqrt(2 loss(0)) needs no assumption on later residuals."""
    p = problem(0)
    W, losses, falls = scale * p.Q, [], []
    eta = 1 / gamma(p, math.sqrt(2 * loss(W, p, name)), name)
    for _ in range(40):
        G = gradient(W, p, name)
        losses.append(loss(W, p, name))
        falls.append(eta / 2 * norm(G) ** 2)
        W = W - eta * G
    assert np.all(-np.diff(losses) >= falls[:-1])
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("name", ["gelu", "silu"])
def test_residuals_on_the_way_can_exceed_those_at_both_ends(name):
    """So M of Assumption 3.4, which bounds them at the iterates alone, is not what the descent lemma needs."""
    p = Problem(np.ones((1, 1)), np.ones((1, 1)), None, np.ones((1, 1)))
    first, between, last = (abs(residual(np.full((1, 1), w), p, name)).item() for w in (-20.0, -1.0, 0.0))
    assert max(first, last) <= 1 + 1e-7 < 1.15 < between


# ---- Appendix C, the conjecture -------------------------------------------------------------------------------------


def slope(name):
    """phi'(0), and that of the nearest line for a kink."""
    return ACTIVATIONS[name].slope_at_zero if name in SMOOTH else (1.0 + PHI[name][1](-1.0)) / 2


def deviation(W, p, name):
    """W_2 phi(W_1 X) - phi'(0) W_2 W_1 X."""
    Z = W @ p.X
    return p.W_2 @ (PHI[name][0](Z) - slope(name) * Z)


def apart(W, p, name):
    """The size of the deviation relative to the linear network."""
    return norm(deviation(W, p, name)) / norm(slope(name) * p.W_2 @ W @ p.X)


@pytest.mark.parametrize("name", SMOOTH)
@few
@given(seed=st.integers(0, 2**31), power=st.floats(-3, 1))
def test_the_network_is_linear_but_for_the_square_of_its_preactivations(name, seed, power):
    """||W_2 phi(Z) - phi'(0) W_2 Z||_F <= mu/2 sigma_1(W_2) ||Z . Z||_F, Z = W_1 X, for any W_1."""
    p, W = problem(seed % 5), np.random.default_rng(seed).standard_normal((M, D)) * 10**power
    bound = ACTIVATIONS[name].mu / 2 * norm(p.W_2, 2) * norm((W @ p.X) ** 2)
    assert norm(deviation(W, p, name)) <= bound


@pytest.mark.parametrize(("name", "z"), [("elu", -1e-3), ("gelu", 1e-3), ("silu", -1e-3)])
def test_that_bound_is_attained(name, z):
    p = Problem(np.eye(1), None, None, np.eye(1))
    bound = ACTIVATIONS[name].mu / 2 * z**2
    np.testing.assert_allclose(norm(deviation(np.full((1, 1), z), p, name)), bound, rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "order"), [("elu", 1), ("gelu", 1), ("silu", 1), ("tanh", 2), ("relu", 0), ("leaky_relu", 0)]
)
def test_the_relative_deviation_at_the_start_falls_with_eps_unless_there_is_a_kink(name, order):
    for seed in range(3):
        p = problem(seed)
        sizes = [apart(eps * p.Q, p, name) for eps in (1e-1, 1e-2, 1e-3)]
        np.testing.assert_allclose(-np.diff(np.log10(sizes)), order, atol=0.02)


@pytest.mark.parametrize("name", KINKED)
@pytest.mark.parametrize("eps", [1e-4, 1.0])
def test_no_multiple_of_the_linear_network_is_near_one_with_a_kink(name, eps):
    for seed in range(3):
        p = problem(seed)
        Z = eps * p.Q @ p.X
        outputs, linear = p.W_2 @ PHI[name][0](Z), p.W_2 @ Z
        multiple = np.sum(outputs * linear) / np.sum(linear**2)
        assert norm(outputs - multiple * linear) > 0.5 * norm(outputs)


def descended(W, p, name, num_steps, step_size=STEP_SIZE):
    """W_1(0), ..., W_1(T), by the gradient written out, since lawlib's is compared with it below."""
    path, (phi, slopes) = [W], PHI[name]
    for _ in range(num_steps):
        Z = path[-1] @ p.X
        path.append(path[-1] - step_size * ((p.W_2.T @ (p.W_2 @ phi(Z) - p.Y)) * slopes(Z)) @ p.X.T)
    return path


@ft.cache
def run(name, eps):
    return descended(eps * problem(0).Q, problem(0), name, 40)


@pytest.mark.parametrize(("name", "least"), [("elu", 0.03), ("gelu", 0.08), ("silu", 0.05), ("tanh", 0.005)])
def test_along_a_run_the_deviation_is_small_but_does_not_fall_with_eps(name, least):
    """At a step t > 0 it tends to a positive number for eps -> 0, since the layer grows whatever its start.

    Print gives the near linearity as a reason for the small tail 'for all GD iterations'.
    """
    p = problem(0)
    ends = [apart(run(name, eps)[-1], p, name) for eps in (1e-2, 1e-4, 1e-6)]
    assert least < ends[-1] < 1.2 * least
    np.testing.assert_allclose(ends[0], ends[-1], rtol=0.02)
    np.testing.assert_allclose(ends[1], ends[-1], rtol=2e-4)
    assert ends[-1] < apart(run("relu", 1e-6)[-1], p, "relu") / 9


@pytest.mark.parametrize(("name", "least", "most"), [("elu", 0.005, 0.01), ("relu", 0.5, 1)])
def test_in_the_setting_of_figure_12_the_deviation_is_below_a_hundredth_with_elu(name, least, most):
    """d = 64, m = 72, K = 4, N = 1000, eps = eta = 0.01, at t = 20, from where on it hardly grows."""
    p = problem(0, (64, 72, 4, 1000))
    assert least < apart(descended(0.01 * p.Q, p, name, 20, step_size=0.01)[-1], p, name) < most


def linear_gradient(W, p, name):
    """The gradient of 1/2 ||phi'(0) W_2 W_1 X - Y||_F^2, of rank K at most."""
    c = slope(name)
    return c * p.W_2.T @ (c * p.W_2 @ W @ p.X - p.Y) @ p.X.T


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("eps", [1e-1, 1e-4])
def test_the_gradient_is_that_of_the_linear_network_but_for_a_bounded_part(name, eps):
    """||E||_F <= sigma_1(W_2) (phi'(0) ||deviation||_F + mu ||W_1 X||_max ||Delta_2||_F), and sigma_{K+1} <= ||E||."""
    p = problem(0)
    for t in (0, 1, 10, 40):
        W = run(name, eps)[t]
        G = gradient(W, p, name)
        E = G - linear_gradient(W, p, name)
        curved = ACTIVATIONS[name].mu * np.abs(W @ p.X).max() * norm(residual(W, p, name))
        assert norm(E) <= norm(p.W_2, 2) * (slope(name) * norm(deviation(W, p, name)) + curved)
        tail = np.linalg.svd(G, compute_uv=False)[K]
        assert 0.05 * norm(E, 2) < tail <= norm(E, 2)


@pytest.mark.parametrize(("name", "order"), [("elu", 1), ("gelu", 1), ("silu", 1), ("tanh", 2), ("relu", 0)])
def test_that_part_of_the_first_gradient_falls_with_eps_unless_there_is_a_kink(name, order):
    p = problem(1)
    sizes = []
    for eps in (1e-2, 1e-3, 1e-4):
        G = gradient(eps * p.Q, p, name)
        sizes.append(norm(G - linear_gradient(eps * p.Q, p, name)) / norm(G))
    np.testing.assert_allclose(-np.diff(np.log10(sizes)), order, atol=0.03)
    assert (sizes[-1] > 0.5) == (order == 0)
