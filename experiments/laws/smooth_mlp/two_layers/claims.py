"""The claims of smooth two-layer MLPs: Theorem D.11 and its lemmas, Figures 3, 11, 12 and 13, Proposition B.1."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from experiments.laws.smooth_mlp.common import PAPER, is_smooth, observed, title
from experiments.laws.smooth_mlp.two_layers import measures
from experiments.laws.smooth_mlp.two_layers.measures import Bounded, norm_ratio, num_classes, num_small, slopes, values
from experiments.runner.laws import Law, Measure, Source, across, measure, stated_for
from experiments.runner.runs import Run, where
from experiments.runner.summary import final

SMOOTH = ("elu", "gelu", "silu")
# The slopes of log sigma_i(G_1(0)) in log eps, i > K, and how far a member may be from them. That of tanh is 2, since
# phi''(0) = 0.
TAIL_SLOPES = dict.fromkeys(SMOOTH, (1.0, 0.05)) | {"relu": (0.0, 0.06), "tanh": (2.0, 0.1)}
# Algebra holds up to rounding.
ONE, ROUNDED = 1 + 1e-9, 1e-12
SETTING = {"net__width": 72, "net__init": "orthogonal", "opt__step_size": 0.01}
SETTING |= {"data__dimension": 64, "data__num_classes": 4, "data__num_samples": 1000}
STATED = (stated_for("d = 64, N = 1000, K = 4, m = 72, eta = 0.01", where(**SETTING)),)

# Measures: one number per member. -------------------------------------------------------------------------------------


def share(run: Run, name: str, step: int) -> np.ndarray:
    """Block 1's share in the change of W_1 at a step."""
    return measures.shares(run, name)[:, measures.index(run, step), 0]


def rotation(run: Run, step: int) -> np.ndarray:
    """A(t) / sqrt K at a step; 1 is orthogonal to the leading subspaces of t = 0."""
    return measures.turned(run)[:, measures.index(run, step)] / num_classes(run) ** 0.5


def largest_step(run: Run) -> np.ndarray:
    """The left side of the first form over its right side, the largest of all steps and blocks."""
    return (measures.first_form(run).measured / measures.first_form(run).bound).max(1)


def off_centre(run: Run) -> np.ndarray:
    """max_i |sigma_i(G_1(0)) - centre of its interval| over r(eps)."""
    return np.abs(values(run)[:, 0] - measures.centres(run)).max(-1) / run.first("spread")


def change(run: Run, first: int, last: int) -> np.ndarray:
    """The largest change of ||G_1||_F / ||G_1(0)||_F in a step between these two."""
    return np.diff(norm_ratio(run)[:, (run.steps >= first) & (run.steps <= last)], axis=1).max(1)


def changes(first: int, last: int) -> Measure:
    """``change`` as what is judged."""
    return measure(lambda run: change(run, first, last))


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


def decayed(run: Run) -> np.ndarray:
    """sigma_1(G_1(t)) / sigma_1(G_1(0)) at the first step with A(t) > sqrt K / 2; NaN without one."""
    far, leading = measures.turned(run) > num_classes(run) ** 0.5 / 2, values(run)[..., 0] / values(run)[:, :1, 0]
    return np.where(far.any(1), leading[np.arange(len(far)), far.argmax(1)], np.nan)


def excess(run: Run) -> np.ndarray:
    """The largest ratio of a leading value's decay to that of the norm."""
    return (measures.value_ratio(run) / norm_ratio(run)).max(1)


def tail_share(run: Run) -> np.ndarray:
    """The largest sigma_{K+1}(G_1(t)) over sigma_K(W_2^T Y X^T)."""
    return measures.tail(run).max(1) / measures.smallest_target(run)


@across
def off_tail(found: Sequence[Run]) -> np.ndarray:
    """How far the slopes of the tail are from that of the activation, the largest over i > K."""
    slope, _ = TAIL_SLOPES[found[0].config.net.activation]
    return np.abs(slopes(found)[:, num_classes(found[0]) :] - slope).max(1)


off_leading = across(lambda found: np.abs(slopes(found)[:, : num_classes(found[0])]).max(1))
at_informative, of_interval = measure(lambda run: measures.first_form(run).ratio), measure(off_centre)
without_p = measure(lambda run: num_small(run) ** 0.5 * largest_step(run))
steepness = measure(lambda run: run.config.opt.step_size * run.worst("lipschitz"))
condition = measure(lambda run: 2 * run.first("spread") / measures.centres(run)[:, num_classes(run) - 1])
first_rate = measure(lambda run: measures.rate(run)[:, 0] / run.first("spread"))
relu_bound = measure(lambda run: run.first("relu_bound"))
of_bounded = measure(lambda run: (run.first("relu_bound") / measures.bounded_value(run))[is_positive(run)])

# Laws. ----------------------------------------------------------------------------------------------------------------


def source(figure: str, study: str | Callable[[str], bool], *, stated: bool = False, **fields: Any) -> Source:
    """The runs of a study, and of these fields, that a figure or theorem is about."""
    return Source(paper=PAPER, figure=figure, of=where(study=study, **fields), stated=STATED if stated else ())


