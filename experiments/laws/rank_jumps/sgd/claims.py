"""The claims of rank jumps as they happen: Figures 1 to 4 of Wang and Jacot 2024, and that jumps go one way."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from ml_collections import ConfigDict

from experiments.laws.rank_jumps.sgd.measures import Runs, find, high_periods, runs, wilson
from experiments.runner.claims import Claim, judge, not_run, report
from lawlib.theory.rank_jumps_landscape import local_minimum

__all__ = ["STUDIES", "claims", "critical_ratio"]

PAPER = "Wang and Jacot 2024"
STUDIES = ("annealing", "depth", "epsilon", "periodic")
# Fewer members leave an interval too wide to judge a frequency by.
ENOUGH = 64
# A run is on its plateau from the first of these steps on and until so many before its jump, which takes some hundred
# steps; after so many, s2 has fallen for good. An offshoot is told apart so many steps from the jump.
PLATEAU_FROM, BEFORE, AFTER, APART = 1000, 500, 1000, 500
# Between these, sigma_2(W_1) falls in a straight line: below, it meets rounding.
FALLS_FROM, FALLS_TO = 1e-2, 1e-13
# A network whose ||A||_F is below has fallen to rank 0: at rank 1 it is about 1.
GONE = 1e-6
NOT_JUMPED = "a diverged member has not jumped"

Found = Sequence[Runs]


def claims(results: xr.DataTree) -> list[Claim]:
    """The verdict on the figure that the config names as its study."""
    judged = {"annealing": _annealing, "depth": _depth, "epsilon": _epsilon, "periodic": _periodic}
    found = runs(results)
    return list(judged[found[0].config.study](found))


# Figure 1. ------------------------------------------------------------------------------------------------------------


def _annealing(found: Found) -> Iterator[Claim]:
    plain = find(found, opt__form="figures", monitor__put_back="never", monitor__imbalance=False)
    family = find(plain, opt__draws="with_replacement", net__init="uniform")
    if family:
        yield from _annealed(max(family, key=lambda r: r.branch))
        yield from _branches(family)
    yield from _alternatives(find(plain, opt__draws="without_replacement"), find(plain, net__init="normal"))
    yield from _forgetting(family, find(plain, net__init="normal"))
    yield from _one_way(find(found, monitor__put_back="low"), find(found, monitor__put_back="high"))
    yield from _printed(find(found, opt__form="main_text"), find(found, opt__form="appendix"))
    for r in find(found, monitor__imbalance=True):
        yield _balance(r)


def _annealed(main: Runs) -> Iterator[Claim]:
    """When the long runs jump, where they were before and where they are afterwards."""
    about: dict[str, Any] = {"id": "F1", "figure": "Fig. 1"}
    jump, at = main.jump, f"eps = {main.epsilon:g}, L = {main.config.net.depth}"
    statement = f"{at}: no jump by t = 1000; step of the jump"
    yield _law(main, values=jump, statement=statement, relation=">", bound=1000.0, needs=1000, **about)
    for until, relation, bound in ((5000, ">=", 0.4), (5000, "<=", 0.8), (20_000, ">", 0.85)):
        statement = f"{at}: fraction that has jumped by t = {until} ({NOT_JUMPED})"
        yield _fraction(main, jump <= until, statement, relation, bound, needs=until, **about)
    plateau, critical = _plateau(main), critical_ratio(main.config, main.epsilon)
    statement = f"{at}: s2/s1 before the jump, the median over a member's steps {PLATEAU_FROM} to jump - {BEFORE}"
    values = plateau[~np.isnan(plateau)]
    yield _law(main, values=values, statement=statement, relation=">", bound=0.1, needs=5000, **about)
    statement = f"{at}: |median of those / {critical:.3f} - 1|, with s2/s1 at the critical point of rank 2"
    values = [abs(np.median(values) / critical - 1)] if values.size else []
    yield _law(main, values=values, statement=statement, relation="<", bound=0.15, needs=5000, **about)
    low = _after(main)
    statement = f"{at}: s2/s1 from {AFTER} steps after the jump on, its largest value"
    yield _law(main, values=low, statement=statement, relation="<", bound=1e-6, needs=20_000, **about)
    rate, law = _decline(main), _high_rate(main.config)
    statement = f"{at}: after the jump log sigma_2(W_1) falls at the rate log(1 - eta lambda) = {law:.5f}: off by"
    yield _law(main, values=np.abs(rate / law - 1), statement=statement, relation="<", bound=0.15, needs=8000, **about)


def _branches(family: Found) -> Iterator[Claim]:
    """Cooled after the jump a run finds the entry, cooled before it does not."""
    about: dict[str, Any] = {"id": "F1", "figure": "Fig. 1"}
    jump = max(family, key=lambda r: r.branch).jump
    where = (
        ("after", lambda r: r.branch >= jump + APART, "<", 0.02),
        ("before", lambda r: r.branch <= jump - APART, ">", 0.25),
    )
    for word, chosen, relation, bound in where:
        values = np.concatenate([r.error[chosen(r) & ~r.bad, -1] for r in family])
        statement = f"offshoots that begin {APART} steps or more {word} the jump of their run: relative test error"
        source = about | {"statement": statement}
        yield _law(
            family[0], values=values, relation=relation, bound=bound, needs=1000, diverged=_bad(family), **source
        )


def _alternatives(unreplaced: Found, normal: Found) -> Iterator[Claim]:
    for r in unreplaced:
        about: dict[str, Any] = {"id": "F1.epochs", "figure": "Section 3.2, limitations"}
        statement = f"sampling without replacement: fraction that jumps in 20000 steps ({NOT_JUMPED})"
        yield _fraction(r, r.jump <= 20_000, statement, "<=", 0.1, needs=20_000, **about)
    for r in normal:
        for until in (5000, 20_000):
            statement = f"W(0) ~ N(0, 1/w) in every layer: fraction that has jumped by t = {until} ({NOT_JUMPED})"
            yield _reported(r, r.jump <= until, id="F1.normal", figure="Fig. 1", statement=statement)


def _forgetting(family: Found, normal: Found) -> Iterator[Claim]:
    """Runs of one seed draw the same entries: the plateau forgets W(0), and the entries alone decide on the jump."""
    about: dict[str, Any] = {"id": "F1.normal", "figure": "Fig. 1"}
    statement = (
        "seeds that jump at the very same step from N(0, 1/w) and from uniform weights, with the same entries drawn"
    )
    for r in normal if family else ():
        yield _reported(r, r.jump == max(family, key=lambda r: r.branch).jump, statement=statement, **about)


def _one_way(low: Found, high: Found) -> Iterator[Claim]:
    """No state of low rank returns; the monitor sees one that is put back to rank 2."""
    about: dict[str, Any] = {"id": "one way", "figure": "Theorem 3.2"}
    for r in low:
        monitored, highest = r.values("monitored")[~r.bad, -1], r.values("highest")[~r.bad, -1]
        statement = "steps watched from states with s2/s1 in [1e-4, 1e-3], where a run that falls lower is put back"
        yield _law(r, values=[monitored.sum()], statement=statement, relation=">=", bound=1e6, needs=20_000, **about)
        statement = f"over those steps none returns above .05: largest s2/s1 ({monitored.sum():.3g} steps)"
        yield _law(
            r, values=highest[monitored > 0], statement=statement, relation="<=", bound=0.05, needs=20_000, **about
        )
    for r in high:
        monitored, returned = r.values("monitored")[:, -1], r.values("returned")[:, -1]
        share = returned[monitored > 0] / monitored[monitored > 0]
        statement = (
            "control: the same monitor, put back to rank 2 in place of that, sees s2/s1 > .05; fraction of steps"
        )
        yield _law(r, values=share, statement=statement, relation=">", bound=0.5, needs=8000, **about)


def _printed(main_text: Found, appendix: Found) -> Iterator[Claim]:
    about: dict[str, Any] = {"kind": "printed", "id": "update", "figure": "Section 3, Fig. 1"}
    for r in main_text:
        size = np.linalg.norm(r.values("product")[:, -1], axis=(1, 2))
        statement = f"the main text's update with Figure 1's numbers collapses to A = 0: ||A||_F at t = {r.end}"
        yield _law(r, values=size, statement=statement, relation="<", bound=1e-3, needs=5000, **about)
    for r in appendix:
        statement = "the appendix's update with Figure 1's numbers has no plateau: every run is at rank 1 by this step"
        yield _law(r, values=r.jump, statement=statement, relation="<", bound=1000.0, needs=5000, **about)
        statement = "and what takes it there is no chance: latest over earliest of those steps"
        spread = [r.jump.max() / r.jump.min()]
        yield _law(r, values=spread, statement=statement, relation="<", bound=1.5, needs=5000, **about)


def _balance(r: Runs) -> Claim:
    """||W_{l+1}^T W_{l+1} - W_l W_l^T|| falls by (1 - eta lambda)^2 a step, exp(-4 lambda' t) in the flow's time."""
    eta, decay = r.config.schedule.tail
    sizes = r.values("imbalance")
    measured = np.log(sizes[:, -1] / sizes[:, 0]) / r.steps[-1]
    off = np.abs(measured / (-2 * eta * decay) - 1).max(1)
    statement = f"balance decays like exp(-4 lambda' t) at eta = {eta:g}, where SGD is near its flow: rate off by"
    return _law(r, values=off, statement=statement, relation="<", bound=0.05, id="balance", figure="Section 3")


# Figures 2 to 4. ------------------------------------------------------------------------------------------------------


def _depth(found: Found) -> Iterator[Claim]:
    about: dict[str, Any] = {"id": "F2", "figure": "Fig. 2"}
    for r in found:
        statement = (
            f"eps = {r.epsilon:g}, L = {r.config.net.depth}: fraction that has jumped by t = 5000 ({NOT_JUMPED})"
        )
        expected = {3: ("<=", 0.1), 4: (">=", 0.55)}.get(r.config.net.depth)
        if expected:
            yield _fraction(r, r.jump <= 5000, statement, *expected, needs=5000, **about)
        else:
            yield _reported(r, r.jump <= 5000, statement=statement, **about)


def _epsilon(found: Found) -> Iterator[Claim]:
    about: dict[str, Any] = {"id": "F3", "figure": "Fig. 3"}
    found = sorted(found, key=lambda r: (r.epsilon, r.branch))
    for r in found:
        statement = f"eps = {r.epsilon:g}, t0 = {r.branch}: fraction with relative test error < 1/2 at the end"
        expected = _expected(r.epsilon, r.branch)
        if expected:
            yield _fraction(r, r.success, statement, *expected, **about)
        else:
            yield _reported(r, r.success, statement=statement, **about)
    grown = [r for r in found if r.epsilon == 0.1]
    rates = np.asarray([r.success.mean() for r in grown])
    statement = "eps = 0.1: success grows with t0, the largest fall from one t0 to the next"
    if len(grown) < 2 or len(grown[0].bad) < ENOUGH:
        reason = f"this profile has no {ENOUGH} runs at two t0"
        yield not_run(kind="law", paper=PAPER, statement=statement, reason=reason, **about)
    else:
        yield _law(grown[0], values=[np.max(-np.diff(rates))], statement=statement, relation="<=", bound=0.0, **about)
        yield _reaches(np.asarray([r.branch for r in grown]), rates, 0.8)


def _expected(epsilon: float, t0: int) -> tuple[str, float] | None:
    """What Figure 3 asks of a setting: a relation and a bound, None where it asks for nothing."""
    if epsilon == 0.05:
        return "<=", 0.0
    if epsilon == 0.1:
        return {0: ("<=", 0.1), 1000: ("<=", 0.1), 8000: (">=", 0.45)}.get(t0)
    if t0 == 0:
        return ("<=", 0.1) if epsilon <= 0.7 else None
    return (">=", 0.8) if t0 == 1000 and epsilon >= 0.2 else None


def _reaches(times: np.ndarray, rates: np.ndarray, target: float) -> Claim:
    source: dict[str, Any] = {"id": "F3", "figure": "Fig. 3", "paper": PAPER}
    statement = f"eps = 0.1: the t0 at which {target:.0%} succeed, between the t0 tried"
    if rates.max() < target:
        reason = f"of the longest t0 = {times[-1]}, {rates[-1]:.0%} succeed"
        return not_run(kind="report", statement=statement, reason=reason, **source)
    above = max(1, int(np.argmax(rates >= target)))
    found = np.interp(target, rates[above - 1 : above + 1], times[above - 1 : above + 1])
    return report(values=[found], statement=statement, **source)


def _periodic(found: Found) -> Iterator[Claim]:
    about: dict[str, Any] = {"id": "F4", "figure": "Fig. 4"}
    for r in found:
        jumped, at = np.isfinite(r.jump), f"eps = {r.epsilon:g}, L = {r.config.net.depth}"
        statement = f"{at}: fraction that jumps ({NOT_JUMPED})"
        yield _fraction(r, jumped, statement, ">=", 0.9, needs=20_000, **about)
        inside = np.any([(a <= r.jump[jumped]) & (r.jump[jumped] < b) for a, b in high_periods(r.config)], axis=0)
        statement = f"{at}: fraction of the jumps that happen in a period of high rates"
        yield _fraction(r, inside, statement, ">=", 1.0, needs=20_000, **about)
        # The switch to the second high period can throw a run of rank 1 on to A = 0, whose error is 1.
        error, gone = r.error[:, -1], np.linalg.norm(r.values("product")[:, -1], axis=(1, 2)) < GONE
        rank_1 = about | {"relation": "<", "bound": 0.02, "needs": 20_000, "counts_divergence": True}
        statement = f"{at}: relative test error at the end, of those that jumped (diverged members are counted apart)"
        yield _law(r, values=error[jumped], statement=statement, **rank_1)
        statement = f"{at}: the same, without the runs that jumped once more, from rank 1 to A = 0"
        yield _law(r, values=error[jumped & ~gone], statement=statement, **rank_1)
        yield _reported(r, jumped & gone, statement=f"{at}: fraction that jumps on, from rank 1 to A = 0", **about)


# Measures. ------------------------------------------------------------------------------------------------------------


def critical_ratio(config: ConfigDict, epsilon: float) -> float:
    """s2/s1 at the rank-2 minimum of C(A) + lambda' R(A; L), lambda' = lambda/4 of the schedule's tail; NaN if none."""
    minimum = local_minimum(epsilon, config.schedule.tail[1] / 4, depth=config.net.depth, rank=2)
    first, second = np.asarray(minimum.singular_values)
    return float(second / first)


def _plateau(r: Runs) -> np.ndarray:
    """Every member's median s2/s1 on its plateau; NaN where it is too short to be seen."""
    until = np.minimum(r.jump - BEFORE, r.branch)
    on = (r.steps >= PLATEAU_FROM) & (r.steps <= until[:, None]) & ~r.bad[:, None]
    ratios = np.where(on, r.values("ratio"), np.nan)
    return np.asarray([np.nanmedian(row) if np.isfinite(row).any() else np.nan for row in ratios])


def _after(r: Runs) -> np.ndarray:
    """The largest s2/s1 long after the jump, of the members that have been there."""
    later = r.steps >= r.jump[:, None] + AFTER
    return np.where(later, r.values("ratio"), -np.inf).max(1)[later.any(1)]


def _decline(r: Runs) -> np.ndarray:
    """Slope of log sigma_2(W_1) over the steps, of the members that fall all the way before they branch."""
    slopes = []
    for jump, sigma in zip(r.jump, r.values("first_sigma_2"), strict=True):
        falling = (r.steps >= jump) & (r.steps <= r.branch) & (sigma < FALLS_FROM) & (sigma > FALLS_TO)
        # The whole way: a run that branches half way down is no measure of it.
        if falling.sum() >= 5 and np.log(sigma[falling].max() / sigma[falling].min()) > 10:
            slopes.append(np.polyfit(r.steps[falling], np.log(sigma[falling]), 1)[0])
    return np.asarray(slopes)


def _high_rate(config: ConfigDict) -> float:
    eta, decay = config.schedule.tail
    return float(np.log1p(-eta * decay))


# Verdicts. ------------------------------------------------------------------------------------------------------------


def _law(
    r: Runs, *, values: Any, needs: int = 0, kind: str = "law", diverged: int | None = None, **about: Any
) -> Claim:
    """Judge a number of each member, unless the runs are too short to say anything."""
    if r.end < needs:
        source = {name: about[name] for name in ("id", "figure", "statement")}
        return not_run(kind=kind, paper=PAPER, reason=f"runs of {r.end} steps, of {needs} needed", **source)
    return judge(values=values, kind=kind, paper=PAPER, diverged=r.diverged if diverged is None else diverged, **about)


def _fraction(
    r: Runs, hits: np.ndarray, statement: str, relation: str, bound: float, *, needs: int = 0, **about: Any
) -> Claim:
    """Judge a frequency among members, its Wilson interval as the spread."""
    reported = f"{len(r.bad)} members of {r.end} steps; needed are {ENOUGH} members of {needs or r.end} steps"
    if r.end < needs:
        return not_run(kind="law", paper=PAPER, reason=reported, statement=statement, **about)
    verdict = {"statistic": "fraction", "relation": relation, "bound": bound, "counts_divergence": True}
    verdict["outside"] = reported if len(r.bad) < ENOUGH else ""
    judged = judge(kind="law", paper=PAPER, statement=statement, values=hits, diverged=r.diverged, **verdict, **about)
    return replace(judged, spread=wilson(hits)) if hits.size else judged


def _reported(r: Runs, hits: np.ndarray, **about: Any) -> Claim:
    reported = report(values=hits, statistic="fraction", paper=PAPER, diverged=r.diverged, **about)
    return replace(reported, spread=wilson(hits))


def _bad(family: Found) -> int:
    return sum(r.diverged for r in family)
