"""The claims of rank jumps as they happen: Figures 1 to 4 of Wang and Jacot 2024, and that jumps go one way."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from experiments.laws.rank_jumps.sgd import measures as m
from experiments.runner.claims import wilson
from experiments.runner.laws import Measure, Source, across, at_least, lasting, measure, stated_for
from experiments.runner.runs import Run, find, where
from experiments.runner.settings import hyperparameters

# Fewer members leave an interval too wide to judge a frequency by.
ENOUGH = at_least(64)
# A branch is judged when it begins at least so many steps from the jump.
APART = 500


def source(figure: str, study: str) -> Source:
    """What the paper says there of a study."""
    return Source(paper="Wang and Jacot 2024", figure=figure, of=where(study=study))


def long(steps: int) -> dict[str, Any]:
    """Asks for runs of so many steps."""
    return {"needs": (lasting(steps, m.end),)}


def frequency(steps: int = 0) -> dict[str, Any]:
    """How a frequency is judged: in runs of so many steps, of enough members, a diverged one being no hit."""
    return long(steps) | {"statistic": "fraction", "counts_divergence": True, "stated": (ENOUGH,)}


# Of which runs, and what is measured of them. -------------------------------------------------------------------------


def main(run: Run) -> bool:
    """Figure 1's run, at high rates for the longest time."""
    branch = run.config.schedule.branch
    return family(run) and branch == max(hyperparameters(run.config).get("schedule.branch", (branch,)))


def has_plateau(run: Run) -> np.ndarray:
    """Whether some member has a plateau."""
    return np.asarray(m.plateau(run).size > 0)


def jumped_by(steps: int) -> Measure:
    """Which members have jumped by this step."""
    return measure(lambda run: m.jump(run) <= steps)


def branch_error(sign: int) -> Measure:
    """The test error at the end of branches that begin long after the jump of their run (sign 1), or before (-1)."""

    def errors(found: Sequence[Run]) -> np.ndarray:
        when, errors = m.jump(m.annealed(found)[-1]), []
        for run in found:
            is_apart = sign * (run.config.schedule.branch - when) >= APART
            errors.append(m.error(run)[is_apart & ~run.diverged, -1])
        return np.concatenate(errors)

    return across(errors, least=1)


def rates(found: Sequence[Run]) -> np.ndarray:
    """The fraction that succeeds after each t0, from the shortest to the longest."""
    return np.asarray([m.success(run).mean() for run in m.by_branch(found)])


@measure
def off_decline(run: Run) -> np.ndarray:
    """How far sigma_2(W_1) is from falling by 1 - eta lambda a step."""
    eta, decay = run.config.schedule.tail
    return np.abs(m.decline(run) / float(np.log1p(-eta * decay)) - 1)


@measure
def off_balance(run: Run) -> np.ndarray:
    """How far the imbalance is from its rate, which is (1 - eta lambda)^2 a step and exp(-4 lambda' t) in the flow."""
    eta, decay = run.config.schedule.tail
    rate = np.log(run.last("imbalance") / run.first("imbalance")) / m.end(run)
    return np.abs(rate / (-2 * eta * decay) - 1).max(1)


@measure
def share_returned(run: Run) -> np.ndarray:
    """The fraction of the monitored steps with s2/s1 > 0.05."""
    steps = run.last("monitored")
    return run.last("returned")[steps > 0] / steps[steps > 0]


jump_step, succeeded, jumped = measure(m.jump), measure(m.success), measure(m.jumped)
off_critical = measure(lambda run: [abs(np.median(m.plateau(run)) / m.critical_ratio(run.config) - 1)])
latest_over_earliest = measure(lambda run: [m.jump(run).max() / m.jump(run).min()])
monitored = measure(lambda run: [run.last("monitored")[~run.diverged].sum()])
highest = measure(lambda run: run.last("highest")[~run.diverged & (run.last("monitored") > 0)])
error_jumped = measure(lambda run: m.error(run)[m.jumped(run), -1])
error_rank_1 = measure(lambda run: m.error(run)[m.jumped(run) & ~m.jumped_to_0(run), -1])
largest_fall = across(lambda found: [np.max(-np.diff(rates(found)))])

family = where(**m.PLAIN, **m.UNIFORM)
unreplaced = where(**m.PLAIN, opt__draws="without_replacement")
low, high = where(monitor__put_back="low"), where(monitor__put_back="high")
main_text, appendix = where(opt__form="main_text"), where(opt__form="appendix")
three, four = where(net__depth=3), where(net__depth=4)
tenth, smallest = where(data__epsilon=0.1), where(data__epsilon=0.05)
short, longer = where(data__epsilon=0.1, schedule__branch=1000), where(data__epsilon=0.1, schedule__branch=8000)
enough = where(data__epsilon=lambda eps: eps >= 0.2, schedule__branch=1000)
cold = where(data__epsilon=lambda eps: eps <= 0.7 and eps != 0.05, schedule__branch=0)
figure_1 = where(
    net__depth=3, net__width=100, net__init="uniform", data__epsilon=0.25, opt__draws="with_replacement",
    schedule__phases=lambda phases: [tuple(phase) for phase in phases] == [(500, 0.03, 0.1)],
    schedule__tail=lambda tail: tuple(tail) == (0.2, 0.1),
)  # fmt: skip
as_figure_1: dict[str, Any] = long(5000) | {"stated": (stated_for("the numbers of Figure 1", figure_1),)}
eps: dict[str, Any] = {"each": "data.epsilon"}
t0: dict[str, Any] = {"each": "schedule.branch"}

