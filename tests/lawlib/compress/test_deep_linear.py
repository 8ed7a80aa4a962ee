"""The small network against the d x d one trained by plain gradient descent, and its bases against dense draws."""

import functools as ft

import chex
import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
from draws import low_rank_matrix, orthogonal_layers
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lawlib import compress
from lawlib.descent.steps import Iterate, heavy_ball, sum_squared_error
from lawlib.linalg.subspaces import complement, orthonormal_sum
from lawlib.networks.deep_linear import end_to_end
from lawlib.networks.initializers import orthogonal_weights
from lawlib.problems.synthetic import regression

WIDTH, RANK, SAMPLES, STEPS = 14, 2, 40, 60
RATES = [
    {"step_size": 5e-3, "weight_decay": 0.0, "momentum": 0.0},
    {"step_size": 5e-3, "weight_decay": 0.3, "momentum": 0.0},
    {"step_size": 5e-3, "weight_decay": 0.3, "momentum": 0.8},
]


def square(seed, depth, dtype, width=WIDTH, rank=RANK, scale=0.8):
    """W(0), the target, the loss that no weights remove, and the data of the loss: inputs are I."""
    target = low_rank_matrix(seed, (width, width), rank, dtype)
    weights = orthogonal_layers(seed, (width,) * (depth + 1), scale, dtype)
    return weights, target, jnp.zeros((), dtype), (jnp.eye(width, dtype=dtype), target)


def wide(seed, depth, dtype, width=WIDTH, rank=RANK, scale=0.8):
    """The same for whitened data of as many outputs as the rank."""
    (X,) = orthogonal_layers(seed, (SAMPLES, width), 1.0, dtype)
    Y = jnp.asarray(np.random.default_rng(seed).standard_normal((rank, SAMPLES)), dtype)
    weights = orthogonal_layers(seed + 1, (*[width] * depth, rank), scale, dtype)
    return weights, *regression(X, Y), (X, Y)


def loss(weights, X, Y):
    return sum_squared_error(end_to_end(weights) @ X, Y)


@jax.jit
def trained(weights, data, rates):
    descent = heavy_ball(loss)
    return jax.lax.fori_loop(0, STEPS, lambda _, it: descent.step(it, *data, **rates), descent.init(weights)).weights


# Compiled as wholes: one by one their hundred operations take longer.
reduce, expand = jax.jit(compress.reduce, static_argnames="rank"), jax.jit(compress.expand)
draw_bases, draw_reduction = jax.jit(compress.draw_bases), jax.jit(compress.draw_reduction, static_argnames="depth")


@jax.jit
def trained_small(reduction, rates):
    start = compress.init(reduction)
    return jax.lax.fori_loop(0, STEPS, lambda _, it: compress.step(it, reduction, **rates), start).weights


def both(case, depth, dtype, rates, **sizes):
    """The reduction, the small network trained by its own steps, the d x d weights by theirs, W(0) and the data."""
    weights, target, floor, data = case(3, depth, dtype, **sizes)
    reduction = reduce(weights, target, rank=sizes.get("rank", RANK), floor=floor)
    rates = {name: jnp.asarray(value, dtype) for name, value in rates.items()}
    return reduction, trained_small(reduction, rates), trained(weights, data, rates), weights, data


@pytest.mark.parametrize("rates", RATES, ids=["plain", "decay", "decay and momentum"])
@pytest.mark.parametrize(("case", "depth"), [(square, 2), (square, 4), (wide, 3)])
def test_the_small_network_unfolds_to_the_trained_weights(case, depth, rates, dtype, tol):
    reduction, small, full, weights, data = both(case, depth, dtype, rates)
    chex.assert_trees_all_close(expand(reduction, small, weights), full, rtol=0, atol=tol(full[0]))
    assert all(np.linalg.norm(W - start) > 0.1 for W, start in zip(full, weights, strict=True))  # they have moved
    np.testing.assert_allclose(compress.reduced_loss(reduction, small), loss(full, *data), rtol=tol(data[0]))
    assert reduction.defect < tol(data[0])


def test_fourteen_directions_take_the_other_route_of_small_products(tol):
    """Products of more than FUSED_SIZE are dots: the same network at a rank on the other side of the threshold."""
    rank = 7
    assert 2 * rank > compress.FUSED_SIZE > 2 * RANK
    reduction, small, full, weights, _ = both(square, 3, jnp.float64, RATES[1], width=18, rank=rank)
    assert {basis.shape for basis in reduction.bases} == {(18, 2 * rank)}
    chex.assert_trees_all_close(expand(reduction, small, weights), full, rtol=0, atol=tol(full[0]))


