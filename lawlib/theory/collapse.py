"""Progressive collapse: how far each layer separates the classes (Yaras et al. 2023, Section 4.2, Theorem 2).

A network of L layers maps X (d, N) to features Z_0 = X, Z_l = sigma(W_l Z_{l-1}), and outputs W_L Z_{L-1}. The
scatter of the features within the classes, relative to the distance between the classes, is

    D_l = Tr(Sigma_W^l) / Tr(Sigma_B^l),   l = 0, ..., L-1,

with Sigma_W the scatter within classes and Sigma_B that between their means (eq. 14, whose text swaps the two names).
In a linear network trained from an eps-orthogonal start on orthogonal inputs, D_l falls by the same factor in every
layer.
"""

import jax.numpy as jnp

from lawlib.networks.deep_linear import imbalances
from lawlib.types import Array, Float, Rate, Scalar, Weights, matmul

__all__ = [
    "decay_rate",
    "imbalance",
    "initial_separation",
    "largest_scale",
    "ratio_bound",
    "separation",
]


def separation(features: Float[Array, "d N"], labels: Float[Array, "K N"]) -> Scalar:
    """D = Tr(Sigma_W) / Tr(Sigma_B) of features in K classes (Yaras et al. 2023, eqs. 13, 14); 0 is full collapse.

    Tr(Sigma_W) is the mean over the N samples of the squared distance from the mean of their class, Tr(Sigma_B) the
    mean over the K classes of the squared distance of their mean from the mean of these means. ``labels`` are one-hot;
    classes may differ in size, but none may be empty. The result is +inf or NaN where all class means coincide.
    """
    (num_classes, num_samples), sizes = labels.shape, jnp.sum(labels, axis=1)
    means = matmul(features, labels.T) / sizes[None, :]
    within = features - matmul(means, labels)
    between = means - jnp.mean(means, axis=1, keepdims=True)
    return (jnp.sum(jnp.square(within)) / num_samples) / (jnp.sum(jnp.square(between)) / num_classes)


def initial_separation(*, samples_per_class: int, num_classes: int) -> float:
    """D_0 = (n - 1) K / (K - 1) of orthonormal inputs in K = num_classes classes of n = samples_per_class each."""
    return (samples_per_class - 1) * num_classes / (num_classes - 1)


def decay_rate(*, scale: Rate, samples_per_class: int, depth: int) -> Rate:
    """The factor eps^2 / n^{1/L} by which D_l falls from each layer of a trained linear network to the next.

    The mean of a class grows by sigma = n^{1/2L} in each layer, since the L layers share the singular value sqrt(n) of
    Y X^T (evenly up to eps^2). Its features scatter in d - K directions: d - 2K of them keep the singular value
    eps = scale (Theorem 1), and the K others end at or below it. So D_{l+1} / D_l lies between (d - 2K)/(d - K) times
    the rate and the rate, and approaches the rate as l grows. The rate depends on L = depth, which the paper omits.
    """
    return scale**2 / samples_per_class ** (1 / depth)


def ratio_bound(*, scale: Rate, num_classes: int) -> Rate:
    """Theorem 2's bound D_{l+1} / D_l <= 2 (sqrt K + 1) eps^2, l = 0, ..., L-2 (Yaras et al. 2023, eq. 15).

    It is informative only below 1, and holds for eps up to ``largest_scale``.
    """
    return 2 * (num_classes**0.5 + 1) * scale**2


def largest_scale(*, width: int, samples_per_class: int, num_classes: int, depth: int) -> float:
    """The largest eps of Theorem 2 and Corollary 1 (Yaras et al. 2023, eq. 28).

    eps_max = min(n^{1/2L} / (sqrt(30) L (d-K)^{1/4}), (n/2)^{1/4L} / (d-K)^{1/4}, 1 / sqrt(2 (sqrt K + 1)))
    for d = width = N. The paper prints sqrt(30 L) in place of sqrt(30) L, which its proof needs (eq. 27). Its eq. (45)
    needs K <= (30 L^2 / 16)^2 besides, 56 classes for L = 2, which is not checked here. The
    other hypotheses: X orthogonal, W_{L:1} X = Y, an eps-orthogonal start with W_L(0) = eps [U_L 0], and gradient flow.

    Raises:
        ValueError: the inputs are not square (width = n K) or there are not 2K < width dimensions.
    """
    d, n, K, L = width, samples_per_class, num_classes, depth
    if d != n * K or d <= 2 * K:
        msg = f"Theorem 2 needs width = {n} * {K} = samples_per_class * num_classes > 2 * num_classes, got width={d}"
        raise ValueError(msg)
    root = (d - K) ** 0.25
    return min(
        n ** (1 / (2 * L)) / (30**0.5 * L * root),
        (n / 2) ** (1 / (4 * L)) / root,
        ratio_bound(scale=1.0, num_classes=K) ** -0.5,
    )


def imbalance(weights: Weights) -> Float[Array, " joints"]:
    """||W_{l+1}^T W_{l+1} - W_l W_l^T||_F for l = 1, ..., L-1 (Yaras et al. 2023, eq. 23).

    Gradient flow preserves these matrices. Theorem 2 assumes 0 at l < L-1 and at most eps^2 sqrt(d - K) at l = L-1,
    which an eps-orthogonal start satisfies.
    """
    return jnp.stack([jnp.linalg.norm(D) for D in imbalances(weights)])
