"""Adam in a small subspace of the gradients (GaLore), whose projectors come without an SVD, on a tree and a model."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from sklearn.datasets import load_digits

from lawlib.compress import low_rank_gradients

KEY, STEPS = jax.random.key(0), 60
PIXELS, LABELS = map(jnp.asarray, load_digits(return_X_y=True))
X = PIXELS.astype("float32") / 16
GALORE = optax.chain(low_rank_gradients(optax.scale_by_adam(), 8, key=KEY), optax.scale_by_learning_rate(1e-2))


def cross_entropy(scores):
    return optax.softmax_cross_entropy_with_integer_labels(scores, LABELS).mean()


def on_a_tree() -> Any:
    """As any tree: the variables of Flax linen, the arrays of an Equinox model."""
    params = {"first": jax.random.normal(KEY, (64, 128)) / 8, "last": jax.random.normal(KEY, (128, 10)) / 12}
    loss = lambda params: cross_entropy(jnp.tanh(X @ params["first"]) @ params["last"])  # noqa: E731

    @jax.jit
    def step(params, state):
        updates, state = GALORE.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    before, state = loss(params), GALORE.init(params)
    for _ in range(STEPS):
        params, state = step(params, state)
    return before, loss(params), params, state


def on_an_nnx_model() -> Any:
    model = nnx.Sequential(nnx.Linear(64, 128, rngs=nnx.Rngs(0)), jnp.tanh, nnx.Linear(128, 10, rngs=nnx.Rngs(1)))
    optimizer, before = nnx.Optimizer(model, GALORE, wrt=nnx.Param), cross_entropy(model(X))

    @nnx.jit
    def step(model, optimizer):
        optimizer.update(model, nnx.grad(lambda model: cross_entropy(model(X)))(model))

    for _ in range(STEPS):
        step(model, optimizer)
    return before, cross_entropy(model(X)), nnx.state(model), optimizer.opt_state


FOUND = {}
for way in (on_a_tree, on_an_nnx_model):
    before, after, params, state = way()
    kept, full = (sum(x.size for x in jax.tree.leaves(tree)) for tree in (state[0].inner, optax.adam(1).init(params)))
    refreshes = [int(each.refreshes[...]) for each in state[0].projections if each is not None]
    FOUND[way.__name__] = float(before), float(after), kept, full, refreshes
    print(f"{way.__name__:16} loss {before:.2f} -> {after:.2f}; {kept} moments, not {full}; refreshes {refreshes}")
