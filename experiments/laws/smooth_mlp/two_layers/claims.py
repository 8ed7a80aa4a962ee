"""The claims of smooth two-layer MLPs: Theorem D.11, its lemmas and its eps, Figures 3, 11 to 13, Proposition B.1."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from experiments.laws.smooth_mlp.common import PAPER, is_smooth, observed, title
from experiments.laws.smooth_mlp.two_layers import measures, summary
from experiments.laws.smooth_mlp.two_layers.measures import (
    KINKED,
    Bounded,
    exponents,
    num_classes,
    num_small,
    slopes,
)
from experiments.runner.controls import Control, in_row, in_summary
from experiments.runner.laws import Law, Measure, Source, across, measure, stated_for
from experiments.runner.runs import Run, where

SMOOTH = ("elu", "gelu", "silu")
# The slopes of log sigma_i(G_1(0)) in log eps, i > K, and how far a member may be from them. That of tanh is 2, since
# phi''(0) = 0.
TAIL_SLOPES = dict.fromkeys(SMOOTH, (1.0, 0.05)) | {"tanh": (2.0, 0.1)} | dict.fromkeys(KINKED, (0.0, 0.06))
# How far the exponent of eps in the first step may be from that of the tail, up to this eps. The arguments of phi are
# about eps ||x|| = 0.025 at most, and so is the next term of the expansion over the first; a tenth of it enters the
# slope of a line over three decades, and the bound is twice that. The members of two root seeds were within 0.002.
MOST_OFF, LARGEST_SCALE = 0.005, 0.1
# Algebra holds up to rounding.
ONE, ROUNDED = 1 + 1e-9, 1e-12
# A rise in a step, of a number that is 1 at the start, that rounding does not explain, and a rise that no figure shows;
# and the least ratio of what is on a similar order.
RISE, UNSEEN, SAME_ORDER = 1e-8, 1e-3, 0.1
SETTING = {"net__width": 72, "net__init": "orthogonal", "opt__step_size": 0.01}
SETTING |= {"data__dimension": 64, "data__num_classes": 4, "data__num_samples": 1000}
STATED = (stated_for("d = 64, N = 1000, K = 4, m = 72, eta = 0.01", where(**SETTING)),)
# Of the size of eps, for tanh of its square, is what the bounds are about. Far below, rounding errors are as large.
LEAST_SCALE = 1e-4
RESOLVED = stated_for(f"eps >= {LEAST_SCALE:g}", where(net__scale=lambda scale: scale >= LEAST_SCALE))

# Measures: one number per member. -------------------------------------------------------------------------------------


def largest_step(run: Run) -> np.ndarray:
    """The left side of the first form over its right side, the largest of all steps and blocks."""
    return (measures.first_form(run).measured / measures.first_form(run).bound).max(1)


def changes(first: int, last: int) -> Measure:
    """The largest change of the gradient's norm in a step between these two."""
    return measure(lambda run: measures.change(run, first, last))


def is_positive(run: Run) -> np.ndarray:
    """Which members have a bound of Proposition B.1 that says something."""
    return run.first("relu_bound") > 0


def last_informative(run: Run) -> np.ndarray:
    """The last step at which the first form is below eta ||G_1(t)||_F, which no block's step exceeds."""
    return (measures.first_form(run).is_informative * run.steps).max(1)


@measure
def start(run: Run) -> np.ndarray:
    """The largest of ||W~_2||, ||W~_3|| and | ||W~_4|| / sqrt p - eps | at t = 0, over eps."""
    sizes, scale = np.sqrt(run.first("weight_blocks")), run.config.net.scale
    idle = np.abs(sizes[:, 3] / num_small(run) ** 0.5 - scale)
    return np.maximum(idle, sizes[:, 1:3].max(-1)) / scale


def exponent(run: Run) -> float:
    """The exponent of eps that is expected of the gradient's tail and of the first step outside of S_big."""
    return TAIL_SLOPES[run.config.net.activation][0]


@across
def off_tail(found: Sequence[Run]) -> np.ndarray:
    """How far the slopes of the tail are from that of the activation, the largest over i > K."""
    return np.abs(slopes(found)[:, num_classes(found[0]) :] - exponent(found[0])).max(1)


