"""Made-up results of other optimizers: networks that keep or break the law as claimed, and what spoils each claim."""

import numpy as np
from synthetic import Break, Case, Rule

from experiments.runner.run import observation_times
from experiments.runner.settings import hyperparameters

FEW = ("num_seeds=2", "observe.num_times=6")
ENTRIES = ("adam", "rmsprop", "adagrad", "sign")
WITHOUT_SMALL = ("galore", *ENTRIES)
CASES = {
    "optimizers": Case("dln_optimizers", FEW),
    # Short runs refute nothing.
    "smoke": Case("dln_optimizers", FEW, frozenset({"OPT.general[Adam, Case 2]"}), "smoke"),
    "muon": Case("dln_muon", ("num_seeds=2",)),
}


def lawful(config):
    """Observations, members first and times second: idle values at rest, 2r directions away from them."""
    names, width, active, dtype = config.opt.methods, config.net.width, 2 * config.data.rank, config.precision
    square = config.net.depth - (config.data.source != "low_rank")
    n = config.num_seeds * int(np.prod([len(values) for values in hyperparameters(config).values()]))
    layers = (n, len(observation_times(config)), len(names), square)
    half = active // 2
    values = np.concatenate([np.full(half, 3.0), np.ones(width - active), np.full(half, 0.2)])
    seen = {name: np.zeros(layers, dtype) for name in ("block_deviation", "excess", "difference")}
    seen |= {"loss": np.ones(layers[:3]), "movement": np.ones(layers), "num_moved": np.full(layers, active)}
    seen |= {"idle_value": np.ones(layers), "predicted_idle_value": np.ones(layers)}
    seen["singular_values"] = np.broadcast_to(values, (*layers, width)).copy()
    for place, name in enumerate(names):
        if name in ENTRIES:
            seen["excess"][:, 1:, place], seen["num_moved"][:, 1:, place] = 0.4, width
            # Spread evenly: (s_{2r+1} - s_{d-2r}) / 2 is about a third of the largest.
            seen["singular_values"][:, 1:, place] = np.linspace(3, 0.2, width)
        if name in WITHOUT_SMALL:
            seen["predicted_idle_value"][:, :, place] = seen["difference"][:, :, place] = np.nan
    never = np.full(n, -1)
    return seen | {"converged_at": never, "diverged_at": never}


# What breaks the claims. ----------------------------------------------------------------------------------------------

ORDER = ("gd", "coupled", "decoupled", "heavy_ball", "nesterov", "clipped", "muon", "shampoo", "galore", *ENTRIES)


def broken(variant, field, method, value, *fails, place=(-1, -1), case="optimizers"):
    """Set a number of an optimizer's layer 1 in the last member at the last observation."""

    def change(name, seen):
        if name == variant:
            seen[field][(*place, ORDER.index(method), 0)] = value

    return Break(case, change, frozenset(f"OPT.{id}" for id in fails))


def alike(variant, method, *fails):
    """All idle directions of an entrywise optimizer stay together, in every layer of the last member."""

    def change(name, seen):
        if name == variant:
            values = seen["singular_values"][-1, -1, ORDER.index(method)]
            active = 20 if values.shape[-1] == 61 else 6
            values[..., active:-active] = 1.0

    return Break("optimizers", change, frozenset(f"OPT.{id}" for id in fails))


