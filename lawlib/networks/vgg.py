"""The convolutions of VGG-16 as a Flax module, and the whole network with a given head.

Simonyan & Zisserman 2015, configuration D; the head on averages over 3 x 3 windows is that of Xu et al. 2026, Section
5.1.2. Batches of images come first and channels last.
"""

from collections.abc import Mapping, Sequence

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike

from lawlib.networks.convolution import same_convolution
from lawlib.types import Array, Float

__all__ = ["CONFIGURATION_D", "VGG16", "VGGFeatures", "adaptive_average_pool", "flat_averages", "kernel_shapes"]

# The output channels of each convolution, block by block; a pooling ends every block.
CONFIGURATION_D = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
COLOURS = 3


def kernel_shapes(channels: Sequence[Sequence[int]] = CONFIGURATION_D) -> Mapping[str, tuple[int, int, int, int]]:
    """The shape (3, 3, in, out) of each kernel by the name of its layer, block1_conv1 first; biases are (out,)."""
    shapes, width = {}, COLOURS
    for block, outputs in enumerate(channels, start=1):
        for layer, out in enumerate(outputs, start=1):
            shapes[f"block{block}_conv{layer}"] = (3, 3, width, out)
            width = out
    return shapes


class VGGFeatures(nn.Module):
    """The first ``blocks`` blocks: 3 x 3 convolutions with zero padding, ReLU after each, 2 x 2 maxima at the end.

    Images (N, H, W, 3) become (N, H // 2^b, W // 2^b, C) for b = ``blocks``: C = 512 for b = 4 and b = 5. Layers are
    named block1_conv1, ..., block5_conv3, each with a kernel (3, 3, in, out) and a bias; ``channels`` are the outputs
    of the convolutions of all blocks, by default those of VGG-16. Variables of more blocks can be used for fewer.

    Raises:
        ValueError: ``channels`` has fewer blocks, or the images are too small.
    """

    blocks: int = 5
    channels: Sequence[Sequence[int]] = CONFIGURATION_D
    kernel_init: Initializer = nn.initializers.he_normal()
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: Float[Array, "N H W 3"]) -> Float[Array, "N h w C"]:
        """Map a batch of images, preprocessed as the weights require, to the features after the last pooling."""
        self._check(images)
        x = images
        for block, outputs in enumerate(self.channels[: self.blocks], start=1):
            for layer, width in enumerate(outputs, start=1):
                name = f"block{block}_conv{layer}"
                conv = nn.Conv(
                    width,
                    (3, 3),
                    kernel_init=self.kernel_init,
                    param_dtype=self.param_dtype,
                    conv_general_dilated=_convolution,
                    name=name,
                )
                x = nn.relu(conv(x))
            x = nn.max_pool(x, (2, 2), strides=(2, 2))
        return x

    def _check(self, images: Array) -> None:
        if not 1 <= self.blocks <= len(self.channels):
            msg = f"blocks must be 1, ..., {len(self.channels)}, got {self.blocks}"
            raise ValueError(msg)
        size = 2**self.blocks
        if min(images.shape[1:3]) < size:
            msg = f"{self.blocks} blocks need images of {size} x {size} pixels or more, got {images.shape[1:3]}"
            raise ValueError(msg)


def _convolution(
    images: Array, kernel: Array, strides: Sequence[int], padding: object, *, feature_group_count: int, **_: object
) -> Array:
    """``same_convolution`` with the signature that ``nn.Conv`` calls; other options than its own are refused."""
    if any(step != 1 for step in strides) or padding != "SAME" or feature_group_count != 1:
        msg = f"need steps of one, SAME padding and one group, got {strides}, {padding} and {feature_group_count}"
        raise ValueError(msg)
    return same_convolution(images, kernel)


class VGG16(nn.Module):
    """The features, their averages over ``windows``, then a head: all variables are under ``features`` and ``head``.

    ``head`` is any Flax module from (N, windows[0] windows[1] C), 4608 numbers per image by default, to the outputs: an
    ``MLP`` gives the full network of an architecture, a ``LowRankMLP`` the low-rank one.
    """

    head: nn.Module
    blocks: int = 5
    channels: Sequence[Sequence[int]] = CONFIGURATION_D
    windows: tuple[int, int] = (3, 3)
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: Float[Array, "N H W 3"]) -> Float[Array, "N K"]:
        """Map a batch of images, preprocessed as the weights require, to the outputs of the head."""
        features = VGGFeatures(self.blocks, self.channels, param_dtype=self.param_dtype, name="features")
        return self.head(flat_averages(features(images), self.windows))


def adaptive_average_pool(x: Float[Array, "N H W C"], windows: tuple[int, int]) -> Float[Array, "N h w C"]:
    """Means over h x w windows: window i of h spans the rows floor(i H / h), ..., ceil((i + 1) H / h) - 1.

    The windows of torch's AdaptiveAvgPool2d: they tile if h divides H, overlap by a row otherwise, and repeat
    if h > H; the same holds for columns.

    Raises:
        ValueError: a number of windows is not positive.
    """
    if min(windows) < 1:
        msg = f"need one window or more in each direction, got {windows}"
        raise ValueError(msg)
    rows, columns = (_averages(size, h).astype(x.dtype) for size, h in zip(x.shape[1:3], windows, strict=True))
    return jnp.einsum("ih,jw,nhwc->nijc", rows, columns, x, precision="highest")


def flat_averages(x: Float[Array, "N H W C"], windows: tuple[int, int] = (3, 3)) -> Float[Array, "N d"]:
    """The averages over h x w windows as rows of d = h w C numbers; the channel index varies fastest.

    Entry (i w + j) C + c is channel c in window (i, j). Torch orders them as c h w + i w + j, and so are the inputs
    of a head that was trained there.
    """
    averages = adaptive_average_pool(x, windows)
    return averages.reshape(averages.shape[0], -1)


def _averages(size: int, windows: int) -> np.ndarray:
    """The matrix (windows, size) whose product with a column gives the means over windows."""
    i = np.arange(windows)[:, None]
    start, stop = i * size // windows, -(-(i + 1) * size // windows)
    inside = (start <= np.arange(size)) & (np.arange(size) < stop)
    return inside / inside.sum(axis=1, keepdims=True)
