"""Run benchmarks, all or those named, and write benchmarks/results/NAME.md: python -m benchmarks.main [NAME ...].

Those of ``FIGURES`` have a picture beside their table.
"""

import platform
import sys
from pathlib import Path

import jax

from benchmarks import (
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
    samples,
    scale,
    spectra,
    tracker,
    trained_heads,
    wall_time,
)
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
        paper_sizes,
        convolution,
    )
}
FIGURES = {"equivalent": equivalent, "wall_time": wall_time}


def main(names: list[str]) -> None:
    """Measure, print and write the tables, each beside the machine's own limits at that time."""
    if unknown := set(names) - set(BENCHMARKS):
        sys.exit(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    prepare()
    RESULTS.mkdir(exist_ok=True)
    for name in names or BENCHMARKS:
        measured = BENCHMARKS[name].measure()
        table = _table(str(BENCHMARKS[name].__doc__), limits() | measured)
        print(table, flush=True)
        (RESULTS / f"{name}.md").write_text(table)
        if name in FIGURES:
            plots.save(FIGURES[name].figure(measured), RESULTS, name)


def _table(description: str, measured: dict[str, float]) -> str:
    device = f"{jax.device_count()} x {jax.devices()[0].device_kind}, {platform.machine()}, jax {jax.__version__}"
    rows = [f"| {name} | {value:.4g} |" for name, value in measured.items()]
    lines = ["# " + description.strip(), "", f"Measured on {device}."]
    return "\n".join([*lines, "", "| what | measured |", "| --- | --- |", *rows, ""])


if __name__ == "__main__":
    main(sys.argv[1:])
