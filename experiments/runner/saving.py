"""What a run has observed so far: gathered, written with each checkpoint, and read again chunk by chunk."""

import threading
import time
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import numpy as np

from experiments.runner import resuming
from experiments.runner.checkpoints import Checkpoints
from lawlib.dynamics.placement import gathered
from lawlib.dynamics.sweep import Segment

__all__ = ["Saver", "chunks_of"]


class Saver:
    """Gathers finished segments for the next checkpoint."""

    def __init__(self, checkpoints: Checkpoints, every_s: float):
        self._checkpoints, self._every_s, self._last = checkpoints, every_s, time.monotonic()
        self._pieces: dict[str, dict[str, np.ndarray]] = {}
        self._at: tuple[dict[str, Any], Segment] | None = None
        # The thread that listens to signals saves where the main thread cannot.
        self._lock = threading.RLock()

    def add(self, at: dict[str, Any], segment: Segment) -> None:
        """Take a finished segment."""
        marks = {"converged_at": segment.converged_at, "diverged_at": segment.diverged_at}
        with self._lock:
            self._pieces[resuming.piece(at["variant"], *segment.position[:2])] = {**segment.observations, **marks}
            self._at = at, segment

    @property
    def is_due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return time.monotonic() - self._last >= self._every_s

    def save(self) -> None:
        """Write a checkpoint of all that has been taken since the last one."""
        with self._lock:
            if self._at and self._pieces:
                at, segment = self._at
                carry = None if segment.last else gathered(segment.trajectory._replace(observations={}))
                self._checkpoints.save(at, carry, self._pieces)
                self._pieces, self._last = {}, time.monotonic()


def chunks_of(checkpoints: Checkpoints, variant: int) -> Iterator[Iterator[dict[str, np.ndarray]]]:
    """The pieces of a variant, gathered by chunk; each is read from disk as it is asked for."""
    own = sorted(name for name in checkpoints.pieces if name.startswith(f"{variant:04d}-"))
    for _, names in groupby(own, key=lambda name: name.split("-")[1]):
        yield (checkpoints.read_piece(name) for name in names)
