"""Inputs of VGG-16's head: images, or features of its frozen convolutions, computed once and cached."""

import functools as ft
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.data.cached_features import cached_features, features_folder
from experiments.data.datasets import DATA_SETS, image_data
from experiments.data.idx import Images
from experiments.data.vgg16 import Pretrained, vgg16_features
from lawlib.networks.linen import VGGFeatures
from lawlib.networks.vgg import CONFIGURATION_D, flat_averages
from lawlib.types import Array, PyTree

__all__ = ["Chosen", "Data", "Extraction", "Part", "features", "loaded", "num_features", "pretrained"]

# Raise it when the features of the same images and weights change: cached features are then ignored.
VERSION = 1
# Images per call of the convolutions.
BATCH = 100


class Extraction(NamedTuple):
    """From images to features: pretrained weights, the size to resize to, the last block, and averaging windows."""

    weights: str
    size: int
    block: int
    pool: int


class Chosen(NamedTuple):
    """A data set, its folder, and how many images of its two parts are used, the same number of each class."""

    name: str
    folder: str
    num_train: int
    num_test: int


class Part(NamedTuple):
    """Features (N, d) of frozen convolutions, or images (N, height, width, 3) as uint8; one-hot classes (N, K)."""

    inputs: Array
    labels: Array


class Data(NamedTuple):
    """Both parts; ``convolutions`` are the pretrained ones if they are trained further, else ()."""

    train: Part
    test: Part
    convolutions: PyTree


@ft.lru_cache(maxsize=1)
def pretrained(path: str) -> Pretrained:
    """The weights of a file; with an empty path, of the file that ``find_vgg16`` finds."""
    return vgg16_features(path or None)


def num_features(made: Extraction) -> int:
    """The number of features of an image, d."""
    return made.pool**2 * CONFIGURATION_D[made.block - 1][-1]


def features(variables: PyTree, images: Array, made: Extraction) -> Array:
    """Features (n, d) of uint8 images (n, height, width, 3), resized and preprocessed as the weights need."""
    dtype = jax.tree.leaves(variables)[0].dtype
    shape = (images.shape[0], made.size, made.size, images.shape[3])
    resized = jax.image.resize(images.astype(dtype), shape, "bilinear")
    convolutions = VGGFeatures(blocks=made.block, channels=CONFIGURATION_D)
    maps = convolutions.apply(variables, pretrained(made.weights).preprocessing.apply(resized))
    return flat_averages(jnp.asarray(maps), (made.pool, made.pool))


def loaded(chosen: Chosen, made: Extraction, *, frozen: bool, precision: str) -> Data:
    """The images, or their features if the convolutions are ``frozen``, with one-hot classes."""
    found, dtype = image_data(chosen.name, chosen.folder), np.dtype(precision)
    parts = [_first_of_each(*part) for part in ((found.train, chosen.num_train), (found.test, chosen.num_test))]
    variables = pretrained(made.weights).variables
    inputs = [part.images for part in parts]
    if frozen:
        inputs = [_extracted(made, images).astype(dtype) for images in inputs]
    labels = [np.eye(DATA_SETS[chosen.name].num_classes, dtype=dtype)[part.labels] for part in parts]
    train, test = (Part(jnp.asarray(x), jnp.asarray(y)) for x, y in zip(inputs, labels, strict=True))
    return Data(train, test, () if frozen else jax.tree.map(lambda x: jnp.asarray(x, dtype), variables))


def _extracted(made: Extraction, images: np.ndarray) -> np.ndarray:
    weights, program = pretrained(made.weights), jax.jit(features, static_argnums=2)
    identity = f"{VERSION} {weights.origin} {weights.preprocessing} {made[1:]}"
    extract = ft.partial(_in_batches, lambda batch: program(weights.variables, batch, made))
    return cached_features(extract, images, identity, features_folder())


def _in_batches(extract: Callable[[np.ndarray], Array], images: np.ndarray) -> np.ndarray:
    return np.concatenate([extract(images[start : start + BATCH]) for start in range(0, len(images), BATCH)])


def _first_of_each(part: Images, count: int) -> Images:
    """The first images of each class in equal numbers, classes alternating: a smaller count gives a prefix."""
    num_classes = int(part.labels.max()) + 1
    by_class = np.argsort(part.labels, kind="stable").reshape(num_classes, -1)
    chosen = by_class[:, : count // num_classes].T.ravel()
    return Images(part.images[chosen], part.labels[chosen])
