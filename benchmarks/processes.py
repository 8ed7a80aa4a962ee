"""Members over several processes: what a second one adds, what is sent, and on paper what breaks first.

The sweep is that of benchmarks/overhead.py (d = 100, L = 3, float64), members stepped in turn. Each process has a core
to itself and the same number of members: efficiency is the time of one process over that of two, medians of three
pairs of runs in turn, each after a run that compiles. "collectives" counts the operations between devices in every
program that XLA makes of a sweep on four devices: members need none; processes send each other what was observed, once
a segment. Bytes of a member are those of its arrays.

"On paper" is arithmetic: 10,000 steps of such members at the rate of one core here for each device, and 1.1 ms a member
for writing, judging and drawing (the two largest runs in memory.md), all by the process that holds the folder. Of a
single run this part does not shrink with more devices. It takes over where it is as long as the steps.
"""

import os
import re
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

MEMBERS, STEPS, REPEATS, CORES = 8, 400, 3, 2
PAPER_STEPS, JUDGED_S, RESULT_BYTES = 10_000, 1.1e-3, 21e3
PAPER = {"64 devices, 10^5 members": (64, 10**5), "1000 nodes of 64 cores, 10^7 members": (64_000, 10**7)}
COLLECTIVE = re.compile(r"\b(all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)(-start)?\(")


def measure() -> dict[str, float]:
    """Efficiency, collectives, memory, and what these come to for many members."""
    turns = [(_seconds(1), _seconds(CORES)) for _ in range(REPEATS)]
    alone, together = (median(times) for times in zip(*turns, strict=True))
    rate = MEMBERS * STEPS / alone
    ratios = sorted(one / two for one, two in turns)
    measured = {
        "one process: member-steps a second": rate,
        f"{CORES} processes: member-steps a second": CORES * MEMBERS * STEPS / together,
        f"efficiency of {CORES} processes": median(ratios),
        f"efficiency of {CORES} processes, smallest": ratios[0],
        f"efficiency of {CORES} processes, largest": ratios[-1],
        "collectives in the programs of a sweep on four devices": float(_collectives()),
    }
    return measured | _member_bytes() | on_paper(rate)


def on_paper(rate: float) -> dict[str, float]:
    """Hours of the steps and of what one process does alone, and the number of devices from which that is longer."""
    found = {}
    for name, (devices, members) in PAPER.items():
        found[f"on paper, {name}: steps, hours"] = members * PAPER_STEPS / (rate * devices) / 3600
        found[f"on paper, {name}: writing and judging in one run, hours"] = members * JUDGED_S / 3600
        found[f"on paper, {name}: results, GB"] = members * RESULT_BYTES / 1e9
    return found | {"on paper: devices from which one run writes longer than it steps": PAPER_STEPS / rate / JUDGED_S}


def _seconds(count: int) -> float:
    """The time of a sweep in so many processes, the longest of theirs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    peers = [[address, str(count), str(index)] if count > 1 else [] for index in range(count)]
    started = [_child("time", str(core), *peer) for core, peer in enumerate(peers)]
    return max(float(_answer(process)) for process in started)


def _collectives() -> int:
    with tempfile.TemporaryDirectory() as folder:
        _answer(_child("compile", devices=4, dump=folder))
        texts = [path.read_text() for path in Path(folder).glob("*after_optimizations.txt")]
    if not any(" while(" in text for text in texts):
        msg = f"XLA wrote {len(texts)} programs and none with a loop: there is nothing to count in"
        raise RuntimeError(msg)
    return sum(len(COLLECTIVE.findall(text)) for text in texts)


def _child(*arguments: str, devices: int = 1, dump: str = "") -> subprocess.Popen[str]:
    flags = f"--xla_force_host_platform_device_count={devices}" + (f" --xla_dump_to={dump}" if dump else "")
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "JAX_ENABLE_COMPILATION_CACHE": "false"}
    command = [sys.executable, "-m", "benchmarks.processes", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def _answer(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate()
    if process.returncode:
        msg = f"a process ended with exit code {process.returncode}"
        raise RuntimeError(msg)
    return output.split()[-1]


def _member_bytes() -> dict[str, float]:
    import jax

    from benchmarks.overhead import observed_loss
    from lawlib.dynamics.sweep import footprint, grid

    held = footprint(observed_loss(), jax.random.key(0), grid(1, {}, "float64"), ())
    return {f"bytes of a member: {name}": float(count) for name, count in held._asdict().items()}


def _swept(count: int) -> float:
    """Seconds of a sweep of MEMBERS members for each of so many processes, compiled before."""
    import jax
    import numpy as np
    from jax.sharding import Mesh

    from benchmarks.overhead import observed_loss
    from benchmarks.timing import seconds
    from lawlib.dynamics.sweep import grid, plan, sweep

    system, key, members = observed_loss(), jax.random.key(0), grid(MEMBERS * count, {}, "float64")
    mesh = Mesh(np.array(jax.devices()), ("members",))
    cut = plan(system, key, members, (), 2, on_cpu=True, num_devices=mesh.size, batch=1)

    def run() -> list:
        return [one.observations for one in sweep(system, key, members, (), (0, STEPS), plan=cut, mesh=mesh)]

    seconds(run)
    return seconds(run)


def _time(core: str, *peer: str) -> float:
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(core) % len(cores)]})
    import jax

    jax.config.update("jax_enable_x64", True)
    if not peer:
        return _swept(1)
    from experiments.runner.team.peers import Peers
    from experiments.runner.team.team import join

    address, count, index = peer
    team = join(Peers(address, int(count), int(index)))
    found = _swept(int(count))
    team.part()
    return found


def _compile() -> float:
    import jax

    jax.config.update("jax_enable_x64", True)
    return _swept(4)


if __name__ == "__main__":
    what, *given = sys.argv[1:]
    print({"time": _time, "compile": _compile}[what](*given))
