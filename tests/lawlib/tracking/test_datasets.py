"""Records as a labelled data set: every number in its place, and nothing where nothing was recorded."""

import jax
import numpy as np
import pytest
from tracked import comparison, recorded

from lawlib.tracking import dataset

FIRST = recorded(0, steps=(0, 5, 10), reached=2, k=3, compared={"start": comparison(1, 3, 3, 3)})
SECOND = recorded(2, steps=(0, 10), reached=2, k=2, compared={"reference": comparison(3, 2, 1, 2)})


def test_every_number_is_where_its_labels_say():
    found = dataset({"first": FIRST, "second": SECOND})
    np.testing.assert_array_equal(found["step"], [0, 5, 10])
    np.testing.assert_array_equal(found["index"], [1, 2, 3])
    np.testing.assert_array_equal(found["values"].sel(matrix="first", step=5), FIRST.values[1])
    np.testing.assert_array_equal(found["values"].sel(matrix="second", step=10, index=2), SECOND.values[1, 1])
    one = FIRST.compared["start"]
    start = found.sel(matrix="first", against="start", step=5)
    np.testing.assert_array_equal(start["left_angles"], one.left_angles[1])
    np.testing.assert_array_equal(start["angle_error"], one.error[1])
    for block, share in one.fractions._asdict().items():
        np.testing.assert_array_equal(start["shares"].sel(block=block), share[1])
    given = found.sel(matrix="second", against="reference", step=10)
    np.testing.assert_array_equal(given["right_angles"], [*SECOND.compared["reference"].right_angles[1], np.nan])


def test_what_was_not_recorded_is_no_number():
    found = dataset({"first": FIRST, "second": SECOND})
    for matrix, step in (("first", 10), ("second", 5)):
        row = found.sel(matrix=matrix, step=step)
        assert np.isnan(row["values"]).all()
        assert np.isnan(row["shares"]).all()
        assert not row["certified"]
        assert not row["angles_certified"].any()
    assert np.isnan(found["left_angles"].sel(matrix="second", against="start")).all()
    assert found["certified"].dtype == found["angles_certified"].dtype == bool
    assert np.issubdtype(found["passes"].dtype, np.integer)


def test_steps_that_nobody_reached_are_left_out_and_members_keep_their_axis():
    late = recorded(4, steps=(0, 5, 10), reached=1, k=3, compared={"start": comparison(5, 3, 3, 3)})
    both = jax.tree.map(lambda *x: np.stack(x), FIRST, late)
    found = dataset({"first": both}, ["seed"])
    np.testing.assert_array_equal(found["step"], [0, 5])
    assert found["values"].dims == ("seed", "matrix", "step", "index")
    np.testing.assert_array_equal(found["values"].sel(matrix="first", step=5), [FIRST.values[1], [np.nan] * 3])
    np.testing.assert_array_equal(found["certified"].sel(matrix="first", step=5), [FIRST.certified[1], False])


def test_every_variable_has_a_name_and_a_unit():
    found = dataset({"first": FIRST})
    assert all(variable.attrs["long_name"] for variable in found.variables.values())
    assert {found[name].attrs["units"] for name in ("left_angles", "right_angles", "angle_error")} == {"rad"}
    assert all("units" in found[name].attrs for name in found.data_vars)


def test_a_matrix_that_is_compared_with_nothing_has_values():
    found = dataset({"alone": recorded(0, steps=(0, 5), reached=2, k=3, compared={})})
    assert "shares" not in found
    assert found.sizes == {"matrix": 1, "step": 2, "index": 3}


@pytest.mark.parametrize(
    ("records", "members", "message"),
    [
        ({}, (), "one or more matrices, got none"),
        ({"first": FIRST}, ["seed"], r"members must name the leading axes .*, got \['seed'\] for .* \{'first': \(\)\}"),
        ({"first": jax.tree.map(lambda x: x[None], FIRST)}, (), r"got \[\] for .* \(1,\)"),
        ({"first": FIRST}, ["step"], "none of the data set's own, got .'step'"),
    ],
)
def test_axes_without_a_name_are_refused(records, members, message):
    with pytest.raises(ValueError, match=message):
        dataset(records, members)
