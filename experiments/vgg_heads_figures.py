"""The figures of VGG-16 with full and low-rank heads: Figures 7 and 15 of Xu et al. 2026."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments import plots
from experiments.low_rank_images_claims import TITLES, last
from experiments.low_rank_images_figures import COMPARED, FORMS, band, one_batch_or_all
from experiments.results import Group, groups
from experiments.vgg_heads_claims import form

__all__ = ["figures"]

CURVES = (("train_loss", "training loss, first images"), ("test_accuracy", "test accuracy"))
WEIGHTS = {"edges": "VGG-16 tuned for edges", "imagenet": "VGG-16 of ImageNet", "unknown": "VGG-16 of unknown training"}
CHANCE = {"train_loss": float(np.log(10)), "test_accuracy": 0.1}


def figures(results: xr.DataTree) -> dict[str, Figure]:
    """The figure that the config names as its study; one more for the networks that are trained as a whole."""
    found = groups(results)
    heads = [group for group in found if group.config.opt.trains == "head"]
    whole = [group for group in found if group.config.opt.trains == "all"]
    if heads and heads[0].config.study == "rank":
        return {"rank": _rank(heads)}
    drawn = {"classifier_only": _forms(heads, "classifier only")} if heads else {}
    drawn |= {"all_layers": _forms(whole, "all layers")} if whole else {}
    names = dict.fromkeys(group.config.net.activation for group in heads)
    families = {name: {form(g): g for g in heads if g.config.net.activation == name} for name in names}
    compared = {name: family for name, family in families.items() if COMPARED.keys() <= family.keys()}
    return drawn | ({"batch": one_batch_or_all(compared, "epochs", _batch_of(heads))} if compared else {})


def _forms(found: Sequence[Group], regime: str) -> Figure:
    """A column for each activation, training loss above and test accuracy below, over the epochs."""
    names = list(dict.fromkeys(group.config.net.activation for group in found))
    drawn = plots.figure(4.2 * len(names) + 0.6, 6.0)
    rows = drawn.subplots(2, len(names), sharex=True, sharey="row", squeeze=False)
    for column, name in zip(rows.T, names, strict=True):
        column[0].set_title(f"{TITLES[name]}, {regime}")
        for group in (group for group in found if group.config.net.activation == name):
            for axes, (field, _) in zip(column, CURVES, strict=True):
                band(axes, group.data[field], *_look(group))
    _finish(rows, [name for _, name in CURVES])
    for row, (field, _) in zip(rows, CURVES, strict=True):
        for axes in row:
            axes.axhline(CHANCE[field], color="black", linewidth=0.8, linestyle=(0, (1, 3)))
    drawn.legend(*rows[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    drawn.supxlabel(_about(found[0]), fontsize=8)
    return drawn


def _look(group: Group) -> tuple[str, str, str]:
    """Colour, line and label of a form, those of the same forms on other images."""
    count = group.config.data.gradient_images
    other = (f"low rank, $S_{{big}}$ of {count} images", plots.COLOURS[3], "-.")
    name, colour, style = FORMS.get(form(group), other)
    return colour, style, name


def _rank(found: Sequence[Group]) -> Figure:
    """Above: test accuracy over the epochs for each r. Below: where it ends, over r, beside the full head."""
    names = list(dict.fromkeys(group.config.net.activation for group in found))
    drawn = plots.figure(4.2 * len(names) + 1.6, 6.4)
    rows = drawn.subplots(2, len(names), sharey="row", squeeze=False)
    for column, name in zip(rows.T, names, strict=True):
        family = [group for group in found if group.config.net.activation == name]
        column[0].set_title(f"{TITLES[name]}, classifier only")
        _over_epochs(column[0], family)
        _over_ranks(column[1], family)
        column[0].set_xlabel("epoch")
        column[1].set_xlabel("r")
    plots.label_rows(rows, ["test accuracy", "final test accuracy"])
    for row in rows:
        # Not every activation has every curve.
        curves = {label: curve for axes in row for curve, label in zip(*axes.get_legend_handles_labels(), strict=True)}
        row[-1].legend(curves.values(), curves.keys(), loc="center left", bbox_to_anchor=(1.0, 0.5))
    drawn.supxlabel(_about(found[0]), fontsize=8)
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


def _over_ranks(axes: Axes, family: Sequence[Group]) -> None:
    for which in ("s_big", "s_big_batch"):
        chosen = [group for group in family if form(group) == which]
        ends, ranks = [last(group, "test_accuracy") for group in chosen], [group.config.net.rank for group in chosen]
        label, colour, _ = FORMS[which]
        axes.plot(ranks, [end.mean() for end in ends], "o-", color=colour, label=label)
        for r, end in zip(ranks, ends, strict=True):
            axes.plot([r] * len(end), end, ".", color=colour, alpha=0.5)
    for group in (group for group in family if group.config.net.form == "full"):
        axes.axhline(float(group.data.test_accuracy.isel(step=-1).mean()), color="black", label=_of_seeds(group))
    axes.set_xscale("log", base=2)
    ticks = sorted({group.config.net.rank for group in family if group.config.net.form == "s_big"})
    axes.set_xticks(ticks, [str(r) for r in ticks])


def _finish(rows: np.ndarray, names: Sequence[str]) -> None:
    plots.label_rows(rows, names)
    for axes in rows[-1]:
        axes.set_xlabel("epoch")


def _of_seeds(full: Group) -> str:
    return f"full ({full.data.sizes['seed']} seed{'s' * (full.data.sizes['seed'] > 1)})"


def _batch_of(heads: Sequence[Group]) -> str:
    data = next(group.config.data for group in heads if form(group) == "s_big_batch")
    return f"CIFAR-10, N = {data.num_train}, a batch of {data.gradient_images}"


def _about(group: Group) -> str:
    data, seeds = group.config.data, group.data.sizes["seed"]
    return (
        f"{WEIGHTS[data.pretrained]}, block {data.block} averaged to {data.pool} x {data.pool}\n"
        f"CIFAR-10 at {data.size} x {data.size}, {data.num_train} training images, {seeds} seed{'s' * (seeds > 1)}"
    )
