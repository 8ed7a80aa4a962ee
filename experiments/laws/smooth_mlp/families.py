"""Families of low-rank networks on images, and what is told of them: where they end, and when they get somewhere."""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from experiments.runner.claims import Claim, over
from experiments.runner.fields import result_fields
from experiments.runner.results import Group

__all__ = [
    "COMPARED",
    "SHARES",
    "TITLES",
    "ends_in_common",
    "families",
    "first_of",
    "first_step",
    "goal",
    "last",
    "less",
    "speeds",
]

Role = TypeVar("Role")

TITLES = {"gelu": "GELU", "silu": "SiLU", "elu": "ELU", "tanh": "tanh", "relu": "ReLU", "leaky_relu": "Leaky ReLU"}
# What begins in S_big, of all images and of one batch, and the full network whose accuracy they try to reach.
COMPARED = {"full", "s_big", "s_big_batch"}
# Accuracies at which the speeds of two starts are compared, as shares of what the full network ends with.
SHARES = (0.9, 0.97)
# Fields whose values are places of this machine.
PLACES = {"data.folder", "data.weights"}


def families(
    found: Sequence[Group], roles: Set[str], role: Callable[[Group], Role], unread: Callable[[Group], Set[str]]
) -> dict[str, dict[Role, Group]]:
    """The variants that differ in nothing but their ``roles``, by the ``role`` of each.

    A family is called by its activation and by the fields in which it differs from others, where places of this machine
    have numbers. A variant is in each family that it fits in, whatever the fields are that it leaves ``unread``. Two
    of one role are the same run; the second has a family of its own.
    """
    rows = [{f: _fixed(v) for f, v in result_fields(g.config).items() if f not in roles | unread(g)} for g in found]
    frames = [row for row in rows if not any(row.items() < other.items() for other in rows)]
    values = {f: list(dict.fromkeys(frame.get(f) for frame in frames)) for row in rows for f in row}
    reported = [f for f, distinct in values.items() if len(distinct) > 1 and f != "net.activation"]
    gathered: dict[str, dict[Role, Group]] = {}
    for frame in (frame for i, frame in enumerate(frames) if frame not in frames[:i]):
        named = {f: f"no. {values[f].index(frame[f]) + 1}" if f in PLACES else frame[f] for f in reported if f in frame}
        title = ", ".join([TITLES[frame["net.activation"]], *(f"{f} = {value}" for f, value in named.items())])
        for group in (group for group, row in zip(found, rows, strict=True) if row.items() <= frame.items()):
            own = title
            while role(group) in gathered.get(own, {}):
                own += ", once more"
            gathered.setdefault(own, {})[role(group)] = group
    return gathered


def _fixed(value: Any) -> Any:
    """A value that can be compared as part of a set."""
    return repr(value) if isinstance(value, list) else value


def speeds(family: Mapping[str, Group], title: str, unit: str, **about: Any) -> Iterator[Claim]:
    """When the full network, S_big of all images and S_big of one batch reach shares of the full one's accuracy."""
    for share in SHARES:
        for which in sorted(COMPARED):
            steps = first_step(family[which], goal(family["full"], share))
            missing = int(np.isinf(steps).sum())
            late = f"{missing} of {steps.size} members do not get there" if missing else ""
            verdict = {
                "kind": "report",
                "statement": f"{title}, {which}: {unit} to {share:.0%} of the full network's final test accuracy",
                "reason": "a full network diverged" if np.isnan(steps).any() else late,
                "statistic": "mean",
            }
            yield over([family[which]], lambda _, steps=steps: steps, **verdict, **about)


def last(group: Group, name: str) -> np.ndarray:
    """What each member was last seen with."""
    return group.data[name].isel(step=-1).values.ravel()


def less(one: Group, other: Group) -> np.ndarray:
    """The difference of final test accuracies, seed by seed, in the seeds that both have."""
    ends = ends_in_common("test_accuracy", one, other)
    return ends[0] - ends[1]


def ends_in_common(name: str, *groups: Group) -> list[np.ndarray]:
    """What the members of each group were last seen with, in the seeds that all of them have."""
    ends = [last(group, name) for group in groups]
    return [end[: min(map(len, ends))] for end in ends]


def goal(full: Group, share: float) -> float:
    """This share of the test accuracy with which the full networks end, their mean over the seeds."""
    return share * float(np.mean(last(full, "test_accuracy")))


def first_step(group: Group, accuracy: float) -> np.ndarray:
    """The first step at which each member was seen with this test accuracy, infinite where there is none.

    Not a number where the accuracy is none, which is that of a network that diverged.
    """
    return np.asarray(first_of(group.data.test_accuracy, accuracy), float).ravel() + 0 * accuracy


def first_of(values: xr.DataArray, level: xr.DataArray | float) -> xr.DataArray:
    """The first step with this value or more, infinite where there is none."""
    there = values >= level
    return xr.where(there.any("step"), values.step.isel(step=there.argmax("step")), np.inf)
