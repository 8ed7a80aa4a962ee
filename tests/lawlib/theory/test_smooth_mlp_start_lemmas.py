"""Statements of Xu et al. 2026 about the start: norms in Appendix B, the first step in Section 3.2, sizes of VGG-16.

Norms are those of matrices drawn in numpy. Gradients, subspaces and bounds are lawlib's, and so are the networks whose
parameters are counted.
"""

import functools as ft
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lawlib.networks.activations import ACTIVATIONS
from lawlib.networks.initializers import orthogonal
from lawlib.networks.linen import MLP, VGG16
from lawlib.problems import synthetic
from lawlib.theory import smooth_mlp as theory
from lawlib.theory import smooth_mlp_bounds as bounds

D, M, K, N = 16, 20, 3, 60
P = D - 2 * K
STEP_SIZE = 0.02
norm = np.linalg.norm
first_layer_gradient = jax.jit(theory.first_layer_gradient, static_argnums=3)
big_and_small = jax.jit(theory.big_and_small, static_argnums=2)
step_bound = jax.jit(theory.step_bound)


@ft.cache
def problem(seed):
    """Whitened mixture X, Y, an orthogonal W_1 of scale 1 and a uniform W_2."""
    keys = jax.random.split(jax.random.key(seed), 3)
    X, Y = synthetic.gaussian_mixture(keys[0], dimension=D, num_classes=K, num_samples=N)
    W_2 = jax.random.uniform(keys[2], (K, M), minval=-1, maxval=1)
    return synthetic.whiten_symmetric(X).inputs, Y, orthogonal(1.0)(keys[1], (M, D)), W_2


# ---- Appendix B, norms ----------------------------------------------------------------------------------------------

# Entries of variance 1, and their fourth moment.
ENTRIES = {
    "signs": (lambda rng, shape: rng.choice([-1.0, 1.0], shape), 1.0),
    "uniform": (lambda rng, shape: rng.uniform(-math.sqrt(3), math.sqrt(3), shape), 1.8),
    "normal": (lambda rng, shape: rng.standard_normal(shape), 3.0),
}


