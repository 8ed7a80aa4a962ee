"""A Flax NNX model as a plain tree of arrays. Variables that it shares are one leaf."""

import sys
from collections.abc import Callable
from typing import Any

import jax

from lawlib.extras import imports_for
from lawlib.types import PyTree, Scalar

__all__ = ["functional", "holds_modules", "split"]


def holds_modules(params: PyTree) -> bool:
    """Whether there is an NNX module in this tree; without Flax there is none."""
    nnx = sys.modules.get("flax.nnx")
    if nnx is None:
        return False
    nodes = jax.tree.leaves(params, is_leaf=lambda node: isinstance(node, nnx.Module))
    return any(isinstance(node, nnx.Module) for node in nodes)


def functional(
    loss: Callable[[Any, Any], Scalar], model: Any, where: Callable[[Any], Any] | str = ""
) -> tuple[Callable[[PyTree, Any], Scalar], PyTree, Callable[[PyTree], Any] | str]:
    """loss(state, batch), the model's state, and where(state), of a loss and a where that take the model.

    What the loss changes in the model, such as running averages, is dropped.
    """
    state, merged = split(model)

    def of_state(state: PyTree, batch: Any) -> Any:
        return loss(merged(state), batch)

    if isinstance(where, str):
        return of_state, state, where
    return of_state, state, lambda state: where(merged(state))


def split(model: Any) -> tuple[PyTree, Callable[[PyTree], Any]]:
    """The model's state, and new models as a function of a state."""
    with imports_for("split"):
        from flax import nnx

    graph, state = nnx.split(model)
    # Without a copy a merged model has the variables of the given one, and a loss would change them.
    return state, lambda state: nnx.merge(graph, state, copy=True)
