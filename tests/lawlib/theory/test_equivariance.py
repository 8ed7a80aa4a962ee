"""The law under optimizers that commute with rotations, on whole networks; and the measure of whether one does."""

import functools as ft

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from draws import low_rank_matrix, orthogonal_layers
from optax import contrib
from optimizers import EQUIVARIANT, OF_ENTRIES, projected

from lawlib.descent.preconditioners import shampoo
from lawlib.descent.steps import transformed
from lawlib.networks.deep_linear import end_to_end
from lawlib.theory.equivariance import (
    check_arguments,
    check_transform,
    equivariance_defect,
    idle_gradients,
    newton_schulz,
)
from lawlib.theory.parsimony import block_decomposition, invariant_frames

SCALE, STEPS = 0.6, 25
SIZES = [(2, 11, 1), (3, 12, 2), (4, 13, 3)]  # depth, width, rank


def problem(seed, sizes, case, dtype):
    depth, width, rank = sizes
    outputs = width if case == 1 else rank
    target = low_rank_matrix(seed, (width, width), rank, dtype)[:outputs] / 4
    return orthogonal_layers(seed, (*[width] * depth, outputs), SCALE, dtype), target


@ft.cache
def problems(sizes, case, dtype):
    """The weights, targets and frames of three seeds: to find the frames takes as long to compile as to train."""
    drawn = [problem(seed, sizes, case, dtype) for seed in range(3)]
    weights, target = jax.tree.map(lambda *each: jnp.asarray(np.stack(each)), *drawn)
    return weights, target, jax.jit(jax.vmap(lambda *given: invariant_frames(*given, sizes[2])))(weights, target)


def loss(weights, target):
    return jnp.sum(jnp.square(end_to_end(weights) - target)) / 2


def trained(transform, weights, target):
    descent = transformed(loss, transform)
    return jax.lax.fori_loop(0, STEPS, lambda _, at: descent.step(at, target), descent.init(weights)).weights


def departures(weights, frames):
    """||U^T W V - diag(core, rho I)||_F / sigma_1 of each layer, and rho; in Case 2 the last has only a right frame."""
    found, values = [], []
    for layer, W in enumerate(weights):
        size = jnp.linalg.norm(W, 2)
        if layer + 1 == len(frames):
            found.append(jnp.linalg.norm(W @ frames[layer].idle) / size)
            continue
        _, *others, idle = block_decomposition(W, frames[layer + 1], frames[layer])
        rho = jnp.trace(idle) / len(idle)
        rest = [jnp.linalg.norm(block) for block in (*others, idle - rho * jnp.eye(len(idle), dtype=W.dtype))]
        found.append(jnp.linalg.norm(jnp.stack(rest)) / size)
        values.append(rho)
    return jnp.stack(found), jnp.stack(values)


@ft.partial(jax.jit, static_argnums=0)
def trained_apart(transform, weights, target, frames):
    """Departures from the law and how far each layer moved, over all seeds."""

    def run(weights, target, frames):
        end = trained(transform, weights, target)
        moved = jnp.stack([jnp.linalg.norm(W - start) for W, start in zip(end, weights, strict=True)])
        return *departures(end, frames), moved

    return jax.vmap(run)(weights, target, frames)


def runs(transform, sizes, case, dtype):
    return trained_apart(transform, *problems(sizes, case, dtype))


# Each optimizer with two of the sizes, one in each case; one of them in single precision as well.
DOUBLE = [(name, SIZES[(i + case) % 3], case) for i, name in enumerate(EQUIVARIANT) for case in (1, 2)]
SINGLE = [(name, SIZES[i % 3], 1 + i % 2) for i, name in enumerate(EQUIVARIANT)]


@pytest.mark.parametrize(("name", "sizes", "case"), DOUBLE, ids=str)
def test_equivariant_steps_keep_the_idle_block_a_multiple_of_the_identity(name, sizes, case):
    apart, rho, moved = runs(EQUIVARIANT[name], sizes, case, jnp.dtype("float64"))
    assert float(moved.min()) > 0.05
    assert float(apart.max()) < 1e-12
    assert bool(jnp.all(jnp.isfinite(rho)))


