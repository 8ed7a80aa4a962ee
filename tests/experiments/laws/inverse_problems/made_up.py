"""What the made-up results of all three experiments on inverse problems share, and the ways to break them."""

import numpy as np
from synthetic import Break, Rule

from experiments.runner.run import observation_times
from experiments.runner.settings import hyperparameters
from lawlib.dynamics.sweep import grid


def members_of(config):
    """The observation times, and the weight decay of every member."""
    members = grid(config.num_seeds, hyperparameters(config), "float64")
    given = np.full(len(members.seeds), config.opt.weight_decay)
    return observation_times(config), members.hyperparameters.get("opt.weight_decay", given)


def linear(rescaled_time, values, *, sharpness=1.5):
    """Observations of linear networks on the law of layer 1; ``values`` are the singular values of X."""
    constant = {"off_subspace_error": 1.0, "law_deviation": 1e-13, "step_size": 0.05, "isometry": 0.4}
    constant |= {"sharpness": sharpness}
    vectors = {"measured_values": np.ones_like(values), "signal_values": values}
    return {
        "converged_at": np.full(len(rescaled_time), 100),
        "diverged_at": np.full(len(rescaled_time), -1),
        "outside_norm": np.exp(-rescaled_time),
        "rescaled_time": rescaled_time,
        **{name: np.full(rescaled_time.shape, value) for name, value in constant.items()},
        **{name: np.broadcast_to(row, (*rescaled_time.shape, len(row))) for name, row in vectors.items()},
    }


def altered(variant, field, change, member=-1, since=1):
    """``change(values)`` gives other values of one member (or ``slice(None)``: all) from an observation on."""

    def alter(name, seen):
        if name == variant:
            seen[field] = np.array(seen[field])
            place = (member, slice(since, None)) if seen[field].ndim > 1 else member
            seen[field][place] = change(seen[field][place])

    return alter


def scaled(variant, field, factor, member=-1):
    return altered(variant, field, lambda values: factor * values, member)


def replaced(variant, field, value, member=-1):
    return altered(variant, field, lambda values: np.full_like(values, value), member, since=0)


def after(variant, rescaled_time, field, value):
    """The field has this value in all members from a rescaled time on."""

    def alter(name, seen):
        if name == variant:
            seen[field] = np.where(seen["rescaled_time"] > rescaled_time, value, seen[field])

    return alter


def breaks(**cases):
    """``BREAKS``: each is a case, a change and the ids that fail."""
    return {name: Break(case, change, frozenset(fails)) for name, (case, change, *fails) in cases.items()}


def rules(*cases):
    """``RULES``: each is a config, fields, and the line that refuses them."""
    return {f"{name}, {', '.join(fields)}": Rule(name, fields, line) for name, fields, line in cases}
