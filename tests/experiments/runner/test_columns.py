"""Tables as text: no cell is cut, in a pipe or in a terminal."""

import sys

import pytest

from experiments.runner.columns import table, terminal_width

HEADER = ("name", "what")
ROWS = [("a", "the first of the two"), ("longer", "the second")]


def block(row):
    return row[0], f"it is {row[1]}"


@pytest.mark.parametrize("width", [None, 28, 80])
def test_a_row_has_a_line_in_a_pipe_and_where_it_fits(width):
    assert table(HEADER, ROWS, block, width).splitlines() == [
        "name    what",
        "a       the first of the two",
        "longer  the second",
    ]


def test_a_row_is_a_block_where_the_table_is_too_wide():
    assert table(HEADER, ROWS, block, 27).splitlines() == [
        "a",
        "    it is the first of the",
        "    two",
        "longer",
        "    it is the second",
    ]


def test_no_line_is_wider_than_the_terminal():
    lines = table(HEADER, [("a" * 30, "word " * 40)], block, 20).splitlines()
    assert max(map(len, lines)) <= 20
    assert "".join(lines).replace(" ", "") == "a" * 30 + "itis" + "word" * 40


def test_without_an_output_there_is_no_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert terminal_width() is None
