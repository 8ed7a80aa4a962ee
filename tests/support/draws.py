"""Weights and targets of deep linear networks, drawn by numpy: JAX compiles its generator anew for each shape."""

import itertools

import jax.numpy as jnp
import numpy as np


def orthogonal_layers(seed, widths, scale, dtype=jnp.float64):
    """(W_1, ..., W_L), each eps-orthogonal with eps = scale, for widths (d_0, ..., d_L)."""
    rng, layers = np.random.default_rng((seed, 0)), []
    for into, out in itertools.pairwise(widths):
        Q = np.linalg.qr(rng.standard_normal((max(into, out), min(into, out))))[0]
        layers.append(jnp.asarray(scale * (Q if out >= into else Q.T), dtype))
    return tuple(layers)


def low_rank_matrix(seed, shape, rank, dtype=jnp.float64):
    """The part of this rank of a Gaussian matrix."""
    U, s, Vt = np.linalg.svd(np.random.default_rng((seed, 1)).standard_normal(shape), full_matrices=False)
    return jnp.asarray((U[:, :rank] * s[:rank]) @ Vt[:rank], dtype)