def outer(law, num_hidden, num_classes=4, d=32, seed=0):
    """W_2 and W_2^T Y for d = N samples in balanced classes."""
    W_2 = ENTRIES[law][0](np.random.default_rng(seed), (num_classes, num_hidden))
    Y = np.kron(np.eye(num_classes), np.ones((1, d // num_classes)))
    return W_2, Y, W_2.T @ Y


@pytest.mark.parametrize("law", ENTRIES)
def test_columns_have_squared_norms_near_m_and_d_is_near_a_multiple_of_the_identity(law):
    """||V^T D V / m - I||_2 falls like m^{-1/2}: five standard deviations of a mean of m squares."""
    for num_hidden in (64, 1024, 16_384):
        W_2, Y, E = outer(law, num_hidden)
        columns = np.sum(E**2, axis=0)
        np.testing.assert_allclose(columns, np.sum(W_2**2, axis=1) @ Y, rtol=1e-12)
        V = np.linalg.svd(Y)[2][4:].T
        off = norm(V.T @ np.diag(columns) @ V / num_hidden - np.eye(32 - 4), 2)
        largest = np.abs(columns / num_hidden - 1).max()
        np.testing.assert_allclose(off, largest, atol=1e-12)
        assert largest <= 5 * math.sqrt((ENTRIES[law][1] - 1) / num_hidden)
        assert (largest == 0) == (law == "signs")


@pytest.mark.parametrize("law", ENTRIES)
@pytest.mark.parametrize("num_classes", [4, 16])
def test_rows_have_squared_norms_of_mean_d_that_spread_like_the_root_of_the_number_of_classes(law, num_classes):
    """Their standard deviation is d sqrt((kurtosis - 1) / K), at any width m."""
    spread = math.sqrt((ENTRIES[law][1] - 1) / num_classes)
    for num_hidden in (1024, 16_384):
        rows = np.sum(outer(law, num_hidden, num_classes)[2] ** 2, axis=1) / 32
        assert abs(rows.mean() - 1) <= 5 * spread / math.sqrt(num_hidden)
        np.testing.assert_allclose(rows.std(), spread, rtol=0.1)


def test_the_largest_row_is_near_d_for_signs_and_many_classes_and_not_for_few():
    """R' is printed as about d: at K = 4 and m = 8192 it is 6 d for normal entries, and 2.9 d for uniform ones."""

    def largest(law, num_classes, d=32):
        return np.max(np.sum(outer(law, 8192, num_classes, d)[2] ** 2, axis=1)) / d

    assert largest("signs", 4) == 1
    assert 2.5 < largest("uniform", 4) <= 3
    assert largest("normal", 4) > 5
    assert largest("normal", 256, 256) < 1.5


def printed_bound(num_hidden, d=32, failure=0.01):
    """Proposition B.1 with lambda = m and R' = d."""
    log = math.log(2 * (d - 4) / failure)
    return math.sqrt(max(0, num_hidden / 4 - (d * log / 6 + math.sqrt(2 * log * d * num_hidden / 16))))


def test_with_signs_the_bound_of_proposition_b1_is_that_of_the_printed_norms():
    for num_hidden in (256, 1024):
        W_2, Y, _ = outer("signs", num_hidden)
        found = bounds.relu_tail_bound(jnp.asarray(W_2), jnp.asarray(-Y), 0.01)
        np.testing.assert_allclose(found, printed_bound(num_hidden), rtol=1e-9)
    assert printed_bound(256) == 0 < printed_bound(1024)


def test_with_normal_entries_the_bound_of_proposition_b1_is_empty_where_print_has_one():
    for seed in range(3):
        W_2, Y, _ = outer("normal", 2048, seed=seed)
        assert bounds.relu_tail_bound(jnp.asarray(W_2), jnp.asarray(-Y), 0.01) == 0
    assert printed_bound(2048) > 14


# ---- Section 3.2, stable rank ---------------------------------------------------------------------------------------


class FirstStep(NamedTuple):
    """||W~_i(1) - W~_i(0)||_F / sqrt p of the blocks 2 to 4, and the stable rank of W_1(1) with and without them."""

    growth: np.ndarray
    norm_of_4: float
    stable_rank: float
    without: float


def stable_rank(W):
    return (norm(W) / norm(W, 2)) ** 2


@ft.cache
def first_step(name, eps, seed=0):
    X, Y, Q, W_2 = problem(seed)
    start = eps * np.asarray(Q)
    G = np.asarray(first_layer_gradient((jnp.asarray(start), W_2), X, Y, ACTIVATIONS[name]))
    small = big_and_small(jnp.asarray(start), jnp.asarray(G), K).small
    left, move = start @ np.asarray(small) / eps, -STEP_SIZE * G
    sides = step_bound(*map(jnp.asarray, (move, G, G, left, small)), STEP_SIZE)
    U, V = left @ left.T, np.asarray(small @ small.T)
    block_1 = (np.eye(M) - U) @ move @ (np.eye(D) - V)
    after = norm(left.T @ (start + move) @ small) / math.sqrt(P)
    return FirstStep(np.asarray(sides.distances), after, stable_rank(start + move), stable_rank(start + block_1))


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("name", "order"), [("elu", 1), ("gelu", 1), ("silu", 1), ("tanh", 2), ("relu", 0)])
def test_a_larger_eps_gives_a_larger_first_change_of_the_perturbation(name, order, seed):
    growth = np.array([first_step(name, eps, seed).growth for eps in (1e-3, 1e-2, 1e-1)])
    np.testing.assert_allclose(np.diff(np.log10(growth), axis=0), order, atol=0.04)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", ["elu", "gelu", "silu", "tanh"])
def test_a_larger_eps_gives_a_larger_stable_rank_after_a_step_by_the_start_alone(name, seed):
    """From below K to nearly d; without the change of the perturbation it is the same within 0.5%.

    Print gives that change as the reason.
    """
    steps = [first_step(name, eps, seed) for eps in (1e-3, 1e-2, 1e-1, 1.0)]
    ranks = np.array([step.stable_rank for step in steps])
    assert np.all(np.diff(ranks) > 0)
    assert ranks[0] < K < 0.8 * D < ranks[-1]
    np.testing.assert_allclose([step.without for step in steps], ranks, rtol=0.005)


def test_the_first_change_of_the_perturbation_may_lower_the_stable_rank_and_its_norm():
    """GELU at eps = 0.1; which of the two it is depends on the data."""
    up, down = (first_step("gelu", 0.1, seed) for seed in (0, 6))
    assert up.stable_rank > (1 + 1e-3) * up.without
    assert down.stable_rank < (1 - 1e-3) * down.without
    assert up.norm_of_4 > 0.1 + 1e-4
    assert down.norm_of_4 < 0.1 - 1e-4


def test_with_relu_the_first_change_of_the_perturbation_raises_the_stable_rank():
    for seed in range(3):
        step = first_step("relu", 1e-3, seed)
        assert step.stable_rank > 1.15 * step.without


# ---- Section 5.1.2, size ------------------------------------------------------------------------------------------


def num_parameters(windows, outputs):
    """Of VGG-16 with a head of two hidden layers of 4096, by shapes alone."""
    network = VGG16(MLP((4096, 4096, outputs), "gelu"), windows=windows)
    images = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    variables = jax.eval_shape(network.init, jax.random.key(0), images)
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables))


def test_vgg16_has_138_million_parameters_and_50_million_with_the_smaller_pooling_and_10_classes():
    """The published 138,357,544 have the biases of the head too, which lawlib's has not."""
    biases = 4096 + 4096 + 1000
    assert num_parameters((7, 7), 1000) + biases == 138_357_544
    assert num_parameters((3, 3), 10) == 50_407_232


def test_the_pooling_alone_leaves_54_million_and_the_rest_is_the_fewer_classes():
    assert num_parameters((3, 3), 1000) == 54_462_272
    assert num_parameters((7, 7), 10) == 134_293_312
    assert num_parameters((7, 7), 10) - num_parameters((3, 3), 10) == 512 * (49 - 9) * 4096
