"""Multi-layer perceptrons W_L phi(W_{L-1} ... phi(W_1 X)), as a tuple of matrices and as a Flax module.

To freeze a layer, set its step size to 0 in the tree of rates of a descent step, use ``optax.selective_transform`` with
an optax method, or pass its matrix to the loss with the data: ``apply((*weights, W_L), X, phi)``. Products have JAX's
default precision, as in any network that is trained.
"""

import itertools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike

from lawlib.networks.activations import Activation, activation
from lawlib.networks.initializers import orthogonal
from lawlib.types import Array, Float, Matrix, PRNGKey, Weights

__all__ = ["MLP", "apply", "hidden_features"]

RNG_NAME = "activation"


def hidden_features(
    weights: Weights, inputs: Float[Array, "d N"], phi: str | Activation, key: PRNGKey | None = None
) -> tuple[Matrix, ...]:
    """The features (H_0, ..., H_{L-1}): H_0 = X (d, N) and H_l = phi(W_l H_{l-1}) (Yaras et al. 2023, eq. 12).

    The outputs are W_L H_{L-1}: the last layer has no activation and is not among the features. A key draws the slopes
    of a randomized activation, independently in every layer; other activations ignore it.
    """
    phi = activation(phi)
    keys = [None] * len(weights) if key is None else jax.random.split(key, len(weights))
    layers = zip(weights[:-1], keys, strict=False)
    return tuple(itertools.accumulate(layers, lambda H, layer: _activated(phi, layer[0] @ H, layer[1]), initial=inputs))


def apply(
    weights: Weights, inputs: Float[Array, "d N"], phi: str | Activation, key: PRNGKey | None = None
) -> Float[Array, "K N"]:
    """f(X) = W_L phi(W_{L-1} ... phi(W_1 X)), W_l (d_l, d_{l-1}), columns are samples (Xu et al. 2026, eq. 1).

    A key draws the slopes of a randomized activation; without a key their mean is used, as in evaluation.
    """
    return weights[-1] @ hidden_features(weights, inputs, phi, key)[-1]


class MLP(nn.Module):
    """The same network in Flax's convention: the batch comes first, kernels are (in, out), there are no biases.

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
                x = _activated(phi, x, key)
        return x


def _activated(phi: Activation, Z: Array, key: PRNGKey | None) -> Array:
    if key is None or phi.randomized is None:
        return phi.function(Z)
    return phi.randomized(key, Z)
