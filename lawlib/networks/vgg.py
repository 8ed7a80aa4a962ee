"""VGG-16: the shapes of its convolutions, and the averages of their features that are the inputs of a head.

Simonyan & Zisserman 2015, configuration D; the head on averages over 3 x 3 windows is that of Xu et al. 2026, Section
5.1.2. Batches of images come first and channels last. The network is ``networks.linen.VGG16``.
"""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from lawlib.types import Array, Float

__all__ = ["CONFIGURATION_D", "adaptive_average_pool", "flat_averages", "kernel_shapes"]

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
