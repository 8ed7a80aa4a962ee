"""A VGG-16 of two small convolutions, with made-up images, in place of the published ones."""

import numpy as np
import synthetic

from experiments.data import vgg16_features
from experiments.data.datasets import DATA_SETS, ImageData
from experiments.data.idx import Images
from experiments.data.vgg16 import RGB_TORCH, Pretrained
from experiments.laws.smooth_mlp.vgg_heads import system
from experiments.runner.settings import expand
from lawlib.networks.vgg import kernel_shapes

SIDE, K, TRAIN, TEST = 8, 10, 60, 40
CHANNELS = ((3,), (10,))
TINY = {
    "net.width": 48,
    "opt.batch_size": 20,
    "data.num_train": TRAIN,
    "data.num_test": TEST,
    "data.num_probe": 40,
    "data.eval_batch": 10,
    "data.size": 8,
    "data.block": 2,
    "data.pretrained": "imagenet",
    "precision": "float64",
}


def drawn(size, seed):
    """Images of each class in equal numbers."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (size, SIDE, SIDE, 3), np.uint8)
    return Images(pixels, np.sort(np.tile(np.arange(K, dtype=np.uint8), size // K)))


def kernels():
    """Random convolutions."""
    rng, variables = np.random.default_rng(2), {}
    for name, shape in kernel_shapes(CHANNELS).items():
        kernel = rng.standard_normal(shape, np.float32) / np.sqrt(np.prod(shape[:-1]))
        variables[name] = {"kernel": kernel.astype(np.float32), "bias": rng.standard_normal(shape[-1:], np.float32)}
    return {"params": variables}


IMAGES = ImageData(drawn(TRAIN, 0), drawn(TEST, 1), "made up")
WEIGHTS = Pretrained(kernels(), RGB_TORCH._replace(scale=0.1), "made up", "imagenet")


def install(setattr=setattr, setitem=dict.__setitem__):
    """Put the small network and the images in the place of the large ones, by these setters."""
    known = DATA_SETS["cifar10"]._replace(shape=(SIDE, SIDE, 3), sizes=(TRAIN, TEST))
    setitem(DATA_SETS, "cifar10", known)
    for module in (system, vgg16_features):
        setattr(module, "CONFIGURATION_D", CHANNELS)
        setattr(module, "image_data", lambda *_: IMAGES)
        setattr(module, "pretrained", lambda _: WEIGHTS)


def config_of(*words, name="vgg16_cifar10", profile="smoke"):
    """A config of the small network."""
    return synthetic.config_of(name, *words, profile=profile, **(TINY if profile == "smoke" else {}))


def variant(name, *words):
    """One variant, on its own before the words are applied: of all of them a word may select others."""
    (only,) = expand(config_of(f"name={name}", *words))
    return only.config
