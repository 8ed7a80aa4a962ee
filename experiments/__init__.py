"""The experiments: one runner, the data sets, and a package for each family of laws.

Importing this package prepares the process for JAX, before any device is touched.

JAX sees a CPU as one device, on which a step of a small network uses one core. With one device per core, the members
are spread over all cores: 64 networks of width 100 take 6.9 us per step and member on two cores, and 11.7 us on one.

Decompositions use OpenBLAS, whose threads spin while they wait for cores that XLA's threads hold: on two busy cores an
SVD of 784 x 784 took 9.6 s with two OpenBLAS threads and 0.64 s with one.

jaxlib before 0.11 can deadlock on a CPU. A batched decomposition holds a thread of XLA's pool while it waits for its
parts, which need a thread of the same pool. The pool has ``NPROC`` threads (without ``NPROC``, as many as cores), and
at least as many as there are devices, each of which runs one decomposition at a time. So programs on two or more
devices deadlock if ``NPROC`` is not larger than the number of devices: in 3 of 3 runs on 2, 3, 4, 8 and 16 devices, and
in none with one more thread. If XLA may run independent operations at the same time, a device holds several threads,
and one more thread is not enough. So with these versions operations run in order here (``lawlib.cpu_flags``, which also
mends wrong sums), on twice as many threads as devices.
"""

import os
import re
import sys
import warnings

DEVICES = "xla_force_host_platform_device_count"
# The least for one or two devices: small programs on one device need it if operations run at the same time.
LEAST_THREADS = 4


def _usable_cores() -> int:
    # In a container or under taskset a process may have fewer cores than the machine.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _num_devices() -> int:
    """How many CPU devices JAX will make: its own setting comes first, then the last flag of XLA."""
    wanted = os.environ.get("JAX_NUM_CPU_DEVICES", "")
    flags = re.findall(rf"""--{DEVICES}=["']?(\d+)""", os.environ["XLA_FLAGS"])
    return int(wanted) if wanted.isdecimal() else int(flags[-1]) if flags else 1


def _prepare_threads(num_devices: int) -> None:
    """Set NPROC, or warn of a deadlock if the given value is too small."""
    enough = max(LEAST_THREADS, 2 * num_devices)
    given = os.environ.setdefault("NPROC", str(enough))
    if num_devices > 1 and not (given.isdecimal() and int(given) > num_devices):
        print(
            f"NPROC={given} with {num_devices} CPU devices: jaxlib can deadlock; unset NPROC or set NPROC={enough}",
            file=sys.stderr,
        )


def _prepare() -> None:
    """Set the environment variables that JAX reads."""
    try:
        with warnings.catch_warnings():
            # The flags that lawlib may miss are set here.
            warnings.simplefilter("ignore")
            from lawlib.cpu import cpu_flags, is_affected
    except ImportError:
        # Another lawlib, or no jaxlib: nothing runs, and experiments.main says why. It lists the configs all the same.
        return
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ["XLA_FLAGS"] = cpu_flags()
    if DEVICES not in os.environ["XLA_FLAGS"]:
        os.environ["XLA_FLAGS"] = f"{os.environ['XLA_FLAGS']} --{DEVICES}={_usable_cores()}".strip()
    if is_affected():
        _prepare_threads(_num_devices())


_prepare()