def informative(
    source: Source,
    id: str,
    says: str,
    trivial: str,
    bounded: Callable[[Run], Bounded],
    limit: float = 1.0,
    *,
    times: str = "t >= 1",
) -> Law:
    """For each activation, a measured quantity over its bound at the steps at which the bound says something."""

    def sentence(found: Sequence[Run]) -> str:
        below = np.concatenate([bounded(run).is_informative for run in found])
        counts = " to ".join(map(str, sorted({below.sum(1).min(), below.sum(1).max()})))
        judged = f"at the steps at which this bound is below {trivial} ({counts} of {below.shape[1]} in a member)"
        return f"{title(found[0])}: largest {says}, {times}, {judged}"

    ratio, event = measure(lambda run: bounded(run).ratio), lambda run: bounded(run).is_informative
    return source.law(id, sentence, ratio <= limit, each=title, event=event)


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
D8 = source("Lemma D.8", lambda study: study != "decay", net__init="orthogonal", **smooth)
F3 = source("Fig. 3", "theorem", stated=True, net__scale=measures.SCALE, **papers)
A = source("Theorem 3.5", "theorem", stated=True, **smooth)
# ReLU is run beside them, for its numbers in the summary.
F12 = source("Fig. 12", "decay", stated=True, net__scale=measures.SCALE, **smooth)
F13 = source("Fig. 13", "decay", stated=True, **smooth)
F11 = source("Fig. 11", "tail", stated=True, net__init="orthogonal")
B1 = source("Prop. B.1", "tail", net__init="normal")
BLOCK_1 = "{}: block 1's share in the change of W_1 at t ="
STEP, CHANGE = "||W~_i(t+1) - W~_i(t)||_F", "largest change of ||G_1||_F in a step, over ||G_1(0)||_F"
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
BY_THEN = "{}: by then the gradient has decayed: sigma_1(t) / sigma_1(0) where A(t) first exceeds sqrt K / 2"
RATIOS = "{}: largest sigma_i(G_1(t)) / sigma_i(G_1(0)), i <= K, over ||G_1(t)||_F / ||G_1(0)||_F"
SLOPE = "slope of log sigma_i(G_1(0)) in log eps"

LAWS = (
    *(
        F3.law(f"F3.{t}", f"{BLOCK_1} {t}", measure(lambda run, t=t: share(run, "blocks", t)) >= bound, **seen(t))
        for t, bound in ((100, 0.99), (250, 0.97))
    ),
    D11.check("D11.start", STARTS, start <= ROUNDED),
    informative(D11, "D11.first", FIRST_FORM, "eta ||G_1(t)||_F", measures.first_form, ONE, times="every t"),
    D11.law("D11.tight", TIGHT, at_informative >= 0.6, where(**papers), each=title, stated=STATED),
    D11.law("D11.ends", ENDS, measure(last_informative) < 100.0, where(**papers), **seen(*range(251)), stated=STATED),
    SECOND.printed("D11.proof", f"the end of the proof, '{STEP} <= eta rho(t)': largest ratio", without_p > ONE),
    SECOND.law(
        "D11.step_size", "eta <= 1/gamma_L, M the largest residual: eta gamma_L", steepness <= 1.0, stated=STATED
    ),
    SECOND.law(
        "D11.scale", "condition on eps: r(eps) over phi'(0) sigma_K(W_2^T Y X^T) / 2", condition < 1.0, stated=STATED
    ),
    SECOND.law("D11.second_0", "second form at t = 0, printed with sqrt p: rho(0) over r(eps)", first_rate <= 1.0),
    informative(D9, "D9", "A(t) / delta(t)", "sqrt K", measures.lemma_d9),
    informative(SECOND, "D11.second", "rho(t) over the second form", "||G_1(t)||_F / sqrt p", measures.second_form),
    D8.law("D8", INTERVAL, of_interval <= 1.0, each=title_and_scale),
    informative(WEDIN, "Wedin.17", f"A(t) over {WEDINS}", "sqrt K", measures.equation_17, ONE),
    informative(WEDIN, "Wedin.D5", "A(t) over the bound in Lemma D.5's proof", "sqrt K", measures.wedin, ONE),
    A.law("A.250", ORTHOGONAL, measure(lambda run: rotation(run, 250)) >= 0.95, **seen(250)),
    A.law("A.decayed", BY_THEN, measure(decayed) <= 0.1, **seen(*range(251))),
    F12.law(
        "F12.early", f"{{}}: ||G_1||_F strictly falls to t = 100: {CHANGE}", changes(0, 100) < 0.0, **seen(*range(101))
    ),
    F12.law("F12.late", f"{{}}, t = 100..250: {CHANGE}", changes(100, 250) <= 1e-5, **seen(*range(251))),
    F12.law("F12.values", RATIOS, measure(excess) <= measures.MOST_EXCESS, **seen(*range(251))),
    F12.printed(
        "F12.monotone",
        f"{{}}: '||G_1||_F monotonically decays throughout training': {CHANGE}",
        changes(0, 250) > 1e-8,
        statistic="max",
        **seen(*range(251)),
    ),
    F13.law(
        "F13",
        "{}: largest sigma_{K+1}(G_1(t)) / sigma_K(W_2^T Y X^T)",
        measure(tail_share) <= 0.01,
        each=title_and_scale,
    ),
    F11.law(
        "F11.tail",
        f"{{}}: |{SLOPE} - s|, i > K (s = 1, of tanh 2, of ReLU 0)",
        off_tail <= (lambda run: TAIL_SLOPES[run.config.net.activation][1]),
        each=title,
    ),
    F11.law("F11.leading", f"{{}}: |{SLOPE}|, i <= K", off_leading <= 0.02, each=title),
    B1.law(
        "B1",
        "the bound over sigma_{d-K}(G_1(0)), where it is positive, every size",
        of_bounded <= 1.0,
        event=is_positive,
    ),
    B1.law("B1.positive", f"{LARGEST_SQUARE}: the bound", relu_bound > 0.0, square),
    B1.law("B1.below", f"{LARGEST_SQUARE}: the bound over sigma_{{d-K}}(G_1(0))", of_bounded < 1.0, square),
)

