"""The experiment of deep matrix completion: its rules, its networks, its verdict on made-up results, its figures."""

import functools as ft
import json

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
import synthetic
import xarray as xr
from ml_collections import ConfigDict
from scipy.linalg import subspace_angles

from experiments.laws.parsimony.completion import system as completion
from experiments.laws.parsimony.completion.figures import final_recovery, operations_per_step, steps_to_tolerance
from experiments.runner.checks import collect
from experiments.runner.results import assemble, groups
from experiments.runner.run import observation_times
from experiments.runner.settings import expand, hyperparameters, to_plain
from lawlib.dynamics.system import simulate

NAMES = ("completion_depth_width", "completion_compressed", "completion_gamma")

config_of = ft.partial(synthetic.config_of, profile="smoke")


# Rules ----------------------------------------------------------------------------------------------------

RULES = {
    "study": ({"study": "x"}, "study = 'x': must be one of 'depth_width', 'compressed', 'gamma'"),
    "kind": ({"net.kind": "x"}, "net.kind = 'x': must be one of 'full', 'narrow', 'compressed'"),
    "depth": ({"net.depth": 1}, "net.depth = 1: must be an integer >= 2"),
    "estimate": ({"net.rank": 15}, "net.rank = 15: must be below data.size / 2 = 15"),
    "scale": ({"net.scale": 0.0}, "net.scale = 0.0: must be a finite number > 0.0"),
    "step": ({"opt.step_size": -1.0}, "opt.step_size = -1.0: must be a finite number > 0.0"),
    "discrepancy": ({"opt.discrepancy": -1.0}, "opt.discrepancy = -1.0: must be a finite number >= 0.0"),
    "observed": ({"data.observed": 1.5}, "data.observed = 1.5: must be a finite number > 0.0 and <= 1.0"),
    "rank": ({"data.rank": 30}, "data.rank = 30: must be below data.size = 30"),
    "one step size": (
        {"net.kind": "narrow", "sweep.opt.discrepancy": (0.0, 1.0)},
        "sweep.opt.discrepancy = (0.0, 1.0): cannot be swept for net.kind = 'narrow', which has one step size",
    ),
}


@pytest.mark.parametrize(("fields", "line"), RULES.values(), ids=RULES)
def test_every_rule_has_its_line(fields, line):
    config = config_of("completion_compressed", f"variants=({fields!r},)")
    assert collect(config, completion.validate) == [line]


def test_what_changes_shapes_is_no_hyperparameter():
    config = config_of("completion_gamma", "sweep.data.observed=(0.2, 0.3)")
    (line,) = collect(config, completion.validate)
    assert line.startswith("sweep.data.observed = (0.2, 0.3): cannot be swept; use variants")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("profile", ["smoke", "cpu", "paper"])
def test_our_own_configs_pass(name, profile):
    assert collect(config_of(name, profile=profile), completion.validate) == []


# Networks -------------------------------------------------------------------------------------------------


def small(kind, *words, rank=2, **fields):
    """A network on a 12 x 12 matrix of rank 2, with an estimate of its rank."""
    fields = {"net.kind": kind, "net.width": 12, "net.rank": rank, "net.scale": 0.5, "data.size": 12} | fields
    fields = {"opt.step_size": 0.02} | fields
    ((_, config),) = expand(config_of("completion_compressed", f"variants=({fields!r},)", *words))
    return config


@ft.lru_cache
def program(config, times):
    """A compiled run that keeps every state, of a key and hyperparameters; a config of the same text is the same."""
    dynamics = completion.dynamics(ConfigDict(json.loads(config)))
    return jax.jit(lambda key, hyperparameters: simulate(dynamics, key, hyperparameters, (), times, keep=times))


def run(config, key, times, **hyperparameters):
    """The problem, the weights at every time, the observations and converged_at, in numpy."""
    hyperparameters = {
        name.replace("_", ".", 1): jnp.asarray(value, config.precision) for name, value in hyperparameters.items()
    }
    ran = program(json.dumps(to_plain(config)), tuple(times))(key, hyperparameters)
    ran = jax.tree.map(np.asarray, ran)
    weights = [jax.tree.map(lambda x, i=i: x[i], ran.kept.state.weights) for i in range(len(times))]
    return ran.problem, weights, ran.observations, int(ran.state.converged_at)


@pytest.fixture(scope="module")
def key():
    return jax.random.key(7)


