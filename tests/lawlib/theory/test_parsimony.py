"""Theorem 1 of the law of parsimony against gradient descent written out in numpy, closed forms and null spaces."""

import functools as ft
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from hypothesis import assume, given
from hypothesis import strategies as st

from lawlib.theory import parsimony
from lawlib.theory.parsimony import Frame, invariant_frames, rho_square, rho_wide
from lawlib.theory.parsimony_widths import layer_scale

NUM_STEPS = 40
CASES = pytest.mark.parametrize("wide", [False, True], ids=["case_1", "case_2"])


class Problem(NamedTuple):
    """Gradient descent on 1/2 ||W_{L:1} X - Y||_F^2 + lambda/2 sum_l ||W_l||_F^2, X X^T = I, from W_l(0) = weights."""

    weights: tuple[np.ndarray, ...]
    inputs: np.ndarray
    targets: np.ndarray
    wide: bool
    rank: int
    depth: int
    scale: float
    step_size: float
    weight_decay: float
    momentum: float

    @property
    def rates(self):
        return {"step_size": self.step_size, "weight_decay": self.weight_decay, "momentum": self.momentum}

    @property
    def cross(self):
        return self.targets @ self.inputs.T


def haar(rng, d):
    Q, R = np.linalg.qr(rng.standard_normal((d, d)))
    return Q * np.sign(np.diag(R))


def draw(
    seed, wide, *, size=(9, 2), depth=3, scale=1.0, speed=0.2, weight_decay=0.3, momentum=0.5, eye=False, dtype=float
):
    """A problem with Phi = Y X^T of values in [1, 3], size = (d, r) and speed = eta L sigma_1^{2-2/L}."""
    rng, (width, rank) = np.random.default_rng(seed), size
    num_outputs = rank if wide else width
    factors = [haar(rng, width) for _ in range(depth)]
    weights = [scale * Q for Q in factors[:-1]] + [scale * factors[-1][:num_outputs]]
    values = rng.uniform(1, 3, rank)
    Phi = haar(rng, num_outputs)[:, :rank] * values @ haar(rng, width)[:rank]
    X, Y = np.eye(width), Phi
    if not eye:
        rows = haar(rng, width + 4)
        X = rows[:width]
        # The part of Y outside the row space of X is out of reach and must not count.
        Y = Phi @ X + rng.standard_normal((num_outputs, 4)) @ rows[width:]
    arrays = jax.tree.map(lambda a: a.astype(dtype), (tuple(weights), X, Y))
    step_size = float(speed / (depth * values.max() ** (2 - 2 / depth)))
    return Problem(*arrays, wide, rank, depth, scale, step_size, weight_decay, momentum)


def product(weights, start):
    return ft.reduce(lambda P, W: W @ P, weights, start)


def descend(problem):
    """Per layer, W_l(0), ..., W_l(T) by eq. (4) with the momentum of eq. (16), W(-1) = W(0)."""
    eta, decay, mu, X = problem.step_size, problem.weight_decay, problem.momentum, problem.inputs
    before = weights = problem.weights
    path = [weights]
    for _ in range(NUM_STEPS):
        residual = product(weights, X) - problem.targets
        after = []
        for l, W in enumerate(weights):
            above = product([V.T for V in reversed(weights[l + 1 :])], residual @ X.T)
            below = product(weights[:l], np.eye(X.shape[0], dtype=X.dtype))
            gradient = above @ below.T
            after.append((1 - eta * decay) * W - eta * gradient + mu * (W - before[l]))
        before, weights = weights, tuple(after)
        path.append(weights)
    return [np.stack(layer) for layer in zip(*path, strict=True)]


def recursion(problem):
    """The library's rho(t) -> rho(t+1) for this problem."""
    if problem.wide:
        return lambda rho, before: rho_wide(rho, before=before, **problem.rates)
    return lambda rho, before: rho_square(rho, before=before, depth=problem.depth, **problem.rates)


