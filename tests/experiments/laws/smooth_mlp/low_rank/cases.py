"""Made-up results of low-rank MLPs on images: what the paper draws, and what breaks each claim."""

import numpy as np
from synthetic import Break, Case, Rule

from experiments.runner.run import observation_times
from experiments.runner.settings import hyperparameters
from lawlib.dynamics.sweep import grid

SILU, GELU = (frozenset({f"F6.alike_accuracy[{title}]", f"F6.alike_loss[{title}]"}) for title in ("SiLU", "GELU"))
F6 = SILU | {"F6.s_big[SiLU]", "F6.random[SiLU]", "F6.plateau[SiLU]"}
CASES = {
    "forms": Case("fashion_mnist_low_rank", ("num_seeds=2",), SILU),
    "angle": Case("fashion_mnist_angle", ("num_seeds=2", "data.num_train=50000", "opt.step_size=1e-5")),
    "fewer images": Case("fashion_mnist_angle", ("num_seeds=2",), frozenset({"F14.alike", "F14.stays"})),
    "paper": Case("fashion_mnist_low_rank", ("num_seeds=2",), profile="paper"),
    "pooled": Case("fashion_mnist_low_rank", ("num_seeds=2",), SILU | GELU, "pooled"),
    "uniform": Case("fashion_mnist_low_rank", ("num_seeds=2",), profile="uniform"),
    "both": Case("fashion_mnist_angle", ("num_seeds=2",), frozenset({"F14.alike", "F14.stays"}), "pooled"),
    "short": Case("fashion_mnist_low_rank", ("num_seeds=2", "opt.num_steps=1400"), F6),
}
# Final accuracies at angles of 0, 15, ..., 90 degrees: 45 falls behind and 60 does not.
ANGLED = (0.83, 0.82, 0.81, 0.73, 0.81, 0.43, 0.13)


def lawful(config):
    """The full network and S_big, which is faster, end alike and a random subspace stays, as the loss from 75 degrees.

    Where the last layer is uniform a random subspace leaves its start.
    """
    times, members = observation_times(config), grid(config.num_seeds, hyperparameters(config), "float64")
    is_uniform = config.net.last == "uniform"
    n, rise = len(members.seeds), np.linspace(0, 1, len(times))
    if config.study == "angle":
        angles = members.hyperparameters["net.angle"]
        end = np.asarray(ANGLED)[np.searchsorted(hyperparameters(config)["net.angle"], angles)]
        moves = angles < 75
    else:
        end = np.full(n, {"full": 0.84, "s_big": 0.83, "random": 0.1}[config.net.form])
        moves = np.full(n, (0.2 if is_uniform else 0.0) if config.net.form == "random" else 1.0)
    if config.study == "low_rank" and (config.net.form, config.net.gradient) == ("s_big", "all"):
        rise = np.minimum(1, 1.5 * rise)
    loss, never = 0.5 - 0.4 * np.outer(moves, rise), np.full(n, -1)
    seen = {"train_loss": loss, "test_loss": loss.copy(), "test_accuracy": 0.1 + np.outer(end - 0.1, rise)}
    return seen | {"converged_at": never, "diverged_at": never.copy()}


# What breaks the claims. ----------------------------------------------------------------------------------------------


def returning(name, seen):
    """One random subspace leaves its plateau as early as S_big, and comes back."""
    if name == "silu_random":
        seen["test_loss"][1, 1:5] = 0.49


def lowered(variant, seed=1, amount=0.05, field="test_accuracy"):
    def change(name, seen):
        if name == variant:
            seen[field][seed, -1] -= amount

    return change


def as_full(field, end):
    """The curve of S_big, evenly to its end, as that of the full network."""

    def change(name, seen):
        if name == "silu_s_big":
            start = seen[field][:, :1]
            seen[field][:] = start + (end - start) * np.linspace(0, 1, seen[field].shape[1])

    return change


def ending(member, field, value, variant="silu"):
    """The members of the angle are two seeds of seven angles each."""

    def change(name, seen):
        if name == variant:
            seen[field][member, -1] = value

    return change


def diverging(member):
    """Seen by the laws of the member's own angle alone."""

    def change(name, seen):
        seen["diverged_at"][member] = 700

    return change


def at_pace(**paces):
    """At 15, 30 and 45 degrees of each seed the curve of psi = 0, run through at another pace."""

    def change(name, seen):
        rise = np.linspace(0, 1, seen["test_accuracy"].shape[1])
        for place, angle in enumerate((15, 30, 45), 1):
            for seed, pace in enumerate(paces.get(f"at_{angle}", (1.0, 1.0))):
                seen["test_accuracy"][7 * seed + place] = 0.1 + 0.73 * np.minimum(1, rise * pace)

    return change


