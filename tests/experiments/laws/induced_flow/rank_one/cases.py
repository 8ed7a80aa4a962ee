"""Made-up results of the induced flow of rank one: a scalar flow in closed form, and what breaks each claim."""

import numpy as np
from synthetic import Break, Case, Rule

from experiments.runner.fields import leaves
from experiments.runner.run import observation_times
from experiments.runner.settings import hyperparameters
from lawlib.dynamics.sweep import grid

WORDS = ("num_seeds=2", "sweep.net.depth=(2.0,5.0)")
# Both studies with one output, so that several outputs are missing.
SHORT = "variants=({'opt.num_steps': 50}, {'study': 'rescaled_time', 'opt.num_steps': 50})"
SEVERAL_OUTPUTS, DEPTHS = {"T20.several", "F1.rate_several"}, {"F1.far", "F1.slower", "F1.faster", "F1.equal"}
CASES = {
    "all": Case("induced_flow", WORDS),
    "short": Case("induced_flow", (*WORDS, SHORT), frozenset(SEVERAL_OUTPUTS | DEPTHS | {"F1.rate", "F1.slows"})),
    "one depth": Case("induced_flow", ("num_seeds=1", "sweep.net.depth=(3.0,)"), frozenset(DEPTHS)),
}


def lawful(config):
    """Observations, members first and times second, of dy/dx = -N y^(1 + a), a = 2 - 2/N, as far from the target."""
    times, members = observation_times(config), grid(config.num_seeds, hyperparameters(config), "float64")
    own = {path: np.full(len(members.seeds), leaf) for path, leaf in leaves(config).items() if type(leaf) is float}
    own |= members.hyperparameters
    N, start, gamma, interval, scale = (
        own[path][:, None] for path in ("net.depth", "start.ratio", "data.leading_ratio", "opt.interval", "data.scale")
    )
    s_Z = np.where(scale > 0, scale, 0.35 + 0.01 * members.seeds[:, None])
    a = 2 - 2 / N
    per_second, is_timed = 50 * s_Z**a, config.study == "time"
    x = times * interval * (per_second if is_timed else 1)
    value = (start**-a + N * a * x) ** (-1 / a)
    seen = {
        "seconds": x / per_second,
        "rescaled_time": x,
        "target_value": s_Z,
        "gamma": gamma,
        "distance": value,
        "value": value,
        "alignment": 1 - 0.134 * np.exp(-x),
        "in_set": 1.0,
        "fast": 1.0,
        "tau": np.where(value > 6**0.5, -1.0, 1e-3),
        "excess": -x,
        "excess_printed": -np.log(s_Z),
        "rate": 1.001 * per_second * (1 - gamma) * np.where(is_timed & (times == 0), 4, 1),
        "rate_law": per_second * (1 - gamma),
    }
    seen |= {"euler": 2.02e-3 * N, "euler_halved": 1e-3 * N, "euler_distance": value} if is_timed else {}
    whole = {name: np.broadcast_to(values, x.shape).copy() for name, values in seen.items()}
    return whole | {mark: np.full(len(x), -1) for mark in ("converged_at", "diverged_at")}


# What breaks the claims. Members of ``time`` and ``rescaled_time`` are ordered by seed, then s_Z = 0 (drawn), 0.1, 0.3,
# 1 and 2, then depth; the last one is of s_Z = 2 and the larger depth. -----------------------------------------------

SMALL, SMALL_DEEP, ONE_DEEP, LAST = 2, 3, 7, -1


def broken(variant, fields, place, change, *fails):
    """A break of these fields of one variant at (member, step)."""

    def apply(name, seen):
        if name == variant:
            for field in fields.split():
                seen[field][place] = change(seen[field][place])

    return Break("all", apply, frozenset(fails))


