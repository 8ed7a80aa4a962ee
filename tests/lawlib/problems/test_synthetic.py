"""Synthetic problems against numpy and their distributions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.stats

from lawlib.problems import synthetic

# One program per shape: outside jit every operation would be one. The tests themselves compute in numpy.
whiten = jax.jit(synthetic.whiten, static_argnames="dimension")
numerical_rank = jax.jit(synthetic.numerical_rank)


@pytest.mark.parametrize(("shape", "rank"), [((7, 7), 3), ((4, 9), 1)])
def test_the_target_is_the_nearest_matrix_of_its_rank(shape, rank, dtype, tol):
    key = jax.random.key(0)

    @jax.jit
    def draw(key):
        return synthetic.low_rank_target(key, shape, rank, dtype), jax.random.normal(key, shape, dtype)

    target, gaussian = (np.asarray(drawn) for drawn in draw(key))
    assert target.shape == shape
    assert target.dtype == dtype
    gaussian = gaussian.astype(np.float64)
    s = np.linalg.svd(gaussian, compute_uv=False)
    # Eckart and Young: the distance is that of the dropped values; the kept ones are the Gaussian's own.
    np.testing.assert_allclose(
        np.linalg.norm(gaussian - np.asarray(target)), np.linalg.norm(s[rank:]), atol=tol(target)
    )
    s_target = np.linalg.svd(np.asarray(target, np.float64), compute_uv=False)
    np.testing.assert_allclose(s_target, np.where(np.arange(s.size) < rank, s, 0), atol=tol(target))
    assert numerical_rank(target) == rank


@pytest.mark.parametrize("rank", [0, 5])
def test_a_rank_out_of_range_is_refused(rank):
    with pytest.raises(ValueError, match=rf"rank must be in 1\.\.4 .* got {rank}"):
        synthetic.low_rank_target(jax.random.key(0), (4, 6), rank)


@pytest.mark.parametrize("shape", [(4,), (4, 0), (2, 2, 2)])
def test_a_shape_that_is_no_matrix_is_refused(shape):
    with pytest.raises(ValueError, match="two positive sizes"):
        synthetic.low_rank_target(jax.random.key(0), shape, 1)
    with pytest.raises(ValueError, match="two positive sizes"):
        synthetic.observation_mask(jax.random.key(0), shape, 0.5)


def test_gaussian_data_are_independent_standard_normals(dtype):
    X, Y = jax.eval_shape(
        lambda key: synthetic.gaussian_data(key, num_inputs=20, num_outputs=10, num_samples=5000, dtype=dtype),
        jax.random.key(1),
    )
    assert (X.shape, Y.shape) == ((20, 5000), (10, 5000))
    X, Y = (
        np.asarray(drawn)
        for drawn in synthetic.gaussian_data(
            jax.random.key(1), num_inputs=10, num_outputs=10, num_samples=5000, dtype=dtype
        )
    )
    assert X.dtype == Y.dtype == dtype
    for draw in (X, Y):
        entries = np.asarray(draw, np.float64).ravel()
        assert scipy.stats.kstest(entries, scipy.stats.norm.cdf).pvalue > 1e-4
    assert np.abs(np.mean(X * Y)) < 5 / np.sqrt(Y.size)


@pytest.mark.parametrize(("shape", "dimension"), [((6, 40), 6), ((6, 40), 4), ((8, 5), 5)])
def test_whitened_inputs_are_orthonormal_rows_made_by_the_transform(shape, dimension, dtype, tol):
    spread = np.diag(2.0 ** -np.arange(shape[0]))
    X = (3 + spread @ np.random.default_rng(3).standard_normal(shape)).astype(dtype)
    whitened = jax.tree.map(np.asarray, whiten(X, dimension))
    assert whitened.inputs.shape == (dimension, shape[1])
    assert whitened.transform.shape == (dimension, shape[0])
    assert whitened.inputs.dtype == dtype
    gram = whitened.inputs @ whitened.inputs.T
    np.testing.assert_allclose(gram, np.eye(dimension), atol=tol(X))
    # The transform magnifies the rounding of X by 1/s_k.
    s = np.linalg.svd(np.asarray(X, np.float64), compute_uv=False)
    magnified = tol(X) * s[0] / s[dimension - 1]
    np.testing.assert_allclose(whitened.transform @ X, whitened.inputs, atol=magnified)


def test_whitening_keeps_the_leading_directions_of_the_uncentred_data(tol):
    X = 2 + np.diag([5.0, 3.0, 1.0, 0.1]) @ np.random.default_rng(4).standard_normal((4, 50))
    whitened = whiten(X, 2)
    leading = np.linalg.svd(X)[2][:2].T
    assert scipy.linalg.subspace_angles(np.asarray(whitened.inputs.T), leading).max() < tol(X)
    # Rows come by descending singular value: 1/s_i is the norm of row i of the transform.
    s = np.linalg.svd(X, compute_uv=False)
    np.testing.assert_allclose(np.linalg.norm(whitened.transform, axis=1), 1 / s[:2], rtol=tol(X))


@pytest.mark.parametrize("rank", [2, 6])
def test_rank_deficient_data_are_seen_and_whitened_to_their_rank(rank, dtype, tol):
    rng = np.random.default_rng(5)
    X = (rng.standard_normal((6, rank)) @ rng.standard_normal((rank, 30))).astype(dtype)
    found = numerical_rank(X)
    assert jnp.issubdtype(found.dtype, jnp.integer)
    assert found == rank
    whitened = jax.tree.map(np.asarray, whiten(X, int(found)))
    np.testing.assert_allclose(whitened.inputs @ whitened.inputs.T, np.eye(rank), atol=tol(X))
    assert np.all(np.isfinite(whitened.transform))


def test_the_cut_off_of_the_rank_is_relative_to_dtype_and_size(dtype):
    cut_off = float(jnp.finfo(dtype).eps) * 10
    for scale in (1e-6, 1.0, 1e6):
        X = np.zeros((3, 10), dtype)
        np.fill_diagonal(X, [scale, 2 * cut_off * scale, 0.5 * cut_off * scale])
        assert numerical_rank(X) == 2
    assert numerical_rank(np.zeros((3, 3), dtype)) == 0


@pytest.mark.parametrize("dimension", [0, 6])
def test_a_dimension_out_of_range_is_refused(dimension):
    with pytest.raises(ValueError, match=rf"dimension must be in 1\.\.5 .* got {dimension}"):
        synthetic.whiten(jnp.ones((8, 5)), dimension)


@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.9])
def test_the_mask_observes_its_fraction(fraction, dtype):
    mask = np.asarray(synthetic.observation_mask(jax.random.key(6), (300, 400), fraction, dtype))
    assert mask.dtype == dtype
    assert set(np.unique(mask)) == {0, 1}
    for axis, count in ((None, mask.size), (0, 300), (1, 400)):
        limit = 5 * np.sqrt(fraction * (1 - fraction) / count)
        assert np.abs(np.mean(mask, axis=axis, dtype=np.float64) - fraction).max() < limit
    # A traced fraction of another dtype draws the same mask.
    traced = synthetic.observation_mask(jax.random.key(6), (300, 400), jnp.float32(fraction), dtype)
    np.testing.assert_array_equal(traced, mask)


@pytest.mark.parametrize(("fraction", "mean"), [(0.0, 0), (1.0, 1)])
def test_the_mask_may_observe_nothing_or_everything(fraction, mean):
    assert np.mean(synthetic.observation_mask(jax.random.key(7), (300, 400), fraction)) == mean


@pytest.mark.parametrize("fraction", [-0.1, 1.5, float("nan")])
def test_a_fraction_that_is_no_probability_is_refused(fraction):
    with pytest.raises(ValueError, match=r"fraction must be in \[0, 1\], got"):
        synthetic.observation_mask(jax.random.key(0), (3, 3), fraction)


def test_problems_are_the_same_under_jit_and_vmap(tol):
    keys, dtype = jax.random.split(jax.random.key(8), 2), jnp.dtype(jnp.float32)
    fractions = jnp.array([0.3, 0.6], jnp.float64)

    def draw(key, fraction):
        target = synthetic.low_rank_target(key, (4, 9), 2, dtype)
        mask = synthetic.observation_mask(key, (4, 9), fraction, dtype)
        return target, jnp.square(synthetic.whiten(target, 2).inputs), mask

    alone = jax.jit(draw)
    batch = jax.jit(jax.vmap(draw))(keys, fractions)
    for i, fraction in enumerate((0.3, 0.6)):
        for mapped, single in zip(batch, alone(keys[i], fraction), strict=True):
            assert mapped.dtype == dtype
            np.testing.assert_allclose(mapped[i], single, atol=tol(single))


def test_a_whitened_regression_is_its_target_and_a_floor(dtype, tol):
    X, Y = synthetic.gaussian_data(jax.random.key(1), num_inputs=5, num_outputs=3, num_samples=40, dtype=dtype)
    X = whiten(X, 5).inputs
    target, floor = synthetic.regression(X, Y)
    W = jnp.ones((3, 5), dtype)
    loss = jnp.sum(jnp.square(W @ X - Y)) / 2
    np.testing.assert_allclose(jnp.sum(jnp.square(W - target)) / 2 + floor, loss, rtol=tol(X))
    best = np.linalg.lstsq(np.asarray(X.T), np.asarray(Y.T), rcond=None)[1].sum() / 2
    np.testing.assert_allclose(floor, best, rtol=tol(X))


# The Gaussian mixture and symmetric whitening ------------------------------------------------------------------------


whiten_symmetric = jax.jit(synthetic.whiten_symmetric)


def test_the_mixture_is_balanced_ordered_and_spread_around_normal_means(dtype):
    d, K, n = 64, 4, 500
    X, Y = (
        np.asarray(drawn)
        for drawn in synthetic.gaussian_mixture(
            jax.random.key(0), dimension=d, num_classes=K, num_samples=K * n, dtype=dtype
        )
    )
    assert (X.shape, Y.shape) == ((d, K * n), (K, K * n))
    assert X.dtype == Y.dtype == dtype
    np.testing.assert_array_equal(Y, np.kron(np.eye(K), np.ones((1, n))))
    classes = X.astype(np.float64).reshape(d, K, n)
    means = classes.mean(axis=2)
    # The mean of a class carries 3/n of its samples' variance.
    assert scipy.stats.kstest(means.ravel(), scipy.stats.norm(scale=np.sqrt(1 + 3 / n)).cdf).pvalue > 1e-4
    within = (classes - means[:, :, None]) / np.sqrt(3 * (1 - 1 / n))
    assert scipy.stats.kstest(within.ravel(), scipy.stats.norm.cdf).pvalue > 1e-4
    assert abs(np.var(within) - 1) < 5 * np.sqrt(2 / within.size)
    # No class repeats the draw of another.
    assert np.abs(np.mean(within[:, 0] * within[:, 1])) < 5 / np.sqrt(within[:, 0].size)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((8, 3, 10), "num_samples a multiple of num_classes=3, got 10"),
        ((0, 3, 9), "positive sizes, got .*'dimension': 0"),
        ((8, 0, 9), "positive sizes, got .*'num_classes': 0"),
        ((8, 3, 0), "positive sizes, got .*'num_samples': 0"),
    ],
)
def test_sizes_that_make_no_balanced_mixture_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        synthetic.gaussian_mixture(
            jax.random.key(0), **dict(zip(("dimension", "num_classes", "num_samples"), sizes, strict=True))
        )


def test_symmetric_whitening_is_the_inverse_square_root_of_the_gram_matrix(dtype, tol):
    X = jnp.asarray(1 + np.random.default_rng(2).standard_normal((8, 40)), dtype)
    whitened = whiten_symmetric(X)
    assert whitened.inputs.dtype == dtype
    expected = np.linalg.inv(scipy.linalg.sqrtm(np.asarray(X, np.float64) @ np.asarray(X, np.float64).T)).real
    np.testing.assert_allclose(whitened.transform, expected, rtol=0, atol=tol(X))
    white = np.asarray(whitened.inputs)
    np.testing.assert_allclose(np.asarray(whitened.transform) @ np.asarray(X), white, rtol=0, atol=tol(X))
    np.testing.assert_allclose(white @ white.T, np.eye(8), rtol=0, atol=tol(X))


def test_white_inputs_stay_what_they_are_and_rotate_with_the_data(tol):
    rng = np.random.default_rng(3)
    X, Q = rng.standard_normal((8, 40)), np.linalg.qr(rng.standard_normal((8, 8)))[0]
    white = whiten_symmetric(X).inputs
    np.testing.assert_allclose(whiten_symmetric(white).inputs, white, rtol=0, atol=tol(white))
    np.testing.assert_allclose(whiten_symmetric(Q @ X).inputs, Q @ white, rtol=0, atol=tol(white))


def test_fewer_samples_than_dimensions_cannot_be_white():
    with pytest.raises(ValueError, match=r"d=8 dimensions needs at least as many samples, got 7"):
        synthetic.whiten_symmetric(jnp.ones((8, 7)))
