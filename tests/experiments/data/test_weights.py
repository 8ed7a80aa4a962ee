"""Files of weights: which are refused and how, and which layouts of wrappers, checkpoints and backends are read."""

import contextlib
import importlib.util
import json
import os
import zipfile

import h5py
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from weight_layouts import (
    LAYERS,
    LAYOUTS,
    PLACES,
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

from experiments.data.weights import open_weights
from experiments.runner.store import InputError

WITH_NORMS = (0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40)
VGG19_PLACES = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)


def problems(path):
    with pytest.raises(InputError) as refused:
        read(path)
    return [problem.removeprefix(f"{path}: ") for problem in refused.value.problems]


def line(path):
    """The one problem of a file."""
    (problem,) = problems(path)
    return problem


# Weights of other networks ----------------------------------------------------------------------------------


def called(arrays, array):
    """The name of the array of these numbers, in whatever order."""
    return next(name for name, a in arrays.items() if np.array_equal(np.sort(a, None), np.sort(array, None)))


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
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
                [
                    f"{odd} (9,), but block4_conv1/bias needs (5,)",
                    f"{more} {arrays[last].shape}, which VGG-16 does not have",
                ]
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
    assert sum("which VGG-16 does not have" in line for line in found) == len(theirs - convolutions)


def test_vgg19_is_refused(tmp_path):
    names = [f"block{b}_conv{i}" for b, n in enumerate((2, 2, 4, 4, 4), start=1) for i in range(1, n + 1)]
    weights = layers(names, ((2, 2), (3, 3), (4,) * 4, (5,) * 4, (6,) * 4))
    h5_file(tmp_path / "keras", keras_arrays(weights, keras_2))
    assert problems(tmp_path / "keras") == [
        f"HDF5 of a Keras application, has {keras_2(f'block{block}_conv4', part)} {shape}, which VGG-16 does not have"
        for block, width in ((3, 4), (4, 5), (5, 6))
        for part, shape in (("bias", (width,)), ("kernel", (3, 3, width, width)))
    ]
    safetensors_file(tmp_path / "torch", torch_arrays(weights, VGG19_PLACES))
    assert any(
        "features.16.weight" in line and "which VGG-16 does not have" in line for line in problems(tmp_path / "torch")
    )


# What is damaged or holds no weights ------------------------------------------------------------------------


@pytest.mark.parametrize("part", [0, 0.03, 0.3, 0.9, 1])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_truncated_file_is_refused(layout, tmp_path, part):
    layout.write(tmp_path / "whole", layout.arrays(layers()))
    raw = (tmp_path / "whole").read_bytes()
    (tmp_path / "weights").write_bytes(raw[: min(int(part * len(raw)), len(raw) - 1)])
    assert len(problems(tmp_path / "weights")) == 1


@pytest.mark.parametrize("name", ["safetensors", "torch_zip", "torch_legacy", "torch_2017", "keras_3"])
def test_a_damaged_file_is_refused_or_read(name, tmp_path_factory):
    folder = tmp_path_factory.mktemp(name)
    LAYOUTS[name].write(folder / "whole", LAYOUTS[name].arrays(layers()))
    raw = (folder / "whole").read_bytes()
    start = raw.index(b"OrderedDict") - 20 if b"OrderedDict" in raw else 8

    # No byte becomes a pickle's LONG_BINPUT: its index can ask for tens of gigabytes of memo.
    values = st.integers(0, 255).filter(lambda byte: byte != ord("r"))

    @settings(max_examples=30)
    @given(st.lists(st.tuples(st.integers(start, start + 3000), values), min_size=1, max_size=4))
    def check(changes):
        damaged = bytearray(raw)
        for place, byte in changes:
            damaged[place] = byte
        (folder / "weights").write_bytes(damaged)
        with contextlib.suppress(InputError):
            assert list(read(folder / "weights").variables["params"]) == LAYERS

    check()


@pytest.mark.parametrize(
    "content", [b"", b"not weights", b"\x89PNG\r\n\x1a\n" + bytes(99), b"12345678{", bytes(8) + b"{}"]
)
def test_what_is_no_file_of_weights_is_refused(tmp_path, content):
    (tmp_path / "weights").write_bytes(content)
    assert len(problems(tmp_path / "weights")) == 1


