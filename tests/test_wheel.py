"""The wheel: lawlib alone, and in an environment that holds nothing else the README's examples run."""

import re
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from liveness import finish, without_settings

import lawlib

ROOT = Path(__file__).parents[1]
EXAMPLES = "".join(re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL))
MOST_PACKAGES = 36


def called(*arguments):
    # From a folder of its own: the checkout's lawlib is not to be found.
    environment = without_settings() | {"PYTHONSAFEPATH": "1", "PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": ""}
    return finish([str(argument) for argument in arguments], env=environment, cwd=Path(arguments[0]).parent)


def pip(python, *words):
    """Called for another environment, which needs no pip of its own then."""
    return called(sys.executable, "-m", "pip", "--python", python, *words)


def installed(python, *what):
    # Of thousands of modules the tests import a few; those are compiled as they are imported.
    child = pip(python, "install", "--quiet", "--no-compile", "--constraint", ROOT / "constraints.txt", *what)
    if "No matching distribution" in child.stderr and "Failed to establish" in child.stderr:
        pytest.skip("no package index can be reached from here")
    assert child.returncode == 0, child.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    child = called(sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT)
    assert child.returncode == 0, child.stdout + child.stderr
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def python(tmp_path_factory, wheel):
    """The Python of an environment that has the wheel alone, and what it depends on."""
    folder = tmp_path_factory.mktemp("empty")
    assert called(sys.executable, "-m", "venv", "--without-pip", folder).returncode == 0
    installed(folder / "bin/python", wheel)
    return folder / "bin/python"


@pytest.mark.slow
def test_the_wheel_holds_every_module_of_lawlib_and_nothing_else(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "lawlib").rglob("*.py")}
    assert names == modules | {"lawlib/py.typed"}
    assert wheel.name == f"lawlib-{lawlib.__version__}-py3-none-any.whl"


@pytest.mark.slow
def test_the_wheel_alone_is_light_and_whole(python):
    listed = pip(python, "list", "--format=freeze")
    assert len(listed.stdout.split()) <= MOST_PACKAGES, listed.stdout
    version = "import lawlib, importlib.metadata as m; print(lawlib.__version__, m.version('lawlib'))"
    assert called(python, "-c", version).stdout.split() == [lawlib.__version__] * 2
    missing = called(python, "-W", "ignore", "-c", "import lawlib; lawlib.low_rank_mlp(0, 0, {}, 0, 0)")
    assert missing.stderr.splitlines()[-1].endswith("low_rank_mlp needs flax: pip install 'lawlib[flax]'")
    assert "No module named 'experiments'" in called(python, "-m", "experiments.main").stderr


@pytest.mark.slow
def test_the_wheel_alone_runs_the_examples_of_the_readme(python):
    """As a user would type them: no environment variable, no flag, no extra."""
    child = called(python, "-c", f"{EXAMPLES}\nassert 'site-packages' in complete.__code__.co_filename")
    assert child.returncode == 0, child.stderr
    assert [line for line in child.stderr.splitlines() if "Warning" in line and "jaxlib" not in line] == []


@pytest.mark.slow
def test_the_wheel_with_extras_compresses_a_head_and_draws_what_was_tracked(python, wheel):
    installed(python, f"{wheel}[flax,plots]")
    drawn = "from lawlib.tracking import dataset, picture\nassert picture(dataset(records(state))).axes"
    head = "import doctest, lawlib\n(found,) = doctest.DocTestFinder().find(lawlib.low_rank_mlp, globs={})"
    run = "done = doctest.DocTestRunner().run(found)\nassert done.failed == 0 < done.attempted"
    child = called(python, "-c", "\n".join((head, run, EXAMPLES, drawn)))
    assert child.returncode == 0, child.stdout + child.stderr


def test_the_version_stands_in_one_place():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" not in project["project"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "lawlib.__version__"}
