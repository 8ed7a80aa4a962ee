"""The experiments: one runner, one claims table, one file per family of figures.

Importing this package prepares the process for JAX, before any device is touched.

On a CPU jaxlib 0.10.2 can deadlock. A batched decomposition holds a thread of XLA's pool while it waits for its parts,
which need a thread of the same pool. The pool has ``NPROC`` threads (the core count where ``NPROC`` is unset), and no
fewer than there are devices, each of which runs one decomposition at a time. So programs deadlock where ``NPROC`` is no
larger than the number of devices, two or more: in 3 of 3 runs on 2, 3, 4, 8 and 16 devices, and in none with one thread
more. Where XLA may run independent operations at the same time, a device holds several threads, and one thread more is
not enough: operations run in order here, on twice as many threads as devices.

Decompositions come from OpenBLAS, whose threads spin while they wait for cores that XLA's threads hold: on two busy
cores an SVD of 784 x 784 took 9.6 s with two of them and .64 s with one.

The same jaxlib sums some products wrongly where it hands reductions to a library: of the column sums of W_2 (W_1 X),
W_1 512 x 32 and X 32 x 200, 136 of 200 were wrong. Products alone are right there, and fast, and stay.

JAX sees a CPU as one device, on which a step of a small network keeps one core busy. As one device a core, members are
spread over all of them: 64 networks of width 100 take 6.9 us a step and member on two cores, and 11.7 us on one.
"""

import os
import re
import sys

SCHEDULER = "xla_cpu_enable_concurrency_optimized_scheduler"
REDUCTIONS = "xla_cpu_experimental_ynn_fusion_type"
DEVICES = "xla_force_host_platform_device_count"
# With two devices or fewer: what small programs of one device need where operations run at the same time.
LEAST_THREADS = 4


def _usable_cores() -> int:
    # In a container or under taskset a process may use fewer cores than the machine has.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _num_devices() -> int:
    """The CPU devices that JAX will make: its own setting comes first, then the last flag of XLA."""
    wanted = os.environ.get("JAX_NUM_CPU_DEVICES", "")
    flags = re.findall(rf"""--{DEVICES}=["']?(\d+)""", os.environ["XLA_FLAGS"])
    return int(wanted) if wanted.isdecimal() else int(flags[-1]) if flags else 1


def _prepare_threads(num_devices: int) -> None:
    """Set NPROC, or warn of a deadlock where it is set too small."""
    enough = max(LEAST_THREADS, 2 * num_devices)
    given = os.environ.setdefault("NPROC", str(enough))
    if num_devices > 1 and not (given.isdecimal() and int(given) > num_devices):
        print(
            f"NPROC={given} with {num_devices} CPU devices: jaxlib can deadlock; unset NPROC or set NPROC={enough}",
            file=sys.stderr,
        )


os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
for flag, value in ((SCHEDULER, "false"), (REDUCTIONS, "-reduce"), (DEVICES, _usable_cores())):
    if flag not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --{flag}={value}".strip()
_prepare_threads(_num_devices())
