"""The shape of the house: imports point one way, files and functions stay small, public functions are documented."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60

OUTSIDE_LAWLIB = {"jax", "numpy", "flax", "optax", "jaxtyping", "diffrax", "matfree"}
LEVELS = (
    {"types"},
    {
        "activations",
        "convolution",
        "curvature",
        "entries",
        "flows",
        "initializers",
        "kernel_uses",
        "samples",
        "schedules",
        "spectra",
        "stopping",
        "subspaces",
        "transforms",
    },
    {
        "batches",
        "centering",
        "descent",
        "entry_descent",
        "parametrizations",
        "plain_layers",
        "networks",
        "problems",
        "signals",
        "layouts",
        "tracking",
    },
    {"theory", "guesses", "gradient_spectra", "heads"},
    {"low_rank_start", "head_checks"},
    {"compress"},
    {"compressed_network"},
    {"fitting"},
    {"completion"},
)
# These know no network and no law, whatever the level.
ALLOWED_APART = {"dynamics": {"types"}, "sweep": {"types", "dynamics"}}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def sources(*rooms):
    return sorted(path for room in rooms for path in (ROOT / room).rglob("*.py"))


def relative(path):
    return str(path.relative_to(ROOT))


def imports(source):
    """Every module that a source imports, wherever the import stands; relative ones keep their leading dots."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            # `from lawlib import theory` imports lawlib.theory.
            names = {f"{module}.{alias.name}" for alias in node.names}
            found |= names if module in {"lawlib", "experiments"} else {module}
    return found


def level_of(module):
    return next((i for i, level in enumerate(LEVELS) if module in level), None)


def allowed_inside(module):
    """What a module of lawlib may import of lawlib: the levels below its own, and no neighbour."""
    if module in ALLOWED_APART:
        return ALLOWED_APART[module]
    level = level_of(module)
    return set().union(*LEVELS[:level]) if level else set()


def import_faults(name, source):
    """The imports of the module ``name`` (lawlib.subspaces) that the design forbids; relative ones are among them."""
    package, _, module = name.partition(".")
    faults = []
    for imported in sorted(imports(source)):
        top, _, rest = imported.partition(".")
        if package == "configs":
            fine = top == "ml_collections"
        elif package == "experiments":
            fine = top not in {"configs", ""}
        elif top == "lawlib":
            # A package gathers what is in it.
            fine = rest.split(".")[0] in allowed_inside(module.split(".")[0]) or rest.startswith(f"{module}.")
        else:
            fine = top in OUTSIDE_LAWLIB or top in sys.stdlib_module_names
        if not fine:
            faults.append(f"{name} imports {imported}")
    return faults


def module_name(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def functions(source):
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, Function)]


def length_without_docstring(function):
    first = function.body[0]
    is_docstring = ast.get_docstring(function) is not None
    docstring = first.end_lineno - first.lineno + 1 if is_docstring else 0
    return function.end_lineno - function.lineno + 1 - docstring


def file_faults(source):
    num_lines = len(source.splitlines())
    return [f"{num_lines} lines, at most {MAX_FILE_LINES}"] if num_lines > MAX_FILE_LINES else []


def size_faults(source):
    faults = file_faults(source)
    for function in functions(source):
        length = length_without_docstring(function)
        if length > MAX_FUNCTION_LINES:
            faults.append(f"{function.name} has {length} lines, at most {MAX_FUNCTION_LINES}")
    return faults


def undocumented(source):
    """Public functions and classes at the top, and public methods of public classes, that have no docstring."""
    tree = ast.parse(source)
    documented = (*Function.__args__, ast.ClassDef)
    public = [node for node in tree.body if isinstance(node, documented) and not node.name.startswith("_")]
    for owner in [node for node in public if isinstance(node, ast.ClassDef)]:
        public += [node for node in owner.body if isinstance(node, Function) and not node.name.startswith("_")]
    return [node.name for node in public if ast.get_docstring(node) is None]


@pytest.mark.parametrize("path", sources("lawlib", "experiments", "configs"), ids=relative)
def test_imports_point_one_way(path):
    assert not import_faults(module_name(path), path.read_text())


