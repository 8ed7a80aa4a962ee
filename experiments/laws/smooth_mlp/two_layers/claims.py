"""The claims of smooth two-layer MLPs: Theorem D.11 and its lemmas, Figures 3, 11, 12 and 13, Proposition B.1."""

import functools as ft
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr

from experiments.laws.smooth_mlp.two_layers.figures import MOST_EXCESS, SCALE, Runs, runs, slopes
from experiments.runner.claims import Claim, each, over
from experiments.runner.fields import leaves

__all__ = ["claims"]

PAPER = "Xu et al. 2026"
# What the figures' bounds were stated for, and Proposition B.1's: (d, K, m).
SETTING = {"net.width": 72, "net.init": "orthogonal", "opt.step_size": 0.01}
SETTING |= {"data.dimension": 64, "data.num_classes": 4, "data.num_samples": 1000}
SQUARE = 32, 4, 8192
PAPERS_SMOOTH = ("elu", "gelu", "silu")
# The slopes of log sigma_i(G_1(0)) in log eps, i > K: what they are, and how far from it they may be. That of tanh is
# 2, since phi''(0) = 0.
TAIL_SLOPES = dict.fromkeys(PAPERS_SMOOTH, (1.0, 0.05)) | {"relu": (0.0, 0.06), "tanh": (2.0, 0.1)}
# What is algebra may be off by rounding.
ONE, ROUNDED = 1 + 1e-9, 1e-12

Family = Sequence[Runs]
Measure = Callable[[Runs], np.ndarray]


def claims(results: xr.DataTree) -> list[Claim]:
    """The verdict on what the config names as its study."""
    found = runs(results)
    judged = {"theorem": _theorem, "decay": _decay, "tail": _tail}
    return list(judged[found[0].config.study](found))


# Theorem D.11 and Figure 3. -------------------------------------------------------------------------------------------


def _theorem(found: Family) -> Iterator[Claim]:
    smooth = [r for r in found if r.phi.is_smooth]
    for r in found:
        yield from _figure_3(r)
    yield from _first_form(found)
    yield from _second_form(smooth)
    yield from _gradient_interval(smooth)
    yield from _wedin(found)
    for r in smooth:
        yield from _turning(r)


def _figure_3(r: Runs) -> Iterator[Claim]:
    """The share of block 1 in the change of W_1, and that of a random subspace's."""
    about: dict[str, Any] = {"id": "F3", "figure": "Fig. 3"}
    for step, bound in ((100, 0.99), (250, 0.97)):
        share, random = (ft.partial(_share, name=name, step=step) for name in ("blocks", "random_blocks"))
        statement = f"{r.label}: block 1's share in the change of W_1 at t = {step}"
        if r.phi.name in PAPERS_SMOOTH and r.config.net.scale == SCALE:
            about_bound: dict[str, Any] = about | {"relation": ">=", "bound": bound, "as_stated": True}
            yield _judged([r], share, statement=statement, lasting=step, **about_bound)
        else:
            yield _reported([r], share, statement=statement, lasting=step, statistic="min", **about)
        statement += ", of a random S_big of 2K dimensions"
        yield _reported([r], random, statement=statement, lasting=step, statistic="max", **about)


def _first_form(found: Family) -> Iterator[Claim]:
    """What is algebra: it holds for any activation, at every step of every run."""
    about: dict[str, Any] = {"id": "D.11", "figure": "Theorem D.11"}
    names = ", ".join(dict.fromkeys(r.label for r in found))
    statement = f"W_1(0): ||W~_2||, ||W~_3|| and | ||W~_4|| / sqrt p - eps | over eps ({names})"
    yield _judged(found, _initial_blocks, statement=statement, relation="<=", bound=ROUNDED, **about)
    form = "||W~_i(t+1) - W~_i(t)||_F / (sqrt p eta rho(t)), i = 2, 3, 4"
    statement = f"first form: largest {form} of any step ({names})"
    yield _judged(found, _largest_step, statement=statement, relation="<=", bound=ONE, **about)
    for r in (r for r in found if r.phi.name in PAPERS_SMOOTH):
        statement = f"{r.label}: the first form is not vacuous: its largest ratio"
        yield _judged([r], _largest_step, statement=statement, relation=">=", bound=0.6, as_stated=True, **about)
    statement = (
        "the proof ends in ||W~_i(t+1) - W~_i(t)||_F <= eta rho(t), which lacks sqrt p and is false: largest ratio"
    )
    lacking: dict[str, Any] = about | {"kind": "printed", "relation": ">", "bound": ONE}
    yield _judged(found, _largest_step_lacking_p, statement=statement, **lacking)


