"""Run benchmarks, all or those named, and write their pages: python -m benchmarks.main [NAME ...].

A page is benchmarks/results/NAME.json, and NAME.md written from it. Those of ``FIGURES`` have a picture beside their
table, those of ``TABLES`` make tables of several columns. A benchmark whose text is not on this machine is left out,
with the reason.
"""

import platform
import sys
from pathlib import Path
from typing import Any

import jax

from benchmarks import (
    adapt_start,
    completion,
    convolution,
    diagnose,
    equivalent,
    figure_3,
    flows,
    galore,
    jumps,
    low_rank,
    memory,
    optimizers,
    overhead,
    page,
    paper_sizes,
    processes,
    samples,
    scale,
    small_subspaces,
    spectra,
    text_adaptation,
    tracker,
    trained_heads,
    wall_time,
)
from benchmarks.texts import MissingTextError
from benchmarks.timing import limits
from experiments.runner import plots
from experiments.runner.run import prepare

RESULTS = Path(__file__).parent / "results"
BENCHMARKS = {
    module.__name__.split(".")[-1]: module
    for module in (
        overhead,
        figure_3,
        memory,
        processes,
        equivalent,
        optimizers,
        wall_time,
        completion,
        scale,
        spectra,
        tracker,
        galore,
        diagnose,
        jumps,
        flows,
        samples,
        low_rank,
        trained_heads,
        small_subspaces,
        text_adaptation,
        adapt_start,
        paper_sizes,
        convolution,
    )
}
TABLES = {"small_subspaces": small_subspaces, "text_adaptation": text_adaptation}
FIGURES = {"equivalent": equivalent, "wall_time": wall_time} | TABLES


def main(names: list[str]) -> None:
    """Measure, print and write the tables, each beside the machine's own limits at that time."""
    if unknown := set(names) - set(BENCHMARKS):
        sys.exit(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    prepare()
    for name in names or BENCHMARKS:
        try:
            write(name, BENCHMARKS[name].measure())
        except MissingTextError as missing:
            print(f"{name} was not measured: {missing}", flush=True)


def write(name: str, measured: Any) -> None:
    """Print and write the page of a benchmark, and its picture."""
    if name in TABLES:
        tables = [page.measurements(limits()), *TABLES[name].table(measured)]
    else:
        tables = [page.measurements(limits() | measured)]
    about = page.described(BENCHMARKS[name].__doc__)
    print(page.write(RESULTS, name, about, tables, machine=machine()), flush=True)
    if name in FIGURES:
        plots.save(FIGURES[name].figure(measured), RESULTS, name)


def machine() -> str:
    """What a benchmark of this process is measured on."""
    return f"{jax.device_count()} x {jax.devices()[0].device_kind}, {platform.machine()}, jax {jax.__version__}"


if __name__ == "__main__":
    main(sys.argv[1:])