# What is claimed. -----------------------------------------------------------------------------------------------------

F1, ONE_WAY, UPDATE, BALANCE, EPOCHS = (
    source(figure, "annealing")
    for figure in ("Fig. 1", "Theorem 3.2", "Section 3, Fig. 1", "Section 3", "Section 3.2, limitations")
)
S4 = source("Section 4", "annealing")
F2, F3, F4 = source("Fig. 2", "depth"), source("Fig. 3", "epsilon"), source("Fig. 4", "periodic")
JUMPED = "fraction that has jumped by t = {} (a diverged member has not jumped)".format
PLATEAU = f"s2/s1 before the jump: a member's median over the steps {m.PLATEAU_FROM} to jump - {m.BEFORE}"
CRITICAL = "median s2/s1 on the plateau over that of the critical point of rank 2: |. - 1|"
AFTER = f"largest s2/s1 from {m.AFTER} steps after the jump on"
DECLINE = "after the jump log sigma_2(W_1) falls by log(1 - eta lambda) a step: |slope over that - 1|"
BRANCHES = f"branches that begin {APART} steps or more {{}} the jump of their run: relative test error".format
MONITORED = "steps monitored from states with s2/s1 in [1e-4, 1e-3], where a run that falls lower is put back"
RETURN = "no run returns above 0.05 over these steps: largest s2/s1"
CONTROL = "control: the same monitor sees s2/s1 > 0.05 in runs that are put back to rank 2: fraction of steps"
UPDATES = "'theta <- (1 - {} lambda) theta - eta/2 grad (A*_ij - A_ij)^2' draws Fig. 1: {}".format
BALANCED = "the imbalance decays like exp(-4 lambda' t) where SGD is near its flow: |rate over that - 1|"
UNREPLACED = f"sampling without replacement: {JUMPED(20_000)}"
SUCCEED = "fraction with relative test error < 1/2 at the end"
EVEN = f"'fails to recover the rank 1 solution even for eps = 1', t0 = 0: {SUCCEED}"
AT_END = "relative test error at the end, of those that jumped"
MAIN_TEXT = UPDATES("2 eta", "||A||_F at the end (it collapses to A = 0)")
DRIFTS = UPDATES("eta", "step of the jump (there is no plateau)")
NO_CHANCE = UPDATES("eta", "latest over earliest jump (no chance is at work)")
GROWS = "eps = 0.1: success grows with t0: largest fall from one t0 to the next"
IN_PERIOD = "fraction of the jumps that happen in a period of high rates"
LATER = "of those that have not jumped when the second such period begins, the fraction that jumps in it or later"
PREVENT = (
    "'large lambda, eta prevent SGD from minimizing the train error': median over t0/2 to t0, over that when cooled"
)
COUNTED = f"{AT_END} (diverged members are counted apart)"
# The switch to the second high period can throw a run of rank 1 to A = 0, whose error is 1.
RANK_1 = f"{AT_END}, without those that jumped once more, from rank 1 to A = 0"

