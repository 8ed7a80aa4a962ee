"""The small transformer: what it may see, its size, and the inputs that it gives to the starts of adapters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import text_adaptation, transformer
from benchmarks.transformer import Sizes

SMALL = Sizes(blocks=2, width=8, heads=2, expansion=2, length=6, characters=11)


@jax.jit
def forward(params, tokens):
    return transformer.forward(params, tokens, SMALL)


@pytest.fixture(scope="module")
def drawn():
    params = transformer.drawn(jax.random.key(0), SMALL)
    tokens = jax.random.randint(jax.random.key(1), (3, 6), 0, SMALL.characters)
    return params, tokens, *forward(params, tokens)


def test_a_character_is_not_predicted_from_itself_or_later_ones(drawn):
    params, tokens, logits, _ = drawn
    changed = tokens.at[:, 4].set((tokens[:, 4] + 1) % SMALL.characters)
    after = forward(params, changed)[0]
    np.testing.assert_allclose(after[:, :4], logits[:, :4], atol=1e-5)
    assert jnp.abs(after[:, 4:] - logits[:, 4:]).max() > 1e-2


def test_each_character_before_counts(drawn):
    params, tokens, logits, _ = drawn
    changed = tokens.at[:, 0].set((tokens[:, 0] + 1) % SMALL.characters)
    after = forward(params, changed)[0]
    assert (jnp.abs(after - logits).max(-1) > 1e-4).all()


def test_the_inputs_are_those_of_all_layers_with_adapters(drawn):
    params, _, _, inputs = drawn
    assert set(inputs) == set(transformer.layers(SMALL))
    for layer, x in inputs.items():
        assert x.shape == (3, 6, params[layer]["kernel"].shape[0])


def test_the_gradient_in_a_kernel_is_that_of_its_inputs(drawn):
    """d loss / dK = X^T D, so that its columns lie in the span of the inputs: with few rows, a small one."""
    params, tokens, _, _ = drawn
    rows = tokens[:1, :4]
    network = transformer.network(SMALL)
    X = np.asarray(forward(params, rows[:, :-1])[1]["block_1_down"].reshape(-1, 16))
    G = np.asarray(jax.jit(jax.grad(network.loss))(params, rows)["block_1_down"]["kernel"])
    assert np.linalg.matrix_rank(X) == 3
    outside = G - X.T @ np.linalg.lstsq(X.T, G, rcond=None)[0]
    assert np.linalg.norm(outside) < 1e-5 * np.linalg.norm(G)


def test_the_benchmark_trains_a_million_parameters():
    shapes = jax.eval_shape(lambda key: transformer.drawn(key, text_adaptation.SIZES), jax.random.key(0))
    assert sum(x.size for x in jax.tree.leaves(shapes)) == pytest.approx(1.02e6, rel=0.01)