def descend(factors, problem, eta, gamma, num_steps):
    """Gradient descent on eq. (11), every derivative written out."""
    U, cores, V = factors
    for _ in range(num_steps):
        A, B, C = cores
        residual = problem.mask * (U @ C @ B @ A @ V.T - problem.target)
        inner = U.T @ residual @ V
        by_left, by_right = residual @ V @ (C @ B @ A).T, residual.T @ U @ (C @ B @ A)
        by_core = ((C @ B).T @ inner, C.T @ inner @ A.T, inner @ (B @ A).T)
        U, V = U - gamma * eta * by_left, V - gamma * eta * by_right
        cores = tuple(W - eta * G for W, G in zip(cores, by_core, strict=True))
    return U, cores, V


@pytest.mark.parametrize("gamma", [0.0, 0.3])
def test_the_compressed_network_descends_by_equation_11(key, dtype, gamma):
    config = small("compressed", f"precision={dtype.name!r}", rank=3)
    problem, (start, moved), _, _ = run(config, key, (0, 5), opt_discrepancy=gamma)
    assert moved.left.dtype == dtype
    wanted = descend(start, problem, dtype.type(0.02), dtype.type(gamma), 5)
    for ours, theirs in zip(jax.tree.leaves(tuple(moved)), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=200 * jnp.finfo(dtype).eps)
    assert np.array_equal(moved.left, start.left) == (gamma == 0)
    assert not np.allclose(moved.core[0], start.core[0], atol=1e-3)


def test_the_compressed_network_starts_from_what_is_observed(key):
    problem, (start, _), _, _ = run(small("compressed", rank=3), key, (0, 5), opt_discrepancy=0.0)
    assert np.linalg.matrix_rank(problem.target) == 2
    assert 0 < problem.mask.mean() < 1
    left, _, right = np.linalg.svd(problem.mask * problem.target)
    for basis, leading in ((start.left, left[:, :3]), (start.right, right[:3].T)):
        np.testing.assert_allclose(basis.T @ basis, np.eye(6), atol=1e-13)
        assert np.max(subspace_angles(basis, leading)) < 1e-12
    assert all(np.array_equal(core, 0.5 * np.eye(6)) for core in start.core)


def test_where_all_is_observed_the_compressed_network_is_the_full_one_but_for_rho(key):
    fields = {"data.observed": 1.0, "opt.discrepancy": 0.0, "opt.tolerance": 0.0}
    full, compressed = (run(small(kind, **fields), key, (0, 40)) for kind in ("full", "compressed"))
    np.testing.assert_array_equal(full[0].target, compressed[0].target)
    (weights, ends), ((left, _, right), (_, core, _)) = full[1], compressed[1]
    np.testing.assert_allclose(np.linalg.multi_dot(weights[::-1]) @ right / 0.5**3, left, atol=1e-13)
    rho = 0.5
    for _ in range(40):
        rho -= 0.02 * rho**5
    apart = np.linalg.norm(np.linalg.multi_dot(ends[::-1]) - np.linalg.multi_dot([left, *core[::-1], right.T]))
    assert apart == pytest.approx(rho**3 * np.sqrt(12 - 4), rel=1e-10)


TO_TOLERANCE = tuple(range(301))


def test_losses_are_means_over_all_entries(key):
    config = small("narrow", **{"opt.tolerance": 1e-3})
    problem, (weights, *_), seen, _ = run(config, key, TO_TOLERANCE)
    product = np.linalg.multi_dot(weights[::-1])
    off = product - problem.target
    assert weights[1].shape == (4, 4)
    assert seen["loss"][0] == pytest.approx(np.sum(off[problem.mask == 1] ** 2) / 2 / 144, rel=1e-12)
    assert seen["recovery_error"][0] == pytest.approx(np.sum(off[problem.mask == 0] ** 2) / 2 / 144, rel=1e-12)
    left, _, right = np.linalg.svd(problem.target)
    wanted = left[:, :2].T @ product @ right[:2].T
    np.testing.assert_allclose(np.abs(seen["projection"][0]), np.abs(wanted), atol=1e-12)


def test_a_member_is_done_at_the_first_step_whose_mean_loss_is_at_the_tolerance(key):
    _, _, seen, done = run(small("narrow", **{"opt.tolerance": 1e-3}), key, TO_TOLERANCE)
    assert done > 2
    assert seen["loss"][done - 1] > 1e-3 >= seen["loss"][done]


