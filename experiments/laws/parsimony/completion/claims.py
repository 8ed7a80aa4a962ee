"""The claims on deep matrix completion: Figures 4, 5 and 6, and the sampling complexity, of Yaras et al. 2023."""

from collections.abc import Callable, Sequence

import numpy as np

from experiments.laws.parsimony.completion.measures import (
    capped,
    compared,
    degrees_of_freedom,
    fall,
    final_recovery,
    mean_distance,
    narrow_over_compressed,
    over,
    path_distances,
    share_needed,
    spread_of_steps,
    steps_to_tolerance,
)
from experiments.runner.controls import in_row
from experiments.runner.laws import NO_SUCH_VARIANT, Law, Source, across, differing_in, measure, of_size, stated_for
from experiments.runner.runs import Run, Where, find, grouped, where
from experiments.runner.summary import final

PAPER = "Yaras et al. 2023"
RECOVERED = 1e-6
EPS, TOLERANCE = {"net__scale": 1e-3}, {"opt__tolerance": 1e-10}
SETTING_4 = where(data__size=100, data__rank=10, data__observed=0.3, **EPS, **TOLERANCE)
SETTING_5_6 = where(
    data__size=lambda size: size >= 300, data__rank=5, data__observed=0.2, net__depth=3, **EPS, **TOLERANCE
)
SETTING_SAMPLES = where(data__size=lambda size: size >= 60, **EPS, **TOLERANCE)
STATED_4 = stated_for("d = 100, r = 10, 30% observed, eps = 1e-3", SETTING_4)
STATED_5_6 = stated_for("d of 300 or more, r = 5, 20% observed, L = 3, eps = 1e-3", SETTING_5_6)

STATED_SAMPLES = stated_for("d of 60 or more, eps = 1e-3, tolerance 1e-10", SETTING_SAMPLES)

recovery = measure(final_recovery)
width_speeds_up = across(lambda pair: over(steps_to_tolerance(pair[0], np.inf), steps_to_tolerance(pair[1])))
mean_of_path = across(lambda pair: mean_distance(*pair))
last_distance = across(lambda pair: path_distances(*pair)[:, -1])
speed_at_start = measure(lambda run: run.first("outer_over_core"))
speed_at_end = measure(lambda run: run.last("outer_over_core"))
harm_of_rest = across(lambda pair: over(*map(final_recovery, pair)))

deep_10, deep_100 = (where(net__depth=3, net__width=width) for width in (10, 100))
deep, shallow = (where(net__kind="full", net__depth=depth) for depth in (3, 2))
narrow = where(net__kind="narrow", net__depth=3)
still, slow, faster, fast = (where(net__kind="compressed", opt__discrepancy=gamma) for gamma in (0.0, 0.01, 0.1, 1.0))


def not_compared(found: Sequence[Run]) -> str:
    """The objection to runs without a narrow and a compressed network of one estimated rank."""
    return "" if compared(found) else NO_SUCH_VARIANT


def apart_from_full(found: Sequence[Run]) -> dict[str, np.ndarray] | None:
    """The largest distance of each compressed network's path from that of the original one, by gamma."""
    studied = find(found, study="gamma")
    full, compressed = (find(studied, net__kind=kind) for kind in ("full", "compressed"))
    gammas = {f"gamma = {run.config.opt.discrepancy:g}": run for run in compressed}
    return {gamma: path_distances(run, full[0]).max(1) for gamma, run in gammas.items()} if full else None


def compressed_over_full(of: Callable[[Run], np.ndarray]) -> Callable[[Sequence[Run]], np.ndarray | None]:
    """A measure of the compressed network of gamma = 0.01 over that of the network that it stands for, seed by seed."""

    def ratios(found: Sequence[Run]) -> np.ndarray | None:
        compressed, full = list(filter(slow, find(found, study="gamma"))), find(found, study="gamma", net__kind="full")
        return over(of(compressed[0]), of(full[0])) if compressed and full else None

    return ratios


