"""The claims of progressive collapse: Figures 2, 7, 11 and 12 and Theorem 2 of Yaras et al. 2023, and real data."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr

from experiments.laws.collapse.figures import Curves, curves, fit
from experiments.runner.claims import Claim, judge, over, report
from experiments.runner.fields import leaves
from lawlib.theory import collapse as theory

__all__ = ["STUDIES", "claims"]

PAPER = "Yaras et al. 2023"
STUDIES = ("depth", "scale", "init", "theorem", "digits")
# The mean losses at which the paper draws its figures; at which the residual, which separates nothing, no longer shows
# in the last layers of ReLU networks and of linear ones (their rate is then that of the law); and of Theorem 2.
DRAWN_AT, SETTLED_AT, EXACT_AT, OPTIMAL_AT = 1e-6, 1e-8, 1e-12, 1e-16
# What the bounds of the figures' claims were stated for.
SETTING = {"data.source": "orthogonal", "data.num_classes": 5, "data.samples_per_class": 10}
LINE = "log D_l is linear in l, R^2 of the best line"
UNREACHED = "no member of this profile has that setting and reaches that loss"
LINEAR, RELU, SETTLED = "linear, mean loss 1e-12", "ReLU, mean loss 1e-6", "ReLU, mean loss 1e-8"

Family = Sequence[Curves]
Measure = Callable[[Family], np.ndarray]


def claims(results: xr.DataTree) -> list[Claim]:
    """The verdict on the figures or the theorem that the config names as its study."""
    judged = {"depth": _depth, "scale": _scale, "init": _init, "theorem": _theorem, "digits": _digits}
    studied = {study: [c for c in curves(results) if c.config.study == study] for study in STUDIES}
    return [claim for study, found in studied.items() if found for claim in judged[study](found)]


def _depth(found: Family) -> Iterator[Claim]:
    """Figures 2 and 7: every layer separates the classes by nearly the same factor, at every depth."""
    about: dict[str, Any] = {"id": "F2/7", "figure": "Figs. 2, 7"}
    linear = _those(found, "linear", EXACT_AT)
    settled, relu = (_those(found, "relu", tolerance) for tolerance in (SETTLED_AT, DRAWN_AT))
    yield _initial(found, **about)
    yield _rate_law(linear, **about)
    yield _judged(linear, _each(_r_squared), statement=f"{LINEAR}: {LINE}", relation=">", bound=0.999, **about)
    for c in settled:
        at = f"{SETTLED}, L = {c.config.net.depth}, members that reach it"
        reaching = _reaching([c])
        yield _judged(reaching, _each(_r_squared), statement=f"{at}: {LINE}", relation=">", bound=0.95, **about)
        yield _judged(reaching, _each(_rate), statement=f"{at}: rate of that line", relation="<", bound=0.2, **about)
    for c in relu:
        at = f"ReLU as drawn, at mean loss 1e-6, L = {c.config.net.depth}, members that reach it"
        yield _reported([c], _each(_r_squared), statement=f"{at}: {LINE}", statistic="min", **about)
        statement = f"{at}: largest D_{{l+1}}/D_l of single layers, which the residual keeps from the line"
        yield _reported([c], _each(lambda c: c.ratios.max(1)), statement=statement, statistic="max", **about)
    yield _reached(settled, SETTLED, **about)
    yield _reached(relu, RELU, **about)
    about |= {"kind": "printed", "relation": ">", "bound": 1.1}
    statement = f"'the decay rate is independent of the depth L' is not exact: largest over smallest rate ({LINEAR})"
    yield _judged(linear, _across(lambda rates: rates.max(0) / rates.min(0)), statement=statement, least=2, **about)


def _scale(found: Family) -> Iterator[Claim]:
    """Figure 11: smaller initial weights separate the classes faster."""
    about: dict[str, Any] = {"id": "F11", "figure": "Fig. 11"}
    found = sorted(found, key=lambda c: -c.config.net.scale)
    linear, relu = _those(found, "linear", EXACT_AT), _those(found, "relu", DRAWN_AT)
    yield _initial(found, **about)
    yield _rate_law(linear, **about)
    for name, family in ((LINEAR, linear), (RELU, _reaching(relu, together=True))):
        statement = f"{name}: a smaller eps gives a steeper line, its rate over that of the next larger eps"
        steeper = _across(lambda rates: (rates[1:] / rates[:-1]).max(0))
        yield _judged(family, steeper, statement=statement, relation="<", bound=1.0, least=2, **about)
    drawn = [c for c in _those(found, "linear", DRAWN_AT) if c.config.net.scale == found[-1].config.net.scale]
    statement = f"the linear rate drawn at mean loss 1e-6 is not that of the law: off by, eps = {_scales(drawn)}"
    drift = _each(lambda c: np.abs(_rate(c) / c.law - 1))
    yield _judged(drawn, drift, kind="printed", statement=statement, relation=">", bound=0.05, **about)
    yield from _relu_reports(relu, **about)


def _init(found: Family) -> Iterator[Claim]:
    """Figure 12: the collapse does not need orthogonal initial weights."""
    about: dict[str, Any] = {"id": "F12", "figure": "Fig. 12"}
    linear, relu = _those(found, "linear", EXACT_AT), _those(found, "relu", DRAWN_AT)
    names = ", ".join(dict.fromkeys(c.config.net.init for c in found))
    yield _initial(found, **about)
    statement = f"{LINEAR}, {names}: {LINE}"
    yield _judged(linear, _each(_r_squared), statement=statement, relation=">", bound=0.99, **about)
    statement = f"{LINEAR}: rates of one seed, {names}, largest over smallest"
    spread = _across(lambda rates: rates.max(0) / rates.min(0))
    yield _judged(linear, spread, statement=statement, relation="<", bound=1.3, least=2, **about)
    yield from _relu_reports(relu, **about)


def _theorem(found: Family) -> Iterator[Claim]:
    """Theorem 2 within its hypotheses, and its bound at the figures' eps, where they fail."""
    about: dict[str, Any] = {"id": "T2", "figure": "Theorem 2, Cor. 1"}
    within = [c for c in found if c.config.net.init == "corollary" and c.config.net.scale <= c.largest_scale]
    beyond = [c for c in _those(found, "linear", OPTIMAL_AT) if c.config.net.scale > c.largest_scale]
    optimal = _those(within, "linear", OPTIMAL_AT)
    bound = "D_{l+1}/D_l over its bound 2 (sqrt K + 1) eps^2, l = 0..L-2"
    yield _initial(found, **about)
    about |= {"everywhere": True}
    statement = f"{bound}, within the hypotheses (eps = {_scales(optimal)}), mean loss 1e-16"
    yield _judged(optimal, _each(lambda c: c.of_bound), statement=statement, relation="<=", bound=1.0, **about)
    telling = [c for c in beyond if c.bound < 1]
    statement = f"{bound}, beyond the hypotheses (eps = {_scales(telling)}), mean loss 1e-16"
    yield _judged(telling, _each(lambda c: c.of_bound), statement=statement, relation="<=", bound=1.0, **about)
    about = {"id": "T2", "figure": "Theorem 2, Cor. 1", "statistic": "max"}
    vacuous = [c for c in beyond if c.bound >= 1]
    statement = f"D_{{l+1}}/D_l where the bound exceeds 1 and says nothing (eps = {_scales(vacuous)})"
    yield _reported(vacuous, _each(lambda c: c.ratios.max(1)), statement=statement, **about)
    for c in (c for c in within if c.config.opt.tolerance > OPTIMAL_AT):
        early = f"not yet W_{{L:1}} X = Y: L = {c.config.net.depth}, mean loss {c.config.opt.tolerance:g}"
        yield _reported([c], _each(lambda c: c.of_bound), statement=f"{bound}, {early}", **about)
    statement = "hypothesis (ii), kept by gradient flow: ||W_{l+1}^T W_{l+1} - W_l W_l^T||_F / eps^2, l < L-1"
    drift = _each(lambda c: c.imbalance[:, :-1].max(1) / c.config.net.scale**2)
    yield _reported(optimal, drift, statement=statement, **about)


