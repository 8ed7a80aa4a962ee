"""Compressed adapters against d x d factors trained in numpy with gradients by hand; bases against dense ones."""

import functools as ft

import chex
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from draws import orthogonal_layers

from lawlib import compress
from lawlib.compress import adapters
from lawlib.descent.steps import gradient_descent, mean_cross_entropy, sum_squared_error
from lawlib.networks.initializers import orthogonal_weights
from lawlib.theory.parsimony import rho_square, rho_wide

WIDTH, EPS, STEPS = 20, 0.3, 80
# What the specification allows of rounding, relative to the largest entry.
ALLOWED = {"float64": 1e-12, "float32": 2e-4}
DECAYS = [0.0, 0.2]


def close(found, wanted, dtype):
    apart = np.abs(np.asarray(found) - wanted).max() / np.abs(wanted).max()
    assert apart < ALLOWED[np.dtype(dtype).name]


def by_hand(weights, gradient, *, step_size, weight_decay):
    """All W_l after STEPS steps of gradient descent, for the gradient of the loss in W_3 W_2 W_1 = Delta."""
    W1, W2, W3 = (np.asarray(W) for W in weights)
    keep = W1.dtype.type(1 - step_size * weight_decay)
    for _ in range(STEPS):
        G = step_size * gradient(W3 @ W2 @ W1)
        W1, W2, W3 = (
            keep * W1 - W2.T @ W3.T @ G,
            keep * W2 - W3.T @ G @ W1.T,
            keep * W3 - G @ W1.T @ W2.T,
        )
    return W1, W2, W3


def least_squares(adapter, frozen, target):
    return sum_squared_error(frozen + adapters.apply(adapter, jnp.eye(WIDTH, dtype=frozen.dtype)), target)


def of_classes(adapter, frozen, head, X, labels):
    return mean_cross_entropy(head @ (frozen @ X + adapters.apply(adapter, X)), labels)


@ft.partial(jax.jit, static_argnums=0)
def compressed(loss, adapter, data, step_size, weight_decay):
    """The adapter after STEPS steps with U and V fixed."""
    descent = gradient_descent(lambda adapter: loss(adapter, *data))
    sizes = {
        "step_size": adapters.rates(step_size, outer=0.0),
        "weight_decay": adapters.rates(weight_decay, outer=0.0),
    }
    return jax.lax.fori_loop(0, STEPS, lambda _, it: descent.step(it, **sizes), descent.init(adapter)).weights


def whole(adapter, weights, rho):
    """U W~_{3:1} V^T + rho^3 (Q - U V^T), Q dense."""
    Q = np.asarray(weights[2]) @ np.asarray(weights[1]) @ np.asarray(weights[0]) / EPS**3
    U, (W1, W2, W3), V = adapter
    return U @ W3 @ W2 @ W1 @ V.T + rho**3 * (Q - U @ V.T)


def drawn_weights(dtype, width=WIDTH):
    return orthogonal_layers(1, (width,) * 4, EPS, dtype)


def normal(seed, shape, dtype=np.float64):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def frame(seed, size, columns, dtype=np.float64):
    """An orthonormal basis."""
    return jnp.asarray(np.linalg.qr(normal(seed, (size, columns)))[0], dtype)


# Compiled as wholes: one by one their operations take longer.
adapter_bases, draw_bases = jax.jit(adapters.adapter_bases), jax.jit(compress.draw_bases)
gradient_svd = jax.jit(adapters.gradient_svd, static_argnums=2)


