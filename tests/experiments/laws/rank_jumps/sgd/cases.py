"""Made-up results of rank jumps: runs that jump when the paper's do, and what breaks each claim."""

import functools as ft

import numpy as np
from synthetic import Break, Case, Rule

from experiments.runner.run import observation_times
from experiments.runner.settings import hyperparameters
from lawlib.dynamics.sweep import grid

CASES = {name: Case(f"jumps_{name}", ()) for name in ("annealing", "depth", "epsilon", "periodic")}
CASES["few"] = Case("jumps_depth", ("num_seeds=8",), frozenset({"F2.L3", "F2.L4"}))


def jumps_of(config):
    """Made-up jump times of the seeds, as the paper has them."""
    share = (np.arange(config.num_seeds) + 0.5) / config.num_seeds
    late = np.where(share < 0.6, 1100 + 3800 * share / 0.6, 5100 + 14_000 * (share - 0.6) / 0.35)
    annealing = {"appendix": np.full_like(share, 700), "main_text": np.full_like(share, 300)}
    spread = np.full_like(share, np.inf) if config.opt.draws == "without_replacement" else late
    return np.floor(
        {
            "annealing": annealing.get(config.opt.form, np.where(share < 0.95, spread, np.inf)),
            "depth": np.full_like(share, 2000 if config.net.depth == 4 else np.inf),
            "epsilon": np.full_like(share, np.inf),
            "periodic": np.where(share < 0.96, 600 + 4000 * share, 11_000),
        }[config.study]
    )


def lawful(config):
    """Observations of runs that keep every claim of their study."""
    swept = {field: tuple(map(float, values)) for field, values in hyperparameters(config).items()}
    members, times = grid(config.num_seeds, swept, "float64"), observation_times(config)
    n = len(members.seeds)
    eps = members.hyperparameters.get("data.epsilon", np.full(n, config.data.epsilon))
    branch = members.hyperparameters.get("schedule.branch", np.full(n, float(config.schedule.branch)))
    end, jump = branch + config.schedule.branch_steps, jumps_of(config)[members.seeds]
    t = np.minimum(times, end[:, None])
    found = branch > jump
    if config.study == "epsilon":
        t0_needed = np.where(eps >= 0.2, 1000, 1500 + 14_000 * members.seeds / config.num_seeds)
        found = (eps > 0.05) & (branch >= t0_needed) | (eps == 1) & (members.seeds % 2 == 0)
    product = np.zeros((n, len(times), 2, 2))
    product[..., 0, 0] = product[..., 1, 1] = 1.0
    product[..., 1, 0] = eps[:, None]
    product[..., 0, 1] = np.where(found, 0.95 / eps, 0.3)[:, None]
    product = np.where((t < branch[:, None])[..., None, None], 0.9, 0.999) * product
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


# What breaks the claims. ----------------------------------------------------------------------------------------------


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


def jumps_at(step):
    """Last steps above of runs that all jump by this step."""
    return lambda last: np.minimum(last, step)


def moved(after, before, step):
    """Last steps above of runs that jump at this step in place of one in between."""
    return lambda last: np.where((after < last[:, -1:]) & (last[:, -1:] < before), step, last)


def filled(product):
    """The missing entry found everywhere."""
    product = product.copy()
    product[..., 0, 1] = 1 / product[..., 1, 0]
    return product


def lucky(product):
    """The missing entry found where it was not."""
    entry = product[..., 0, 1]
    product = product.copy()
    product[..., 0, 1] = np.where(entry < 0.35, 3.9, entry)
    return product


def cold(product):
    """As at the end from the start."""
    return np.repeat(product[:, -1:], product.shape[1], axis=1)


def broken(case, variant, fails, **fields):
    return Break(case, changed(variant, **fields), frozenset(fails.split()))


def nothing(values):
    return 0 * values


