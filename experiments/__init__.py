"""The experiments: one runner, one claims table, one file per family of figures.

Importing this package prepares the process for JAX, before any device is touched. On a CPU jaxlib 0.10.2 can stop for
ever in programs that hold batched products or LAPACK calls: operations that run at the same time each wait for parts
that no thread of XLA's pool is left to do. ``NPROC`` of 4 or more, which XLA reads in place of the core count, ends
that in small programs and not in larger ones; running independent operations in order ended it in all.

Decompositions come from OpenBLAS, whose threads spin while they wait for cores that XLA's threads hold: on two busy
cores an SVD of 784 x 784 took 9.6 s with two of them and .64 s with one.
"""

import os

SCHEDULER = "xla_cpu_enable_concurrency_optimized_scheduler"

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("NPROC", str(max(4, os.cpu_count() or 1)))
if SCHEDULER not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --{SCHEDULER}=false".strip()