def broken(case, change, *fails):
    return Break(case, change, frozenset(fails))


BREAKS = {
    "S_big falls behind": broken("forms", lowered("silu_s_big"), "F6.s_big[SiLU]"),
    "random learns": broken("forms", lowered("silu_random", amount=0.39, field="test_loss"), "F6.random[SiLU]"),
    "none learns": broken("forms", lowered("silu_full", amount=-0.4, field="test_loss"), "F6.random[SiLU]"),
    "accuracies nearly identical": broken("paper", as_full("test_accuracy", 0.83), "F6.alike_accuracy[SiLU]"),
    "losses nearly identical": broken("paper", as_full("test_loss", 0.1), "F6.alike_loss[SiLU]"),
    "15 falls behind": broken("angle", ending(8, "test_accuracy", 0.79), "F14.near[15]"),
    "30 falls behind": broken("angle", ending(9, "test_accuracy", 0.79), "F14.near[30]"),
    "75 learns": broken("angle", ending(12, "test_accuracy", 0.82), "F14.worse"),
    "90 learns": broken("angle", ending(13, "test_loss", 0.47), "F14.right_angle"),
    "nearly identical": broken("angle", at_pace(), "F14.alike"),
    "60 stays": broken("angle", ending(11, "test_loss", 0.48), "F14.falls"),
    "75 diverges": broken("angle", diverging(12), "F14.worse", "F14.stays"),
    "75 falls": broken("angle", ending(12, "test_loss", 0.49), "F14.stays"),
    "random leaves early": broken("forms", returning, "F6.plateau[SiLU]"),
    "S_big falls behind with GELU": broken("pooled", lowered("gelu_s_big"), "F6.s_big[GELU]"),
    "S_big falls behind, last layer uniform": broken("uniform", lowered("silu_s_big", 0), "F6.uniform.s_big[SiLU]"),
    "random stays, last layer uniform": broken(
        "uniform", lowered("gelu_random", 1, -0.075, "test_loss"), "F6.uniform.leaves[GELU]"
    ),
    "random learns, last layer uniform": broken(
        "uniform", lowered("gelu_random", 0, 0.31, "test_loss"), "F6.uniform.random[GELU]"
    ),
    "15 falls behind, last layer uniform": broken(
        "both", ending(8, "test_accuracy", 0.79, "silu_uniform"), "F14.uniform.near[15]"
    ),
    "60 stays, last layer uniform": broken("both", ending(11, "test_loss", 0.48, "silu_uniform"), "F14.uniform.falls"),
    "75 falls, last layer uniform": broken("both", ending(12, "test_loss", 0.48, "silu_uniform"), "F14.uniform.stays"),
    "90 learns, last layer uniform": broken(
        "both", ending(13, "test_loss", 0.47, "silu_uniform"), "F14.uniform.right_angle"
    ),
}

# Fields that a config may not have. -----------------------------------------------------------------------------------

FORMS, ANGLE = "fashion_mnist_low_rank", "fashion_mnist_angle"
RULES = {
    name: Rule(config, fields, line)
    for name, config, fields, line in (
        ("rank", FORMS, {"net.rank": 19}, "net.rank = 19: must be in 20..392, from 2K to d/2"),
        ("angle", FORMS, {"net.angle": 91.0}, "net.angle = 91.0: must be a finite number >= 0.0 and <= 90.0"),
        ("train", FORMS, {"data.num_train": 62_000}, "data.num_train = 62000: must be at most 60000"),
        (
            "cut",
            FORMS,
            {"data.num_train": 9000},
            "data.num_train = 9000: must be a multiple of data.batch_size = 2000",
        ),
        (
            "gradient",
            FORMS,
            {"data.gradient_batch": 10_001},
            "data.gradient_batch = 10001: must be at most data.num_train = 10000",
        ),
        (
            "random",
            FORMS,
            {"net.activation": "rrelu"},
            "net.activation = 'rrelu': must be one of 'elu', 'gelu', 'silu', 'tanh', 'relu', 'leaky_relu'",
        ),
        (
            "swept",
            FORMS,
            {"sweep.net.angle": (0.0, 15.0)},
            "sweep.net.angle = (0.0, 15.0): can be swept for study = 'angle' alone; use variants",
        ),
        (
            "straight",
            ANGLE,
            {"sweep.net.angle": (15.0, 30.0)},
            "sweep.net.angle = (15.0, 30.0): must hold 0.0, with which other angles are compared",
        ),
        ("form", ANGLE, {"net.form": "full"}, "net.form = 'full': must be 's_big' where the angle is studied"),
    )
}
