"""The claims of smooth two-layer MLPs: Theorem D.11 and its lemmas, Figures 3, 11, 12 and 13, Proposition B.1."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from experiments.laws.smooth_mlp.common import PAPER, is_smooth_name, observed, title
from experiments.laws.smooth_mlp.two_layers.measures import (
    MOST_EXCESS,
    SCALE,
    Bounded,
    bounded_value,
    decayed,
    equation_17,
    first_form,
    index,
    initial_blocks,
    largest_change,
    largest_step,
    leading_target,
    lemma_d9,
    lipschitz,
    norm_ratio,
    num_classes,
    num_small,
    off_centre,
    phi,
    rate,
    rising,
    second_form,
    share,
    slopes,
    tail,
    turned,
    value_ratio,
    wedin,
)
from experiments.runner.laws import Law, Measure, Source, across, measure, stated_for
from experiments.runner.runs import Run, where
from experiments.runner.summary import final

SMOOTH = ("elu", "gelu", "silu")
# The slopes of log sigma_i(G_1(0)) in log eps, i > K, and how far a member may be from them. That of tanh is 2, since
# phi''(0) = 0.
TAIL_SLOPES = dict.fromkeys(SMOOTH, (1.0, 0.05)) | {"relu": (0.0, 0.06), "tanh": (2.0, 0.1)}
# Algebra holds up to rounding.
ONE, ROUNDED = 1 + 1e-9, 1e-12
STATED = (
    stated_for(
        "d = 64, N = 1000, K = 4, m = 72, eta = 0.01",
        where(
            net__width=72,
            net__init="orthogonal",
            opt__step_size=0.01,
            data__dimension=64,
            data__num_classes=4,
            data__num_samples=1000,
        ),
    ),
)

of_first_form, without_p = measure(largest_step), measure(lambda run: num_small(run) ** 0.5 * largest_step(run))
steepness = measure(lambda run: run.config.opt.step_size * lipschitz(run))
condition = measure(lambda run: 2 * run.first("spread") / (phi(run).slope_at_zero * leading_target(run)[:, -1]))
first_rate = measure(lambda run: rate(run)[:, 0] / run.first("spread"))
excess = measure(lambda run: (value_ratio(run) / norm_ratio(run)).max(1))
tail_share = measure(lambda run: tail(run).max(1) / leading_target(run)[:, -1])
relu_bound = measure(lambda run: run.first("relu_bound"))
of_bounded = measure(lambda run: run.first("relu_bound") / bounded_value(run))
off_tail = across(lambda found: np.abs(slopes(found)[:, num_classes(found[0]) :] - tail_slope(found[0])).max(1))
off_leading = across(lambda found: np.abs(slopes(found)[:, : num_classes(found[0])]).max(1))


def change(first: int, last: int) -> Measure:
    """The largest change of the gradient's norm in a step between these two."""
    return measure(lambda run: largest_change(run, first, last))


def block_1(step: int) -> Measure:
    """Block 1's share in the change of W_1 at a step."""
    return measure(lambda run: share(run, "blocks", step))


def rotation(run: Run, step: int) -> np.ndarray:
    """A(t) / sqrt K."""
    return turned(run)[:, index(run, step)] / num_classes(run) ** 0.5


def tail_slope(run: Run) -> float:
    """The slope of the tail of this activation."""
    return TAIL_SLOPES[run.config.net.activation][0]


def slope_margin(run: Run) -> float:
    """How far a member may be from it."""
    return TAIL_SLOPES[run.config.net.activation][1]


def source(figure: str, study: str | Callable[[str], bool], *, stated: bool = False, **fields: Any) -> Source:
    """The runs of a study, and of these fields, that a figure or theorem is about."""
    return Source(paper=PAPER, figure=figure, of=where(study=study, **fields), stated=STATED if stated else ())


def informative(
    source: Source, id: str, says: str, trivial: str, bounded: Callable[[Run], Bounded], limit: float = 1.0
) -> Law:
    """For each activation, a measured quantity over its bound at the steps at which the bound says something."""

    def sentence(found: Sequence[Run]) -> str:
        below = np.concatenate([bounded(run).is_informative for run in found])
        few, many = below.sum(1).min(), below.sum(1).max()
        counted = f"{few}" if few == many else f"{few} to {many}"
        judged = f"at the steps at which this bound is below {trivial} ({counted} of {below.shape[1]} in a member)"
        return f"{title(found[0])}: {says}, {judged}"

    largest, event = measure(lambda run: bounded(run).ratio), lambda run: bounded(run).is_informative
    return source.law(id, sentence, largest <= limit, each=title, event=event)


