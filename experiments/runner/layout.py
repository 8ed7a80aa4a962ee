"""JSON for people and for git: what fits a line is on one line, so that files are short and differences are few."""

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["differing", "laid_out", "shortened"]

# A name, and the five numbers of a column of the summary.
WIDTH = 200


def laid_out(value: Any, indent: str = "", name: str = "") -> str:
    """The value as strict JSON; a part that does not fit ``WIDTH`` columns has its items on lines of their own.

    ``name`` is what stands before the value in its line, with its colon.

    Raises:
        ValueError: a number is NaN or infinite, which JSON has no words for.
    """
    line = json.dumps(value, allow_nan=False, ensure_ascii=False)
    if len(indent + name + line) <= WIDTH or not isinstance(value, Mapping | list | tuple) or not value:
        return name + line
    inner, is_mapping = indent + " ", isinstance(value, Mapping)
    names = [f"{json.dumps(key, ensure_ascii=False)}: " for key in value] if is_mapping else [""] * len(value)
    items = value.values() if isinstance(value, Mapping) else value
    lines = [inner + laid_out(item, inner, own) for own, item in zip(names, items, strict=True)]
    first, last = "{}" if is_mapping else "[]"
    return "\n".join([name + first, ",\n".join(lines), indent + last])


def shortened(value: Any, digits: int = 6) -> Any:
    """The value with every float rounded to so many significant digits: more are of the machine, not of the run."""
    if isinstance(value, Mapping):
        return {name: shortened(item, digits) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [shortened(item, digits) for item in value]
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value


def differing(before: Any, now: Any) -> list[tuple[str, str, str]]:
    """Path, old and new value, as JSON has them, of every leaf in which two records differ, in order of paths.

    A leaf that is missing is "nothing". JSON distinguishes 1, 1.0 and true.
    """
    old, new = _leaves(before), _leaves(now)
    paths = sorted(path for path in old.keys() | new.keys() if old.get(path) != new.get(path))
    return [(path, old.get(path, "nothing"), new.get(path, "nothing")) for path in paths]


def _leaves(value: Any, path: str = "") -> dict[str, str]:
    """Flatten to {"net.depth": "3", "variants[0].net.width": "64"}."""
    if isinstance(value, Mapping) and value:
        items = [(f"{path}.{key}" if path else key, item) for key, item in value.items()]
    elif isinstance(value, list) and value:
        items = [(f"{path}[{index}]", item) for index, item in enumerate(value)]
    else:
        return {path: json.dumps(value)}
    return {leaf: text for name, item in items for leaf, text in _leaves(item, name).items()}
