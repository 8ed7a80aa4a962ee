"""Notices a run that stands still: no progress and no CPU time for a minute, which is what a deadlock looks like.

It counts its own looks, not the time between them, so that a process that was stopped, or a machine that slept, has
not stood still. It looks while a segment is computed, not while files are read or written, and on CPUs only: a program
on a GPU leaves the CPU alone.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

__all__ = ["Watchdog", "guarding"]

OBSERVE_EVERY_S, OBSERVATIONS = 5.0, 12
# A share of one core. The look itself and a bar that is drawn again ten times a second use less; a program that
# computes uses more on a machine that has work for fifty others.
IDLE_SHARE = 0.02

T = TypeVar("T")


class Watchdog:
    """Calls ``bark`` once for every stretch of ``LOOKS`` looks in a row that found no progress and no CPU time."""

    def __init__(self, bark: Callable[[], None], cpu_seconds: Callable[[], float] = time.process_time):
        self._bark, self._cpu_seconds = bark, cpu_seconds
        self._computing, self._steps, self._seen, self._idle = False, 0, (-1, 0.0), 0

    def monitor(self, segments: Iterator[T]) -> Iterator[T]:
        """The same segments; looks count while one is computed."""
        while True:
            self._steps, self._computing = self._steps + 1, True
            try:
                segment = next(segments)
            except StopIteration:
                return
            finally:
                self._computing = False
            yield segment

    def observe(self) -> None:
        """Compare with the look before."""
        (steps, before), now = self._seen, self._cpu_seconds()
        self._seen = self._steps, now
        still = self._computing and steps == self._steps and now - before < IDLE_SHARE * OBSERVE_EVERY_S
        self._idle = self._idle + 1 if still else 0
        if self._idle == OBSERVATIONS:
            self._bark()


@contextmanager
def guarding(watchdog: Watchdog) -> Iterator[None]:
    """Look every few seconds, from a thread, while this lasts."""
    over = threading.Event()

    def guard() -> None:
        while not over.wait(OBSERVE_EVERY_S):
            watchdog.observe()

    threading.Thread(target=guard, daemon=True).start()
    try:
        yield
    finally:
        over.set()
