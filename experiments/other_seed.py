"""Which published verdicts are other ones with the root seed that chose no bound; ``make holdout`` runs it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from experiments import published
from experiments.runner.checkout import SOURCE
from experiments.runner.store import InputError

__all__ = ["OtherSeed", "differing"]

# The benchmark of that command, and the profile that it runs.
BENCHMARK, PROFILE = "holdout", "cpu"


class OtherSeed(NamedTuple):
    """A claim with the other root seed: the seed, the number beside its bound, the verdict."""

    seed: int
    comparison: str
    status: str


def differing(name: str, root: Path = SOURCE) -> dict[str, OtherSeed]:
    """The rows of a published folder whose verdict the seed changes, by id; none where the other seed was not run.

    Raises:
        InputError: There is no such folder, or the benchmark's file is damaged.
    """
    place = published.folder(name, root)
    if place.profile != PROFILE or BENCHMARK not in published.benchmarks(root):
        return {}
    page = published.benchmark(BENCHMARK, root)
    try:
        rows = [row for row in page["claims"] if row["config"] == place.config and row["part"] == "differs"]
        return {row["id"]: OtherSeed(page["about"]["seed"], _comparison(row), row["status"][1]) for row in rows}
    except (LookupError, TypeError, ValueError) as error:
        problem = f"benchmarks/results/{BENCHMARK}.json: is damaged ({error!r}); git checkout restores it"
        raise InputError([problem]) from error


def _comparison(row: Mapping[str, Any]) -> str:
    return f"{float(row['measured'][1]):.3g} {row['relation']} {float(row['bound'][1]):g}"