def title_and_scale(run: Run) -> str:
    """The activation and eps."""
    return f"{title(run)}, eps={run.config.net.scale:g}"


def is_papers(name: str) -> bool:
    """Whether the paper draws this activation as a smooth one."""
    return name in SMOOTH


D11, WEDIN = source("Theorem D.11", "theorem"), source("eq. 17, Lemma D.5", "theorem")
SECOND, D9 = (source(figure, "theorem", net__activation=is_smooth_name) for figure in ("Theorem D.11", "Lemma D.9"))
ASSUMED = source("Theorem D.11", "theorem", stated=True, net__activation=is_smooth_name)
TIGHT = source("Theorem D.11", "theorem", stated=True, net__activation=is_papers)
D8 = source("Lemma D.8", lambda study: study != "decay", net__init="orthogonal", net__activation=is_smooth_name)
F3 = source("Fig. 3", "theorem", stated=True, net__scale=SCALE, net__activation=is_papers)
A = source("Theorem 3.5", "theorem", stated=True, net__activation=is_smooth_name)
F12, F13 = source("Fig. 12", "decay", stated=True, net__scale=SCALE), source("Fig. 13", "decay", stated=True)
F11 = source("Fig. 11", "tail", stated=True, net__init="orthogonal")
B1 = source("Prop. B.1", "tail", net__init="normal")
square = where(data__dimension=32, data__num_classes=4, net__width=8192)
SHARE = "{}: block 1's share in the change of W_1 at t ="
STEP, LARGEST = "||W~_i(t+1) - W~_i(t)||_F", "largest change of ||G_1||_F in a step, over ||G_1(0)||_F"
WEDINS = "||G_1(t) - G_1(0)||_F / (sigma_K(G_1(0)) - sigma_{K+1}(G_1(t)))"

LAWS = (
    F3.law("F3.100", f"{SHARE} 100", block_1(100) >= 0.99, each=title, needs=(observed([100]),)),
    F3.law("F3.250", f"{SHARE} 250", block_1(250) >= 0.97, each=title, needs=(observed([250]),)),
    D11.law(
        "D11.start",
        "W_1(0), every activation: ||W~_2||, ||W~_3|| and | ||W~_4|| / sqrt p - eps | over eps",
        measure(initial_blocks) <= ROUNDED,
    ),
    D11.law(
        "D11.first",
        f"first form, every activation and step: largest {STEP} / (sqrt p eta rho(t)), i = 2, 3, 4",
        of_first_form <= ONE,
    ),
    TIGHT.law(
        "D11.tight", "{}: the first form is nearly attained: its largest ratio", of_first_form >= 0.6, each=title
    ),
    D11.printed("D11.proof", f"the end of the proof, '{STEP} <= eta rho(t)': largest ratio", without_p > ONE),
    ASSUMED.law("D11.step_size", "eta <= 1/gamma_L, M the largest residual of the run: eta gamma_L", steepness <= 1.0),
    ASSUMED.law("D11.scale", "the condition on eps: r(eps) over phi'(0) sigma_K(W_2^T Y X^T) / 2", condition < 1.0),
    SECOND.law(
        "D11.second_0", "second form at t = 0, printed with a factor sqrt p: rho(0) over r(eps)", first_rate <= 1.0
    ),
    informative(D9, "D9", "largest A(t) / delta(t), t >= 1", "sqrt K", lemma_d9),
    informative(
        SECOND,
        "D11.second",
        "second form: largest rho(t) over its bound, t >= 1",
        "||G_1(t)||_F / sqrt p",
        second_form,
    ),
    D8.law(
        "D8",
        "{}: largest |sigma_i(G_1(0)) - centre of its interval| over r(eps), i = 1..d",
        measure(off_centre) <= 1.0,
        each=title_and_scale,
    ),
    informative(WEDIN, "Wedin.17", f"largest A(t) over {WEDINS}, t >= 1", "sqrt K", equation_17, ONE),
    informative(
        WEDIN, "Wedin.D5", "largest A(t) over the sharper bound of Lemma D.5's proof, t >= 1", "sqrt K", wedin, ONE
    ),
    A.law(
        "A.250",
        "{}: the gradient's leading subspaces become orthogonal to those of t = 0: A(250) / sqrt K",
        measure(lambda run: rotation(run, 250)) >= 0.95,
        each=title,
        needs=(observed([250]),),
    ),
    A.law(
        "A.decayed",
        "{}: by then the gradient has decayed: sigma_1(t) / sigma_1(0) where A(t) first exceeds sqrt K / 2",
        measure(decayed) <= 0.1,
        each=title,
        needs=(observed(range(251)),),
    ),
    F12.law(
        "F12.early",
        f"{{}}: ||G_1||_F strictly decreases to t = 100: {LARGEST}",
        change(0, 100) < 0.0,
        each=title,
        needs=(observed(range(101)),),
    ),
    F12.law(
        "F12.late",
        f"{{}}, t = 100..250: {LARGEST}",
        change(100, 250) <= 1e-5,
        each=title,
        needs=(observed(range(251)),),
    ),
    F12.law(
        "F12.values",
        "{}: largest sigma_i(G_1(t)) / sigma_i(G_1(0)), i <= K, over ||G_1(t)||_F / ||G_1(0)||_F",
        excess <= MOST_EXCESS,
        each=title,
        needs=(observed(range(251)),),
    ),
    F12.printed(
        "F12.monotone",
        f"{{}}: '||G_1||_F monotonically decays throughout training': {LARGEST}",
        change(0, 250) > 1e-8,
        each=title,
        statistic="max",
        needs=(observed(range(251)),),
    ),
    F13.law(
        "F13",
        "{}: largest sigma_{K+1}(G_1(t)) / sigma_K(W_2^T Y X^T)",
        tail_share <= 0.01,
        each=title_and_scale,
    ),
    F11.law(
        "F11.tail",
        "{}: |slope of log sigma_i(G_1(0)) in log eps - s|, i > K (s = 1, of tanh 2, of ReLU 0)",
        off_tail <= slope_margin,
        each=title,
    ),
    F11.law("F11.leading", "{}: |slope of log sigma_i(G_1(0)) in log eps|, i <= K", off_leading <= 0.02, each=title),
    B1.law("B1", "the bound over sigma_{d-K}(G_1(0)), every size", of_bounded <= 1.0),
    B1.law("B1.positive", "d = N = 32, K = 4, m = 8192: the bound", relu_bound > 0.0, square),
    B1.law("B1.below", "d = N = 32, K = 4, m = 8192: the bound over sigma_{d-K}(G_1(0))", of_bounded < 1.0, square),
)

