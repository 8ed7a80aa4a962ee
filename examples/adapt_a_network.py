"""Adapt a network that reads digits to turned digits: adapters of rank 4, in four frameworks, and merged back."""

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx
from sklearn.datasets import load_digits

from lawlib.compress import adapt

KEY, (PIXELS, CLASSES) = jax.random.key(0), map(jnp.asarray, load_digits(return_X_y=True))
X, Y = PIXELS.astype("float32") / 16, jax.nn.one_hot(CLASSES, 10)
TURNED = jnp.rot90(X.reshape(-1, 8, 8), axes=(1, 2)).reshape(-1, 64)


def plain(tree):
    """A model with these two kernels, and its outputs."""
    return tree, lambda tree, x: jnp.tanh(x @ tree["first"]) @ tree["last"]


def in_linen(tree):
    network = nn.Sequential([nn.Dense(64, use_bias=False), jnp.tanh, nn.Dense(10, use_bias=False)])
    return {"params": {f"layers_{i}": {"kernel": tree[name]} for i, name in ((0, "first"), (2, "last"))}}, network.apply


def in_nnx(tree):
    first, last = (nnx.Linear(64, n, use_bias=False, rngs=nnx.Rngs(0)) for n in (64, 10))
    first.kernel[...], last.kernel[...] = tree["first"], tree["last"]
    return nnx.Sequential(first, jnp.tanh, last), lambda model, x: model(x)


def in_equinox(tree):
    model = eqx.nn.MLP(64, 10, 64, 1, jnp.tanh, use_bias=False, use_final_bias=False, key=KEY)
    model = eqx.tree_at(lambda m: [layer.weight for layer in m.layers], model, [tree["first"].T, tree["last"].T])
    return model, lambda model, x: jax.vmap(model)(x)


def descended(loss, start):
    return jax.lax.fori_loop(0, 200, lambda _, x: jax.tree.map(lambda w, g: w - 2 * g, x, jax.grad(loss)(x)), start)


def adapted(params, outputs):
    """The accuracy before and after on turned digits that were not trained on, and the start's certificates."""
    loss = lambda held, batch: -jnp.mean(batch[1] * jax.nn.log_softmax(outputs(held, batch[0])))  # noqa: E731
    batches = TURNED[None, :1200], Y[None, :1200]  # one batch
    network = adapt(loss, params, batches, rank=4)
    start, gradients = eqx.filter_jit(network.init)(KEY, params, batches)
    adapters = descended(lambda held: network.loss(held, params, (TURNED[:1200], Y[:1200])), start)
    scores = [outputs(model, TURNED[1200:]) for model in (params, network.merge(params, adapters))]
    accuracies = [float(jnp.mean(each.argmax(1) == CLASSES[1200:])) for each in scores]
    return *accuracies, [bool(found.certified) for found in gradients.values()]


of_upright = lambda tree: -jnp.mean(Y[:1200] * jax.nn.log_softmax(plain(tree)[1](tree, X[:1200])))  # noqa: E731
PRETRAINED = descended(of_upright, {at: jax.random.normal(KEY, (64, n)) / 8 for at, n in (("first", 64), ("last", 10))})
FOUND = {way.__name__: adapted(*way(PRETRAINED)) for way in (plain, in_linen, in_nnx, in_equinox)}
for way, (before, after, certified) in FOUND.items():
    print(f"{way:10} {before:.1%} of turned digits read before, {after:.1%} after; start certified: {certified}")