@pytest.mark.parametrize("decay", DECAYS)
def test_on_whitened_least_squares_the_compressed_adapter_is_the_full_one(dtype, decay):
    left, right, frozen = frame(0, WIDTH, 3), frame(1, WIDTH, 3), normal(2, (WIDTH, WIDTH), dtype)
    target = frozen + jnp.asarray((left * np.asarray([[2.0, 1.5, 1.0]])) @ np.asarray(right).T, dtype)
    weights, rates = drawn_weights(dtype), {"step_size": 0.05, "weight_decay": decay}
    residual = np.asarray(target - frozen)
    full = by_hand(weights, lambda Delta: Delta - residual, **rates)
    # The gradient at the frozen matrix, its inputs the identity, has the two spaces.
    gradient = gradient_svd(frozen - target, jnp.eye(WIDTH, dtype=dtype), 3)
    start = adapters.deep_lora(adapter_bases(weights, gradient.left, gradient.right), scale=EPS)
    small = compressed(least_squares, start, (frozen, target), **rates)
    rho = EPS
    for _ in range(STEPS):
        rho = rho_square(rho, before=rho, depth=3, momentum=0.0, **rates)
    close(whole(small, weights, rho), full[2] @ full[1] @ full[0], dtype)
    # The steps moved: the change has more than the start's size.
    assert np.linalg.norm(full[2] @ full[1] @ full[0]) > 10 * EPS**3


def classes_of(X, head, labels, W):
    """softmax(A W X) - Y and the gradient A^T (softmax - Y) X^T / N of the mean cross-entropy in W."""
    logits = head @ W @ X
    exponentials = np.exp(logits - logits.max(0))
    return head.T @ (exponentials / exponentials.sum(0) - labels) @ X.T / X.shape[1]


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize(("q", "p"), [(3, 5), (5, 3)])
def test_for_any_loss_of_few_classes_and_few_samples_it_is_the_full_one(dtype, decay, q, p):
    head, X = normal(3, (q, WIDTH), dtype), normal(4, (WIDTH, p), dtype)
    frozen = normal(5, (WIDTH, WIDTH), dtype) / 5
    labels = np.eye(q, dtype=dtype)[:, np.arange(p) % q]
    weights, rates = drawn_weights(dtype), {"step_size": 0.05, "weight_decay": decay}
    parts = tuple(np.asarray(part) for part in (X, head, labels, frozen))
    full = by_hand(weights, lambda Delta: classes_of(*parts[:3], parts[3] + Delta), **rates)
    left, right = (jnp.asarray(np.linalg.qr(block)[0]) for block in (np.asarray(head).T, X))
    bases = adapter_bases(weights, left, right)
    assert bases.left.shape == bases.right.shape == (WIDTH, q + p)

    data = (frozen, head, X, jnp.asarray(labels))
    small = compressed(of_classes, adapters.deep_lora(bases, scale=EPS), data, **rates)
    rho = EPS
    for _ in range(STEPS):
        rho = rho_wide(rho, before=rho, momentum=0.0, **rates)
    Delta = full[2] @ full[1] @ full[0]
    close(whole(small, weights, rho), Delta, dtype)
    # On the samples the term of rho is not seen.
    close(adapters.apply(small, X), Delta @ np.asarray(X), dtype)


@pytest.mark.parametrize(("q", "p"), [(2, 5), (5, 2), (3, 3)])
def test_drawn_bases_of_unequal_spaces_belong_to_one_orthogonal_matrix(q, p, dtype, tol):
    """U^T left = (Q V)^T left with Q^T left in the span of V: the overlap has the rows of V^T Q^T left."""
    left, right = frame(6, 30, q, dtype), frame(7, 30, p, dtype)
    bases = draw_bases(jax.random.key(4), left, right)
    for basis, block in ((bases.left, left), (bases.right, right)):
        np.testing.assert_allclose(basis.T @ basis, np.eye(q + p), atol=tol(basis))
        np.testing.assert_allclose(basis @ (basis.T @ block), block, atol=tol(basis))
    # V's first q columns are Q^T left, and U's are left itself.
    np.testing.assert_array_equal(bases.left[:, :q], left)


