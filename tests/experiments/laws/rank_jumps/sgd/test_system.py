"""The experiment of rank jumps: its rules, its networks and what is monitored of them, its measures."""

import functools as ft

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from synthetic import config_of

from experiments.laws.rank_jumps.sgd import system as sgd
from experiments.laws.rank_jumps.sgd.claims import critical_ratio
from experiments.laws.rank_jumps.sgd.measures import high_periods, wilson
from experiments.runner.checks import collect
from experiments.runner.settings import expand

NAMES = ("jumps_annealing", "jumps_depth", "jumps_epsilon", "jumps_periodic")


# Rules ----------------------------------------------------------------------------------------------------

RULES = {
    "form": ({"opt.form": "printed"}, "opt.form = 'printed': must be one of 'figures', 'main_text', 'appendix'"),
    "epsilon": ({"data.epsilon": 0.0}, "data.epsilon = 0.0: must be a finite number > 0.0"),
    "depth": ({"net.depth": 1}, "net.depth = 1: must be an integer >= 2"),
    "init": ({"net.init": "he"}, "net.init = 'he': must be one of 'uniform', 'normal'"),
    "phases": (
        {"schedule.phases": ((-5, 0.1, 0.1),)},
        "schedule.phases = ((-5, 0.1, 0.1),): must be phases (num_steps, step_size, weight_decay), no number below 0",
    ),
    "tail": (
        {"schedule.tail": (0.1, 0.1, 0.1)},
        "schedule.tail = (0.1, 0.1, 0.1): must be (step_size, weight_decay), none below 0",
    ),
    "branch": (
        {"schedule.branch": 15_001},
        "schedule.branch = 15001: must end by opt.num_steps = 15000, with schedule.branch_steps = 0 after them",
    ),
    "put back": ({"monitor.put_back": "up"}, "monitor.put_back = 'up': must be one of 'never', 'low', 'high'"),
    "study": ({"study": "width"}, "study = 'width': must be one of 'annealing', 'depth', 'epsilon', 'periodic'"),
}


@pytest.mark.parametrize(("fields", "line"), RULES.values(), ids=RULES)
def test_every_rule_has_its_line(fields, line):
    assert collect(config_of("jumps_depth", f"variants=({fields!r},)"), sgd.validate) == [line]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("profile", ["smoke", "cpu", "paper"])
def test_our_own_configs_pass(name, profile):
    assert collect(config_of(name, profile=profile), sgd.validate) == []


# Networks and what is monitored of them ---------------------------------------------------------------------

SMALL = {
    "net.width": 5,
    "opt.num_steps": 40,
    "schedule.branch": 30,
    "schedule.branch_steps": 10,
    "schedule.phases": ((10, 0.03, 0.1),),
    "schedule.tail": (0.1, 0.2),
    "schedule.branch_step_size": 0.02,
    "schedule.branch_weight_decay": 0.001,
}


@ft.cache
def walked(put_back="never"):
    """Every state of a small network on its way, and the problem: the monitor's steps are compiled once."""
    ((_, config),) = expand(config_of("jumps_depth", f"variants=({SMALL | {'monitor.put_back': put_back}!r},)"))
    system = sgd.dynamics(config)
    problem, state = jax.jit(lambda key, hyperparameters: system.init(key, hyperparameters, ()))(jax.random.key(0), {})
    if put_back != "never":
        # The entry that the states made up below fit already: their steps only decay.
        problem = problem._replace(draws=0 * problem.draws)
    step, observe = jax.jit(lambda s: system.step(s, problem, ())), jax.jit(lambda s: system.observe(s, problem, ()))
    states = [state]
    for _ in range(40):
        states.append(step(states[-1]))
    return problem, states, observe, step


def test_steps_are_sgd_on_the_drawn_entries_with_the_scheduled_rates():
    problem, states, _, _ = walked()
    rates = [(0.03, 0.1)] * 10 + [(0.1, 0.2)] * 20 + [(0.02, 0.001)] * 10
    weights = [np.asarray(W) for W in states[0].state.network.weights]
    places = [((0, 0), 1.0), ((1, 0), 0.1), ((1, 1), 1.0)]
    for k, (eta, decay) in zip(np.asarray(problem.draws), rates, strict=True):
        W1, W2, W3 = weights
        (i, j), target = places[k]
        error = (W3 @ W2 @ W1)[i, j] - target
        G1 = 2 * error * np.outer((W3 @ W2)[i], np.eye(2)[j])
        G2 = 2 * error * np.outer(W3[i], W1[:, j])
        G3 = 2 * error * np.outer(np.eye(2)[i], (W2 @ W1)[:, j])
        weights = [(1 - eta * decay) * W - eta * G for W, G in zip(weights, (G1, G2, G3), strict=True)]
    for W, found in zip(weights, states[-1].state.network.weights, strict=True):
        np.testing.assert_allclose(found, W, atol=1e-13)
    assert [int(s.converged_at) for s in (states[39], states[40])] == [-1, 40]


