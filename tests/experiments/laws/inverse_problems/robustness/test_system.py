"""Noise robustness: a step of the network with a ReLU, its errors and its oracle; short runs; gains in the summary."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from inverse_problems.robustness.cases import lawful
from synthetic import config_of, experiment_of, runs_of, verdict

from experiments.laws.inverse_problems.robustness import system as robustness
from experiments.runner.summary import summarized


def test_a_rectified_step_on_factored_data_is_that_on_all_samples():
    small = {"dimension": 9, "num_measurements": 7, "subspace_dimension": 2, "num_samples": 6, "num_tests": 3}
    words = [f"data.{name}={size}" for name, size in small.items()]
    config = config_of("inverse_union", "net.width=5", "net.depth=3", *words)
    system = robustness.dynamics(config)
    member, iterate = jax.jit(lambda key: system.init(key, {"opt.weight_decay": jnp.asarray(0.5)}, ()))(
        jax.random.key(0)
    )
    W1, W2, W3 = (np.asarray(W) for W in iterate.weights)
    problem = member.problem
    Y, X = np.asarray(problem.basis @ problem.coordinates), np.asarray(problem.targets)
    H = W2 @ W1 @ Y
    residual = W3 @ np.maximum(H, 0) - X
    back = (W3.T @ residual) * (H > 0)
    stepped, seen = jax.jit(lambda s: (system.step(4, s, member, ()), system.observe(4, s, member, ())))(iterate)
    W1_, W2_, W3_ = (np.asarray(W) for W in stepped.weights)
    np.testing.assert_allclose(W3_, (1 - 0.005) * W3 - 0.01 * residual @ np.maximum(H, 0).T, atol=1e-14)
    np.testing.assert_allclose(W2_, (1 - 0.005) * W2 - 0.01 * back @ (W1 @ Y).T, atol=1e-14)
    np.testing.assert_allclose(W1_, (1 - 0.005) * W1 - 0.01 * W2.T @ back @ Y.T, atol=1e-14)
    assert float(seen["rescaled_time"]) == pytest.approx(4 * 0.01 * 0.5, rel=1e-12)
    assert float(seen["regression_error"]) == pytest.approx(np.linalg.norm(residual) / np.linalg.norm(X), rel=1e-12)
    tests = member.tests
    noisy = np.asarray(tests.clean + 0.1 * tests.noise)
    errors = np.linalg.norm(W3 @ np.maximum(W2 @ W1 @ noisy, 0) - np.asarray(tests.signals), axis=0)
    assert float(seen["test_error"][config.data.noise.index(0.1)]) == pytest.approx(errors.mean(), rel=1e-12)
    assert float(seen["oracle_error"][0]) < 1e-12


def test_short_runs_are_not_judged_and_a_gain_needs_runs_without_decay():
    for name in ("inverse_robustness", "inverse_union"):
        rows = verdict(lawful, config_of(name, "num_seeds=2", "opt.num_steps=300"))
        assert {row.reason for id, row in rows.items() if id.startswith("F1")} == {"runs to eta t = 3, of 100 needed"}
    rows = verdict(lawful, config_of("inverse_digits", "num_seeds=2", "sweep.opt.weight_decay=(1e-3,1e-2)"))
    assert rows["digits.gain"].reason == "it compares runs with and without weight decay"


def test_the_summary_compares_every_weight_decay_with_none():
    config = config_of("inverse_robustness", "num_seeds=2")
    about = experiment_of(config)
    compared = summarized(runs_of(lawful, config), about.summary, about.comparisons)["comparisons"]
    assert [name.split(",")[0] for name in compared] == [
        f"test error with lambda = 0 over that with lambda = {value}" for value in ("0.001", "0.01", "0.03")
    ]
    for numbers in compared.values():
        assert numbers["min"] == pytest.approx(np.sqrt(200 * 95 / 100) / 2.3, rel=1e-12)


def test_without_noise_nothing_is_gained_and_the_summary_says_so():
    config = config_of("inverse_robustness", "num_seeds=2", "data.noise=(0.0,)")
    about = experiment_of(config)
    rows = summarized(runs_of(lawful, config), about.summary, about.comparisons)["runs"]
    (over_oracle,) = (numbers for name, numbers in rows[0]["columns"].items() if "oracle" in name)
    assert over_oracle == {"numbers": 0, "of": 2}
    assert verdict(lawful, config)["F1a.gain"].status == "fails"


def test_the_smoke_run_keeps_its_laws(smoke):
    folder, (code, _, err) = smoke("inverse_robustness")
    assert (code, err) == (0, "")
    rows = {row["id"]: row["status"] for row in json.loads((folder / "claims.json").read_text())["claims"]}
    judged = {id: status for id, status in rows.items() if status != "not_run"}
    # The smoke profile has other sizes than the figure.
    assert judged == {"W1.exact": "holds", "A2.rip": "not_judged"}
    assert (folder / "figures" / "robustness.png").exists()
