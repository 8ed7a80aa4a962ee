"""The claims on the decay of both errors: Figures 2 to 4 of Laus et al. 2025, and the settings that they print."""

from collections.abc import Callable, Sequence

import numpy as np

from experiments.laws.inverse_problems.common import PAPER
from experiments.laws.inverse_problems.decay.measures import (
    AT_REST,
    EARLY,
    SLOPE_FROM,
    at_rest,
    deeper_over_shallower,
    medians,
    predicted,
    settled,
    settles,
    slope,
)
from experiments.laws.inverse_problems.measures import columns, decay, first_layer_laws, uncovered
from experiments.runner.laws import Law, Source, across, measure, stated_for
from experiments.runner.runs import Run, where
from experiments.runner.summary import largest
from lawlib.theory import inverse_problems as theory


def reaching(time: float) -> Callable[[Sequence[Run]], str]:
    """Runs to this rescaled time x, or further."""

    def objection(found: Sequence[Run]) -> str:
        times = np.concatenate([run.last("rescaled_time")[~run.diverged] for run in found])
        last = np.min(times, initial=np.inf)
        return f"runs to x = {last:.3g}, of {time:g} needed" if last < time else ""

    return objection


# In narrower networks the errors that should keep still or rise move otherwise.
WIDE = stated_for(
    "networks as wide as the signals are long", lambda run: run.config.net.width >= run.config.data.dimension
)

off_plateau = measure(at_rest(lambda run: np.abs(run.last("regression_error") / predicted(run, theory.plateau) - 1)))
rise = measure(at_rest(lambda run: run.last("regression_error") / run.all("regression_error").min(1)))
fit_spread = across(lambda found: _spread(medians(found, "regression_error")[:, -1]) - 1)
slope_spread = across(lambda found: _spread(np.abs([slope(run) for run in found])) - 1)
apart = across(lambda found: _spread(medians(found, "off_subspace_error")).max())
moved = measure(lambda run: np.abs(run.last("off_subspace_error") / run.first("off_subspace_error") - 1))
fit_at_end = measure(lambda run: run.last("regression_error"))


def _spread(values: np.ndarray) -> np.ndarray:
    """The largest over the smallest of the runs."""
    return values.max(0) / values.min(0)


@across
def more_decay(found: Sequence[Run]) -> np.ndarray:
    """The largest ratio of every seed's off-subspace errors at the end, a decay over the next smaller one."""
    ends = np.stack([run.last("off_subspace_error") for run in sorted(found, key=decay)])
    return (ends[1:] / ends[:-1]).max(0)


def plateaus(source: Source, id: str, factor: int) -> tuple[Law, ...]:
    """The level at which the regression error comes to rest, the rise on the way there, and its printed value."""
    share = measure(at_rest(lambda run: run.last("regression_error") / decay(run) / factor))
    at = f"x >= {AT_REST:g}, kappa = 1"
    return (
        source.law(
            f"{id}.plateau",
            f"|regression error / plateau of the scalar minimizers - 1|, {at}",
            off_plateau < 0.01,
            settles,
            event=settled,
        ),
        source.law(
            f"{id}.rise",
            f"regression error over its least value before, {at}",
            rise > 1.5,
            settles,
            event=settled,
            stated=(WIDE,),
        ),
        source.printed(
            f"{id}.factor",
            f"the plateau is 'about {factor} lambda': plateau / ({factor} lambda), {at}",
            share < 4 / factor,
            settles,
            event=settled,
        ),
    )


F2, F3, F4 = (
    Source(paper=PAPER, figure=figure, of=where(study=study))
    for figure, study in (("Fig. 2", "dimension"), ("Fig. 3", "depth"), ("Fig. 4", "decay"))
)
common = where(opt__rescaling_decay=lambda value: value > 0)
undecayed = where(opt__weight_decay=0.0, opt__rescaling_decay=lambda value: value > 0)

LAWS = (
    F2.law("F2.fit", "regression error at the end: largest median over s / smallest - 1", fit_spread < 0.3),
    F2.law(
        "F2.slope",
        f"slope of log off-subspace error in x from {SLOPE_FROM} on: largest over s / smallest - 1",
        slope_spread < 0.1,
        needs=(reaching(2 * SLOPE_FROM),),
    ),
    F2.law("F2.apart", "off-subspace error: largest median over s / smallest at the same step", apart < 2.5),
    *plateaus(F3, "F3", 20),
    F3.law(
        "F3.order",
        f"off-subspace error, {EARLY[0]} <= x <= {EARLY[1]}: L = 5 over L = 3, and L = 3 over L = 2",
        across(deeper_over_shallower) < 1.0,
        tuple(where(net__depth=depth, opt__horizon=lambda value: value < AT_REST) for depth in (5, 3, 2)),
        needs=(reaching(0.99 * EARLY[1]),),
    ),
    *plateaus(F4, "F4", 10),
    F4.law(
        "F4.order",
        "off-subspace error at the common last step: each lambda over the next smaller one",
        more_decay < 1.0,
        common,
    ),
    F4.law(
        "F4.kept",
        "lambda = 0: relative change of the off-subspace error from its start to that step",
        moved < 0.05,
        undecayed,
        stated=(WIDE,),
    ),
    F4.law("F4.fit", "lambda = 0: regression error at that step", fit_at_end < 1e-12, undecayed, stated=(WIDE,)),
    *first_layer_laws("Figs. 2 to 4", where(study=lambda study: study in ("dimension", "depth", "decay"))),
    Source(paper=PAPER, figure="Figs. 3, 4", of=where(study="printed")).printed(
        "F3/4.eta",
        "eta = 0.1, d_w = 1000, L >= 3 are 'covered by our theory': step at which a value is not finite",
        measure(lambda run: np.where(run.diverged, run.data.diverged_at.values, np.inf)) <= 10,
        where(net__depth=lambda depth: depth > 2),
        statistic="max",
        counts_divergence=True,
    ),
    Source(paper=PAPER, figure="Claim 1", of=where(study="compression")).law(
        "C1.samples",
        "training on all n samples or on s compressed ones: largest difference of a weight",
        measure(lambda run: run.worst("weight_gap")) < 1e-10,
    ),
    uncovered("Figs. 2 to 4", where(study=lambda study: study != "compression")),
)


def plateau_over_decay(run: Run) -> np.ndarray | None:
    """The regression error at rest over lambda; None for a run that is not to come to rest."""
    return _if_settles(run, lambda run: run.last("regression_error") / decay(run))


def off_estimate(run: Run) -> np.ndarray | None:
    """The first-order estimate of the plateau over its formula, minus 1."""
    return _if_settles(run, lambda run: predicted(run, theory.plateau_estimate) / predicted(run, theory.plateau) - 1)


def _if_settles(run: Run, of: Callable[[Run], np.ndarray]) -> np.ndarray | None:
    return np.where(settled(run), of(run), np.nan) if "rescaled_time" in run.data and settles(run) else None


SUMMARY = columns("isometry", "decay") | {
    "plateau / lambda": plateau_over_decay,
    "lambda sqrt(mean rho^(-4/L)) / plateau of the scalar minimizers - 1": off_estimate,
    "largest difference of a weight, all samples or compressed ones": largest("weight_gap"),
}
