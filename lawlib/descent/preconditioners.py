"""Matrix optimizers that commute with rotations, as optax transformations in the precision of the weights.

The exact Shampoo takes its roots by eigenvectors, at every step. GaLore is without memory: its gradient is projected on
its own leading singular vectors. optax 0.2.8 has no Shampoo, and its GaLore computes singular vectors in float32.
"""

import operator

import jax
import jax.numpy as jnp
import optax

from lawlib.types import Matrix, PyTree, Rate, matmul

__all__ = ["projected_descent", "shampoo"]


def shampoo(step_size: Rate, *, start: Rate = 1e-6) -> optax.GradientTransformation:
    """W <- W - eta A^{-1/4} G B^{-1/4}, A = start I + sum_t G_t G_t^T, B = start I + sum_t G_t^T G_t.

    Gupta, Koren and Singer 2018, Algorithm 1, for matrices. The sums of a gradient that never leaves some directions
    keep ``start`` there, so that it has to be positive.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> from lawlib.descent.preconditioners import shampoo
        >>> method = shampoo(0.5, start=0.0)
        >>> weights = jnp.eye(2)
        >>> update, _ = method.update(2 * weights, method.init(weights))
        >>> bool(jnp.allclose(update, -0.5 * jnp.eye(2)))  # the first step has the singular values eta
        True
    """

    # The names of the arguments are optax's.
    def init(params: PyTree) -> PyTree:
        return jax.tree.map(lambda W: tuple(start * jnp.eye(size, dtype=W.dtype) for size in W.shape), params)

    def update(updates: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, PyTree]:
        del params
        state = jax.tree.map(lambda G, sums: (sums[0] + matmul(G, G.T), sums[1] + matmul(G.T, G)), updates, state)

        def step(G: Matrix, sums: tuple[Matrix, Matrix]) -> Matrix:
            return -step_size * matmul(matmul(_fourth_root(sums[0]), G), _fourth_root(sums[1]))

        return jax.tree.map(step, updates, state), state

    return optax.GradientTransformation(init, update)


def _fourth_root(M: Matrix) -> Matrix:
    """M^{-1/4} of a positive definite matrix."""
    values, vectors = jnp.linalg.eigh(M)
    return matmul(vectors * values[None] ** -0.25, vectors.T)


def projected_descent(step_size: Rate, *, rank: int) -> optax.GradientTransformation:
    """W <- W - eta P P^T G, P the ``rank`` leading left singular vectors of the gradient G of a matrix.

    GaLore (Zhao et al. 2024, Algorithm 1) with gradient descent inside, a scale of 1 and a new projection at every
    step. It is equivariant where sigma_rank(G) > sigma_{rank+1}(G); where they are equal the vectors are any.

    Raises:
        ValueError: ``rank`` is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> from lawlib.descent.preconditioners import projected_descent
        >>> method = projected_descent(0.5, rank=1)
        >>> gradient = jnp.diag(jnp.array([4.0, 2.0]))
        >>> update, _ = method.update(gradient, method.init(gradient))
        >>> [float(value) for value in jnp.diagonal(update)]
        [-2.0, 0.0]
    """
    rank = operator.index(rank)
    if rank < 1:
        msg = f"a projection needs a rank of 1 or more, got {rank}"
        raise ValueError(msg)

    def step(G: Matrix) -> Matrix:
        P = jnp.linalg.svd(G, full_matrices=False)[0][:, :rank]
        return -step_size * matmul(P, matmul(P.T, G))

    return optax.stateless(lambda gradients, _: jax.tree.map(step, gradients))
