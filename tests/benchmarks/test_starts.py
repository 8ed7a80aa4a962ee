"""The starts of adapters, each on a case with a known answer: a matrix, a gradient or inputs of known triplets."""

import functools as ft

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import starts
from benchmarks.starts import STARTS, Network, kernel_of

M, N, RANK = 12, 9, 2
VALUES = np.array([7.0, 5.0, 3.0, 2.0, 0.5, 0.3, 0.2, 0.1, 0.05])


def known(dtype, seed=0, shape=(M, N)):
    """A matrix, and its singular vectors and values."""
    rng = np.random.default_rng(seed)
    U, V = (np.linalg.qr(rng.standard_normal((size, N)))[0] for size in shape)
    return jnp.asarray(U * VALUES @ V.T, dtype), U, V


def tol(dtype):
    return 1e3 * float(jnp.finfo(dtype).eps)


def close(found, wanted, dtype):
    np.testing.assert_allclose(np.asarray(found, np.float64), wanted, atol=tol(dtype))


both = pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])


@both
def test_pissa_takes_the_best_approximation_out_of_the_matrix(dtype):
    W, U, V = known(dtype)
    adapter, frozen = starts.pissa(W, RANK)
    close(adapter.left @ adapter.right.T, U[:, :RANK] * VALUES[:RANK] @ V[:, :RANK].T, dtype)
    close(frozen + adapter.left @ adapter.right.T, W, dtype)
    # In balance: the factors' squares are the singular values.
    close(adapter.left.T @ adapter.left, np.diag(VALUES[:RANK]), dtype)
    close(adapter.right.T @ adapter.right, np.diag(VALUES[:RANK]), dtype)
    np.testing.assert_allclose(np.linalg.norm(frozen, 2), VALUES[RANK], rtol=tol(dtype))


@both
def test_the_first_step_of_lora_ga_has_the_best_approximation_of_twice_the_rank(dtype):
    W = known(dtype, seed=1)[0]
    G, U, V = known(dtype)
    adapter, frozen = starts.lora_ga(W, G, RANK, gamma=4.0)
    close(frozen + adapter.left @ adapter.right.T, W, dtype)

    def product(pair):
        return pair[0] @ pair[1].T

    # The derivative of the product along the descent of <G, left right^T>, which is the step without its square.
    factors = (adapter.left, adapter.right)
    gradient = jax.grad(lambda pair: jnp.vdot(G, product(pair)))(factors)
    _, change = jax.jvp(product, (factors,), (gradient,))
    c_squared = M**0.5 / 4
    close(change, c_squared * (U[:, : 2 * RANK] * VALUES[: 2 * RANK] @ V[:, : 2 * RANK].T), dtype)
    np.testing.assert_allclose(jnp.sum(adapter.left**2, axis=0), c_squared, rtol=tol(dtype))


@both
def test_eva_has_the_leading_directions_of_the_inputs(dtype):
    X, _, V = known(dtype)
    adapter = starts.eva(X.T @ X, M, RANK)
    close(adapter.right @ adapter.right.T, V[:, :RANK] @ V[:, :RANK].T, dtype)
    close(jnp.abs(adapter.right[:, 0]), np.abs(V[:, 0]), dtype)
    assert adapter.left.shape == (M, RANK)
    assert not adapter.left.any()


@both
def test_orthogonal_columns_are_orthonormal_and_differ_with_the_key(dtype):
    one, other = (starts.orthogonal_columns(jax.random.key(seed), (M, N), RANK, dtype) for seed in (0, 1))
    close(one.right.T @ one.right, np.eye(RANK), dtype)
    assert not one.left.any()
    assert jnp.abs(one.right - other.right).max() > 0.1


# In a network. --------------------------------------------------------------------------------------------------------

SIZES = {"first": (N, M), "second": (M, 4)}


def network():
    def forward(params, x):
        hidden = jnp.tanh(x @ params["first"]["kernel"] + params["first"]["bias"][None])
        return hidden @ params["second"]["kernel"], {"first": x, "second": hidden}

    def loss(params, batch):
        return jnp.mean(jnp.square(forward(params, batch[0])[0] - batch[1]))

    return Network(loss, lambda params, batch: forward(params, batch[0])[1], tuple(SIZES))


ALL = {**STARTS, "S_big, whole": starts.s_big_of_whole_gradients}


def setting():
    keys = jax.random.split(jax.random.key(0), 4)
    kernels = zip(keys[:2], SIZES.items(), strict=True)
    params = {layer: {"kernel": jax.random.normal(k, shape)} for k, (layer, shape) in kernels}
    params["first"]["bias"] = jnp.ones(M)
    return params, (jax.random.normal(keys[2], (3, 20, N)), jax.random.normal(keys[3], (3, 20, 4)))


@ft.cache
def started(name):
    """A start, compiled."""
    of = jax.jit(lambda key, params, batches: ALL[name](key, network(), params, batches, RANK))
    return of(jax.random.key(1), *setting())


@pytest.mark.parametrize("name", ALL)
def test_no_start_changes_the_network(name):
    params, batches = setting()
    found = started(name)
    first = jax.tree.map(lambda x: x[0], batches)
    summed = {
        layer: {**found.params[layer], "kernel": found.params[layer]["kernel"] + adapter.right @ adapter.left.T}
        for layer in SIZES
        for adapter in [found.adapters[kernel_of(layer)]]
    }
    np.testing.assert_allclose(network().loss(summed, first), network().loss(params, first), rtol=1e-12)
    for layer, (n, m) in SIZES.items():
        adapter = found.adapters[kernel_of(layer)]
        assert (adapter.left.shape, adapter.right.shape) == ((m, RANK), (n, RANK))


@pytest.mark.parametrize("name", ["S_big", "S_big, whole", "LoRA-GA"])
def test_the_start_is_that_of_the_gradient_of_all_batches(name):
    params, batches = setting()
    whole = jax.tree.map(lambda x: x.reshape(-1, x.shape[-1]), batches)
    G = 3 * jax.grad(network().loss)(params, whole)["first"]["kernel"]
    right = started(name).adapters["first/kernel"].right
    leading = np.linalg.svd(G, full_matrices=False)[0][:, :RANK]
    scale = float(jnp.linalg.norm(right[:, 0]))
    np.testing.assert_allclose(right @ right.T / scale**2, leading @ leading.T, atol=1e-6)


@pytest.mark.parametrize(("name", "certified"), [("S_big", 1.0), ("S_big, whole", 1.0), ("LoRA", np.nan)])
def test_the_share_of_certified_triplets_is_reported(name, certified):
    np.testing.assert_equal(float(started(name).certified), certified)


def test_eva_sums_the_inputs_of_all_batches():
    params, batches = setting()
    right = started("EVA").adapters["second/kernel"].right
    X = np.asarray(network().inputs(params, (batches[0].reshape(-1, N), None))["second"])
    leading = np.linalg.svd(X, full_matrices=False)[2][:RANK].T
    np.testing.assert_allclose(right @ right.T, leading @ leading.T, atol=1e-10)
