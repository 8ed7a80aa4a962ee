"""Made-up results of the diagnosis: tasks that lose as much as was predicted, and what breaks each claim."""

import numpy as np
from synthetic import Break, Case, Rule

from experiments.runner.run import observation_times

CASES = {"tasks": Case("diagnosis", ("num_seeds=2", "observe.num_times=3"))}
SOURCES = ("digits", "wine", "iris", "fashion_mnist", "breast_cancer")
BUILDING = SOURCES[:3]


def lost(source):
    """Lost accuracy (optimizer, init, rank): no two alike, less at larger ranks, and tasks in one order at each."""
    task = (np.arange(9).reshape(3, 3) + 10 * SOURCES.index(source)) / 50
    return (1 + task[..., None]) * np.array([0.2, 0.1, 0.05, 0.01])


def lawful(config):
    """Observations, members first and times second: the share outside rank r has the order of the lost accuracy."""
    n, times = config.num_seeds, len(observation_times(config))
    losses = lost(config.data.source)
    tasks, ranked = np.ones((n, times, 3, 3)), np.ones((n, times, 3, 3, 4))
    seen = {"train_loss": tasks.copy(), "accuracy": 0.9 * tasks, "low_accuracy": 0.9 - losses * ranked}
    seen |= {"lost_share": np.sqrt(losses) * ranked, "cut_loss": 0.5 * ranked, "cut_error": 0.1 * ranked}
    seen |= {"big_share": 0.4 * tasks, "stable_rank": 20 * tasks, "change_rank": 2 * tasks}
    never = np.full(n, -1)
    return seen | {"converged_at": never, "diverged_at": never.copy()}


def held_out(change):
    """A change of the held-out data sets alone."""
    return lambda name, seen: None if name in BUILDING else change(name, seen)


def other_order(name, seen):
    """The tasks of each data set in the opposite order."""
    seen["lost_share"][:] = lost(name)[::-1, ::-1]


def by_rank_alone(name, seen):
    seen["lost_share"][:] = (4, 3, 2, 1)


def at_random(name, seen):
    rng = np.random.default_rng(len(name))
    seen["lost_share"][:] = rng.random((3, 3, 4))


def unlearnt(name, seen):
    if name == "iris":
        seen["accuracy"][:] = 0.5
        seen["low_accuracy"][:] = 0.5 - lost(name)


EVERY = frozenset({"DG.predicts", "DG.over_rank", "DG.over_classes", "DG.tasks", "DG.alike"})
BREAKS = {
    "a network learns nothing": Break("tasks", unlearnt, frozenset({"DG.learns[iris]"})),
    "what is predicted has no order": Break("tasks", held_out(at_random), EVERY),
    "the tasks have another order": Break("tasks", held_out(other_order), frozenset({"DG.tasks", "DG.alike"})),
    "only ranks are told apart": Break("tasks", held_out(by_rank_alone), EVERY - {"DG.predicts", "DG.over_classes"}),
}


def nothing_lost(name, seen):
    """Held-out tasks that no rank harms, in an order that was predicted."""
    seen["low_accuracy"][:] = 0.9 - 1e-3 * lost(name)


VACUOUS = {"no rank loses anything": Break("tasks", held_out(nothing_lost), EVERY)}

# Fields that a config may not have. -----------------------------------------------------------------------------------

RANKS = "must be different integers >= 1, ascending"
RULES = {
    line: Rule("diagnosis", fields, line)
    for fields, line in (
        ({"net.ranks": (4, 2)}, f"net.ranks = (4, 2): {RANKS}"),
        ({"net.ranks": (0, 2)}, f"net.ranks = (0, 2): {RANKS}"),
        ({"net.width": 9}, "net.width = 9: must be at least 10, the number of classes"),
        (
            {"data.source": "fashion_mnist", "data.num_samples": 60_001},
            "data.num_samples = 60001: must be at most 60000",
        ),
    )
}