def _second_form(smooth: Family) -> Iterator[Claim]:
    """What needs the assumptions; the constants of Assumption 3.4 are the least that hold at every step seen."""
    about: dict[str, Any] = {"id": "D.11", "figure": "Theorem D.11"}
    at_most_1: dict[str, Any] = about | {"relation": "<=", "bound": 1.0}
    statement = "eta gamma_L, M the largest residual of the run: eta <= 1/gamma_L"
    yield _judged(smooth, _steepness, statement=statement, as_stated=True, **at_most_1)
    statement = "the condition on eps: r(eps) over phi'(0) sigma_K(W_2^T Y X^T) / 2"
    below_1: dict[str, Any] = about | {"relation": "<", "bound": 1.0}
    yield _judged(smooth, _condition, statement=statement, as_stated=True, **below_1)
    statement = "second form at t = 0, as it should read: rho(0) over r(eps)"
    yield _judged(smooth, _initial_rate, statement=statement, **at_most_1)
    statement = "second form at t = 0 as printed, sqrt p times looser: rho(0) over r(eps) sqrt p"
    yield _reported(smooth, _initial_rate_with_p, statement=statement, statistic="max", **about)
    statement = "Lemma D.9: largest A(t) / delta(t), t >= 1"
    yield _judged(smooth, _turned_of_delta, statement=statement, **at_most_1)
    statement = "second form: largest rho(t) over its bound, t >= 1"
    yield _judged(smooth, _rate_of_bound, statement=statement, **at_most_1)
    statement = "looseness of the second form: median over t of its bound over rho(t)"
    yield _reported(smooth, _looseness, statement=statement, **about)


def _gradient_interval(smooth: Family) -> Iterator[Claim]:
    about: dict[str, Any] = {"id": "D.8", "figure": "Lemma D.8"}
    for r in smooth:
        where = f"{r.label}, eps = {r.config.net.scale:g}"
        statement = f"{where}: largest |sigma_i(G_1(0)) - centre of its interval| over r(eps), i = 1..d"
        yield _judged([r], _off_centre, statement=statement, relation="<=", bound=1.0, **about)
        statement = f"{where}: looseness of the interval, r(eps) over that distance"
        yield _reported([r], lambda r: 1 / _off_centre(r), statement=statement, **about)


def _wedin(found: Family) -> Iterator[Claim]:
    about: dict[str, Any] = {"id": "Wedin", "figure": "eq. 17, Lemma D.5", "relation": "<=", "bound": ONE}
    terms = "||G_1(t) - G_1(0)||_F / (sigma_K(G_1(0)) - sigma_{K+1}(G_1(t)))"
    yield _judged(found, _turned_of_17, statement=f"largest A(t) over {terms}, t >= 1", **about)
    statement = "the same with the change projected as in Lemma D.5's proof, which is sharper"
    yield _judged(found, _turned_of_wedin, statement=statement, **about)


