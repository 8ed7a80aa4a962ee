"""Fewer samples for the same descent of a linear network with a squared loss.

W Y lies in the row space of Y. The loss depends on the weights only through rank(Y) orthogonal combinations of the n
samples, for any number of layers of W; the rest is a constant.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax.core import Tracer

from lawlib.types import Array, Float, Scalar, matmul

__all__ = ["CompressedSamples", "compress_samples"]


class CompressedSamples(NamedTuple):
    """Inputs Y V (m, r) and targets X V (d, r) that replace all samples, and the constant part of the loss."""

    inputs: Float[Array, "m r"]
    targets: Float[Array, "d r"]
    floor: Scalar


def compress_samples(
    inputs: Float[Array, "m n"], targets: Float[Array, "d _"], rank: int | None = None
) -> CompressedSamples:
    """The r = rank(Y) samples (Y V, X V) with the loss of all n: Y = U S V^T, V (n, r), for inputs Y and targets X.

    1/2 ||W Y - X||_F^2 = 1/2 ||W Y V - X V||_F^2 + floor for every W, with floor = 1/2 ||X - X V V^T||_F^2; losses are
    sums over entries, not means. The gradients agree for every W, so that each iterate of each gradient method on any
    linear network is unchanged, up to rounding (Laus et al. 2025, Claim 1, where X has rank s and Y = A X).

    ``rank`` is static and may exceed the numerical rank (further columns of Y V are then rounding errors); by default
    it is the numerical rank, the number of singular values above eps max(m, n) sigma_1.

    Raises:
        ValueError: the numbers of samples differ; rank is outside 1..min(m, n), or below the numerical rank of inputs
            that are not traced; inputs are zero; inputs are traced and rank is not given.

    Example:
        >>> import jax, lawlib
        >>> inputs = jax.random.normal(jax.random.key(0), (30, 4)) @ jax.random.normal(jax.random.key(1), (4, 500))
        >>> few = lawlib.compress_samples(inputs, 2 * inputs, rank=4)
        >>> few.inputs.shape, few.targets.shape
        ((30, 4), (30, 4))
    """
    if inputs.shape[1] != targets.shape[1]:
        msg = f"inputs and targets are columns of the same samples, got shapes {inputs.shape} and {targets.shape}"
        raise ValueError(msg)
    U, s, Vt = jnp.linalg.svd(inputs, full_matrices=False)
    r = _checked_rank(s, inputs.shape, rank)
    kept = matmul(targets, Vt[:r].T)
    floor = jnp.sum(jnp.square(targets - matmul(kept, Vt[:r]))) / 2
    return CompressedSamples(U[:, :r] * s[None, :r], kept, floor)


def _checked_rank(s: Float[Array, " k"], shape: tuple[int, ...], rank: int | None) -> int:
    if rank is not None and not 1 <= rank <= min(shape):
        msg = f"rank must be in 1..{min(shape)} for inputs of shape {shape}, got {rank}"
        raise ValueError(msg)
    if isinstance(s, Tracer):
        if rank is None:
            msg = "the rank of traced inputs is unknown where shapes are fixed: give rank, an integer"
            raise ValueError(msg)
        return rank
    numerical = int(jnp.sum(s > jnp.finfo(s.dtype).eps * max(shape) * s[0]))
    if numerical == 0:
        msg = f"inputs of shape {shape} are zero: no sample is left"
        raise ValueError(msg)
    if rank is not None and rank < numerical:
        msg = f"rank must be at least {numerical}, the numerical rank of the inputs, got {rank}: samples would be lost"
        raise ValueError(msg)
    return numerical if rank is None else rank
