"""make takes the newest Python that can make an environment, and says what is wrong with one that it is given."""

from pathlib import Path

import pytest
from liveness import finish

ROOT = Path(__file__).parents[1]
USABLE, UNUSABLE = "exit 0", 'test "$1" = --version && echo Python 3.9.18 || exit 1'


@pytest.fixture
def find(tmp_path):
    """Run the script where only the given Pythons are installed, in PATH or among pyenv's versions."""

    def run(*arguments, pythons, **environment):
        for place, code in pythons.items():
            path = tmp_path / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"#!/bin/sh\n{code}\n")
            path.chmod(0o755)
        settings = {"PATH": str(tmp_path / "bin"), "PYENV_ROOT": str(tmp_path / "pyenv"), "HOME": str(tmp_path)}
        child = finish(["/bin/sh", str(ROOT / ".ci/find_python"), *arguments], env=settings | environment, cwd=tmp_path)
        return child.returncode, child.stdout.strip().removeprefix(f"{tmp_path}/"), child.stderr

    return run


OF_PYENV = "pyenv/versions/3.13.0/bin/python"


@pytest.mark.parametrize(
    ("pythons", "arguments", "wanted"),
    [
        ({"bin/python3.11": USABLE, "bin/python3.13": USABLE, "bin/python3.12": USABLE}, (), "python3.13"),
        ({"bin/python3.14": UNUSABLE, "bin/python3.12": USABLE}, (), "python3.12"),
        ({"bin/python3.13": UNUSABLE, OF_PYENV: USABLE, "bin/python3.11": USABLE}, (), OF_PYENV),
        ({"bin/python3.13": USABLE, "bin/python3.11": USABLE}, ("11",), "python3.11"),
        ({"bin/python3.15": USABLE, "bin/python3.10": USABLE, "bin/python3": USABLE}, (), "python3"),
    ],
)
def test_the_newest_is_found(find, pythons, arguments, wanted):
    assert find(*arguments, pythons=pythons) == (0, wanted, "")


@pytest.mark.parametrize(
    ("given", "wanted"), [("python3.11", "python3.11"), ("python3.13", OF_PYENV), ("mine/python", "mine/python")]
)
def test_the_given_one_is_taken(find, given, wanted):
    pythons = {"bin/python3.11": USABLE, "bin/python3.12": USABLE, OF_PYENV: USABLE, "mine/python": USABLE}
    assert find(pythons=pythons, PYTHON=given) == (0, wanted, "")


@pytest.mark.parametrize(
    ("given", "pythons", "said"),
    [
        ({}, {}, "python3 is not installed"),
        ({}, {"bin/python3": UNUSABLE}, "python3 is Python 3.9.18"),
        ({"PYTHON": "python3.9"}, {"bin/python3.9": UNUSABLE, "bin/python3.13": USABLE}, "python3.9 is Python 3.9.18"),
        ({"PYTHON": "python3.14"}, {"bin/python3.13": USABLE}, "python3.14 is not installed"),
    ],
)
def test_one_that_cannot_be_used_is_named_with_the_mend(find, given, pythons, said):
    code, found, problem = find(pythons=pythons, **given)
    assert (code, found) == (1, "")
    assert problem.startswith("lawlib needs Python 3.11 to 3.14 with its modules venv and ensurepip")
    assert said in problem
    assert "make install PYTHON=/path/to/python" in problem
