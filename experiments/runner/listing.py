"""What ``--list`` prints: the configs that have the words asked for, or what those words may have been."""

import difflib
import re
from collections.abc import Sequence

from experiments.runner.catalog import Entry
from experiments.runner.columns import table

__all__ = ["listing", "matching", "unmatched"]

HEADER = ("config", "paper", "figure", "time of each profile on two cores", "what")
LEGEND = (
    '\n"about": estimated; other times are those of the runs in figures/. To run one:'
    "\npython -m experiments.main --config=configs/NAME.py[:PROFILE]\n"
)


def listing(found: Sequence[Entry], width: int | None) -> str:
    """The entries as a table for a terminal of this width, or for a pipe (None)."""
    rows = [(entry.name, entry.paper, entry.figure, _profiles(entry), entry.title) for entry in found]
    return table(HEADER, rows, _block, width) + ("" if width is None else LEGEND)


def matching(known: Sequence[Entry], words: Sequence[str]) -> list[Entry]:
    """The entries in which every word occurs, in any column but the times, in either case; 1 does not occur in 12."""
    return [entry for entry in known if all(_occurs(word, _text(entry)) for word in _split(words))]


def unmatched(known: Sequence[Entry], words: Sequence[str]) -> str:
    """The line for words that no entry has, with what they may have been."""
    asked, given = f"--list {' '.join(words)}: no config has", _split(words)
    if not (unknown := [word for word in given if not matching(known, [word])]):
        counts = ", ".join(f"{word} is in {len(matching(known, [word]))}" for word in given)
        return f"{asked} all of these words ({counts}); leave one out"
    vocabulary = sorted({part for entry in known for part in (entry.name, *re.findall(r"[^\W\d_]{3,}", _text(entry)))})
    near = dict.fromkeys(
        match for word in unknown for match in difflib.get_close_matches(word, vocabulary, cutoff=0.75)
    )
    hint = f"did you mean {', '.join(near)}?" if near else f"--list alone shows all {len(known)}"
    return f"{asked} {' or '.join(unknown)}; {hint}"


def _block(row: Sequence[str]) -> Sequence[str]:
    name, paper, figure, profiles, title = row
    return f"{name}  {figure} of {paper}", title, profiles


def _profiles(entry: Entry) -> str:
    return ", ".join(f"{profile} {time}" for profile, time in entry.times.items()) or "-"


def _text(entry: Entry) -> str:
    """What is searched."""
    return " ".join((entry.name, entry.paper, entry.figure, *entry.times, entry.title)).lower()


def _split(words: Sequence[str]) -> list[str]:
    return " ".join(words).lower().split()


def _occurs(word: str, text: str) -> bool:
    before, after = (r"(?<!\d)(?<!\d\.)" if word[0].isdigit() else "", r"(?!\d)" if word[-1].isdigit() else "")
    return bool(re.search(before + re.escape(word) + after, text))
