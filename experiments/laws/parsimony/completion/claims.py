"""The claims on deep matrix completion: Figures 4, 5 and 6 of Yaras et al. 2023."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from experiments.laws.parsimony.completion.measures import (
    GAMMA,
    capped,
    compressed_and_full,
    final_recovery,
    narrow_over_compressed,
    ranks_compared,
    spread_of_steps,
    steps_to_tolerance,
)
from experiments.runner.laws import NO_SUCH_VARIANT, Source, across, measure, stated_for
from experiments.runner.runs import Run, where
from experiments.runner.summary import final

PAPER = "Yaras et al. 2023"
RECOVERED = 1e-6
FIGURE_4 = stated_for(
    "d = 100, r = 10, 30% observed, eps = 1e-3",
    where(data__size=100, data__rank=10, data__observed=0.3, net__scale=1e-3, opt__tolerance=1e-10),
)
FIGURES_5_6 = stated_for(
    "d of 300 or more, r = 5, 20% observed, L = 3, eps = 1e-3",
    where(
        data__size=lambda size: size >= 300,
        data__rank=5,
        data__observed=0.2,
        net__depth=3,
        net__scale=1e-3,
        opt__tolerance=1e-10,
    ),
)

recovery = measure(final_recovery)


def compared(found: Sequence[Run]) -> str:
    """The objection to runs without a narrow and a compressed network of one estimated rank."""
    return "" if ranks_compared(found) else NO_SUCH_VARIANT


def compressed(gamma: float) -> Callable[[Run], bool]:
    """The compressed networks whose outer factors move gamma times as fast."""
    return where(net__kind="compressed", opt__discrepancy=gamma)


def compressed_over_full(of: Callable[[Run], np.ndarray]) -> Callable[[Sequence[Run]], ArrayLike | None]:
    """A measure of the compressed network of gamma = 0.01 over that of the original network, seed by seed."""

    def ratios(found: Sequence[Run]) -> ArrayLike | None:
        pair = compressed_and_full(found)
        return of(pair[0]) / of(pair[1]) if pair else None

    return ratios


F4, F5, F6 = (
    Source(paper=PAPER, figure=figure, of=where(study=study), stated=(setting,))
    for figure, study, setting in (
        ("Fig. 4", "depth_width", FIGURE_4),
        ("Fig. 5", "compressed", FIGURES_5_6),
        ("Fig. 6", "gamma", FIGURES_5_6),
    )
)
LAWS = (
    F4.law(
        "F4.recovery",
        "L = 3 recovers the matrix at every width: recovery error (mean) at the end",
        recovery < RECOVERED,
        where(net__depth=3),
    ),
    F4.law(
        "F4.overfitting",
        "L = 2 of width 20 and more overfits: recovery error (mean) at the end",
        recovery > 1e-4,
        where(net__depth=2, net__width=lambda width: width >= 20),
    ),
    F4.law(
        "F4.width",
        "L = 3: steps to the tolerance at width 100 / at width 10 (capped there: an upper bound)",
        across(lambda pair: steps_to_tolerance(pair[0], np.inf) / steps_to_tolerance(pair[1])) < 0.6,
        tuple(where(net__depth=3, net__width=width) for width in (100, 10)),
    ),
    F5.law(
        "F5.ratio",
        "steps to the tolerance, narrow / compressed, at every r^ (a capped narrow network: a lower bound)",
        across(narrow_over_compressed) > 1.5,
        needs=(compared,),
    ),
    F5.law(
        "F5.spread",
        "the compressed network's steps vary little with r^: (most - fewest) / fewest, seed by seed",
        across(spread_of_steps) < 0.05,
        where(net__kind="compressed"),
    ),
    F6.law(
        "F6.ratio",
        "outer factors at rest do not recover: final recovery error, gamma = 0 / gamma = 0.01",
        across(lambda pair: final_recovery(pair[0]) / final_recovery(pair[1])) > 1e4,
        (compressed(0.0), compressed(GAMMA)),
    ),
    F6.law(
        "F6.recovery",
        "gamma = 0.01 recovers the matrix: recovery error (mean) at the end",
        recovery < RECOVERED,
        compressed(GAMMA),
    ),
    F6.law(
        "F6.divergence",
        "gamma = 1 diverges: fraction of its members that met a value that is not finite",
        measure(lambda run: run.diverged).equals(1.0),
        compressed(1.0),
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
COMPARISONS = {
    "final recovery error, compressed (gamma = 0.01) / original network": compressed_over_full(final_recovery),
    "steps to the tolerance, compressed (gamma = 0.01) / original network": compressed_over_full(
        lambda run: steps_to_tolerance(run, np.nan)
    ),
}
