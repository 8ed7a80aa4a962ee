"""Finished runs in a notebook: load a folder, take a variable as a table, compare the claims of several runs.

from experiments.runs import compare, frame, load

run = load("runs/dln_momentum-cpu")
run.claims[0].measured, run.config.net.depth, run.provenance["git_commit"]
run.results["momentum_L3"].rho                  # labelled arrays, read when they are used
frame(run, "rho").groupby(["momentum", "step"]).value.median()
compare(run, load("figures/dln_momentum"))
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict

from experiments.runner.claims import Claim
from experiments.runner.fields import leaves, nearest, swept
from experiments.runner.finished import FinishedRun, read
from experiments.runner.store import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["compare", "frame", "load", "names"]

# Types whose columns may have empty cells: without them an integer beside an empty cell becomes a float.
WITH_EMPTY_CELLS = {"i": "Int64", "u": "UInt64", "b": "boolean"}


def load(path: str | os.PathLike[str]) -> FinishedRun:
    """Read the folder of a finished run, or a published one (figures/NAME), which has no results.

    Returns:
        The run: ``config`` (a locked ConfigDict), ``claims`` (the rows of claims.json, with its names as attributes),
        ``provenance``, ``summary`` (dicts), ``results`` (an xarray DataTree, a group for each variant) and
        ``variables`` (its variables by name). results.nc is opened when ``results`` is first asked for.

    Raises:
        InputError: The folder is missing, foreign, of another layout, unfinished or damaged; one line for each problem.
    """
    return read(path)


def frame(run: FinishedRun, name: str) -> "pd.DataFrame":
    """One variable in long form, a row for each number, over all variants that have it.

    Columns: ``variant``, ``seed`` (0 is the config's first), every field that one of these variants sweeps, ``step``,
    the variable's other axes (``layer`` counts from 0) and ``value``. A variant that does not sweep a field has the
    value of its config there; a variant without an axis has an empty cell. Two swept fields of one name have their
    whole paths. From the step at which a member diverged on, its values are empty (NaN in floats): some would be
    finite, and mean nothing. ``converged_at`` and ``diverged_at`` have a row for each member, -1 for never.

    Args:
        run: A run that `load` returned.
        name: A variable, one of ``run.variables``.

    Raises:
        InputError: No variant has the variable, or the folder's results.nc is missing or damaged.
    """
    _check_loaded("frame", [run])
    if name not in run.variables:
        problem = f"{run.path}: has no variable {name!r}{nearest(name, run.variables)}"
        raise InputError([f"{problem}; the variables are {', '.join(run.variables)}"])
    import pandas as pd

    holding = {variant: config for variant, config in run.variants.items() if name in run.results[variant]}
    columns = _columns(holding.values())
    tables = [_long(run, name, variant, config, columns) for variant, config in holding.items()]
    found = dict.fromkeys(column for table in tables for column in table.columns if column != "value")
    order = [column for column in ("variant", "seed", *columns.values(), "step") if column in found]
    complete = pd.concat([_with_empty_cells(table, found) for table in tables], ignore_index=True)
    return complete.reindex(columns=[*dict.fromkeys([*order, *found]), "value"])


def compare(*runs: FinishedRun) -> "pd.DataFrame":
    """The claims of runs side by side, a row for each id, in order of first appearance.

    Columns: ``id``, ``statement``, ``bound`` (with its relation, ``< 1e-12``) and, for each run, ``NAME: measured`` and
    ``NAME: verdict``. Where bounds differ, each run has its own: ``NAME: bound``. The cells of a claim that a run does
    not have are empty. NAME is the folder's name, or its path if two folders have one name.

    Raises:
        InputError: No run is given.
    """
    _check_loaded("compare", runs)
    if not runs:
        raise InputError(["compare: no run is given; give what load() returns, compare(load(FOLDER), load(FOLDER))"])
    import pandas as pd

    named = dict(zip(names(runs), [{claim.id: claim for claim in run.claims} for run in runs], strict=True))
    ids = list(dict.fromkeys(claim.id for run in runs for claim in run.claims))
    rows = {id: [claims.get(id) for claims in named.values()] for id in ids}
    table: dict[str, Any] = {
        "id": ids,
        "statement": [" / ".join(_distinct(attrgetter("statement"), row)) for row in rows.values()],
    }
    bounds = [_distinct(_bound, row) for row in rows.values()]
    alike = all(len(texts) <= 1 for texts in bounds)
    if alike:
        table["bound"] = ["".join(texts) for texts in bounds]
    for name, claims in named.items():
        own = [claims.get(id) for id in ids]
        table[f"{name}: measured"] = pd.array([claim.measured if claim else None for claim in own], float)
        table[f"{name}: verdict"] = [claim.status if claim else "" for claim in own]
        if not alike:
            table[f"{name}: bound"] = [_bound(claim) if claim else "" for claim in own]
    return pd.DataFrame(table)


def names(runs: Sequence[FinishedRun]) -> list[str]:
    """A name for each run: its folder's, its path if others have that, and a number if the path is given twice."""
    counts = Counter(run.name for run in runs)
    given = [str(run.path) if counts[run.name] > 1 else run.name for run in runs]
    return [f"{name} ({given[:i].count(name) + 1})" if given[:i].count(name) else name for i, name in enumerate(given)]


# Tables of a variable. ------------------------------------------------------------------------------------------------


def _columns(configs: Iterable[ConfigDict]) -> dict[str, str]:
    """The columns of the swept fields by their paths: the last name, or the whole path where two fields share one."""
    paths = sorted({path for config in configs for path in swept(config)})
    shared = Counter(path.split(".")[-1] for path in paths)
    return {path: path if shared[path.split(".")[-1]] > 1 else path.split(".")[-1] for path in paths}


def _long(run: FinishedRun, name: str, variant: str, config: ConfigDict, columns: Mapping[str, str]) -> "pd.DataFrame":
    """The table of one variant, with its own axes."""
    from experiments.runner.runs import before_divergence

    data = run.observed(variant, name, "diverged_at")
    values = data[name].reset_coords(drop=True)
    table = values.to_dataframe(name="value").reset_index()
    lost = (data.diverged_at >= 0) & ~before_divergence(data) if "step" in values.dims else None
    if lost is not None and lost.any():
        cells = table["value"].astype(WITH_EMPTY_CELLS.get(values.dtype.kind, values.dtype))
        table["value"] = cells.mask(lost.broadcast_like(values).values.ravel())
    own = swept(config)
    table = table.rename(columns={path.split(".")[-1]: column for path, column in columns.items() if path in own})
    fixed = {column: leaves(config)[path] for path, column in columns.items() if path not in own}
    return table.assign(variant=variant, **fixed)


def _with_empty_cells(table: "pd.DataFrame", columns: Iterable[str]) -> "pd.DataFrame":
    """The table with every axis of the other variants, empty."""
    import pandas as pd

    missing = {axis: pd.array([pd.NA] * len(table), "Int64") for axis in columns if axis not in table}
    return table.assign(**missing)


# Claims side by side. -------------------------------------------------------------------------------------------------


def _check_loaded(function: str, given: Sequence[Any]) -> None:
    if wrong := [repr(run) for run in given if not isinstance(run, FinishedRun)]:
        raise InputError([f"{function}: {text} is no run; give what load(FOLDER) returns" for text in wrong])


def _distinct(text: Callable[[Claim], str], row: Iterable[Claim | None]) -> list[str]:
    return list(dict.fromkeys(said for claim in row if claim and (said := text(claim))))


def _bound(claim: Claim) -> str:
    return "" if claim.bound is None else f"{claim.relation} {claim.bound:g}"
