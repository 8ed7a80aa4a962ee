"""Compress a head
===============

Train a network with a quarter of the parameters from initialization: each layer of its head in a subspace of 2K = 20
dimensions, for K = 10 classes. The subspace S_big comes from the first gradient. A random subspace learns later.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
from sklearn.datasets import load_digits

from lawlib import low_rank_mlp

KEY = jax.random.key(0)
PIXELS, CLASSES = map(jnp.asarray, load_digits(return_X_y=True))
X, Y = PIXELS.astype("float32") / 16, jax.nn.one_hot(CLASSES, 10)
NETWORK = nn.Sequential([nn.Dense(128), nn.gelu, nn.Dense(128), nn.gelu, nn.Dense(10)])
START = NETWORK.init(KEY, X)


def outputs(variables, x):
    return jnp.asarray(NETWORK.apply(variables, x))


def loss(variables, batch):
    return -jnp.mean(batch[1] * jax.nn.log_softmax(outputs(variables, batch[0])))


# %%
# ``low_rank_mlp`` takes the network, its variables, the unchanged loss, and batches along a leading axis (here one).

BATCHES = X[None, :1200], Y[None, :1200]
LOW = low_rank_mlp(KEY, NETWORK, START, loss, BATCHES)
OTHER = low_rank_mlp(KEY, NETWORK, START, loss, BATCHES, basis=jnp.linalg.qr(jax.random.normal(KEY, (64, 20)))[0])
print(f"{LOW.savings.after.parameters} parameters in place of {LOW.savings.before.parameters}")
assert 4 * LOW.savings.after.parameters < LOW.savings.before.parameters

# %%
# All three are trained by gradient descent with one step size. S_big is ahead of the random subspace.


def trained(loss, start):
    def step(held, _):
        value, slope = jax.value_and_grad(loss)(held, (X[:1200], Y[:1200]))
        return jax.tree.map(lambda w, g: w - 0.5 * g, held, slope), value

    return jax.lax.scan(step, start, length=300)


RUNS = {"full": (loss, START), "S_big": (LOW.loss, LOW.variables), "random": (OTHER.loss, OTHER.variables)}
CURVES = {name: trained(*run)[1] for name, run in RUNS.items()}
for name, curve in CURVES.items():
    plt.semilogy(curve, label=name)
plt.legend(title="loss on the training images")
assert CURVES["S_big"][150] < CURVES["random"][150] / 2
DENSE = LOW.to_dense(trained(LOW.loss, LOW.variables)[0])  # variables of the given network
assert jnp.mean(outputs(DENSE, X[1200:]).argmax(1) == CLASSES[1200:]) > 0.85
