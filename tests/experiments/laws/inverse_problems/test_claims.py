"""The experiments on inverse problems: their verdicts on made-up results, their figures, two runs to the end."""

import json

import numpy as np
import pytest
import synthetic

from experiments.laws.inverse_problems.decay import system as decay_system
from experiments.laws.inverse_problems.robustness import system as robustness
from experiments.laws.inverse_problems.theorem import system as theorem
from experiments.runner.run import observation_times
from experiments.runner.settings import hyperparameters
from lawlib.dynamics.sweep import grid

EXPERIMENTS = {
    "inverse_dimension": decay_system,
    "inverse_depth": decay_system,
    "inverse_decay": decay_system,
    "inverse_theorem": theorem,
    "inverse_robustness": robustness,
    "inverse_union": robustness,
    "inverse_digits": robustness,
}


# Claims ---------------------------------------------------------------------------------------------------


def at_rest(rho, decay, depth):
    """(1 - q) = lambda rho^(-2/L) q^(2/L-1) by fixed-point iteration; the root mean square of 1 - q."""
    q = np.ones_like(rho)
    for _ in range(30):
        q = 1 - decay * rho ** (-2 / depth) * q ** (2 / depth - 1)
    return np.sqrt(np.mean((1 - q) ** 2, axis=1))


def lawful_decay(config):
    """Observations of members that obey every law, members first and times second."""
    times, members = observation_times(config), grid(config.num_seeds, hyperparameters(config), "float64")
    n, s, depth = len(members.seeds), config.data.subspace_dimension, config.net.depth
    marks = {"converged_at": np.full(n, times[-1]), "diverged_at": np.full(n, -1)}
    if config.study == "compression":
        return marks | {"weight_gap": np.full((n, len(times)), 1e-15)}
    decay = members.hyperparameters.get("opt.weight_decay", np.full(n, config.opt.weight_decay))
    horizon = config.opt.horizon or 1.0
    ahead = (
        times
        / times[-1]
        * horizon
        * np.where(config.opt.rescaling_decay > 0, decay / (config.opt.rescaling_decay or 1), 1)[:, None]
    )
    rho = np.linspace(0.8, 1.2, s)
    plateaus = at_rest(rho[None, :], decay[:, None], depth)
    rise = 1 - 0.5 * np.exp(-ahead)
    fit = np.where(decay[:, None] > 0, plateaus[:, None] * rise / rise[:, -1:], np.where(times > 0, 1e-14, 1.0))
    series = np.ones((n, len(times)))
    if config.study == "printed":
        marks["diverged_at"][:] = 7
    return marks | {
        "regression_error": fit,
        "off_subspace_error": np.exp(-ahead * depth / 2),
        "outside_norm": np.exp(-ahead),
        "rescaled_time": ahead,
        "law_deviation": 1e-13 * series,
        "step_size": 0.05 * series,
        "sharpness": (12.0 if config.study == "printed" else 1.5) * series,
        "isometry": 0.4 * series,
        "measured_values": np.broadcast_to(rho, (n, len(times), s)),
        "signal_values": np.ones((n, len(times), s)),
    }


def lawful_theorem(config):
    times, n = observation_times(config), config.num_seeds
    series, levels = np.ones((n, len(times))), np.asarray(config.data.noise)
    seen = lawful_decay_base(config, series)
    width, decay = config.net.width, config.opt.weight_decay
    errors = levels * (2.1 if decay else 8.0) + (0.01 if decay else 0.0)
    noise = np.broadcast_to(errors, (n, len(times), len(levels)))
    return seen | {
        "off_subspace_error": series * width**-2.0,
        "regression_error": series * (0.01 if decay else 1e-14),
        "stopping_time": 1e4 * series,
        "accuracy": decay * 2**0.5 * series,
        "first_phase_end": series * (7 if decay else -1),
        "first_phase_rate": 0.95 * series,
        "second_phase_error": 0.3 * series,
        "test_error": noise,
        "oracle_error": np.broadcast_to(2.05 * levels, noise.shape),
        "test_norm": np.sqrt(1 + 32 * noise**2),
    }


