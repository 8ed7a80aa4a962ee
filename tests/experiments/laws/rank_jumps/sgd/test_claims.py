"""The experiment of rank jumps: its verdict on made-up results, a run to the end, its figures."""

import functools as ft
import json

import numpy as np
import pytest
import synthetic
import xarray as xr
from synthetic import config_of

from experiments.laws.rank_jumps.sgd import system as sgd
from experiments.runner.run import observation_times
from experiments.runner.settings import hyperparameters
from lawlib.dynamics.sweep import grid

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
    swept = {field: tuple(map(float, values)) for field, values in hyperparameters(config).items()}
    members, times = grid(config.num_seeds, swept, "float64"), observation_times(config)
    n = len(members.seeds)
    eps = members.hyperparameters.get("data.epsilon", np.full(n, config.data.epsilon))
    branch = members.hyperparameters.get("schedule.branch", np.full(n, float(config.schedule.branch)))
    end = branch + config.schedule.branch_steps
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
    series, low = np.ones((n, len(times))), config.monitor.put_back == "low"
    seen = {
        "product": product,
        "ratio": np.where(jumped, np.maximum(1e-17, 0.01 * 0.94**since), 0.21),
        "first_sigma_2": np.where(jumped, np.maximum(1e-16, 0.1 * 0.98**since), 0.5),
        "last_above": np.minimum(t, jump[:, None] - 1).astype(int),
        "monitored": series * 20_000,
        "highest": series * (2e-3 if low else 0.4),
        "returned": series * (0 if low else 15_000),
        "converged_at": end.astype(int),
        "diverged_at": np.full(n, -1),
    }
    eta, decay = config.schedule.tail
    imbalance = np.exp(-2 * eta * decay * t)[..., None] * np.ones(config.net.depth - 1)
    return seen | ({"imbalance": imbalance} if config.monitor.imbalance else {})


results_of = ft.partial(synthetic.results_of, lawful, sgd.VARIABLES)


def verdict(name, change=lambda name, seen: None, *words):
    return sgd.claims(results_of(config_of(name, *words), change))


COUNTS = {
    "jumps_annealing": (15, 3, 3),
    "jumps_depth": (2, 0, 0),
    "jumps_epsilon": (17, 0, 6),
    "jumps_periodic": (4, 0, 1),
}


@pytest.mark.parametrize("name", COUNTS)
def test_the_lawful_pass_all(name):
    claims = verdict(name)
    assert {claim.status for claim in claims} == {"holds"}, synthetic.failing(claims)
    assert synthetic.kinds(claims) == COUNTS[name]


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
    "too few steps": ("jumps_annealing", changed("one_way", monitored=lambda x: x / 2), ["steps watched from states"]),
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
    claims = verdict("jumps_periodic", changed("base", diverged_at=one(800)))
    fraction = next(claim for claim in claims if "fraction that jumps (" in claim.statement)
    assert (fraction.measured, fraction.diverged, fraction.status) == (63 / 64, 1, "holds")


def test_few_members_or_short_runs_are_not_judged():
    claims = verdict("jumps_depth", lambda name, seen: None, "num_seeds=8")
    assert {claim.status for claim in claims} <= {"not_judged", "not_run", "holds"}
    assert all(claim.members == 8 for claim in claims if claim.status == "not_judged")


# Runs -----------------------------------------------------------------------------------------------------


def test_branches_make_the_steps_of_their_run_and_figures_are_drawn(smoke):
    folder, (code, _, err) = smoke("jumps_annealing")
    assert code == 0, err
    with xr.open_datatree(folder / "results.nc", engine="h5netcdf") as results:
        data = results["annealing"].to_dataset()
        early, late = (data.sel(branch=branch) for branch in (600, 800))
        apart = np.abs(early["product"] - late["product"]).max(["row", "column", "seed"])
        assert np.all(apart.sel(step=slice(0, 600)) == 0)
        assert np.all(apart.sel(step=slice(700, 800)) > 1e-3)
    claims = json.loads((folder / "claims.json").read_text())
    assert {claim["status"] for claim in claims if claim["kind"] != "report"} <= {"holds", "not_judged", "not_run"}
    drawn = {path.stem for path in (folder / "figures").glob("*.png")}
    assert drawn == {"branches", "jump_times", "one_way", "decline"}


@pytest.mark.parametrize(
    ("name", "drawn"), [("jumps_depth", "depth"), ("jumps_epsilon", "epsilon"), ("jumps_periodic", "periodic")]
)
def test_every_study_is_drawn(name, drawn):
    assert set(sgd.figures(results_of(config_of(name, num_seeds=3)))) == {drawn}
