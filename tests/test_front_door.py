"""The front door: about twenty names, each the thing itself, imported when it is asked for."""

import ast
import importlib
import inspect
import pydoc
import sys
from pathlib import Path

import pytest
from liveness import finish, without_settings

import lawlib

ROOT = Path(__file__).parents[1]
NAMES = [name for name in dir(lawlib) if not name.startswith("__")]
FUNCTIONS = [name for name in NAMES if not inspect.ismodule(getattr(lawlib, name))]


def python(code):
    child = finish([sys.executable, "-W", "ignore", "-c", code], env=without_settings(), cwd=ROOT)
    assert child.returncode == 0, child.stderr
    return child.stdout.split()


def test_there_are_about_twenty_names_and_the_version():
    assert 18 <= len(NAMES) <= 24
    assert "__version__" in dir(lawlib)
    assert sorted(NAMES) == NAMES


def declared():
    """What type checkers are told: name and module of each import under TYPE_CHECKING."""
    tree = ast.parse(Path(inspect.getfile(lawlib)).read_text())
    block, _ = (node for node in tree.body if isinstance(node, ast.If))
    return {name.asname: node.module for node in block.body for name in node.names}


def test_type_checkers_and_python_find_the_same_names():
    assert set(declared()) == set(NAMES) - {"cpu_flags"}
    for name, module in declared().items():
        found, home = getattr(lawlib, name), importlib.import_module(module)
        assert found is (
            importlib.import_module(f"{module}.{name}") if inspect.ismodule(found) else getattr(home, name)
        )


def test_each_name_comes_out_of_a_fresh_process_alone():
    asked = "import lawlib; print(*(getattr(lawlib, n).__name__.split('.')[-1] for n in dir(lawlib) if n[0] != '_'))"
    assert python(asked) == NAMES


def test_importing_lawlib_imports_no_jax():
    assert python("import lawlib, sys; print('jax' in sys.modules, 'numpy' in sys.modules)") == ["False", "False"]


@pytest.mark.parametrize("name", ["completes", "dynamics.sweep", "_LAW"])
def test_a_name_that_it_does_not_have_is_refused_with_where_to_look(name):
    with pytest.raises(AttributeError, match=rf"lawlib has no '{name}'; dir\(lawlib\)"):
        getattr(lawlib, name)


def test_packages_come_when_they_are_asked_for():
    asked = "import lawlib; print(lawlib.theory.__name__, lawlib.dynamics.__name__, lawlib.compress.init.__name__)"
    assert python(asked) == ["lawlib.theory", "lawlib.dynamics", "init"]


def test_help_is_a_page_that_names_every_name():
    page = pydoc.render_doc(lawlib, renderer=pydoc.plaintext)
    assert len(page.splitlines()) < 100
    documented = pydoc.getdoc(lawlib)
    assert [name for name in NAMES if name not in documented] == []


EXAMPLES = """
import doctest, lawlib, sys
for name in sys.argv[1:]:
    (found,) = doctest.DocTestFinder(recurse=False).find(getattr(lawlib, name), name, globs={})
    print(name, *doctest.DocTestRunner().run(found)[:2], file=sys.stderr)
"""


def test_each_function_has_an_example_that_runs_as_it_stands():
    """In a process with JAX's own settings, as a user's."""
    child = finish([sys.executable, "-W", "ignore", "-c", EXAMPLES, *FUNCTIONS], env=without_settings(), cwd=ROOT)
    told = [line.split() for line in child.stderr.splitlines()]
    assert [name for name, *_ in told] == FUNCTIONS, child.stderr
    assert [name for name, failed, tried in told if failed != "0" or tried == "0"] == [], child.stdout
