"""The experiment of rank jumps: its rules, its networks and their watch, its verdict on made-up results, figures."""

import functools as ft
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import synthetic

from experiments import rank_jumps
from experiments.checks import collect
from experiments.rank_jumps_claims import critical_ratio
from experiments.rank_jumps_runs import high_periods, wilson
from experiments.run import observation_times
from experiments.settings import expand, knobs, load
from lawlib.sweep import grid

CONFIGS = Path(__file__).parents[2] / "configs"
NAMES = ("jumps_annealing", "jumps_depth", "jumps_epsilon", "jumps_periodic")


def config_of(name, *words, profile="cpu"):
    return load(f"{CONFIGS / name}.py:{profile}", [f"--config.{word}" for word in words])


# Rules ----------------------------------------------------------------------------------------------------

RULES = {
    "form": ({"opt.form": "printed"}, "opt.form = 'printed': must be one of 'figures', 'main_text', 'appendix'"),
    "epsilon": ({"data.epsilon": 0.0}, "data.epsilon = 0.0: must be a finite number > 0.0"),
    "depth": ({"net.depth": 1}, "net.depth = 1: must be an integer >= 2"),
    "init": ({"net.init": "he"}, "net.init = 'he': must be one of 'uniform', 'normal'"),
    "phases": (
        {"schedule.phases": ((-5, 0.1, 0.1),)},
        "schedule.phases = ((-5, 0.1, 0.1),): must be phases (num_steps, step_size, weight_decay), no number below 0",
    ),
    "tail": (
        {"schedule.tail": (0.1, 0.1, 0.1)},
        "schedule.tail = (0.1, 0.1, 0.1): must be (step_size, weight_decay), none below 0",
    ),
    "branch": (
        {"schedule.branch": 15_001},
        "schedule.branch = 15001: must end by opt.num_steps = 15000, with schedule.offshoot_steps = 0 after them",
    ),
    "put back": ({"watch.put_back": "up"}, "watch.put_back = 'up': must be one of 'never', 'low', 'high'"),
    "study": ({"study": "width"}, "study = 'width': must be one of 'annealing', 'depth', 'epsilon', 'periodic'"),
}


@pytest.mark.parametrize(("fields", "line"), RULES.values(), ids=RULES)
def test_every_rule_has_its_line(fields, line):
    assert collect(config_of("jumps_depth", f"variants=({fields!r},)"), rank_jumps.validate) == [line]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("profile", ["smoke", "cpu", "paper"])
def test_our_own_configs_pass(name, profile):
    assert collect(config_of(name, profile=profile), rank_jumps.validate) == []


# Networks and what is watched of them ---------------------------------------------------------------------

SMALL = {
    "net.width": 5,
    "opt.num_steps": 40,
    "schedule.branch": 30,
    "schedule.offshoot_steps": 10,
    "schedule.phases": ((10, 0.03, 0.1),),
    "schedule.tail": (0.1, 0.2),
    "schedule.offshoot_step_size": 0.02,
    "schedule.offshoot_weight_decay": 0.001,
}


@ft.cache
def walked(put_back="never"):
    """Every state of a small network on its way, and the problem: the watch's steps are compiled once."""
    ((_, config),) = expand(config_of("jumps_depth", f"variants=({SMALL | {'watch.put_back': put_back}!r},)"))
    system = rank_jumps.dynamics(config)
    problem, state = jax.jit(lambda key, knobs: system.init(key, knobs, ()))(jax.random.key(0), {})
    if put_back != "never":
        # The entry that the states made up below fit already: their steps only decay.
        problem = problem._replace(draws=0 * problem.draws)
    step, observe = jax.jit(lambda s: system.step(s, problem, ())), jax.jit(lambda s: system.observe(s, problem, ()))
    states = [state]
    for _ in range(40):
        states.append(step(states[-1]))
    return problem, states, observe, step