def test_every_module_of_lawlib_has_its_place():
    rooms = (ROOT / "lawlib").iterdir()
    modules = {path.stem for path in rooms if path.suffix == ".py" or (path / "__init__.py").exists()}
    unknown = {m for m in modules - {"__init__"} - set(ALLOWED_APART) if level_of(m) is None}
    assert not unknown, f"name the level of {unknown} in LEVELS"


@pytest.mark.parametrize("path", sources("lawlib", "experiments"), ids=relative)
def test_files_and_functions_stay_small(path):
    assert not size_faults(path.read_text())


@pytest.mark.parametrize("path", sources("tests"), ids=relative)
def test_files_of_tests_stay_small(path):
    assert not file_faults(path.read_text())


@pytest.mark.parametrize("path", sources("lawlib"), ids=relative)
def test_public_names_are_documented(path):
    assert not undocumented(path.read_text())


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("lawlib.subspaces", "import scipy.linalg"),
        ("lawlib.subspaces", "from lawlib.initializers import orthogonal"),
        ("lawlib.subspaces", "def f():\n    from lawlib.theory import parsimony"),
        ("lawlib.subspaces", "from lawlib import theory"),
        ("lawlib.subspaces", "import lawlib"),
        ("lawlib.subspaces", "from . import problems"),
        ("lawlib.subspaces", "from .problems import whiten"),
        ("lawlib.theory.parsimony", "from ..subspaces import complement"),
        ("lawlib.theory.parsimony", "from lawlib.dynamics import simulate"),
        ("lawlib.theory.parsimony", "from lawlib.theory.induced_flow import rate"),
        ("lawlib.theory.parsimony", "import lawlib.dynamics"),
        ("lawlib.theory.parsimony", "from lawlib.compress import expand"),
        ("lawlib.compress.deep_linear", "from lawlib.compress.mlp import low_rank_mlp"),
        ("lawlib.theory.parsimony", "import experiments.store"),
        ("lawlib.problems", "from lawlib.networks.deep_linear import end_to_end"),
        ("lawlib.dynamics", "from lawlib.sweep import sweep"),
        ("lawlib.sweep", "if True:\n    from lawlib.descent import heavy_ball"),
        ("lawlib.types", "from lawlib.subspaces import wedin"),
        ("experiments.main", "import configs.dln_parsimony"),
        ("configs.dln_parsimony", "import math"),
        ("configs.dln_parsimony", "from lawlib.types import Array"),
    ],
)
def test_a_forbidden_import_is_seen(name, source):
    assert len(import_faults(name, source)) == 1


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("lawlib.theory.parsimony", "from lawlib.networks.deep_linear import end_to_end"),
        ("lawlib.theory.parsimony", "from lawlib.subspaces import complement\nimport math\nfrom lawlib import types"),
        ("lawlib.sweep", "from lawlib.dynamics import until\nfrom jax import lax"),
        ("lawlib.compress", "from lawlib.theory.parsimony import invariant_frames"),
        ("lawlib.compress", "from lawlib.compress.mlp import low_rank_mlp"),
        ("experiments.main", "from lawlib.sweep import sweep\nimport rich, experiments.store"),
        ("configs.dln_parsimony", "from ml_collections import config_dict"),
    ],
)
def test_an_allowed_import_passes(name, source):
    assert not import_faults(name, source)


def test_a_long_file_and_a_long_function_are_seen():
    body = "    x = 1\n" * MAX_FUNCTION_LINES
    docstring = '    """A long\n' + "    story.\n" * 30 + '    """\n'
    assert size_faults("def f():\n" + body) == ["f has 61 lines, at most 60"]
    assert size_faults("class C:\n  def f():\n" + body) == ["f has 61 lines, at most 60"]
    assert not size_faults("def f():\n" + docstring + body[len("    x = 1\n") :])
    assert size_faults("x = 1\n" * 401) == ["401 lines, at most 400"]
    assert not size_faults("x = 1\n" * 400)


def test_a_missing_docstring_is_seen():
    source = "def f(): pass\ndef _g(): pass\nclass C:\n    def h(self): pass\n    def _i(self): pass\n"
    assert undocumented(source) == ["f", "C", "h"]