def observed_over_freedom(run: Run) -> float:
    """Entries that are observed over the degrees of freedom of the matrix."""
    data = run.config.data
    return data.observed * data.size**2 / degrees_of_freedom(data)


def shares_over(first: Where, second: Where) -> Callable[[Sequence[Run]], np.ndarray]:
    """The share of entries that one network needs over that of another one, seed by seed; NaN where none is enough."""

    def ratios(found: Sequence[Run]) -> np.ndarray:
        needed = [share_needed(list(filter(fits, found)), RECOVERED) for fits in (first, second)]
        with np.errstate(invalid="ignore"):  # neither network recovers at the largest share
            return over(*needed)

    return ratios


def narrow_shares(found: Sequence[Run]) -> np.ndarray | None:
    """The share of entries that the narrow network needs over that of the compressed one of gamma = 0.01."""
    sampled = find(found, study="sampling")
    both = any(map(narrow, sampled)) and any(map(slow, sampled))
    return shares_over(narrow, slow)(sampled) if both else None


def of_same_shares(found: Sequence[Run]) -> str:
    """The objection to networks that were not run on the same shares of entries."""
    shares = [{run.config.data.observed for run in runs} for runs in grouped(found, lambda run: run.variant).values()]
    return "" if len(shares) == 2 and shares[0] == shares[1] else "it compares two networks on the same shares"


def full_recovers(found: Sequence[Run]) -> str:
    """The objection to shares of which none is enough for the full network of depth 3."""
    needed = share_needed([run for run in found if deep(run)], RECOVERED)
    lost = int(np.isinf(needed).sum())
    return f"the largest share is not enough for the full network in {lost} of {len(needed)} members" if lost else ""


F4 = Source(paper=PAPER, figure="Fig. 4", of=where(study="depth_width"), stated=(STATED_4,))
F5 = Source(paper=PAPER, figure="Fig. 5", of=where(study="compressed"), stated=(STATED_5_6,))
BY_ESTIMATE = (differing_in("net.rank"),)
F6 = Source(paper=PAPER, figure="Fig. 6", of=where(study="gamma"), stated=(STATED_5_6,))
OUTER = Source(paper=PAPER, figure="Section 4.1", of=where(study="gamma"), stated=(STATED_5_6,))
S41 = Source(paper=PAPER, figure="Section 4.1", of=where(study="sampling"), stated=(STATED_SAMPLES,))
# Who has not fitted the observed entries has not recovered the others either.
FITTED = of_size("the fall of the loss, 1 - last / first,", fall, 0.9)
AT_END = "recovery error (mean) at the end"
DEPTH = f"L = 3 recovers the matrix at every width: {AT_END}"
SHALLOW = f"L = 2 of width 20 and more overfits: {AT_END}"
WIDTH = "L = 3: steps to the tolerance at width 100 / at width 10 (capped there: an upper bound)"
RATIO = "steps to the tolerance, narrow / compressed, at every r^ (a capped narrow network: a lower bound)"
SPREAD = "the compressed network's steps vary little with r^: (most - fewest) / fewest, seed by seed"
REST = "outer factors at rest do not recover: final recovery error, gamma = 0 / gamma = 0.01"
PATH = "||P(t) - P_full(t)||_F / ||P_full||_F, P = U_Phi^T W_{L:1} V_Phi"
MIRRORS = f"gamma = 0.01 'closely mirrors' the trajectory of the original network: mean of {PATH}, to its last step"
DEVIATES = f"gamma = 0 deviates 'during the later stages of training': {PATH}, at the end"
DIVERGES = "gamma = 1 diverges: fraction of its members that met a value that is not finite"
SLOWER = (
    "gamma = 0.01, outer factors 'are changing much more slowly compared to the compressed weights', as they would "
    "with one step size: norm of the gradient in U_{L,1} and V_{1,1} over that in W~_1, ..., W~_L,"
)
NEEDED = "least share of entries from which on a seed is recovered (error < 1e-6)"
FEWER = f"the full network of depth 3 needs fewer entries than that of depth 2: {NEEDED}, L = 2 / L = 3"
ENOUGH = f"twice as many entries as degrees of freedom are enough for the full and the compressed network: {AT_END}"
TOO_FEW = f"control: fewer entries than degrees of freedom, r (2d - r), are enough for no network: {AT_END}"


