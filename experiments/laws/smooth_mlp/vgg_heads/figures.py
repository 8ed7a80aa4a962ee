"""The figures of VGG-16 with full and low-rank heads: Figures 7 and 15 of Xu et al. 2026."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.laws.smooth_mlp.families import families, last
from experiments.laws.smooth_mlp.low_rank.figures import (
    LineStyle,
    band,
    columns,
    in_common,
    looks,
    on_lines,
    one_batch_or_all,
)
from experiments.laws.smooth_mlp.vgg_heads.claims import ROLES, form, form_and_rank, unread
from experiments.runner import plots
from experiments.runner.results import Group, groups

__all__ = ["figures"]

CURVES = (("train_loss", "training loss, first images"), ("test_accuracy", "test accuracy"))
WEIGHTS = {"edges": "VGG-16 tuned for edges", "imagenet": "VGG-16 of ImageNet", "unknown": "VGG-16 of unknown training"}
CHANCE = {"train_loss": float(np.log(10)), "test_accuracy": 0.1}


def figures(results: xr.DataTree) -> dict[str, Figure]:
    """The figure that the config names as its study; one more for the networks that are trained as a whole."""
    found = groups(results)
    heads = [group for group in found if group.config.opt.trains == "head"]
    whole = [group for group in found if group.config.opt.trains == "all"]
    drawn: dict[str, Figure] = {}
    if heads and heads[0].config.study == "rank":
        drawn |= {"rank": _rank(heads)}
    elif heads:
        of_each = families(heads, ROLES - {"net.rank"}, form, unread)
        drawn |= {"classifier_only": _forms(of_each, "classifier only", _about(heads))}
        drawn |= one_batch_or_all(of_each, "epochs", in_common(heads, _images, _batch))
    if whole:
        of_each = families(whole, ROLES - {"net.rank"}, form, unread)
        drawn |= {"all_layers": _forms(of_each, "all layers", _about(whole))}
    return drawn


def _forms(of_each: Mapping[str, Mapping[str, Group]], regime: str, about: str) -> Figure:
    """A column for each family, training loss above and test accuracy below, over the epochs."""
    drawn, rows = columns(of_each, CURVES, lambda _: regime, (4.2, 0.6, 6.0))
    _finish(rows, [name for _, name in CURVES])
    for row, (field, _) in zip(rows, CURVES, strict=True):
        for axes in row:
            axes.axhline(CHANCE[field], color="black", linewidth=0.8, linestyle=(0, (1, 3)))
    drawn.supxlabel(about, fontsize=8)
    return drawn


def _rank(found: Sequence[Group]) -> Figure:
    """Above: test accuracy over the epochs for each r. Below: where it ends, over r, beside the full head."""
    of_each = families(found, ROLES, form_and_rank, unread)
    drawn = plots.figure(4.2 * len(of_each) + 1.6, 6.4)
    rows = drawn.subplots(2, len(of_each), sharey="row", squeeze=False)
    for column, (title, family) in zip(rows.T, of_each.items(), strict=True):
        column[0].set_title(f"{on_lines(title)}, classifier only")
        _over_epochs(column[0], list(family.values()))
        _over_ranks(column[1], list(family.values()), looks(families(found, ROLES, form, unread)))
        column[0].set_xlabel("epoch")
        column[1].set_xlabel("r")
    plots.label_rows(rows, ["test accuracy", "final test accuracy"])
    for row in rows:
        # Not every activation has every curve.
        curves = {label: curve for axes in row for curve, label in zip(*axes.get_legend_handles_labels(), strict=True)}
        row[-1].legend(curves.values(), curves.keys(), loc="center left", bbox_to_anchor=(1.0, 0.5))
    drawn.supxlabel(_about(found), fontsize=8)
    return drawn


def _over_epochs(axes: Axes, family: Sequence[Group]) -> None:
    ranks = sorted({group.config.net.rank for group in family if group.config.net.form == "s_big"})
    shades = dict(zip(ranks, np.linspace(0.1, 0.85, len(ranks)), strict=True))
    for group in family:
        r, accuracy = group.config.net.rank, group.data.test_accuracy
        if form(group) == "full":
            band(axes, accuracy, "black", "-", _of_seeds(group))
        elif form(group) == "s_big_batch":
            band(axes, accuracy, mpl.colormaps["viridis"](shades[r]), "-", f"r = {r}, one batch")


def _over_ranks(axes: Axes, family: Sequence[Group], found: Mapping[str, tuple[str, LineStyle, str]]) -> None:
    for which in sorted({form(group) for group in family if group.config.net.form != "full"}):
        chosen = [group for group in family if form(group) == which]
        ends, ranks = [last(group, "test_accuracy") for group in chosen], [group.config.net.rank for group in chosen]
        colour, style, label = found[which]
        axes.plot(ranks, [end.mean() for end in ends], marker="o", linestyle=style, color=colour, label=label)
        for r, end in zip(ranks, ends, strict=True):
            axes.plot([r] * len(end), end, ".", color=colour, alpha=0.5)
    for group in (group for group in family if group.config.net.form == "full"):
        axes.axhline(float(group.data.test_accuracy.isel(step=-1).mean()), color="black", label=_of_seeds(group))
    axes.set_xscale("log", base=2)
    ticks = sorted({group.config.net.rank for group in family if group.config.net.form != "full"})
    axes.set_xticks(ticks, [str(r) for r in ticks])


def _finish(rows: np.ndarray, names: Sequence[str]) -> None:
    plots.label_rows(rows, names)
    for axes in rows[-1]:
        axes.set_xlabel("epoch")


def _of_seeds(full: Group) -> str:
    return f"full ({full.data.sizes['seed']} seed{'s' * (full.data.sizes['seed'] > 1)})"


def _batch(group: Group) -> str:
    return f"a batch of {group.config.opt.batch_size}"


def _images(group: Group) -> str:
    return f"CIFAR-10, N = {group.config.data.num_train}"


def _about(found: Sequence[Group]) -> str:
    """What is the same of all of them, and the most seeds that any has."""
    seeds = max(group.data.sizes["seed"] for group in found)
    of_weights = in_common(found, lambda g: WEIGHTS[g.config.data.pretrained], _block)
    of_images = in_common(found, _size, lambda g: f"{g.config.data.num_train} training images")
    return f"{of_weights}\n{of_images}, {seeds} seed{'s' * (seeds > 1)}"


def _block(group: Group) -> str:
    return f"block {group.config.data.block} averaged to {group.config.data.pool} x {group.config.data.pool}"


def _size(group: Group) -> str:
    return f"CIFAR-10 at {group.config.data.size} x {group.config.data.size}"
