"""Four-layer smooth networks: the rules, the steps, the geometry, the verdict on made-up results, the figures."""

import functools as ft
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
import scipy.linalg
import synthetic
from synthetic import failing

from experiments.laws.smooth_mlp.deep import system as deep_system
from experiments.runner.checks import collect
from experiments.runner.run import observation_times
from experiments.runner.settings import expand, hyperparameters
from lawlib.descent.steps import epoch_batches
from lawlib.dynamics.sweep import grid
from lawlib.networks.activations import ACTIVATIONS
from lawlib.networks.mlp import apply

NAMES = ("mlp_spectra", "mlp_deep", "mlp_optimizers")

config_of = ft.partial(synthetic.config_of, num_seeds=3)


# Rules ----------------------------------------------------------------------------------------------------

RULES = {
    "study": ({"study": "deeper"}, "study = 'deeper': must be one of 'spectra', 'deep', 'optimizers'"),
    "depth": ({"net.depth": 1}, "net.depth = 1: must be an integer >= 2"),
    "activation": (
        {"net.activation": "sine"},
        "net.activation = 'sine': must be one of 'elu', 'gelu', 'silu', 'tanh', 'relu', 'leaky_relu', 'rrelu'",
    ),
    "last": ({"net.last": "zero"}, "net.last = 'zero': must be one of 'orthogonal', 'uniform'"),
    "method": ({"opt.method": "lion"}, "opt.method = 'lion': must be one of 'sgd', 'adam', 'muon'"),
    "loss": ({"opt.loss": "hinge"}, "opt.loss = 'hinge': must be one of 'squared', 'cross_entropy'"),
    "momentum": ({"opt.momentum": 1.0}, "opt.momentum = 1.0: must be a finite number >= 0.0 and < 1.0"),
    "batch": ({"opt.batch_size": 1001}, "opt.batch_size = 1001: must be at most data.num_samples = 1000"),
    "classes": (
        {"data.num_classes": 40},
        "data.num_classes = 40: must be below data.dimension / 2 = 32, else no S_small",
    ),
    "balance": ({"data.num_classes": 3}, "data.num_samples = 1000: must be a multiple of 3 classes"),
    "whiten": (
        {"data.num_samples": 40, "opt.batch_size": 40},
        "data.num_samples = 40: must be at least data.dimension = 64 to whiten",
    ),
    "width": ({"net.width": 63}, "net.width = 63: must be at least data.dimension = 64: no layer may narrow"),
    "square": ({"study": "spectra"}, "net.width = 72: must be data.dimension = 64, whose subspaces are compared"),
    "digits": (
        {"data.source": "digits", "data.dimension": 61, "data.num_samples": 1797},
        "data.num_classes = 4: must be 10 for the digits",
    ),
}


@pytest.mark.parametrize(("fields", "line"), RULES.values(), ids=RULES)
def test_every_rule_has_its_line(fields, line):
    config = config_of("mlp_deep", f"variants=({fields!r},)")
    assert collect(config, deep_system.validate) == [line]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("profile", ["smoke", "cpu", "paper"])
def test_our_own_configs_pass(name, profile):
    assert collect(config_of(name, profile=profile), deep_system.validate) == []


# Steps ----------------------------------------------------------------------------------------------------

SIZES = {"net.width": 8, "net.depth": 3, "data.dimension": 7, "data.num_classes": 2, "data.num_samples": 12}


def small(**fields):
    """The dynamics of a small network, by fields whose dots are written as two underscores."""
    given = {name.replace("__", "."): value for name, value in fields.items()}
    ((_, config),) = expand(config_of("mlp_deep", f"variants=({SIZES | {'opt.batch_size': 12} | given!r},)"))
    return deep_system.dynamics(config)


@ft.cache
def begun():
    """A problem and its first weights, shared by the tests: drawing orthogonal layers takes long to compile."""
    return jax.jit(lambda key: small().init(key, {}, ()))(jax.random.key(0))


def started(memory):
    """The same problem and weights for another method, whose memory this is."""
    problem, monitored = begun()
    state = monitored.state
    iterate = state.iterate._replace(memory=memory)
    return problem._replace(step_size=jnp.asarray(0.1)), monitored._replace(state=state._replace(iterate=iterate))


