"""The summary of a run folder: numbers without a bound, a row for each run, and numbers of runs that are compared."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from experiments.runner.claims import table_row
from experiments.runner.runs import Run

__all__ = ["cell", "final", "largest", "markdown", "summarized"]

STATISTICS = {"median": np.nanmedian, "min": np.nanmin, "max": np.nanmax}


def final(name: str) -> Callable[[Run], ArrayLike | None]:
    """A variable at the last observation; None for a run that lacks it."""
    return lambda run: run.last(name) if name in run.data else None


def largest(name: str) -> Callable[[Run], ArrayLike | None]:
    """The largest value of a variable over all observations; None for a run that lacks it."""
    return lambda run: run.worst(name) if name in run.data else None


def summarized(
    found: Sequence[Run],
    columns: Mapping[str, Callable[[Run], ArrayLike | None]],
    comparisons: Mapping[str, Callable[[Sequence[Run]], ArrayLike | Mapping[str, ArrayLike] | None]],
) -> dict[str, Any]:
    """Median, minimum and maximum of every column in every run, and of every comparison, as JSON holds them.

    A comparison may give numbers by name: each is then a row of its own, ``heading: name``.

    Members without a number are left out and counted. An infinite number is that of a member that did not get there: of
    the step at which it would have, say. It is counted apart from those that diverged, whose number is NaN.
    """
    return {
        "runs": [
            {
                "run": run.label,
                "members": run.num_seeds,
                "diverged": run.num_diverged,
                "columns": _known({name: _statistics(column(run)) for name, column in columns.items()}),
            }
            for run in found
        ],
        "comparisons": _known(
            {
                row: _statistics(values)
                for heading, compare in comparisons.items()
                for row, values in _rows(heading, compare(found)).items()
            }
        ),
    }


def _rows(heading: str, compared: ArrayLike | Mapping[str, ArrayLike] | None) -> Mapping[str, ArrayLike | None]:
    if isinstance(compared, Mapping):
        return {f"{heading}: {name}": values for name, values in compared.items()}
    return {heading: compared}


def _known(columns: Mapping[str, Any]) -> dict[str, Any]:
    return {name: numbers for name, numbers in columns.items() if numbers}


def _statistics(values: ArrayLike | None) -> dict[str, Any]:
    if values is None:
        return {}
    sample = np.asarray(values, float).ravel()
    numbers = sample[np.isfinite(sample)]
    measured = {name: float(statistic(numbers)) for name, statistic in STATISTICS.items()} if numbers.size else {}
    late = int(np.isposinf(sample).sum())
    return {**measured, "numbers": int(numbers.size), "of": int(sample.size)} | ({"not_reached": late} if late else {})


def markdown(summary: Mapping[str, Any]) -> str:
    """The summary as Markdown tables: ``median (min to max)``, with how many members have a number where not all do."""
    names = list(dict.fromkeys(name for row in summary["runs"] for name in row["columns"]))
    lines = _table(
        ("run", "members", *names),
        [
            (row["run"], _members(row), *(cell(row["columns"].get(name, {})) for name in names))
            for row in summary["runs"]
        ],
    )
    if summary["comparisons"]:
        lines += ["", *_table(("compared", "measured"), [(k, cell(v)) for k, v in summary["comparisons"].items()])]
    return "\n".join(lines) + "\n"


def _members(row: Mapping[str, Any]) -> str:
    return f"{row['members']} ({row['diverged']} diverged)" if row["diverged"] else str(row["members"])


def cell(numbers: Mapping[str, Any]) -> str:
    """The numbers of one column in one run, ``median (min to max)``; ``-`` where it has none."""
    if not numbers:
        return "-"
    late = f"not reached by {numbers['not_reached']} of {numbers['of']}" if "not_reached" in numbers else ""
    if not numbers["numbers"]:
        return late or f"none of {numbers['of']}"
    spread = "" if numbers["min"] == numbers["max"] else f" ({numbers['min']:.3g} to {numbers['max']:.3g})"
    counted = late or f"{numbers['numbers']} of {numbers['of']}"
    among = "" if numbers["numbers"] == numbers["of"] else f" [{counted}]"
    return f"{numbers['median']:.3g}{spread}{among}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [table_row(row) for row in (head, ["---"] * len(head), *rows)]
