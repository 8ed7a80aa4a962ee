"""Rank jumps: losses, the constants of Theorems B.1 and B.2, the sets B_r in extended precision, the 2x2 landscape."""

import functools as ft
import itertools
import math

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
import scipy.optimize
from hypothesis import given
from hypothesis import strategies as st

from lawlib.initializers import balanced_factorization
from lawlib.theory import rank_jumps as theory
from lawlib.theory import rank_jumps_landscape as landscape
from lawlib.theory import rank_jumps_region as region

OBSERVED = [(0, 0), (1, 0), (1, 1)]
MASK = np.array([[1.0, 0.0], [1.0, 1.0]])
RIDGES = (0.025, 0.00025)  # of the figures' two phases, in units of C + lambda ||theta||^2
DIGITS = 150


SIZES = ("depth", "rank", "fill_sign")
# Compiled once for all tests: the bisections inside take longer to compile than to run.
local_minimum, last_ridge, last_offdiagonal, shrunk = (
    jax.jit(function, static_argnames=SIZES[:number])
    for function, number in (
        (landscape.local_minimum, 3),
        (landscape.last_ridge, 3),
        (landscape.last_offdiagonal, 1),
        (landscape.shrunk, 1),
    )
)
quantities = jax.jit(region.region_quantities)
factorized = jax.jit(balanced_factorization, static_argnames="widths")


def target_of(offdiagonal):
    return np.array([[1.0, 0.0], [offdiagonal, 1.0]])


def drawn(seed, widths, dtype="float64"):
    rng = np.random.default_rng(seed)
    shapes = zip(widths[1:], widths[:-1], strict=True)
    return tuple(jnp.asarray(rng.normal(size=shape) / math.sqrt(shape[1]), dtype) for shape in shapes)


def dense_cost(A, depth):
    return depth * np.sum(np.linalg.svd(A, compute_uv=False) ** (2 / depth))


def dense_loss(A, offdiagonal, ridge, depth):
    return np.sum(MASK * (A - target_of(offdiagonal)) ** 2) / 6 + ridge * dense_cost(A, depth)


# Losses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [3, 4])
def test_the_representation_cost_is_that_of_balanced_factors_and_of_no_others(depth, dtype, tol):
    widths = (3, *[5] * (depth - 1), 2)
    weights = drawn(depth, widths, dtype)
    product = ft.reduce(lambda P, W: W @ P, weights)
    cost = theory.representation_cost(product, depth)
    assert cost == pytest.approx(dense_cost(np.asarray(product, "float64"), depth), rel=tol(product, 10))
    factors = factorized(product, widths=widths)
    assert sum(jnp.sum(W**2) for W in factors) == pytest.approx(float(cost), rel=tol(product, 10))
    assert sum(jnp.sum(W**2) for W in weights) > cost
    target = jnp.asarray(np.arange(6).reshape(2, 3), dtype)
    mask = jnp.asarray([[1, 0, 1], [1, 1, 0]], dtype)
    losses = theory.factored_loss(factors, target, mask, 0.3), theory.matrix_loss(product, target, mask, 0.3, depth)
    assert losses[0] == pytest.approx(float(losses[1]), rel=tol(product, 10))
    expected = np.mean((np.asarray(product) - np.arange(6).reshape(2, 3))[np.asarray(mask) == 1] ** 2) / 2
    assert theory.observed_loss(product, target, mask) == pytest.approx(expected, rel=tol(product))


def test_the_figures_update_is_in_expectation_a_step_on_the_loss_with_a_quarter_of_the_ridge():
    weights, eta, decay, target = drawn(0, (2, 4, 3, 2)), 0.2, 0.1, target_of(0.25)

    @jax.jit
    def entry_step(W, observed):
        def loss(W):
            return jnp.sum(observed * (target - W[2] @ W[1] @ W[0]) ** 2)

        return jax.tree.map(lambda w, g: (1 - eta * decay) * w - eta * g, W, jax.grad(loss)(W))

    steps = [entry_step(weights, jnp.zeros((2, 2)).at[entry].set(1.0)) for entry in OBSERVED]
    mean = jax.tree.map(lambda *w: sum(w) / 3, *steps)
    loss = ft.partial(theory.factored_loss, target=jnp.asarray(target), mask=jnp.asarray(MASK), ridge=decay / 4)
    gradient = jax.jit(jax.grad(loss))(weights)
    for got, W, G in zip(mean, weights, gradient, strict=True):
        np.testing.assert_allclose(got, W - 2 * eta * G, rtol=1e-13, atol=1e-15)


