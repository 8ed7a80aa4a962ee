"""What is found before training, against dense decompositions."""

import diagnosed
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lawlib.diagnose import after, before
from lawlib.theory.smooth_mlp import big_subspace

KEY, K = jax.random.key(0), diagnosed.K
started = diagnosed.started


def test_the_gradient_is_that_of_the_sum_over_the_batches_and_s_big_is_that_of_its_leading_vectors(dtype, tol):
    start = started(None if dtype == np.float64 else dtype.type)
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
    weights, batches, _, _ = jax.tree.map(jnp.asarray, diagnosed.problem())
    signs = optax.stateless(lambda updates, _: jax.tree.map(jnp.sign, updates))
    assert 0.1 < before(KEY, diagnosed.loss, weights, batches, k=K, transform=signs).defect < 2


def twice(params, batch):
    return jnp.sum((jnp.tanh(batch @ params["shared"]) @ params["shared"]) ** 2)


def test_a_layer_that_runs_twice_has_the_gradient_of_both_runs():
    x, W = (jax.random.normal(key, (1, 5, 5)) for key in jax.random.split(KEY))
    (layer,) = before(KEY, twice, {"shared": W[0]}, x, k=1).layers.values()
    G = jax.grad(lambda W: twice({"shared": W}, x[0]))(W[0])
    np.testing.assert_allclose(layer.gradient.svd.values, jnp.linalg.svd(G, compute_uv=False)[:1], rtol=1e-10)


def boxed_loss(params, batch):
    return jnp.sum((batch @ nn.meta.unbox(params)["kernel"]) ** 2)


def test_partitioned_boxes_are_looked_into_and_may_not_be_taken_off_halfway():
    W, x = jax.random.normal(KEY, (5, 5)), jnp.ones((1, 3, 5))
    boxed = {"kernel": nn.Partitioned(W, ("in", "out"))}
    start = before(KEY, boxed_loss, boxed, x, k=1)
    assert list(start.layers) == ["kernel/value"]
    np.testing.assert_array_equal(start.layers["kernel/value"].weights, W)
    with pytest.raises(ValueError, match=r"lack \['kernel/value'\]; they have \['kernel'\] besides"):
        after(KEY, start, {"kernel": 2 * W}, x)


# Bad input. -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights, batches: weights["last"].__setitem__((0, 0), np.nan), r"parameters \['last'\] are not finite"),
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


@pytest.mark.parametrize(
    ("loss", "matrices", "names"),
    [
        (lambda params, batch: jnp.sum(batch @ params["first"]), {"a": "first", "b": "second"}, r"\['b'\]"),
        (lambda params, batch: jnp.sum(batch @ params["first"] @ params["zero"]), None, r"\['first'\]"),
        (lambda params, batch: jnp.sum(jax.nn.relu(batch @ params["first"] - 99)), None, r"\['first'\]"),
    ],
    ids=["unused", "before a layer of zeros", "dead"],
)
def test_a_gradient_of_zero_names_its_layers(loss, matrices, names):
    params = {"first": jnp.ones((4, 3)), "second": jnp.ones((4, 3)), "zero": jnp.zeros((3, 2))}
    with pytest.raises(ValueError, match=f"the gradient of {names} is 0, which determines no S_big"):
        before(KEY, loss, params, jnp.ones((1, 2, 4)), k=2, matrices=matrices)
