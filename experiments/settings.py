"""Configs: load a file, override fields from the command line, check every value, expand the variants.

ml_collections has a flag parser of its own; it stops at the first problem. Here a bad command line is
answered once, with one line for each problem: the field's path, its value and what is allowed. Nothing here
imports JAX, so that these lines come at once.

A *field* is the dotted path of a leaf, ``opt.step_size``. A *knob* is a number of a group that ``sweep``
gives several values, vmapped in one program; a *variant* is a dict of fields that change shapes or code.
"""

import ast
import copy
import difflib
import importlib.util
import math
import operator
import pkgutil
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

import experiments

__all__ = ["Checks", "ConfigError", "Variant", "check_common", "collect", "expand", "knobs"]
__all__ += ["load", "override", "read", "to_plain"]

PROFILES = ("smoke", "cpu", "paper")
# What a leaf may be, and how a value of another type is refused.
RULES = {bool: "must be True or False", int: "must be an integer", float: "must be a finite number"}
RULES |= {str: "must be a string", tuple: "must be a tuple"}
BOUNDS = {"above": (">", operator.gt), "at_least": (">=", operator.ge)}
BOUNDS |= {"below": ("<", operator.lt), "at_most": ("<=", operator.le)}


class ConfigError(Exception):
    """A config that cannot run; ``problems`` has one line for each thing that is wrong with it."""

    def __init__(self, problems: Iterable[str]):
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


class Variant(NamedTuple):
    """One compiled program: its name, and the whole config with the variant's own fields applied."""

    name: str
    config: ConfigDict


