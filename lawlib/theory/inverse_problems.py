"""Deep linear networks with weight decay on subspace inverse problems (Laus et al. 2025).

W_{L:1} is fitted to X = W Y with Y = A X and X of rank s < m, by gradient descent on

    1/2 ||W_{L:1} Y - X||_F^2 + lambda/2 sum_l ||W_l||_F^2       (sums over entries, eq. 4).

Two errors describe the network. The regression error, on range(Y), falls to a level of order lambda in a first phase.
The off-subspace error, on the complement of range(Y), is seen by no data: weight decay alone removes it, like
exp(-eta lambda t).

The theory is in the ``ntk`` parametrization (eq. 28): layer l steps by eta / d_{l-1}. d = dimension of the signals,
m = num_measurements, L = depth, d_w = width, sigma = singular values of X; sr(X) = ||X||_F^2 / ||X||_op^2.
"""

import functools as ft
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from lawlib.types import Array, Float, Matrix, Number, Scalar, Weights, matmul

__all__ = [
    "OFF_SUBSPACE_EXPONENT",
    "Hypotheses",
    "accuracy",
    "first_layer_law",
    "first_phase_level",
    "hypotheses",
    "informal_stopping_time",
    "largest_step_size",
    "off_subspace_bound",
    "off_subspace_error",
    "plateau",
    "plateau_estimate",
    "rate_bound",
    "regression_error",
    "regularized_error",
    "residual_operator",
    "stable_rank",
    "stopping_time",
    "unregularized_error",
    "unregularized_norm",
]

# Theorem A.2 assumes an isometry constant of at most 1/10 and lambda <= L sigma_min^2 / (400 * 35).
LARGEST_ISOMETRY, DECAY_DIVISOR = 0.1, 400 * 35
# Bound (32) is d_w^{-C_2}; the proof ends at 3/2 (eq. 75).
OFF_SUBSPACE_EXPONENT = 1.5
# Newton's method doubles the digits in each step: from an error of order one, 60 steps are more than enough.
NEWTON_STEPS = 60


class Hypotheses(NamedTuple):
    """The hypotheses of Theorem A.2, each as a quantity that must be at most 1.

    isometry is delta / (1/10), decay is lambda / (L sigma_min^2 / 14000), step is eta / (m / (L sigma_max^2)), and
    accuracy is gamma. The condition on the width, d_w >= C d sr(X) poly(L, kappa), is not among them: the paper gives
    no constant C.
    """

    isometry: Number
    decay: Number
    step: Number
    accuracy: Number


# Errors of a network. -------------------------------------------------------------------------------------------------


def regression_error(weights: Weights, inputs: Float[Array, "m n"], targets: Float[Array, "d n"]) -> Scalar:
    """||W_{L:1} Y - X||_F / ||X||_F, layer by layer on the columns of Y."""
    return jnp.linalg.norm(_through(weights, inputs) - targets) / jnp.linalg.norm(targets)


def off_subspace_error(weights: Weights, complement: Float[Array, "m k"]) -> Scalar:
    """||W_{L:1} P_perp||_op on an orthonormal basis (m, m - s) of the complement of range(Y), P_perp = I - Y Y^+.

    The product is formed from right to left: W_1 acts on the basis first, so that no small number is the difference of
    large ones.
    """
    return jnp.linalg.norm(_through(weights, complement), ord=2)


def first_layer_law(start: Matrix, *, step_size: Number, weight_decay: Number, num_steps: Array | int) -> Matrix:
    """W_1(t) P_perp = (1 - eta_1 lambda)^t W_1(0) P_perp, exactly, at every t; ``start`` is W_1(0) P_perp.

    ``step_size`` is that of layer 1: eta, or eta/m in ``ntk``. The gradient is zero on the complement of range(Y).
    ``start`` may be W_1(0) times any basis of the complement.
    """
    shrink = 1 - jnp.asarray(step_size, start.dtype) * jnp.asarray(weight_decay, start.dtype)
    return shrink ** jnp.asarray(num_steps, start.dtype) * start