def test_a_missing_file_a_folder_and_another_archive_are_refused(tmp_path):
    assert "No such file" in line(tmp_path / "weights")
    assert "Is a directory" in line(tmp_path)
    with zipfile.ZipFile(tmp_path / "weights", "w") as archive:
        archive.writestr("config.json", "{}")
    assert "without torch's data.pkl" in line(tmp_path / "weights")


def test_arrays_that_lie_in_another_file_are_refused(tmp_path):
    arrays = keras_arrays(layers(), keras_1)
    h5_file(tmp_path / "weights", arrays)
    (tmp_path / "other").write_bytes(bytes(8))
    with h5py.File(tmp_path / "weights", "a") as file:
        file.create_dataset("secret", (8,), "u1", external=[(str(tmp_path / "other"), 0, 8)])
    assert "secret is stored in another file" in line(tmp_path / "weights")
    virtual = h5py.VirtualLayout((8,), "u1")
    virtual[:] = h5py.VirtualSource(tmp_path / "other", "secret", (8,))
    with h5py.File(tmp_path / "weights", "a") as file:
        del file["secret"]
        file.create_virtual_dataset("virtual", virtual)
    assert "virtual is stored in another file" in line(tmp_path / "weights")


def with_header(path, change=None, header=None, length=None, raw=None):
    """A safetensors file of two arrays, one part of which is replaced; ``change`` goes to the second array's entry."""
    entries = {
        "features.0.bias": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "features.0.weight": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]} | (change or {}),
    }
    encoded = json.dumps(entries).encode() if header is None else header
    count = len(encoded) if length is None else length
    path.write_bytes(count.to_bytes(8, "little") + encoded + (bytes(16) if raw is None else raw))


BAD_SAFETENSORS = {
    "overlap": ({"change": {"data_offsets": [4, 16]}}, "invalid offset for tensor `features.0.weight`"),
    "gap": ({"change": {"data_offsets": [12, 16]}}, "invalid offset for tensor `features.0.weight`"),
    "backwards": ({"change": {"data_offsets": [8, 4]}}, "invalid offset for tensor `features.0.weight`"),
    "before the first": ({"change": {"data_offsets": [-8, 8]}}, "invalid value: integer `-8`"),
    "another shape": ({"change": {"shape": [3]}}, "invalid shape, data type, or offset"),
    "shape beyond counting": ({"change": {"shape": [2**63, 4]}}, "overflow computing buffer size"),
    "unknown type": ({"change": {"dtype": "F33"}}, "unknown variant `F33`"),
    "truncated": ({"raw": bytes(15)}, "file not fully covered"),
    "longer": ({"raw": bytes(17)}, "file not fully covered"),
    "header beyond the end": ({"length": 10**6}, "invalid header length"),
    "huge header": ({"length": 10**17}, "header too large"),
    "no JSON": ({"header": b"{never closed"}, "invalid JSON in header"),
    "no text": ({"header": b'{"\xff": 1}'}, "invalid UTF-8 in header"),
    "no arrays": ({"header": b'{"features.0.bias": 1}'}, "invalid JSON in header"),
    "nested": ({"header": b"{" + b'"a":{' * 3000}, "recursion limit exceeded"),
}


@pytest.mark.parametrize(("parts", "words"), BAD_SAFETENSORS.values(), ids=BAD_SAFETENSORS)
def test_damaged_safetensors_are_refused_with_the_reason(tmp_path, parts, words):
    with_header(tmp_path / "weights", **parts)
    problem = line(tmp_path / "weights")
    assert problem.startswith("cannot be read as safetensors (")
    assert words in problem
    assert problem.endswith(f"; the file has {(tmp_path / 'weights').stat().st_size:,} bytes)")


def test_safetensors_of_these_parts_are_read(tmp_path):
    with_header(tmp_path / "weights", raw=np.arange(4, dtype="<f4").tobytes())
    with open_weights(tmp_path / "weights") as file:
        assert file.shapes == {"features.0.bias": (2,), "features.0.weight": (2,)}
        np.testing.assert_array_equal(file.read("features.0.weight"), [2, 3])


