"""The experiment of two-layer smooth MLPs: its rules, its networks, its verdict on made-up results, its figures."""

import functools as ft
import json

import jax
import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import synthetic
from synthetic import failing

from experiments.laws.smooth_mlp.two_layers import system as two_layers
from experiments.laws.smooth_mlp.two_layers.figures import runs, slopes
from experiments.runner.run import observation_times
from experiments.runner.settings import expand, hyperparameters
from lawlib.dynamics.sweep import grid
from lawlib.networks.activations import ACTIVATIONS

NAMES = ("mlp_theorem", "mlp_gradient_decay", "mlp_gradient_tail")

config_of = ft.partial(synthetic.config_of, num_seeds=3)


# Networks -------------------------------------------------------------------------------------------------

D, K, M, N = 6, 2, 8, 12
SMALL = {"net.width": M, "data.dimension": D, "data.num_classes": K, "data.num_samples": N, "net.scale": 0.3}


def small(name, **fields):
    ((_, config),) = expand(config_of(name, f"variants=({SMALL | fields!r},)"))
    return two_layers.dynamics(config)


@ft.cache
def trained():
    """A small problem of the theorem, its first three weights, and what is seen at the second."""
    system = small("mlp_theorem", **{"opt.step_size": 0.1})
    step = jax.jit(lambda state, problem: system.step(state, problem, ()))
    problem, start = jax.jit(lambda key: system.init(key, {}, ()))(jax.random.key(0))
    second = step(start, problem)
    seen = jax.jit(lambda state: system.observe(state, problem, ()))(second)
    states = start, second, step(second, problem)
    return jax.tree.map(np.asarray, (problem, [state.state.weights for state in states], seen))


def gradient(W, W_2, X, Y):
    """G_1 of GELU by eq. 12."""
    Z = W @ X
    cdf = scipy.stats.norm.cdf(Z)
    residual = W_2 @ (Z * cdf) - Y
    return (W_2.T @ residual * (cdf + Z * scipy.stats.norm.pdf(Z))) @ X.T, residual


