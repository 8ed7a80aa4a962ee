"""Progressive collapse against dense covariances, an exactly collapsed network, and the inequalities of the proof."""

import functools as ft
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jax import lax

from lawlib.descent.steps import gradient_descent, mean_squared_error, sum_squared_error
from lawlib.networks.activations import LINEAR
from lawlib.networks.deep_linear import end_to_end
from lawlib.networks.mlp import hidden_features
from lawlib.theory import collapse

SEEDS = st.integers(0, 2**32 - 1)


def haar(rng, d):
    Q, R = np.linalg.qr(rng.standard_normal((d, d)))
    return Q * np.sign(np.diag(R))


def blobs(rng, sizes, d=5):
    """Features (d, N) in classes of these sizes, in no order, and their one-hot labels."""
    classes = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    features = rng.standard_normal((d, len(sizes)))[:, classes] + 0.5 * rng.standard_normal((d, len(classes)))
    return features, np.eye(len(sizes))[:, classes]


def separation_of_covariances(features, labels):
    """Eqs. 13 and 14 as printed, matrices and all, with the two names the right way round."""
    classes = labels.argmax(0)
    means = np.stack([features[:, classes == k].mean(1) for k in range(len(labels))], 1)
    overall = means.mean(1)
    within = sum(np.outer(z - means[:, k], z - means[:, k]) for z, k in zip(features.T, classes, strict=True))
    between = sum(np.outer(mean - overall, mean - overall) for mean in means.T)
    return np.trace(within / len(classes)) / np.trace(between / len(labels))


def start(seed, widths, scale, dtype=float):
    """An eps-orthogonal W(0)."""
    rng = np.random.default_rng(seed)
    pairs = itertools.pairwise(widths)
    return tuple(jnp.asarray(scale * haar(rng, max(pair))[: pair[1], : pair[0]], dtype) for pair in pairs)


def orthogonal_classes(K, n):
    """A square orthogonal X of K classes of n samples, and Y."""
    return haar(np.random.default_rng(0), n * K), np.kron(np.eye(K), np.ones((1, n)))


# The measure ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(4, 4, 4), (1, 2, 9)], ids=["balanced", "unbalanced"])
def test_the_separation_is_the_quotient_of_the_covariances_traces(sizes, dtype, tol):
    features, labels = (jnp.asarray(x, dtype) for x in blobs(np.random.default_rng(1), sizes))
    measured = jax.jit(collapse.separation)(features, labels)
    assert measured.dtype == dtype
    expected = separation_of_covariances(np.asarray(features, float), np.asarray(labels))
    np.testing.assert_allclose(measured, expected, rtol=tol(features))


@given(seed=SEEDS, factor=st.floats(1e-3, 1e3))
def test_the_separation_sees_no_rotation_no_shift_no_unit_and_no_order(seed, factor):
    rng = np.random.default_rng(seed)
    features, labels = blobs(rng, (3, 5, 4))
    order = rng.permutation(features.shape[1])
    moved = factor * (haar(rng, 5) @ features + rng.standard_normal((5, 1)))[:, order]
    still = collapse.separation(jnp.asarray(features), jnp.asarray(labels))
    np.testing.assert_allclose(collapse.separation(jnp.asarray(moved), jnp.asarray(labels[:, order])), still, rtol=1e-9)


def test_collapsed_features_are_at_zero_and_scattered_ones_far_from_it():
    means, labels = jnp.eye(3, dtype=float), jnp.repeat(jnp.eye(3, dtype=float), 4, axis=1)
    assert collapse.separation(means @ labels, labels) == 0
    same_means = jnp.tile(jnp.asarray([[1.0, -1.0, 2.0, -2.0]]), (1, 3))
    assert collapse.separation(same_means, labels) == np.inf


@pytest.mark.parametrize(("K", "n"), [(5, 10), (2, 3), (3, 2)])
def test_orthonormal_inputs_are_separated_by_their_number_alone(K, n):
    X, Y = orthogonal_classes(K, n)
    known = collapse.initial_separation(samples_per_class=n, num_classes=K)
    np.testing.assert_allclose(collapse.separation(jnp.asarray(X), jnp.asarray(Y)), known, rtol=1e-13)


# The features ---------------------------------------------------------------------------------------------


def test_the_features_are_those_after_every_hidden_layer(dtype, tol):
    weights = start(0, (6, 5, 4, 3), 0.8, dtype)
    X = jnp.asarray(np.random.default_rng(1).standard_normal((6, 7)), dtype)
    features = hidden_features(weights, X, LINEAR)
    assert [Z.shape for Z in features] == [(6, 7), (5, 7), (4, 7)]
    np.testing.assert_allclose(features[2], end_to_end(weights[:2]) @ X, atol=tol(X))
    rectified = hidden_features(weights, X, "relu")
    by_hand = np.maximum(np.asarray(weights[1]) @ np.maximum(np.asarray(weights[0]) @ np.asarray(X), 0), 0)
    np.testing.assert_allclose(rectified[2], by_hand, atol=tol(X))