def iterate(follow, start, num_steps=NUM_STEPS):
    """rho(0), ..., rho(T) with rho(-1) = rho(0)."""
    values = [start, start]
    for _ in range(num_steps):
        values.append(follow(values[-1], values[-2]))
    return np.array(values[1:])


def frames_of(problem):
    return invariant_frames(tuple(map(jnp.asarray, problem.weights)), jnp.asarray(problem.cross), problem.rank)


@ft.partial(jax.jit, static_argnames="rank")
@ft.partial(jax.vmap, in_axes=(0, None, 0, None, None, None, None))
def layer_law(W, start, rho, left, right, scale, rank):
    blocks = parsimony.block_decomposition(W, left, right)
    excess = parsimony.excess_value(W, start, rho, scale=scale, rank=rank)
    spectrum = parsimony.predicted_spectrum(blocks.active, rho=rho, width=len(W))
    return jnp.maximum(parsimony.block_deviation(blocks, rho), excess), spectrum


def deviation(problem, path, follow=None, start=None, frames=None):
    """How far the path is from Theorem 1: blocks, excess value, spectrum and (Case 2) the last layer, over all t."""
    dtype, start = problem.inputs.dtype, start or problem.scale
    follow, frames = follow or recursion(problem), frames or frames_of(problem)
    rho = iterate(follow, start).astype(dtype)
    worst = []
    square = path[:-1] if problem.wide else path
    for layer, (right, left) in zip(square, itertools.pairwise(frames), strict=True):
        off_blocks, spectrum = layer_law(layer, layer[0], rho, left, right, dtype.type(start), problem.rank)
        worst += [np.max(off_blocks), np.max(np.abs(spectrum - np.linalg.svd(layer, compute_uv=False)))]
    if problem.wide:
        worst.append(np.max(np.abs(path[-1] @ np.asarray(frames[-1].idle))))
    return float(np.max(worst))


def tolerance(problem):
    """Rounding over T steps with matrices of this size; less than half of it is met."""
    return float(np.finfo(problem.inputs.dtype).eps) * problem.inputs.shape[0] * NUM_STEPS


# Every width and rank is a program of its own.
@given(
    seed=st.integers(0, 2**31),
    wide=st.booleans(),
    size=st.sampled_from([(9, 2), (5, 1)]),
    depth=st.integers(2, 5),
    scale=st.floats(0.3, 1.1),
    speed=st.floats(0.05, 0.3),
    weight_decay=st.sampled_from([0.0, 0.1, 0.5]),
    momentum=st.sampled_from([0.0, 0.3, 0.9]),
    eye=st.booleans(),
    dtype=st.sampled_from([np.float64, np.float32]),
)
def test_gradient_descent_moves_only_the_active_blocks(**settings):
    problem = draw(**settings)
    assert deviation(problem, descend(problem)) <= tolerance(problem)


def changed(**factors):
    """The law with some of the problem's numbers off by a factor."""
    return lambda p: {"follow": recursion(p._replace(**{name: f * getattr(p, name) for name, f in factors.items()}))}


def with_power(power):
    """Case 1 with eta rho^power(L) in place of eta rho^{2L-1}."""

    def mutant(p):
        return {
            "follow": lambda rho, before: rho_wide(rho, before=before, **p.rates) - p.step_size * rho ** power(p.depth)
        }

    return mutant


