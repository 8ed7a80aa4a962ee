"""The claims on the decay of both errors: Figures 2 to 4 of Laus et al. 2025, and the settings that they print."""

import functools as ft
import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from experiments.laws.inverse_problems.common import PAPER
from experiments.laws.inverse_problems.decay.measures import (
    cost_of_accuracy,
    fitted_at,
    halved_at,
    over_depths,
    tenth_at,
)
from experiments.laws.inverse_problems.decay.system import STUDIES
from experiments.laws.inverse_problems.measures import (
    among,
    column,
    columns,
    decay,
    everyone,
    first_layer_laws,
    predicted,
    uncovered,
)
from experiments.runner.laws import Law, Measure, Objection, Source, across, differing_in, measure, stated_for
from experiments.runner.runs import Run, where
from experiments.runner.summary import largest
from lawlib.theory import inverse_problems as theory

# Where the regression error is at rest; when the off-subspace error depends on the depth; when Figure 2's slopes begin.
AT_REST, EARLY, SLOPE_FROM = 8.0, (0.1, 0.5), 0.5
REST = f"x >= {AT_REST:g}, kappa = 1"
# In narrower networks the errors that should keep still or rise move otherwise.
WIDE = stated_for(
    "networks as wide as the signals are long", lambda run: run.config.net.width >= run.config.data.dimension
)

FIGURE_2 = {"data__dimension": 256, "data__num_measurements": 128}
FIGURES_3_4 = {"data__dimension": 64, "data__num_measurements": 32, "data__subspace_dimension": 4}
# Width and step size do not enter a plateau, which is that of the minimizers (F3.plateau, F4.plateau).
PLATEAUS = {
    id: (
        stated_for(f"d = 64, m = 32, s = 4, {words}", where(data__condition_number=1.0, **FIGURES_3_4, **fields)),
        WIDE,
    )
    for id, words, fields in (
        ("F3", "lambda = 1e-4", {"opt__weight_decay": 1e-4}),
        ("F4", "L = 3", {"net__depth": 3}),
    )
}
AS_PRINTED = (
    stated_for(
        "d = 64, m = 32, s = 4, d_w = 1000, eta = 0.1", where(net__width=1000, opt__step_size=0.1, **FIGURES_3_4)
    ),
)


def as_printed(run: Run) -> bool:
    """Whether a run has the sizes of a figure."""
    return where(**(FIGURE_2 if run.config.study == "dimension" else FIGURES_3_4))(run)


def settles(run: Run) -> bool:
    """Whether a run of Figure 3 or 4 is long enough, by its config, for the regression error to come to rest."""
    opt, is_drawn = run.config.opt, run.config.study in ("depth", "decay")
    own = decay(run) / opt.rescaling_decay if opt.rescaling_decay else 1.0
    is_long = opt.horizon == 0 or opt.horizon * own >= 0.999 * AT_REST
    return is_drawn and decay(run) > 0 and run.config.data.condition_number == 1 and is_long


def settled(run: Run) -> np.ndarray:
    """Which members came to rest."""
    return (run.last("rescaled_time") >= 0.999 * AT_REST) | run.diverged


def reaching(x: float) -> Objection:
    """All members go to this rescaled time."""
    return everyone(lambda run: (run.last("rescaled_time") >= x) | run.diverged, f"x = {x:g}")


def medians(found: Sequence[Run], name: str) -> np.ndarray:
    """The median over the seeds, shape (run, step)."""
    return np.stack([np.median(run.all(name), axis=0) for run in found])


def slope(run: Run) -> float:
    """The slope of the log of the median off-subspace error in the median x; NaN where a member diverged."""
    x, errors = (medians([run], name)[0] for name in ("rescaled_time", "off_subspace_error"))
    chosen = x >= SLOPE_FROM
    return float(np.polyfit(x[chosen], np.log(errors[chosen]), 1)[0]) if np.isfinite(x[-1]) else np.nan


def spread(values: np.ndarray) -> np.ndarray:
    """The largest over the smallest of the runs."""
    return values.max(0) / values.min(0)


@across
def over_shallower(found: Sequence[Run]) -> np.ndarray:
    """Every member's off-subspace error over that of the next run, at common times x; the largest, run after run."""
    grid = np.linspace(*EARLY, 41)
    logs = []
    for run in found:
        members = zip(run.all("rescaled_time"), run.all("off_subspace_error"), strict=True)
        logs.append(np.stack([np.interp(grid, x, np.log(errors)) for x, errors in members]))
    return np.exp(np.concatenate([deep - shallow for deep, shallow in itertools.pairwise(logs)]).max(1))


