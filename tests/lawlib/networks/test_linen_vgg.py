import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate

from lawlib.networks.linen import MLP, VGG16, LowRankMLP, VGGFeatures
from lawlib.networks.vgg import flat_averages, kernel_shapes

SMALL = ((2, 3), (4, 5, 3))


def images(dtype, shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def random_variables(module, x, dtype, seed=1):
    """Variables with biases that are not zero."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(module.init, jax.random.key(0), x)
    return jax.tree.map(lambda a: jnp.asarray(rng.standard_normal(a.shape) / 2, dtype), shapes)


def by_hand(params, x, channels):
    """Sums of correlations of single channels, in float64."""
    x = np.asarray(x, np.float64)
    for block, outputs in enumerate(channels, start=1):
        for layer in range(1, len(outputs) + 1):
            kernel, bias = (np.asarray(params[f"block{block}_conv{layer}"][k], np.float64) for k in ("kernel", "bias"))
            planes = [
                [sum(correlate(plane, k, "same") for plane, k in zip(np.moveaxis(image, -1, 0), kernels, strict=True))]
                for image in x
                for kernels in np.moveaxis(kernel, (3, 2), (0, 1))
            ]
            planes = np.asarray(planes).reshape(len(x), -1, *x.shape[1:3])
            x = np.maximum(np.moveaxis(planes, 1, -1) + bias, 0)
        height, width = x.shape[1] // 2, x.shape[2] // 2
        corners = [x[:, i : 2 * height : 2, j : 2 * width : 2] for i in (0, 1) for j in (0, 1)]
        x = np.max(corners, axis=0)
    return x


@pytest.mark.parametrize("blocks", [1, 2])
def test_features_are_correlations_and_maxima(dtype, tol, blocks):
    x = images(dtype, (2, 9, 6, 3))
    whole = VGGFeatures(2, SMALL, param_dtype=dtype)
    variables = random_variables(whole, x, dtype)
    features = jax.jit(VGGFeatures(blocks, SMALL).apply)(variables, x)
    expected = by_hand(variables["params"], x, SMALL[:blocks])
    assert features.dtype == dtype
    assert features.shape == expected.shape == (2, 9 // 2**blocks, 6 // 2**blocks, 3)
    assert np.abs(expected).min() < 1e-12 < np.abs(expected).max()  # some of the units are off
    assert np.abs(np.asarray(features) - expected).max() < tol(features) * np.abs(expected).max()


def test_the_table_is_that_of_the_module():
    variables = jax.eval_shape(VGGFeatures(2, SMALL).init, jax.random.key(0), jnp.zeros((1, 4, 4, 3), jnp.float32))
    assert {name: layer["kernel"].shape for name, layer in variables["params"].items()} == kernel_shapes(SMALL)


def test_shapes_of_the_real_network():
    x = jax.ShapeDtypeStruct((2, 96, 64, 3), jnp.float32)
    for blocks, shape in ((4, (2, 6, 4, 512)), (5, (2, 3, 2, 512))):
        out, variables = jax.eval_shape(VGGFeatures(blocks).init_with_output, jax.random.key(0), x)
        assert out.shape == shape
        wanted = dict(list(kernel_shapes().items())[: 10 if blocks == 4 else 13])
        assert {name: layer["kernel"].shape for name, layer in variables["params"].items()} == wanted


@pytest.mark.parametrize(
    "head", [MLP((6, 6, 4), "gelu"), LowRankMLP(2, 6, 3, 4, "silu")], ids=lambda head: type(head).__name__
)
def test_a_head_is_handed_in(head, tol):
    x = images(jnp.float32, (2, 8, 8, 3))
    network = VGG16(head, blocks=1, channels=SMALL)
    variables = random_variables(network, x, x.dtype)["params"]
    assert set(variables) == {"features", "head"}
    inputs = flat_averages(VGGFeatures(1, SMALL).apply({"params": variables["features"]}, x))
    assert inputs.shape == (2, 27)
    expected = head.apply({"params": variables["head"]}, inputs)
    outputs = jax.jit(network.apply)({"params": variables}, x)
    assert outputs.shape == (2, 4)
    assert jnp.abs(outputs - expected).max() < tol(expected) * jnp.abs(expected).max()


def test_what_cannot_be_is_named():
    x = jnp.zeros((1, 8, 3, 3))
    with pytest.raises(ValueError, match=r"2 blocks need images of 4 x 4 pixels or more, got \(8, 3\)"):
        VGGFeatures(2).init(jax.random.key(0), x)
    with pytest.raises(ValueError, match=r"blocks must be 1, \.\.\., 5, got 6"):
        VGGFeatures(6).init(jax.random.key(0), x)
