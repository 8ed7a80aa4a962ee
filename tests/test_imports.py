"""Imports point one way: from experiments to lawlib, from laws to the runner, and down the levels of each."""

import graphlib
import sys

import pytest
from liveness import finish
from source_tree import DOORS, MODULES, ROOT, imports, module_name, relative, sources

OUTSIDE_LAWLIB = {"jax", "numpy", "flax", "optax", "jaxtyping", "diffrax", "matfree", "matplotlib", "xarray"}
# Packages of lawlib; each imports only packages of the sets above its own.
LEVELS = (
    {"types", "cpu", "extras"},
    {"checks", "frameworks"},
    {"linalg", "networks", "problems", "dynamics"},
    {"descent", "tracking"},
    {"theory"},
    {"compress", "diagnose"},
    {"completion"},
)
# Whatever the levels say, a law does not know how it is run, and no law knows another.
STRANGERS = {"theory": {"dynamics", "theory"}}

LAWS = "experiments.laws"
# Who reads finished runs, and which readers each of them knows; laws and runner know none.
READERS = {
    "runs": set(),
    "exporters": {"runs", "exporters"},
    "export": {"runs", "exporters"},
    "reporting": {"runs", "mission", "reporting"},
    "report": {"reporting"},
    "papers": {"papers"},
    "published": {"papers"},
    "other_seed": {"published"},
    "summaries": {"published"},
    "mission": {"published", "papers"},
    "readme": {"published", "papers"},
    "figures": {"readme"},
}
# Of the runner, data knows which packages are missing, how a bad input is refused and how a file is kept.
OF_RUNNER_IN_DATA = {"experiments.runner.extras", "experiments.runner.files", "experiments.runner.store"}
# The modules of a law, and what none of them may know: a system runs without being judged, claims judge what no
# figure has drawn, and only figures draw.
DRAWING = {"experiments.runner.plots", "matplotlib"}
APART = {
    "system": {"claims", "figures"} | DRAWING,
    "measures": {"claims", "figures"} | DRAWING,
    "claims": {"figures"},
    "figures": {"claims"},
}


def packages_of_lawlib():
    return {name.split(".")[1] for name in MODULES if name.startswith("lawlib.")}


def level_of(package):
    return next((i for i, level in enumerate(LEVELS) if package in level), 0)


def fits_lawlib(name, imported):
    """Whether a module of lawlib may import this one."""
    top, *rest = imported.split(".")
    if top != "lawlib":
        return top in OUTSIDE_LAWLIB or top in sys.stdlib_module_names
    if name == "lawlib":  # the front door
        return True
    own, other = name.split(".")[1], rest[0] if rest else ""
    if other in STRANGERS.get(own, ()):
        return other == own and (name in DOORS or of_one_law(name, imported))
    return other == own or other in set().union(*LEVELS[: level_of(own)])


def of_one_law(name, imported):
    """Whether two modules of lawlib.theory are of one law: ``parsimony`` and ``parsimony_widths``."""
    shorter, longer = sorted(".".join(module.split(".")[2:3]) for module in (name, imported))
    return bool(shorter) and longer.startswith(f"{shorter}_")


def fits_experiments(name, imported):
    """Whether a module of the experiments may import this one."""
    top, *rest = imported.split(".")
    if top != "experiments" or not rest:
        return top in {"experiments", "lawlib"} or top not in {"", "benchmarks", "configs", "tests"}
    room = name.split(".")[1:2]
    if room == ["laws"]:
        return fits_law(name, imported)
    if room == ["data"]:
        return rest[0] == "data" or imported in OF_RUNNER_IN_DATA
    if rest[0] in READERS.get(room[0] if room else "", ()):
        return True
    # Who runs laws finds them by name, in a package that is empty itself.
    return rest[0] == "runner" or imported == LAWS


def fits_law(name, imported):
    """Whether a module of a law may import this one: of laws its own folder, and what its family shares above it."""
    if imported == LAWS or imported.startswith(f"{LAWS}."):
        folder = imported if imported in DOORS else imported.rpartition(".")[0]
        own = name if name in DOORS else name.rpartition(".")[0]
        return folder != LAWS and f"{own}.".startswith(f"{folder}.")
    return imported.split(".")[1] in {"runner", "data"}


def apart(name, imported):
    """Whether the two are modules of a law, or means of drawing, that must not know each other."""
    forbidden = APART.get(name.rpartition(".")[2], set()) if name.startswith(f"{LAWS}.") else set()
    role = imported.rpartition(".")[2] if imported.startswith(f"{LAWS}.") else ""
    return role in forbidden or imported in forbidden or imported.partition(".")[0] in forbidden