def lawful_decay_base(config, series):
    n, num_times = series.shape
    s = config.data.subspace_dimension
    return {
        "converged_at": np.full(n, 100),
        "diverged_at": np.full(n, -1),
        "outside_norm": series,
        "rescaled_time": 0 * series,
        "law_deviation": 1e-13 * series,
        "step_size": series,
        "sharpness": 0.7 * series,
        "isometry": 0.4 * series,
        "measured_values": np.ones((n, num_times, s)),
        "signal_values": np.broadcast_to(
            np.linspace(1, 0.2, s) if config.study == "digits" else np.ones(s), (n, num_times, s)
        ),
    }


def lawful_recovery(config):
    times, members = observation_times(config), grid(config.num_seeds, hyperparameters(config), "float64")
    n, data, levels = len(members.seeds), config.data, np.asarray(config.data.noise)
    series = np.ones((n, len(times)))
    seen = lawful_decay_base(config, series)
    outside = np.sqrt(data.dimension * (data.num_measurements - data.subspace_dimension) / data.num_measurements)
    plain = members.hyperparameters["opt.weight_decay"][:, None] == 0
    errors = np.where(plain, outside, 2.3) * levels[None, :]
    spread = lambda values: np.broadcast_to(values[:, None], (n, len(times), len(levels)))  # noqa: E731
    return seen | {
        "off_subspace_error": series,
        "outside_norm": outside * series,
        "regression_error": 0.01 * series,
        "test_error": spread(errors),
        "oracle_error": spread(np.broadcast_to(2.25 * levels, errors.shape)),
        "operator_error": series,
    }


LAWFUL = {decay_system: lawful_decay, theorem: lawful_theorem, robustness: lawful_recovery}


def results_of(name, change=lambda name, seen: None, *words, profile="cpu"):
    experiment = EXPERIMENTS[name]
    config = synthetic.config_of(name, *words, num_seeds=2, profile=profile)
    return synthetic.results_of(LAWFUL[experiment], experiment.VARIABLES, config, change)


def verdict(name, *arguments, **options):
    return EXPERIMENTS[name].claims(results_of(name, *arguments, **options))


COUNTS = {
    "inverse_dimension": (4, 1, 2),
    "inverse_depth": (4, 3, 7),
    "inverse_decay": (8, 3, 5),
    "inverse_theorem": (5, 0, 11),
    "inverse_robustness": (5, 1, 4),
    "inverse_union": (1, 0, 4),
    "inverse_digits": (2, 0, 13),
}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_lawful_pass_all(name):
    claims = verdict(name)
    assert [claim.statement for claim in claims if claim.status != "holds"] == []
    assert synthetic.kinds(claims) == COUNTS[name]


def scaled(variant, field, factor, member=-1):
    """Multiply a field of one member, from the second observation on."""

    def change(name, seen):
        if name == variant:
            seen[field] = np.array(seen[field])
            seen[field][member, 1:] *= factor

    return change


def replaced(variant, field, value):
    def change(name, seen):
        if name == variant:
            seen[field] = np.array(seen[field])
            seen[field][-1] = value

    return change


def after(variant, rescaled_time, field, value):
    def change(name, seen):
        if name == variant:
            seen[field] = np.where(seen["rescaled_time"] > rescaled_time, value, seen[field])

    return change