def products(jaxpr):
    """Floating-point operations of the matrix products in a traced function."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            total += 2 * equation.outvars[0].aval.size * int(np.prod([shape[axis] for axis in contracted]))
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            total += products(inner)
    return total


@pytest.mark.parametrize(("kind", "depth"), [("full", 2), ("full", 3), ("narrow", 4), ("compressed", 3)])
def test_operations_are_those_of_the_traced_gradient(key, kind, depth):
    config = small(kind, **{"net.depth": depth, "net.width": 5})
    problem, monitored = jax.eval_shape(lambda key: completion.dynamics(config).init(key, {}, ()), key)
    weights = monitored.state.weights
    traced = jax.make_jaxpr(jax.grad(completion._loss))(weights, problem.target, problem.mask)
    assert products(traced.jaxpr) == operations_per_step(config)


# Claims ---------------------------------------------------------------------------------------------------


def printed(config):
    """What each network of a config does at its end, as the paper has it: steps (-1 capped), recovery, diverged."""
    if config.study == "depth_width":
        steps = 30_000 if config.net.width == 10 else 10_000
        return {"done": steps, "recovery": 1e-8 if config.net.depth == 3 or config.net.width == 10 else 1e-3}
    return {"done": 17_000 if config.net.kind != "narrow" else 35_000, "recovery": 1e-9}


def results_of(name, change=lambda name, seen: None, profile="cpu", words=()):
    """Results as a run would write them; ``change`` breaks a claim."""
    tree = {}
    for variant, config in expand(config_of(name, *words, profile=profile)):
        times, gammas = observation_times(config), hyperparameters(config).get("opt.discrepancy", (0.01,))
        n, about, rank = config.num_seeds * len(gammas), printed(config), config.data.rank
        path = np.exp(-np.arange(len(times))[:, None, None] / 9 * np.arange(1, 1 + rank)[:, None])
        seen = {
            "loss": np.full((n, len(times)), 1e-10),
            "recovery_error": np.full((n, len(times)), about["recovery"]),
            "projection": np.tile(path, (n, 1, 1, rank)),
            "converged_at": np.full(n, about["done"]),
            "diverged_at": np.full(n, -1),
        }
        if len(gammas) > 1:
            still, fast = (np.arange(n) % 3 == place for place in (1, 2))
            seen["recovery_error"][still], seen["recovery_error"][fast] = 1e-3, np.nan
            seen["converged_at"][still | fast], seen["diverged_at"][fast] = -1, 14_000
        change(variant, seen)
        tree[variant] = assemble(variant, config, times, [[seen]], completion.VARIABLES)
    return xr.DataTree.from_dict(tree)


def statuses(name, change=lambda name, seen: None, **where):
    return {claim.id: claim.status for claim in completion.claims(results_of(name, change, **where))}


CLAIMS = {
    "completion_depth_width": ["F4 recovery", "F4 overfitting", "F4 width"],
    "completion_compressed": ["F5 ratio", "F5 spread", "F5 capped"],
    "completion_gamma": ["F6 ratio", "F6 recovery", "F6 divergence", "F6 end point", "F6 steps"],
}


@pytest.mark.parametrize("profile", ["cpu", "paper"])
@pytest.mark.parametrize("name", NAMES)
def test_what_the_paper_shows_holds(name, profile):
    verdict = completion.claims(results_of(name, profile=profile))
    assert [claim.id for claim in verdict] == CLAIMS[name]
    assert {claim.status for claim in verdict} == {"holds"}


@pytest.mark.parametrize("name", NAMES)
def test_the_smallest_profile_judges_no_law(name):
    assert set(statuses(name, profile="smoke").values()) <= {"not_judged", "not_run", "holds"}
    assert "not_judged" in statuses(name, profile="smoke").values()


def setting(where, field, value, member=0):
    """A change of one member's number in the variant of that name."""

    def change(name, seen):
        if name == where:
            seen[field][member] = value

    return change


# Of gamma's nine members the first three are seed 0 at .01, 0 and 1.
BREAKS = {
    "unrecovered": ("completion_depth_width", setting("L3_w40", "recovery_error", 2e-6), {"F4 recovery"}),
    "no number": ("completion_depth_width", setting("L3_w20", "recovery_error", np.nan), {"F4 recovery"}),
    "recovered": ("completion_depth_width", setting("L2_w20", "recovery_error", 9e-5), {"F4 overfitting"}),
    "slow": ("completion_depth_width", setting("L3_w100", "converged_at", 18_100), {"F4 width"}),
    "wide stalls": ("completion_depth_width", setting("L3_w100", "converged_at", -1), {"F4 width"}),
    "diverged": ("completion_depth_width", setting("L2_w40", "diverged_at", 9), {"F4 overfitting"}),
    "narrow is fast": ("completion_compressed", setting("narrow_20", "converged_at", 25_000), {"F5 ratio"}),
    "a slow rank": ("completion_compressed", setting("compressed_20", "converged_at", 17_900), {"F5 spread"}),
    "capped": ("completion_compressed", setting("compressed_5", "converged_at", -1), {"F5 ratio", "F5 spread"}),
    "recovers at rest": ("completion_gamma", setting("compressed", "recovery_error", 9e-6, 1), {"F6 ratio"}),
    "does not recover": (
        "completion_gamma",
        setting("compressed", "recovery_error", 2e-6, 3),
        {"F6 ratio", "F6 recovery"},
    ),
    "does not diverge": ("completion_gamma", setting("compressed", "diverged_at", -1, 8), {"F6 divergence"}),
    "diverges at .01": (
        "completion_gamma",
        setting("compressed", "diverged_at", 9, 6),
        {"F6 ratio", "F6 recovery"},
    ),
}


