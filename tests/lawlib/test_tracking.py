"""What a tracker compares with: nothing, or orthonormal bases, by shares whose names say what is inside."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lawlib.tracking import Reference, tracker

M, N, K = 30, 24, 3
identity = lambda W: W  # noqa: E731


def frame(seed, rows, columns, dtype=jnp.float64):
    return jnp.asarray(np.linalg.qr(np.random.default_rng(seed).standard_normal((rows, columns)))[0], dtype)


def matrix(seed=0, dtype=jnp.float64):
    """Three values far above the rest."""
    values = np.concatenate([[9.0, 6.0, 4.0], np.full(N - 3, 1e-3)])
    return (frame(seed, M, N, dtype) * jnp.asarray(values, dtype)[None]) @ frame(seed + 1, N, N, dtype).T


def observed(reference, W, **options):
    monitor = tracker(identity, reference, K, every=1, num_steps=1, **options)
    return jax.jit(monitor.update)(monitor.init(jax.random.key(0), W), 0, W).records


def test_the_named_shares_are_those_of_the_projections():
    W, left, right = matrix(), frame(5, M, 4), frame(6, N, 7)
    shares, A = observed(Reference(left, right), W).fractions, np.asarray(W)
    P, R = np.asarray(left @ left.T), np.asarray(right @ right.T)
    blocks = {
        "inside_both": P @ A @ R,
        "inside_left_only": P @ (A - A @ R),
        "inside_right_only": (A - P @ A) @ R,
        "inside_neither": A - P @ A - A @ R + P @ A @ R,
    }
    for name, block in blocks.items():
        np.testing.assert_allclose(getattr(shares, name), [np.sum(block**2) / np.sum(A**2)], rtol=1e-12)


@pytest.mark.parametrize(("left", "right", "name"), [(0, 1, "inside_both"), (0, 9, "inside_left_only")])
def test_the_leading_subspaces_are_all_but_inside_themselves(left, right, name):
    W = matrix()
    inputs = frame(1, N, N)
    inputs = inputs[:, :K] if right == 1 else inputs[:, K:]
    shares = observed(Reference(frame(left, M, N)[:, :K], inputs), W).fractions
    assert 1 - 1e-6 < float(getattr(shares, name)[0]) <= 1


def test_no_reference_is_compared_with_nothing():
    W, reference = matrix(), Reference(frame(5, M, 4), frame(6, N, 7))
    alone, beside = observed(None, W), observed(reference, W)
    assert alone.left_angles is alone.right_angles is alone.fractions is None
    for name in ("step", "values", "bound", "certified", "passes"):
        np.testing.assert_array_equal(getattr(alone, name), getattr(beside, name))
    np.testing.assert_allclose(alone.values[0], np.linalg.svd(W, compute_uv=False)[:K], rtol=1e-6)


SKEWED = {
    "scaled": lambda B: 2 * B,
    "turned into itself": lambda B: B.at[:, 0].set(B[:, 1]),
    "all but orthonormal": lambda B: B.at[0, 0].add(1e-3),
    "not finite": lambda B: B.at[0, 0].set(jnp.nan),
}


@pytest.mark.parametrize("skewed", SKEWED.values(), ids=SKEWED)
def test_a_reference_that_is_not_orthonormal_is_refused(skewed, dtype):
    left, right = frame(5, M, 4, dtype), frame(6, N, 7, dtype)
    tracker(identity, Reference(left, right), K, every=1, num_steps=1)
    with pytest.raises(ValueError, match=r"left basis is not orthonormal: \S+ B - I\S+ is .*jnp.linalg.qr\(B\)\[0\]"):
        tracker(identity, Reference(skewed(left), right), K, every=1, num_steps=1)
    with pytest.raises(ValueError, match="right basis is not orthonormal"):
        tracker(identity, Reference(left, skewed(right)), K, every=1, num_steps=1)


def test_a_traced_reference_is_taken_as_it_is():
    def run(reference):
        monitor = tracker(identity, reference, K, every=1, num_steps=1)
        return monitor.update(monitor.init(jax.random.key(0), matrix()), jnp.asarray(0), matrix()).records.fractions

    reference = Reference(frame(5, M, 4), frame(6, N, 7))
    traced, direct = jax.jit(run)(reference), observed(reference, matrix()).fractions
    np.testing.assert_allclose(traced, direct, rtol=1e-12)


def test_what_no_look_can_see_is_refused_at_the_start():
    reference = Reference(frame(5, M, 4), frame(6, N, 7))
    key = jax.random.key(0)
    for columns in (0, M + 1):
        with pytest.raises(ValueError, match=f"left basis needs 1 to {M} columns, .* got {columns}"):
            tracker(identity, reference._replace(left=jnp.ones((M, columns))), K, every=1, num_steps=1)
    for k in (0, N + 1):
        with pytest.raises(ValueError, match=rf"k must be in 1..{N} .* got {k}"):
            tracker(identity, None, k, every=1, num_steps=1).init(key, matrix())
    with pytest.raises(ValueError, match=r"matrix\(value\) must be a matrix, got shape \(30,\)"):
        tracker(lambda W: W[:, 0], None, K, every=1, num_steps=1).init(key, matrix())
    with pytest.raises(ValueError, match=r"must be a matrix, got a tree of \{'kernel': \("):
        tracker(lambda W: {"kernel": W}, None, K, every=1, num_steps=1).init(key, matrix())
    with pytest.raises(ValueError, match="tolerance must be positive"):
        tracker(identity, reference, K, every=1, num_steps=1, tolerance=-1.0).init(key, matrix())


def test_a_reference_of_numpy_has_the_precision_that_jax_gives_it():
    rng = np.random.default_rng(0)
    bases = (np.linalg.qr(rng.standard_normal((d, 3)))[0] for d in (30, 20))
    with jax.enable_x64(False):
        tracker(lambda value: value, Reference(*bases), 3, every=1, num_steps=1)


def test_a_vector_is_no_reference():
    with pytest.raises(ValueError, match=r"left basis needs the shape \(rows, columns\), got \(30,\)"):
        tracker(lambda value: value, Reference(jnp.ones(30), jnp.eye(20)[:, :3]), 3, every=1, num_steps=1)
