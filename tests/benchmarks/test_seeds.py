"""Claims of two root seeds: what differs comes first, and a bound within the seeds' spread is a knife edge."""

import json

import numpy as np
import pytest

from benchmarks.page import write
from benchmarks.seeds import described, from_plain, paired, ranked, tables, to_plain
from experiments.runner.claims import judge, unjudged

SOURCE = {"kind": "law", "paper": "Yaras et al. 2023", "figure": "Fig. 4"}
ABOUT = {"seed": 1, "seconds": {"a": 12}, "left_out": {"b": "32 min"}}


def law(id, value, bound, relation="<"):
    return judge(id, **SOURCE, statement=f"|{id}| is small", values=[value], relation=relation, bound=bound)


def one(first, other, bound, relation="<"):
    (row,) = paired("a", [law("T", first, bound, relation)], [law("T", other, bound, relation)])
    return row


@pytest.mark.parametrize(
    ("first", "other", "bound", "relation", "part"),
    [
        (1.903, 1.910, 1.9, ">=", "edge"),
        (1.903, 1.899, 1.9, ">=", "differs"),
        (1.899, 1.903, 1.9, ">=", "differs"),
        (1.903, 1.904, 1.9, ">=", "rest"),
        (1e-15, 5e-15, 1e-12, "<", "rest"),
        (6, 6, 6, "==", "rest"),
        (0.99, 0.5, 1.0, "<", "edge"),
        (2.0, 3.0, 1.0, "<", "rest"),
        (2.0, 1.5, 1.0, "<", "rest"),
        (2.0, 1.4, 1.0, "<", "edge"),
        (0.5, np.nan, 1.0, "<", "differs"),
        (np.nan, np.nan, 1.0, "<", "rest"),
    ],
)
def test_the_part_of_a_row(first, other, bound, relation, part):
    assert one(first, other, bound, relation).part == part


def test_a_row_without_a_number_in_one_table_has_no_pair():
    skipped = unjudged("not_run", "T", **SOURCE, statement="later", reason="no time")
    for first, other in (([skipped], [law("T", 0.5, 1.0)]), ([], [law("T", 0.5, 1.0)]), ([law("T", 0.5, 1.0)], [])):
        (row,) = paired("a", first, other)
        assert row.part == "single"


def test_rows_that_differ_are_the_first_of_the_text(tmp_path):
    first = [law("calm", 0.1, 1.0), law("edge", 0.9, 1.0), law("flips", 0.9, 1.0)]
    other = [law("calm", 0.2, 1.0), law("edge", 0.5, 1.0), law("flips", 1.1, 1.0), law("new", 0.5, 1.0)]
    rows = paired("a", first, other)
    assert [row.id for found in ranked(rows).values() for row in found] == ["flips", "edge", "calm", "new"]
    text = write(tmp_path, "holdout", described(rows, ABOUT), tables(rows))
    places = [text.index(f"| {id} |") for id in ("flips", "edge", "calm", "new")]
    assert places == sorted(places)
    assert "| 0.9 < 1 | 1.1 < 1 | holds / fails |" in text
    assert "verdicts that differ: 1, knife edges: 1" in text
    assert "b (32 min)" in text


def test_rows_are_read_from_json_as_they_were_written():
    rows = paired("a", [law("T", np.nan, 1.0)], [law("T", np.inf, 1.0), law("new", 0.5, 1.0)])
    text = json.dumps(to_plain(rows), allow_nan=False)
    again = from_plain(json.loads(text))
    assert json.dumps(to_plain(again), allow_nan=False) == text
    assert np.isnan(again[0].measured[0])
