"""Targets and states of the induced flow with a known spectrum, to try."""

import jax.numpy as jnp
import numpy as np

from lawlib.theory import induced_flow as flow

SHAPE = (3, 5)


def unit(rng, n):
    x = rng.standard_normal(n)
    return x / np.linalg.norm(x)


def state(rng, dtype=jnp.float64, value=None):
    """A random s u v^T."""
    s = rng.uniform(0.2, 3.0) if value is None else value
    return flow.RankOne(*(jnp.asarray(x, dtype) for x in (s, unit(rng, SHAPE[0]), unit(rng, SHAPE[1]))))


def spectral(rng, values):
    """A matrix of SHAPE with these singular values, and its best rank-one part."""
    U, _ = np.linalg.qr(rng.standard_normal((SHAPE[0], SHAPE[0])))
    V, _ = np.linalg.qr(rng.standard_normal((SHAPE[1], SHAPE[0])))
    Z = (U * np.asarray(values)) @ V.T
    return jnp.asarray(Z), flow.RankOne(jnp.asarray(values[0]), jnp.asarray(U[:, 0]), jnp.asarray(V[:, 0]))


def turned(rng, leading, cosine, value):
    """A state whose vectors are both at this cosine from the leading ones."""
    vectors = (cosine * np.asarray(x) + np.sqrt(1 - cosine**2) * _aside(rng, x) for x in leading[1:])
    return flow.RankOne(jnp.asarray(value), *(jnp.asarray(x) for x in vectors))


def _aside(rng, x):
    y = rng.standard_normal(x.size)
    y -= y @ np.asarray(x) * np.asarray(x)
    return y / np.linalg.norm(y)
