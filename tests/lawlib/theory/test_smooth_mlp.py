"""The law of smooth MLPs: gradient and subspaces by dense routes, its lemmas on random instances, its theorem.

Lemmas and theorems are those of Xu et al. 2026, Appendices D and E.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from lawlib.descent.steps import sum_squared_error
from lawlib.linalg import subspaces
from lawlib.networks import mlp
from lawlib.networks.activations import ACTIVATIONS
from lawlib.networks.initializers import orthogonal
from lawlib.problems import synthetic
from lawlib.theory import smooth_mlp as theory
from lawlib.theory import smooth_mlp_bounds as bounds

D, M, K, N, NUM_STEPS = 16, 20, 3, 60, 40
P = D - 2 * K
SCALE, STEP_SIZE = 0.05, 0.02
SMOOTH = ("elu", "gelu", "silu", "tanh")
seeds = st.integers(0, 2**31)
few = settings(max_examples=8)
first_layer_gradient = jax.jit(theory.first_layer_gradient, static_argnums=3)
big_and_small = jax.jit(theory.big_and_small, static_argnums=2)


def matrix(seed, *shape, dtype=jnp.float64):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def basis(seed, d, r):
    return jnp.asarray(np.linalg.qr(np.random.default_rng(seed).standard_normal((d, r)))[0])


@functools.cache
@functools.partial(jax.jit, static_argnums=1)
def problem(seed, dtype=jnp.float64):
    """Whitened mixture X, Y, an orthogonal W_1 of scale 1 and a uniform W_2."""
    keys = jax.random.split(jax.random.key(seed), 3)
    X, Y = synthetic.gaussian_mixture(keys[0], dimension=D, num_classes=K, num_samples=N, dtype=dtype)
    W_2 = jax.random.uniform(keys[2], (K, M), dtype, -1, 1)
    return synthetic.whiten_symmetric(X).inputs, Y, orthogonal(1.0)(keys[1], (M, D), dtype), W_2


@functools.cache
def run(name):
    """W_1(t) for t = 0, ..., T + 1, the gradients G_1(t) for t = 0, ..., T, and the data; 20 layers wide, eps small."""
    X, Y, Q, W_2 = problem(0)

    def step(W, _):
        G = theory.first_layer_gradient((W, W_2), X, Y, ACTIVATIONS[name])
        return W - STEP_SIZE * G, (W, G)

    last, (Ws, Gs) = jax.jit(lambda W: jax.lax.scan(step, W, length=NUM_STEPS + 1))(SCALE * Q)
    return jnp.concatenate([Ws, last[None]]), Gs, X, Y, W_2


@functools.partial(jax.jit, static_argnums=4)
def residual_of(W, W_2, X, Y, phi):
    return mlp.apply((W, W_2), X, phi) - Y


# ---- gradient and subspaces ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_gradient_is_autodiffs(name, tol):
    X, Y, W_2 = matrix(0, D, N), matrix(1, K, N), matrix(2, K, M)
    weights, phi = (matrix(3, M, D), W_2), ACTIVATIONS[name]
    expected = jax.jit(jax.grad(lambda weights: sum_squared_error(mlp.apply(weights, X, phi), Y)))(weights)[0]
    found = first_layer_gradient(weights, X, Y, phi)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tol(X) * np.abs(expected).max())


def test_the_gradient_of_another_depth_is_refused():
    for depth in (1, 3):
        weights = (matrix(0, 4, 4),) * depth
        with pytest.raises(ValueError, match=f"two layers, got {depth}"):
            theory.first_layer_gradient(weights, matrix(1, 4, 5), matrix(2, 4, 5), ACTIVATIONS["elu"])


def test_s_small_is_the_intersection_and_s_big_its_complement(dtype, tol):
    start, gradient = SCALE * basis(0, M, D).astype(dtype), matrix(1, M, D, dtype=dtype)
    big, small, kept, _ = big_and_small(start, gradient, K)
    assert (big.shape, small.shape, small.dtype) == ((D, 2 * K), (D, P), dtype)
    both = np.asarray(jnp.concatenate([big, small], axis=1))
    np.testing.assert_allclose(both.T @ both, np.eye(D), rtol=0, atol=tol(start))
    L, _, Rt = np.linalg.svd(np.asarray(gradient, np.float64))
    # Orthogonal to R_{1,1}, which is to lie in R(R_{1,2}), and to W_1^T L_{1,1}.
    dense = scipy.linalg.null_space(np.vstack([Rt[:K], L[:, :K].T @ np.asarray(start, np.float64) / SCALE]))
    assert dense.shape == (D, P)
    assert scipy.linalg.subspace_angles(dense, np.asarray(small, np.float64)).max() < tol(start) / float(kept)
    assert 0 < kept < 1


@pytest.mark.parametrize("num_classes", [-1, 0, 8, 9])
def test_too_many_classes_leave_no_s_small(num_classes):
    with pytest.raises(ValueError, match=rf"0 < 2 num_classes < d=16, got num_classes={num_classes}"):
        theory.big_and_small(matrix(0, M, D), matrix(1, M, D), num_classes)


def test_bases_are_carried_by_the_products_of_the_layers(dtype, tol):
    shapes, scale = ((M, D), (M, M), (M, M)), 0.1
    weights = tuple(scale * basis(i, *shape).astype(dtype) for i, shape in enumerate(shapes))
    V = basis(0, D, P).astype(dtype)
    carried = theory.transported(weights, V, scale)
    assert [B.shape for B in carried] == [(D, P), (M, P), (M, P), (M, P)]
    product = np.eye(D)
    for layer, B in enumerate(carried):
        B = np.asarray(B)
        np.testing.assert_allclose(B, product @ np.asarray(V) / scale**layer, rtol=0, atol=tol(B))
        np.testing.assert_allclose(B.T @ B, np.eye(P), rtol=0, atol=tol(B))
        product = np.asarray(weights[layer], np.float64) @ product if layer < len(weights) else None


# ---- the lemmas -------------------------------------------------------------------------------------------------


@few
@given(seed=seeds)
def test_lemma_d1_absolute_values_do_not_lower_the_norm(seed):
    A = np.asarray(matrix(seed, 6, 9))
    assert np.linalg.norm(A, 2) < np.linalg.norm(np.abs(A), 2)
    # Equal for entries of one sign up to the signs of rows and columns.
    signed = np.abs(A) * np.sign(A[:, :1]) * np.sign(A[:1])
    np.testing.assert_allclose(np.linalg.norm(signed, 2), np.linalg.norm(np.abs(A), 2), rtol=1e-13)


@few
@given(seed=seeds, scale=st.floats(1e-3, 10))
def test_lemma_d2_rows_and_columns_of_the_preactivations_are_short(seed, scale):
    X, _, Q, _ = problem(seed % 5)
    squared = np.square(scale * np.asarray(Q @ X))
    rows, columns = squared.sum(axis=1).max(), squared.sum(axis=0).max()
    assert max(rows, columns) < scale**2
    # The bound is of the right order: M rows share the norm eps^2 d.
    assert rows > scale**2 * D / M


@few
@given(seed=seeds)
def test_lemma_d3_distance_and_angles_agree(seed):
    U, V = basis(seed, 9, 3), basis(seed + 1, 9, 3)
    dense = np.linalg.norm(np.asarray(U) @ np.asarray(U).T - np.asarray(V) @ np.asarray(V).T)
    outside = np.linalg.norm(scipy.linalg.null_space(U.T).T @ V)
    np.testing.assert_allclose(dense, np.sqrt(2) * subspaces.sin_theta(U, V), rtol=1e-12)
    np.testing.assert_allclose(dense, np.sqrt(2) * outside, rtol=1e-12)


@few
@given(seed=seeds)
def test_lemma_d4_a_projection_does_not_widen_the_angle(seed):
    Q, U, V = basis(seed, 9, 6), basis(seed + 1, 9, 3), basis(seed + 2, 9, 3)
    pulled_back = scipy.linalg.null_space(U.T @ Q)
    assert pulled_back.shape == (6, 3)
    outside = np.linalg.norm(V.T @ scipy.linalg.null_space(U.T))
    assert np.linalg.norm(V.T @ Q @ pulled_back) <= outside * (1 + 1e-12)
    # At no angle nothing is seen, unless it is of another subspace of that dimension.
    assert np.linalg.norm(U.T @ Q @ pulled_back) < 1e-12
    assert np.linalg.norm(U.T @ Q @ basis(seed + 3, 6, 3)) > 1e-6


@few
@given(seed=seeds, size=st.floats(1e-3, 1))
def test_lemma_d5_wedin(seed, size):
    A = np.diag([5.0, 4.0, 3.0, 0.5, 0.2]) @ np.asarray(basis(seed, 7, 5).T)
    noise = size * np.asarray(matrix(seed + 1, 5, 7))
    found = wedin(jnp.asarray(A), jnp.asarray(A + noise), 3)
    assert max(found.left, found.right) <= found.bound * (1 + 1e-12)
    if found.gap > 0:
        assert found.bound <= np.linalg.norm(noise) / found.gap * (1 + 1e-12)


wedin = jax.jit(subspaces.wedin, static_argnums=2)


@pytest.mark.parametrize("name", ACTIVATIONS)
@few
@given(seed=seeds, size=st.floats(1e-2, 30))
def test_lemma_d6_the_loss_bounds_the_gradient(name, seed, size):
    X, Y, _, W_2 = problem(seed % 5)
    W, phi = size * matrix(seed, M, D), ACTIVATIONS[name]
    loss = jnp.sum(jnp.square(residual_of(W, W_2, X, Y, phi))) / 2
    norm = np.linalg.norm(first_layer_gradient((W, W_2), X, Y, phi))
    assert norm <= bounds.gradient_norm_bound(W_2, loss, phi)


@pytest.mark.parametrize("name", SMOOTH)
@few
@given(seed=seeds, size=st.floats(1e-2, 3), distance=st.floats(1e-3, 3))
def test_lemma_d7_the_gradient_is_lipschitz(name, seed, size, distance):
    X, Y, _, W_2 = problem(seed % 5)
    W, phi = size * matrix(seed, M, D), ACTIVATIONS[name]
    other = W + distance * matrix(seed + 1, M, D)
    largest = max(np.abs(residual_of(V, W_2, X, Y, phi)).max() for V in (W, other))
    change = first_layer_gradient((W, W_2), X, Y, phi) - first_layer_gradient((other, W_2), X, Y, phi)
    lipschitz = bounds.gradient_lipschitz(W_2, largest, phi)
    assert np.linalg.norm(change) <= lipschitz * np.linalg.norm(other - W)


def test_the_lipschitz_constant_is_its_formula():
    W_2, phi = np.asarray(matrix(0, K, M)), ACTIVATIONS["gelu"]
    expected = phi.mu * 0.7 * np.abs(W_2).sum(axis=0).max() + phi.beta**2 * np.linalg.norm(W_2, 2) ** 2
    np.testing.assert_allclose(bounds.gradient_lipschitz(jnp.asarray(W_2), 0.7, phi), expected, rtol=1e-13)


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("scale", [1e-4, 1e-2, 1.0])
def test_lemma_d8_the_first_gradient_has_k_large_singular_values(name, scale):
    phi = ACTIVATIONS[name]
    for seed in range(3):
        X, Y, Q, W_2 = problem(seed)
        G = first_layer_gradient((scale * Q, W_2), X, Y, phi)
        spread = bounds.gradient_spread(scale * Q, W_2, X, Y, scale, phi)
        lower, upper, separated = bounds.gradient_spectrum(W_2, X, Y, spread, phi)
        s = np.linalg.svd(G, compute_uv=False)
        assert np.all(lower <= s)
        assert np.all(s <= upper)
        dense = phi.slope_at_zero * np.linalg.svd(W_2.T @ Y @ X.T, compute_uv=False)[K - 1]
        assert separated == (spread < dense / 2)
        assert separated or scale > 1e-4
        assert not separated or scale < 1
        if separated:
            assert s[K] < s[K - 1]


def test_the_spread_is_its_formula():
    X, Y, Q, W_2 = map(np.asarray, problem(1))
    phi, eps = ACTIVATIONS["silu"], 0.3
    s, largest = np.linalg.norm(W_2, 2), np.abs(eps * Q @ X).max()
    expected = eps * 0.5 * s**2 * (0.5 + 0.25 * eps)
    expected += 0.5 * largest * s * (phi.beta * s * np.sqrt(D) * eps + np.linalg.norm(Y))
    found = bounds.gradient_spread(jnp.asarray(eps * Q), *map(jnp.asarray, (W_2, X, Y)), eps, phi)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_gap_divides_the_spectrum_where_the_spread_is_below_half_of_the_last_leading_value():
    X, Y, _, W_2 = problem(0)
    last = 0.5 * np.linalg.svd(np.asarray(W_2).T @ Y @ X.T, compute_uv=False)[K - 1]
    for share, separated in ((0.49, True), (0.51, False)):
        found = bounds.gradient_spectrum(W_2, X, Y, jnp.asarray(share * last), ACTIVATIONS["gelu"])
        assert found.separated == separated
        assert (found.lower[K - 1] > found.upper[K]) == separated


def test_constants_of_a_kink_are_refused():
    X, Y, Q, W_2 = problem(0)
    with pytest.raises(ValueError, match=r"Lipschitz derivative, got relu \(mu=inf\)"):
        bounds.gradient_lipschitz(W_2, 1.0, ACTIVATIONS["relu"])
    with pytest.raises(ValueError, match="Lipschitz derivative, got rrelu"):
        bounds.gradient_spread(Q, W_2, X, Y, 1.0, ACTIVATIONS["rrelu"])


# ---- along a run ------------------------------------------------------------------------------------------------


@functools.cache
def step_bounds(name):
    Ws, Gs, *_ = run(name)
    small = big_and_small(Ws[0], Gs[0], K).small
    sides = functools.partial(theory.step_bound, step_size=STEP_SIZE)
    every = jax.jit(jax.vmap(sides, in_axes=(0, 0, None, None, None)))
    return every(Ws[1:] - Ws[:-1], Gs, Gs[0], Ws[0] @ small / SCALE, small), small


@pytest.mark.parametrize("name", ["elu", "gelu", "relu"])
def test_theorem_d11_holds_at_every_step(name):
    (distances, bound, ratio), small = step_bounds(name)
    Ws, Gs, *_ = run(name)
    assert np.all(distances <= (1 + 1e-9) * bound[:, None])
    # By the definition, at a step in the middle.
    t, left = 20, Ws[0] @ small / SCALE
    change, s = np.asarray(Ws[t + 1] - Ws[t]), np.linalg.svd(Gs[t], compute_uv=False)
    angles = [
        scipy.linalg.subspace_angles(now[:, :K], start[:, :K])
        for now, start in zip(leading(Gs[t]), leading(Gs[0]), strict=True)
    ]
    squared = max(np.sum(np.sin(theta) ** 2) for theta in angles)
    np.testing.assert_allclose(bound[t], STEP_SIZE * np.sqrt(s[0] ** 2 * squared / P + s[K] ** 2), rtol=1e-10)
    dense = [np.linalg.norm(left.T @ change @ small), np.linalg.norm(change @ small), np.linalg.norm(left.T @ change)]
    upper, lower = (np.sqrt(whole**2 - dense[0] ** 2) for whole in dense[1:])
    np.testing.assert_allclose(distances[t], np.array([upper, lower, dense[0]]) / np.sqrt(P), rtol=1e-6)
    np.testing.assert_allclose(ratio[t], max(distances[t]) / bound[t], rtol=1e-12)


def leading(G):
    L, _, Rt = np.linalg.svd(G, full_matrices=False)
    return L, Rt.T


@pytest.mark.parametrize("name", ["elu", "gelu"])
def test_theorem_d11_is_not_vacuous_and_says_something_of_s_small_alone(name):
    assert np.max(step_bounds(name)[0].ratio) > 0.5
    Ws, Gs, *_ = run(name)
    other = basis(7, D, P)
    sides = jax.jit(theory.step_bound)(Ws[1] - Ws[0], Gs[0], Gs[0], Ws[0] @ other / SCALE, other, STEP_SIZE)
    assert sides.ratio > 2


@pytest.mark.parametrize("name", ["elu", "gelu"])
def test_lemma_d9_wedins_bound_and_its_chain_hold_along_the_run(name):
    Ws, Gs, X, Y, W_2 = run(name)
    phi = ACTIVATIONS[name]
    found = jax.jit(jax.vmap(lambda G: subspaces.wedin(G, Gs[0], K)))(Gs)
    aligned = np.asarray(jax.jit(jax.vmap(lambda G: theory.alignment(G, Gs[0], K)))(Gs))
    np.testing.assert_array_equal(aligned, np.maximum(found.left, found.right))
    assert np.all(aligned <= np.asarray(found.bound) * (1 + 1e-12) + 1e-12)
    assert aligned[-1] > 0.1
    assert np.all(np.asarray(found.gap) > 0)
    # gamma_L bounds the change of the gradient by that of the weights, and those by the path's length.
    largest = max(np.abs(residual_of(W, W_2, X, Y, phi)).max() for W in Ws[:-1])
    lipschitz = bounds.gradient_lipschitz(W_2, largest, phi)
    norms = np.linalg.norm(Gs, axis=(1, 2))
    moved = np.linalg.norm(np.asarray(Ws[:-1]) - np.asarray(Ws[:1]), axis=(1, 2))
    assert np.all(np.linalg.norm(np.asarray(Gs) - np.asarray(Gs[:1]), axis=(1, 2)) <= lipschitz * moved + 1e-12)
    decay = 0.99
    constant = np.max(norms / norms[0] / decay ** np.arange(len(norms)))
    for t, distance in enumerate(moved):
        assert (
            distance
            <= bounds.distance_bound(
                start_norm=norms[0], step_size=STEP_SIZE, decay=decay, num_steps=t, constant=constant
            )
            + 1e-12
        )


def test_a_geometric_path_has_the_length_of_its_sum():
    lengths = [
        bounds.distance_bound(start_norm=3.0, step_size=0.1, decay=0.8, num_steps=t, constant=2.0) for t in range(5)
    ]
    np.testing.assert_allclose(lengths, [sum(0.1 * 2 * 3 * 0.8**tau for tau in range(t)) for t in range(5)], atol=1e-14)


@pytest.mark.parametrize("name", SMOOTH)
def test_the_explicit_bounds_hold_where_the_start_is_small_enough(name):
    """At eps = 1e-4, after one step: A <= delta, and rho <= its bound, with every term from the initialization."""
    eps, eta, phi, (X, Y, Q, W_2) = 1e-4, 1e-4, ACTIVATIONS[name], problem(2)
    start = eps * Q
    G_0 = first_layer_gradient((start, W_2), X, Y, phi)
    G = first_layer_gradient((start - eta * G_0, W_2), X, Y, phi)
    spread = bounds.gradient_spread(start, W_2, X, Y, eps, phi)
    leading_values = phi.slope_at_zero * np.linalg.svd(W_2.T @ Y @ X.T, compute_uv=False)
    s_0, s = (np.linalg.svd(g, compute_uv=False) for g in (G_0, G))
    residuals = [residual_of(W, W_2, X, Y, phi) for W in (start, start - eta * G_0)]
    lipschitz = bounds.gradient_lipschitz(W_2, max(np.abs(r).max() for r in residuals), phi)
    norm = bounds.gradient_norm_bound(W_2, jnp.sum(jnp.square(residuals[0])) / 2, phi)
    delta = bounds.alignment_bound(
        distance=bounds.distance_bound(start_norm=norm, step_size=eta, decay=0.9, num_steps=1),
        lipschitz=lipschitz,
        leading=leading_values[K - 1],
        spread=spread,
        tail=s[K],
    )
    aligned = theory.alignment(G, G_0, K)
    assert aligned <= delta < 1
    bound = bounds.rate_bound(
        aligned=delta, largest=leading_values[0], spread=spread, tail=s[K], decay=s[0] / s_0[0], num_small=P
    )
    assert theory.step_rate(G, aligned=aligned, num_classes=K) <= bound
    assert theory.step_rate(G_0, aligned=jnp.zeros(()), num_classes=K) <= spread


@pytest.mark.parametrize("decay", [0.0, 1.0, 1.5])
def test_a_decay_that_is_none_is_refused(decay):
    with pytest.raises(ValueError, match=r"factor of the gradient in each step, must be in \(0, 1\)"):
        bounds.distance_bound(start_norm=1.0, step_size=0.1, decay=decay, num_steps=3)


def test_subspaces_that_are_arbitrary_show_no_gap():
    X, Y, Q, W_2 = problem(0)
    G = first_layer_gradient((SCALE * Q, W_2), X, Y, ACTIVATIONS["gelu"])
    assert big_and_small(SCALE * Q, G, K).gap > 0.1
    L, s, Rt = np.linalg.svd(G, full_matrices=False)
    fewer = jnp.asarray((L[:, : K - 1] * s[: K - 1]) @ Rt[: K - 1])
    assert big_and_small(SCALE * Q, fewer, K).gap < 1e-12
    assert big_and_small(SCALE * Q, 0 * G, K).gap == 0
    exact = jnp.zeros((M, D)).at[jnp.arange(K), jnp.arange(K)].set(3 * jnp.arange(K, 0.0, -1))
    assert big_and_small(SCALE * Q, exact, K).gap == pytest.approx(1 / K, rel=1e-12)
    assert big_and_small(SCALE * Q, exact.at[1:].set(0), 1).gap == pytest.approx(1, rel=1e-12)


def test_rates_need_a_small_subspace_and_take_a_last_value_of_zero():
    with pytest.raises(ValueError, match="S_small needs"):
        theory.step_rate(matrix(0, 6, 5), aligned=jnp.zeros(()), num_classes=3)
    assert theory.step_rate(matrix(0, 2, 9), aligned=jnp.zeros(()), num_classes=2) == 0


def test_no_step_is_within_a_bound_of_zero():
    start, zero = matrix(0, M, D), jnp.zeros((M, D))
    U, V = (jnp.asarray(basis(i, n, P)) for i, n in enumerate((M, D)))
    assert tuple(theory.step_bound(zero, zero, start, U, V, 0.1)[1:]) == (0, 0)


def test_the_rates_bound_is_its_formula():
    found = bounds.rate_bound(aligned=0.3, largest=2.0, spread=jnp.float64(0.5), tail=0.7, decay=0.9, num_small=P)
    np.testing.assert_allclose(found, np.sqrt((0.9 * 0.3 * 2.5) ** 2 / P + 0.7**2), rtol=1e-14)


def test_a_gap_that_closes_bounds_nothing():
    assert bounds.alignment_bound(distance=1.0, lipschitz=2.0, leading=3.0, spread=jnp.float64(2.0), tail=1.0) == np.inf
    assert bounds.alignment_bound(distance=1.0, lipschitz=2.0, leading=3.0, spread=2.0, tail=1.0) == np.inf
    assert bounds.alignment_bound(distance=1.5, lipschitz=2.0, leading=7.0, spread=jnp.float64(2.0), tail=1.0) == 0.75
    assert bounds.alignment_bound(distance=1.0, lipschitz=2.0, leading=4.0, spread=jnp.float64(2.0), tail=1.0) == 2.0


# Proposition B.1: ReLU -----------------------------------------------------------------------------------------------


@functools.partial(jax.jit, static_argnums=1)
def relu_tail(key, num_hidden, d=32, num_classes=4):
    """The bound, the Gram matrix of what it bounds, and what it is made of, in the proposition's own setting."""
    phi, keys = ACTIVATIONS["relu"], jax.random.split(key, 3)
    X, Y = synthetic.gaussian_mixture(keys[0], dimension=d, num_classes=num_classes, num_samples=d)
    X = synthetic.whiten_symmetric(X).inputs
    W_1 = 1e-2 / np.sqrt(num_hidden) * jax.random.normal(keys[1], (num_hidden, d))
    W_2 = jax.random.uniform(keys[2], (num_classes, num_hidden), minval=-1, maxval=1)
    residual = mlp.apply((W_1, W_2), X, phi) - Y
    G = theory.first_layer_gradient((W_1, W_2), X, Y, phi)
    return bounds.relu_tail_bound(W_2, residual, 0.01), G.T @ G, W_2.T @ residual


