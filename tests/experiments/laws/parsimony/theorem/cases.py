"""Made-up results of the law of parsimony: networks that obey it to the last bit, and what breaks each claim."""

import numpy as np
from synthetic import Break, Case, Rule

from experiments.runner.run import observation_times
from experiments.runner.settings import hyperparameters

FEW = ("num_seeds=2", "observe.num_times=6")
CASES = {name: Case(f"dln_{name}", FEW) for name in ("parsimony", "momentum", "unwhitened")}
CASES |= {
    "fashion_mnist": Case("dln_fashion_mnist", ("observe.num_times=6",)),
    "float32": Case("dln_parsimony", (*FEW, "precision='float32'")),
    "ranks": Case("dln_momentum", (*FEW, "variants=({'name': 'r1', 'data.rank': 1}, {'name': 'r3'})")),
    "condition": Case("dln_condition", FEW),
    "short": Case("dln_unwhitened", (*FEW, "opt.num_steps=500"), frozenset({"F10.values", "F10.subspaces"})),
}


def lawful(config):
    """Observations, members first and times second, of networks that obey the law to the last bit."""
    width, rank, dtype = config.net.width, config.data.rank, config.precision
    square = config.net.depth - (config.data.source != "low_rank")
    times = observation_times(config)
    n = config.num_seeds * int(np.prod([len(values) for values in hyperparameters(config).values()]))
    layers, triplets = (n, len(times), square), (n, len(times), square, width)
    values = np.concatenate([np.full(rank, 3.0), np.ones(width - 2 * rank), np.full(rank, 0.2)])
    seen = {name: np.zeros(layers, dtype) for name in ("idle_deviation", "block_deviation", "excess")}
    seen |= {"loss": np.ones(layers[:2]), "rho": np.ones(layers[:2]), "idle_value": np.ones(layers)}
    seen |= {"singular_values": np.broadcast_to(values, triplets).copy()}
    seen |= {f"{side}_angles": np.zeros(triplets) for side in ("left", "right")}
    seen |= {f"{side}_subspace_angles": np.zeros((*layers, 2 * rank)) for side in ("left", "right")}
    seen["num_moved"] = np.full(layers, 2 * rank)
    seen["num_moved"][:, 0] = 0  # at the start all values coincide, and their vectors mean nothing
    seen["left_subspace_angles"][:, 0] = 1.5
    if not config.data.whiten:
        seen["right_subspace_angles"][:, -1, 0, -1] = 1.3
    if config.data.source == "conditioned":
        size = np.tile(np.log(hyperparameters(config)["data.condition"]), config.num_seeds)
        seen["right_subspace_angles"][:, -1, 0, -1] = 0.2 * size
        seen["block_deviation"][:, -1, 0] = 0.5 * size
        seen["excess"][:, -1, 0] = size**2
    if square < config.net.depth:
        seen["readout_leak"] = np.zeros(layers[:2])
    return seen | {"converged_at": np.full(n, -1), "diverged_at": np.full(n, -1)}


# What breaks the claims, unless said otherwise by the last number of the last member. ---------------------------------


def broken(case, variant, field, value, *fails, place=-1):
    def change(name, seen):
        if name == variant:
            seen[field][place if isinstance(place, tuple) else (place,) * seen[field].ndim] = value

    return Break(case, change, frozenset(fails))


def few_still(name, seen):
    if name == "gaussian_L3":
        seen["singular_values"][0, -1, 1, 19:] = 1 + 2e-3
        seen["singular_values"][0, -1, 1, :19] = 1 + 9e-4


def drifting(name, seen):
    if name == "gaussian_L3":
        seen["right_subspace_angles"][0, -1, 0, -1] = 0.09


# The last members of a sweep have the condition numbers 1, 1 + 1e-5, ..., 30, 100.
SWEPT = {"excess": "K.excess", "block_deviation": "K.block", "right_subspace_angles": "K.angle"}


def faster(field):
    """A tenth more at kappa = 1.001, or a third more at 1.0001: at the fourth, or the third, of twelve numbers."""

    def change(name, seen):
        if name == "conditioned_L3":
            place, factor = (-10, 1.3) if field == "excess" else (-9, 1.1)
            seen[field][place, -1] *= factor

    return change