@pytest.mark.parametrize(("name", "sizes", "case"), SINGLE, ids=str)
def test_the_law_holds_in_single_precision(name, sizes, case):
    apart, _, moved = runs(EQUIVARIANT[name], sizes, case, jnp.dtype("float32"))
    assert float(moved.min()) > 0.05
    assert float(apart.max()) < 2e-4


@pytest.mark.parametrize(("name", "case"), list(zip(OF_ENTRIES, (1, 2, 2, 1), strict=True)))
def test_steps_on_single_entries_break_the_law_by_a_quarter_of_the_largest_value(name, case):
    apart, _, _ = runs(OF_ENTRIES[name], (3, 20, 2), case, jnp.dtype("float64"))
    assert float(apart[:, :2].min()) > 0.25


def test_galore_keeps_the_law_if_it_projects_on_learning_directions_and_does_not_act_on_entries():
    sizes, dtype = (3, 12, 2), jnp.dtype("float64")
    descent = optax.sgd(0.02, momentum=0.5)
    assert float(runs(projected(2, descent), sizes, 1, dtype)[0].max()) < 1e-12
    # Beyond the directions of the target it picks some of many equal ones, which are alike only before the choice.
    assert float(runs(projected(6, descent), sizes, 1, dtype)[0].max()) > 1e-4
    assert float(runs(projected(2, optax.adam(0.05)), sizes, 1, dtype)[0].max()) > 0.25
    # That of optax has its singular vectors in float32.
    published = runs(contrib.galore(0.02, 2, base_optimizer=optax.identity()), sizes, 1, dtype)[0]
    assert 1e-12 < float(published.max()) < 1e-5


gradient, departures_of = jax.jit(jax.grad(loss)), jax.jit(departures)


def history(transform):
    """The idle values, and per step the idle value and the norm of what a dense gradient is, by layer."""
    weights, target = problem(2, (3, 12, 2), 1, jnp.float64)
    frames = jax.tree.map(lambda each: each[2], problems((3, 12, 2), 1, jnp.dtype("float64"))[2])
    descent = transformed(loss, transform)
    iterate, rhos, gradients = descent.init(weights), [], []
    step = jax.jit(descent.step)
    for _ in range(8):
        rhos.append(np.asarray(departures_of(iterate.weights, frames)[1]))
        gradients.append(gradient(iterate.weights, target))
        iterate = step(iterate, target)
    return [*rhos, np.asarray(departures_of(iterate.weights, frames)[1])], gradients


def norms(matrices):
    return np.array([np.linalg.norm(M) for M in matrices])


def predicted(rhos, gradients, change):
    """rho(t+1) from rho(t) by the change that a recursion gives, for idle gradients from the theory."""
    memory, found = {}, [rhos[0]]
    for t, (rho, dense) in enumerate(zip(rhos[:-1], gradients, strict=True)):
        found.append(rho + change(t, np.asarray(idle_gradients(jnp.asarray(rho))), rho, dense, memory))
    return found


def by_clipping(t, g, rho, dense, memory):
    return -0.1 * g * min(1, 0.8 / np.linalg.norm(norms(dense)))


def by_nesterov(t, g, rho, dense, memory):
    memory["v"] = 0.8 * memory.get("v", 0) + g
    return -0.01 * (g + 0.8 * memory["v"])


def by_decay(t, g, rho, dense, memory):
    memory["v"] = 0.5 * memory.get("v", 0) + g
    return -0.02 * (memory["v"] + 0.3 * rho)


def by_shampoo(t, g, rho, dense, memory):
    memory["a"] = memory.get("a", 0.3) + g**2
    return -0.02 * g * memory["a"] ** -0.5