@across
def over_less_decay(found: Sequence[Run]) -> np.ndarray:
    """The largest ratio of every seed's off-subspace errors at the end, a decay over the next smaller one."""
    ends = np.stack([run.last("off_subspace_error") for run in sorted(found, key=decay)])
    return (ends[1:] / ends[:-1]).max(0)


@across
def least_spread(found: Sequence[Run]) -> np.ndarray:
    """How far apart the least median regression errors of the runs are."""
    return spread(medians(found, "regression_error").min(1)) - 1


@across
def offset_change(found: Sequence[Run]) -> np.ndarray:
    """The change over time of the factor between the runs' off-subspace errors, from ``SLOPE_FROM`` on."""
    is_early = medians(found, "rescaled_time").min(0) < SLOPE_FROM
    return spread(spread(medians(found, "off_subspace_error"))[~is_early]) - 1


fit_spread = across(lambda found: spread(medians(found, "regression_error")[:, -1]) - 1)
slope_spread = across(lambda found: spread(np.abs([slope(run) for run in found])) - 1)
apart = across(lambda found: spread(medians(found, "off_subspace_error")).max())
off_plateau = among(settled, lambda run: np.abs(run.last("regression_error") / predicted(run, theory.plateau) - 1))
rise = among(settled, lambda run: run.last("regression_error") / run.all("regression_error").min(1))
moved = measure(lambda run: np.abs(run.last("off_subspace_error") / run.first("off_subspace_error") - 1))
fitted = measure(lambda run: run.last("regression_error"))
blown_up_at = measure(lambda run: np.where(run.diverged, run.data.diverged_at.values, np.inf))


def plateaus(source: Source, id: str, factor: int, words: str) -> tuple[Law, ...]:
    """The level at which the regression error comes to rest, the rise on the way there, and its value in print."""
    share = among(settled, lambda run: run.last("regression_error") / decay(run) / factor)
    at_rest = {"of": settles, "event": settled}
    level = f"|regression error / plateau of the scalar minimizers - 1|, {REST}"
    printed = f"the plateau is '{words} {factor} lambda': plateau / ({factor} lambda), {REST}"
    above = f"regression error over its least value before, {REST}"
    return (
        source.law(f"{id}.plateau", level, off_plateau < 0.01, **at_rest),
        source.law(f"{id}.rise", above, rise > 1.5, **at_rest, stated=(WIDE,)),
        source.printed(f"{id}.factor", printed, share < 4 / factor, **at_rest, stated=PLATEAUS[id]),
    )


def arriving(at: Callable[..., np.ndarray], what: str) -> Objection:
    """All members get there."""
    return everyone(lambda run: np.isfinite(at(run, in_steps=True)) | run.diverged, what)


def depth_laws(source: Source) -> Iterator[Law]:
    """Whether depth makes the errors fall sooner: on the rescaled time, and in steps."""
    pair, steps = "each depth over the next smaller one", "steps of 1.5 / lambda_max(P(0))"
    for suffix, at, what in (("", fitted_at, FITTED), ("_off", halved_at, HALVED)):
        sooner, awaits = _between(at, in_steps=False), (arriving(at, what),)
        says = f"{what}, deeper at a smaller x = eta lambda t: {pair}"
        yield source.law(f"S4.time{suffix}", says, sooner < 1.0, needs=(BY_DEPTH,), awaits=awaits)
    for suffix, at, what in (("", fitted_at, FITTED), ("_off", halved_at, HALVED)):
        later, awaits = _between(at, in_steps=True), (arriving(at, what),)
        says = f"{what}, deeper takes more {steps}: {pair}"
        yield source.law(f"S4.steps{suffix}", says, later > 1.0, needs=(BY_DEPTH,), awaits=awaits)


def _between(at: Callable[..., np.ndarray], *, in_steps: bool) -> Measure:
    return across(ft.partial(over_depths, of=ft.partial(at, in_steps=in_steps)))