MUTANTS = {
    "eta": changed(step_size=1.01),
    "lambda": changed(weight_decay=1.01),
    "mu": changed(momentum=1.01),
    "no momentum": changed(momentum=0.0),
    "no weight decay": changed(weight_decay=0.0),
    "rho(0)": lambda p: {"start": 1.01 * p.scale},
    "rho(-1)": lambda p: {"follow": lambda rho, before: recursion(p)(rho, 0.99 * before if rho == p.scale else before)},
    "the other case": lambda p: {"follow": recursion(p._replace(wide=not p.wide))},
    "one frame for all layers": lambda p: {"frames": frames_of(p)[:1] * len(frames_of(p))},
    "frames one layer late": lambda p: {"frames": frames_of(p)[1:] + frames_of(p)[:1]},
    "frames in reverse": lambda p: {"frames": frames_of(p)[::-1]},
    "active for idle": lambda p: {"frames": tuple(Frame(*np.split(np.hstack(f[::-1]), [4], 1)) for f in frames_of(p))},
}
SQUARE_MUTANTS = {
    "power 2L-2": with_power(lambda L: 2 * L - 2),
    "power 2L": with_power(lambda L: 2 * L),
    "L + 1": lambda p: {"follow": recursion(p._replace(depth=p.depth + 1))},
    "L - 1": lambda p: {"follow": recursion(p._replace(depth=p.depth - 1))},
    "Phi^T": lambda p: {
        "frames": frames_of(p._replace(targets=p.inputs @ p.targets.T, inputs=np.eye(9, dtype=p.inputs.dtype)))
    },
}


@pytest.mark.parametrize("depth", [2, 4])
@pytest.mark.parametrize(("dtype", "margin"), [(np.float64, 1e3), (np.float32, 3)])
@pytest.mark.parametrize(
    ("wide", "mutant"),
    [*itertools.product([False, True], MUTANTS.values()), *itertools.product([False], SQUARE_MUTANTS.values())],
    ids=[*(f"case_{case}-{name}" for case in (1, 2) for name in MUTANTS), *SQUARE_MUTANTS],
)
def test_a_slip_in_the_law_is_seen(wide, mutant, dtype, margin, depth):
    problem = draw(0, wide, depth=depth, scale=0.9, dtype=dtype)
    path = descend(problem)
    assert deviation(problem, path) <= tolerance(problem)
    assert deviation(problem, path, **mutant(problem)) > margin * tolerance(problem)


@CASES
@pytest.mark.parametrize("depth", [2, 4])
def test_exactly_2r_singular_values_leave_rho_and_the_idle_vectors_stay(wide, depth):
    problem = draw(3, wide, depth=depth, scale=0.9)
    frames, num_idle = frames_of(problem), 9 - 2 * problem.rank
    rho = iterate(recursion(problem), problem.scale)[-1].item()
    for layer, (right, left) in zip(descend(problem), itertools.pairwise(frames), strict=False):
        U, s, Vt = np.linalg.svd(layer[-1])
        moved, idle = parsimony.split_spectrum(jnp.asarray(s), rho=rho, num_idle=num_idle)
        assert sorted([*moved.tolist(), *idle.tolist()]) == list(range(9))
        assert np.abs(s[idle] - rho).max() < tolerance(problem)
        gap = np.abs(s[moved] - rho).min()
        assert gap > 1e-3
        for vectors, frame in ((U, left), (Vt.T, right)):
            angles = np.asarray(parsimony.angle_to_idle(jnp.asarray(vectors), frame))
            expected = [
                scipy.linalg.subspace_angles(column[:, None], np.asarray(frame.idle))[0] for column in vectors.T
            ]
            np.testing.assert_allclose(angles, expected, rtol=0, atol=tolerance(problem))
            # Rounding turns a singular vector by its size over the gap.
            assert angles[idle].max() < tolerance(problem) / gap
            assert angles[moved].min() > np.pi / 2 - tolerance(problem) / gap


@CASES
def test_frames_are_orthogonal_carried_by_the_layers_and_contain_the_target(wide, dtype, tol):
    problem = draw(4, wide, scale=0.7, dtype=dtype.type)
    frames = frames_of(problem)
    assert len(frames) == problem.depth + (not wide)
    for frame in frames:
        whole = np.hstack(frame)
        assert frame.active.shape == (9, 4)
        assert whole.dtype == dtype
        np.testing.assert_allclose(whole.T @ whole, np.eye(9), atol=tol(whole))
    for W, (before, after) in zip(problem.weights, itertools.pairwise(frames), strict=False):
        np.testing.assert_allclose(W @ np.hstack(before), 0.7 * np.hstack(after), atol=tol(W))
    np.testing.assert_allclose(problem.cross @ frames[0].idle, 0, atol=tol(problem.cross))
    if wide:
        np.testing.assert_allclose(problem.weights[-1] @ frames[-1].idle, 0, atol=tol(problem.cross))
    else:
        np.testing.assert_allclose(problem.cross.T @ frames[-1].idle, 0, atol=tol(problem.cross))


