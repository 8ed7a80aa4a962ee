"""The shape of the house: files and functions stay small, names are documented and have one home, tests mirror code."""

import ast
import functools
from collections import defaultdict

import pytest
from source_tree import (
    DOORS,
    MODULES,
    ROOT,
    Function,
    defined,
    imported,
    listed,
    module_name,
    relative,
    sources,
    target,
)

MAX_FILE_LINES, MAX_TEST_FILE_LINES = 400, 600
MAX_FUNCTION_LINES = 60
# The words of annotations come from several libraries and are imported from here.
GATHERING = DOORS | {"lawlib.types"}


def file_faults(source, limit=MAX_FILE_LINES):
    num_lines = len(source.splitlines())
    return [f"{num_lines} lines, at most {limit}"] if num_lines > limit else []


def size_faults(source):
    faults = file_faults(source)
    for function in (node for node in ast.walk(ast.parse(source)) if isinstance(node, Function)):
        length = length_without_docstring(function)
        if length > MAX_FUNCTION_LINES:
            faults.append(f"{function.name} has {length} lines, at most {MAX_FUNCTION_LINES}")
    return faults


def length_without_docstring(function):
    first = function.body[0]
    is_docstring = ast.get_docstring(function) is not None
    docstring = first.end_lineno - first.lineno + 1 if is_docstring else 0
    return function.end_lineno - function.lineno + 1 - docstring


def undocumented(source):
    """Public functions and classes at the top, and public methods of public classes, that have no docstring."""
    tree = ast.parse(source)
    documented = (*Function.__args__, ast.ClassDef)
    public = [node for node in tree.body if isinstance(node, documented) and not node.name.startswith("_")]
    for owner in [node for node in public if isinstance(node, ast.ClassDef)]:
        public += [node for node in owner.body if isinstance(node, Function) and not node.name.startswith("_")]
    return [node.name for node in public if ast.get_docstring(node) is None]


def borrowed(source):
    """Names that a source takes from a module of the project which does not define them, as ``module.name``.

    A package may list names of its own modules; every other module offers what it defines.
    """
    modules, taken = {}, set()
    for found in imported(source):
        if found.module in MODULES and target(found) == found.module and found.name:
            taken.add((found.module, found.name))
        elif target(found) in MODULES:
            modules[found.bound] = target(found)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            taken.add((modules[node.value.id], node.attr))
    return sorted(f"{module}.{name}" for module, name in taken if name not in offered(module))


@functools.cache
def offered(module):
    """What a module defines; of a package, what it lists and its modules as well."""
    tree = ast.parse(MODULES[module].read_text())
    names = set(defined(tree)) | {"__doc__", "__file__", "__name__", "__path__"}
    if module in GATHERING:
        names |= listed(tree) | {other.rpartition(".")[2] for other in MODULES if other.rpartition(".")[0] == module}
    return names


def handed_on(source):
    """Public names that a module gives to others though it does not define them: in ``__all__``, or as an alias."""
    tree = ast.parse(source)
    own, foreign = defined(tree), {found.bound for found in imported(source) if target(found) in MODULES}
    aliases = {
        name
        for name, node in own.items()
        if isinstance(node, ast.Assign)
        and name in {_root(one) for one in node.targets}
        and not name.startswith("_")
        and _root(node.value) in foreign
    }
    return sorted(aliases | (listed(tree) - set(own)))


def _root(value):
    """The name that `name` or `name.attribute` starts with."""
    while isinstance(value, ast.Attribute):
        value = value.value
    return value.id if isinstance(value, ast.Name) else None


def written_twice(trees):
    """The names that two modules define by the same code, with those modules; a number may be chosen twice."""
    homes = defaultdict(list)
    for module, tree in trees.items():
        for name, node in defined(tree).items():
            if not name.startswith("__") and not isinstance(getattr(node, "value", None), ast.Constant):
                homes[name, ast.dump(node)].append(module)
    return {name: modules for (name, _), modules in homes.items() if len(modules) > 1}


def mirrored(path):
    """Whether a file of tests lies where the code lies that it tests, and is named for a module there.

    What is true of several laws is tested in a folder above theirs, and so is what is true of all directives and pages.
    """
    room = path.parent.relative_to(ROOT / "tests")
    several = room.parts[:2] == ("experiments", "laws")
    whole = {"laws"} if several else {"directives", "docs"} if room.parts == ("docs",) else set()
    modules = {module.stem for module in (ROOT / room).glob("**/*.py" if several else "*.py")} - {"__init__"}
    subject = path.stem.removeprefix("test_")
    return any(f"{subject}_".startswith(f"{module}_") for module in modules | whole)


@pytest.mark.parametrize("path", sources("lawlib", "experiments"), ids=relative)
def test_files_and_functions_stay_small(path):
    assert not size_faults(path.read_text())


@pytest.mark.parametrize("path", sources("tests"), ids=relative)
def test_files_of_tests_stay_small(path):
    assert not file_faults(path.read_text(), MAX_TEST_FILE_LINES)


