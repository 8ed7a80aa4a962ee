"""A tracker in a loop and in an optimizer, for networks written in four ways, against dense decompositions."""

import functools as ft
import re

import chex
import equinox as eqx
import flax.linen as nn
import four_ways
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.training.train_state import TrainState
from scipy.linalg import subspace_angles

from lawlib.linalg.matricization import Matricization
from lawlib.tracking import Reference, TrackedLeaf, records, tracker

M, N, K = 12, 10, 2
# Blocks of all columns: the triplets are those of a dense decomposition.
WHOLE = {"every": 2, "num_steps": 5, "oversample": 8}
STEPS, LOOKS = 5, [0, 2, 4]
KEY = jax.random.key(0)


def frame(seed, rows, columns):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((rows, columns)))[0]


def gapped(seed, values=(9.0, 6.0)):
    """Two values far above the rest."""
    whole = np.concatenate([values, np.geomspace(1e-2, 1e-3, N - 2)])
    return jnp.asarray(frame(seed, M, N) * whole[None] @ frame(seed + 1, N, N).T)


GIVEN = Reference(jnp.asarray(frame(5, M, 4)), jnp.asarray(frame(6, N, 7)))
REFERENCE = {"gradient": GIVEN, "change": GIVEN}


# In one's own loop. ---------------------------------------------------------------------------------------------------


@ft.cache
def watching():
    """A tracker of one matrix, compared with everything, and its compiled update."""
    monitor = tracker({"W": "W"}, K, every=1, num_steps=4, against=("start", "last"), reference={"W": GIVEN})
    return monitor, jax.jit(monitor.update)


def seen(*matrices):
    monitor, update = watching()
    tracks = monitor.init(KEY, {"W": matrices[0]})
    for step, W in enumerate(matrices):
        tracks = update(tracks, step, {"W": W})
    return jax.tree.map(np.asarray, records(tracks)["W"])


def dense(W):
    U, s, Vt = np.linalg.svd(W)
    return U[:, :K], s[:K], Vt[:K].T


def shares(W, left, right):
    P, R = left @ left.T, right @ right.T
    blocks = (P @ W @ R, P @ (W - W @ R), (W - P @ W) @ R, W - P @ W - W @ R + P @ W @ R)
    return [np.sum(block**2) / np.sum(W**2) for block in blocks]


def test_angles_and_shares_are_those_to_the_start_to_the_last_observation_and_to_the_given_bases():
    matrices = [np.asarray(gapped(seed)) for seed in (0, 10, 20)]
    found, (first, second, third) = seen(*map(jnp.asarray, matrices)), map(dense, matrices)
    assert np.all(found.certified[:3])
    np.testing.assert_allclose(found.values[:3], [first[1], second[1], third[1]], rtol=1e-9)
    np.testing.assert_allclose(found.norm[:3], [np.linalg.norm(W) for W in matrices], rtol=1e-12)
    for name, other in (("start", first), ("last", second), ("reference", (GIVEN.left, 0, GIVEN.right))):
        one = found.compared[name]
        for angles, side in ((one.left_angles, 0), (one.right_angles, 2)):
            wanted = np.sort(subspace_angles(np.asarray(third[side]), np.asarray(other[side])))
            np.testing.assert_allclose(angles[2], wanted, atol=1e-7)
        wanted = shares(matrices[2], np.asarray(other[0]), np.asarray(other[2]))
        np.testing.assert_allclose([share[2] for share in one.fractions], wanted, atol=1e-8)
        assert one.certified[2]
    both = [np.sum(np.arcsin(found.bound[list(rows)])) for rows in ((2, 0), (2, 1), (2,))]
    np.testing.assert_allclose([found.compared[name].error[2] for name in ("start", "last", "reference")], both)


def test_before_there_is_an_observation_to_compare_with_there_is_no_angle():
    found = seen(gapped(0))
    start, last, given = (found.compared[name] for name in ("start", "last", "reference"))
    np.testing.assert_allclose(start.left_angles[0], 0, atol=1e-12)
    np.testing.assert_allclose(start.fractions.inside_both[0], 1, atol=1e-4)
    assert np.isfinite(given.left_angles[0]).all()
    for unknown in (last.left_angles, last.right_angles, last.error, *last.fractions):
        assert np.isnan(unknown[0]).all()
    assert not last.certified[0]
    np.testing.assert_array_equal(found.step, [0, -1, -1, -1])


