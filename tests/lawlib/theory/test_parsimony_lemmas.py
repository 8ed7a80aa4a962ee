"""Statements of Yaras et al. 2023 about rho(t), the sizes of networks, and an inequality in the proof of Lemma 3.

As eps falls, so does rho(t), at every t (Section 3). The term rho^L U_{L,2} V_{1,2}^T of eq. (10) shrinks with the
depth, for eps < 1 and up to a time. Sizes of networks are counted from the shapes that lawlib's compression has. The
recursions are lawlib's; gradient descent is written out in numpy.
"""

import functools as ft
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lawlib.compress import deep_linear
from lawlib.compress.adapters import deep_lora
from lawlib.theory import collapse
from lawlib.theory.parsimony import invariant_bases, rho_square, rho_wide
from lawlib.theory.parsimony_decay import idle_decay

EPS = np.finfo(float).eps
WIDTH, RANK, STEP_SIZE = 9, 2, 0.02


# ---- the inequality in the proof of Lemma 3 -----------------------------------------------------------------------


def sides(depth, part=1 / 30):
    """1 - 2 c / L^2 and (c / L^2 + (1/2)^{1/L})^L for c = part; the second by logarithms, which keep its digits."""
    other = math.exp(depth * math.log1p(part / depth**2 + math.expm1(-math.log(2) / depth)))
    return 1 - 2 * part / depth**2, other


def check_lemma_3(depth):
    left, right = sides(depth)
    # The two bounds in the middle do not depend on L: (1 + x)^L <= e^{L x}, x = 2^{1/L} / (30 L^2) <= 1/15.
    assert right <= math.exp(1 / 15) / 2 * (1 + 1e-12) < 14 / 15 <= left * (1 + 1e-15)


@pytest.mark.parametrize("depth", range(1, 101))
def test_the_inequality_of_lemma_3_holds_with_bounds_that_leave_out_the_depth(depth):
    check_lemma_3(depth)
    np.testing.assert_allclose(sides(depth)[1], (1 / (30 * depth**2) + 0.5 ** (1 / depth)) ** depth, rtol=1e-12)


@given(depth=st.floats(1, 1e9))
def test_the_inequality_of_lemma_3_holds_between_the_integers_and_far_out(depth):
    check_lemma_3(depth)


def test_the_constant_30_of_lemma_3_could_be_6_where_one_layer_gives_equality():
    left, right = sides(1, part=1 / 6)
    assert abs(left - right) < 4 * EPS
    left, right = sides(1, part=1 / 5.99)
    assert left < right
    assert all(np.greater(*sides(depth, part=1 / 6)) for depth in range(2, 101))


@given(n=st.integers(3, 1000), K=st.integers(2, 10), depth=st.integers(2, 30))
def test_the_last_layer_keeps_its_leading_values_at_the_largest_scale_of_theorem_2(n, K, depth):
    """The step that the inequality serves: (1 - 1/(15 L^2))^{1/L} n^{1/L} - delta >= (n/2)^{1/L}."""
    eps = collapse.largest_scale(width=n * K, samples_per_class=n, num_classes=K, depth=depth)
    delta = eps**2 * math.sqrt(n * K - K)
    assert delta <= n ** (1 / depth) / (30 * depth**2) * (1 + 1e-12)
    before = ((1 - 1 / (15 * depth**2)) * n) ** (1 / depth)
    assert before - delta >= (n / 2) ** (1 / depth)


# ---- rho for a small eps ------------------------------------------------------------------------------------------


def idle(scale, depth, num_steps, *, wide=False, step_size=STEP_SIZE, weight_decay=0.0):
    """rho(0), ..., rho(T) by the library's recursion, Case 2 if wide."""
    rates = {"step_size": step_size, "weight_decay": weight_decay, "momentum": 0.0}
    follow = rho_wide if wide else ft.partial(rho_square, depth=depth)
    values = [scale]
    for _ in range(num_steps):
        values.append(follow(values[-1], before=values[-1], **rates))
    return np.array(values)


RATES = {"depth": st.integers(2, 5), "step_size": st.floats(1e-3, 0.5), "weight_decay": st.floats(0.0, 1.0)}