def load(spec: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """Return the locked config of ``FILE.py[:PROFILE]`` with ``--config.FIELD=VALUE`` words applied.

    Raises:
        ConfigError: The file cannot be used, or an override is wrong; every wrong one has its line.
    """
    config = read(spec)
    if problems := override(config, overrides):
        raise ConfigError(problems)
    return config


def read(spec: str) -> ConfigDict:
    """Return the locked config that ``FILE.py[:PROFILE]`` builds with its ``get_config(profile)``.

    Raises:
        ConfigError: In one line: no such file, no get_config, an unknown profile, or what the file raised.
    """
    name, _, profile = (spec, "", "cpu") if spec.endswith(".py") else spec.rpartition(":")
    path, names = Path(name or spec), {}
    if not path.is_file():
        near = _nearest(str(path), map(str, path.parent.glob("*.py")))
        raise ConfigError([f"--config={spec}: there is no file {path}{near}"])
    try:
        # Compiled from its source: cached bytecode is stale if a file changes twice in a second at one size.
        exec(compile(path.read_bytes(), str(path), "exec"), names)
        if "get_config" not in names:
            problem = f"{path} has no function get_config(profile)"
        elif isinstance(config := names["get_config"](profile), ConfigDict):
            return config.lock()
        else:
            problem = f"get_config returned {type(config).__name__}, must return an ml_collections ConfigDict"
    except Exception as error:
        problem = f"{_place(error, path)}{type(error).__name__}: {' '.join(str(error).split())}"
        if profile not in PROFILES and "get_config" in names:
            problem = f"unknown profile {profile!r}; the profiles are {', '.join(PROFILES)}"
    raise ConfigError([f"--config={spec}: {problem}"])


def _place(error: Exception, path: Path) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    lines += [error.lineno] if isinstance(error, SyntaxError) else []
    return f"line {lines[-1]} raised " if lines else "raised "


def override(config: ConfigDict, overrides: Sequence[str]) -> list[str]:
    """Apply ``--config.FIELD=VALUE`` words to a config in place; return one line for each that is wrong.

    VALUE is a Python literal or a bare word of the default's type: an integer is taken for a float and one
    value for a tuple, nothing else is converted. ``sweep.FIELD`` may name any number of a group, swept by the
    file or not. Of two values for a field the last one counts.
    """
    (assignments, problems), applied = _parse(overrides), []
    for path, text in assignments.items():
        if rule := _refusal(config, path, value := _literal(text)):
            problems.append(f"{path} = {value!r}: {rule}")
        else:
            _assign(config, path, _fit(value, _settable(config)[path]))
            applied.append(path)
    return problems + _ignored(config, applied)


def _parse(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    assignments, problems, queue = {}, [], list(words)
    while queue:
        word = queue.pop(0)
        head, equals, text = word.partition("=")
        path = head.removeprefix("--config.")
        if path == head or not all(path.split(".")):
            problems.append(f"{word}: is not an override; write --config.FIELD=VALUE")
        elif equals:
            assignments[path] = text
        elif queue and not queue[0].startswith("--"):
            assignments[path] = queue.pop(0)
        else:
            problems.append(f"{word}: has no value; write {word}=VALUE")
    return assignments, problems


def _literal(text: str) -> Any:
    with suppress(ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return ast.literal_eval(text.strip())
    return text


def _ignored(config: ConfigDict, paths: Iterable[str]) -> list[str]:
    """A line for every overridden field that the sweep, or every variant, decides in its place."""
    fields, swept, variants, problems = _fields(config), _swept(config), _variants(config), []
    for path in paths:
        line = f"{path} = {fields[path]!r}: "
        if path in swept:
            problems.append(f"{line}is swept; set --config.sweep.{path}={fields[path]!r},")
        elif variants and all(path in variant for variant in variants):
            changed = [variant | {path: fields[path]} for variant in variants]
            distinct = tuple(variant for i, variant in enumerate(changed) if variant not in changed[:i])
            problems.append(f'{line}every variant sets it; set --config.variants="{distinct!r}"')
    return problems


def _fields(config: Any) -> dict[str, Any]:
    """Every leaf by its dotted path."""
    if not isinstance(config, ConfigDict):
        return {"": config}
    leaves = ((name, path, leaf) for name, value in config.items() for path, leaf in _fields(value).items())
    return {f"{name}.{path}".rstrip("."): leaf for name, path, leaf in leaves}


def _swept(config: ConfigDict) -> dict[str, Any]:
    return {path[6:]: values for path, values in _fields(config).items() if path.startswith("sweep.")}


def _settable(config: ConfigDict) -> dict[str, Any]:
    """What may be set, with a value of its type; every number of a group may be swept."""
    fields = {path: value for path, value in _fields(config).items() if not path.startswith("sweep.")}
    knobs = {path: value for path, value in fields.items() if "." in path and type(value) in (int, float)}
    return fields | {f"sweep.{path}": (v,) for path, v in knobs.items() if not path.startswith("run.")}


def _refusal(config: ConfigDict, path: str, value: Any) -> str:
    """Why a field cannot be given a value; empty if it can."""
    settable = _settable(config)
    if path in settable:
        try:
            _fit(value, settable[path])
        except ValueError as error:
            return str(error)
        return ""
    if inside := [field for field in settable if field.startswith(f"{path}.")]:
        return f"is a group; set one of its fields: {', '.join(inside)}"
    if path.removeprefix("sweep.") in settable:
        return "only a number of a group can be swept; list its values in variants"
    return f"unknown field{_nearest(path, settable)}"


def _variants(config: ConfigDict) -> list[dict[str, Any]]:
    """The variants that can be expanded; check_common says what is wrong with the others."""
    variants = config.get("variants")
    return [v for v in variants if not _variant_problems(config, v)] if isinstance(variants, tuple) else []


def _assign(config: ConfigDict, path: str, value: Any) -> None:
    *groups, leaf = path.split(".")
    node: Any = config
    with config.unlocked():
        for group in groups:
            if group not in node:
                node[group] = ConfigDict()
            node = node[group]
        node[leaf] = value


def _fit(value: Any, default: Any) -> Any:
    """Return value as the type of default; ValueError says what that type is."""
    if isinstance(default, tuple):
        return _fit_tuple(value, default)
    if isinstance(default, float) and type(value) is int:
        with suppress(OverflowError):
            return float(value)
    if type(value) is type(default) and (not isinstance(value, float) or math.isfinite(value)):
        return value
    raise ValueError(RULES.get(type(default), f"cannot be set, since its default is {default!r}"))


def _fit_tuple(value: Any, default: tuple) -> tuple:
    if isinstance(value, str) and "," in value:
        value = [_literal(word) for word in value.split(",")]
    items = tuple(value) if isinstance(value, tuple | list) else (value,)
    kinds = {type(item) for item in default}
    if len(kinds) != 1 or not kinds <= RULES.keys():
        return items
    try:
        return tuple(_fit(item, default[0]) for item in items)
    except ValueError as error:
        msg = f"must be a tuple, and each of its values {error}"
        raise ValueError(msg) from None


def _nearest(name: str, known: Iterable[str]) -> str:
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]}?" if matches else ""


class Checks:
    """The problems of one config, gathered by a validator that reads like a table.

    A swept number is checked at each of its values; a rule on several fields takes theirs from ``values``.
    """

    def __init__(self, config: ConfigDict):
        self.config = config
        self.problems: list[str] = []
        self._fields, self._sweep = _fields(config), _swept(config)

    def values(self, path: str) -> tuple:
        """The values that a field takes: those of its sweep, or its one value; none if they are unusable."""
        if path not in self._sweep:
            return (self._fields[path],) if path in self._fields else ()
        usable = not _refusal(self.config, f"sweep.{path}", self._sweep[path])
        return _fit(self._sweep[path], (self._fields[path],)) if usable else ()

    def require(self, path: str, condition: bool, rule: str) -> None:
        """The condition must hold; the rule is what it asks for, "must exceed 2 * data.rank = 6"."""
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
    """Check what every config has: its experiment, seeds, precision, sweep, variants and run."""
    for path, value in _fields(checks.config).items():
        leaves = value if isinstance(value, tuple) and path != "variants" else (value,)
        typed = all(type(leaf) in RULES for leaf in leaves)
        checks.require(path, typed, "must be a bool, an integer, a float, a string or a tuple of these")
    name = str(checks.config.get("experiment"))
    known = name.isidentifier() and importlib.util.find_spec(f"experiments.{name}") is not None
    near = _nearest(name, [module.name for module in pkgutil.iter_modules(experiments.__path__)])
    checks.require("experiment", known, f"is no module of experiments/{near}")
    checks.integer("seed", at_least=0, at_most=2**32 - 1)
    checks.integer("num_seeds", at_least=1)
    checks.choice("precision", ("float64", "float32"))
    for field in ("chunk", "batch", "segment"):
        checks.integer(f"run.{field}", at_least=0)
    checks.number("run.checkpoint_seconds", at_least=0.0)
    _check_sweep(checks)
    _check_variants(checks)


def _check_sweep(checks: Checks) -> None:
    group, owners = isinstance(checks.config.get("sweep"), ConfigDict), {}
    checks.require("sweep", group, "must be a group, empty where nothing is swept")
    varied = {path for variant in _variants(checks.config) for path in variant}
    for path, values in _swept(checks.config).items():
        name, leaf = f"sweep.{path}", path.split(".")[-1]
        checks.require(name, not (rule := _refusal(checks.config, name, values)), rule)
        checks.require(name, type(values) is tuple and values != (), "must be a tuple of one value or more")
        distinct = len(set(checks.values(path))) == len(checks.values(path))
        checks.require(name, distinct, "must not list a value twice")
        checks.require(name, path not in varied, "a variant sets it too; keep it in sweep or in variants")
        owner = owners.setdefault(leaf, name)
        checks.require(name, owner == name, f"would share the dimension name {leaf} with {owner}")


def _check_variants(checks: Checks) -> None:
    variants = checks.config.get("variants")
    filled = isinstance(variants, tuple) and variants != ()
    checks.require("variants", filled, "must be a tuple of at least one dict, ({},) where nothing varies")
    for i, variant in enumerate(variants if isinstance(variants, tuple) else ()):
        checks.problems += [f"variants[{i}]{line}" for line in _variant_problems(checks.config, variant)]
    for name, count in Counter(variant.name for variant in expand(checks.config)).items():
        checks.require("variants", count == 1, f"must differ, and {name} stands there {count} times")


def _variant_problems(config: ConfigDict, variant: Any) -> list[str]:
    if not isinstance(variant, dict):
        return [f" = {variant!r}: must be a dict of fields, such as {{'net.depth': 3}}"]
    refused = {path: _refusal(config, path, value) for path, value in variant.items()}
    refused |= dict.fromkeys(variant.keys() & {"experiment", "variants"}, "cannot be varied")
    return [f"[{path!r}] = {variant[path]!r}: {rule}" for path, rule in refused.items() if rule]


def collect(config: ConfigDict, validate: Callable[[Checks], None]) -> list[str]:
    """Return every problem of a config, one line each: the common ones, then its experiment's own.

    ``validate`` is given the Checks of every expanded variant; a line begins with the variant's name unless
    all variants have it.
    """
    check_common(common := Checks(config))
    found = {}
    for name, expanded in expand(config):
        check_common(checks := Checks(expanded))
        try:
            validate(checks)
        except Exception:
            # A check that rests on a value already refused may well fail; any other failure is ours.
            if not checks.problems:
                raise
        found[name] = checks.problems
    shared = [p for lines in found.values() for p in lines if all(p in other for other in found.values())]
    known = [*common.problems, *shared]
    own = [f"variant {name}: {p}" for name, lines in found.items() for p in lines if p not in known]
    return list(dict.fromkeys(known + own))


def expand(config: ConfigDict) -> tuple[Variant, ...]:
    """Return every variant with its whole config, locked, in order; a malformed variant is left out.

    Names are leaf names and values, ``depth=3,source=low_rank``, or whole paths where leaf names clash, with
    no "/"; the empty variant is ``base``. An expanded config holds its own variant alone.
    """
    settable, variants, expanded = _settable(config), _variants(config), []
    leaves = {path: path.split(".")[-1] for variant in variants for path in variant}
    counts = Counter(leaves.values())
    for given in variants:
        variant = {path: _fit(value, settable[path]) for path, value in given.items()}
        labels = {path: path if counts[leaves[path]] > 1 else leaves[path] for path in variant}
        name = ",".join(f"{labels[path]}={value}".replace("/", "-") for path, value in variant.items())
        whole = copy.deepcopy(config)
        for path, value in {**variant, "variants": (variant,)}.items():
            _assign(whole, path, value)
        expanded.append(Variant(name or "base", whole.lock()))
    return tuple(expanded)


def knobs(config: ConfigDict) -> dict[str, tuple[float, ...]]:
    """Return the values of every swept field, of the field's type, by dotted path in sorted order."""
    types = _settable(config)
    return {path: _fit(values, types[f"sweep.{path}"]) for path, values in sorted(_swept(config).items())}


def to_plain(config: Any) -> Any:
    """Return a config as JSON holds it: groups as dicts, tuples as lists, every value."""
    if isinstance(config, ConfigDict | dict):
        return {name: to_plain(value) for name, value in config.items()}
    return [to_plain(value) for value in config] if isinstance(config, tuple | list) else config
