"""The tables of scikit-learn as arrays."""

import numpy as np
import pytest
from sklearn import datasets

from experiments.data.tables import TABLES, table


@pytest.mark.parametrize("name", TABLES)
def test_samples_are_columns_and_classes_are_one_hot(name):
    whole = getattr(datasets, f"load_{name}")()
    found = table(name, np.dtype(np.float32))
    assert (found.inputs.shape[0], found.labels.shape[0]) == TABLES[name]
    np.testing.assert_array_equal(found.inputs.T, whole.data.astype(np.float32))
    np.testing.assert_array_equal(found.labels.argmax(0), whole.target)
    np.testing.assert_array_equal(found.labels.sum(0), 1)
    assert found.inputs.dtype == found.labels.dtype == np.float32