@given(power=st.integers(1, 12), wide=st.booleans(), **RATES)
def test_rho_falls_with_eps_at_every_time(power, wide, depth, step_size, weight_decay):
    """eps (1 - eta lambda)^t times a factor in [1 - t x, 1], x = eta eps^{2L-2} / (1 - eta lambda), 0 in Case 2."""
    eps, times = 10.0**-power, np.arange(201)
    kept = 1 - step_size * weight_decay
    rho = idle(eps, depth, 200, wide=wide, step_size=step_size, weight_decay=weight_decay)
    share = rho / (eps * kept**times)
    lost = 0 if wide else step_size * eps ** (2 * depth - 2) / kept
    rounding = 1e3 * EPS
    assert np.all(share <= 1 + rounding)
    assert np.all(share >= 1 - times * lost - rounding)
    assert rho.max() == eps
    # The bound is attained in the first step.
    assert abs(1 - share[1] - lost) < rounding


@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize("weight_decay", [0.0, 2.0, 50.0])
def test_rho_stays_below_eps_up_to_a_step_size_and_grows_beyond_it(depth, weight_decay):
    """|rho(t)| <= eps at all t if eta (lambda + eps^{2L-2}) <= 2."""
    eps = 0.8
    largest = 2 / (weight_decay + eps ** (2 * depth - 2))
    below = np.abs(idle(eps, depth, 100, step_size=0.999 * largest, weight_decay=weight_decay))
    above = np.abs(idle(eps, depth, 1, step_size=1.001 * largest, weight_decay=weight_decay))
    assert below.max() == eps < above[1]
    assert below[1] > 0.99 * eps


def test_rho_falls_with_eps_at_each_time_even_where_it_grows():
    """eta lambda = 3: every step multiplies rho by about -2, so that the limit is not uniform in t."""
    ends = np.array([np.abs(idle(10.0**-k, 3, 20, step_size=1.0, weight_decay=3.0))[-1] for k in (8, 9, 10)])
    np.testing.assert_allclose(ends / 2.0**20, [1e-8, 1e-9, 1e-10], rtol=1e-3)


# ---- gradient descent ---------------------------------------------------------------------------------------------


def haar(rng, d):
    Q, R = np.linalg.qr(rng.standard_normal((d, d)))
    return Q * np.sign(np.diag(R))


def product(weights):
    return ft.reduce(lambda P, W: W @ P, weights, np.eye(WIDTH))


def problem(seed, scale, depth, wide=False):
    """Orthogonal layers times eps, and a target of rank r with values in [1, 2]; r outputs if wide."""
    rng = np.random.default_rng(seed)
    outputs = RANK if wide else WIDTH
    target = haar(rng, outputs)[:, :RANK] * rng.uniform(1, 2, RANK) @ haar(rng, WIDTH)[:RANK]
    weights = [scale * haar(rng, WIDTH) for _ in range(depth)]
    return [*weights[:-1], weights[-1][:outputs]], target


def descended(weights, target, num_steps, *, step_size=STEP_SIZE, weight_decay=0.0):
    """W(T) by eq. (4) with X = I."""
    for _ in range(num_steps):
        residual = product(weights) - target
        above = [ft.reduce(np.matmul, weights[:l:-1], np.eye(len(target))) for l in range(len(weights))]
        gradients = [A.T @ residual @ product(weights[:l]).T for l, A in enumerate(above)]
        weights = [(1 - step_size * weight_decay) * W - step_size * G for W, G in zip(weights, gradients, strict=True)]
    return weights


CASES = pytest.mark.parametrize("wide", [False, True], ids=["case_1", "case_2"])


@CASES
@pytest.mark.parametrize("depth", [2, 3])
def test_most_singular_values_of_trained_layers_are_rho_and_fall_with_eps(wide, depth):
    """d - 2r > d/2 of them are rho(t), and so is the median."""
    for scale in (0.3, 0.03, 0.003):
        layers = descended(*problem(1, scale, depth, wide), 150, weight_decay=0.1)
        rho = idle(scale, depth, 150, wide=wide, weight_decay=0.1)[-1]
        medians = [np.median(np.linalg.svd(W, compute_uv=False)) for W in (layers[:-1] if wide else layers)]
        np.testing.assert_allclose(medians, rho, atol=1e-13)
        assert rho <= scale * (1 - STEP_SIZE * 0.1) ** 150 * (1 + 1e-12)


