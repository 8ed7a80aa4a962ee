"""The claims on other optimizers: each one that commutes with rotations keeps the law, and each entrywise one fails."""

from collections.abc import Callable, Mapping

from numpy.typing import ArrayLike

from experiments.laws.parsimony.optimizers.measures import (
    BOUNDS,
    LEFT,
    MARGIN,
    TELLING,
    alone,
    certified,
    deviation,
    equivariant,
    left_at,
    moved,
    moved_share,
    named,
    num_moved,
    off_recursion,
    reducible,
    share,
)
from experiments.laws.parsimony.optimizers.methods import METHODS
from experiments.runner.laws import Source, measure, of_size, stated_for
from experiments.runner.runs import Run, where

PAPER, FIGURE = "Yaras et al. 2023", "Section 3, optimizers"
CASES = {"low_rank": "Case 1", "gaussian": "Case 2", "digits": "digits"}


def bound(run: Run) -> float:
    """Floating-point error in the run's precision."""
    return BOUNDS[run.config.precision]


def precision(run: Run) -> str:
    """A part for the runs in float32."""
    return "f32" * (run.config.precision == "float32")


def case(run: Run) -> str:
    """The kind of data."""
    return CASES[run.config.data.source]


def telling(run: Run) -> float:
    """The least change beside which a distance below the bound says something."""
    return TELLING * bound(run)


exactly, double = where(opt__batch_size=0), where(opt__batch_size=0, precision="float64")
MOVES = of_size("the largest sigma_1(W(t) - (c(t)/eps) W(0)) of a layer", moved, telling)
MOVES_ITSELF = of_size("the largest sigma_1(W(t) - (c(t)/eps) W(0)) / sigma_1(W(t)) of a layer", moved_share, telling)
KEPT = Source(paper=PAPER, figure=FIGURE, of=exactly, parts=equivariant, vacuous=(MOVES,))
COUNTED = Source(paper=PAPER, figure=FIGURE, of=double, parts=equivariant)
FOLLOWED = Source(paper=PAPER, figure=FIGURE, of=exactly, parts=reducible, vacuous=(MOVES,))
STATED = (
    stated_for("eps = 1, beta_2 = 0.999, epsilon = 1e-8", where(net__scale=1.0, opt__beta_2=0.999, opt__epsilon=1e-8)),
    stated_for("50 steps or more", where(opt__num_steps=lambda steps: steps >= 50)),
)


def disputed(*names: str) -> Source:
    """The runs that have one of these optimizers, at its own rates."""

    def has(run: Run) -> bool:
        is_own = double(run) and not run.hyperparameters
        return is_own and not set(names).isdisjoint(run.config.opt.methods)

    return Source(paper=PAPER, figure=FIGURE, of=has, parts=named(*names), stated=STATED)


NAMED, SIGN = disputed("adam", "rmsprop", "adagrad"), disputed("sign")
RELATIVE = "each layer at every step (digits: / sigma_1)"
EXCESS = f"{{}} commutes with rotations: sigma_{{2r+1}}(W(t) - (c(t)/eps) W(0)), c measured, {RELATIVE}"
BLOCK = f"{{}}: ||U^T W(t) V - [W~ 0; 0 c(t) I]||_F, {RELATIVE}, and in Case 2 ||W_L(t) U_{{L-1,2}}||_F"
IDLE = f"{{}}: the measured c(t) is the idle value that the 2r x 2r network predicts: difference, {RELATIVE}"
SMALL = "{}: the d x d network is the 2r x 2r one, expanded: ||W_l - expanded||_F / ||W_l||_F at every step"
COUNT = "{}: how many singular values differ from |c| at the end, over 2r"
GENERAL = (
    "{}: 'we believe our result can be generalized to' Adam, AdaGrad, RMSprop: least sigma_{2r+1}(W(t) - c W(0)) of "
    "any c, over sigma_1(W(t)), in the worst layer at the end"
)
OF_SIGN = (
    "{}: sign descent is entrywise as well, and breaks the law: least sigma_{2r+1}(W(t) - c W(0)) of any c, over "
    "sigma_1(W(t)), in the worst layer at the end"
)

LAWS = (
    KEPT.law("OPT.excess", EXCESS, measure(lambda run: deviation(run, "excess")) < bound, each=precision),
    KEPT.law("OPT.block", BLOCK, measure(lambda run: deviation(run, "block_deviation")) < bound, each=precision),
    COUNTED.law("OPT.count", COUNT, measure(lambda run: num_moved(run) / (2 * run.config.data.rank)).equals(1.0)),
    FOLLOWED.law("OPT.idle", IDLE, measure(off_recursion) < bound, each=precision),
    FOLLOWED.law(
        "OPT.small",
        SMALL,
        measure(lambda run: run.all("difference").max((1, 2))) < bound,
        each=precision,
        vacuous=(MOVES_ITSELF,),
    ),
    NAMED.printed("OPT.general", GENERAL, measure(certified) > MARGIN, each=case),
    SIGN.law("OPT.sign", OF_SIGN, measure(certified) > MARGIN, each=case),
)

# Numbers without a bound. ---------------------------------------------------------------------------------------------


def column(name: str, of: Callable[[Run], ArrayLike]) -> Callable[[Run], ArrayLike | None]:
    """A column of the runs that have this optimizer."""
    return lambda run: of(alone(run, name)) if name in run.config.opt.methods else None


SUMMARY: Mapping[str, Callable[[Run], ArrayLike | None]] = {
    # Counted: a product of d x d matrices over one of the small network's.
    "(d / 2r)^3, multiplications saved": lambda run: [(run.config.net.width / (2 * run.config.data.rank)) ** 3],
    **{
        f"{method.title}: loss over the first loss": column(name, lambda run: run.last("loss") / run.first("loss"))
        for name, method in METHODS.items()
    },
    **{
        f"{method.title}: c / eps at the end, layer 1": column(
            name, lambda run: run.last("idle_value")[:, 0] / run.config.net.scale
        )
        for name, method in METHODS.items()
    },
    **{
        f"{METHODS[name].title}: {heading}": column(name, of)
        for name in ("gd", "adam", "rmsprop", "adagrad", "sign")
        for heading, of in (
            (f"first step with sigma_{{2r+1}} > {LEFT} sigma_1", left_at),
            ("sigma_{2r+1} / sigma_1 of W - (c/eps) W(0) at the end", lambda run: share(run)[:, -1]),
        )
    },
}
