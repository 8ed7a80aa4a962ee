"""Stopping rules of a descent on observed entries: at a tolerance, at noise or at a floor, from two errors.

One error is that of the fitted entries, which decreases while the descent is stable. The other, the judging error, is
that of held-out entries, or of the fitted ones if none are held out. Both are relative: weights near 0 have an error of
1.
"""

import math
from typing import NamedTuple

__all__ = ["CHECK", "CONVERGED", "History", "observe", "reason_to_stop"]

CHECK = 5  # Steps between two checks of the errors.
# The error rises: this many checks without a lower error, and now one that is above the lowest by this factor.
PATIENCE, RISE = 20, 1.02
# The error stalls: in this many checks the fitted error falls by less than this, relatively, and is below LEFT_START,
# since the start is a plateau too.
STALL, LEAST_FALL = 50, 1e-4
LEFT_START = 0.9
CONVERGED = ("tolerance", "error rises", "stalled")  # Noise is not a failure.


class History(NamedTuple):
    """The errors of the last check, the lowest judging error, the number of checks since, and former fitted errors."""

    fitted: float = math.inf
    judged: float = math.inf
    lowest: float = 1.0
    since: int = 0
    before: tuple[float, ...] = ()


def observe(history: History, *, fitted: float, judged: float) -> History:
    """The history after the next check, which is the best so far if ``since`` is 0."""
    better = judged < history.lowest
    before = (*history.before, fitted)[-STALL - 1 :]
    return History(fitted, judged, judged if better else history.lowest, 0 if better else history.since + 1, before)


def reason_to_stop(history: History, tolerance: float, *, held_out: bool, plateau: bool = True) -> str | None:
    """Why the descent ends after these checks, or None: "tolerance", "diverged", "error rises" or "stalled".

    The error of held-out entries rises when noise is fitted. If no entries are ``held_out``, the fitted error is the
    judging error, which rises only for too large a step. ``plateau`` says that the start may be one, which is no floor.
    """
    if history.fitted <= tolerance:
        return "tolerance"
    if not math.isfinite(history.fitted + history.judged):
        return "diverged"
    if history.since >= PATIENCE and history.judged > RISE * history.lowest:
        return "error rises" if held_out else "diverged"
    on_a_floor = len(history.before) > STALL and history.fitted > (1 - LEAST_FALL) * history.before[0]
    return "stalled" if on_a_floor and (history.fitted < LEFT_START or not plateau) else None
