"""Clocks for benchmarks: medians of repeats, two things in turn so that drift cancels, and the machine's own limits."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["alternate", "cpu_seconds", "limits", "median", "seconds", "wall_and_cpu_seconds"]


def seconds(function: Callable[[], Any]) -> float:
    """Wall seconds of one call, its results ready."""
    began = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - began


def cpu_seconds(function: Callable[[], Any]) -> float:
    """CPU seconds of one call, all threads of the process together; other processes do not count."""
    began = time.process_time()
    jax.block_until_ready(function())
    return time.process_time() - began


def wall_and_cpu_seconds(function: Callable[[], Any]) -> tuple[float, float]:
    """Wall seconds and CPU seconds of one call."""
    wall = 0.0

    def timed() -> None:
        nonlocal wall
        wall = seconds(function)

    cpu = cpu_seconds(timed)
    return wall, cpu


def median(function: Callable[[], Any], repeats: int) -> float:
    """Median wall seconds of a call after one that warms up."""
    seconds(function)
    return statistics.median(seconds(function) for _ in range(repeats))


def alternate(first: Callable[[], Any], second: Callable[[], Any], repeats: int) -> tuple[float, float, list[float]]:
    """Median seconds of each of two functions called in turn after a warm-up, and first / second of every turn."""
    for warm_up in (first, second):
        seconds(warm_up)
    pairs = [(seconds(first), seconds(second)) for _ in range(repeats)]
    ones, others = zip(*pairs, strict=True)
    return statistics.median(ones), statistics.median(others), [one / other for one, other in pairs]


def limits() -> dict[str, float]:
    """What the machine can do: float64 matmul rate (GFLOP/s), memory bandwidth (GB/s), one dispatch (us)."""
    size, length = 1500, 25_000_000
    A, x, one = jnp.ones((size, size), jnp.float64), jnp.ones(length, jnp.float64), jnp.ones((), jnp.float64)
    multiply, copy, touch = jax.jit(jnp.matmul), jax.jit(lambda x: x + 1), jax.jit(lambda x: x + 1)
    return {
        "matmul_gflops": 2 * size**3 / median(lambda: multiply(A, A), 7) / 1e9,
        "bandwidth_gb_per_s": 2 * x.nbytes / median(lambda: copy(x), 7) / 1e9,
        "dispatch_us": median(lambda: touch(one), 101) * 1e6,
    }
