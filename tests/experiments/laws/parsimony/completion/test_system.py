"""The experiment of deep matrix completion: its networks, its measures, its figures, and one run to the end."""

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

from experiments.laws.parsimony.completion import EXPERIMENT, system
from experiments.laws.parsimony.completion.measures import (
    capped,
    degrees_of_freedom,
    final_recovery,
    narrow_over_compressed,
    operations_per_step,
    share_needed,
    steps_to_tolerance,
)
from experiments.runner.checks import collect
from experiments.runner.runs import find, runs
from experiments.runner.settings import expand, to_plain
from lawlib.dynamics.system import simulate

cases = synthetic.cases_of("parsimony.completion")
config_of = ft.partial(synthetic.config_of, profile="smoke")


def test_a_field_that_changes_shapes_is_no_hyperparameter():
    config = config_of("completion_gamma", "sweep.data.rank=(2, 3)")
    (line,) = collect(config, EXPERIMENT.validate)
    assert line.startswith("sweep.data.rank = (2, 3): cannot be swept; use variants")


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
    dynamics = system.dynamics(ConfigDict(json.loads(config)))
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


def derivatives(factors, problem):
    """Those of eq. (11) in U, the core and V, written out."""
    U, (A, B, C), V = factors
    residual = problem.mask * (U @ C @ B @ A @ V.T - problem.target)
    inner = U.T @ residual @ V
    by_core = ((C @ B).T @ inner, C.T @ inner @ A.T, inner @ (B @ A).T)
    return residual @ V @ (C @ B @ A).T, by_core, residual.T @ U @ (C @ B @ A)


def descend(factors, problem, eta, gamma, num_steps):
    """Gradient descent on eq. (11)."""
    U, cores, V = factors
    for _ in range(num_steps):
        by_left, by_core, by_right = derivatives((U, cores, V), problem)
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


def test_the_speeds_of_outer_factors_and_core_are_norms_of_their_derivatives(key):
    problem, kept, seen, _ = run(small("compressed", rank=3), key, (0, 200), opt_discrepancy=0.3)
    for weights, ratio in zip(kept, seen["outer_over_core"], strict=True):
        by_left, by_core, by_right = derivatives(weights, problem)
        outer, core = (np.sqrt(sum(np.sum(each**2) for each in of)) for of in ((by_left, by_right), by_core))
        assert ratio == pytest.approx(outer / core, rel=1e-9)
    assert "outer_over_core" not in run(small("full"), key, (0,))[2]


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
    # Each is drawn in a program of its own, which may round in another way.
    np.testing.assert_allclose(full[0].target, compressed[0].target, rtol=1e-13)
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


