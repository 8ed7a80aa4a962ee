"""Low-rank MLPs against the full ones they stand for, and where they begin."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from lawlib.compress.low_rank_init import low_rank_init, padded_basis, random_init, rotate_by
from lawlib.networks import mlp
from lawlib.networks.activations import LINEAR, Activation
from lawlib.networks.initializers import orthogonal_weights
from lawlib.networks.low_rank import (
    LowRankWeights,
    apply,
    to_dense,
)

D, M, K, R, N, EPS = 9, 11, 3, 4, 7, 0.3


def drawn(dtype, depth=4, seed=0):
    rng = np.random.default_rng(seed)
    shapes = [(D, R), *[(R, R)] * (depth - 1), (M, R), (K, M)]
    right, *inner, left, last = (jnp.asarray(rng.standard_normal(shape), dtype) for shape in shapes)
    return LowRankWeights(right, tuple(inner), left, last)


def inputs(dtype):
    return jnp.asarray(np.random.default_rng(1).standard_normal((D, N)), dtype)


@pytest.mark.parametrize("depth", [2, 4])
@pytest.mark.parametrize("phi", ["gelu", Activation("cosine", jnp.cos, slope_at_zero=0.0, beta=1.0, mu=1.0)])
def test_the_dense_network_is_the_same_function(depth, phi, dtype, tol):
    # The cosine is 1 at 0: the units that were added speak, and nobody listens.
    weights, X = drawn(dtype, depth), inputs(dtype)
    widths = (*[M + 2] * (depth - 2), M, K)
    dense = to_dense(weights, widths)
    assert [W.shape for W in dense] == list(zip(widths, (D, *widths), strict=False))
    wanted = mlp.apply(dense, X, phi)
    np.testing.assert_allclose(apply(weights, X, phi), wanted, atol=tol(X) * float(jnp.abs(wanted).max()))


def square(dtype, depth=4):
    return orthogonal_weights(jax.random.key(3), (*[M] * depth, K), EPS, dtype)


def basis(dtype, r=R):
    return jnp.asarray(np.linalg.qr(np.random.default_rng(4).standard_normal((M, r)))[0], dtype)


def test_transported_layers_are_the_full_ones_on_their_bases(dtype, tol):
    """On linear units and inputs in the span of V~ the low-rank network begins as the full one."""
    weights, B = square(dtype), basis(dtype)
    low = low_rank_init(jax.random.key(0), weights, B, EPS, inner="transported")
    X = B @ jnp.asarray(np.random.default_rng(5).standard_normal((R, N)), dtype)
    np.testing.assert_allclose(apply(low, X, LINEAR), mlp.apply(weights, X, LINEAR), atol=tol(X))
    assert low.last is weights[-1]


@pytest.mark.parametrize("start", [low_rank_init, random_init])
def test_starts_are_orthonormal_around_scaled_orthogonal_layers(start, dtype, tol):
    weights = square(dtype)
    given = {"basis": basis(dtype)} if start is low_rank_init else {"rank": R}
    low = start(jax.random.key(1), weights, **given, scale=EPS)
    for frame in (low.right, low.left):
        np.testing.assert_allclose(frame.T @ frame, np.eye(R), atol=tol(frame))
    for W in low.inner:
        np.testing.assert_allclose(W @ W.T, EPS**2 * np.eye(R), atol=tol(W))
    assert len(low.inner) == len(weights) - 1
    assert not np.allclose(low.inner[0], low.inner[1])


def test_u_is_where_the_layers_carry_v(dtype, tol):
    weights, B = square(dtype), basis(dtype)
    low = low_rank_init(jax.random.key(1), weights, B, EPS)
    by_hand = np.linalg.multi_dot([*(np.asarray(W) / EPS for W in weights[-2::-1]), np.asarray(B)])
    np.testing.assert_allclose(low.left, by_hand, atol=tol(B))


@pytest.mark.parametrize("degrees", [0, 30, 75, 90])
def test_every_angle_of_a_turned_basis_is_psi(degrees, dtype):
    B = basis(jnp.float64).astype(dtype)
    found = scipy.linalg.subspace_angles(
        np.asarray(B), np.asarray(rotate_by(jax.random.key(2), B, np.deg2rad(degrees)))
    )
    np.testing.assert_allclose(np.rad2deg(found), degrees, atol=1e-3 if dtype == jnp.float32 else 1e-6)


@pytest.mark.parametrize("rank", [R, R + 3, M])
def test_a_padded_basis_keeps_its_first_columns(rank, dtype, tol):
    B = basis(dtype)
    padded = padded_basis(jax.random.key(2), B, rank)
    np.testing.assert_array_equal(padded[:, :R], B)
    np.testing.assert_allclose(padded.T @ padded, np.eye(rank), atol=tol(B))


def test_directions_beside_a_basis_are_uniform_in_its_complement():
    B = basis(jnp.float64)
    extra = 3
    draws = jax.vmap(lambda key: padded_basis(key, B, R + extra)[:, R:])(jax.random.split(jax.random.key(6), 4000))
    complement = np.eye(M) - B @ B.T
    # The mean projector is that onto the complement, times the share of it that is drawn; the mean frame is 0.
    share = extra / (M - R)
    np.testing.assert_allclose(jnp.mean(draws @ draws.transpose(0, 2, 1), 0), share * complement, atol=0.03)
    np.testing.assert_allclose(jnp.mean(draws, 0), 0, atol=0.03)


def sizes(program):
    """The sizes of all arrays that a program makes, those inside its calls too."""
    for equation in program.eqns:
        yield from (made.aval.size for made in equation.outvars)
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "jaxpr")):
            if hasattr(inner, "jaxpr"):
                yield from sizes(inner.jaxpr)


@pytest.mark.parametrize("rank", [20, 60])
def test_beside_a_basis_nothing_large_is_formed(rank):
    d, B = 3000, jax.ShapeDtypeStruct((3000, 20), jnp.float32)
    made = [jax.make_jaxpr(lambda B: padded_basis(jax.random.key(0), B, rank))(B)]
    made += [jax.make_jaxpr(lambda B: rotate_by(jax.random.key(0), B, 0.3))(B)]
    for program in made:
        assert max(sizes(program.jaxpr), default=0) <= d * max(rank, 20)


@pytest.mark.parametrize("width", [M, 6])
def test_u_can_be_made_orthonormal(width, dtype, tol):
    weights, B = orthogonal_weights(jax.random.key(3), (M, width, width, K), EPS, dtype), basis(dtype)
    as_it_is, made = (low_rank_init(jax.random.key(1), weights, B, EPS, orthonormal=x) for x in (False, True))
    np.testing.assert_allclose(made.left.T @ made.left, np.eye(R), atol=tol(B))
    np.testing.assert_allclose(made.left @ (made.left.T @ as_it_is.left), as_it_is.left, atol=tol(B))
    # Rows that are orthonormal shorten what is not in their span.
    shortest = np.linalg.svd(as_it_is.left, compute_uv=False)[-1]
    assert shortest < 0.999 if width < M else shortest > 1 - tol(B)
    np.testing.assert_array_equal(made.right, as_it_is.right)


def test_what_cannot_be_is_named(dtype):
    weights, B = square(dtype), basis(dtype)
    with pytest.raises(ValueError, match=r"rank must be in 4\.\.11"):
        padded_basis(jax.random.key(0), B, M + 1)
    with pytest.raises(ValueError, match="6 columns can be rotated out of its span in 12 dimensions or more, got 11"):
        rotate_by(jax.random.key(0), basis(dtype, 6), 0.1)
    with pytest.raises(ValueError, match="inner must be one of"):
        low_rank_init(jax.random.key(0), weights, B, EPS, inner="zero")
    with pytest.raises(ValueError, match=r"at least r=4 units, the last 11, 3 outputs, got \(11, 11, 12, 3\)"):
        to_dense(drawn(dtype), (M, M, M + 1, K))
