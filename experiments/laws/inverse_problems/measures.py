"""What all three experiments measure: the law of layer 1, the hypotheses of Theorem A.2, the sharpness at the start."""

from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.laws.inverse_problems.common import PAPER
from experiments.runner.laws import Law, Source, measure
from experiments.runner.runs import Run, Where
from experiments.runner.summary import final
from lawlib.theory import inverse_problems as theory

# The law of layer 1 is exact up to this x = eta_1 lambda t, and up to rounding beyond.
EXACT_UNTIL, EXACT = 8.0, 1e-10
LAYER = "||W_1(t) P_perp - (1 - eta_1 lambda)^t W_1(0) P_perp||_F over that of the law"
# How figures name the two errors.
REGRESSION = r"regression error $\Vert WY - X\Vert_F/\Vert X\Vert_F$"
OFF_SUBSPACE = r"off-subspace error $\Vert W P_\perp\Vert$"
HYPOTHESES = {
    "isometry": "RIP constant delta / (1/10)",
    "decay": "lambda / (L sigma_min^2 / 14000)",
    "step": "eta / (m / (L sigma_max^2))",
    "accuracy": "gamma",
}

Column = Callable[[Run], Any]


def decay(run: Run) -> float:
    """The weight decay lambda."""
    return float(run.config.opt.weight_decay)


def decayed(run: Run) -> bool:
    """Whether there is weight decay."""
    return decay(run) > 0


def only(run: Run, chosen: np.ndarray) -> Run:
    """The run with these members and those that diverged, since a law fails where a member diverged."""
    return run.members(chosen | run.diverged)


# The law of layer 1. --------------------------------------------------------------------------------------------------


def deviation(run: Run) -> np.ndarray:
    """The largest relative distance of every member's W_1(t) P_perp from its law, x <= 8."""
    return np.where(run.all("rescaled_time") <= EXACT_UNTIL, run.all("law_deviation"), 0).max(1)


def excess(run: Run) -> np.ndarray:
    """The same at every t, over the larger of 1e-10 and eps e^x sqrt(t).

    A step rounds W_1 itself, not the part of it off the subspace, so the error does not decay as the law does: t
    roundings are a random walk, against a law that falls as e^-x.
    """
    last = run.data.converged_at.values[:, None]
    steps = np.where(last >= 0, np.minimum(run.steps, last), run.steps)
    rounding = np.finfo(float).eps * np.exp(run.all("rescaled_time")) * np.sqrt(steps)
    return (run.all("law_deviation") / np.maximum(EXACT, rounding)).max(1)


def first_layer_laws(figure: str, of: Where) -> tuple[Law, ...]:
    """The law of layer 1 in these runs: exact at first, and then to rounding."""

    def goes_beyond(run: Run) -> bool:
        return bool((run.last("rescaled_time") > 1.01 * EXACT_UNTIL).any())

    source = Source(paper=PAPER, figure=figure, of=of)
    late = f"distance of W_1(t) P_perp from that law at every t, over the larger of {EXACT:g} and eps e^x sqrt(t)"
    return (
        source.law("W1.exact", f"{LAYER}, x <= {EXACT_UNTIL:g}", measure(deviation) < EXACT),
        source.law("W1.rounding", late, measure(excess) < 1.0, goes_beyond),
    )


# The hypotheses of Theorem A.2. ---------------------------------------------------------------------------------------


def isometry(run: Run) -> np.ndarray:
    """The restricted isometry constant of every member's operator over the theorem's 1/10."""
    return run.first("isometry") / theory.LARGEST_ISOMETRY


def uncovered(figure: str, of: Where) -> Law:
    """The paper says that its theory covers its figures; the operators' isometry constants are too large for it."""
    return Source(paper=PAPER, figure=figure, of=of).printed(
        "A2.rip",
        "the figures are 'covered by our theory': RIP constant delta over the theorem's 1/10",
        measure(isometry) > 1.0,
        counts_divergence=True,
    )


def hypotheses(run: Run) -> dict[str, np.ndarray]:
    """What Theorem A.2 assumes to be at most 1, as quantities of every member by name (``theory.Hypotheses``)."""
    data, singular = run.config.data, run.first("signal_values")
    sizes = {"depth": run.config.net.depth, "dimension": data.dimension, "num_measurements": data.num_measurements}
    members = zip(run.first("isometry"), run.first("step_size"), singular[:, -1], singular[:, 0], strict=True)
    each = [
        theory.hypotheses(
            isometry=float(delta),
            step_size=float(eta),
            smallest=float(smallest),
            largest=float(largest),
            weight_decay=decay(run),
            **sizes,
        )
        for delta, eta, smallest, largest in members
    ]
    return dict(zip(theory.Hypotheses._fields, np.array(each, float).T, strict=True))


def columns(*assumed: str) -> dict[str, Column]:
    """Columns of every summary: both errors at the end, the sharpness, and these hypotheses (``HYPOTHESES``)."""

    def hypothesis(name: str) -> Column:
        return lambda run: hypotheses(run)[name] if "isometry" in run.data else None

    return {
        "regression error": final("regression_error"),
        "off-subspace error": final("off_subspace_error"),
        "eta lambda_max(P(0)), stable below 2": lambda run: run.first("sharpness") if "sharpness" in run.data else None,
        **{f"{HYPOTHESES[name]} (A.2: at most 1)": hypothesis(name) for name in assumed},
    }
