"""The claims on the induced flow of rank one: Figure 1, Theorem 20 and Lemmas 19, 22 and 23 of Eftekhari 2020."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr

from experiments.runner.claims import Claim, each, over
from experiments.runner.results import Group, groups

__all__ = ["claims"]

PAPER = "Eftekhari 2020"
# Where the faraway regime is compared, and where the nearby one is: a time in seconds and a value of x.
EARLY_S, LATE_X = 1e-3, 10.0
# Of the logarithm of a bound that is tight at t = 0, and of an alignment that only rises.
ROUNDING = 1e-9
SMALL_SCALE = 0.1

Measure = Callable[[Group], np.ndarray]


def claims(results: xr.DataTree) -> list[Claim]:
    """The verdict on every study that was run."""
    found = groups(results)
    timed = [g for g in found if g.config.study == "time"]
    rescaled = [g for g in found if g.config.study == "rescaled_time"]
    return [*_theorem(found), *_faraway(timed), *_nearby(rescaled), *_euler(timed)]


def _theorem(found: Sequence[Group]) -> Iterator[Claim]:
    """Theorem 20 as proved and as printed, and the sets in which the flow stays."""
    about: dict[str, Any] = {"id": "T20", "figure": "Theorem 20"}
    within = [g for g in found if g.config.data.spectral_ratio_unit == "largest"]
    single = [g for g in within if g.config.data.num_outputs == 1]
    several = [g for g in within if g.config.data.num_outputs > 1]
    for those, name in ((single, "d_y = 1 (Figure 1)"), (several, "d_y = 3, gamma_Z up to half of the largest")):
        bound = f"{name}: ln of ||Z_1 - W(t)||^2 over the bound with s_Z^(2-2/N), at every recorded time"
        yield _judged(those, _worst("excess"), statement=bound, relation="<=", bound=ROUNDING, **about)
        loose = f"{name}: exponents by which the bound is loose at the end, ln(bound / ||Z_1 - W||^2)"
        yield _judged(those, lambda g: -_at_end(g, "excess").ravel(), kind="report", statement=loose, **about)
    printed = [_scaled(g, SMALL_SCALE) for g in single if SMALL_SCALE in _scales(g)]
    statement = f"the bound as printed in (38), s_Z^(-2/N), fails at s_Z = {SMALL_SCALE}: ln of ||Z_1 - W||^2 over it"
    about |= {"figure": "Eq. (38)", "kind": "printed"}
    yield _judged(printed, _worst("excess_printed"), statement=statement, relation=">", bound=0.1, **about)
    about = {"id": "L19", "figure": "Lemmas 19, 22, 23"}
    statement = "W(t) stays in N_{alpha,beta}(Z_1), 1 where it does, at every recorded time"
    yield _judged(
        found, lambda g: g.worst("in_set", reduce="min"), statement=statement, relation=">=", bound=1, **about
    )
    statement = "u^T Z_1 v never falls: its smallest change between recorded times, in s_Z"
    yield _judged(found, _smallest_rise, statement=statement, relation=">=", bound=-ROUNDING, **about)
    statement = "fast regime until tau, (T_1 - s_Z T_2) / s_Z^2 while s > sqrt(6) s_Z"
    about = {"id": "T20", "figure": "Eq. (207)"}
    afar = [g for g in found if (g.data["tau"].isel(step=0) < 0).any()]
    yield _judged(afar, _before_tau, statement=statement, relation=">", bound=0.0, **about)


def _faraway(timed: Sequence[Group]) -> Iterator[Claim]:
    """Figure 1: far from the target deeper is faster."""
    about: dict[str, Any] = {"id": "F1.far", "figure": "Fig. 1"}
    seen = [g for g in timed if np.isclose(g.data["seconds"], EARLY_S, rtol=1e-9).any()]
    statement = f"deeper is faster far away: distance at t = {EARLY_S:g} over that of the next smaller depth"
    yield _judged(seen, _early_ratios, statement=statement, relation="<", bound=1.0, **about)


def _nearby(rescaled: Sequence[Group]) -> Iterator[Claim]:
    """The collapse of d_y = 1 on one clock, and the rate close to the target."""
    about: dict[str, Any] = {"id": "F1.clock", "figure": "Fig. 1"}
    single = [g for g in rescaled if g.config.data.num_outputs == 1]
    statement = "d_y = 1: the distance depends on N, the angle, s_0 / s_Z and x alone: largest spread over seeds, s_Z"
    yield _judged(single, _spread, statement=statement, relation="<", bound=1e-5, **about)
    about |= {"id": "F1.near"}
    late = [g for g in rescaled if float(g.data["rescaled_time"].isel(step=-1).min()) >= LATE_X * (1 - 1e-9)]
    late_single = [g for g in late if g.config.data.num_outputs == 1]
    wide = [g for g in late if g.config.data.spectral_ratio_unit == "one"]
    law = f"rate of ||Z_1 - W|| over m s_Z^(2-2/N) (1 - gamma_Z), less 1, at x = {LATE_X:g}"
    for those, name in ((late_single, "d_y = 1"), (wide, "d_y = 3, gamma_Z = .3 and more")):
        yield _judged(those, _off_law, statement=f"{name}: {law}", relation="<", bound=0.03, **about)
    narrow = [g for g in late if g.config.data.num_outputs > 1 and g.config.data.spectral_ratio_unit == "largest"]
    mixed = f"d_y = 3, small gamma_Z, where x (1 - gamma_Z) and x (1 + gamma_Z) are not yet apart: {law}"
    yield _judged(narrow, _off_law, kind="report", statement=mixed, statistic="max", **about)
    cases = (
        ("s_Z < 1: deeper is slower nearby", lambda s: s < 1, "<", 1.0),
        ("s_Z > 1: deeper is faster nearby", lambda s: s > 1, ">", 1.0),
    )
    for name, chosen, relation, bound in cases:
        those = [_scaled(g, s) for g in late_single for s in _scales(g) if chosen(s)]
        statement = f"{name}: rate in 1/s over that of the next smaller depth"
        yield _judged(those, _rate_ratios, statement=statement, relation=relation, bound=bound, **about)
    equal = [_scaled(g, 1.0) for g in late_single if 1.0 in _scales(g)]
    statement = "s_Z = 1: depth does not matter nearby: |rate in 1/s over that of the next smaller depth, less 1|"
    yield _judged(equal, lambda g: np.abs(_rate_ratios(g) - 1), statement=statement, relation="<", bound=0.06, **about)


def _euler(timed: Sequence[Group]) -> Iterator[Claim]:
    """The paper's own integrator, as a quantity of its own."""
    about: dict[str, Any] = {"id": "F1.euler", "figure": "Fig. 1"}
    reported = {"kind": "report", "statistic": "max", **about}
    for name, steps in (("euler", "Euler's steps of 1e-6 s"), ("euler_halved", "half of these steps")):
        statement = f"{steps}: largest ||W_Euler - W|| / s_Z"
        yield _judged(timed, _worst(name), statement=statement, **reported)
    statement = "Euler's error is of first order: |its largest value over that of half the step, over 2, less 1|"
    yield _judged(timed, _off_first_order, statement=statement, relation="<", bound=0.1, **about)