def residual_operator(
    weights: Weights,
    inputs: Float[Array, "m n"],
    *,
    step_size: Sequence[Number],
    weight_decay: Sequence[Number],
) -> Callable[[Float[Array, "d n"]], Float[Array, "d n"]]:
    """The map M -> eta P M on residuals: Phi(t+1) = Phi(t) - eta P Phi(t) + terms of order lambda and eta^2 (eq. 38).

    eta P M = sum_l eta_l C_l W_{L:l+1} W_{L:l+1}^T M (W_{l-1:1} Y)^T (W_{l-1:1} Y), C_l = prod_{j != l} (1 - eta_j
    lambda_j), by products with the layers: the matrix of size nd x nd is never formed. The map is symmetric and
    positive semidefinite. Step sizes of 1 (``fan_in``) or 1/d_{l-1} (``ntk``) without weight decay give P itself;
    descent is unstable for eta > 2 / lambda_max(P). The paper's P is for n = s compressed samples.

    Raises:
        ValueError: the number of step sizes or of weight decays is not the number of layers.
    """
    if not len(weights) == len(step_size) == len(weight_decay):
        given = f"{len(step_size)} step sizes and {len(weight_decay)} weight decays"
        msg = f"{len(weights)} layers have as many step sizes and weight decays, got {given}"
        raise ValueError(msg)
    shrinks = [1 - eta * decay for eta, decay in zip(step_size, weight_decay, strict=True)]
    features = [inputs]
    for W in weights[:-1]:
        features.append(matmul(W, features[-1]))
    grams = [matmul(F.T, F) for F in features]
    others = [math.prod(shrinks[:i] + shrinks[i + 1 :]) for i in range(len(weights))]
    scales = [jnp.asarray(eta * C, inputs.dtype) for eta, C in zip(step_size, others, strict=True)]

    def product(M: Float[Array, "d n"]) -> Float[Array, "d n"]:
        pulled = [M]
        for W in weights[:0:-1]:
            pulled.append(matmul(W.T, pulled[-1]))
        layers = list(zip(scales, reversed(pulled), grams, strict=True))
        total = jnp.zeros_like(pulled[-1])
        for i, (scale, back, gram) in enumerate(layers):
            passed = matmul(weights[i], total) if i else total
            total = passed + scale * matmul(back, gram)
        return total

    return product


# Theorem A.2. ---------------------------------------------------------------------------------------------------------


def accuracy(*, weight_decay: Number, dimension: int, num_measurements: int, smallest: Number) -> Number:
    """gamma = lambda sqrt(d/m) / sigma_min^2 (eq. 29); the theorem assumes gamma <= 1.

    Raises:
        ValueError: weight_decay is a negative number.
    """
    _check_decay(weight_decay, positive=False)
    return weight_decay * math.sqrt(dimension / num_measurements) / smallest**2


def largest_step_size(*, num_measurements: int, depth: int, largest: Number) -> Number:
    """m / (L sigma_max^2), the largest eta of Theorem A.2 (eq. 29), in ``ntk``; eta lambda_max(P) is then 2 to 4.5."""
    return num_measurements / (depth * largest**2)


def first_phase_level(*, gamma: Number, depth: int) -> Number:
    """80 gamma / L: tau is the first t with ||Phi(t)||_F / ||X||_F at or below this level (eq. 30a)."""
    return 80 * gamma / depth


def rate_bound(*, step_size: Number, depth: int, num_measurements: int, smallest: Number) -> Number:
    """1 - eta L sigma_min^2 / (32 m), the bound on ||Phi(t+1)|| / ||Phi(t)|| for t < tau (eq. 31)."""
    return 1 - step_size * depth * smallest**2 / (32 * num_measurements)


