"""The claims of the theory of rank jumps (Wang and Jacot 2024): minima and their ends, B_r, Theorem B.2's bound."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from experiments.laws.rank_jumps.landscape import measures as m
from experiments.laws.rank_jumps.landscape.system import constants_of
from experiments.runner.claims import wilson
from experiments.runner.laws import Measure, Source, across, measure, stated_for
from experiments.runner.runs import Run, grouped, where
from lawlib.theory import rank_jumps as theory

FIGURES_OFFDIAGONALS = (0.05, 0.1, 0.2, 0.25)
LOW, LAST_OF_FIGURE_3 = 0.001, 4000
LOG10 = math.log(10)


def source(figure: str, *studies: str) -> Source:
    """What the paper says there, which these studies test."""
    return Source(paper="Wang and Jacot 2024", figure=figure, of=where(study=lambda study: study in studies))


def exact(of: Callable[[Run], ArrayLike]) -> Measure:
    """Numbers of exact curves or constants alone, in the setting of the first run."""
    return across(lambda found: np.ravel(of(found[0])), least=1)


# Minima and their ends. -----------------------------------------------------------------------------------------------


def last_eps(run: Run) -> float:
    """The exact eps at which the rank-2 minimum ends."""
    return m.last_offdiagonal(*m.setting(run)[1:])


def last_decay(run: Run) -> float:
    """The exact weight decay at which the rank-1 minimum ends."""
    eps, _, depth = m.setting(run)
    return 4 * m.last_ridge(eps, depth, 1)


def done(run: Run) -> np.ndarray:
    """Which members reached their tolerance."""
    return run.data.converged_at.values >= 0


def ratio(run: Run) -> np.ndarray:
    """s_2/s_1 at the end of the descents; NaN for one that is not done."""
    return np.where(done(run), m.ratio(run.last("product")), np.nan)


def largest(run: Run) -> np.ndarray:
    """s_1 at the end of the descents; NaN for one that is not done."""
    return np.where(done(run), m.singular_values(run.last("product"))[:, 0], np.nan)


@measure
def off_rank_2(run: Run) -> np.ndarray:
    """How far s_2/s_1 is from that of the exact rank-2 minimum."""
    first, second = m.minimum(*m.setting(run), 2).singular_values
    return np.abs(ratio(run) / (second / first) - 1)


def brackets(found: Sequence[Run]) -> np.ndarray:
    """For each seed the largest eps below every end at rank 1, and the smallest of those ends, shape (seed, 2)."""
    ordered = sorted(found, key=lambda run: run.config.data.offdiagonal)
    eps = np.array([run.config.data.offdiagonal for run in ordered])
    first = np.argmax(np.stack([ratio(run) for run in ordered], axis=1) < m.RANK_ONE, axis=1)
    return np.where((first > 0)[:, None], np.stack([eps[first - 1], eps[first]], axis=1), [-np.inf, np.inf])


def too_far_apart(found: Sequence[Run]) -> str:
    """The objection to an end that is known within a wide bracket only."""
    wide = np.ptp(brackets(found), axis=1).max() > 0.05 * last_eps(found[0])
    return "this profile's eps are too far apart" if wide else ""


@exact
def rank_1_over_2(run: Run) -> list[float]:
    """C_lambda of the rank-1 minimum over that of the rank-2 one at lambda = 0.001, at the eps of the figures."""
    settings = [(eps, LOW / 4, run.config.net.depth) for eps in FIGURES_OFFDIAGONALS]
    return [m.cost(m.minimum(*at, 1).matrix, *at) / m.cost(m.minimum(*at, 2).matrix, *at) for at in settings]


def distances(run: Run) -> np.ndarray:
    """The distance of every end from every exact minimum, shape (seed, 4)."""
    known = np.stack(list(m.known_minima(*m.setting(run)).values()))
    return np.abs(run.last("product")[:, None] - known).max((-2, -1))


def reached(found: Sequence[Run]) -> list[set[str]]:
    """The minima at which the descents of each search end, by name."""
    names = list(m.known_minima(*m.setting(found[0])))
    searches = grouped(found, "study").values()
    return [{names[kind] for run in search for kind in distances(run).argmin(1)[done(run)]} for search in searches]


def one_search(found: Sequence[Run]) -> str:
    """The objection to a comparison of both searches where one was not made."""
    return "" if len(grouped(found, "study")) == 2 else "only one of the two searches was made"


def says_both(found: Sequence[Run]) -> str:
    """The sentence on the minima that both searches find, with their names."""
    common = set.intersection(*reached(found))
    names = [name for name in m.known_minima(*m.setting(found[0])) if name in common]
    return f"L = {found[0].config.net.depth}: local minima that both searches find ({', '.join(names)})"


@measure
def off_cost(run: Run) -> np.ndarray:
    """|L_lambda(theta) - C_lambda(A_theta)| at the ends."""
    return np.abs(run.last("value") - [m.cost(A, *m.setting(run)) for A in run.last("product")])


@measure
def smallest_settled(run: Run) -> np.ndarray:
    """The smallest s_1 since the loss was first below half of what rank 0 leaves."""
    every, eps = m.singular_values(run.all("product"))[..., 0], run.config.data.offdiagonal
    settled = np.logical_or.accumulate(run.all("loss") < (2 + eps**2) / 3 / 2, axis=-1)
    return np.where(settled.any(-1), np.where(settled, every, np.inf).min(-1), 0)


def least_settled(run: Run) -> float:
    """The least s_1 then: ||P A|| >= (1 - 1/sqrt 2) ||P A*|| on what is observed, and s_1 >= ||A||/sqrt 2."""
    return (1 - 0.5**0.5) * ((2 + run.config.data.offdiagonal**2) / 2) ** 0.5


def error(run: Run, step: int) -> np.ndarray:
    """The relative test error at the first observation from this step on, or at the last one."""
    at = min(np.searchsorted(run.steps, step), len(run.steps) - 1)
    return np.square(1 - run.config.data.offdiagonal * run.all("product")[:, at, 0, 1])


off_rank_1 = measure(lambda run: np.abs(largest(run) / m.minimum(*m.setting(run), 1).singular_values[0] - 1))
off_start = across(lambda found: np.abs(brackets(found).mean(1) / last_eps(found[0]) - 1))
off_minima = measure(lambda run: np.where(done(run), distances(run).min(1), np.nan))
common_minima = across(lambda found: [len(set.intersection(*reached(found)))])
all_minima = across(lambda found: [len(set.union(*reached(found)))])
# Whether it is done or not: these descents have no tolerance.
last_largest = measure(lambda run: m.singular_values(run.last("product"))[:, 0])
largest_ridges = exact(lambda run: [m.last_ridge(eps, run.config.net.depth, 2) for eps in FIGURES_OFFDIAGONALS])
last_ridge = measure(lambda run: [m.last_ridge(run.config.data.offdiagonal, run.config.net.depth, 2)])

# The sets B_r and the bound. ------------------------------------------------------------------------------------------


def log_step(run: Run, decay: float) -> float:
    """The natural logarithm of the admissible eta, C = C_1/(2 lambda)."""
    return float(constants_of(run.config, decay, 1.0)[1].log_step_sizes.min())


def own_constants(run: Run) -> theory.Constants:
    """Theorem B.1's constants at the run's decay and C."""
    return constants_of(run.config, run.config.opt.weight_decay / 2, run.config.region.norm_times)[1]


def beyond_printed_power(run: Run) -> float:
    """One more than the power of Section 3.2."""
    depth = run.config.net.depth
    return 4 * depth + 1 + (depth + 1) / (depth - 2) + 1


def jump_bound(run: Run, *, is_admissible: bool = False) -> theory.JumpBound:
    """Theorem B.2 at the run's width and decay, at its own step or at the largest that Theorem B.1 admits."""
    config, decay = run.config, run.config.opt.weight_decay / 2
    # Theorem B.2 asks for twice Theorem B.1's C.
    norm, constants = constants_of(config, decay, 2.0)
    return theory.jump_bound(
        step_size=jnp.exp(constants.log_step_sizes.min()) if is_admissible else 2 * config.opt.step_size,
        weight_decay=decay,
        rank=int(config.region.rank),
        width=int(config.net.width),
        smallest_side=2,
        norm_bound=norm,
        # The mean of ||W_2(0)||_F^2 of a square layer with entries U(-1, 1)/sqrt(n).
        start_norm=config.net.width / 3,
        slack=config.region.slack,
        log_cutoff=constants.log_cutoff,
        log_imbalance=constants.log_imbalance,
    )


