"""Whatever ends a command becomes lines for people and an exit code."""

from pathlib import Path

import pytest

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