def by_muon(t, g, rho, dense, memory):
    memory["v"] = 0.9 * memory.get("v", 0) + 0.1 * g
    memory["V"] = [0.9 * V + 0.1 * np.asarray(G) for V, G in zip(memory.get("V", [0, 0, 0]), dense, strict=True)]
    v, V = memory["v"] / (1 - 0.9 ** (t + 1)), norms(memory["V"]) / (1 - 0.9 ** (t + 1))
    return -0.05 * np.asarray(newton_schulz(jnp.asarray(v), norm=jnp.asarray(V)))


@pytest.mark.parametrize(
    ("transform", "change"),
    [
        (EQUIVARIANT["clipping"], by_clipping),
        (EQUIVARIANT["nesterov"], by_nesterov),
        (EQUIVARIANT["decoupled decay"], by_decay),
        (shampoo(0.02, start=0.3), by_shampoo),
        (contrib.muon(0.05, beta=0.9, nesterov=False), by_muon),
    ],
    ids=["clipping", "nesterov", "decay", "shampoo", "muon"],
)
def test_the_idle_values_follow_the_recursion_of_the_optimizer(transform, change):
    rhos, gradients = history(transform)
    np.testing.assert_allclose(predicted(rhos, gradients, change), rhos, atol=1e-12)
    assert np.abs(rhos[-1] - rhos[0]).min() > 1e-3


def test_under_muon_the_layers_have_idle_values_of_their_own():
    rhos, _ = history(contrib.muon(0.05))
    assert np.ptp(rhos[-1]) > 1e-5


@pytest.mark.parametrize("name", EQUIVARIANT)
def test_the_defect_of_equivariant_steps_is_rounding(name):
    assert float(equivariance_defect(EQUIVARIANT[name], key=jax.random.key(0), repeated=4)) < 1e-10


@pytest.mark.parametrize("name", OF_ENTRIES)
def test_the_defect_of_steps_on_single_entries_is_large(name):
    assert float(equivariance_defect(OF_ENTRIES[name], key=jax.random.key(0))) > 0.25


def test_a_choice_from_a_singular_space_shows_among_repeated_values_alone():
    choosing = projected(6, optax.sgd(0.1))
    assert float(equivariance_defect(choosing, key=jax.random.key(1))) < 1e-10
    assert float(equivariance_defect(choosing, key=jax.random.key(1), repeated=8)) > 1e-2


def test_a_warmup_and_a_rule_that_changes_after_some_steps_are_seen_through():
    """Steps far below the weights' rounding, and RAdam, which is momentum alone for five steps."""
    slow = contrib.schedule_free_sgd(1e-2, warmup_steps=5000)
    assert float(equivariance_defect(slow, key=jax.random.key(0))) < 1e-6
    assert float(equivariance_defect(optax.radam(0.01), key=jax.random.key(0), num_steps=5)) < 1e-10
    assert float(equivariance_defect(optax.radam(0.01), key=jax.random.key(0))) > 1e-3


def test_noise_from_a_key_in_the_state_is_a_defect_and_what_stands_still_has_none():
    noisy = optax.noisy_sgd(0.1, eta=0.1, key=jax.random.key(3))
    assert float(equivariance_defect(noisy, key=jax.random.key(0))) > 1e-2
    assert float(equivariance_defect(optax.set_to_zero(), key=jax.random.key(0))) == 0


def test_a_small_layer_with_steps_on_single_entries_does_not_hide_behind_a_large_one():
    by_layer = optax.multi_transform({"a": optax.sgd(20.0), "b": optax.adam(1e-3)}, ("a", "b"))
    assert float(equivariance_defect(by_layer, key=jax.random.key(0))) > 0.1


def test_line_searches_and_schedules_are_measured():
    for transform in (optax.lbfgs(), optax.sgd(optax.cosine_decay_schedule(0.1, 10))):
        assert float(equivariance_defect(transform, key=jax.random.key(0))) < 1e-10


def test_a_diverging_transformation_is_not_called_equivariant():
    assert np.isnan(float(equivariance_defect(optax.sgd(1e200), key=jax.random.key(0))))