def test_a_swept_share_draws_the_mask_of_a_config_with_that_share(key):
    words = {share: run(small("narrow", **{"data.observed": share}), key, (0,)) for share in (0.2, 0.6)}
    for share, (problem, *_) in words.items():
        swept, *_ = run(small("narrow"), key, (0,), data_observed=share)
        for ours, theirs in zip(jax.tree.leaves(swept), jax.tree.leaves(problem), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    few, many = (problem.mask for problem, *_ in words.values())
    assert 0 < few.sum() < many.sum() < many.size
    assert (few <= many).all()  # the entries of a small share are among those of a larger one


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
    problem, monitored = jax.eval_shape(lambda key: system.dynamics(config).init(key, {}, ()), key)
    weights = monitored.state.weights
    traced = jax.make_jaxpr(jax.grad(system._loss))(weights, problem.target, problem.mask)
    assert products(traced.jaxpr) == operations_per_step(config)


# Measures and figures -------------------------------------------------------------------------------------------------


def stalled(name, seen):
    """One narrow network stops at the cap."""
    if name == "narrow_5":
        seen["converged_at"][0] = -1


def runs_of(name, change=synthetic.unchanged):
    return synthetic.runs_of(cases.lawful, synthetic.config_of(name), change)


def test_a_capped_narrow_network_counts_with_its_cap():
    found = runs_of("completion_compressed", stalled)
    assert narrow_over_compressed(found).max() == pytest.approx(60_000 / 17_000)
    (narrow,) = find(found, net__kind="narrow", net__rank=5)
    np.testing.assert_array_equal(capped(narrow), [True, False, False])
    np.testing.assert_array_equal(steps_to_tolerance(narrow), [60_000, 35_000, 35_000])
    np.testing.assert_array_equal(steps_to_tolerance(narrow, np.inf), [np.inf, 35_000, 35_000])


def test_degrees_of_freedom_are_the_dimension_of_the_tangent_space():
    rng, d, r = np.random.default_rng(0), 6, 2
    A, B = rng.normal(size=(d, r)), rng.normal(size=(r, d))
    moved = [np.outer(unit, B[k]) for unit in np.eye(d) for k in range(r)]
    moved += [np.outer(A[:, k], unit) for unit in np.eye(d) for k in range(r)]
    tangent = np.linalg.matrix_rank(np.stack([direction.ravel() for direction in moved]))
    assert degrees_of_freedom(ConfigDict({"size": d, "rank": r})) == tangent == 20


def recovered(name, seen):
    """Of the compressed network's shares 0.15, 0.25, 0.3, 0.35, 0.4, 0.5 with gamma 0.01, which recover each seed."""
    if name == "compressed":
        right = [[0, 1, 0, 1, 1, 1], [0] * 5 + [1], [1] * 5 + [0]]
        seen["recovery_error"][::2] = np.where(np.ravel(right), 1e-9, 1.0)[:, None]


def test_a_share_is_needed_where_a_smaller_one_or_a_larger_one_does_not_recover():
    found = find(runs_of("completion_sampling", recovered), net__kind="compressed", opt__discrepancy=0.01)
    np.testing.assert_array_equal(share_needed(found, 1e-6), [0.35, 0.5, np.inf])
    np.testing.assert_array_equal(share_needed(found[::-1], 1e-6), [0.35, 0.5, np.inf])
    np.testing.assert_array_equal(share_needed(found, 1e-10), np.full(3, np.inf))


def test_the_compressed_network_is_compared_with_the_original_for_the_seeds_of_both():
    recovery, shares, apart, steps = (of(runs_of("completion_gamma")) for of in EXPERIMENT.comparisons.values())
    assert shares is None
    np.testing.assert_array_equal(recovery, [1.0])
    np.testing.assert_array_equal(steps, [1.0])
    for gamma, distance in (("0.01", 0.0), ("0", 0.2), ("1", np.nan)):
        np.testing.assert_allclose(apart[f"gamma = {gamma}"], distance)
    assert all(of(runs_of("completion_compressed")) is None for of in EXPERIMENT.comparisons.values())


LEGENDS = {
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
    "completion_sampling": [
        "compressed, γ = 0.01, L = 3",
        "compressed, γ = 0.1, L = 3",
        "narrow, width 12, L = 3",
        "full, width 60, L = 2",
        "full, width 60, L = 3",
        "as many as degrees of freedom, r(2d − r)",
    ],
}


@pytest.mark.parametrize(("name", "words"), LEGENDS.items())
def test_the_legend_names_every_kind_of_network(name, words):
    (figure,) = EXPERIMENT.figures(runs_of(name, stalled)).values()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == words


def test_a_diverged_network_is_not_drawn_as_data():
    (figure,) = EXPERIMENT.figures(runs_of("completion_gamma")).values()
    _, by_step, by_cost = figure.axes
    ends = [line.get_xdata() for line in by_cost.lines if len(line.get_xdata()) == 1]
    assert len(ends) == 3
    assert all(np.isfinite(np.asarray(line.get_ydata(), float)).all() for line in by_step.lines)


def all_diverged(name, seen):
    """Every member meets a value that is not finite at its first step."""
    seen["diverged_at"][:], seen["converged_at"][:] = 1, -1
    seen["recovery_error"][:] = np.nan


@pytest.mark.parametrize("name", LEGENDS)
def test_networks_that_all_diverged_have_a_figure(name):
    (figure,) = EXPERIMENT.figures(runs_of(name, all_diverged)).values()
    figure.draw_without_rendering()
    assert all(axes.get_xlabel() for axes in figure.axes[1:])


# A whole run ----------------------------------------------------------------------------------------------------------


def test_a_run_from_end_to_end(smoke):
    folder, (code, _, err) = smoke("completion_gamma")
    assert (code, err.count("\n")) == (0, 1)
    assert "compressed, discrepancy=1: 2 of 2 members diverged" in err
    assert {path.name for path in (folder / "figures").iterdir()} == {"gamma.png", "gamma.pdf"}
    assert {claim["status"] for claim in json.loads((folder / "claims.json").read_text())["claims"]} == {"not_judged"}
    with xr.open_datatree(folder / "results.nc") as results:
        full, slow, still, _ = runs(results)
    assert (full.num_seeds, slow.num_seeds) == (1, 2)
    np.testing.assert_array_equal(
        slow.first("recovery_error"), still.first("recovery_error")
    )  # one draw for every gamma
    assert (final_recovery(still) > 1e-3).all()
    assert (final_recovery(slow) < 1e-4).all()
    assert not capped(slow).any()


@pytest.mark.parametrize(("scale", "status"), [(1e-3, "holds"), (2e-3, "not_run")])
def test_estimates_are_compared_only_where_nothing_else_differs(scale, status):
    variants = tuple(
        {"name": f"compressed_{rank}", "net.kind": "compressed", "net.rank": rank, "net.scale": own}
        for rank, own in ((5, 1e-3), (10, scale))
    )
    config = synthetic.config_of("completion_compressed", f"variants={variants!r}", "num_seeds=3")
    assert synthetic.verdict(cases.lawful, config)["F5.spread"].status == status
