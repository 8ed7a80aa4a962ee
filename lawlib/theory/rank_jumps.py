"""Rank jumps of SGD in deep linear networks with weight decay: losses, constants and a bound (Wang and Jacot 2024).

A network A = W_L ... W_1 completes a matrix A* of which N entries are observed. A ``ridge`` lambda is in the units of
the main text, L_lambda = C + lambda ||theta||^2. A ``weight_decay`` lambda is in those of the appendix (Theorems B.1
and B.2),

    theta <- (1 - eta lambda) theta - eta/2 grad (A*_ij - A_ij)^2,

(i, j) uniform over the observed entries. The constants of the theorems can be below 1e-27 and are returned as
logarithms.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lawlib.networks.deep_linear import end_to_end
from lawlib.types import Float, Matrix, Number, Scalar, Weights

__all__ = [
    "SLOPE",
    "Constants",
    "JumpBound",
    "absorbing_constants",
    "factored_loss",
    "jump_bound",
    "matrix_loss",
    "observed_loss",
    "representation_cost",
    "smallest_norm_bound",
]

# K of 0 <= f_alpha' <= K / alpha, for the f_alpha that the paper gives.
SLOPE = 2


class Constants(NamedTuple):
    """Natural logarithms of the largest alpha, eps_1 and the four bounds on eta, (4,), in Theorem B.1."""

    log_cutoff: Scalar
    log_imbalance: Scalar
    log_step_sizes: Float[jax.Array, " 4"]


class JumpBound(NamedTuple):
    """Theorem B.2: T_0, T_1, and the least natural logarithm of the probability to be in B_r after T_0 + T_1 steps."""

    settling_steps: Scalar
    sampling_steps: Scalar
    log_probability: Scalar


def observed_loss(product: Matrix, target: Matrix, mask: Matrix) -> Scalar:
    """C(A) = 1/(2N) sum over the N observed entries of (A*_ij - A_ij)^2 (Wang and Jacot 2024, Section 2.1).

    Half the squared error averaged over the observed entries; ``mask`` is 1 where an entry is observed and 0 elsewhere.
    """
    return jnp.sum(mask * jnp.square(target - product)) / (2 * jnp.sum(mask))


def representation_cost(product: Matrix, depth: int) -> Scalar:
    """R(A; L) = L sum_i s_i(A)^{2/L}, the least ||theta||^2 of L = depth layers with product A (ibid., Section 2.2).

    Raises:
        ValueError: depth is not positive.
    """
    _require("depth", depth, depth >= 1, "at least 1")
    return depth * jnp.sum(jnp.linalg.svd(product, compute_uv=False) ** (2 / depth))


def matrix_loss(product: Matrix, target: Matrix, mask: Matrix, *, ridge: Number, depth: int) -> Scalar:
    """C_lambda(A) = C(A) + lambda R(A; L), lambda = ridge (ibid., Section 2.2); C averages, R adds up."""
    return observed_loss(product, target, mask) + ridge * representation_cost(product, depth)


def factored_loss(weights: Weights, target: Matrix, mask: Matrix, ridge: Number) -> Scalar:
    """L_lambda(theta) = C(A_theta) + lambda ||theta||^2, lambda = ridge (ibid., Section 2.1).

    A step eta of SGD with weight decay lambda on (A*_ij - A_ij)^2, without a factor 1/2, is in expectation a step of
    2 eta on L_{lambda/4}.
    """
    size = sum(jnp.sum(jnp.square(W)) for W in jax.tree.leaves(weights))
    return observed_loss(end_to_end(weights), target, mask) + ridge * size


def smallest_norm_bound(*, weight_decay: Number, largest_entry: Number) -> Scalar:
    """C_1 / (2 lambda), the least C of Theorem B.1, with C_1 = max A*_ij^2 = largest_entry^2 over the observed entries.

    Theorem D.4 prints C <= 1/(2 lambda), at which steps leave B_r.

    Raises:
        ValueError: weight_decay is a number that is not positive: there is no such C.
    """
    _require("weight_decay", weight_decay, _is_positive(weight_decay), "positive")
    return jnp.square(jnp.asarray(largest_entry, float)) / (2 * weight_decay)


def absorbing_constants(
    *,
    weight_decay: Number,
    depth: int,
    rank: int,
    width: int,
    largest_entry: Number,
    norm_bound: Number,
    slack: Number,
) -> Constants:
    """The largest alpha, eps_1 and eta for which no step leaves B_r (Wang and Jacot 2024, Theorem B.1, K = 2).

    With B = 2 (C_1 + C^L), C_1 = largest_entry^2 = max A*_ij^2, C = norm_bound, eps_2 = slack, n = the largest width:
        alpha <= (lambda^2 / B)^{1/(L-2)},
        sqrt(eps_1) <= lambda alpha eps_2 / (64 n K L (r+1)^2 C^{(L-1)/2} sqrt(B)),
        eta <= C_1 / (4 M), 2 lambda eps_1 / (2 B C^{L-1} + lambda^2 eps_1), lambda alpha eps_2 / (64 n K (r+1)^2 M)
        and 2 (r+1) / lambda, M = B C^{L-1} + lambda^2 C.
    Each bound is evaluated at the largest values that the bounds before it allow.

    Raises:
        ValueError: depth < 3, rank outside 0..width, or a number that is not traced: weight_decay or largest_entry not
            positive, slack outside (0, 1/2), norm_bound < C_1 / (2 lambda).
    """
    _check_layers(depth, rank, width)
    _require("weight_decay", weight_decay, _is_positive(weight_decay), "positive")
    _require("largest_entry", largest_entry, _is_positive(largest_entry), "positive")
    _require("slack", slack, not isinstance(slack, float | int) or 0 < slack < 0.5, "in (0, 1/2)")
    if isinstance(weight_decay, float | int) and isinstance(largest_entry, float | int):
        least = largest_entry**2 / (2 * weight_decay)
        large = isinstance(norm_bound, jax.Array) or norm_bound >= least * (1 - 1e-12)
        _require("norm_bound", norm_bound, large, f"at least C_1/(2 lambda) = {least:g}")
    decay, small, entries, norm = (_log(x) for x in (weight_decay, slack, largest_entry, norm_bound))
    log_B = math.log(2) + jnp.logaddexp(2 * entries, depth * norm)
    log_M = jnp.logaddexp(log_B + (depth - 1) * norm, 2 * decay + norm)
    spread = math.log(64 * width * SLOPE * (rank + 1) ** 2)
    cutoff = (2 * decay - log_B) / (depth - 2)
    root = decay + cutoff + small - spread - math.log(depth) - (depth - 1) / 2 * norm - log_B / 2
    imbalance = 2 * root
    growth = jnp.logaddexp(math.log(2) + log_B + (depth - 1) * norm, 2 * decay + imbalance)
    bounds = (
        2 * entries - math.log(4) - log_M,
        math.log(2) + decay + imbalance - growth,
        decay + cutoff + small - spread - log_M,
        math.log(2 * (rank + 1)) - decay,
    )
    return Constants(cutoff, imbalance, jnp.stack(bounds))


def jump_bound(
    *,
    step_size: Number,
    weight_decay: Number,
    rank: int,
    width: int,
    smallest_side: int,
    norm_bound: Number,
    start_norm: Number,
    slack: Number,
    log_cutoff: Number,
    log_imbalance: Number,
) -> JumpBound:
    """T_0 = log(2 C_0/eps_1) / (eta lambda), T_1 = log(4 (n-r) C / (alpha eps_2)) / (2 eta lambda), P >= (r/d)^{T_1}.

    Wang and Jacot 2024, Theorem B.2: P is the probability to be in B_r after T_0 + T_1 steps; C_0 = start_norm is the
    largest ||W_l(0)||_F^2, d = smallest_side = min(d_in, d_out), n = width; alpha and eps_1 are given by their
    logarithms. For r = 0 the bound is P >= 0. Only the product of eta and lambda matters, which is the same in all
    three units of the update.

    Raises:
        ValueError: rank outside 0..smallest_side or not below width, or a step_size or weight_decay that is a number
            and not positive.
    """
    _require("rank", rank, 0 <= rank <= smallest_side and rank < width, f"in 0..{smallest_side} and below {width}")
    _require("step_size", step_size, _is_positive(step_size), "positive")
    _require("weight_decay", weight_decay, _is_positive(weight_decay), "positive")
    rate = jnp.exp(_log(step_size) + _log(weight_decay))
    settling = (math.log(2) + _log(start_norm) - log_imbalance) / rate
    wide = math.log(2 * SLOPE * (width - rank)) + _log(norm_bound)
    sampling = (wide - log_cutoff - _log(slack)) / (2 * rate)
    return JumpBound(settling, sampling, sampling * (math.log(rank / smallest_side) if rank else -math.inf))


def _log(x: Number) -> Scalar:
    return jnp.log(jnp.asarray(x, x.dtype if isinstance(x, jax.Array) else float))


def _is_positive(x: Number) -> bool:
    return not isinstance(x, float | int) or bool(0 < x < math.inf)


def _check_layers(depth: int, rank: int, width: int) -> None:
    _require("depth", depth, depth >= 3, "at least 3, since alpha has the power 1/(L - 2)")
    _require("rank", rank, 0 <= rank <= width, f"in 0..{width}, the largest width")


def _require(name: str, value: Number, condition: bool, rule: str) -> None:
    if not condition:
        msg = f"{name} must be {rule}, got {value}"
        raise ValueError(msg)
