"""Weight decay in the law of parsimony: how fast idle directions vanish, and which decay loses the target.

**Idle directions.** Eq. (6) of Yaras et al. 2023 is rho+ = rho (1 - eta lambda - eta rho^p), p = 2 (L - 1). With
q = (1 - eta lambda)^{-p} and h = eta / (1 - eta lambda), y = rho^{-p} obeys y+ = q y (1 - h / y)^{-p}. The factor
(1 - x)^{-p} is at least 1 + p x, so that

    rho(t) <= (1 - eta lambda)^t [eps^{-p} + p h sum_{s<t} (1 - eta lambda)^{p s}]^{-1/p},

and the rest of its series is at most delta p x with delta = (p + 1)/2 x (1 - x)^{-p-2}, x = h eps^p: rho(t) is at least
(1 + delta)^{-1/p} of the right-hand side. With lambda > 0, rho falls like (1 - eta lambda)^t in the end; without it,
like (p eta t)^{-1/p}. In Case 2, eq. (7), rho(t) = eps (1 - eta lambda)^t.

**Active directions.** Balanced layers that share singular vectors with the target have the scalar dynamics

    dw/dt = -lambda w - (w^L - sigma) w^{L-1}

for each singular value sigma of the target, w that of each layer. A limit w > 0 solves lambda = w^{L-2} (sigma - w^L),
or sigma = s + lambda s^{2/L - 1} for s = w^L. The right-hand side is largest at w*^L = sigma (L - 2) / (2 (L - 1)),
where it is lambda*. Above lambda* no critical point but w = 0 is left, whatever the start, since critical points of
the decayed loss are balanced. Below it w tends to the largest root if it starts at w* or above. A smaller start
eps < w* is held if lambda < eps^{L-2} (sigma - eps^L). For L > 2 the kept value is at least w* and vanishes at once
where lambda crosses lambda*; for L = 2, s = sigma - lambda.

Losses are sums: 1/2 ||W_{L:1} - Phi||_F^2 + lambda/2 sum_l ||W_l||_F^2. All functions raise ValueError for numbers
outside these ranges: sigma > 0, L >= 2, eps > 0, eta >= 0, lambda >= 0, eta lambda < 1, t >= 0.
"""

import math
from typing import Any

import numpy as np
from jaxtyping import Real

from lawlib.checks import is_concrete, number_fault, refuse, whole_fault
from lawlib.types import Array, Number

__all__ = [
    "critical_decay",
    "critical_value",
    "idle_decay",
    "idle_decay_error",
    "kept_decay",
    "kept_value",
]


def critical_value(sigma: float, *, depth: int) -> float:
    """w* = (sigma (L - 2) / (2 (L - 1)))^{1/L}: no layer keeps a singular value below it; 0 for two layers."""
    refuse(*_target_faults(sigma, depth))
    return (sigma * (depth - 2) / (2 * (depth - 1))) ** (1 / depth)


def critical_decay(sigma: float, *, depth: int) -> float:
    """lambda* = w*^{L-2} (sigma - w*^L), the largest lambda at which a singular value of the target can be kept.

    It is sigma for two layers. Above it gradient flow from any start loses the singular value.
    """
    return _held(critical_value(sigma, depth=depth), sigma, depth)


def kept_decay(sigma: float, *, scale: float, depth: int) -> float:
    """The largest lambda at which the scalar dynamics from w(0) = eps = scale keeps the singular value sigma.

    It is lambda* for eps >= w*, and eps^{L-2} (sigma - eps^L) for a smaller start; the latter tends to
    eps^{L-2} sigma for small eps.
    """
    refuse(*_target_faults(sigma, depth), number_fault("scale", scale, above=0.0))
    return _held(min(scale, critical_value(sigma, depth=depth)), sigma, depth)


