"""Peak memory against the number of members: it is bounded by the chunk, in a sweep and in a whole run.

MiB of a process's resident set at its largest, one process for each row. The sweep: d = 100, L = 3, Case 1, chunks of 8
members, the loss observed. The run: variant case1_L2 of configs/dln_parsimony.py, computed, written, judged and drawn,
in chunks of 1000 members, with three observations of ten steps (21 kB of results a member); seconds are of all of it.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

SEEDS = (8, 32, 128, 512)
CHUNK = 8
MEMBERS = (1_000, 10_000, 100_000)
RUN = ("--config=configs/dln_parsimony.py", "--config.name=case1_L2", "--config.run.chunk=1000")
RUN += ("--config.opt.num_steps=10", "--config.observe.num_times=3")
MEMBERS_PER_SEED = 4


def measure() -> dict[str, float]:
    """Peak resident set of a process for each number of seeds, of one sweep in a single chunk, and of whole runs."""
    peaks = {f"sweep of {seeds} seeds, chunks of {CHUNK}": _peak("sweep", seeds, CHUNK) for seeds in SEEDS}
    peaks[f"sweep of {SEEDS[-1]} seeds, one chunk"] = _peak("sweep", SEEDS[-1], SEEDS[-1])
    for members in MEMBERS:
        began = time.perf_counter()
        peaks[f"run of {members} members"] = _peak("run", members // MEMBERS_PER_SEED)
        peaks[f"run of {members} members, s"] = time.perf_counter() - began
    return peaks


def _peak(what: str, *numbers: int) -> float:
    command = [sys.executable, "-m", "benchmarks.memory", what, *map(str, numbers)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def _run(seeds: int) -> None:
    from experiments.main import main

    with tempfile.TemporaryDirectory() as folder:
        code = main([*RUN, f"--config.num_seeds={seeds}", f"--workdir={folder}/run"])
    if code:
        sys.exit(code)


def _sweep(seeds: int, chunk: int) -> None:
    import jax

    jax.config.update("jax_enable_x64", True)
    from benchmarks.overhead import observed_loss
    from lawlib.dynamics.sweep import grid, plan, sweep

    system, key, members = observed_loss(), jax.random.key(0), grid(seeds, {}, "float64")
    cut = plan(system, key, members, (), 2, on_cpu=True, chunk=chunk, batch=1)
    for _ in sweep(system, key, members, (), (0, 10), plan=cut, mesh=jax.make_mesh((1,), ("members",))):
        pass


if __name__ == "__main__":
    what, *numbers = sys.argv[1:]
    {"sweep": _sweep, "run": _run}[what](*map(int, numbers))
    # Not ru_maxrss, which a child inherits from the process that started it.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(int(status["VmHWM"].split()[0]) / 1024)