# Numbers without a bound. ---------------------------------------------------------------------------------------------


def at(
    step: int, of: Callable[[Run], ArrayLike], variable: str = "gradient_values"
) -> Callable[[Run], ArrayLike | None]:
    """A column of the runs that have this variable and were observed at this step."""
    return lambda run: of(run) if variable in run.data and step in run.steps else None


def first_rise(run: Run) -> np.ndarray:
    """The step after which ||G_1||_F first rises; NaN for a member in which it does not."""
    return np.where(rising(run).any(1), run.steps[rising(run).argmax(1)], np.nan)


def positive(run: Run) -> np.ndarray:
    """Proposition B.1's bound; NaN where it says nothing."""
    return np.where(run.first("relu_bound") > 0, run.first("relu_bound"), np.nan)


def looseness(run: Run) -> np.ndarray:
    """The median over t of the second form's bound over rho(t)."""
    return np.median(second_form(run).bound / second_form(run).measured, axis=1)


SUMMARY = {
    "loss": final("loss"),
    **{
        f"block 1's share at t = {step}{of}": at(step, lambda run, n=name, t=step: share(run, n, t), name)
        for step in (100, 250)
        for name, of in (("blocks", ""), ("random_blocks", ", of a random S_big"))
    },
    "steps at which the first form is below eta ||G_1||_F": at(
        0, lambda run: first_form(run).is_informative.sum(1), "step_bound"
    ),
    "rho(0) / (r(eps) sqrt p), the second form as printed": at(
        0, lambda run: rate(run)[:, 0] / (run.first("spread") * num_small(run) ** 0.5), "lipschitz"
    ),
    "second form over rho(t), median over t": at(0, looseness, "lipschitz"),
    "r(eps) over the distance that it bounds (Lemma D.8)": at(0, lambda run: 1 / off_centre(run), "spread"),
    **{f"A({step}) / sqrt K": at(step, lambda run, t=step: rotation(run, t), "left_sine") for step in (10, 100)},
    "step after which ||G_1||_F first rises, to t = 250": at(250, first_rise),
    "rise of ||G_1||_F above its least value, to t = 250, over ||G_1(0)||_F": at(
        250, lambda run: norm_ratio(run)[:, index(run, 250)] - norm_ratio(run)[:, run.steps <= 250].min(1)
    ),
    "||G_1(250)||_F / ||G_1(0)||_F": at(250, lambda run: norm_ratio(run)[:, index(run, 250)]),
    "Proposition B.1's bound where it is positive": at(0, positive, "relu_bound"),
    "sigma_{d-K}(G_1(0))": at(0, bounded_value, "relu_bound"),
}
