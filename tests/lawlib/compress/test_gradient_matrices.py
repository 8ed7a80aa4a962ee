"""Leaves as matrices, by optax's dimension numbers: with numpy's einsum and transposes, and what does not fit."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from optax.contrib import GaLoreDimensionNumbers as Numbers

from lawlib.compress.gradient_matrices import gradient_matrices


def drawn(*shape, dtype=np.float32):
    return jnp.asarray(np.random.default_rng(0).standard_normal(shape), dtype)


# Shape, dimension numbers, and the matrix in numpy.
READ = {
    "matrix": ((5, 4), None, lambda W: W),
    "convolution": ((2, 3, 4, 5), Numbers((0, 1, 2), 3), lambda W: W.reshape(24, 5)),
    "attention": ((6, 2, 4), Numbers(0, (1, 2)), lambda W: W.reshape(6, 8)),
    "attention, out": ((2, 4, 6), Numbers((0, 1), -1), lambda W: W.reshape(8, 6)),
    "axes out of order": ((4, 5, 3), Numbers(1, (2, 0)), lambda W: np.moveaxis(W, 1, 0).swapaxes(1, 2).reshape(5, 12)),
}


@pytest.mark.parametrize(("shape", "numbers", "read"), READ.values(), ids=READ)
def test_a_leaf_is_the_matrix_of_its_dimension_numbers_with_the_longer_side_first(shape, numbers, read):
    W = drawn(*shape)
    (matrix,) = gradient_matrices(W, 2, numbers)
    expected = read(np.asarray(W))
    assert matrix.shape == expected.shape
    m, n = expected.shape
    np.testing.assert_array_equal(matrix.tall(W), expected if m >= n else expected.T)
    assert matrix.projected_shape == ((2, n) if m >= n else (m, 2))
    np.testing.assert_array_equal(matrix.leaf(matrix.tall(W), W), W)


def test_by_default_matrices_are_projected_and_what_has_no_more_sides_than_the_rank_is_not():
    tree = {"bias": drawn(9), "head": drawn(9, 3), "kernel": drawn(9, 4), "conv": drawn(3, 3, 8, 8), "rate": 1.0}
    found = dict(zip(sorted(tree), gradient_matrices(tree, 3, None), strict=True))
    assert {name for name, matrix in found.items() if matrix} == {"kernel"}
    of_all = dict(zip(sorted(tree), gradient_matrices({**tree, "conv": drawn(8, 8)}, 3, Numbers()), strict=True))
    assert {name for name, matrix in of_all.items() if matrix} == {"kernel", "conv"}
    assert gradient_matrices({}, 3, None) == []


class Module(NamedTuple):
    kernel: Any

    def __call__(self, inputs):
        raise NotImplementedError


def test_a_tree_that_is_callable_is_a_tree():
    numbers = Module(Numbers((0, 1), 2))
    assert gradient_matrices(Module(drawn(2, 3, 5)), 2, numbers)[0].shape == (6, 5)


@pytest.mark.parametrize("given", ["tree", "function"])
def test_a_tree_says_for_each_leaf_what_it_is(given):
    tree = {"a": drawn(6, 5), "b": drawn(2, 3, 5), "c": None}
    numbers = {"a": None, "b": Numbers((0, 1), 2), "c": None}
    a, b = gradient_matrices(tree, 2, numbers if given == "tree" else lambda _: numbers)
    assert a is None
    assert b.shape == (6, 5)


def test_short_floats_are_decomposed_in_float32(dtype):
    (short,) = gradient_matrices(drawn(5, 4, dtype=jnp.bfloat16), 2, None)
    assert short.dtype == jnp.float32
    assert short.leaf(jnp.ones((5, 4)), jnp.ones((5, 4), jnp.bfloat16)).dtype == jnp.bfloat16
    (own,) = gradient_matrices(drawn(5, 4, dtype=dtype), 2, None)
    assert own.dtype == dtype


KERNEL, WHOLE_NUMBERS = drawn(6, 5), jnp.ones((6, 5), int)
BAD = {
    "whole numbers": (
        {"a": WHOLE_NUMBERS, "b": KERNEL},
        None,
        r"\['a'\]: .* got int64 of shape \(6, 5\); .* with None",
    ),
    "complex": ([KERNEL.astype(jnp.complex64)], None, r"\[0\]: a projection needs real .* got complex64"),
    "all at once": ({"a": WHOLE_NUMBERS, "b": KERNEL.astype(jnp.complex64)}, None, r"\['a'\]: .*; \['b'\]: "),
    "the gradient itself": (WHOLE_NUMBERS, None, "^the gradient: a projection needs"),
    "an axis too many": ([KERNEL], Numbers(0, (1, 2)), r"\[0\]: .* each of the 2 axes of its shape \(6, 5\) once"),
    "an axis too few": ([drawn(6, 5, 4)], Numbers(0, 1), r"each of the 3 axes of its shape \(6, 5, 4\) once"),
    "an axis twice": ([KERNEL], Numbers(0, 0), "each of the 2 axes"),
    "an axis beyond": ([KERNEL], Numbers(0, 3), "each of the 2 axes"),
    "no rows": ([KERNEL], Numbers((), (0, 1)), "some as rows"),
    "a vector": ({"a": drawn(9)}, {"a": Numbers()}, r"\['a'\]: .* each of the 1 axes of its shape \(9,\)"),
    "other numbers": ({"a": KERNEL}, {"a": (0, 1)}, r"\['a'\]: .* a GaLoreDimensionNumbers or None, got \(0, 1\)"),
    "another tree": ({"a": KERNEL}, {"b": None}, "for each leaf, in a tree like that of the gradient, PyTreeDef"),
    "nothing to project": ({"a": drawn(9), "b": drawn(9, 3)}, None, r"rank=3 .* got \['a'\] \(9,\), \['b'\] \(9, 3\)"),
}


@pytest.mark.parametrize(("tree", "numbers", "message"), BAD.values(), ids=BAD)
def test_what_does_not_fit_is_named(tree, numbers, message):
    with pytest.raises(ValueError, match=message):
        gradient_matrices(tree, 3, numbers)


def test_shapes_are_enough():
    shapes = jax.eval_shape(lambda: {"a": KERNEL})
    assert gradient_matrices(shapes, 3, None) == gradient_matrices({"a": KERNEL}, 3, None)