def _digits(found: Family) -> Iterator[Claim]:
    """Real data, which no theorem covers: numbers without a bound, at the last step."""
    for c in found:
        name = {"linear": "linear", "relu": "ReLU"}[c.config.net.activation]
        about: dict[str, Any] = {"id": f"digits {name} L={c.config.net.depth}", "figure": "Section 4.2 on real data"}
        numbers = {LINE: _r_squared, "rate of that line": _rate, "D_{L-1} / D_0": lambda c: c.ratios.prod(1)}
        numbers |= {"accuracy on the training images": lambda c: c.accuracy}
        for statement, measure in numbers.items():
            yield _reported([c], _each(measure), statement=statement, **about)


# Measures: one number per member, NaN for a member that did not reach its tolerance. ----------------------------------


def _each(measure: Callable[[Curves], np.ndarray]) -> Measure:
    return lambda family: np.concatenate([np.where(c.ended, measure(c), np.nan) for c in family])


def _across(combine: Callable[[np.ndarray], np.ndarray]) -> Measure:
    """One number per seed, from its rates in every one of the family."""
    return lambda family: combine(np.stack([np.where(c.ended, _rate(c), np.nan) for c in family]))


def _rate(c: Curves) -> np.ndarray:
    return fit(c.separation).rate


def _r_squared(c: Curves) -> np.ndarray:
    return fit(c.separation).r_squared


