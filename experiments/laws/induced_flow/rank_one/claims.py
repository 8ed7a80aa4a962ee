"""The claims on the induced flow of rank one: Figure 1, Theorem 20 and Lemmas 19, 22 and 23 of Eftekhari 2020."""

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from experiments.laws.induced_flow.rank_one.measures import (
    LATE_X,
    at,
    before_tau,
    by_depth,
    is_observed,
    off_law,
    spreads,
)
from experiments.runner.laws import Objection, Source, across, measure
from experiments.runner.runs import Run, where
from experiments.runner.summary import final, largest

# Where the faraway regime is compared, and where Figure 1 ends, in seconds.
EARLY_S, END_S = 1e-3, 0.1
# Of the logarithm of a bound that is tight at t = 0, and of an alignment that only rises.
ROUNDING = 1e-9
# The rate at the end over that at the start, below which it has slowed down.
SLOWED = 0.5
SMALL_SCALE = 0.1


def over_shallower(name: str, time: float) -> Callable[[Sequence[Run]], np.ndarray]:
    """A variable at this time, for every depth over that of the next smaller depth."""

    def of(found: Sequence[Run]) -> np.ndarray:
        pairs = [pair for part in by_depth(found) for pair in itertools.pairwise(part)]
        return np.concatenate([at(deeper, name, time) / at(shallower, name, time) for shallower, deeper in pairs])

    return of


def several_depths(found: Sequence[Run]) -> str:
    """Runs that differ in depth alone."""
    return "" if any(len(part) > 1 for part in by_depth(found)) else "it compares two depths or more"


def observed_at(time: float, words: str) -> Objection:
    """Runs with an observation at this time."""
    return lambda found: "" if all(is_observed(run, time) for run in found) else f"not every run is observed at {words}"


def starts_afar(run: Run) -> bool:
    """Whether some member starts above sqrt(6) s_Z."""
    return bool(np.any(run.first("tau") < 0))


excess, excess_printed = (measure(lambda run, name=name: run.worst(name)) for name in ("excess", "excess_printed"))
in_set = measure(lambda run: run.worst("in_set", reduce=np.min))
slowed = measure(lambda run: run.last("rate") / run.first("rate"))
smallest_rise = measure(lambda run: np.diff(run.all("alignment"), axis=1).min(1))
fast, off_rate, spread = measure(before_tau), measure(off_law), across(spreads, least=1)
farther = across(over_shallower("distance", EARLY_S))
faster = across(over_shallower("rate", LATE_X))
unequal = across(lambda found: np.abs(over_shallower("rate", LATE_X)(found) - 1))
off_order = measure(lambda run: np.abs(run.worst("euler") / run.worst("euler_halved") / 2 - 1))

timed, nearby = where(study="time"), where(study="rescaled_time", data__num_outputs=1)
nearby_several = where(study="rescaled_time", data__leading_ratio_unit="one")
single = where(data__leading_ratio_unit="largest", data__num_outputs=1)
several = where(data__leading_ratio_unit="largest", data__num_outputs=lambda outputs: outputs > 1)
small = where(data__leading_ratio_unit="largest", data__num_outputs=1, data__scale=SMALL_SCALE)
# A scale of 0 leaves s_Z to the draw of Y.
below, equal, above = (
    where(study="rescaled_time", data__num_outputs=1, data__scale=scale)
    for scale in (lambda scale: 0 < scale < 1, 1.0, lambda scale: scale > 1)
)

T20, E38, L19, E207, F1 = (
    Source(paper="Eftekhari 2020", figure=figure)
    for figure in ("Theorem 20", "Eq. (38)", "Lemmas 19, 22, 23", "Eq. (207)", "Fig. 1")
)
LATE = (observed_at(LATE_X, f"x = {LATE_X:g}"),)
EARLY_DEPTHS, LATE_DEPTHS = (several_depths, observed_at(EARLY_S, f"t = {EARLY_S:g} s")), (several_depths, *LATE)
BOUND = "ln of ||Z_1 - W(t)||^2 over the bound with s_Z^(2-2/N), at every recorded time"
PRINTED = f"'s_Z^(-2/N)' in the bound (38), at s_Z = {SMALL_SCALE}: ln of ||Z_1 - W||^2 over the bound as printed"
RISES = "u^T Z_1 v never falls: its smallest change between recorded times, in s_Z"
FAR = f"deeper is faster far away: distance at t = {EARLY_S:g} over that of the next smaller depth"
SLOWS = "'slow-down in the convergence rate of gradient flow with time': rate at the last time over that at the first"
ALIKE = "d_y = 1: the distance depends on N, the angle, s_0 / s_Z and x alone: largest spread over seeds, in s_Z"
RATE = f"|(rate of ||Z_1 - W||) / (m s_Z^(2-2/N) (1 - gamma_Z)) - 1| at x = {LATE_X:g}"
RATIO = "rate in 1/s over that of the next smaller depth"
ORDER = "Euler's error is of first order: |(its largest value) / (2 times that of half the step) - 1|"
LAWS = (
    T20.law("T20.single", f"d_y = 1: {BOUND}", excess <= ROUNDING, single),
    T20.law("T20.several", f"d_y > 1, gamma_Z below the largest: {BOUND}", excess <= ROUNDING, several),
    E38.printed("T20.printed", PRINTED, excess_printed > 0.1, small),
    L19.law("L19.set", "W(t) stays in N_{alpha,beta}(Z_1), 1 where it does, at every recorded time", in_set >= 1.0),
    L19.law("L19.rise", RISES, smallest_rise >= -ROUNDING),
    E207.law("T20.fast", "fast regime, s > sqrt(6) s_Z: (T_1 - s_Z T_2) / s_Z^2 until tau", fast > 0.0, starts_afar),
    F1.law("F1.far", FAR, farther < 1.0, timed, needs=EARLY_DEPTHS),
    F1.law("F1.slows", SLOWS, slowed < SLOWED, timed, needs=(observed_at(END_S, f"t = {END_S:g} s"),)),
    F1.law("F1.collapse", ALIKE, spread < 1e-5, nearby),
    F1.law("F1.rate", f"d_y = 1: {RATE}", off_rate < 0.03, nearby, needs=LATE),
    F1.law("F1.rate_several", f"d_y > 1, gamma_Z = 0.3 and more: {RATE}", off_rate < 0.03, nearby_several, needs=LATE),
    F1.law("F1.slower", f"s_Z < 1: deeper is slower nearby: {RATIO}", faster < 1.0, below, needs=LATE_DEPTHS),
    F1.law("F1.faster", f"s_Z > 1: deeper is faster nearby: {RATIO}", faster > 1.0, above, needs=LATE_DEPTHS),
    F1.law(
        "F1.equal", f"s_Z = 1: depth is irrelevant nearby: |({RATIO}) - 1|", unequal < 0.06, equal, needs=LATE_DEPTHS
    ),
    F1.check("F1.euler", ORDER, off_order < 0.1, timed),
)
SUMMARY = {
    "s_Z": final("target_value"),
    "||Z_1 - W|| / s_Z at the end": final("distance"),
    "ln(bound of Theorem 20 / ||Z_1 - W||^2) at the end": lambda run: (
        -run.last("excess") if run.config.data.leading_ratio_unit == "largest" else None
    ),
    RATE: lambda run: off_law(run) if run.config.study == "rescaled_time" and is_observed(run, LATE_X) else None,
    "largest ||W_Euler - W|| / s_Z, Euler's step": largest("euler"),
    "largest ||W_Euler - W|| / s_Z, half of that step": largest("euler_halved"),
}
