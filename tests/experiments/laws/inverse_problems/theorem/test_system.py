"""Theorem A.2: its state at every step, the bounds of Corollary 2.6, members that do not reach T."""

import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from inverse_problems.theorem.cases import lawful
from synthetic import config_of, runs_of, verdict

from experiments.laws.inverse_problems.theorem import system as theorem
from experiments.laws.inverse_problems.theorem.measures import lower_bound, upper_bound
from experiments.runner.settings import expand


def test_the_theorems_state_follows_every_step():
    small = {"dimension": 9, "num_measurements": 6, "subspace_dimension": 2, "num_samples": 4, "num_tests": 3}
    fields = {"net.width": 12, "net.depth": 2} | {f"data.{name}": size for name, size in small.items()}
    ((_, config),) = expand(config_of("inverse_theorem", f"variants=({fields!r},)"))
    system = theorem.dynamics(config)
    member, state = jax.jit(lambda key: system.init(key, {}, ()))(jax.random.key(1))
    step, errors, rate = jax.jit(lambda t, s: system.step(t, s, member, ())), [], []
    gamma = 0.01 * np.sqrt(9 / 6)
    assert float(member.accuracy) == pytest.approx(gamma, rel=1e-12)
    eta = 0.25 * 6 / 2
    for t in range(60):
        weights = state.state.iterate.weights
        residual = weights[1] @ weights[0] @ member.problem.inputs - member.problem.targets
        errors.append(float(jnp.linalg.norm(residual)) / np.sqrt(2))
        rate.append((float(state.state.first_phase_rate), int(state.state.first_phase_end)))
        state = step(t, state)
    tau = next(t for t, error in enumerate(errors) if error <= 80 * gamma / 2)
    assert 0 < tau < 59
    ratios = [after / before for before, after in itertools.pairwise(errors[: tau + 1])]
    assert rate[-1] == (pytest.approx(max(ratios) / (1 - eta * 2 / (32 * 6)), rel=1e-9), tau)
    assert float(state.state.second_phase_error) == pytest.approx(max(errors[tau:]), rel=1e-9)
    last = np.ceil(2 * np.log(12) * 6 / (eta * 0.01))
    assert float(member.stopping_time) == last
    assert int(step(int(last) - 2, state).converged_at) == -1
    assert int(step(int(last) - 1, state).converged_at) == last


def test_the_bounds_are_those_of_the_corollary():
    *_, widest, plain = runs_of(lawful, config_of("inverse_theorem", "num_seeds=2"))
    sigma = np.asarray(plain.config.data.noise)
    upper = 0.01 * 2**0.5 * 2 + 512**-1.5 + 2 * sigma
    np.testing.assert_allclose(upper_bound(widest), [upper] * 2, rtol=1e-12)
    lower = sigma * (np.sqrt(64 * 28 / 32) - 2) - 1e-14 * 2 * np.sqrt(1 + 32 * sigma**2)
    np.testing.assert_allclose(lower_bound(plain), [lower] * 2, rtol=1e-12, atol=1e-16)


def cut(*variants):
    def change(name, seen):
        if name in variants:
            seen["converged_at"][0], seen["off_subspace_error"][0] = -1, 1.0

    return change


def test_members_that_do_not_reach_T_are_not_judged():
    rows = verdict(lawful, config_of("inverse_theorem", "num_seeds=2"), cut("w64", "w256"))
    assert (rows["A2.off"].status, rows["A2.off"].members) == ("holds", 6)
    assert (rows["A2.slope"].status, rows["A2.slope"].reason) == ("not_reached", "2 of 8 members did not reach T")
    rows = verdict(lawful, config_of("inverse_theorem", "num_seeds=1"), cut("no_decay"))
    assert (rows["C2.6.lower"].status, rows["A2.slope"].status) == ("not_reached", "holds")


def test_the_smoke_run_keeps_its_laws(smoke):
    folder, (code, _, err) = smoke("inverse_theorem")
    assert (code, err) == (0, "")
    rows = {row["id"]: row["status"] for row in json.loads((folder / "claims.json").read_text())["claims"]}
    assert {rows[id] for id in ("A2.rate", "A2.off", "A2.slope", "W1.exact")} == {"holds"}
    assert (folder / "figures" / "phases.png").exists()