def _turning(r: Runs) -> Iterator[Claim]:
    """Why the bound is small although the gradient's leading subspaces end where they were not."""
    about: dict[str, Any] = {"id": "A(t)", "figure": "Theorem 3.5"}
    for step in (10, 100):
        statement = f"{r.label}: A({step}) / sqrt K; 1 is orthogonal to the leading subspaces of t = 0"
        yield _reported([r], ft.partial(_turned, step=step), statement=statement, lasting=step, **about)
    about |= {"as_stated": True, "lasting": 250}
    statement = f"{r.label}: A(t) tends to sqrt K: A(250) / sqrt K"
    yield _judged([r], ft.partial(_turned, step=250), statement=statement, relation=">=", bound=0.95, **about)
    statement = (
        f"{r.label}: by then sigma_1 has decayed: sigma_1(t) / sigma_1(0) of G_1 where A(t) first exceeds sqrt K / 2"
    )
    yield _judged([r], _decayed, statement=statement, relation="<=", bound=0.1, **about)


# Figures 12 and 13. ---------------------------------------------------------------------------------------------------


def _decay(found: Family) -> Iterator[Claim]:
    for r in (r for r in found if r.config.net.scale == SCALE):
        yield from _figure_12(r)
        yield from _rise(r)
    about: dict[str, Any] = {"id": "F13", "figure": "Fig. 13", "relation": "<=", "bound": 0.01, "as_stated": True}
    for r in found:
        statement = f"{r.label}, eps = {r.config.net.scale:g}: largest sigma_{{K+1}}(G_1(t)) / sigma_K(W_2^T Y X^T)"
        yield _judged([r], _tail_share, statement=statement, **about)


def _figure_12(r: Runs) -> Iterator[Claim]:
    """Steps and rises are relative to ||G_1(0)||_F."""
    about: dict[str, Any] = {"id": "F12", "figure": "Fig. 12", "as_stated": True}
    statement = f"{r.label}: ||G_1||_F strictly decreases to t = 100: its largest change in a step over ||G_1(0)||_F"
    early = ft.partial(_largest_change, first=0, last=100)
    yield _judged([r], early, statement=statement, relation="<", bound=0.0, lasting=100, **about)
    statement = f"{r.label}: largest change of ||G_1||_F in a later step, t = 100..250, over ||G_1(0)||_F"
    late = ft.partial(_largest_change, first=100, last=250)
    yield _judged([r], late, statement=statement, relation="<=", bound=1e-5, lasting=250, **about)
    statement = f"{r.label}: largest sigma_i(G_1(t)) / sigma_i(G_1(0)), i <= K, over ||G_1(t)||_F / ||G_1(0)||_F"
    yield _judged([r], _excess, statement=statement, relation="<=", bound=MOST_EXCESS, lasting=250, **about)
    statement = (
        f"{r.label}: '||G_1||_F monotonically decays throughout training' is false: its largest change in a step"
    )
    ever, printed = ft.partial(_largest_change, first=0, last=250), {"kind": "printed", "statistic": "max"}
    yield _judged([r], ever, statement=statement, relation=">", bound=1e-8, lasting=250, **printed, **about)


def _rise(r: Runs) -> Iterator[Claim]:
    """Assumption 3.4 asks for a decay without end."""
    about: dict[str, Any] = {"id": "F12", "figure": "Fig. 12, Assumption 3.4", "lasting": 250}
    statement = f"{r.label}: fraction of members in which ||G_1||_F rises in some step to t = 250"
    yield _reported([r], lambda r: np.any(_rising(r), axis=1), statement=statement, statistic="fraction", **about)
    if _rising(r).any():
        statement = f"{r.label}: first step of that rise, in the members that have one"
        yield _reported([r], _first_rise, statement=statement, **about)
    statement = f"{r.label}: the whole rise of ||G_1||_F above its least value, to t = 250, over ||G_1(0)||_F"
    yield _reported([r], _whole_rise, statement=statement, statistic="max", **about)
    statement = f"{r.label}: the floor ||G_1(250)||_F / ||G_1(0)||_F"
    yield _reported([r], lambda r: r.norm_ratio[:, r.at(250)], statement=statement, **about)


# Figure 11 and Proposition B.1. ---------------------------------------------------------------------------------------


