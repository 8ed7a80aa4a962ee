"""Deep linear networks W_L ... W_1 x as the papers' tuple of matrices; ``networks.linen.DeepLinear`` is in Flax."""

import functools as ft
import itertools
from collections.abc import Mapping

from lawlib.types import Matrix, Weights, matmul

__all__ = ["end_to_end", "imbalances", "to_params", "to_weights"]


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
