"""The completion of a 2x2 matrix and the constants of Theorem B.1 as the papers print them, and weights to try."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from lawlib.networks.initializers import balanced_factorization

OBSERVED = [(0, 0), (1, 0), (1, 1)]
MASK = np.array([[1.0, 0.0], [1.0, 1.0]])

factorized = jax.jit(balanced_factorization, static_argnames="widths")


def target_of(offdiagonal):
    return np.array([[1.0, 0.0], [offdiagonal, 1.0]])


def drawn(seed, widths, dtype="float64"):
    rng = np.random.default_rng(seed)
    shapes = zip(widths[1:], widths[:-1], strict=True)
    return tuple(jnp.asarray(rng.normal(size=shape) / math.sqrt(shape[1]), dtype) for shape in shapes)


def dense_cost(A, depth):
    return depth * np.sum(np.linalg.svd(A, compute_uv=False) ** (2 / depth))


CASES = [  # weight decay, depth, rank, width, C over its least value, slack
    (0.05, 3, 1, 4, 1.0, 0.25),
    (0.2, 4, 1, 3, 1.5, 0.4),
    (0.0005, 3, 2, 100, 1.0, 0.1),
    (10.0, 3, 1, 4, 1.0, 0.25),  # here lambda^2 eps_1 is a thousand times the term beside it
]


def constants_in(context, decay, depth, rank, width, times, slack):
    """The constants as the paper prints them, as numbers of this context."""
    lam, small, C1, K, n, r, L = context.mpf(decay), context.mpf(slack), context.mpf(1), 2, width, rank, depth
    C = times * C1 / (2 * lam)
    B = 2 * (C1 + C**L)
    alpha = (lam**2 / B) ** (context.mpf(1) / (L - 2))
    root = lam * alpha * small / (64 * n * K * L * (r + 1) ** 2 * C ** (context.mpf(L - 1) / 2) * context.sqrt(B))
    eps1 = root**2
    terms = [
        C1 / (4 * (2 * (C1 + C**L) * C ** (L - 1) + lam**2 * C)),
        2 * lam * eps1 / (4 * (C1 + C**L) * C ** (L - 1) + lam**2 * eps1),
        lam * alpha * small / (64 * n * K * (r + 1) ** 2 * (2 * (C1 + C**L) * C ** (L - 1) + lam**2 * C)),
        2 * (r + 1) / lam,
    ]
    return C, alpha, eps1, terms
