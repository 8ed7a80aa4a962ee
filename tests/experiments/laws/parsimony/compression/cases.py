"""Made-up results of the small equivalent network: pairs that agree as predicted, and what breaks each claim."""

import numpy as np
from synthetic import Break, Case, Rule

from experiments.runner.run import observation_times

CASES = {
    "pairs": Case("dln_factorization", ("num_seeds=2", "observe.num_times=3")),
    "cut": Case(
        "dln_factorization", ("num_seeds=2", "observe.num_times=3", "opt.num_steps=100"), frozenset({"F1.steps"})
    ),
}
DONE, PREDICTED = 700, 1e-5


def lawful(config):
    """Observations, members first and times second: both networks end at one step, their distance as predicted."""
    n, num_times, steps = config.num_seeds, len(observation_times(config)), config.opt.num_steps
    ended = DONE if steps >= DONE else -1
    alone = {"reduced_loss": 1e-11, "rho": 1e-3, "defect": 1e-15}
    both = alone | {"full_loss": 1e-11, "distance": PREDICTED * (1 + 1e-6), "predicted_distance": PREDICTED}
    both |= {"reduced_done": ended, "whole_distance": 0.3 if config.net.kind == "control" else 1e-14}
    core = np.tile(np.arange(num_times)[:, None, None] * 0.5, (n, 1, 2, 2))
    seen = {
        name: np.full((n, num_times), value) for name, value in (alone if config.net.kind == "small" else both).items()
    }
    if "full_loss" in seen:
        seen["full_loss"][:, 0] = 1.0
    seen |= {"reduced_core": core} | ({} if config.net.kind == "small" else {"full_core": core})
    return seen | {"converged_at": np.full(n, ended), "diverged_at": np.full(n, -1)}


def broken(variant, field, value, *fails, case="pairs"):
    """One number of the last member, at the last observation."""

    def change(name, seen):
        if name == variant:
            seen[field][(-1,) * seen[field].ndim] = value

    return Break(case, change, frozenset(fails))


PAIR, CONTROL = "pair_d100_r10", "control_d100_r10"
BREAKS = {
    "a step more": broken(PAIR, "reduced_done", DONE + 1, "F1.steps"),
    "the small one not there": broken(PAIR, "reduced_done", -1, "F1.steps"),
    "the d x d one not there": broken(PAIR, "converged_at", -1, "F1.steps"),
    "farther": broken(PAIR, "distance", PREDICTED * 1.002, "F1.distance"),
    "nearer": broken(PAIR, "distance", PREDICTED * 0.998, "F1.distance"),
    "more than rho": broken(PAIR, "whole_distance", 2e-11, "F1.rho"),
    "no number": broken(PAIR, "whole_distance", np.nan, "F1.rho"),
    "diverged": broken(PAIR, "diverged_at", 10, "F1.steps", "F1.distance", "F1.rho"),
}


def control_agrees(name, seen):
    if name == CONTROL:
        seen["whole_distance"][0] = 1e-12


BREAKS["the control agrees"] = Break("pairs", control_agrees, frozenset({"F1.control"}))


def learns_nothing(name, seen):
    if name == PAIR:
        seen["full_loss"].fill(1.0)


VACUOUS = {"nothing learnt": Break("pairs", learns_nothing, frozenset({"F1.steps", "F1.distance", "F1.rho"}))}

# Fields that a config may not have. -----------------------------------------------------------------------------------

SMALL = {"net.width": 24, "data.rank": 2}
RULES = {
    line: Rule("dln_factorization", SMALL | fields, line)
    for fields, line in (
        ({"net.depth": 1}, "net.depth = 1: must be an integer >= 2"),
        ({"data.rank": 12}, "net.width = 24: must exceed 2 * data.rank = 24"),
        ({"net.kind": "x"}, "net.kind = 'x': must be one of 'pair', 'control', 'small'"),
        ({"opt.tolerance": 0.0}, "opt.tolerance = 0.0: must be a finite number > 0.0"),
        ({"net.kind": "control", "net.skip": 5}, "net.skip = 5: must be 0 unless net.kind = 'pair'"),
    )
}
