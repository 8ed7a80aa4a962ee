"""The claims of VGG-16 with full and low-rank heads: Figures 7 and 15 of Xu et al. 2026, and what lies beyond them.

Two sets of bounds: the paper's, for ImageNet weights, and those found for weights that were tuned for edges.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from experiments.data.datasets import DATA_SETS
from experiments.laws.smooth_mlp.families import families, last, less, speeds
from experiments.runner.claims import NO_SUCH_VARIANT, Claim, over, report
from experiments.runner.fields import leaves
from experiments.runner.results import Group, groups

__all__ = ["ROLES", "claims", "form", "form_and_rank", "unread"]

PAPER = "Xu et al. 2026"
K = DATA_SETS["cifar10"].num_classes
# A loss this near to ln 10 has hardly moved.
STUCK = 2.29
# When losses are compared: the 1000 steps that were named, and what the step sizes add up to over the first 1000 steps
# of 35 epochs of 4000 images, eta = .005.
EARLY_STEPS, EARLY_SUM = 1000, 2.7
TOO_RARE = "no epoch was seen in the last fifth before that time"
ACTIVATIONS = ("silu", "gelu")
# Fields by which the variants of a family differ.
ROLES = {"net.form", "net.rank", "net.inner", "net.orthonormal", "data.gradient_images"}
PRINTED = {
    "net.depth": 3,
    "net.width": 4096,
    "net.scale": 0.1,
    "net.inner": "drawn",
    "net.orthonormal": False,
    "opt.step_size": 5e-3,
    "opt.momentum": 0.9,
    "opt.weight_decay": 5e-4,
    "opt.batch_size": 128,
    "data.pool": 3,
}


class Setting(NamedTuple):
    """What a bound was stated for: in words, fields with their values, and the least epochs and images."""

    words: str
    fields: Mapping[str, Any]
    epochs: int
    images: int

    def speaks_of(self, group: Group) -> bool:
        """Whether a variant has these weights: numbers of others would not be what the statement says."""
        return group.config.data.pretrained == self.fields["data.pretrained"]

    def fits(self, group: Group) -> bool:
        """Whether a variant was run in this setting."""
        config = group.config
        as_stated = all(leaves(config)[field] == value for field, value in self.fields.items())
        as_stated &= config.net.activation in ACTIVATIONS
        return as_stated and config.opt.num_steps >= self.epochs and config.data.num_train >= self.images


EDGES = Setting(
    "stated for 35 epochs of 4000 images, weights tuned for edges and the printed rates",
    PRINTED | {"data.pretrained": "edges", "data.block": 4, "data.size": 96},
    35,
    4000,
)
IMAGENET = Setting(
    "stated for ImageNet weights, 250 epochs of 50,000 images and the printed rates",
    PRINTED | {"data.pretrained": "imagenet", "data.block": 5, "data.size": 224},
    250,
    50_000,
)


def claims(results: xr.DataTree) -> list[Claim]:
    """The verdict on the figure that the config names as its study."""
    found = groups(results)
    heads, whole = ([g for g in found if g.config.opt.trains == trains] for trains in ("head", "all"))
    study = {"forms": _forms, "rank": _rank}[found[0].config.study]
    of_heads, of_whole = (families(part, ROLES, form_and_rank, unread) for part in (heads, whole))
    verdict = [claim for title, family in of_heads.items() for claim in study(title, family)]
    return verdict + [claim for title, family in of_whole.items() for claim in _whole(title, family)]


def form(group: Group) -> str:
    """What a variant is, whatever its rank: full, random, s_big (all images), s_big_batch, or s_big_ with a number.

    Small layers that are transported and an orthonormal start are named too.
    """
    config, net = group.config, group.config.net
    count = config.data.gradient_images
    images = {0: "", config.opt.batch_size: "batch"}.get(count, str(count))
    inner = "" if net.inner == "drawn" else net.inner
    beside = {"full": (), "random": (inner,), "s_big": (images, inner, "orthonormal" if net.orthonormal else "")}
    return "_".join(filter(None, (net.form, *beside[net.form])))


def _named(group: Group) -> str:
    return form(group) if group.config.net.form == "full" else f"{form(group)}, r = {group.config.net.rank}"


def form_and_rank(group: Group) -> tuple[str, int]:
    """A variant's place in its family; those without a rank have 0."""
    return form(group), 0 if group.config.net.form == "full" else group.config.net.rank


def unread(group: Group) -> set[str]:
    """What makes no difference to a variant where it is no role: the rank of a full head."""
    return {"net.rank"} if group.config.net.form == "full" else set()


