"""Without the packages of the extras all of lawlib imports but the Flax modules, and what needs one says so."""

import json
import sys
import tomllib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from liveness import finish
from source_tree import MODULES, ROOT

from lawlib.extras import EXTRAS, imports_for

# Of what the experiments and the tests need lawlib itself takes nothing either.
NEVER = {"chex", "ml_collections"}
# Modules that are made of a package.
MADE_OF = {"lawlib.networks.linen"}

# Every import of these packages fails, as where they are not installed.
BLOCKED = f"""
import importlib, json, sys


class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {sorted([*EXTRAS, *NEVER])}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)


sys.meta_path.insert(0, Blocked())
failed = {{}}
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ImportError as error:
        failed[name] = str(error)
"""

CALLS = """
import jax, jax.numpy as jnp
from lawlib.compress import head_checks, head_layers, low_rank_mlp
from lawlib.descent.flows import adaptive_step, euler_step
from lawlib.frameworks.nnx import split
from lawlib.linalg.curvature import extreme_eigenvalues, hessian_product
from lawlib.linalg.gradients import gradient_products
from lawlib.tracking import dataset, picture

X, Y = jnp.arange(24.0).reshape(2, 4, 3) / 24, jnp.arange(16.0).reshape(2, 4, 2) / 16
variables = {"params": {"first": {"kernel": jnp.ones((3, 5))}, "last": {"kernel": jnp.ones((5, 2))}}}


def loss(variables, batch):
    first, last = (variables["params"][name]["kernel"] for name in ("first", "last"))
    return jnp.sum((batch[0] @ first @ last - batch[1]) ** 2) / 2


def fails(call):
    try:
        call()
    except ImportError as error:
        return str(error)


key, given, one = jax.random.key(0), (loss, variables, (X, Y)), jnp.ones(3)
said = [
    fails(lambda: low_rank_mlp(key, None, variables, loss, (X, Y))),
    fails(lambda: split(variables)),
    fails(lambda: adaptive_step(lambda y: -y, one, 1.0, rtol=1e-3, atol=1e-3)),
    fails(lambda: extreme_eigenvalues(lambda v: v, one, 2)),
    fails(lambda: head_layers.with_params(variables, {})),
    fails(lambda: head_checks.without_dropout(loss)),
    fails(lambda: dataset({})),
    fails(lambda: picture({})),
]
found = [
    gradient_products(loss, variables, "params/first/kernel", (X, Y), route=route).forward(jnp.eye(5)).tolist()
    for route in ("parameter", "matrix_free")
]
euler, hessian = euler_step(lambda y: -y, one, 0.5), hessian_product(lambda w: jnp.sum(w**2), one)(one)
print(json.dumps([failed, said, found, euler.tolist(), hessian.tolist()]))
"""


def lawlib_modules():
    return sorted(name for name in MODULES if name.partition(".")[0] == "lawlib")


@pytest.fixture(scope="module")
def without_extras():
    child = finish([sys.executable, "-c", BLOCKED + CALLS, *lawlib_modules()], cwd=ROOT)
    assert child.returncode == 0, child.stderr
    return json.loads(child.stdout)


def test_all_of_lawlib_imports_without_the_extras_but_the_flax_modules(without_extras):
    assert without_extras[0] == {name: f"{name} needs flax: pip install 'lawlib[flax]'" for name in MADE_OF}


def test_what_needs_a_missing_package_names_itself_the_package_and_the_command(without_extras):
    assert without_extras[1] == [
        "low_rank_mlp needs flax: pip install 'lawlib[flax]'",
        "split needs flax: pip install 'lawlib[flax]'",
        "adaptive_step needs diffrax: pip install 'lawlib[flows]'",
        "extreme_eigenvalues needs matfree: pip install 'lawlib[curvature]'",
        "low_rank_mlp needs flax: pip install 'lawlib[flax]'",
        "low_rank_mlp needs flax: pip install 'lawlib[flax]'",
        "dataset needs xarray: pip install 'lawlib[plots]'",
        "picture needs matplotlib: pip install 'lawlib[plots]'",
    ]


def test_what_needs_no_package_runs_without_them(without_extras):
    X, Y = np.arange(24.0).reshape(8, 3) / 24, np.arange(16.0).reshape(8, 2) / 16
    gradient = X.T @ (X @ np.ones((3, 5)) @ np.ones((5, 2)) - Y) @ np.ones((2, 5))
    for found in without_extras[2]:
        np.testing.assert_allclose(found, gradient, rtol=1e-5)
    np.testing.assert_array_equal(without_extras[3], [0.5, 0.5, 0.5])
    np.testing.assert_array_equal(without_extras[4], [2.0, 2.0, 2.0])


def test_no_package_of_an_extra_is_imported_before_it_is_needed():
    imports = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\nprint(*sys.modules)"
    child = finish([sys.executable, "-c", imports, *sorted(set(lawlib_modules()) - MADE_OF)], cwd=ROOT)
    assert child.returncode == 0, child.stderr
    loaded = set(child.stdout.split())
    assert "lawlib.compress.head_checks" in loaded
    assert not loaded & (EXTRAS.keys() | NEVER)


def test_the_extras_install_what_their_names_say():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for package, extra in EXTRAS.items():
        assert package in [wanted.partition(">")[0] for wanted in extras[extra]]


def test_other_errors_of_an_import_are_left_as_they_are():
    with pytest.raises(ModuleNotFoundError, match="No module named 'lawlib_nothing'"), imports_for("f"):
        import lawlib_nothing  # noqa: F401
    with pytest.raises(ImportError, match="cannot import name"), imports_for("f"):
        from jax import nothing  # noqa: F401


def test_an_array_that_a_module_makes_when_it_is_imported_in_a_traced_program_is_no_tracer():
    made = []

    @jax.jit
    @jax.vmap
    def program(x):
        with imports_for("program"):
            made.append(jnp.arange(3.0) + 1)
        return x * made[0][0]

    np.testing.assert_array_equal(program(jnp.ones(2)), [1.0, 1.0])
    assert made[0].tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("call", ["adaptive_step(lambda y: -y, x, 1.0, rtol=1e-9, atol=1e-9)", "largest(x)"])
def test_a_package_may_be_imported_first_in_a_traced_program(call):
    program = f"""
import sys, jax, jax.numpy as jnp
jax.config.update("jax_enable_x64", True)
from lawlib.descent.flows import adaptive_step
from lawlib.frameworks.nnx import split
from lawlib.linalg.curvature import extreme_eigenvalues
largest = lambda x: extreme_eigenvalues(lambda v: jnp.arange(1.0, 4.0) * v, x, 3).largest
run = lambda x: {call}
x = jnp.asarray([[1.0, 2.0, 3.0], [3.0, 5.0, 4.0]])
assert not {{"diffrax", "matfree"}} & set(sys.modules)
first = jax.jit(jax.vmap(run))(x)
jax.clear_caches()
for again in (jax.vmap(run)(x), jnp.stack([run(x[0]), run(x[1])]), jax.jit(jax.vmap(run))(x)):
    assert jnp.allclose(first, again, rtol=1e-12), (first, again)
"""
    child = finish([sys.executable, "-c", program], cwd=ROOT)
    assert child.returncode == 0, child.stderr
