"""The experiments: one runner, one claims table, one file per family of figures.

Importing this package prepares the process for JAX, before any device is touched. On a CPU with two cores
jaxlib 0.10.2 starves its own thread pool and stops for ever in programs that hold LAPACK calls; ``NPROC`` of 4
or more, which XLA reads in place of the core count, ends that at no cost in speed.
"""

import os

os.environ.setdefault("NPROC", str(max(4, os.cpu_count() or 1)))