def kept_value(sigma: float, *, weight_decay: float, scale: float, depth: int) -> float:
    """The limit of the scalar dynamics from w(0) = eps = scale.

    It is the largest root of lambda = w^{L-2} (sigma - w^L) for lambda < ``kept_decay``, and 0 otherwise.
    """
    decay = number_fault("weight_decay", weight_decay, least=0.0)
    refuse(*_target_faults(sigma, depth), number_fault("scale", scale, above=0.0), decay)
    if weight_decay >= kept_decay(sigma, scale=scale, depth=depth):
        return 0.0
    low, high = critical_value(sigma, depth=depth), sigma ** (1 / depth)
    # From w* on the right-hand side falls; each step halves the interval, down to neighbouring floats.
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _held(middle, sigma, depth) > weight_decay else (low, middle)
    return low


def idle_decay(
    steps: Number | Real[Array | np.ndarray, "..."], *, scale: float, depth: int, step_size: float, weight_decay: float
) -> Any:
    """The closed form that bounds rho(t) of Case 1 from above, t = steps, a number or an array.

    (1 - eta lambda)^t [eps^{-p} + p h sum_{s<t} (1 - eta lambda)^{p s}]^{-1/p}, p = 2 (L - 1), h = eta / (1 - eta
    lambda). ``idle_decay_error`` tells how far below it rho(t) is.
    """
    early = is_concrete(steps) and not (np.asarray(steps) >= 0).all()
    faults = _rate_faults(scale=scale, depth=depth, step_size=step_size, weight_decay=weight_decay)
    refuse(f"steps must be at least 0, got {steps}" * early, *faults)
    power, kept = 2 * (depth - 1), 1 - step_size * weight_decay
    summed = steps if kept == 1 else (1 - kept ** (power * steps)) / (1 - kept**power)
    return kept**steps * (scale**-power + power * step_size / kept * summed) ** (-1 / power)


def idle_decay_error(*, scale: float, depth: int, step_size: float, weight_decay: float) -> float:
    """The largest log(idle_decay(t) / rho(t)) over all t, log(1 + delta) / p.

    delta = (p + 1)/2 x (1 - x)^{-p-2}, x = eta eps^p / (1 - eta lambda), p = 2 (L - 1).

    Raises:
        ValueError: x is not below 1, so that rho would change its sign in the first step.
    """
    refuse(*_rate_faults(scale=scale, depth=depth, step_size=step_size, weight_decay=weight_decay))
    power = 2 * (depth - 1)
    x = step_size / (1 - step_size * weight_decay) * scale**power
    if not x < 1:
        msg = f"the error is bounded for 0 <= eta eps^(2L-2) / (1 - eta lambda) < 1, got {x:.3g}"
        raise ValueError(msg)
    return math.log1p((power + 1) / 2 * x * (1 - x) ** (-power - 2)) / power


def _held(w: float, sigma: float, depth: int) -> float:
    """w^{L-2} (sigma - w^L): the lambda that holds w in place."""
    return w ** (depth - 2) * (sigma - w**depth)


def _target_faults(sigma: float, depth: int) -> tuple[str, str]:
    return number_fault("sigma", sigma, above=0.0), whole_fault("depth", depth, least=2)


def _rate_faults(*, scale: float, depth: int, step_size: float, weight_decay: float) -> tuple[str, ...]:
    """What is wrong with the numbers of the recursion; of each by itself first."""
    faults = (
        number_fault("scale", scale, above=0.0),
        whole_fault("depth", depth, least=2),
        number_fault("step_size", step_size, least=0.0),
        number_fault("weight_decay", weight_decay, least=0.0),
    )
    if any(faults):
        return faults
    size = (2 * depth - 2) * abs(math.log10(scale))
    return (
        f"step_size * weight_decay must be below 1, got {step_size * weight_decay:g}" * (step_size * weight_decay >= 1),
        f"scale^(2L-2) must be a number from 1e-300 to 1e300, got scale = {scale} and depth = {depth}" * (size > 300),
    )
