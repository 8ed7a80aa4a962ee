"""Multi-layer perceptrons W_L phi(W_{L-1} ... phi(W_1 X)): activations with their constants, and both forms of the net.

A layer is frozen by a step size of 0 in the tree of rates of a descent step, by ``optax.selective_transform`` under an
optax method, or by handing its matrix to the loss with the data: ``apply((*weights, W_L), X, phi)``.
"""

import functools as ft
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike

from lawlib.initializers import orthogonal
from lawlib.types import Array, Float, Matrix, PRNGKey, Weights

__all__ = ["ACTIVATIONS", "LINEAR", "MLP", "Activation", "activation", "apply", "hidden_features"]

LEAKY_SLOPE = 0.01
# Slopes of the randomized ReLU; without a key it takes their mean.
RRELU_SLOPES = (1 / 8, 1 / 3)
RNG_NAME = "activation"


@dataclass(frozen=True)
class Activation:
    """An activation phi with phi(0) = 0 and the constants that the bounds of smooth networks need.

    ``function`` acts entry by entry; ``slope_at_zero`` = phi'(0), NaN where phi has a kink at 0; ``beta`` =
    sup |phi'|; ``mu`` is the Lipschitz constant of phi', +inf where phi has a kink (Xu et al. 2026, Assumption 3.3,
    with |phi''| <= mu read as a Lipschitz constant: the second derivative of ELU jumps at 0). ``randomized(key, Z)``,
    where there is one, is what ``function`` becomes when it is given a key.
    """

    name: str
    function: Callable[[Array], Array]
    slope_at_zero: float
    beta: float
    mu: float
    randomized: Callable[[PRNGKey, Array], Array] | None = None

    def __post_init__(self) -> None:
        """Refuse constants that no activation has."""
        slope_fits = math.isnan(self.slope_at_zero) or abs(self.slope_at_zero) <= self.beta
        if not (0 < self.beta < math.inf and self.mu >= 0 and slope_fits):
            msg = (
                f"{self.name} needs 0 < beta < inf, mu >= 0 (inf with a kink) and |slope_at_zero| <= beta (NaN with a "
                f"kink), got beta={self.beta}, mu={self.mu}, slope_at_zero={self.slope_at_zero}"
            )
            raise ValueError(msg)

    @property
    def is_smooth(self) -> bool:
        """Whether phi' is Lipschitz."""
        return math.isfinite(self.mu)


def _leaky(Z: Array, slope: Array | float) -> Array:
    return jnp.where(Z >= 0, Z, slope * Z)


def _randomized_relu(key: PRNGKey, Z: Array) -> Array:
    """Every entry has a slope of its own; autodiff holds it fixed, so that the backward pass uses the same."""
    low, high = RRELU_SLOPES
    return _leaky(Z, jax.random.uniform(key, Z.shape, Z.dtype, low, high))


# sup |phi'| of SiLU is where x tanh(x / 2) = 2; that of GELU, at sqrt 2, has a closed form.
_SILU_BETA = 1.0998393201288668
_GELU_BETA = (1 + math.erf(1)) / 2 + math.exp(-1) / math.sqrt(math.pi)

ACTIVATIONS = {
    phi.name: phi
    for phi in (
        Activation("elu", jax.nn.elu, slope_at_zero=1.0, beta=1.0, mu=1.0),
        Activation(
            "gelu",
            ft.partial(jax.nn.gelu, approximate=False),
            slope_at_zero=0.5,
            beta=_GELU_BETA,
            mu=math.sqrt(2 / math.pi),
        ),
        Activation("silu", jax.nn.silu, slope_at_zero=0.5, beta=_SILU_BETA, mu=0.5),
        Activation("tanh", jnp.tanh, slope_at_zero=1.0, beta=1.0, mu=4 / (3 * math.sqrt(3))),
        Activation("relu", jax.nn.relu, slope_at_zero=math.nan, beta=1.0, mu=math.inf),
        Activation("leaky_relu", ft.partial(_leaky, slope=LEAKY_SLOPE), slope_at_zero=math.nan, beta=1.0, mu=math.inf),
        Activation(
            "rrelu",
            ft.partial(_leaky, slope=sum(RRELU_SLOPES) / 2),
            slope_at_zero=math.nan,
            beta=1.0,
            mu=math.inf,
            randomized=_randomized_relu,
        ),
    )
}

# The deep linear network as an MLP; not in the table, whose activations are compared with it.
LINEAR = Activation("linear", lambda Z: Z, slope_at_zero=1.0, beta=1.0, mu=0.0)


def activation(choice: str | Activation | Callable) -> Activation:
    """The activation of this name in ``ACTIVATIONS``, or an ``Activation`` of one's own as it is.

    Raises:
        ValueError: the name is not in the table, or choice is a bare function, whose constants nobody has stated.
    """
    if isinstance(choice, Activation):
        return choice
    known = ", ".join(ACTIVATIONS)
    if not isinstance(choice, str):
        msg = (
            f"an activation outside the table ({known}) comes with its constants, as "
            f"Activation(name, function, slope_at_zero, beta, mu), got {choice!r}"
        )
        raise ValueError(msg)  # noqa: TRY004 (a choice that is not allowed, like an unknown name)
    if choice not in ACTIVATIONS:
        msg = f"activation must be one of {known}, or an Activation with its constants, got {choice!r}"
        raise ValueError(msg)
    return ACTIVATIONS[choice]


def hidden_features(
    weights: Weights, inputs: Float[Array, "d N"], phi: str | Activation, key: PRNGKey | None = None
) -> tuple[Matrix, ...]:
    """The features (H_0, ..., H_{L-1}): H_0 = X (d, N) and H_l = phi(W_l H_{l-1}) (Yaras et al. 2023, eq. 12).

    The outputs are W_L H_{L-1}: the last layer has no activation, and is not among the features.
    A key draws the slopes of a randomized activation, anew in every layer; the others ignore it.
    """
    phi = activation(phi)
    keys = [None] * len(weights) if key is None else jax.random.split(key, len(weights))
    layers = zip(weights[:-1], keys, strict=False)
    return tuple(itertools.accumulate(layers, lambda H, layer: _activated(phi, layer[0] @ H, layer[1]), initial=inputs))


def apply(
    weights: Weights, inputs: Float[Array, "d N"], phi: str | Activation, key: PRNGKey | None = None
) -> Float[Array, "K N"]:
    """f(X) = W_L phi(W_{L-1} ... phi(W_1 X)), W_l (d_l, d_{l-1}), columns are samples (Xu et al. 2026, eq. 1).

    A key draws the slopes of a randomized activation; without one it takes their mean, as in evaluation.
    """
    return weights[-1] @ hidden_features(weights, inputs, phi, key)[-1]


class MLP(nn.Module):
    """The same network in Flax's own convention: the batch comes first, kernels are (in, out), there are no biases.

    ``widths`` = (d_1, ..., d_L) are the outputs of the layers; ``phi`` is a name in ``ACTIVATIONS`` or an
    ``Activation``; ``kernel_init`` draws the kernels (eps-orthogonal with eps = 1 by default). The variables are those
    of a ``DeepLinear`` of these widths, and ``to_weights`` and ``to_params`` beside it lead to the tuple of matrices
    and back. A randomized activation draws its slopes from the rng named ``activation`` where ``apply`` is given one.
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