def test_an_observation_that_is_not_finite_or_zero_is_no_start_and_one_that_is_not_finite_is_forgotten():
    W = gapped(0)
    found = seen(W * jnp.nan, W, W * jnp.inf, 2 * W)
    np.testing.assert_array_equal(found.certified, [False, True, False, True])
    assert np.isnan(found.compared["start"].left_angles[0]).all()
    for name in ("start", "last"):
        np.testing.assert_allclose(found.compared[name].left_angles[3], 0, atol=1e-7)
    np.testing.assert_allclose(found.values[3], 2 * dense(W)[1], rtol=1e-9)
    still = seen(0 * W, W, W)
    assert np.isnan(still.compared["start"].left_angles[0]).all()
    np.testing.assert_allclose(still.compared["start"].left_angles[1:3], 0, atol=1e-7)
    assert np.isnan(still.compared["reference"].fractions.inside_both[0])


def test_where_the_start_is_not_certified_no_angle_to_it_is_and_its_error_says_so():
    flat = jnp.asarray(frame(0, M, N))
    found = seen(flat, gapped(0), gapped(10))
    start, last = found.compared["start"], found.compared["last"]
    np.testing.assert_array_equal(found.certified[:3], [False, True, True])
    np.testing.assert_array_equal(start.certified[:3], False)
    np.testing.assert_array_equal(last.certified[:3], [False, False, True])
    np.testing.assert_allclose(start.error[:3], np.pi / 2)
    assert last.error[2] < 1e-3


def test_observations_beyond_the_records_are_dropped_and_other_steps_change_nothing():
    (_, update), W = watching(), {"W": gapped(0)}
    tracks = update(watching()[0].init(KEY, W), 2, W)
    np.testing.assert_array_equal(records(tracks)["W"].step, [-1, -1, 2, -1])
    np.testing.assert_array_equal(records(update(tracks, 4, W))["W"].step, [-1, -1, 2, -1])
    chex.assert_trees_all_equal(update(tracks, -2, W).matrices, tracks.matrices)


def test_over_seeds_every_observation_is_in_one_branch_and_nothing_is_decomposed_elsewhere():
    monitor = tracker({"W": "W", "change": TrackedLeaf("W", change=True)}, K, against=(), **WHOLE)

    def run(key, step):
        W = {"W": jax.random.normal(key, (M, N))}
        return monitor.update(monitor.init(key, W), step, W)

    over_seeds, keys = jax.vmap(run, in_axes=(0, None)), jax.random.split(KEY, 2)
    program = jax.make_jaxpr(over_seeds)(keys, 4).jaxpr
    (branch,) = [eqn for eqn in program.eqns if eqn.primitive.name == "cond"]
    assert "svd" in str(branch)
    assert not [eqn for eqn in program.eqns if eqn is not branch and re.search("svd|geqrf|householder", str(eqn))]
    # The initial matrix is carried around the branch.
    assert (2, M, N) not in [x.aval.shape for x in branch.outvars]
    found = records(jax.jit(over_seeds)(keys, 4))
    for key, values, change in zip(keys, found["W"].values, found["change"].values, strict=True):
        np.testing.assert_allclose(values[2], dense(jax.random.normal(key, (M, N)))[1], rtol=1e-9)
        np.testing.assert_array_equal(change, 0)


def test_half_precision_is_observed_in_single():
    half = {"W": gapped(0).astype(jnp.bfloat16)}
    monitor = tracker({"W": "W"}, K, **WHOLE)
    found = records(monitor.update(monitor.init(KEY, half), 0, half))["W"]
    assert found.values.dtype == jnp.float32
    np.testing.assert_allclose(found.values[0], dense(np.asarray(half["W"], np.float64))[1], rtol=1e-5)