def test_the_appendix_step_is_that_on_one_entry():
    weights, target = drawn(1, (2, 4, 3, 2)), target_of(0.25)

    def loss(W):
        return (target[1, 0] - (W[2] @ W[1] @ W[0])[1, 0]) ** 2

    product = weights[2] @ weights[1] @ weights[0]
    residual = jnp.zeros((2, 2)).at[1, 0].set(product[1, 0] - target[1, 0])
    got, gradient = jax.jit(lambda W: (region.stepped(W, residual, 0.3, 0.05), jax.grad(loss)(W)))(weights)
    for new, W, G in zip(got, weights, gradient, strict=True):
        np.testing.assert_allclose(new, (1 - 0.3 * 0.05) * W - 0.15 * G, rtol=1e-13, atol=1e-15)


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


# Theorem B.1's constants, and its closedness in extended precision ----------------------------------------

CASES = [  # weight decay, depth, rank, width, C over its least value, slack
    (0.05, 3, 1, 4, 1.0, 0.25),
    (0.2, 4, 1, 3, 1.5, 0.4),
    (0.0005, 3, 2, 100, 1.0, 0.1),
]


def constants_in(context, decay, depth, rank, width, times, slack):
    """The constants as the paper prints them, as numbers of this context."""
    lam, small, C1, K, n, r, L = context.mpf(decay), context.mpf(slack), context.mpf(1), 2, width, rank, depth
    C = times * C1 / (2 * lam)
    B = 2 * (C1 + C**L)
    alpha = (lam**2 / B) ** (context.mpf(1) / (L - 2))
    root = lam * alpha * small / (64 * n * K * L * (r + 1) ** 2 * C ** (context.mpf(L - 1) / 2) * context.sqrt(B))
    eps1 = root**2
    terms = [
        C1 / (4 * (2 * (C1 + C**L) * C ** (L - 1) + lam**2 * C)),
        2 * lam * eps1 / (4 * (C1 + C**L) * C ** (L - 1) + lam**2 * eps1),
        lam * alpha * small / (64 * n * K * (r + 1) ** 2 * (2 * (C1 + C**L) * C ** (L - 1) + lam**2 * C)),
        2 * (r + 1) / lam,
    ]
    return C, alpha, eps1, terms


@pytest.mark.parametrize("case", CASES)
def test_constants_are_those_of_theorem_b1(case, dtype, tol):
    decay, depth, rank, width, _, slack = case
    C, alpha, eps1, terms = constants_in(mp, *case)
    given = dict(zip(("weight_decay", "norm_bound", "slack"), map(dtype.type, (decay, float(C), slack)), strict=True))
    given = {name: jnp.asarray(value) for name, value in given.items()}
    sizes = {"depth": depth, "rank": rank, "width": width, "largest_entry": jnp.asarray(1, dtype)}
    got = jax.jit(ft.partial(theory.absorbing_constants, depth=depth, rank=rank, width=width))(
        largest_entry=sizes["largest_entry"], **given
    )
    assert got.log_step_sizes.dtype == dtype
    close = ft.partial(pytest.approx, rel=tol(jnp.zeros(1, dtype)))
    assert got.log_cutoff == close(float(mp.log(alpha)))
    assert got.log_imbalance == close(float(mp.log(eps1)))
    np.testing.assert_allclose(got.log_step_sizes, [float(mp.log(x)) for x in terms], rtol=tol(jnp.zeros(1, dtype)))
    assert theory.smallest_norm_bound(decay, 3.0) == pytest.approx(9 / (2 * decay), rel=1e-12)


