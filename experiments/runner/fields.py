"""Fields of a config: the leaves by dotted path, their allowed values, and the errors for other values."""

import ast
import difflib
import math
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from ml_collections import ConfigDict

# The types of a leaf, and the error for a value of another type.
RULES = {bool: "must be True or False", int: "must be an integer", float: "must be a finite number"}
RULES |= {str: "must be a string", tuple: "must be a tuple"}


def literal(text: str) -> Any:
    """The value of a Python literal, or the text itself if it is none."""
    with suppress(ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return ast.literal_eval(text.strip())
    return text


def leaves(config: Any) -> dict[str, Any]:
    """Every leaf by its dotted path."""
    if not isinstance(config, ConfigDict):
        return {"": config}
    below = ((name, path, leaf) for name, value in config.items() for path, leaf in leaves(value).items())
    return {f"{name}.{path}".rstrip("."): leaf for name, path, leaf in below}


def result_fields(config: ConfigDict) -> dict[str, Any]:
    """The leaves that determine a run: all but its name, the number of seeds and how the members are divided."""
    excluded = ("name", "variants", "num_seeds")
    return {path: leaf for path, leaf in leaves(config).items() if path not in excluded and not path.startswith("run.")}


def swept(config: ConfigDict) -> dict[str, Any]:
    """The values in ``sweep``, by the dotted path of the swept field."""
    return {path[6:]: values for path, values in leaves(config).items() if path.startswith("sweep.")}


def settable(config: ConfigDict) -> dict[str, Any]:
    """Every field that may be set, with a value of its type; every number of a group may be swept."""
    fields = {path: value for path, value in leaves(config).items() if not path.startswith("sweep.")}
    hyperparameters = {path: value for path, value in fields.items() if "." in path and type(value) in (int, float)}
    return fields | {f"sweep.{path}": (v,) for path, v in hyperparameters.items() if not path.startswith("run.")}


def refusal(config: ConfigDict, path: str, value: Any) -> str:
    """Why a field cannot be given a value; empty if it can."""
    return _refusal(settable(config), path, value)


def _refusal(known: dict[str, Any], path: str, value: Any) -> str:
    if path in known:
        try:
            fit(value, known[path])
        except ValueError as error:
            return str(error)
        return ""
    if inside := [field for field in known if field.startswith(f"{path}.")]:
        return f"is a group; set one of its fields: {', '.join(inside)}"
    if path.removeprefix("sweep.") in known:
        return "only a number of a group can be swept; list its values in variants"
    return f"unknown field{nearest(path, known)}"


def variant_problems(config: ConfigDict, variant: Any) -> list[str]:
    """Why a variant cannot be expanded; none if it can."""
    return _variant_problems(settable(config), variant)


def _variant_problems(known: dict[str, Any], variant: Any) -> list[str]:
    if not isinstance(variant, dict):
        return [f" = {variant!r}: must be a dict of fields, such as {{'net.depth': 3}}"]
    refused = {path: _refusal(known, path, value) for path, value in variant.items()}
    refused |= dict.fromkeys(variant.keys() & {"experiment", "variants", "run.checkpoint_seconds"}, "cannot be varied")
    return [f"[{path!r}] = {variant[path]!r}: {rule}" for path, rule in refused.items() if rule]


def usable_variants(config: ConfigDict) -> list[dict[str, Any]]:
    """The variants that can be expanded; check_common reports the others."""
    variants, known = config.get("variants"), settable(config)
    return [v for v in variants if not _variant_problems(known, v)] if isinstance(variants, tuple) else []


def assign(config: ConfigDict, path: str, value: Any) -> None:
    """Set a leaf by its dotted path, and create missing groups on the way."""
    *groups, leaf = path.split(".")
    node: Any = config
    with config.unlocked():
        for group in groups:
            if group not in node:
                node[group] = ConfigDict()
            node = node[group]
        node[leaf] = value


def fit(value: Any, default: Any) -> Any:
    """Return value as the type of default; the ValueError of another type names the right one."""
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
        value = [literal(word) for word in value.split(",")]
    items = tuple(value) if isinstance(value, tuple | list) else (value,)
    kinds = {type(item) for item in default}
    if len(kinds) != 1 or not kinds <= RULES.keys():
        return items
    try:
        return tuple(fit(item, default[0]) for item in items)
    except ValueError as error:
        msg = f"must be a tuple, and each of its values {error}"
        raise ValueError(msg) from None


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error line: the most similar known name, if there is one."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]}?" if matches else ""
