"""The Gaussian mixture against its law, and symmetric whitening against the matrix square root."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.stats

from lawlib.problems import synthetic

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
