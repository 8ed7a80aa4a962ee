"""Where the experiments run, and what they say elsewhere, in processes of their own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.runner import checkout

ROOT = Path(__file__).parents[3]


@pytest.fixture
def refused(tmp_path):
    """The lines on stderr of a command in another folder, which ends with 2 and says nothing else."""

    def run(*arguments, pythonpath=None, python=()):
        env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        env |= {"PYTHONPATH": str(pythonpath)} if pythonpath else {}
        done = subprocess.run(
            [sys.executable, *python, "-m", "experiments.main", *arguments],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        return done.stderr.splitlines()

    return run


def test_this_is_a_checkout():
    assert checkout.SOURCE == ROOT
    assert checkout.problems() == []


@pytest.mark.parametrize("missing", [["configs"], ["pyproject.toml"], ["configs", "pyproject.toml"]])
def test_a_folder_without_the_marks_of_a_checkout(tmp_path, missing):
    for name in {"configs", "pyproject.toml"} - set(missing):
        (tmp_path / name).mkdir()
    (line,) = checkout.problems(tmp_path)
    assert line.startswith(f"experiments runs from a checkout of lawlib, and {tmp_path}/experiments is not in one: ")
    assert f"has no {' and no '.join(missing)}; clone lawlib" in line


@pytest.mark.slow
@pytest.mark.parametrize("words", [["--list"], [f"--config={ROOT}/configs/dln_parsimony.py:smoke"]])
def test_a_copy_of_the_experiments_alone(refused, tmp_path, words):
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments", ignore=shutil.ignore_patterns("__pycache__"))
    (line,) = refused(*words)
    assert "has no configs and no pyproject.toml; clone lawlib, cd into it and run this there" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["experiments"]


@pytest.mark.slow
# -S: an editable install of this checkout cannot lend the other lawlib its modules
@pytest.mark.parametrize(("modules", "python"), [(["__init__.py", "cpu.py"], []), (["types.py"], ["-S"])])
def test_another_lawlib_that_comes_first(refused, tmp_path, modules, python):
    (tmp_path / "lawlib").mkdir()
    (tmp_path / "lawlib" / "__init__.py").touch()  # version 0.1 has no more, and no cpu.py
    for name in modules:
        shutil.copyfile(ROOT / "lawlib" / name, tmp_path / "lawlib" / name)
    (line,) = refused(f"--config={ROOT}/configs/dln_parsimony.py:smoke", pythonpath=ROOT, python=python)
    wanted = f"not from {ROOT / 'lawlib'}; run this in its checkout: cd {ROOT}"
    assert line == f"lawlib would be imported from {tmp_path.resolve() / 'lawlib'}, {wanted}"


@pytest.mark.slow
def test_a_checkout_without_lawlib(refused, tmp_path):
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "configs").mkdir()
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "lawlib").mkdir()  # a folder without __init__.py is no package of ours
    (line,) = refused("--list")
    assert line.startswith("lawlib would be imported from ")
    assert line.endswith(f"run this in its checkout: cd {tmp_path.resolve()}")


@pytest.mark.slow
def test_a_config_that_only_the_checkout_has(refused, tmp_path):
    (line,) = refused("--config=configs/dln_parsimony.py:smoke", pythonpath=ROOT)
    assert line == (
        f"--config=configs/dln_parsimony.py:smoke: there is no file configs/dln_parsimony.py in {tmp_path}, but the "
        f"checkout has one: write --config={ROOT}/configs/dln_parsimony.py:smoke (the run folder is then in "
        f"{tmp_path}/runs), or cd {ROOT} first"
    )