def frequency(run: Run) -> ArrayLike | None:
    """The fraction with s_2/s_1 < 0.01 after T_0 + T_1 steps, between the ends of its interval; None if too short."""
    bound = jump_bound(run)
    at = np.searchsorted(run.steps, float(bound.settling_steps + bound.sampling_steps))
    return wilson(m.ratio(run.all("product")[:, at]) < m.JUMPED) if at < len(run.steps) else None


def longest_wait(run: Run) -> list[float]:
    """log10 of log10 of (T_0 + T_1) / P, the most steps that a jump takes in the mean by Theorem B.2.

    At the largest step size that Theorem B.1 admits: at that of the run neither theorem says anything.
    """
    bound = jump_bound(run, is_admissible=True)
    steps = math.log(bound.settling_steps + bound.sampling_steps)
    return [math.log10((steps - float(bound.log_probability)) / LOG10)]


smallest_leaving = measure(lambda run: run.all("leaving").min(-1))
leaving_by_norm = measure(lambda run: run.all("leaving")[..., 0].min(-1))
power = exact(lambda run: (log_step(run, 1e-6) - log_step(run, 1e-8)) / math.log(100))
log10_tiny = exact(lambda run: log_step(run, 1e-6) / LOG10)
log10_wait = exact(longest_wait)

