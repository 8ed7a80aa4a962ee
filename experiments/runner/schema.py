"""Declared fields: type, range, unit and meaning of every field of a config, and whether it may be swept.

An experiment declares the fields that it reads; validation, ``--show`` and the documentation come from there.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ml_collections import ConfigDict

from experiments.runner import fields
from experiments.runner.checks import BOUNDS, Checks

__all__ = ["COMMON", "Field", "Fields", "check_fields", "choice", "flag", "integer", "number", "text", "values"]

KINDS = {bool: "bool", int: "integer", float: "number", str: "string", tuple: "tuple"}


@dataclass(frozen=True, kw_only=True)
class Field:
    """What a config says under one path.

    Attributes:
        kind: The type of its value.
        meaning: What it is, in one line.
        unit: Its unit; ``1`` for a pure number. What is no number has none, and is shown with ``-``.
        bounds: ``above``, ``at_least``, ``below``, ``at_most``, for numbers.
        options: The values that are allowed, where they can be listed.
        items: What the values of a tuple may be, in words.
        sweepable: Whether it may be swept in one program; the others change shapes or code.
        when: Tells from the config whether the field is read; where it is not, it may be absent.
    """

    kind: type
    meaning: str
    unit: str = "1"
    bounds: Mapping[str, Any] = field(default_factory=dict)
    options: tuple[Any, ...] = ()
    items: str = ""
    sweepable: bool = False
    when: Callable[[ConfigDict], bool] | None = None

    def is_read(self, config: ConfigDict) -> bool:
        """Whether a config needs the field."""
        return self.when is None or self.when(config)

    @property
    def allowed(self) -> str:
        """What it may be, in words: ``integer >= 2``."""
        if self.options:
            return " | ".join(map(str, self.options))
        if self.items:
            return f"{KINDS[self.kind]} of {self.items}"
        limits = (f"{BOUNDS[name][0]} {bound!r}" for name, bound in self.bounds.items())
        return f"{KINDS[self.kind]} {' and '.join(limits)}".strip()


Fields = Mapping[str, Field]
When = Callable[[ConfigDict], bool]


def integer(
    meaning: str, *, unit: str = "1", sweepable: bool = False, when: When | None = None, **bounds: int
) -> Field:
    """An integer within ``above``, ``at_least``, ``below``, ``at_most``."""
    return Field(kind=int, meaning=meaning, unit=unit, bounds=bounds, sweepable=sweepable, when=when)


def number(
    meaning: str, *, unit: str = "1", sweepable: bool = False, when: When | None = None, **bounds: float
) -> Field:
    """A finite float within ``above``, ``at_least``, ``below``, ``at_most``."""
    return Field(kind=float, meaning=meaning, unit=unit, bounds=bounds, sweepable=sweepable, when=when)


def choice(meaning: str, *options: Any, unit: str = "1", when: When | None = None) -> Field:
    """One of the options, which are of one type."""
    return Field(kind=type(options[0]), meaning=meaning, unit=unit, options=options, when=when)


def flag(meaning: str, *, when: When | None = None) -> Field:
    """True or False."""
    return choice(meaning, False, True, when=when)


def text(meaning: str, *, when: When | None = None) -> Field:
    """Any string."""
    return Field(kind=str, meaning=meaning, when=when)


def values(meaning: str, *, items: str, unit: str = "1", when: When | None = None) -> Field:
    """A tuple of ``items``, which the experiment's own check tests."""
    return Field(kind=tuple, meaning=meaning, items=items, unit=unit, when=when)


COMMON: Fields = {
    "experiment": text("the law's package below experiments/laws, with dots"),
    "name": text("selects the variant of this name on the command line"),
    "seed": integer("root of all random keys", at_least=0, at_most=2**32 - 1),
    "num_seeds": integer("members per setting: seeds 0, 1, ... below the root", at_least=1, at_most=2**32),
    "precision": choice("floating-point type of everything computed", "float64", "float32"),
    "variants": values("settings that change shapes or code", items="dicts of fields", unit="-"),
    # Steps are counted in 32 bits.
    "opt.num_steps": integer("steps that a member makes at most", unit="step", at_least=1, at_most=2**31 - 2),
    "observe.num_times": integer("observations of a member; steps 0 and the last are always among them", at_least=2),
    "observe.spacing": choice("spacing of the observations in time", "even", "log"),
    "run.chunk": integer("members computed in one call; 0: what fits in memory", at_least=0),
    "run.batch": integer("members stepped side by side; 0: what fits in the caches", at_least=0),
    "run.segment": integer("observations made in one call; 0: a twelfth or more", at_least=0),
    "run.checkpoint_seconds": number("time between checkpoints", unit="s", at_least=0.0),
}


def check_fields(checks: Checks, declared: Fields) -> None:
    """Check every field of a config against its declaration, and that none is undeclared."""
    config, known = checks.config, {**COMMON, **declared}
    own = fields.leaves(config)
    # A value of no type that a field can have has a line already.
    odd = {path for path, value in own.items() if type(value) not in fields.RULES}
    for path, about in known.items():
        if path not in odd and path not in ("variants", "name") and about.is_read(config):
            _check(checks, path, about)
    given = {path for path in own.keys() - odd if not path.startswith(("sweep.", "variants"))}
    for path in sorted(given - known.keys() - {"sweep"}):
        near = fields.nearest(path, known)
        checks.require(path, False, f"is read by nothing in {config.get('experiment')}{near}")
    checks.sweeps(*(path for path, about in known.items() if about.sweepable))


def _check(checks: Checks, path: str, about: Field) -> None:
    if about.options:
        checks.choice(path, about.options)
    elif about.kind is int:
        checks.integer(path, **about.bounds)
    elif about.kind is float:
        checks.number(path, **about.bounds)
    else:
        is_kind = all(type(value) is about.kind for value in checks.values(path)) and bool(checks.values(path))
        checks.require(path, is_kind, fields.RULES[about.kind])


def rows(config: ConfigDict, declared: Fields) -> Iterator[tuple[str, ...]]:
    """What ``--show`` prints of every field: path, value, what is allowed, unit, meaning."""
    own, swept = fields.leaves(config), fields.swept(config)
    for path, about in {**COMMON, **declared}.items():
        if path in own:
            value = f"sweep {swept[path]!r}" if path in swept else repr(own[path])
            value = f"{len(config.variants)}, listed below" if path == "variants" else value
            may_sweep = ", may be swept" if about.sweepable else ""
            unit = about.unit if about.kind in (int, float, tuple) else "-"
            yield path, value, about.allowed + may_sweep, unit, about.meaning
