"""Progressive collapse: its networks, the fit of a line, verdicts at the edges of the laws, its figures, a run."""

import functools as ft
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import synthetic
from collapse.cases import CASES, lawful, line, replaced, scaled
from synthetic import config_of, unchanged

from experiments.laws.collapse.figures import figures
from experiments.laws.collapse.measures import ended, fit
from experiments.laws.collapse.system import dynamics
from experiments.runner.settings import expand
from lawlib.theory.collapse import largest_scale

runs_of = ft.partial(synthetic.runs_of, lawful)


def verdict(name, change=unchanged, *words):
    return synthetic.verdict(lawful, config_of(name, *words, num_seeds=3), change)


def status(rows):
    return {id: row.status for id, row in rows.items()}


def test_the_theorems_config_stays_within_its_hypotheses():
    for name, config in expand(config_of("collapse_theorem")):
        largest = largest_scale(width=50, samples_per_class=10, num_classes=5, depth=config.net.depth)
        if name.endswith(("within", "flow")):
            assert config.net.scale == pytest.approx(0.99 * largest, rel=1e-12)
        else:
            assert min(config.sweep.net.scale) > largest


# Networks -------------------------------------------------------------------------------------------------


def small(activation, init):
    """The dynamics of a small network."""
    fields = {"net.width": 6, "data.num_classes": 2, "data.samples_per_class": 3, "net.depth": 3, "net.scale": 0.7}
    fields |= {"net.activation": activation, "net.init": init, "opt.step_size": 0.1}
    ((_, config),) = expand(config_of("collapse_depth", f"variants=({fields!r},)"))
    return dynamics(config)


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
    t = jnp.zeros((), jnp.int32)
    stepped, seen = jax.jit(lambda s: (system.step(t, s, problem, ()), system.observe(t, s, problem, ())))(state)
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


def test_the_flow_keeps_what_theorem_2_asks_for_and_descent_does_not():
    fields = {"net.width": 6, "data.num_classes": 2, "data.samples_per_class": 3, "net.depth": 3, "net.scale": 0.3}
    kept, t = {}, jnp.zeros((), jnp.int32)
    for method in ("flow", "descent"):
        ((_, config),) = expand(config_of("collapse_theorem", f"variants=({fields | {'opt.method': method}!r},)"))
        system = dynamics(config)
        problem, state = jax.jit(lambda key, system=system: system.init(key, {}, ()))(jax.random.key(0))
        step = jax.jit(lambda s, system=system, problem=problem: system.step(t, s, problem, ()))
        for _ in range(100):
            state = step(state)
        weights = [np.asarray(W) for W in state.state.weights]
        first, second, last = weights
        seen = jax.jit(lambda s, system=system, problem=problem: system.observe(t, s, problem, ()))(state)
        off = np.sort(np.abs(np.stack([np.linalg.svd(W)[1] for W in weights[:-1]]) / 0.3 - 1).max(0))[: 6 - 4]
        assert float(seen["unchanged"]) == pytest.approx(off.max(), abs=1e-12)
        kept[method] = np.linalg.norm(second.T @ second - first @ first.T)
        assert np.linalg.norm(last.T @ last - second @ second.T) == pytest.approx(0.09 * 4**0.5, rel=0.2)
    assert kept["flow"] < 1e-9 < 1e-4 < kept["descent"]


# Claims ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "change"),
    [("collapse_depth", scaled("linear_L8", 1.04)), ("collapse_theorem", line("L4_within", 3.4e-3))],
)
def test_what_the_bounds_allow_does_not_fail(name, change):
    assert status(verdict(name, change)) == status(verdict(name))