# What is claimed. -----------------------------------------------------------------------------------------------------

FOLD, RIDGES = source("Section 3.1, landscape", "fold"), source("Section 4", "fold")
T31, P31 = source("Theorem 3.1", "factors", "matrix"), source("Proposition 3.1", "end")
P32, F3 = source("Proposition 3.2", "avoid"), source("Fig. 3", "budget")
B1, D4, RATES = (source(figure, "region") for figure in ("Theorem B.1", "Theorem D.4", "Section 3.2"))
WAIT = source("Section 3.2, limitations", "jumps")
NAMED = {3: 0.26, 4: 0.11}
named = where(net__depth=lambda depth: depth in NAMED, opt__weight_decay=0.1)
has_rank_2, no_rank_2 = (
    lambda run: run.config.data.offdiagonal < last_eps(run),
    lambda run: run.config.data.offdiagonal >= last_eps(run),
)
has_rank_1, no_rank_1 = (
    lambda run: run.config.opt.weight_decay < last_decay(run),
    lambda run: run.config.opt.weight_decay >= last_decay(run),
)
factors, matrices = where(study="factors"), where(study="matrix")
admitted, small_norm = where(region__norm_times=lambda c: c >= 1), where(region__norm_times=lambda c: c < 1)
small_decay = where(opt__weight_decay=lambda decay: decay <= 0.1)
FULL = (
    stated_for("40000 steps or more", where(opt__num_steps=lambda steps: steps >= 10 * LAST_OF_FIGURE_3)),
    stated_for(
        "L = 4, width 100, eta = 0.02, lambda = 0.001, eps = 1",
        where(net__depth=4, net__width=100, opt__step_size=0.02, opt__weight_decay=0.001, data__offdiagonal=1.0),
    ),
)
# A row for each depth; EXACT is for curves and constants alone, as true where a member of the run diverges.
AT: dict[str, Any] = {"each": "net.depth"}
EXACT: dict[str, Any] = AT | {"counts_divergence": True}
RANK_2 = "L = {}, eps below the exact end of the rank-2 minimum: GD ends at it: |s_2/s_1 over its value - 1|"
RANK_1 = "L = {}, eps with no rank-2 minimum: GD ends at rank 1: s_2/s_1"
START = "L = {}: eps at which GD starts to end at rank 1 (middle of its bracket) over the exact end: |. - 1|"
DRIFT = "calculated, L = {}, lambda = 0.1: exact end of the rank-2 minimum: Fig. 3's successes at larger eps are drift"
THREE = "calculated, L = {}: 'three local minima' at lambda = 0.1: largest lambda (main text) with rank 2, eps <= 0.25"
GLOBAL = "calculated, L = {}, lambda = 0.001: the rank-1 minimum is not the global one: its C_lambda over rank 2's"
BALANCED = "L = {}: GD ends balanced, ||W_(l+1)^T W_(l+1) - W_l W_l^T||_F (Prop. A.1)"
ENDS = "L = {{}}: every descent on {} ends at one of the exact minima: distance".format
FOUND = "L = {}: 'there are three local minima': found, the fourth of rank 1 with A_01 < 0"
HESSIAN = "L = {}: smallest eigenvalue of the Hessian of L_lambda at the ends"
VALUE = "L = {}: |L_lambda(theta) - C_lambda(A_theta)| at the ends"
NEARBY = "L = {}: least C_lambda nearby minus its value at the ends"
BELOW = "L = {}: GD from near the rank-1 minimum, where there is one, ends at it: |s_1 over its value - 1|"
FOR_ALL = (
    "L = {}: 'For all lambda, there is a rank r* local minima': beyond its exact end GD from near it ends at 0: s_1"
)
SETTLED = "lambda <= 0.1: smallest s_1 of A since the loss was below half of what rank 0 leaves (t_0)"
LEFT = "lambda beyond the exact end of the rank-1 minimum, where 0 is all that is left: s_1 at the end"
BUDGET = "eps = 1 without noise: GD finds the rank-1 solution, later than in the figure: relative test error at the end"
NOTHING = "calculated: no minimum of rank 2 keeps GD from it at eps = 1: the largest lambda that has one"
CLOSED = "L = {}: no step of the admissible eta leaves B_1 from points that attain its bounds: smallest eta over it"
TOO_SMALL = "L = {}: 'C <= 1/(2 lambda)': at C below C_1/(2 lambda) the smallest eta that leaves, over the admissible"
POWER = "calculated, L = {}: 'eta ~ lambda^(4L+1+(L+1)/(L-2))': the power of Theorem B.1's constants, 1 more or larger"
ANY = "calculated, L = {}: the admissible eta vanishes with lambda: its log10 at lambda = 1e-6"
ABSURD = (
    "calculated: Theorem B.2 allows an 'absurdly large' mean time of a jump, for Figure 1's lambda and the largest eta "
    "of Theorem B.1: log10 of log10 of (T_0 + T_1) / P steps"
)

