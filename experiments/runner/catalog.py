"""The configs of a checkout: what each one runs, of which paper, and how long that takes. No config is executed.

The first line of a config's docstring is ``Title: FIGURE of AUTHORS YEAR[, arXiv:ID].``, and its profiles are the keys
of ``PROFILES``. The time of a profile is the one that its published run measured, in figures/NAME/provenance.json. If
no run is published, it is the estimate in the docstring's line ``Time on two cores: smoke 30 s, paper 6 minutes.``
"""

import ast
import json
import math
import re
import warnings
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from experiments.runner.spec import published_name

__all__ = ["NONE", "UNKNOWN", "Entry", "entries", "in_words", "profiles"]

# What a column says where the file, or a run, does not.
NONE, UNKNOWN = "-", "unknown"
HEADLINE = re.compile(r"(?P<title>.+): (?P<figure>.+) of (?P<paper>[^:]+ \d{4})(?:, arXiv:\S+)?\.")
SECONDS = {"s": 1, "minute": 60, "hour": 3600, "day": 86400}
ESTIMATE = re.compile(rf"(\w+) (?:(\d+(?:\.\d+)?) ({'|'.join(SECONDS)})s?|needs a GPU)")
TIMES = re.compile(rf"^Time on two cores: ({ESTIMATE.pattern}(?:, {ESTIMATE.pattern})*)\.(?: |$)", re.MULTILINE)
CORES = 2
UNREADABLE = (OSError, ValueError, SyntaxError, RecursionError, MemoryError)


class Entry(NamedTuple):
    """One config: the columns that --list prints; ``times`` has the time of each profile, in words.

    ``seconds`` has those times that are known, as numbers.
    """

    name: str
    title: str
    paper: str = NONE
    figure: str = NONE
    times: Mapping[str, str] = {}
    seconds: Mapping[str, float] = {}


def entries(source: Path) -> list[Entry]:
    """The configs of a checkout by name; a file that cannot be read is there with a remark."""
    files = sorted((source / "configs").glob("[!._]*.py"))
    return [_entry(file, source / "figures") for file in files]


def _entry(file: Path, figures: Path) -> Entry:
    try:
        tree = _parsed(file.read_bytes())
    except UNREADABLE as error:
        return Entry(file.stem, f"(cannot be read: {_reason(error)})")
    docstring = ast.get_docstring(tree) or ""
    about = _headline(docstring)
    estimates, times, seconds = _estimates(docstring), {}, {}
    for profile in _profile_names(tree) or estimates:
        measured = _measured(figures / published_name(f"{file.name}:{profile}") / "provenance.json")
        times[profile], seconds[profile] = measured or estimates.get(profile, (UNKNOWN, math.nan))
    known = {profile: value for profile, value in seconds.items() if math.isfinite(value)}
    return Entry(file.stem, times=times, seconds=known, **about)


@lru_cache(maxsize=256)
def profiles(text: bytes) -> tuple[str, ...]:
    """The profiles of a config by the text of its file; none if it cannot be read."""
    try:
        tree = _parsed(text)
    except UNREADABLE:
        return ()
    return tuple(_profile_names(tree) or _estimates(ast.get_docstring(tree) or ""))


def _parsed(text: bytes) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the config's own strings, which whoever runs it will see
        return ast.parse(text)


def _reason(error: BaseException) -> str:
    place = f"line {error.lineno}: {error.msg}" if isinstance(error, SyntaxError) else str(error)
    return " ".join(f"{type(error).__name__} {place}".split())


def _headline(docstring: str) -> dict[str, str]:
    first = docstring.partition("\n")[0].strip()
    found = HEADLINE.fullmatch(first)
    return found.groupdict() if found else {"title": first or "(has no docstring)"}


def _estimates(docstring: str) -> dict[str, tuple[str, float]]:
    """The times that the docstring states, by profile: in words, and in seconds."""
    line = TIMES.search(docstring)
    found = ESTIMATE.findall(line[1]) if line else []
    seconds = {name: float(n) * SECONDS[unit] if n else math.nan for name, n, unit in found}
    return {name: (f"about {in_words(n)}" if n == n else "needs a GPU", n) for name, n in seconds.items()}


def _profile_names(tree: ast.Module) -> list[str]:
    """The keys of the dict that the file calls PROFILES."""
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        if isinstance(value, ast.Dict) and any(isinstance(it, ast.Name) and it.id == "PROFILES" for it in targets):
            return [str(key.value) for key in value.keys if isinstance(key, ast.Constant)]
    return []


def _measured(provenance: Path) -> tuple[str, float] | None:
    """The wall time of a published run, in words (with its devices unless they are two cores) and in seconds."""
    try:
        record: Any = json.loads(provenance.read_bytes())
        seconds = math.fsum((record["compile_s"], record["run_s"]))
        platform, count = str(record["platform"]), int(record["device_count"])
    except (OSError, ValueError, LookupError, TypeError, OverflowError):
        return None
    if not 0 < seconds < math.inf:
        return None
    return in_words(seconds) + ("" if (platform, count) == ("cpu", CORES) else f" on {count} x {platform}"), seconds


def in_words(seconds: float) -> str:
    """Two digits or so of a time: 35 s, 6 min, 1.5 h, 30 days."""
    if seconds < 59.5:
        return f"{max(seconds, 1):.0f} s"
    if seconds < 59.5 * 60:
        return f"{seconds / 60:.2g} min"
    return f"{seconds / 3600:.2g} h" if seconds < 48 * 3600 else f"{seconds / 86400:.0f} days"