def same_samples(id: str, network: Where, gamma: str) -> tuple[Law, Law]:
    """The compressed network of this gamma needs no more entries than the full one, in the mean and for each seed."""

    def law(id: str, statistic: str, words: str) -> Law:
        return S41.law(
            id,
            f"compressed ({gamma}) needs no more entries than the full network, {words}: {NEEDED}, compressed / full",
            across(shares_over(network, deep)) <= 1,
            lambda run: network(run) or deep(run),
            statistic=statistic,
            needs=(of_same_shares,),
            awaits=(full_recovers,),
        )

    return law(id, "mean", "mean over the seeds"), law(f"{id}_worst", "worst", "each seed")


LAWS = (
    F4.law("F4.recovery", DEPTH, recovery < RECOVERED, where(net__depth=3)),
    F4.law(
        "F4.overfitting",
        SHALLOW,
        recovery > 1e-4,
        where(net__depth=2, net__width=lambda width: width >= 20),
        vacuous=(FITTED,),
    ),
    F4.law("F4.width", WIDTH, width_speeds_up < 0.6, (deep_100, deep_10)),
    F5.law("F5.ratio", RATIO, across(narrow_over_compressed) > 1.5, needs=(not_compared,)),
    F5.law("F5.spread", SPREAD, across(spread_of_steps) < 0.05, where(net__kind="compressed"), needs=BY_ESTIMATE),
    F6.law("F6.ratio", REST, harm_of_rest > 1e4, (still, slow)),
    F6.law("F6.recovery", f"gamma = 0.01 recovers the matrix: {AT_END}", recovery < RECOVERED, slow),
    F6.law("F6.mirrors", MIRRORS, mean_of_path < 0.05, (slow, deep), control=in_row("F6.deviates")),
    F6.law("F6.deviates", DEVIATES, last_distance > 0.1, (still, deep), control=in_row("F6.mirrors")),
    F6.law(
        "F6.divergence",
        DIVERGES,
        measure(lambda run: run.diverged).equals(1.0),
        fast,
        statistic="fraction",
        counts_divergence=True,
    ),
    OUTER.law("S4.1.outer", f"{SLOWER} at the start", speed_at_start < 0.1, slow),
    OUTER.law("S4.1.outer_late", f"{SLOWER} at the last step", speed_at_end < 1, slow),
    *same_samples("S4.1.samples", slow, "gamma = 0.01"),
    *same_samples("S4.1.samples_faster", faster, "gamma = 0.1"),
    S41.law(
        "S4.1.depth",
        FEWER,
        across(shares_over(shallow, deep)) > 1,
        lambda run: shallow(run) or deep(run),
        needs=(of_same_shares,),
        awaits=(full_recovers,),
    ),
    S41.law(
        "S4.1.enough",
        ENOUGH,
        recovery < RECOVERED,
        lambda run: (run.config.net.kind == "compressed" or deep(run)) and observed_over_freedom(run) >= 2,
    ),
    S41.law("S4.1.too_few", TOO_FEW, recovery > 1e-3, lambda run: observed_over_freedom(run) < 1, vacuous=(FITTED,)),
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
    f"{NEEDED}, narrow / compressed (gamma = 0.01)": narrow_shares,
    f"largest distance on the way, {PATH}": apart_from_full,
    f"steps to the tolerance, {COMPARED}": compressed_over_full(lambda run: steps_to_tolerance(run, np.nan)),
}