def weights_of(monitored):
    return [np.asarray(W) for W in monitored.state.iterate.weights]


def test_a_mixture_is_whitened_and_its_networks_start_as_told():
    problem, state = begun()
    X, Y = (np.asarray(values) for values in problem.data)
    first, second, last = weights_of(state)
    np.testing.assert_allclose(X @ X.T, np.eye(7), atol=1e-13)
    np.testing.assert_array_equal(Y, np.repeat(np.eye(2), 6, axis=1))
    np.testing.assert_allclose(first.T @ first, 0.01 * np.eye(7), atol=1e-15)
    np.testing.assert_allclose(second.T @ second, 0.01 * np.eye(8), atol=1e-15)
    assert 0.5 < np.abs(last).max() < 1


def test_a_full_batch_is_one_step_of_gradient_descent():
    problem, state = started(optax.sgd(0.1).init(()))
    X, Y = (np.asarray(values) for values in problem.data)
    first, second, last = weights_of(state)
    H = np.where((Z := second @ np.where((Z1 := first @ X) > 0, Z1, np.expm1(Z1))) > 0, Z, np.expm1(Z))
    after = jax.jit(small().step)(state, problem, ())
    np.testing.assert_allclose(weights_of(after)[-1], last - 0.1 * (last @ H - Y) @ H.T, rtol=1e-12)
    assert int(after.state.epoch) == 1


def test_an_epoch_is_a_step_on_every_one_of_its_batches():
    system = small(opt__batch_size=5, opt__momentum=0.9)
    transform = optax.sgd(0.1, 0.9)
    problem, state = started(transform.init(begun()[1].state.iterate.weights))
    state = state._replace(state=state.state._replace(epoch=jnp.asarray(3, jnp.int32)))
    X, Y = problem.data

    def loss(weights, X, Y):
        return jnp.sum((apply(weights, X, ACTIVATIONS["elu"]) - Y) ** 2) / 2

    weights, memory = state.state.iterate.weights, transform.init(state.state.iterate.weights)
    key_order, _ = jax.random.split(state.state.key)
    batches = np.asarray(epoch_batches(key_order, 3, 12, 5))
    assert batches.shape == (2, 5)
    for batch in batches:
        updates, memory = transform.update(jax.grad(loss)(weights, X[:, batch], Y[:, batch]), memory)
        weights = optax.apply_updates(weights, updates)
    for W, expected in zip(weights_of(jax.jit(system.step)(state, problem, ())), weights, strict=True):
        np.testing.assert_allclose(W, expected, rtol=1e-10)


def test_muon_takes_our_matrices_for_the_kernels_of_flax():
    system, (problem, monitored) = small(opt__method="muon", opt__momentum=0.9), begun()
    kernels = tuple(W.T for W in monitored.state.iterate.weights)
    flax = optax.contrib.muon(0.1, beta=0.9, nesterov=True, weight_decay=0.0)

    def loss(kernels, X, Y):
        return jnp.sum((apply(tuple(K.T for K in kernels), X, ACTIVATIONS["elu"]) - Y) ** 2) / 2

    with jax.numpy_dtype_promotion("standard"):
        updates, _ = jax.jit(flax.update)(jax.grad(loss)(kernels, *problem.data), flax.init(kernels), kernels)
    expected = [np.asarray(K + update).T for K, update in zip(kernels, updates, strict=True)]
    reported = optax.contrib.MuonDimensionNumbers(1, 0)
    memory = optax.contrib.muon(0.1, muon_weight_dimension_numbers=reported).init(monitored.state.iterate.weights)
    problem, state = started(memory)
    for W, other in zip(weights_of(jax.jit(system.step)(state, problem, ())), expected, strict=True):
        np.testing.assert_allclose(W, other, rtol=1e-8, atol=1e-12)


def test_a_randomized_activation_draws_anew_at_every_step():
    system = small(net__activation="rrelu")
    problem, state = started(optax.sgd(0.1).init(()))
    step = jax.jit(system.step)
    later = state._replace(state=state.state._replace(epoch=jnp.asarray(1, jnp.int32)))
    now, again, then = (weights_of(step(at, problem, ()))[0] for at in (state, state, later))
    np.testing.assert_array_equal(now, again)
    assert np.abs(then - now).max() > 1e-6


