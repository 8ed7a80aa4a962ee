"""The summary of smooth two-layer MLPs: numbers without a bound, among them the controls that the laws name.

ReLU has no bounded second derivative: gamma_L and r(eps) are infinite. What these two bound is finite, and is here for
every activation.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from experiments.laws.smooth_mlp.common import title
from experiments.laws.smooth_mlp.two_layers import measures
from experiments.laws.smooth_mlp.two_layers.measures import norm_ratio, num_classes, num_small, values
from experiments.runner.runs import Run, grouped
from experiments.runner.summary import final, largest

Column = Callable[[Run], ArrayLike]

CHANGE = "largest change of ||G_1||_F in a step, over ||G_1(0)||_F"
RISE_OF_NORM = "rise of ||G_1||_F above its least value, to t = 250, over ||G_1(0)||_F"
EARLY, LATE = f"{CHANGE}, to t = 100", f"{CHANGE}, t = 100 to 250"
FIRST_FORM = "steps at which the first form is below eta ||G_1||_F"
RANDOM_FORM = "first form with a random S_big: its largest ratio at these steps"
OFF_CENTRE = (
    "max_i |sigma_i(G_1(0)) - centre of its interval| over phi'(0) sigma_K(W_2^T Y X^T); ReLU's phi'(0) taken as 1/2"
)
SECANT = "eta times the largest ||G_1(t) - G_1(0)||_F / ||W_1(t) - W_1(0)||_F, which gamma_L bounds"
TAIL_AT_START = "sigma_{K+1}(G_1(0)) / sigma_K(G_1(0))"
# The measured constants are those of ``measures.measured``.
D9_MEASURED = "Lemma D.9 with measured constants: steps at which delta(t) is below sqrt K"
D9_LARGEST = "Lemma D.9 with measured constants: largest A(t) over delta(t), every t >= 1"
SECOND_MEASURED = "second form with measured constants: steps at which it is below ||G_1||_F / sqrt p"
SECOND_LARGEST = "second form with measured constants: largest rho(t) over it, every t >= 1"
EXCESS = "largest sigma_i(G_1(t)) / sigma_i(G_1(0)), i <= K, over the ratio of the norms"
DECAYED = "sigma_1(t) / sigma_1(0) where A(t) first exceeds sqrt K / 2"
TAIL = "largest sigma_{K+1}(G_1(t)) / sigma_K(W_2^T Y X^T)"
M, G_3 = "M of Assumption 3.4, the largest |entry| of Delta_2(t) at any t", "G_3 of Assumption 3.4"
LEAST_G_3 = "the G_3 above which Lemma D.9's denominator is positive, 1 - phi'(0) + r(eps) / sigma_K(W_2^T Y X^T)"
C_1 = "largest ||W~_i(1) - W~_i(0)||_F / sqrt p, i = 2, 3, 4, over eta eps: C_1 of Theorem 3.5"


def share_at(step: int, *, random: bool = False) -> str:
    """The heading of block 1's share at a step."""
    return f"block 1's share at t = {step}{', of a random S_big' if random else ''}"


def rotation_at(step: int) -> str:
    """The heading of A(t) at a step."""
    return f"A({step}) / sqrt K"


def at(step: int, of: Column, variable: str = "gradient_values") -> Callable[[Run], ArrayLike | None]:
    """A column of the runs that have this variable and were observed at this step."""
    return lambda run: of(run) if variable in run.data and step in run.steps else None


def trained(of: Column, variable: str = "step_bound") -> Callable[[Run], ArrayLike | None]:
    """A column of the theorem's runs, which go on after the first step."""
    return lambda run: of(run) if variable in run.data and run.config.study == "theorem" else None


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


def largest_ratio(bounded: measures.Bounded) -> np.ndarray:
    """The largest measured / bound over all steps, shape (seed,)."""
    return (bounded.measured / bounded.bound).max(1)


def steep(run: Run) -> np.ndarray:
    """Eta gamma_L."""
    return run.config.opt.step_size * run.worst("lipschitz")


def per_scale(run: Run, name: str) -> np.ndarray:
    """The first step's largest change over eta eps."""
    return measures.first_step(run, name) / (run.config.opt.step_size * run.config.net.scale)


