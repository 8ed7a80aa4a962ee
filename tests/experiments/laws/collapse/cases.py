"""Made-up results of progressive collapse: separations that fall as the law says, and what breaks each claim."""

import numpy as np
from synthetic import Break, Case, Rule

from experiments.runner.run import observation_times
from experiments.runner.settings import hyperparameters
from lawlib.dynamics.sweep import grid

CASES = {name: Case(f"collapse_{name}", ("num_seeds=3",)) for name in ("depth", "scale", "init", "theorem", "digits")}


def lawful(config):
    """Observations, members first and times second, of networks that decay as the law says."""
    times, members = observation_times(config), grid(config.num_seeds, hyperparameters(config), "float64")
    n, depth, linear = len(members.seeds), config.net.depth, config.net.activation == "linear"
    scale = members.hyperparameters.get("net.scale", np.full(n, config.net.scale))
    tolerance = members.hyperparameters.get("opt.tolerance", np.full(n, config.opt.tolerance))
    law = scale**2 / 10 ** (1 / depth)
    if config.net.init in ("normal", "uniform"):
        law = law / 1.18
    separation = 11.25 * (law if linear else 0.3 * scale)[:, None] ** np.arange(depth)
    if linear:
        # The residual leaks into the last layer before the optimum, most at the largest depth.
        separation[tolerance == 1e-6, -1] *= 30 if depth == 10 else 3
    series = (n, len(times))
    return ({"unchanged": np.full(series, 1e-12)} if config.study == "theorem" else {}) | {
        "loss": np.full(series, 1e-7),
        "accuracy": np.ones(series),
        "separation": np.repeat(separation[:, None], len(times), axis=1),
        "imbalance": np.zeros((*series, depth - 1)),
        "converged_at": np.where(tolerance > 0, 100, -1),
        "diverged_at": np.full(n, -1),
    }


# What breaks the claims: one separation, one mark, or a whole line of the last member, which in a linear variant is one
# at the exact tolerance. ----------------------------------------------------------------------------------------------


def scaled(variant, factor, *, layer=-1, member=-1):
    def change(name, seen):
        if name == variant:
            seen["separation"][member, :, layer] *= factor

    return change


def replaced(variant, field, value, member=-1):
    def change(name, seen):
        if name == variant:
            seen[field][member] = value

    return change


def line(variant, ratio, member=-1):
    def change(name, seen):
        if name == variant:
            seen["separation"][member] = 11.25 * ratio ** np.arange(seen["separation"].shape[-1])

    return change


def straight(name, seen):
    """Networks on the law already where the paper draws them."""
    if name == "linear":
        seen["separation"] = np.repeat(seen["separation"][1::2], 2, axis=0)


def put(variant, field, place, value):
    def change(name, seen):
        if name == variant:
            seen[field][place] = value

    return change


def same_rate(name, seen):
    """One rate at every depth where the paper draws it, in the last seed."""
    if name.startswith("linear"):
        seen["separation"][-2] = 11.25 * 0.18 ** np.arange(seen["separation"].shape[-1])


def same_rate_of_exact(name, seen):
    """The same at the exact tolerance."""
    if name.startswith("linear"):
        seen["separation"][-1] = 11.25 * 0.18 ** np.arange(seen["separation"].shape[-1])


def lines(variant, ratio):
    """Every member on a line of this rate."""

    def change(name, seen):
        if name == variant:
            seen["separation"][:] = 11.25 * ratio ** np.arange(seen["separation"].shape[-1])

    return change


def broken(case, change, *fails):
    return Break(case, change, frozenset(fails))


