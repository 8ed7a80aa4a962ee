"""Rank jumps: the sets B_r, which bounds decide on them, and their closedness in extended precision."""

import functools as ft
import itertools
import math

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rank_jumps_reference import CASES, OBSERVED, constants_in, drawn, factorized, target_of

from lawlib.theory import rank_jumps as theory
from lawlib.theory import rank_jumps_region as region

DIGITS = 150

quantities = jax.jit(region.region_quantities)


# The region B_r -------------------------------------------------------------------------------------------


@jax.jit
def weight_and_slope(x, beside, cutoff):
    return region.rank_weight(x, cutoff), jax.grad(region.rank_weight)(beside, cutoff)


@given(st.floats(0, 3), st.floats(0.01, 2))
def test_rank_weight_is_what_the_paper_asks_of_it(x, cutoff):
    weight, slope = (float(value) for value in weight_and_slope(x, x + 1e-3, cutoff))
    assert weight == pytest.approx(x * (2 * cutoff - x) / cutoff**2 if x <= cutoff else 1, rel=1e-12)
    assert -1e-12 <= slope <= theory.SLOPE / cutoff * (1 + 1e-12)


def test_region_quantities_name_both_norms(dtype, tol):
    weights = drawn(3, (2, 4, 3, 2), dtype)
    seen = quantities(weights, 0.2)
    dense = [np.asarray(W, "float64") for W in weights]
    joints = [up.T @ up - W @ W.T for W, up in itertools.pairwise(dense)]
    rtol = tol(weights[0], 20)
    np.testing.assert_allclose(seen.norms, [np.sum(W**2) for W in dense], rtol=rtol)
    np.testing.assert_allclose(seen.squared_frobenius_imbalances, [np.sum(D**2) for D in joints], rtol=rtol)
    np.testing.assert_allclose(seen.spectral_imbalances, [np.linalg.norm(D, 2) for D in joints], rtol=rtol)
    spectra = [np.linalg.eigvalsh(W.T @ W) for W in dense]
    soft = [sum(1.0 if x > 0.2 else x * (0.4 - x) / 0.04 for x in np.maximum(s, 0)) for s in spectra]
    np.testing.assert_allclose(seen.soft_ranks, soft, rtol=10 * rtol)


@pytest.mark.parametrize("broken", ["norm", "imbalance", "slack", ""])
def test_each_bound_decides_on_membership(broken):
    weights = drawn(3, (2, 4, 3, 2))
    seen = quantities(weights, 0.2)
    bounds = {"norm": seen.norms.max(), "imbalance": seen.spectral_imbalances.max(), "slack": seen.soft_ranks.max()}
    bounds = {name: float(bound) * (0.99 if name == broken else 1.01) for name, bound in bounds.items()}
    assert bool(region.is_inside(seen, region.Region(rank=0, cutoff=0.2, **bounds))) == (broken == "")


@given(st.integers(0, 2**31), st.sampled_from([3, 4]), st.floats(1e-3, 0.3))
def test_weights_of_low_soft_rank_have_products_of_low_soft_rank(seed, depth, cutoff):
    # Proposition F.1, whose slack grows with the imbalance, and 3.3 for balanced factors.
    rng = np.random.default_rng(seed)
    widths = (2, *[3] * (depth - 1), 2)
    A = rng.normal(size=(2, 2)) * [[1], [rng.uniform(0, 0.3)]]
    balanced = factorized(jnp.asarray(A), widths=widths)
    soft = float(quantities(balanced, cutoff).soft_ranks.max())
    s = np.linalg.svd(A, compute_uv=False)

    def of_product(values):
        return sum(1.0 if x > cutoff else x * (2 * cutoff - x) / cutoff**2 for x in values)

    assert of_product(s ** (2 / depth)) <= soft * (1 + 1e-9)
    moved = [np.asarray(W) + 1e-4 * rng.normal(size=W.shape) for W in balanced]
    seen = quantities(tuple(map(jnp.asarray, moved)), cutoff)
    C, imbalance = float(seen.norms.max()), float(seen.spectral_imbalances.max())
    product = ft.reduce(lambda P, W: W @ P, moved)
    error = theory.SLOPE * 3 * depth**2 / (2 * cutoff) * C ** (depth - 1) * imbalance
    squares = np.linalg.svd(product, compute_uv=False) ** 2
    assert of_product(squares) <= float(seen.soft_ranks.max()) + error + 1e-9


# Closedness in extended precision -------------------------------------------------------------------------


