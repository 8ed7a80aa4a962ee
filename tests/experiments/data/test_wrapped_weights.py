"""Weights of VGG-16 that a wrapper, a checkpoint or a backend of Keras changed on their way into the file."""

import zipfile

import h5py
import numpy as np
import pytest
from weight_layouts import (
    h5_file,
    keras_1,
    keras_2,
    keras_arrays,
    layers,
    read,
    safetensors_file,
    tensors,
    torch_arrays,
    torch_legacy_file,
    torch_zip_file,
)

from experiments.runner.store import InputError


def equal(found, weights):
    params = found.variables["params"]
    return all(
        (params[name]["kernel"] == k).all() and (params[name]["bias"] == b).all() for name, (k, b) in weights.items()
    )


def line(path):
    with pytest.raises(InputError) as refused:
        read(path)
    (problem,) = refused.value.problems
    return problem


# State dicts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stem", ["module.features.", "_orig_mod.features.", "_orig_mod.module.features.", "model.", "net[0].x.", ""]
)
@pytest.mark.parametrize("write", [safetensors_file, torch_zip_file])
def test_any_prefix_is_read_and_reported(tmp_path, stem, write):
    weights = layers()
    arrays = {name.replace("features.", stem): array for name, array in torch_arrays(weights).items()}
    write(tmp_path / "weights", arrays)
    found = read(tmp_path / "weights")
    assert equal(found, weights)
    assert f"names after {stem!r}, SHA-256" in found.origin
    assert found.trained_on == "unknown"


@pytest.mark.parametrize("outer", ["state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize("write", [torch_zip_file, torch_legacy_file])
def test_a_checkpoint_with_its_optimizer_is_read(tmp_path, outer, write):
    weights = layers()
    arrays = torch_arrays(weights)
    state = tensors(arrays)
    moments = {0: {"step": 3, "exp_avg": state["features.0.weight"]}}
    write(tmp_path / "weights", arrays, {"epoch": 3, "optimizer": {"state": moments, "groups": [{}]}, outer: state})
    found = read(tmp_path / "weights")
    assert equal(found, weights)
    assert f"names after '{outer}.features.'" in found.origin


def test_of_two_whole_networks_neither_is_taken(tmp_path):
    arrays = torch_arrays(layers())
    state = tensors(arrays)
    torch_zip_file(tmp_path / "weights", arrays, {"model": state, "ema": state})
    assert "2 times, after 'model.features.', 'ema.features.'" in line(tmp_path / "weights")


def test_another_network_beside_a_whole_one_is_ignored(tmp_path):
    weights = layers()
    safetensors_file(tmp_path / "weights", {"head.0.weight": np.ones((2, 2, 1, 1), np.float32)} | torch_arrays(weights))
    assert equal(read(tmp_path / "weights"), weights)


def test_the_refusal_of_other_names_lists_arrays_of_the_file(tmp_path):
    arrays = {f"layer{i}.conv.weight": np.ones((2, 2, 3, 3), np.float32) for i in range(9)}
    safetensors_file(tmp_path / "weights", arrays)
    assert "holds 9 arrays, layer0.conv.weight (2, 2, 3, 3), " in line(tmp_path / "weights")


def test_two_tensors_of_one_name_are_refused(tmp_path):
    arrays = torch_arrays(layers())
    state = tensors(arrays)
    other = {"2.weight": state["features.2.weight"]}  # of the right shape
    torch_zip_file(tmp_path / "weights", arrays, state | {"features": other})
    assert "two of its tensors are called features.2.weight" in line(tmp_path / "weights")


def test_a_dictionary_that_holds_itself_is_refused(tmp_path):
    arrays = torch_arrays(layers())
    circle = {"state": tensors(arrays)}
    circle["self"] = circle
    torch_zip_file(tmp_path / "weights", arrays, circle)
    assert "deep" in line(tmp_path / "weights")


# Keras ------------------------------------------------------------------------------------------------------


def keras_file(path, arrays, backend, place="/"):
    h5_file(path, arrays)
    with h5py.File(path, "a") as file:
        file[place].attrs["backend"] = backend


@pytest.mark.parametrize("backend", ["theano", np.bytes_("theano")])
@pytest.mark.parametrize("place", ["/", "model_weights"])
def test_kernels_of_theano_are_turned(tmp_path, backend, place):
    weights = layers()
    turned = {name: (np.rot90(kernel, 2, axes=(0, 1)), bias) for name, (kernel, bias) in weights.items()}
    keras_file(tmp_path / "weights", keras_arrays(turned, keras_2), backend, place)
    found = read(tmp_path / "weights")
    assert equal(found, weights)
    assert "kernels of the Theano backend turned by 180 degrees" in found.origin


@pytest.mark.parametrize("backend", ["tensorflow", "cntk"])
def test_kernels_of_other_backends_are_not(tmp_path, backend):
    weights = layers()
    keras_file(tmp_path / "weights", keras_arrays(weights, keras_2), backend)
    found = read(tmp_path / "weights")
    assert equal(found, weights)
    assert "turned" not in found.origin


def test_an_unknown_backend_is_refused(tmp_path):
    keras_file(tmp_path / "weights", keras_arrays(layers(), keras_2), "plaidml")
    assert "of the backend 'plaidml'" in line(tmp_path / "weights")


@pytest.mark.parametrize(("backend", "turns"), [("theano", 2), ("tensorflow", 0)])
def test_axes_in_the_order_of_theano(tmp_path, backend, turns):
    weights = layers()
    theirs = {name: (np.rot90(k, turns, axes=(0, 1)).transpose(3, 2, 0, 1), b) for name, (k, b) in weights.items()}
    keras_file(tmp_path / "weights", keras_arrays(theirs, keras_1), backend)
    assert equal(read(tmp_path / "weights"), weights)
    with h5py.File(tmp_path / "weights", "a") as file:
        del file.attrs["backend"]
    assert "does not name its backend" in line(tmp_path / "weights")


def test_an_archive_of_keras_3_says_what_to_unzip(tmp_path):
    with zipfile.ZipFile(tmp_path / "weights", "w") as archive:
        archive.writestr("model.weights.h5", b"")
    assert "unzip model.weights.h5" in line(tmp_path / "weights")


def test_no_link_is_followed_for_the_backend(tmp_path):
    keras_file(tmp_path / "other", {"model_weights/x": np.ones(1)}, "theano", "model_weights")
    weights = layers()
    h5_file(tmp_path / "weights", keras_arrays(weights, keras_1))
    with h5py.File(tmp_path / "weights", "a") as file:
        file["model_weights"] = h5py.ExternalLink(str(tmp_path / "other"), "model_weights")
    assert equal(read(tmp_path / "weights"), weights)
