"""The compressed network U W~_L ... W~_1 V^T, an ``Adapter`` of the matrix 0 (Yaras et al. 2023): its products."""

import jax.numpy as jnp
from jax import lax

from lawlib.compress.adapters import Adapter
from lawlib.networks.deep_linear import end_to_end
from lawlib.types import Array, Float, Int, Matrix, matmul

__all__ = ["entries_of", "product", "two_factors"]


def two_factors(factors: Adapter) -> tuple[Float[Array, "m k"], Float[Array, "n k"]]:
    """W_comp = A B^T in two factors, A = U W~_{L:1} and B = V.

    The k x k products come first; ``compress.adapters.change`` has the same factors from products with the m rows of U.
    The published results of each depend on its order in their last digits.
    """
    return matmul(factors.left, end_to_end(factors.core)), factors.right


def product(factors: Adapter) -> Matrix:
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