def test_a_relu_network_on_a_plateau_is_counted_and_not_judged():
    def plateau(name, seen):
        if name == "relu_L8":
            seen["converged_at"][0] = -1  # the first seed at mean loss 1e-6
            seen["converged_at"][1] = -1  # the first seed at mean loss 1e-8
            seen["separation"][:2, :, 1:] = 5.0

    rows = verdict("collapse_depth", plateau)
    assert status(rows) == status(verdict("collapse_depth"))
    assert (rows["F7.rate[6]"].members, rows["F7.rate[8]"].members, rows["F7.ratio_drawn[8]"].members) == (3, 2, 2)
    assert [ended(run).sum() for run in runs_of(config_of("collapse_depth", num_seeds=3), plateau)][-4:] == [2, 2, 3, 3]


@pytest.mark.parametrize(("name", "start"), [("collapse_depth", "F2.start"), ("collapse_theorem", "T2.start")])
def test_a_profile_that_reaches_no_tolerance_judges_nothing_but_the_inputs(name, start):
    def nobody(_, seen):
        seen["converged_at"][:] = -1

    rows = verdict(name, nobody)
    assert rows.pop(start).status == "holds"
    assert set(status(rows).values()) == {"not_reached"}


def test_a_single_depth_says_nothing_of_the_others():
    one = "variants=({'name': 'linear_L6', 'net.depth': 6, 'sweep.opt.tolerance': (1e-6, 1e-12)},)"
    rows = status(verdict("collapse_depth", unchanged, one))
    assert rows == dict.fromkeys(("F2.start", "F2.rate", "F2.line"), "holds") | dict.fromkeys(
        (
            *(f"F7.{what}{at}" for what in ("line", "rate", "ratio") for at in ("", "_drawn")),
            "F2.depth",
            "F2.depth_drawn",
            "F2.deeper",
            "F7.deeper",
        ),
        "not_run",
    )


def test_bounds_are_not_carried_to_other_data():
    rows = verdict("collapse_scale", unchanged, "net.width=25", "data.samples_per_class=5")
    # lawful() has the D_0 of n = 10.
    assert status(rows) == {"F11.start": "fails"} | dict.fromkeys(rows.keys() - {"F11.start"}, "not_judged")


# Figures and fits -----------------------------------------------------------------------------------------


def test_the_line_is_that_of_a_regression():
    separation = np.exp(np.random.default_rng(0).standard_normal((2, 3, 6)))
    found = fit(separation)
    for place in np.ndindex(2, 3):
        line = scipy.stats.linregress(np.arange(6), np.log(separation[place]))
        assert found.rate[place] == pytest.approx(np.exp(line.slope), rel=1e-12)
        assert found.start[place] == pytest.approx(np.exp(line.intercept), rel=1e-12)
        assert found.r_squared[place] == pytest.approx(line.rvalue**2, rel=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_the_figure_holds_every_member(case):
    found = runs_of(config_of(f"collapse_{case}", num_seeds=3))
    drawn = figures(found)
    assert drawn.keys() == {"separation"} | ({"bound"} if case == "theorem" else set())
    panels = drawn["separation"].axes
    points = [
        line for axes in panels for line in axes.lines if line.get_linestyle() == "None" and line.get_xdata().size
    ]
    assert len(points) == sum(ended(run).sum() for run in found)
    assert all(axes.get_xlabel() and axes.get_title() and axes.get_legend() for axes in panels)
    assert panels[0].get_ylabel().startswith("separation")


def test_members_on_a_plateau_are_drawn_apart():
    found = runs_of(config_of("collapse_depth", num_seeds=3), replaced("relu_L8", "converged_at", -1))
    texts = [text.get_text() for text in figures(found)["separation"].axes[-1].get_legend().get_texts()]
    assert [text for text in texts if "cap of steps" in text] == ["L = 8: 1 of 3 not there, at the cap of steps"]


def test_the_smoke_run_of_figure_11_keeps_its_laws(smoke):
    folder, (code, _, err) = smoke("collapse_scale")
    assert (code, err) == (0, "")
    claims = json.loads((folder / "claims.json").read_text())["claims"]
    assert {(claim["kind"], claim["status"]) for claim in claims} == {("check", "holds"), ("law", "holds")}
    assert (folder / "figures" / "separation.png").exists()
