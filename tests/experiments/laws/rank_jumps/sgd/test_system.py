"""The experiment of rank jumps: its networks and their monitor, its measures, a run to the end."""

import functools as ft
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from synthetic import cases_of, config_of, runs_of, verdict

from experiments.laws.rank_jumps.sgd import system as sgd
from experiments.laws.rank_jumps.sgd.measures import critical_ratio, high_periods, plateau
from experiments.runner.settings import expand
from lawlib.descent.single_entry import track

# Networks and their monitor. ------------------------------------------------------------------------------------------

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
    step = jax.jit(lambda t, s: system.step(t, s, problem, ()))
    observe = jax.jit(lambda s: system.observe(jnp.asarray(0), s, problem, ()))
    states = [state]
    for t in range(40):
        states.append(step(t, states[-1]))
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
    tracked = track(weights)
    return state._replace(state=state.state._replace(network=network._replace(**tracked._asdict())))


@pytest.mark.parametrize("ratio", [0.3, 1e-3, 1e-9])
def test_small_ratios_and_second_values_keep_their_digits(ratio):
    _, states, observe, _ = walked()
    seen = observe(of_ratio(states[0], ratio))
    assert float(seen["ratio"]) == pytest.approx(ratio, rel=1e-12)
    assert float(seen["first_sigma_2"]) == pytest.approx(ratio, rel=1e-12)


def test_a_state_that_falls_low_is_put_back_where_it_entered():
    _, states, observe, step = walked("low")
    # Not yet: it was above 1e-2 fewer than 20 steps before.
    assert int(step(18, of_ratio(states[0], 8e-4)).state.monitor.monitored) == 0
    entered = step(19, of_ratio(states[0], 8e-4))
    saved = entered.state.monitor.saved
    assert int(entered.state.monitor.monitored) == 1
    np.testing.assert_array_equal(saved.product, entered.state.network.product)
    fallen = step(20, of_ratio(entered, 1e-6))
    np.testing.assert_array_equal(fallen.state.network.product, saved.product)
    risen = step(21, of_ratio(fallen, 0.3))
    seen = observe(risen)
    assert (int(seen["monitored"]), int(seen["returned"])) == (3, 1)
    assert float(seen["highest"]) == pytest.approx(float(seen["ratio"]), rel=1e-12)
    assert float(seen["highest"]) > 0.1


def test_weights_that_are_not_finite_are_seen_in_the_product():
    _, states, _, step = walked()
    bad = [W.at[0, 0].set(jnp.nan) for W in states[5].state.network.weights]
    for layer in range(3):
        weights = tuple(bad[i] if i == layer else W for i, W in enumerate(states[5].state.network.weights))
        state = states[5].state._replace(network=track(weights))
        assert int(step(5, states[5]._replace(state=state)).diverged_at) == 6


# Measures. ------------------------------------------------------------------------------------------------------------


def test_the_critical_point_of_rank_2_is_stationary_for_balanced_layers():
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
    assert s[1] / s[0] == pytest.approx(critical_ratio(config_of("jumps_annealing")), rel=1e-3)


def test_high_periods_are_those_of_the_largest_step():
    assert high_periods(config_of("jumps_periodic")) == [(500, 5500), (10_500, 15_500)]


def lawful(name, change=lambda name, seen: None, *words):
    return runs_of(cases_of("rank_jumps.sgd").lawful, config_of(name, *words), change)


def test_a_plateau_ends_before_the_jump_and_too_short_a_one_is_left_out():
    def falls(name, seen):
        seen["ratio"][:] = 1.0 / (1 + np.arange(seen["ratio"].shape[1]))
        seen["last_above"][:] = np.array([1399, 1999, 2799])[:, None]

    run, *_ = lawful("jumps_depth", falls, "num_seeds=3")
    # Observed every 100 steps; the plateaus end at 900, 1500 and 2300.
    assert plateau(run) == pytest.approx([(1 / 13 + 1 / 14) / 2, (1 / 17 + 1 / 18) / 2])


# Results. -------------------------------------------------------------------------------------------------------------


def test_a_member_that_diverges_has_not_jumped_and_is_counted():
    def diverges(name, seen):
        seen["diverged_at"][-1] = 800

    rows = verdict(cases_of("rank_jumps.sgd").lawful, config_of("jumps_periodic"), diverges)
    assert (rows["F4.jump"].measured, rows["F4.jump"].diverged, rows["F4.jump"].status) == (63 / 64, 1, "holds")


def test_branches_make_the_steps_of_their_run_and_figures_are_drawn(smoke):
    folder, (code, _, err) = smoke("jumps_annealing")
    assert code == 0, err
    with xr.open_datatree(folder / "results.nc", engine="h5netcdf") as results:
        data = results["annealing"].to_dataset()
        early, late = (data.sel(branch=branch) for branch in (600, 800))
        apart = np.abs(early["product"] - late["product"]).max(["row", "column", "seed"])
        assert np.all(apart.sel(step=slice(0, 600)) == 0)
        assert np.all(apart.sel(step=slice(700, 800)) > 1e-3)
    claims = json.loads((folder / "claims.json").read_text())["claims"]
    assert {claim["status"] for claim in claims} == {"holds", "not_run"}
    drawn = {path.stem for path in (folder / "figures").glob("*.png")}
    assert drawn == {"branches", "jump_times", "one_way", "decline"}
