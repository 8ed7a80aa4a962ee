"""What a diagnosis predicts and what was measured, for each task and rank, and how well they agree in order.

A task is a data set with an optimizer and an initialization; its numbers are means over the seeds. Predictions are read
at the first observation after the start, and accuracies at the last one.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import spearmanr

from experiments.laws.diagnosis.system import num_classes
from experiments.runner.runs import Run, find

__all__ = [
    "BUILDING",
    "CONTROLS",
    "HELD_OUT",
    "PREDICTORS",
    "agreement",
    "chosen",
    "lost",
    "measured",
    "of_sets",
    "predicted",
    "within_ranks",
]

# Fixed before any result was seen: the rule is chosen on the first, and judged on the others.
BUILDING, HELD_OUT = ("digits", "wine", "iris"), ("fashion_mnist", "breast_cancer")
# The step at which a network is diagnosed, among the observations.
EARLY = 1

Prediction = Callable[[Run, int], np.ndarray]


def _observed(name: str) -> Prediction:
    return lambda run, at: run.all(name)[:, at]


def _ranks(run: Run) -> np.ndarray:
    return np.asarray(run.config.net.ranks, float)


def _alone(run: Run, at: int) -> np.ndarray:
    """A larger rank loses less, whatever the task."""
    return np.broadcast_to(-np.log2(_ranks(run)), run.all("low_accuracy")[:, at].shape)


def _of_weights(run: Run, at: int) -> np.ndarray:
    """The stable rank of the weights at the start over r."""
    return run.all("stable_rank")[:, 0, ..., None] / _ranks(run)


def _of_classes(run: Run, at: int) -> np.ndarray:
    """The rule of thumb that needs no run: K classes over r."""
    return np.broadcast_to(num_classes(run.config.data.source) / _ranks(run), run.all("low_accuracy")[:, at].shape)


# What may predict the lost accuracy, larger for more, with the shape (seed, optimizer, init, rank).
PREDICTORS: dict[str, Prediction] = {
    "errors added by the cut": _observed("cut_error"),
    "loss added by the cut": _observed("cut_loss"),
    "share of the change outside rank r": _observed("lost_share"),
}
CONTROLS: dict[str, Prediction] = {
    "rank alone": _alone,
    "classes over r": _of_classes,
    "stable rank of W(0) over r": _of_weights,
}


def lost(run: Run) -> np.ndarray:
    """Test accuracy of the whole network minus that of rank r at the end, shape (seed, optimizer, init, rank)."""
    return run.last("accuracy")[..., None] - run.last("low_accuracy")


def measured(found: Sequence[Run]) -> np.ndarray:
    """The lost accuracy of each task, in the mean over seeds, shape (tasks, rank)."""
    return _by_task([lost(run) for run in found])


def predicted(found: Sequence[Run], by: Prediction, at: int = EARLY) -> np.ndarray:
    """What is predicted for each task, in the mean over seeds, shape (tasks, rank)."""
    return _by_task([by(run, at) for run in found])


def _by_task(values: Sequence[np.ndarray]) -> np.ndarray:
    """Means over the seeds, of those that did not diverge, with a row for each task."""
    means = [np.ma.masked_invalid(each).mean(0).filled(np.nan) for each in values]
    return np.concatenate([each.reshape(-1, each.shape[-1]) for each in means])


def agreement(predictions: np.ndarray, losses: np.ndarray) -> float:
    """Spearman's rank correlation over all tasks and ranks that have both; 0 where one of them does not vary."""
    known = np.isfinite(predictions) & np.isfinite(losses)
    pairs = predictions[known], losses[known]
    if any(np.ptp(each) == 0 if each.size else True for each in pairs):
        return 0.0
    return float(spearmanr(*pairs).statistic)


def within_ranks(predictions: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """The rank correlation over the tasks at each rank by itself, where rank alone says nothing."""
    return np.asarray([agreement(one, other) for one, other in zip(predictions.T, losses.T, strict=True)])


def of_sets(found: Sequence[Run], names: Sequence[str]) -> list[Run]:
    """The runs of these data sets."""
    return find(found, data__source=lambda source: source in names)


def chosen(found: Sequence[Run]) -> str:
    """The rule: the predictor that agrees best on the data sets for building; the first one where none was run."""
    if not (runs := of_sets(found, BUILDING)):
        return next(iter(PREDICTORS))
    losses = measured(runs)
    return max(PREDICTORS, key=lambda name: agreement(predicted(runs, PREDICTORS[name]), losses))
