"""Summaries of published runs: their tables are those of summary.md, their numbers those of summary.json."""

import json

import pytest
from source_tree import ROOT

from experiments import summaries
from experiments.runner.store import InputError

NAME = "fashion_mnist_angle"
KNOWN = json.loads((ROOT / "figures" / NAME / "summary.json").read_text(encoding="utf-8"))
LINES = (ROOT / "figures" / NAME / "summary.md").read_text(encoding="utf-8").splitlines()
ACCURACY = "final test accuracy"
STEPS = "steps to 90% of psi = 0's final test accuracy, over its own: psi = 45"


def test_every_cell_of_a_run_is_that_of_the_published_table():
    """At 45 degrees the six digits of summary.json round to another third digit than the number did."""
    found = summaries.of_runs(NAME)
    head, _, *lines = [[cell.strip() for cell in line.strip("| ").split("|")] for line in LINES[: LINES.index("")]]
    place = head.index("members")
    assert [*found.columns] == head[:place] + head[place + 1 :]
    assert len(found.rows) == len(lines) == 7
    assert found.rows[:3] == [line[:place] + line[place + 1 :] for line in lines[:3]]


def test_columns_are_chosen_by_name_or_by_pattern():
    assert summaries.of_runs(NAME, [ACCURACY]).columns == ["run", ACCURACY]
    assert summaries.of_runs(NAME, ["final test loss*"]).columns == [
        "run",
        "final test loss an image",
        "final test loss over that at the start",
    ]


def test_comparisons_have_a_row_each():
    found = summaries.of_comparisons(NAME)
    assert [row[0] for row in found.rows] == [*KNOWN["comparisons"]]
    (own,) = summaries.of_comparisons(NAME, [STEPS]).rows
    assert own == [STEPS, "1.57 (1.45 to 1.7) [not reached by 1 of 3]"]


def test_a_number_is_the_median():
    first = KNOWN["runs"][0]
    assert summaries.number(NAME, first["run"], ACCURACY) == f"{first['columns'][ACCURACY]['median']:.3g}"
    assert summaries.number(NAME, STEPS) == f"{KNOWN['comparisons'][STEPS]['median']:.3g}"


@pytest.mark.parametrize(
    ("ask", "line"),
    [
        (lambda: summaries.of_runs("fashion_mnist_angel"), "did you mean fashion_mnist_angle?"),
        (lambda: summaries.of_runs("fashion_mnist_low_rank_once"), "was published by version 0.1, which wrote no"),
        (lambda: summaries.of_runs(NAME, ["final test acuracy"]), "did you mean final test accuracy?"),
        (lambda: summaries.of_comparisons(NAME, ["final tset *"]), "has nothing named 'final tset *'"),
        (lambda: summaries.number(NAME, "silu, angle=1", ACCURACY), "has no run silu, angle=1; did you mean"),
        (lambda: summaries.number(NAME, "silu, angle=0", "final test los"), "has no column final test los; did you"),
        (lambda: summaries.number(NAME, STEPS.replace("45", "46")), "compares nothing named"),
        (lambda: summaries.number(NAME, STEPS.replace("45", "60")), "no member has a number for steps to 90%"),
    ],
)
def test_a_name_that_does_not_exist_is_a_line(ask, line):
    with pytest.raises(InputError) as refusal:
        ask()
    (found,) = refusal.value.problems
    assert line in found
