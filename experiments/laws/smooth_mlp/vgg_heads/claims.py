"""The claims of VGG-16 with full and low-rank heads: Figures 7 and 15 of Xu et al. 2026, and comparisons beyond them.

Two sets of bounds: the paper's, for ImageNet weights, and those found for weights that were tuned for edges.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from experiments.laws.smooth_mlp.families import SHARES, difference, differences, speeds
from experiments.laws.smooth_mlp.vgg_heads.measures import (
    Clock,
    K,
    beyond_half,
    by_form,
    by_form_and_rank,
    form,
    form_and_rank,
    heads,
    last_before,
    loss_before,
    loss_left,
    named,
    sgd_steps,
    sum_of_step_sizes,
    tail_ratio,
)
from experiments.runner.laws import Law, Source, across, measure, stated_for
from experiments.runner.runs import Run, Where, where
from experiments.runner.summary import final

PAPER = "Xu et al. 2026"
# A loss this near to ln 10 has hardly moved.
STUCK = 2.29
# Losses are compared at 1000 steps, which the paper names, and where the step sizes add up to what they do in the first
# 1000 steps of 35 epochs of 4000 images with eta = 0.005: when a random subspace escapes depends on that sum.
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


def of(which: str, rank: int) -> Where:
    """The run of this form and rank in a family."""
    return lambda run: form_and_rank(run) == (which, rank)


FULL, RANDOM, ALL, BATCH = of("full", 0), of("random", 2 * K), of("s_big", 2 * K), of("s_big_batch", 2 * K)

minus = across(lambda found: difference(*found))
past_middle = across(lambda found: beyond_half(*found))
final_loss = measure(lambda run: run.last("train_loss"))
remaining = measure(loss_left)


def parts(found: Sequence[Run]) -> dict[str, Sequence[Run]]:
    """The runs of each family, by title."""
    return {title: tuple(family.values()) for title, family in by_form_and_rank(found).items()}


def learns(run: Run) -> bool:
    """Whether a network must have learnt: no random subspace, and 100 steps or more."""
    return form(run) != "random" and sgd_steps(run)[-1] >= 100


FORMS, RANKS, CONJECTURE, WHOLE = (
    Source(paper=PAPER, figure=figure, of=where(opt__trains=trains, **study), parts=parts)
    for figure, trains, study in (
        ("Fig. 7, classifier only", "head", {"study": "forms"}),
        ("Fig. 15", "head", {"study": "rank"}),
        ("Section 5.1.2, the conjecture", "head", {"study": "forms"}),
        ("Fig. 7, full training", "all", {}),
    )
)
ACCURACY = "final test accuracy"


def _early() -> Iterator[Law]:
    """Early on a random subspace has hardly begun, and S_big has."""
    for until, (time, clock, end) in CLOCKS.items():
        loss = measure(lambda run, clock=clock, end=end: loss_before(run, clock, end))
        options = EDGES | {"needs": (*EDGES["needs"], _seen(clock, end))}
        for name, words, role, expected in (
            ("random", "a random subspace", RANDOM, loss >= STUCK),
            ("batch", "S_big of one batch", BATCH, loss < 1.3),
            ("all", "S_big of all images", ALL, loss < 1.3),
        ):
            says = f"{{}}, {words}: training loss at the last epoch before {time}"
            yield FORMS.law(f"F7.{name}_{until}", says, expected, (role,), **options)


def _seen(clock: Clock, end: float) -> Callable[[Sequence[Run]], str]:
    def objection(found: Sequence[Run]) -> str:
        rare = any(last_before(run, clock, end) is None for run in found)
        return "no epoch was observed in the last fifth before that time" if rare else ""

    return objection


def _ranks(name: str, words: str, start: str) -> Iterator[Law]:
    """More columns close some of the distance to the full head."""
    small, twice, mean = of(start, 2 * K), of(start, 4 * K), {"statistic": "mean"}
    gain = f"S_big of {words}: {ACCURACY}, r = 4K minus r = 2K"
    half = (
        f"{{}}, S_big of {words}: 'r = 4K noticeably closes the gap' by half: {ACCURACY}, r = 4K minus the middle "
        "between r = 2K and the full head"
    )
    both = (twice, small)
    yield RANKS.law(f"F15.gain_{name}", f"{{}}, {gain}", minus >= 0.0, both, **EDGES, **mean)
    yield RANKS.printed(f"F15.half_{name}", half, past_middle < 0.0, (small, twice, FULL), **EDGES, **mean)
    yield RANKS.law(f"F15.imagenet_{name}", f"{{}}, ImageNet weights, {gain}", minus > 0.0, both, **IMAGENET, **mean)


LAWS = (
    FORMS.law(
        "F7.batch", f"{{}}: {ACCURACY}, S_big of one batch, r = 2K, minus full", minus >= -0.15, (BATCH, FULL), **EDGES
    ),
    FORMS.law(
        "F7.all", f"{{}}: {ACCURACY}, S_big of all images, r = 2K, minus full", minus >= -0.10, (ALL, FULL), **EDGES
    ),
    CONJECTURE.law(
        "F7.conjecture",
        f"{{}}: {ACCURACY}, S_big of all images minus S_big of one batch, r = 2K",
        minus >= 0.02,
        (ALL, BATCH),
        **EDGES,
    ),
    *_early(),
    FORMS.law(
        "F7.imagenet",
        f"{{}}, ImageNet weights: {ACCURACY}, S_big of one batch minus full",
        minus >= -0.15,
        (BATCH, FULL),
        **IMAGENET,
    ),
    FORMS.law(
        "F7.imagenet_random",
        "{}, ImageNet weights: final training loss of a random subspace",
        final_loss >= STUCK,
        (RANDOM,),
        **IMAGENET,
    ),
    *_ranks("batch", "one batch", "s_big_batch"),
    *_ranks("all", "all images", "s_big"),
    WHOLE.law(
        "F7.whole",
        f"{{}}, ImageNet weights, all layers: {ACCURACY}, S_big of one batch minus full",
        minus >= -0.03,
        (BATCH, FULL),
        **IMAGENET,
    ),
    WHOLE.law(
        "F7.whole_random",
        "{}, ImageNet weights, all layers: final training loss of a random subspace",
        final_loss >= STUCK,
        (RANDOM,),
        **IMAGENET,
    ),
    WHOLE.law(
        "F7.learns", "all layers: final training loss over that at the start", remaining < 0.95, learns, each=named
    ),
)
SUMMARY = {
    "SGD steps": lambda run: sgd_steps(run)[-1],
    ACCURACY: final("test_accuracy"),
    "final training loss": final("train_loss"),
    "final training loss over that at the start": loss_left,
    "norm of the head's inputs": final("input_norm"),
    "sigma_{K+1} / sigma_K of the first gradient": tail_ratio,
    "bound on the angles of its K leading singular subspaces as found": lambda run: (
        run.last("basis_bound") if run.config.net.form == "s_big" else None
    ),
}


def to_share(share: float) -> Callable[[Sequence[Run]], Mapping[str, np.ndarray]]:
    """Epochs to a share of the full head's accuracy."""
    return lambda found: speeds(by_form([run for run in heads(found) if run.config.study == "forms"]), share)


def to_full(start: str) -> Callable[[Sequence[Run]], Mapping[str, np.ndarray]]:
    """The accuracy of the full head minus that of r = 16K."""
    return lambda found: differences(by_form_and_rank(heads(found)), ("full", 0), (start, 16 * K))


COMPARISONS = {
    **{f"epochs to {share:.0%} of the full head's {ACCURACY}": to_share(share) for share in SHARES},
    f"{ACCURACY}, full minus r = 16K, S_big of one batch": to_full("s_big_batch"),
    f"{ACCURACY}, full minus r = 16K, S_big of all images": to_full("s_big"),
}
