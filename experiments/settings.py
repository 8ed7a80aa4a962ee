"""Configs: load a file, override fields from the command line, expand the variants.

ml_collections has a flag parser of its own; it stops at the first problem. Here a bad command line is
answered once, with one line for each problem: the field's path, its value and what is allowed. Nothing here
imports JAX, so that these lines come at once.

A *field* is the dotted path of a leaf, ``opt.step_size``. A *knob* is a number of a group that ``sweep``
gives several values, vmapped in one program; a *variant* is a dict of fields that change shapes or code.
"""

import copy
import traceback
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from experiments import fields

__all__ = ["ConfigError", "Variant", "expand", "knobs", "load", "override", "read", "split", "to_plain"]

PROFILES = ("smoke", "cpu", "paper")


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


def split(spec: str) -> tuple[Path, str]:
    """The file and the profile of FILE.py[:PROFILE]."""
    name, _, profile = (spec, "", "cpu") if spec.endswith(".py") else spec.rpartition(":")
    return Path(name or spec), profile


def read(spec: str) -> ConfigDict:
    """Return the locked config that ``FILE.py[:PROFILE]`` builds with its ``get_config(profile)``.

    Raises:
        ConfigError: In one line: no such file, no get_config, an unknown profile, or what the file raised.
    """
    (path, profile), names = split(spec), {}
    if not path.is_file():
        near = fields.nearest(str(path), map(str, path.parent.glob("*.py")))
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
        if rule := fields.refusal(config, path, value := fields.literal(text)):
            problems.append(f"{path} = {value!r}: {rule}")
        else:
            fields.assign(config, path, fields.fit(value, fields.settable(config)[path]))
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


def _ignored(config: ConfigDict, paths: Iterable[str]) -> list[str]:
    """A line for every overridden field that the sweep, or every variant, decides in its place."""
    values, swept, variants, problems = (
        fields.leaves(config),
        fields.swept(config),
        fields.usable_variants(config),
        [],
    )
    for path in paths:
        line = f"{path} = {values[path]!r}: "
        if path in swept:
            problems.append(f"{line}is swept; set --config.sweep.{path}={values[path]!r},")
        elif variants and all(path in variant for variant in variants):
            changed = [variant | {path: values[path]} for variant in variants]
            distinct = tuple(variant for i, variant in enumerate(changed) if variant not in changed[:i])
            problems.append(f'{line}every variant sets it; set --config.variants="{distinct!r}"')
    return problems


def expand(config: ConfigDict) -> tuple[Variant, ...]:
    """Return every variant with its whole config, locked, in order; a malformed variant is left out.

    A variant is called by the ``name`` it sets, or else by its leaf names and values, ``depth=3,source=low_rank``
    (whole paths where leaf names clash), with no "/"; the empty one is ``base``. An expanded config holds its own
    variant alone.
    """
    settable, variants, expanded = fields.settable(config), fields.usable_variants(config), []
    counts = Counter(path.split(".")[-1] for path in {path for variant in variants for path in variant})
    for given in variants:
        variant = {path: fields.fit(value, settable[path]) for path, value in given.items()}
        whole = copy.deepcopy(config)
        for path, value in {**variant, "variants": (variant,)}.items():
            fields.assign(whole, path, value)
        name = variant.get("name") or ",".join(_label(path, value, counts) for path, value in variant.items())
        expanded.append(Variant(name.replace("/", "-") or "base", whole.lock()))
    return tuple(expanded)


def _label(path: str, value: Any, counts: Counter) -> str:
    leaf = path.split(".")[-1]
    return f"{path if counts[leaf] > 1 else leaf}={value}"


def knobs(config: ConfigDict) -> dict[str, tuple[float, ...]]:
    """Return the values of every swept field, of the field's type, by dotted path in sorted order."""
    types = fields.settable(config)
    return {path: fields.fit(values, types[f"sweep.{path}"]) for path, values in sorted(fields.swept(config).items())}


def to_plain(config: Any) -> Any:
    """Return a config as JSON holds it: groups as dicts, tuples as lists, every value."""
    if isinstance(config, ConfigDict | dict):
        return {name: to_plain(value) for name, value in config.items()}
    return [to_plain(value) for value in config] if isinstance(config, tuple | list) else config
