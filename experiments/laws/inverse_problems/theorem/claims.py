"""The claims of Theorem A.2 and Corollary 2.6 of Laus et al. 2025."""

from collections.abc import Sequence

import numpy as np

from experiments.laws.inverse_problems.common import PAPER
from experiments.laws.inverse_problems.measures import Of, among, column, columns, decayed, everyone, first_layer_laws
from experiments.laws.inverse_problems.theorem.measures import lower_bound, upper_bound
from experiments.runner.laws import Source, across
from experiments.runner.runs import Run, where
from lawlib.theory import inverse_problems as theory


def first_phase_ended(run: Run) -> np.ndarray:
    """Which members reached tau."""
    return (run.last("first_phase_end") > 0) | run.diverged


def at_end(run: Run) -> np.ndarray:
    """Which members reached the stopping time T."""
    return (run.data.converged_at.values >= 0) | run.diverged


def over_oracle(run: Run) -> np.ndarray:
    """The largest ratio of the test error to that of the oracle map; -inf where the config has no such sigma."""
    return (noisy(run, run.last("test_error")) / noisy(run, run.last("oracle_error"))).max(1, initial=-np.inf)


def noisy(run: Run, errors: np.ndarray) -> np.ndarray:
    """The errors of every member at every sigma >= 0.05."""
    return errors[:, np.asarray(run.config.data.noise) >= 0.05]


@across
def slope_in_width(found: Sequence[Run]) -> float:
    """The slope of the log of the median off-subspace error in log d_w; NaN where a member diverged."""
    widths, errors = zip(
        *((run.config.net.width, np.median(run.last("off_subspace_error"))) for run in found), strict=True
    )
    return float(np.polyfit(np.log(widths), np.log(errors), 1)[0]) if np.isfinite(errors).all() else np.nan


rate = among(first_phase_ended, lambda run: run.last("first_phase_rate"))
share = among(at_end, lambda run: run.last("off_subspace_error") / theory.off_subspace_bound(run.config.net.width))
above = among(at_end, lambda run: noisy(run, run.last("test_error")) - noisy(run, lower_bound(run)))

A2 = Source(paper=PAPER, figure="Theorem A.2", of=decayed)
C26 = Source(paper=PAPER, figure="Corollary 2.6")
RATE = "||Phi(t+1)|| / ||Phi(t)|| over 1 - eta L sigma_min^2 / (32 m), every t < tau"
SLOPE = "slope of log off-subspace error at T (median over seeds) in log d_w"
LOWER = "lambda = 0: test error minus the lower bound (20) with constants 1, every sigma >= 0.05"

LAWS = (
    A2.law("A2.rate", RATE, rate <= 1.0, event=first_phase_ended),
    A2.law("A2.off", "off-subspace error at T over d_w^(-3/2)", share < 1.0, event=at_end),
    A2.law("A2.slope", SLOPE, slope_in_width < -1.5, awaits=(everyone(at_end, "T"),)),
    *first_layer_laws("Theorem A.2", decayed),
    C26.law("C2.6.lower", LOWER, above >= 0.0, where(opt__weight_decay=0.0), event=at_end),
)


def at_T(of: Of) -> Of:
    """A column of the members that reached T, in runs with weight decay."""
    return column(at_end, of, decayed)


SUMMARY = columns("isometry", "decay", "step", "accuracy") | {
    "tau, steps": at_T(lambda run: run.last("first_phase_end")),
    "T, steps": at_T(lambda run: run.last("stopping_time")),
    "C_1: largest ||Phi(t)|| / (gamma ||X||_F), tau <= t <= T": at_T(
        lambda run: run.last("second_phase_error") / run.last("accuracy")
    ),
    "test error / the bound (19) with constants 1, largest over sigma": at_T(
        lambda run: (run.last("test_error") / upper_bound(run)).max(1)
    ),
    "test error / that of the oracle map, largest over sigma >= 0.05": at_T(over_oracle),
}
