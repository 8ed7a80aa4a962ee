"""How fast the induced flow of rank one approaches its target: the sets and bounds of Eftekhari 2020.

"Training Linear Neural Networks: Non-Local Convergence and Complexity Results". W = s u v^T has the singular
value s. Z has the largest singular value s_Z, the ratio gamma_Z = s_{Z,2} / s_Z of its second to its largest value, and
the best rank-one approximation Z_1. ``overlap`` is u^T Z_1 v, in [-s_Z, s_Z]. m is the number of samples, N the depth,
and L = 1/2 ||Z_1 - W||_F^2 a sum over entries. Numbers may be arrays of one shape, one element for each state.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from lawlib.types import Array, Bool, Float, Int, Scalar

__all__ = [
    "Exponents",
    "Target",
    "check_alignment",
    "fast_until",
    "in_stable_set",
    "largest_ratio",
    "log_distance_bound",
    "loss_bound",
    "loss_rate_bound",
    "misalignment",
    "nearby_rate",
    "rates",
    "value_error",
]

Numbers = Float[Array, "..."] | float | int
# Bisections of [0, 1] down to the last bit of float64.
BISECTIONS = 60


class Target(NamedTuple):
    """What the bounds use of Z: its largest singular value s_Z and the ratio gamma_Z of the second to the largest."""

    value: Numbers
    ratio: Numbers


class Exponents(NamedTuple):
    """Exponents of Theorem 20 for the *squared* distance, in 1/time, before and after tau; <= 0 means no bound."""

    fast: Numbers
    slow: Numbers


def value_error(*, s: Numbers, overlap: Numbers) -> Numbers:
    """T_1 = 1/2 (s - u^T Z_1 v)^2 (Eftekhari 2020, eq. 33)."""
    return (s - overlap) ** 2 / 2


def misalignment(overlap: Numbers, target: Target) -> Numbers:
    """T_2 = s_Z - u^T Z_1 v (Eftekhari 2020, eq. 33)."""
    return target.value - overlap


def loss_bound(target: Target, *, s: Numbers, overlap: Numbers) -> Numbers:
    """T_1 + s_Z T_2 >= L (Eftekhari 2020, eq. 33); the difference is T_2^2 / 2."""
    return value_error(s=s, overlap=overlap) + target.value * misalignment(overlap, target)


def loss_rate_bound(target: Target, *, s: Numbers, overlap: Numbers, num_samples: Numbers, depth: Numbers) -> Numbers:
    """The bound on dL/dt along the induced flow (Eftekhari 2020, Lemma 18, eq. 35), m = num_samples, N = depth.

    m s^{2-2/N} [-2 N T_1 - 2 (u^T Z_1 v) T_2 + sqrt(2) N gamma_Z sqrt(T_1) T_2 + 2 s_{Z,2} T_2].
    """
    T_1, T_2 = value_error(s=s, overlap=overlap), misalignment(overlap, target)
    wanted = 2 * depth * T_1 + 2 * overlap * T_2
    unwanted = (2**0.5 * depth * target.ratio * T_1**0.5 + 2 * target.ratio * target.value) * T_2
    return num_samples * s ** (2 - 2 / depth) * (unwanted - wanted)


def in_stable_set(
    target: Target, *, s: Numbers, overlap: Numbers, alpha: Numbers, beta: Numbers = float("inf")
) -> Bool[Array, "..."]:
    """Whether W lies in N_{alpha,beta}: (alpha - gamma_Z) s_Z < s < beta s_Z and u^T Z_1 v > alpha s_Z.

    Eftekhari 2020, eq. 36; without beta the set N_alpha (eqs. 28, 119). The flow stays in both (Lemmas 19, 22).

    Raises:
        ValueError: alpha and gamma_Z are numbers and alpha is outside (gamma_Z, 1).
    """
    check_alignment(alpha=alpha, ratio=target.ratio)
    within = ((alpha - target.ratio) * target.value < s) & (s < beta * target.value)
    return jnp.asarray(within & (overlap > alpha * target.value))


def rates(
    target: Target, *, num_samples: Numbers, depth: Numbers, alpha: Numbers, beta: Numbers, as_printed: bool = False
) -> Exponents:
    """The exponents of Theorem 20 (Eftekhari 2020, eqs. 38, 39, 208) with p = 2 - 2/N, m = num_samples, N = depth.

    fast: m N s_Z^p ((alpha - gamma_Z)^p - 2 gamma_Z beta^p) while s > sqrt(6) s_Z;
    slow: m s_Z^p (alpha (alpha - gamma_Z)^p - 2 gamma_Z N beta^p) afterwards. Eq. (38) prints s_Z^{-2/N} in place of
    s_Z^p, in contradiction to its proof (eq. 202): ``as_printed`` selects the printed form, which is no bound where
    s_Z < 1.

    Raises:
        ValueError: alpha and gamma_Z are numbers and alpha is outside (gamma_Z, 1).
    """
    check_alignment(alpha=alpha, ratio=target.ratio)
    p = 2 - 2 / depth
    kept, lost = (alpha - target.ratio) ** p, 2 * target.ratio * beta**p
    faraway = target.value ** (p - 2 if as_printed else p)
    fast = num_samples * depth * faraway * (kept - lost)
    return Exponents(fast, num_samples * target.value**p * (alpha * kept - depth * lost))


def log_distance_bound(rate: Exponents, *, elapsed: Numbers, tau: Numbers, start: Numbers, at_tau: Numbers) -> Array:
    """The logarithm of Theorem 20's bound on ||Z_1 - W(t)||_F^2 at t = elapsed (Eftekhari 2020, eqs. 38, 39).

    log start - fast t while t < tau, log at_tau - slow (t - tau) after, where start and at_tau are the squared
    distances at 0 and tau; tau = inf if it is not reached.
    """
    before = jnp.log(start) - rate.fast * elapsed
    # 0 times infinity is NaN, and would spread from the branch that is not selected.
    since = jnp.where(jnp.isfinite(tau), elapsed - tau, 0)
    return jnp.where(elapsed < tau, before, jnp.log(at_tau) - rate.slow * since)


def fast_until(target: Target) -> Numbers:
    """sqrt(6) s_Z: the fast exponent holds while s is above it; tau is the first time at or below it (eq. 207)."""
    return 6**0.5 * target.value


def nearby_rate(target: Target, *, num_samples: Numbers, depth: Numbers) -> Numbers:
    """The exponent m s_Z^{2-2/N} (1 - gamma_Z) of ||Z_1 - W(t)||_F (not squared) close to Z_1, in 1/time.

    The slowest mode of the linearized flow rotates u and v; the error of s decays N / (1 - gamma_Z) times as fast. The
    paper poses this rate as an open question (Eftekhari 2020, caption of Figure 1).
    """
    return num_samples * target.value ** (2 - 2 / depth) * (1 - target.ratio)


def largest_ratio(*, depth: Numbers, alpha: Numbers, beta: Numbers) -> Scalar:
    """The gamma_Z in (0, alpha) at which Theorem 20's slow exponent vanishes, by bisection.

    alpha (alpha - gamma)^p = 2 gamma N beta^p, p = 2 - 2/N, N = depth (Eftekhari 2020, eq. 39).
    """
    dtype = jnp.result_type(depth, alpha, beta, 1.0)
    depth, alpha, beta = jnp.broadcast_arrays(*(jnp.asarray(number, dtype) for number in (depth, alpha, beta)))

    def halve(_: Int[Array, ""], ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        slow = rates(Target(jnp.ones_like(middle), middle), num_samples=1.0, depth=depth, alpha=alpha, beta=beta).slow
        return jnp.where(slow > 0, middle, low), jnp.where(slow > 0, high, middle)

    low, _ = lax.fori_loop(0, BISECTIONS, halve, (jnp.zeros_like(alpha), alpha))
    return low


def check_alignment(*, alpha: Numbers, ratio: Numbers) -> None:
    """Check that alpha lies in (gamma_Z, 1), if both are numbers and not traced.

    Raises:
        ValueError: it does not.
    """
    if isinstance(alpha, (int, float)) and isinstance(ratio, (int, float)) and not ratio < alpha < 1:
        msg = f"alpha must lie in (gamma_Z, 1) = ({ratio}, 1), got {alpha}"
        raise ValueError(msg)
