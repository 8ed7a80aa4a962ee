"""The claims of low-rank MLPs on real images: Figures 6 and 14 of Xu et al. 2026, and what lies beyond them."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr

from experiments.laws.smooth_mlp.families import (
    COMPARED,
    SHARES,
    TITLES,
    ends_in_common,
    families,
    first_of,
    last,
    less,
    speeds,
)
from experiments.runner.claims import NO_SUCH_VARIANT, Claim, over, report
from experiments.runner.fields import leaves
from experiments.runner.results import Group, groups

__all__ = ["ROLES", "claims", "form", "unread"]

PAPER = "Xu et al. 2026"
# The network that the bounds were stated for, and the least of the step size times the images, of the images, and of
# the first of these times the steps (750 in the paper). The loss stands on plateaus before, and a turned basis leaves
# them later.
PRINTED = {"net.depth": 4, "net.scale": 0.1, "net.rank": 20, "net.inner": "drawn", "net.gradient": "all"}
ACTIVATIONS = {"low_rank": ("silu", "gelu"), "angle": ("silu",)}
HEAT, LEAST_IMAGES, LEAST_TIMES = 0.5, 10_000, 750.0
# Low-rank networks were seen to diverge from this step size times the images on.
MOST_HEAT = 1.0
# Fields by which the variants of a family differ.
ROLES = {"net.form", "net.gradient", "net.inner"}
POINTS = 0.03
WORSE = 1.3
# How many times the steps are more than "slightly more".
LATER = 1.1
# Shares of its start under which a loss has fallen, and over which it has not.
FELL, STAYED = 0.95, 0.99
# 1/2 ||f - Y||^2 of one image where the network says nothing.
SILENT = 0.5


def claims(results: xr.DataTree) -> list[Claim]:
    """The verdict on the figure that the config names as its study."""
    found = groups(results)
    return list({"low_rank": _low_rank, "angle": _angle}[found[0].config.study](found))


def unread(group: Group) -> set[str]:
    """Fields beside the roles that make no difference to a variant."""
    net = group.config.net
    of_gradient = set() if (net.form, net.gradient) == ("s_big", "batch") else {"data.gradient_batch"}
    return of_gradient | {"full": {"net.rank", "net.angle"}, "random": {"net.angle"}, "s_big": set()}[net.form]


def form(group: Group) -> str:
    """What a variant is: full, random, or s_big, with _batch (of a few images) and _transported (its small layers)."""
    net = group.config.net
    images, inner = ("" if value == usual else value for value, usual in ((net.gradient, "all"), (net.inner, "drawn")))
    beside = {"full": (), "random": (inner,), "s_big": (images, inner)}
    return "_".join(filter(None, (net.form, *beside[net.form])))


# Figure 6 -------------------------------------------------------------------------------------------------------------


def _low_rank(found: Sequence[Group]) -> Iterator[Claim]:
    """S_big ends where the full network ends, a random subspace does not; one batch against all images."""
    for title, family in families(found, ROLES, form, unread).items():
        steps = next(iter(family.values())).config.opt.num_steps
        about: dict[str, Any] = {"paper": PAPER, "figure": "Fig. 6"}
        kept = f"{title}, step {steps}: test accuracy, S_big less full"
        yield _of(family, ("s_big", "full"), less, statement=kept, relation=">=", bound=-POINTS, id="F6", **about)
        lost = f"{title}, step {steps}: test loss, random subspace over the larger of full and S_big"
        forms = ("full", "s_big", "random")
        yield _of(family, forms, _lost, statement=lost, relation=">=", bound=WORSE, id="F6", **about)
        for which, group in family.items():
            yield from _ends(group, f"{title}, {which}, step {steps}", "F6", **about)
        yield from _beyond(family, title)


def _beyond(family: dict[str, Group], title: str) -> Iterator[Claim]:
    """S_big from one batch of images against S_big from all, and small layers transported against drawn ones."""
    mean: dict[str, Any] = {"kind": "report", "id": "beyond", "paper": PAPER, "statistic": "mean"}
    if family.keys() >= {"s_big", "s_big_transported"}:
        both = family["s_big_transported"], family["s_big"]
        statement = f"{title}: final test accuracy, small layers transported less drawn, mean over the seeds"
        yield over(both, lambda pair: less(*pair), statement=statement, figure="eq. 8", **mean)
    if not family.keys() >= COMPARED:
        return
    mean["figure"] = "Section 5.1.2, the conjecture"
    statement = f"{title}: final test accuracy, S_big of all images less S_big of one batch, mean over the seeds"
    both = family["s_big"], family["s_big_batch"]
    yield over(both, lambda pair: less(*pair), statement=statement, **mean)
    about = {field: mean[field] for field in ("id", "paper", "figure")}
    yield from speeds(family, title, "steps", **about)


def _lost(full: Group, s_big: Group, random: Group) -> np.ndarray:
    """Over the others' loss; one that stays where it began, and the others do not, is as much worse as is asked."""
    lost, *others = ends_in_common("test_loss", random, full, s_big)
    best = np.maximum(*others)
    stays = (lost >= 0.98 * SILENT) & (best < 0.9 * SILENT)
    return np.where(stays, np.maximum(lost / best, WORSE), lost / best)


# Figure 14 ------------------------------------------------------------------------------------------------------------