def test_the_jump_bound_is_that_of_theorem_b2():
    numbers = {"step_size": 0.4, "weight_decay": 0.05, "norm_bound": 20.0, "start_norm": 17.0, "slack": 0.25}
    logs = {"log_cutoff": -15.0, "log_imbalance": -80.0}
    got = theory.jump_bound(rank=1, width=100, smallest_side=2, **numbers, **logs)
    assert got.settling_steps == pytest.approx(math.log(2 * 17 / math.exp(-80)) / 0.02, rel=1e-12)
    assert got.sampling_steps == pytest.approx(math.log(4 * 99 * 20 / (math.exp(-15) * 0.25)) / 0.04, rel=1e-12)
    assert got.log_probability == pytest.approx(float(got.sampling_steps) * math.log(1 / 2), rel=1e-12)
    assert theory.jump_bound(rank=0, width=100, smallest_side=2, **numbers, **logs).log_probability == -math.inf


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
    steps = region.leaving_steps(floats, residual, case[0], float(exact.eps1))
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
    by_imbalance = region.leaving_steps(floats, residual, case[0], float(exact.eps1)).by_imbalance[0]
    threshold = mp.mpf(float(by_imbalance))
    assert threshold >= largest
    assert exact.excesses(exact.step(tilted, G, threshold * (1 - mp.mpf("1e-6"))))[1] < 0
    assert exact.excesses(exact.step(tilted, G, threshold * (1 + mp.mpf("1e-6"))))[1] > 0


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
    assert jnp.all(region.leaving_steps(weights, residual, decay, 1e-3).by_norm == 0)
    after = region.stepped(weights, residual, 1e-6, decay)
    assert all(jnp.sum(W**2) > C * (1 + 1e-9) for W in after)


# The landscape --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("depth", "ridge"), [(3, RIDGES[0]), (4, RIDGES[1])])
def test_rank_two_minima_are_those_that_a_search_finds(depth, ridge):
    offdiagonal = 0.8 * float(last_offdiagonal(ridge, depth=depth))
    found = local_minimum(offdiagonal, ridge, depth=depth, rank=2)
    A = np.asarray(found.matrix)
    assert found.exists
    np.testing.assert_allclose(np.linalg.svd(A, compute_uv=False), found.singular_values, rtol=1e-11)

    def loss(x):
        return dense_loss(x.reshape(2, 2), offdiagonal, ridge, depth)

    rng = np.random.default_rng(depth)
    start = A.ravel() + 0.01 * np.linalg.svd(A, compute_uv=False)[1] * rng.normal(size=4)
    searched = scipy.optimize.minimize(loss, start, method="BFGS", options={"gtol": 1e-11})
    np.testing.assert_allclose(searched.x, A.ravel(), atol=1e-5)
    assert searched.fun >= loss(A.ravel()) - 1e-13


def outer(x):
    return np.outer(x[:2], x[2:])


def rank_one_loss(x, offdiagonal, ridge, depth):
    size = np.linalg.norm(x[:2]) * np.linalg.norm(x[2:])
    return np.sum(MASK * (outer(x) - target_of(offdiagonal)) ** 2) / 6 + ridge * depth * size ** (2 / depth)


def halves(A):
    U, s, Vt = np.linalg.svd(np.asarray(A))
    return math.sqrt(s[0]) * np.concatenate([U[:, 0], Vt[0]])


@pytest.mark.parametrize("fill_sign", [1, -1])
@pytest.mark.parametrize(("depth", "ridge"), [(3, RIDGES[0]), (4, RIDGES[1])])
def test_rank_one_minima_are_those_that_a_search_finds(depth, ridge, fill_sign):
    found = local_minimum(0.2, ridge, depth=depth, rank=1, fill_sign=fill_sign)
    assert found.exists
    assert np.sign(found.matrix[0, 1]) == fill_sign
    loss = ft.partial(rank_one_loss, offdiagonal=0.2, ridge=ridge, depth=depth)
    start = halves(found.matrix) * [1.01, 0.99, 1.02, 0.98]
    searched = scipy.optimize.minimize(loss, start, method="BFGS", options={"gtol": 1e-10})
    np.testing.assert_allclose(outer(searched.x), found.matrix, atol=2e-5 * abs(found.matrix[0, 1]))
    # s_2 > 0 costs more than it gives, in every direction: rank 1 is a minimum among all matrices.
    rng = np.random.default_rng(0)
    for size in (1e-7, 1e-8):
        near = [found.matrix + size * rng.normal(size=(2, 2)) for _ in range(100)]
        assert min(dense_loss(A, 0.2, ridge, depth) for A in near) > loss(halves(found.matrix)) - 1e-12


