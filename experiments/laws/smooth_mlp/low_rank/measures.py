"""What claims and figures of low-rank MLPs on real images measure: their families, and how they end."""

from collections.abc import Sequence

import numpy as np

from experiments.laws.smooth_mlp.families import SHARES, Families, ends_in_common, families, first_step
from experiments.runner.runs import Run

# Fields by which the variants of a family differ.
ROLES = {"net.form", "net.gradient", "net.inner"}
# First weights of the last layer, and what they are in titles.
LASTS = {"orthogonal": "", "uniform": "last layer uniform"}
# 1/2 ||f - Y||^2 of an image where the outputs are 0.
SILENT = 0.5
# Above and below which shares of the initial loss a loss has not fallen and has.
STAYED, FELL = 0.99, 0.95
# A random subspace has a loss so many times larger than the others, or it stays at its initial loss.
WORSE = 1.3


def form(run: Run) -> str:
    """What a variant is: full, random or s_big, with _batch (S_big of a few images) and _transported (small layers)."""
    net = run.config.net
    images, inner = ("" if value == usual else value for value, usual in ((net.gradient, "all"), (net.inner, "drawn")))
    further = {"full": (), "random": (inner,), "s_big": (images, inner)}
    return "_".join(filter(None, (net.form, *further[net.form])))


def unread(run: Run) -> set[str]:
    """Fields that a variant does not read, apart from the roles."""
    net = run.config.net
    of_gradient = set() if (net.form, net.gradient) == ("s_big", "batch") else {"data.gradient_batch"}
    return of_gradient | {"full": {"net.rank", "net.angle"}, "random": {"net.angle"}, "s_big": set()}[net.form]


def by_form(found: Sequence[Run]) -> Families:
    """The families, by title and form."""
    return families(found, ROLES, form, unread)


def by_angle(found: Sequence[Run]) -> dict[float, Run]:
    """The runs by the angle psi at which they start from S_big, in degrees; none where it is not studied."""
    return {run.config.net.angle: run for run in found if run.config.study == "angle"}


def by_last(found: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs by the first weights of their last layer."""
    return {last: runs for last in LASTS if (runs := [run for run in found if run.config.net.last == last])}


def lost(full: Run, s_big: Run, random: Run) -> np.ndarray:
    """The final test loss of the random subspace over the larger of the others, shape (seed,).

    It is at least ``WORSE`` where the random network stays at its initial loss and the others do not.
    """
    own, *others = ends_in_common("test_loss", random, full, s_big)
    largest = np.maximum(*others)
    stays = (own >= 0.98 * SILENT) & (largest < 0.9 * SILENT)
    return np.where(stays, np.maximum(own / largest, WORSE), own / largest)


def apart(name: str, one: Run, other: Run) -> np.ndarray:
    """The largest distance of two curves of a variable, means over the seeds that both runs have, shape (1,)."""
    fewest = min(one.num_seeds, other.num_seeds)
    curves = (run.all(name)[:fewest].mean(0) for run in (one, other))
    return np.abs(np.subtract(*curves)).max(keepdims=True)


def loss_left(run: Run) -> np.ndarray:
    """The final test loss over the initial one, shape (seed,)."""
    return run.last("test_loss") / run.first("test_loss")


def plateau(run: Run) -> np.ndarray:
    """The first observed step with a test loss below ``STAYED`` of the initial one, shape (seed,).

    It is the last step of a network that never has one, and NaN where the network diverged before.
    """
    below = run.all("test_loss") < STAYED * run.first("test_loss")[:, None]
    never = np.where(np.isnan(run.last("test_loss")), np.nan, run.steps[-1])
    return np.where(below.any(1), run.steps[below.argmax(1)], never)


def ninety_percent(run: Run, straight: Run) -> np.ndarray:
    """The first step of a run with ``SHARES[0]`` of psi = 0's final test accuracy in the same seed, shape (seed,)."""
    return first_step(run, SHARES[0] * straight.last("test_accuracy"))


def delay(run: Run, straight: Run) -> np.ndarray:
    """The steps of ``ninety_percent`` over those of psi = 0, shape (seed,); NaN where these are 0 or infinite."""
    own = ninety_percent(straight, straight)
    return ninety_percent(run, straight) / np.where(np.isfinite(own) & (own > 0), own, np.nan)
