"""Watch the change of a layer while Adam trains the network: the same tracker in four frameworks."""

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import nnx
from sklearn.datasets import load_digits

from lawlib.tracking import TrackedLeaf, records, tracker

KEY, STEPS = jax.random.key(0), 41
PIXELS, LABELS = map(jnp.asarray, load_digits(return_X_y=True))
X = PIXELS.astype("float32") / 16


def plain():
    """The parameters, the outputs as a function of them, and how the layer is picked."""
    params = {"first": jax.random.normal(KEY, (64, 32)) / 8, "last": jax.random.normal(KEY, (32, 10)) / 6}
    return params, lambda params: jnp.tanh(X @ params["first"]) @ params["last"], "first"


def in_linen():
    network = nn.Sequential([nn.Dense(32), jnp.tanh, nn.Dense(10)])
    return network.init(KEY, X), lambda variables: network.apply(variables, X), "params/layers_0/kernel"


def in_nnx():
    model = nnx.Sequential(nnx.Linear(64, 32, rngs=nnx.Rngs(0)), jnp.tanh, nnx.Linear(32, 10, rngs=nnx.Rngs(1)))
    graph, state = nnx.split(model)
    return state, lambda state: nnx.merge(graph, state)(X), lambda state: state["layers"][0]["kernel"]


def in_equinox():
    arrays, rest = eqx.partition(eqx.nn.MLP(64, 10, 32, 1, jnp.tanh, key=KEY), eqx.is_array)
    return arrays, lambda arrays: jax.vmap(eqx.combine(arrays, rest))(X), lambda model: model.layers[0].weight


def watched(params, outputs, where):
    """What the tracker recorded, in the optimizer's state."""
    watch = tracker(
        {"first": TrackedLeaf(where, change=True)}, k=10, every=20, num_steps=STEPS, against=(), tolerance=0.1
    )
    optimizer = optax.chain(watch.transform(KEY, of="params"), optax.adam(1e-2))
    loss = lambda params: optax.softmax_cross_entropy_with_integer_labels(outputs(params), LABELS).mean()  # noqa: E731

    def step(_, held):
        updates, state = optimizer.update(jax.grad(loss)(held[0]), held[1], held[0])
        return optax.apply_updates(held[0], updates), state

    state = jax.jit(lambda held: jax.lax.fori_loop(0, STEPS, step, held))((params, optimizer.init(params)))[1]
    return records(state)["first"]


FOUND = {way.__name__: watched(*way()) for way in (plain, in_linen, in_nnx, in_equinox)}
for way, found in FOUND.items():
    share = (found.values[-1] ** 2).sum() / found.norm[-1] ** 2
    print(f"{way:10} after {found.step[-1]} steps 10 directions hold {share:.1%}; certified: {found.certified[-1]}")
