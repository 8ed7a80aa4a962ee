"""Completion at scale: d x d matrices of rank 5 with 50 observed entries a row, float32, up to d = 100,000.

A gradient step on 5 million entries with factors of 10 columns, against jax.experimental.sparse on the same work;
what it takes in memory; the solver from cold (a fresh process, layout and compilation included) with its defaults for
targets of condition 1 and 2; and how time and memory grow with d, as exponents fitted over four sizes.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SIZES, RANK, PER_ROW, COLUMNS, REPEATS = (12_500, 25_000, 50_000, 100_000), 5, 50, 10, 7


def measure() -> dict[str, float]:
    """All of it, each part in a process of its own; errors are ||W - Phi||_F / ||Phi||_F over the whole matrix."""
    steps = {size: _child("step", size) for size in SIZES}
    solved = {size: _child("solve", size, 1) for size in SIZES}
    largest = {f"step_{name}": value for name, value in steps[SIZES[-1]].items()}
    for condition, found in {1: solved[SIZES[-1]], 2: _child("solve", SIZES[-1], 2)}.items():
        largest |= {f"condition_{condition}_{name}": value for name, value in found.items()}
    return largest | {
        "step_time_exponent": _exponent({size: step["ns_per_entry"] * size for size, step in steps.items()}),
        "step_memory_exponent": _exponent({size: step["lists_mb"] for size, step in steps.items()}),
        "solver_time_exponent": _exponent({size: found["seconds"] for size, found in solved.items()}),
        "solver_memory_exponent": _exponent({size: found["extra_mb"] for size, found in solved.items()}),
    }


def sampled(size: int, condition: float, seed: int = 0) -> tuple[Any, np.ndarray, np.ndarray]:
    """Entries drawn uniformly without repetition, and the two factors (d, 5) of the matrix, whose entries are O(1).

    Its singular values fall evenly from d / sqrt(5) to that over ``condition``.
    """
    from lawlib.completion.entries import from_coo

    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.standard_normal((size, RANK)))[0] for _ in range(2))
    left = (left * np.linspace(1, 1 / condition, RANK) * size / RANK**0.5).astype(np.float32)
    right = right.astype(np.float32)
    rows, columns = np.divmod(np.unique(rng.integers(0, size**2, PER_ROW * size)), size)
    values = np.concatenate(
        [np.einsum("ij,ij->i", left[i], right[j]) for i, j in _blocks(rows, columns)], dtype=np.float32
    )
    return from_coo(rows, columns, values, (size, size)), left, right


def relative_error(found: tuple, target: tuple) -> float:
    """||A B^T - C D^T||_F / ||C D^T||_F in float64, from the factors alone."""
    apart = [np.concatenate([np.asarray(x, np.float64), y], axis=1) for x, y in zip(found, target, strict=True)]
    apart[0][:, -RANK:] *= -1
    return _norm_of_product(*apart) / _norm_of_product(*target)


def _norm_of_product(left: np.ndarray, right: np.ndarray) -> float:
    triangles = [np.linalg.qr(np.asarray(factor, np.float64))[1] for factor in (left, right)]
    return float(np.linalg.norm(triangles[0] @ triangles[1].T))


def _blocks(rows: np.ndarray, columns: np.ndarray) -> Any:
    cuts = np.arange(2**20, len(rows), 2**20)
    return zip(np.split(rows, cuts), np.split(columns, cuts), strict=True)


def _exponent(measured: dict[int, float]) -> float:
    return float(np.polyfit(np.log(list(measured)), np.log(list(measured.values())), 1)[0])


def _child(*arguments: object) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.scale", *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _step(size: int) -> dict[str, float]:
    import jax
    import jax.numpy as jnp

    from benchmarks.timing import alternate
    from lawlib.completion.layouts import arrange_sparse, sum_squared_error

    entries, *_ = sampled(size, 1)
    rng, count = np.random.default_rng(1), len(entries.values)
    factors = [jnp.asarray(rng.standard_normal((size, COLUMNS)), jnp.float32) for _ in range(2)]
    jax.block_until_ready(factors)
    step = jax.jit(jax.value_and_grad(sum_squared_error, argnums=(0, 1)))
    before = _resident("VmRSS")
    sparse = jax.block_until_ready(arrange_sparse(entries))
    held = _resident("VmRSS") - before
    jax.block_until_ready(step(*factors, sparse))
    extra = peak_of(lambda: jax.block_until_ready(step(*factors, sparse)))
    other = _step_of_jax_sparse(entries)
    ours, theirs, ratios = alternate(lambda: step(*factors, sparse), lambda: other(*factors), REPEATS)
    return {
        "ns_per_entry": ours / count * 1e9,
        "ns_per_entry_jax_sparse": theirs / count * 1e9,
        "times_faster": float(1 / np.median(ratios)),
        "lists_mb": held,
        "extra_peak_mb": extra,
    }


def _step_of_jax_sparse(entries: Any) -> Callable:
    """The same value and gradients by jax.experimental.sparse: a sampled product and two sparse ones."""
    import jax
    import jax.numpy as jnp
    from jax.experimental import sparse

    places, values = jnp.stack([jnp.asarray(entries.rows), jnp.asarray(entries.columns)], axis=1), entries.values

    @jax.jit
    def step(left: Any, right: Any, places: Any, values: Any) -> tuple:
        numbers = (((1,), (0,)), ((), ()))
        residual = sparse.bcoo_dot_general_sampled(left, right.T, places, dimension_numbers=numbers) - values
        matrix = sparse.BCOO((residual, places), shape=entries.shape, unique_indices=True)
        return jnp.sum(jnp.square(residual)) / 2, (matrix @ right, matrix.T @ left)

    values = jnp.asarray(values)
    return lambda left, right: step(left, right, places, values)


def _solve(size: int, condition: float) -> dict[str, float]:
    import jax

    from lawlib.completion.solver import complete

    entries, *target = sampled(size, condition)
    jax.block_until_ready(jax.random.key(0))
    solved = []

    def solve() -> None:
        began, used = time.perf_counter(), _cpu_seconds()
        found = jax.block_until_ready(complete(jax.random.key(0), entries, RANK))
        solved.append((found, time.perf_counter() - began, _cpu_seconds() - used))

    extra = peak_of(solve)
    found, elapsed, used = solved[0]
    return {
        "seconds": elapsed,
        "cpu_seconds": used,
        "steps": float(found.steps),
        "converged": float(found.converged),
        "observed_error": found.observed_error,
        "held_out_error": found.held_out_error,
        "recovery_error": relative_error((found.left, found.right), tuple(target)),
        "extra_mb": extra,
    }


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def peak_of(run: Callable[[], None]) -> float:
    """MiB that the peak of a call lies above the resident set before it."""
    Path("/proc/self/clear_refs").write_text("5")  # Puts the peak back to what is resident.
    before = _resident("VmRSS")
    run()
    return _resident("VmHWM") - before


def _resident(field: str) -> float:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[field].split()[0]) / 1024


if __name__ == "__main__":
    part, size, *others = sys.argv[1:]
    measured = {"step": _step, "solve": _solve}[part](int(size), *map(float, others))
    print(json.dumps(measured))