@ft.partial(jax.jit, static_argnums=4)
def searched(A, target, ridge, num_steps, depth):
    """The end of proximal steps of 1 on C_lambda."""
    return jax.lax.fori_loop(
        0, num_steps, lambda _, A: landscape.shrunk(A - MASK * (A - target) / 3, ridge, depth=depth), A
    )


def test_every_search_in_matrices_ends_at_a_known_minimum():
    # The paper speaks of three; the fourth fills the missing entry with the wrong sign.
    depth, ridge, offdiagonal = 3, 0.025, 0.2
    at = ft.partial(local_minimum, offdiagonal, ridge, depth=depth)
    known = [jnp.zeros((2, 2)), at(rank=1).matrix, at(rank=1, fill_sign=-1).matrix, at(rank=2).matrix]
    rng, target = np.random.default_rng(depth), target_of(offdiagonal)

    starts = rng.normal(size=(16, 2, 2)) * 10.0 ** rng.uniform(-1, 1, (16, 1, 1))
    ends = np.stack([searched(A, target, ridge, 1500, depth) for A in starts])
    apart = np.abs(ends[:, None] - np.stack(known)).max((2, 3))
    assert apart.min(1).max() < 1e-6
    assert set(apart.argmin(1)) == {1, 2, 3}
    # A step of 1 from around 0 leaves its basin, one of .01 does not.
    near = 1e-4 * rng.normal(size=(2, 2))
    moved = near - 0.01 * MASK * (near - target) / 3
    assert np.all(shrunk(jnp.asarray(moved), 0.01 * ridge, depth=depth) == 0)


@pytest.mark.parametrize(("depth", "beyond"), [(3, 0.26), (4, 0.11)])
def test_the_ends_of_rank_two_over_eps_and_over_the_ridge_agree(depth, beyond, dtype, tol):
    ridge = jnp.asarray(0.025, dtype)
    last = last_offdiagonal(ridge, depth=depth)
    assert last.dtype == dtype
    assert beyond - 0.01 < last < beyond
    fold = last_ridge(last, depth=depth, rank=2)
    assert fold.ridge == pytest.approx(0.025, rel=tol(jnp.zeros(1, dtype), 1000))


def test_beyond_the_last_offdiagonal_a_search_falls_to_rank_one():
    depth = 4
    last = float(last_offdiagonal(0.025, depth=depth))
    assert not local_minimum(1.001 * last, 0.025, depth=depth, rank=2).exists
    start = local_minimum(0.99 * last, 0.025, depth=depth, rank=2).matrix

    def end(offdiagonal):
        A = searched(start, target_of(offdiagonal), 0.025, 8000, depth)
        s = np.linalg.svd(A, compute_uv=False)
        return s[1] / s[0]

    fold = last_ridge(last, depth=depth, rank=2)
    assert end(0.999 * last) > fold.ratio > 0.1
    assert end(1.01 * last) < 1e-12


def test_there_is_no_minimum_of_rank_two_beyond_one_half():
    below, beyond = (last_ridge(offdiagonal, depth=3, rank=2).ridge for offdiagonal in (0.499, 0.501))
    assert beyond == 0 < below
    assert last_offdiagonal(0.1, depth=3) == 0
    below, beyond = (last_ridge(s / math.sqrt(8), depth=4, rank=2).ridge for s in (0.99, 1.01))
    assert beyond == 0 < below


@pytest.mark.parametrize("fill_sign", [1, -1])
def test_rank_one_ends_where_a_search_falls_to_zero(fill_sign):
    at = ft.partial(local_minimum, 0.25, depth=3, rank=1, fill_sign=fill_sign)
    last = float(last_ridge(0.25, depth=3, rank=1, fill_sign=fill_sign).ridge)
    assert not at(1.001 * last).exists
    start = halves(at(0.999 * last).matrix)
    ends = []
    for times in (0.99, 1.02):
        args = 0.25, times * last, 3
        ended = scipy.optimize.minimize(rank_one_loss, start, args, method="BFGS", options={"gtol": 1e-9}).x
        ends.append(outer(ended))
    np.testing.assert_allclose(ends[0], at(0.99 * last).matrix, atol=1e-4)
    assert np.abs(ends[1]).max() < 1e-3


