"""What is found before training, against dense decompositions."""

import functools as ft

import diagnosed
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lawlib.diagnose import before
from lawlib.theory.smooth_mlp import big_subspace

KEY, K = jax.random.key(0), diagnosed.K

started = ft.cache(diagnosed.started)


def test_the_gradient_is_that_of_the_sum_over_the_batches_and_s_big_is_that_of_its_leading_vectors(dtype, tol):
    start = started(dtype.type)
    assert list(start.layers) == sorted(diagnosed.SHAPES)
    assert start.defect is None
    for name, layer in start.layers.items():
        bases, s = diagnosed.big(name)
        factor = 100 * s[0] / float(layer.gradient.gap)
        np.testing.assert_allclose(layer.gradient.svd.values, s[:K], rtol=tol(layer.weights))
        assert layer.gradient.certified
        assert layer.weights.dtype == dtype
        for found, basis in zip((layer.inputs.basis, layer.outputs.basis), bases, strict=True):
            assert found.shape == (len(basis), min(2 * K, len(basis)))
            np.testing.assert_allclose(found @ found.T, basis @ basis.T, atol=factor * tol(found))


def test_s_big_of_the_inputs_is_that_of_the_law_for_the_transposed_matrix():
    layer = started().layers["first"]
    law = big_subspace(layer.weights.T, layer.gradient.svd.right, layer.gradient.svd.left).basis
    np.testing.assert_allclose(layer.inputs.basis @ layer.inputs.basis.T, law @ law.T, atol=1e-10)


def test_the_weights_of_the_start_are_a_copy():
    weights, batches, _, _ = jax.tree.map(jnp.asarray, diagnosed.problem())
    start = before(KEY, diagnosed.loss, weights, batches, k=K)
    wanted = np.array(weights["first"])
    jax.tree.map(lambda held: held.delete(), weights)
    np.testing.assert_array_equal(start.layers["first"].weights, wanted)


def test_the_optimizer_is_judged_by_its_symmetry():
    assert 0.1 < started(transform=optax.adam(0.1)).defect < 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights, batches: weights["last"].__setitem__((0, 0), np.nan), r"weights of \['last'\] are not finite"),
        (
            lambda weights, batches: batches["first"][0].__setitem__((1, 0, 0), np.inf),
            "the loss of batch 1 is (nan|-?inf)",
        ),
    ],
)
def test_what_is_not_finite_is_refused_with_where(change, message):
    weights, batches, _, _ = diagnosed.problem()
    change(weights, batches)
    with pytest.raises(ValueError, match=message):
        before(KEY, diagnosed.loss, *jax.tree.map(jnp.asarray, (weights, batches)), k=K)


def test_a_gradient_that_is_not_finite_though_the_loss_is_names_its_layer():
    weights, batches, _, _ = jax.tree.map(jnp.asarray, diagnosed.problem())

    def rooted(params, batch):
        return diagnosed.loss(params, batch) + jnp.sqrt(jnp.sum(jnp.square(params["last"] - weights["last"])))

    with pytest.raises(ValueError, match=r"gradient of \['last'\] is not finite, though the loss is"):
        before(KEY, rooted, weights, batches, k=K)