@CASES
@pytest.mark.parametrize("depth", [2, 3])
def test_the_idle_inputs_are_the_null_spaces_of_the_proof(wide, depth):
    problem = draw(5, wide, depth=depth, scale=0.8)
    W_1, above = problem.weights[0], product(problem.weights[1:], np.eye(9))
    # Case 1: Psi = W_{L:2}(0)^T Phi. Case 2: the gradient W_{L:2}(0)^T (W_{L:1}(0) - Phi).
    Psi = above.T @ (above @ W_1 - problem.cross if wide else problem.cross)
    null_space = scipy.linalg.null_space(np.vstack([Psi, Psi.T @ W_1]), rcond=1e-10)
    idle = np.asarray(frames_of(problem)[0].idle)
    assert null_space.shape == idle.shape == (9, 5)
    assert scipy.linalg.subspace_angles(null_space, idle).max() < tolerance(problem)


@pytest.mark.parametrize("rank", [-1, 0, 3, 6])
def test_a_rank_that_leaves_no_idle_direction_is_refused(rank):
    with pytest.raises(ValueError, match=rf"0 < 2 rank < width, got rank={rank} and width=6"):
        invariant_frames((jnp.eye(6),) * 2, jnp.eye(6), rank)


@pytest.mark.parametrize(
    ("shape", "rank", "message"),
    [
        ((2, 6), 3, "for 6 inputs and 2 outputs has at most rank 2, got rank=3"),
        ((6, 2), 4, "for 2 inputs and 6 outputs has at most rank 2, got rank=4"),
        ((4, 2), 2, r"no direction idles in layers of widths \(2, 2, 4\) with rank=2"),
    ],
)
def test_ranks_that_no_target_has_or_that_leave_nothing_idle_are_refused(shape, rank, message):
    with pytest.raises(ValueError, match=message):
        invariant_frames((jnp.eye(shape[1]), jnp.eye(*shape)), jnp.eye(*shape), rank)


def test_frames_and_deviations_run_under_jit_and_vmap(tol):
    problems = [draw(seed, False, dtype=np.float32) for seed in (6, 7)]
    weights = tuple(jnp.stack(layers) for layers in zip(*(p.weights for p in problems), strict=True))
    targets = jnp.stack([jnp.asarray(p.cross) for p in problems])
    batch = jax.jit(jax.vmap(ft.partial(invariant_frames, rank=2)))(weights, targets)
    for i, problem in enumerate(problems):
        for mapped, alone in zip(batch, frames_of(problem), strict=True):
            assert mapped.idle.dtype == jnp.float32
            projectors = (np.asarray(idle @ idle.T) for idle in (mapped.idle[i], alone.idle))
            np.testing.assert_allclose(*projectors, atol=tol(alone.idle))


@pytest.mark.parametrize(("rho", "idle"), [(0.5, {2, 3, 4}), (0.9, {0, 1, 2}), (0.01, {3, 4, 5}), (-0.5, {2, 3, 4})])
def test_idle_values_are_those_next_to_rho_wherever_it_stands(rho, idle, dtype):
    values = {0.5: [2, 0.8, 0.51, 0.5, 0.49, 0.1], 0.9: [0.9, 0.9, 0.89, 0.5, 0.2, 0], 0.01: [1, 0.5, 0.2, 0.01, 0, 0]}
    split = jax.jit(parsimony.split_spectrum, static_argnames="num_idle")(
        jnp.asarray(values[abs(rho)], dtype), rho=rho, num_idle=3
    )
    assert set(split.idle.tolist()) == idle
    assert set(split.moved.tolist()) == set(range(6)) - idle


