"""Models of Flax NNX as plain trees: found wherever they are, picked from, and left as they were."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lawlib.frameworks.nnx import functional, holds_modules
from lawlib.linalg.gradients import gradient_products
from lawlib.linalg.leaves import pick

X = jnp.asarray(np.random.default_rng(0).standard_normal((2, 5, 4)), jnp.float32)


class Net(nnx.Module):
    """With everything that is no weight: running averages, a counter and a key."""

    def __init__(self):
        rngs = nnx.Rngs(0, dropout=1)
        self.layers = nnx.List([nnx.Linear(4, 4, rngs=rngs), nnx.Linear(4, 3, rngs=rngs)])
        self.norm, self.dropout = nnx.BatchNorm(4, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.layers[1](self.dropout(self.norm(self.layers[0](x))))


def loss(model, x):
    return jnp.sum(model(x) ** 2)


def test_modules_are_found_in_trees_and_other_trees_have_none():
    model = Net()
    assert holds_modules(model)
    assert holds_modules({"student": model, "scale": 2.0})
    assert not holds_modules([jnp.ones(3), nnx.state(model), jnp.tanh])


@pytest.mark.parametrize(
    "where", [lambda model: model.layers[1].kernel, lambda model: model.layers[1].kernel[...], "layers/1/kernel"]
)
def test_a_variable_is_picked_as_users_name_it_and_the_model_stays_as_it_was(where):
    model = Net()
    before = jax.tree.map(np.asarray, nnx.state(model, nnx.Not(nnx.RngState)))
    of_state, state, picked = functional(loss, model, where)
    assert pick(state, picked).name == "layers/1/kernel/value"
    G = gradient_products(loss, model, where, X).forward(jnp.eye(3, dtype="float32"))
    copies = [nnx.clone(model) for _ in X]
    wanted = sum(nnx.grad(loss)(copy, x).layers[1].kernel[...] for copy, x in zip(copies, X, strict=True))
    np.testing.assert_allclose(G, wanted, rtol=1e-4, atol=1e-4)
    after = jax.tree.map(np.asarray, nnx.state(model, nnx.Not(nnx.RngState)))
    jax.tree.map(np.testing.assert_array_equal, before, after)
    np.testing.assert_allclose(of_state(state, X[0]), loss(nnx.clone(model), X[0]), rtol=1e-6)


def test_models_in_a_tree_share_their_variables():
    first = nnx.Linear(4, 4, use_bias=False, rngs=nnx.Rngs(0))
    models = {"one": first, "two": first}
    tied = lambda models, x: jnp.sum(models["two"](models["one"](x)))  # noqa: E731
    _, state, where = functional(tied, models, lambda models: models["two"].kernel)
    assert len(jax.tree.leaves(state)) == 1
    assert pick(state, where).name == "one/kernel/value"


def test_what_is_no_variable_is_refused_as_in_any_tree():
    model = Net()
    for where, message in (
        (lambda model: model.layers[1], r"one leaf, got \['layers/1/bias/value', 'layers/1/kernel/value'\]"),
        (lambda model: model.kernel, "raised AttributeError.*the leaves are .*'layers/0/kernel/value'"),
        (
            lambda model: model.dropout.rngs.count,
            "'dropout/rngs/count/value' must have a real floating dtype, got uint",
        ),
        (
            lambda model: model.layers[0].kernel + 1,
            "where must pick a leaf .* compute nothing from it; it raised AttributeError",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            gradient_products(loss, model, where, X)