@pytest.mark.parametrize("path", sources("lawlib"), ids=relative)
def test_public_names_are_documented(path):
    assert not undocumented(path.read_text())


@pytest.mark.parametrize("path", sources("lawlib", "experiments", "configs", "benchmarks", "tests"), ids=relative)
def test_names_are_taken_from_where_they_are_defined(path):
    assert not borrowed(path.read_text())


@pytest.mark.parametrize("path", sources("lawlib", "experiments"), ids=relative)
def test_a_module_offers_nothing_that_it_does_not_define(path):
    assert module_name(path) in GATHERING or not handed_on(path.read_text())


def test_no_definition_of_lawlib_is_written_twice():
    assert not written_twice({module_name(path): ast.parse(path.read_text()) for path in sources("lawlib")})


@pytest.mark.parametrize("path", sorted((ROOT / "tests").glob("*/**/test_*.py")), ids=relative)
def test_tests_mirror_the_code(path):
    assert mirrored(path), f"{relative(path)} is named for no module of {path.parent.relative_to(ROOT / 'tests')}"


def test_a_long_file_and_a_long_function_are_seen():
    body = "    x = 1\n" * MAX_FUNCTION_LINES
    docstring = '    """A long\n' + "    story.\n" * 30 + '    """\n'
    assert size_faults("def f():\n" + body) == ["f has 61 lines, at most 60"]
    assert size_faults("class C:\n  def f():\n" + body) == ["f has 61 lines, at most 60"]
    assert not size_faults("def f():\n" + docstring + body[len("    x = 1\n") :])
    assert size_faults("x = 1\n" * 401) == ["401 lines, at most 400"]
    assert not size_faults("x = 1\n" * 400)
    assert file_faults("x = 1\n" * 601, MAX_TEST_FILE_LINES) == ["601 lines, at most 600"]


def test_a_missing_docstring_is_seen():
    source = "def f(): pass\ndef _g(): pass\nclass C:\n    def h(self): pass\n    def _i(self): pass\n"
    assert undocumented(source) == ["f", "C", "h"]


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ("from lawlib.descent.rates import orthonormal_rows", ["lawlib.descent.rates.orthonormal_rows"]),
        ("def f():\n    from lawlib.tracking import Array as A", ["lawlib.tracking.Array"]),
        ("from lawlib.descent import rates as r\nr.jnp.ones(2)", ["lawlib.descent.rates.jnp"]),
        ("import lawlib.tracking as t\nt.no_such_name", ["lawlib.tracking.no_such_name"]),
        ("from lawlib.compress import head_checks, reduce, Array", ["lawlib.compress.Array"]),
        ("from lawlib.tracking import tracker\nfrom lawlib import types\ntypes.Array, types.__name__", []),
    ],
)
def test_a_borrowed_name_is_seen(source, seen):
    assert borrowed(source) == seen


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ("from lawlib.tracking import tracker\n__all__ = ['f', 'tracker']\ndef f(): pass", ["tracker"]),
        ("from lawlib import tracking\nfollow = tracking.tracker", ["follow"]),
        ("from lawlib.tracking import tracker\nfollow = tracker", ["follow"]),
        ("from lawlib import tracking\n_follow = tracking.tracker\na, b = tracking.AB\nf = max", []),
    ],
)
def test_a_name_that_is_handed_on_is_seen(source, seen):
    assert handed_on(source) == seen


def test_a_definition_that_is_written_twice_is_seen():
    same = "x = f(1)\nn = 60\n__all__ = []\n"
    sources_of = {"a": same + "y = g(1)", "b": same + "y = g(2)", "c": "def x(): pass"}
    assert written_twice({name: ast.parse(text) for name, text in sources_of.items()}) == {"x": ["a", "b"]}


@pytest.mark.parametrize(
    ("path", "fits"),
    [
        ("tests/lawlib/linalg/test_spectra.py", True),
        ("tests/lawlib/linalg/test_spectra_wide.py", True),
        ("tests/lawlib/linalg/test_spectral.py", False),
        ("tests/lawlib/descent/test_spectra.py", False),
        ("tests/lawlib/test_extras.py", True),
        ("tests/docs/test_directives.py", True),
        ("tests/docs/extension/test_signatures.py", True),
        ("tests/docs/extension/test_directives.py", False),
        ("tests/lawlib/compress/test_compress.py", False),
        ("tests/experiments/test_main.py", True),
        ("tests/experiments/runner/test_main.py", False),
        ("tests/experiments/laws/test_laws.py", True),
        ("tests/experiments/laws/inverse_problems/test_system.py", True),
        ("tests/experiments/laws/collapse/test_common.py", False),
        ("tests/experiments/laws/parsimony/theorem/test_system.py", True),
    ],
)
def test_a_file_of_tests_in_another_room_is_seen(path, fits):
    assert mirrored(ROOT / path) == fits