@pytest.mark.parametrize(("num_hidden", "says_something"), [(8192, True), (256, False)])
def test_proposition_b1_is_not_violated_and_says_something_of_wide_layers(num_hidden, says_something):
    for seed in range(3):
        bound, gram, E = map(np.asarray, relu_tail(jax.random.key(seed), num_hidden))
        # The K smallest values of sigma_1 >= ... >= sigma_d follow sigma_{d-K}.
        measured = np.sqrt(np.linalg.eigvalsh(gram)[4])
        assert bound <= measured
        assert (bound > 0) == says_something
        V = scipy.linalg.null_space(E.T @ E, rcond=1e-10)
        values = np.linalg.eigvalsh(V.T @ np.diag(np.sum(E**2, axis=0)) @ V)
        R, log = np.max(np.sum(E**2, axis=1)), np.log(2 * (32 - 4) / 0.01)
        radicand = values[0] / 4 - (R / 6 * log + np.sqrt(2 * log * R * values[-1] / 16))
        np.testing.assert_allclose(bound, np.sqrt(max(radicand, 0)), rtol=1e-9)


def test_what_proposition_b1_does_not_cover_is_refused():
    for failure in (-0.1, 0.0, 1.0, 2.0):
        with pytest.raises(ValueError, match=rf"probability in \(0, 1\), got {failure}"):
            bounds.relu_tail_bound(jnp.ones((3, 9)), jnp.ones((3, 5)), failure)
    for K in (5, 6):
        with pytest.raises(ValueError, match=f"K={K} and N=5"):
            bounds.relu_tail_bound(jnp.ones((K, 9)), jnp.ones((K, 5)), 0.1)