def test_the_values_observed_are_those_of_a_decomposition():
    _, states, observe, _ = walked()
    seen, network = observe(states[-1]), states[-1].state.network
    A = np.linalg.multi_dot([np.asarray(W) for W in network.weights[::-1]])
    s = np.linalg.svd(A, compute_uv=False)
    np.testing.assert_allclose(seen["product"], A, atol=1e-15)
    assert float(seen["ratio"]) == pytest.approx(s[1] / s[0], rel=1e-12)
    sigma = np.linalg.svd(np.asarray(network.weights[0]), compute_uv=False)
    assert float(seen["first_sigma_2"]) == pytest.approx(sigma[1], rel=1e-12)
    ratios = [float(observe(state)["ratio"]) for state in states]
    assert int(seen["last_above"]) == max(t for t, ratio in enumerate(ratios) if ratio >= 1e-2)


def of_ratio(state, ratio):
    """The same state with a product of this s2/s1, by scaled columns of an orthogonal W_1 and unit layers above."""
    network = state.state.network
    eye = jnp.eye(5)
    weights = (eye[:, :2] * jnp.asarray([[1.0, ratio]]), eye, eye[:2])
    tracked = sgd.track(weights)
    return state._replace(state=state.state._replace(network=network._replace(**tracked._asdict())))


@pytest.mark.parametrize("ratio", [0.3, 1e-3, 1e-9])
def test_small_ratios_and_second_values_keep_their_digits(ratio):
    _, states, observe, _ = walked()
    seen = observe(of_ratio(states[0], ratio))
    assert float(seen["ratio"]) == pytest.approx(ratio, rel=1e-12)
    assert float(seen["first_sigma_2"]) == pytest.approx(ratio, rel=1e-12)


def test_a_state_that_falls_low_is_put_back_where_it_entered():
    _, states, observe, step = walked("low")
    assert int(step(of_ratio(states[0], 8e-4)).state.monitor.monitored) == 0  # not yet: it was above 1e-2 just before
    long_below = states[0].state.monitor._replace(last_above=jnp.asarray(-19, jnp.int32))
    start = states[0]._replace(state=states[0].state._replace(monitor=long_below))
    entered = step(of_ratio(start, 8e-4))
    saved = entered.state.monitor.saved
    assert int(entered.state.monitor.monitored) == 1
    np.testing.assert_array_equal(saved.product, entered.state.network.product)
    fallen = step(of_ratio(entered, 1e-6))
    np.testing.assert_array_equal(fallen.state.network.product, saved.product)
    risen = step(of_ratio(fallen, 0.3))
    seen = observe(risen)
    assert (int(seen["monitored"]), int(seen["returned"])) == (3, 1)
    assert float(seen["highest"]) == pytest.approx(float(seen["ratio"]), rel=1e-12)
    assert float(seen["highest"]) > 0.1


def test_weights_that_are_not_finite_are_seen_in_the_product():
    _, states, _, step = walked()
    bad = [W.at[0, 0].set(jnp.nan) for W in states[5].state.network.weights]
    for layer in range(3):
        weights = tuple(bad[i] if i == layer else W for i, W in enumerate(states[5].state.network.weights))
        state = states[5].state._replace(network=sgd.track(weights))
        assert int(step(states[5]._replace(state=state)).diverged_at) == 6


# Measures -------------------------------------------------------------------------------------------------


def test_wilsons_interval_solves_its_quadratic():
    low, p, high = wilson(np.arange(64) < 20)
    for end in (low, high):
        assert (p - end) ** 2 == pytest.approx(1.959964**2 * end * (1 - end) / 64, rel=1e-9)
    assert low < p < high


def test_the_critical_point_of_rank_2_is_stationary_for_balanced_layers():
    config = config_of("jumps_annealing")
    ratio = critical_ratio(config, 0.25)
    # Full-batch descent from near it, on W_3 W_2 W_1 of width 2, ends there.
    A = jnp.asarray([[0.75, 0.4], [0.15, 0.75]])
    U, s, Vt = jnp.linalg.svd(A)
    root = jnp.diag(s ** (1 / 3))
    targets, mask = jnp.asarray([[1, 0], [0.25, 1]]), jnp.asarray([[1.0, 0], [1, 1]])

    def loss(weights):
        A = weights[2] @ weights[1] @ weights[0]
        ridge = sum(jnp.sum(jnp.square(W)) for W in weights)
        return jnp.sum(mask * jnp.square(A - targets)) / 6 + 0.025 * ridge

    def step(_, weights):
        return jax.tree.map(lambda W, G: W - 0.3 * G, weights, jax.grad(loss)(weights))

    weights = jax.jit(lambda W: jax.lax.fori_loop(0, 20_000, step, W))((root @ Vt, root, U @ root))
    s = np.linalg.svd(np.linalg.multi_dot([np.asarray(W) for W in weights[::-1]]), compute_uv=False)
    assert s[1] / s[0] == pytest.approx(ratio, rel=1e-3)


def test_high_periods_are_those_of_the_largest_step():
    assert high_periods(config_of("jumps_periodic")) == [(500, 5500), (10_500, 15_500)]