def test_angles_to_the_idle_subspace_keep_their_digits(dtype):
    rng = np.random.default_rng(8)
    Q = haar(rng, 6)
    frame = Frame(jnp.asarray(Q[:, :2], dtype), jnp.asarray(Q[:, 2:], dtype))
    tiny = 1e-9 if dtype == jnp.float64 else 1e-4
    angles = np.array([0, tiny, 0.7, np.pi / 2 - tiny, np.pi / 2])
    unit = [rng.standard_normal((n, 5)) for n in (2, 4)]
    learns, idles = (B @ (c / np.linalg.norm(c, axis=0)) for B, c in zip((Q[:, :2], Q[:, 2:]), unit, strict=True))
    vectors = jnp.asarray(np.sin(angles) * learns + np.cos(angles) * idles, dtype)
    measured = np.asarray(parsimony.angle_to_idle(3 * vectors, frame), np.float64)
    assert np.abs(measured - angles).max() < 16 * jnp.finfo(dtype).eps


@pytest.mark.parametrize("rho", [3.0, 0.7, -0.7, 0.01])
def test_the_predicted_spectrum_is_that_of_the_whole_matrix(rho, dtype, tol):
    rng = np.random.default_rng(9)
    reduced = rng.standard_normal((4, 4))
    W = haar(rng, 9) @ scipy.linalg.block_diag(reduced, rho * np.eye(5)) @ haar(rng, 9)
    spectrum = parsimony.predicted_spectrum(jnp.asarray(reduced, dtype), rho=rho, width=9)
    assert spectrum.dtype == dtype
    np.testing.assert_allclose(spectrum, np.linalg.svd(W, compute_uv=False), atol=tol(spectrum))


def test_blocks_and_their_deviation_are_those_of_the_dense_product(dtype, tol):
    rng = np.random.default_rng(10)
    U, V, W = haar(rng, 7), haar(rng, 7), rng.standard_normal((7, 7))
    left, right = (Frame(*(jnp.asarray(B, dtype) for B in np.split(Q, [2], axis=1))) for Q in (U, V))
    blocks = parsimony.block_decomposition(jnp.asarray(W, dtype), left, right)
    dense = U.T @ W @ V
    np.testing.assert_allclose(np.block([[*blocks[:2]], [*blocks[2:]]]), dense, atol=tol(blocks.active))
    dense[:2, :2], dense[2:, 2:] = 0, dense[2:, 2:] - 0.3 * np.eye(5)
    np.testing.assert_allclose(parsimony.block_deviation(blocks, 0.3), np.linalg.norm(dense), rtol=tol(blocks.active))


def test_the_excess_value_is_the_first_beyond_the_active_ones(dtype, tol):
    rng = np.random.default_rng(11)
    start, U, V = 0.5 * haar(rng, 9), haar(rng, 9), haar(rng, 9)
    W = 0.3 / 0.5 * start + U * [9, 8, 7, 6, 5, 4, 0.25, 0.125, 0] @ V
    excess = parsimony.excess_value(jnp.asarray(W, dtype), jnp.asarray(start, dtype), 0.3, scale=0.5, rank=3)
    np.testing.assert_allclose(excess, 0.25, rtol=10 * tol(excess))


def long_run(depth, step_size, weight_decay, num_steps, dtype=jnp.float64):
    """rho(0), ..., rho(T) of Case 1 from 1 without momentum."""

    def step(rho, _):
        after = rho_square(rho, before=rho, depth=depth, step_size=step_size, weight_decay=weight_decay, momentum=0.0)
        return after, rho

    return np.asarray(jax.jit(lambda: jax.lax.scan(step, jnp.ones((), dtype), length=num_steps + 1)[1])())


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_without_weight_decay_rho_falls_like_a_power_of_time(depth):
    eta, n = 0.05, depth - 1
    rho = long_run(depth, eta, 0.0, 100_000)
    assert np.all(np.diff(rho) < 0)
    t = 10 ** np.arange(3, 6)
    error = np.abs(rho[t] / (2 * n * eta * t) ** (-1 / (2 * n)) - 1)
    # rho^{-2n} = 2 n eta t + 1 + (2n + 1)/2 eta log t + ..., so that the ratio tends to 1 like log(t) / t.
    assert np.all(error < (1 + (n + 1) * eta * np.log(t)) / (2 * n * eta * t))
    assert np.all(error[1:] < error[:-1] / 5)


