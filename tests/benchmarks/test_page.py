"""The page of a benchmark: JSON and the Markdown that is written from it."""

import json

import pytest
from source_tree import ROOT

from benchmarks import page
from benchmarks.page import Table, as_markdown, described, measurements, write

RESULTS = ROOT / "benchmarks" / "results"
PAGES = sorted(RESULTS.glob("*.md"))


def test_every_page_has_its_json_and_no_other_is_there():
    assert len(PAGES) >= 20
    assert {file.stem for file in PAGES} == {file.stem for file in RESULTS.glob("*.json")}


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.stem)
def test_a_page_is_written_from_its_json(file):
    stored = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    assert as_markdown(stored) == file.read_text(encoding="utf-8")
    for table in stored["tables"]:
        assert {len(row) for row in table["rows"]} == {len(table["columns"])}


def test_the_markdown_has_every_part_in_its_place(tmp_path):
    tables = [measurements({"speed": 123456.0, "rate": 0.25}), Table(("a", "b"), [("x", 1)], "Part", "A note.")]
    text = write(tmp_path, "made_up", ("Title.", "Some\nlines."), tables, machine="1 x cpu")
    assert text == (
        "# Title.\n\nSome\nlines.\n\nMeasured on 1 x cpu.\n\n"
        "| what | measured |\n| --- | --- |\n| speed | 1.235e+05 |\n| rate | 0.25 |\n\n"
        "## Part\n\nA note.\n\n| a | b |\n| --- | --- |\n| x | 1 |\n"
    )
    assert (tmp_path / "made_up.md").read_text() == text


def test_a_cell_reads_as_it_is_and_stays_in_its_row(tmp_path):
    text = write(tmp_path, "made_up", ("Title.", ""), [Table(("a", "|b|"), [("||W||_F\nof *all*", 1)])])
    assert text.splitlines()[2:] == [r"| a | \|b\| |", "| --- | --- |", r"| \|\|W\|\|\_F of \*all\* | 1 |"]
    assert json.loads((tmp_path / "made_up.json").read_text())["tables"][0]["rows"] == [["||W||_F\nof *all*", 1]]


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.stem)
def test_no_json_holds_markdown_s_backslashes(file):
    tables = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))["tables"]
    assert "\\" not in "".join(str(cell) for table in tables for row in table["rows"] for cell in row)


def test_the_json_is_strict_and_keeps_what_the_benchmark_reads_again(tmp_path):
    table = measurements({"bound": float("inf"), "ratio": 1.23456789, "none": float("nan")})
    write(tmp_path, "made_up", ("Title.", ""), [table], kept={"parts": {"a": 1}})
    stored = json.loads(
        (tmp_path / "made_up.json").read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON")
    )
    assert stored["tables"][0]["rows"] == [["bound", "inf"], ["ratio", 1.23457], ["none", "nan"]]
    assert stored["parts"] == {"a": 1}


def test_the_title_is_the_first_line_of_the_docstring():
    assert described("One.\n\nTwo\nlines.\n") == ("One.", "Two\nlines.")
    assert described(page.__doc__)[0].startswith("The page of a benchmark")