LAWS = (
    # When the long runs jump, where they are before and where they are afterwards.
    F1.law("F1.jump", "no jump by t = 1000: step of the jump", jump_step > 1000.0, main, **long(1000)),
    F1.law("F1.by5000.least", JUMPED(5000), jumped_by(5000) >= 0.4, main, **frequency(5000)),
    F1.law("F1.by5000.most", JUMPED(5000), jumped_by(5000) <= 0.8, main, **frequency(5000)),
    F1.law("F1.by20000", JUMPED(20_000), jumped_by(20_000) > 0.85, main, **frequency(20_000)),
    F1.law("F1.plateau", PLATEAU, measure(m.plateau) > 0.1, main, event=has_plateau, **long(5000)),
    F1.law("F1.critical", CRITICAL, off_critical < 0.15, main, event=has_plateau, **long(5000)),
    F1.law("F1.after", AFTER, measure(m.after_jump) < 1e-6, main, event=m.jumped, **long(20_000)),
    F1.law("F1.decline", DECLINE, off_decline < 0.15, main, event=m.jumped, **long(8000)),
    # Cooled after the jump a run finds the entry, cooled before it does not.
    F1.law("F1.branch.after", BRANCHES("after"), branch_error(1) < 0.02, family, event=m.jumped, **long(1000)),
    F1.law("F1.branch.before", BRANCHES("before"), branch_error(-1) > 0.25, family, **long(1000)),
    EPOCHS.law("F1.epochs", UNREPLACED, jumped_by(20_000) <= 0.1, unreplaced, **frequency(20_000)),
    S4.law("S4.train", PREVENT, measure(m.fit_over_cooled) >= 10.0, main, **long(5000)),
    # No state of low rank returns, and the monitor can see a return.
    ONE_WAY.check("T3.2.steps", MONITORED, monitored >= 1e6, low, **long(20_000)),
    ONE_WAY.law("T3.2.return", RETURN, highest <= 0.05, low, **long(20_000)),
    ONE_WAY.law("T3.2.control", CONTROL, share_returned > 0.5, high, **long(8000)),
    UPDATE.printed("F1.main_text", MAIN_TEXT, measure(m.size) < 1e-3, main_text, **as_figure_1),
    UPDATE.printed("F1.appendix", DRIFTS, jump_step < 1000.0, appendix, **as_figure_1),
    UPDATE.printed("F1.appendix.chance", NO_CHANCE, latest_over_earliest < 1.5, appendix, **as_figure_1),
    BALANCE.law("F1.balance", BALANCED, off_balance < 0.05, where(monitor__imbalance=True)),
    F2.law("F2.L3", f"L = 3: {JUMPED(5000)}", jumped_by(5000) <= 0.1, three, **frequency(5000)),
    F2.law("F2.L4", f"L = 4: {JUMPED(5000)}", jumped_by(5000) >= 0.55, four, **frequency(5000)),
    F3.law("F3.smallest", f"eps = 0.05, t0 = {{}}: {SUCCEED}", succeeded <= 0.0, smallest, **t0, **frequency()),
    F3.law("F3.cold", f"eps = {{}}, t0 = 0: {SUCCEED}", succeeded <= 0.1, cold, **eps, **frequency()),
    F3.printed("F3.even", EVEN, succeeded > 0.1, where(data__epsilon=1.0, schedule__branch=0), **frequency()),
    F3.law("F3.short", f"eps = 0.1, t0 = 1000: {SUCCEED}", succeeded <= 0.1, short, **frequency()),
    F3.law("F3.long", f"eps = 0.1, t0 = 8000: {SUCCEED}", succeeded >= 0.45, longer, **frequency()),
    F3.law("F3.enough", f"eps = {{}}, t0 = 1000: {SUCCEED}", succeeded >= 0.8, enough, **eps, **frequency()),
    F3.law("F3.grows", GROWS, largest_fall <= 0.0, tenth, needs=(ENOUGH,)),
    F4.law("F4.jump", "fraction that jumps (a diverged member has not jumped)", jumped >= 0.9, **frequency(20_000)),
    F4.law("F4.period", IN_PERIOD, measure(m.in_high_period) >= 1.0, event=m.jumped, **frequency(20_000)),
    F4.law("F4.later", LATER, measure(m.jumped_late) > 0.0, event=m.is_late, **frequency(20_000)),
    F4.law("F4.error", COUNTED, error_jumped < 0.02, event=m.jumped, counts_divergence=True, **long(20_000)),
    F4.law("F4.error.rank1", RANK_1, error_rank_1 < 0.02, event=m.jumped, counts_divergence=True, **long(20_000)),
)


def by(steps: int) -> Callable[[Run], ArrayLike | None]:
    """The fraction that has jumped by a step, between the ends of its interval; None for a shorter run."""
    return lambda run: wilson(m.jump(run) <= steps) if m.end(run) >= steps else None


def same_jumps(found: Sequence[Run]) -> ArrayLike | None:
    """How many seeds jump at the same step from either kind of weights: runs of one seed draw the same entries."""
    normal, others = find(found, **m.PLAIN, net__init="normal"), m.annealed(found)
    return wilson([m.jump(run) == m.jump(others[-1]) for run in normal]) if normal and others else None


def reaching_time(found: Sequence[Run], target: float = 0.8) -> ArrayLike | None:
    """The t0 after which the target fraction succeeds at eps = 0.1, between the t0 tried; NaN where none is enough."""
    ours = m.by_branch(find(found, study="epsilon", data__epsilon=0.1))
    if len(ours) < 2 or max(rates(ours)) < target:
        return [np.nan] if ours else None
    above = max(1, int(np.argmax(rates(ours) >= target)))
    between = ours[above - 1 : above + 1]
    return [np.interp(target, rates(between), [run.config.schedule.branch for run in between])]


SUMMARY: dict[str, Callable[[Run], ArrayLike | None]] = {
    "step of the jump": lambda run: np.where(m.jumped(run), m.jump(run), np.nan),
    "fraction jumped by t = 5000 (95% interval)": by(5000),
    "fraction jumped by t = 20000 (95% interval)": by(20_000),
    "relative test error": lambda run: m.error(run)[:, -1],
    "fraction with relative test error < 1/2 (95% interval)": lambda run: wilson(m.success(run)),
    "fraction that jumped once more, to A = 0 (95% interval)": lambda run: wilson(m.jumped_to_0(run)),
    "s2/s1 of the critical point of rank 2": lambda run: (
        [m.critical_ratio(run.config)] if F1.of(run) and main(run) else None
    ),
}
COMPARISONS: dict[str, Callable[[Sequence[Run]], ArrayLike | None]] = {
    "fraction of seeds that jump at the same step from N(0, 1/w) and from uniform weights (95% interval)": same_jumps,
    "eps = 0.1: t0 after which 80% succeed": reaching_time,
}
