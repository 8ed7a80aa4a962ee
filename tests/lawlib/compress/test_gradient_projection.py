"""GaLore without decompositions: against dense SVDs, optax's GaLore, and the inner optimizer on the whole matrix."""

import functools as ft
import inspect

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax
from optax import contrib
from optax.contrib import GaLoreDimensionNumbers as Numbers

from lawlib.compress.gradient_projection import low_rank_gradients

M, N, RANK = 40, 30, 3
KEY = jax.random.key(0)
# Few random columns, so that the block is not the whole of the smaller side.
build = ft.partial(low_rank_gradients, rank=RANK, key=KEY, oversample=2)
EXACT = {"max_passes": 8, "tolerance": 1e-6}


@ft.partial(jax.jit, static_argnums=0)
def scanned(transform, gradients):
    """The updates of gradients that are stacked, and all states."""

    def step(state, gradient):
        update, state = transform.update(gradient, state)
        return state, (update, state)

    start = transform.init(jax.tree.map(lambda G: jnp.zeros_like(G[0]), gradients))
    return lax.scan(step, start, gradients)[1]


def alone(transform, gradients):
    """The updates of a transformation of optax, which mixes dtypes and ranks."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return scanned(transform, gradients)[0]


def frame(rng, rows, columns):
    return np.linalg.qr(rng.standard_normal((rows, columns)))[0]


def in_one_span(steps, rank=RANK, shape=(M, N), dtype=np.float64, seed=0):
    """Gradients of a rank, in one column space and one row space."""
    rng = np.random.default_rng(seed)
    left, right = (frame(rng, d, rank) for d in shape)
    return jnp.asarray(left @ rng.standard_normal((steps, rank, rank)) @ right.T, dtype)


def gapped(steps, dtype, seed=0):
    """Gradients with three distinct values far above the others, in other bases at each step."""
    rng = np.random.default_rng(seed)
    values = np.concatenate([[3.0, 2.0, 1.0], np.full(N - RANK, 1e-2)])
    return jnp.asarray(np.stack([frame(rng, M, N) * values @ frame(rng, N, N).T for _ in range(steps)]), dtype)


def outside(basis, G):
    """||sin Theta||_F between a basis and the leading left vectors of G (d, n), d >= n."""
    U = np.linalg.svd(np.asarray(G, float))[0][:, : basis.shape[1]]
    P = np.asarray(basis, float)
    return np.linalg.norm(U - P @ (P.T @ U))


INNER = {"descent": optax.identity(), "momentum": optax.trace(0.9, nesterov=True)}


@pytest.mark.parametrize("inner", INNER.values(), ids=INNER)
@pytest.mark.parametrize(("rank", "shape"), [(RANK, (M, N)), (RANK - 1, (N, M))], ids=["r", "less, and wide"])
def test_gradients_of_no_more_than_the_rank_are_kept_whole(inner, rank, shape, dtype, tol):
    gradients = in_one_span(6, rank, shape, dtype)
    found, states = scanned(build(inner, every=2), gradients)
    expected = alone(inner, gradients)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, atol=10 * tol(gradients))
    np.testing.assert_allclose(states.projections[0].captured, 1, atol=tol(gradients))
    assert states.projections[0].refreshes[-1] == 3


@pytest.mark.parametrize("gap", [1, 3])
def test_with_descent_inside_it_is_optaxs_when_refreshed_at_the_same_steps(gap):
    gradients = gapped(7, np.float32)
    found, states = scanned(build(optax.identity(), every=gap, refresh_below=0, scale=0.25, **EXACT), gradients)
    expected = alone(contrib.scale_by_galore(RANK, gap, 0.25, optax.identity()), gradients)
    assert states.projections[0].refreshes[-1] == 7 // gap + (gap > 1)
    assert np.all(states.projections[0].bound < 1e-3)
    np.testing.assert_allclose(found, expected, atol=1e-5)  # the bound is mostly rounding: errors are below 1e-6


def test_up_to_its_second_refresh_it_is_optaxs_with_adam_inside():
    gradients = gapped(5, np.float32, seed=1).at[1:].multiply(0.1)
    tree = {"kernel": gradients, "bias": gradients[:, 0]}
    found, _ = scanned(build(optax.scale_by_adam(), every=None, refresh_below=0, **EXACT), tree)
    expected = alone(contrib.scale_by_galore(RANK, 100), tree)
    for name, update in found.items():
        np.testing.assert_allclose(update, expected[name], atol=1e-3)  # Adam divides by entries of any size


def network(key, dtype, steps=60, batch=16):
    """The gradients of a small network in training under the transformation, its states, and the losses."""
    keys = jax.random.split(key, 4)
    X = jax.random.normal(keys[0], (256, N), dtype) * 0.9 ** jnp.arange(N, dtype=dtype)[None]
    Y = X @ jax.random.normal(keys[1], (N, 3), dtype) / N**0.5
    start = {
        "in": jax.random.normal(keys[2], (N, M), dtype) / N**0.5,
        "out": jax.random.normal(keys[3], (M, 3), dtype) / M**0.5,
    }

    def loss(weights, x, y):
        return jnp.mean(jnp.square(jnp.tanh(x @ weights["in"]) @ weights["out"] - y))

    def run(transform):
        def step(carry, t):
            weights, state = carry
            rows = jax.random.randint(jax.random.fold_in(keys[0], t), (batch,), 0, len(X))
            value, gradient = jax.value_and_grad(loss)(weights, X[rows], Y[rows])
            update, state = transform.update(gradient, state)
            weights = optax.apply_updates(weights, jax.tree.map(lambda U: jnp.asarray(-0.02, dtype) * U, update))
            return (weights, state), (gradient["in"], state.projections[0], value)

        return lax.scan(step, (start, transform.init(start)), jnp.arange(steps))[1]

    return jax.jit(run, static_argnums=0)


def test_on_a_network_each_projector_is_within_its_bound_and_refreshed_by_the_stated_rule(dtype, tol):
    train = network(jax.random.key(5), dtype)
    transform = build(optax.scale_by_adam(), rank=4, oversample=4, max_passes=6, every=25, refresh_below=0.95)
    gradients, found, losses = train(transform)
    assert losses[-10:].mean() < 0.7 * losses[:10].mean()
    age, reference, refreshes, dense = 0, np.nan, 0, []
    for t, G in enumerate(np.asarray(gradients.swapaxes(1, 2), float)):  # (M, N): the longer side first
        P = np.asarray(found.basis[t], float)
        np.testing.assert_allclose(P.T @ P, np.eye(4), atol=tol(found.basis))
        if refreshes:
            last = np.asarray(found.basis[t - 1], float)
            share = np.sum((last.T @ G) ** 2) / np.sum(G**2)
            age, reference = age + 1, share if np.isnan(reference) else reference
        if not refreshes or share < 0.95 * reference or age >= 25:
            age, reference, refreshes = 0, np.nan, refreshes + 1
            dense.append((outside(P, G), found.bound[t], found.certified[t]))
            np.testing.assert_allclose(found.captured[t], np.sum((P.T @ G) ** 2) / np.sum(G**2), rtol=tol(gradients))
        assert (found.age[t], found.refreshes[t]) == (age, refreshes)
        np.testing.assert_allclose(found.reference[t], reference, rtol=1e-3)
    errors, bounds, certified = np.asarray(dense, float).T
    assert len(errors) > 3  # three of them by age
    assert np.all(errors <= bounds)
    assert certified.sum() >= len(errors) / 2
    np.testing.assert_array_equal(certified, bounds <= 0.1)


def falling(share):
    """Five gradients in one span, then five with that share of their squared norm in it."""
    rng = np.random.default_rng(3)
    U, V = frame(rng, M, 2 * RANK), frame(rng, N, RANK)
    inside, beyond = U[:, :RANK] @ V.T, U[:, RANK:] @ V.T
    return jnp.asarray(np.stack([inside] * 5 + [share**0.5 * inside + (1 - share) ** 0.5 * beyond] * 5))


@pytest.mark.parametrize(("share", "ages"), [(0.85, range(10)), (0.75, [*range(5), *range(5)])], ids=["above", "below"])
def test_a_refresh_comes_when_the_share_falls_below_the_fraction(share, ages):
    _, states = scanned(build(optax.identity(), every=None, refresh_below=0.8), falling(share))
    np.testing.assert_array_equal(states.projections[0].age, list(ages))
    np.testing.assert_allclose(states.projections[0].captured[4::5], [1, share if len(set(ages)) == 10 else 1])


def test_a_refresh_that_finds_the_same_span_changes_nothing_for_any_inner_optimizer(tol):
    gradients = in_one_span(8)
    often, states = scanned(build(optax.scale_by_adam(eps=1e-3), every=1), gradients)
    once, _ = scanned(build(optax.scale_by_adam(eps=1e-3), every=None), gradients)
    assert states.projections[0].refreshes[-1] == 8
    np.testing.assert_allclose(often, once, atol=1e3 * tol(gradients))
    np.testing.assert_allclose(states.projections[0].basis[-1], states.projections[0].basis[0], atol=tol(gradients))


def test_a_kernel_is_its_matrix_and_a_bias_is_left_to_the_inner_optimizer(dtype, tol):
    kernels = in_one_span(4, RANK + 2, (8, 24), dtype)
    shaped = {"bias": kernels[:, 0], "conv": kernels.reshape(4, 2, 2, 2, 24)}
    inner = optax.scale_by_adam()
    numbers = {"bias": None, "conv": Numbers((0, 1, 2), 3)}
    found, states = scanned(build(inner, weight_dimension_numbers=numbers), shaped)
    flat, _ = scanned(build(inner), {"bias": kernels[:, 0], "conv": kernels})
    assert states.inner.mu["conv"].shape == (4, 8, RANK)
    assert states.projections[1].basis.shape == (4, 24, RANK)
    assert states.projections[0] is None
    np.testing.assert_allclose(found["conv"].reshape(kernels.shape), flat["conv"], atol=tol(kernels))
    np.testing.assert_allclose(found["bias"], alone(inner, shaped["bias"]), atol=tol(kernels))


def test_gradients_that_are_not_finite_or_zero_leave_the_projector_and_a_tiny_one_does_not():
    gradients = in_one_span(6).at[1].set(jnp.nan).at[2].set(0).at[3].mul(1e-160).at[4, 0, 0].set(jnp.inf)
    gradients = jnp.concatenate([gradients[1:3], gradients])
    updates, states = scanned(build(optax.identity(), every=1), gradients)
    np.testing.assert_array_equal(states.projections[0].refreshes, [0, 0, 1, 1, 1, 2, 2, 3])
    basis = states.projections[0].basis
    np.testing.assert_array_equal(basis[0], basis[1])
    np.testing.assert_array_equal(basis[2], basis[4])
    assert not np.array_equal(basis[1], basis[2])
    assert np.isfinite(basis).all()
    finite = np.array([1, 2, 4, 5, 7])
    np.testing.assert_allclose(updates[finite], gradients[finite], rtol=1e-9, atol=1e-172)
    assert np.isinf(states.projections[0].bound[:2]).all()


@pytest.mark.parametrize("exponent", [-100, 100])
def test_a_projector_has_no_units(exponent):
    gradients = gapped(2, np.float32)
    transform = build(optax.identity(), every=1)
    (_, one), (_, other) = (scanned(transform, gradients * np.float32(2.0**power)) for power in (0, exponent))
    chex.assert_trees_all_equal(one.projections, other.projections)


def test_members_of_a_vmap_are_each_their_own():
    several = jnp.stack([gapped(3, np.float64, seed) for seed in range(2)])
    transform = build(optax.scale_by_adam(), every=2)
    together = jax.vmap(lambda gradients: scanned(transform, gradients)[0])(several)
    for update, gradients in zip(together, several, strict=True):
        np.testing.assert_allclose(update, scanned(transform, gradients)[0], atol=1e-9)


def test_short_floats_keep_their_dtype_and_their_projector_in_float32(tol):
    gradients = in_one_span(3, dtype=jnp.bfloat16)
    update, states = scanned(build(optax.trace(0.9)), gradients)
    assert update.dtype == states.inner.trace.dtype == jnp.bfloat16
    assert states.projections[0].basis.dtype == jnp.float32
    np.testing.assert_allclose(states.projections[0].captured, 1, atol=1e-3)
    exact = alone(optax.trace(0.9), gradients.astype(jnp.float32))
    np.testing.assert_allclose(update.astype(jnp.float32), exact, atol=2e-2)


def test_what_the_inner_optimizer_asks_for_is_passed_on():
    (gradient,) = in_one_span(1)
    plateau = build(optax.chain(optax.identity(), contrib.reduce_on_plateau(patience=1)))
    _, state = plateau.update(gradient, plateau.init(gradient), value=jnp.asarray(2.0))
    assert state.inner[1].best_value == 2


def test_an_inner_optimizer_that_asks_for_the_weights_says_where_they_are():
    (gradient,) = in_one_span(1)
    decayed = build(optax.adamw(0.1))
    with pytest.raises(ValueError, match="params") as caught:
        decayed.update(gradient, decayed.init(gradient), gradient)
    assert r"optax.chain(low_rank_gradients(...), optax.add_decayed_weights(...)" in caught.value.__notes__[0]
    assert f"[({RANK}, {N})]" in caught.value.__notes__[0]


BAD = {
    "rank": ({"rank": 0}, "rank must be a whole number of at least 1, got 0"),
    "half a rank": ({"rank": 2.5}, "rank must be a whole number of at least 1, got 2.5"),
    "every": ({"every": 0}, "every must be"),
    "fraction": ({"refresh_below": 1.5}, "refresh_below must be in 0..1, .* got 1.5"),
    "not a number": ({"refresh_below": float("nan")}, "refresh_below must be"),
    "no random columns": ({"oversample": 0}, "oversample must be a whole number of at least 1, got 0"),
    "tolerance": ({"tolerance": 0.0}, "tolerance must be positive"),
    "all at once": ({"rank": 0, "max_passes": 1}, "rank must be .*; max_passes must be .* at least 2, got 1"),
}


@pytest.mark.parametrize(("options", "message"), BAD.values(), ids=BAD)
def test_numbers_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(low_rank_gradients)(optax.identity(), **{"rank": RANK, "key": KEY} | options)


def test_what_is_no_optimizer_or_no_key_is_refused():
    with pytest.raises(TypeError, match="optax transformation is wanted"):
        inspect.unwrap(low_rank_gradients)(0.1, RANK, key=KEY)
    with pytest.raises(TypeError, match=r"key must be a key, such as jax.random.key\(0\), got 0"):
        inspect.unwrap(low_rank_gradients)(optax.identity(), RANK, key=0)


def test_a_leaf_that_cannot_be_projected_is_refused_at_the_start_and_in_a_step():
    transform = build(optax.identity())
    with pytest.raises(ValueError, match=r"rank=3 has to be below both sides"):
        transform.init(jnp.ones((9, 3)))
    state = transform.init({"a": jnp.ones((9, 4))})
    with pytest.raises(ValueError, match=r"shapes \[\(9, 3\)\], those of the gradients \[\(8, 3\)\]; start with init"):
        transform.update({"a": jnp.ones((8, 4))}, state)
    with pytest.raises(ValueError, match=r"\['a'\]: .* got complex128"):
        transform.update({"a": jnp.ones((9, 4), complex)}, state)