def test_steps_are_sgd_on_the_drawn_entries_with_the_scheduled_rates():
    problem, states, _, _ = walked()
    rates = [(0.03, 0.1)] * 10 + [(0.1, 0.2)] * 20 + [(0.02, 0.001)] * 10
    weights = [np.asarray(W) for W in states[0].state.network.weights]
    places = [((0, 0), 1.0), ((1, 0), 0.1), ((1, 1), 1.0)]
    for k, (eta, decay) in zip(np.asarray(problem.draws), rates, strict=True):
        W1, W2, W3 = weights
        (i, j), target = places[k]
        error = (W3 @ W2 @ W1)[i, j] - target
        G1 = 2 * error * np.outer((W3 @ W2)[i], np.eye(2)[j])
        G2 = 2 * error * np.outer(W3[i], W1[:, j])
        G3 = 2 * error * np.outer(np.eye(2)[i], (W2 @ W1)[:, j])
        weights = [(1 - eta * decay) * W - eta * G for W, G in zip(weights, (G1, G2, G3), strict=True)]
    for W, found in zip(weights, states[-1].state.network.weights, strict=True):
        np.testing.assert_allclose(found, W, atol=1e-13)
    assert [int(s.first_done) for s in (states[39], states[40])] == [-1, 40]


def test_the_values_observed_are_those_of_a_decomposition():
    _, states, observe, _ = walked()
    seen, network = observe(states[-1]), states[-1].state.network
    A = np.linalg.multi_dot([np.asarray(W) for W in network.weights[::-1]])
    s = np.linalg.svd(A, compute_uv=False)
    np.testing.assert_allclose(seen["product"], A, atol=1e-15)
    assert float(seen["ratio"]) == pytest.approx(s[1] / s[0], rel=1e-12)
    sigma = np.linalg.svd(np.asarray(network.weights[0]), compute_uv=False)
    assert float(seen["first_sigma_2"]) == pytest.approx(sigma[1], rel=1e-12)
    ratios = [float(observe(state)["ratio"]) for state in states]
    assert int(seen["last_above"]) == max(t for t, ratio in enumerate(ratios) if ratio >= 1e-2)


def of_ratio(state, ratio):
    """The same state with a product of this s2/s1, by scaled columns of an orthogonal W_1 and unit layers above."""
    network = state.state.network
    eye = jnp.eye(5)
    weights = (eye[:, :2] * jnp.asarray([[1.0, ratio]]), eye, eye[:2])
    tracked = rank_jumps.track(weights)
    return state._replace(state=state.state._replace(network=network._replace(**tracked._asdict())))


@pytest.mark.parametrize("ratio", [0.3, 1e-3, 1e-9])
def test_small_ratios_and_second_values_keep_their_digits(ratio):
    _, states, observe, _ = walked()
    seen = observe(of_ratio(states[0], ratio))
    assert float(seen["ratio"]) == pytest.approx(ratio, rel=1e-12)
    assert float(seen["first_sigma_2"]) == pytest.approx(ratio, rel=1e-12)


def test_a_state_that_falls_low_is_put_back_where_it_entered():
    _, states, observe, step = walked("low")
    assert int(step(of_ratio(states[0], 8e-4)).state.watch.watched) == 0  # not yet: it was above 1e-2 just before
    long_below = states[0].state.watch._replace(last_above=jnp.asarray(-19, jnp.int32))
    start = states[0]._replace(state=states[0].state._replace(watch=long_below))
    entered = step(of_ratio(start, 8e-4))
    saved = entered.state.watch.saved
    assert int(entered.state.watch.watched) == 1
    np.testing.assert_array_equal(saved.product, entered.state.network.product)
    fallen = step(of_ratio(entered, 1e-6))
    np.testing.assert_array_equal(fallen.state.network.product, saved.product)
    risen = step(of_ratio(fallen, 0.3))
    seen = observe(risen)
    assert (int(seen["watched"]), int(seen["returned"])) == (3, 1)
    assert float(seen["highest"]) == pytest.approx(float(seen["ratio"]), rel=1e-12)
    assert float(seen["highest"]) > 0.1


def test_weights_that_are_not_finite_are_seen_in_the_product():
    _, states, _, step = walked()
    bad = [W.at[0, 0].set(jnp.nan) for W in states[5].state.network.weights]
    for layer in range(3):
        weights = tuple(bad[i] if i == layer else W for i, W in enumerate(states[5].state.network.weights))
        state = states[5].state._replace(network=rank_jumps.track(weights))
        assert int(step(states[5]._replace(state=state)).first_bad_step) == 6


