"""Checks of a config before anything is computed; each problem is one line."""

import math
import operator
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from experiments import laws
from experiments.runner import fields
from experiments.runner.settings import alike, expand

__all__ = ["Checks", "check_common", "collect"]

BOUNDS = {"above": (">", operator.gt), "at_least": (">=", operator.ge)}
# In bytes: figures of a variant are called after it, with something before and after.
LONGEST_NAME = 150
BOUNDS |= {"below": ("<", operator.lt), "at_most": ("<=", operator.le)}


class Checks:
    """Collects the problems of one config; a validator calls it like a table of rules.

    A swept number is checked at each of its values. A rule about several fields takes their values from ``values``.
    """

    def __init__(self, config: ConfigDict):
        self.config = config
        self.problems: list[str] = []
        self._fields, self._sweep = fields.leaves(config), fields.swept(config)

    def values(self, path: str) -> tuple:
        """All values of a field, one if it is not swept; none if the values are unusable."""
        if path not in self._sweep:
            return (self._fields[path],) if path in self._fields else ()
        usable = not fields.refusal(self.config, f"sweep.{path}", self._sweep[path])
        return fields.fit(self._sweep[path], (self._fields[path],)) if usable else ()

    def require(self, path: str, condition: bool, rule: str) -> None:
        """Report the field unless the condition holds; the rule states it, "must exceed 2 * data.rank = 6"."""
        if not condition:
            given = f" = {self._fields[path]!r}" if path in self._fields else ""
            self.problems.append(f"{path}{given}: {rule}")

    def number(self, path: str, **bounds: float) -> None:
        """The field must be a finite float within ``above``, ``at_least``, ``below``, ``at_most``."""
        self._bounded(path, float, "must be a finite number", bounds)

    def integer(self, path: str, **bounds: int) -> None:
        """The field must be an integer (True and 2.0 are not) within the bounds that ``number`` takes."""
        self._bounded(path, int, "must be an integer", bounds)

    def choice(self, path: str, options: Sequence[Any]) -> None:
        """The field must be one of the options."""
        known = bool(self.values(path)) and all(value in options for value in self.values(path))
        self.require(path, known, f"must be one of {', '.join(map(repr, options))}")

    def sweeps(self, *allowed: str) -> None:
        """Only these fields may be swept: the others change shapes or code."""
        rule = f"cannot be swept; use variants (what can be swept: {', '.join(allowed) or 'nothing'})"
        for path in self._sweep:
            self.require(f"sweep.{path}", path in allowed or path not in self._fields, rule)

    def _bounded(self, path: str, kind: type, rule: str, bounds: Mapping[str, float]) -> None:
        limits = [(*BOUNDS[name], bound) for name, bound in bounds.items()]
        rule = f"{rule} {' and '.join(f'{sign} {bound!r}' for sign, _, bound in limits)}".strip()
        self.require(path, path in self._fields, f"is missing, {rule}")
        name = f"sweep.{path}" if path in self._sweep else path
        for value in self.values(path):
            usable = type(value) is kind and -math.inf < value < math.inf
            if kind is float and type(value) is int:
                self.problems.append(f"{name} = {value!r}: must be written as a float, {value!r}.0")
            elif not usable or not all(holds(value, bound) for _, holds, bound in limits):
                self.problems.append(f"{name} = {value!r}: {rule}")


def check_common(checks: Checks) -> None:
    """Check the rules common to all configs: types, the experiment, the sweep and the variants."""
    for path, value in fields.leaves(checks.config).items():
        leaves = value if isinstance(value, tuple) and path != "variants" else (value,)
        typed = all(type(leaf) in fields.RULES for leaf in leaves)
        checks.require(path, typed, "must be a bool, an integer, a float, a string or a tuple of these")
    known = _experiments()
    name = checks.config.get("experiment")
    rule = f"is not a package of experiments/laws{fields.nearest(str(name), known)}"
    checks.require("experiment", name in known, rule)
    _check_sweep(checks)
    _check_variants(checks)


def _experiments() -> list[str]:
    """The packages of experiments/laws that have a system, by dotted name; nothing is imported."""
    root = Path(next(iter(laws.__path__)))
    return sorted(".".join(file.parent.relative_to(root).parts) for file in root.rglob("system.py"))


def _check_sweep(checks: Checks) -> None:
    group, owners = isinstance(checks.config.get("sweep"), ConfigDict), {}
    checks.require("sweep", group, "must be a group, empty if nothing is swept")
    varied = {path for variant in fields.usable_variants(checks.config) for path in variant}
    for path, values in fields.swept(checks.config).items():
        name, leaf = f"sweep.{path}", path.split(".")[-1]
        checks.require(name, not (rule := fields.refusal(checks.config, name, values)), rule)
        checks.require(name, type(values) is tuple and values != (), "must be a tuple of one value or more")
        distinct = len(set(checks.values(path))) == len(checks.values(path))
        checks.require(name, distinct, "must not list a value twice")
        checks.require(name, path not in varied, "a variant also sets it; keep it either in sweep or in variants")
        owner = owners.setdefault(leaf, name)
        checks.require(name, owner == name, f"would share the dimension name {leaf} with {owner}")


def _check_variants(checks: Checks) -> None:
    variants = checks.config.get("variants")
    filled = isinstance(variants, tuple) and variants != ()
    checks.require("variants", filled, "must be a tuple of at least one dict, ({},) if nothing varies")
    for i, variant in enumerate(variants if isinstance(variants, tuple) else ()):
        checks.problems += [f"variants[{i}]{line}" for line in fields.variant_problems(checks.config, variant)]
    for name, count in Counter(variant.name for variant in expand(checks.config)).items():
        checks.require("variants", count == 1, f"must differ, and {name} is listed {count} times")
        checks.require("variants", name not in (".", ".."), f"must not be called {name}, which is a folder")
        usable = name.isprintable() and len(name.encode(errors="replace")) <= LONGEST_NAME
        rule = f"must have names that files can have (printable, at most {LONGEST_NAME} bytes): {name[:60]!a}"
        checks.require("variants", usable, f"{rule} is none; give the variant a 'name'")
    for names in alike(checks.config):
        reported = f"{' and '.join(names)} are the same run, except perhaps for num_seeds or run.*"
        checks.problems.append(f"variants: must differ, and {reported}")


def collect(config: ConfigDict, validate: Callable[[Checks], None]) -> list[str]:
    """Return every problem of a config, one line each: the common ones, then its experiment's own.

    ``validate`` gets the Checks of every expanded variant. A line begins with the names of the variants that have the
    problem, unless all have it.
    """
    check_common(common := Checks(config))
    found = {}
    for name, expanded in expand(config):
        check_common(checks := Checks(expanded))
        try:
            validate(checks)
        except Exception:
            # A check may fail because a value it uses was already refused; any other failure is ours.
            if not checks.problems:
                raise
        found[name] = checks.problems
    shared = [p for lines in found.values() for p in lines if all(p in other for other in found.values())]
    known, own = [*common.problems, *shared], {}
    for name, lines in found.items():
        for problem in dict.fromkeys(line for line in lines if line not in known):
            own.setdefault(problem, []).append(name)
    reported = [f"variant{'s' * (len(names) > 1)} {', '.join(names)}: {problem}" for problem, names in own.items()]
    return list(dict.fromkeys(known + reported))