# Geometry -------------------------------------------------------------------------------------------------


def test_the_bases_are_those_of_equation_8():
    problem, state = begun()
    first, second, last = weights_of(state)
    X, Y = (np.asarray(values) for values in problem.data)

    def elu(Z):
        return np.where(Z > 0, Z, np.expm1(Z))

    def slope(Z):
        return np.where(Z > 0, 1, np.exp(Z))

    Z_1, Z_2 = first @ X, second @ elu(first @ X)
    residual = last @ elu(Z_2) - Y
    gradient = ((second.T @ ((last.T @ residual) * slope(Z_2))) * slope(Z_1)) @ X.T
    left, s, right = np.linalg.svd(gradient)
    expected = scipy.linalg.null_space(np.vstack([right[:2], left[:, :2].T @ first]))
    small_bases = [np.asarray(B) for B in problem.bases.small]
    np.testing.assert_allclose(small_bases[0] @ small_bases[0].T, expected @ expected.T, atol=1e-10)
    np.testing.assert_allclose(small_bases[2], second @ first @ small_bases[0] / 0.01, atol=1e-13)
    np.testing.assert_allclose(problem.start_gradient, s[:3] / s[0], rtol=1e-9)
    chance = np.asarray(problem.bases.random[0])
    np.testing.assert_allclose(chance.T @ chance, np.eye(3), atol=1e-13)