off_leading = across(lambda found: np.abs(slopes(found)[:, : num_classes(found[0])]).max(1))
at_informative = measure(lambda run: measures.first_form(run).ratio)
of_interval = measure(lambda run: measures.off_centre(run) / run.first("spread"))
off_exponent = across(lambda found: np.abs(exponents(found, "step_distances") - exponent(found[0])))
random_exponent = across(lambda found: np.abs(exponents(found, "random_step_distances")))
of_perturbation = measure(lambda run: measures.first_perturbation(run).ratio)
without_p = measure(lambda run: num_small(run) ** 0.5 * largest_step(run))
steepness = measure(lambda run: run.config.opt.step_size * run.worst("lipschitz"))
condition = measure(lambda run: 2 * run.first("spread") / measures.gap_at_start(run))
first_rate = measure(lambda run: measures.rate(run)[:, 0] / run.first("spread"))
relu_bound = measure(lambda run: run.first("relu_bound"))
of_bounded = measure(lambda run: (run.first("relu_bound") / measures.bounded_value(run))[is_positive(run)])

# Laws. ----------------------------------------------------------------------------------------------------------------


def source(figure: str, study: str | Callable[[str], bool], *, stated: bool = False, **fields: Any) -> Source:
    """The runs of a study, and of these fields, that a figure or theorem is about."""
    return Source(paper=PAPER, figure=figure, of=where(study=study, **fields), stated=(*STATED * stated, RESOLVED))


def informative(
    source: Source,
    id: str,
    says: str,
    trivial: str,
    bounded: Callable[[Run], Bounded],
    limit: float = 1.0,
    *,
    control: Control,
    times: str = "t >= 1",
) -> Law:
    """For each activation, a measured quantity over its bound at the steps at which the bound says something."""

    def sentence(found: Sequence[Run]) -> str:
        below = np.concatenate([bounded(run).is_informative for run in found])
        counts = " to ".join(map(str, sorted({below.sum(1).min(), below.sum(1).max()})))
        judged = f"at the steps at which this bound is below {trivial} ({counts} of {below.shape[1]} in a member)"
        return f"{title(found[0])}: largest {says}, {times}, {judged}"

    ratio, event = measure(lambda run: bounded(run).ratio), lambda run: bounded(run).is_informative
    return source.law(id, sentence, ratio <= limit, each=title, event=event, control=control)


def seen(*steps: int) -> dict[str, Any]:
    """A row for each activation, of runs that were observed at these steps."""
    return {"each": title, "needs": (observed(steps),)}


def title_and_scale(run: Run) -> str:
    """The activation and eps."""
    return f"{title(run)}, eps={run.config.net.scale:g}"


smooth: dict[str, Any] = {"net__activation": is_smooth}
papers: dict[str, Any] = {"net__activation": lambda name: name in SMOOTH}
square, LARGEST_SQUARE = where(data__dimension=32, data__num_classes=4, net__width=8192), "d = N = 32, K = 4, m = 8192"
D11, WEDIN = source("Theorem D.11", "theorem"), source("eq. 17, Lemma D.5", "theorem")
SECOND, D9 = (source(figure, "theorem", **smooth) for figure in ("Theorem D.11", "Lemma D.9"))
D8 = source("Lemma D.8", lambda study: study in ("theorem", "tail"), net__init="orthogonal", **smooth)
F3 = source("Fig. 3", "theorem", stated=True, net__scale=measures.SCALE, **papers)
A = source("Theorem 3.5", "theorem", stated=True, **smooth)
# ReLU is run beside them, for its numbers in the summary.
F12 = source("Fig. 12", "decay", stated=True, net__scale=measures.SCALE, **smooth)
F13 = source("Fig. 13", "decay", stated=True, **smooth)
F11 = source("Fig. 11", "tail", stated=True, net__init="orthogonal")
B1 = source("Prop. B.1", "tail", net__init="normal")
E = source("Section 3.2, eps", "epsilon", stated=True)
UP_TO = (stated_for(f"eps <= {LARGEST_SCALE:g}", where(net__scale=lambda scale: scale <= LARGEST_SCALE)),)
BLOCK_1 = "{}: block 1's share in the change of W_1 at t ="
STEP = "||W~_i(t+1) - W~_i(t)||_F"
WEDINS = "||G_1(t) - G_1(0)||_F / (sigma_K(G_1(0)) - sigma_{K+1}(G_1(t)))"
STARTS = "W_1(0), every activation: ||W~_2||, ||W~_3|| and | ||W~_4|| / sqrt p - eps | over eps"
FIRST_FORM = f"{STEP} / (sqrt p eta rho(t)), the first form, i = 2, 3, 4"
TIGHT = "{}: the first form is nearly attained: its largest ratio at the steps at which it is below eta ||G_1(t)||_F"
# No block changes by more than W_1 does, in steps of eta ||G_1(t)||_F.
ENDS = "{}: the first form is below eta ||G_1(t)||_F, which every step obeys, up to this step alone, of 250"
INTERVAL = "{}: largest |sigma_i(G_1(0)) - centre of its interval| over r(eps), i = 1..d"
ORTHOGONAL = (
    "{}: the gradient's leading subspaces become orthogonal to those of t = 0: A(250) / sqrt K, which is about "
    "sqrt(1 - K/m) of two random ones"
)
ALIGNED = "{}: 'in the early training stages' G_1's leading subspaces 'are well-aligned' with the first: A(10) / sqrt K"
BY_THEN = "{}: by then the gradient has decayed: sigma_1(t) / sigma_1(0) where A(t) first exceeds sqrt K / 2"
RATIOS = "{}: largest sigma_i(G_1(t)) / sigma_i(G_1(0)), i <= K, over ||G_1(t)||_F / ||G_1(0)||_F"
SLOPE = "slope of log sigma_i(G_1(0)) in log eps"
EXPONENT = "slope in log eps of the log of the largest ||W~_i(1) - W~_i(0)||_F (i = 2, 3, 4)"
OF_SPREAD = (
    "{}: largest ||W~_i(1) - W~_i(0)||_F / (sqrt p eta r(eps)), i = 2, 3, 4, where r(eps) < ||G_1(0)||_F / sqrt p"
)

