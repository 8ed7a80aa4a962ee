"""Which layers `low_rank_mlp` takes for a product with a kernel."""

import functools as ft

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from lawlib.compress import low_rank_mlp
from lawlib.compress.head_start import widths_of

D, K = 12, 3


class Scaled(nn.Dense):
    """Its kernel normalized, by a product of its own."""

    @nn.compact
    def __call__(self, inputs):
        kernel = self.param("kernel", self.kernel_init, (inputs.shape[-1], self.features), inputs.dtype)
        return inputs @ (kernel / jnp.linalg.norm(kernel, axis=0, keepdims=True))


class Doubled(nn.Dense):
    """Twice a Dense."""

    @nn.compact
    def __call__(self, inputs):
        return 2 * super().__call__(inputs)


OTHERS = {
    "own product": Scaled,
    "around Dense": Doubled,
    "dot_general": ft.partial(nn.Dense, dot_general=jax.lax.dot_general),
}


def built(*layers, num_classes=K, **options):
    network = nn.Sequential([layers[0], nn.gelu, layers[1], nn.gelu, layers[2]])
    key_x, key_y, key_v, key = jax.random.split(jax.random.key(0), 4)
    batches = jax.random.normal(key_x, (2, 20, D), "float32"), jax.random.normal(key_y, (2, 20, K), "float32")

    def loss(variables, batch):
        return jnp.sum((network.apply(variables, batch[0]) - batch[1]) ** 2) / 2

    variables = network.init(key_v, batches[0][0])
    low = low_rank_mlp(key, network, variables, loss, batches, num_classes=num_classes, **options)
    return network, low, batches[0][0]


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_a_layer_that_is_another_product_is_no_layer_of_the_head(other):
    with pytest.raises(ValueError, match=r"unit by unit.*at 'layers_2'"):
        built(nn.Dense(D), other(D), nn.Dense(K))
    with pytest.raises(ValueError, match=r"the layers found are.*a subclass with another product"):
        built(nn.Dense(D), other(D), nn.Dense(K), layers=("layers_0", "layers_2", "layers_4"))


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_before_the_head_it_stays_as_it_is(other):
    network, low, inputs = built(other(D), nn.Dense(D), nn.Dense(K))
    assert set(low.variables["params"]["layers_0"]) <= {"kernel", "bias", "Dense_0"}
    dense = low.to_dense(low.variables)
    assert jnp.allclose(network.apply(dense, inputs), low.apply(low.variables, inputs), atol=1e-5)


@pytest.mark.parametrize("taken", [5, 7])
def test_layers_that_do_not_take_the_units_before_them_are_refused(taken):
    flat = {"a/kernel": jnp.ones((4, 6)), "b/kernel": jnp.ones((taken, 3)), "c/kernel": jnp.ones((6, 3))}
    assert widths_of(flat, ("a", "c")) == (4, 6, 3)
    with pytest.raises(ValueError, match=rf"'b': \({taken}, 3\)"):
        widths_of(flat, ("a", "b"))


def test_a_basis_may_be_as_wide_as_the_narrowest_layer_and_no_wider():
    def build(r):
        options = {"num_classes": None, "basis": jnp.eye(D, r, dtype="float32")}
        return jax.eval_shape(lambda: built(nn.Dense(D), nn.Dense(20), nn.Dense(K), **options)[1].variables)

    assert build(D)["params"]["layers_2"]["left"].shape == (D, 20)
    with pytest.raises(ValueError, match=r"r <= 12\).* got one of shape \(12, 13\)"):
        build(D + 1)
