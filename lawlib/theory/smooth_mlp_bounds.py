"""Bounds on the low-rank dynamics of smooth two-layer MLPs (Xu et al. 2026, Appendices D and E).

The setting is that of ``smooth_mlp``: f(X) = W_2 phi(W_1 X) trained in W_1 (m, d) alone on the squared error summed
over entries, X X^T = I, W_1(0)^T W_1(0) = eps^2 I. phi'(0), beta = sup |phi'| and mu = Lip(phi') belong to the
activation; sigma_i(A) is the i-th singular value, ||A||_1 the largest column sum of |A|, Delta_2 = W_2 phi(W_1 X) - Y.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp

from lawlib.linalg.subspaces import complement
from lawlib.networks.activations import Activation
from lawlib.types import Array, Float, Number, Scalar, matmul

__all__ = [
    "GradientSpectrum",
    "alignment_bound",
    "distance_bound",
    "gradient_lipschitz",
    "gradient_norm_bound",
    "gradient_spectrum",
    "gradient_spread",
    "rate_bound",
    "relu_tail_bound",
]


class GradientSpectrum(NamedTuple):
    """Lemma D.8: lower <= sigma_i(G_1(0)) <= upper, both (d,), and whether spread < phi'(0) sigma_K(W_2^T Y X^T) / 2.

    Where ``separated`` is False the intervals still hold, but no gap separates the K leading values from the others.
    """

    lower: Float[Array, " d"]
    upper: Float[Array, " d"]
    separated: Array


def gradient_norm_bound(W_2: Float[Array, "K m"], loss: Number, phi: Activation) -> Scalar:
    """||G_1||_F <= beta sigma_1(W_2) sqrt(2 loss), loss = 1/2 ||Delta_2||_F^2 (Xu et al. 2026, Lemma D.6)."""
    return phi.beta * _largest(W_2) * jnp.sqrt(2 * loss)


def gradient_lipschitz(W_2: Float[Array, "K m"], largest_residual: Number, phi: Activation) -> Scalar:
    """gamma_L = mu M ||W_2||_1 + beta^2 sigma_1(W_2)^2, with M = largest_residual >= ||Delta_2||_max.

    ||G_1(W_1) - G_1(W_1')||_F <= gamma_L ||W_1 - W_1'||_F for any two W_1 with residuals bounded by M (Xu et al. 2026,
    Lemma D.7); steps with eta <= 1/gamma_L do not increase the loss.

    Raises:
        ValueError: phi is not smooth.
    """
    _check_smooth(phi)
    return phi.mu * largest_residual * jnp.linalg.norm(W_2, ord=1) + jnp.square(phi.beta * _largest(W_2))


def gradient_spread(
    start: Float[Array, "m d"],
    W_2: Float[Array, "K m"],
    inputs: Float[Array, "d N"],
    targets: Float[Array, "K N"],
    scale: Number,
    phi: Activation,
) -> Scalar:
    """r(eps), eps = scale: how far sigma_i(G_1(0)) may be from phi'(0) sigma_i(W_2^T Y X^T) (Xu et al. 2026, D.8).

    r = eps phi'(0) sigma_1(W_2)^2 (phi'(0) + mu eps / 2)
        + mu ||W_1(0) X||_max sigma_1(W_2) (beta sigma_1(W_2) sqrt(d) eps + ||Y||_F).

    Raises:
        ValueError: phi is not smooth.
    """
    _check_smooth(phi)
    largest, slope, d = _largest(W_2), phi.slope_at_zero, inputs.shape[0]
    linear = scale * slope * jnp.square(largest) * (slope + phi.mu * scale / 2)
    residual = phi.beta * largest * math.sqrt(d) * scale + jnp.linalg.norm(targets)
    return linear + phi.mu * jnp.max(jnp.abs(matmul(start, inputs))) * largest * residual


def gradient_spectrum(
    W_2: Float[Array, "K m"],
    inputs: Float[Array, "d N"],
    targets: Float[Array, "K N"],
    spread: Scalar,
    phi: Activation,
) -> GradientSpectrum:
    """The intervals phi'(0) sigma_i(W_2^T Y X^T) -+ r(eps) for i <= K and [0, r(eps)] for i > K, spread = r(eps).

    They contain sigma_i(G_1(0)), i = 1, ..., d (Xu et al. 2026, Lemma D.8).

    Raises:
        ValueError: phi is not smooth.
    """
    _check_smooth(phi)
    d, num_classes = inputs.shape[0], targets.shape[0]
    leading = phi.slope_at_zero * jnp.linalg.svd(matmul(W_2.T, matmul(targets, inputs.T)), compute_uv=False)
    centre = jnp.where(jnp.arange(d) < num_classes, leading, 0)
    lower = jnp.where(jnp.arange(d) < num_classes, leading - spread, 0)
    return GradientSpectrum(lower, centre + spread, 2 * spread < leading[num_classes - 1])


def distance_bound(
    *, start_norm: Number, step_size: Number, decay: Number, num_steps: Number, constant: Number = 1.0
) -> Number:
    """The bound eta c ||G_1(0)||_F (1 - q^t) / (1 - q) on the length of the path of W_1 in t = num_steps steps.

    This is sum_{tau < t} eta ||G_1(tau)||_F under Assumption 3.4, ||G_1(t)||_F <= c q^t ||G_1(0)||_F, with c = constant
    (the paper's G_1) and q = decay in (0, 1) (its (1 - Theta(eta))^Theta(1)); start_norm is ||G_1(0)||_F or a bound on
    it, such as that of ``gradient_norm_bound`` in the proof of Lemma D.9 (Xu et al. 2026).

    Raises:
        ValueError: decay is a number outside (0, 1).
    """
    if isinstance(decay, float | int) and not 0 < decay < 1:
        msg = f"decay, the factor of the gradient in each step, must be in (0, 1), got decay={decay}"
        raise ValueError(msg)
    log = jnp.log(decay)
    return step_size * constant * start_norm * jnp.expm1(num_steps * log) / jnp.expm1(log)


def alignment_bound(*, distance: Number, lipschitz: Number, leading: Number, spread: Number, tail: Number) -> Scalar:
    """delta(t) = gamma_L distance / (phi'(0) sigma_K(W_2^T Y X^T) - r(eps) - sigma_{K+1}(G_1(t))) >= A(t).

    distance is ||W_1(t) - W_1(0)||_F or a bound on it: the length of the path, or ``distance_bound``, which gives the
    paper's delta(t) (Xu et al. 2026, Lemma D.9). lipschitz is gamma_L, leading phi'(0) sigma_K(W_2^T Y X^T),
    spread r(eps), tail sigma_{K+1}(G_1(t)). The result is +inf where the denominator is not positive.
    """
    gap = leading - spread - tail
    return jnp.where(gap > 0, lipschitz * distance / jnp.where(gap > 0, gap, 1), jnp.inf)


def rate_bound(
    *, aligned: Number, largest: Number, spread: Number, tail: Number, decay: Number, num_small: int
) -> Scalar:
    """The second form of Theorem D.11: rho(t) <= sqrt(g^2 delta^2 (phi'(0) sigma_1 + r(eps))^2 / p + sigma_{K+1}^2).

    aligned is delta(t) of ``alignment_bound``, largest phi'(0) sigma_1(W_2^T Y X^T), spread r(eps), tail
    sigma_{K+1}(G_1(t)), p = num_small, and g = decay >= sigma_1(G_1(t)) / sigma_1(G_1(0)), the paper's
    G_1 G_2 (1 - Theta(eta))^Theta(t). For t >= 1; at t = 0 rho(0) = sigma_{K+1}(G_1(0)) <= r(eps), where the paper
    prints r(eps) sqrt p (Xu et al. 2026).
    """
    return jnp.sqrt(jnp.square(decay * aligned * (largest + spread)) / num_small + jnp.square(tail))


def relu_tail_bound(W_2: Float[Array, "K m"], residual: Float[Array, "K N"], failure: float) -> Scalar:
    """A lower bound on sigma_{d-K}(G_1(0)) for ReLU, d = N and W_1(0)_ij ~ N(0, eps^2/m) (Xu et al. 2026, B.1).

    sqrt(lambda_min / 4 - (R l / 6 + sqrt(2 l R lambda_max / 16))), l = log(2 (d - K) / failure), with probability
    1 - failure: lambda are eigenvalues of V^T D V, V an orthonormal basis of the null space of E = W_2^T Delta_2(0),
    residual = Delta_2(0) of rank K, D the diagonal matrix of the squared column norms of E, R its largest squared row
    norm. The bound is 0, and thus empty, where the radicand is negative: R grows with d and lambda with m. The proof
    treats E as independent of the signs of W_1(0) X, which is true only in the limit eps -> 0.

    Raises:
        ValueError: failure is outside (0, 1), or K >= N.
    """
    num_classes, d = residual.shape
    if not 0 < failure < 1:
        msg = f"failure must be a probability in (0, 1), got {failure}"
        raise ValueError(msg)
    if num_classes >= d:
        msg = f"the bound needs fewer outputs than samples, got K={num_classes} and N={d}"
        raise ValueError(msg)
    E = matmul(W_2.T, residual)
    V = complement(residual.T)
    eigenvalues = jnp.linalg.eigvalsh(matmul(V.T * jnp.sum(jnp.square(E), axis=0)[None, :], V))
    R, logarithm = jnp.max(jnp.sum(jnp.square(E), axis=1)), math.log(2 * (d - num_classes) / failure)
    deviation = R * logarithm / 6 + jnp.sqrt(2 * logarithm * R * eigenvalues[-1] / 16)
    return jnp.sqrt(jnp.maximum(eigenvalues[0] / 4 - deviation, 0))


def _largest(W: Array) -> Array:
    return jnp.linalg.norm(W, ord=2)


def _check_smooth(phi: Activation) -> None:
    if not phi.is_smooth:
        msg = f"the bound needs an activation with a Lipschitz derivative, got {phi.name} (mu={phi.mu})"
        raise ValueError(msg)
