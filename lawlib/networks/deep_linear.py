"""Deep linear networks: W_L ... W_1 x as a Flax module and as the papers' tuple of matrices."""

import functools as ft
import itertools
from collections.abc import Mapping, Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike

from lawlib.networks.initializers import orthogonal
from lawlib.types import Array, Float, Matrix, Weights, matmul

__all__ = ["DeepLinear", "end_to_end", "imbalances", "to_params", "to_weights"]


class DeepLinear(nn.Module):
    """The network x -> W_L ... W_1 x (Yaras et al. 2023, eq. 1), in Flax's convention: the batch comes first.

    ``widths`` = (d_1, ..., d_L) are the outputs of the layers; kernels are (in, out), the transposes of the papers'
    matrices; ``kernel_init`` draws them (eps-orthogonal with eps = 1 by default); there are no biases.
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


def to_weights(params: Mapping) -> Weights:
    """The tuple (W_1, ..., W_L), W_l of shape (d_l, d_{l-1}), that the variables of a ``DeepLinear`` hold."""
    layers = params["params"]
    return tuple(layers[f"layer_{layer}"]["kernel"].T for layer in range(1, len(layers) + 1))


def to_params(weights: Weights) -> dict:
    """The variables with which ``DeepLinear.apply`` computes W_L ... W_1 x; the inverse of ``to_weights``."""
    return {"params": {f"layer_{layer}": {"kernel": W.T} for layer, W in enumerate(weights, start=1)}}


def end_to_end(weights: Weights) -> Matrix:
    """The end-to-end matrix W_{L:1} = W_L ... W_1, shape (d_L, d_0), by products of the highest precision."""
    return ft.reduce(lambda product, W: matmul(W, product), weights)


def imbalances(weights: Weights) -> tuple[Matrix, ...]:
    """W_{l+1}^T W_{l+1} - W_l W_l^T for l = 1, ..., L-1, each (d_l, d_l): preserved by gradient flow."""
    return tuple(matmul(after.T, after) - matmul(W, W.T) for W, after in itertools.pairwise(weights))
