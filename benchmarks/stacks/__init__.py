"""Two stacks side by side, such as Python 3.11 with jax 0.10.2 and Python 3.13 with jax 0.12.

``python -m benchmarks.stacks PYTHON PYTHON`` measures both interpreters, each with lawlib's extra "tests", and writes
benchmarks/results/stacks.md. It is not one of the benchmarks of benchmarks.main, which measures in its own process:
here every number comes from a process of one of the interpreters. They take turns, so that drift cancels in the ratios.
``--parts NAME ...`` measures some of the parts, and leaves the others as they were.

- times: steps and compilations, on as many devices as cores. A process has the median of its repeats, a cell the
  median over processes, and a ratio the median over pairs of processes with its least and most.
- scheduler: XLA's concurrency-optimized scheduler on and off, where jaxlib does not deadlock with it.
- hangs: runs that deadlock. A run has hung when no thread of it used the CPU in thirty looks in a row.
- results: what two runs of a config agree in: seconds, verdicts and every variable of results.nc.
- demo: the same of the config that ``make demo`` runs.
- suite: seconds of the tests, and what passed.
"""
