"""Made-up results of adapters on digits: forms that adapt alike, and what breaks each claim."""

import numpy as np
from synthetic import Break, Case, Rule

from experiments.runner.run import observation_times
from experiments.runner.settings import hyperparameters
from lawlib.dynamics.sweep import grid

CASES = {"forms": Case("deep_lora_digits", ("num_seeds=2", "observe.num_times=3"))}
START, BEST = 0.4, 0.01


def lawful(config):
    """Observations, members first and times second: all forms end alike, and Deep LoRA with fewer singular values."""
    members = grid(config.num_seeds, hyperparameters(config), config.precision)
    n, rise = len(members.seeds), np.linspace(0, 1, len(observation_times(config)))
    end = np.where(np.isclose(members.hyperparameters["opt.step_size"], BEST), 0.78, 0.7)
    loss = np.tile(3.0 - 2 * rise, (n, 1))
    seen = {"train_loss": loss, "test_loss": loss.copy(), "frozen_loss": np.full_like(loss, 3.0)}
    seen["test_accuracy"] = START + np.outer(end - START, rise)
    seen["change_rank"] = np.full_like(loss, 30.0 if config.net.form == "lora" else 5.0)
    never = np.full(n, -1)
    return seen | {"converged_at": never, "diverged_at": never.copy()}


def broken(variant, field, value, *fails, place=-1, members=slice(None)):
    """The last number, or that of another place, of some members of a variant."""

    def change(name, seen):
        if name == variant:
            seen[field][members, place] = value

    return Break("forms", change, frozenset(fails))


def diverged(name, seen):
    if name == "lora_r64":
        seen["diverged_at"][:] = 100


def stays(*variants):
    def change(name, seen):
        if name.rpartition("_r")[0] in variants or name in variants:
            seen["test_accuracy"][:, -1] = START

    return change


BREAKS = {
    "another start": broken("deep_r8", "test_loss", 3.1, "DD.start[deep]", place=0, members=0),
    "LoRA starts elsewhere": broken("lora_r8", "test_loss", 2.9, "DD.start[lora]", place=0, members=1),
    "the factors start elsewhere": broken("full", "test_loss", 3.1, "DD.start[full]", place=0, members=0),
    "LoRA does not adapt": Break("forms", stays("lora"), frozenset({"DD.adapts[lora]"})),
    "the factors do not adapt": broken("full", "test_accuracy", 0.5, "DD.adapts[full]"),
    "compressed falls behind": broken("deep_r64", "test_accuracy", 0.72, "DD.near"),
    "as many directions": broken("deep_free_r64", "change_rank", 30.0, "DD.lower", members=slice(1, None, 3)),
    "more in one member": broken("deep_r64", "change_rank", 31.0, "DD.lower", members=4),
}


def ruined(name, seen):
    """A frozen network of which no adapter changes the outputs: all forms stay at chance."""
    seen["test_accuracy"].fill(0.1)
    seen["test_loss"].fill(3.0)


FORMS = ("lora", "deep", "full")
VACUOUS = {
    "a ruined network": Break("forms", ruined, frozenset({"DD.near", "DD.lower", *(f"DD.start[{f}]" for f in FORMS)})),
    "LoRA learns nothing": Break("forms", stays("lora"), frozenset({"DD.lower"})),
}

# Fields that a config may not have. -----------------------------------------------------------------------------------

EVEN = "must be even in compressed Deep LoRA: half of each basis is of the gradient's column or row space"
LORA = {"net.form": "lora"}
RULES = {
    line: Rule("deep_lora_digits", fields, line)
    for fields, line in (
        ({"net.rank": 5}, f"net.rank = 5: {EVEN}"),
        ({"data.num_train": 6}, "net.rank = 16: must be at most 12, twice the digits and the width d"),
        (LORA | {"net.rank": 129}, "net.rank = 129: must be at most net.width = 128"),
        (LORA | {"data.num_train": 1001}, "data.num_train = 1001: must be at most data.num_source = 1000"),
        (LORA | {"data.num_test": 798}, "data.num_test = 798: must be at most 797, the digits that are left"),
        (LORA | {"net.outer": -0.1}, "net.outer = -0.1: must be a finite number >= 0.0"),
    )
}
