"""Curves as text for a page, with as many observations as its size has room for."""

import base64
import json
import math
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.reporting.curves import Curve, Curves
from experiments.runner.plots import some

__all__ = ["MOST_BYTES", "Packed", "pack", "shared"]

# Of one run's curves: more is slow to open.
MOST_BYTES = 900_000
# Where there is no room, fewer observations are shown before variables are left out.
FEWER = (80, 40, 20)
# Significant digits: a reading on a screen has no more.
DIGITS = 4


class Packed(NamedTuple):
    """Curves as text: JSON, compressed (zlib) and in base64; ``shown`` is how many observations it has, at most.

    ``left_out`` names the variables that had no room.
    """

    text: str
    shown: int
    left_out: tuple[str, ...]


def shared(found: Sequence[Curves], room: int) -> list[Packed]:
    """The curves of several runs in so many bytes: a run that needs less than its share leaves the rest to others."""
    whole = [pack(curves) for curves in found]
    order = sorted(range(len(found)), key=lambda i: len(whole[i].text))
    for place, i in enumerate(order):
        share = min(max(room, 0) // (len(order) - place), MOST_BYTES)
        if len(whole[i].text) > share:
            whole[i] = _fitted(found[i], whole[i], share)
        room -= len(whole[i].text)
    return whole


def _fitted(curves: Curves, packed: Packed, room: int) -> Packed:
    for most in FEWER:
        if len(packed.text) <= room:
            return packed
        packed = pack(curves, most)
    kept = len(curves.variables)
    while len(packed.text) > room and kept:
        kept = min(kept - 1, kept * room // len(packed.text))
        packed = pack(curves, FEWER[-1], kept)
    return packed


def pack(curves: Curves, most: int | None = None, kept: int | None = None) -> Packed:
    """The ``kept`` variables with the fewest curves at no more than ``most`` observations; all, if none is given."""
    counts = Counter(curve.variable for curve in curves.curves)
    names = sorted((variable.name for variable in curves.variables), key=counts.__getitem__)[:kept]
    places = {variant: some(len(steps), most or len(steps), "")[0] for variant, steps in curves.steps.items()}
    shown = max(map(len, places.values()), default=0)
    left_out = tuple(variable.name for variable in curves.variables if variable.name not in names)
    if not names:
        return Packed("", 0, left_out)
    record = {
        "variables": [variable._asdict() for variable in curves.variables if variable.name in names],
        "steps": {variant: steps[places[variant]].tolist() for variant, steps in curves.steps.items()},
        "curves": [_row(curve, places[curve.variant]) for curve in curves.curves if curve.variable in names],
    }
    text = json.dumps(record, separators=(",", ":"), allow_nan=False).encode()
    return Packed(base64.b64encode(zlib.compress(text, 9)).decode(), shown, left_out)


def _row(curve: Curve, places: Sequence[int]) -> dict[str, Any]:
    """A curve as a record; without a range where all members have one number."""
    row = {name: getattr(curve, name) for name in ("variable", "variant", "label", "members", "diverged")}
    lines = {name: _numbers(getattr(curve, name)[places]) for name in ("middle", "low", "high")}
    return row | (lines if lines["low"] != lines["high"] else {"middle": lines["middle"]})


def _numbers(values: np.ndarray) -> list[float | int | None]:
    return [_short(value) for value in values.tolist()]


def _short(value: float) -> float | int | None:
    if not math.isfinite(value):
        return None
    rounded = float(f"{value:.{DIGITS}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e6 else rounded