@pytest.mark.parametrize("depth", [2, 3])
def test_at_a_fixed_time_the_values_that_learn_fall_with_eps_too(depth):
    """The limit alone does not tell the two kinds of values apart: at a fixed t all layers tend to 0."""
    largest = [np.linalg.norm(descended(*problem(1, scale, depth), 150)[0], 2) for scale in (1e-4, 1e-5, 1e-6)]
    np.testing.assert_allclose(np.divide(largest[:-1], largest[1:]), 10, rtol=0.01)


def test_when_the_target_is_fitted_rho_is_still_below_eps():
    """The bound by eps holds at all t, also at a time that grows as eps falls."""
    for scale, num_steps in ((0.1, 1500), (0.03, 4500)):
        weights, target = problem(1, scale, 3)
        layers = descended(weights, target, num_steps)
        assert np.linalg.norm(product(layers) - target) < 2 * scale**3 * math.sqrt(WIDTH)
        assert all(np.linalg.svd(W, compute_uv=False)[2 * RANK] <= scale for W in layers)


# ---- eq. (10), depth ----------------------------------------------------------------------------------------------


def outside(start, target, layers):
    """The part of W_{L:1}(t) outside of the active bases of W(0), which lawlib computes."""
    V, *_, U = map(np.asarray, invariant_bases(tuple(map(jnp.asarray, start)), jnp.asarray(target), RANK))
    left, right = (np.eye(WIDTH) - B @ B.T for B in (U, V))
    return left @ product(layers) @ right


@ft.cache
def left_out(scale, depth, num_steps):
    """The norm of the term of eq. (10) after so many steps of gradient descent."""
    start, target = problem(2, scale, depth)
    return np.linalg.norm(outside(start, target, descended(start, target, num_steps)))


@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize("scale", [0.5, 0.2])
def test_the_term_that_the_compressed_network_leaves_out_has_the_size_of_rho(depth, scale):
    for num_steps in (0, 50):
        expected = idle(scale, depth, num_steps)[-1] ** depth * math.sqrt(WIDTH - 2 * RANK)
        np.testing.assert_allclose(left_out(scale, depth, num_steps), expected, atol=1e-13)


@pytest.mark.parametrize("scale", [0.5, 0.2])
def test_the_term_shrinks_with_depth_in_early_training(scale):
    """By eps per layer at the start, and still by more than eps^(1/2) at eta t = 1."""
    for num_steps, least in ((0, scale), (50, scale**0.5)):
        sizes = [left_out(scale, depth, num_steps) for depth in (2, 3, 4)]
        assert np.all(np.divide(sizes[1:], sizes[:-1]) <= least * (1 + 1e-9))


def horizon(scale, depth):
    """The time eta t up to which rho^L of L layers exceeds eps^{L+1}: (eps^{-p/L} - 1) / (p eps^p), p = 2 (L - 1)."""
    power = 2 * (depth - 1)
    return (scale ** (-power / depth) - 1) / (power * scale**power)


@settings(max_examples=10)
@given(depth=st.integers(2, 5), scale=st.floats(0.35, 0.9))
def test_one_layer_more_makes_the_term_smaller_up_to_the_horizon(depth, scale):
    step_size = 0.95 * horizon(scale, depth) / 200
    shallow, deep = (idle(scale, L, 200, step_size=step_size) ** L for L in (depth, depth + 1))
    assert shallow[-1] < 1.1 * scale ** (depth + 1)
    assert np.all(deep < shallow)