# Measures -------------------------------------------------------------------------------------------------


def test_wilsons_interval_solves_its_quadratic():
    low, p, high = wilson(np.arange(64) < 20)
    for end in (low, high):
        assert (p - end) ** 2 == pytest.approx(1.959964**2 * end * (1 - end) / 64, rel=1e-9)
    assert low < p < high


def test_the_critical_point_of_rank_2_is_stationary_for_balanced_layers():
    config = config_of("jumps_annealing")
    ratio = critical_ratio(config, 0.25)
    # Full-batch descent from near it, on W_3 W_2 W_1 of width 2, ends there.
    A = jnp.asarray([[0.75, 0.4], [0.15, 0.75]])
    U, s, Vt = jnp.linalg.svd(A)
    root = jnp.diag(s ** (1 / 3))
    targets, mask = jnp.asarray([[1, 0], [0.25, 1]]), jnp.asarray([[1.0, 0], [1, 1]])

    def loss(weights):
        A = weights[2] @ weights[1] @ weights[0]
        ridge = sum(jnp.sum(jnp.square(W)) for W in weights)
        return jnp.sum(mask * jnp.square(A - targets)) / 6 + 0.025 * ridge

    def step(_, weights):
        return jax.tree.map(lambda W, G: W - 0.3 * G, weights, jax.grad(loss)(weights))

    weights = jax.jit(lambda W: jax.lax.fori_loop(0, 20_000, step, W))((root @ Vt, root, U @ root))
    s = np.linalg.svd(np.linalg.multi_dot([np.asarray(W) for W in weights[::-1]]), compute_uv=False)
    assert s[1] / s[0] == pytest.approx(ratio, rel=1e-3)


def test_high_periods_are_those_of_the_largest_step():
    assert high_periods(config_of("jumps_periodic")) == [(500, 5500), (10_500, 15_500)]


# Claims ---------------------------------------------------------------------------------------------------


def jumps_of(config):
    """Made-up jump times of the seeds, as the paper has them."""
    share = (np.arange(config.num_seeds) + 0.5) / config.num_seeds
    late = np.where(share < 0.6, 1100 + 3800 * share / 0.6, 5100 + 14_000 * (share - 0.6) / 0.35)
    spread = np.where(share < 0.95, late, np.inf)
    return np.floor(
        {
            "annealing": {"appendix": np.full_like(share, 700), "main_text": np.full_like(share, 300)}.get(
                config.opt.form, np.full_like(share, np.inf) if config.opt.draws == "without_replacement" else spread
            ),
            "depth": np.full_like(share, 2000 if config.net.depth == 4 else np.inf),
            "epsilon": np.full_like(share, np.inf),
            "periodic": 600 + 4000 * share,
        }[config.study]
    )


def lawful(config):
    """Observations of runs that keep every claim of their study."""
    swept = {field: tuple(map(float, values)) for field, values in knobs(config).items()}
    members, times = grid(config.num_seeds, swept, "float64"), observation_times(config)
    n = len(members.seeds)
    eps = members.knobs.get("data.epsilon", np.full(n, config.data.epsilon))
    branch = members.knobs.get("schedule.branch", np.full(n, float(config.schedule.branch)))
    end = branch + config.schedule.offshoot_steps
    jump = jumps_of(config)[members.seeds]
    t = np.minimum(times, end[:, None])
    found = branch > jump
    if config.study == "epsilon":
        t0_needed = np.where(eps >= 0.2, 1000, 1500 + 14_000 * members.seeds / config.num_seeds)
        found = (eps > 0.05) & (branch >= t0_needed)
    product = np.zeros((n, len(times), 2, 2))
    product[..., 0, 0] = product[..., 1, 1] = 1.0
    product[..., 1, 0] = eps[:, None]
    product[..., 0, 1] = np.where(found, 0.95 / eps, 0.3)[:, None]
    if config.opt.form == "main_text":
        product[:] = 0.0
    jumped = t >= jump[:, None]
    with np.errstate(invalid="ignore"):
        since = np.where(jumped, t - jump[:, None], 0)
    series, low = np.ones((n, len(times))), config.watch.put_back == "low"
    seen = {
        "product": product,
        "ratio": np.where(jumped, np.maximum(1e-17, 0.01 * 0.94**since), 0.21),
        "first_sigma_2": np.where(jumped, np.maximum(1e-16, 0.1 * 0.98**since), 0.5),
        "last_above": np.minimum(t, jump[:, None] - 1).astype(int),
        "watched": series * 20_000,
        "highest": series * (2e-3 if low else 0.4),
        "returned": series * (0 if low else 15_000),
        "first_done": end.astype(int),
        "first_bad_step": np.full(n, -1),
    }
    eta, decay = config.schedule.tail
    imbalance = np.exp(-2 * eta * decay * t)[..., None] * np.ones(config.net.depth - 1)
    return seen | ({"imbalance": imbalance} if config.watch.imbalance else {})


