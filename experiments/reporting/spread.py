"""A small chart of a claim: least, median and most of its members beside its bound, logarithmic over decades."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from experiments.runner.claims import Claim

__all__ = ["Chart", "chart"]

# In the units of the drawing.
WIDTH, HEIGHT = 180.0, 26.0
# Of the width, free on both sides, and where in it numbers lie that have no place on the axis: infinities, and zero on
# a log axis.
MARGIN, BEYOND = 0.07, 0.02
# Numbers further apart than this are shown on a log axis.
DECADE = 10.0


class Chart(NamedTuple):
    """Where everything lies from left to right; ``allowed`` is the range that the relation allows, if it has one.

    ``apart`` is the measured number where it is none of the three, such as a mean.
    """

    least: float
    median: float
    most: float
    bound: float | None
    allowed: tuple[float, float] | None
    apart: float | None
    is_log: bool
    label: str
    width: float = WIDTH
    height: float = HEIGHT


def chart(claim: Claim) -> Chart | None:
    """The chart of a claim; None where no member has a number."""
    if len(claim.spread) != 3 or any(math.isnan(value) for value in claim.spread):
        return None
    apart = claim.measured if claim.measured not in claim.spread and _finite(claim.measured) else None
    shown = [value for value in (*claim.spread, claim.bound, apart) if _finite(value)]
    is_log = _is_log(shown)
    place = _axis(shown, is_log=is_log)
    least, median, most = map(place, claim.spread)
    bound = None if claim.bound is None else place(claim.bound)
    return Chart(
        least=least,
        median=median,
        most=most,
        bound=bound,
        allowed=_allowed(claim.relation, bound),
        apart=None if apart is None else place(apart),
        is_log=is_log,
        label=_label(claim, is_log=is_log),
    )


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _is_log(values: Sequence[float | None]) -> bool:
    """Whether the numbers are spread over decades; a zero among them is then drawn at the left end."""
    numbers = [value for value in values if value is not None]
    positive = [value for value in numbers if value > 0]
    return bool(positive) and min(numbers) >= 0 and max(positive) > DECADE * min(positive)


def _axis(values: Sequence[float | None], *, is_log: bool) -> Callable[[float], float]:
    """The place of a number on the axis that shows all of these."""

    def scaled(value: float) -> float:
        return value if not is_log else math.log(value) if value > 0 else -math.inf

    ends = [scaled(value) for value in values if value is not None and math.isfinite(scaled(value))] or [0.0]
    low, high = min(ends), max(ends)
    # Halved before the difference, which may be larger than a float.
    half = high / 2 - low / 2

    def place(value: float) -> float:
        if math.isinf(scaled(value)):
            return round(WIDTH * (1 - BEYOND if value > 0 else BEYOND), 1)
        share = (scaled(value) / 2 - low / 2) / half if half else 0.5
        return round(WIDTH * (MARGIN + (1 - 2 * MARGIN) * min(share, 1.0)), 1)

    return place


def _allowed(relation: str, bound: float | None) -> tuple[float, float] | None:
    if bound is None or relation not in ("<", "<=", ">", ">="):
        return None
    return (0.0, bound) if relation.startswith("<") else (bound, WIDTH)


def _label(claim: Claim, *, is_log: bool) -> str:
    """The chart in words."""
    least, median, most = (f"{value:.3g}" for value in claim.spread)
    middle = "fraction" if claim.statistic == "fraction" else "median"
    ends = ("low end", "high end") if claim.statistic == "fraction" else ("least", "most")
    bound = "" if claim.bound is None else f"; bound {claim.relation} {claim.bound:g}"
    return f"{ends[0]} {least}, {middle} {median}, {ends[1]} {most}{bound}{'; log axis' if is_log else ''}"
