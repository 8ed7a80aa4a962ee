"""The experiment of progressive collapse: its rules, its networks, its verdict on made-up results, its figures."""

import functools as ft
import json

import jax
import numpy as np
import pytest
import scipy.stats
import synthetic
from synthetic import failing

from experiments.laws.collapse import system as collapse
from experiments.laws.collapse.figures import curves, fit
from experiments.runner.checks import collect
from experiments.runner.run import observation_times
from experiments.runner.settings import expand, hyperparameters
from lawlib.dynamics.sweep import grid
from lawlib.theory.collapse import largest_scale

NAMES = sorted(path.stem for path in synthetic.CONFIGS.glob("collapse_*.py"))

config_of = ft.partial(synthetic.config_of, num_seeds=3)


# Rules ----------------------------------------------------------------------------------------------------

RULES = {
    "depth": ({"net.depth": 1}, "net.depth = 1: must be an integer >= 2"),
    "scale": ({"net.scale": 0.0}, "net.scale = 0.0: must be a finite number > 0.0"),
    "activation": ({"net.activation": "gelu"}, "net.activation = 'gelu': must be one of 'linear', 'relu'"),
    "init": (
        {"net.init": "he"},
        "net.init = 'he': must be one of 'orthogonal', 'normal', 'uniform', 'corollary'",
    ),
    "tolerance": ({"opt.tolerance": -1.0}, "opt.tolerance = -1.0: must be a finite number >= 0.0"),
    "square": (
        {"net.width": 49},
        "net.width = 49: must be 50 = data.num_classes * data.samples_per_class, for X is square and orthogonal",
    ),
    "theorem": (
        {"study": "theorem", "data.samples_per_class": 2, "net.width": 10},
        "data.samples_per_class = 2: must be at least 3 for Theorem 2, which asks for d > 2K",
    ),
    "study": ({"study": "digits"}, "study = 'digits': cannot be that for data.source = 'orthogonal'"),
    "digits": (
        {"study": "digits", "data.source": "digits", "data.num_classes": 9},
        "data.num_classes = 9: must be 10 for the digits",
    ),
    "rare digit": (
        {"study": "digits", "data.source": "digits", "data.num_classes": 10, "data.samples_per_class": 175},
        "data.samples_per_class = 175: must be at most 174, the rarest digit's images",
    ),
    "rank": (
        {"study": "digits", "data.source": "digits", "data.num_classes": 10, "net.width": 51},
        "net.width = 51: must be at most 50, the digits' dimension once whitened",
    ),
}


@pytest.mark.parametrize(("fields", "line"), RULES.values(), ids=RULES)
def test_every_rule_has_its_line(fields, line):
    config = config_of("collapse_depth", f"variants=({fields!r},)")
    assert collect(config, collapse.validate) == [line]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("profile", ["smoke", "cpu", "paper"])
def test_our_own_configs_pass(name, profile):
    assert collect(config_of(name, profile=profile), collapse.validate) == []


def test_the_theorems_config_stays_within_its_hypotheses():
    for name, config in expand(config_of("collapse_theorem")):
        largest = largest_scale(width=50, samples_per_class=10, num_classes=5, depth=config.net.depth)
        if name.endswith("within"):
            assert config.net.scale == pytest.approx(0.99 * largest, rel=1e-12)
        else:
            assert min(config.sweep.net.scale) > largest


# Networks -------------------------------------------------------------------------------------------------


def small(activation, init):
    """The dynamics of a small network."""
    fields = {"net.width": 6, "data.num_classes": 2, "data.samples_per_class": 3, "net.depth": 3, "net.scale": 0.7}
    fields |= {"net.activation": activation, "net.init": init, "opt.step_size": 0.1}
    ((_, config),) = expand(config_of("collapse_depth", f"variants=({fields!r},)"))
    return collapse.dynamics(config)


@ft.cache
def begun(init, activation="linear"):
    """A problem and its first state, kept for the next test: drawing orthogonal weights takes long to compile."""
    return jax.jit(lambda key: small(activation, init).init(key, {}, ()))(jax.random.key(0))