# Numbers without a bound. ---------------------------------------------------------------------------------------------

Column = Callable[[Run], ArrayLike]


def at(step: int, of: Column, variable: str = "gradient_values") -> Callable[[Run], ArrayLike | None]:
    """A column of the runs that have this variable and were observed at this step."""
    return lambda run: of(run) if variable in run.data and step in run.steps else None


def first_rise(run: Run) -> np.ndarray:
    """The step after which ||G_1||_F first rises, to t = 250; NaN for a member in which it does not."""
    rising = np.diff(norm_ratio(run)[:, run.steps <= 250], axis=1) > 0
    return np.where(rising.any(1), run.steps[rising.argmax(1)], np.nan)


def floor(run: Run) -> np.ndarray:
    """||G_1(250)||_F / ||G_1(0)||_F."""
    return norm_ratio(run)[:, measures.index(run, 250)]


def looseness(run: Run) -> np.ndarray:
    """The median over t of the second form's bound over rho(t)."""
    return np.median(measures.second_form(run).bound / measures.second_form(run).measured, axis=1)


def positive(run: Run) -> np.ndarray:
    """Proposition B.1's bound; NaN where it says nothing."""
    return np.where(run.first("relu_bound") > 0, run.first("relu_bound"), np.nan)


SUMMARY = {
    "loss": final("loss"),
    **{
        f"block 1's share at t = {step}{of}": at(step, lambda run, n=name, t=step: share(run, n, t), name)
        for step in (100, 250)
        for name, of in (("blocks", ""), ("random_blocks", ", of a random S_big"))
    },
    "steps at which the first form is below eta ||G_1||_F": at(
        0, lambda run: measures.first_form(run).is_informative.sum(1), "step_bound"
    ),
    "rho(0) / (r(eps) sqrt p), the second form as printed": at(
        0, lambda run: measures.rate(run)[:, 0] / (run.first("spread") * num_small(run) ** 0.5), "lipschitz"
    ),
    "second form over rho(t), median over t": at(0, looseness, "lipschitz"),
    "r(eps) over the distance that it bounds (Lemma D.8)": at(0, lambda run: 1 / off_centre(run), "spread"),
    **{f"A({step}) / sqrt K": at(step, lambda run, t=step: rotation(run, t), "left_sine") for step in (10, 100, 250)},
    "the same of two random subspaces, sqrt(1 - K/m)": at(
        0, lambda run: [(1 - num_classes(run) / run.config.net.width) ** 0.5], "left_sine"
    ),
    "sigma_1(t) / sigma_1(0) where A(t) first exceeds sqrt K / 2": at(0, decayed, "left_sine"),
    "sigma_{K+1}(G_1(0)) / sigma_K(G_1(0))": at(
        0, lambda run: measures.tail(run)[:, 0] / values(run)[:, 0, num_classes(run) - 1]
    ),
    "largest sigma_{K+1}(G_1(t)) / sigma_K(W_2^T Y X^T)": at(0, tail_share),
    f"{CHANGE}, to t = 100": at(100, lambda run: change(run, 0, 100)),
    f"{CHANGE}, t = 100 to 250": at(250, lambda run: change(run, 100, 250)),
    "largest sigma_i(G_1(t)) / sigma_i(G_1(0)), i <= K, over the ratio of the norms": at(1, excess),
    "step after which ||G_1||_F first rises, to t = 250": at(250, first_rise),
    "rise of ||G_1||_F above its least value, to t = 250, over ||G_1(0)||_F": at(
        250, lambda run: floor(run) - norm_ratio(run)[:, run.steps <= 250].min(1)
    ),
    "||G_1(250)||_F / ||G_1(0)||_F": at(250, floor),
    "Proposition B.1's bound where it is positive": at(0, positive, "relu_bound"),
    "sigma_{d-K}(G_1(0))": at(0, measures.bounded_value, "relu_bound"),
}
