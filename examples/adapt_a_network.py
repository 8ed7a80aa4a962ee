"""Adapt a network
===============

Adapt a network that reads digits to digits turned by 90 degrees: adapters of rank 4 beside frozen weights, started in
the leading directions of the gradient over all data, and merged back into a network of the same form.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
from sklearn.datasets import load_digits

from lawlib.compress import adapt

KEY, (PIXELS, CLASSES) = jax.random.key(0), map(jnp.asarray, load_digits(return_X_y=True))
X, Y = PIXELS.astype("float32") / 16, jax.nn.one_hot(CLASSES, 10)
TURNED = jnp.rot90(X.reshape(-1, 8, 8), axes=(1, 2)).reshape(-1, 64)


def outputs(params, x):
    return jnp.tanh(x @ params["first"]) @ params["last"]


def loss(params, batch):
    return -jnp.mean(batch[1] * jax.nn.log_softmax(outputs(params, batch[0])))


def descended(loss, start):
    return jax.lax.fori_loop(0, 200, lambda _, x: jax.tree.map(lambda w, g: w - 2 * g, x, jax.grad(loss)(x)), start)


# %%
# The network is trained on upright digits, and reads few of those that are turned.

FRESH = {at: jax.random.normal(KEY, (64, n)) / 8 for at, n in (("first", 64), ("last", 10))}
TRAINED = descended(lambda params: loss(params, (X[:1200], Y[:1200])), FRESH)

# %%
# ``init`` passes over the data a few times. Each start has a certificate: the directions are the leading ones of the
# gradient, to within a tolerance of 0.1.

BATCHES = TURNED[None, :1200], Y[None, :1200]  # one batch
NETWORK = adapt(loss, TRAINED, BATCHES, rank=4)
ADAPTERS, GRADIENTS = jax.jit(NETWORK.init)(KEY, TRAINED, BATCHES)
assert all(found.certified for found in GRADIENTS.values())

# %%
# Only the adapters are trained; ``merge`` adds them to the weights.

ADAPTED = NETWORK.merge(
    TRAINED, descended(lambda held: NETWORK.loss(held, TRAINED, (TURNED[:1200], Y[:1200])), ADAPTERS)
)
BEFORE, AFTER = (jnp.mean(outputs(each, TURNED[1200:]).argmax(1) == CLASSES[1200:]) for each in (TRAINED, ADAPTED))
print(f"{BEFORE:.1%} of turned digits read before, {AFTER:.1%} after")
assert BEFORE < 0.3
assert AFTER > 0.8
plt.bar(["before", "after"], [100 * BEFORE, 100 * AFTER])
plt.ylabel("turned digits read, %")
