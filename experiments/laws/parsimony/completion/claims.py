"""The claims on deep matrix completion: Figures 4, 5 and 6 of Yaras et al. 2023."""

from collections.abc import Callable, Sequence

import numpy as np

from experiments.laws.parsimony.completion.measures import (
    capped,
    compared,
    final_recovery,
    narrow_over_compressed,
    over,
    spread_of_steps,
    steps_to_tolerance,
)
from experiments.runner.laws import NO_SUCH_VARIANT, Source, across, differing_in, measure, stated_for
from experiments.runner.runs import Run, find, where
from experiments.runner.summary import final

PAPER = "Yaras et al. 2023"
RECOVERED = 1e-6
EPS, TOLERANCE = {"net__scale": 1e-3}, {"opt__tolerance": 1e-10}
SETTING_4 = where(data__size=100, data__rank=10, data__observed=0.3, **EPS, **TOLERANCE)
SETTING_5_6 = where(
    data__size=lambda size: size >= 300, data__rank=5, data__observed=0.2, net__depth=3, **EPS, **TOLERANCE
)
STATED_4 = stated_for("d = 100, r = 10, 30% observed, eps = 1e-3", SETTING_4)
STATED_5_6 = stated_for("d of 300 or more, r = 5, 20% observed, L = 3, eps = 1e-3", SETTING_5_6)

recovery = measure(final_recovery)
width_speeds_up = across(lambda pair: over(steps_to_tolerance(pair[0], np.inf), steps_to_tolerance(pair[1])))
harm_of_rest = across(lambda pair: over(*map(final_recovery, pair)))

deep_10, deep_100 = (where(net__depth=3, net__width=width) for width in (10, 100))
still, slow, fast = (where(net__kind="compressed", opt__discrepancy=gamma) for gamma in (0.0, 0.01, 1.0))


def not_compared(found: Sequence[Run]) -> str:
    """The objection to runs without a narrow and a compressed network of one estimated rank."""
    return "" if compared(found) else NO_SUCH_VARIANT


def compressed_over_full(of: Callable[[Run], np.ndarray]) -> Callable[[Sequence[Run]], np.ndarray | None]:
    """A measure of the compressed network of gamma = 0.01 over that of the network that it stands for, seed by seed."""

    def ratios(found: Sequence[Run]) -> np.ndarray | None:
        compressed, full = list(filter(slow, find(found, study="gamma"))), find(found, study="gamma", net__kind="full")
        return over(of(compressed[0]), of(full[0])) if compressed and full else None

    return ratios


F4 = Source(paper=PAPER, figure="Fig. 4", of=where(study="depth_width"), stated=(STATED_4,))
F5 = Source(paper=PAPER, figure="Fig. 5", of=where(study="compressed"), stated=(STATED_5_6,))
BY_ESTIMATE = (differing_in("net.rank"),)
F6 = Source(paper=PAPER, figure="Fig. 6", of=where(study="gamma"), stated=(STATED_5_6,))
AT_END = "recovery error (mean) at the end"
DEPTH = f"L = 3 recovers the matrix at every width: {AT_END}"
SHALLOW = f"L = 2 of width 20 and more overfits: {AT_END}"
WIDTH = "L = 3: steps to the tolerance at width 100 / at width 10 (capped there: an upper bound)"
RATIO = "steps to the tolerance, narrow / compressed, at every r^ (a capped narrow network: a lower bound)"
SPREAD = "the compressed network's steps vary little with r^: (most - fewest) / fewest, seed by seed"
REST = "outer factors at rest do not recover: final recovery error, gamma = 0 / gamma = 0.01"
DIVERGES = "gamma = 1 diverges: fraction of its members that met a value that is not finite"

LAWS = (
    F4.law("F4.recovery", DEPTH, recovery < RECOVERED, where(net__depth=3)),
    F4.law("F4.overfitting", SHALLOW, recovery > 1e-4, where(net__depth=2, net__width=lambda width: width >= 20)),
    F4.law("F4.width", WIDTH, width_speeds_up < 0.6, (deep_100, deep_10)),
    F5.law("F5.ratio", RATIO, across(narrow_over_compressed) > 1.5, needs=(not_compared,)),
    F5.law("F5.spread", SPREAD, across(spread_of_steps) < 0.05, where(net__kind="compressed"), needs=BY_ESTIMATE),
    F6.law("F6.ratio", REST, harm_of_rest > 1e4, (still, slow)),
    F6.law("F6.recovery", f"gamma = 0.01 recovers the matrix: {AT_END}", recovery < RECOVERED, slow),
    F6.law(
        "F6.divergence",
        DIVERGES,
        measure(lambda run: run.diverged).equals(1.0),
        fast,
        statistic="fraction",
        counts_divergence=True,
    ),
)
SUMMARY = {
    "mean loss at the end": final("loss"),
    "recovery error at the end": final("recovery_error"),
    "steps to the tolerance": lambda run: steps_to_tolerance(run, np.nan),
    "fraction stopped at the cap of steps": lambda run: np.mean(capped(run)),
}
COMPARED = "compressed (gamma = 0.01) / original network"
COMPARISONS = {
    f"final recovery error, {COMPARED}": compressed_over_full(final_recovery),
    f"steps to the tolerance, {COMPARED}": compressed_over_full(lambda run: steps_to_tolerance(run, np.nan)),
}
