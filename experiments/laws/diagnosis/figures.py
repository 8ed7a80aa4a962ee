"""Figures of the diagnosis: predicted and measured losses of accuracy, and their rank correlation over the steps."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from experiments.laws.diagnosis.measures import (
    BUILDING,
    CONTROLS,
    HELD_OUT,
    PREDICTORS,
    agreement,
    chosen,
    measured,
    of_sets,
    predicted,
)
from experiments.runner import plots
from experiments.runner.runs import Run

__all__ = ["CAPTIONS", "figures"]

# What each picture shows, by patterns of names.
CAPTIONS = {
    "losses": (
        "Scatter plots of the test accuracy that a task loses at rank r over the loss predicted after a short part "
        "of the training, for the data sets that chose the rule and for those held out. Colours are ranks, markers "
        "data sets. Where the prediction is larger, so is the measured loss, to the degree that the rank correlation "
        "above each panel says."
    ),
    "steps": (
        "Rank correlation of predicted and measured losses over the step of the diagnosis, a curve for each "
        "predictor and control. The dashed line is the level asked for. Every predictor that sees the training beats "
        "the rank alone at every step."
    ),
}

KINDS = {"chose the rule": BUILDING, "held out": HELD_OUT}


def figures(found: Sequence[Run]) -> dict[str, Figure]:
    """All that some data set was run for."""
    parts = {kind: runs for kind, names in KINDS.items() if (runs := of_sets(found, names))}
    return {"losses": _losses(parts, chosen(found)), "steps": _over_steps(parts)}


def _losses(parts: dict[str, list[Run]], rule: str) -> Figure:
    """A point for each task and rank: colours are ranks, markers data sets."""
    drawn = plots.figure(5.5 * len(parts), 4.2)
    panels = drawn.subplots(1, len(parts), squeeze=False, sharey=True)
    for axes, (kind, runs) in zip(panels[0], parts.items(), strict=True):
        every = plots.looks(max(len(runs), len(runs[0].config.net.ranks)))
        for look, run in zip(every, runs, strict=False):
            x, y = predicted([run], PREDICTORS[rule]), measured([run])
            for own, rank, one, other in zip(every, run.config.net.ranks, x.T, y.T, strict=False):
                axes.plot(
                    one, other, look.marker, color=own.colour, ms=4, alpha=0.8, label=f"{run.variant}, rank {rank}"
                )
        pooled = agreement(predicted(runs, PREDICTORS[rule]), measured(runs))
        axes.set_title(f"{kind}: rank correlation {pooled:.2f}")
        axes.set_xscale("symlog", linthresh=0.01)
        axes.set_xlabel(f"predicted: {rule}")
        axes.axhline(0, color="black", lw=0.6)
        axes.legend(fontsize=6, ncols=len(runs))
    panels[0, 0].set_ylabel("test accuracy lost at rank r")
    return drawn


def _over_steps(parts: dict[str, list[Run]]) -> Figure:
    """The rank correlation by the step at which the network is diagnosed."""
    drawn = plots.figure(11.0, 3.6)
    panels = drawn.subplots(1, len(parts), squeeze=False, sharey=True)
    for axes, (kind, runs) in zip(panels[0], parts.items(), strict=True):
        losses, every = measured(runs), PREDICTORS | CONTROLS
        times = range(1, len(runs[0].steps))
        for look, (name, by) in zip(plots.looks(len(every)), every.items(), strict=True):
            found = [agreement(predicted(runs, by, at), losses) for at in times]
            axes.plot(runs[0].steps[1:], found, label=name, marker=look.marker, ms=3, **look.curve)
        axes.axhline(0.7, color="black", ls="--", lw=1.0, label="0.7")
        axes.set(title=kind, xlabel="step of the diagnosis")
        axes.set_ylim(min(-0.1, axes.get_ylim()[0]), 1.02)
    panels[0, 0].set_ylabel("rank correlation")
    plots.legends_beside(panels)
    return drawn
