"""The verdict of a run in a line: how many claims hold, fail or have no verdict, and which ones fail."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from experiments.runner.claims import Claim, failing

__all__ = ["MARKS", "Count", "Verdict", "tone", "verdict", "words"]

# In the order in which a reader meets them, with the plural: 1 fails, 2 fail.
STATUSES = {
    "holds": "hold",
    "refuted": "refuted",
    "fails": "fail",
    "stands": "stand",
    "not_judged": "not judged",
    "not_reached": "not reached",
    "not_run": "not run",
}
TONES = {"holds": "good", "refuted": "good", "fails": "bad", "stands": "bad"}
# Beside the colours, which not every reader and no printer shows.
MARKS = {"good": "\N{CHECK MARK}", "bad": "\N{BALLOT X}", "open": "\N{EN DASH}"}
# A kind of claim: one, many, and what becomes of it as it should and as it should not.
KINDS = {
    "law": ("law", "laws", ("holds", "hold"), ("fails", "fail")),
    "printed": ("printed sentence", "printed sentences", ("is refuted", "are refuted"), ("stands", "stand")),
    "check": ("check", "checks", ("holds", "hold"), ("fails", "fail")),
}


class Count(NamedTuple):
    """How many claims have a status."""

    status: str
    number: int
    words: str
    tone: str


class Verdict(NamedTuple):
    """The verdict on several claims; ``failing`` are those that fail or stand."""

    headline: str
    tone: str
    counts: tuple[Count, ...]
    failing: tuple[Claim, ...]

    @property
    def numbers(self) -> dict[str, int]:
        """How many claims have each status."""
        return {count.status: count.number for count in self.counts}

    @property
    def in_words(self) -> str:
        """The counts as a text: ``3 hold, 1 fails``."""
        return ", ".join(f"{count.number} {count.words}" for count in self.counts)


def verdict(claims: Sequence[Claim]) -> Verdict:
    """What these claims say together."""
    numbers = Counter(claim.status for claim in claims)
    counts = tuple(
        Count(status, numbers[status], words(status, numbers[status]), tone(status))
        for status in STATUSES
        if numbers[status]
    )
    bad = failing(claims)
    judged = any(count.tone != "open" for count in counts)
    return Verdict(_headline(claims), "bad" if bad else "good" if judged else "open", counts, bad)


def tone(status: str) -> str:
    """``good``, ``bad``, or ``open`` where there is no verdict."""
    return TONES.get(status, "open")


def words(status: str, number: int = 1) -> str:
    """A status in words, for one claim or for several."""
    return STATUSES[status] if number > 1 else status.replace("_", " ")


def _headline(claims: Iterable[Claim]) -> str:
    """What fails first; then what is as it should be: ``1 of 4 laws fails; the 2 printed sentences are refuted``."""
    phrases: dict[str, list[str]] = {"bad": [], "good": []}
    judged = [claim for claim in claims if tone(claim.status) != "open"]
    for kind, (one, many, good, bad) in KINDS.items():
        own = [claim for claim in judged if claim.kind == kind]
        if lost := len(failing(own)):
            phrases["bad"].append(f"{lost} of {len(own)} {many if len(own) > 1 else one} {bad[lost > 1]}")
        elif own:
            phrases["good"].append(f"{_all(len(own), one, many)} {good[len(own) > 1]}")
    text = "; ".join([*phrases["bad"], *phrases["good"]]) or "no claim has a verdict"
    return f"{text[0].upper()}{text[1:]}."


def _all(number: int, one: str, many: str) -> str:
    if number == 1:
        return f"the one {one}"
    return f"both {many}" if number == 2 else f"all {number} {many}"