@pytest.mark.parametrize("depth", [2, 4])
def test_with_weight_decay_the_rate_of_rho_tends_to_that_of_case_2(depth):
    eta, decay = 0.05, 0.4
    rates = np.diff(np.log(long_run(depth, eta, decay, 800)))
    limit = np.log1p(-eta * decay)
    assert np.all(rates[:200] < limit)
    assert rates[0] < 2 * limit
    np.testing.assert_allclose(rates[-100:], limit, rtol=1e-9)  # rho^{2L-2} is below 1e-10 there.


@pytest.mark.parametrize("weight_decay", [0.0, 0.4])
def test_rho_of_case_2_without_momentum_is_geometric(weight_decay, tol):
    p = draw(0, True, weight_decay=weight_decay, momentum=0.0)._replace(step_size=0.05)
    rho = iterate(recursion(p), 0.3)
    np.testing.assert_allclose(rho, 0.3 * (1 - 0.05 * weight_decay) ** np.arange(NUM_STEPS + 1), rtol=tol(rho))


@given(scale=st.floats(1e-3, 2), shrink=st.floats(0, 0.3), momentum=st.floats(0, 0.95))
def test_rho_of_case_2_with_momentum_is_the_solution_by_roots(scale, shrink, momentum):
    """z^2 = (1 - eta lambda + mu) z - mu, so that rho(t) = a z_1^t + b z_2^t, rho(-1) = rho(0) = eps."""
    p = draw(0, True, weight_decay=shrink, momentum=momentum)._replace(step_size=1.0)
    z = np.roots([1, -(1 - shrink + momentum), momentum]).astype(complex)
    # The formula loses its digits next to a double or a vanishing root.
    assume(abs(z[0] - z[1]) > 1e-3 and np.abs(z).min() > 1e-3)
    coefficients = np.linalg.solve(np.array([z**0, 1 / z]), [scale, scale])
    expected = (z ** np.arange(NUM_STEPS + 1)[:, None] @ coefficients).real
    np.testing.assert_allclose(iterate(recursion(p), scale), expected, rtol=0, atol=1e-9 * scale)


def test_rho_keeps_its_dtype_in_a_compiled_scan(dtype):
    rho = long_run(3, 0.05, 0.1, NUM_STEPS, dtype)
    assert rho.dtype == dtype
    p = draw(0, False, weight_decay=0.1, momentum=0.0)._replace(step_size=0.05)
    np.testing.assert_allclose(rho, iterate(recursion(p), 1.0), rtol=NUM_STEPS * jnp.finfo(dtype).eps)


def test_frames_of_hidden_layers_of_another_width_are_refused():
    with pytest.raises(ValueError, match=r"hidden layers of the inputs' width, got shapes \[\(9, 6\), \(1, 9\)\]"):
        invariant_frames((jnp.eye(9, 6), jnp.eye(1, 9)), jnp.eye(1, 6), 1)


@pytest.mark.parametrize("shape", [(7, 3), (3, 7), (5, 5)])
def test_the_scale_of_a_layer_is_that_of_its_orthonormal_rows_or_columns(shape):
    Q = np.linalg.qr(np.random.default_rng(12).standard_normal((max(shape), max(shape))))[0][: shape[0], : shape[1]]
    np.testing.assert_allclose(layer_scale(jnp.asarray(0.3 * Q)), 0.3, rtol=1e-14)
