"""The networks as Flax linen modules: deep linear, MLPs, low-rank MLPs, and VGG-16.

In Flax's convention: the batch comes first, and kernels are (in, out), the transposes of the papers' matrices. The same
networks as tuples of matrices, which need no Flax, and the conversions between the two, lie in the modules beside this.
"""

import functools as ft
from collections.abc import Sequence

import jax.numpy as jnp
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike

from lawlib.extras import imports_for
from lawlib.networks.activations import Activation, activated, activation
from lawlib.networks.convolution import same_convolution
from lawlib.networks.initializers import orthogonal
from lawlib.networks.vgg import CONFIGURATION_D, flat_averages
from lawlib.types import Array, Float

with imports_for(__name__):
    import flax.linen as nn

__all__ = ["MLP", "VGG16", "DeepLinear", "LowRankMLP", "VGGFeatures"]

# The rng from which an ``MLP`` with a randomized activation draws its slopes.
RNG_NAME = "activation"


class DeepLinear(nn.Module):
    """The network x -> W_L ... W_1 x (Yaras et al. 2023, eq. 1); there are no biases.

    ``widths`` = (d_1, ..., d_L) are the outputs of the layers; ``kernel_init`` draws the kernels (eps-orthogonal with
    eps = 1 by default).
    """

    widths: Sequence[int]
    kernel_init: Initializer = orthogonal(1.0)
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "N d_x"]) -> Float[Array, "N d_y"]:
        """Map a batch of inputs to outputs."""
        for layer, width in enumerate(self.widths, start=1):
            x = nn.Dense(
                width,
                use_bias=False,
                kernel_init=self.kernel_init,
                param_dtype=self.param_dtype,
                name=f"layer_{layer}",
            )(x)
        return x


class MLP(nn.Module):
    """The network x -> W_L phi(W_{L-1} ... phi(W_1 x)), the one of ``networks.mlp.apply``; there are no biases.

    ``widths`` = (d_1, ..., d_L) are the outputs of the layers; ``phi`` is a name in ``ACTIVATIONS`` or an
    ``Activation``; ``kernel_init`` draws the kernels (eps-orthogonal with eps = 1 by default). The variables are those
    of a ``DeepLinear`` of these widths; ``to_weights`` and ``to_params`` of ``networks.deep_linear`` convert them to
    the tuple of matrices and back. A randomized activation draws its slopes from the rng named ``activation``, if
    ``apply`` is given one.
    """

    widths: Sequence[int]
    phi: str | Activation
    kernel_init: Initializer = orthogonal(1.0)
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "N d_x"]) -> Float[Array, "N d_y"]:
        """Map a batch of inputs to outputs."""
        phi = activation(self.phi)
        for layer, width in enumerate(self.widths, start=1):
            dense = nn.Dense(
                width,
                use_bias=False,
                kernel_init=self.kernel_init,
                param_dtype=self.param_dtype,
                name=f"layer_{layer}",
            )
            x = dense(x)
            if layer < len(self.widths):
                key = self.make_rng(RNG_NAME) if phi.randomized and self.has_rng(RNG_NAME) else None
                x = activated(phi, x, key)
        return x


class LowRankMLP(nn.Module):
    """The network of ``networks.low_rank.apply``; there are no biases.

    ``rank`` is r, ``width`` the m of U~, ``depth`` the L of the full network, whose last layer has ``num_outputs``.
    Layers are named right, inner_1, ..., inner_{L-1}, left, last; ``kernel_init`` draws them all.
    """

    rank: int
    width: int
    depth: int
    num_outputs: int
    phi: str | Activation
    kernel_init: Initializer = orthogonal(1.0)
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "N d_x"]) -> Float[Array, "N d_y"]:
        """Map a batch of inputs to outputs."""
        dense = ft.partial(nn.Dense, use_bias=False, kernel_init=self.kernel_init, param_dtype=self.param_dtype)
        phi = activation(self.phi).function
        x = dense(self.rank, name="right")(x)
        for layer in range(1, self.depth):
            x = dense(self.rank, name=f"inner_{layer}")(x)
            x = dense(self.width, name="left")(x) if layer == self.depth - 1 else x
            x = phi(x)
        return dense(self.num_outputs, name="last")(x)


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


def _convolution(
    images: Array, kernel: Array, strides: Sequence[int], padding: object, *, feature_group_count: int, **_: object
) -> Array:
    """``same_convolution`` with the signature that ``nn.Conv`` calls; other options than its own are refused."""
    if any(step != 1 for step in strides) or padding != "SAME" or feature_group_count != 1:
        msg = f"need steps of one, SAME padding and one group, got {strides}, {padding} and {feature_group_count}"
        raise ValueError(msg)
    return same_convolution(images, kernel)
