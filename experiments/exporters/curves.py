"""Curves of single members, which are the runs of a tracker: a number at each observed step, under a tag."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from experiments.runner import settings
from experiments.runner.fields import leaves, usable_variants
from experiments.runner.finished import FinishedRun

if TYPE_CHECKING:
    from experiments.runner.runs import Run

__all__ = ["MAX_CURVES", "MAX_MEMBERS", "Member", "left_out", "members"]

# Trackers become slow and unreadable with more: curves of one variable in one member, and members of a run.
MAX_CURVES, MAX_MEMBERS = 16, 64
# Trackers keep single precision, in which a larger number is infinite.
LARGEST = float(np.finfo(np.float32).max)


class Member(NamedTuple):
    """One seed of one setting.

    Attributes:
        variant: The variant's name.
        place: The swept fields and the seed in words, ``momentum=0.9,seed=0``.
        config: The config with this member's values, as JSON holds it.
        varied: The values of the fields in which members differ, by path, and the seed.
        diverged_at: The step of its divergence, or -1.
        steps: The observed steps.
        curves: A number for each step, by tag: ``loss``, ``idle_value/layer_0``.
    """

    variant: str
    place: str
    config: dict[str, Any]
    varied: dict[str, Any]
    diverged_at: int
    steps: np.ndarray
    curves: dict[str, np.ndarray]

    def points(self) -> Iterator[tuple[int, dict[str, float]]]:
        """The numbers at each step, without those that are not finite: a curve ends where its member diverged."""
        for i, step in enumerate(self.steps):
            found = {tag: float(values[i]) for tag, values in self.curves.items()}
            yield int(step), {tag: value for tag, value in found.items() if abs(value) <= LARGEST}


def members(run: FinishedRun) -> Iterator[Member]:
    """Every member that a tracker is given, one variant in memory at a time."""
    from experiments.runner.runs import runs_of

    seeds, varied = _seeds_kept(run), _varied(run.config)
    for variant in run.variants:
        for setting in runs_of(variant, run.observed(variant)):
            for seed in range(min(seeds, setting.num_seeds)):
                yield _member(setting, seed, varied)


def left_out(run: FinishedRun) -> list[str]:
    """What `members` does not give, in lines."""
    lines, seeds, most = [], _seeds_kept(run), max(config.num_seeds for config in run.variants.values())
    if most > seeds:
        kept = "seed 0 is" if seeds == 1 else f"seeds 0 to {seeds - 1} are"
        lines.append(
            f"{run.path}: of {_settings(run)} settings with up to {most} seeds each, {kept} shown "
            f"(about {MAX_MEMBERS} members are legible); --to csv has all"
        )
    wide: dict[str, str] = {}
    for variant in run.variants:
        for name, values in run.results[variant].data_vars.items():
            shape = [size for axis, size in values.sizes.items() if axis not in _own_axes(run.variants[variant])]
            if "step" in values.dims and math.prod(shape) > MAX_CURVES:
                wide.setdefault(str(name), " x ".join(map(str, shape)))
    if wide:
        named = ", ".join(f"{name} ({shape})" for name, shape in wide.items())
        lines.append(f"{run.path}: no curves of {named}, at most {MAX_CURVES} a member are legible; --to csv has them")
    return lines


def _settings(run: FinishedRun) -> int:
    """How many settings the variants and their swept fields make."""
    swept = (settings.hyperparameters(config).values() for config in run.variants.values())
    return sum(math.prod(map(len, values)) for values in swept)


def _seeds_kept(run: FinishedRun) -> int:
    """How many seeds of each setting are given: every setting is shown, if by one seed."""
    return max(1, MAX_MEMBERS // _settings(run))


def _own_axes(config: ConfigDict) -> set[str]:
    """The axes that do not belong to the variable: one member has one place on them."""
    return {"seed", "step", *(path.split(".")[-1] for path in settings.hyperparameters(config))}


def _varied(config: ConfigDict) -> list[str]:
    """The fields in which members differ, by path."""
    set_by = [path for variant in usable_variants(config) for path in variant if not path.startswith("sweep.")]
    swept = [path for variant in settings.expand(config) for path in settings.hyperparameters(variant.config)]
    return [path for path in dict.fromkeys(set_by + swept) if path != "name"]


def _member(setting: "Run", seed: int, varied: list[str]) -> Member:
    own, data = leaves(setting.config), setting.member(seed)
    swept = [f"{path.split('.')[-1]}={value!r}" for path, value in setting.hyperparameters.items()]
    values = {path: own[path] if isinstance(own[path], bool | int | float) else str(own[path]) for path in varied}
    curves: dict[str, np.ndarray] = {}
    for name, variable in data.data_vars.items():
        axes = [str(axis) for axis in variable.dims if axis != "step"]
        if "step" not in variable.dims or math.prod(variable.sizes[axis] for axis in axes) > MAX_CURVES:
            continue
        array = variable.transpose("step", ...).values.astype(float)
        for place in np.ndindex(*array.shape[1:]):
            words = "_".join(f"{axis}_{i}" for axis, i in zip(axes, place, strict=True))
            curves[f"{name}/{words}" if words else str(name)] = array[(slice(None), *place)]
    return Member(
        variant=setting.variant,
        place=",".join([*swept, f"seed={seed}"]),
        config=settings.to_plain(setting.config),
        varied={"variant": setting.variant, **values, "seed": seed},
        diverged_at=int(data.diverged_at),
        steps=setting.steps,
        curves=curves,
    )
