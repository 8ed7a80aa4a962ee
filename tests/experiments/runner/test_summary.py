"""The summary: medians and extremes of what has numbers, and how many have none."""

import numpy as np
import xarray as xr
from ml_collections import ConfigDict

from experiments.runner.runs import Run
from experiments.runner.summary import final, largest, markdown, summarized


def run_of(name, losses, diverged=0):
    """A run with these losses, (seed, step)."""
    losses = np.asarray(losses, float)
    marks = np.where(np.arange(len(losses)) < diverged, 1, -1)
    axes = {"seed": np.arange(len(losses)), "step": np.arange(losses.shape[1])}
    data = xr.Dataset({"loss": (("seed", "step"), losses), "diverged_at": ("seed", marks)}, axes)
    return Run(name, ConfigDict({"sweep": {}}), data)


FOUND = [run_of("a", [[1, 5], [9, 3], [2, 4]]), run_of("b|c", [[1, np.nan], [1, 7]], diverged=1)]
COLUMNS = {"end": final("loss"), "most": largest("loss"), "rank": final("rank")}


def test_each_run_has_its_row_and_numbers_that_are_none_are_counted():
    summary = summarized(FOUND, COLUMNS, {"ratio": lambda found: found[0].last("loss")[:1], "none": lambda _: None})
    first, second = summary["runs"]
    assert first["columns"]["end"] == {"median": 4.0, "min": 3.0, "max": 5.0, "numbers": 3, "of": 3}
    assert first["columns"]["most"]["max"] == 9.0
    assert second["columns"]["end"] == {"median": 7.0, "min": 7.0, "max": 7.0, "numbers": 1, "of": 2}
    assert "rank" not in first["columns"]
    assert (second["members"], second["diverged"]) == (2, 1)
    assert summary["comparisons"] == {"ratio": {"median": 5.0, "min": 5.0, "max": 5.0, "numbers": 1, "of": 1}}


def test_what_was_not_reached_is_told_from_what_diverged():
    compared = {"some": lambda _: [3.0, np.inf, np.nan], "all": lambda _: [np.inf, np.inf], "low": lambda _: [-np.inf]}
    summary = summarized([], {}, compared)
    assert [row.get("not_reached") for row in summary["comparisons"].values()] == [1, 2, None]
    assert markdown(summary).splitlines()[-3:] == [
        "| some | 3 [not reached by 1 of 3] |",
        "| all | not reached by 2 of 2 |",
        "| low | none of 1 |",
    ]


def test_the_table_shows_the_spread_and_what_is_missing():
    head, _, first, second, _, *compared = markdown(summarized(FOUND, COLUMNS, {"x": lambda _: [np.nan]})).splitlines()
    assert head == "| run | members | end | most |"
    assert first == "| a | 3 | 4 (3 to 5) | 5 (4 to 9) |"
    assert second == "| b\\|c | 2 (1 diverged) | 7 [1 of 2] | 7 [1 of 2] |"
    assert compared[-1] == "| x | none of 1 |"
