"""The law of any widths against subspaces closed vector by vector, and against gradient descent in numpy."""

import functools as ft
import inspect
import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lawlib.theory.parsimony_widths import active_dimensions, bases_of_any_widths, falls_then_rises, passed_products

SEEDS = st.integers(0, 2**31)
STEPS, ETA = 30, 0.03


def haar(rng, d):
    Q, R = np.linalg.qr(rng.standard_normal((d, d)))
    return Q * np.sign(np.diag(R))


def semi_orthogonal(rng, widths, eps=1.0):
    return [eps * haar(rng, max(pair))[: pair[1], : pair[0]] for pair in itertools.pairwise(widths)]


def spaces(rng, widths, rank):
    """Orthonormal bases of the column and row space of a target in general position."""
    return haar(rng, widths[-1])[:, :rank], haar(rng, widths[0])[:, :rank]


def closed(weights, left, right):
    """Bases of the smallest subspaces that hold both spaces and that all W and W^T map into each other."""
    bases = [np.zeros((width, 0)) for width in (weights[0].shape[1], *map(len, weights))]
    queue = [(0, v) for v in right.T] + [(len(weights), u) for u in left.T]
    while queue:
        place, v = queue.pop(0)
        for _ in range(2):
            v = v - bases[place] @ (bases[place].T @ v)
        # Directions that are new have parts above 1e-5 in thousands of draws, and others below 1e-14.
        if (size := np.linalg.norm(v)) < 1e-8:
            continue
        bases[place] = np.column_stack([bases[place], v / size])
        if place < len(weights):
            queue.append((place + 1, weights[place] @ v / size))
        if place > 0:
            queue.append((place - 1, weights[place - 1].T @ v / size))
    return bases


@given(widths=st.lists(st.integers(1, 11), min_size=2, max_size=7), rank=st.integers(1, 4), seed=SEEDS)
def test_the_law_counts_the_smallest_invariant_subspaces(widths, rank, seed):
    assume(rank <= min(widths[0], widths[-1]))
    rng = np.random.default_rng(seed)
    bases = closed(semi_orthogonal(rng, widths), *spaces(rng, widths, rank))
    assert active_dimensions(widths, rank).active == tuple(basis.shape[1] for basis in bases)


BY_HAND = {
    ((30, 30, 30, 30), 3): ((6, 6, 6, 6), 24),  # Case 1
    ((30, 30, 30, 3), 3): ((6, 6, 6, 3), 0),  # Case 2
    ((30, 36, 40, 3), 3): ((6, 9, 12, 3), 0),
    ((30, 32, 40, 3), 3): ((6, 8, 11, 3), 0),  # a widening by 2 adds 2
    ((20, 12, 12, 15), 2): ((6, 4, 4, 6), 8),
    ((14, 11, 9, 12, 13), 1): ((4, 3, 2, 3, 4), 7),
    ((9, 3, 9), 2): ((5, 3, 5), 0),  # the narrowest layer has no idle direction
    ((12, 13, 12), 2): ((5, 6, 5), 7),  # one plane is mixed
    ((12, 20, 12), 1): ((10, 18, 10), 2),  # eight planes are
    ((6, 6, 2), 1): ((3, 3, 2), 0),  # more outputs than the rank, and fewer than inputs
}


@pytest.mark.parametrize(("given", "expected"), BY_HAND.items(), ids=str)
def test_the_law_in_numbers(given, expected):
    assert active_dimensions(*given) == expected


def descend(weights, target, decay, momentum):
    """The layers after STEPS steps of eqs. (4) and (16) for X = I, W(-1) = W(0)."""
    now = before = weights
    for _ in range(STEPS):
        below = list(itertools.accumulate(now, lambda P, W: W @ P, initial=np.eye(now[0].shape[1])))
        above = list(itertools.accumulate(reversed(now), lambda P, W: P @ W, initial=np.eye(len(target))))[::-1]
        gradients = [A.T @ (below[-1] - target) @ B.T for A, B in zip(above[1:], below, strict=False)]
        moved = [
            (1 - ETA * decay) * W - ETA * G + momentum * (W - B) for W, G, B in zip(now, gradients, before, strict=True)
        ]
        now, before = moved, now
    return now


def recursion(eps, decay, momentum, power):
    """rho(STEPS) of eq. (6), power = 2 L - 1, or of eq. (7), power = None."""
    rho = before = eps
    for _ in range(STEPS):
        pull = 0.0 if power is None else ETA * rho**power
        rho, before = (1 - ETA * decay) * rho - pull + momentum * (rho - before), rho
    return abs(rho)


RATES = [(0.0, 0.0), (0.4, 0.0), (0.4, 0.6)]
TRAINED = [
    *BY_HAND,
    ((12, 11, 7, 7, 8, 12, 2), 2),
    ((12, 20, 20, 2), 2),
    ((7, 7, 9, 14), 3),
    ((14, 9, 7, 7), 3),
    ((9, 6, 11, 6, 9), 1),
    ((12, 9, 10, 9, 12), 2),
    ((12, 14, 14, 13, 13, 11, 12), 2),
]