@pytest.mark.parametrize(("name", "change", "failed"), BREAKS.values(), ids=BREAKS)
def test_one_number_of_one_member_is_enough_to_fail(name, change, failed):
    assert {id for id, status in statuses(name, change).items() if status == "fails"} == failed


ALLOWED = {
    "narrowest stalls": ("completion_depth_width", setting("L3_w10", "converged_at", -1)),
    "shallow and narrow recovers": ("completion_depth_width", setting("L2_w10", "recovery_error", 1e-9)),
    "narrow is capped": ("completion_compressed", setting("narrow_5", "converged_at", -1)),
    "within 5 per cent": ("completion_compressed", setting("compressed_20", "converged_at", 17_800)),
}


@pytest.mark.parametrize(("name", "change"), ALLOWED.values(), ids=ALLOWED)
def test_what_the_claims_allow_does_not_fail(name, change):
    assert set(statuses(name, change).values()) == {"holds"}


def test_a_capped_narrow_network_counts_with_its_cap():
    results = results_of("completion_compressed", setting("narrow_5", "converged_at", -1))
    ratio, _, capped = completion.claims(results)
    assert ratio.spread[2] == pytest.approx(60_000 / 17_000)
    assert capped.measured == pytest.approx(1 / 6)
    (narrow,) = [group for group in groups(results) if group.name == "narrow_5"]
    np.testing.assert_array_equal(steps_to_tolerance(narrow), [60_000, 35_000, 35_000])
    np.testing.assert_array_equal(steps_to_tolerance(narrow, capped=np.inf), [np.inf, 35_000, 35_000])


def test_a_gamma_that_is_not_swept_is_not_judged():
    found = statuses("completion_gamma", words=("sweep.opt.discrepancy=(0.01,)", "variants=({},)"))
    assert set(found.values()) == {"not_run"}


# Figures --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "panels"), list(zip(NAMES, (2, 2, 3), strict=True)))
def test_every_study_draws_its_figure(name, panels):
    drawn = completion.figures(results_of(name, setting("narrow_5", "converged_at", -1)))
    (figure,) = drawn.values()
    assert len(figure.axes) == panels
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in figure.axes)
    (legend,) = figure.legends
    words = {
        "completion_depth_width": ["L = 2", "L = 3"],
        "completion_compressed": [
            "narrow network of width 2r̂",
            "compressed network, γ = 0.01",
            "not at the tolerance after 60000 steps",
        ],
        "completion_gamma": [
            "original network",
            "compressed, γ = 0.01",
            "compressed, γ = 0",
            "compressed, γ = 1 diverges",
        ],
    }
    assert [text.get_text() for text in legend.get_texts()] == words[name]


def test_what_diverges_is_not_drawn_as_data():
    (figure,) = completion.figures(results_of("completion_gamma")).values()
    _, by_step, by_cost = figure.axes
    ends = [line.get_xdata() for line in by_cost.lines if len(line.get_xdata()) == 1]
    assert len(ends) == 3
    assert all(np.isfinite(np.asarray(line.get_ydata(), float)).all() for line in by_step.lines)


# A whole run ----------------------------------------------------------------------------------------------


def test_a_run_from_end_to_end(smoke):
    folder, (code, _, err) = smoke("completion_gamma")
    assert (code, err) == (0, "")
    assert {path.name for path in (folder / "figures").iterdir()} == {"gamma.png", "gamma.pdf"}
    assert {claim["status"] for claim in json.loads((folder / "claims.json").read_text())} == {"not_judged", "holds"}
    with xr.open_datatree(folder / "results.nc") as results:
        full, compressed = groups(results)
        assert full.data.projection.dims == ("seed", "step", "left", "right")
        assert compressed.data.recovery_error.dims == ("seed", "discrepancy", "step")
        assert full.data.sizes["seed"] == 1
        slow, still, _ = (compressed.data.sel(discrepancy=gamma) for gamma in (0.01, 0.0, 1.0))
        first, rest = slow.recovery_error.isel(step=0), still.recovery_error.isel(step=0)
        np.testing.assert_array_equal(first, rest)  # one draw for every gamma
        assert (final_recovery(compressed._replace(data=still)) > 1e-3).all()
        assert (final_recovery(compressed._replace(data=slow)) < 1e-4).all()
        assert (slow.converged_at > 0).all()