LAWS = (
    FOLD.law("S3.1.rank2", RANK_2, off_rank_2 < 1e-4, has_rank_2, **AT),
    FOLD.law("S3.1.rank1", RANK_1, measure(ratio) < m.RANK_ONE, no_rank_2, **AT),
    FOLD.law("S3.1.start", START, off_start < 0.02, **AT, needs=(too_far_apart,)),
    FOLD.law("S3.1.drift", DRIFT, exact(last_eps) < (lambda run: NAMED[run.config.net.depth]), named, **EXACT),
    RIDGES.printed("S4.three", THREE, largest_ridges < 0.1, **EXACT),
    RIDGES.law("S4.global", GLOBAL, rank_1_over_2 > 1.0, **EXACT),
    FOLD.law("S3.1.balance", BALANCED, measure(lambda run: run.last("imbalance").max(-1)) < 1e-9, **AT),
    T31.law("T3.1.factors", ENDS("L_lambda over factors"), off_minima < 1e-6, factors, **AT),
    T31.law("T3.1.matrices", ENDS("C_lambda over matrices"), off_minima < 1e-6, matrices, **AT),
    T31.law("T3.1.both", says_both, common_minima.equals(4.0), **AT, needs=(one_search,)),
    T31.printed("T3.1.three", FOUND, all_minima > 3.0, **AT, needs=(one_search,)),
    T31.law("T3.1.hessian", HESSIAN, measure(lambda run: run.last("curvature")) > -1e-8, factors, **AT),
    T31.law("T3.1.value", VALUE, off_cost < 1e-9, factors, **AT),
    T31.law("T3.1.nearby", NEARBY, measure(lambda run: run.last("rise")) > 0.0, matrices, **AT),
    P31.law("P3.1.end", BELOW, off_rank_1 < 1e-4, has_rank_1, **AT),
    P31.printed("P3.1.all", FOR_ALL, measure(largest) < m.RANK_ONE, no_rank_1, **AT),
    P32.law("P3.2.away", SETTLED, smallest_settled > least_settled, small_decay),
    P32.law("P3.2.left", LEFT, last_largest < m.RANK_ONE, no_rank_1),
    F3.law("F3.budget", BUDGET, measure(lambda run: error(run, run.steps[-1])) < 0.01, stated=FULL),
    F3.law("F3.minimum", NOTHING, last_ridge <= 0.0, counts_divergence=True),
    B1.law("B.1.closed", CLOSED, smallest_leaving >= 1.0, admitted, **AT),
    D4.printed("D.4.norm", TOO_SMALL, leaving_by_norm <= 0.0, small_norm, **AT),
    RATES.printed("S3.2.power", POWER, power > beyond_printed_power, **EXACT),
    RATES.law("S3.2.any", ANY, log10_tiny < -50.0, **EXACT),
    WAIT.law("S3.2.wait", ABSURD, log10_wait > 2.0, counts_divergence=True),
)


