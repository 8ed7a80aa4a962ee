"""The claims of the law of parsimony: Theorem 1 where the inputs are whitened, Figure 10 where they are not."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from experiments.laws.parsimony.theorem.measures import (
    REAL,
    STILL,
    TELLING,
    deviation,
    exponent,
    final_block,
    final_excess,
    final_tilt,
    least_increase,
    moved,
    num_moved,
    num_shared,
    num_small_angles,
    num_still,
    tilt,
)
from experiments.runner.laws import Law, Source, across, measure, of_size, stated_for
from experiments.runner.runs import Run, where
from experiments.runner.summary import final

PAPER = "Yaras et al. 2023"
BOUNDS = {"float64": 1e-12, "float32": 2e-4}
CASES = {"low_rank": "case1", "gaussian": "case2"}
# The rank of the paper's figures; another one is part of the id.
PAPERS_RANK = 3


def part(run: Run) -> str:
    """The runs that are judged together, ``case1_f32``: of one kind of data, one rank and one precision."""
    data, single = run.config.data, "_f32" * (run.config.precision == "float32")
    rank = f"_r{data.rank}" * (data.source in CASES and data.rank != PAPERS_RANK)
    return f"{CASES.get(data.source, data.source)}{rank}{single}"


def rounding(source: Source, id: str, name: str, text: str) -> Law:
    """At every step and in every layer a distance from the law is floating-point error in the run's precision.

    Case 2 leaves the last layer out; on real data the distance is relative to sigma_1.
    """

    def says(found: Sequence[Run]) -> str:
        data = found[0].config.data.source
        layers = "each layer" if data == "low_rank" else "each layer l < L"
        return text.replace("each layer", layers) + " / sigma_1(W)" * (data in REAL)

    largest = measure(lambda run: deviation(run, name))
    return source.law(id, says, largest < (lambda run: BOUNDS[run.config.precision]), each=part)


def depth(run: Run) -> str:
    """The runs that are compared where the condition number is swept: those of one depth."""
    return f"L{run.config.net.depth}"


def approximate(of: Callable[[Run], ArrayLike]) -> Callable[[Run], ArrayLike | None]:
    """A column of the summary for runs without whitening, of which the law holds approximately."""
    return lambda run: None if run.config.data.whiten else of(run)


FIGURE_10 = where(net__depth=3, net__width=30, net__scale=1.0, data__rank=3, data__num_samples=300)
UNFORCED = where(opt__weight_decay=0.0, opt__momentum=0.0, opt__num_steps=lambda steps: steps >= 10_000)

whitened, unwhitened = where(data__whiten=True), where(data__whiten=False, data__source="gaussian")
OFF_RHO = "the largest |singular value - rho(t)| of a layer"
MOVES = of_size(OFF_RHO, moved, lambda run: TELLING * BOUNDS[run.config.precision])
T1 = Source(paper=PAPER, figure="Theorem 1, eq. 16", of=whitened, vacuous=(MOVES,))
# Case 1 has no last layer apart; in float32 rounding alone turns subspaces by more than their bound.
T1_LAST = Source(
    paper=PAPER,
    figure="Lemma 2",
    of=lambda run: whitened(run) and "readout_leak" in run.data,
    vacuous=(MOVES,),
)
T1_EXACT = Source(paper=PAPER, figure="Theorem 1", of=where(data__whiten=True, precision="float64"), vacuous=(MOVES,))
F10 = Source(
    paper=PAPER,
    figure="Fig. 10",
    of=unwhitened,
    stated=(
        stated_for("d_x = 30, d_y = 3, N = 300, L = 3, eps = 1", FIGURE_10),
        stated_for("10000 steps or more without weight decay and momentum", UNFORCED),
    ),
    vacuous=(of_size(OFF_RHO, moved, TELLING * STILL),),
)
CONDITION = Source(
    paper=PAPER,
    figure="Section 3, conditioning",
    of=where(data__source="conditioned", precision="float64"),
    vacuous=(MOVES,),
)
# Near kappa = 1: the next power of log kappa is 1e-3 of the leading one, and rounding less than that.
NEARLY_WHITE = where(data__condition=lambda kappa: 1.0001 <= kappa <= 1.001)
# The square of log kappa is over the smallest active value, which may be as small as 1e-3: nearer, so that it leads.
NEAREST_WHITE = where(data__condition=lambda kappa: 1.00001 <= kappa <= 1.0001)
VALUE = "d - 2r singular values of each layer equal rho(t): largest difference"
BLOCK = "each layer has the blocks of eq. 5: ||U^T W(t) V - [W~ 0; 0 rho I]||_F"
EXCESS = "each layer without its idle part has rank 2r: sigma_{2r+1}(W(t) - (rho(t)/eps) W(0))"
READOUT = "the last layer ignores idle directions: ||W_L(t) U_{L-1,2}||_F"
ANGLE = "the idle subspaces stay U_2 and V_2: largest angle (rad) from step 1 on"
VALUES = "at least 20 of 30 singular values within 1e-3 of eps at the end, in every layer l < L"
SUBSPACES = "'the subspaces evolve very little': largest angle (rad) of an idle subspace, end to start"


LAWS = (
    rounding(T1, "T1.value", "idle_deviation", VALUE),
    rounding(T1, "T1.block", "block_deviation", BLOCK),
    rounding(T1, "T1.excess", "excess", EXCESS),
    rounding(T1_LAST, "T1.readout", "readout_leak", READOUT),
    T1_EXACT.law(
        "T1.count",
        lambda found: f"exactly 2r = {2 * found[0].config.data.rank} singular values differ from rho(t) from step 1 on",
        measure(num_moved).equals(lambda run: 2 * run.config.data.rank),
        each=part,
    ),
    T1_EXACT.law("T1.angle", ANGLE, measure(tilt) < 1e-9, each=part),
    F10.law("F10.values", VALUES, measure(num_still) >= 20),
    F10.printed("F10.subspaces", SUBSPACES, measure(final_tilt) > 0.1),
    CONDITION.law(
        "K.exact",
        f"kappa = 1: {EXCESS}, at the end",
        measure(final_excess) < BOUNDS["float64"],
        where(data__condition=1.0),
        each=depth,
    ),
    # To first order in log kappa an idle direction of X learns, or one of the outputs' side, but no pair of both.
    CONDITION.law(
        "K.excess",
        "from kappa = 1.00001 to 1.0001 sigma_{2r+1} grows like the square of log kappa: |exponent - 2|",
        # Rounding, 5e-15 of 5e-14 at kappa = 1.00001, changes an exponent by 0.04.
        across(lambda found: np.abs(exponent(found, final_excess) - 2)) < 0.1,
        NEAREST_WHITE,
        each=depth,
    ),
    CONDITION.law(
        "K.block",
        "from kappa = 1.0001 to 1.001 the distance of the blocks from eq. 5 grows like log kappa: |exponent - 1|",
        across(lambda found: np.abs(exponent(found, final_block) - 1)) < 0.02,
        NEARLY_WHITE,
        each=depth,
    ),
    CONDITION.law(
        "K.angle",
        "from kappa = 1.0001 to 1.001 the largest angle of an idle subspace grows like log kappa: |exponent - 1|",
        across(lambda found: np.abs(exponent(found, final_tilt) - 1)) < 0.02,
        NEARLY_WHITE,
        each=depth,
    ),
    CONDITION.law(
        "K.excess_grows",
        "the larger kappa, the larger sigma_{2r+1}, at all condition numbers of the sweep: smallest increase",
        across(lambda found: least_increase(found, final_excess)) > 0,
        each=depth,
    ),
    CONDITION.law(
        "K.angle_grows",
        "the larger kappa, the larger the largest angle of an idle subspace (rad): smallest increase",
        across(lambda found: least_increase(found, final_tilt)) > 0,
        each=depth,
    ),
)
SUMMARY = {
    "sum loss at the end": final("loss"),
    "rho at the end": final("rho"),
    "largest distance of the blocks from the law (real data: / sigma_1)": lambda run: deviation(run, "block_deviation"),
    "singular values within 1e-3 of eps at the end, fewest of a layer": approximate(num_still),
    "idle-subspace angles below 1e-3 rad at the end, fewest of a layer": approximate(num_small_angles),
    "of these 0 by dimension alone": approximate(num_shared),
    "largest angle (rad) of an idle subspace, end to start": approximate(final_tilt),
    "sigma_{2r+1} without the idle part at the end": lambda run: (
        final_excess(run) if run.config.data.source == "conditioned" else None
    ),
}
