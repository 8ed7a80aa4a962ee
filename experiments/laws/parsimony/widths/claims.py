"""The claims on layers of any widths: how many directions of each layer move, and what the others follow."""

from collections.abc import Iterable, Sequence

from experiments.laws.parsimony.widths.measures import (
    idle_differences,
    is_naive_refuted,
    largest_moved,
    least_moved,
    naive,
    off_count,
    off_naive,
    predicted,
)
from experiments.runner.laws import Source, measure, of_size
from experiments.runner.runs import Run, where
from experiments.runner.summary import final, largest

PAPER = "Yaras et al. 2023"
ROUNDING = 1e-12


def in_words(numbers: Iterable[int]) -> str:
    """Numbers of layers, in a row: 6, 9, 3."""
    return ", ".join(map(str, numbers))


def of_widths(found: Sequence[Run]) -> str:
    """The widths of the runs, 30-36-40-3."""
    return "-".join(map(str, found[0].config.net.widths))


# A distance below its bound says something beside a change of a hundred times the bound.
MOVES = of_size("sigma_1 of a layer without its idle part at the end", largest_moved, 100 * ROUNDING)
W = Source(paper=PAPER, figure="Section 3, widths", of=where(precision="float64"), vacuous=(MOVES,))
LAWS = (
    W.law(
        "W.moved",
        lambda found: (
            f"{of_widths(found)}: {in_words(predicted(found[0]).moved)} directions move in the layers; "
            "largest difference at the end"
        ),
        measure(lambda run: off_count(run, "moved")).equals(0),
        each="name",
    ),
    W.law(
        "W.spanned",
        lambda found: (
            f"{of_widths(found)}: what the layers before and after a hidden place move has dimension "
            f"{in_words(predicted(found[0]).spanned)} together; largest difference at the end"
        ),
        measure(lambda run: off_count(run, "spanned")).equals(0),
        each="name",
    ),
    W.law(
        "W.excess",
        lambda found: (
            f"{of_widths(found)}: the k-th direction is the last: sigma_{{k+1}} of each layer without its idle part, "
            "over all steps"
        ),
        measure(lambda run: run.worst("excess")) < ROUNDING,
        each="name",
    ),
    W.law(
        "W.idle",
        lambda found: (
            f"{of_widths(found)}: {in_words(predicted(found[0]).passed)} singular values of the layers follow eq. 6, "
            f"and {in_words(predicted(found[0]).stopped)} eq. 7: largest difference over all steps"
        ),
        measure(lambda run: run.worst("idle_deviation")) < ROUNDING,
        each="name",
    ),
    W.law(
        "W.counts",
        lambda found: f"{of_widths(found)}: as many follow eqs. 6 and 7, and no others: largest difference at the end",
        measure(idle_differences).equals(0),
        each="name",
    ),
    W.law(
        "W.control",
        lambda found: (
            f"{of_widths(found)}: the numbers of square layers, {in_words(naive(found[0]))}, are wrong: "
            "largest difference of those that move"
        ),
        measure(off_naive) > 0,
        is_naive_refuted,
        each="name",
    ),
)
SUMMARY = {
    "sum loss at the end": final("loss"),
    "rho of eq. 6 at the end": final("rho"),
    "rho of eq. 7 at the end": final("rho_stopped"),
    "smallest singular value at the end of a direction that moves": least_moved,
    "largest sigma_{k+1} without the idle part": largest("excess"),
}
