"""Values of a completion at single places, against the matrix; places that it cannot know, and bad ones."""

import jax.numpy as jnp
import numpy as np
import pytest

from lawlib.completion import predict
from lawlib.completion.entries import UnrecoverableWarning
from lawlib.completion.result import Completion

M, N = 6, 5


def completion(dtype="float64", empty_row=None, fill=np.nan):
    rng = np.random.default_rng(0)
    left, right = (jnp.asarray(rng.standard_normal((size, 3)), dtype) for size in (M, N))
    unseen = np.zeros(M, bool), np.zeros(N, bool)
    if empty_row is not None:
        left, unseen[0][empty_row] = left.at[empty_row].set(fill), True
    return Completion(left, right, 0.1, 0.1, 1, True, "stalled", 0.01, 9, *unseen, ridge=0.0)


def test_values_are_those_of_the_matrix(dtype, tol):
    found = completion(dtype)
    dense = np.asarray(found.left, float) @ np.asarray(found.right, float).T
    rows, columns = np.asarray([0, 5, 2, 2]), np.asarray([4, 0, 3, 3])
    values = predict(found, rows, columns)
    assert values.dtype == dtype
    np.testing.assert_allclose(values, dense[rows, columns], atol=10 * tol(values))
    np.testing.assert_allclose(predict(found, 2, range(N)), dense[2], atol=10 * tol(values))
    np.testing.assert_allclose(predict(found, np.arange(M)[:, None], np.arange(N)[None]), dense, atol=10 * tol(values))
    assert predict(found, 1, 1).shape == ()
    assert predict(found, [], []).shape == (0,)


@pytest.mark.parametrize(
    ("rows", "columns", "error", "message"),
    [
        ([0, 6], [0, 0], IndexError, r"rows must be in 0..5, got 6 at position 1"),
        ([0], [-1], IndexError, r"columns must be in 0..4, got -1"),
        ([0.0], [0], TypeError, "rows must be integers, got float64"),
        ([0], [True], TypeError, "columns must be integers, got bool"),
        ([0, 1], [0, 1, 2], ValueError, r"that broadcast, got \(2,\) and \(3,\)"),
    ],
)
def test_bad_places_are_refused(rows, columns, error, message):
    with pytest.raises(error, match=message):
        predict(completion(), rows, columns)


def test_places_without_entries_are_told_of_with_their_values():
    with pytest.warns(UnrecoverableWarning, match=r"2 of 3 places .*\(row 4\): their values are NaN") as caught:
        values = predict(completion(empty_row=4), [4, 0, 4], [0, 1, 2])
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(np.isnan(values), [True, False, True])
    with pytest.warns(UnrecoverableWarning, match=r"1 of 2 places .*row 4.*are the level of the others"):
        assert np.isfinite(predict(completion(empty_row=4, fill=0.0), [4, 0], 1)).all()
    assert completion(empty_row=4).empty_rows == 1
    assert completion().empty_columns == 0