LINEAR = ("F2.rate", "F2.line", "F2.depth", "F2.deeper")
BREAKS = {
    "inputs": broken("depth", scaled("linear_L8", 1 + 2e-12, layer=0), "F2.start"),
    "inputs, scale": broken("scale", scaled("linear", 1 + 2e-12, layer=0), "F11.start"),
    "inputs, init": broken("init", scaled("linear_normal", 1 + 2e-12, layer=0), "F12.start"),
    "inputs, theorem": broken("theorem", scaled("L4_within", 1 + 2e-12, layer=0), "T2.start"),
    "one ratio": broken("depth", scaled("linear_L8", 1.06), "F2.rate"),
    "one depth, as drawn": broken("depth", same_rate, "F2.depth_drawn"),
    "not a number": broken("depth", scaled("linear_L8", np.nan), *LINEAR),
    "no line": broken("depth", scaled("linear_L6", 3.0, layer=3), "F2.rate", "F2.line"),
    "capped": broken("depth", replaced("linear_L8", "converged_at", -1), "F2.rate", "F2.line", "F2.depth"),
    "diverged": broken("depth", replaced("linear_L8", "diverged_at", 7), "F2.start", *LINEAR),
    "no deeper": broken("depth", scaled("linear_L6", 1e-3), "F2.rate", "F2.line", "F2.deeper"),
    "a bent ReLU": broken("depth", scaled("relu_L8", 1e-4), "F7.line[8]"),
    "a slow ReLU": broken("depth", line("relu_L10", 0.21), "F7.rate[10]", "F7.ratio[10]"),
    "a slow layer of ReLU": broken("depth", scaled("relu_L10", 1.4), "F7.ratio[10]"),
    "a bent ReLU, as drawn": broken("depth", scaled("relu_L6", 1e-4, member=-2), "F7.line_drawn[6]", "F7.deeper"),
    "a slow ReLU, as drawn": broken("depth", line("relu_L8", 0.21, member=-2), "F7.rate_drawn[8]", "F7.ratio_drawn[8]"),
    "one ratio, scale": broken("scale", scaled("linear", 1.06), "F11.rate"),
    "no steeper": broken("scale", line("relu", 0.1), "F11.relu"),
    "no steeper, linear": broken("scale", line("linear", 0.9), "F11.rate", "F11.linear"),
    "no drift": broken("scale", straight, "F11.drawn"),
    "one init": broken("init", line("linear_normal", 0.1875 * 1.31), "F12.rate"),
    "one rate under all inits": broken("init", same_rate_of_exact, "F12.same"),
    "one rate under all inits, as drawn": broken("init", same_rate, "F12.same_drawn"),
    "a bent ReLU init": broken("init", scaled("relu_uniform", 1e-4), "F12.relu.line"),
    "a slow ReLU init": broken("init", lines("relu_normal", 0.21), "F12.relu.rate"),
    "bent init": broken("init", scaled("linear_uniform", 8.0), "F12.line"),
    "bound": broken("theorem", line("L4_within", 3.6e-3), "T2.within"),
    "bound of the flow": broken("theorem", line("L4_flow", 3.6e-3), "T2.flow"),
    "hidden layers": broken("theorem", put("L4_flow", "imbalance", (-1, -1, 1), 1e-6), "T2.hidden"),
    "last layer": broken("theorem", put("L3_flow", "imbalance", (-1, -1, 1), 1.0), "T2.last"),
    "spectrum": broken("theorem", put("L3_flow", "unchanged", (-1, -1), 2e-6), "T2.spectrum"),
    "bound beyond": broken("theorem", line("L3_beyond", 0.102), "T2.beyond"),
}

# Fields that a config may not have. -----------------------------------------------------------------------------------

DIGITS = {"study": "digits", "data.source": "digits"}
RULES = {
    name: Rule("collapse_depth", fields, line)
    for name, fields, line in (
        ("depth", {"net.depth": 1}, "net.depth = 1: must be an integer >= 2"),
        ("scale", {"net.scale": 0.0}, "net.scale = 0.0: must be a finite number > 0.0"),
        ("activation", {"net.activation": "gelu"}, "net.activation = 'gelu': must be one of 'linear', 'relu'"),
        (
            "init",
            {"net.init": "he"},
            "net.init = 'he': must be one of 'orthogonal', 'normal', 'uniform', 'corollary'",
        ),
        ("tolerance", {"opt.tolerance": -1.0}, "opt.tolerance = -1.0: must be a finite number >= 0.0"),
        (
            "square",
            {"net.width": 49},
            "net.width = 49: must be 50 = data.num_classes * data.samples_per_class, for X is square and orthogonal",
        ),
        ("study", {"study": "digits"}, "study = 'digits': cannot be that for data.source = 'orthogonal'"),
        ("digits", DIGITS | {"data.num_classes": 9}, "data.num_classes = 9: must be 10 for the digits"),
        (
            "rare digit",
            DIGITS | {"data.num_classes": 10, "data.samples_per_class": 175},
            "data.samples_per_class = 175: must be at most 174, the rarest digit's images",
        ),
        (
            "rank",
            DIGITS | {"data.num_classes": 10, "net.width": 51},
            "net.width = 51: must be at most 50, the digits' dimension once whitened",
        ),
    )
}
RULES["theorem"] = Rule(
    "collapse_theorem",
    {"data.samples_per_class": 2, "net.width": 10},
    "data.samples_per_class = 2: must be at least 3 for Theorem 2, which asks for d > 2K",
)
RULES["method"] = Rule(
    "collapse_theorem", {"opt.method": "sgd"}, "opt.method = 'sgd': must be one of 'descent', 'flow'"
)
