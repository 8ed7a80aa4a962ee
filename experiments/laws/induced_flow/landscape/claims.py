"""The claims on landscape and limits: Theorems 8 and 16 and the lemmas of Eftekhari 2020, and their controls."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr
from ml_collections import ConfigDict

from experiments.runner.claims import Claim, each, over
from experiments.runner.results import Group, groups

__all__ = ["claims", "started"]

PAPER = "Eftekhari 2020"
# What counts as arrived, as no violation, as a stationary point, as an eigenvalue of 0, as below the global minimum.
ARRIVED, ROUNDING, STATIONARY, FLAT, GLOBAL = 1e-8, 1e-9, 1e-10, 1e-9, 1e-9
# The factors' rounding against an induced flow from unbalanced factors; a value that is on its way to 0.
APART, VANISHED = 1e-3, 0.01

Measure = Callable[[Group], np.ndarray]


def claims(results: xr.DataTree) -> list[Claim]:
    """The verdict on every study that was run."""
    found = groups(results)
    of_study = {
        study: [g for g in found if g.config.study == study] for study in ("convergence", "states", "stationary")
    }
    return [
        *_convergence(of_study["convergence"]),
        *_flows(of_study["convergence"]),
        *_states(of_study["states"]),
        *_stationary(of_study["stationary"]),
    ]


def _convergence(found: Sequence[Group]) -> Iterator[Claim]:
    """Theorem 16 with Lemmas 15, 17, 22 and 23, and starts outside the set."""
    balanced = [part for g in found if g.config.start.rank == 1 for part in started(g) if part.config.start.skew == 1]
    inside = [g for g in balanced if g.config.start.least >= g.config.bound.alpha]
    opposite = [g for g in balanced if g.config.start.least == -1]
    negative = [g for g in balanced if -1 < g.config.start.least < g.config.bound.alpha]
    about: dict[str, Any] = {"id": "T16", "figure": "Theorem 16, Lemma 17"}
    statement = "balanced starts in N_alpha converge to Z_1: ||Z_1 - W|| / s_Z at the end"
    yield _judged(inside, _at_end("distance"), statement=statement, relation="<", bound=ARRIVED, **about)
    about = {"id": "T16", "figure": "Lemmas 15, 22, 23"}
    statement = "they stay away from 0: least s / ((alpha - gamma_Z) s_Z)"
    yield _judged(inside, _least_value, statement=statement, relation=">", bound=1.0, **about)
    statement = "they stay in N_alpha, 1 where they do"
    yield _judged(inside, _least("in_set"), statement=statement, relation=">=", bound=1.0, **about)
    statement = "u^T Z_1 v never falls: its smallest change between recorded times, in s_Z"
    yield _judged(inside, _smallest_rise, statement=statement, relation=">=", bound=-ROUNDING, **about)
    about = {"id": "T16.control", "figure": "Theorem 16"}
    statement = "starts exactly against Z (d_y = 1) go to 0: s / s_Z at the end"
    yield _judged(opposite, _at_end("value"), statement=statement, relation="<", bound=VANISHED, **about)
    mildly = "N_alpha is not necessary: starts with u^T Z_1 v mildly negative"
    statement = f"{mildly} converge all the same, ||Z_1 - W|| / s_Z at the end"
    yield _judged(negative, _at_end("distance"), statement=statement, relation="<", bound=ARRIVED, **about)


def _flows(found: Sequence[Group]) -> Iterator[Claim]:
    """What gradient flow on factors keeps, and the flow that it induces."""
    about: dict[str, Any] = {"id": "flow", "figure": "Eqs. (15), (17), Lemma 11"}
    parts = [part for g in found for part in started(g)]
    balanced = [g for g in parts if g.config.start.skew == 1]
    unbalanced = [g for g in parts if g.config.start.skew != 1]
    statement = "from balanced factors gradient flow induces (17): ||W_N ... W_1 - W|| / s_Z"
    yield _judged(balanced, _most("induced"), statement=statement, relation="<", bound=ARRIVED, **about)
    statement = "from unbalanced factors it does not: the largest such distance on the way"
    yield _judged(unbalanced, _most("induced"), statement=statement, relation=">", bound=APART, **about)
    statement = "the imbalance is kept, unbalanced starts included: largest change of an entry"
    yield _judged(found, _most("drift"), statement=statement, relation="<", bound=ROUNDING, **about)
    wide = [g for g in balanced if min(g.config.net.widths) > g.config.start.rank]
    statement = "rank is kept in layers wide enough for more: largest value beyond the rank at the start, in s_Z"
    yield _judged(wide, _most("beyond"), statement=statement, relation="<", bound=ROUNDING, **about)


def _states(found: Sequence[Group]) -> Iterator[Claim]:
    """Inequalities at random states: one number per state."""
    about: dict[str, Any] = {"id": "A_W", "figure": "Eqs. (16), (173)"}
    statement = "definition, SVD form and closed form of A_W(D) agree: largest difference over ||A_W(D)||"
    yield _judged(found, _each("operator"), statement=statement, relation="<", bound=1e-12, **about)
    about = {"id": "L18", "figure": "Eq. (33), Lemma 18"}
    for name, what in (("loss_slack", "(33): T_1 + s_Z T_2 - L over the bound"), ("rate_slack", "Lemma 18: its slack")):
        statement = f"{what}, at random states of rank one"
        yield _judged(found, _each(name), statement=statement, relation=">=", bound=-ROUNDING, **about)
    statement = "Lemma 18 is tight: smallest slack over the largest term"
    yield _judged(found, _each("rate_slack"), kind="report", statement=statement, statistic="min", **about)
    about = {"id": "L19", "figure": "Lemmas 19, 22, 23"}
    statement = "in N_alpha u^T Z_1 v rises: its rate on the clock, in s_Z"
    yield _judged(found, _each("turning"), statement=statement, relation=">", bound=0.0, **about)
    statement = "the flow enters where s = (alpha - gamma_Z) s_Z: ds/dt over m s^(2-2/N)"
    yield _judged(found, _each("from_below"), statement=statement, relation=">", bound=0.0, **about)
    statement = "the flow enters where s = beta s_Z: ds/dt over m s^(2-2/N)"
    yield _judged(found, _each("from_above"), statement=statement, relation="<", bound=0.0, **about)


def _stationary(found: Sequence[Group]) -> Iterator[Claim]:
    """Theorem 8, and the point 0."""
    about: dict[str, Any] = {"id": "T8", "figure": "Theorem 8"}
    statement = "stationary points: ||grad L_N|| / (m s_Z)"
    yield _judged(found, _each("gradient"), statement=statement, relation="<", bound=STATIONARY, **about)
    statement = "stationary points of full rank r that were tried"
    yield over(found, _count, paper=PAPER, statement=statement, relation=">=", bound=30, **about)
    statement = "those that are not global are strict saddles: smallest eigenvalue over the largest"
    yield _judged(found, _of_full_rank(is_global=False), statement=statement, relation="<", bound=-1e-3, **about)
    statement = "those that are global have no negative curvature: smallest eigenvalue over the largest"
    yield _judged(found, _of_full_rank(is_global=True), statement=statement, relation=">=", bound=-FLAT, **about)
    shallow = [g for g in found if len(g.config.net.widths) == 3]
    deep = [g for g in found if len(g.config.net.widths) > 3]
    about = {"id": "T8.zero", "figure": "after Theorem 8"}
    statement = "'0 is a spurious second-order point when N >= 2' fails at N = 2: smallest eigenvalue at 0, in m s_Z"
    yield _judged(shallow, _at_zero("smallest"), kind="printed", statement=statement, relation="<", bound=-0.1, **about)
    statement = "at N >= 3 it is one: |smallest eigenvalue at 0|, in m s_Z"
    yield _judged(deep, _at_zero("smallest", np.abs), statement=statement, relation="<", bound=FLAT, **about)
    statement = "and 0 is not global: its loss above the minimum, in m s_Z^2"
    yield _judged(deep, _at_zero("excess"), statement=statement, relation=">", bound=GLOBAL, **about)


# Groups of members. ---------------------------------------------------------------------------------------------------


def started(g: Group) -> list[Group]:
    """A group for every swept alignment and skew of the starts, with its own numbers in the config."""
    found = [g]
    for hyperparameter in ("least", "skew"):
        found = [
            part
            for group in found
            for part in (_each_value(group, hyperparameter) if hyperparameter in g.hyperparameters else [group])
        ]
    return found


def _each_value(g: Group, hyperparameter: str) -> Iterator[Group]:
    for value in g.data[hyperparameter].values:
        config = ConfigDict(g.config.to_dict())
        config.start[hyperparameter] = float(value)
        yield g._replace(config=config, data=g.data.sel({hyperparameter: value}))


# Measures: one number per member, state or point. ---------------------------------------------------------------------


def _at_end(name: str) -> Measure:
    return lambda g: g.data[name].isel(step=-1).values


def _most(name: str) -> Measure:
    return lambda g: g.worst(name)


def _least(name: str) -> Measure:
    return lambda g: g.worst(name, reduce="min")


def _each(name: str) -> Measure:
    return lambda g: g.data[name].values


def _at_zero(name: str, change: Callable = lambda x: x) -> Measure:
    return lambda g: change(g.data[name].isel(step=0).values)


def _least_value(g: Group) -> np.ndarray:
    return g.worst("value", reduce="min") / (g.config.bound.alpha - g.config.data.spectral_ratio)


def _smallest_rise(g: Group) -> np.ndarray:
    return g.per_member(g.data["alignment"].diff("step"), "min")


def _full_rank(g: Group) -> np.ndarray:
    return g.data["rank"].values == min(g.config.net.widths)


def _count(family: Sequence[Group]) -> int:
    return sum(int(_full_rank(g).sum()) for g in family)


def _of_full_rank(*, is_global: bool) -> Measure:
    def measure(g: Group) -> np.ndarray:
        chosen = _full_rank(g) & ((g.data["excess"].values < GLOBAL) == is_global)
        # What the iteration leaves open counts against the statement.
        residual = g.data["residual"].values * (-1 if is_global else 1)
        return (g.data["smallest"].values + residual)[chosen]

    return measure


def _judged(family: Sequence[Group], measure: Measure, **about: Any) -> Claim:
    return over(family, each(measure), paper=PAPER, **about)
