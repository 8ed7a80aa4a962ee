"""The claim of the diagnosis, judged on data sets that did not choose its rule, and numbers beside it."""

from collections.abc import Callable, Sequence

import numpy as np

from experiments.laws.diagnosis.measures import (
    BUILDING,
    CONTROLS,
    HELD_OUT,
    PREDICTORS,
    agreement,
    chosen,
    lost,
    measured,
    of_sets,
    predicted,
    within_ranks,
)
from experiments.runner.laws import Source, across, measure
from experiments.runner.runs import Run

EVERY = PREDICTORS | CONTROLS
# Below such a loss of accuracy in every task there is nothing to predict.
LEAST = 0.02
# The most frequent class of a data set here has at most 0.63.
LEARNT = 0.7


def _held_out(found: Sequence[Run], name: str) -> float:
    runs = of_sets(found, HELD_OUT)
    return agreement(predicted(runs, EVERY[name]), measured(runs))


def of_rule(found: Sequence[Run]) -> np.ndarray:
    """The rank correlation of the rule's predictions on the held-out data sets."""
    return np.asarray([_held_out(found, chosen(found))])


def over(control: str) -> Callable[[Sequence[Run]], np.ndarray]:
    """The same minus that of a control."""
    return lambda found: of_rule(found) - _held_out(found, control)


def of_tasks(found: Sequence[Run]) -> np.ndarray:
    """The rule's rank correlation over the held-out tasks at one rank, in the mean over ranks."""
    runs = of_sets(found, HELD_OUT)
    at_ranks = within_ranks(predicted(runs, EVERY[chosen(found)]), measured(runs))
    return np.asarray([np.mean(at_ranks)])


def of_alike(found: Sequence[Run]) -> np.ndarray:
    """The same within each held-out data set, in the mean over these."""
    by = EVERY[chosen(found)]
    at_ranks = [within_ranks(predicted([run], by), measured([run])) for run in of_sets(found, HELD_OUT)]
    return np.asarray([np.mean(at_ranks)])


def both_kinds(found: Sequence[Run]) -> str:
    """The objection to runs without a data set of each kind."""
    lacking = [kind for kind, names in (("building", BUILDING), ("held-out", HELD_OUT)) if not of_sets(found, names)]
    return f"no run of a {' or '.join(lacking)} data set" if lacking else ""


def nothing_lost(found: Sequence[Run]) -> str:
    """The objection to held-out tasks in which no rank loses accuracy."""
    largest = float(np.max(measured(of_sets(found, HELD_OUT)), initial=-np.inf))
    return "" if largest > LEAST else f"it says nothing: no rank loses more than {largest:.2g}, of {LEAST:g} needed"


TASKS = Source(paper="Xu et al. 2026", figure="diagnosis, ours")
LAWS = (
    TASKS.law(
        "DG.learns",
        "the whole networks learn: test accuracy at the end, in the mean over seeds, optimizers and initializations",
        measure(lambda run: run.last("accuracy").mean((1, 2))) > LEARNT,
        each="data.source",
        statistic="mean",
    ),
    TASKS.law(
        "DG.predicts",
        "the rule's prediction after a tenth of the steps and the accuracy lost at rank r: rank correlation over all "
        "held-out tasks and ranks",
        across(of_rule) > 0.7,
        needs=(both_kinds,),
        vacuous=(nothing_lost,),
    ),
    TASKS.law(
        "DG.over_rank",
        "this rank correlation minus that of rank alone",
        across(over("rank alone")) > 0,
        needs=(both_kinds,),
        vacuous=(nothing_lost,),
    ),
    TASKS.law(
        "DG.over_classes",
        "the same minus that of the number of classes over the rank, which needs no run",
        across(over("classes over r")) > 0,
        needs=(both_kinds,),
        vacuous=(nothing_lost,),
    ),
    TASKS.law(
        "DG.tasks",
        "tasks in order at a fixed rank: rank correlation over the held-out tasks, in the mean over ranks",
        across(of_tasks) > 0.7,
        needs=(both_kinds,),
        vacuous=(nothing_lost,),
    ),
    TASKS.law(
        "DG.alike",
        "optimizers and initializations in order, of one data set at one rank: the same within each held-out data set",
        across(of_alike) > 0,
        needs=(both_kinds,),
        vacuous=(nothing_lost,),
    ),
)
SUMMARY = {
    "test accuracy, whole": lambda run: run.last("accuracy").mean((1, 2)),
    "lost at the smallest rank": lambda run: lost(run)[..., 0].mean((1, 2)),
    "lost at the largest rank": lambda run: lost(run)[..., -1].mean((1, 2)),
    "stable rank of the change": lambda run: run.last("change_rank").mean((1, 2)),
    "share of the change in S_big": lambda run: run.last("big_share").mean((1, 2)),
}


def of_each(names: Sequence[str], number: Callable[[np.ndarray, np.ndarray], float]) -> Callable:
    """A number of the predictions and losses of some of the data sets, for each predictor and control."""

    def compared(found: Sequence[Run]) -> dict[str, np.ndarray]:
        if not (runs := of_sets(found, names)):
            return {}
        losses = measured(runs)
        return {name: np.asarray([number(predicted(runs, by), losses)]) for name, by in EVERY.items()}

    return compared


def mean_within(predictions: np.ndarray, losses: np.ndarray) -> float:
    """The rank correlation over tasks, in the mean over ranks."""
    return float(np.mean(within_ranks(predictions, losses)))


def alike(found: Sequence[Run]) -> dict[str, np.ndarray]:
    """The same within each data set, for each predictor and control."""
    return {
        f"{run.variant}, {name}": within_ranks(predicted([run], by), measured([run]))
        for run in of_sets(found, HELD_OUT)
        for name, by in EVERY.items()
    }


COMPARISONS = {
    "rank correlation, data sets that chose the rule": of_each(BUILDING, agreement),
    "rank correlation, held out": of_each(HELD_OUT, agreement),
    "rank correlation at fixed rank, held out": of_each(HELD_OUT, mean_within),
    "rank correlation at fixed rank within a held-out data set, over the ranks": alike,
}