# Measures: one number per member, or per pair of members. -------------------------------------------------------------


def _at_end(g: Group, name: str) -> np.ndarray:
    return g.data[name].isel(step=-1).values


def _smallest_rise(g: Group) -> np.ndarray:
    return g.per_member(g.data["alignment"].diff("step"), "min")


def _before_tau(g: Group) -> np.ndarray:
    """The smallest value before tau, of members that begin there."""
    before = g.data["tau"] < 0
    least = g.data["fast"].where(before, np.inf).min("step").values
    return least[before.isel(step=0).values]


def _spread(g: Group) -> np.ndarray:
    over = [dim for dim in ("seed", "scale", "spectral_ratio") if dim in g.data["distance"].dims]
    distance = g.data["distance"]
    return (distance.max(over, skipna=False) - distance.min(over, skipna=False)).max("step", skipna=False).values


def _ratios(values: xr.DataArray) -> np.ndarray:
    """Every depth's value over that of the next smaller depth."""
    ordered = values.sortby("depth").transpose("depth", ...).values
    return ordered[1:] / ordered[:-1]


def _early_ratios(g: Group) -> np.ndarray:
    return _ratios(g.data["distance"].isel(step=_step_at(g, "seconds", EARLY_S)))


def _rate_ratios(g: Group) -> np.ndarray:
    return _ratios(g.data["rate"].isel(step=_step_at(g, "rescaled_time", LATE_X)))


def _off_law(g: Group) -> np.ndarray:
    at = g.data.isel(step=_step_at(g, "rescaled_time", LATE_X))
    return np.abs((at["rate"] / at["rate_law"] - 1).values.ravel())


def _off_first_order(g: Group) -> np.ndarray:
    return np.abs(g.worst("euler") / g.worst("euler_halved") / 2 - 1)


def _step_at(g: Group, name: str, value: float) -> int:
    """The recorded time nearest to a value that all members share."""
    times = g.data[name].stack(member=[dim for dim in g.data[name].dims if dim != "step"]).isel(member=0)
    return int(np.argmin(np.abs(times.values - value)))


# Groups of members, and what is said of them. -------------------------------------------------------------------------


def _scales(g: Group) -> list[float]:
    """The prescribed values of s_Z; a scale of 0 leaves it to the draw of Y."""
    scales = g.data["scale"].values if "scale" in g.hyperparameters else [g.config.data.scale]
    return [float(s) for s in scales if s > 0]


def _scaled(g: Group, scale: float) -> Group:
    """The members of one prescribed s_Z."""
    return g._replace(data=g.data.sel(scale=scale)) if "scale" in g.hyperparameters else g


def _worst(name: str) -> Measure:
    return lambda g: g.worst(name)


def _judged(family: Sequence[Group], measure: Measure, **about: Any) -> Claim:
    missing = "no variant of this profile has such members or runs that far"
    return over(family, each(measure), missing=missing, paper=PAPER, **about)
