"""Train a head of rank 2K = 20 in place of layers of width 128, started in S_big, in four frameworks."""

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx
from sklearn.datasets import load_digits

from lawlib.compress import low_rank_head, low_rank_mlp

KEY, SIZES = jax.random.key(0), ((64, 128), (128, 128), (128, 10))
PIXELS, CLASSES = map(jnp.asarray, load_digits(return_X_y=True))
X, Y = PIXELS.astype("float32") / 16, jax.nn.one_hot(CLASSES, 10)
TRAINING = X[None, :1200], Y[None, :1200]  # one batch


def loss_of(outputs):
    return lambda params, batch: -jnp.mean(batch[1] * jax.nn.log_softmax(outputs(params, batch[0])))


def plain():
    tree = [jax.random.normal(jax.random.key(m), (m, n)) / m**0.5 for m, n in SIZES]
    return tree, lambda tree, x: jax.nn.gelu(jax.nn.gelu(x @ tree[0]) @ tree[1]) @ tree[2], ["0", "1", "2"]


def in_nnx():
    one, two, three = (nnx.Linear(m, n, rngs=nnx.Rngs(m)) for m, n in SIZES)
    layers = [lambda model, i=i: model.layers[i].kernel for i in (0, 2, 4)]
    return nnx.Sequential(one, nnx.gelu, two, nnx.gelu, three), lambda model, x: model(x), layers


def in_equinox():
    model = eqx.nn.MLP(64, 10, 128, 2, jax.nn.gelu, key=KEY)
    return model, lambda model, x: jax.vmap(model)(x), [lambda model, i=i: model.layers[i].weight for i in range(3)]


def small(way):
    params, outputs, layers = way()
    low = low_rank_head(KEY, loss_of(outputs), params, TRAINING, layers=layers)
    return low, lambda variables, x: outputs(low.model(variables), x)


def small_in_linen():
    network = nn.Sequential([nn.Dense(128), nn.gelu, nn.Dense(128), nn.gelu, nn.Dense(10)])
    low = low_rank_mlp(KEY, network, network.init(KEY, X), loss_of(network.apply), TRAINING)
    return low, low.apply


def trained(low, outputs):
    slope = jax.grad(lambda x: low.loss(x, (X[:1200], Y[:1200])))
    end = jax.lax.fori_loop(0, 200, lambda _, x: jax.tree.map(lambda w, g: w - 2 * g, x, slope(x)), low.variables)
    return low.savings, float(jnp.mean(outputs(end, X[1200:]).argmax(1) == CLASSES[1200:]))


HEADS = {"linen": small_in_linen()} | {way.__name__: small(way) for way in (plain, in_nnx, in_equinox)}
FOUND = {way: trained(*head) for way, head in HEADS.items()}
for way, ((before, after), accuracy) in FOUND.items():
    print(f"{way:10} {after.parameters} parameters in place of {before.parameters}: accuracy {accuracy:.1%}")
