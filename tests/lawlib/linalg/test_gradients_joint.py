"""Products with the gradients in several leaves at once, against the gradients themselves."""

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from lawlib.linalg import shifted_loss
from lawlib.linalg.gradients import joint_gradient_products
from lawlib.linalg.matricization import Matricization

B, N, D, M = 3, 7, 6, 5
RNG = np.random.default_rng(0)
# A layer that is used twice, one way and back; two stacks over which a scan runs, and one after them.
SIZES = {"shared": (D, M), "stack": (2, D, D), "picked": (2, D, D), "last": (D, 3)}
LAYERS = {
    "shared": None,
    "stack": Matricization(1, 2),
    "picked": Matricization(2, 1, 1),
    "last": None,
}
PARAMS = {name: RNG.standard_normal(shape) / 2 for name, shape in SIZES.items()}
DATA = RNG.standard_normal((B, N, D)), RNG.standard_normal((B, N, 3))


def loss(params, batch):
    x, y = batch
    x = jnp.tanh(jnp.tanh(x @ params["shared"]) @ params["shared"].T)
    stacks = params["stack"], params["picked"]
    x, _ = lax.scan(lambda x, Ws: (jnp.tanh(x @ Ws[0] + jax.checkpoint(jnp.matmul)(x, Ws[1])), None), x, stacks)
    return jnp.sum((x @ params["last"] - y) ** 2)


def block(m, b):
    return jnp.cos(jnp.arange(m * b, dtype="float64") ** 2).reshape(m, b)


@pytest.mark.parametrize("on_the_left", [(), ("shared", "last"), ("stack", "picked"), tuple(LAYERS)])
def test_products_from_either_side_are_those_with_the_gradients(on_the_left, dtype):
    params, data = jax.tree.map(lambda x: jnp.asarray(x, dtype), (PARAMS, DATA))
    shapes = {"shared": (D, M), "stack": (2, D, D), "picked": (D, D), "last": (D, 3)}
    # As many columns as rows or columns of the matrix, differing from leaf to leaf.
    given = {
        name: block(shape[-2 if name in on_the_left else -1], 2 + i) for i, (name, shape) in enumerate(shapes.items())
    }
    blocks = {
        name: jnp.broadcast_to(jnp.asarray(given[name], dtype), (*shape[:-2], *given[name].shape))
        for name, shape in shapes.items()
    }

    @jax.jit
    def run(params, data):
        products = joint_gradient_products(loss, params, LAYERS, data)
        assert (products.shapes, list(products.shapes)) == (shapes, [*LAYERS])
        right = {name: V for name, V in blocks.items() if name not in on_the_left}
        gradients = jax.grad(lambda params: sum(loss(params, (data[0][i], data[1][i])) for i in range(B)))(params)
        return products.apply(right, {name: blocks[name] for name in on_the_left}), gradients

    found, G = run(params, data)
    G["picked"] = G["picked"][1].T
    for name, product in found.items():
        left = np.swapaxes(G[name], -1, -2) if name in on_the_left else G[name]
        wanted = np.asarray(left) @ np.asarray(blocks[name])
        size = 300 * float(jnp.finfo(dtype).eps)
        assert product.dtype == dtype
        np.testing.assert_allclose(product, wanted, rtol=0, atol=size * np.abs(wanted).max())


def test_leaves_that_are_left_out_are_not_shifted():
    products = joint_gradient_products(loss, PARAMS, LAYERS, DATA)
    assert list(products.apply({"last": block(3, 2)}, {})) == ["last"]
    assert products.apply({}, {}) == {}


def test_one_gradient_of_one_program_has_the_products_of_all_leaves():
    """The passes over the data are the loops of this length, and the loss is traced once."""
    calls = []

    def counted(params, batch):
        calls.append(1)
        return loss(params, batch)

    def run(params, data, layers):
        calls.clear()
        products = joint_gradient_products(counted, params, layers, data)
        blocks = {name: jnp.ones((*shape[:-2], shape[-1], 2)) for name, shape in products.shapes.items()}
        return products.apply(blocks, {})

    for layers in ({"last": None}, LAYERS):
        jaxpr = jax.make_jaxpr(lambda *given, layers=layers: run(*given, layers))(PARAMS, DATA).jaxpr
        assert len(calls) == 1
        assert sum(one.primitive.name == "scan" and one.params["length"] == B for one in jaxpr.eqns) == 1


def test_all_leaves_that_cannot_be_taken_are_named_at_once():
    squared = lambda params, batch: loss(params, batch) + sum(jnp.sum(W**2) for W in params.values())  # noqa: E731
    with pytest.raises(ValueError, match=r"leaf 'shared' is not only .*_pow; use .*; the leaf 'last' is not only"):
        joint_gradient_products(squared, PARAMS, {"shared": None, "last": None}, DATA)
    with pytest.raises(ValueError, match="two of those that are named are 'last'"):
        joint_gradient_products(loss, PARAMS, {"last": None, lambda params: params["last"]: None}, DATA)
    with pytest.raises(ValueError, match=r"'stack' of shape .* is no matrix: pass matricization"):
        joint_gradient_products(loss, PARAMS, {"last": None, "stack": None}, DATA)
    with pytest.raises(ValueError, match=r"the loss of batch 0 is nan and has no gradient in the leaf 'shared' or any"):
        joint_gradient_products(loss, PARAMS, LAYERS, (np.nan * DATA[0], DATA[1]))
    with pytest.raises(ValueError, match=r"'stack' of shape .* is a stack of 2 matrices: batch_index"):
        joint_gradient_products(loss, PARAMS, {"stack": Matricization(1, 2, 2)}, DATA)


def test_gradients_that_are_not_finite_are_named_for_each_leaf():
    of_leaf = lambda W: jnp.sum(jnp.sqrt(0 * (jnp.ones(len(W)) @ W)))  # noqa: E731
    lost = lambda params, batch: loss(params, batch) + of_leaf(params["shared"]) + of_leaf(params["last"])  # noqa: E731
    message = r"^30 of 30 entries of the gradient in the leaf 'shared' are .* at 0; 18 of 18 entries .* leaf 'last' are"
    with pytest.raises(ValueError, match=message):
        joint_gradient_products(lost, PARAMS, LAYERS, DATA)


def test_routes_that_disagree_are_named_for_each_leaf(monkeypatch):
    term = shifted_loss._term
    monkeypatch.setattr(shifted_loss, "_term", lambda *given: 1.1 * term(*given))
    with pytest.raises(ValueError, match=r"leaf 'shared' disagree .*; the two routes .* leaf 'stack' disagree"):
        joint_gradient_products(loss, PARAMS, LAYERS, DATA)
