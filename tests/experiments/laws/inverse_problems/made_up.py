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
    series = np.ones(rescaled_time.shape)
    return {
        "converged_at": np.full(len(series), 100),
        "diverged_at": np.full(len(series), -1),
        "off_subspace_error": series,
        "outside_norm": np.exp(-rescaled_time),
        "rescaled_time": rescaled_time,
        "law_deviation": 1e-13 * series,
        "step_size": 0.05 * series,
        "sharpness": sharpness * series,
        "isometry": 0.4 * series,
        "measured_values": np.broadcast_to(np.ones_like(values), (*series.shape, len(values))),
        "signal_values": np.broadcast_to(values, (*series.shape, len(values))),
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
    """The field has this value at every observation of the member."""
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


def rules(**cases):
    """``RULES``: each is a config, fields and the line that refuses them."""
    return {name: Rule(*case) for name, case in cases.items()}