def test_drawn_bases_have_the_distribution_of_given_ones():
    """Of adapters with drawn W_l(0): the mean overlap of U's rotation-free part, tr((U V^T) left-right), over draws."""
    left, right = jnp.eye(12)[:, :2], jnp.eye(12)[:, 1:4]

    def of_given(key):
        bases = adapters.adapter_bases(orthogonal_weights(key, (12, 12, 12), 0.5), left, right)
        return bases.left @ bases.right.T

    def of_drawn(key):
        bases = compress.draw_bases(key, left, right)
        return bases.left @ bases.right.T

    keys = jax.random.split(jax.random.key(5), 4000)
    both = [np.asarray(jax.jit(jax.vmap(of))(keys)) for of in (of_given, of_drawn)]
    for statistic in (np.square, np.abs, lambda M: M**4):
        given, drawn = map(statistic, both)
        error = 5 * np.sqrt((given.var(0) + drawn.var(0)) / len(keys)) + 1e-12
        assert (np.abs(given.mean(0) - drawn.mean(0)) < error).all()


@pytest.mark.parametrize("shape", [(9, 6, 4), (5, 8, 20)])
def test_the_triplets_of_a_gradient_are_those_of_the_dense_one(shape, dtype, tol):
    m, n, N = shape
    outer, inner = normal(8, (m, N), dtype), normal(9, (n, N), dtype)
    U, s, Vt = np.linalg.svd(np.asarray(outer) @ np.asarray(inner).T, full_matrices=False)
    found = gradient_svd(outer, inner, 3)
    chex.assert_trees_all_close(np.asarray(found.values), s[:3], rtol=tol(outer))
    wanted, (left, values, right) = (U[:, :3] * s[:3]) @ Vt[:3], map(np.asarray, found)
    np.testing.assert_allclose((left * values) @ right.T, wanted, atol=tol(outer) * s[0])


def test_an_adapter_is_applied_as_its_dense_change():
    key = jax.random.key(8)
    left, right = jax.random.normal(key, (7, 4)), jax.random.normal(key, (9, 4))
    core = tuple(jax.random.normal(k, (4, 4)) for k in jax.random.split(key, 2))
    inputs = jax.random.normal(key, (9, 3))
    for adapter, middle in (
        (adapters.Adapter(left, core, right), core[1] @ core[0]),
        (adapters.Adapter(left, (), right), np.eye(4)),
    ):
        dense = left @ middle @ right.T
        np.testing.assert_allclose(adapters.apply(adapter, inputs), dense @ inputs, atol=1e-12)
        factors = adapters.change(adapter)
        np.testing.assert_allclose(factors.left @ factors.right.T, dense, atol=1e-12)


def test_lora_starts_at_the_frozen_matrix():
    adapter = adapters.lora(jax.random.key(9), (400, 300), 5, jnp.float64)
    assert (adapter.left.shape, adapter.core, adapter.right.shape) == ((400, 5), (), (300, 5))
    assert not adapter.left.any()
    assert abs(float(jnp.mean(jnp.square(adapter.right))) * 300 - 1) < 0.15


def test_outer_rates_are_those_of_the_bases_alone():
    assert adapters.rates(0.5, outer=0.1, depth=2) == adapters.Adapter(0.05, (0.5, 0.5), 0.05)


