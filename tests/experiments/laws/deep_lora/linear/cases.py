"""Made-up results of compressed Deep LoRA in its linear setting: adapters that agree, and what breaks each claim."""

import numpy as np
from synthetic import Break, Case, Rule

from experiments.runner.run import observation_times
from experiments.runner.settings import hyperparameters
from lawlib.dynamics.sweep import grid

CASES = {"linear": Case("deep_lora", ("num_seeds=2", "observe.num_times=3"))}


def lawful(config):
    """Observations, members first and times second: the loss falls, the distance is as predicted and then explained."""
    members = len(grid(config.num_seeds, hyperparameters(config), config.precision).seeds)
    times = len(observation_times(config))
    rise, rounding = np.linspace(0, 1, times), 1e-14 if config.precision == "float64" else 1e-5
    one = {"full_loss": 3.0 - 2.9 * rise, "rho": 0.1 - 0.05 * rise, "distance": 1 / (1 + 1e3 * rise)}
    seen = {name: np.tile(values, (members, 1)) for name, values in one.items()}
    seen["compressed_loss"] = seen["full_loss"] * (1 + rounding / 10)
    seen["predicted_distance"] = seen["distance"] * (1 - rounding)
    seen["whole_distance"] = np.full((members, times), 0.9 if config.net.kind == "control" else rounding)
    never = np.full(members, -1)
    seen["excess"] = np.full((members, times), rounding)
    return seen | {"converged_at": never, "diverged_at": never.copy()}


def broken(variant, field, value, *fails):
    """One number of the last member, at the second observation or the last."""

    def change(name, seen):
        if name == variant:
            seen[field][-1, -1 if field == "full_loss" and value > 1 else 1] = value

    return Break("linear", change, frozenset(fails))


def control_agrees(name, seen):
    if name == "control":
        seen["whole_distance"][0] = 1e-13


def diverged(name, seen):
    if name == "classes":
        seen["diverged_at"][-1] = 500


OF_CLASSES = ("DL.equal", "DL.subspace", "DL.loss", "DL.distance", "DL.learns")
BREAKS = {
    "apart": broken("whitened", "whole_distance", 2e-12, "DL.equal[whitened]"),
    "apart in float32": broken("classes_f32", "whole_distance", 3e-4, "DL.equal[classes_f32]"),
    "another direction": broken("classes", "excess", 2e-12, "DL.subspace[classes]"),
    "another loss": broken("whitened", "compressed_loss", 1.55 + 1e-11, "DL.loss[whitened]"),
    "farther": broken("whitened_f32", "distance", 0.0030, "DL.distance[whitened_f32]"),
    "explained by nothing": broken("classes", "predicted_distance", 0.0, "DL.distance[classes]"),
    "the control agrees": Break("linear", control_agrees, frozenset({"DL.control"})),
    "diverged": Break("linear", diverged, frozenset(f"{id}[classes]" for id in OF_CLASSES)),
}


def stays(name, seen):
    if name == "whitened":
        seen["full_loss"][-1, -1] = seen["compressed_loss"][-1, -1] = 2.0


BREAKS["the loss stays"] = Break("linear", stays, frozenset({"DL.learns[whitened]"}))


def learns_nothing(name, seen):
    if name == "classes_f32":
        seen["full_loss"].fill(3.0)
        seen["compressed_loss"].fill(3.0)


EMPTY = frozenset(f"{law}[classes_f32]" for law in OF_CLASSES if law != "DL.learns")
VACUOUS = {"nothing learnt": Break("linear", learns_nothing, EMPTY)}

# Fields that a config may not have. -----------------------------------------------------------------------------------

TOO_MANY = "data.rank = {}: must leave an idle direction of net.width = 20: at most 19 active ones, these are {}"
RULES = {
    line: Rule("deep_lora", {"net.width": 20} | fields, line)
    for fields, line in (
        ({"data.rank": 10}, TOO_MANY.format(10, 20)),
        ({"net.kind": "classes", "data.rank": 8}, TOO_MANY.format(8, 20)),
        ({"data.rank": 2, "net.kind": "x"}, "net.kind = 'x': must be one of 'whitened', 'classes', 'control'"),
        ({"data.rank": 2, "net.depth": 0}, "net.depth = 0: must be an integer >= 1"),
        ({"data.rank": 2, "net.scale": 0.0}, "net.scale = 0.0: must be a finite number > 0.0"),
    )
}
