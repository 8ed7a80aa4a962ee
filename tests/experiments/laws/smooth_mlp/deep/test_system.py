"""Deep smooth networks: the steps of every optimizer, the geometry of equations 8 and 9, and a smoke run."""

import functools as ft
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import scipy.linalg
from synthetic import config_of

from experiments.laws.smooth_mlp.deep.system import dynamics
from experiments.runner.settings import expand
from lawlib.descent.steps import epoch_batches
from lawlib.networks.activations import ACTIVATIONS
from lawlib.networks.mlp import apply

SIZES = {"net.width": 8, "net.depth": 3, "data.dimension": 7, "data.num_classes": 2, "data.num_samples": 12}


def small(**fields):
    """The dynamics of a small network, by fields whose dots are written as two underscores."""
    given = {name.replace("__", "."): value for name, value in fields.items()}
    ((_, config),) = expand(config_of("mlp_deep", f"variants=({SIZES | {'opt.batch_size': 12} | given!r},)"))
    return dynamics(config)


@ft.cache
def begun():
    """A problem and its first weights, shared by the tests: drawing orthogonal layers takes long to compile."""
    return jax.jit(lambda key: small().init(key, {}, ()))(jax.random.key(0))


def started(memory):
    """The same problem and weights for another method, whose memory this is."""
    problem, monitored = begun()
    state = monitored.state._replace(memory=memory)
    return problem._replace(step_size=jnp.asarray(0.1)), monitored._replace(state=state)


def weights_of(monitored):
    return [np.asarray(W) for W in monitored.state.weights]


def stepped(system, problem, monitored, t=0):
    return weights_of(jax.jit(system.step)(jnp.asarray(t, jnp.int32), monitored, problem, ()))


def observed(system, problem, monitored, weights):
    """The observations of other weights."""
    state = monitored.state._replace(weights=tuple(map(jnp.asarray, weights)))
    return jax.jit(system.observe)(jnp.asarray(5, jnp.int32), monitored._replace(state=state), problem, ())


def test_a_mixture_is_whitened_and_its_networks_start_orthogonal():
    problem, state = begun()
    X, Y = (np.asarray(values) for values in problem.data)
    first, second, last = weights_of(state)
    np.testing.assert_allclose(X @ X.T, np.eye(7), atol=1e-13)
    np.testing.assert_array_equal(Y, np.repeat(np.eye(2), 6, axis=1))
    np.testing.assert_allclose(first.T @ first, 0.01 * np.eye(7), atol=1e-15)
    np.testing.assert_allclose(second.T @ second, 0.01 * np.eye(8), atol=1e-15)
    assert 0.5 < np.abs(last).max() < 1


def test_a_full_batch_is_one_step_of_gradient_descent():
    problem, state = started(optax.sgd(0.1).init(()))
    X, Y = (np.asarray(values) for values in problem.data)
    first, second, last = weights_of(state)
    H = np.where((Z := second @ np.where((Z1 := first @ X) > 0, Z1, np.expm1(Z1))) > 0, Z, np.expm1(Z))
    after = stepped(small(), problem, state)
    np.testing.assert_allclose(after[-1], last - 0.1 * (last @ H - Y) @ H.T, rtol=1e-12)


def test_an_epoch_is_a_step_on_every_one_of_its_batches():
    system = small(opt__batch_size=5, opt__momentum=0.9)
    transform = optax.sgd(0.1, 0.9)
    problem, state = started(transform.init(begun()[1].state.weights))
    X, Y = problem.data

    def loss(weights, X, Y):
        return jnp.sum((apply(weights, X, ACTIVATIONS["elu"]) - Y) ** 2) / 2

    weights, memory = state.state.weights, transform.init(state.state.weights)
    key_order, _ = jax.random.split(problem.key)
    batches = np.asarray(epoch_batches(key_order, epoch=3, num_samples=12, batch_size=5))
    assert batches.shape == (2, 5)
    for batch in batches:
        updates, memory = transform.update(jax.grad(loss)(weights, X[:, batch], Y[:, batch]), memory)
        weights = optax.apply_updates(weights, updates)
    for W, expected in zip(stepped(system, problem, state, t=3), weights, strict=True):
        np.testing.assert_allclose(W, expected, rtol=1e-10)


def test_muon_takes_our_matrices_for_the_kernels_of_flax():
    system, (problem, monitored) = small(opt__method="muon", opt__momentum=0.9), begun()
    kernels = tuple(W.T for W in monitored.state.weights)
    flax = optax.contrib.muon(0.1, beta=0.9, nesterov=True, weight_decay=0.0)

    def loss(kernels, X, Y):
        return jnp.sum((apply(tuple(K.T for K in kernels), X, ACTIVATIONS["elu"]) - Y) ** 2) / 2

    with jax.numpy_dtype_promotion("standard"):
        updates, _ = jax.jit(flax.update)(jax.grad(loss)(kernels, *problem.data), flax.init(kernels), kernels)
    expected = [np.asarray(K + update).T for K, update in zip(kernels, updates, strict=True)]
    ours = optax.contrib.MuonDimensionNumbers(1, 0)
    memory = optax.contrib.muon(0.1, muon_weight_dimension_numbers=ours).init(monitored.state.weights)
    problem, state = started(memory)
    for W, other in zip(stepped(system, problem, state), expected, strict=True):
        np.testing.assert_allclose(W, other, rtol=1e-8, atol=1e-12)


