"""Adapters of a frozen network on digits: one run, the start of each form, and a step of Adam by hand."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import synthetic
from sklearn.datasets import load_digits

from experiments.laws.deep_lora.digits.system import dynamics, shared
from experiments.runner.settings import expand
from lawlib.compress import adapters


def of_form(form, **fields):
    """The system, its data, problem and state of one member, in float64."""
    given = {"name": "one", "net.form": form, "net.rank": 6, "net.width": 20, "source.num_steps": 5} | fields
    words = ("precision='float64'", f"variants=({given!r},)")
    ((_, config),) = expand(synthetic.config_of("deep_lora_digits", *words, profile="smoke"))
    data, system = shared(config), dynamics(config)
    return system, data, *system.init(jax.random.key(1), {"opt.step_size": jnp.asarray(0.01)}, data)


def test_a_smoke_run_ends_with_a_verdict_on_every_claim_and_draws_both_figures(smoke):
    folder, (code, out, err) = smoke("deep_lora_digits")
    assert code == 0, out + err
    claims = json.loads((folder / "claims.json").read_text())["claims"]
    assert {claim["id"].partition("[")[0] for claim in claims} == {"DD.start", "DD.adapts", "DD.near", "DD.lower"}
    assert {path.stem for path in (folder / "figures").glob("*.png")} == {"rank", "training"}


def test_the_bases_hold_the_gradient_of_the_frozen_matrix():
    """The dense gradient, by differences of the loss that is observed with the frozen matrix moved."""
    system, data, problem, state = of_form("deep", **{"net.scale": 1e-9})
    left, _, right = state.state.weights

    def loss(frozen):
        moved = data._replace(frozen=frozen)
        return float(system.observe(jnp.asarray(0), state, problem, moved)["train_loss"])

    gradient, h = np.zeros((20, 20)), 1e-6
    for at in np.ndindex(20, 20):
        move = jnp.zeros((20, 20)).at[at].set(h)
        gradient[at] = (loss(data.frozen + move) - loss(data.frozen - move)) / (2 * h)
    U, _, Vt = np.linalg.svd(gradient)
    np.testing.assert_allclose(left @ (left.T @ U[:, :3]), U[:, :3], atol=1e-6)
    np.testing.assert_allclose(right @ (right.T @ Vt[:3].T), Vt[:3].T, atol=1e-6)


@pytest.mark.parametrize("form", ["lora", "deep", "full"])
def test_an_adapter_starts_at_the_frozen_network_and_learns(form):
    system, data, problem, state = of_form(form)
    before = system.observe(jnp.asarray(0), state, problem, data)
    assert before["test_loss"] == pytest.approx(float(before["frozen_loss"]), rel=0 if form == "lora" else 0.02)
    for t in range(5):
        state = system.step(jnp.asarray(t), state, problem, data)
    after = system.observe(jnp.asarray(5), state, problem, data)
    assert float(after["train_loss"]) < float(before["train_loss"])


@pytest.mark.parametrize("gamma", [0.0, 0.25])
def test_the_first_step_of_adam_moves_the_bases_by_gamma_times_the_step_size(gamma):
    """Adam's first step is its step size times the sign of the gradient, up to its eps of 1e-8."""
    system, data, problem, state = of_form("deep", **{"net.outer": gamma, "net.scale": 0.5})
    before, after = state.state.weights, system.step(jnp.asarray(0), state, problem, data).state.weights
    for old, new, size in ((before.left, after.left, gamma), (before.core[1], after.core[1], 1.0)):
        assert np.median(np.abs(new - old)) == pytest.approx(0.01 * size, rel=1e-3)


def test_members_draw_their_own_digits_and_none_of_the_test_digits():
    _, data, problem, _ = of_form("lora")
    columns = {tuple(column) for column in np.asarray(data.test.features).T}
    drawn = [tuple(column) for column in np.asarray(problem.train.features).T]
    assert len(set(drawn)) == len(drawn) == 64
    assert not columns & set(drawn)


def test_the_network_has_learned_mirrored_digits_and_not_the_digits_as_they_are():
    system, data, problem, state = of_form("lora", **{"net.width": 64, "source.num_steps": 150})
    frozen = float(system.observe(jnp.asarray(0), state, problem, data)["test_accuracy"])
    assert 0.2 < frozen < 0.6


def test_the_test_digits_are_those_after_the_ones_to_draw_from():
    _, data, _, _ = of_form("lora")
    order = np.random.default_rng(0).permutation(1797)
    np.testing.assert_array_equal(data.test.labels.argmax(0), load_digits().target[order[1000:]])


@pytest.mark.parametrize("form", ["lora", "deep", "full"])
def test_singular_values_are_counted_above_a_hundredth_of_the_largest(form):
    """Delta with singular values 1, 0.5, 0.011 and 0.009, whatever the form."""
    system, data, problem, state = of_form(form)
    values = jnp.diag(jnp.asarray([1.0, 0.5, 0.011, 0.009, 0.0, 0.0]))
    rng = np.random.default_rng(0)
    left, right = (jnp.asarray(np.linalg.qr(rng.standard_normal((20, 6)))[0]) for _ in range(2))
    weights = {
        "lora": adapters.Adapter(left @ values, (), right),
        "deep": adapters.Adapter(left, (values, 3.0 * jnp.eye(6), jnp.eye(6)), right),
        "full": (left @ values @ right.T, jnp.eye(20), 3.0 * jnp.eye(20)),
    }[form]
    state = state._replace(state=state.state._replace(weights=weights))
    assert float(system.observe(jnp.asarray(0), state, problem, data)["change_rank"]) == 3
