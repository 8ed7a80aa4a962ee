"""Flax NNX and Equinox
====================

lawlib's functions take a model as they take a tree of arrays: ``loss(model, batch)``, the model, and batches. One
network is written twice here, with the same weights. Adapters start in the same directions in both frameworks, and
``merge`` returns a model of the given kind.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from sklearn.datasets import load_digits

from lawlib.compress import adapt

KEY, (PIXELS, CLASSES) = jax.random.key(0), map(jnp.asarray, load_digits(return_X_y=True))
X, Y = PIXELS.astype("float32") / 16, jax.nn.one_hot(CLASSES, 10)
WEIGHTS = [jax.random.normal(KEY, shape) / 8 for shape in ((64, 128), (128, 10))]

# %%
# A Flax NNX model, whose kernels are (inputs, outputs).

LINEAR = [nnx.Linear(*W.shape, use_bias=False, rngs=nnx.Rngs(0)) for W in WEIGHTS]
for layer, W in zip(LINEAR, WEIGHTS, strict=True):
    layer.kernel[...] = W
IN_NNX = nnx.Sequential(LINEAR[0], nnx.gelu, LINEAR[1])

# %%
# An Equinox model, whose weights are (outputs, inputs) and which maps one sample.

MLP = eqx.nn.MLP(64, 10, 128, 1, jax.nn.gelu, use_bias=False, use_final_bias=False, key=KEY)
IN_EQUINOX = eqx.tree_at(lambda model: [each.weight for each in model.layers], MLP, [W.T for W in WEIGHTS])


# %%
# What follows is the same for both. A function picks the layer that is adapted.
def adapted(outputs, model, layer):
    def loss(model, batch):
        return -jnp.mean(batch[1] * jax.nn.log_softmax(outputs(model, batch[0])))

    network = adapt(loss, model, (X[None], Y[None]), rank=4, layers=[layer])
    start, gradients = eqx.filter_jit(network.init)(KEY, model, (X[None], Y[None]))
    slope = jax.grad(lambda adapters: network.loss(adapters, model, (X, Y)))
    step = lambda _, held: jax.tree.map(lambda w, g: w - 2 * g, held, slope(held))  # noqa: E731
    merged = network.merge(model, jax.lax.fori_loop(0, 100, step, start))
    (gradient,) = gradients.values()
    return gradient, float(loss(model, (X, Y))), float(loss(merged, (X, Y)))


FOUND = {"NNX": adapted(lambda model, x: model(x), IN_NNX, lambda model: model.layers[0].kernel)}
FOUND["Equinox"] = adapted(lambda model, x: jax.vmap(model)(x), IN_EQUINOX, lambda model: model.layers[0].weight)
for name, (gradient, before, after) in FOUND.items():
    print(f"{name:8} start certified: {gradient.certified}; loss {before:.3f} before, {after:.3f} after")
    assert after < before / 2
np.testing.assert_allclose(FOUND["NNX"][0].svd.values, FOUND["Equinox"][0].svd.values, rtol=1e-3)