def test_sign_descent_and_shampoo_step_by_their_formulas():
    problem, monitored = begun()
    X, Y = problem.data

    def loss(weights):
        return jnp.sum((apply(weights, X, ACTIVATIONS["elu"]) - Y) ** 2) / 2

    before, gradients = weights_of(monitored), [np.asarray(G) for G in jax.grad(loss)(monitored.state.weights)]
    after = stepped(small(opt__method="sign"), *started(optax.sign_sgd(0.1).init(monitored.state.weights)))
    for W, new, G in zip(before, after, gradients, strict=True):
        np.testing.assert_allclose(new, W - 0.1 * np.sign(G), rtol=1e-12)
    sums = jax.tree.map(lambda W: tuple(1e-6 * jnp.eye(n) for n in W.shape), monitored.state.weights)
    after = stepped(small(opt__method="shampoo"), *started(sums))
    for W, new, G in zip(before, after, gradients, strict=True):
        U, s, Vt = np.linalg.svd(G, full_matrices=False)
        # A first step has the singular vectors of the gradient.
        np.testing.assert_allclose(new, W - 0.1 * (U * s / np.sqrt(1e-6 + s**2)) @ Vt, atol=1e-7)


def test_a_randomized_activation_draws_anew_at_every_step():
    system = small(net__activation="rrelu")
    problem, state = started(optax.sgd(0.1).init(()))
    now, again, then = (stepped(system, problem, state, t)[0] for t in (0, 0, 1))
    np.testing.assert_array_equal(now, again)
    assert np.abs(then - now).max() > 1e-6


# Geometry -------------------------------------------------------------------------------------------------


def test_the_bases_are_those_of_equation_8():
    problem, state = begun()
    first, second, last = weights_of(state)
    X, Y = (np.asarray(values) for values in problem.data)

    def elu(Z):
        return np.where(Z > 0, Z, np.expm1(Z))

    def slope(Z):
        return np.where(Z > 0, 1, np.exp(Z))

    Z_1, Z_2 = first @ X, second @ elu(first @ X)
    residual = last @ elu(Z_2) - Y
    gradient = ((second.T @ ((last.T @ residual) * slope(Z_2))) * slope(Z_1)) @ X.T
    left, s, right = np.linalg.svd(gradient)
    expected = scipy.linalg.null_space(np.vstack([right[:2], left[:, :2].T @ first]))
    small_bases = [np.asarray(B) for B in problem.bases.small]
    np.testing.assert_allclose(small_bases[0] @ small_bases[0].T, expected @ expected.T, atol=1e-10)
    np.testing.assert_allclose(small_bases[2], second @ first @ small_bases[0] / 0.01, atol=1e-13)
    np.testing.assert_allclose(problem.start_gradient, s[:3] / s[0], rtol=1e-9)
    chance = np.asarray(problem.bases.random[0])
    np.testing.assert_allclose(chance.T @ chance, np.eye(3), atol=1e-13)


def test_the_blocks_are_those_of_equation_9():
    problem, monitored = begun()
    rng = np.random.default_rng(0)
    moved = [W + rng.standard_normal(W.shape) for W in weights_of(monitored)]
    seen = observed(small(), problem, monitored, moved)
    for layer in range(2):
        U_2, V_2 = (np.asarray(problem.bases.small[i]) for i in (layer + 1, layer))
        change = scipy.linalg.null_space(U_2.T).T @ (moved[layer] - weights_of(monitored)[layer])
        squares = [np.sum((change @ V) ** 2) for V in (scipy.linalg.null_space(V_2.T), V_2)]
        total = np.sum((moved[layer] - weights_of(monitored)[layer]) ** 2)
        np.testing.assert_allclose(seen["fractions"][layer, :2], np.array(squares) / total, rtol=1e-10)
    np.testing.assert_allclose(np.sum(seen["fractions"], axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(np.sum(seen["random_fractions"], axis=1), 1, rtol=1e-12)


def test_the_changes_are_those_of_singular_subspaces():
    fields = {"study": "spectra", "net__width": 7}
    system = small(**fields)
    problem, monitored = jax.jit(lambda key: system.init(key, {}, ()))(jax.random.key(1))
    rng = np.random.default_rng(0)
    moved = [rng.standard_normal(W.shape) for W in weights_of(monitored)]
    seen = observed(system, problem, monitored, moved)

    def change(basis, other):
        return np.sum(np.sin(scipy.linalg.subspace_angles(basis, np.asarray(other))) ** 2)

    for layer in range(2):
        U, s, Vt = np.linalg.svd(moved[layer])
        U_1, _, Vt_1 = np.linalg.svd(np.asarray(problem.first[layer]))
        np.testing.assert_allclose(seen["singular_values"][layer], s, rtol=1e-12)
        B = problem.bases.small
        expected = [change(U[:, 2:5], B[layer + 1]), change(Vt[2:5].T, B[layer])]
        np.testing.assert_allclose(seen["middle"][layer], expected, rtol=1e-8)
        for name, cut in (("top", slice(0, 2)), ("bottom", slice(5, 7))):
            expected = [change(U[:, cut], U_1[:, cut]), change(Vt[cut].T, Vt_1[cut].T)]
            np.testing.assert_allclose(seen[name][layer], expected, rtol=1e-8)


def test_the_smoke_run_of_figure_4_ends_with_its_table_and_figures(smoke):
    folder, (code, _, err) = smoke("mlp_deep")
    assert (code, err) == (0, "")
    rows = json.loads((folder / "claims.json").read_text())["claims"]
    assert {row["id"]: row["status"] for row in rows} == {
        "F4.mean[ELU, d=32]": "not_judged",
        "F4.worst[ELU, d=32]": "not_judged",
    }
    assert all((folder / "figures" / f"{name}.png").exists() for name in ("fractions", "final"))
