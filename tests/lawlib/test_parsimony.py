"""Theorem 1 of the law of parsimony against gradient descent written out in numpy, closed forms and null spaces."""

import functools as ft
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st

from lawlib.theory import parsimony
from lawlib.theory.parsimony import Frame, invariant_frames, rho_square, rho_wide

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
    seed=0,
    *,
    wide=False,
    width=9,
    rank=2,
    depth=3,
    scale=1.0,
    speed=0.2,
    weight_decay=0.3,
    momentum=0.5,
    sampled=True,
    dtype=np.float64,
):
    """A problem with Phi = Y X^T of rank ``rank``, values in [1, 3] and speed = eta L sigma_1^{2-2/L}."""
    rng = np.random.default_rng(seed)
    num_outputs = rank if wide else width
    factors = [haar(rng, width) for _ in range(depth)]
    weights = [scale * Q for Q in factors[:-1]] + [scale * factors[-1][:num_outputs]]
    values = rng.uniform(1, 3, rank)
    Phi = haar(rng, num_outputs)[:, :rank] * values @ haar(rng, width)[:rank]
    X, Y = np.eye(width), Phi
    if sampled:
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
        return lambda rho, before: rho_wide(rho, before, **problem.rates)
    return lambda rho, before: rho_square(rho, before, depth=problem.depth, **problem.rates)


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
    spectrum = parsimony.predicted_spectrum(blocks.active, rho, len(W))
    return jnp.maximum(parsimony.block_deviation(blocks, rho), excess), spectrum


def deviation(problem, path, follow=None, start=None, frames=None):
    """How far the path is from Theorem 1: blocks, excess value, spectrum and (Case 2) the last layer, over all t."""
    dtype, start = problem.inputs.dtype, start or problem.scale
    follow, frames = follow or recursion(problem), frames or frames_of(problem)
    rho = iterate(follow, start).astype(dtype)
    worst = []
    for layer, (right, left) in zip(path, itertools.pairwise(frames), strict=False):
        off_blocks, spectrum = layer_law(layer, layer[0], rho, left, right, dtype.type(start), problem.rank)
        worst += [np.max(off_blocks), np.max(np.abs(spectrum - np.linalg.svd(layer, compute_uv=False)))]
    if problem.wide:
        worst.append(np.max(np.abs(path[-1] @ np.asarray(frames[-1].idle))))
    return float(np.max(worst))


def tolerance(problem):
    """Rounding over T steps with matrices of this size; a fifth of it is met."""
    return float(np.finfo(problem.inputs.dtype).eps) * problem.inputs.shape[0] * NUM_STEPS


# Every width and rank is a program of its own.
@given(
    seed=st.integers(0, 2**31),
    wide=st.booleans(),
    size=st.sampled_from([(9, 2), (5, 1), (8, 3)]),
    depth=st.integers(2, 5),
    scale=st.floats(0.3, 1.1),
    speed=st.floats(0.05, 0.3),
    weight_decay=st.sampled_from([0.0, 0.1, 0.5]),
    momentum=st.sampled_from([0.0, 0.3, 0.9]),
    sampled=st.booleans(),
    dtype=st.sampled_from([np.float64, np.float32]),
)
def test_gradient_descent_moves_only_the_active_blocks(size, **settings):
    problem = draw(width=size[0], rank=size[1], **settings)
    assert deviation(problem, descend(problem)) <= tolerance(problem)


def changed(**factors):
    """The law with some of the problem's numbers off by a factor."""
    return lambda p: {"follow": recursion(p._replace(**{name: f * getattr(p, name) for name, f in factors.items()}))}


def with_power(power):
    """Case 1 with eta rho^power(L) in place of eta rho^{2L-1}."""

    def mutant(p):
        return {"follow": lambda rho, before: rho_wide(rho, before, **p.rates) - p.step_size * rho ** power(p.depth)}

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
    "frames one layer late": lambda p: {"frames": frames_of(p)[1:]},
    "frames in reverse": lambda p: {"frames": frames_of(p)[::-1]},
    "active for idle": lambda p: {"frames": tuple(Frame(*np.split(np.hstack(f[::-1]), [4], 1)) for f in frames_of(p))},
}
SQUARE_MUTANTS = {
    "power 2L-2": with_power(lambda L: 2 * L - 2),
    "power 2L": with_power(lambda L: 2 * L),
    "L + 1": lambda p: {"follow": recursion(p._replace(depth=p.depth + 1))},
    "L - 1": lambda p: {"follow": recursion(p._replace(depth=p.depth - 1))},
    "Phi^T": lambda p: {"frames": frames_of(p._replace(targets=p.inputs @ p.targets.T, inputs=np.eye(9)))},
}


@pytest.mark.parametrize("depth", [2, 4])
@pytest.mark.parametrize(
    ("wide", "mutant"),
    [
        *itertools.product([False, True], MUTANTS.values()),
        *itertools.product([False], SQUARE_MUTANTS.values()),
    ],
    ids=[*(f"case_1-{name}" for name in MUTANTS), *(f"case_2-{name}" for name in MUTANTS), *SQUARE_MUTANTS],
)
def test_a_slip_in_the_law_is_seen(wide, mutant, depth):
    problem = draw(wide=wide, depth=depth, scale=0.9)
    path = descend(problem)
    assert deviation(problem, path) <= tolerance(problem)
    assert deviation(problem, path, **mutant(problem)) > 1e3 * tolerance(problem)
