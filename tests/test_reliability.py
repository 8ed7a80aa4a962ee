"""Each row of docs/run/reliability.md is held by tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "run" / "reliability.md").read_text()


def rows():
    lines = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("|")]
    return [row for row in lines if row[0] != "fault" and not row[0].startswith("---")]


def test_every_fault_has_a_test_that_exists():
    defined = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", file.read_text(), re.M)
    }
    assert len(rows()) > 20
    for fault, *_, tests in rows():
        named = re.findall(r"`(test_\w+)`", tests)
        assert named, fault
        assert set(named) <= defined, fault


def test_every_row_has_an_exit_code_of_the_runner():
    assert {row[2] for row in rows()} <= {"-", "0", "2", "75", "130"}
    assert all(len(row) == 4 for row in rows())