LAW = "||W_1(t) P_perp - (1 - eta_1 lambda)^t W_1(0) P_perp||_F over that of the law"
BREAKS = {
    "plateau": (
        "inverse_decay",
        scaled("rest", "regression_error", 1.02),
        ["regression error over that of the scalar"],
    ),
    "first layer": ("inverse_decay", replaced("common", "law_deviation", 2e-10), [LAW, "the same at every t"]),
    "rounding": ("inverse_decay", after("common", 12.0, "law_deviation", 1e-6), ["the same at every t"]),
    "more decay, no less": (
        "inverse_decay",
        scaled("common", "off_subspace_error", 1e9),
        ["off-subspace error at the t where lambda = 0.01 has x = 16"],
    ),
    "samples": ("inverse_decay", replaced("samples", "weight_gap", 1e-9), ["1000 samples or 4"]),
    "stable as printed": (
        "inverse_decay",
        replaced("printed", "diverged_at", -1),
        ["eta = 0.1, d_w = 1000 as printed"],
    ),
    "order": ("inverse_depth", scaled("L5_early", "off_subspace_error", 1.5), ["off-subspace error, 0.1 <= x <= 0.5"]),
    "s matters": (
        "inverse_dimension",
        scaled("s32", "regression_error", 1.4, slice(None)),
        ["regression error at the end, s = 2, 4, 8, 16, 32"],
    ),
    "slow phase 1": ("inverse_theorem", replaced("w256", "first_phase_rate", 1.01), ["||Phi(t+1)|| / ||Phi(t)||"]),
    "off at T": (
        "inverse_theorem",
        replaced("w512", "off_subspace_error", 1.1 * 512**-1.5),
        ["off-subspace error at T over d_w^(-3/2)", "slope of log off-subspace error at T"],
    ),
    "below (20)": (
        "inverse_theorem",
        scaled("no_decay", "test_error", 0.6),
        ["test error with lambda = 0 less the lower bound (20)"],
    ),
    "not the oracle": (
        "inverse_robustness",
        # The last member but one is lambda = .01 of the last seed.
        scaled("base", "test_error", 1.2, -2),
        ["lambda = 0.01: test error over that of the oracle map"],
    ),
    "norm": (
        "inverse_robustness",
        scaled("base", "outside_norm", 1.07, -4),
        ["lambda = 0: | ||W P_perp||_F"],
    ),
    "no gain": (
        "inverse_union",
        scaled("base", "test_error", 6.0, -1),
        ["gain: test error with lambda = 0"],
    ),
}


@pytest.mark.parametrize(("name", "change", "failed"), BREAKS.values(), ids=BREAKS)
def test_one_member_is_enough_to_fail(name, change, failed):
    found = synthetic.failing(verdict(name, change))
    assert len(found) == len(failed)
    assert all(statement.startswith(start) for statement, start in zip(found, failed, strict=True))


def test_a_diverged_member_is_told_with_its_step_and_its_curvature():
    def diverge(name, seen):
        if name == "rest":
            seen["diverged_at"][0] = 17
            seen["sharpness"][:] = 3.25

    with pytest.warns(
        UserWarning, match=r"rest: 1 of 2 members diverged, first at step 17; eta lambda_max\(P\(0\)\) is up to 3\.25"
    ):
        claims = verdict("inverse_decay", diverge)
    assert synthetic.failing(claims) != []


def test_a_run_that_ends_early_judges_no_plateau():
    def short(name, seen):
        seen["rescaled_time"] = 0.4 * seen["rescaled_time"]

    unjudged = [claim.statement for claim in verdict("inverse_depth", short) if claim.status == "not_run"]
    assert any(statement.startswith("regression error over that of the scalar") for statement in unjudged)
    assert any(statement.startswith("off-subspace error, 0.1 <= x <= 0.5") for statement in unjudged)


# Figures --------------------------------------------------------------------------------------------------

DRAWN = {
    "inverse_dimension": {"dimension"},
    "inverse_depth": {"depth"},
    "inverse_decay": {"decay"},
    "inverse_theorem": {"phases", "robustness"},
    "inverse_robustness": {"robustness"},
    "inverse_union": {"union"},
    "inverse_digits": {"digits"},
}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_figure_has_named_axes(name):
    drawn = EXPERIMENTS[name].figures(results_of(name))
    assert drawn.keys() == DRAWN[name]
    for figure in drawn.values():
        assert all(axes.get_xlabel() and axes.get_ylabel() for axes in figure.axes)
        assert any(axes.get_legend() for axes in figure.axes)
    if name in ("inverse_depth", "inverse_decay"):
        assert "η = 0.1 as printed diverges" in next(iter(drawn.values())).get_suptitle()


# From end to end ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["inverse_decay", "inverse_robustness"])
def test_the_smoke_runs_keep_their_laws(smoke, name):
    folder, (code, _, err) = smoke(name)
    assert (code, err) == (0, "")
    claims = json.loads((folder / "claims.json").read_text())
    assert [claim["statement"] for claim in claims if claim["status"] == "fails"] == []
    assert any(claim["status"] == "holds" and claim["kind"] == "law" for claim in claims)
    assert (folder / "figures" / f"{next(iter(sorted(DRAWN[name])))}.png").exists()