def test_a_step_descends_in_the_first_layer_on_the_sum_loss():
    problem, (start, W, after), seen = trained()
    X, Y = problem.inputs, problem.targets
    np.testing.assert_allclose(X @ X.T, np.eye(D), atol=1e-14)
    np.testing.assert_array_equal(Y, np.repeat(np.eye(K), N // K, axis=1))
    np.testing.assert_allclose(start.T @ start, 0.09 * np.eye(D), atol=1e-14)
    assert problem.last.shape == (K, M)
    assert np.abs(problem.last).max() < 1
    G, residual = gradient(W, problem.last, X, Y)
    np.testing.assert_allclose(after, W - 0.1 * G, rtol=1e-12)
    assert float(seen["loss"]) == pytest.approx(np.sum(residual**2) / 2, rel=1e-12)
    np.testing.assert_allclose(seen["gradient_values"], np.linalg.svd(G, compute_uv=False), rtol=1e-12)


def test_blocks_and_bounds_are_those_of_the_dense_bases():
    problem, (start, W, after), seen = trained()
    data = problem.last, problem.inputs, problem.targets
    (G_0, _), (G, residual) = gradient(start, *data), gradient(W, *data)
    leading = [(U[:, :K], Vt[:K].T) for U, _, Vt in map(np.linalg.svd, (G_0, G))]
    (L_0, R_0), (L, R) = leading
    V_2 = scipy.linalg.null_space(np.hstack([R_0, start.T @ L_0]).T)
    U_2 = start @ V_2 / 0.3
    U, V = np.hstack([scipy.linalg.null_space(U_2.T), U_2]), np.hstack([scipy.linalg.null_space(V_2.T), V_2])

    def blocks(change):
        rotated, (i, j) = U.T @ change @ V, (M - V_2.shape[1], 2 * K)
        parts = rotated[:i, :j], rotated[:i, j:], rotated[i:, :j], rotated[i:, j:]
        return np.array([np.sum(part**2) for part in parts])

    p, s = D - 2 * K, np.linalg.svd(G, compute_uv=False)
    np.testing.assert_allclose(seen["blocks"], blocks(W - start), rtol=1e-9)
    np.testing.assert_allclose(seen["weight_blocks"], blocks(W), rtol=1e-9)
    np.testing.assert_allclose(seen["step_distances"], np.sqrt(blocks(after - W)[1:] / p), rtol=1e-9)
    sines = [np.linalg.norm(np.sin(scipy.linalg.subspace_angles(*pair))) for pair in ((L, L_0), (R, R_0))]
    np.testing.assert_allclose([seen["left_sine"], seen["right_sine"]], sines, rtol=1e-9)
    np.testing.assert_allclose(
        seen["step_bound"], 0.1 * np.sqrt(s[0] ** 2 * max(sines) ** 2 / p + s[K] ** 2), rtol=1e-9
    )
    assert float(seen["gradient_change"]) == pytest.approx(np.linalg.norm(G - G_0), rel=1e-12)
    phi, W_2 = ACTIVATIONS["gelu"], problem.last
    steep = phi.mu * np.abs(residual).max() * np.abs(W_2).sum(0).max() + (phi.beta * np.linalg.norm(W_2, 2)) ** 2
    assert float(seen["lipschitz"]) == pytest.approx(steep, rel=1e-12)
    # The random subspace is as large, another one, and keeps all of the change.
    assert seen["random_blocks"].sum() == pytest.approx(np.sum((W - start) ** 2), rel=1e-12)
    assert seen["random_blocks"][0] < 0.9 * seen["blocks"][0]


def test_proposition_b1_has_its_own_start_and_its_bound():
    square = {"net.init": "normal", "net.activation": "relu", "data.num_samples": D, "net.width": 3000}
    system = small("mlp_gradient_tail", **square)
    problem, state, seen = jax.jit(
        lambda key: (*(drawn := system.init(key, {}, ())), system.observe(*drawn[::-1], ()))
    )(jax.random.key(1))
    W, X, Y, W_2 = (np.asarray(A) for A in (state.state.weights, problem.inputs, problem.targets, problem.last))
    assert W.std() == pytest.approx(0.3 / 3000**0.5, rel=0.03)
    np.testing.assert_allclose(X.T @ X, np.eye(D), atol=1e-14)
    residual = W_2 @ np.maximum(W @ X, 0) - Y
    E, V = W_2.T @ residual, scipy.linalg.null_space(residual)
    low, *_, high = np.linalg.eigvalsh(V.T @ np.diag(np.sum(E**2, 0)) @ V)
    R, log = np.max(np.sum(E**2, 1)), np.log(2 * (D - K) / 0.1)
    expected = np.sqrt(low / 4 - (R * log / 6 + np.sqrt(2 * log * R * high / 16)))
    assert float(seen["relu_bound"]) == pytest.approx(expected, rel=1e-10)
    assert "spread" not in seen


# Claims ---------------------------------------------------------------------------------------------------

TARGET = np.array([44.0, 43.0, 42.0, 41.0])


def lawful(config):
    """Observations, members first and times second, of networks that keep every law."""
    times, members = observation_times(config), grid(config.num_seeds, hyperparameters(config), "float64")
    n, d, net = len(members.seeds), config.data.dimension, config.net
    scale = members.hyperparameters.get("net.scale", np.full(n, net.scale))[:, None]
    phi = ACTIVATIONS[net.activation]
    slope, power = (phi.slope_at_zero, 2 if phi.name == "tanh" else 1) if phi.is_smooth else (0.5, 0)
    decay = 0.95**times + 0.01 + 2e-6 * np.maximum(times - 150, 0)
    tail = np.ones(len(times)) * 0.05 * 41 * scale**power
    values = np.empty((n, len(times), d))
    values[..., :4] = slope * TARGET * (decay / decay[0])[:, None]
    values[..., 4:] = tail[..., None]
    constant = np.ones((n, len(times)))
    seen = {"loss": constant, "gradient_values": values, "converged_at": np.full(n, -1), "diverged_at": np.full(n, -1)}
    seen["target_values"] = np.zeros_like(values)
    seen["target_values"][..., :4] = TARGET
    if net.init == "normal":
        return seen | {"relu_bound": {72: 0.0, 4096: 0.3, 8192: 0.8}[net.width] * values[..., d - 5]}
    if phi.is_smooth:
        seen["spread"] = constant * 0.2 * 41 * slope * scale
    return seen | (lawful_blocks(config, times, values, scale) if config.study == "theorem" else {})


def lawful_blocks(config, times, values, scale):
    """What the theorem alone looks at."""
    p, eta, changed = config.data.dimension - 8, config.opt.step_size, (times > 0)[:, None]
    constant = np.ones(values.shape[:2])
    turned = 2 * (1 - np.exp(-((times / 60) ** 2))) * constant
    bound = eta * np.sqrt((values[..., 0] * turned) ** 2 / p + values[..., 4] ** 2)
    gap = values[:, :1, 3] - values[..., 4]
    seen = {
        "blocks": constant[..., None] * changed * np.array([0.995, 0.002, 0.002, 0.001]),
        "random_blocks": constant[..., None] * changed * np.array([0.1, 0.3, 0.3, 0.3]),
        "weight_blocks": scale[..., None] ** 2 * constant[..., None] * np.array([8.0, 0.0, 0.0, p]),
        "step_distances": bound[..., None] * np.array([0.8, 0.7, 0.1]),
        "step_bound": bound,
        "left_sine": turned,
        "right_sine": 0.9 * turned,
        "gradient_change": turned * gap / 0.8,
        "wedin_bound": turned / 0.9,
    }
    return seen | ({"lipschitz": 50 * constant} if ACTIVATIONS[config.net.activation].is_smooth else {})


results_of = ft.partial(synthetic.results_of, lawful, two_layers.VARIABLES)


def verdict(name, change=lambda name, seen: None, *words):
    return two_layers.claims(results_of(config_of(name, *words), change))


COUNTS = {"mlp_theorem": (27, 1, 21), "mlp_gradient_decay": (18, 3, 12), "mlp_gradient_tail": (25, 0, 17)}


@pytest.mark.parametrize("name", NAMES)
def test_the_lawful_pass_all(name):
    claims = verdict(name)
    assert [(claim.statement, claim.measured) for claim in claims if claim.status != "holds"] == []
    assert synthetic.kinds(claims) == COUNTS[name]


def scaled(variant, field, factor, place=(), member=-1):
    """Multiply an observation of one member of a variant, at a place or everywhere."""

    def change(name, seen):
        if name == variant:
            seen[field] = np.array(seen[field])
            seen[field][(member, *place)] *= factor

    return change


def moved(variant, field, amount, place=(), member=-1):
    """Add to an observation of one member of a variant."""

    def change(name, seen):
        if name == variant:
            seen[field] = np.array(seen[field])
            seen[field][(member, *place)] += amount

    return change


def both(*changes):
    def change(name, seen):
        for each in changes:
            each(name, seen)

    return change


def monotone(name, seen):
    """A gradient that decays for ever."""
    if name == "gelu":
        values = seen["gradient_values"]
        values[..., :4] *= (0.99 ** np.arange(values.shape[1]))[:, None]


def diverged(name, seen):
    if name == "relu":
        seen["diverged_at"][-1] = 7


WEDIN = ["largest A(t) over ||G_1(t) - G_1(0)||_F", "the same with the change projected"]
THEOREM = {
    "block 1 at 100": (
        scaled("elu", "blocks", 0.4, (100, 0)),
        ["ELU: block 1's share in the change of W_1 at t = 100"],
    ),
    "block 1 at 250": (
        scaled("silu", "blocks", 0.1, (250, 0)),
        ["SiLU: block 1's share in the change of W_1 at t = 250"],
    ),
    "start": (moved("gelu", "weight_blocks", 1e-26, (0, 1)), ["W_1(0): "]),
    "idle block": (scaled("gelu", "weight_blocks", 1 + 3e-12, (0, 3)), ["W_1(0): "]),
    "a step": (scaled("relu", "step_distances", 1.251, (40, 0)), ["first form: largest"]),
    "vacuous": (
        scaled("gelu", "step_distances", 0.7),
        ["GELU: the first form is not vacuous"],
    ),
    "no p lacks": (
        scaled("gelu", "step_distances", 0.16),
        ["GELU: the first form is not vacuous", "the proof ends in"],
    ),
    "too long a step": (scaled("elu", "lipschitz", 2.01, (3,)), ["eta gamma_L"]),
    "large eps": (
        scaled("silu", "spread", 300.0),
        ["the condition on eps"],
    ),
    "first rate": (
        both(scaled("gelu", "step_bound", 2.1, (0,)), scaled("gelu", "step_distances", 2.1, (0,))),
        ["second form at t = 0, as it should"],
    ),
    "delta": (scaled("gelu", "lipschitz", 0.02), ["Lemma D.9", "second form: largest"]),
    "too little turned": (scaled("silu", "left_sine", 0.94), ["SiLU: A(t) tends to sqrt K"]),
    "turned too soon": (
        both(*(scaled("elu", field, 5.0, (20,)) for field in ("left_sine", "gradient_change", "wedin_bound"))),
        ["ELU: by then sigma_1 has decayed"],
    ),
    "rate": (
        both(scaled("gelu", "step_bound", 200.0, (1,)), scaled("gelu", "step_distances", 200.0, (1,))),
        ["second form: largest"],
    ),
    "interval": (
        moved("elu", "target_values", 0.1, (0, 2)),
        ["ELU, eps = 0.01: largest |sigma_i(G_1(0))"],
    ),
    "Wedin": (scaled("relu", "gradient_change", 0.79, (200,)), WEDIN[:1]),
    "sharper Wedin": (scaled("gelu", "wedin_bound", 0.89, (1,)), WEDIN[1:]),
    "diverged": (diverged, ["W_1(0): ", "first form: largest", "the proof ends in", *WEDIN]),
}
DECAY = {
    "no decay": (scaled("elu", "gradient_values", 1.06, (60,), -2), ["ELU: ||G_1||_F strictly decreases"]),
    "a late jump": (
        scaled("silu", "gradient_values", 1.002, (200,), -2),
        ["SiLU: largest change of ||G_1||_F in a later step"],
    ),
    "one slow value": (
        scaled("gelu", "gradient_values", 6.0, (slice(90, None), 3), -2),
        ["GELU: ||G_1||_F strictly decreases", "GELU: largest sigma_i(G_1(t)) / sigma_i(G_1(0))"],
    ),
    "monotone": (monotone, ["GELU: '||G_1||_F monotonically decays"]),
    "a large tail": (
        scaled("gelu", "gradient_values", 2.1, (slice(None), 4)),
        ["GELU, eps = 0.1: largest sigma_{K+1}"],
    ),
}
TAIL = {
    "not linear": (
        scaled("gelu", "gradient_values", 1.3, (0, 10)),
        ["GELU: |slope of log sigma_i(G_1(0)) in log eps - 1|, i > K"],
    ),
    "not square": (
        scaled("tanh", "gradient_values", 1.7, (0, -1)),
        ["tanh: |slope of log sigma_i(G_1(0)) in log eps - 2|, i > K"],
    ),
    "ReLU's tail": (
        scaled("relu", "gradient_values", 1.4, (0, 63)),
        ["ReLU: |slope of log sigma_i(G_1(0)) in log eps|, i > K"],
    ),
    "the lead": (
        scaled("relu", "gradient_values", 1.11, (0, 1)),
        ["ReLU: |slope of log sigma_i(G_1(0)) in log eps|, i <= K"],
    ),
    "interval": (
        scaled("silu", "spread", 0.49),
        ["SiLU, eps = 0.1: largest |sigma_i(G_1(0))"],
    ),
    "violated": (scaled("bound_d64_m4096", "relu_bound", 4.0), ["the bound over sigma_{d-K}(G_1(0)): never"]),
    "vacuous": (scaled("bound_d32_m8192", "relu_bound", 0.0), ["d = N = 32, K = 4, m = 8192: the bound"]),
    "above": (
        scaled("bound_d32_m8192", "relu_bound", 1.26),
        ["the bound over sigma_{d-K}(G_1(0)): never", "d = N = 32, K = 4, m = 8192: the bound over"],
    ),
}
BREAKS = {
    f"{name}: {what}": (name, *broken)
    for name, breaks in zip(NAMES, (THEOREM, DECAY, TAIL), strict=True)
    for what, broken in breaks.items()
}


@pytest.mark.parametrize(("name", "change", "failed"), BREAKS.values(), ids=BREAKS)
def test_one_member_is_enough_to_fail(name, change, failed):
    found = failing(verdict(name, change))
    assert len(found) == len(failed), found
    assert all(statement.startswith(start) for statement, start in zip(found, failed, strict=True)), found


def test_bounds_are_not_carried_to_another_setting():
    claims = verdict("mlp_gradient_decay", lambda *_: None, "opt.step_size=0.02")
    assert {claim.status for claim in claims if claim.kind != "report"} == {"not_judged"}


def test_runs_that_are_too_short_are_not_judged_at_times_they_do_not_reach():
    claims = verdict("mlp_theorem", lambda *_: None, "opt.num_steps=99", "observe.num_times=100")
    unjudged = [claim.statement for claim in claims if claim.status == "not_run"]
    assert all("(not run: the runs end at t = 99)" in statement for statement in unjudged)
    assert sum("block 1's share" in statement for statement in unjudged) == 16
    assert not failing(claims)


def test_a_single_eps_has_no_slope():
    claims = verdict("mlp_gradient_tail", lambda *_: None, "sweep.net.scale=0.01,")
    assert all((claim.status == "not_run") == (claim.id == "F11") for claim in claims)


# Fits and figures -----------------------------------------------------------------------------------------


def test_slopes_are_those_of_a_regression():
    family = [r for r in runs(results_of(config_of("mlp_gradient_tail"))) if r.phi.name == "tanh"]
    rng, scales = np.random.default_rng(0), [r.config.net.scale for r in family]
    for r in family:
        r.values[:, 0] *= np.exp(rng.standard_normal(r.values[:, 0].shape))
    found = slopes(family)
    assert scales == [0.001, 0.01, 0.1]
    for place in ((0, 0), (1, 40), (2, 63)):
        logs = [np.log(r.values[place[0], 0, place[1]]) for r in family]
        assert found[place] == pytest.approx(scipy.stats.linregress(np.log(scales), logs).slope, rel=1e-10)


DRAWN = {
    "mlp_theorem": {"blocks": 8, "bounds": 8},
    "mlp_gradient_decay": {"decay": 6, "gradient_tail": 3},
    "mlp_gradient_tail": {"spectrum": 10, "relu_bound": 1},
}


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_has_its_panels_under_named_axes(name):
    drawn = two_layers.figures(results_of(config_of(name)))
    assert {figure: len(each.axes) for figure, each in drawn.items()} == DRAWN[name]
    for figure in drawn.values():
        assert any(axes.get_ylabel() or axes.get_yticklabels() for axes in figure.axes)
        assert any(axes.get_xlabel() for axes in figure.axes)
        assert any(axes.get_title() for axes in figure.axes) or figure.legends


# From end to end ------------------------------------------------------------------------------------------


def test_the_smoke_run_of_figures_12_and_13_keeps_its_laws(smoke):
    folder, (code, _, err) = smoke("mlp_gradient_decay")
    assert (code, err) == (0, "")
    claims = json.loads((folder / "claims.json").read_text())
    judged = {(claim["kind"], claim["status"]) for claim in claims}
    assert judged == {("law", "holds"), ("printed", "holds"), ("report", "holds")}
    for name in ("decay", "gradient_tail"):
        assert (folder / "figures" / f"{name}.png").exists()