FIGURES = ("Fig. 2", "Fig. 3", "Fig. 4", "Figs. 3, 4", "Claim 1")
F2, F3, F4, PRINTED, C1 = (
    Source(paper=PAPER, figure=figure, of=where(study=study)) for figure, study in zip(FIGURES, STUDIES, strict=True)
)
S2 = Source(paper=PAPER, figure="Section 2", of=where(study="decay", opt__rescaling_decay=0.0))
S4 = Source(paper=PAPER, figure="Section 4", of=where(study="depth", opt__horizon=EARLY[1]))
EARLY_RUNS = tuple(where(net__depth=depth, opt__horizon=lambda value: value < AT_REST) for depth in (5, 3, 2))
COMMON = {"opt__rescaling_decay": lambda value: value > 0}
UNDECAYED = {"of": where(opt__weight_decay=0.0, **COMMON), "stated": (WIDE,)}
FIT = "regression error at the end: largest median over s / smallest - 1"
APART = "off-subspace error: largest median over s / smallest at the same step"
SLOPES = f"slope of log off-subspace error in x from {SLOPE_FROM} on: largest over s / smallest - 1"
OFFSET = f"they 'differ by a constant offset': that factor, largest over smallest value at x >= {SLOPE_FROM}, - 1"
LEVELS = (
    "'drops to similar levels for all depths': least median regression error, largest over the depths / smallest - 1"
)
ORDER = f"off-subspace error, {EARLY[0]} <= x <= {EARLY[1]}: L = 5 over L = 3, and L = 3 over L = 2"
LESS = "off-subspace error at the common last step: each lambda over the next smaller one"
KEPT = "lambda = 0: relative change of the off-subspace error from its start to that step"
ETA = "L >= 3, eta = 0.1, d_w = 1000: 'step sizes that are covered by our theory': step at which a value is not finite"
SAMPLES = "training on all n samples or on s compressed ones: largest difference of a weight"
DEEP = {"of": where(net__depth=lambda depth: depth > 2), "statistic": "max", "counts_divergence": True}
DEEP |= {"stated": AS_PRINTED}
FITTED, HALVED = "regression error down to lambda", "off-subspace error halved"
ACCURACY = (
    "T 'is highly sensitive to the targeted reconstruction accuracy': c = (steps until the off-subspace error is a "
    "tenth of its start) x (regression error at rest) is the same for every lambda: largest c / smallest c - 1"
)
TENTHS = arriving(tenth_at, "a tenth of it")
BY_DECAY = differing_in("opt.weight_decay", ("net", "data", "opt.weight_decay"))
BY_DEPTH = differing_in("net.depth", ("net", "data", "opt.weight_decay"))
BY_DIMENSION = differing_in("data.subspace_dimension", ("net", "data", "opt.weight_decay"))

LAWS = (
    F2.law("F2.fit", FIT, fit_spread < 0.3, needs=(BY_DIMENSION,)),
    F2.law("F2.slope", SLOPES, slope_spread < 0.1, needs=(BY_DIMENSION,), awaits=(reaching(2 * SLOPE_FROM),)),
    F2.law("F2.apart", APART, apart < 2.5, needs=(BY_DIMENSION,)),
    F2.law("F2.offset", OFFSET, offset_change < 0.1, needs=(BY_DIMENSION,), awaits=(reaching(2 * SLOPE_FROM),)),
    *plateaus(F3, "F3", 20, "roughly"),
    F3.law("F3.levels", LEVELS, least_spread < 0.3, where(opt__horizon=EARLY[1]), needs=(BY_DEPTH,)),
    F3.law("F3.order", ORDER, over_shallower < 1.0, EARLY_RUNS, awaits=(reaching(0.99 * EARLY[1]),)),
    *depth_laws(S4),
    *plateaus(F4, "F4", 10, "approximately"),
    F4.law("F4.order", LESS, over_less_decay < 1.0, where(**COMMON)),
    F4.law("F4.kept", KEPT, moved < 0.05, **UNDECAYED),
    F4.law("F4.fit", "lambda = 0: regression error at that step", fitted < 1e-12, **UNDECAYED),
    S2.law("S2.accuracy", ACCURACY, cost_of_accuracy < 0.1, needs=(BY_DECAY,), awaits=(TENTHS,)),
    *first_layer_laws("Figs. 2 to 4", where(study=lambda study: study in ("dimension", "depth", "decay"))),
    PRINTED.printed("F3/4.eta", ETA, blown_up_at <= 10, **DEEP),
    C1.law("C1.samples", SAMPLES, measure(lambda run: run.worst("weight_gap")) < 1e-10),
    uncovered("Figs. 2 to 4", where(study=lambda study: study != "compression"), as_printed),
)
SUMMARY = columns("isometry", "decay") | {
    "plateau / lambda": column(settled, lambda run: run.last("regression_error") / decay(run), settles),
    "lambda sqrt(mean rho^(-4/L)) / plateau of the scalar minimizers - 1": column(
        settled, lambda run: predicted(run, theory.plateau_estimate) / predicted(run, theory.plateau) - 1, settles
    ),
    "largest difference of a weight, all samples or compressed ones": largest("weight_gap"),
}
