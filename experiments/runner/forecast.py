"""What a run will need of memory and disk: told before it computes, and refused with what would fit."""

import bisect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments.runner import settings
from experiments.runner.memory import Room
from lawlib.dynamics.sweep import Footprint, Members, footprint, observed, segment_length
from lawlib.dynamics.system import Dynamics

__all__ = ["Need", "in_units", "need_of", "refusals", "told"]

# Each setting is a row of summary.md, a label in figures and about 5 ms of judging.
MOST_SETTINGS = 10_000
# Of each member: its seed, and the two steps at which it ended.
MEMBER_BYTES = 16
# Of each observation time: a float that is rounded, a step number, a Python int in a list.
TIME_BYTES = 64
# A state and the next one: less cannot be stepped. (``plan`` allows for more where there is a choice.)
LEAST_STATES = 2
# A variable is read, and its finite part taken, before it becomes a number.
COPIES = 3
UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


class Need(NamedTuple):
    """What one variant needs.

    ``swept`` counts the values of each swept field and ``segment`` is the config's own; ``member`` is what a member
    holds while it runs; ``largest`` are the bytes of the largest variable of one member at one time.
    """

    variant: str
    num_seeds: int
    num_times: int
    swept: Mapping[str, int]
    segment: int
    member: Footprint
    largest: int

    @property
    def num_settings(self) -> int:
        """How many combinations of swept values there are."""
        return math.prod(self.swept.values())

    @property
    def num_members(self) -> int:
        """Seeds times settings."""
        return self.num_seeds * self.num_settings

    @property
    def results(self) -> int:
        """Bytes of its results."""
        return self.num_members * (self.num_times * self.member.observation + MEMBER_BYTES)

    @property
    def listed(self) -> int:
        """Bytes that list who takes part and when they are seen."""
        return self.num_members * MEMBER_BYTES + self.num_times * TIME_BYTES

    @property
    def judged(self) -> int:
        """Bytes of what a claim takes at a time: one variable of one setting."""
        return COPIES * self.num_seeds * self.num_times * self.largest

    @property
    def on_device(self) -> int:
        """The least that a device must hold: one member, and what one call observes of it."""
        seen = segment_length(self.num_times, self.segment) * self.member.observation
        return self.member.problem + LEAST_STATES * self.member.state + seen


def need_of(variant: str, config: ConfigDict, dynamics: Dynamics, key: jax.Array, shared: Any) -> Need:
    """What a variant needs, from the shapes of one member; nothing is computed, and nothing as long as its members."""
    swept = settings.hyperparameters(config)
    one = Members(np.zeros(1, np.uint32), {path: np.zeros(1, config.precision) for path in swept})
    seen = observed(dynamics, key, one, shared)
    largest = max((math.prod(x.shape) * x.dtype.itemsize for x in seen.values()), default=0)
    # Not counted exactly before there is room for them: steps are rounded, and those that coincide are one.
    num_times = min(config.observe.num_times, config.opt.num_steps + 1)
    counts = {path: len(values) for path, values in swept.items()}
    member = footprint(dynamics, key, one, shared)
    return Need(variant, config.num_seeds, num_times, counts, config.run.segment, member, largest)


def refusals(needs: Sequence[Need], room: Room) -> list[str]:
    """Why a run cannot go through, one line each, with the largest that would; no line if it can."""
    problems = [line for need in needs for line in _of_a_member(need, room.device)]
    count = sum(need.num_settings for need in needs)
    if count > MOST_SETTINGS:
        problems.append(f"{count} settings (variants times swept values): at most {MOST_SETTINGS} can be judged")
    for what, taken, free in (
        ("of memory", _on_host, room.host),
        ("of disk while the results are written", _on_disk, room.disk),
    ):
        if (wanted := taken(needs)) > free:
            smaller = _smaller(needs, lambda fewer, taken=taken, free=free: taken(fewer) <= free)
            members = sum(need.num_members for need in needs)
            problems.append(
                f"{members} members at {max(need.num_times for need in needs)} times need {in_units(wanted)} {what}, "
                f"and {in_units(free)} are free; the run {smaller}"
            )
    return problems


def _on_host(needs: Sequence[Need]) -> int:
    """All members are listed at once, and one setting is judged at a time."""
    return sum(need.listed for need in needs) + max(need.judged for need in needs)


def _on_disk(needs: Sequence[Need]) -> int:
    """A checkpoint's pieces are there until the results are written."""
    return 2 * sum(need.results for need in needs)


def _of_a_member(need: Need, free: int) -> list[str]:
    if need.on_device <= free:
        return []
    parts = f"problem {in_units(need.member.problem)}, state {LEAST_STATES} x {in_units(need.member.state)}"
    seen = f"{in_units(need.member.observation)} for each observation of a call"
    return [
        f"{need.variant}: one member needs {in_units(need.on_device)} of a device's memory ({parts}, {seen}), and "
        f"{in_units(free)} are free; make the network or the data smaller, or run.segment shorter"
    ]


def _smaller(needs: Sequence[Need], fits: Callable[[Sequence[Need]], bool]) -> str:
    """The largest value with which a run fits, of each field that can make it do so alone."""

    def fewer(**most: int) -> list[Need]:
        return [
            need._replace(**{name: min(getattr(need, name), count) for name, count in most.items()}) for need in needs
        ]

    def swept(path: str, most: int) -> list[Need]:
        own = (
            {**need.swept, path: min(need.swept[path], most)} if path in need.swept else need.swept for need in needs
        )
        return [need._replace(swept=counts) for need, counts in zip(needs, own, strict=True)]

    seeds = max(need.num_seeds for need in needs)
    times = max(need.num_times for need in needs)
    paths = {path: count for need in needs for path, count in need.swept.items()}
    found = {
        "num_seeds": _largest(lambda count: fits(fewer(num_seeds=count)), 1, seeds),
        "observe.num_times": _largest(lambda count: fits(fewer(num_times=count)), 2, times),
    }
    lines = [f"{path} <= {most}" for path, most in found.items() if most]
    for path, count in paths.items():
        if most := _largest(lambda kept, path=path: fits(swept(path, kept)), 1, count):
            lines.append(f"{most} of the {count} values of sweep.{path}")
    return f"fits with {' or '.join(lines)}" if lines else "fits with a smaller network or less data"


def _largest(fits: Callable[[int], bool], least: int, most: int) -> int | None:
    """The largest count that fits, where fewer always do; None if not even ``least`` does."""
    found = bisect.bisect(range(least, most + 1), 0, key=lambda count: not fits(count))
    return least + found - 1 if found else None


def told(needs: Sequence[Need], chunks: Sequence[int]) -> str:
    """A line on what a run is: members, the chunks they are computed in, bytes of its results."""
    members, results = sum(need.num_members for need in needs), sum(need.results for need in needs)
    return f"{_counted(members, 'member')} in {_counted(sum(chunks), 'chunk')}; results of {in_units(results)}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def in_units(count: float) -> str:
    """Bytes with three digits: ``1.25 GB``."""
    power = min(int(math.log(max(count, 1), 1000)), len(UNITS) - 1)
    return f"{count / 1000**power:.3g} {UNITS[power]}"
