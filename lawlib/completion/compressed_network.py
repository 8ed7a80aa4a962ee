"""The compressed network U W~_L ... W~_1 V^T (Yaras et al. 2023, eqs. 9 and 11): its factors, start and products."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from lawlib.compress import Bases
from lawlib.networks.deep_linear import end_to_end
from lawlib.types import Array, Float, Int, Matrix, Rate, Weights, matmul

__all__ = ["Factors", "entries_of", "product", "start", "two_factors"]


class Factors(NamedTuple):
    """The compressed network U W~_L ... W~_1 V^T: ``left`` is U, ``core`` (W~_1, ..., W~_L), ``right`` V."""

    left: Float[Array, "m k"]
    core: Weights
    right: Float[Array, "n k"]


def start(bases: Bases, *, depth: int, scale: Rate) -> Factors:
    """The compressed network at initialization: U and V are the bases, W~_l = eps I with eps = scale, l = 1, ..., L."""
    layer = jnp.asarray(scale, bases.left.dtype) * jnp.eye(bases.left.shape[1], dtype=bases.left.dtype)
    return Factors(bases.left, (layer,) * depth, bases.right)


def two_factors(factors: Factors) -> tuple[Float[Array, "m k"], Float[Array, "n k"]]:
    """W_comp = A B^T in two factors, A = U W~_{L:1} and B = V."""
    return matmul(factors.left, end_to_end(factors.core)), factors.right


def product(factors: Factors) -> Matrix:
    """The end-to-end matrix W_comp = U W~_{L:1} V^T (Yaras et al. 2023, eq. 11), m x n."""
    left, right = two_factors(factors)
    return matmul(left, right.T)


def entries_of(
    left: Float[Array, "m k"], right: Float[Array, "n k"], rows: Int[Array, " N"], columns: Int[Array, " N"]
) -> Float[Array, " N"]:
    """The entries (rows[i], columns[i]) of left right^T, NaN outside it, in blocks: memory does not grow with N k."""
    rows, columns = jnp.asarray(rows), jnp.asarray(columns)
    return lax.map(
        lambda at: jnp.sum(left.at[at[0]].get(mode="fill") * right.at[at[1]].get(mode="fill")),
        (rows, columns),
        batch_size=max(1, min(2**16, rows.size)),
    )
