"""Run every benchmark and write benchmarks/results.md: python -m benchmarks.main."""

import platform
from pathlib import Path

import jax

from benchmarks import figure_3, memory, overhead
from benchmarks.timing import limits
from experiments.run import prepare


def main() -> None:
    """Measure, print and write the table."""
    prepare()
    device = f"{jax.device_count()} x {jax.devices()[0].device_kind}, {platform.machine()}, jax {jax.__version__}"
    sections = {"The machine": limits}
    sections |= {str(module.__doc__).splitlines()[0]: module.measure for module in (overhead, figure_3, memory)}
    lines = [f"# Measured on {device}", ""]
    for title, measure in sections.items():
        rows = [f"| {name} | {value:.4g} |" for name, value in measure().items()]
        lines += [f"**{title}**", "", "| what | measured |", "| --- | --- |", *rows, ""]
        print("\n".join(lines[-len(rows) - 5 :]), flush=True)
    (Path(__file__).parent / "results.md").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
