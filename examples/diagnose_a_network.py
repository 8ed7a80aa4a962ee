"""Diagnose a network: does its change lie in S_big, and which rank does it need?  A tree and a model."""

import jax
import jax.numpy as jnp
from flax import nnx
from sklearn.datasets import load_digits

from lawlib import diagnose

KEY, (PIXELS, CLASSES) = jax.random.key(0), map(jnp.asarray, load_digits(return_X_y=True))
X, Y = PIXELS.astype("float32") / 16, jax.nn.one_hot(CLASSES, 10)
TRAINING, HELD_OUT = (X[None, :1200], Y[None, :1200]), (X[None, 1200:], Y[None, 1200:])  # one batch each


def plain():
    """The parameters, as the variables of Flax linen; the outputs as a function of them; how the layer is picked."""
    params = {"first": jax.random.normal(KEY, (64, 36)) / 8, "last": jax.random.normal(KEY, (36, 10)) / 6}
    return params, lambda params, x: jax.nn.gelu(x @ params["first"]) @ params["last"], "first"


def in_nnx():
    """The state of a model, as the arrays of an Equinox model (eqx.partition)."""
    model = nnx.Sequential(nnx.Linear(64, 36, rngs=nnx.Rngs(0)), nnx.gelu, nnx.Linear(36, 10, rngs=nnx.Rngs(1)))
    graph, state = nnx.split(model)
    return state, lambda state, x: nnx.merge(graph, state)(x), lambda state: state["layers"][0]["kernel"]


def diagnosed(params, outputs, where):
    """The report after 100 steps of gradient descent."""
    loss = lambda params, batch: -jnp.mean(batch[1] * jax.nn.log_softmax(outputs(params, batch[0])))  # noqa: E731
    start = jax.jit(lambda params: diagnose.before(KEY, loss, params, TRAINING, k=9, matrices={"first": where}))(params)
    slope = jax.grad(lambda params: loss(params, jax.tree.map(lambda part: part[0], TRAINING)))
    step = lambda _, held: jax.tree.map(lambda w, g: w - 2 * g, held, slope(held))  # noqa: E731
    trained = jax.lax.fori_loop(0, 100, step, params)
    return jax.jit(lambda params: diagnose.after(KEY, start, params, HELD_OUT))(trained)


FOUND = {way.__name__: diagnosed(*way()) for way in (plain, in_nnx)}
for way, report in FOUND.items():
    first = report.layers["first"]
    print(f"{way:10} S_big has {first.big.both:.0%} of the layer's change, random subspaces {first.random.both:.0%}")
print(FOUND["plain"])
