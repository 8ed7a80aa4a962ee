"""What claims and figures of layers of any widths measure: directions that move, and those that idle."""

import itertools
from typing import NamedTuple

import numpy as np

from experiments.runner.runs import Run
from lawlib.theory.parsimony_widths import active_dimensions


class Predicted(NamedTuple):
    """What the law predicts: directions that move in each layer and at hidden places, and each layer's idle ones."""

    moved: np.ndarray
    spanned: np.ndarray
    passed: np.ndarray
    stopped: np.ndarray


def predicted(run: Run) -> Predicted:
    """The law's numbers for the widths and the rank of a run."""
    widths = np.array(run.config.net.widths)
    active, passed = active_dimensions(run.config.net.widths, run.config.data.rank)
    idle = widths - active
    return Predicted(
        moved=np.minimum(active[:-1], active[1:]),
        spanned=np.array(active[1:-1]),
        passed=np.full(len(widths) - 1, passed),
        stopped=np.minimum(idle[:-1], idle[1:]) - passed,
    )


def naive(run: Run) -> np.ndarray:
    """The numbers of square layers, min(2r, d_{l-1}, d_l), and r for a last layer with r outputs: shape (layer,)."""
    widths, rank = run.config.net.widths, run.config.data.rank
    return np.array([min(2 * rank, *pair) for pair in itertools.pairwise(widths)])


def is_naive_refuted(run: Run) -> bool:
    """Whether the law predicts another number than that of square layers."""
    return bool((predicted(run).moved != naive(run)).any())


def off_count(run: Run, name: str) -> np.ndarray:
    """The largest difference of the counts of a variable ``num_NAME`` at the end from the law's, shape (seed,)."""
    return np.abs(run.last(f"num_{name}") - getattr(predicted(run), name)).max(1)


def off_naive(run: Run) -> np.ndarray:
    """The largest difference of the numbers that move at the end from those of square layers, shape (seed,)."""
    return np.abs(run.last("num_moved") - naive(run)).max(1)


def idle_differences(run: Run) -> np.ndarray:
    """The larger difference from the law of the idle values' counts at the end, passed on or stopped, shape (seed,)."""
    return np.maximum(off_count(run, "passed"), off_count(run, "stopped"))


def largest_moved(run: Run) -> np.ndarray:
    """The largest singular value at the end of a layer without its idle part, the least over layers, shape (seed,)."""
    return run.last("remainder_values")[..., 0].min(1)


def least_moved(run: Run) -> np.ndarray:
    """The smallest singular value at the end that the law counts as moved, over layers, shape (seed,)."""
    values = run.last("remainder_values")
    return np.min([values[:, layer, count - 1] for layer, count in enumerate(predicted(run).moved)], axis=0)
