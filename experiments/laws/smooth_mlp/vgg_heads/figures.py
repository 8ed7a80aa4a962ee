"""The figures of VGG-16 with full and low-rank heads: Figures 7 and 15 of Xu et al. 2026."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.laws.smooth_mlp.family_figures import (
    LineStyle,
    band,
    columns,
    in_common,
    looks,
    on_lines,
    one_batch_or_all,
)
from experiments.laws.smooth_mlp.vgg_heads.measures import by_form, by_form_and_rank, form, heads
from experiments.runner import plots
from experiments.runner.runs import Run, grouped

__all__ = ["CAPTIONS", "figures"]

# What each picture shows, by patterns of names.
CAPTIONS = {
    "classifier_only": (
        "Training loss (top) and test accuracy (bottom) over the epochs, a column for each activation, for heads of "
        "VGG-16 on frozen convolutions: full, and of low rank in several subspaces; means and ranges over the seeds. "
        "Heads in S_big come close to the full one. A head in a random subspace stays at chance (dotted) for many "
        "epochs and ends far below."
    ),
    "all_layers": (
        "Training loss (top) and test accuracy (bottom) over the epochs of a short training of the whole VGG-16, "
        "with a full head and with one in S_big. The two learn about equally well; dotted lines are chance."
    ),
    "batch": (
        "Bar charts of the final test accuracy, and of the epochs to two shares of the full head's accuracy, for the "
        "full head and for S_big of all images or of one batch, a row for each activation. Bars are means, dots "
        "seeds. S_big of one batch ends lower and takes longer than S_big of all images."
    ),
    "rank": (
        "Test accuracy over the epochs for each rank r (top), and final test accuracy over r (bottom), a column for "
        "each activation. Larger ranks help little, and heads of all ranks stay below the full one (black). S_big of "
        "all images is better than that of one batch."
    ),
}

CURVES = (("train_loss", "training loss, first images"), ("test_accuracy", "test accuracy"))
WEIGHTS = {"edges": "VGG-16 tuned for edges", "imagenet": "VGG-16 of ImageNet", "unknown": "VGG-16 of unknown training"}
CHANCE = {"train_loss": float(np.log(10)), "test_accuracy": 0.1}


def figures(found: Sequence[Run]) -> dict[str, Figure]:
    """The figure that the config names as its study; one more for the networks that are trained as a whole."""
    of_heads, whole = heads(found), [run for run in found if run.config.opt.trains == "all"]
    drawn: dict[str, Figure] = {}
    if of_heads and of_heads[0].config.study == "rank":
        drawn |= {"rank": _rank(of_heads)}
    elif of_heads:
        drawn |= {"classifier_only": _forms(of_heads, "classifier only")}
        drawn |= one_batch_or_all(by_form(of_heads), "epochs", in_common(of_heads, _images, _batch))
    return drawn | ({"all_layers": _forms(whole, "all layers")} if whole else {})


def _forms(found: Sequence[Run], regime: str) -> Figure:
    """A column for each family, training loss above and test accuracy below, over the epochs."""
    drawn, rows = columns(by_form(found), CURVES, lambda _: regime, (4.2, 0.6, 6.0))
    for row, (variable, _) in zip(rows, CURVES, strict=True):
        for axes in row:
            axes.axhline(CHANCE[variable], color="black", linewidth=0.8, linestyle=(0, (1, 3)))
    for axes in rows[-1]:
        axes.set_xlabel("epoch")
    drawn.supxlabel(_about(found), fontsize=8)
    return drawn


def _rank(found: Sequence[Run]) -> Figure:
    """Above: test accuracy over the epochs for each r. Below: final test accuracy over r, and the full head's."""
    of_each, known = by_form_and_rank(found), looks(map(form, found))
    drawn = plots.figure(4.2 * len(of_each) + 1.6, 6.4)
    rows = drawn.subplots(2, len(of_each), sharey="row", squeeze=False)
    for column, (title, family) in zip(rows.T, of_each.items(), strict=True):
        column[0].set_title(f"{on_lines(title)}, classifier only")
        _over_epochs(column[0], list(family.values()))
        _over_ranks(column[1], list(family.values()), known)
        column[0].set_xlabel("epoch")
        column[1].set_xlabel("r")
    plots.label_rows(rows, ["test accuracy", "final test accuracy"])
    for row in rows:
        # Not every activation has every curve.
        curves = {label: curve for axes in row for curve, label in zip(*axes.get_legend_handles_labels(), strict=True)}
        row[-1].legend(curves.values(), curves.keys(), loc="center left", bbox_to_anchor=(1.0, 0.5))
    drawn.supxlabel(_about(found), fontsize=8)
    return drawn


def _over_epochs(axes: Axes, family: Sequence[Run]) -> None:
    ranks = sorted({run.config.net.rank for run in family if run.config.net.form == "s_big"})
    shades = dict(zip(ranks, np.linspace(0.1, 0.85, len(ranks)), strict=True))
    for run in family:
        r = run.config.net.rank
        if form(run) == "full":
            band(axes, run, "test_accuracy", "black", "-", _of_seeds(run))
        elif form(run) == "s_big_batch":
            band(axes, run, "test_accuracy", mpl.colormaps["viridis"](shades[r]), "-", f"r = {r}, one batch")


def _over_ranks(axes: Axes, family: Sequence[Run], known: Mapping[str, tuple[str, LineStyle, str]]) -> None:
    low_rank = [run for run in family if run.config.net.form != "full"]
    for which, chosen in sorted(grouped(low_rank, form).items()):
        ends, ranks = [run.last("test_accuracy") for run in chosen], [run.config.net.rank for run in chosen]
        colour, style, label = known[which]
        axes.plot(ranks, [end.mean() for end in ends], marker="o", linestyle=style, color=colour, label=label)
        for r, end in zip(ranks, ends, strict=True):
            axes.plot([r] * len(end), end, ".", color=colour, alpha=0.5)
    for run in (run for run in family if run.config.net.form == "full"):
        axes.axhline(float(run.last("test_accuracy").mean()), color="black", label=_of_seeds(run))
    axes.set_xscale("log", base=2)
    ticks = sorted({run.config.net.rank for run in low_rank})
    axes.set_xticks(ticks, [str(r) for r in ticks])


def _of_seeds(full: Run) -> str:
    return f"full ({full.num_seeds} seed{'s' * (full.num_seeds > 1)})"


def _batch(run: Run) -> str:
    return f"a batch of {run.config.opt.batch_size}"


def _images(run: Run) -> str:
    return f"CIFAR-10, N = {run.config.data.num_train}"


def _about(found: Sequence[Run]) -> str:
    """What all runs have in common, and the largest number of seeds."""
    seeds = max(run.num_seeds for run in found)
    of_weights = in_common(found, lambda run: WEIGHTS[run.config.data.pretrained], _block)
    of_images = in_common(found, _size, lambda run: f"{run.config.data.num_train} training images")
    return f"{of_weights}\n{of_images}, {seeds} seed{'s' * (seeds > 1)}"


def _block(run: Run) -> str:
    return f"block {run.config.data.block} averaged to {run.config.data.pool} x {run.config.data.pool}"


def _size(run: Run) -> str:
    return f"CIFAR-10 at {run.config.data.size} x {run.config.data.size}"
