"""CSV files: claims, summary, and one tidy table for each variable."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.runner.finished import FinishedRun
from experiments.runs import frame

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["write"]


def write(run: FinishedRun, folder: Path) -> list[str]:
    """Write claims.csv, summary.csv, variables.csv and variables/NAME.csv; return lines on what is left out.

    Numbers are written so that they come back as they were; NaN and empty cells are empty, infinities ``inf``.
    """
    import pandas as pd

    _save(pd.DataFrame(_claims(run)), folder / "claims.csv")
    _save(pd.DataFrame(_summary(run)), folder / "summary.csv")
    if not run.has_results:
        return [f"{run.path}: has no results.nc (a published folder has none): claims and summary alone are exported"]
    _save(pd.DataFrame(_variables(run)), folder / "variables.csv")
    (folder / "variables").mkdir()
    for name in run.variables:
        _save(frame(run, name), folder / "variables" / f"{name}.csv")
    return []


def _save(table: "pd.DataFrame", file: Path) -> None:
    table.to_csv(file, index=False, lineterminator="\n")


def _claims(run: FinishedRun) -> dict[str, list[Any]]:
    """The columns of the claims table; the three numbers of the spread have a column each."""
    names = ("id", "kind", "paper", "figure", "statement", "statistic", "measured", "relation", "bound")
    columns = {name: [getattr(claim, name) for claim in run.claims] for name in names}
    for i, name in enumerate(("low", "middle", "high")):
        columns[name] = [claim.spread[i] if claim.spread else None for claim in run.claims]
    return columns | {
        name: [getattr(claim, name) for claim in run.claims] for name in ("members", "diverged", "status", "reason")
    }


def _summary(run: FinishedRun) -> list[dict[str, Any]]:
    """A row for each quantity of each run; comparisons of runs belong to none of them."""
    rows = [
        {"run": row["run"], "members": row["members"], "diverged": row["diverged"], "quantity": quantity, **numbers}
        for row in run.summary["runs"]
        for quantity, numbers in row["columns"].items()
    ]
    compared = run.summary["comparisons"].items()
    return rows + [{"run": "", "quantity": quantity, **numbers} for quantity, numbers in compared]


def _variables(run: FinishedRun) -> list[dict[str, str]]:
    return [
        {
            "name": name,
            "axes": " ".join(map(str, values.dims)),
            "units": values.attrs.get("units", ""),
            "meaning": values.attrs.get("long_name", ""),
            "source": values.attrs.get("source", ""),
        }
        for name, values in run.variables.items()
    ]