def test_the_blocks_are_those_of_equation_9():
    problem, monitored = begun()
    rng = np.random.default_rng(0)
    moved = [W + rng.standard_normal(W.shape) for W in weights_of(monitored)]
    iterate = monitored.state.iterate._replace(weights=tuple(map(jnp.asarray, moved)))
    state = monitored._replace(state=monitored.state._replace(iterate=iterate))
    seen = jax.jit(small().observe)(state, problem, ())
    for layer in range(2):
        U_2, V_2 = (np.asarray(problem.bases.small[i]) for i in (layer + 1, layer))
        change = scipy.linalg.null_space(U_2.T).T @ (moved[layer] - weights_of(monitored)[layer])
        squares = [np.sum((change @ V) ** 2) for V in (scipy.linalg.null_space(V_2.T), V_2)]
        total = np.sum((moved[layer] - weights_of(monitored)[layer]) ** 2)
        np.testing.assert_allclose(seen["fractions"][layer, :2], np.array(squares) / total, rtol=1e-10)
    np.testing.assert_allclose(np.sum(seen["fractions"], axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(np.sum(seen["random_fractions"], axis=1), 1, rtol=1e-12)


def test_the_changes_are_those_of_singular_subspaces():
    fields = {"study": "spectra", "net__width": 7}
    system = small(**fields)
    problem, monitored = jax.jit(lambda key: system.init(key, {}, ()))(jax.random.key(1))
    rng = np.random.default_rng(0)
    moved = [rng.standard_normal(W.shape) for W in weights_of(monitored)]
    iterate = monitored.state.iterate._replace(weights=tuple(map(jnp.asarray, moved)))
    state = monitored._replace(state=monitored.state._replace(iterate=iterate))
    seen = jax.jit(system.observe)(state, problem, ())

    def change(basis, other):
        return np.sum(np.sin(scipy.linalg.subspace_angles(basis, np.asarray(other))) ** 2)

    for layer in range(2):
        U, s, Vt = np.linalg.svd(moved[layer])
        U_1, _, Vt_1 = np.linalg.svd(np.asarray(problem.first[layer]))
        np.testing.assert_allclose(seen["singular_values"][layer], s, rtol=1e-12)
        B = problem.bases.small
        expected = [change(U[:, 2:5], B[layer + 1]), change(Vt[2:5].T, B[layer])]
        np.testing.assert_allclose(seen["middle"][layer], expected, rtol=1e-8)
        for name, cut in (("top", slice(0, 2)), ("bottom", slice(5, 7))):
            expected = [change(U[:, cut], U_1[:, cut]), change(Vt[cut].T, Vt_1[cut].T)]
            np.testing.assert_allclose(seen[name][layer], expected, rtol=1e-8)


# Claims ---------------------------------------------------------------------------------------------------

SHARES = {"elu": {"sgd": 0.95, "adam": 0.6, "muon": 0.3}, "gelu": {"sgd": 0.7, "adam": 0.5, "muon": 0.2}}


def lawful(config):
    """Observations, members first and times second, of networks that change as the claims say."""
    times, n = observation_times(config), len(grid(config.num_seeds, hyperparameters(config), "float64").seeds)
    series, d = (n, len(times)), config.data.dimension
    seen = {"loss": np.tile(2 * np.exp(-times / 100), (n, 1)), "accuracy": np.ones(series)}
    seen |= {"start_gradient": np.tile([1.0, 1e-2, 1e-8], (*series, 1))}
    if config.study == "spectra":
        is_smooth = ACTIVATIONS[config.net.activation].is_smooth
        middle = 0.1 * times / 100 if is_smooth else 2 + times / 1000
        seen |= {
            name: np.broadcast_to(middle[None, :, None, None], (*series, 3, 2)).copy() for name in ("middle", "top")
        }
        seen |= {"bottom": seen["top"].copy(), "singular_values": np.ones((*series, 3, d))}
    else:
        deep = config.study == "deep" or config.data.source == "digits"
        share = 0.98 if deep else SHARES[config.net.activation][config.opt.method]
        blocks = np.array([share, *[(1 - share) / 3] * 3])
        seen |= {"fractions": np.tile(blocks, (*series, 3, 1)), "random_fractions": np.full((*series, 3, 4), 0.25)}
        seen["fractions"][:, 0] = np.nan
    return seen | {"converged_at": np.full(n, -1), "diverged_at": np.full(n, -1)}


results_of = ft.partial(synthetic.results_of, lawful, deep_system.VARIABLES)


def verdict(name, change=lambda name, seen: None, *words):
    return deep_system.claims(results_of(config_of(name, *words), change))


COUNTS = {"mlp_spectra": (6, 0, 8), "mlp_deep": (8, 0, 8), "mlp_optimizers": (12, 2, 66)}


@pytest.mark.parametrize("name", NAMES)
def test_the_lawful_pass_all(name):
    claims = verdict(name)
    assert synthetic.kinds(claims) == COUNTS[name]
    assert {claim.status for claim in claims} == {"holds"}


def put(variant, field, place, value):
    """Set one value of the last member."""

    def change(name, seen):
        if name == variant:
            seen[field][(-1, *place)] = value

    return change


SMOOTH, NOT_SMOOTH = "smooth (ELU, GELU, SiLU), ", "not smooth (ReLU, Leaky ReLU, RReLU), "
BREAKS = {
    "smooth at 100": ("mlp_spectra", put("gelu", "middle", (100, 1, 0), 0.151), [SMOOTH + "t = 100"]),
    "smooth at 300": ("mlp_spectra", put("silu", "middle", (300, 2, 1), 1.01), [SMOOTH + "t = 300"]),
    "smooth at a loss": ("mlp_spectra", put("elu", "middle", (60, 0, 1), 0.36), [SMOOTH + "first L <= 0.55"]),
    "not smooth at 100": ("mlp_spectra", put("relu", "middle", (100, 2, 0), 1.89), [NOT_SMOOTH + "t = 100"]),
    "not smooth at 300": ("mlp_spectra", put("rrelu", "middle", (300, 0, 0), 2.19), [NOT_SMOOTH + "t = 300"]),
    "not smooth at a loss": (
        "mlp_spectra",
        put("leaky_relu", "middle", (60, 1, 1), 1.49),
        [NOT_SMOOTH + "first L <= 0.55"],
    ),
    "no such loss": ("mlp_spectra", put("elu", "loss", (slice(1, None),), 2.0), [SMOOTH + "first L <= 0.55"]),
    "deep": ("mlp_deep", put("gelu_d32", "fractions", (-1, 1, 0), 0.96), ["GELU, d = 32, t = 250: block 1"]),
    "diverged": ("mlp_deep", put("elu_d64", "diverged_at", (), 7), ["ELU, d = 64, t = 250: block 1"] * 2),
    "momentum": ("mlp_optimizers", put("elu_sgd", "fractions", (-1, 2, 0), 0.89), ["ELU, SGD, momentum .9, epoch 100"]),
    "adam": ("mlp_optimizers", put("gelu_adam", "fractions", (-1, 1, 0), 0.39), ["GELU, Adam, epoch 100"]),
    "order": (
        "mlp_optimizers",
        put("gelu_adam", "fractions", (-1, 0, 0), 0.71),
        ["GELU, epoch 100: block 1's share in layer 1, SGD > Adam > Muon"],
    ),
    "majority": (
        "mlp_optimizers",
        put("elu_muon", "fractions", (-1, 0, 0), 0.51),
        ["'a majority of the change' fails for Muon in layer 1: block 1's share, ELU"],
    ),
}


@pytest.mark.parametrize(("name", "change", "failed"), BREAKS.values(), ids=BREAKS)
def test_one_member_is_enough_to_fail(name, change, failed):
    found = failing(verdict(name, change))
    assert len(found) == len(failed)
    assert all(statement.startswith(start) for statement, start in zip(found, failed, strict=True))


def test_the_step_of_the_matched_loss_is_told_of_those_that_reach_it():
    claims = verdict("mlp_spectra", put("elu", "loss", (slice(1, None),), 2.0))
    reported = [claim for claim in claims if claim.statement.endswith("members that reach it")]
    # exp(-t / 100) <= 0.55 first at t = 60.
    assert [(claim.members, claim.spread[0], claim.spread[-1]) for claim in reported] == [(8, 60, 60), (9, 60, 60)]


def test_the_last_epoch_without_a_majority_is_told():
    changed = put("elu_muon", "fractions", (slice(26, None), 0, 0), 0.6)
    claims = [claim for claim in verdict("mlp_optimizers", changed) if "last epoch without" in claim.statement]
    assert [claim.spread[0] for claim in claims] == [50, 100]  # every second epoch is seen


@pytest.mark.parametrize(
    ("name", "word"),
    [("mlp_spectra", "opt.step_size=2e-3"), ("mlp_deep", "net.scale=0.2"), ("mlp_optimizers", "net.scale=0.2")],
)
def test_bounds_are_not_carried_to_other_settings(name, word):
    laws = [claim for claim in verdict(name, lambda *_: None, word) if claim.kind != "report"]
    assert {claim.status for claim in laws} == {"not_judged"}
    assert all(claim.members and np.isfinite(claim.measured) for claim in laws)


def test_a_run_too_short_or_seen_too_rarely_judges_no_middle():
    for words in (("opt.num_steps=50", "observe.num_times=51"), ("observe.num_times=7",)):
        laws = {claim.statement: claim.status for claim in verdict("mlp_spectra", lambda *_: None, *words)}
        matched = [status for statement, status in laws.items() if "first L" in statement and "||" in statement]
        assert matched == ["not_run"] * 2


# Figures --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_figures_have_a_panel_for_every_layer_and_name_their_axes(name):
    two = config_of(name).variants[-2:]
    drawn = deep_system.figures(results_of(config_of(name, f"variants={two!r}", "observe.num_times=11")))
    sizes = {"singular_values": 6, "middle": 6, "ends": 6} if name == "mlp_spectra" else {"fractions": 6, "final": 3}
    assert {name: len(figure.axes) for name, figure in drawn.items()} == sizes
    for figure in drawn.values():
        assert figure.legends
        assert any(axes.get_xlabel() for axes in figure.axes)


# From end to end ------------------------------------------------------------------------------------------


def test_the_smoke_run_of_figure_4_ends_with_its_table_and_figures(smoke):
    folder, (code, _, err) = smoke("mlp_deep")
    assert (code, err) == (0, "")
    claims = json.loads((folder / "claims.json").read_text())
    assert {(claim["kind"], claim["status"]) for claim in claims} == {("law", "not_judged"), ("report", "holds")}
    assert all((folder / "figures" / f"{name}.png").exists() for name in ("fractions", "final"))
