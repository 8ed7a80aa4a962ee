"""The two adapters of the linear setting: one run to the end, and a step of each loss by hand."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import synthetic

from experiments.laws.deep_lora.linear.system import dynamics
from experiments.runner.settings import expand


def test_a_smoke_run_holds_every_claim_and_draws_its_figure(smoke):
    folder, (code, out, err) = smoke("deep_lora")
    assert code == 0, out + err
    claims = json.loads((folder / "claims.json").read_text())["claims"]
    assert {claim["status"] for claim in claims} == {"holds"}
    assert {path.stem for path in (folder / "figures").glob("*.png")} == {"linear"}


def started(kind, decay):
    """The system with problem and state of one member."""
    words = (
        "net.width=14",
        "data.rank=3",
        "data.num_samples=4",
        f"variants=({{'name': 'one', 'net.kind': {kind!r}}},)",
    )
    ((_, config),) = expand(synthetic.config_of("deep_lora", *words, profile="smoke"))
    system = dynamics(config)
    given = {"opt.weight_decay": jnp.asarray(decay)}
    return system, config, *system.init(jax.random.key(3), given, ())


@pytest.mark.parametrize("kind", ["whitened", "classes"])
def test_the_factors_descend_by_their_gradient_in_finite_differences(kind):
    """A step moves a factor by -eta times the loss's derivative, which differences of the observed loss give."""
    system, config, problems, states = started(kind, 0.1)
    moved = system.step(jnp.asarray(0), states, problems, ()).state.first.weights
    state, rng = states.state, np.random.default_rng(0)

    def loss(weights):
        other = states._replace(state=state._replace(first=state.first._replace(weights=weights)))
        return float(system.observe(jnp.asarray(0), other, problems, ())["full_loss"])

    for layer, W in enumerate(state.first.weights):
        direction = jnp.asarray(rng.standard_normal(W.shape))
        ahead, behind = (
            (*state.first.weights[:layer], W + h * direction, *state.first.weights[layer + 1 :]) for h in (1e-5, -1e-5)
        )
        slope = (loss(ahead) - loss(behind)) / 2e-5
        wanted = -config.opt.step_size * (slope + 0.1 * float(jnp.sum(W * direction)))
        assert float(jnp.sum((moved[layer] - W) * direction)) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("kind", ["whitened", "classes", "control"])
def test_the_control_alone_has_bases_that_do_not_belong_to_the_factors(kind):
    _, _, problems, _ = started(kind, 0.0)
    problem = problems.first
    W1, W2, W3 = (np.asarray(W) / 0.1 for W in problem.drawn)
    apart = np.abs(W3 @ W2 @ W1 @ problem.bases.right - problem.bases.left).max()
    assert apart > 0.1 if kind == "control" else apart < 1e-12


def test_the_compressed_adapter_keeps_its_bases():
    system, _, problems, states = started("classes", 0.1)
    for t in range(3):
        states = system.step(jnp.asarray(t), states, problems, ())
    adapter = states.state.second.weights
    np.testing.assert_array_equal(adapter.left, problems.second.bases.left)
    np.testing.assert_array_equal(adapter.right, problems.second.bases.right)