CASE_2 = {
    "idle_deviation": "T1.value",
    "block_deviation": "T1.block",
    "excess": "T1.excess",
    "readout_leak": "T1.readout",
    "left_subspace_angles": "T1.angle",
    "right_subspace_angles": "T1.angle",
}
BREAKS = {
    f"{field}, {word}": broken("parsimony", "case2_L2", field, wrong, f"{id}[case2]")
    for field, id in CASE_2.items()
    for word, wrong in (("nan", np.nan), ("large", 1.1e-9))
}
BREAKS |= {
    f"{wrong} moved": broken("parsimony", "case1_L3", "num_moved", wrong, "T1.count[case1]", place=(2, 3, 1))
    for wrong in (5, 7, 0)
}
BREAKS |= {
    "float32": broken("parsimony", "case1_L3_float32", "excess", 2.1e-4, "T1.excess[case1_f32]"),
    "digits": broken("parsimony", "digits_L3", "excess", 3.1e-12, "T1.excess[digits]"),
    # Relative to sigma_1 = 3.
    "digits within": broken("parsimony", "digits_L3", "excess", 2.9e-12),
    "images within": broken("fashion_mnist", "pooled_L3", "readout_leak", 2.9e-12),
    "images": broken("fashion_mnist", "pooled_L3", "readout_leak", 3.1e-12, "T1.readout[fashion_mnist]"),
    "rank 1": broken("ranks", "r1", "num_moved", 6, "T1.count[case1_r1]"),
    "from step 1 on": broken(
        "parsimony", "case1_L2", "left_subspace_angles", 1.5, "T1.angle[case1]", place=(slice(None), 1)
    ),
    "diverged": broken(
        "parsimony",
        "case1_L3",
        "diverged_at",
        12,
        *(f"T1.{law}[case1]" for law in ("value", "block", "excess", "count", "angle")),
    ),
    "conditioned, exact": broken("condition", "conditioned_L2", "excess", 2e-12, "K.exact[L2]", place=(-12, -1, 0)),
    "conditioned, less at last": broken(
        "condition", "conditioned_L2", "excess", 11.0, "K.excess_grows[L2]", place=(-1, -1, 0)
    ),
    "conditioned, turns back": broken(
        "condition", "conditioned_L3", "right_subspace_angles", 0.68, "K.angle_grows[L3]", place=(-1, -1, 0, -1)
    ),
    "few values": Break("unwhitened", few_still, frozenset({"F10.values"})),
    "little drift": Break("unwhitened", drifting, frozenset({"F10.subspaces"})),
}

BREAKS |= {
    f"conditioned, {field} grows faster": Break("condition", faster(field), frozenset({f"{id}[L3]"}))
    for field, id in SWEPT.items()
}


def still(kind):
    """All singular values of these variants stay with rho."""

    def change(name, seen):
        if name.startswith(kind):
            seen["singular_values"].fill(1.0)

    return change


CONDITIONED = ("exact", "excess", "block", "angle", "excess_grows", "angle_grows")
VACUOUS = {
    case: Break(case, still(kind), frozenset(ids))
    for case, kind, ids in (
        ("parsimony", "case2", {f"{id}[case2]" for id in CASE_2.values()} | {"T1.count[case2]"}),
        ("unwhitened", "gaussian", {"F10.values", "F10.subspaces"}),
        ("condition", "conditioned_L3", {f"K.{law}[L3]" for law in CONDITIONED}),
    )
}

# Fields that a config may not have. -----------------------------------------------------------------------------------

DIGITS = {"data.source": "digits", "data.rank": 10}
SOURCES = "'low_rank', 'gaussian', 'digits', 'fashion_mnist', 'conditioned'"
RULES = {
    line: Rule("dln_parsimony", fields, line)
    for fields, line in (
        ({"net.depth": 1}, "net.depth = 1: must be an integer >= 2"),
        ({"net.width": 6}, "net.width = 6: must exceed 2 * data.rank = 6"),
        ({"net.scale": 0.0}, "net.scale = 0.0: must be a finite number > 0.0"),
        ({"opt.step_size": -1.0}, "opt.step_size = -1.0: must be a finite number > 0.0"),
        ({"data.num_samples": 0}, "data.num_samples = 0: must be an integer >= 1"),
        ({"data.rank": 0}, "data.rank = 0: must be an integer >= 1"),
        ({"data.source": "x"}, f"data.source = 'x': must be one of {SOURCES}"),
        (
            {"data.whiten": False},
            "data.whiten = False: must be True for data.source = 'low_rank', whose inputs are I",
        ),
        (
            {"data.source": "gaussian", "data.num_samples": 29},
            "data.num_samples = 29: must be >= net.width = 30 to be whitened",
        ),
        (
            DIGITS | {"data.whiten": False, "net.width": 61},
            "net.width = 61: must be 64, the digits' dimension for this data.whiten",
        ),
        (DIGITS | {"net.width": 64}, "net.width = 64: must be 61, the digits' dimension for this data.whiten"),
        (DIGITS | {"net.width": 61, "data.rank": 9}, "data.rank = 9: must be 10, one output per digit"),
    )
}
RULES |= {
    line: Rule("dln_condition", fields, line)
    for fields, line in (
        (
            {"data.whiten": True},
            "data.whiten = True: must be False for data.source = 'conditioned', whose inputs are scaled",
        ),
        ({"data.num_samples": 29}, "data.num_samples = 29: must be >= net.width = 30 to be whitened"),
    )
}
