"""Peak memory of a sweep against the number of seeds: it is bounded by the chunk, not by the sweep.

d = 100, L = 3, Case 1, chunks of 8 members, the loss observed; one process for each number of seeds.
"""

import subprocess
import sys
from pathlib import Path

SEEDS = (8, 32, 128, 512)
CHUNK = 8


def measure() -> dict[str, float]:
    """Peak resident set in MiB of a process for each number of seeds, and of one sweep in a single chunk."""
    peaks = {f"{seeds} seeds, chunks of {CHUNK}": _peak(seeds, CHUNK) for seeds in SEEDS}
    return peaks | {f"{SEEDS[-1]} seeds, one chunk": _peak(SEEDS[-1], SEEDS[-1])}


def _peak(seeds: int, chunk: int) -> float:
    command = [sys.executable, "-m", "benchmarks.memory", str(seeds), str(chunk)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _child(seeds: int, chunk: int) -> None:
    import jax

    jax.config.update("jax_enable_x64", True)
    from benchmarks.overhead import observed_loss
    from lawlib.dynamics.sweep import grid, plan, sweep

    system, key, members = observed_loss(), jax.random.key(0), grid(seeds, {}, "float64")
    cut = plan(system, key, members, (), 2, on_cpu=True, chunk=chunk, batch=1)
    for _ in sweep(system, key, members, (), (0, 10), plan=cut, mesh=jax.make_mesh((1,), ("members",))):
        pass
    # Not ru_maxrss, which a child inherits from the process that started it.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(int(status["VmHWM"].split()[0]) / 1024)


if __name__ == "__main__":
    _child(int(sys.argv[1]), int(sys.argv[2]))
