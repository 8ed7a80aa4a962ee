"""Families of low-rank networks on images: variants that differ in their role alone, and how they are compared."""

from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from experiments.laws.smooth_mlp.common import TITLES
from experiments.runner.fields import result_fields
from experiments.runner.laws import Objection
from experiments.runner.runs import Run

# The full network, whose accuracy is the goal, and the networks that start in S_big of all images and of one batch.
COMPARED = ("full", "s_big", "s_big_batch")
# Accuracies at which speeds are compared, as shares of the full network's final accuracy.
SHARES = (0.9, 0.97)
# Fields whose values are places of this machine.
PLACES = {"data.folder", "data.weights"}

# Runs by the title of their family and by their role in it.
Families = Mapping[str, Mapping[str, Run]]


def families(
    found: Sequence[Run], roles: Set[str], role: Callable[[Run], str], unread: Callable[[Run], Set[str]]
) -> Families:
    """The runs that differ in their ``roles`` alone, by title and by ``role``.

    A title is the activation and the fields in which families differ; places of this machine are numbered. ``unread``
    names fields that a run does not read: it belongs to every family that agrees with it in all others. Two runs of a
    family with one role differ in unread fields alone; the second has a family of its own.
    """
    rows = [{f: _fixed(v) for f, v in result_fields(r.config).items() if f not in roles | unread(r)} for r in found]
    frames = [row for row in rows if not any(row.items() < other.items() for other in rows)]
    values = {f: list(dict.fromkeys(frame.get(f) for frame in frames)) for row in rows for f in row}
    differing = [f for f, distinct in values.items() if len(distinct) > 1 and f != "net.activation"]
    gathered: dict[str, dict[str, Run]] = {}
    for frame in (frame for i, frame in enumerate(frames) if frame not in frames[:i]):
        own_fields = ((f, values[f].index(frame[f])) for f in differing if f in frame)
        named = (f"{f} = {f'no. {place + 1}' if f in PLACES else values[f][place]}" for f, place in own_fields)
        title = ", ".join((TITLES[frame["net.activation"]], *named))
        for run in (run for run, row in zip(found, rows, strict=True) if row.items() <= frame.items()):
            own = title
            while role(run) in gathered.get(own, {}):
                own += ", once more"
            gathered.setdefault(own, {})[role(run)] = run
    return gathered


def _fixed(value: Any) -> Any:
    """A value that can be compared as part of a set."""
    return repr(value) if isinstance(value, list) else value


def parts(by_role: Callable[[Sequence[Run]], Families]) -> Callable[[Sequence[Run]], dict[str, list[Run]]]:
    """The families as the parts of a ``Source``."""
    return lambda found: {title: list(family.values()) for title, family in by_role(found).items()}


def ends_in_common(name: str, *runs: Run) -> list[np.ndarray]:
    """A variable at the last observation of each run, in the seeds that all of them have."""
    fewest = min(run.num_seeds for run in runs)
    return [run.last(name)[:fewest] for run in runs]


def difference(one: Run, other: Run) -> np.ndarray:
    """The final test accuracy of one run minus that of the other, in the seeds that both have."""
    own, others = ends_in_common("test_accuracy", one, other)
    return own - others


def differences(of_each: Families, one: str, other: str) -> dict[str, np.ndarray]:
    """The difference of two roles in each family that has both, by title."""
    both = ((title, family) for title, family in of_each.items() if {one, other} <= family.keys())
    return {title: difference(family[one], family[other]) for title, family in both}


def goal(full: Run, share: float) -> float:
    """A share of the final test accuracy of the full networks, their mean over the seeds."""
    return share * float(np.mean(full.last("test_accuracy")))


def first_step(run: Run, accuracy: ArrayLike) -> np.ndarray:
    """The first observed step of each member with this test accuracy or more, shape (seed,).

    ``accuracy`` is one number or one for each seed. A member that never has it takes infinitely many steps. The step is
    NaN where a network diverged before: this one, or that of the accuracy, which is then NaN.
    """
    reached = (accuracy <= run.all("test_accuracy").T).T
    late = np.where(np.isnan(run.last("test_accuracy")), np.nan, np.inf)
    return np.where(reached.any(1), run.steps[reached.argmax(1)], late) + 0 * np.asarray(accuracy)


def slowdown(one: Run, other: Run, full: Run, share: float) -> np.ndarray:
    """How many times as many steps one run takes as the other to this share of the full network's final accuracy.

    Shape (seed,), of the seeds that both have; NaN where neither gets there.
    """
    fewest = min(one.num_seeds, other.num_seeds)
    steps, others = (first_step(run, goal(full, share))[:fewest] for run in (one, other))
    with np.errstate(invalid="ignore"):
        return steps / others


def arriving(share: float) -> Objection:
    """Runs whose members all get to this share of the final accuracy of the full network, which is the last of them."""

    def objection(found: Sequence[Run]) -> str:
        late = np.concatenate([np.isinf(first_step(run, goal(found[-1], share))) for run in found])
        return f"{late.sum()} of {late.size} members did not reach {share:.0%} of its accuracy" if late.any() else ""

    return objection


def speeds(of_each: Families, share: float) -> dict[str, np.ndarray]:
    """The first step with this share of the full network's final accuracy, for the roles ``COMPARED`` of each family.

    A family that lacks one of them is left out. The keys are ``TITLE, ROLE``.
    """
    whole = ((title, family) for title, family in of_each.items() if family.keys() >= set(COMPARED))
    return {
        f"{title}, {role}": first_step(family[role], goal(family["full"], share))
        for title, family in whole
        for role in COMPARED
    }