def _tail(found: Family) -> Iterator[Claim]:
    squares = [r for r in found if r.config.net.init == "normal"]
    spectra = [r for r in found if r.config.net.init == "orthogonal"]
    for name in dict.fromkeys(r.phi.name for r in spectra):
        yield from _figure_11([r for r in spectra if r.phi.name == name])
    yield from _gradient_interval([r for r in spectra if r.phi.is_smooth])
    yield from _relu_bound(squares)


def _figure_11(family: Family) -> Iterator[Claim]:
    """One activation at every eps."""
    about: dict[str, Any] = {"id": "F11", "figure": "Fig. 11", "relation": "<=", "as_stated": True}
    label, K = family[0].label, family[0].classes
    slope, margin = TAIL_SLOPES[family[0].phi.name]
    statement = f"{label}: |slope of log sigma_i(G_1(0)) in log eps{f' - {slope:g}' if slope else ''}|, i > K"
    yield _sloping(family, slice(K, None), slope, statement=statement, bound=margin, **about)
    statement = f"{label}: |slope of log sigma_i(G_1(0)) in log eps|, i <= K"
    yield _sloping(family, slice(K), 0.0, statement=statement, bound=0.02, **about)


def _sloping(family: Family, part: slice, slope: float, **about: Any) -> Claim:
    """Judge one number per seed, from its runs at every eps."""
    reason = "a slope asks for two eps or more" if len(family) < 2 else ""
    outside = _outside(family) if about.pop("as_stated") else ""

    def off(family: Family) -> np.ndarray:
        return np.abs(slopes(family)[:, part] - slope).max(1)

    return over(family, off, reason=reason, outside=outside, paper=PAPER, **about)


def _relu_bound(squares: Family) -> Iterator[Claim]:
    about: dict[str, Any] = {"id": "B.1", "figure": "Prop. B.1"}
    shapes = dict.fromkeys(map(_shape, squares))
    sizes = ", ".join(f"d = {d}, m = {m}" for d, _, m in shapes)
    statement = f"the bound over sigma_{{d-K}}(G_1(0)): never violated ({sizes})"
    yield _judged(squares, _bound_share, statement=statement, relation="<=", bound=1.0, **about)
    for shape in shapes:
        where = "d = N = {}, K = {}, m = {}".format(*shape)
        family = [r for r in squares if _shape(r) == shape]
        if shape == SQUARE:
            yield _judged(family, _bound, statement=f"{where}: the bound", relation=">", bound=0.0, **about)
            statement = f"{where}: the bound over what it bounds"
            yield _judged(family, _bound_share, statement=statement, relation="<", bound=1.0, **about)
        else:
            statement = f"{where}: fraction of members for which the bound is positive"
            yield _reported(family, lambda r: _bound(r) > 0, statement=statement, statistic="fraction", **about)
        yield _reported(family, _bounded_value, statement=f"{where}: sigma_{{d-K}}(G_1(0))", **about)


# Measures: one number per member. -------------------------------------------------------------------------------------


def _share(r: Runs, name: str, step: int) -> np.ndarray:
    return r.fractions(name)[:, r.at(step) - 1, 0]


def _initial_blocks(r: Runs) -> np.ndarray:
    sizes, scale = np.sqrt(r.seen["weight_blocks"][:, 0]), r.config.net.scale
    idle = np.abs(sizes[:, 3] / r.num_small**0.5 - scale)
    return np.maximum(idle, sizes[:, 1:3].max(-1)) / scale


def _largest_step(r: Runs) -> np.ndarray:
    return r.step_ratio.max(1)


def _largest_step_lacking_p(r: Runs) -> np.ndarray:
    return r.num_small**0.5 * _largest_step(r)


def _steepness(r: Runs) -> np.ndarray:
    return r.config.opt.step_size * r.lipschitz


def _condition(r: Runs) -> np.ndarray:
    return 2 * r.seen["spread"][:, 0] / (r.phi.slope_at_zero * r.leading_target[:, -1])


def _initial_rate(r: Runs) -> np.ndarray:
    return r.rate[:, 0] / r.seen["spread"][:, 0]


def _initial_rate_with_p(r: Runs) -> np.ndarray:
    return _initial_rate(r) / r.num_small**0.5


