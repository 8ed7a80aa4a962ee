"""The network on held-out data with the change of each layer cut to a rank, or projected on S_big."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from lawlib.diagnose.layers import Plan, written
from lawlib.diagnose.state import HeldOut, LayerStart
from lawlib.linalg.spectra import SVD
from lawlib.types import Array, Int, Matrix, PyTree, Scalar, matmul

__all__ = ["held_out_losses", "recommended"]


def held_out_losses(
    loss: Callable[[list[Any], Any], Scalar],
    arrays: list[Any],
    plan: Plan,
    before: Sequence[LayerStart],
    now: Sequence[Matrix],
    changes: Sequence[SVD],
    ranks: tuple[int, ...],
    held_out: PyTree,
) -> HeldOut:
    """The mean losses of the trained network and of those that change less."""

    def mean(matrices: Sequence[Matrix] | None) -> Scalar:
        changed = arrays if matrices is None else written(plan.layers, matrices, arrays)
        return jnp.mean(lax.map(lambda batch: loss(changed, batch), held_out))

    def cut(rank: Int[Array, ""]) -> Scalar:
        each = zip(before, changes, strict=True)
        return mean([start.weights + _of_rank(rank, svd) for start, svd in each])

    projected = []
    for start, W in zip(before, now, strict=True):
        P, Q = start.inputs.basis, start.outputs.basis
        small = matmul(matmul(P.T, W - start.weights), Q)
        projected.append(start.weights + matmul(matmul(P, small), Q.T))
    at = lax.map(cut, jnp.asarray((0, *ranks), jnp.int32))
    trained = mean(None)
    return HeldOut(trained, at[0], mean(projected), at[1:])


def _of_rank(rank: Int[Array, ""], svd: SVD) -> Matrix:
    """U_r S_r V_r^T of the leading triplets."""
    values = jnp.where(jnp.arange(svd.values.size, dtype=jnp.int32) < rank, svd.values, 0)
    return matmul(svd.left * values[None], svd.right.T)


def recommended(ranks: tuple[int, ...], held: HeldOut, tolerance: Scalar) -> Int[Array, ""]:
    """The smallest rank whose loss is within the tolerance, a fraction of what the changes gain; 0 if none is."""
    gained = held.without - held.trained
    fine = (held.at_ranks - held.trained <= tolerance * gained) & (gained > 0)
    return jnp.where(jnp.any(fine), jnp.asarray(ranks, jnp.int32)[jnp.argmax(fine)], 0)
