"""The experiments on inverse problems: their rules and their steps."""

import functools as ft
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import synthetic

from experiments.laws.inverse_problems.robustness import system as robustness
from experiments.laws.inverse_problems.theorem import system as theorem
from experiments.runner.checks import collect
from experiments.runner.settings import expand

NAMES = sorted(path.stem for path in synthetic.CONFIGS.glob("inverse_*.py"))

config_of = ft.partial(synthetic.config_of, num_seeds=2)


# Rules ----------------------------------------------------------------------------------------------------

RULES = {
    "s > n": (
        "inverse_dimension",
        {"data.subspace_dimension": 8, "data.num_samples": 7},
        "data.subspace_dimension = 8: must be at most data.num_samples = 7",
    ),
    "s = m": (
        "inverse_dimension",
        {"data.subspace_dimension": 128},
        "data.subspace_dimension = 128: must be below data.num_measurements = 128, or nothing lies off the subspace",
    ),
    "m = d": ("inverse_depth", {"data.dimension": 32}, "data.num_measurements = 32: must be below data.dimension = 32"),
    "kappa": (
        "inverse_depth",
        {"data.condition_number": 0.5},
        "data.condition_number = 0.5: must be a finite number >= 1.0",
    ),
    "no rescaled time": (
        "inverse_depth",
        {"opt.weight_decay": 0.0},
        "opt.rescaling_decay = 0.0: must be positive where opt.weight_decay is 0: a horizon is reached on the rescaled "
        "time eta lambda t",
    ),
    "T without decay": (
        "inverse_theorem",
        {"opt.rescaling_decay": 0.0},
        "opt.rescaling_decay = 0.0: must be a finite number > 0.0",
    ),
    "figures' weights": (
        "inverse_theorem",
        {"net.parametrization": "fan_in"},
        "net.parametrization = 'fan_in': must be one of 'ntk'",
    ),
    "noise": (
        "inverse_theorem",
        {"data.noise": (-1.0,)},
        "data.noise = (-1.0,): must be standard deviations of 0 or more",
    ),
    "many subspaces": (
        "inverse_robustness",
        {"data.num_subspaces": 2},
        "data.num_subspaces = 2: must be 1 for study = 'robustness': a linear network knows one subspace",
    ),
    "full union": (
        "inverse_union",
        {"data.num_subspaces": 20},
        "data.num_subspaces = 20: spans 100 dimensions, which must be below data.num_measurements and at most "
        "data.num_samples",
    ),
    "pixels": ("inverse_digits", {"data.dimension": 65}, "data.dimension = 65: must be 64 for the digits"),
    "tests": (
        "inverse_digits",
        {"data.num_tests": 298},
        "data.num_tests = 298: must be at most 297, the digits kept for tests",
    ),
}


@pytest.mark.parametrize(("name", "fields", "line"), RULES.values(), ids=RULES)
def test_every_rule_has_its_line(name, fields, line):
    config = config_of(name, f"variants=({fields!r},)")
    assert collect(config, synthetic.experiment_of(config).validate) == [line]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("profile", ["smoke", "cpu", "paper"])
def test_our_own_configs_pass(name, profile):
    config = config_of(name, profile=profile)
    assert collect(config, synthetic.experiment_of(config).validate) == []


# Networks -------------------------------------------------------------------------------------------------


def test_a_rectified_step_on_factored_data_is_that_on_all_samples():
    small = {"dimension": 9, "num_measurements": 7, "subspace_dimension": 2, "num_samples": 6, "num_tests": 3}
    words = [f"data.{name}={size}" for name, size in small.items()]
    config = config_of("inverse_union", "net.width=5", "net.depth=3", *words)
    system = robustness.dynamics(config)
    member, state = jax.jit(lambda key: system.init(key, {"opt.weight_decay": jnp.asarray(0.5)}, ()))(jax.random.key(0))
    W1, W2, W3 = (np.asarray(W) for W in state.iterate.weights)
    problem = member.problem
    Y, X = np.asarray(problem.basis @ problem.coordinates), np.asarray(problem.targets)
    H = W2 @ W1 @ Y
    residual = W3 @ np.maximum(H, 0) - X
    back = (W3.T @ residual) * (H > 0)
    stepped, seen = jax.jit(lambda s: (system.step(s, member, ()), system.observe(s, member, ())))(state)
    W1_, W2_, W3_ = (np.asarray(W) for W in stepped.iterate.weights)
    np.testing.assert_allclose(W3_, (1 - 0.005) * W3 - 0.01 * residual @ np.maximum(H, 0).T, atol=1e-14)
    np.testing.assert_allclose(W2_, (1 - 0.005) * W2 - 0.01 * back @ (W1 @ Y).T, atol=1e-14)
    np.testing.assert_allclose(W1_, (1 - 0.005) * W1 - 0.01 * W2.T @ back @ Y.T, atol=1e-14)
    assert float(seen["regression_error"]) == pytest.approx(np.linalg.norm(residual) / np.linalg.norm(X), rel=1e-12)
    tests = member.tests
    noisy = np.asarray(tests.clean + 0.1 * tests.noise)
    errors = np.linalg.norm(W3 @ np.maximum(W2 @ W1 @ noisy, 0) - np.asarray(tests.signals), axis=0)
    assert float(seen["test_error"][config.data.noise.index(0.1)]) == pytest.approx(errors.mean(), rel=1e-12)
    assert float(seen["oracle_error"][0]) < 1e-12


def test_the_theorems_state_follows_every_step():
    small = {"dimension": 9, "num_measurements": 6, "subspace_dimension": 2, "num_samples": 4, "num_tests": 3}
    fields = {"net.width": 12, "net.depth": 2} | {f"data.{name}": size for name, size in small.items()}
    ((_, config),) = expand(config_of("inverse_theorem", f"variants=({fields!r},)"))
    system = theorem.dynamics(config)
    member, state = jax.jit(lambda key: system.init(key, {}, ()))(jax.random.key(1))
    step, errors, rate = jax.jit(lambda s: system.step(s, member, ())), [], []
    gamma = 0.01 * np.sqrt(9 / 6)
    assert float(member.accuracy) == pytest.approx(gamma, rel=1e-12)
    eta = 0.25 * 6 / 2
    for _ in range(60):
        weights = state.state.iterate.weights
        residual = weights[1] @ weights[0] @ member.problem.inputs - member.problem.targets
        errors.append(float(jnp.linalg.norm(residual)) / np.sqrt(2))
        rate.append((float(state.state.first_phase_rate), int(state.state.first_phase_end)))
        state = step(state)
    tau = next(t for t, error in enumerate(errors) if error <= 80 * gamma / 2)
    assert 0 < tau < 59
    ratios = [after / before for before, after in itertools.pairwise(errors[: tau + 1])]
    assert rate[-1] == (pytest.approx(max(ratios) / (1 - eta * 2 / (32 * 6)), rel=1e-9), tau)
    assert float(state.state.second_phase_error) == pytest.approx(max(errors[tau:]), rel=1e-9)
    assert float(member.stopping_time) == np.ceil(2 * np.log(12) * 6 / (eta * 0.01))
