"""The claims on weight decay: idle directions vanish at the predicted rate, and the target where the decay is large."""

from experiments.laws.parsimony.decay.measures import (
    SLOW,
    TELLING,
    fall_over_error,
    has_rate,
    idle_deviation,
    is_case_1,
    is_decay,
    is_followed,
    is_seen,
    largest_kept,
    largest_left,
    leading_deviation,
    off_closed_form,
    off_prediction,
    off_rate,
    over_fold,
    thresholds,
)
from experiments.runner.laws import Source, measure, of_size, stated_for
from experiments.runner.runs import Run, where
from experiments.runner.summary import final

PAPER = "Yaras et al. 2023"
# Near a threshold a singular value moves by exp(-2 |lambda / lambda* - 1| lambda* eta t), or more slowly than that.
NEAREST = 0.04
LONGEST = 400.0
# A smaller start takes longer than that to leave 0.
SMALLEST = 0.3


def is_long(run: Run) -> bool:
    """Whether singular values get to their limits: eta t >= 400."""
    return run.config.opt.step_size * run.config.opt.num_steps >= LONGEST


def is_apart(run: Run) -> bool:
    """Whether the decay is not near a threshold of a singular value."""
    return all(abs(run.config.opt.decay_ratio / each - 1) >= NEAREST for each in thresholds(run))


decayed, free = where(opt__decay_ratio=lambda ratio: ratio > 0), where(opt__decay_ratio=0.0)
beyond, below = (where(opt__decay_ratio=fits) for fits in (lambda ratio: ratio > 1, lambda ratio: 0.9 <= ratio < 1))
UNIT = stated_for(
    f"sigma_1 = 1, eps >= {SMALLEST:g}",
    lambda run: run.config.data.spectrum[0] == 1 and run.config.net.scale >= SMALLEST,
)
LONG = stated_for("eta t >= 400", is_long)
APART = stated_for(f"a decay that differs by {NEAREST:.0%} or more from each threshold", is_apart)

SLOWLY = stated_for("eta lambda < 1, in Case 1 eta eps^(2L-2) < 1 - eta lambda", is_decay)
ROUNDED = 1e-8
MOVES = of_size("the largest |sigma_i / rho(t) - 1| of a layer, i <= r,", leading_deviation, TELLING * ROUNDED)
FALLS = of_size("log(eps / idle value) at the end, over the bound of the closed form,", fall_over_error, 10)

DECAY = Source(paper=PAPER, figure="Section 3, weight decay", of=where(precision="float64"))
IDLE = "while rho > 1e-6, idle singular values / rho(t) - 1 of eqs. 6, 7: largest"
RATE = "idle singular values fall by the factor 1 - eta lambda per step, in Case 1 once rho^(2L-2) < 1e-4 lambda"
FORM = "|log(idle value / closed form)| over its bound log(1 + delta)/(2L-2), while the value exceeds 1e-6"
ROOTS = "each layer keeps the largest root w of lambda = w^(L-2) (sigma_i - w^L) for lambda < lambda*_i, and 0 beyond"


LAWS = (
    DECAY.law("WD.idle", IDLE, measure(idle_deviation) < ROUNDED, each="name", event=is_seen, vacuous=(MOVES,)),
    DECAY.law(
        "WD.rate",
        f"{RATE}: |measured rate / log(1 - eta lambda) - 1|",
        # What rho^{2L-2} adds to lambda; in Case 2 nothing does, and rounding is 1e-16 / 1e-6.
        measure(off_rate) < (lambda run: SLOW if is_case_1(run) else ROUNDED),
        decayed,
        each="name",
        event=has_rate,
        stated=(SLOWLY,),
    ),
    DECAY.law(
        "WD.form",
        FORM,
        measure(off_closed_form) <= 1,
        lambda run: is_case_1(run) and decayed(run),
        each="name",
        event=is_seen,
        stated=(SLOWLY,),
        vacuous=(FALLS,),
    ),
    DECAY.law(
        "WD.power",
        f"without weight decay rho falls as well, like (2(L-1) eta t)^(-1/(2L-2)): {FORM}",
        measure(off_closed_form) <= 1,
        lambda run: is_case_1(run) and free(run),
        each="name",
        event=is_seen,
        stated=(SLOWLY,),
        vacuous=(FALLS,),
    ),
    DECAY.law(
        "WD.values",
        f"{ROOTS}: largest difference at the end",
        measure(off_prediction) < 1e-6,
        # Without decay nothing balances the layers after steps of finite size.
        lambda run: is_followed(run) and decayed(run),
        each="name",
        stated=(UNIT, LONG, APART),
    ),
    DECAY.law(
        "WD.collapse",
        "for lambda > lambda*_1 everything vanishes: largest singular value of a layer and of W_{L:1} at the end",
        measure(largest_left) < 1e-6,
        beyond,
        each="name",
        stated=(UNIT, LONG, APART),
    ),
    DECAY.law(
        "WD.jump",
        "L >= 3: just below lambda*_1 no layer's sigma_1 is under w* = (sigma (L-2) / (2L-2))^(1/L): ratio",
        measure(over_fold) >= 1,
        lambda run: is_followed(run) and below(run) and run.config.net.depth >= 3,
        each="name",
        stated=(UNIT, LONG),
    ),
    DECAY.law(
        "WD.independent",
        "a small independent start loses all at a decay that an aligned one survives (lambda*_1 > lambda >= 0.9 "
        "lambda*_1): largest singular value at the end",
        measure(largest_left) < 1e-6,
        lambda run: not is_followed(run) and below(run),
        each="name",
        stated=(UNIT, LONG),
    ),
)
SUMMARY = {
    "sum loss at the end": final("loss"),
    "rho at the end": final("rho"),
    "largest singular value at the end": largest_left,
    "singular values of W_{L:1} above 1e-3 at the end": lambda run: (run.last("product_values") > 1e-3).sum(1),
}
COMPARISONS = {"largest lambda / lambda*_1 of the sweep at which sigma_1 is kept": largest_kept}
