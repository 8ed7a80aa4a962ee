"""The words of annotations have one home, and so has the product of the theory: at the highest precision everywhere."""

import ast
import functools as ft
from pathlib import Path

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest

from lawlib import types
from lawlib.compress import samples
from lawlib.linalg import curvature
from lawlib.networks import low_rank, mlp
from lawlib.networks.activations import activation
from lawlib.theory import collapse, induced_flow, parsimony, rank_jumps_region, smooth_mlp

LAWLIB = Path(types.__file__).parent
# What is exact in theory, or certified, does not depend on the precision that a user trains with.
EXACT = ("compress", "linalg", "problems", "theory")
PRODUCTS = {"dot", "einsum", "inner", "matmul", "tensordot", "vdot"}


def trees(*packages):
    folders = [LAWLIB / package for package in packages] or [LAWLIB]
    paths = sorted(path for folder in folders for path in folder.rglob("*.py"))
    return {str(path.relative_to(LAWLIB)): ast.parse(path.read_text()) for path in paths}


def is_product(node):
    return isinstance(node, ast.Attribute) and node.attr in PRODUCTS and ast.unparse(node.value) in {"jnp", "jax.numpy"}


def helpers(tree):
    """Names at the top of a module that stand for a product of two matrices."""
    found = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and "matmul" in node.name:
            found.append(node.name)
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            taken = [part for part in ast.walk(node.value) if is_product(part) and part.attr in {"dot", "matmul"}]
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found += [ast.unparse(target) for target in targets if taken]
    return found


def bare_products(tree):
    """The lines of products in JAX's default precision: ``@``, and functions of jnp without a precision."""
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.MatMult):
            lines.append(node.lineno)
        if isinstance(node, ast.Call):
            taken = [node.func, *node.args]
            if any(map(is_product, taken)) and not any(word.arg == "precision" for word in node.keywords):
                lines.append(node.lineno)
    return lines


def precisions(function, *arguments):
    """The precision of every product that a function makes."""

    def of(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive.name == "dot_general":
                yield equation.params["precision"]
            for inner in jax.extend.core.jaxprs_in_params(equation.params):
                yield from of(inner)

    with jax.default_matmul_precision("bfloat16"):
        return set(of(jax.make_jaxpr(function)(*arguments).jaxpr))


def test_one_module_defines_the_product():
    assert {path: names for path, tree in trees().items() if (names := helpers(tree))} == {"types.py": ["matmul"]}


@pytest.mark.parametrize("package", EXACT)
def test_no_product_has_the_default_precision(package):
    allowed = {"compress/head_layers.py": 1}  # a user's layer, in the layer's own precision, which may be None
    found = {path: lines for path, tree in trees(package).items() if (lines := bare_products(tree))}
    assert {path: len(lines) for path, lines in found.items() if len(lines) != allowed.get(path)} == {}


def test_no_other_module_defines_a_word_of_annotations():
    words = set(types.__all__) - {"matmul"}
    for path, tree in trees().items():
        targets = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
        assert path == "types.py" or not words & {ast.unparse(target) for target in targets}, path


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ('_matmul = ft.partial(jnp.matmul, precision="highest")', ["_matmul"]),
        ("product = jnp.dot", ["product"]),
        ("def _small_matmul(A, B):\n    return (A[:, :, None] * B).sum(1)", ["_small_matmul"]),
        ('_einsum = ft.partial(jnp.einsum, precision="highest")', []),
        ("def f(A, B):\n    return matmul(A, B)", []),
    ],
)
def test_a_second_helper_is_seen(source, seen):
    assert helpers(ast.parse(source)) == seen


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ("A @ B", [1]),
        ("A @= B", [1]),
        ("x = 1\njnp.dot(u, v)", [2]),
        ("ft.reduce(jnp.matmul, factors)", [1]),
        ('jnp.einsum("ij,jk", A, B)', [1]),
        ('jnp.einsum("ij,jk", A, B, precision="highest")', []),
        ("matmul(A, B) + jnp.outer(u, v)", []),
    ],
)
def test_a_bare_product_is_seen(source, seen):
    assert bare_products(ast.parse(source)) == seen


EYE, LABELS, VECTOR = jnp.eye(6), jnp.repeat(jnp.eye(3), 2, axis=1), jnp.ones(6)
PART, FRAME = induced_flow.RankOne(jnp.ones(()), VECTOR, VECTOR), parsimony.Frame(EYE[:, :2], EYE[:, 2:])


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (types.matmul, (EYE, EYE)),
        (collapse.separation, (EYE, LABELS)),
        (ft.partial(induced_flow.operator, depth=3, rank=2), (EYE, EYE)),
        (ft.partial(induced_flow.field, num_samples=5, depth=3), (EYE, EYE)),
        (ft.partial(induced_flow.rank_one_field, num_samples=5, depth=3), (PART, EYE)),
        (induced_flow.alignment, (PART, PART)),
        (induced_flow.rank_one, (EYE, VECTOR)),
        (lambda W: parsimony.block_decomposition(W, FRAME, FRAME), (EYE,)),
        (lambda W, target: parsimony.invariant_bases((W, W), target, 1), (EYE, EYE)),
        (lambda W, G: rank_jumps_region.sgd_step((W, W), G, step_size=0.1, weight_decay=0.1), (EYE, EYE)),
        (lambda W: smooth_mlp.first_layer_gradient((W, W[:3]), EYE, LABELS, "silu"), (EYE,)),
        (lambda Y: samples.compress_samples(Y, Y, rank=2), (EYE,)),
        (lambda v: curvature.extreme_eigenvalues(lambda x: EYE @ x, v, 3), (VECTOR,)),
    ],
)
def test_products_of_the_theory_have_the_highest_precision_whatever_the_default(function, arguments):
    assert precisions(function, *arguments) == {(jax.lax.Precision.HIGHEST, jax.lax.Precision.HIGHEST)}


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (lambda W, X: mlp.apply((W, W), X, "tanh"), (EYE, EYE)),
        (
            lambda W, X: low_rank.apply(low_rank.LowRankWeights(W, (W,), W, W), X, activation("tanh")),
            (EYE, EYE),
        ),
    ],
)
def test_networks_that_are_trained_have_the_default_precision(function, arguments):
    assert precisions(function, *arguments) == {(jax.lax.Precision.DEFAULT, jax.lax.Precision.DEFAULT)}


def test_the_product_is_that_of_numpy(dtype, tol):
    A, B = (np.random.default_rng(0).standard_normal(shape) for shape in ((5, 7), (7, 3)))
    found = types.matmul(jnp.asarray(A, dtype), jnp.asarray(B, dtype))
    assert found.dtype == dtype
    np.testing.assert_allclose(found, A.astype(dtype) @ B.astype(dtype), atol=tol(found))
