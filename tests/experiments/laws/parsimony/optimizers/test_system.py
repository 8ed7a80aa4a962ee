"""The experiment of other optimizers: its steps and observations by numpy, its methods, and a smoke run."""

import functools as ft
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import synthetic

from experiments.laws.parsimony.optimizers import EXPERIMENT, system
from experiments.laws.parsimony.optimizers.measures import alone, certified, left_at, share
from experiments.laws.parsimony.optimizers.methods import METHODS, Rates, is_equivariant
from experiments.runner.runs import runs
from experiments.runner.settings import expand
from lawlib.dynamics.system import simulate
from lawlib.theory.equivariance import equivariance_defect

config_of = ft.partial(synthetic.config_of, "dln_optimizers")
lawful = synthetic.cases_of("parsimony.optimizers").lawful
SIZES = {"net.width": 8, "data.rank": 2, "data.num_samples": 20}


def methods(*names, rate=0.02):
    return {"opt.methods": names, "opt.step_sizes": (rate,) * len(names)}


def observed(times, keep=(), **fields):
    """The trajectory of one member, with the states at some of the times, and the observations by name."""
    ((_, config),) = expand(config_of(f"variants=({SIZES | fields!r},)"))
    ran = jax.jit(lambda key: simulate(system.dynamics(config), key, {}, (), times, keep=keep))(jax.random.key(0))
    return ran, {name: np.asarray(values) for name, values in ran.observations.items()}


def weights_of(ran, place=0):
    return [np.asarray(W) for W in ran.state.state[place].whole.weights]


def start_of(ran):
    """The weights at the first step that was kept."""
    return [np.asarray(W[0]) for W in ran.kept.state[0].whole.weights]


def gradients(weights, X, Y):
    A, B, C = weights
    residual = C @ B @ A @ X - Y
    return (C @ B).T @ residual @ X.T, C.T @ residual @ (A @ X).T, residual @ (B @ A @ X).T


@pytest.mark.parametrize("source", ["low_rank", "gaussian"])
def test_every_optimizer_starts_from_the_same_weights_and_makes_its_own_step(source):
    names = ("gd", "sign", "clipped")
    ran, seen = observed((0, 1), (0,), **methods(*names), **{"data.source": source})
    inputs, targets = ran.problem.data
    X, Y = np.eye(8) if inputs is None else np.asarray(inputs), np.asarray(targets)
    before = start_of(ran)
    np.testing.assert_allclose(X @ X.T, np.eye(8), atol=1e-13)
    G = gradients(before, X, Y)
    norm = np.sqrt(sum(np.sum(g**2) for g in G))
    steps = (lambda g: g, np.sign, lambda g: g / max(norm, 1))
    for place, direction in enumerate(steps):
        for W, old, g in zip(weights_of(ran, place), before, G, strict=True):
            np.testing.assert_allclose(W, old - 0.02 * direction(g), rtol=1e-10, atol=1e-12)
    A, B, C = weights_of(ran)
    np.testing.assert_allclose(seen["loss"][1, 0], np.sum((C @ B @ A @ X - Y) ** 2) / 2, rtol=1e-12)


def test_what_is_observed_is_the_distance_from_a_multiple_of_the_start():
    """By numpy, of an optimizer that breaks the law, with c from the idle block."""
    ran, seen = observed((4,), **methods("adam"))
    frames, start = ran.problem.frames, ran.problem.start
    for layer, W in enumerate(weights_of(ran)):
        left, right = np.asarray(frames[layer + 1].idle), np.asarray(frames[layer].idle)
        c = np.trace(left.T @ W @ right) / 4
        rest = np.linalg.svd(W - c * np.asarray(start[layer]), compute_uv=False)
        np.testing.assert_allclose(seen["idle_value"][0, 0, layer], c, rtol=1e-10)
        np.testing.assert_allclose(seen["excess"][0, 0, layer], rest[4], rtol=1e-9)
        np.testing.assert_allclose(seen["movement"][0, 0, layer], rest[0], rtol=1e-10)
        s = np.linalg.svd(W, compute_uv=False)
        np.testing.assert_allclose(seen["singular_values"][0, 0, layer], s, rtol=1e-10)
        off = np.sum((left.T @ W @ right - c * np.eye(4)) ** 2)
        off += np.sum((left.T @ W) ** 2) - np.sum((left.T @ W @ right) ** 2)
        off += np.sum((W @ right) ** 2) - np.sum((left.T @ W @ right) ** 2)
        np.testing.assert_allclose(seen["block_deviation"][0, 0, layer], np.sqrt(off), rtol=1e-8)
        assert seen["num_moved"][0, 0, layer] == 8
    assert seen["excess"].min() > 1e-3
    assert np.isnan(seen["difference"]).all()


def test_the_last_layer_of_case_2_has_to_ignore_idle_directions():
    """At the start every other layer keeps the law: what is seen is the last layer's leak alone."""
    fields = methods("gd") | {"data.source": "gaussian", "net.depth": 2}
    ran, seen = observed((0,), **fields)
    assert seen["block_deviation"].shape == (1, 1, 1)
    assert seen["block_deviation"].max() < 1e-14
    ((_, config),) = expand(config_of(f"variants=({SIZES | fields!r},)"))
    (nets,), idle = ran.state.state, ran.problem.frames[1].idle
    first, last = nets.whole.weights
    leaking = nets._replace(whole=nets.whole._replace(weights=(first, last + 0.5 * jnp.ones((2, 4)) @ idle.T)))
    observe = jax.jit(lambda state: system.dynamics(config).observe(jnp.asarray(0), state, ran.problem, ()))
    found = observe(ran.state._replace(state=(leaking,)))
    np.testing.assert_allclose(found["block_deviation"], [[0.5 * np.sqrt(8)]], rtol=1e-12)