@pytest.mark.parametrize("rates", RATES, ids=["plain", "decay", "decay and momentum"])
@pytest.mark.parametrize(("widths", "rank"), TRAINED, ids=str)
@pytest.mark.parametrize("seed", [0, 1])
def test_so_many_singular_values_follow_each_recursion(widths, rank, rates, seed):
    """Eq. (6) for ``passed`` of each layer, eq. (7) for the idle directions that it carries besides, and no others."""
    rng, depth, eps = np.random.default_rng(seed), len(widths) - 1, 0.9
    left, right = spaces(rng, widths, rank)
    target = left * rng.uniform(1, 2, rank) @ right.T
    trained = descend(semi_orthogonal(rng, widths, eps), target, *rates)
    active, passed = active_dimensions(widths, rank)
    idle = [d - k for d, k in zip(widths, active, strict=True)]
    expected, found = [], []
    for W, (before, after) in zip(trained, itertools.pairwise(idle), strict=True):
        values = np.linalg.svd(W, compute_uv=False)
        expected.append((passed, min(before, after) - passed))
        of = [recursion(eps, *rates, power) for power in (2 * depth - 1, None)]
        found.append(tuple(int(np.sum(np.abs(values - rho) < 1e-10)) for rho in of))
    assert found == expected


@pytest.mark.parametrize(("widths", "rank"), [((14, 11, 9, 12, 13), 1), ((12, 20, 12), 1), ((9, 6, 11, 6, 9), 1)])
@pytest.mark.parametrize("seed", [0, 1])
def test_bases_are_closed_and_the_rest_is_passed_on_or_stops(widths, rank, seed, dtype, tol):
    rng = np.random.default_rng(seed)
    weights = tuple(jnp.asarray(W, dtype) for W in semi_orthogonal(rng, widths, 0.5))
    left, right = (jnp.asarray(block, dtype) for block in spaces(rng, widths, rank))
    bases = bases_of_any_widths(weights, left, right)
    active, passed = active_dimensions(widths, rank)
    assert tuple(basis.shape for basis in bases) == tuple(zip(widths, active, strict=True))
    assert all(basis.dtype == dtype for basis in bases)
    rest = [np.eye(len(B)) - np.asarray(B, float) @ np.asarray(B, float).T for B in bases]
    np.testing.assert_allclose(rest[0] @ np.asarray(right, float), 0, atol=tol(right, 1000))
    np.testing.assert_allclose(rest[-1] @ np.asarray(left, float), 0, atol=tol(left, 1000))
    small = tol(right, 1000)
    products = [np.asarray(P, float) for P in passed_products(weights, bases)]
    layers = [np.asarray(W, float) for W in weights]
    for W, P, (before, after) in zip(layers, products, itertools.pairwise(rest), strict=True):
        np.testing.assert_allclose(W @ before, after @ W, atol=small)
        np.testing.assert_allclose(W @ (P.T @ P), 0.5 * P, atol=small)
        np.testing.assert_allclose(np.trace(P.T @ P), passed, atol=small)
        np.testing.assert_allclose(P @ before, P, atol=small)
    # What is idle and not passed on has no product, so that it has no gradient.
    whole, through = (ft.reduce(lambda A, W: W @ A, chain) for chain in (layers, products))
    np.testing.assert_allclose(whole @ rest[0], 0.5 ** len(weights) * through, atol=small)


def test_a_network_that_passes_nothing_on_has_no_such_products():
    weights = tuple(jnp.asarray(W) for W in semi_orthogonal(np.random.default_rng(0), (6, 12, 6), 0.5))
    left, right = (jnp.asarray(block) for block in spaces(np.random.default_rng(1), (6, 12, 6), 1))
    bases = bases_of_any_widths(weights, left, right)
    assert [basis.shape for basis in bases] == [(6, 6), (12, 12), (6, 6)]
    assert not any(P.any() for P in passed_products(weights, bases))


@given(widths=st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_widths_fall_and_rise_unless_one_is_larger_than_one_on_each_side(widths):
    peak = any(a < b > c for a, b, c in itertools.combinations(widths, 3))
    assert falls_then_rises(widths) != peak


@pytest.mark.parametrize(("widths", "rank"), [((5,), 1), ((5, 0, 5), 1), ((5, 5), 0), ((5, 7, 3), 4), ((3, 7, 5), 4)])
def test_widths_and_ranks_of_no_network_are_refused(widths, rank):
    with pytest.raises(ValueError, match=rf"rank in 1..min\(d_0, d_L\), got widths .* and rank={rank}"):
        active_dimensions(widths, rank)


@pytest.mark.parametrize(("widths", "rank"), [((30, 30), 1.5), ((30.0, 30), 1), ((30, "30"), 1)])
def test_what_is_no_whole_number_is_refused(widths, rank):
    """Without the suite's own check of types."""
    with pytest.raises(TypeError, match="cannot be interpreted as an integer"):
        inspect.unwrap(active_dimensions)(widths, rank)
