"""Made-up results of landscape and limits: flows that arrive, states and points that keep the lemmas, and breaks."""

import numpy as np
from synthetic import Break, Case, Rule

from experiments.runner.run import observation_times
from experiments.runner.settings import hyperparameters
from lawlib.dynamics.sweep import grid

CASES = {
    "all": Case("induced_flow_landscape", ("num_seeds=3",)),
    "one variant": Case(
        "induced_flow_landscape",
        ("num_seeds=3", "name=flow_N2"),
        frozenset({"T16.opposite", "flow.unbalanced", "flow.rank"}),
    ),
    "minima alone": Case(
        "induced_flow_landscape",
        ("num_seeds=10", "variants=({'study': 'stationary', 'net.widths': (3, 3, 3), 'opt.num_steps': 6},)"),
        frozenset({"T8.saddles", "T8.zero_deep", "T8.zero_excess"}),
    ),
}


def lawful(config):
    """Observations, members first and times second."""
    times, members = observation_times(config), grid(config.num_seeds, hyperparameters(config), "float64")
    own = {name: np.full(len(members.seeds), config.start[name]) for name in ("least", "skew")}
    own |= {path.removeprefix("start."): values for path, values in members.hyperparameters.items()}
    studies = {"convergence": _flows, "states": _states, "stationary": _points}
    seen = studies[config.study](config, times, own["least"][:, None], own["skew"][:, None])
    shape = len(members.seeds), len(times)
    whole = {name: np.broadcast_to(values, shape).copy() for name, values in seen.items()}
    return whole | {mark: np.full(shape[0], -1) for mark in ("converged_at", "diverged_at")}


def _flows(config, times, least, skew):
    at_end = times == times[-1]
    return {
        "rescaled_time": 1.0 * times,
        "distance": np.where(at_end, 1e-12, 1.0),
        "value": np.where(at_end & (least == -1), 1e-3, 1.0),
        "alignment": least + 1e-3 * times,
        "in_set": 1.0,
        "beyond": 0.0,
        "drift": 0.0,
        "induced": np.where(skew == 1, 0.0, 0.1),
    }


def _states(*_):
    slacks = {"loss_slack": 0.1, "rate_slack": 0.0}
    return {"operator": 1e-15, **slacks, "turning": 0.1, "from_below": 0.1, "from_above": -0.1}


def _points(config, times, *_):
    """0, then minima and, where there are any, saddles in turn; at 0 the Hessian is negative for two layers alone."""
    widths, at_0 = config.net.widths, times == 0
    is_global = ~at_0 & ((times % 2 == 1) | (min(widths) == min(widths[0], widths[-1])))
    smallest = np.where(at_0, -1.0 if len(widths) == 3 else 0.0, np.where(is_global, 0.0, -0.5))
    excess, rank = np.where(is_global, 0.0, 0.5), np.where(at_0, 0.0, min(widths))
    return {"gradient": 0.0, "smallest": smallest, "residual": 0.0, "excess": excess, "rank": rank}


# What breaks the claims. The members of a seed in ``flow_N2`` start in N_alpha, then against Z_1; in ``flow_N3`` each
# of them balanced, then unbalanced. -----------------------------------------------------------------------------------

INSIDE, NEGATIVE, INSIDE_SKEWED, LAST = 0, 1, 1, -1


def broken(variant, field, place, value, *fails, case="all"):
    """A break of one field of the variants with this start of their name, at (member, step)."""

    def apply(name, seen):
        if name.startswith(variant):
            seen[field][place] = value

    return Break(case, apply, frozenset(fails))


BREAKS = {
    "does not arrive": broken("flow_N2", "distance", (INSIDE, -1), 1e-7, "T16.arrives"),
    "near 0": broken("flow_N2", "value", (INSIDE, 3), 0.01, "T16.away"),
    "left the set": broken("flow_N2", "in_set", (INSIDE, 5), 0.0, "T16.set"),
    "turned back": broken("flow_N2", "alignment", (INSIDE, -1), 0.0, "T16.rise"),
    "not at 0": broken("opposite_N2", "value", (LAST, -1), 0.02, "T16.opposite"),
    "needs the set": broken("flow_N2", "distance", (NEGATIVE, -1), 1e-7, "T16.negative"),
    "two flows": broken("flow_N2", "induced", (NEGATIVE, 2), 1e-7, "flow.induced"),
    "one flow": broken("flow_N3", "induced", (INSIDE_SKEWED,), 1e-4, "flow.unbalanced"),
    "imbalance": broken("flow_N3", "drift", (INSIDE_SKEWED, 2), 1e-8, "flow.imbalance"),
    "rank": broken("rank2_N3", "beyond", (LAST, -1), 1e-8, "flow.rank"),
    "operator": broken("states_N2", "operator", (1, 2), 1e-11, "A_W"),
    "loss": broken("states_N2", "loss_slack", (1, 2), -1e-8, "E33"),
    "its rate": broken("states_N5", "rate_slack", (1, 2), -1e-8, "L18"),
    "turning": broken("states_N5", "turning", (1, 2), 0.0, "L19.rise"),
    "from below": broken("states_N2", "from_below", (1, 2), 0.0, "L19.below"),
    "from above": broken("states_N2", "from_above", (1, 2), 0.0, "L19.above"),
    "no stationary point": broken("stationary_N2", "gradient", (1, 2), 1e-9, "T8.gradient"),
    "few points": broken("stationary", "rank", (slice(1, None),), 0.0, "T8.count"),
    "a spurious point": broken("stationary_N2", "smallest", (1, 2), 0.0, "T8.saddles"),
    "an open eigenvalue": broken("stationary_N2", "residual", (1, 2), 0.5, "T8.saddles"),
    "a curved minimum": broken("stationary_N2", "smallest", (1, 3), -0.1, "T8.minima"),
    "an open minimum": broken("stationary_N2", "residual", (1, 3), 1e-8, "T8.minima"),
    "0 of two layers": broken("stationary_N2", "smallest", (LAST, 0), -0.05, "T8.zero"),
    "0 of three layers": broken("stationary_N3", "smallest", (LAST, 0), -1e-8, "T8.zero_deep"),
    "a global 0": broken("stationary_N3", "excess", (LAST, 0), 0.0, "T8.zero_excess"),
}

# Fields that a config may not have. -----------------------------------------------------------------------------------


def refused(rule, fields):
    """The rule that is broken by the last of these fields."""
    path, value = list(fields.items())[-1]
    return Rule("induced_flow_landscape", fields, f"{path} = {value!r}: must {rule}")


ONE_OUTPUT = {"net.widths": (5, 1, 1), "data.leading_ratio": 0.3}
RULES = {
    "layers": refused("be three or more positive sizes (d_x, ..., d_y): depth N >= 2", {"net.widths": (5, 3)}),
    "alignments": refused(
        "make start.least + start.spread, here 1.15, at most 1", {"start.least": 0.5, "start.spread": 0.65}
    ),
    "alpha": refused("lie in (gamma_Z, 1) = (0.3, 1)", {"bound.alpha": 0.2}),
    "rank of X": refused(
        "be at least d_x = net.widths[0]: whitened inputs have full row rank", {"data.num_samples": 4}
    ),
    "rank": refused("be at most the smallest of net.widths, 1", {"start.rank": 2}),
    "one output": refused("be 0.0 for one output: Z then has one singular value", ONE_OUTPUT),
}
