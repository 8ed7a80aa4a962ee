"""Layers that are a plain product x K + b: recognized in the jaxpr of the loss, and shifted without changing K."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.extend

from lawlib.extras import imports_for
from lawlib.linalg.kernel_uses import leaf_index, ndim, uses
from lawlib.types import Array, PyTree, Scalar

__all__ = ["MEND", "check_plain", "shifted"]

MEND = "use route='parameter'"
NEEDS_FLAX = "kernel_gradient_products with route='matrix_free'"


def shifted(loss: Callable[[PyTree, Any], Scalar], variables: PyTree, path: str) -> Callable[[Any, Any], Scalar]:
    """A loss(shift, batch) in which x K becomes x (K + M), in each call of the plain ``nn.Dense`` at the path."""
    with imports_for(NEEDS_FLAX):
        import flax.linen as nn

    def of_shift(shift: Any, batch: Any) -> Scalar:
        def intercept(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
            output = call(*args, **kwargs)
            if not _is_call_of(context, path):
                return output
            return output + shift.rows(args[0] if args else kwargs["inputs"]).astype(output.dtype)

        with nn.intercept_methods(intercept):
            return loss(variables, batch)

    return of_shift


def _is_call_of(context: Any, path: str) -> bool:
    return context.method_name == "__call__" and "/".join(context.module.path) == path


def check_plain(loss: Callable, variables: PyTree, path: str, batches: PyTree, jaxpr: jax.extend.core.Jaxpr) -> None:
    """Raise ValueError unless the layer is exactly ``nn.Dense`` and its kernel is used by its calls only."""
    with imports_for(NEEDS_FLAX):
        import flax.linen as nn
    at = leaf_index(variables, f"params/{path}/kernel")
    kernel, met, reasons = jax.tree.leaves(variables)[at], 0, []

    def intercept(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        nonlocal met
        if _is_call_of(context, path):
            met += 1
            reasons.extend(_not_plain(context.module, kernel))
        return call(*args, **kwargs)

    with nn.intercept_methods(intercept):
        jax.eval_shape(lambda data: loss(variables, jax.tree.map(lambda x: x[0], data)), batches)
    found = uses(jaxpr, at)
    others = {"a result" if each is None else each.primitive.name for each, at in found if not _is_rows(each, at)}
    if others:
        reasons.append(f"the loss uses its kernel in other operations: {', '.join(sorted(others))}")
    if met != len(found):
        hidden = "a loss inside jax.jit or jax.checkpoint hides calls"
        reasons.append(f"its kernel is used {len(found)} times, but the number of calls found is {met} ({hidden})")
    if reasons or not met:
        why = "; ".join(dict.fromkeys(reasons)) or "the network does not run it"
        msg = f"the layer {path!r} is not a plain product x K + b, as matrix_free requires: {why}; {MEND}"
        raise ValueError(msg)


def _not_plain(module: Any, kernel: Array) -> Iterator[str]:
    import flax.linen as nn
    from flax.linen.dtypes import promote_dtype

    if type(module) is not nn.Dense:
        yield f"it is a {type(module).__name__}, which is not exactly nn.Dense"
    elif module.dot_general is not None or module.dot_general_cls is not None or module.promote_dtype != promote_dtype:
        yield "it has its own dot_general or promote_dtype"
    if module.variables.get("params", {}).get("kernel") is not kernel:
        yield "a layer with this path runs with a kernel that is not the one in the variables"


def _is_rows(equation: jax.extend.core.JaxprEqn | None, place: int) -> bool:
    """Whether it is the product x K of rows x."""
    if equation is None or equation.primitive.name != "dot_general" or place != 1:
        return False
    last = ndim(equation.invars[0]) - 1
    return equation.params["dimension_numbers"] == (((last,), (0,)), ((), ()))
