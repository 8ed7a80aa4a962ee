"""A small VGG-16 written to files in the layouts of those who publish weights, and read back."""

import contextlib
import functools as ft
import io
import json
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from typing import NamedTuple

import h5py
import numpy as np

from experiments.data import vgg16
from experiments.data.vgg16 import BGR_HED, BGR_KERAS, RGB_TORCH
from lawlib.networks.vgg import kernel_shapes

# Blocks of one width inside, so that shapes do not tell their layers apart.
CHANNELS = ((2, 2), (3, 3), (4, 4, 4), (5, 5, 5), (6, 6, 6))
LAYERS = [f"block{b}_conv{i}" for b, n in enumerate((2, 2, 3, 3, 3), start=1) for i in range(1, n + 1)]
PLACES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)


def layers(names=tuple(LAYERS), channels=CHANNELS):
    """{name: (kernel (3, 3, in, out), bias)}, all numbers different."""
    rng, shapes = np.random.default_rng(3), list(kernel_shapes(channels).values())
    arrays = [(rng.standard_normal(shape, np.float32), rng.standard_normal(shape[-1:], np.float32)) for shape in shapes]
    return dict(zip(names, arrays, strict=True))


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

    torch._utils = utils
    for name in ("_rebuild_tensor", "_rebuild_tensor_v2"):

        def rebuild():
            """Only its name is pickled."""

        rebuild.__module__, rebuild.__qualname__ = "torch._utils", name
        setattr(utils, name, rebuild)
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


def torch_pickle(content, legacy, old=False):
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
                place = Storage(item), item.offset, item.shape, item.strides
                if old:
                    return torch._utils._rebuild_tensor, place
                return torch._utils._rebuild_tensor_v2, (*place, False, OrderedDict())

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


def torch_legacy_file(path, arrays, content=None, old=False):
    """``old`` as in the file that torchvision wrote in 2017."""
    state = tensors(arrays)
    pickles = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True}]
    raw = b"".join(pickle.dumps(item, protocol=2) for item in pickles)
    raw += torch_pickle(state if content is None else content, legacy=True, old=old)
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
    "torch_2017": Layout(
        "torch's format before 1.6", torch_arrays, ft.partial(torch_legacy_file, old=True), RGB_TORCH, TORCH_30
    ),
    "keras_1": Layout("HDF5 of a Keras application", lambda w: keras_arrays(w, keras_1), h5_file, BGR_KERAS, FOURTH),
    "keras_2": Layout("HDF5 of a Keras application", lambda w: keras_arrays(w, keras_2), h5_file, BGR_KERAS, FOURTH),
    "keras_3": Layout("HDF5 of Keras 3", lambda w: keras_arrays(w, keras_3), h5_file, BGR_KERAS, FOURTH),
    "keras_3_ordered": Layout(
        "HDF5 of Keras 3", lambda w: keras_arrays(w, keras_3_ordered), h5_file, BGR_KERAS, ("d_12", "d_13")
    ),
    "hed": Layout("HDF5 of Keras 3", lambda w: keras_arrays(w, hed), hed_file, BGR_HED, ("conv2d_2", "conv2d_3")),
}


def read(path):
    return vgg16._read(path, CHANNELS)
