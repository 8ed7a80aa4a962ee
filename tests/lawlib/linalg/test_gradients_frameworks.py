"""The same network in four ways: the same products and triplets, which are those of the dense gradient."""

import four_ways
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from four_ways import SHAPES, WAYS

from lawlib.linalg.gradients import gradient_products, matricizations
from lawlib.linalg.matricization import Matricization
from lawlib.linalg.spectra import block_krylov_svd

ROUTES = ("parameter", "matrix_free")
SIZES = {"conv": (8, 6), "query": (6, 6), "out": (6, 6), "hidden": (6, 7), "last": (7, 4)}


@pytest.fixture(scope="module")
def dense():
    """The gradients as matrices, in float64, from the plain network."""
    loss, params, _ = four_ways.plain("float64")
    images, targets = four_ways.batches("float64")

    def total(kernels):
        return sum(loss(params | kernels, (images[i], targets[i])) for i in range(len(images)))

    gradients = jax.jit(jax.grad(total))(four_ways.kernels("float64"))
    return {name: np.asarray(gradients[name]).reshape(SIZES[name]) for name in SHAPES}


@pytest.mark.parametrize("way", WAYS)
def test_products_and_triplets_are_those_of_the_dense_gradient(way, dense, dtype):
    loss, params, layers = WAYS[way](dtype)
    batches = four_ways.batches(dtype)
    size = 300 * float(jnp.finfo(dtype).eps)
    # Compiling is all of the time: of float32 two layers, and the adjoint of two.
    names = SHAPES if dtype == jnp.float64 else ("conv", "out")

    def products_of(name, route):
        where, read = layers[name]
        return gradient_products(loss, params, where, batches, matricization=read, route=route)

    @jax.jit
    def run():
        built = {(name, route): products_of(name, route) for name in names for route in ROUTES}
        found = block_krylov_svd(jax.random.key(0), built["conv", "parameter"], 2)
        forward = {at: each.forward(jnp.eye(each.shape[1], dtype=dtype)) for at, each in built.items()}
        free = {name: built[name, "matrix_free"] for name in ("conv", "out")}
        return forward, {name: each.adjoint(jnp.eye(each.shape[0], dtype=dtype)).T for name, each in free.items()}, found

    forward, adjoint, found = run()
    for name, G in [(name, G) for (name, _), G in forward.items()] + [*adjoint.items()]:
        assert G.dtype == dtype
        np.testing.assert_allclose(G, dense[name], rtol=0, atol=size * np.abs(dense[name]).max())
    L, values, Rt = np.linalg.svd(dense["conv"])
    assert found.certified
    np.testing.assert_allclose(found.svd.values, values[:2], rtol=size)
    for ours, truth in ((found.svd.left, L[:, :2]), (found.svd.right, Rt[:2].T)):
        assert np.linalg.norm(np.asarray(ours) - truth @ (truth.T @ np.asarray(ours))) <= float(found.bound)


@pytest.mark.parametrize("way", WAYS)
def test_how_the_loss_reads_each_layer_is_found(way):
    loss, params, layers = WAYS[way]("float32")
    found = matricizations(loss, params, four_ways.batches("float32"))
    wanted = [read or Matricization() for _, read in layers.values()]
    ours = [next(read for at, read in found.items() if name in at) for name in layers]
    assert (len(found), ours) == (len(layers), wanted)
