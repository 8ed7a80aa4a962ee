"""The network on held-out data with the change of each layer cut to a rank, or projected on S_big."""

import functools as ft
from collections.abc import Callable, Sequence
from itertools import pairwise
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

    def up_to(lower: int, upper: int, matrices: list[Matrix]) -> list[Matrix]:
        return [W + best.between(lower, upper) for W, best in zip(matrices, changes, strict=True)]

    def projected(_: list[Matrix]) -> list[Matrix]:
        return [_projected(start, W) for start, W in zip(before, now, strict=True)]

    # Each network is made from the last, so that each column of a change is multiplied once.
    steps = [ft.partial(up_to, *edges) for edges in pairwise((0, 0, *ranks))] + [projected]

    def run(matrices: list[Matrix], i: Int[Array, ""]) -> tuple[list[Matrix], Scalar]:
        following = lax.switch(i, steps, matrices)
        return following, changed(following)

    first = [start.weights for start in before]
    _, (without, *at_ranks, in_big) = lax.scan(run, first, jnp.arange(len(steps), dtype=jnp.int32))
    return HeldOut(trained, without, in_big, jnp.stack(at_ranks))


def _projected(start: LayerStart, W: Matrix) -> Matrix:
    """The weights at the start and the part of their change that lies in S_big."""
    P, Q = start.inputs.basis, start.outputs.basis
    small = matmul(matmul(P.T, W - start.weights), Q)
    return start.weights + matmul(matmul(P, small), Q.T)


def recommended(ranks: tuple[int, ...], held: HeldOut, tolerance: Scalar) -> Int[Array, ""]:
    """The smallest rank whose loss is within the tolerance, a fraction of what the changes gain; 0 if none is."""
    gained = held.without - held.trained
    fine = (held.at_ranks - held.trained <= tolerance * gained) & (gained > 0)
    return jnp.where(jnp.any(fine), jnp.asarray(ranks, jnp.int32)[jnp.argmax(fine)], 0)