@pytest.mark.parametrize("case", [square, wide])
def test_factors_are_the_end_to_end_matrix_up_to_its_idle_part(case, tol):
    depth = 3
    reduction, small, full, *_ = both(case, depth, jnp.float64, RATES[1])
    left, right = compress.factors(reduction, small)
    apart = end_to_end(full) - left @ right.T
    values = jnp.linalg.svd(apart, compute_uv=False)
    expected = np.zeros(len(values))
    expected[: WIDTH - 2 * RANK] = float(small.rho) ** depth if case is square else 0.0
    np.testing.assert_allclose(values, expected, atol=tol(apart))


@given(seed=st.integers(0, 2**16), scale=st.floats(0.05, 1.2))
def test_unfolding_at_the_start_gives_the_start(seed, scale):
    weights, target, *_ = square(seed, 3, jnp.float64, scale=scale)
    reduction = reduce(weights, target, rank=RANK)
    unfolded = expand(reduction, reduction.start, weights)
    chex.assert_trees_all_close(unfolded, weights, rtol=0, atol=1e-12 * scale)


def low_rank(seed, width, rank, dtype):
    (left,), (right,) = (orthogonal_layers(2 * seed + side, (rank, width), 1.0, dtype) for side in range(2))
    return compress.LowRank(left, jnp.asarray(np.linspace(2.0, 1.0, rank), dtype), right)


def test_drawn_bases_are_orthonormal_and_carry_the_targets_left_space(dtype, tol):
    target = low_rank(1, 50, 4, dtype)
    left, right = draw_bases(jax.random.key(2), target.left, target.right)
    for basis in (left, right):
        np.testing.assert_allclose(basis.T @ basis, np.eye(8), atol=tol(basis))
    # Q^T U_Phi lies in the right space and Q V_Phi in the left one: V_Phi and U_Phi do not stick out.
    for basis, block in ((right, target.right), (left, target.left)):
        np.testing.assert_allclose(basis @ (basis.T @ block), block, atol=tol(basis))


def test_drawn_bases_are_orthonormal_where_a_draw_is_all_but_in_the_targets_space():
    """In two dimensions one draw of 20,000 is within 1e-4 of it: one projection would leave 1e-12 there."""
    e = jnp.eye(2)[:, :1]
    drawn = jax.jit(jax.vmap(lambda key: compress.draw_bases(key, e, e)))(jax.random.split(jax.random.key(0), 20_000))
    for basis in drawn:
        assert float(jnp.abs(jnp.swapaxes(basis, 1, 2) @ basis - jnp.eye(2)[None]).max()) < 1e-14


def test_drawn_bases_are_consistent_with_one_orthogonal_matrix(tol):
    """An orthogonal Q that maps V_{1,1} to U_{L,1}, and the rest to the rest, pulls U_Phi back into V_{1,1}."""
    target = low_rank(1, 40, 3, jnp.float64)
    left, right = draw_bases(jax.random.key(2), target.left, target.right)
    Q = left @ right.T + complement(left) @ complement(right).T
    np.testing.assert_allclose(Q.T @ Q, np.eye(40), atol=tol(Q))
    pulled_back = orthonormal_sum(target.right, Q.T @ target.left, dimension=6).basis
    np.testing.assert_allclose(right @ (right.T @ pulled_back), pulled_back, atol=tol(Q))
    gram = target.left.T @ (Q @ target.right)
    np.testing.assert_allclose(gram, (Q.T @ target.left).T @ target.right, atol=tol(Q))


def test_deep_and_small_starts_do_not_underflow(tol):
    """eps^L is 1e-60 here, beyond float32: the basis still holds what W_{L:1}(0)^T maps the target's columns to."""
    depth, scale = 20, 1e-3
    weights, target, *_ = square(3, depth, jnp.float32, scale=scale)
    V, left = reduce(weights, target, rank=RANK).bases[0], np.linalg.svd(target)[0][:, :RANK]
    pulled_back = ft.reduce(lambda block, W: np.asarray(W).T @ block / scale, reversed(weights), left)
    np.testing.assert_allclose(V @ (V.T @ pulled_back), pulled_back, atol=tol(V, 1000))


NUM_DRAWS, SMALL_WIDTH, SMALL_RANK = 1500, 7, 2


