"""Arrays read as matrices, against numpy's own order of axes, and back; what is refused."""

import math

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings

from lawlib.linalg.matricization import Axes, Matricization


@st.composite
def readings(draw):
    """An array, and a matricization of it with batch axes, negative numbers and any order."""
    ndim = draw(st.integers(2, 5))
    shape = tuple(draw(st.lists(st.integers(1, 3), min_size=ndim, max_size=ndim)))
    order = draw(st.permutations(range(ndim)))
    num_rows = draw(st.integers(1, ndim - 1))
    num_columns = draw(st.integers(1, ndim - num_rows))
    rows, columns = order[:num_rows], order[num_rows : num_rows + num_columns]
    batch = sorted(order[num_rows + num_columns :])
    index = tuple(draw(st.integers(-shape[axis], shape[axis] - 1)) for axis in batch)
    signed = [tuple(axis - draw(st.sampled_from([0, ndim])) for axis in side) for side in (rows, columns)]
    array = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
    return array, Matricization(*signed, index), (tuple(batch), tuple(rows), tuple(columns))


# Every shape compiles anew.
@settings(max_examples=8)
@given(readings())
def test_an_entry_of_the_matrix_is_that_of_the_array_and_goes_back(reading):
    array, read, (batch, rows, columns) = reading
    assert read.axes(array.ndim) == Axes(batch, rows, columns)
    matrix = np.asarray(read.matrix(array))
    assert matrix.shape == read.shape(array)
    # By the index of each entry, not by a transposition.
    chosen = dict(zip(batch, read.indices(array.shape), strict=True))
    for i, row in enumerate(np.ndindex(*(array.shape[axis] for axis in rows))):
        for j, column in enumerate(np.ndindex(*(array.shape[axis] for axis in columns))):
            at = chosen | dict(zip(rows, row, strict=True)) | dict(zip(columns, column, strict=True))
            assert matrix[i, j] == array[tuple(at[axis] for axis in range(array.ndim))]
    np.testing.assert_array_equal(read.leaf(jnp.asarray(matrix), array), array)
    changed = np.asarray(read.leaf(jnp.asarray(-1 - matrix), array))
    assert np.sum(changed != array) == matrix.size
    np.testing.assert_array_equal(read.matrix(changed), -1 - matrix)


# Every shape compiles anew.
@settings(max_examples=8)
@given(readings())
def test_a_stack_has_all_matrices_and_goes_back(reading):
    array, read, (batch, _, _) = reading
    matrices = read.matrices(array)
    for number, index in enumerate(np.ndindex(*(array.shape[axis] for axis in batch))):
        np.testing.assert_array_equal(matrices[number], read._replace(batch_index=index).matrix(array))
    like = jax.ShapeDtypeStruct(array.shape, jnp.bfloat16)
    back = read.leaf(matrices, like)
    assert back.dtype == jnp.bfloat16
    np.testing.assert_array_equal(np.asarray(back, np.float32), array)


@pytest.mark.parametrize("kind", [optax.contrib.MuonDimensionNumbers, optax.contrib.GaLoreDimensionNumbers])
def test_dimension_numbers_of_optax_convert_both_ways(kind):
    numbers = kind((0, 1), 2)
    assert kind(*Matricization(*numbers)[:2]) == numbers
    assert Matricization(*kind()) == Matricization()


@pytest.mark.parametrize(
    ("read", "ndim"),
    [
        (Matricization(0, 0), 2),
        (Matricization(0, -2), 2),
        (Matricization(0, 2), 2),
        (Matricization(-3, 1), 2),
        (Matricization((), 1), 2),
        (Matricization((0, 1), 1), 3),
    ],
)
def test_axes_that_are_not_there_or_twice_are_refused(read, ndim):
    with pytest.raises(ValueError, match=rf"each of them once and in -{ndim}\.\.{ndim - 1} .* got Matricization"):
        read.axes(ndim)


@pytest.mark.parametrize("index", [(), (1, 1), 3, -4])
def test_a_stack_needs_the_number_of_its_matrix(index):
    with pytest.raises(ValueError, match=r"\(3, 4, 5\) .* is a stack of 3 matrices: batch_index .* \(0\.\.2\)"):
        Matricization(1, 2, index).matrix(jnp.ones((3, 4, 5)))


def test_a_number_without_a_stack_and_a_matrix_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"stack of 1 matrices: .*\(none\)"):
        Matricization(0, 1, 0).matrix(jnp.ones((4, 5)))
    with pytest.raises(ValueError, match=r"has the matrix \(12, 5\), got \(5, 12\)"):
        Matricization((0, 1), 2).leaf(jnp.ones((5, 12)), jnp.ones((3, 4, 5)))