@pytest.mark.parametrize("activation", ["linear", "relu"])
def test_a_step_descends_on_the_sum_loss_and_the_mean_is_observed(activation):
    system, (problem, state) = small(activation, "orthogonal"), begun("orthogonal", activation)
    weights = [np.asarray(W) for W in state.state.weights]
    X, Y = (np.asarray(x) for x in problem.data)
    np.testing.assert_allclose(X @ X.T, np.eye(6), atol=1e-14)
    np.testing.assert_array_equal(Y, [[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]])
    Z = X
    for W in weights[:-1]:
        Z = W @ Z if activation == "linear" else np.maximum(W @ Z, 0)
    residual = weights[-1] @ Z - Y
    stepped, seen = jax.jit(lambda s: (system.step(s, problem, ()), system.observe(s, problem, ())))(state)
    np.testing.assert_allclose(stepped.state.weights[-1], weights[-1] - 0.1 * residual @ Z.T, rtol=1e-12)
    assert float(seen["loss"]) == pytest.approx(np.mean(residual**2) / 2, rel=1e-12)
    assert float(seen["accuracy"]) == np.mean((residual + Y).argmax(0) == Y.argmax(0))
    means = np.stack([Z[:, :3].mean(1), Z[:, 3:].mean(1)], 1)
    scatter = np.mean(np.sum((Z - means @ Y) ** 2, 0))
    apart = np.mean(np.sum((means - means.mean(1, keepdims=True)) ** 2, 0))
    assert float(seen["separation"][-1]) == pytest.approx(scatter / apart, rel=1e-12)


def test_corollary_1_starts_its_last_layer_in_the_first_coordinates():
    _, state = begun("corollary")
    first, second, last = (np.asarray(W) for W in state.state.weights)
    for W in (first, second):
        np.testing.assert_allclose(W.T @ W, 0.49 * np.eye(6), atol=1e-14)
    np.testing.assert_allclose(last[:, :2] @ last[:, :2].T, 0.49 * np.eye(2), atol=1e-14)
    assert np.all(last[:, 2:] == 0)


# Claims ---------------------------------------------------------------------------------------------------


def lawful(config):
    """Observations, members first and times second, of networks that decay as the law says."""
    times, members = observation_times(config), grid(config.num_seeds, hyperparameters(config), "float64")
    n, depth, linear = len(members.seeds), config.net.depth, config.net.activation == "linear"
    scale = members.hyperparameters.get("net.scale", np.full(n, config.net.scale))
    tolerance = members.hyperparameters.get("opt.tolerance", np.full(n, config.opt.tolerance))
    law = scale**2 / 10 ** (1 / depth)
    separation = 11.25 * (law if linear else 0.3 * scale)[:, None] ** np.arange(depth)
    if linear:
        separation[tolerance == 1e-6, -1] *= 3  # the residual leaks into the last layer before the optimum
    series = (n, len(times))
    return {
        "loss": np.full(series, 1e-7),
        "accuracy": np.ones(series),
        "separation": np.repeat(separation[:, None], len(times), axis=1),
        "imbalance": np.zeros((*series, depth - 1)),
        "converged_at": np.where(tolerance > 0, 100, -1),
        "diverged_at": np.full(n, -1),
    }


results_of = ft.partial(synthetic.results_of, lawful, collapse.VARIABLES)


def verdict(name, change=lambda name, seen: None, *words):
    return collapse.claims(results_of(config_of(name, *words), change))


COUNTS = {
    "collapse_depth": ("F2/7", 9, 1, 8),
    "collapse_scale": ("F11", 4, 1, 3),
    "collapse_init": ("F12", 3, 0, 3),
    "collapse_theorem": ("T2", 3, 0, 6),
    "collapse_digits": ("digits", 0, 0, 16),
}


@pytest.mark.parametrize("name", NAMES)
def test_the_lawful_pass_all(name):
    claims = verdict(name)
    id, *counts = COUNTS[name]
    assert all(claim.id.startswith(id) for claim in claims)
    assert synthetic.kinds(claims) == tuple(counts)
    assert {claim.status for claim in claims} == {"holds"}


