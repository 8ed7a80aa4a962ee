"""The claims of VGG-16 with full and low-rank heads: Figures 7 and 15 of Xu et al. 2026, and what lies beyond them."""

import functools as ft
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from experiments.claims import Claim, judge, not_run, over, report
from experiments.datasets import DATA_SETS
from experiments.low_rank_images_claims import TITLES, last, speeds
from experiments.results import Group, groups

__all__ = ["claims"]

PAPER = "Xu et al. 2026"
# What the bounds were stated for: epochs, training images.
LEAST_EPOCHS, LEAST_IMAGES = 35, 4000
# When the losses are compared: the 1000 steps that were named, and what the step sizes add up to over the first 1000
# of 35 epochs of 4000 images, eta = .005.
EARLY_STEPS, EARLY_SUM = 1000, 2.7
K = DATA_SETS["cifar10"].num_classes
NOT_OURS = f"stated from {LEAST_EPOCHS} epochs of {LEAST_IMAGES} images on"


def claims(results: xr.DataTree) -> list[Claim]:
    """The verdict on the figure that the config names as its study."""
    found = groups(results)
    study = {"forms": _forms, "rank": _rank}[found[0].config.study]
    heads = [group for group in found if group.config.opt.trains == "head"]
    verdict = [claim for name in _activations(heads) for claim in study(name, _family(heads, name))]
    whole = [group for group in found if group.config.opt.trains == "all"]
    return [*verdict, *_whole(found[0], whole)]


def label(group: Group) -> str:
    """What a variant is: full, random, or s_big with the images of its gradient (all or few) and its rank."""
    net, data = group.config.net, group.config.data
    if net.form != "s_big":
        return net.form
    return f"s_big_{'batch' if data.gradient_images else 'all'}_r{net.rank}"


def _activations(found: Sequence[Group]) -> list[str]:
    return list(dict.fromkeys(group.config.net.activation for group in found))


def _family(found: Sequence[Group], name: str) -> dict[str, Group]:
    return {label(group): group for group in found if group.config.net.activation == name}


# Figure 7 -------------------------------------------------------------------------------------------------------------


def _forms(name: str, family: Mapping[str, Group]) -> Iterator[Claim]:
    """Of the head alone: S_big near the full head, all images better than one batch, a random subspace stuck."""
    about: dict[str, Any] = {"id": "F7", "paper": PAPER, "figure": "Fig. 7, classifier only"}
    title = TITLES[name]
    batch, whole = (f"s_big_{images}_r{2 * K}" for images in ("batch", "all"))
    for which, bound in ((batch, -0.15), (whole, -0.10)):
        kept = f"{title}: final test accuracy, S_big of {_images(family, which)}, r = 2K, less the full head's"
        yield _difference(family, which, "full", statement=kept, relation=">=", bound=bound, **about)
    better = f"{title}: final test accuracy, S_big of all images less S_big of one batch, r = 2K"
    beyond = about | {"id": "beyond", "figure": "Section 5.1.2, the conjecture"}
    yield _difference(family, whole, batch, statement=better, relation=">=", bound=0.02, **beyond)
    yield from _early(title, family, (batch, whole), **about)
    for which, group in family.items():
        yield from _ends(group, f"{title}, {which}", **about)
    if {"full", batch, whole} <= family.keys():
        compared = {"full": family["full"], "s_big": family[whole], "s_big_batch": family[batch]}
        yield from speeds(compared, title, "epochs", **beyond)


def _early(title: str, family: Mapping[str, Group], ours: Sequence[str], **about: Any) -> Iterator[Claim]:
    """Early on a random subspace has hardly begun; when it escapes depends on the step sizes so far, not on steps."""
    for within, number in (("a sum of step sizes of", EARLY_SUM), ("a number of steps of", EARLY_STEPS)):
        for which, relation, bound in (("random", ">=", 2.29), *((which, "<", 1.3) for which in ours)):
            at = f"training loss at the last epoch within {within} {number}"
            about |= {"statement": f"{title}, {which}: {at}", "relation": relation, "bound": bound}
            those = [family[which]] if which in family else []
            reason = "" if all(map(_is_ours, those)) else NOT_OURS
            yield over(those, ft.partial(_loss_within, number=number), reason=reason, **about)


def _loss_within(those: Sequence[Group], number: float) -> np.ndarray:
    (group,) = those
    reached = _sums(group) if number == EARLY_SUM else _steps_an_epoch(group) * group.data.step.values
    return group.data.train_loss.isel(step=np.flatnonzero(reached <= number)[-1]).values


def _sums(group: Group) -> np.ndarray:
    """The sum of the step sizes made up to each epoch seen."""
    cosine = (1 + np.cos(np.pi * np.arange(_total_steps(group)) / _total_steps(group))) / 2
    sums = np.concatenate([[0.0], np.cumsum(group.config.opt.step_size * cosine)])
    return sums[_steps_an_epoch(group) * group.data.step.values]


# Figure 15 ------------------------------------------------------------------------------------------------------------


