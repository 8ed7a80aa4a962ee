"""How many steps a call may make: so many that it takes seconds, by what the calls before it took.

A signal is answered between two calls. Cut calls run the same compiled program as whole ones, on fewer steps, so that
no bit of a result depends on the clock.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np

from lawlib.dynamics.sweep import Position, Segment

__all__ = ["NOWHERE", "Pace"]

# Seconds: a longer call is followed by calls of about TARGET_S, and one shorter than half of that by longer ones.
LONGEST_S, TARGET_S = 10.0, 5.0
# The first call of a program makes a small part of a segment, for nobody knows how long a step takes. Segments of
# fewer steps than this to each observation are whole at first: most of them are short.
FIRST_PART, STEPS_TO_EACH = 64, 20
NOWHERE = Position(-1, 0)


class Pace:
    """The steps that the next call of a program may make, which observes at ``times``, ``segment`` of them in a call.

    ``seconds`` is a clock.
    """

    def __init__(self, times: np.ndarray, segment: int, seconds: Callable[[], float] = time.monotonic):
        self._seconds = seconds
        steps = int(times[min(segment, len(times)) - 1])
        self._most = max(1, steps // FIRST_PART) if steps >= STEPS_TO_EACH * segment else None
        self._has_seen = False

    def most_steps(self) -> int | None:
        """At most so many steps; None: no limit."""
        return self._most

    def timed(self, segments: Iterator[Segment], at: Position = NOWHERE) -> Iterator[Segment]:
        """The same segments, which go on from a position; the limit follows from what each took, but for compiling."""
        with _compiling() as compiled:
            while True:
                began, spent = self._seconds(), compiled()
                segment = next(segments, None)
                if segment is None:
                    return
                before, at = at, segment.position
                steps, seen = at.now, at.seen
                if before.chunk == at.chunk:
                    steps, seen = steps - before.now, seen - before.seen
                self.measured(max(steps, 1), self._seconds() - began - (compiled() - spent), sees=seen > 0)
                yield segment

    def measured(self, steps: int, seconds: float, *, sees: bool) -> None:
        """Take note of what a call of so many steps took, which made observations or not.

        Where they take the time, a call without one is quick, and tells nothing of the next that makes one.
        """
        self._has_seen |= sees
        if seconds > LONGEST_S:
            self._most = max(1, int(steps * TARGET_S / seconds))
        elif self._most is not None and seconds < TARGET_S / 2 and sees >= self._has_seen:
            self._most = steps * FIRST_PART if seconds * FIRST_PART < TARGET_S else 1 + int(steps * TARGET_S / seconds)


@contextmanager
def _compiling() -> Iterator[Callable[[], float]]:
    """Yield what tells the seconds that JAX has spent on tracing and compiling while this lasts."""
    spent = [0.0]

    def listen(event: str, duration_secs: float, **_: Any) -> None:
        if event.startswith("/jax/core/compile"):
            spent[0] += duration_secs

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield lambda: spent[0]
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