# The law --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [3, 5])
@pytest.mark.parametrize("scale", [0.5, 0.05])
def test_the_rate_is_exact_where_the_layers_share_the_singular_values_evenly(depth, scale):
    K, n = 3, 4
    X, Y = orthogonal_classes(K, n)
    rng, d = np.random.default_rng(2), n * K
    frames = [np.linalg.svd(Y @ X.T)[2].T, *(haar(rng, d) for _ in range(depth - 1))]
    values = np.where(np.arange(d) < K, n ** (1 / (2 * depth)), scale)
    weights = [left * values @ right.T for right, left in itertools.pairwise(frames)]
    last = Y @ X.T @ np.linalg.inv(np.linalg.multi_dot(weights[::-1]))
    weights = tuple(jnp.asarray(W) for W in (*weights, last))
    np.testing.assert_allclose(end_to_end(weights) @ X, Y, atol=1e-9)  # a global optimum
    found = [collapse.separation(Z, jnp.asarray(Y)) for Z in hidden_features(weights, jnp.asarray(X), LINEAR)]
    rate = collapse.decay_rate(scale=scale, samples_per_class=n, depth=depth)
    np.testing.assert_allclose(np.divide(found[1:], found[:-1]), rate, rtol=1e-9)


@example(n=10**12, K=5, depth=2)  # the second term is the smallest for very large classes alone
@given(n=st.integers(3, 200), K=st.integers(2, 30), depth=st.integers(2, 12))
def test_the_largest_scale_is_where_the_first_inequality_of_the_proof_gives_way(n, K, depth):
    d = n * K
    largest = collapse.largest_scale(width=d, samples_per_class=n, num_classes=K, depth=depth)

    def allowed(eps):
        delta = eps**2 * np.sqrt(d - K)
        proof = delta <= n ** (1 / depth) / (30 * depth**2), delta <= (n / 2) ** (1 / (2 * depth))
        return all(proof) and collapse.ratio_bound(scale=eps, num_classes=K) <= 1

    assert allowed(0.999 * largest)
    assert not allowed(1.001 * largest)


def test_the_bound_and_the_scales_of_the_papers_setting():
    # 2 (sqrt 5 + 1) = 6.47214 by hand; the scales from eq. 28 worked out to six digits.
    assert collapse.ratio_bound(scale=0.5, num_classes=5) == pytest.approx(6.472136 / 4, rel=1e-6)
    largest = ft.partial(collapse.largest_scale, width=50, samples_per_class=10, num_classes=5)
    assert [largest(depth=3), largest(depth=4)] == pytest.approx([0.0344891, 0.0235005], rel=1e-5)


@pytest.mark.parametrize(("width", "n"), [(49, 10), (51, 10), (10, 2), (5, 1)])
def test_theorem_2_is_refused_where_it_does_not_speak(width, n):
    with pytest.raises(ValueError, match=rf"got width={width}$"):
        collapse.largest_scale(width=width, samples_per_class=n, num_classes=5, depth=3)


# Its hypotheses -------------------------------------------------------------------------------------------


def test_an_orthogonal_start_is_balanced_but_for_its_last_layer(dtype, tol):
    d, K, scale = 9, 3, 0.7
    weights = start(0, (d, d, d, K), scale, dtype)
    expected = np.asarray([0, scale**2 * np.sqrt(d - K)])
    np.testing.assert_allclose(collapse.imbalance(weights), expected, atol=tol(weights[0]))


def test_a_step_leaves_the_balance_but_for_its_square():
    d, K, eta = 6, 2, 1e-2
    weights = start(0, (d, d, d, K), 0.7)
    X, Y = (jnp.asarray(x) for x in orthogonal_classes(K, 3))
    gradients = jax.grad(lambda weights: sum_squared_error(end_to_end(weights) @ X, Y))(weights)
    stepped = jax.tree.map(lambda W, G: W - eta * G, weights, gradients)
    G, after = gradients[0], gradients[1]
    np.testing.assert_allclose(
        collapse.imbalance(stepped)[0], eta**2 * np.linalg.norm(after.T @ after - G @ G.T), rtol=1e-9
    )


@pytest.mark.parametrize("depth", [3, 4])
def test_theorem_2_holds_for_a_trained_network(depth):
    K, n = 2, 4
    d = n * K
    scale = 0.99 * collapse.largest_scale(width=d, samples_per_class=n, num_classes=K, depth=depth)
    X, Y = (jnp.asarray(x) for x in orthogonal_classes(K, n))
    weights = start(depth, (*[d] * depth, K), scale)
    descent = gradient_descent(lambda weights: sum_squared_error(end_to_end(weights) @ X, Y))

    def loss(at):
        return mean_squared_error(end_to_end(at.weights) @ X, Y)

    @jax.jit
    def train(at):
        return lax.while_loop(
            lambda carry: (loss(carry[0]) > 1e-20) & (carry[1] < 50_000),
            lambda carry: (descent.step(carry[0], step_size=0.1, weight_decay=0.0), carry[1] + 1),
            (at, 0),
        )[0]

    trained = train(descent.init(weights))
    assert loss(trained) <= 1e-20
    found = np.asarray([collapse.separation(Z, Y) for Z in hidden_features(trained.weights, X, LINEAR)])
    ratios = found[1:] / found[:-1]
    assert np.all(ratios <= collapse.ratio_bound(scale=scale, num_classes=K))
    # d - 2K of the d - K directions of scatter keep the value eps, and the K others end below it.
    rate = collapse.decay_rate(scale=scale, samples_per_class=n, depth=depth)
    assert np.all((0.99 * (d - 2 * K) / (d - K) * rate < ratios) & (ratios < 1.01 * rate))
    assert np.all(np.diff(ratios) > 0)