def test_newton_schulz_acts_on_each_singular_value():
    matrix = jax.random.normal(jax.random.key(0), (5, 8), jnp.float64)
    coefficients = jnp.asarray((3.4445, -4.7750, 2.0315))
    ours = newton_schulz(jnp.linalg.svd(matrix, compute_uv=False), norm=jnp.linalg.norm(matrix))
    theirs = contrib._muon.orthogonalize_via_newton_schulz(matrix, coefficients)
    U, _, Vt = jnp.linalg.svd(matrix, full_matrices=False)
    np.testing.assert_allclose((U * ours[None]) @ Vt, theirs, atol=1e-12)


def test_bad_input_is_refused_in_a_line():
    key = jax.random.key(0)
    with pytest.raises(ValueError, match=r"at most min\(m, n\) repeated singular values.*repeated=13"):
        equivariance_defect(optax.sgd(0.1), key=key, repeated=13)
    with pytest.raises(ValueError, match=r"shapes \(\)"):
        equivariance_defect(optax.sgd(0.1), key=key, shapes=())
    with pytest.raises(ValueError, match="num_steps=0"):
        equivariance_defect(optax.sgd(0.1), key=key, num_steps=0)
    with pytest.raises(TypeError, match=r"wanted, with functions init and update, such as optax\.sgd\(0\.1\), got"):
        check_transform(optax.sgd)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"key": 0}, r"key must be one random key, such as jax\.random\.key\(0\), got 0"),
        ({"key": jax.random.split(jax.random.key(0))}, "key must be one random key"),
        ({"shapes": ((12.0, 12.0),)}, r"shapes must be pairs of whole numbers.*got \(\(12\.0, 12\.0\),\)"),
        ({"shapes": (12, 12)}, "shapes must be pairs of whole numbers"),
        ({"shapes": "12 x 12"}, "shapes must be pairs of whole numbers"),
        ({"repeated": 1.5}, "repeated must be a whole number, got 1.5"),
        ({"num_steps": 2.0}, "num_steps must be a whole number, got 2.0"),
        ({"num_steps": True, "key": None}, "key must be .*; num_steps must be a whole number, got True"),
    ],
)
def test_arguments_of_other_types_are_named(given, fault):
    usual = {"key": jax.random.key(0), "shapes": ((12, 12),), "repeated": 0, "num_steps": 10}
    check_arguments(**usual)
    check_arguments(**usual | {"key": jax.random.PRNGKey(0), "shapes": [[np.int64(3), 4]]})
    with pytest.raises(TypeError, match=fault):
        check_arguments(**usual | given)


@pytest.mark.parametrize("given", [0.1, None, jax.random.key(0), optax.GradientTransformation, optax.adam])
def test_what_is_no_transformation_is_named(given):
    with pytest.raises(TypeError, match=r"an optax transformation is wanted, .* such as optax\.sgd\(0\.1\), got"):
        check_transform(given)


def growing(name):
    """A transformation whose updates or state change their form in a step."""

    def update(updates, state, params=None):
        del params
        if name == "state":
            return updates, jnp.stack([state, state])
        return jax.tree.map(lambda G: jnp.stack([G, G]), updates), state

    return optax.GradientTransformation(lambda params: jnp.zeros(()), update)


@pytest.mark.parametrize(
    ("transform", "fault"),
    [
        (optax.lookahead(optax.sgd(0.1), 5, 0.5), r"fails with .*'fast'.*shapes \[\(12, 12\), \(8, 12\)\].*inner"),
        (optax.masked(optax.sgd(0.1), {"other": True}), "the transformation fails with"),
        (growing("state"), "the transformation's state must keep the shapes and dtypes of the start"),
        (growing("updates"), "the transformation's updates must keep|the transformation fails with"),
    ],
    ids=["pairs", "other tree", "state", "updates"],
)
def test_a_transformation_that_does_not_take_tuples_of_matrices_is_refused(transform, fault):
    with pytest.raises(ValueError, match=fault):
        equivariance_defect(transform, key=jax.random.key(0))
