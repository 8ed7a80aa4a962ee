"""Multi-layer perceptrons W_L phi(W_{L-1} ... phi(W_1 X)) as a tuple of matrices; ``networks.linen.MLP`` is in Flax.

To freeze a layer, set its step size to 0 in the tree of rates of a descent step, use ``optax.selective_transform`` with
an optax method, or pass its matrix to the loss with the data: ``apply((*weights, W_L), X, phi)``. Products have JAX's
default precision, as in any network that is trained.
"""

import itertools

import jax

from lawlib.networks.activations import Activation, activated, activation
from lawlib.types import Array, Float, Matrix, PRNGKey, Weights

__all__ = ["apply", "hidden_features"]


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
    return tuple(itertools.accumulate(layers, lambda H, layer: activated(phi, layer[0] @ H, layer[1]), initial=inputs))


def apply(
    weights: Weights, inputs: Float[Array, "d N"], phi: str | Activation, key: PRNGKey | None = None
) -> Float[Array, "K N"]:
    """f(X) = W_L phi(W_{L-1} ... phi(W_1 X)), W_l (d_l, d_{l-1}), columns are samples (Xu et al. 2026, eq. 1).

    A key draws the slopes of a randomized activation; without a key their mean is used, as in evaluation.
    """
    return weights[-1] @ hidden_features(weights, inputs, phi, key)[-1]
