"""How long the two errors take to fall: over the depth, and over the accuracy that the weight decay allows."""

import functools as ft
import itertools
from collections.abc import Callable, Sequence

import numpy as np

from experiments.laws.inverse_problems.common import PAPER
from experiments.laws.inverse_problems.measures import decay
from experiments.runner.laws import Law, Measure, Source, across, differing_in
from experiments.runner.runs import Run, Where

__all__ = ["accuracy_laws", "arrivals", "depth_laws"]

REGRESSION, OFF_SUBSPACE = "regression_error", "off_subspace_error"
TIME, HALF, TENTH = "x = eta lambda t", 1 / 2, 1 / 10


def arrivals(run: Run, name: str, levels: np.ndarray, *, in_steps: bool) -> np.ndarray:
    """When every member's error first falls to its level, shape (seed,): in steps, or in x; infinite if it does not.

    The log of the error is interpolated between observations.
    """
    clocks = np.broadcast_to(run.steps, run.all(name).shape) if in_steps else run.all("rescaled_time")
    return np.array([_arrival(*member) for member in zip(clocks, run.all(name), levels, strict=True)])


def _arrival(clock: np.ndarray, errors: np.ndarray, level: float) -> float:
    is_below = errors <= level
    at = int(is_below.argmax())
    if not is_below.any() or at == 0:
        return float(clock[0]) if is_below.any() else np.inf
    return float(np.interp(np.log(level), np.log(errors[[at, at - 1]]), clock[[at, at - 1]]))


def fitted_at(run: Run, *, in_steps: bool) -> np.ndarray:
    """When the regression error is down to lambda."""
    return arrivals(run, REGRESSION, np.full(run.num_seeds, decay(run)), in_steps=in_steps)


def halved_at(run: Run, *, in_steps: bool) -> np.ndarray:
    """When the off-subspace error is down to half of its start."""
    return arrivals(run, OFF_SUBSPACE, HALF * run.first(OFF_SUBSPACE), in_steps=in_steps)


def over_depths(found: Sequence[Run], *, of: Callable[[Run], np.ndarray]) -> np.ndarray:
    """Every seed's time at each depth over that at the next smaller one."""
    times = [of(run) for run in sorted(found, key=lambda run: run.config.net.depth)]
    return np.concatenate([deep / shallow for shallow, deep in itertools.pairwise(times)])


@across
def cost_of_accuracy(found: Sequence[Run]) -> np.ndarray:
    """How far the steps to a tenth of the off-subspace error, times the error at rest, differ over the decays."""
    costs = [
        arrivals(run, OFF_SUBSPACE, TENTH * run.first(OFF_SUBSPACE), in_steps=True) * run.last(REGRESSION)
        for run in found
    ]
    return np.max(costs, axis=0) / np.min(costs, axis=0) - 1


def depth_laws(figure: str, of: Where) -> tuple[Law, ...]:
    """Whether depth makes the errors fall sooner, on the rescaled time and in steps, in these runs."""
    source = Source(paper=PAPER, figure=figure, of=of)
    alike = (differing_in("net.depth", ("net", "data", "opt.weight_decay")),)
    each = "each depth over the next smaller one"
    fit, half = f"regression error down to lambda: {{}}, {each}", f"off-subspace error halved: {{}}, {each}"
    steps = "steps of 1.5 / lambda_max(P(0))"
    return (
        source.law("S4.time", fit.format(TIME), _between(fitted_at, in_steps=False) < 1.0, needs=alike),
        source.law("S4.time_off", half.format(TIME), _between(halved_at, in_steps=False) < 1.0, needs=alike),
        source.law("S4.steps", fit.format(steps), _between(fitted_at, in_steps=True) > 1.0, needs=alike),
        source.law("S4.steps_off", half.format(steps), _between(halved_at, in_steps=True) > 1.0, needs=alike),
    )


def _between(of: Callable[..., np.ndarray], *, in_steps: bool) -> Measure:
    return across(ft.partial(over_depths, of=ft.partial(of, in_steps=in_steps)))


def accuracy_laws(figure: str, of: Where) -> tuple[Law, ...]:
    """That an error at rest ten times as small takes ten times the steps, in these runs, which come to rest."""
    source = Source(paper=PAPER, figure=figure, of=of)
    says = (
        "T 'is highly sensitive to the targeted reconstruction accuracy', as its inverse: steps to a tenth of the "
        "off-subspace error times the regression error at rest, largest over smallest - 1 over lambda"
    )
    return (source.law("S2.accuracy", says, cost_of_accuracy < 0.1),)