@pytest.mark.parametrize(("scale", "latest"), [(0.5, 3), (0.3, 2), (0.2, 2)])
def test_the_horizon_of_two_layers_is_right_but_for_a_factor(scale, latest):
    """Without weight decay the order of L = 2 and L = 3 is the opposite from there on: a counterexample to print."""
    num_steps = 600
    step_size = latest * horizon(scale, 2) / num_steps
    two, three = (idle(scale, L, num_steps, step_size=step_size) ** L for L in (2, 3))
    assert three[num_steps // (2 * latest)] < two[num_steps // (2 * latest)]
    assert three[-1] > two[-1]


def test_after_long_training_the_term_of_three_layers_is_larger_than_that_of_two():
    """By gradient descent, eps = 1/2, eta t = 10, where the residual is little but this term."""
    two, three = (left_out(0.5, depth, 500) for depth in (2, 3))
    assert three > 1.05 * two


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_in_the_end_weight_decay_decides_the_order_of_depths(depth):
    """rho^L falls like t^{-L/(2L-2)} without it, which is slower for more layers, and like (1 - eta lambda)^{L t}."""
    for weight_decay, times, sign in ((0.0, 1e30, 1), (0.1, 1e5, -1)):
        rates = {"scale": 0.5, "step_size": 0.01, "weight_decay": weight_decay}
        logs = [L * math.log(idle_decay(times, depth=L, **rates)) for L in (depth, depth + 1)]
        assert sign * (logs[1] - logs[0]) > 1


def test_at_eps_of_one_the_term_shrinks_with_depth_for_a_while_and_then_grows():
    """The scale of Figure 3, at which all depths start alike."""
    sizes = np.array([idle(1.0, depth, 400, step_size=0.01) ** depth for depth in (2, 3)])
    assert sizes[0, 0] == sizes[1, 0] == 1
    assert np.all(sizes[1, 1:200] < sizes[0, 1:200])
    assert np.all(sizes[1, 300:] > sizes[0, 300:])


# ---- Section 4.1, parameters --------------------------------------------------------------------------------------


def count(tree):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def square(width, depth):
    return (jax.ShapeDtypeStruct((width, width), jnp.float64),) * depth


def compressed(layers, target, rank):
    """The weights of the compressed network by their shapes alone, without an array."""
    return jax.eval_shape(lambda W, Phi: deep_linear.reduce(W, Phi, rank).start.weights, layers, target)


@pytest.mark.parametrize(("width", "rank", "depth"), [(1000, 5, 3), (9, 4, 2), (50, 1, 2), (30, 3, 5)])
def test_the_compressed_network_has_4_l_r_squared_parameters(width, rank, depth):
    layers = square(width, depth)
    assert count(layers) == depth * width**2
    assert count(compressed(layers, layers[0], rank)) == 4 * depth * rank**2
    drawn = jax.eval_shape(lambda target: drawn_start(target, depth), low_rank(width, rank))
    assert count(drawn.weights) == 4 * depth * rank**2


def low_rank(width, rank):
    frame = jax.ShapeDtypeStruct((width, rank), jnp.float64)
    return deep_linear.LowRank(frame, jax.ShapeDtypeStruct((rank,), jnp.float64), frame)


def drawn_start(target, depth):
    return deep_linear.draw_reduction(jax.random.key(0), target, depth=depth, scale=0.1).start


def test_with_r_outputs_the_last_layer_is_smaller():
    """Case 2, for which print has no count: 4 (L - 1) r^2 + 2 r^2."""
    layers, target = square(20, 3), jax.ShapeDtypeStruct((2, 20), jnp.float64)
    assert count(compressed((*layers[:2], target), target, 2)) == 4 * 2 * 2**2 + 2 * 2**2


def completing(width, rank, depth):
    """The factors U W~_{L:1} V^T of eq. (11), all of them trained."""
    frame = jax.ShapeDtypeStruct((width, rank), jnp.float64)

    def factors(left, right):
        return deep_lora(deep_linear.draw_bases(jax.random.key(0), left, right), scale=0.1, depth=depth)

    return jax.eval_shape(factors, frame, frame)


@pytest.mark.parametrize(("rank", "depth"), [(5, 3), (2, 2), (1, 4)])
def test_completion_trains_4_r_d_parameters_more_which_grow_like_the_width(rank, depth):
    widths = (20, 40, 60, 1000)
    counts = [count(completing(width, rank, depth)) for width in widths]
    assert counts == [4 * depth * rank**2 + 4 * rank * width for width in widths]
    assert np.all(np.diff(counts[:3], n=2) == 0)
    outer = completing(1000, rank, depth)._replace(core=())
    assert count(outer) == 4 * rank * 1000


@pytest.mark.parametrize(("rank", "depth"), [(5, 3), (10, 2), (7, 4)])
def test_completion_trains_fewer_parameters_from_a_width_on(rank, depth):
    """d > 2 r (1 + sqrt(1 + L^2)) / L, above the least width 2r + 1 of the law."""
    edge = 2 * rank * (1 + math.sqrt(1 + depth**2)) / depth
    assert edge > 2 * rank + 1
    for width in (math.floor(edge), math.floor(edge) + 1):
        assert (count(completing(width, rank, depth)) < depth * width**2) == (width > edge)
