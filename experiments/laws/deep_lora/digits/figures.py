"""The figures of adapters on digits, drawn from results alone: accuracy against the rank, and losses over the steps."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from experiments.laws.deep_lora.digits.measures import FULL, best
from experiments.runner import plots
from experiments.runner.runs import Run

__all__ = ["CAPTIONS", "figures"]

# What each picture shows, by patterns of names.
CAPTIONS = {
    "rank": (
        "Final test accuracy, final test loss, and the number of singular values of the update above 1%, over the "
        "rank r, for LoRA and forms of Deep LoRA; medians and ranges over the seeds. The rank of LoRA's update grows "
        "with r, and that of Deep LoRA's stays small. The small rank does not make Deep LoRA more accurate here."
    ),
    "training": (
        "Training loss (top) and test accuracy (bottom) over the steps at the smallest and the largest rank, for "
        "LoRA and forms of Deep LoRA; medians and ranges over the seeds. Deep LoRA with d x d factors lowers the "
        "training loss fastest, and its compressed form with a small gamma slowest."
    ),
}

AGAINST_RANK = (
    ("test_accuracy", "final test accuracy"),
    ("test_loss", "final test loss"),
    ("change_rank", "singular values of Delta above 1%"),
)
OVER_TIME = (("train_loss", "train loss"), ("test_accuracy", "test accuracy"))


def figures(found: Sequence[Run]) -> dict[str, Figure]:
    """All at the best step size of each form and rank."""
    chosen = best(found)
    return {"rank": _against_rank(chosen), "training": _over_time(chosen)}


def _ranks(chosen: dict[str, dict[int, Run]]) -> list[int]:
    """All ranks that were run; if there are none, the width of the d x d factors."""
    ranked = {rank for form, runs in chosen.items() if form != FULL for rank in runs}
    return sorted(ranked) or [run.config.net.width for run in chosen[FULL].values()]


def _against_rank(chosen: dict[str, dict[int, Run]]) -> Figure:
    """Medians and ranges over the seeds, a panel for each quantity; the d x d factors have no rank: a level."""
    drawn = plots.figure(13.5, 3.9)
    panels = drawn.subplots(1, len(AGAINST_RANK), squeeze=False)
    for axes, (name, label) in zip(panels[0], AGAINST_RANK, strict=True):
        every = _ranks(chosen)
        for look, (form, runs) in zip(plots.looks(len(chosen)), chosen.items(), strict=True):
            own = every if form == FULL else sorted(runs)
            picked = list(runs.values()) * len(every) if form == FULL else [runs[rank] for rank in own]
            fewest = min(run.num_seeds for run in picked)
            ends = np.stack([run.last(name)[:fewest] for run in picked], axis=1)
            plots.band(axes, own, ends, label=form, marker=look.marker, **look.curve)
        axes.set(xlabel="rank r", ylabel=label, xscale="log")
        axes.set_xticks(every, [str(rank) for rank in every])
        axes.minorticks_off()
    panels[0, 1].set_yscale("log")
    panels[0, 1].set_title("each at the best of its step sizes by mean test accuracy", fontsize=9)
    plots.legends_beside(panels)
    return drawn


def _over_time(chosen: dict[str, dict[int, Run]]) -> Figure:
    """Curves of the smallest and of the largest rank, and of the d x d factors."""
    every = _ranks(chosen)
    drawn = plots.figure(11.0, 6.0)
    rows = drawn.subplots(2, 2, squeeze=False, sharex=True)
    for column, rank in zip(rows.T, (every[0], every[-1]), strict=True):
        column[0].set_title(f"rank {rank}")
        for look, (form, runs) in zip(plots.looks(len(chosen)), chosen.items(), strict=True):
            run = next(iter(runs.values())) if form == FULL else runs.get(rank)
            for axes, (name, _) in zip(column, OVER_TIME, strict=True):
                if run is not None:
                    plots.band(axes, run.steps, run.all(name), label=form, **look.curve)
        column[0].set_yscale("log")
    plots.label_rows(rows, [label for _, label in OVER_TIME])
    plots.time_axis(rows, "even")
    plots.legends_beside(rows)
    return drawn