Family = Mapping[tuple[str, int], Group]
FULL, RANDOM, ALL, BATCH = ("full", 0), ("random", 2 * K), ("s_big", 2 * K), ("s_big_batch", 2 * K)


# Figure 7 -------------------------------------------------------------------------------------------------------------


def _forms(title: str, family: Family) -> Iterator[Claim]:
    """Of the head alone: S_big near the full head, all images better than one batch, a random subspace stuck."""
    about: dict[str, Any] = {"id": "F7", "paper": PAPER, "figure": "Fig. 7, classifier only"}
    for which, words, bound in ((BATCH, "one batch", -0.15), (ALL, "all images", -0.10)):
        kept = f"{title}: final test accuracy, S_big of {words}, r = 2K, less the full head's"
        yield _judged(family, (which, FULL), less, EDGES, statement=kept, relation=">=", bound=bound, **about)
    beyond = about | {"id": "beyond", "figure": "Section 5.1.2, the conjecture"}
    better = f"{title}: final test accuracy, S_big of all images less S_big of one batch, r = 2K"
    yield _judged(family, (ALL, BATCH), less, EDGES, statement=better, relation=">=", bound=0.02, **beyond)
    yield from _early(title, family, **about)
    for group in family.values():
        yield from _ends(group, title, **about)
    if {FULL, ALL, BATCH} <= family.keys():
        compared = {"full": family[FULL], "s_big": family[ALL], "s_big_batch": family[BATCH]}
        yield from speeds(compared, title, "epochs", **beyond)
    kept = f"{title}, ImageNet weights: final test accuracy, S_big of one batch less full"
    yield _judged(family, (BATCH, FULL), less, IMAGENET, statement=kept, relation=">=", bound=-0.15, **about)
    stuck = f"{title}, ImageNet weights: final training loss of a random subspace"
    yield _judged(family, (RANDOM,), _end_loss, IMAGENET, statement=stuck, relation=">=", bound=STUCK, **about)


def _early(title: str, family: Family, **about: Any) -> Iterator[Claim]:
    """Early on a random subspace has hardly begun; when it escapes depends on the step sizes so far, not on steps."""
    times = (
        (f"the step sizes add up to {EARLY_SUM}", _sums, EARLY_SUM),
        (f"{EARLY_STEPS} steps are made", _steps, EARLY_STEPS),
    )
    bounds = ((RANDOM, "random", ">=", STUCK), (BATCH, "S_big of one batch", "<", 1.3))
    for until, time_of, end in times:
        for which, words, relation, bound in (*bounds, (ALL, "S_big of all images", "<", 1.3)):
            statement = f"{title}, {words}: training loss at the last epoch before {until}"
            unseen = which in family and _before(family[which], time_of, end) is None

            def measure(group: Group, time_of: Callable = time_of, end: float = end) -> np.ndarray:
                return group.data.train_loss.isel(step=_before(group, time_of, end)).values

            verdict = {"statement": statement, "relation": relation, "bound": bound}
            yield _judged(family, (which,), measure, EDGES, reason=TOO_RARE if unseen else "", **verdict, **about)


def _before(group: Group, time_of: Callable[[Group], np.ndarray], end: float) -> int | None:
    """The last observation before a time, None where that is not in the last fifth before it."""
    reached = time_of(group)
    (before,) = np.nonzero(reached <= end)
    return int(before[-1]) if reached[before[-1]] >= 0.8 * end else None


def _steps(group: Group) -> np.ndarray:
    """The steps made up to each epoch seen."""
    config = group.config
    return config.data.num_train // config.opt.batch_size * group.data.step.values


def _sums(group: Group) -> np.ndarray:
    """What the step sizes made up to each epoch seen add up to."""
    steps = _steps(group)
    cosine = (1 + np.cos(np.pi * np.arange(steps[-1]) / steps[-1])) / 2
    return group.config.opt.step_size * np.concatenate([[0.0], np.cumsum(cosine)])[steps]


# Figure 15 ------------------------------------------------------------------------------------------------------------