results_of = ft.partial(synthetic.results_of, lawful, rank_jumps.VARIABLES)


def verdict(name, change=lambda name, seen: None, *words):
    return rank_jumps.claims(results_of(config_of(name, *words), change))


COUNTS = {
    "jumps_annealing": (15, 3, 3),
    "jumps_depth": (2, 0, 0),
    "jumps_epsilon": (17, 0, 6),
    "jumps_periodic": (4, 0, 1),
}


@pytest.mark.parametrize("name", NAMES)
def test_the_lawful_pass_all(name):
    claims = verdict(name)
    assert {claim.status for claim in claims} == {"holds"}, synthetic.failing(claims)
    assert tuple(sum(claim.kind == kind for claim in claims) for kind in ("law", "printed", "report")) == COUNTS[name]


def changed(variant, **fields):
    """Change fields of one variant: each by a function of the array."""

    def change(name, seen):
        if name == variant:
            for field, function in fields.items():
                seen[field] = function(seen[field])

    return change


def one(value, member=-1):
    """Set a field of one member."""

    def function(values):
        values = values.copy()
        values[member] = value
        return values

    return function


def filled(product):
    """The missing entry found everywhere."""
    product = product.copy()
    product[..., 0, 1] = 1 / product[..., 1, 0]
    return product