@pytest.mark.parametrize("depth", [3, 4])
def test_a_proximal_step_is_the_best_of_a_grid(depth, dtype):
    singular = np.array([2.0, 0.7, 0.05])
    rng = np.random.default_rng(depth)
    U, V = (np.linalg.qr(rng.normal(size=(n, 3)))[0] for n in (4, 3))
    A = jnp.asarray(U * singular @ V.T, dtype)
    grid = np.linspace(0, 2.2, 110_001)
    for ridge in (1e-4, 0.02, 0.3):
        objective = (grid[:, None] - singular) ** 2 / 2 + ridge * depth * grid[:, None] ** (2 / depth)
        best = grid[objective.argmin(0)]
        np.testing.assert_allclose(shrunk(A, ridge, depth=depth), U * best @ V.T, atol=3e-5)


# Errors ---------------------------------------------------------------------------------------------------

ADMITTED = {"weight_decay": 0.1, "depth": 3, "rank": 1, "width": 4, "largest_entry": 1.0, "norm_bound": 5.0}
ADMITTED |= {"slack": 0.25}
REFUSED = [
    ({"weight_decay": 0.0}, "weight_decay must be positive, got 0.0"),
    ({"depth": 2}, "depth must be at least 3, since alpha has the power 1/.L - 2., got 2"),
    ({"rank": 5}, "rank must be in 0..4, the largest width, got 5"),
    ({"rank": -1}, "rank must be in 0..4, the largest width, got -1"),
    ({"slack": 0.5}, "slack must be in .0, 1/2., got 0.5"),
    ({"norm_bound": 4.9}, "norm_bound must be at least C_1/.2 lambda. = 5, got 4.9"),
    ({"largest_entry": 0.0}, "largest_entry must be positive, got 0.0"),
]


@pytest.mark.parametrize(("fields", "message"), REFUSED)
def test_constants_refuse_what_the_theorem_does_not_admit(fields, message):
    theory.absorbing_constants(**ADMITTED)
    with pytest.raises(ValueError, match=message):
        theory.absorbing_constants(**ADMITTED | fields)


def test_other_functions_refuse_bad_input():
    numbers = {"step_size": 0.4, "weight_decay": 0.05, "norm_bound": 20.0, "start_norm": 17.0, "slack": 0.25}
    numbers |= {"log_cutoff": -15.0, "log_imbalance": -80.0, "width": 4, "smallest_side": 2}
    with pytest.raises(ValueError, match=r"rank must be in 0..2 and below 4, got 3"):
        theory.jump_bound(rank=3, **numbers)
    with pytest.raises(ValueError, match="weight_decay must be positive, got 0"):
        theory.jump_bound(rank=1, **numbers | {"weight_decay": 0})
    with pytest.raises(ValueError, match="weight_decay must be positive, got 0"):
        theory.smallest_norm_bound(0.0, 1.0)
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        theory.representation_cost(jnp.eye(2), 0)
    with pytest.raises(ValueError, match="cutoff must be positive and finite, got 0"):
        region.rank_weight(jnp.ones(1), 0.0)
    for depth, rank, eps, message in (
        (2, 1, 0.1, "depth must be at least 3"),
        (3, 0, 0.1, "rank must be 1 or 2"),
        (3, 1, 0.0, "offdiagonal must be positive and finite, got 0.0"),
    ):
        with pytest.raises(ValueError, match=message):
            landscape.last_ridge(eps, depth=depth, rank=rank)
    with pytest.raises(ValueError, match="ridge must be positive and finite, got 0"):
        landscape.local_minimum(0.1, 0.0, depth=3, rank=1)
    with pytest.raises(ValueError, match="ridge must be positive and finite, got -1"):
        landscape.last_offdiagonal(-1.0, depth=3)
    with pytest.raises(ValueError, match="depth must be at least 3"):
        landscape.shrunk(jnp.eye(2), 0.1, depth=2)