# Families of members, and what is said of them. -----------------------------------------------------------------------


def _those(found: Family, activation: str, tolerance: float) -> list[Curves]:
    return [c for c in found if (c.config.net.activation, c.config.opt.tolerance) == (activation, tolerance)]


def _reaching(family: Family, *, together: bool = False) -> list[Curves]:
    """Without the members that end on a plateau; ``together`` drops their whole seed."""
    everywhere = np.all([c.ended for c in family], axis=0)
    return [c.members(everywhere if together else c.ended) for c in family]


def _scales(family: Family) -> str:
    return ", ".join(f"{scale:g}" for scale in sorted({c.config.net.scale for c in family}))


def _initial(found: Family, **about: Any) -> Claim:
    """D_0 is known before anything is drawn."""
    data = found[0].config.data
    expected = theory.initial_separation(samples_per_class=data.samples_per_class, num_classes=data.num_classes)
    values = np.concatenate([np.abs(c.separation[:, 0] / expected - 1) for c in found])
    about |= {"kind": "law", "paper": PAPER, "diverged": sum(c.diverged for c in found)}
    statement = f"|D_0 / ((n-1) K/(K-1)) - 1| of orthogonal inputs, ((n-1) K/(K-1)) = {expected:g}"
    return judge(statement=statement, values=values, relation="<", bound=1e-12, **about)


def _rate_law(linear: Family, **about: Any) -> Claim:
    statement = f"{LINEAR}: |(D_{{l+1}}/D_l) / (eps^2/n^(1/L)) - 1|, l = 0..L-2"
    off = _each(lambda c: np.abs(c.ratios / c.law - 1).max(1))
    lawful = [c for c in linear if c.lawful]
    return _judged(lawful, off, statement=statement, relation="<", bound=0.05, **about)


def _relu_reports(relu: Family, **about: Any) -> Iterator[Claim]:
    yield _reported(relu, _each(_r_squared), statement=f"{RELU}: {LINE}", statistic="min", **about)
    yield _reported(relu, _each(_rate), statement=f"{RELU}: rate of that line", statistic="max", **about)
    yield _reached(relu, RELU, **about)


def _reached(relu: Family, at: str, **about: Any) -> Claim:
    """Members at their step cap, on a plateau or on its way down, are counted here and told apart in the figure."""
    if not relu:
        return _reported(relu, _each(_rate), statement=f"{at}: fraction of members that reach it", **about)
    statement = f"{at}: fraction of members that reach it within {max(c.config.opt.num_steps for c in relu)} steps"
    about |= {"diverged": sum(c.diverged for c in relu)}
    return report(statement=statement, paper=PAPER, values=[c.ended for c in relu], statistic="fraction", **about)


def _judged(family: Family, measure: Measure, *, everywhere: bool = False, least: int = 1, **about: Any) -> Claim:
    """One number per member, unless there is nothing to judge; not judged where the bound was stated for other data."""
    ours = all(leaves(c.config)[field] == value for c in family for field, value in SETTING.items())
    reason = "it compares two settings or more" if len(family) < least else ""
    reason = reason if any(c.ended.any() for c in family) else UNREACHED
    outside = "" if ours or everywhere else "stated for K = 5 classes of n = 10 orthogonal inputs"
    return over(family, measure, reason=reason, outside=outside, paper=PAPER, **about)


def _reported(family: Family, measure: Measure, **about: Any) -> Claim:
    """One number per member that reached its tolerance, unless none did."""
    reason = "" if any(c.ended.any() for c in family) else UNREACHED
    return over(family, lambda those: measure(_reaching(those)), kind="report", reason=reason, paper=PAPER, **about)