def test_at_width_100_000_no_temporary_has_the_size_of_a_matrix():
    """Bases, start, a step: XLA's own count of the arguments, results and temporaries, against 80 GB of a matrix."""
    d, N, r = 100_000, 32, 4
    X, D = jnp.ones((d, N)), jnp.ones((d, N))

    def first_step(key, D, X):
        gradient = adapters.gradient_svd(D, X, r)
        start = adapters.deep_lora(compress.draw_bases(key, gradient.left, gradient.right), scale=1e-2)
        descent = gradient_descent(lambda adapter: sum_squared_error(adapters.apply(adapter, X), D))
        sizes = adapters.rates(1e-3, outer=0.01)
        return descent.step(descent.init(start), step_size=sizes, weight_decay=0.0).weights

    memory = jax.jit(first_step).lower(jax.random.key(0), D, X).compile().memory_analysis()
    # A few arrays of d x N and d x 2r at once.
    assert memory.temp_size_in_bytes < 20 * d * N * 8


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: adapters.gradient_svd(jnp.ones((5, 3)), jnp.ones((4, 3)), 4), r"rank must be in 1\.\.3 .* got 4"),
        (lambda: adapters.gradient_svd(jnp.ones((5, 3)), jnp.ones((4, 2)), 1), "got 3 and 2 columns"),
        (lambda: adapters.adapter_bases((), jnp.ones((6, 1)), jnp.ones((6, 1))), r"got \[\]"),
        (lambda: adapters.adapter_bases((jnp.eye(5),), jnp.ones((6, 1)), jnp.ones((6, 1))), r"got \[\(5, 5\)\]"),
        (lambda: adapters.adapter_bases((jnp.eye(6),), jnp.ones((6, 2)), jnp.ones((6, 4))), "fewer than 6 .* 2 and 4"),
        (lambda: adapters.deep_lora(compress.Bases(jnp.ones((6, 2)), jnp.ones((6, 3))), scale=0.1), "got 2 and 3"),
        (lambda: adapters.lora(jax.random.key(0), (6, 4), 5, jnp.float32), r"in 1\.\.4, got 5"),
        (lambda: compress.draw_bases(jax.random.key(0), jnp.ones((6, 2)), jnp.ones((6, 5))), "at most 6 .* 2 and 5"),
        (lambda: compress.draw_bases(jax.random.key(0), jnp.ones((6, 0)), jnp.ones((6, 1))), "got 0 and 1"),
    ],
)
def test_what_does_not_fit_is_refused_in_numbers(call, says):
    with pytest.raises(ValueError, match=says):
        call()


