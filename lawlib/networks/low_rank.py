"""Low-rank MLPs: small square layers between two bases of the full network (Xu et al. 2026, eq. 10)."""

import functools as ft
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp

from lawlib.networks.activations import Activation, activation
from lawlib.types import Array, Float, Matrix, Weights, matmul

__all__ = ["LowRankWeights", "apply", "to_dense", "to_low_rank_params", "to_low_rank_weights"]


class LowRankWeights(NamedTuple):
    """The weights of W_L phi(U~ W~_{L-1} phi(... W~_2 phi(W~_1 V~^T X))), all of them trained.

    ``right`` is V~ (d, r), ``inner`` (W~_1, ..., W~_{L-1}), each r x r, ``left`` U~ (m, r), ``last`` W_L (K, m).
    """

    right: Float[Array, "d r"]
    inner: Weights
    left: Float[Array, "m r"]
    last: Float[Array, "K m"]


def apply(weights: LowRankWeights, inputs: Float[Array, "d N"], phi: str | Activation) -> Float[Array, "K N"]:
    """The outputs (K, N), columns are samples; a randomized slope takes its mean (Xu et al. 2026, eq. 10).

    The products have JAX's default precision, as in any network that is trained.
    """
    phi = activation(phi)
    *before, at_end = weights.inner
    H = ft.reduce(lambda H, W: phi.function(W @ H), before, weights.right.T @ inputs)
    return weights.last @ phi.function(weights.left @ (at_end @ H))


def to_dense(weights: LowRankWeights, widths: Sequence[int]) -> Weights:
    """The same function as weights (W_1, ..., W_L) of a full MLP with outputs ``widths`` = (d_1, ..., d_{L-1}, K).

    W_1 = [W~_1 V~^T; 0], W_l = [W~_l 0; 0 0], W_{L-1} = [U~ W~_{L-1} 0]: the units beyond the first r have the
    value phi(0) and outgoing weights of zero. Exact for any activation.

    Raises:
        ValueError: the number of layers differs, a hidden width is below r, or the last hidden width is not that of U~.
    """
    r, hidden = weights.right.shape[1], tuple(widths[:-1])
    m = weights.left.shape[0]
    if len(hidden) != len(weights.inner) or min(hidden) < r or hidden[-1] != m or widths[-1] != weights.last.shape[0]:
        outputs = weights.last.shape[0]
        wanted = f"{len(weights.inner)} hidden layers of at least r={r} units, the last {m}, {outputs} outputs"
        msg = f"this network fits widths of {wanted}, got {tuple(widths)}"
        raise ValueError(msg)
    outer = [*weights.inner[:-1], matmul(weights.left, weights.inner[-1])]
    outer[0] = matmul(outer[0], weights.right.T)
    shapes = zip(hidden, (weights.right.shape[0], *hidden), strict=False)
    return *(_padded(W, shape) for W, shape in zip(outer, shapes, strict=True)), weights.last


def to_low_rank_params(weights: LowRankWeights) -> dict:
    """The variables with which ``LowRankMLP.apply`` computes the same."""
    inner = {f"inner_{layer}": W.T for layer, W in enumerate(weights.inner, start=1)}
    kernels = {"right": weights.right, **inner, "left": weights.left.T, "last": weights.last.T}
    return {"params": {name: {"kernel": kernel} for name, kernel in kernels.items()}}


def to_low_rank_weights(params: dict) -> LowRankWeights:
    """The weights that the variables of a ``LowRankMLP`` hold; the inverse of ``to_low_rank_params``."""
    kernels = {name: layer["kernel"] for name, layer in params["params"].items()}
    inner = tuple(kernels[f"inner_{layer}"].T for layer in range(1, len(kernels) - 2))
    return LowRankWeights(kernels["right"], inner, kernels["left"].T, kernels["last"].T)


def _padded(W: Matrix, shape: tuple[int, int]) -> Matrix:
    return jnp.pad(W, [(0, size - given) for size, given in zip(shape, W.shape, strict=True)])