def _turned_of_delta(r: Runs) -> np.ndarray:
    return (r.turned[:, 1:] / r.second_form().delta).max(1)


def _rate_of_bound(r: Runs) -> np.ndarray:
    return (r.rate[:, 1:] / r.second_form().rate).max(1)


def _looseness(r: Runs) -> np.ndarray:
    return np.median(r.second_form().rate / r.rate[:, 1:], axis=1)


def _off_centre(r: Runs) -> np.ndarray:
    """The centres are phi'(0) sigma_i(W_2^T Y X^T), which is 0 beyond i = K."""
    centre = r.phi.slope_at_zero * r.seen["target_values"][:, 0]
    return np.abs(r.values[:, 0] - centre).max(-1) / r.seen["spread"][:, 0]


def _turned_of_17(r: Runs) -> np.ndarray:
    """0 where the gap has closed, for the bound is then infinite."""
    gap = np.maximum(r.values[:, :1, r.classes - 1] - r.tail[:, 1:], 0)
    return (r.turned[:, 1:] * gap / r.seen["gradient_change"][:, 1:]).max(1)


def _turned_of_wedin(r: Runs) -> np.ndarray:
    return (r.turned[:, 1:] / r.seen["wedin_bound"][:, 1:]).max(1)


def _turned(r: Runs, step: int) -> np.ndarray:
    return r.turned[:, r.at(step)] / r.classes**0.5


def _decayed(r: Runs) -> np.ndarray:
    turned = r.turned > r.classes**0.5 / 2
    leading = r.values[..., 0] / r.values[:, :1, 0]
    return np.where(turned.any(1), leading[np.arange(len(turned)), turned.argmax(1)], np.nan)


def _largest_change(r: Runs, first: int, last: int) -> np.ndarray:
    return np.diff(r.norm_ratio[:, r.at(first) : r.at(last) + 1], axis=1).max(1)


def _excess(r: Runs) -> np.ndarray:
    return (r.value_ratio / r.norm_ratio).max(1)


def _rising(r: Runs) -> np.ndarray:
    return np.diff(r.norm_ratio[:, r.steps <= 250], axis=1) > 0


def _first_rise(r: Runs) -> np.ndarray:
    rising = _rising(r)
    return r.steps[rising.argmax(1)[rising.any(1)]]


def _whole_rise(r: Runs) -> np.ndarray:
    return r.norm_ratio[:, r.at(250)] - r.norm_ratio[:, r.steps <= 250].min(1)


def _tail_share(r: Runs) -> np.ndarray:
    return r.tail.max(1) / r.leading_target[:, -1]


def _shape(r: Runs) -> tuple[int, int, int]:
    return r.config.data.dimension, r.classes, r.config.net.width


def _bound(r: Runs) -> np.ndarray:
    return r.seen["relu_bound"][:, 0]


def _bounded_value(r: Runs) -> np.ndarray:
    return r.values[:, 0, -r.classes - 1]


def _bound_share(r: Runs) -> np.ndarray:
    return _bound(r) / _bounded_value(r)


# What is said of a family of runs. ------------------------------------------------------------------------------------


def _judged(family: Family, measure: Measure, *, as_stated: bool = False, lasting: int = 0, **about: Any) -> Claim:
    """One number per member, unless the runs are too short; not judged where the bound is for another setting."""
    last = min((r.steps[-1] for r in family), default=0)
    reason = f"the runs end at t = {last}" if last < lasting and family else ""
    about |= {"missing": "no run of this config is of that kind", "outside": _outside(family) if as_stated else ""}
    return over(family, each(measure), reason=reason, paper=PAPER, **about)


_reported = ft.partial(_judged, kind="report")


def _outside(family: Family) -> str:
    """Why the figures' bounds do not apply; empty if they do."""
    ours = all(leaves(r.config)[field] == value for r in family for field, value in SETTING.items())
    return "" if ours else "stated for d = 64, N = 1000, K = 4, m = 72, eta = .01"
