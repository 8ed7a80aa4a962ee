"""Drops compiled programs before they fill the memory: those of a thousand tests take four gigabytes.

JAX keeps every program that a process has compiled, 1.5 MB on average, and the C library keeps what JAX frees. What is
needed again is read from the compilation cache on disk.
"""

import ctypes
import gc
from pathlib import Path

import jax

MAX_RESIDENT = 1 << 30
STATM = Path("/proc/self/statm")
PAGE = 4096


def resident() -> int:
    """Bytes of memory that this process holds; 0 where the system does not say."""
    return int(STATM.read_text().split()[1]) * PAGE if STATM.exists() else 0


def drop_programs() -> None:
    """Forget every compiled program and give its memory back."""
    jax.clear_caches()
    gc.collect()
    give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)  # the GNU C library's
    if give_back:
        give_back(0)
