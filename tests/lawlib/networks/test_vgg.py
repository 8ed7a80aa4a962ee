import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lawlib.networks.vgg import adaptive_average_pool, flat_averages, kernel_shapes


def images(dtype, shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def test_the_table_is_that_of_vgg16():
    shapes = kernel_shapes()
    assert len(shapes) == 13
    assert shapes["block1_conv1"] == (3, 3, 3, 64)
    assert shapes["block4_conv1"] == (3, 3, 256, 512)
    # The number of parameters that is published for the network without its classifier.
    assert sum(math.prod(shape) + shape[-1] for shape in shapes.values()) == 14_714_688


@pytest.mark.parametrize(("size", "windows"), [((9, 6), (3, 3)), ((7, 5), (3, 3)), ((2, 4), (3, 3)), ((5, 8), (1, 7))])
def test_averages_are_those_of_torch_windows(dtype, tol, size, windows):
    x = images(dtype, (2, *size, 3))
    averages = jax.jit(adaptive_average_pool, static_argnums=1)(x, windows)
    expected = np.zeros((2, *windows, 3))
    for i in range(windows[0]):
        for j in range(windows[1]):
            rows = slice(math.floor(i * size[0] / windows[0]), math.ceil((i + 1) * size[0] / windows[0]))
            columns = slice(math.floor(j * size[1] / windows[1]), math.ceil((j + 1) * size[1] / windows[1]))
            expected[:, i, j] = np.asarray(x, np.float64)[:, rows, columns].mean(axis=(1, 2))
    assert averages.dtype == dtype
    assert np.abs(np.asarray(averages) - expected).max() < tol(averages)


def test_the_channel_runs_fastest():
    x = images(jnp.float64, (2, 4, 3, 5))
    averages, flat = adaptive_average_pool(x, (2, 3)), flat_averages(x, (2, 3))
    assert flat.shape == (2, 2 * 3 * 5)
    for i, j, c in np.ndindex(2, 3, 5):
        assert (flat[:, (i * 3 + j) * 5 + c] == averages[:, i, j, c]).all()


def test_windows_that_cannot_be_are_named():
    with pytest.raises(ValueError, match="one window or more"):
        adaptive_average_pool(jnp.zeros((1, 8, 3, 3)), (3, 0))