@pytest.mark.parametrize(("dtype", "shape"), [("F8_E5M2", [8]), ("F8_E4M3", [8]), ("F4", [16])])
def test_types_that_numpy_does_not_have_are_refused(tmp_path, dtype, shape):
    with_header(tmp_path / "weights", {"dtype": dtype, "shape": shape})
    with open_weights(tmp_path / "weights") as file, pytest.raises(InputError) as refused:
        file.read("features.0.weight")
    (problem,) = refused.value.problems
    place = f"{tmp_path / 'weights'}: cannot be read as safetensors, features.0.weight"
    assert problem.startswith(f"{place} (its numbers are {dtype}, which cannot be read")


@pytest.mark.parametrize("name", ["safetensors", "keras_1"])
def test_only_the_arrays_asked_for_are_read(tmp_path, name):
    """The other one has a terabyte, none of it on the disk."""
    path, size = tmp_path / "weights", 1 << 40
    if name == "safetensors":
        with_header(path, {"shape": [size // 4], "data_offsets": [8, 8 + size]}, raw=np.ones(2, "<f4").tobytes())
        os.truncate(path, path.stat().st_size + size)
    else:
        with h5py.File(path, "w") as file:
            file["features.0.bias"] = np.ones(2, "<f4")
            file.create_dataset("features.0.weight", (size // 4,), "<f4")
    with open_weights(path) as file:
        assert file.shapes["features.0.weight"] == (size // 4,)
        np.testing.assert_array_equal(file.read("features.0.bias"), [1, 1])


def test_without_its_package_safetensors_are_refused_and_other_files_read(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "safetensors" else find(name))
    safetensors_file(tmp_path / "weights", torch_arrays(layers()))
    remedy = "(extra data): run make install and use .venv/bin/python, or pip install -e '.[data]' in the checkout"
    assert line(tmp_path / "weights") == f"reading safetensors needs safetensors {remedy}"
    torch_zip_file(tmp_path / "weights", torch_arrays(layers()))
    assert list(read(tmp_path / "weights").variables["params"]) == LAYERS


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [(1, "int64", "are int64, but weights must be floats"), (np.nan, "float32", "not finite")],
)
def test_numbers_that_are_no_weights_are_refused(tmp_path, number, kind, words):
    arrays = torch_arrays(layers())
    arrays["features.0.bias"] = np.full_like(arrays["features.0.bias"], number, dtype=kind)
    safetensors_file(tmp_path / "weights", arrays)
    assert words in line(tmp_path / "weights")


def test_a_name_that_is_no_text_is_refused(tmp_path):
    h5_file(tmp_path / "weights", keras_arrays(layers(), keras_1) | {b"\xff": np.ones(3)})
    assert "is not text" in line(tmp_path / "weights")


# What a pickle asks for -------------------------------------------------------------------------------------


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
    assert "asks for io.open, which is not allowed" in line(tmp_path / "weights").replace("_io", "io")
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
    problem = line(tmp_path / "weights")
    assert "extends to element" in problem or "numbers of strides and dimensions differ" in problem


@pytest.mark.parametrize(
    ("storage", "kind"), [("HalfStorage", "float16"), ("DoubleStorage", "float64"), ("BFloat16Storage", "bfloat16")]
)
def test_other_precisions_of_torch_become_float32(tmp_path, storage, kind):
    arrays = {name: array.astype(jnp.dtype(kind)) for name, array in torch_arrays(layers()).items()}
    torch_legacy_file(tmp_path / "weights", arrays)
    raw = (tmp_path / "weights").read_bytes()
    (tmp_path / "weights").write_bytes(raw.replace(b"FloatStorage", storage.encode()))
    with open_weights(tmp_path / "weights") as file:
        found = file.read("features.12.weight")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, arrays["features.12.weight"].astype(np.float32))


# Wrappers, checkpoints and backends of Keras ----------------------------------------------------------------


def equal(found, weights):
    params = found.variables["params"]
    return all(
        (params[name]["kernel"] == k).all() and (params[name]["bias"] == b).all() for name, (k, b) in weights.items()
    )


# State dicts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stem", ["module.features.", "_orig_mod.features.", "_orig_mod.module.features.", "model.", "net[0].x.", ""]
)
@pytest.mark.parametrize("write", [safetensors_file, torch_zip_file])
def test_any_stem_is_read_and_told(tmp_path, stem, write):
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


def test_a_network_of_other_names_is_told_by_what_it_holds(tmp_path):
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
