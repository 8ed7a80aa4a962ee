"""What is measured, against whom: ratios taken in one process, medians of repeats, beside the machine's own limits."""

import experiments  # noqa: F401  (prepares the process before JAX touches a device)