def scaled(variant, factor, *, layer=-1, member=-1):
    """Multiply one separation of one member; the last member of a linear variant is one at the exact tolerance."""

    def change(name, seen):
        if name == variant:
            seen["separation"][member, :, layer] *= factor

    return change


def replaced(variant, field, value, member=-1):
    def change(name, seen):
        if name == variant:
            seen[field][member] = value

    return change


def straight(name, seen):
    """Networks on the law already where the paper draws them."""
    if name == "linear":
        seen["separation"] = np.repeat(seen["separation"][1::2], 2, axis=0)


def all_of(variant, ratio):
    def change(name, seen):
        if name == variant:
            seen["separation"][-1] = 11.25 * ratio ** np.arange(seen["separation"].shape[-1])

    return change


RATE, LINE = "linear, mean loss 1e-12: |(D_{l+1}/D_l)", "linear, mean loss 1e-12: log D_l is linear"
BREAKS = {
    "inputs": ("collapse_depth", scaled("linear_L8", 1 + 2e-12, layer=0), ["|D_0 / "]),
    "one ratio": ("collapse_depth", scaled("linear_L8", 1.06), [RATE]),
    "not a number": ("collapse_depth", scaled("linear_L8", np.nan), [RATE, LINE, "'the decay rate is independent"]),
    "no line": ("collapse_depth", scaled("linear_L6", 3.0, layer=3), [RATE, LINE]),
    "capped": (
        "collapse_depth",
        replaced("linear_L8", "converged_at", -1),
        [RATE, LINE, "'the decay rate is independent"],
    ),
    "diverged": (
        "collapse_depth",
        replaced("linear_L8", "diverged_at", 7),
        ["|D_0 / ", RATE, LINE, "'the decay rate is independent"],
    ),
    "a bent ReLU": (
        "collapse_depth",
        scaled("relu_L8", 1e-4),
        ["ReLU, mean loss 1e-8, L = 8, members that reach it: log D_l"],
    ),
    "a slow ReLU": (
        "collapse_depth",
        all_of("relu_L10", 0.21),
        ["ReLU, mean loss 1e-8, L = 10, members that reach it: rate"],
    ),
    "no drift": ("collapse_scale", straight, ["the linear rate drawn at mean loss 1e-6 is not that of the law"]),
    "no steeper": ("collapse_scale", all_of("relu", 0.1), ["ReLU, mean loss 1e-6: a smaller eps"]),
    "one init": (
        "collapse_init",
        all_of("linear_normal", 0.1875 * 1.31),
        ["linear, mean loss 1e-12: rates of one seed"],
    ),
    "bent init": ("collapse_init", scaled("linear_uniform", 4.0), ["linear, mean loss 1e-12, orthogonal, normal"]),
    "bound": (
        "collapse_theorem",
        all_of("L4_within", 3.6e-3),
        ["D_{l+1}/D_l over its bound 2 (sqrt K + 1) eps^2, l = 0..L-2, within"],
    ),
    "bound beyond": (
        "collapse_theorem",
        all_of("L3_beyond", 0.102),
        ["D_{l+1}/D_l over its bound 2 (sqrt K + 1) eps^2, l = 0..L-2, beyond"],
    ),
}


@pytest.mark.parametrize(("name", "change", "failed"), BREAKS.values(), ids=BREAKS)
def test_one_member_is_enough_to_fail(name, change, failed):
    found = failing(verdict(name, change))
    assert len(found) == len(failed)
    assert all(statement.startswith(start) for statement, start in zip(found, failed, strict=True))


def test_what_the_bounds_allow_does_not_fail():
    for name, change in (
        ("collapse_depth", scaled("linear_L8", 1.04)),
        ("collapse_theorem", all_of("L4_within", 3.4e-3)),
    ):
        assert failing(verdict(name, change)) == []


