"""When a descent on observed entries ends: at a tolerance, at noise or on a floor, told from looks at two errors.

One error is of the entries that are fitted, and falls as long as the descent goes well. The other judges, on entries
held out where there are any. Both are relative, so that weights near 0 have an error of 1.
"""

import math
from typing import NamedTuple

__all__ = ["CHECK", "CONVERGED", "History", "observe", "reason_to_stop"]

CHECK = 5  # Steps between two looks.
PATIENCE, RISE = 20, 1.02  # So many looks without a lowest error, and then one that stands so far above it, are enough.
STALL, LEAST_FALL = 50, 1e-4  # So many looks over which the fitted error falls by less than this are enough, too,
LEFT_START = 0.9  # once it has fallen below this: the start is a plateau of its own.
CONVERGED = ("tolerance", "error rises", "stalled")  # Noise is no failure.


class History(NamedTuple):
    """What was seen so far: the errors of the last look, the lowest that judges, the looks since, fitted errors."""

    fitted: float = math.inf
    judged: float = math.inf
    lowest: float = 1.0
    since: int = 0
    before: tuple[float, ...] = ()


def observe(history: History, *, fitted: float, judged: float) -> History:
    """The next look; it was the best so far where ``since`` is 0."""
    better = judged < history.lowest
    before = (*history.before, fitted)[-STALL - 1 :]
    return History(fitted, judged, judged if better else history.lowest, 0 if better else history.since + 1, before)


def reason_to_stop(history: History, tolerance: float, *, held_out: bool) -> str | None:
    """Why the descent ends after these looks, or None: "tolerance", "diverged", "error rises" or "stalled".

    Held-out entries are lost to noise, for which a rise of their error is the sign; where none are ``held_out``, the
    fitted error itself judges, and that rises for too large a step alone.
    """
    if history.fitted <= tolerance:
        return "tolerance"
    if not math.isfinite(history.fitted + history.judged):
        return "diverged"
    if history.since >= PATIENCE and history.judged > RISE * history.lowest:
        return "error rises" if held_out else "diverged"
    on_a_floor = len(history.before) > STALL and history.fitted > (1 - LEAST_FALL) * history.before[0]
    return "stalled" if on_a_floor and history.fitted < LEFT_START else None
