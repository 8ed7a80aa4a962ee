"""Run benchmarks, all or those named, and write benchmarks/results/NAME.md: python -m benchmarks.main [NAME ...].

Those of ``FIGURES`` have a picture beside their table, those of ``TABLES`` make tables of several columns. A benchmark
whose text is not on this machine is left out, with the reason.
"""

import platform
import sys
from collections.abc import Iterable, Mapping
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
    RESULTS.mkdir(exist_ok=True)
    for name in names or BENCHMARKS:
        try:
            write(name, BENCHMARKS[name].measure())
        except MissingTextError as missing:
            print(f"{name} was not measured: {missing}", flush=True)


def write(name: str, measured: Any) -> None:
    """Print and write the table of a benchmark, and its picture."""
    rows = [*_rows(limits()), "", *TABLES[name].table(measured)] if name in TABLES else _rows(limits() | measured)
    page = _page(str(BENCHMARKS[name].__doc__), rows)
    print(page, flush=True)
    (RESULTS / f"{name}.md").write_text(page)
    if name in FIGURES:
        plots.save(FIGURES[name].figure(measured), RESULTS, name)


def _rows(measured: Mapping[str, float]) -> list[str]:
    return ["| what | measured |", "| --- | --- |", *(f"| {name} | {value:.4g} |" for name, value in measured.items())]


def _page(description: str, rows: Iterable[str]) -> str:
    device = f"{jax.device_count()} x {jax.devices()[0].device_kind}, {platform.machine()}, jax {jax.__version__}"
    return "\n".join(["# " + description.strip(), "", f"Measured on {device}.", "", *rows, ""])


if __name__ == "__main__":
    main(sys.argv[1:])