def least_g_3(run: Run) -> np.ndarray:
    """The G_3 above which phi'(0) sigma_K(W_2^T Y X^T) - r(eps) - sigma_{K+1}(G_1(t)) is positive."""
    return 1 - measures.slope_at_zero(run) + run.first("spread") / measures.smallest_target(run)


SUMMARY = {
    "loss": final("loss"),
    **{
        share_at(step, random=random): at(step, lambda run, n=name, t=step: measures.share(run, n, t), name)
        for step in (100, 250)
        for name, random in (("blocks", False), ("random_blocks", True))
    },
    FIRST_FORM: trained(lambda run: measures.first_form(run).is_informative.sum(1)),
    RANDOM_FORM: trained(lambda run: measures.first_form(run, "random_step_distances").ratio),
    "rho(0) / (r(eps) sqrt p), the second form as printed": trained(
        lambda run: measures.rate(run)[:, 0] / (run.first("spread") * num_small(run) ** 0.5), "lipschitz"
    ),
    "second form over rho(t), median over t": trained(looseness, "lipschitz"),
    SECOND_MEASURED: trained(lambda run: measures.second_form(run, measures.measured).is_informative.sum(1)),
    SECOND_LARGEST: trained(lambda run: largest_ratio(measures.second_form(run, measures.measured))),
    D9_MEASURED: trained(lambda run: measures.lemma_d9(run, measures.measured).is_informative.sum(1)),
    D9_LARGEST: trained(lambda run: largest_ratio(measures.lemma_d9(run, measures.measured))),
    M: largest("largest_residual"),
    "eta gamma_L with this M, at most 1 in Theorem D.11": trained(steep, "lipschitz"),
    SECANT: trained(lambda run: run.config.opt.step_size * measures.secant(run)),
    G_3: at(0, lambda run: 1 - measures.tail_share(run)),
    LEAST_G_3: at(0, least_g_3, "spread"),
    "r(eps) over the distance that it bounds (Lemma D.8)": at(
        0, lambda run: run.first("spread") / measures.off_centre(run), "spread"
    ),
    OFF_CENTRE: at(0, lambda run: measures.off_centre(run) / measures.gap_at_start(run)),
    C_1: at(0, lambda run: per_scale(run, "step_distances"), "step_distances"),
    "the same of a random S_big": at(0, lambda run: per_scale(run, "random_step_distances"), "step_distances"),
    "r(eps) / eps, which bounds C_1": at(0, lambda run: run.first("spread") / run.config.net.scale, "spread"),
    **{
        rotation_at(step): at(step, lambda run, t=step: measures.rotation(run, t), "left_sine")
        for step in (1, 10, 100, 250)
    },
    "the same of two random subspaces, sqrt(1 - K/m)": trained(
        lambda run: [(1 - num_classes(run) / run.config.net.width) ** 0.5]
    ),
    DECAYED: trained(measures.decayed),
    TAIL_AT_START: at(0, lambda run: measures.tail(run)[:, 0] / values(run)[:, 0, num_classes(run) - 1]),
    TAIL: at(0, measures.tail_share),
    EARLY: at(100, lambda run: measures.change(run, 0, 100)),
    LATE: at(250, lambda run: measures.change(run, 100, 250)),
    EXCESS: at(1, measures.excess),
    "step after which ||G_1||_F first rises, to t = 250": at(250, first_rise),
    RISE_OF_NORM: at(250, lambda run: floor(run) - norm_ratio(run)[:, run.steps <= 250].min(1)),
    "||G_1(250)||_F / ||G_1(0)||_F": at(250, floor),
    "Proposition B.1's bound where it is positive": at(0, positive, "relu_bound"),
    "sigma_{d-K}(G_1(0))": at(0, measures.bounded_value, "relu_bound"),
}


def exponents(found: Sequence[Run], name: str) -> dict[str, np.ndarray]:
    """The exponents of eps in the first step, by activation, of those that have several eps."""
    ours = [run for run in found if run.config.study == "epsilon"]
    return {which: measures.exponents(panel, name) for which, panel in grouped(ours, title).items() if len(panel) > 1}


COMPARISONS = {
    "exponent of eps in the first step outside of S_big": lambda found: exponents(found, "step_distances"),
    "exponent of eps in the first step outside of a random S_big": (
        lambda found: exponents(found, "random_step_distances")
    ),
}