BREAKS = {
    "excess": broken("case1_L2", "excess", "muon", 1.1e-12, "excess[Muon]"),
    "excess within": broken("case1_L2", "excess", "muon", 0.9e-12),
    "excess, not a number": broken("case2_L4", "excess", "galore", np.nan, "excess[GaLore]"),
    "excess in between": broken("case1_L2", "excess", "gd", 1.1e-12, "excess[GD]", place=(0, 2)),
    "excess in float32": broken("case1_L3_float32", "excess", "shampoo", 2.1e-4, "excess[Shampoo, f32]"),
    "excess of digits": broken("digits_L3", "excess", "nesterov", 3.1e-12, "excess[Nesterov]"),
    "excess of digits, relative to sigma_1 = 3": broken("digits_L3", "excess", "nesterov", 2.9e-12),
    "blocks": broken("case2_L2", "block_deviation", "clipped", 1.1e-12, "block[clipped GD]"),
    "count, one more": broken("case1_L3", "num_moved", "heavy_ball", 7, "count[heavy ball]"),
    "count, one less": broken("digits_L3", "num_moved", "galore", 19, "count[GaLore]"),
    "another idle value": broken("case1_L4", "idle_value", "coupled", 1 + 2e-12, "idle[GD with coupled decay]"),
    "another network": broken("case1_L4", "difference", "decoupled", 2e-12, "small[GD with decoupled decay]"),
    "another network, alone": Break(
        "muon", lambda _, seen: seen["difference"].__setitem__((0, 1, 0, 2), 2e-12), frozenset({"OPT.small[Muon]"})
    ),
    "Adam keeps the law on digits": alike("digits_L3", "adam", "general[Adam, digits]"),
    "AdaGrad keeps it at one depth": alike("case1_L3", "adagrad", "general[AdaGrad, Case 1]"),
    "sign keeps it": alike("case2_L3", "sign", "sign[sign descent, Case 2]"),
    # The batches of a sweep are no setting of the law.
    "a batch": Break("optimizers", lambda name, seen: seen["excess"].fill(1) if "batch" in name else None, frozenset()),
}


def still(name, seen):
    """Networks of which nothing moves by more than rounding."""
    seen["movement"].fill(1e-15)


def small_beside_itself(name, seen):
    """Networks that move, and not by much of their own size."""
    seen["singular_values"] *= 1e12


JUDGED = ("excess", "block", "idle", "small")
VACUOUS = {
    "nothing moves": Break(
        "muon",
        still,
        frozenset(f"OPT.{law}[{name}]" for law in JUDGED for name in ("Muon", "Nesterov")),
    ),
    "little moves": Break("muon", small_beside_itself, frozenset({"OPT.small[Muon]", "OPT.small[Nesterov]"})),
}

# Fields that a config may not have. -----------------------------------------------------------------------------------

KNOWN = "gd, coupled, decoupled, heavy_ball, nesterov, clipped, muon, shampoo, galore, adam, rmsprop, adagrad, sign"
ONE = {"opt.methods": ("gd",), "opt.step_sizes": (0.1,)}
DIGITS = {"data.source": "digits", "data.rank": 10, "net.width": 61}
RULES = {
    line: Rule("dln_optimizers", fields, line)
    for fields, line in (
        (ONE | {"opt.methods": ("lion",)}, f"opt.methods = ('lion',): must be different ones of {KNOWN}"),
        (
            {"opt.methods": ("gd", "gd"), "opt.step_sizes": (0.1, 0.1)},
            f"opt.methods = ('gd', 'gd'): must be different ones of {KNOWN}",
        ),
        (
            ONE | {"opt.step_sizes": (0.1, 0.2)},
            "opt.step_sizes = (0.1, 0.2): must be 1 finite floats > 0, one for each of opt.methods",
        ),
        (
            ONE | {"opt.step_sizes": (-0.1,)},
            "opt.step_sizes = (-0.1,): must be 1 finite floats > 0, one for each of opt.methods",
        ),
        ({"net.width": 6}, "net.width = 6: must exceed 2 * data.rank = 6"),
        ({"opt.beta_2": 1.0}, "opt.beta_2 = 1.0: must be a finite number >= 0.0 and < 1.0"),
        ({"opt.epsilon": 0.0}, "opt.epsilon = 0.0: must be a finite number > 0.0"),
        ({"opt.batch_size": 3}, "opt.batch_size = 3: must be 0 for data.source = 'low_rank'"),
        ({"data.source": "gaussian", "opt.batch_size": 301}, "opt.batch_size = 301: must be at most 300"),
        (
            {"data.source": "gaussian", "data.num_samples": 29},
            "data.num_samples = 29: must be >= net.width = 30 to be whitened",
        ),
        (DIGITS | {"net.width": 64}, "net.width = 64: must be 61 for the whitened digits"),
        (DIGITS | {"data.rank": 9}, "data.rank = 9: must be 10 for the whitened digits"),
    )
}
