"""Detects a stalled run: no progress and no CPU time for a minute, the signs of a deadlock.

It counts its own checks, not the time between them, so that a process that was stopped, or a machine that slept, does
not count as stalled. It checks while a segment is computed, not while files are read or written, and on CPUs only: a
program on a GPU leaves the CPU idle.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import jax

__all__ = ["Watchdog", "guarding", "monitored"]

CHECK_EVERY_S, CHECKS = 5.0, 12
# A share of one core. The check itself and a bar that is redrawn ten times a second use less; a program that
# computes uses more on a machine that has work for fifty others.
IDLE_SHARE = 0.02

T = TypeVar("T")


class Watchdog:
    """Calls ``bark`` once for every ``CHECKS`` checks in a row that found no progress and no CPU time."""

    def __init__(self, bark: Callable[[], None], cpu_seconds: Callable[[], float] = time.process_time):
        self._bark, self._cpu_seconds = bark, cpu_seconds
        self._computing, self._steps, self._seen, self._idle = False, 0, (-1, 0.0), 0

    def monitor(self, segments: Iterator[T]) -> Iterator[T]:
        """The same segments; checks count while one is being computed."""
        while True:
            self._steps, self._computing = self._steps + 1, True
            try:
                segment = next(segments)
            except StopIteration:
                return
            finally:
                self._computing = False
            yield segment

    def check(self) -> None:
        """Compare with the previous check."""
        (steps, before), now = self._seen, self._cpu_seconds()
        self._seen = self._steps, now
        still = self._computing and steps == self._steps and now - before < IDLE_SHARE * CHECK_EVERY_S
        self._idle = self._idle + 1 if still else 0
        if self._idle == CHECKS:
            self._bark()


@contextmanager
def guarding(watchdog: Watchdog) -> Iterator[None]:
    """Check every few seconds, in a thread, while the block runs."""
    over = threading.Event()

    def guard() -> None:
        while not over.wait(CHECK_EVERY_S):
            watchdog.check()

    threading.Thread(target=guard, daemon=True).start()
    try:
        yield
    finally:
        over.set()


@contextmanager
def monitored(warn: Callable[[str], None]) -> Iterator[Callable[[Iterator[T]], Iterator[T]]]:
    """Yield a function that passes segments through and warns where a run stalls; on CPUs only."""
    if jax.default_backend() != "cpu":
        yield lambda segments: segments
        return
    watchdog = Watchdog(lambda: warn(_standing_still()))
    with guarding(watchdog):
        yield watchdog.monitor


def _standing_still() -> str:
    devices, threads = jax.device_count(), os.environ.get("NPROC", "")
    enough = 2 * max(devices, int(threads) if threads.isdecimal() else 0)
    return (
        f"no progress and no CPU used for a minute: jaxlib may be deadlocked (NPROC={threads}, {devices} CPU devices). "
        f"Press Ctrl-C twice and give the same command with NPROC={enough} before it"
    )