BREAKS = {
    "an early jump": ("jumps_annealing", changed("annealing", last_above=one(898, 6)), ["no jump by t = 1000"]),
    "all jump": (
        "jumps_annealing",
        changed("annealing", last_above=lambda last: np.minimum(last, 2000)),
        ["fraction that has jumped by t = 5000", "from 1000 steps after", "steps or more after the jump"],
    ),
    "a wide plateau": (
        "jumps_annealing",
        changed("annealing", ratio=lambda ratio: ratio * 1.3),
        ["with s2/s1 at the critical point"],
    ),
    "a low plateau": (
        "jumps_annealing",
        changed("annealing", ratio=lambda ratio: ratio * 0.4),
        ["the median over a member's steps", "with s2/s1 at the critical point"],
    ),
    "no fall": ("jumps_annealing", changed("annealing", ratio=lambda ratio: ratio + 1e-5), ["from 1000 steps after"]),
    "a slow fall": (
        "jumps_annealing",
        changed("annealing", first_sigma_2=lambda sigma: sigma**0.8),
        ["log sigma_2(W_1) falls"],
    ),
    "a lost offshoot": ("jumps_annealing", changed("annealing", product=one(0.0, 6)), ["steps or more after the jump"]),
    "a lucky offshoot": (
        "jumps_annealing",
        changed("annealing", product=lambda product: np.where(product == 0.3, 3.9, product)),
        ["steps or more before the jump"],
    ),
    "jumps in epochs": (
        "jumps_annealing",
        changed("without_replacement", last_above=lambda last: np.minimum(last, 2000)),
        ["sampling without replacement"],
    ),
    "a return": ("jumps_annealing", changed("one_way", highest=one(0.06)), ["none returns above .05"]),
    "too few steps": ("jumps_annealing", changed("one_way", watched=lambda x: x / 2), ["steps watched from states"]),
    "a blind monitor": ("jumps_annealing", changed("put_back_to_rank_2", returned=lambda x: 0 * x), ["control"]),
    "a plateau as printed": (
        "jumps_annealing",
        changed("main_text", product=lambda product: product + 1),
        ["the main text's update"],
    ),
    "chance as printed": (
        "jumps_annealing",
        changed("appendix", last_above=one(1500)),
        ["the appendix's update", "and what takes it there"],
    ),
    "unbalanced": ("jumps_annealing", changed("balance", imbalance=lambda x: x**1.2), ["balance decays like"]),
    "three layers jump": (
        "jumps_depth",
        changed("depth=3", last_above=lambda last: np.minimum(last, 2000)),
        ["L = 3: fraction that has jumped"],
    ),
    "four do not": (
        "jumps_depth",
        changed("depth=4", last_above=lambda last: np.full_like(last, 15_000)),
        ["L = 4: fraction that has jumped"],
    ),
    "no noise is enough": (
        "jumps_epsilon",
        changed("grid", product=filled),
        [
            *("eps = 0.05, t0 = 0", "eps = 0.05, t0 = 1000", "eps = 0.1, t0 = 0", "eps = 0.1, t0 = 1000"),
            *(f"eps = {eps}, t0 = 0" for eps in (0.2, 0.3, 0.5, 0.7)),
            "success grows with t0",
        ],
    ),
    "noise does not help": (
        "jumps_epsilon",
        changed("longer", product=lambda product: 0 * product),
        ["eps = 0.1, t0 = 8000"],
    ),
    "a late jump": (
        "jumps_periodic",
        changed("base", last_above=one(7000)),
        ["fraction of the jumps that happen in a period"],
    ),
    "a poor end": (
        "jumps_periodic",
        changed("base", product=lambda product: 0.9 * product),
        ["of those that jumped", "without the runs"],
    ),
}


@pytest.mark.parametrize(("name", "change", "failed"), BREAKS.values(), ids=BREAKS)
def test_what_breaks_a_claim_fails_it_alone(name, change, failed):
    found = synthetic.failing(verdict(name, change))
    assert len(found) == len(failed), found
    assert all(part in statement for part, statement in zip(failed, found, strict=True)), found


def test_a_member_that_diverges_has_not_jumped_and_is_counted():
    claims = verdict("jumps_periodic", changed("base", first_bad_step=one(800)))
    fraction = next(claim for claim in claims if "fraction that jumps (" in claim.statement)
    assert (fraction.measured, fraction.diverged, fraction.status) == (63 / 64, 1, "holds")


def test_few_members_or_short_runs_are_not_judged():
    claims = verdict("jumps_depth", lambda name, seen: None, "num_seeds=8")
    assert {claim.status for claim in claims} == {"not_run"}


# Runs -----------------------------------------------------------------------------------------------------


def test_offshoots_make_the_steps_of_their_run_and_figures_are_drawn(smoke):
    folder, (code, _, err) = smoke("jumps_annealing")
    assert code == 0, err
    with synthetic.xr.open_datatree(folder / "results.nc", engine="h5netcdf") as results:
        data = results["annealing"].to_dataset()
        early, late = (data.sel(branch=branch) for branch in (600, 800))
        apart = np.abs(early["product"] - late["product"]).max(["row", "column", "seed"])
        assert np.all(apart.sel(step=slice(0, 600)) == 0)
        assert np.all(apart.sel(step=slice(700, 800)) > 1e-3)
    claims = json.loads((folder / "claims.json").read_text())
    assert {claim["status"] for claim in claims if claim["kind"] != "report"} <= {"holds", "not_run"}
    drawn = {path.stem for path in (folder / "figures").glob("*.png")}
    assert drawn == {"offshoots", "jump_times", "one_way", "decline"}


@pytest.mark.parametrize(
    ("name", "drawn"), [("jumps_depth", "depth"), ("jumps_epsilon", "epsilon"), ("jumps_periodic", "periodic")]
)
def test_every_study_is_drawn(name, drawn):
    assert set(rank_jumps.figures(results_of(config_of(name, "num_seeds=3")))) == {drawn}