def _rank(name: str, family: Mapping[str, Group]) -> Iterator[Claim]:
    """More columns close some of the gap to the full head."""
    about: dict[str, Any] = {"id": "F15", "paper": PAPER, "figure": "Fig. 15"}
    title = TITLES[name]
    for images in ("batch", "all"):
        small, twice, most = (f"s_big_{images}_r{times * K}" for times in (2, 4, 16))
        words = _images(family, small)
        gain = f"{title}, S_big of {words}: final test accuracy, r = 4K less r = 2K, mean over the seeds"
        yield _difference(family, twice, small, statement=gain, relation=">=", bound=0.0, statistic="mean", **about)
        if {small, twice, "full"} <= family.keys():
            closed = _closed(family, small, twice)
            statement = f"{title}, S_big of {words}: 'r = 4K noticeably closes the gap': the share of it that is closed"
            printed = {"relation": "<", "bound": 0.5, "statistic": "mean"}
            yield judge(kind="printed", statement=statement, values=closed, **printed, **about)
        if {most, "full"} <= family.keys():
            left = f"{title}, S_big of {words}: what r = 16K still lacks of the full head's final test accuracy"
            yield report(statement=left, values=_of_seeds(family, "full", most), **about)
    for which, group in family.items():
        yield from _ends(group, f"{title}, {which}", **about)


def _closed(family: Mapping[str, Group], small: str, twice: str) -> np.ndarray:
    """Of the gap between r = 2K and the full head, in the seeds that all three have."""
    return _of_seeds(family, twice, small) / _of_seeds(family, "full", small)


# The whole network ----------------------------------------------------------------------------------------------------


def _whole(any_group: Group, found: Sequence[Group]) -> Iterator[Claim]:
    """The figure's other half needs ImageNet weights and a GPU; without them: the loss falls."""
    about: dict[str, Any] = {"id": "F7", "paper": PAPER, "figure": "Fig. 7, full training"}
    if any_group.config.study != "forms":
        return
    for name in _activations(found) or ["silu"]:
        family = _family(found, name)
        yield from _as_printed(TITLES[name], family, **about)
        for which, group in family.items():
            data = group.config.data
            at = f"{TITLES[name]}, {which}, {data.size} x {data.size} pixels, {data.num_train} images"
            statement = f"{at}: training loss after {_total_steps(group)} steps over that at the start"
            loss = group.data.train_loss
            values = (loss.isel(step=-1) / loss.isel(step=0)).values
            bound = {"relation": "<", "bound": 0.95, "diverged": group.diverged}
            falls = which != "random" and _total_steps(group) >= 100
            if falls:
                yield judge(kind="law", statement=statement, values=values, **bound, **about)
            else:
                yield report(statement=statement, values=values, **about)


def _as_printed(title: str, family: Mapping[str, Group], **about: Any) -> Iterator[Claim]:
    kept = {"statement": f"{title}: final test accuracy, S_big less full, all layers trained", "kind": "law"}
    stuck = {"statement": f"{title}: final training loss of a random subspace, all layers trained", "kind": "law"}
    whole = [group for group in family.values() if group.config.data.pretrained == "imagenet" and _is_ours(group)]
    s_big = [group for group in whole if group.config.net.form == "s_big"]
    random = [group for group in whole if group.config.net.form == "random"]
    if not s_big or "full" not in family:
        yield not_run(reason="needs ImageNet weights and the paper profile", **kept, **about)
    for group in s_big if "full" in family else []:
        values = _of_seeds({"s_big": group, "full": family["full"]}, "s_big", "full")
        yield judge(values=values, relation=">=", bound=-0.03, diverged=group.diverged, **kept, **about)
    if not random:
        yield not_run(reason="needs ImageNet weights and the paper profile", **stuck, **about)
    for group in random:
        yield judge(values=group.data.train_loss.isel(step=-1).values, relation=">=", bound=2.29, **stuck, **about)


# Verdicts -------------------------------------------------------------------------------------------------------------


def _difference(family: Mapping[str, Group], one: str, other: str, **about: Any) -> Claim:
    """Of final test accuracies, seed by seed."""
    both = [family[which] for which in (one, other) if which in family]
    missing = "" if len(both) == 2 else "this profile has no such variant"
    reason = missing or ("" if all(map(_is_ours, both)) else NOT_OURS)
    return over(both, lambda _: _of_seeds(family, one, other), reason=reason, **about)


def _ends(group: Group, at: str, **about: Any) -> Iterator[Claim]:
    epochs, steps = group.config.opt.num_steps, _total_steps(group)
    at = f"{at}, {epochs} epochs, {steps} steps"
    about |= {"diverged": group.diverged}
    yield report(statement=f"{at}: final test accuracy", values=last(group, "test_accuracy"), **about)
    yield report(statement=f"{at}: norm of the head's inputs", values=group.worst("input_norm"), **about)
    if group.config.net.form == "s_big":
        values = group.data.start_gradient.isel(step=0, near_K=2) / group.data.start_gradient.isel(step=0, near_K=1)
        yield report(statement=f"{at}: sigma_{{K+1}} / sigma_K of the first gradient", values=values.values, **about)


def _is_ours(group: Group) -> bool:
    config = group.config
    return config.opt.num_steps >= LEAST_EPOCHS and config.data.num_train >= LEAST_IMAGES


def _images(family: Mapping[str, Group], which: str) -> str:
    data = family[which].config.data if which in family else None
    return f"{data.gradient_images} images" if data and data.gradient_images else "all images"


def _steps_an_epoch(group: Group) -> int:
    return group.config.data.num_train // group.config.opt.batch_size


def _total_steps(group: Group) -> int:
    return group.config.opt.num_steps * _steps_an_epoch(group)


def _of_seeds(family: Mapping[str, Group], one: str, other: str) -> np.ndarray:
    """The difference of final test accuracies in the seeds that both have."""
    both = min(len(family[one].data.seed), len(family[other].data.seed))
    return last(family[one], "test_accuracy")[:both] - last(family[other], "test_accuracy")[:both]
