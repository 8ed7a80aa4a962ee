"""The claims of Theorem A.2 and Corollary 2.6 of Laus et al. 2025."""

from collections.abc import Callable, Sequence

import numpy as np

from experiments.laws.inverse_problems.common import PAPER
from experiments.laws.inverse_problems.measures import Column, columns, decayed, first_layer_laws, only
from experiments.laws.inverse_problems.theorem.measures import at_end, lower_bound, noisy, upper_bound
from experiments.runner.laws import Measure, Source, across, measure
from experiments.runner.runs import Run, where
from lawlib.theory import inverse_problems as theory


def first_phase_ended(run: Run) -> np.ndarray:
    """Which members reached tau, or diverged."""
    return (run.last("first_phase_end") > 0) | run.diverged


def all_at_end(found: Sequence[Run]) -> str:
    """Runs in which every member reached T."""
    short, every = (sum(map(count, found)) for count in (lambda run: (~at_end(run)).sum(), lambda run: run.num_seeds))
    return f"{short} of {every} members did not reach T within {found[0].steps[-1]} steps" if short else ""


def measure_at_end(of: Callable[[Run], np.ndarray]) -> Measure:
    """A measure of the members that reached T."""
    return measure(lambda run: of(only(run, at_end(run))))


def share_of_bound(run: Run) -> np.ndarray:
    """The off-subspace error over its bound (32)."""
    return run.last("off_subspace_error") / theory.off_subspace_bound(run.config.net.width)


def above_lower_bound(run: Run) -> np.ndarray:
    """The test error minus the lower bound (20)."""
    return noisy(run, run.last("test_error")) - noisy(run, lower_bound(run))


slowest_step = measure(lambda run: only(run, first_phase_ended(run)).last("first_phase_rate"))


@across
def slope_in_width(found: Sequence[Run]) -> float:
    """The slope of the log of the median off-subspace error in log d_w."""
    errors = [np.median(run.last("off_subspace_error")) for run in found]
    if not np.isfinite(errors).all():
        return np.nan
    return float(np.polyfit(np.log([run.config.net.width for run in found]), np.log(errors), 1)[0])


A2 = Source(paper=PAPER, figure="Theorem A.2", of=decayed)
C26 = Source(paper=PAPER, figure="Corollary 2.6")
undecayed = where(opt__weight_decay=0.0)

LAWS = (
    A2.law(
        "A2.rate",
        "||Phi(t+1)|| / ||Phi(t)|| over 1 - eta L sigma_min^2 / (32 m), every t < tau",
        slowest_step <= 1.0,
        event=first_phase_ended,
    ),
    A2.law("A2.off", "off-subspace error at T over d_w^(-3/2)", measure_at_end(share_of_bound) < 1.0, event=at_end),
    A2.law(
        "A2.slope",
        "slope of log off-subspace error at T (median over seeds) in log d_w",
        slope_in_width < -1.5,
        needs=(all_at_end,),
    ),
    *first_layer_laws("Theorem A.2", decayed),
    C26.law(
        "C2.6.lower",
        "lambda = 0: test error minus the lower bound (20) with constants 1, every sigma >= 0.05",
        measure_at_end(above_lower_bound) >= 0.0,
        undecayed,
        event=at_end,
    ),
)


def decayed_at_end(of: Callable[[Run], np.ndarray]) -> Column:
    """A column of the members that reached T, in runs with weight decay."""

    def column(run: Run) -> np.ndarray | None:
        return np.where(at_end(run), of(run), np.nan) if decayed(run) else None

    return column


SUMMARY = columns("isometry", "decay", "step", "accuracy") | {
    "tau, steps": decayed_at_end(lambda run: run.last("first_phase_end")),
    "T, steps": decayed_at_end(lambda run: run.last("stopping_time")),
    "C_1: largest ||Phi(t)|| / (gamma ||X||_F), tau <= t <= T": decayed_at_end(
        lambda run: run.last("second_phase_error") / run.last("accuracy")
    ),
    "test error / the bound (19) with constants 1, largest over sigma": decayed_at_end(
        lambda run: (run.last("test_error") / upper_bound(run)).max(1)
    ),
    "test error / that of the oracle map, largest over sigma >= 0.05": decayed_at_end(
        lambda run: (noisy(run, run.last("test_error")) / noisy(run, run.last("oracle_error"))).max(1)
    ),
}