class Exact:
    """Points where the bounds of B_r are attained, and steps from there, in numbers of 150 digits."""

    def __init__(self, case, widths):
        self.case, self.widths, self.depth = case, widths, case[1]
        self.decay, self.slack = mp.mpf(case[0]), mp.mpf(case[5])
        self.C, self.alpha, self.eps1, self.terms = constants_in(mp, *case)

    def orthonormal(self, rng, rows, columns):
        return mp.qr(mp.matrix(rng.normal(size=(rows, columns)).tolist()), mode="skinny")[0]

    def weights(self, rng, cores):
        frames = [self.orthonormal(rng, width, 2) for width in self.widths]
        return [frames[k + 1] * cores[k] * frames[k].T for k in range(self.depth)], frames

    def spectrum(self, room):
        """(s_1^2, s_2^2) with s_1^2 + s_2^2 = C and soft rank 1 + eps_2, less the room."""
        small = self.alpha * (1 - mp.sqrt(1 - self.slack)) - room
        return self.C - small - 2 * room, small

    def balanced(self, rng):
        diagonal = mp.diag([mp.sqrt(x) for x in self.spectrum(mp.mpf(0))])
        turn = self.orthonormal(rng, 2, 2)
        return self.weights(rng, [turn * diagonal * turn.T] * self.depth)[0]

    def residual(self, weights, entry, offdiagonal=0.25):
        product = weights[0]
        for W in weights[1:]:
            product = W * product
        G = mp.zeros(2, 2)
        G[entry] = product[entry] - mp.mpf(target_of(offdiagonal)[entry])
        return G

    def pushes(self, weights, G):
        return [self._push(weights, G, k) for k in range(self.depth)]

    def _push(self, weights, G, k):
        left, right = mp.eye(self.widths[k + 1]), mp.eye(self.widths[k])
        for W in weights[k + 1 :]:
            left = W * left
        for W in reversed(weights[:k]):
            right = right * W
        return left.T * G * right.T

    def step(self, weights, G, eta):
        pairs = zip(weights, self.pushes(weights, G), strict=True)
        return [(1 - eta * self.decay) * W - eta * T for W, T in pairs]

    def excesses(self, weights):
        """How far norms, imbalances and soft ranks are beyond their bounds."""
        norms = [sum(x**2 for x in W) - self.C for W in weights]
        joints = [up.T * up - W * W.T for W, up in itertools.pairwise(weights)]
        spectral = [max(abs(x) for x in mp.eigsy(D, eigvals_only=True)) - self.eps1 for D in joints]
        soft = []
        for W in weights:
            gram = W.T * W if W.cols <= W.rows else W * W.T
            shares = [min(x / self.alpha, mp.mpf(1)) for x in mp.eigsy(gram, eigvals_only=True)]
            soft.append(sum(x * (2 - x) for x in shares) - self.case[2] - self.slack)
        return max(norms), max(spectral), max(soft)

    def tilted(self, rng, joint, push):
        """Weights whose imbalance at one joint is -+eps_1 v v^T for the v that a step pushes most, the rest balanced.

        ``push`` is the function from balanced weights to X_l of that joint.
        """
        room = 4 * self.eps1
        diagonal = mp.diag([mp.sqrt(x) for x in self.spectrum(room)])
        turn = self.orthonormal(rng, 2, 2)
        core = turn * diagonal * turn.T
        weights, frames = self.weights(rng, [core] * self.depth)
        inner = frames[joint + 1].T * push(weights) * frames[joint + 1]
        values, vectors = mp.eigsy(inner)
        top = 0 if abs(values[0]) > abs(values[1]) else 1
        v = vectors[:, top]
        gram = core.T * core + mp.sign(values[top]) * self.eps1 * v * v.T
        values, vectors = mp.eigsy(gram)
        root = vectors * mp.diag([mp.sqrt(x) for x in values]) * vectors.T
        # Layers up to the joint have the tilted Gram matrix, whatever their side; those after it the old one.
        cores = [root] * (joint + 1) + [core] * (self.depth - joint - 1)
        return [frames[k + 1] * cores[k] * frames[k].T for k in range(self.depth)]


@pytest.fixture
def many_digits():
    with mp.workdps(DIGITS):
        yield