WHOLE, EVERY_RESCALED = slice(None), ("T20.single", "T20.fast", "L19.set", "L19.rise", "F1.collapse", "F1.rate")
BREAKS = {
    "above the bound": broken("rescaled_time", "excess", (LAST, -1), lambda x: 0.01, "T20.single"),
    "above the bound, d_y = 3": broken("ratios", "excess", (LAST, -1), lambda x: 0.01, "T20.several"),
    "below the printed bound": broken("time", "excess_printed", (SMALL, WHOLE), lambda x: 0 * x, "T20.printed"),
    "left the set": broken("time", "in_set", (LAST, -1), lambda x: 0.0, "L19.set"),
    "turned back": broken("ratios_wide", "alignment", (LAST, -1), lambda x: 0.0, "L19.rise"),
    "slow at once": broken("time", "fast", (LAST, 0), lambda x: 0.0, "T20.fast"),
    "deeper is no faster": broken("time", "distance", (LAST, WHOLE), lambda x: 10 * x, "F1.far"),
    "no slow-down": broken("time", "rate", (LAST, 0), lambda x: x / 4, "F1.slows"),
    "no collapse": broken("rescaled_time", "distance", (LAST, 3), lambda x: x + 1e-4, "F1.collapse"),
    "another rate": broken("rescaled_time", "rate", (LAST, -1), lambda x: 1.05 * x, "F1.rate"),
    "another rate, d_y = 3": broken("ratios_wide", "rate", (LAST, -1), lambda x: 1.05 * x, "F1.rate_several"),
    "no slower": broken("rescaled_time", "rate rate_law", (SMALL_DEEP, -1), lambda x: 100 * x, "F1.slower"),
    "no faster": broken("rescaled_time", "rate rate_law", (LAST, -1), lambda x: x / 100, "F1.faster"),
    "not equal": broken("rescaled_time", "rate rate_law", (ONE_DEEP, -1), lambda x: 1.1 * x, "F1.equal"),
    "of another order": broken("time", "euler", (LAST, WHOLE), lambda x: 1.3 * x, "F1.euler"),
    "diverged": broken("rescaled_time", "diverged_at", (LAST,), lambda x: 7, *EVERY_RESCALED, "F1.faster"),
}

# Fields that a config may not have. -----------------------------------------------------------------------------------

SEVERAL = {"study": "rescaled_time", "data.num_outputs": 3, "sweep.data.scale": (1.0,)}


def refused(rule, fields):
    """The rule that is broken by the last of these fields."""
    path, value = list(fields.items())[-1]
    return Rule("induced_flow", fields, f"{path} = {value!r}: must {rule}")


RULES = {
    "depth": Rule("induced_flow", {"sweep.net.depth": (1.0,)}, "sweep.net.depth = 1.0: must be a finite number >= 2.0"),
    "margin": refused("be a finite number > 1.0", {"bound.margin": 1.0}),
    "angle": refused("be below cos(start.angle) = 0.866, the start's own alignment", {"bound.alpha": 0.87}),
    "gamma": refused(
        "lie in (gamma_Z, 1), above every data.leading_ratio",
        SEVERAL | {"data.leading_ratio_unit": "one", "data.leading_ratio": 0.9, "bound.alpha": 0.85},
    ),
    "one output": refused("be 0.0 for one output: Z then has one singular value", {"data.leading_ratio": 0.1}),
    "start": refused("exceed bound.alpha = 0.85, so that W_0 is in N_alpha", {"bound.margin": 3.0, "start.ratio": 0.5}),
    "beta": refused(
        "make beta = bound.margin * start.ratio exceed 1, or Z_1 is not in the set",
        {"start.ratio": 0.9, "bound.margin": 1.05},
    ),
    "rank of X": refused(
        "be at least data.num_inputs = 5: whitened inputs have full row rank", {"data.num_samples": 4}
    ),
    "rows": refused(
        "be 1 for the study time: Euler's steps keep rank one for a row only",
        {"sweep.data.scale": (1.0,), "data.num_outputs": 3},
    ),
    "drawn": Rule(
        "induced_flow",
        SEVERAL | {"sweep.data.scale": (0.0, 1.0)},
        "data.scale = 0.0: must be positive for several outputs: a drawn Y would decide gamma_Z",
    ),
}