def stopping_time(
    *, width: int, dimension: int, num_measurements: int, step_size: Number, weight_decay: Number, smallest: Number
) -> Number:
    """T = 2 log(d_w) sqrt(d m) / (eta gamma sigma_min^2) steps (eq. 30b), at which eta lambda T / m = 2 log d_w.

    Raises:
        ValueError: weight_decay is a number that is not positive: without weight decay the error never falls.
    """
    _check_decay(weight_decay, positive=True)
    about = {"weight_decay": weight_decay, "dimension": dimension, "num_measurements": num_measurements}
    gamma = accuracy(smallest=smallest, **about)
    return 2 * math.log(width) * math.sqrt(dimension * num_measurements) / (step_size * gamma * smallest**2)


def informal_stopping_time(
    *, width: int, dimension: int, num_measurements: int, depth: int, weight_decay: Number, singular_values: Array
) -> Number:
    """T = (2 L kappa^2 log(d_w) / gamma) sqrt(d/m) steps (eq. 9b): this is (30b) at eta = m / (L sigma_max^2) only.

    Raises:
        ValueError: weight_decay is a number that is not positive.
    """
    _check_decay(weight_decay, positive=True)
    largest, smallest = jnp.max(singular_values), jnp.min(singular_values)
    about = {"weight_decay": weight_decay, "dimension": dimension, "num_measurements": num_measurements}
    gamma = accuracy(smallest=smallest, **about)
    kappa = largest / smallest
    return 2 * depth * kappa**2 * math.log(width) / gamma * math.sqrt(dimension / num_measurements)


def off_subspace_bound(width: int, *, exponent: float = OFF_SUBSPACE_EXPONENT) -> float:
    """d_w^{-C_2}, the bound on the off-subspace error at T (eq. 32); C_2 is 3/2 at the end of the proof (eq. 75)."""
    return float(width) ** -exponent


def hypotheses(
    *,
    isometry: Number,
    weight_decay: Number,
    step_size: Number,
    depth: int,
    dimension: int,
    num_measurements: int,
    smallest: Number,
    largest: Number,
) -> Hypotheses:
    """The hypotheses of Theorem A.2 (eqs. 6 with delta = 1/10, and 29), each as a quantity that must not exceed 1.

    ``isometry`` is delta, ``step_size`` the eta of ``ntk``; smallest and largest are the singular values of X.
    """
    return Hypotheses(
        isometry / LARGEST_ISOMETRY,
        weight_decay * DECAY_DIVISOR / (depth * smallest**2),
        step_size / largest_step_size(num_measurements=num_measurements, depth=depth, largest=largest),
        accuracy(weight_decay=weight_decay, dimension=dimension, num_measurements=num_measurements, smallest=smallest),
    )


# Where descent ends. --------------------------------------------------------------------------------------------------


def plateau(values: Float[Array, " s"], *, weight_decay: Number, depth: int) -> Scalar:
    """The limit of ||Phi|| / ||X|| in descent: sqrt(mean (1 - p_i rho_i)^2), where all singular values of X are 1.

    p_i is the largest root of (1 - p rho_i) rho_i = lambda p^{2/L-1}, a minimizer of 1/2 (p rho_i - 1)^2 + lambda L/2
    p^{2/L}, and 0 where there is none; rho_i = ``values`` are the singular values of A R.
    """
    c, power = _strength(values, weight_decay, depth), 2 / depth - 1

    # The excess 1 - q - c q^power, with q = p rho, is concave: from q = 1, beyond the largest root, Newton's iterates
    # fall to that root.
    def newton(_: Array, q: Float[Array, " s"]) -> Float[Array, " s"]:
        excess, slope = 1 - q - c * q**power, -1 - power * c * q ** (power - 1)
        return jnp.where((excess < 0) & (slope < 0), jnp.maximum(q - excess / slope, 0), q)

    q = lax.fori_loop(0, NEWTON_STEPS, newton, jnp.ones_like(c))
    # At a root the slope is negative; where the iterates pass the maximum of the excess there is no root.
    missed = jnp.where(q > 0, -1 - power * c * q ** (power - 1), 0) >= 0
    return jnp.sqrt(jnp.mean(jnp.square(jnp.where(missed, 1, 1 - q))))