def test_a_relu_network_on_a_plateau_is_counted_and_not_judged():
    def plateau(name, seen):
        if name == "relu_L8":
            seen["converged_at"][0] = -1
            seen["separation"][0, :, 1:] = 5.0

    claims = verdict("collapse_depth", plateau)
    assert failing(claims) == []
    settled, drawn = [claim for claim in claims if "fraction" in claim.statement]
    # Member 0 of relu_L8 is the first seed at one of the two losses.
    assert sorted([settled.measured, drawn.measured]) == [pytest.approx(8 / 9), 1.0]
    judged = [claim for claim in claims if "L = 8" in claim.statement]
    assert sorted(claim.members for claim in judged) == [2, 2, 3, 3]


def test_a_profile_that_reaches_no_tolerance_judges_nothing_but_the_inputs():
    def nobody(name, seen):
        seen["converged_at"][:] = -1

    for name in ("collapse_depth", "collapse_theorem"):
        judged = [claim for claim in verdict(name, nobody) if claim.status != "not_run"]
        assert all(claim.statement.startswith("|D_0 / ") or "fraction" in claim.statement for claim in judged)


def test_a_single_depth_says_nothing_of_the_others():
    one = "variants=({'name': 'linear_L6', 'net.depth': 6, 'sweep.opt.tolerance': (1e-6, 1e-12)},)"
    unjudged = [claim for claim in verdict("collapse_depth", lambda *_: None, one) if claim.status == "not_run"]
    assert [claim.kind for claim in unjudged] == ["report", "report", "printed"]


def test_bounds_are_not_carried_to_other_data():
    words = ("net.width=25", "data.samples_per_class=5")
    claims = collapse.claims(results_of(config_of("collapse_scale", *words), lambda *_: None))
    laws = [claim for claim in claims if claim.kind != "report"]
    assert [claim.status for claim in laws] == ["fails"] + ["not_judged"] * 4  # lawful() has the D_0 of n = 10


# Figures and fits -----------------------------------------------------------------------------------------


def test_the_line_is_that_of_a_regression():
    separation = np.exp(np.random.default_rng(0).standard_normal((2, 3, 6)))
    found = fit(separation)
    for place in np.ndindex(2, 3):
        line = scipy.stats.linregress(np.arange(6), np.log(separation[place]))
        assert found.rate[place] == pytest.approx(np.exp(line.slope), rel=1e-12)
        assert found.start[place] == pytest.approx(np.exp(line.intercept), rel=1e-12)
        assert found.r_squared[place] == pytest.approx(line.rvalue**2, rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_the_figure_holds_every_member_under_named_axes(name):
    results = results_of(config_of(name))
    drawn = collapse.figures(results)
    assert drawn.keys() == {"separation"} | ({"bound"} if name == "collapse_theorem" else set())
    panels = drawn["separation"].axes
    points = [
        line for axes in panels for line in axes.lines if line.get_linestyle() == "None" and line.get_xdata().size
    ]
    assert len(points) == sum(len(c.ended) for c in curves(results))
    assert all(axes.get_xlabel() and axes.get_title() and axes.get_legend() for axes in panels)
    assert panels[0].get_ylabel().startswith("separation")


def test_members_on_a_plateau_are_drawn_apart():
    results = results_of(config_of("collapse_depth"), replaced("relu_L8", "converged_at", -1))
    texts = [text.get_text() for text in collapse.figures(results)["separation"].axes[-1].get_legend().get_texts()]
    assert [text for text in texts if "cap of steps" in text] == ["L = 8: 1 of 3 not there, at the cap of steps"]


# From end to end ------------------------------------------------------------------------------------------


def test_the_smoke_run_of_figure_11_keeps_its_laws(smoke):
    folder, (code, _, err) = smoke("collapse_scale")
    assert (code, err) == (0, "")
    claims = json.loads((folder / "claims.json").read_text())
    assert {(claim["kind"], claim["status"]) for claim in claims} == {
        ("law", "holds"),
        ("printed", "holds"),
        ("report", "holds"),
    }
    assert (folder / "figures" / "separation.png").exists()
