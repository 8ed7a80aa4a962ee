"""The claims of adapters on digits, and how LoRA and Deep LoRA compare, which no bound judges.

The paper compares them on language tasks; on digits its sentences are numbers of the summary and not disputed.
"""

from collections.abc import Callable, Sequence

import numpy as np

from experiments.laws.deep_lora.digits.measures import (
    FULL,
    LEARNT,
    LORA,
    best,
    gain,
    least_gain,
    loss_moved,
    minus,
    spread,
    start_apart,
)
from experiments.runner.laws import Source, across, measure, of_size
from experiments.runner.runs import Run, where
from experiments.runner.summary import final

PAPER = "Yaras et al. 2024"
# The compressed adapter of this rank is compared with the d x d factors.
RANK, POINTS = 64, 0.03


def of_the_best(found: Sequence[Run]) -> np.ndarray:
    """Compressed Deep LoRA minus the d x d factors, each at its best step size."""
    chosen = best(found)
    (full,), (small,) = chosen.pop(FULL).values(), *(runs.values() for runs in chosen.values())
    return minus(small, full)


def more_directions(found: Sequence[Run]) -> np.ndarray:
    """Singular values of the change of each compressed Deep LoRA of this rank minus those of LoRA, at the best."""
    return np.stack([each for name, each in each_rank(found, "change_rank").items() if name.endswith(f"rank {RANK}")])


def each_rank(found: Sequence[Run], name: str) -> dict[str, np.ndarray]:
    """A final value of each Deep LoRA minus that of LoRA of the same rank, both at their best step size."""
    chosen = best(found)
    lora = chosen.pop(LORA, {})
    return {
        f"{one}, rank {rank}": minus(run, lora[rank], name)
        for one, runs in chosen.items()
        if one != FULL
        for rank, run in sorted(runs.items())
        if rank in lora
    }


def untaught(found: Sequence[Run]) -> str:
    """The objection to forms that learn nothing from their digits: they are alike whatever they are."""
    least = least_gain(found)
    lost = f"it says nothing of forms that learn nothing: a mean gain in test accuracy is {least:.2g}"
    return "" if least > LEARNT else f"{lost}, of {LEARNT:g} needed"


adapts = measure(gain)
START, START_MOVES = 0.01, "the largest change of the test loss in training, relative to the first,"
ALL = Source(paper=PAPER, figure="Deep LoRA, digits")
AGREE = Source(
    paper=PAPER,
    figure="Deep LoRA, digits",
    of=lambda run: run.config.net.form == "full" or (where(net__form="deep", net__rank=RANK, net__outer=0.01)(run)),
)
FORMS = Source(
    paper=PAPER,
    figure="Deep LoRA, digits",
    of=lambda run: run.config.net.form != "full" and run.config.net.rank == RANK,
)
LAWS = (
    ALL.check(
        "DD.start",
        "an adapter starts at the frozen network: test loss over the frozen one's, minus 1",
        measure(start_apart) < START,
        each="net.form",
        vacuous=(of_size(START_MOVES, loss_moved, 2 * START),),
    ),
    ALL.law(
        "DD.adapts",
        "the few digits raise the test accuracy: in the mean over step sizes and ranks of 16 and more",
        adapts > LEARNT,
        lambda run: run.config.net.rank >= 16,
        each="net.form",
        statistic="mean",
    ),
    AGREE.law(
        "DD.near",
        f"test accuracy, compressed (rank {RANK}, gamma = 0.01) minus d x d factors, each at its best step size",
        across(of_the_best) > -POINTS,
        statistic="mean",
        vacuous=(untaught,),
    ),
    FORMS.law(
        "DD.lower",
        f"'parsimonious (lower-rank) updates': singular values of Delta above 1%, Deep LoRA minus LoRA at rank {RANK}",
        across(more_directions) < 0,
        vacuous=(untaught,),
    ),
)
SUMMARY = {
    "final test accuracy": final("test_accuracy"),
    "final test loss": final("test_loss"),
    "final train loss": final("train_loss"),
    "singular values of Delta above 1% at the end": final("change_rank"),
}


def over_ranks(found: Sequence[Run]) -> dict[str, np.ndarray]:
    """The spread over the ranks of each form that was run at several."""
    return {name: spread(runs) for name, runs in best(found).items() if len(runs) > 1}


def at_best(of: Callable[[Run], np.ndarray]) -> Callable[[Sequence[Run]], dict[str, np.ndarray]]:
    """A number of each form and rank at its best step size."""
    return lambda found: {
        name if name == FULL else f"{name}, rank {rank}": of(run)
        for name, runs in best(found).items()
        for rank, run in sorted(runs.items())
    }


COMPARISONS = {
    "test accuracy minus LoRA's, each at its best step size": lambda found: each_rank(found, "test_accuracy"),
    "singular values of Delta above 1% minus LoRA's": lambda found: each_rank(found, "change_rank"),
    "largest minus smallest test accuracy over the ranks": over_ranks,
    "best step size": at_best(lambda run: np.full(run.num_seeds, run.config.opt.step_size)),
}