def plateau_estimate(values: Float[Array, " s"], *, weight_decay: Number, depth: int) -> Scalar:
    """The plateau to first order in lambda, lambda sqrt(mean rho_i^{-4/L}); ``values`` are the rho_i of ``plateau``."""
    return jnp.sqrt(jnp.mean(jnp.square(_strength(values, weight_decay, depth))))


def unregularized_norm(*, dimension: int, num_measurements: int, subspace_dimension: int) -> float:
    """sqrt(d (m - s) / m), the root mean square of ||W_{L:1} P_perp||_F at fan-in initialization.

    Without weight decay the norm hardly changes, and the test error is about this norm times sigma (eq. 20).
    """
    d, m, s = dimension, num_measurements, subspace_dimension
    return math.sqrt(d * (m - s) / m)


# Corollary 2.6 with all hidden constants 1.
# -------------------------------------------------------------------------------


def stable_rank(singular_values: Float[Array, " s"]) -> Scalar:
    """sr(X) = (||X||_F / ||X||_op)^2 (eq. 25)."""
    return jnp.sum(jnp.square(singular_values)) / jnp.square(jnp.max(singular_values))


def regularized_error(*, gamma: Number, singular_values: Float[Array, " s"], width: int, noise: Array) -> Array:
    """gamma kappa sqrt(sr(X)) + d_w^{-C_2} + sigma sqrt s, the bound (19) on ||W_{L:1}(T) y - x||, sigma = noise.

    s is the number of ``singular_values`` of X; noise is the standard deviation of each entry of y - A x.

    Raises:
        ValueError: gamma is a number that is not positive: (19) assumes lambda > 0.
    """
    if isinstance(gamma, (int, float)) and gamma <= 0:
        msg = f"the bound (19) needs gamma > 0, got {gamma}; without weight decay, unregularized_error gives (20)"
        raise ValueError(msg)
    fit = gamma * _conditioned(singular_values)
    return fit + off_subspace_bound(width) + noise * math.sqrt(singular_values.size)


def unregularized_error(
    *,
    noise: Number,
    dimension: int,
    num_measurements: int,
    regression_error: Number,
    singular_values: Float[Array, " s"],
    norm: Number,
) -> Scalar:
    """sigma (sqrt(d (m - s) / m) - sqrt s) - beta kappa sqrt(sr(X)) ||y||, the lower bound (20) for lambda = 0.

    beta is the ``regression_error``, sigma the ``noise`` and ||y|| the ``norm`` of one noisy measurement, which depends
    on the noise.
    """
    s = singular_values.size
    outside = unregularized_norm(dimension=dimension, num_measurements=num_measurements, subspace_dimension=s)
    return noise * (outside - math.sqrt(s)) - regression_error * _conditioned(singular_values) * norm


def _through(weights: Weights, columns: Matrix) -> Matrix:
    return ft.reduce(lambda Z, W: matmul(W, Z), weights, columns)


def _conditioned(singular_values: Float[Array, " s"]) -> Scalar:
    """kappa sqrt(sr(X)) = ||X||_F / sigma_min."""
    return jnp.linalg.norm(singular_values) / jnp.min(singular_values)


def _strength(values: Float[Array, " s"], weight_decay: Number, depth: int) -> Float[Array, " s"]:
    """c_i = lambda rho_i^{-2/L}: the condition for q = p_i rho_i to be stationary is 1 - q = c_i q^{2/L-1}."""
    return jnp.asarray(weight_decay, values.dtype) * values ** (-2 / depth)


def _check_decay(weight_decay: Number, *, positive: bool) -> None:
    if isinstance(weight_decay, (int, float)) and (weight_decay < 0 or (positive and weight_decay == 0)):
        msg = f"weight_decay must be {'positive' if positive else 'at least 0'}, got {weight_decay}"
        raise ValueError(msg)
