"""Momentum and preconditioning of the descent, as optax transformations, for factors of very different sizes."""

import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.scipy.linalg import solve_triangular

from lawlib.types import Array, Float, Matrix, PyTree, Scalar, matmul

__all__ = ["entrywise", "preconditioned", "restarted_momentum"]

SERIAL = 16  # On a CPU LAPACK solves larger triangles in threads, which takes a hundred times as long.


class _Restarted(NamedTuple):
    """The weights before the extrapolation, and the steps since the last restart."""

    before: PyTree
    since: Scalar


def restarted_momentum(step_size: float) -> optax.GradientTransformation:
    """Nesterov's accelerated gradient with adaptive restarts.

    x(t+1) = y(t) - eta g(y(t)), y(t+1) = x(t+1) + n/(n+3) (x(t+1) - x(t)) with eta = step_size, where n counts the
    steps since <g, x(t+1) - x(t)> was last positive; the parameters are y. Momentum grows on the plateaus between one
    singular value and the next, and is reset to 0 when it points uphill (O'Donoghue and Candes, Found. Comput. Math.
    15, 2015, the gradient scheme). Stable for eta below 4/3 of the inverse curvature.
    """

    def init(params: Any) -> _Restarted:
        return _Restarted(params, jnp.zeros((), jnp.result_type(*jax.tree.leaves(params))))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, _Restarted]:
        if params is None:
            msg = "momentum needs the present parameters: call update(updates, state, params)"
            raise ValueError(msg)
        after = jax.tree.map(lambda y, g: y - step_size * g, params, updates)
        moved = jax.tree.map(jnp.subtract, after, state.before)
        uphill = sum(map(jnp.vdot, jax.tree.leaves(updates), jax.tree.leaves(moved))) > 0
        count = jnp.where(uphill, 0, state.since + 1)
        momentum = count / (count + 3)
        moves = jax.tree.map(lambda x, move, y: x + momentum * move - y, after, moved, params)
        return moves, _Restarted(after, count)

    return optax.GradientTransformation(init, update)


def preconditioned(damping: float) -> optax.GradientTransformationExtraArgs:
    """Gradients of a ``compress.adapters.Adapter`` preconditioned by the other factors, for spread singular values.

    With W = P F Q^T for a factor F, dF becomes (P^T P + lambda I)^{-1} dF (Q^T Q + lambda I)^{-1}; for U and V, one of
    the two sides does not exist. This is scaled gradient descent (Tong, Ma and Chi, J. Mach. Learn. Res. 22, 2021).
    lambda is ``damping`` sqrt(2 loss), a multiple of the remaining distance, so that an over-estimated rank does no
    harm (Zhang, Fattahi and Zhang, NeurIPS 2021): a direction grows at a rate given by its share of the remaining
    error, large ones first, and directions that are not needed stay small. The rates of the core do not depend on the
    condition number c. The Gram matrices of U and V are of order 1/c^2 and lambda is of order 1/c, so that U and V
    rotate more slowly towards small directions: the number of steps grows about as sqrt(c) if the spectral
    initialization misses them.

    ``update`` needs the loss, ``value=``, of order one at the start.
    """

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        left_of = _grams(params.left, [core.T for core in reversed(params.core)])[::-1]
        right_of = _grams(params.right, params.core)
        inverses = _damped_inverses(jnp.stack([*left_of, *right_of]), damping * jnp.sqrt(2 * extra["value"]))
        lefts, rights = inverses[: len(left_of)], inverses[len(left_of) :]
        core = [matmul(lefts[i + 1], matmul(g, rights[i])) for i, g in enumerate(updates.core)]
        left, right = matmul(updates.left, rights[-1]), matmul(updates.right, lefts[0])
        return updates._replace(left=left, core=tuple(core), right=right), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def _grams(outer: Matrix, layers: Any) -> list[Matrix]:
    """B^T B of B = outer, outer W_1^T, outer W_1^T W_2^T, ... for the layers W_1, W_2, ..."""
    return list(itertools.accumulate(layers, lambda G, W: matmul(W, matmul(G, W.T)), initial=matmul(outer.T, outer)))


def _damped_inverses(grams: Float[Array, "l k k"], damping: Scalar) -> Float[Array, "l k k"]:
    """(gram + damping I)^{-1} of each; a rounding error of its trace is added, so that it is regular at a loss of 0.

    Inverses are formed, since solving for all rows of a factor takes a hundred times as long as a product.
    """
    size, limits = grams.shape[-1], jnp.finfo(grams.dtype)
    eye = jnp.eye(size, dtype=grams.dtype)
    floor = size * limits.eps * jnp.trace(grams, axis1=1, axis2=2) + limits.tiny
    triangles = jnp.linalg.cholesky(grams + (damping + floor)[:, None, None] * eye[None])
    roots = _inverse_triangles(triangles)
    return matmul(jnp.swapaxes(roots, 1, 2), roots)


def _inverse_triangles(lower: Float[Array, "l k k"]) -> Float[Array, "l k k"]:
    """[[A, 0], [B, C]]^{-1} = [[A^{-1}, 0], [-C^{-1} B A^{-1}, C^{-1}]]: by products and small solves."""
    size = lower.shape[-1]
    if size <= SERIAL:
        return solve_triangular(
            lower, jnp.broadcast_to(jnp.eye(size, dtype=lower.dtype)[None], lower.shape), lower=True
        )
    half = size // 2
    A, C = _inverse_triangles(lower[:, :half, :half]), _inverse_triangles(lower[:, half:, half:])
    corner = -matmul(C, matmul(lower[:, half:, :half], A))
    above = jnp.zeros((lower.shape[0], half, size - half), lower.dtype)
    return jnp.concatenate([jnp.concatenate([A, above], 2), jnp.concatenate([corner, C], 2)], 1)


def entrywise(transform: optax.GradientTransformation) -> optax.GradientTransformation:
    """A transform that scales every entry separately (Adam, RMSProp, sign descent), adapted to factors of any size.

    The entries of an orthonormal factor (m, k) are of order m^{-1/2}. The transform is applied to every matrix, and its
    gradient, times the square root of its number of rows, so that a step of optax.adam(0.01) changes such a factor by
    about one percent for any m. Gradient descent is unchanged; line searches cannot be used, since slopes change. Other
    arguments of ``update`` are passed on.
    """
    transform = optax.with_extra_args_support(transform)

    def in_units(tree: Any, power: int) -> Any:
        return jax.tree.map(lambda x: x * (x.shape[0] if x.ndim else 1) ** (power / 2), tree)

    def init(params: Any) -> Any:
        return transform.init(in_units(params, 1))

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        held = None if params is None else in_units(params, 1)
        moves, state = transform.update(in_units(updates, 1), state, held, **extra)
        return in_units(moves, -1), state

    return optax.GradientTransformationExtraArgs(init, update)