@pytest.fixture
def untyped():
    """As users run it: without the checks of types, which refuse some bad input before the library does."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def spoilt(*changes):
    """Three 20 x 20 layers, orthogonal times EPS, with the changed ones in their places."""
    weights = list(drawn_weights(jnp.float64))
    for layer, change in changes:
        weights[layer] = change(weights[layer])
    return tuple(weights)


LEFT, RIGHT = jnp.eye(WIDTH)[:, :2], jnp.eye(WIDTH)[:, 1:4]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda W: 1.001 * W, "layer 2 is not orthogonal"),
        (lambda W: W.at[3, 5].add(1e-6), "layer 2 is not orthogonal"),
        (lambda W: W.at[1].set(0.0), "layer 2 is not orthogonal"),
        (lambda W: jax.random.normal(jax.random.key(0), W.shape), "layer 2 is not orthogonal"),
        (lambda W: W.at[0, 0].set(jnp.nan), "an error of nan"),
    ],
)
def test_layers_that_are_not_orthogonal_times_one_eps_are_refused(change, says):
    """What is left invariant without the check: U and V of such layers are not carried through them."""
    with pytest.raises(ValueError, match=says):
        adapters.adapter_bases(spoilt((1, change)), LEFT, RIGHT)
    with pytest.raises(ValueError, match=says):
        compress.bases_of(spoilt((1, change)), LEFT, RIGHT[:, :2])


def test_every_layer_and_block_that_does_not_fit_is_named():
    double = [(layer, lambda W: 2 * W) for layer in (1, 2)]
    with pytest.raises(ValueError, match=r"left: .*; right: .*; layer 2 .*; layer 3 "):
        adapters.adapter_bases(spoilt(*double), 2 * LEFT, RIGHT.at[:, 1].set(RIGHT[:, 0]))


@pytest.mark.parametrize("block", [2 * LEFT, LEFT.at[:, 1].set(LEFT[:, 0]), LEFT.at[0, 0].set(jnp.nan), 0 * LEFT])
def test_blocks_that_are_not_orthonormal_are_refused(block):
    weights = drawn_weights(jnp.float64)
    with pytest.raises(ValueError, match=r"orthonormal .* got left: "):
        adapters.adapter_bases(weights, block, RIGHT)
    with pytest.raises(ValueError, match=r"orthonormal .* got right: "):
        adapters.adapter_bases(weights, RIGHT, block)
    with pytest.raises(ValueError, match=r"orthonormal .* got left: "):
        compress.draw_bases(jax.random.key(0), block, RIGHT)
    with pytest.raises(ValueError, match=r"orthonormal .* got right: "):
        compress.bases_of(weights, LEFT, block)


@pytest.mark.parametrize("width", [5, 300])
def test_what_rounding_leaves_is_accepted(width, dtype):
    weights = drawn_weights(dtype, width)
    blocks = (frame(seed, width, 2, dtype) for seed in (10, 11))
    left, right = blocks
    bases = adapters.adapter_bases(weights, left, right)
    assert bases.left.shape == (width, 4)
    traced = jax.jit(adapters.adapter_bases)(tuple(2 * W for W in weights), left, right)
    chex.assert_trees_all_close(traced, bases, atol=1e-5 if dtype == jnp.float32 else 1e-12)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"scale": jnp.ones(6)}, r"scale must be one number, got an array of shape \(6,\)"),
        ({"scale": -0.1}, "scale must be finite and above 0, got -0.1"),
        ({"scale": float("nan")}, "scale must be finite and above 0, got nan"),
        ({"scale": 0.1, "depth": 0}, "^depth must be a whole number of at least 1, got 0$"),
        ({"scale": 0.0, "depth": 1.5}, "depth must be a whole number .* got 1.5; scale must be "),
    ],
)
def test_a_start_needs_one_positive_scale(given, says, untyped):
    with pytest.raises(ValueError, match=says):
        adapters.deep_lora(compress.Bases(jnp.eye(6), jnp.eye(6)), **given)


def test_a_scale_that_is_0_in_the_precision_of_the_bases_is_refused():
    single = jnp.eye(6, dtype=jnp.float32)
    with pytest.raises(ValueError, match="scale in float32 must be finite and above 0, got 0"):
        adapters.deep_lora(compress.Bases(single, single), scale=1e-60)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"step_size": 0.1, "outer": -1.0}, "^outer must be finite and at least 0, got -1.0$"),
        ({"step_size": 0.1, "outer": float("nan")}, "^outer must be finite and at least 0, got nan$"),
        ({"step_size": -0.1, "outer": -1.0}, "^step_size must .* got -0.1; outer must .* got -1.0$"),
        ({"step_size": jnp.ones(2), "outer": 0.0}, r"^step_size must be one number, got an array of shape \(2,\)$"),
        ({"step_size": 0.1, "outer": 0.0, "depth": -1}, "^depth must be a whole number of at least 0, got -1$"),
    ],
)
def test_rates_below_0_are_refused(given, says, untyped):
    with pytest.raises(ValueError, match=says):
        adapters.rates(**given)


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_the_first_step_of_gradient_lora_is_the_best_of_its_rank(dtype, tol, scale):
    outer, inner = normal(21, (7, 5), dtype), normal(22, (6, 5), dtype)
    adapter = adapters.gradient_lora(adapters.gradient_svd(outer, inner, rank=2), scale=scale)
    assert not np.any(adapters.apply(adapter, jnp.eye(6, dtype=dtype)))
    # The loss <G, Delta> has the gradient G = outer inner^T.
    G = np.asarray(outer, np.float64) @ np.asarray(inner, np.float64).T
    along = lambda adapter: jnp.sum(jnp.asarray(G, dtype) * adapters.apply(adapter, jnp.eye(6, dtype=dtype)))  # noqa: E731
    stepped = jax.tree.map(lambda factor, slope: factor - 0.1 * slope, adapter, jax.grad(along)(adapter))
    L, values, Rt = np.linalg.svd(G)
    best = (L[:, :2] * values[:2]) @ Rt[:2]
    found = adapters.apply(stepped, jnp.eye(6, dtype=dtype))
    np.testing.assert_allclose(found, -0.1 * scale**2 * best, rtol=0, atol=tol(found) * values[0])


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan])
def test_gradient_lora_refuses_a_scale_that_is_no_positive_number(scale):
    with pytest.raises(ValueError, match="scale must be"):
        adapters.gradient_lora(adapters.gradient_svd(jnp.eye(4, 2), jnp.eye(3, 2), rank=1), scale=scale)