def _angle(found: Sequence[Group]) -> Iterator[Claim]:
    """Near S_big the low-rank network ends as in it; at a right angle it never begins."""
    (group,) = found
    steps, title = group.config.opt.num_steps, TITLES[group.config.net.activation]
    accuracy, loss = (group.data[name].isel(step=-1) for name in ("test_accuracy", "test_loss"))
    about: dict[str, Any] = {"id": "F14", "paper": PAPER, "figure": "Fig. 14", "diverged": group.diverged}
    straight = accuracy.sel(angle=0.0)
    for angle in group.data.angle.values:
        at = f"{title}, psi = {angle:g} degrees, step {steps}"
        less = (accuracy.sel(angle=angle) - straight).values
        own = loss.sel(angle=angle).values
        near = {"statement": f"{at}: test accuracy less that of psi = 0", "values": less}
        if 0 < angle <= 30:
            yield _law(group, relation=">=", bound=-POINTS, **near, **about)
        elif angle == 75:
            yield _law(group, relation="<=", bound=-POINTS, **near, **about)
        elif angle == 90:
            kept = {
                "statement": f"{at}: test loss an image, against {SILENT} at the start",
                "values": abs(own - SILENT),
            }
            yield _law(group, relation="<=", bound=0.02, **kept, **about)
        elif angle > 0:
            yield report(**near, **about)
        yield report(statement=f"{at}: test accuracy", values=accuracy.sel(angle=angle).values, **about)
        yield report(statement=f"{at}: test loss an image", values=own, **about)
    yield from _printed(group, **about)


def _printed(group: Group, **about: Any) -> Iterator[Claim]:
    """What the text says of the curves of angles up to 45 degrees: alike, the last of them 'slightly' later."""
    near = [15.0, 30.0, 45.0]
    if set(near) <= set(group.data.angle.values):
        accuracy = group.data.test_accuracy
        straight = accuracy.sel(angle=0.0)
        reached = SHARES[0] * straight.isel(step=-1)
        first = first_of(straight, reached)
        unknown = "" if np.isfinite(first).all() else "a network diverged at psi = 0"
        unknown = unknown or ("" if (first > 0).all() else "psi = 0 begins with that accuracy")
        later = first_of(accuracy.sel(angle=near), reached) / first.where(np.isfinite(first) & (first > 0), 1.0)
        latest = near[int(later.mean("seed").argmax("angle"))]
        statement = (
            "'curves are nearly identical for all psi in {0, 15, 30, 45}' is false: steps to "
            f"{SHARES[0]:.0%} of psi = 0's final test accuracy, at {latest:g} degrees over psi = 0"
        )
        verdict = {"values": later.sel(angle=latest).values, "relation": ">", "statistic": "mean"}
        yield _law(group, kind="printed", bound=LATER, statement=statement, reason=unknown, **verdict, **about)
    yield from _decreases(group, **about)


def _decreases(group: Group, **about: Any) -> Iterator[Claim]:
    """The text has the loss of 60 and 75 degrees decrease: at 60 it does, at 75 not within these steps."""
    title, steps = TITLES[group.config.net.activation], group.config.opt.num_steps
    at = f"degrees, step {steps}: test loss over that at the start"
    still = {"kind": "law", "statement": f"{title}, psi = 60 {at}", "relation": "<", "bound": FELL}
    printed = "'the test loss still decreases from their initial values' is false"
    never = {"kind": "printed", "statement": f"{printed}: {title}, psi = 75 {at}", "relation": ">", "bound": STAYED}
    for angle, verdict in ((60.0, still), (75.0, never)):
        if angle in group.data.angle.values:
            loss = group.data.test_loss.sel(angle=angle)
            yield _law(group, values=(loss.isel(step=-1) / loss.isel(step=0)).values, **verdict, **about)


# Verdicts -------------------------------------------------------------------------------------------------------------


def _of(family: dict[str, Group], forms: Sequence[str], measure: Callable[..., np.ndarray], **about: Any) -> Claim:
    chosen = [family[which] for which in forms if which in family]
    about["reason"] = "" if len(chosen) == len(forms) else NO_SUCH_VARIANT
    outside = next(filter(None, map(_not_ours, chosen)), "")
    return over(chosen, lambda those: measure(*those), outside=outside, **about)


def _law(group: Group, *, values: np.ndarray, reason: str = "", **about: Any) -> Claim:
    return over([group], lambda _: values, reason=reason, outside=_not_ours(group), **about)


def _not_ours(group: Group) -> str:
    """Why a bound does not apply; empty where it does."""
    config, heat = group.config, group.config.opt.step_size * group.config.data.num_train
    as_printed = all(leaves(config)[field] == value for field, value in PRINTED.items()) and config.net.angle == 0
    as_printed &= config.net.activation in ACTIVATIONS[config.study]
    # A step size is a quotient, and comes back a little off.
    is_long = heat * config.opt.num_steps >= 0.99 * LEAST_TIMES
    if as_printed and config.data.num_train >= LEAST_IMAGES and 0.99 * HEAT <= heat < MOST_HEAT and is_long:
        return ""
    return (
        f"stated for the printed network from {LEAST_IMAGES} images and eta N T = {LEAST_TIMES:g} on, "
        f"{HEAT:g} <= eta N < {MOST_HEAT:g}"
    )


def _ends(group: Group, at: str, id: str, **about: Any) -> Iterator[Claim]:
    for name, words in (("test_accuracy", "test accuracy"), ("test_loss", "test loss an image")):
        values = last(group, name)
        yield report(statement=f"{at}: {words}", values=values, id=id, diverged=group.diverged, **about)