@pytest.mark.parametrize("way", four_ways.WAYS)
def test_layers_of_a_network_are_watched_however_it_is_written(way):
    """A convolution and a dense layer, of a model with everything that is no weight."""
    written, kernels = four_ways.WAYS[way](jnp.float64), four_ways.kernels(jnp.float64)
    tracked = {name: TrackedLeaf(*written.layers[name]) for name in ("conv", "last")}
    monitor = tracker(tracked, K, against=(), **WHOLE)
    found = records(monitor.update(monitor.init(KEY, written.params), 0, written.params))
    for name, one in found.items():
        W = four_ways.READ.get(name, Matricization()).matrix(kernels[name])
        np.testing.assert_allclose(one.values[0], np.linalg.svd(W)[1][:K], rtol=1e-7)


# In an optimizer. -----------------------------------------------------------------------------------------------------

RNG = np.random.default_rng(3)
X, Y = RNG.standard_normal((8, M)), RNG.standard_normal((8, 3))
FIRST, LAST = RNG.standard_normal((M, N)) / 3, RNG.standard_normal((N, 3)) / 3
RATE = 0.05


def in_numpy():
    """Weights and gradients of the first layer in each step, by formulas."""
    A, B, weights, gradients = FIRST, LAST, [], []
    for _ in range(STEPS):
        hidden = np.tanh(X @ A)
        residual = hidden @ B - Y
        G = X.T @ (residual @ B.T * (1 - hidden**2))
        weights.append(A)
        gradients.append(G)
        A, B = A - RATE * G, B - RATE * hidden.T @ residual
    return weights, gradients


def optimizer(where, matricization=None):
    """Gradients before the descent, and the change of the weights, in the matrix (inputs, outputs)."""
    gradients = tracker({"gradient": TrackedLeaf(where, matricization)}, K, reference=REFERENCE_OF["gradient"], **WHOLE)
    changed = {"change": TrackedLeaf(where, matricization, change=True)}
    changes = tracker(changed, K, reference=REFERENCE_OF["change"], against=(), **WHOLE)
    return optax.chain(gradients.transform(KEY), optax.sgd(RATE), changes.transform(KEY, of="params"))


REFERENCE_OF = {name: {name: one} for name, one in REFERENCE.items()}


def squares(first, last):
    return jnp.sum((jnp.tanh(X @ first) @ last - Y) ** 2) / 2


def in_scan():
    params, own = {"first": jnp.asarray(FIRST), "last": jnp.asarray(LAST)}, optimizer("first")

    def step(carry, _):
        params, state = carry
        updates, state = own.update(jax.grad(lambda p: squares(p["first"], p["last"]))(params), state, params)
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (params, own.init(params)), length=STEPS)[0][1]


@ft.cache
def in_a_program():
    return jax.jit(in_scan)()


def in_train_state():
    network = nn.Sequential([nn.Dense(N, use_bias=False), jnp.tanh, nn.Dense(3, use_bias=False)])
    params = {"layers_0": {"kernel": jnp.asarray(FIRST)}, "layers_2": {"kernel": jnp.asarray(LAST)}}
    own = optimizer(lambda params: params["layers_0"]["kernel"])
    state = TrainState.create(apply_fn=network.apply, params=params, tx=own)

    @jax.jit
    def step(state):
        loss = lambda params: jnp.sum((state.apply_fn({"params": params}, X) - Y) ** 2) / 2  # noqa: E731
        return state.apply_gradients(grads=jax.grad(loss)(state.params))

    for _ in range(STEPS):
        state = step(state)
    return state


class InNNX(nnx.Module):
    def __init__(self):
        sizes = {"use_bias": False, "param_dtype": jnp.float64, "rngs": nnx.Rngs(0)}
        self.layers = nnx.List([nnx.Linear(M, N, **sizes), nnx.Linear(N, 3, **sizes)])
        for layer, kernel in zip(self.layers, (FIRST, LAST), strict=True):
            layer.kernel[...] = jnp.asarray(kernel)


def in_nnx_optimizer():
    model = InNNX()
    own = nnx.Optimizer(model, optimizer(lambda model: model.layers[0].kernel), wrt=nnx.Param)

    @nnx.jit
    def step(model, own):
        loss = lambda model: squares(*(layer.kernel[...] for layer in model.layers))  # noqa: E731
        own.update(model, nnx.grad(loss)(model))

    for _ in range(STEPS):
        step(model, own)
    return own


