"""Configs: load a file, override fields from the command line, expand the variants.

The flag parser of ml_collections stops at the first problem. This one reports all problems of a command together, one
line each: the field's path, its value and what is allowed. Nothing here imports JAX, so the report is immediate.

A *field* is the dotted path of a leaf, ``opt.step_size``. A *hyperparameter* is a number of a group that ``sweep``
gives several values, vmapped in one program; a *variant* is a dict of fields that change shapes or code.
"""

import copy
import difflib
import os
import re
import traceback
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from experiments.runner import fields
from experiments.runner.checkout import SOURCE
from experiments.runner.spec import split

__all__ = [
    "ConfigError",
    "Variant",
    "alike",
    "expand",
    "hyperparameters",
    "load",
    "override",
    "read",
    "to_plain",
]

PROFILES = ("smoke", "cpu", "paper")


class ConfigError(Exception):
    """A config that cannot run; ``problems`` has one line for each problem."""

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
        ConfigError: The file cannot be used, or overrides are wrong, one line for each.
    """
    config = read(spec)
    if problems := override(config, overrides):
        raise ConfigError(problems)
    return config


def read(spec: str) -> ConfigDict:
    """Return the locked config that ``FILE.py[:PROFILE]`` builds with its ``get_config(profile)``.

    Raises:
        ConfigError: There is no such file, it has no get_config, the profile is unknown, or the file raises an error.
    """
    (path, profile), names = split(spec), {}
    if not os.path.isfile(path):  # unlike Path.is_file, returns False for a name too long for a file
        raise ConfigError([f"--config={spec}: there is no file {path}{_elsewhere(spec, path)}"])
    try:
        # Compiled from source: cached bytecode is stale if a file changes twice within a second and keeps its size.
        exec(compile(path.read_bytes(), str(path), "exec"), names)
        if "get_config" not in names:
            problem = f"{path} has no function get_config(profile)"
        elif isinstance(config := names["get_config"](profile), ConfigDict):
            return config.lock()
        else:
            problem = f"get_config returned {type(config).__name__}, must return an ml_collections ConfigDict"
    except Exception as error:
        problem = f"{_place(error, path)}{type(error).__name__}: {' '.join(str(error).split())}"
        own = names.get("PROFILES")
        known = list(map(str, own)) if isinstance(own, dict) else PROFILES
        if profile not in known and "get_config" in names:
            problem = f"unknown profile {profile!r}; the profiles are {', '.join(known)}"
    raise ConfigError([f"--config={spec}: {problem}"])


def _elsewhere(spec: str, path: Path) -> str:
    """The end of the line about a file that is not there: where it is in the checkout, or the most similar name."""
    here, there = Path.cwd(), SOURCE / path
    if not path.is_absolute() and os.path.isfile(there):
        given = f"--config={SOURCE / spec} (the run folder is then in {here / 'runs'})"
        return f" in {here}, but the checkout has one: write {given}, or cd {SOURCE} first"
    folders = [(Path() if here == SOURCE else SOURCE) / "configs", path.parent]
    files = {file.stem: file for folder in filter(os.path.isdir, folders) for file in folder.glob("*.py")}
    found = difflib.get_close_matches(path.stem, files, n=1)
    return f"; did you mean {files[found[0]]}?" if found else "; --list shows the configs"


def _place(error: Exception, path: Path) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    lines += [error.lineno] if isinstance(error, SyntaxError) else []
    return f"line {lines[-1]} raised " if lines else "raised "


def override(config: ConfigDict, overrides: Sequence[str]) -> list[str]:
    """Apply ``--config.FIELD=VALUE`` overrides to a config in place; return one line for each that is wrong.

    VALUE is a Python literal or a bare word of the default's type. An integer may stand for a float and a single value
    for a tuple; nothing else is converted. ``sweep.FIELD`` may name any number of a group, also one that the file does
    not sweep. If a field is given twice, the last value counts.

    If variants set the field, the value selects the variants that have it. If none has it, the variants that leave the
    field to the config take it; if there are none, the variants that set it take it. Variants that become the same run
    are run once. Variants that sweep the field keep their values.
    ``name`` selects the variant with this name. Overrides are applied in order, ``variants`` before all others.
    """
    (assignments, problems), applied, kept = _parse(overrides), [], []
    for path in sorted(assignments, key=lambda path: path != "variants"):
        value = fields.literal(assignments[path])
        if rule := fields.refusal(config, path, value) or _unnamed(config, path, value):
            problems.append(f"{path} = {value!r}: {rule}")
        else:
            kept += _set(config, path, fields.fit(value, fields.settable(config)[path]))
            applied.append(path)
    problems += _ignored(config, applied)
    for line in () if problems else kept:
        warnings.warn(line, stacklevel=2)
    return problems


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
    """A line for every override of a field that is swept, since the sweep would replace its value."""
    values, variants = fields.leaves(config), fields.usable_variants(config)
    swept = fields.swept(config).keys() | _swept_by_all(variants)
    return [
        f"{path} = {values[path]!r}: is swept; set --config.sweep.{path}={values[path]!r},"
        for path in paths
        if path in swept
    ]


def _swept_by_all(variants: Sequence[Mapping[str, Any]]) -> set[str]:
    """The fields that every variant sweeps."""
    each = [{path.removeprefix("sweep.") for path in variant if path.startswith("sweep.")} for variant in variants]
    return set.intersection(*each) if each else set()


def _unnamed(config: ConfigDict, path: str, value: Any) -> str:
    """Why ``name`` selects no variant; empty if it selects one, and for other fields."""
    names = [variant.name for variant in expand(config)]
    if path != "name" or value in names:
        return ""
    return f"no variant has this name; the variants are {', '.join(names)}"


def _set(config: ConfigDict, path: str, value: Any) -> list[str]:
    """Set a field of the config, and select or change the variants that set it; report variants that keep their own."""
    given, usable = config.get("variants"), fields.usable_variants(config)
    if path == "variants" or not isinstance(given, tuple) or not 0 < len(usable) == len(given):
        fields.assign(config, path, value)  # problems of the variants are reported once everything is set
        return []
    before = expand(config)
    if path == "name":
        chosen = [variant for variant, whole in zip(usable, before, strict=True) if whole.name == value]
        fields.assign(config, "variants", tuple(chosen))
        return []
    had = [_value(whole.config, path) for whole in before]
    setting = [path in variant for variant in usable]
    sweeping = [f"sweep.{path}" in variant for variant in usable]  # these keep their values
    fields.assign(config, path, value)
    chosen = [variant for variant, old in zip(usable, had, strict=True) if old == value]
    if chosen and any(setting) and not _of_extent(path):
        fields.assign(config, "variants", tuple(chosen))
        return []
    free = [not (sets or sweeps) for sets, sweeps in zip(setting, sweeping, strict=True)]
    taking = free if any(free) else setting
    pairs = zip(usable, setting, strict=True)
    changed = (variant | {path: value} if sets and not any(free) else variant for variant, sets in pairs)
    renamed = (_renamed(*each, path, value) for each in zip(usable, changed, had, strict=True))
    fields.assign(config, "variants", tuple(renamed))
    fields.assign(config, "variants", _once(config, [_run(whole.config) for whole in before]))
    return _kept(before, taking, had, path, value)


def _value(config: ConfigDict, path: str) -> Any:
    """The value of a field in a variant's whole config, or the values that are swept there."""
    leaves = fields.leaves(config)
    return leaves.get(f"sweep.{path}", leaves.get(path))


