"""The experiments: one runner, one claims table, one file per family of figures.

Importing this package prepares the process for JAX, before any device is touched. On a CPU jaxlib 0.10.2 can stop for
ever in programs that hold batched products or LAPACK calls: operations that run at the same time each wait for parts
that no thread of XLA's pool is left to do. ``NPROC`` of 4 or more, which XLA reads in place of the core count, ends
that in small programs and not in larger ones; running independent operations in order ended it in all.

Decompositions come from OpenBLAS, whose threads spin while they wait for cores that XLA's threads hold: on two busy
cores an SVD of 784 x 784 took 9.6 s with two of them and .64 s with one.

The same jaxlib sums some products wrongly where it hands reductions to a library: of the column sums of W_2 (W_1 X),
W_1 512 x 32 and X 32 x 200, 136 of 200 were wrong. Products alone are right there, and fast, and stay.

JAX sees a CPU as one device, on which a step of a small network keeps one core busy. As one device a core, members are
spread over all of them: 64 networks of width 100 take 6.9 us a step and member on two cores, and 11.7 us on one.
"""

import os

SCHEDULER = "xla_cpu_enable_concurrency_optimized_scheduler"
REDUCTIONS = "xla_cpu_experimental_ynn_fusion_type"
DEVICES = "xla_force_host_platform_device_count"

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("NPROC", str(max(4, os.cpu_count() or 1)))
for flag, value in ((SCHEDULER, "false"), (REDUCTIONS, "-reduce"), (DEVICES, os.cpu_count() or 1)):
    if flag not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --{flag}={value}".strip()
