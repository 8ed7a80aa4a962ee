"""Packages of extras that are missing: one line names them, the extra and the command, and nothing is begun."""

import importlib.metadata
import re
import sys
import tomllib

import pytest
from blocked import without
from liveness import finish
from source_tree import MODULES, ROOT

from experiments.runner.extras import PACKAGES, problems

CONFIG = f"--config={ROOT}/configs/dln_parsimony.py:smoke"
REMEDY = "(extra {0}): run make install and use .venv/bin/python, or pip install -e '.[{0}]' in the checkout"

# One package at a time is missing.
ONE_BY_ONE = """
import json
from experiments.main import main

for name in json.loads(sys.argv[1]):
    Blocked.names = {name}
    print(main(sys.argv[2:]), file=sys.stderr)
"""
IMPORTS = "import importlib\nfor name in sys.argv[1:]: importlib.import_module(name)"


def required(extra):
    """The packages that pyproject.toml has in an extra, and in what that extra includes."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = set() if extra in ("data", "cluster") else {name_of(line) for line in project["dependencies"]}
    for line in project["optional-dependencies"][extra]:
        if included := re.fullmatch(r"lawlib\[(.*)\]", line):
            names |= {name for other in included[1].split(",") for name in required(other)}
        else:
            names.add(name_of(line))
    return names


def name_of(line):
    return re.match(r"[\w.-]+", line)[0]


def alike(name):
    return name.lower().replace("_", "-")


@pytest.mark.parametrize("extra", PACKAGES)
def test_every_package_of_an_extra_is_known(extra):
    assert PACKAGES[extra].keys() == required(extra)


@pytest.mark.parametrize("extra", PACKAGES)
def test_every_package_installs_the_module_that_is_looked_for(extra):
    installed = importlib.metadata.packages_distributions()
    if extra == "cluster" and "distributed" not in installed:
        pytest.skip("dask.distributed is not installed (extra cluster)")
    for package, module in PACKAGES[extra].items():
        assert alike(package) in map(alike, installed[module.partition(".")[0]])
        assert importlib.util.find_spec(module).origin, f"{module} is a folder without code"
    assert problems("this", extra) == []


def test_without_any_package_of_an_extra_each_has_its_line(tmp_path):
    modules = PACKAGES["run"]
    words = [str(list(modules.values())).replace("'", '"'), CONFIG, f"--workdir={tmp_path / 'run'}"]
    child = finish([sys.executable, "-c", without() + ONE_BY_ONE, *words], cwd=ROOT)
    assert child.returncode == 0, child.stderr
    lines = child.stderr.splitlines()
    assert lines[::2] == [f"experiments needs {package} {REMEDY.format('run')}" for package in modules]
    assert lines[1::2] == ["2"] * len(modules)
    assert child.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("option", [[], ["--show"], ["--replot"]])
def test_a_python_without_packages_is_told_of_all_in_one_line(shell, tmp_path, option):
    code, out, err = shell.finish(CONFIG, f"--workdir={tmp_path / 'run'}", *option, python=["-S"])
    (line,) = err.splitlines()
    assert (code, out) == (2, "")
    assert line == f"experiments needs {', '.join(PACKAGES['run'])} {REMEDY.format('run')}"
    assert list(tmp_path.iterdir()) == []


def test_only_the_packages_asked_for_count(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "safetensors" else name)
    assert problems("this", "data", ["array_record"]) == []
    assert problems("this", "data", ["array_record", "safetensors"]) == problems("this", "data")
    assert problems("this", "data") == [f"this needs safetensors {REMEDY.format('data')}"]


def test_all_modules_import_without_the_packages_for_data():
    ours = sorted(name for name in MODULES if name.startswith("experiments.") and name != "experiments.main")
    assert "experiments.data.tfds_copies" in ours
    child = finish([sys.executable, "-c", without(*PACKAGES["data"].values()) + IMPORTS, *ours], cwd=ROOT)
    assert child.returncode == 0, child.stderr


def test_a_run_without_the_packages_for_data_is_refused_in_one_line(tmp_path):
    program = without(*PACKAGES["data"].values()) + "from experiments.main import main\nsys.exit(main(sys.argv[1:]))"
    words = [f"--config={ROOT}/configs/dln_fashion_mnist.py:smoke", f"--workdir={tmp_path / 'run'}"]
    child = finish([sys.executable, "-c", program, *words], cwd=ROOT)
    missing = "tensorflow-datasets, array_record, importlib_resources"
    assert child.stderr == f"reading fashion_mnist needs {missing} {REMEDY.format('data')}\n"
    assert (child.returncode, child.stdout) == (2, "")
    assert list(tmp_path.iterdir()) == []


def test_an_export_names_what_is_missing_too(tmp_path):
    """In a process without xarray: one line, and nothing is written."""
    call = "from experiments.export import main\nsys.exit(main(sys.argv[1:]))"
    words = [str(tmp_path / "run"), "--to=csv", f"-o={tmp_path / 'export'}"]
    child = finish([sys.executable, "-c", without("xarray") + call, *words], cwd=ROOT)
    assert (child.returncode, child.stderr) == (2, f"experiments.export needs xarray {REMEDY.format('run')}\n")
    assert not list(tmp_path.iterdir())