@pytest.mark.usefixtures("many_digits")
@pytest.mark.parametrize(("case", "widths"), [(CASES[0], (2, 4, 3, 2)), (CASES[1], (2, 3, 2, 3, 2))])
@pytest.mark.parametrize("entry", OBSERVED)
def test_no_admissible_step_leaves_the_region_and_one_beyond_leaving_steps_does(case, widths, entry):
    exact, rng = Exact(case, widths), np.random.default_rng(entry)
    weights = exact.balanced(rng)
    assert abs(max(exact.excesses(weights)[::2], key=abs)) < mp.mpf(10) ** (20 - DIGITS)
    G, largest = exact.residual(weights, entry), min(exact.terms)
    assert max(exact.excesses(exact.step(weights, G, largest))) <= 0
    floats = tuple(jnp.asarray(np.array(W.tolist(), float)) for W in weights)
    residual = jnp.asarray(np.array(G.tolist(), float))
    steps = region.leaving_steps(floats, residual, weight_decay=case[0], imbalance=float(exact.eps1))
    by_norm = mp.mpf(float(steps.by_norm.min()))
    assert exact.excesses(exact.step(weights, G, by_norm * (1 - mp.mpf("1e-9"))))[0] < 0
    assert exact.excesses(exact.step(weights, G, by_norm * (1 + mp.mpf("1e-9"))))[0] > 0

    def push(weights):
        T = exact.pushes(weights, exact.residual(weights, entry))
        return T[0] * T[0].T - T[1].T * T[1]

    tilted = exact.tilted(rng, 0, push)
    excesses = exact.excesses(tilted)
    assert max(excesses) < exact.eps1 * mp.mpf(10) ** (20 - DIGITS // 2)
    assert abs(excesses[1]) < exact.eps1 * mp.mpf(10) ** -20
    G = exact.residual(tilted, entry)
    assert max(exact.excesses(exact.step(tilted, G, largest))) <= 0
    floats = tuple(jnp.asarray(np.array(W.tolist(), float)) for W in tilted)
    residual = jnp.asarray(np.array(G.tolist(), float))
    by_imbalance = region.leaving_steps(
        floats, residual, weight_decay=case[0], imbalance=float(exact.eps1)
    ).by_imbalance[0]
    threshold = mp.mpf(float(by_imbalance))
    assert threshold >= largest
    assert exact.excesses(exact.step(tilted, G, threshold * (1 - mp.mpf("1e-6"))))[1] < 0
    assert exact.excesses(exact.step(tilted, G, threshold * (1 + mp.mpf("1e-6"))))[1] > 0


@pytest.mark.parametrize("decay", [0.5, 5.0])
def test_the_leaving_step_of_a_large_imbalance_is_that_of_the_worst_matrix_of_its_norm(decay):
    weights, bound = drawn(2, (2, 4, 3, 2)), 0.3
    residual = jnp.asarray([[0.0, 0.0], [0.7, 0.0]])
    leaving = region.leaving_steps(weights, residual, weight_decay=decay, imbalance=bound).by_imbalance
    W, G = [np.asarray(w) for w in weights], np.asarray(residual)
    pushes = [(W[2] @ W[1]).T @ G, W[2].T @ G @ W[0].T, G @ (W[1] @ W[0]).T]
    for (T, up), eta in zip(itertools.pairwise(pushes), leaving, strict=True):
        X = T @ T.T - up.T @ up
        values, vectors = np.linalg.eigh(X)
        top = np.argmax(abs(values))
        worst = -np.sign(values[top]) * bound * np.outer(vectors[:, top], vectors[:, top])
        norms = [np.linalg.norm((1 - e * decay) ** 2 * worst - e**2 * X, 2) for e in (0.999 * eta, 1.001 * eta)]
        assert norms[0] < bound < norms[1]


def test_every_step_leaves_a_region_as_small_as_theorem_d4_prints():
    # Its C <= 1/(2 lambda) admits C = .2/lambda; at A_ij = A*_ij/2 the loss pushes outward by more than the decay.
    decay = 0.05
    C = 0.2 / decay
    s = math.sqrt(C)
    angle = math.asin(1 / s**3) / 2  # A_00 = s^3 sin cos = 1/2
    cores = [jnp.diag(jnp.asarray([s, 0.0])) for _ in range(3)]
    u, v = (math.sin(angle), math.cos(angle)), (math.cos(angle), -math.sin(angle))
    weights = cores[0] @ jnp.asarray([u, v]), cores[1], jnp.asarray([v, (u[0], -u[1])]).T @ cores[2]
    product = weights[2] @ weights[1] @ weights[0]
    assert product[0, 0] == pytest.approx(0.5, rel=1e-12)
    residual = jnp.zeros((2, 2)).at[0, 0].set(product[0, 0] - 1)
    assert jnp.all(region.leaving_steps(weights, residual, weight_decay=decay, imbalance=1e-3).by_norm == 0)
    after = region.sgd_step(weights, residual, step_size=1e-6, weight_decay=decay)
    assert all(jnp.sum(W**2) > C * (1 + 1e-9) for W in after)
