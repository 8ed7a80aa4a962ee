"""What the comparison of two stacks says of known arrays, turns and processes."""

import json
import sys

import numpy as np
import pytest

from benchmarks.stacks import __main__ as command
from benchmarks.stacks.agreement import difference
from benchmarks.stacks.children import ChildError, Row, Stack, in_turn, ratio, run


@pytest.mark.parametrize(
    ("a", "b", "most", "scale"),
    [
        ([1.0, np.nan, np.inf], [1.0, np.nan, np.inf], 0, 0),
        ([1, 2], [1, 4], 2, 4),
        ([-8.0, 0.0], [-8.0, 2.0], 2, 8),
        ([1.0, np.nan], [1.0, 2.0], np.inf, 2),
        ([True, False], [True, True], 1, 1),
    ],
)
def test_a_variable_is_compared_with_its_largest_value_and_nan_equals_only_nan(a, b, most, scale):
    for one, other in ((a, b), (b, a)):
        found = difference("x", np.asarray(one), np.asarray(other))
        assert (found.most, found.scale) == (most, scale)
        assert found.relative == (most / scale if scale else 0)


@pytest.mark.parametrize(("a", "b"), [(np.zeros(2), np.zeros(3)), (None, np.zeros(2)), (np.zeros(2), None)])
def test_a_variable_of_another_shape_or_of_one_run_alone_is_infinitely_far(a, b):
    assert difference("x", a, b).relative == np.inf


def test_kinds_take_turns_and_ratios_are_those_of_a_round():
    asked = []

    def take(kind):
        asked.append(kind)
        return {"s": float(len(asked))}

    first, second = in_turn("ab", take, 3)
    assert "".join(asked) == "abbaab"
    assert [record["s"] for record in first] == [1, 4, 5]
    assert ratio(second, first, "s") == "1.2 (0.75 to 2)"


def test_a_process_sees_what_it_is_given_and_no_settings_of_this_one(monkeypatch):
    monkeypatch.setenv("NPROC", "7")
    monkeypatch.setenv("JAX_ENABLE_X64", "1")
    program = "import os; print(*(os.environ.get(name) for name in ('NPROC', 'JAX_ENABLE_X64', 'XLA_FLAGS')))"
    assert run(sys.executable, "-c", program, environment={"XLA_FLAGS": "--a"}).split() == ["None", "None", "--a"]


def test_a_process_that_fails_is_reported_with_what_it_said():
    with pytest.raises(ChildError, match=r"exit code 3\n  no luck"):
        run(sys.executable, "-c", "import sys; print('no luck'); sys.exit(3)")
    assert run(sys.executable, "-c", "import sys; print(1); sys.exit(3)", fine=(3,)) == "1\n"
    with pytest.raises(ChildError, match='extra "tests" is not installed'):
        run(sys.executable, "-c", "import no_such_module")
    with pytest.raises(ChildError, match="give the path of a Python interpreter"):
        run("/no/such/python")


def test_a_part_that_is_measured_again_replaces_its_own_rows_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "RESULTS", tmp_path)
    stacks = [Stack("a", {"python": "3", "jax": version}, is_affected=False) for version in ("0.1", "0.2")]

    def measured(value):
        return {"measured": f"day {value}", "rows": [Row("step, us", (value, value), "1")]}

    for part, value in (("hangs", "3"), ("times", "1"), ("times", "2")):
        command._keep(part, stacks, measured(value))
    (first, times), (second, hangs) = [
        text.split("\n\n", 1) for text in (tmp_path / "stacks.md").read_text().split("## ")[1:]
    ]
    assert (first, second) == ("times", "hangs")
    assert "| step, us | 2 | 2 | 1 |" in times
    assert "day 2, with python 3, jax 0.1 and python 3, jax 0.2" in times
    assert "| step, us | 3 | 3 | 1 |" in hangs
    assert "day 1" not in times + hangs


def test_the_committed_page_is_that_of_its_parts():
    page = json.loads((command.RESULTS / "stacks.json").read_text())
    tables = [command._table(*part) for part in page["parts"].items()]
    assert [(t["title"], t["note"], t["columns"]) for t in page["tables"]] == [
        (t.title, t.note, list(t.columns)) for t in tables
    ]
    shown = [[[str(cell) for cell in row] for row in table["rows"]] for table in page["tables"]]
    assert len(shown) == len(tables) > 0
    assert [[row[0] for row in rows] for rows in shown] == [[row[0] for row in table.rows] for table in tables]