def _kept(before: Sequence[Variant], taking: Sequence[bool], had: Sequence[Any], path: str, value: Any) -> list[str]:
    """A line that names the variants that keep their own value while others take the given one."""
    own = [f"{v.name} {old!r}" for v, takes, old in zip(before, taking, had, strict=True) if not takes and old != value]
    return [f"{path} = {value!r} is not for variants with a value of their own: {', '.join(own)}"] if own else []


def _of_extent(path: str) -> bool:
    """Whether a field sets a count, a length, a spacing or the precision: such values select no variants."""
    return path in ("num_seeds", "opt.num_steps", "precision") or path.startswith(("run.", "observe."))


def _renamed(before: dict[str, Any], now: dict[str, Any], old: Any, path: str, value: Any) -> dict[str, Any]:
    """The variant without its ``name`` if the name quotes the old value; its fields then name it."""
    if "name" not in before or _of_extent(path) or old == value or (path in before and now == before):
        return now
    others = [field for field, other in before.items() if field not in ("name", path) and str(other) == str(old)]
    if path not in before and (others or not _holds(before["name"], old)):
        return now
    return {field: v for field, v in now.items() if field != "name"} | {path: value}


def _holds(name: str, value: Any) -> bool:
    """Whether a name contains a value as a separate word, or as the number after a letter: 3 in momentum_L3."""
    same = r"\d." if type(value) in (int, float) else r"a-zA-Z0-9"
    return bool(re.search(rf"(?<![{same}]){re.escape(str(value))}(?![{same}])", name))


def _once(config: ConfigDict, before: Sequence[str]) -> tuple[dict[str, Any], ...]:
    """The variants without duplicates: of those that have become the same run, only the first."""
    now, kept = [_run(whole.config) for whole in expand(config)], []
    for i, variant in enumerate(config.variants):
        if not any(now[j] == now[i] and before[j] != before[i] for j in range(i)):
            kept.append(variant)
    return tuple(kept)


def _run(config: ConfigDict) -> str:
    return repr(sorted(fields.result_fields(config).items()))


def alike(config: ConfigDict) -> list[list[str]]:
    """Groups of names of variants that would be the same run."""
    found: dict[str, dict[str, None]] = {}
    for name, expanded in expand(config):
        found.setdefault(_run(expanded), {})[name] = None
    return [list(names) for names in found.values() if len(names) > 1]


def expand(config: ConfigDict) -> tuple[Variant, ...]:
    """Return every variant with its whole config, locked, in order; a malformed variant is left out.

    A variant's name is the ``name`` that it sets, or else its leaf names and values, ``depth=3,source=low_rank`` (whole
    paths if leaf names clash), without "/"; the empty variant is ``base``. An expanded config has only its own variant.
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


def hyperparameters(config: ConfigDict) -> dict[str, tuple[float, ...]]:
    """Return the values of every swept field, of the field's type, by dotted path in sorted order."""
    types = fields.settable(config)
    return {path: fields.fit(values, types[f"sweep.{path}"]) for path, values in sorted(fields.swept(config).items())}


def to_plain(config: Any) -> Any:
    """Return a config as JSON holds it: groups as dicts, tuples as lists, every value."""
    if isinstance(config, ConfigDict | dict):
        return {name: to_plain(value) for name, value in config.items()}
    return [to_plain(value) for value in config] if isinstance(config, tuple | list) else config
