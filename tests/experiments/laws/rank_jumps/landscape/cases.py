"""Made-up results of the theory of rank jumps: members that do as the theory says, and what breaks each claim."""

import functools as ft

import numpy as np
from synthetic import Break, Case, Rule, config_of

from experiments.laws.rank_jumps.landscape.measures import known_minima, minimum
from experiments.runner.run import observation_times
from experiments.runner.settings import hyperparameters
from lawlib.dynamics.sweep import grid

SMALL = {study: {"num_seeds": 4} for study in ("factors", "matrix", "jumps")}
SMALL["region"] = {"opt.num_steps": 3, "observe.num_times": 4}


def small(*prefixes):
    """The variants whose names begin so, with few seeds and points."""
    every = [v.to_dict() if hasattr(v, "to_dict") else dict(v) for v in config_of("jumps_theory").variants]
    chosen = tuple(v | SMALL.get(v["study"], {}) for v in every if v["name"].startswith(prefixes or ("",)))
    return Case("jumps_theory", (f"variants={chosen!r}",))


PARTS = {"minima": ("factors", "matrix", "origin"), "ridges": ("end", "avoid", "budget")}
CASES = {"all": small(), "fold": small("fold"), "region": small("region")}
CASES |= {name: small(*prefixes) for name, prefixes in PARTS.items()}
# These compare exact curves and constants, which no observation changes.
EXACT = {"S3.1.drift", "S4.three", "S4.global", "F3.minimum", "S3.2.power", "S3.2.any", "S3.2.wait"}


def solved(eps, decays, depth, rank):
    """The exact minimum of every member, NaN where there is none."""
    pairs = zip(eps, decays, strict=True)
    return np.stack([minimum(float(x), float(decay) / 4, depth, rank).matrix for x, decay in pairs])


def lawful(config):
    """Observations, members first and times second, of members that do as the theory says."""
    times, members = observation_times(config), grid(config.num_seeds, hyperparameters(config), "float64")
    n, depth = len(members.seeds), config.net.depth
    eps = members.hyperparameters.get("data.offdiagonal", np.full(n, config.data.offdiagonal))
    decay = members.hyperparameters.get("opt.weight_decay", np.full(n, config.opt.weight_decay))
    product = np.nan_to_num(solved(eps, decay, depth, 1))
    if config.study == "fold":
        found = solved(eps, decay, depth, 2)
        product = np.where(np.isnan(found), product, found)
    if config.study in ("factors", "matrix"):
        known = list(known_minima(float(eps[0]), float(decay[0]) / 4, depth).values())
        product = np.array([known[k % 4] for k in range(n)])
    if config.study == "budget":
        product[:, 0, 1] = 1 / eps
    s = np.linalg.svd(product, compute_uv=False)
    data = (product[:, 0, 0] - 1) ** 2 + (product[:, 1, 0] - eps) ** 2 + (product[:, 1, 1] - 1) ** 2
    value = data / 6 + decay / 4 * depth * np.sum(np.where(s > 1e-12, s, 0) ** (2 / depth), 1)
    repeat = ft.partial(np.repeat, repeats=len(times), axis=1)
    seen = {name: repeat(x[:, None]) for name, x in (("product", product), ("value", value), ("loss", data / 3))}
    seen |= {"imbalance": np.zeros((n, len(times), depth - 1)), "gradient_norm": np.zeros((n, len(times)))}
    seen |= {"curvature": np.zeros((n, len(times)))} if config.study == "factors" else {}
    seen |= {"rise": np.full((n, len(times)), 1e-12)} if config.study == "matrix" else {}
    if config.study == "region":
        admitted = members.hyperparameters["region.norm_times"][:, None, None] >= 1
        leaving = np.where(admitted, np.array([1e30, 5.0, 1e32]), np.array([0.0, 5.0, 1e32]))
        seen = {"product": seen["product"], "leaving": np.broadcast_to(leaving, (n, len(times), 3))}
    return seen | {"converged_at": np.full(n, 7), "diverged_at": np.full(n, -1)}


# What breaks the claims: a value of the last member, or of all. -------------------------------------------------------


def broken(case, variant, field, value, fails, member=-1):
    def change(name, seen):
        if name == variant:
            seen[field] = np.array(seen[field])
            seen[field][member] = value

    return Break(case, change, frozenset(fails.split()))


def three_found(name, seen):
    """Descents at L = 3 end at the good minimum of rank 1 in place of the other one: members 1 and 2 of every four."""
    if name in ("factors_L3", "matrix_L3", "origin_L3"):
        for field in ("product", "value"):
            seen[field][2::4] = seen[field][1]


EVERY, I2 = slice(None), np.eye(2)
BREAKS = {
    "no fold": broken("fold", "fold_L3", "product", I2, "S3.1.rank1[3]"),
    "a minimum missed": broken("fold", "fold_L3", "product", I2, "S3.1.rank2[3]", member=0),
    "a late start": broken("fold", "fold_L4", "product", I2, "S3.1.rank1[4] S3.1.start[4]", member=slice(7, 9)),
    "unbalanced": broken("fold", "fold_L4", "imbalance", 1e-3, "S3.1.balance[4]"),
    "elsewhere": broken("minima", "factors_L3", "product", 3 * I2, "T3.1.factors[3] T3.1.value[3]"),
    "not there": broken("minima", "factors_L4", "converged_at", -1, "T3.1.factors[4]"),
    "a saddle": broken("minima", "factors_L3", "curvature", -1e-3, "T3.1.hessian[3]"),
    "another loss": broken("minima", "factors_L3", "value", 1.0, "T3.1.value[3]"),
    "elsewhere too": broken("minima", "matrix_L4", "product", 3 * I2, "T3.1.matrices[4]"),
    "a way down": broken("minima", "matrix_L3", "rise", -1e-6, "T3.1.nearby[3]"),
    "three minima": Break("minima", three_found, frozenset({"T3.1.both[3]", "T3.1.three[3]"})),
    "no end": broken("ridges", "end_L3", "product", I2, "P3.1.all[3]"),
    "another end": broken("ridges", "end_L4", "product", I2, "P3.1.end[4]", member=0),
    "rank 0 too early": broken("ridges", "avoid", "product", 0.0, "P3.2.away", member=0),
    "left at rank 1": broken("ridges", "avoid", "product", I2, "P3.2.left"),
    "a budget": broken("ridges", "budget", "product", I2, "F3.budget"),
    "an open set": broken("region", "region_L3", "leaving", 0.9, "B.1.closed[3]"),
    # The first of the region's members is the one whose C is too small.
    "a smaller norm": broken("region", "region_L4", "leaving", 2.0, "D.4.norm[4]", member=0),
}

# Fields that a config may not have. -----------------------------------------------------------------------------------

RULES = {
    field: Rule("jumps_theory", {"name": "one", "study": "region", field: value}, f"{field} = {value!r}: {rule}")
    for field, value, rule in (
        ("net.depth", 2, "must be an integer >= 3"),
        ("opt.weight_decay", 0.0, "must be a finite number > 0.0"),
        ("data.offdiagonal", 0.0, "must be a finite number > 0.0 and <= 1.0"),
        ("region.slack", 0.5, "must be a finite number > 0.0 and < 0.5"),
        ("region.rank", 2, "must be an integer >= 0 and <= 1"),
        ("net.init", "zeros", "must be one of 'uniform', 'normal', 'minimum'"),
    )
}