def in_equinox():
    layers = [eqx.nn.Linear(*sizes, use_bias=False, key=KEY, dtype=jnp.float64) for sizes in ((M, N), (N, 3))]
    kernels = [jnp.asarray(kernel.T) for kernel in (FIRST, LAST)]
    model = eqx.tree_at(lambda layers: [layer.weight for layer in layers], layers, kernels)
    own = optimizer(lambda layers: layers[0].weight, Matricization(1, 0))
    state = own.init(eqx.filter(model, eqx.is_array))

    @eqx.filter_jit
    def step(model, state):
        loss = lambda layers: squares(*(layer.weight.T for layer in layers))  # noqa: E731
        updates, state = own.update(eqx.filter_grad(loss)(model), state, eqx.filter(model, eqx.is_array))
        return eqx.apply_updates(model, updates), state

    for _ in range(STEPS):
        model, state = step(model, state)
    return state


TRAINED = {"scan": in_a_program, "TrainState": in_train_state, "nnx": in_nnx_optimizer, "eqx": in_equinox}


@pytest.mark.parametrize("way", TRAINED)
def test_an_optimizer_keeps_the_records_of_its_steps(way):
    found, (weights, gradients) = jax.tree.map(np.asarray, records(TRAINED[way]())), in_numpy()
    given = [np.asarray(basis) for basis in GIVEN]
    for name, matrices in (("gradient", gradients), ("change", [W - FIRST for W in weights])):
        one = found[name]
        np.testing.assert_array_equal(one.step, LOOKS)
        for row, step in enumerate(LOOKS):
            np.testing.assert_allclose(one.values[row], np.linalg.svd(matrices[step])[1][:K], rtol=1e-9, atol=1e-12)
            wanted = shares(matrices[step], *given) if np.any(matrices[step]) else [np.nan] * 4
            np.testing.assert_allclose([s[row] for s in one.compared["reference"].fractions], wanted, rtol=1e-9)
    start, now = (np.linalg.svd(gradients[step])[0][:, :K] for step in (0, 4))
    wanted = np.sort(subspace_angles(start, now))
    np.testing.assert_allclose(found["gradient"].compared["start"].left_angles[2], wanted, atol=1e-7)


def test_its_records_are_those_of_the_plain_functions():
    plain = tracker({"gradient": "first"}, K, reference=REFERENCE_OF["gradient"], **WHOLE)
    tracks, update = plain.init(KEY, {"first": jnp.asarray(FIRST)}), jax.jit(plain.update)
    for step, G in enumerate(in_numpy()[1]):
        tracks = update(tracks, step, {"first": jnp.asarray(G)})
    found = records(in_a_program())["gradient"]
    chex.assert_trees_all_close(found, records(tracks)["gradient"], atol=1e-8, rtol=1e-6)


def test_first_in_a_chain_it_sees_gradients_and_last_the_updates_which_stay_as_they_are():
    seen_first, seen_last = (tracker({name: "W"}, K, against=(), **WHOLE) for name in ("first", "last"))
    chained = optax.chain(seen_first.transform(KEY), optax.scale(-2.0), seen_last.transform(KEY))
    W = {"W": gapped(0)}
    updates, state = chained.update(W, chained.init(W))
    np.testing.assert_array_equal(updates["W"], -2 * W["W"])
    found = records(state)
    np.testing.assert_allclose(found["last"].values[0], 2 * found["first"].values[0], rtol=1e-9)
    assert int(state[0].step) == 1


def test_what_it_cannot_see_is_refused():
    monitor, W = tracker({"W": TrackedLeaf("W", change=True)}, K, **WHOLE), {"W": gapped(0)}
    with pytest.raises(ValueError, match=r"the change of \['W'\] is that of the parameters: pass of='params'"):
        monitor.transform(KEY)
    with pytest.raises(ValueError, match=r"of must be one of \('updates', 'params'\), got 'gradients'"):
        monitor.transform(KEY, of="gradients")
    own = monitor.transform(KEY, of="params")
    with pytest.raises(ValueError, match=r"call update\(updates, state, params\)"):
        own.update(W, own.init(W))
