"""Made-up results of layers of any widths: networks that obey the law to the last bit, and what breaks each claim."""

import itertools

import numpy as np
from synthetic import Break, Case, Rule

from experiments.runner.run import observation_times
from experiments.runner.settings import hyperparameters

CASES = {
    "widths": Case("dln_widths", ("num_seeds=2", "observe.num_times=6")),
    "lone": Case(
        "dln_widths", ("num_seeds=2", "variants=({'name': 'square', 'net.widths': (9, 9, 9)},)"), {"W.control"}
    ),
}
# By hand: the directions of each layer that move, those at the hidden places, and the idle ones of eqs. 6 and 7.
BY_HAND = {
    (30, 30, 30, 30): ((6, 6, 6), (6, 6), 24, (0, 0, 0)),
    (30, 36, 40, 3): ((6, 9, 3), (9, 12), 0, (24, 27, 0)),
    (20, 24, 30, 36): ((6, 9, 12), (9, 12), 14, (0, 1, 4)),
    (36, 30, 24, 20): ((12, 9, 6), (12, 9), 14, (4, 1, 0)),
    (40, 36, 30, 3): ((9, 6, 3), (9, 6), 0, (27, 24, 0)),
    (30, 16, 16, 30): ((6, 6, 6), (6, 6), 10, (0, 0, 0)),
    (30, 20, 24, 30): ((6, 6, 9), (6, 9), 14, (0, 0, 1)),
    (24, 26, 26, 24): ((8, 10, 8), (10, 10), 16, (0, 0, 0)),
    (9, 9, 9): ((6, 6), (6,), 3, (0, 0)),
}


def lawful(config):
    """Observations, members first and times second."""
    widths, times = config.net.widths, observation_times(config)
    moved, spanned, passed, stopped = BY_HAND[widths]
    n = config.num_seeds * int(np.prod([len(values) for values in hyperparameters(config).values()]))
    shape = (n, len(times))
    sizes = [min(pair) for pair in itertools.pairwise(widths)]
    values = np.full((len(moved), max(sizes)), np.nan)
    for row, size, count in zip(values, sizes, moved, strict=True):
        row[:size] = 0
        row[:count] = 1
    seen = {"loss": np.ones(shape), "rho": np.ones(shape), "rho_stopped": np.ones(shape)}
    counts = {"moved": moved, "spanned": spanned, "passed": (passed,) * len(moved), "stopped": stopped}
    seen |= {f"num_{name}": np.tile(numbers, (*shape, 1)) for name, numbers in counts.items()}
    seen |= {name: np.zeros((*shape, len(moved))) for name in ("idle_deviation", "excess")}
    seen |= {"remainder_values": np.tile(values, (*shape, 1, 1))}
    never = np.full(n, -1)
    return seen | {"converged_at": never, "diverged_at": never}


# What breaks the claims. ----------------------------------------------------------------------------------------------


def broken(variant, field, value, *fails, place=(-1, -1, 0)):
    def change(name, seen):
        if name == variant:
            seen[field][place] = value

    return Break("widths", change, frozenset(f"{id}[{variant}]" for id in fails))


def as_in_square_layers(name, seen):
    if name == "widening_case2":
        seen["num_moved"][-1, -1] = (6, 6, 3)


BREAKS = {
    "one more moves": broken("widening", "num_moved", 7, "W.moved"),
    "one fewer moves": broken("bottleneck", "num_moved", 5, "W.moved"),
    "one fewer at a hidden place": broken("barrel", "num_spanned", 9, "W.spanned"),
    "one more passed on": broken("hourglass", "num_passed", 15, "W.counts"),
    "one fewer stopped": broken("narrowing", "num_stopped", 3, "W.counts"),
    "a direction too many": broken("square", "excess", 1.1e-12, "W.excess", place=(-1, 2, 1)),
    "not a number": broken("narrowing_case2", "excess", np.nan, "W.excess", place=(0, 3, 2)),
    "another idle value": broken("narrowing", "idle_deviation", 1.1e-12, "W.idle", place=(3, 1, 2)),
    "square after all": Break(
        "widths", as_in_square_layers, frozenset({"W.moved[widening_case2]", "W.control[widening_case2]"})
    ),
}


def still(name, seen):
    """Layers of one kind of which nothing moves by more than rounding."""
    if name == "barrel":
        seen["remainder_values"] *= 1e-13


LAWS = ("moved", "spanned", "excess", "idle", "counts", "control")
VACUOUS = {"nothing moves": Break("widths", still, frozenset(f"W.{law}[barrel]" for law in LAWS))}

# Fields that a config may not have. -----------------------------------------------------------------------------------

SIZES = "must be three or more positive integers (d_0, ..., d_L)"
RULES = {
    line: Rule("dln_widths", fields, line)
    for fields, line in (
        ({"net.widths": (30, 30)}, f"net.widths = (30, 30): {SIZES}"),
        ({"net.widths": (30, 0, 30)}, f"net.widths = (30, 0, 30): {SIZES}"),
        ({"net.widths": (30, 30, 2)}, "data.rank = 3: must be at most 2, the smaller of inputs and outputs"),
        (
            {"net.widths": (6, 6, 6)},
            "net.widths = (6, 6, 6): must leave a direction idle, and all of them move at data.rank = 3",
        ),
        ({"data.rank": 0}, "data.rank = 0: must be an integer >= 1"),
        ({"net.scale": 0.0}, "net.scale = 0.0: must be a finite number > 0.0"),
        ({"opt.step_size": 0.0}, "opt.step_size = 0.0: must be a finite number > 0.0"),
    )
}
