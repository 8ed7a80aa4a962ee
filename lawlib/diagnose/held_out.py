"""The network on held-out data with the change of each layer cut to a rank, or projected on S_big."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from lawlib.diagnose.changes import LowRank
from lawlib.diagnose.state import HeldOut, LayerStart
from lawlib.types import Array, Int, Matrix, PyTree, Scalar, matmul

__all__ = ["held_out_losses", "mean_loss", "recommended"]


def mean_loss(loss: Callable[[list[Any], Any], Scalar], arrays: list[Any], held_out: PyTree) -> Scalar:
    """The mean over the held-out batches, taken one at a time."""
    return jnp.mean(lax.map(lambda batch: loss(arrays, batch), held_out))


def held_out_losses(
    changed: Callable[[Sequence[Matrix]], Scalar],
    trained: Scalar,
    before: Sequence[LayerStart],
    now: Sequence[Matrix],
    changes: Sequence[LowRank],
    ranks: tuple[int, ...],
) -> HeldOut:
    """The mean loss of the trained network, as given, and those of networks that change less.

    ``changed(matrices)`` is the mean loss with these matrices in place of those of the layers.
    """

    def cut(rank: Int[Array, ""]) -> Scalar:
        return changed([start.weights + best.at(rank) for start, best in zip(before, changes, strict=True)])

    projected = []
    for start, W in zip(before, now, strict=True):
        P, Q = start.inputs.basis, start.outputs.basis
        small = matmul(matmul(P.T, W - start.weights), Q)
        projected.append(start.weights + matmul(matmul(P, small), Q.T))
    at = lax.map(cut, jnp.asarray((0, *ranks), jnp.int32))
    return HeldOut(trained, at[0], changed(projected), at[1:])


def recommended(ranks: tuple[int, ...], held: HeldOut, tolerance: Scalar) -> Int[Array, ""]:
    """The smallest rank whose loss is within the tolerance, a fraction of what the changes gain; 0 if none is."""
    gained = held.without - held.trained
    fine = (held.at_ranks - held.trained <= tolerance * gained) & (gained > 0)
    return jnp.where(jnp.any(fine), jnp.asarray(ranks, jnp.int32)[jnp.argmax(fine)], 0)
