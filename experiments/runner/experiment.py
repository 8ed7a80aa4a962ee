"""What the runner asks of an experiment: a type, so that it asks nothing while it runs."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from ml_collections import ConfigDict
from numpy.typing import ArrayLike

from experiments.runner.checks import Checks
from experiments.runner.laws import Law
from experiments.runner.runs import Run
from experiments.runner.schema import Fields, check_fields
from lawlib.dynamics.system import Dynamics

__all__ = ["Experiment", "Variable", "load"]


class Variable(NamedTuple):
    """One observation of an experiment: the axes after member and step, units, meaning, source."""

    dims: tuple[str, ...]
    units: str
    meaning: str
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A law under observation: what is run, what is seen of it, what is claimed and what is drawn.

    Attributes:
        dynamics: The system of one variant's config.
        variables: What ``observe`` returns, by name.
        fields: The fields of a config that it reads, by dotted path; those of every config are in ``schema.COMMON``.
        laws: The claims, as data.
        figures: Draws figures by name from the runs, whose observations are NaN where no axis could show them.
        captions: What each picture shows, by patterns of names: one to three sentences, of which the first says what
            kind of plot it is.
        summary: Numbers of each run without a bound, by heading: one number per member, or None where there is none.
        comparisons: Numbers of runs that are compared, without a bound, by heading; None where there are none, a
            mapping where they have names of their own.
        check: Rules on several fields at once, and on files that must be there.
        shared: Data that all members of a variant share. It is called once for all variants in which the fields that
            it reads agree.
        sources: Where data are from, in words, by name.
        sample_devices: The number of devices that share the samples of a member's batches.
    """

    dynamics: Callable[[ConfigDict], Dynamics]
    variables: Mapping[str, Variable]
    fields: Fields
    laws: tuple[Law, ...]
    figures: Callable[[Sequence[Run]], Mapping[str, Figure]]
    summary: Mapping[str, Callable[[Run], ArrayLike | None]]
    comparisons: Mapping[str, Callable[[Sequence[Run]], ArrayLike | Mapping[str, ArrayLike] | None]] = field(
        default_factory=dict
    )
    captions: Mapping[str, str] = field(default_factory=dict)
    check: Callable[[Checks], None] = lambda checks: None
    shared: Callable[[ConfigDict], Any] = lambda config: ()
    sources: Callable[[ConfigDict], Mapping[str, str]] = lambda config: {}
    sample_devices: Callable[[ConfigDict], int] = lambda config: 1

    def validate(self, checks: Checks) -> None:
        """Check the fields of a variant, one by one and then together."""
        check_fields(checks, self.fields)
        self.check(checks)


def load(name: str) -> Experiment:
    """The experiment of a package below experiments/laws, ``parsimony.theorem``."""
    return importlib.import_module(f"experiments.laws.{name}").EXPERIMENT
