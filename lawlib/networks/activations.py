"""Activations by name, with the constants that the bounds of smooth networks need."""

import functools as ft
import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from lawlib.types import Array, PRNGKey

__all__ = ["ACTIVATIONS", "LINEAR", "Activation", "activated", "activation"]

LEAKY_SLOPE = 0.01
# Bounds on the slope of the randomized ReLU; without a key the slope is their mean.
RRELU_SLOPES = (1 / 8, 1 / 3)


@dataclass(frozen=True)
class Activation:
    """An activation phi with phi(0) = 0 and the constants that the bounds of smooth networks need.

    ``function`` acts entry by entry; ``slope_at_zero`` = phi'(0), NaN where phi has a kink at 0; ``beta`` =
    sup |phi'|; ``mu`` is the Lipschitz constant of phi', +inf where phi has a kink (Xu et al. 2026, Assumption 3.3,
    with |phi''| <= mu read as a Lipschitz constant: the second derivative of ELU jumps at 0). ``randomized(key, Z)``,
    if there is one, replaces ``function`` when a key is given.
    """

    name: str
    function: Callable[[Array], Array]
    slope_at_zero: float
    beta: float
    mu: float
    randomized: Callable[[PRNGKey, Array], Array] | None = None

    def __post_init__(self) -> None:
        """Check that the constants are possible."""
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
    """Every entry has its own slope, which is constant under differentiation: the backward pass uses the same."""
    low, high = RRELU_SLOPES
    return _leaky(Z, jax.random.uniform(key, Z.shape, Z.dtype, low, high))


# |phi'| of SiLU is largest where x tanh(x / 2) = 2; that of GELU is largest at sqrt 2, with a closed form.
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

# The deep linear network as an MLP; not in the table, since the activations of the table are compared with it.
LINEAR = Activation("linear", lambda Z: Z, slope_at_zero=1.0, beta=1.0, mu=0.0)


def activation(choice: str | Activation | Callable) -> Activation:
    """The activation with this name in ``ACTIVATIONS``; an ``Activation`` is returned unchanged.

    Raises:
        ValueError: the name is not in the table, or choice is a function without constants.
    """
    if isinstance(choice, Activation):
        return choice
    known = ", ".join(ACTIVATIONS)
    if not isinstance(choice, str):
        msg = (
            f"an activation outside the table ({known}) needs its constants: "
            f"Activation(name, function, slope_at_zero, beta, mu), got {choice!r}"
        )
        raise ValueError(msg)  # noqa: TRY004 (a choice that is not allowed, like an unknown name)
    if choice not in ACTIVATIONS:
        msg = f"activation must be one of {known}, or an Activation with its constants, got {choice!r}"
        raise ValueError(msg)
    return ACTIVATIONS[choice]


def activated(phi: Activation, Z: Array, key: PRNGKey | None) -> Array:
    """phi(Z), entry by entry; with a key, a randomized activation draws its slopes from it."""
    if key is None or phi.randomized is None:
        return phi.function(Z)
    return phi.randomized(key, Z)
