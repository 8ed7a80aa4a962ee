"""Proposition B.1 of Xu et al. 2026: at initialization a wide ReLU layer's gradient has no small singular values."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from lawlib.networks import mlp
from lawlib.networks.activations import ACTIVATIONS
from lawlib.problems import synthetic
from lawlib.theory import smooth_mlp as theory
from lawlib.theory import smooth_mlp_bounds as bounds


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