def _rank(title: str, family: Family) -> Iterator[Claim]:
    """More columns close some of the gap to the full head."""
    about: dict[str, Any] = {"id": "F15", "paper": PAPER, "figure": "Fig. 15"}
    for which, words in (("s_big_batch", "one batch"), ("s_big", "all images")):
        small, twice, most = ((which, times * K) for times in (2, 4, 16))
        at, mean = f"{title}, S_big of {words}", {"statistic": "mean"} | about
        gain = f"{at}: final test accuracy, r = 4K less r = 2K, mean over the seeds"
        yield _judged(family, (twice, small), less, EDGES, statement=gain, relation=">=", bound=0.0, **mean)
        closed = (
            f"{at}: 'r = 4K noticeably closes the gap' by half is false: final test accuracy, r = 4K less the middle "
            "between r = 2K and the full head"
        )
        verdict = {"kind": "printed", "statement": closed, "relation": "<", "bound": 0.0}
        yield _judged(family, (small, twice, FULL), _beyond_half, EDGES, **verdict, **mean)
        left = f"{at}: what r = 16K still lacks of the full head's final test accuracy"
        yield _judged(family, (FULL, most), less, EDGES, kind="report", statement=left, **about)
        gain = f"{title}, ImageNet weights, S_big of {words}: final test accuracy, r = 4K less r = 2K"
        yield _judged(family, (twice, small), less, IMAGENET, statement=gain, relation=">", bound=0.0, **mean)
    for group in family.values():
        yield from _ends(group, title, **about)


def _beyond_half(small: Group, twice: Group, full: Group) -> np.ndarray:
    """How far r = 4K is beyond the middle of the means of r = 2K and of the full head, which may have fewer seeds.

    Not a share of the gap: the gap can be as small as the error of an accuracy, and then its share says nothing.
    """
    gap = np.mean(last(full, "test_accuracy")) - np.mean(last(small, "test_accuracy"))
    return less(twice, small) - gap / 2


# The whole network ----------------------------------------------------------------------------------------------------


def _whole(title: str, family: Family) -> Iterator[Claim]:
    """The figure's other half needs ImageNet weights and a GPU; without them: the loss falls."""
    about: dict[str, Any] = {"id": "F7", "paper": PAPER, "figure": "Fig. 7, full training"}
    kept = f"{title}, ImageNet weights, all layers: final test accuracy, S_big of one batch less full"
    yield _judged(family, (BATCH, FULL), less, IMAGENET, statement=kept, relation=">=", bound=-0.03, **about)
    stuck = f"{title}, ImageNet weights, all layers: final training loss of a random subspace"
    yield _judged(family, (RANDOM,), _end_loss, IMAGENET, statement=stuck, relation=">=", bound=STUCK, **about)
    for group in family.values():
        data, steps = group.config.data, int(_steps(group)[-1])
        at = f"{title}, {_named(group)}, all layers, {data.num_train} images of {data.size} x {data.size}"
        fell = {"statement": f"{at}: training loss after {steps} steps over that at the start", **about}
        if form(group) == "random" or steps < 100:
            yield report(values=_fall(group), diverged=group.diverged, **fell)
        else:
            yield over([group], lambda those: _fall(those[0]), relation="<", bound=0.95, **fell)


# Measures and verdicts ------------------------------------------------------------------------------------------------


def _end_loss(group: Group) -> np.ndarray:
    return last(group, "train_loss")


def _fall(group: Group) -> np.ndarray:
    return last(group, "train_loss") / group.data.train_loss.isel(step=0).values


def _judged(
    family: Family,
    which: Sequence[tuple[str, int]],
    measure: Callable[..., np.ndarray],
    setting: Setting,
    reason: str = "",
    **about: Any,
) -> Claim:
    """What is measured of some variants, where they are there; judged where they are as the bound was stated for."""
    those = [family[name] for name in which if name in family]
    missing = NO_SUCH_VARIANT if len(those) < len(which) else ""
    reason = missing or reason or ("" if all(map(setting.speaks_of, those)) else setting.words)
    outside = "" if all(map(setting.fits, those)) else setting.words
    return over(those, lambda found: measure(*found), reason=reason, outside=outside, **about)


def _ends(group: Group, title: str, **about: Any) -> Iterator[Claim]:
    net, epochs = group.config.net, group.config.opt.num_steps
    at = f"{title}, {_named(group)}, {epochs} epochs, {_steps(group)[-1]} steps"
    about |= {"diverged": group.diverged}
    yield report(statement=f"{at}: final test accuracy", values=last(group, "test_accuracy"), **about)
    yield report(statement=f"{at}: norm of the head's inputs", values=last(group, "input_norm"), **about)
    if net.form == "s_big":
        near = group.data.start_gradient.isel(step=0)
        ratio = (near.isel(near_K=2) / near.isel(near_K=1)).values
        yield report(statement=f"{at}: sigma_{{K+1}} / sigma_K of the first gradient", values=ratio, **about)
        bound = f"{at}: bound on the angles of its K leading singular subspaces as found"
        yield report(statement=bound, values=last(group, "basis_bound"), **about)
