"""Angles, distances, complements, sums, Wedin's bound and blocks against scipy, dense algebra and closed forms."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from liveness import finish, without_settings
from source_tree import ROOT

from lawlib.linalg import subspaces

# The fixtures used below are pure functions of the dtype, so sharing them between examples is safe.
shares_fixtures = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
seeds = st.integers(0, 2**31)
# The last pair meets in a line at least.
DIMENSIONS = [(3, 3), (5, 2), (2, 7)]
# One program per function and shape: outside jit every operation would be one. The tests themselves compute in numpy.
principal_angles, sin_theta, projector_distance, complement = map(
    jax.jit, (subspaces.principal_angles, subspaces.sin_theta, subspaces.projector_distance, subspaces.complement)
)
orthonormal_sum = jax.jit(subspaces.orthonormal_sum, static_argnames="dimension")
wedin = jax.jit(subspaces.wedin, static_argnums=2)


def basis(rng, d, r, dtype):
    return np.linalg.qr(rng.standard_normal((d, r)))[0].astype(dtype)


def rotated_pair(angles, rng, dtype):
    """U and V with exactly these angles, in bases that are mixed so that no column shows one angle."""
    r = len(angles)
    U, V = np.zeros((2 * r + 1, r)), np.zeros((2 * r + 1, r))
    U[:r], V[:r], V[r : 2 * r] = np.eye(r), np.diag(np.cos(angles)), np.diag(np.sin(angles))
    mix = [np.linalg.qr(rng.standard_normal((r, r)))[0] for _ in range(2)]
    return (U @ mix[0]).astype(dtype), (V @ mix[1]).astype(dtype)


def dense_distance(U, V):
    U, V = np.asarray(U, np.float64), np.asarray(V, np.float64)
    return np.linalg.norm(U @ U.T - V @ V.T)


@pytest.mark.parametrize("dimensions", DIMENSIONS)
def test_angles_are_scipys(dimensions, dtype, tol):
    rng = np.random.default_rng(1)
    U, V = (basis(rng, 8, r, dtype) for r in dimensions)
    expected = scipy.linalg.subspace_angles(np.asarray(U, np.float64), np.asarray(V, np.float64))[::-1]
    angles = principal_angles(U, V)
    assert angles.shape == (min(dimensions),)
    assert angles.dtype == dtype
    np.testing.assert_allclose(angles, expected, rtol=0, atol=tol(angles))
    np.testing.assert_allclose(sin_theta(U, V), np.linalg.norm(np.sin(expected)), rtol=tol(angles, 10))


@pytest.mark.parametrize("tiny", [1e-9, 1e-7, 1e-4])
def test_tiny_and_nearly_right_angles_keep_their_digits(tiny, dtype):
    if tiny < 1e-4 and dtype == jnp.float32:
        tiny *= 1e3  # float32 bases cannot hold an angle below 1e-7.
    angles = np.array([tiny, 2 * tiny, 0.7, np.pi / 2 - tiny])
    U, V = rotated_pair(angles, np.random.default_rng(2), dtype)
    # Rounding of the bases themselves moves an angle by a few units of eps.
    error = np.abs(np.asarray(principal_angles(U, V), np.float64) - angles)
    assert error.max() < 16 * jnp.finfo(dtype).eps


@pytest.mark.parametrize("tiny", [1e-9, 1e-6])
def test_distances_of_nearby_subspaces_keep_their_digits(tiny):
    U, V = rotated_pair(np.array([tiny, 2 * tiny, 3 * tiny]), np.random.default_rng(3), jnp.float64)
    rtol = 16 * np.finfo(np.float64).eps / tiny
    np.testing.assert_allclose(sin_theta(U, V), np.sqrt(14) * tiny, rtol=rtol)
    np.testing.assert_allclose(projector_distance(U, V), np.sqrt(28) * tiny, rtol=rtol)


def test_a_subspace_is_at_no_distance_from_itself(dtype):
    U = basis(np.random.default_rng(4), 20, 6, dtype)
    assert sin_theta(U, U) < 16 * jnp.finfo(dtype).eps
    assert np.max(principal_angles(U, U)) < 16 * jnp.finfo(dtype).eps


@pytest.mark.parametrize("dimensions", DIMENSIONS)
def test_projector_distance_is_that_of_dense_projectors(dimensions, dtype, tol):
    rng = np.random.default_rng(5)
    U, V = (basis(rng, 8, r, dtype) for r in dimensions)
    np.testing.assert_allclose(projector_distance(U, V), dense_distance(U, V), rtol=tol(U, 10))


@shares_fixtures
@given(seed=seeds)
def test_distances_ignore_the_basis(seed, tol):
    rng = np.random.default_rng(seed)
    U, V = (basis(rng, 8, r, jnp.float64) for r in (5, 2))
    U_turned, V_turned = U @ basis(rng, 5, 5, jnp.float64), V @ basis(rng, 2, 2, jnp.float64)
    for distance in (principal_angles, sin_theta, projector_distance):
        np.testing.assert_allclose(distance(U_turned, V_turned), distance(U, V), rtol=0, atol=tol(U))
        np.testing.assert_allclose(distance(V, U), distance(U, V), rtol=0, atol=tol(U))


@shares_fixtures
@given(seed=seeds)
def test_sin_theta_is_a_metric_on_equal_dimensions(seed, tol):
    rng = np.random.default_rng(seed)
    U, V, W = (basis(rng, 8, 3, jnp.float64) for _ in range(3))
    direct, detour = sin_theta(U, W), sin_theta(U, V) + sin_theta(V, W)
    assert direct <= detour + tol(U)
    np.testing.assert_allclose(projector_distance(U, W), np.sqrt(2) * direct, rtol=tol(U))


@pytest.mark.parametrize("r", [3, 8])
def test_complement_completes_the_basis(r, dtype, tol):
    U = basis(np.random.default_rng(6), 8, r, dtype)
    rest = complement(U)
    assert rest.shape == (8, 8 - r)
    whole = np.hstack([U, rest])
    np.testing.assert_allclose(whole.T @ whole, np.eye(8), atol=tol(U, 10))


def test_complement_refuses_a_wide_matrix():
    with pytest.raises(ValueError, match=r"\(2, 3\)"):
        subspaces.complement(jnp.ones((2, 3)))


def test_the_sum_of_subspaces_is_their_span_whatever_the_units(dtype, tol):
    rng = np.random.default_rng(7)
    U, V = basis(rng, 9, 2, dtype), basis(rng, 9, 3, dtype)
    # V shares its first direction with U: the sum has four dimensions of five columns.
    V[:, 0] = U[:, 1]
    total = jax.tree.map(np.asarray, orthonormal_sum(1e8 * U, 1e-8 * V, dimension=4))
    np.testing.assert_allclose(total.basis.T @ total.basis, np.eye(4), atol=tol(U, 10))
    expected = scipy.linalg.orth(np.hstack([U, V]).astype(np.float64), rcond=1e-5)
    assert expected.shape == (9, 4)
    assert sin_theta(total.basis, expected.astype(dtype)) < tol(U)
    assert total.kept > 1e4 * total.dropped
    assert total.dropped < tol(U, 10)


def test_the_margin_of_a_sum_is_in_closed_form(tol):
    # Lines at angle theta: [u, v] has singular values sqrt(1 +- cos theta).
    theta = 0.3
    u, v = np.array([[1.0], [0.0], [0.0]]), np.array([[np.cos(theta)], [np.sin(theta)], [0.0]])
    line = orthonormal_sum(5 * u, v, dimension=1)
    np.testing.assert_allclose(line.kept, np.sqrt(1 + np.cos(theta)), rtol=tol(u))
    np.testing.assert_allclose(line.dropped, np.sqrt(1 - np.cos(theta)), rtol=tol(u))
    half = np.array([[np.cos(theta / 2)], [np.sin(theta / 2)], [0.0]])
    assert sin_theta(line.basis, half) < tol(u)
    plane = orthonormal_sum(5 * u, v, dimension=2)
    np.testing.assert_allclose(plane.kept, line.dropped, rtol=tol(u))
    assert plane.dropped == 0


def test_a_block_is_scaled_by_its_spectral_norm(tol):
    # A block of four equal values keeps all of them at 1; their Frobenius norm would make them 1/2.
    total = orthonormal_sum(7 * np.eye(5)[:, :4], dimension=3)
    np.testing.assert_allclose([total.kept, total.dropped], [1, 1], rtol=tol(total.basis))


def test_a_zero_block_adds_nothing(dtype, tol):
    U = basis(np.random.default_rng(8), 6, 2, dtype)
    total = orthonormal_sum(U, np.zeros((6, 3), dtype), dimension=2)
    assert sin_theta(total.basis, U) < tol(U)
    assert total.dropped < tol(U)


@pytest.mark.parametrize("dimension", [0, 5])
def test_the_dimension_of_a_sum_is_checked(dimension):
    with pytest.raises(ValueError, match=rf"1\.\.4 .* got {dimension}"):
        orthonormal_sum(jnp.ones((6, 2)), jnp.ones((6, 2)), dimension=dimension)
    with pytest.raises(ValueError, match="at least one block"):
        orthonormal_sum(dimension=dimension)


@shares_fixtures
@given(seed=seeds, size=st.floats(-6, 1), case=st.sampled_from([((6, 4), 2), ((6, 4), 4), ((4, 6), 1)]))
def test_wedins_inequality(seed, size, case, tol):
    rng, (shape, rank) = np.random.default_rng(seed), case
    A, P = rng.standard_normal(shape), 10.0**size * rng.standard_normal(shape)
    w = jax.tree.map(np.asarray, wedin(A, A + P, rank))
    assert max(w.left, w.right) <= w.bound + tol(w.bound)
    assert (w.gap > 0) == np.isfinite(w.bound)

    (L, s, Rt), (L_t, s_t, Rt_t) = (np.linalg.svd(M, full_matrices=False) for M in (A, A + P))
    sines = [
        np.linalg.norm(np.sin(scipy.linalg.subspace_angles(*pair)))
        for pair in ((L_t[:, :rank], L[:, :rank]), (Rt_t[:rank].T, Rt[:rank].T))
    ]
    numerators = [np.linalg.norm(P.T @ L_t[:, :rank]), np.linalg.norm(P @ Rt_t[:rank].T)]
    gap = s_t[rank - 1] - (s[rank] if rank < 4 else 0)
    # Rounding turns a singular subspace by eps / gap: nearly repeated values are left to the inequality.
    if min(-np.diff(s).max(initial=-1), -np.diff(s_t).max(initial=-1)) > 1e-2:
        np.testing.assert_allclose(w[:5], [*sines, *numerators, gap], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("angle", [1e-6, 0.1, 1.2])
def test_wedins_inequality_is_attained_by_two_projectors(angle, tol):
    # With A = U U^T and A~ = V V^T: P V = V - U U^T V, and the gap is 1.
    U, V = rotated_pair(np.array([angle, angle / 2]), np.random.default_rng(9), jnp.float64)
    w = wedin(U @ U.T, V @ V.T, 2)
    expected = np.hypot(np.sin(angle), np.sin(angle / 2))
    np.testing.assert_allclose([w.left, w.right, w.bound], expected, rtol=0, atol=tol(U))
    np.testing.assert_allclose(w.gap, 1, rtol=tol(U))


def test_wedin_takes_each_value_from_its_own_matrix(tol):
    w = wedin(np.diag([5.0, 3.0, 2.0]), np.diag([7.0, 4.0, 1.0]), 2)
    np.testing.assert_allclose(w.gap, 4 - 2, rtol=tol(w.gap))
    np.testing.assert_allclose(w.bound, np.hypot(2, 1) / 2, rtol=tol(w.gap))
    np.testing.assert_allclose([w.left, w.right], 0, atol=tol(w.gap))


@pytest.mark.parametrize("tail", [1.0, 2.0])
def test_wedin_says_nothing_without_a_gap(tail):
    w = wedin(np.diag([3.0, tail]), np.diag([1.0, 0.5]), 1)
    assert w.gap <= 0
    assert w.bound == jnp.inf


def test_wedin_at_full_rank_has_the_whole_last_value_as_gap(dtype, tol):
    A = np.random.default_rng(10).standard_normal((5, 3)).astype(dtype)
    w = wedin(A, 2 * A, 3)
    np.testing.assert_allclose(w.gap, 2 * np.linalg.svd(A, compute_uv=False)[-1], rtol=tol(A))
    assert max(w.left, w.right) < tol(A)


@pytest.mark.parametrize("rank", [0, 4])
def test_wedin_refuses_a_rank_out_of_range(rank):
    with pytest.raises(ValueError, match=rf"1\.\.3 .* got {rank}"):
        wedin(jnp.ones((5, 3)), jnp.ones((5, 3)), rank)


def test_everything_runs_under_jit_and_vmap(tol):
    rng, dtype = np.random.default_rng(11), jnp.dtype(jnp.float32)
    U, V = (jnp.asarray([basis(rng, 6, r, dtype) for _ in range(2)]) for r in (3, 2))

    def everything(U, V):
        total = subspaces.orthonormal_sum(U, V, dimension=5)
        w = subspaces.wedin(U @ U.T, V @ V.T, 2)
        distances = subspaces.sin_theta(U, V), subspaces.projector_distance(U, V)
        rest = subspaces.sin_theta(subspaces.complement(U), subspaces.complement(V))
        return subspaces.principal_angles(U, V), *distances, rest, total.kept, w.bound

    alone, batch = jax.jit(everything), jax.jit(jax.vmap(everything))(U, V)
    for i in range(2):
        for mapped, single in zip(batch, alone(U[i], V[i]), strict=True):
            assert mapped.dtype == dtype
            np.testing.assert_allclose(mapped[i], single, rtol=tol(U), atol=tol(U))


# Energies in the blocks of two bases ---------------------------------------------------------------------------------


WIDTH, HEIGHT, BLOCK = 16, 20, 10
block_energies, block_fractions = jax.jit(subspaces.block_energies), jax.jit(subspaces.block_fractions)


def drawn_basis(seed, d):
    return jnp.asarray(basis(np.random.default_rng(seed), d, BLOCK, float))


@settings(max_examples=8)
@given(seed=seeds, size=st.floats(1e-8, 1e3))
def test_blocks_are_those_of_the_dense_change_of_bases(seed, size):
    U_2, V_2 = drawn_basis(seed, HEIGHT), drawn_basis(seed + 1, WIDTH)
    change = size * np.random.default_rng(seed + 2).standard_normal((HEIGHT, WIDTH))
    U = np.hstack([scipy.linalg.null_space(U_2.T), U_2])
    V = np.hstack([scipy.linalg.null_space(V_2.T), V_2])
    rotated, (i, j) = U.T @ change @ V, (HEIGHT - BLOCK, WIDTH - BLOCK)
    dense = [np.sum(block**2) for block in (rotated[:i, :j], rotated[:i, j:], rotated[i:, :j], rotated[i:, j:])]
    np.testing.assert_allclose(block_energies(change, U_2, V_2), dense, rtol=1e-12)
    fractions = block_fractions(change, U_2, V_2)
    np.testing.assert_allclose(fractions, np.asarray(dense) / np.sum(change**2), rtol=1e-12)


def test_a_small_block_keeps_its_digits_next_to_a_large_one():
    U_2, V_2 = drawn_basis(0, HEIGHT), drawn_basis(1, WIDTH)
    U_1, V_1 = complement(U_2), complement(V_2)
    sizes = np.array([1.0, 1e-7, 1e-7, 1e-7])
    units = [u[:, :1] @ v[:, :1].T for u, v in ((U_1, V_1), (U_1, V_2), (U_2, V_1), (U_2, V_2))]
    change = sum(size * unit for size, unit in zip(sizes, units, strict=True))
    np.testing.assert_allclose(block_energies(change, U_2, V_2), sizes**2, rtol=1e-7)
    assert np.all(np.isnan(block_fractions(jnp.zeros((HEIGHT, WIDTH)), U_2, V_2)))


@given(seed=seeds, tiny=st.sampled_from([1.0, 1e-12, 1e-200]))
def test_block_fractions_are_those_of_whole_bases(seed, tiny):
    rng = np.random.default_rng(seed)
    U, V = (np.linalg.qr(rng.standard_normal((d, d)))[0] for d in (9, 7))
    blocks = rng.standard_normal((9, 7))
    blocks[3:, 2:] *= tiny
    U_2, V_2 = jnp.asarray(U[:, :3]), jnp.asarray(V[:, :2])
    fractions = block_fractions(jnp.asarray(U @ blocks @ V.T), U_2, V_2)
    parts = [blocks[3:, 2:], blocks[3:, :2], blocks[:3, 2:], blocks[:3, :2]]
    expected = [np.square(part).sum() / np.square(blocks).sum() for part in parts]
    # What M itself is rounded to leaves eps^2 in a block that is smaller.
    np.testing.assert_allclose(fractions, expected, rtol=1e-2 if tiny < 1 else 1e-12, atol=1e-29)


@pytest.mark.parametrize("of", [subspaces.principal_angles, subspaces.sin_theta, subspaces.projector_distance])
@pytest.mark.parametrize(
    ("U", "V", "problem"),
    [
        (np.ones((5, 2)), np.eye(5, 2), r"\(5, 2\) is not orthonormal: .* is 9\.1; give jnp\.linalg\.qr\(B\)\[0\]"),
        (np.eye(5, 2), 1.001 * np.eye(5, 3), r"\(5, 3\) is not orthonormal"),
        (np.eye(2, 5), np.eye(2, 1), r"\(2, 5\) is not orthonormal"),
    ],
)
def test_columns_that_are_not_orthonormal_are_refused(of, U, V, problem, dtype):
    for pair in ((U, V), (V, U)):
        with pytest.raises(ValueError, match=problem):
            of(*(jnp.asarray(basis, dtype) for basis in pair))


def test_bases_of_different_spaces_are_refused_in_a_line():
    """In a process without the suite's own check of shapes."""
    ask = "import jax.numpy as jnp, lawlib; lawlib.principal_angles(jnp.eye(5, 2), jnp.eye(6, 2))"
    child = finish([sys.executable, "-W", "ignore", "-c", ask], env=without_settings(), cwd=ROOT)
    said = "ValueError: two bases need the shapes (d, r) and (d, s), got (5, 2) and (6, 2)"
    assert child.stderr.splitlines()[-1] == said