@ft.cache
def seen():
    """What the two constructions give over many draws, for one target in a narrow space: four numbers a draw."""
    target = low_rank(8, SMALL_WIDTH, SMALL_RANK, jnp.float64)
    dense = (target.left * target.values[None]) @ target.right.T

    def statistics(bases, carried, pulled_back):
        return {
            "trace of the small target": jnp.trace(bases.left.T @ dense @ bases.right),
            "an entry of P^T V_Phi": (pulled_back.T @ target.right)[0, 1],
            "an entry of P": pulled_back[0, 0],
            "an entry of Q V_Phi": carried[0, 0],
            "an entry of Q V_Phi, last column": carried[-1, -1],
            "overlap of Q^T U_Phi with the left basis": jnp.sum(jnp.square(pulled_back.T @ bases.left)),
        }

    def drawn(key):
        bases = compress.draw_bases(key, target.left, target.right)
        return statistics(bases, bases.left @ (bases.right.T @ target.right), bases.right @ bases.left.T @ target.left)

    def from_matrices(key):
        weights = orthogonal_weights(key, (SMALL_WIDTH,) * 4, 0.5, jnp.float64)
        Q = end_to_end(weights) / 0.5**3
        bases = compress.bases_of(weights, target.left, target.right)
        return statistics(bases, Q @ target.right, Q.T @ target.left)

    keys = jax.random.split(jax.random.key(9), 2 * NUM_DRAWS)
    return jax.jit(jax.vmap(drawn))(keys[:NUM_DRAWS]), jax.jit(jax.vmap(from_matrices))(keys[NUM_DRAWS:])


@pytest.mark.parametrize(
    "statistic",
    [
        "trace of the small target",
        "an entry of P^T V_Phi",
        "an entry of P",
        "an entry of Q V_Phi",
        "an entry of Q V_Phi, last column",
        "overlap of Q^T U_Phi with the left basis",
    ],
)
def test_drawn_bases_have_the_dense_constructions_distribution(statistic):
    ours, theirs = (np.asarray(draws[statistic]) for draws in seen())
    assert stats.ks_2samp(ours, theirs).pvalue > 1e-4


def test_a_drawn_reduction_learns_its_target_and_refuses_to_unfold():
    target = low_rank(1, 60, 3, jnp.float64)
    scale = 0.1
    reduction = draw_reduction(jax.random.key(2), target, depth=3, scale=scale)
    small, rates = compress.init(reduction), {name: jnp.asarray(value) for name, value in RATES[0].items()}
    for _ in range(80):
        state = trained_small(reduction._replace(start=small.weights), rates | {"step_size": jnp.asarray(0.1)})
        small = Iterate(state, state)
    left, right = compress.factors(reduction, small.weights)
    # What the r directions beyond the target keep of the start is its scale^L.
    learned = np.abs(left @ right.T - (target.left * target.values[None]) @ target.right.T)
    assert learned.max() < scale**3
    with pytest.raises(ValueError, match="drawn without matrices"):
        compress.expand(reduction, small.weights, orthogonal_layers(0, (60,) * 4, 0.3))
    with pytest.raises(ValueError, match="3 layers, got 2"):
        compress.expand(reduction, small.weights, orthogonal_layers(0, (60,) * 3, 0.3))


def test_nothing_square_is_formed_without_matrices():
    width = 300
    target = low_rank(1, width, 3, jnp.float64)
    program = jax.make_jaxpr(lambda key: compress.draw_reduction(key, target, depth=3, scale=0.3))(jax.random.key(0))
    assert 0 < max(_sizes(program.jaxpr)) < 20 * width


def _sizes(jaxpr):
    for equation in jaxpr.eqns:
        yield from (int(np.prod(out.aval.shape)) for out in equation.outvars)
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            yield from _sizes(inner)


@pytest.mark.parametrize(("m", "n"), [(40, 25), (25, 40)])
def test_bases_of_a_rectangle_are_rows_of_a_squares(m, n):
    (left,), (right,) = (orthogonal_layers(4, (3, size), 1.0) for size in (m, n))
    bases = compress.draw_bases(jax.random.key(5), left, right)
    assert (bases.left.shape, bases.right.shape) == ((m, 6), (n, 6))
    for basis, block in ((bases.left, left), (bases.right, right)):
        np.testing.assert_allclose(basis @ (jnp.linalg.pinv(basis) @ block), block, atol=1e-12)
    whole = bases.left if m > n else bases.right
    np.testing.assert_allclose(whole.T @ whole, np.eye(6), atol=1e-12)


def test_ranks_that_do_not_fit_are_refused():
    ones = jnp.ones
    with pytest.raises(ValueError, match=r"0 < 2 r <= 6, got 4"):
        compress.draw_bases(jax.random.key(0), ones((6, 4)), ones((6, 4)))
    weights = orthogonal_layers(0, (6, 6, 6), 1.0)
    with pytest.raises(ValueError, match="0 < 2 rank < width"):
        compress.reduce(weights, ones((6, 6)), 3)
    target = low_rank(1, 6, 2, jnp.float64)
    with pytest.raises(ValueError, match="must be at least 2 for a deep network, got depth=1"):
        compress.draw_reduction(jax.random.key(0), target, depth=1, scale=0.1)
    with pytest.raises(ValueError, match="0 < 2 rank < width"):
        compress.bases_of(weights, ones((6, 3)), ones((6, 3)))
    with pytest.raises(ValueError, match="do not form a network"):
        compress.reduce(weights, ones((4, 6)), 2)