def test_a_batch_is_drawn_anew_and_weighted_to_the_size_of_all_data():
    fields = methods("gd") | {"data.source": "gaussian", "opt.batch_size": 5}
    ran, seen = observed((0, 1), (0,), **fields)
    X, Y = (np.asarray(each) for each in ran.problem.data)
    count = 20
    chosen = np.asarray(jax.random.choice(jax.random.fold_in(ran.problem.key, 0), count, (5,), replace=False))
    assert len(set(chosen.tolist())) == 5
    before = start_of(ran)
    for W, old, g in zip(weights_of(ran), before, gradients(before, X[:, chosen], Y[:, chosen]), strict=True):
        np.testing.assert_allclose(W, old - 0.02 * 4 * g, rtol=1e-10, atol=1e-12)
    # No small network follows a batch, whose inputs are not white.
    assert np.isnan(seen["predicted_idle_value"]).all()


@pytest.mark.parametrize("name", METHODS)
def test_each_method_is_of_the_kind_that_its_defect_says(name):
    # The leading singular value is always above the repeated ones, whose vectors GaLore may not pick.
    rates = Rates(0.05, 0.9, 0.1, 1.0, 0.1, jnp.asarray(0.999), jnp.asarray(1e-8), rank=1)
    defect = float(equivariance_defect(METHODS[name].build(rates), key=jax.random.key(0), repeated=5))
    assert defect < 1e-9 if is_equivariant(name) else defect > 0.2


def test_a_multiple_of_the_start_is_never_nearer_than_certified():
    """Against the best multiple on a grid, for a matrix without structure and for one that keeps the law."""
    rng = np.random.default_rng(0)
    Q, _ = np.linalg.qr(rng.standard_normal((30, 30)))
    noise, low = rng.standard_normal((30, 30)), rng.standard_normal((30, 3)) @ rng.standard_normal((3, 30))
    (run, *_) = synthetic.runs_of(lawful, config_of("num_seeds=1", "observe.num_times=2"))
    for W, least in ((0.7 * Q + 0.3 * noise, 1e-2), (0.7 * Q + low, None)):
        s = np.linalg.svd(W, compute_uv=False)
        one = alone(run, "adam")
        values = one.data.singular_values.copy(data=np.broadcast_to(s, one.data.singular_values.shape))
        found = float(certified(one._replace(data=one.data.assign(singular_values=values)))[0]) * s[0]
        best = min(np.linalg.svd(W - c * Q, compute_uv=False)[6] for c in np.linspace(-2, 2, 401))
        assert found <= best + 1e-12
        assert found < 1e-12 if least is None else found > least


def test_the_step_at_which_directions_leave_and_their_share():
    (run, *_) = synthetic.runs_of(lawful, config_of("num_seeds=2", "observe.num_times=6"))
    adam, gd = alone(run, "adam"), alone(run, "gd")
    adam.data["excess"].values[0, 1] = 0.02
    np.testing.assert_array_equal(left_at(adam), [run.steps[2], run.steps[1]])
    np.testing.assert_array_equal(left_at(gd), [np.inf, np.inf])
    np.testing.assert_allclose(share(adam)[0], [0, 0.02, 0.4, 0.4, 0.4, 0.4])


def test_every_optimizer_has_a_panel_that_says_whether_it_is_entrywise():
    config = config_of("num_seeds=2", "observe.num_times=6")
    drawn = EXPERIMENT.figures(runs(synthetic.results_of(lawful, config), drawn=True))
    assert drawn.keys() == {"spectra", "deviations", "leaving"}
    titles = [axes.get_title() for axes in drawn["spectra"].axes if axes.get_title()]
    assert len(titles) == len(METHODS)
    assert sum("entrywise" in title for title in titles) == 4
    assert len(drawn["leaving"].axes) == 3


def test_the_smoke_run_keeps_the_law_for_the_equivariant(smoke):
    folder, (code, _, err) = smoke("dln_optimizers")
    assert (code, err) == (0, "")
    rows = {row["id"]: row for row in json.loads((folder / "claims.json").read_text())["claims"]}
    kept = {f"OPT.{law}[{name}]" for law in ("excess", "block", "count") for name in ("Nesterov", "Muon", "GaLore")}
    kept |= {f"OPT.{law}[{name}]" for law in ("idle", "small") for name in ("Nesterov", "Muon")}
    assert {id for id, row in rows.items() if row["status"] == "holds"} == kept
    assert rows["OPT.general[Adam, Case 2]"]["measured"] > 0.02


def test_the_smoke_run_of_muon_is_that_of_its_small_network(smoke):
    folder, (code, _, err) = smoke("dln_muon")
    assert (code, err) == (0, "")
    rows = json.loads((folder / "claims.json").read_text())["claims"]
    assert {(row["id"], row["status"]) for row in rows} == {
        (f"OPT.{law}[{name}]", "holds")
        for law in ("excess", "block", "count", "idle", "small")
        for name in ("Muon", "Nesterov")
    }
