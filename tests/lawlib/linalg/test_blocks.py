"""Energies of a matrix in the blocks of two bases, against a dense change of bases."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from lawlib.linalg import subspaces

D, M, P = 16, 20, 10
seeds = st.integers(0, 2**31)
block_energies, block_fractions = jax.jit(subspaces.block_energies), jax.jit(subspaces.block_fractions)


def matrix(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape))


def basis(seed, d, r):
    return jnp.asarray(np.linalg.qr(np.random.default_rng(seed).standard_normal((d, r)))[0])


@settings(max_examples=8)
@given(seed=seeds, size=st.floats(1e-8, 1e3))
def test_blocks_are_those_of_the_dense_change_of_bases(seed, size):
    U_2, V_2, change = basis(seed, M, P), basis(seed + 1, D, P), size * matrix(seed + 2, M, D)
    U = np.hstack([scipy.linalg.null_space(U_2.T), U_2])
    V = np.hstack([scipy.linalg.null_space(V_2.T), V_2])
    rotated, (i, j) = U.T @ np.asarray(change) @ V, (M - P, D - P)
    dense = [np.sum(block**2) for block in (rotated[:i, :j], rotated[:i, j:], rotated[i:, :j], rotated[i:, j:])]
    np.testing.assert_allclose(block_energies(change, U_2, V_2), dense, rtol=1e-12)
    fractions = block_fractions(change, U_2, V_2)
    np.testing.assert_allclose(fractions, np.asarray(dense) / np.sum(np.asarray(change) ** 2), rtol=1e-12)


def test_a_small_block_keeps_its_digits_beside_a_large_one():
    U_2, V_2 = basis(0, M, P), basis(1, D, P)
    U_1, V_1 = subspaces.complement(U_2), subspaces.complement(V_2)
    sizes = np.array([1.0, 1e-7, 1e-7, 1e-7])
    units = [u[:, :1] @ v[:, :1].T for u, v in ((U_1, V_1), (U_1, V_2), (U_2, V_1), (U_2, V_2))]
    change = sum(size * unit for size, unit in zip(sizes, units, strict=True))
    np.testing.assert_allclose(block_energies(change, U_2, V_2), sizes**2, rtol=1e-7)
    assert np.all(np.isnan(block_fractions(jnp.zeros((M, D)), U_2, V_2)))


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
