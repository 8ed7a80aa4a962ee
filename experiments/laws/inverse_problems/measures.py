"""What all three experiments measure: the law of layer 1, the hypotheses of Theorem A.2, plateaus, the sharpness."""

import functools as ft
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.laws.inverse_problems.common import PAPER
from experiments.runner.laws import Law, Measure, Objection, Source, measure, stated_for
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

Of = Callable[[Run], Any]


def decay(run: Run) -> float:
    """The weight decay lambda."""
    return float(run.config.opt.weight_decay)


def decayed(run: Run) -> bool:
    """Whether there is weight decay."""
    return decay(run) > 0


# Members that reached something; ``reached`` counts those that diverged, since a law fails where a member did. --------


def among(reached: Of, of: Of) -> Measure:
    """A measure of the members that reached something."""
    return measure(lambda run: of(run.members(reached(run))))


def column(reached: Of, of: Of, fits: Where) -> Of:
    """A column of the summary with numbers for the members that reached something, in the runs that fit."""
    return lambda run: np.where(reached(run), of(run), np.nan) if fits(run) else None


def everyone(reached: Of, what: str) -> Objection:
    """Runs in which all members reached something."""

    def objection(found: Sequence[Run]) -> str:
        late, every = np.sum([((~reached(run)).sum(), run.num_seeds) for run in found], axis=0)
        return f"{late} of {every} members did not reach {what}" if late else ""

    return objection


# What every linear network keeps, and what Theorem A.2 asks of it. ----------------------------------------------------


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
    source = Source(paper=PAPER, figure=figure, of=of)
    late = f"distance of W_1(t) P_perp from that law at every t, over the larger of {EXACT:g} and eps e^x sqrt(t)"
    return (
        source.law("W1.exact", f"{LAYER}, x <= {EXACT_UNTIL:g}", measure(deviation) < EXACT),
        source.law("W1.rounding", late, measure(excess) < 1.0, _goes_beyond),
    )


def _goes_beyond(run: Run) -> bool:
    return bool((run.last("rescaled_time") > 1.01 * EXACT_UNTIL).any())


def uncovered(figure: str, of: Where, printed: Where) -> Law:
    """The isometry constants of the figures' operators are too large for the paper's theorem.

    ``printed`` tells which runs have the sizes of a figure. The paper does not say that its theorem covers them.
    """
    isometry = measure(lambda run: run.first("isometry") / theory.LARGEST_ISOMETRY)
    says = "Theorem A.2 says nothing of the figure's operators: RIP constant delta over the theorem's 1/10"
    source = Source(paper=PAPER, figure=figure, of=of)
    sizes = (stated_for("the sizes d, m and s of the figures", printed),)
    return source.law("A2.rip", says, isometry > 1.0, counts_divergence=True, stated=sizes)


def hypotheses(run: Run) -> theory.Hypotheses:
    """What Theorem A.2 assumes to be at most 1, as quantities of every member, shape (seed,) each."""
    data, singular = run.config.data, run.first("signal_values")
    sizes = {"depth": run.config.net.depth, "dimension": data.dimension, "num_measurements": data.num_measurements}
    of = jax.vmap(ft.partial(theory.hypotheses, weight_decay=decay(run), **sizes))
    drawn = {name: run.first(name) for name in ("isometry", "step_size")}
    return of(**drawn, smallest=singular[:, -1], largest=singular[:, 0])


def columns(*assumed: str) -> dict[str, Of]:
    """Columns of every summary: both errors at the end, the sharpness, and these hypotheses (``HYPOTHESES``)."""
    of = {f"{HYPOTHESES[name]} (A.2: at most 1)": ft.partial(_hypothesis, name) for name in assumed}
    return {
        "regression error": final("regression_error"),
        "off-subspace error": final("off_subspace_error"),
        "eta lambda_max(P(0)), stable below 2": lambda run: run.first("sharpness") if "sharpness" in run.data else None,
    } | of


def _hypothesis(name: str, run: Run) -> np.ndarray | None:
    return getattr(hypotheses(run), name) if "isometry" in run.data else None


# Plateaus. ------------------------------------------------------------------------------------------------------------


def predicted(run: Run, formula: Callable[..., Any]) -> np.ndarray:
    """``theory.plateau`` or ``theory.plateau_estimate`` of every member."""
    rho, depth = jnp.asarray(run.first("measured_values")), run.config.net.depth
    return np.asarray(_of_members(rho, jnp.asarray(decay(run)), formula=formula, depth=depth))


@ft.partial(jax.jit, static_argnames=("formula", "depth"))
def _of_members(rho: jax.Array, decay: jax.Array, *, formula: Callable[..., Any], depth: int) -> jax.Array:
    return jax.vmap(lambda values: formula(values, weight_decay=decay, depth=depth))(rho)
