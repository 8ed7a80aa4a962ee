"""How many runs of the two reproducers deadlock, by the number of devices."""

import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import NamedTuple

from benchmarks.stacks.children import Row, Stack, run
from experiments import DEVICES
from lawlib.cpu import SCHEDULER
from tests.support.liveness import HungError

COUNTS = (2, 4, 8, 16)
PROGRAMS = {
    "networks drawn and stepped": ("tests/support/deadlock_reproducer.py",),
    "first segments of three configs": ("tests/support/deadlock_configs.py", "5"),
}
UNMENDED, AS_SET = "scheduler on and NPROC = devices", "as experiments sets both"
# A hung process waits without the CPU, so that more of them than cores cost nothing.
AT_ONCE = 4


class Case(NamedTuple):
    """A cell of the table, and the number of devices of a run that counts there."""

    program: str
    setting: str
    stack: int
    devices: int


def rows(stacks: tuple[Stack, Stack], runs: int) -> Iterator[Row]:
    """A row for each program and setting: of how many runs on each number of devices how many hung."""
    cases = [Case(*case) for case in product(PROGRAMS, (UNMENDED, AS_SET), range(len(stacks)), COUNTS)]
    with tempfile.TemporaryDirectory() as cache, ThreadPoolExecutor(AT_ONCE) as pool:
        # First one run of every case, then the next: from the second on, what they compile is in the cache.
        repeated = cases * runs
        hung = Counter(dict.fromkeys(cases, 0))
        for case, is_hung in zip(repeated, pool.map(lambda case: _hangs(case, stacks, cache), repeated), strict=True):
            hung[case] += is_hung
    for program, setting in product(PROGRAMS, (UNMENDED, AS_SET)):
        first, second = (
            ", ".join(str(hung[Case(program, setting, stack, devices)]) for devices in COUNTS)
            for stack in range(len(stacks))
        )
        what = f"deadlocks of {program}, {setting}; on {', '.join(map(str, COUNTS))} devices"
        yield Row(what, (f"{first} of {runs}", f"{second} of {runs}"))


def _hangs(case: Case, stacks: tuple[Stack, Stack], cache: str) -> bool:
    keeping = {"JAX_COMPILATION_CACHE_DIR": cache, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    try:
        run(stacks[case.stack].python, *PROGRAMS[case.program], environment=keeping | _environment(case))
    except HungError:
        return True
    return False


def _environment(case: Case) -> dict[str, str]:
    devices = f"--{DEVICES}={case.devices}"
    if case.setting == AS_SET:
        return {"XLA_FLAGS": devices}
    return {"XLA_FLAGS": f"{devices} --{SCHEDULER}=true", "NPROC": str(case.devices)}
