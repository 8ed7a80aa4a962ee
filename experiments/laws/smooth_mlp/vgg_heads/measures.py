"""What claims and figures of VGG-16's heads measure: their families, losses on the way, and how they end."""

from collections.abc import Callable, Sequence

import numpy as np

from experiments.data.datasets import DATA_SETS
from experiments.laws.smooth_mlp.families import Families, difference, families
from experiments.runner.runs import Run

K = DATA_SETS["cifar10"].num_classes
# Fields by which the variants of a family differ.
ROLES = {"net.form", "net.rank", "net.inner", "net.orthonormal", "data.gradient_images"}

Clock = Callable[[Run], np.ndarray]


def form(run: Run) -> str:
    """What a variant is, whatever its rank: full, random, s_big (of all images), s_big_batch, or s_big_ with a number.

    _transported (small layers) and _orthonormal (bases) follow.
    """
    config, net = run.config, run.config.net
    count = config.data.gradient_images
    images = {0: "", config.opt.batch_size: "batch"}.get(count, str(count))
    inner = "" if net.inner == "drawn" else net.inner
    further = {"full": (), "random": (inner,), "s_big": (images, inner, "orthonormal" if net.orthonormal else "")}
    return "_".join(filter(None, (net.form, *further[net.form])))


def form_and_rank(run: Run) -> str:
    """The role of a variant in its family: ``full``, ``s_big_batch, r = 20``."""
    return form(run) if run.config.net.form == "full" else f"{form(run)}, r = {run.config.net.rank}"


def unread(run: Run) -> set[str]:
    """Fields that a variant does not read, where they are no roles: the rank of a full head."""
    return {"net.rank"} if run.config.net.form == "full" else set()


def by_form(found: Sequence[Run]) -> Families:
    """The families, by title and form; other ranks are other families."""
    return families(found, ROLES - {"net.rank"}, form, unread)


def by_form_and_rank(found: Sequence[Run]) -> Families:
    """The families, by title, form and rank."""
    return families(found, ROLES, form_and_rank, unread)


def heads(found: Sequence[Run]) -> list[Run]:
    """The runs that train the head alone."""
    return [run for run in found if run.config.opt.trains == "head"]


def sgd_steps(run: Run) -> np.ndarray:
    """The SGD steps made at each observed epoch, shape (step,)."""
    config = run.config
    return config.data.num_train // config.opt.batch_size * run.steps


def sum_of_step_sizes(run: Run) -> np.ndarray:
    """The sum of the step sizes of all steps made at each observed epoch, shape (step,)."""
    steps = sgd_steps(run)
    cosine = (1 + np.cos(np.pi * np.arange(steps[-1]) / steps[-1])) / 2
    return run.config.opt.step_size * np.concatenate([[0.0], np.cumsum(cosine)])[steps]


def last_before(run: Run, clock: Clock, end: float) -> int | None:
    """The last observation with ``clock(run) <= end``; None where it is not in the last fifth before the end."""
    times = clock(run)
    (before,) = np.nonzero(times <= end)
    return int(before[-1]) if times[before[-1]] >= 0.8 * end else None


def loss_before(run: Run, clock: Clock, end: float) -> np.ndarray:
    """The training loss at ``last_before``, shape (seed,)."""
    return run.all("train_loss")[:, last_before(run, clock, end)]


def loss_left(run: Run) -> np.ndarray:
    """The final training loss over the initial one, shape (seed,)."""
    return run.last("train_loss") / run.first("train_loss")


def plateau(run: Run, end: float) -> np.ndarray:
    """The first observed epoch with a training loss below ``end``, shape (seed,); infinite where there is none."""
    below = run.all("train_loss") < end
    never = np.where(np.isnan(run.last("train_loss")), np.nan, np.inf)
    return np.where(below.any(1), run.steps[below.argmax(1)], never)


def middles(of_each: Families, start: str) -> dict[str, np.ndarray]:
    """The final test accuracy at r = 4K minus the middle of r = 2K and the full head, shape (seed,), by title.

    The middle is that of means, since the full head may have fewer seeds. A share of their difference would be
    meaningless where that is as small as the error of an accuracy. Families that lack one of the three are left out.
    """
    small, twice = (f"{start}, r = {times * K}" for times in (2, 4))
    found = {}
    for title, family in of_each.items():
        if {"full", small, twice} <= family.keys():
            gap = np.mean(family["full"].last("test_accuracy")) - np.mean(family[small].last("test_accuracy"))
            found[title] = difference(family[twice], family[small]) - gap / 2
    return found


def tail_ratio(run: Run) -> np.ndarray | None:
    """sigma_{K+1} / sigma_K of the first gradient, shape (seed,); None where no S_big is used."""
    near = run.first("start_gradient")
    return near[:, 2] / near[:, 1] if run.config.net.form == "s_big" else None