def of(measured: Callable[[Run], ArrayLike | None], *studies: str) -> Callable[[Run], ArrayLike | None]:
    """A column of the summary, for the runs of these studies."""
    return lambda run: measured(run) if run.config.study in studies else None


SUMMARY: dict[str, Callable[[Run], ArrayLike | None]] = {
    "s_2/s_1 of A": lambda run: m.ratio(run.last("product")),
    "exact eps at which the rank-2 minimum ends": of(lambda run: [last_eps(run)], "fold"),
    "exact weight decay at which the rank-1 minimum ends": of(lambda run: [last_decay(run)], "end", "avoid"),
    "relative test error after 4000 steps": of(lambda run: error(run, LAST_OF_FIGURE_3), "budget"),
    "log10 of the admissible eta": of(lambda run: [own_constants(run).log_step_sizes.min() / LOG10], "region"),
    "log10 of the admissible eps_1": of(lambda run: [own_constants(run).log_imbalance / LOG10], "region"),
    "smallest eta that leaves by the norm / admissible": of(lambda run: run.all("leaving")[..., 0].min(1), "region"),
    "smallest eta that leaves by the imbalance / admissible": of(
        lambda run: run.all("leaving")[..., 1].min(1), "region"
    ),
    "smallest eta that leaves by the soft rank / admissible": of(
        lambda run: run.all("leaving")[..., 2].min(1), "region"
    ),
    "T_0": of(lambda run: [jump_bound(run).settling_steps], "jumps"),
    "T_1": of(lambda run: [jump_bound(run).sampling_steps], "jumps"),
    "log10 of the least P": of(lambda run: [jump_bound(run).log_probability / LOG10], "jumps"),
    "log10 of -log10 of the least P at the admissible eta": of(
        lambda run: [np.log10(-jump_bound(run, is_admissible=True).log_probability / LOG10)], "jumps"
    ),
    "fraction with s_2/s_1 < 0.01 after T_0 + T_1 steps (95% interval)": of(frequency, "jumps"),
}