# Proposition B.1 is about ReLU: its tail does not fall with eps, and that of a smooth activation does.
GELUS = in_row("F11.tail[GELU]")

LAWS = (
    *(
        F3.law(
            f"F3.{t}",
            f"{BLOCK_1} {t}",
            measure(lambda run, t=t: measures.share(run, "blocks", t)) >= bound,
            **seen(t),
            control=in_summary(summary.share_at(t, random=True)),
        )
        for t, bound in ((100, 0.99), (250, 0.97))
    ),
    D11.check("D11.start", STARTS, start <= ROUNDED),
    informative(
        D11,
        "D11.first",
        FIRST_FORM,
        "eta ||G_1(t)||_F",
        measures.first_form,
        ONE,
        times="every t",
        control=in_summary(summary.RANDOM_FORM),
    ),
    D11.law(
        "D11.tight",
        TIGHT,
        at_informative >= 0.6,
        where(**papers),
        each=title,
        stated=STATED,
        control=in_row("D11.first[ReLU]"),
    ),
    D11.law(
        "D11.ends",
        ENDS,
        measure(last_informative) < 100.0,
        where(**papers),
        **seen(*range(251)),
        stated=STATED,
        control=in_summary(summary.FIRST_FORM),
    ),
    SECOND.printed("D11.proof", f"the end of the proof, '{STEP} <= eta rho(t)': largest ratio", without_p > ONE),
    SECOND.law(
        "D11.step_size",
        "eta <= 1/gamma_L, M the largest residual: eta gamma_L",
        steepness <= 1.0,
        stated=STATED,
        control=in_summary(summary.SECANT),
    ),
    SECOND.law(
        "D11.scale",
        "condition on eps: r(eps) over phi'(0) sigma_K(W_2^T Y X^T) / 2",
        condition < 1.0,
        stated=STATED,
        control=in_summary(summary.OFF_CENTRE),
    ),
    SECOND.law(
        "D11.second_0",
        "second form at t = 0, printed with sqrt p: rho(0) over r(eps)",
        first_rate <= 1.0,
        control=in_summary(summary.TAIL_AT_START),
    ),
    informative(D9, "D9", "A(t) / delta(t)", "sqrt K", measures.lemma_d9, control=in_summary(summary.D9_LARGEST)),
    informative(
        SECOND,
        "D11.second",
        "rho(t) over the second form",
        "||G_1(t)||_F / sqrt p",
        measures.second_form,
        control=in_summary(summary.SECOND_LARGEST),
    ),
    D8.law("D8", INTERVAL, of_interval <= 1.0, each=title_and_scale, control=in_summary(summary.OFF_CENTRE)),
    informative(
        WEDIN,
        "Wedin.17",
        f"A(t) over {WEDINS}",
        "sqrt K",
        measures.equation_17,
        ONE,
        control=in_row("Wedin.17[ReLU]", back="Wedin.17[GELU]"),
    ),
    informative(
        WEDIN,
        "Wedin.D5",
        "A(t) over the bound in Lemma D.5's proof",
        "sqrt K",
        measures.wedin,
        ONE,
        control=in_row("Wedin.D5[ReLU]", back="Wedin.D5[GELU]"),
    ),
    A.law(
        "A.10",
        ALIGNED,
        # A fifth of the way to orthogonal subspaces; ReLU, where nothing is promised, is three fifths of it.
        measure(lambda run: measures.rotation(run, 10)) <= 0.2,
        **seen(10),
        control=in_summary(summary.rotation_at(10)),
    ),
    A.law(
        "A.250",
        ORTHOGONAL,
        measure(lambda run: measures.rotation(run, 250)) >= 0.95,
        **seen(250),
        control=in_summary(summary.rotation_at(250)),
    ),
    A.law(
        "A.decayed",
        BY_THEN,
        measure(measures.decayed) <= 0.1,
        **seen(*range(251)),
        control=in_summary(summary.DECAYED),
    ),
    E.law(
        "E.slope",
        f"{{}}: |{EXPONENT} - s|, s = 1, of tanh 2, of ReLU and Leaky ReLU 0",
        off_exponent <= MOST_OFF,
        each=title,
        stated=UP_TO,
        control=in_row("E.random"),
    ),
    E.law(
        "E.random",
        f"{{}}, blocks of a random S_big: |{EXPONENT}|",
        random_exponent <= MOST_OFF,
        each=title,
        stated=UP_TO,
        control=in_row("E.slope"),
    ),
    E.law(
        "E.bound",
        OF_SPREAD,
        of_perturbation <= 1.0,
        where(**smooth),
        each=title,
        event=lambda run: measures.first_perturbation(run).is_informative,
        control=in_summary(summary.C_1),
    ),
    F12.law(
        "F12.early",
        f"{{}}: ||G_1||_F strictly falls to t = 100: {summary.CHANGE}",
        changes(0, 100) < 0.0,
        **seen(*range(101)),
        control=in_summary(summary.EARLY),
    ),
    F12.law(
        "F12.late",
        f"{{}}, t = 100..250: {summary.CHANGE}",
        changes(100, 250) <= 1e-5,
        **seen(*range(251)),
        control=in_summary(summary.LATE),
    ),
    F12.law(
        "F12.values",
        RATIOS,
        measure(measures.excess) <= measures.MOST_EXCESS,
        **seen(*range(251)),
        control=in_summary(summary.EXCESS),
    ),
    F12.printed(
        "F12.monotone",
        f"{{}}: '||G_1||_F monotonically decays throughout training': {summary.CHANGE}",
        changes(0, 250) > RISE,
        statistic="max",
        **seen(*range(251)),
    ),
    F12.law(
        "F12.rate",
        "{}: ||G_1||_F comes to rest and does not go on falling geometrically: its rate of fall, t = 150..250, over "
        "that of t = 0..25",
        measure(measures.rate_left) < 0.1,
        **seen(*range(251)),
        control=in_summary(summary.LATE),
    ),
    F12.law(
        "F12.leading",
        "{}: the 'top-K singular values appear to monotonically decay': rise of sigma_i above its least / sigma_i(0)",
        measure(measures.leading_rise) <= UNSEEN,
        **seen(*range(251)),
        control=in_summary(summary.RISE_OF_NORM),
    ),
    F13.law(
        "F13",
        "{}: largest sigma_{K+1}(G_1(t)) / sigma_K(W_2^T Y X^T)",
        measure(measures.tail_share) <= 0.01,
        each=title_and_scale,
        control=in_summary(summary.TAIL),
    ),
    F11.law(
        "F11.tail",
        f"{{}}: |{SLOPE} - s|, i > K (s = 1, of tanh 2, of ReLU 0)",
        off_tail <= (lambda run: TAIL_SLOPES[run.config.net.activation][1]),
        each=title,
        control=in_row("F11.tail[ReLU]", back="F11.tail[GELU]"),
    ),
    F11.law(
        "F11.leading",
        f"{{}}: |{SLOPE}|, i <= K",
        off_leading <= 0.02,
        each=title,
        control=in_row("F11.leading[ReLU]", back="F11.leading[GELU]"),
    ),
    F11.printed(
        "F11.order",
        "{}: 'the bottom d - K singular values appear to be on a similar order as the top-K': sigma_d / sigma_K",
        measure(measures.least_over_leading) < SAME_ORDER,
        where(net__activation="relu"),
        each=title_and_scale,
    ),
    B1.law(
        "B1",
        "the bound over sigma_{d-K}(G_1(0)), where it is positive, every size",
        of_bounded <= 1.0,
        event=is_positive,
        control=GELUS,
    ),
    B1.law("B1.positive", f"{LARGEST_SQUARE}: the bound", relu_bound > 0.0, square, control=GELUS),
    B1.law(
        "B1.below",
        f"{LARGEST_SQUARE}: the bound over sigma_{{d-K}}(G_1(0))",
        of_bounded < 1.0,
        square,
        control=GELUS,
    ),
)
