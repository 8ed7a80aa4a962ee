"""Two parametrizations of a deep linear network: the same weights, loss and minimizers, but other trajectories.

A parametrization is a start of the weights, and a step size and a weight decay for each layer.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
from jax.typing import DTypeLike

from lawlib.networks.initializers import check_widths, fan_in_normal
from lawlib.types import PRNGKey, PyTree, Rate, Weights

__all__ = ["PARAMETRIZATIONS", "Rates", "fan_in", "fan_in_weights", "ntk"]


class Rates(NamedTuple):
    """Step size eta and weight decay lambda of descent.

    Numbers for all layers, tuples of length L with a number for each layer (``steps.gradient_descent`` takes both), or
    arrays over the phases or the steps of a schedule.
    """

    step_size: PyTree[Rate]
    weight_decay: PyTree[Rate]


def fan_in_weights(key: PRNGKey, widths: Sequence[int], dtype: DTypeLike = float) -> Weights:
    """Draw (W_1, ..., W_L), iid N(0, 1/d_{l-1}) entries in W_l (d_l, d_{l-1}), for widths (d_0, ..., d_L).

    The variance is 1/fan_in, half of that with Kaiming's default gain (Laus et al. 2025, Assumption 2.2, eq. 7).

    Raises:
        ValueError: widths are not two or more positive sizes.
    """
    check_widths(widths)
    init, keys = fan_in_normal(1.0), jax.random.split(key, len(widths) - 1)
    shapes = ((out, into) for into, out in itertools.pairwise(widths))
    return tuple(init(k, shape, dtype) for k, shape in zip(keys, shapes, strict=True))


def fan_in(widths: Sequence[int], *, step_size: Rate, weight_decay: Rate) -> Rates:
    """One step size eta and one weight decay lambda for every layer: descent on the fan-in weights themselves.

    The parametrization of the paper's figures (Laus et al. 2025, Algorithm 1 under Assumption 2.2).

    Raises:
        ValueError: widths are not two or more positive sizes.
    """
    check_widths(widths)
    depth = len(widths) - 1
    return Rates((step_size,) * depth, (weight_decay,) * depth)


def ntk(widths: Sequence[int], *, step_size: Rate, weight_decay: Rate) -> Rates:
    """Step size eta/d_{l-1} for layer l and one lambda: descent on W~_l = sqrt(d_{l-1}) W_l with N(0, 1) entries.

    W~_l(t+1) = (1 - eta lambda/d_{l-1}) W~_l - eta dL/dW~_l, written for the fan-in weights W_l: layer 1 has the
    step size eta/m and the others eta/d_w, on the loss + lambda/2 sum_l ||W_l||_F^2. The parametrization of all the
    theory (Laus et al. 2025, Assumption A.1 and eq. 28).

    Raises:
        ValueError: widths are not two or more positive sizes.
    """
    check_widths(widths)
    return Rates(tuple(step_size / width for width in widths[:-1]), (weight_decay,) * (len(widths) - 1))


PARAMETRIZATIONS: dict[str, Callable[..., Rates]] = {"fan_in": fan_in, "ntk": ntk}
