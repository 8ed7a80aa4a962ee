"""One network on four devices makes the steps of one device, with one all-reduce a step."""

import sys
from pathlib import Path

import numpy as np
import pytest
from liveness import finish, without_settings

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What a process of four simulated devices finds."""
    path = tmp_path_factory.mktemp("devices") / "found.npz"
    environment = without_settings() | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    child = finish([sys.executable, "-m", "tests.support.data_parallel_devices", str(path)], cwd=ROOT, env=environment)
    assert child.returncode == 0, child.stderr
    return dict(np.load(path))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_four_devices_make_the_steps_of_one_and_stay_equal(found, dtype, tol):
    for leaf in range(3):
        (expected,), each = found[f"one_{dtype}_{leaf}"], found[f"four_{dtype}_{leaf}"]
        assert each.dtype == dtype
        assert each.shape == (4, *expected.shape)
        assert (each == each[0]).all()
        np.testing.assert_allclose(each[0], expected, rtol=0, atol=tol(expected))


def test_a_step_has_one_all_reduce(found):
    assert found["all_reduces"].tolist() == [1, 1]


def test_samples_that_the_devices_cannot_share_evenly_are_refused(found):
    assert found["refused"] == "the number of samples must be a multiple of the 4 devices of axis 'samples', got 6"