annealing, epsilon = ft.partial(broken, "annealing"), ft.partial(broken, "epsilon")
periodic = ft.partial(broken, "periodic", "base")
main = ft.partial(annealing, "annealing")
COLD = " ".join(f"F3.cold[{eps}]" for eps in (0.1, 0.2, 0.3, 0.5, 0.7))
WARM = " ".join(f"F3.enough[{eps}]" for eps in (0.2, 0.3, 0.5, 0.7, 1.0))
BREAKS = {
    "an early jump": main("F1.jump", last_above=one(898, 6)),
    "all jump": main("F1.by5000.most F1.after F1.branch.after", last_above=jumps_at(2000)),
    "few jump early": main("F1.by5000.least", last_above=moved(3500, 5000, 5001)),
    "few jump": main("F1.by20000 F1.branch.before", last_above=moved(14_500, 20_000, 28_000)),
    "a wide plateau": main("F1.critical", ratio=lambda ratio: ratio * 1.3),
    "a low plateau": main("F1.plateau F1.critical", ratio=lambda ratio: ratio * 0.4),
    "no fall": main("F1.after", ratio=lambda ratio: ratio + 1e-5),
    "a slow fall": main("F1.decline", first_sigma_2=lambda sigma: sigma**0.8),
    "a lost branch": main("F1.branch.after S4.train", product=one(0.0, 6)),
    "a lucky branch": main("F1.branch.before", product=lucky),
    "jumps in epochs": annealing("without_replacement", "F1.epochs", last_above=jumps_at(2000)),
    "a fit at high rates": main("S4.train", product=cold),
    "a return": annealing("one_way", "T3.2.return", highest=one(0.06)),
    "too few steps": annealing("one_way", "T3.2.steps", monitored=lambda steps: steps / 2),
    "a blind monitor": annealing("put_back_to_rank_2", "T3.2.control", returned=nothing),
    "a plateau as printed": annealing("main_text", "F1.main_text", product=lambda product: product + 1),
    "chance as printed": annealing("appendix", "F1.appendix F1.appendix.chance", last_above=one(1500)),
    "unbalanced": annealing("balance", "F1.balance", imbalance=lambda imbalance: imbalance**1.2),
    "three layers jump": broken("depth", "depth=3", "F2.L3", last_above=jumps_at(2000)),
    "four do not": broken("depth", "depth=4", "F2.L4", last_above=lambda last: np.full_like(last, 15_000)),
    "cold": epsilon("grid", f"F3.smallest[0] F3.smallest[1000] F3.short F3.grows {COLD}", product=filled),
    "noise does not help": epsilon("longer", "F3.long", product=nothing),
    "none succeeds": epsilon("grid", f"F3.even {WARM}", product=nothing),
    "a late jump": periodic("F4.period", last_above=one(7000)),
    "no second jumps": periodic("F4.later", last_above=lambda last: np.where(last > 10_500, 20_500, last)),
    "no jumps": periodic("F4.jump", last_above=one(20_500, slice(0, 20))),
    "a poor end": periodic("F4.error F4.error.rank1", product=lambda product: 0.9 * product),
    "a jump to 0": periodic("F4.error", product=one(0.0)),
}

# Fields that a config may not have. -----------------------------------------------------------------------------------

ENDS = "must end by opt.num_steps = 15000, with schedule.branch_steps = 0 after them"
RULES = {
    field: Rule("jumps_depth", {field: value}, f"{field} = {value!r}: {rule}")
    for field, value, rule in (
        ("opt.form", "printed", "must be one of 'figures', 'main_text', 'appendix'"),
        ("data.epsilon", 0.0, "must be a finite number > 0.0"),
        ("net.depth", 1, "must be an integer >= 2"),
        ("net.init", "he", "must be one of 'uniform', 'normal'"),
        (
            "schedule.phases",
            ((-5, 0.1, 0.1),),
            "must be phases (num_steps, step_size, weight_decay), no number below 0",
        ),
        ("schedule.tail", (0.1, 0.1, 0.1), "must be (step_size, weight_decay), none below 0"),
        ("schedule.branch", 15_001, ENDS),
        ("monitor.put_back", "up", "must be one of 'never', 'low', 'high'"),
        ("study", "width", "must be one of 'annealing', 'depth', 'epsilon', 'periodic'"),
    )
}
