"""On four devices a batch's mean loss, and all that JAX makes of it, is that of one device, or a sentence."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from liveness import finish, without_settings

ROOT = Path(__file__).parents[3]
MAKES = (
    "value",
    "gradient",
    "value and gradient",
    "forward",
    "hessian-vector product",
    "reverse over reverse",
    "third derivative",
    "derivative in samples",
    "vmap over weights",
    "vmap over batches",
    "descent in a loop",
    "checkpointed",
)
PLACES = [("four", "float64"), ("two of four", "float64"), ("one", "float64"), ("four", "float32")]
SETTINGS = (
    "without jit",
    "mesh of the surroundings",
    "divided over another axis, auto",
    "divided over another axis, explicit",
    "divided already, auto",
    "divided already, explicit",
    "keys of samples",
    "a loop",
    "derivative in what is common",
    "donated buffers",
    "members in a shard_map",
    "a default mesh without jit",
    "a default mesh without jit, divided already",
    "weights divided over an explicit axis",
    "keys carried by a loop",
    "no argument is traced",
    "no argument is traced, a loop",
    "outside variable",
)
NUMBER = "losses must return one floating-point number for each sample, here an array of shape (2,), got"
APART = "leave the mean over the samples to data_parallel, and compute auxiliary results apart"
DEPENDS = (
    "the losses of 4 parts of the batch are not those of the whole batch: a sample's loss depends on other samples "
    "(statistics of the batch, or draws of its size from one key), and cannot be divided"
)
SHARED = (
    "losses may not draw from a key that all samples share (in the weights, in common or from outside), since each "
    "device would draw the same numbers; give each sample its own key, jax.random.split(key, n) as part of samples"
)
DRAWS = (
    "a common key",
    "a key in the weights",
    "common words, jit",
    "a key from outside",
    "a key in a branch",
    "a key in a scan",
    "a key in a while loop",
    "a checkpointed key",
)
REFUSALS = {
    "uneven": "the number of samples must be a multiple of the 4 devices of axis 'samples', got 6",
    "empty": "the number of samples must be a multiple of the 4 devices of axis 'samples', got 0",
    "no array": "a batch needs an array whose leading axis runs over the samples, got none",
    "a scalar": "['rate'] is one number and has no leading axis over the samples; give what all share after samples",
    "lengths": "all arrays of a batch must have one leading axis, over the samples; their lengths are ['key'] 8, "
    "['label'] 4, ['x'] 8",
    "unknown axis": "samples cannot be divided over the mesh axis 'batch': the axes here are 'samples'; give mesh=, "
    "or call it in jax.set_mesh",
    "no mesh": "samples cannot be divided over the mesh axis 'samples': there is no mesh; give mesh=, or call it in "
    "jax.set_mesh",
    "its own axis": "the shard_map around this call is over 'samples' itself; call it outside of that, with whole "
    "batches",
    "checked axes": "the shard_map over 'members' around this call checks varying axes; give it check_vma=False",
    "a mean": f"{NUMBER} float64 of shape (); {APART}",
    "a matrix": f"{NUMBER} float64 of shape (2, 5); {APART}",
    "auxiliary": f"{NUMBER} a tuple; {APART}",
    "statistics": DEPENDS,
    "statistics beside an infinity": DEPENDS,
    "common draws": DEPENDS,
} | dict.fromkeys(DRAWS, SHARED)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What a process of four simulated devices finds."""
    path = tmp_path_factory.mktemp("devices") / "found.json"
    environment = without_settings() | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    child = finish([sys.executable, "-m", "tests.support.data_parallel_devices", str(path)], cwd=ROOT, env=environment)
    assert child.returncode == 0, child.stderr
    return json.loads(path.read_text())


@pytest.mark.parametrize(("place", "dtype"), PLACES)
@pytest.mark.parametrize("make", MAKES)
def test_all_that_jax_makes_of_the_loss_is_that_of_one_device(found, make, place, dtype):
    assert found["derivatives"][f"{make}, {place}, {dtype}"] < 100 * np.finfo(dtype).eps


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_gradient_is_that_of_one_device_wherever_it_is_taken(found, setting):
    assert found["settings"][setting] < 100 * np.finfo(np.float64).eps


def test_a_gradient_in_float16_is_the_exact_one_to_its_rounding(found):
    assert found["settings"]["float16"] < 4 * float(np.finfo(np.float16).eps)


@pytest.mark.parametrize("program", ["gradient", "gradient, two of four", "value and gradient", "five steps in a loop"])
def test_a_step_has_one_all_reduce_and_no_other_collective(found, program):
    assert found["programs"][program] == ["all-reduce"]


def test_weights_of_two_dtypes_take_two_all_reduces(found):
    assert found["programs"]["two dtypes"] == ["all-reduce"] * 2


@pytest.mark.parametrize("case", REFUSALS)
def test_what_cannot_be_divided_is_refused(found, case):
    assert found["refusals"][case] == REFUSALS[case]


@pytest.mark.parametrize("case", ["a NaN", "an infinity", "nothing else"])
def test_an_honest_loss_passes_the_check_beside(found, case):
    assert found["passed"][case] == "was not refused"


def test_every_case_is_judged(found):
    assert set(found["settings"]) == {*SETTINGS, "float16"}
    assert set(found["refusals"]) == set(REFUSALS)
    assert len(found["derivatives"]) == len(MAKES) * len(PLACES)
