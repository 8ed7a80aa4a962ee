"""Minibatches drawn by key, and the cross-entropy that they are trained on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st

from lawlib.descent.steps import epoch_batches, mean_cross_entropy

sizes = st.sampled_from([(10, 3), (12, 4), (7, 7), (5, 1)])
seeds = st.integers(0, 2**32 - 1)


@given(seed=seeds, size=sizes, epoch=st.integers(0, 1000))
def test_an_epoch_takes_every_sample_at_most_once_in_full_batches(seed, size, epoch):
    num_samples, batch_size = size
    batches = np.asarray(
        epoch_batches(jax.random.key(seed), epoch=epoch, num_samples=num_samples, batch_size=batch_size)
    )
    assert batches.shape == (num_samples // batch_size, batch_size)
    assert len(np.unique(batches)) == batches.size
    assert 0 <= batches.min() <= batches.max() < num_samples


def test_epochs_and_keys_have_orders_of_their_own_and_each_is_drawn_again():
    draw = jax.jit(lambda key, epoch: epoch_batches(key, epoch=epoch, num_samples=1000, batch_size=10))
    keys, epochs = jax.random.split(jax.random.key(0)), jnp.arange(2)
    orders = [np.asarray(draw(key, epoch)).ravel() for key in keys for epoch in epochs]
    for i, order in enumerate(orders):
        for other in orders[:i]:
            # Two permutations of 1000 agree in one place on average, hardly ever in 10.
            assert np.sum(order == other) < 10
    np.testing.assert_array_equal(orders[1], np.asarray(draw(keys[0], epochs[1])).ravel())
    together = np.asarray(jax.vmap(draw, (0, None))(keys, epochs[1]))
    np.testing.assert_array_equal(together.reshape(2, -1), [orders[1], orders[3]])


def test_every_sample_is_as_likely_to_sit_out():
    draw = jax.jit(jax.vmap(lambda epoch: epoch_batches(jax.random.key(1), epoch=epoch, num_samples=8, batch_size=3)))
    batches = np.asarray(draw(jnp.arange(4000))).reshape(4000, 6)
    taken = np.bincount(batches.ravel(), minlength=8) / 4000
    # 3/4 of the epochs, with a standard deviation of .007.
    assert np.all(np.abs(taken - 0.75) < 0.035)


@pytest.mark.parametrize("batch_size", [0, 11])
def test_a_batch_larger_than_the_data_has_a_name(batch_size):
    with pytest.raises(ValueError, match=f"batch_size must be in 1..10, the number of samples, got {batch_size}"):
        epoch_batches(jax.random.key(0), epoch=0, num_samples=10, batch_size=batch_size)


def test_cross_entropy_is_a_mean_over_samples_of_the_log_of_the_right_class(dtype, tol):
    rng = np.random.default_rng(0)
    outputs, classes = 20 * rng.standard_normal((4, 9)), rng.integers(0, 4, 9)
    expected = np.mean(scipy.special.logsumexp(outputs, axis=0) - outputs[classes, np.arange(9)])
    targets = jnp.asarray(np.eye(4)[:, classes], dtype)
    found = mean_cross_entropy(jnp.asarray(outputs, dtype), targets)
    assert found.dtype == dtype
    assert float(found) == pytest.approx(expected, rel=tol(targets))


def test_cross_entropy_stays_finite_where_a_class_is_out_of_reach(dtype):
    outputs = jnp.asarray([[0.0], [1e4]], dtype)
    assert float(mean_cross_entropy(outputs, jnp.asarray([[1.0], [0.0]], dtype))) == pytest.approx(1e4)
