"""The claims of VGG-16 with full and low-rank heads: Figures 7 and 15 of Xu et al. 2026, and comparisons beyond them.

There are two sets of bounds: one from the paper, for ImageNet weights, and one for weights that were tuned for edges.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from experiments.laws.smooth_mlp.families import (
    SHARES,
    arriving,
    difference,
    differences,
    ends_in_common,
    parts,
    slowdown,
    speeds,
)
from experiments.laws.smooth_mlp.vgg_heads.measures import (
    Clock,
    K,
    by_form,
    by_form_and_rank,
    form,
    form_and_rank,
    heads,
    last_before,
    loss_before,
    loss_left,
    middles,
    plateau,
    sgd_steps,
    sum_of_step_sizes,
    tail_ratio,
)
from experiments.runner.controls import in_row, in_summary, uncontrolled
from experiments.runner.laws import Law, Source, across, measure, stated_for
from experiments.runner.runs import Run, Where, find, where
from experiments.runner.summary import final

PAPER = "Xu et al. 2026"
# A loss this near to ln 10 has hardly moved.
STUCK = 2.29
# After so many SGD steps a network that is not stuck has learnt: its training loss is below this share of another.
ENOUGH, LEARNT = 100, 0.95
# The share of the full head's final accuracy up to which epochs are compared: S_big of one batch does not get to 97%.
NEAR = 0.9
# Print has "about 2 - 3%" between r = Theta(K) and the full head; the error of the difference of two accuracies adds to
# it. Two of the four heads are within this gap at r = 2K too, which the control shows.
WIDTH_GAP = 0.05
# Losses are compared at 1000 steps, which the paper names, and where the sum of the step sizes is that of 1000 steps in
# 35 epochs of 4000 images with eta = 0.005. When a random subspace escapes depends on that sum.
CLOCKS: Mapping[str, tuple[str, Clock, float]] = {
    "sum": ("the step sizes add up to 2.7", sum_of_step_sizes, 2.7),
    "steps": ("1000 steps are made", sgd_steps, 1000),
}
PRINTED = {
    "net.activation": lambda name: name in ("silu", "gelu"),
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


def _setting(words: str, weights: str, block: int, size: int, epochs: int, images: int) -> dict[str, Any]:
    """Options of a law: runs with other weights are not its subject, and others of other settings are not judged."""
    data = {"data.pretrained": weights, "data.block": block, "data.size": size}
    least = {"opt.num_steps": lambda count: count >= epochs, "data.num_train": lambda count: count >= images}
    of_weights = where(data__pretrained=weights)
    return {
        "needs": (stated_for(words, of_weights),),
        "stated": (stated_for(words, where(**PRINTED, **data, **least)),),
    }


EDGES = _setting("35 epochs of 4000 images, weights tuned for edges and the printed rates", "edges", 4, 96, 35, 4000)
IMAGENET = _setting(
    "ImageNet weights, 250 epochs of 50,000 images and the printed rates", "imagenet", 5, 224, 250, 50_000
)


def of(role: str) -> Where:
    """The run of this form and rank in a family."""
    return lambda run: form_and_rank(run) == role


def learns(run: Run) -> bool:
    """Whether a network must have learnt: no random subspace, and enough steps."""
    return form(run) != "random" and sgd_steps(run)[-1] >= ENOUGH


def too_short(found: Sequence[Run]) -> str:
    """Why networks need not have learnt; empty where they must have."""
    return f"it needs {ENOUGH} SGD steps" if any(sgd_steps(run)[-1] < ENOUGH for run in found) else ""


def unseen(found: Sequence[Run]) -> str:
    """Why epochs cannot be counted; empty where they can."""
    return "not every epoch was observed" if any(np.diff(run.steps).max() > 1 for run in found) else ""


FULL, RANDOM, ALL, BATCH = map(of, ("full", *(f"{form}, r = {2 * K}" for form in ("random", "s_big", "s_big_batch"))))

minus = across(lambda found: difference(*found))
more_than_full = across(lambda pair: slowdown(pair[0], pair[1], pair[1], NEAR))
more_than_all = across(lambda found: slowdown(found[0], found[1], found[2], NEAR), least=3)
final_loss = measure(lambda run: run.last("train_loss"))
remaining = measure(loss_left)
over_random = across(lambda found: np.divide(*ends_in_common("train_loss", *found)))
FORMS, CONJECTURE, RANKS, WHOLE = (
    Source(paper=PAPER, figure=figure, of=where(**fields), parts=parts(by_form_and_rank))
    for figure, fields in (
        ("Fig. 7, classifier only", {"study": "forms", "opt.trains": "head"}),
        ("Section 5.1.2, the conjecture", {"study": "forms", "opt.trains": "head"}),
        ("Fig. 15", {"study": "rank", "opt.trains": "head"}),
        ("Fig. 7, full training", {"opt.trains": "all"}),
    )
)
ACCURACY = "final test accuracy"
STARTS = {"batch": ("s_big_batch", "S_big of one batch"), "all": ("s_big", "S_big of all images")}


def _early() -> Iterator[Law]:
    """Early on a random subspace has hardly begun, and S_big has."""
    for until, (time, clock, end) in CLOCKS.items():
        loss = measure(lambda run, clock=clock, end=end: loss_before(run, clock, end))
        options: dict[str, Any] = EDGES | {"needs": (*EDGES["needs"], _seen(clock, end))}
        for name, words, role, expected, control in (
            ("random", "a random subspace", RANDOM, loss >= STUCK, "batch"),
            ("batch", "S_big of one batch", BATCH, loss < 1.3, "random"),
            ("all", "S_big of all images", ALL, loss < 1.3, "random"),
        ):
            says, beside = f"{{}}, {words}: training loss at the last epoch before {time}", f"F7.{control}_{until}"
            yield FORMS.law(f"F7.{name}_{until}", says, expected, (role,), control=in_row(beside), **options)


def _seen(clock: Clock, end: float) -> Callable[[Sequence[Run]], str]:
    rare = "no epoch was observed in the last fifth before that time"
    return lambda found: rare if any(last_before(run, clock, end) is None for run in found) else ""


def _ranks() -> Iterator[Law]:
    """More columns close some of the distance to the full head."""
    mean: dict[str, Any] = {"statistic": "mean"}
    for name, (start, words) in STARTS.items():
        small, twice = (of(f"{start}, r = {times * K}") for times in (2, 4))
        gain = f"{words}: {ACCURACY}, r = 4K minus r = 2K"
        both = (twice, small)
        yield RANKS.law(f"F15.gain_{name}", f"{{}}, {gain}", minus >= 0.0, both, control=NO_RANK, **EDGES, **mean)
        wide = f"{{}}, {words}: {ACCURACY}, r = 16K minus full"
        widest = (of(f"{start}, r = {16 * K}"), FULL)
        yield RANKS.law(f"F15.width_{name}", wide, minus >= -WIDTH_GAP, widest, control=OF_ACCURACY, **EDGES)
        yield RANKS.law(
            f"F15.imagenet_{name}",
            f"{{}}, ImageNet weights, {gain}",
            minus > 0.0,
            both,
            control=NO_RANK,
            **IMAGENET,
            **mean,
        )


BATCH_MINUS_FULL = f"{ACCURACY}, S_big of one batch, r = 2K, minus full"
ALL_MINUS_FULL = f"{ACCURACY}, S_big of all images, r = 2K, minus full"
ALL_MINUS_BATCH = f"{ACCURACY}, S_big of all images minus S_big of one batch, r = 2K"
EPOCHS = f"epochs to {NEAR:.0%} of the full head's {ACCURACY}, S_big of one batch, r = 2K"
RANDOM_LOSS, OVER_START = "final training loss of a random subspace", "final training loss over that at the start"
LEARNS = f"all layers, the code trains: {OVER_START}"
CONTRAST = "all layers, the code trains: final training loss, S_big of one batch over a random subspace"
WITH_IMAGENET, WHOLE_WITH_IMAGENET = "{}, ImageNet weights", "{}, ImageNet weights, all layers"
# The random subspace is one of the runs of these columns.
LOSS = "final training loss"
OF_ACCURACY, OF_LOSS = in_summary(ACCURACY), in_summary(LOSS)
NO_RANK = uncontrolled("a random subspace is run at r = 2K alone, in vgg16_cifar10, and has not learnt by then")
NO_IMAGES = uncontrolled("a random subspace is not estimated from images")
COUNTED: dict[str, Any] = EDGES | {"needs": (*EDGES["needs"], unseen), "awaits": (arriving(NEAR),)}
LAWS = (
    FORMS.law("F7.batch", f"{{}}: {BATCH_MINUS_FULL}", minus >= -0.15, (BATCH, FULL), control=OF_ACCURACY, **EDGES),
    FORMS.law("F7.all", f"{{}}: {ALL_MINUS_FULL}", minus >= -0.10, (ALL, FULL), control=OF_ACCURACY, **EDGES),
    CONJECTURE.law(
        "F7.conjecture", f"{{}}: {ALL_MINUS_BATCH}", minus >= 0.02, (ALL, BATCH), control=NO_IMAGES, **EDGES
    ),
    FORMS.law(
        "F7.epochs",
        f"{{}}: {EPOCHS} / full",
        more_than_full > 1.2,
        (BATCH, FULL),
        control=OF_ACCURACY,
        **COUNTED,
    ),
    CONJECTURE.law(
        "F7.epochs_cause",
        f"{{}}: {EPOCHS} / of all images",
        more_than_all > 1.0,
        (BATCH, ALL, FULL),
        control=NO_IMAGES,
        **COUNTED,
    ),
    *_early(),
    FORMS.law(
        "F7.imagenet",
        f"{WITH_IMAGENET}: {BATCH_MINUS_FULL}",
        minus >= -0.15,
        (BATCH, FULL),
        control=OF_ACCURACY,
        **IMAGENET,
    ),
    FORMS.law(
        "F7.imagenet_random",
        f"{WITH_IMAGENET}: {RANDOM_LOSS}",
        final_loss >= STUCK,
        (RANDOM,),
        control=OF_LOSS,
        **IMAGENET,
    ),
    WHOLE.law(
        "F7.whole",
        f"{WHOLE_WITH_IMAGENET}: {BATCH_MINUS_FULL}",
        minus >= -0.03,
        (BATCH, FULL),
        control=OF_ACCURACY,
        **IMAGENET,
    ),
    WHOLE.law(
        "F7.whole_random",
        f"{WHOLE_WITH_IMAGENET}: {RANDOM_LOSS}",
        final_loss >= STUCK,
        (RANDOM,),
        control=OF_LOSS,
        **IMAGENET,
    ),
    *_ranks(),
    # A few hundred steps on a few hundred images show that the code trains, not what the figure shows.
    WHOLE.check("F7.learns", LEARNS, remaining < LEARNT, learns, each=form_and_rank),
    WHOLE.check("F7.contrast", f"{{}}, {CONTRAST}", over_random < LEARNT, (BATCH, RANDOM), needs=(too_short,)),
)
SUMMARY = {
    "SGD steps": lambda run: sgd_steps(run)[-1],
    ACCURACY: final("test_accuracy"),
    LOSS: final("train_loss"),
    OVER_START: loss_left,
    f"epochs until the training loss of a random subspace is below {STUCK}": lambda run: (
        plateau(run, STUCK) if form(run) == "random" else None
    ),
    "norm of the head's inputs": final("input_norm"),
    "sigma_{K+1} / sigma_K of the first gradient": tail_ratio,
    "bound on the angles of its K leading singular subspaces as found": lambda run: (
        run.last("basis_bound") if run.config.net.form == "s_big" else None
    ),
}
COMPARISONS = {
    **{
        f"epochs to {share:.0%} of the full head's {ACCURACY}": (
            lambda found, share=share: speeds(by_form(find(heads(found), study="forms")), share)
        )
        for share in SHARES
    },
    **{
        f"{ACCURACY}, full minus {words}, r = 16K": (
            lambda found, role=f"{start}, r = {16 * K}": differences(by_form_and_rank(heads(found)), "full", role)
        )
        for start, words in STARTS.values()
    },
    # The paper's "r = 4K noticeably closes the gap" is about ImageNet weights, and names no share of the gap.
    **{
        f"{ACCURACY}, {words}, r = 4K minus the middle of r = 2K and full": (
            lambda found, start=start: middles(by_form_and_rank(heads(found)), start)
        )
        for start, words in STARTS.values()
    },
}