def import_faults(name, source):
    """The imports of the module ``name`` (lawlib.tracking) that the house forbids; relative ones are among them."""
    package = name.partition(".")[0]
    faults = []
    for imported in sorted(imports(source)):
        if package == "configs":
            fine = imported.partition(".")[0] == "ml_collections"
        elif package == "lawlib":
            fine = fits_lawlib(name, imported)
        else:
            fine = fits_experiments(name, imported) and not apart(name, imported)
        if not fine:
            faults.append(f"{name} imports {imported}")
    return faults


def cycle(graph):
    """Modules that import each other in a ring; none where imports have an order."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


@pytest.mark.parametrize("path", sources("lawlib", "experiments", "configs"), ids=relative)
def test_imports_point_one_way(path):
    assert not import_faults(module_name(path), path.read_text())


def test_every_package_of_lawlib_has_one_level():
    assert sorted(package for level in LEVELS for package in level) == sorted(packages_of_lawlib())


def test_no_modules_import_each_other_in_a_ring():
    assert not cycle({name: imports(path.read_text()) & set(MODULES) for name, path in MODULES.items()})


def test_the_package_of_all_laws_imports_nothing():
    assert not imports(MODULES[LAWS].read_text())


def test_lawlib_alone_pulls_in_no_differential_equations_no_networks_and_no_figures():
    child = finish([sys.executable, "-c", "import sys, lawlib; print(*sys.modules, sep='\\n')"], cwd=ROOT)
    assert child.returncode == 0, child.stderr
    loaded = set(child.stdout.splitlines())
    assert "lawlib" in loaded
    assert not loaded & {"diffrax", "flax", "matplotlib", "xarray"}


# Each module in a process of its own, forked when only other people's libraries are loaded.
ALONE = f"""
import importlib, os, sys, traceback, warnings
import {", ".join(sorted(OUTSIDE_LAWLIB))}
warnings.simplefilter("ignore")
for name in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        try:
            importlib.import_module(name)
            assert "experiments" not in sys.modules, name + " imports experiments"
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        print(name)
"""


def alone(*modules):
    """Those of the modules that cannot be imported by themselves, and what they say."""
    child = finish([sys.executable, "-c", ALONE, *modules], cwd=ROOT)
    assert child.returncode == 0, child.stderr
    return child.stdout.split(), child.stderr


def test_every_module_of_lawlib_imports_by_itself_without_experiments():
    failed, said = alone(*(name for name in sorted(MODULES) if name.partition(".")[0] == "lawlib"))
    assert not failed, said


def test_a_module_that_cannot_be_imported_or_needs_experiments_is_seen():
    failed, said = alone("lawlib.nothing", "lawlib.types", "experiments.runner.fields")
    assert failed == ["lawlib.nothing", "experiments.runner.fields"]
    assert "No module named 'lawlib.nothing'" in said
    assert "experiments.runner.fields imports experiments" in said


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("lawlib.linalg.subspaces", "import scipy.linalg"),
        ("lawlib.linalg.subspaces", "from lawlib.networks.initializers import orthogonal"),
        ("lawlib.linalg.subspaces", "def f():\n    from lawlib.theory import parsimony"),
        ("lawlib.linalg.subspaces", "from lawlib import theory"),
        ("lawlib.linalg.subspaces", "import lawlib"),
        ("lawlib.linalg.subspaces", "from . import spectra"),
        ("lawlib.linalg.subspaces", "from .spectra import matrix_products"),
        ("lawlib.networks.mlp", "from lawlib.descent import rates"),
        ("lawlib.networks.mlp", "import lawlib.problems.synthetic"),
        ("lawlib.problems.synthetic", "from lawlib.networks.deep_linear import end_to_end"),
        ("lawlib.descent.steps", "from lawlib.tracking import tracker"),
        ("lawlib.tracking", "from lawlib.descent.steps import Iterate"),
        ("lawlib.theory.parsimony", "from ..linalg.subspaces import complement"),
        ("lawlib.theory.parsimony", "from lawlib.dynamics.system import simulate"),
        ("lawlib.theory.parsimony", "import lawlib.dynamics"),
        ("lawlib.theory.parsimony", "from lawlib.theory.induced_flow import rate"),
        ("lawlib.theory.parsimony", "from lawlib.theory import induced_flow"),
        ("lawlib.theory.parsimony", "import lawlib.theory"),
        ("lawlib.theory.parsimony", "from lawlib.compress import expand"),
        ("lawlib.theory.parsimony", "import experiments.runner.store"),
        ("lawlib.dynamics.system", "from lawlib.theory.parsimony import rho_square"),
        ("lawlib.dynamics.sweep", "if True:\n    from lawlib.descent.steps import heavy_ball"),
        ("lawlib.compress.head", "from lawlib.completion import complete"),
        ("lawlib.types", "from lawlib.linalg.subspaces import wedin"),
        ("lawlib", "import experiments"),
        ("experiments.main", "import configs.dln_parsimony"),
        ("experiments.main", "from experiments.laws.collapse import system"),
        ("experiments.runner.run", "import experiments.laws.collapse"),
        ("experiments.runner.run", "from experiments.data import datasets"),
        ("experiments.runner.run", "from . import store"),
        ("experiments.data.idx", "from experiments.laws.collapse.system import dynamics"),
        ("experiments.data.idx", "from experiments.runner import settings"),
        ("experiments.laws.collapse.system", "from experiments.laws.parsimony.theorem.measures import gap"),
        ("experiments.laws.collapse.system", "from experiments.laws import parsimony"),
        ("experiments.laws.inverse_problems.decay.system", "from experiments.laws.inverse_problems import theorem"),
        ("experiments.laws.inverse_problems.decay.claims", "import experiments.laws.inverse_problems.theorem.measures"),
        ("experiments.laws.inverse_problems.common", "from experiments.laws.inverse_problems.decay import system"),
        ("experiments.laws.collapse.system", "import experiments.main"),
        ("experiments.laws.collapse.system", "from experiments.runs import load"),
        ("experiments.runner.finished", "from experiments.runs import load"),
        ("experiments.main", "from experiments.exporters import tables"),
        ("experiments.exporters.tables", "import experiments.export"),
        ("experiments.exporters.tables", "from experiments.laws.collapse import measures"),
        ("experiments.runs", "from experiments.exporters.curves import members"),
        ("experiments.papers.parsimony", "from experiments.laws.collapse import claims"),
        ("experiments.laws.collapse.claims", "from experiments.papers import parsimony"),
        ("experiments.laws.collapse.system", "from experiments.laws.collapse import claims"),
        ("experiments.laws.collapse.system", "from experiments.laws.collapse.figures import draw"),
        ("experiments.laws.collapse.system", "from experiments.runner import plots"),
        ("experiments.laws.collapse.measures", "import matplotlib.pyplot as plt"),
        ("experiments.laws.collapse.measures", "from experiments.laws.collapse import claims"),
        ("experiments.laws.collapse.claims", "from experiments.laws.collapse import figures"),
        ("experiments.laws.collapse.figures", "def f():\n    from experiments.laws.collapse import claims"),
        ("configs.dln_parsimony", "import math"),
        ("configs.dln_parsimony", "from lawlib.types import Array"),
    ],
)
def test_a_forbidden_import_is_seen(name, source):
    assert len(import_faults(name, source)) == 1


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("lawlib", "from lawlib.compress import expand\nimport importlib"),
        ("lawlib.linalg.gradients", "from lawlib.linalg import spectra"),
        ("lawlib.theory", "from lawlib.theory import induced_flow"),
        ("lawlib.theory.parsimony", "from lawlib.networks.deep_linear import end_to_end"),
        ("lawlib.theory.parsimony", "from lawlib.theory.parsimony_widths import active_dimensions"),
        ("lawlib.theory.parsimony", "from lawlib.linalg import subspaces\nimport math\nfrom lawlib import types"),
        ("lawlib.dynamics.sweep", "from lawlib.dynamics.system import until\nfrom jax import lax"),
        ("lawlib.compress", "from lawlib.compress.deep_linear import expand"),
        ("lawlib.compress.head", "from lawlib.theory.parsimony import invariant_frames"),
        ("experiments.main", "from lawlib.dynamics.sweep import sweep\nimport rich, experiments.runner.store"),
        ("experiments.runner.checks", "from experiments import laws\nimport experiments"),
        ("experiments.export", "from experiments.exporters import tables\nfrom experiments.runs import load"),
        ("experiments.exporters.tables", "from experiments.runs import frame\nfrom experiments.runner import store"),
        ("experiments.data.idx", "from experiments.runner.files import write_atomic\nimport gzip"),
        ("experiments.laws.collapse", "from experiments.laws.collapse import claims, figures, system"),
        ("experiments.laws.collapse.system", "from experiments.data import idx\nfrom experiments.runner import checks"),
        ("experiments.laws.collapse.claims", "from experiments.laws.collapse import measures, system"),
        ("experiments.laws.collapse.figures", "from experiments.runner import plots\nimport matplotlib"),
        ("experiments.laws.inverse_problems.decay.claims", "import experiments.laws.inverse_problems.common"),
        ("configs.dln_parsimony", "from ml_collections import config_dict"),
    ],
)
def test_an_allowed_import_passes(name, source):
    assert not import_faults(name, source)


def test_a_ring_of_imports_is_seen():
    assert set(cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})) == {"a", "b", "c"}
    assert not cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()})
