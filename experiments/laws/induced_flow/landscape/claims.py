"""The claims on landscape and limits: Theorems 8 and 16 and the lemmas of Eftekhari 2020, and their controls."""

import numpy as np

from experiments.laws.induced_flow.landscape.measures import (
    GLOBAL,
    INSIDE,
    NEGATIVE,
    OPPOSITE,
    full_rank,
    minima,
    saddles,
    start,
)
from experiments.runner.laws import Measure, Source, across, measure
from experiments.runner.runs import Run, where
from experiments.runner.summary import final

# What counts as arrived, as no violation, as a stationary point, as an eigenvalue of 0.
ARRIVED, ROUNDING, STATIONARY, FLAT = 1e-8, 1e-9, 1e-10, 1e-9
# The factors' rounding against an induced flow from unbalanced factors; a value that is on its way to 0.
APART, VANISHED = 1e-3, 0.01


def every(name: str) -> Measure:
    """A variable at every state or point."""
    return measure(lambda run: run.all(name))


def largest(name: str) -> Measure:
    """The largest value of a variable over time."""
    return measure(lambda run: run.worst(name))


in_set = measure(lambda run: run.worst("in_set", reduce=np.min))
least_value = measure(
    lambda run: run.worst("value", reduce=np.min) / (run.config.bound.alpha - run.config.data.leading_ratio)
)
smallest_rise = measure(lambda run: np.diff(run.all("alignment"), axis=1).min(1))
final_distance, final_value = (measure(lambda run, name=name: run.last(name)) for name in ("distance", "value"))
tried = across(lambda found: sum(full_rank(run).sum() for run in found), least=1)
# What the iteration for the eigenvalue leaves open counts against the statement.
saddle = measure(lambda run: (run.all("smallest") + run.all("residual"))[saddles(run)])
minimum = measure(lambda run: (run.all("smallest") - run.all("residual"))[minima(run)])
smallest_at_0 = measure(lambda run: run.first("smallest"))
flat_at_0 = measure(lambda run: np.abs(run.first("smallest")))
excess_at_0 = measure(lambda run: run.first("excess"))

inside, negative, opposite = (lambda run, kind=kind: start(run) == kind for kind in (INSIDE, NEGATIVE, OPPOSITE))
balanced, unbalanced = where(start__skew=1.0), where(start__skew=lambda skew: skew != 1)
shallow, deep = where(net__widths=lambda widths: len(widths) == 3), where(net__widths=lambda widths: len(widths) > 3)


def wide(run: Run) -> bool:
    """Balanced starts in layers wide enough for a higher rank."""
    return balanced(run) and min(run.config.net.widths) > run.config.start.rank


T16, L15, CONTROL, FLOW, A_W, L18, L19, T8, ZERO = (
    Source(paper="Eftekhari 2020", figure=figure, of=where(study=study))
    for figure, study in (
        ("Theorem 16, Lemma 17", "convergence"),
        ("Lemmas 15, 22, 23", "convergence"),
        ("Theorem 16", "convergence"),
        ("Eqs. (15), (17), Lemma 11", "convergence"),
        ("Eqs. (16), (173)", "states"),
        ("Eq. (33), Lemma 18", "states"),
        ("Lemmas 19, 22, 23", "states"),
        ("Theorem 8", "stationary"),
        ("after Theorem 8", "stationary"),
    )
)
ARRIVES = "||Z_1 - W|| / s_Z at the end"
RISES = "u^T Z_1 v never falls: its smallest change between recorded times, in s_Z"
NEGATIVE_TOO = f"N_alpha is not necessary: starts with u^T Z_1 v mildly negative converge too: {ARRIVES}"
UNBALANCED_TOO = "the imbalance is conserved, from unbalanced starts too: largest change of an entry"
RANK = "the rank is conserved in layers wide enough for more: largest singular value beyond it, in s_Z"
FORMS = "definition, SVD form and closed form of A_W(D) agree: largest difference over ||A_W(D)||"
INDUCED = "largest ||W_N ... W_1 - W|| / s_Z"
STRICT = "points of full rank that are not global are strict saddles: smallest eigenvalue over the largest"
NOT_NEGATIVE = "global ones have no negative curvature: smallest eigenvalue over the largest"
SPURIOUS = "'0 is a spurious second-order point when N >= 2', at N = 2: smallest eigenvalue at 0, in m s_Z"
ENTERS = "the flow enters where s = {} s_Z: ds/dt over m s^(2-2/N)"
LAWS = (
    T16.law("T16.arrives", f"balanced starts in N_alpha converge to Z_1: {ARRIVES}", final_distance < ARRIVED, inside),
    L15.law("T16.away", "they stay away from 0: least s / ((alpha - gamma_Z) s_Z)", least_value > 1.0, inside),
    L15.law("T16.set", "they stay in N_alpha, 1 where they do", in_set >= 1.0, inside),
    L15.law("T16.rise", RISES, smallest_rise >= -ROUNDING, inside),
    CONTROL.law(
        "T16.opposite",
        "starts exactly against Z (d_y = 1) go to 0: s / s_Z at the end",
        final_value < VANISHED,
        opposite,
    ),
    CONTROL.law("T16.negative", NEGATIVE_TOO, final_distance < ARRIVED, negative),
    FLOW.law("flow.induced", f"balanced factors follow (17): {INDUCED}", largest("induced") < ARRIVED, balanced),
    FLOW.law("flow.unbalanced", f"unbalanced ones do not: {INDUCED}", largest("induced") > APART, unbalanced),
    FLOW.law("flow.imbalance", UNBALANCED_TOO, largest("drift") < ROUNDING),
    FLOW.law("flow.rank", RANK, largest("beyond") < ROUNDING, wide),
    A_W.check("A_W", FORMS, every("operator") < 1e-12),
    L18.law("E33", "(33) at random W of rank one: T_1 + s_Z T_2 - L over the bound", every("loss_slack") >= -ROUNDING),
    L18.law("L18", "Lemma 18 at the same W: its slack over its largest term", every("rate_slack") >= -ROUNDING),
    L19.law("L19.rise", "in N_alpha u^T Z_1 v rises: its rate in x at s = s_Z, in s_Z", every("turning") > 0.0),
    L19.law("L19.below", ENTERS.format("(alpha - gamma_Z)"), every("from_below") > 0.0),
    L19.law("L19.above", ENTERS.format("beta"), every("from_above") < 0.0),
    T8.check("T8.gradient", "stationary points: ||grad L_N|| / (m s_Z)", every("gradient") < STATIONARY),
    T8.check("T8.count", "stationary points of full rank r that were tried", tried >= 30),
    T8.law("T8.saddles", STRICT, saddle < -1e-3, event=saddles),
    T8.law("T8.minima", NOT_NEGATIVE, minimum >= -FLAT, event=minima),
    ZERO.printed("T8.zero", SPURIOUS, smallest_at_0 < -0.1, shallow),
    ZERO.law("T8.zero_deep", "at N >= 3 it is one: |smallest eigenvalue at 0|, in m s_Z", flat_at_0 < FLAT, deep),
    ZERO.law("T8.zero_excess", "0 is not global: its loss above the minimum, in m s_Z^2", excess_at_0 > GLOBAL, deep),
)
SUMMARY = {
    "||Z_1 - W|| / s_Z at the end": final("distance"),
    "smallest slack of Lemma 18 over its largest term": lambda run: (
        run.worst("rate_slack", reduce=np.min) if "rate_slack" in run.data else None
    ),
    "stationary points of full rank": lambda run: full_rank(run).sum(1) if "rank" in run.data else None,
}
