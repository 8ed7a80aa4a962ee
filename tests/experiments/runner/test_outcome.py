"""Whatever ends a command becomes lines for people and an exit code."""

import os
import sys
from pathlib import Path

import pytest

from experiments.runner.generated import kept
from experiments.runner.outcome import exit_code
from experiments.runner.setbacks import disk_full
from experiments.runner.settings import ConfigError
from experiments.runner.store import InputError


def raising(error):
    def act():
        raise error

    return act


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InputError(["a: is no folder", "b: neither"]), 2, "a: is no folder\nb: neither\n"),
        (ConfigError(["seed: must be whole"]), 2, "seed: must be whole\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_a_refusal_and_an_interrupt_have_their_codes(capsys, error, code, said):
    assert exit_code(raising(error)) == code
    assert capsys.readouterr() == ("", said)


def test_a_full_disk_is_a_line_that_promises_no_resumption(capsys):
    assert exit_code(raising(disk_full(Path("page.html"), 10))) == 75
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("page.html: no room for 10 bytes")
    assert "resumes" not in line


def test_an_error_of_ours_is_shown_whole_and_success_is_passed_on(capsys):
    assert exit_code(raising(RuntimeError("oh"))) == 70
    assert "Traceback" in capsys.readouterr().err
    assert [exit_code(lambda code=code: code) for code in (0, 1)] == [0, 1]


@pytest.fixture
def checked(tmp_path):
    """What checks a document that is up to date."""
    (tmp_path / "A.md").write_text("text")
    return lambda: exit_code(lambda: kept(tmp_path, {"A.md": "text"}, check=True, command="this"))


def test_output_that_nobody_reads_is_no_error(checked, monkeypatch, capsys):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        assert checked() == 0
    assert capsys.readouterr().err == ""


def test_output_without_room_is_a_line(checked, monkeypatch, capsys):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert checked() == 75
    assert capsys.readouterr().err == "standard output: No space left on device\n"
