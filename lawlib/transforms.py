"""Gradient transformations in optax's own form, for networks in factors of very different sizes."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lawlib.types import PyTree, Scalar

__all__ = ["entrywise", "restarted_momentum"]


class _Restarted(NamedTuple):
    """The weights before the extrapolation, and the steps since the last restart."""

    before: PyTree
    since: Scalar


def restarted_momentum(step_size: float) -> optax.GradientTransformation:
    """Nesterov's accelerated gradient with adaptive restarts.

    x(t+1) = y(t) - eta g(y(t)), y(t+1) = x(t+1) + n/(n+3) (x(t+1) - x(t)) with eta = step_size, where n counts the
    steps since <g, x(t+1) - x(t)> was last positive; the parameters are y. Momentum grows on the plateaus between one
    singular value and the next and is dropped where it leads uphill (O'Donoghue and Candes, Found. Comput. Math. 15,
    2015, the gradient scheme). Stable below 4/3 of the inverse curvature.
    """

    def init(params: Any) -> _Restarted:
        return _Restarted(params, jnp.zeros((), jnp.result_type(*jax.tree.leaves(params))))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, _Restarted]:
        if params is None:
            msg = "momentum moves on from the present parameters: update(updates, state, params) needs them"
            raise ValueError(msg)
        after = jax.tree.map(lambda y, g: y - step_size * g, params, updates)
        moved = jax.tree.map(jnp.subtract, after, state.before)
        uphill = sum(map(jnp.vdot, jax.tree.leaves(updates), jax.tree.leaves(moved))) > 0
        count = jnp.where(uphill, 0, state.since + 1)
        momentum = count / (count + 3)
        moves = jax.tree.map(lambda x, move, y: x + momentum * move - y, after, moved, params)
        return moves, _Restarted(after, count)

    return optax.GradientTransformation(init, update)


def entrywise(transform: optax.GradientTransformation) -> optax.GradientTransformation:
    """A transform that scales every entry by itself (Adam, RMSProp, sign descent), made to fit factors of any size.

    The entries of an orthonormal factor (m, k) are of order m^{-1/2}. The transform sees every matrix, and its
    gradient, times the square root of its number of rows, so that optax.adam(0.01) goes about a hundredth of such a
    factor in a step at any m. Gradient descent stays what it was; line searches do not fit, since slopes change.
    What else ``update`` is given is handed on.
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
