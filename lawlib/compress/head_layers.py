"""The MLP head of a Flax network: found by running the network, and run with factors in place of its kernels.

The head consists of L ``nn.Dense`` layers in sequence. The network itself is not rewritten: its ``nn.Dense`` calls at
the head's paths are intercepted.
"""

import functools as ft
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lawlib.compress.head_start import factors_of
from lawlib.extras import imports_for
from lawlib.linalg.batches import check_batches
from lawlib.types import Array, PyTree, Scalar

__all__ = ["find_head", "flat_params", "with_factors", "with_params"]


class _Call(NamedTuple):
    """A call of a module: its path, its class, and whether it combines units."""

    path: str
    kind: str
    is_dense: bool
    mixes: bool


def find_head(
    loss: Callable[[PyTree, Any], Scalar],
    variables: PyTree,
    batches: PyTree,
    layers: Sequence[str] | None,
    *,
    keeps_units: bool = False,
) -> tuple[str, ...]:
    """The paths of the head's layers, checked against the calls in ``loss(variables, batch)``, by shapes only.

    ``layers`` are the paths in order; by default all ``nn.Dense`` that run and have their weights in ``variables``.
    If the low-rank network ``keeps_units``, any module may lie between them; otherwise no normalization and no module
    with weights.

    Raises:
        ValueError: layers that do not run exactly once and in this order; a module between them that combines units;
            boxed variables; invalid batches (``batches.check_batches``).
    """
    held = _held(variables)
    check_batches(loss, variables, batches)
    calls = _calls(loss, variables, batches)
    dense = [call.path for call in calls if call.is_dense]
    head = tuple(dict.fromkeys(path for path in dense if path in held) if layers is None else layers)
    if isinstance(layers, str) or not held.issuperset(head):
        msg = f"layers must be paths of layers with a kernel in the variables, {sorted(held)}, got {layers!r}"
        raise ValueError(msg)
    if len(head) < 2 or [path for path in dense if path in head] != list(head):
        msg = (
            f"a head is two or more nn.Dense layers, each run once and named in the order in which they run, got "
            f"{list(head)}; the layers found are {dense} (a loss inside jax.jit or jax.checkpoint hides layers, and a "
            f"subclass with another product, or another dot_general, does not count)"
        )
        raise ValueError(msg)
    paths = [call.path for call in calls]
    between = calls[paths.index(head[0]) : paths.index(head[-1])]
    wrong = [f"{call.kind} at {call.path!r}" for call in between if call.mixes and call.path not in head]
    if wrong and not keeps_units:
        msg = (
            f"functions between the layers of the head must act unit by unit, since the low-rank network has fewer "
            f"units there: {', '.join(wrong)} does not; name other layers than {list(head)}"
        )
        raise ValueError(msg)
    return head


def with_factors(function: Callable, hidden: tuple[str, ...]) -> Callable:
    """A function that applies the network, with factors in place of the kernels of its ``hidden`` layers."""
    with imports_for("low_rank_mlp"):
        import flax.linen as nn

    def intercept(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        module = context.module
        if not isinstance(module, nn.Dense) or context.method_name != "__call__":
            return call(*args, **kwargs)
        path = "/".join(module.path)
        if path not in hidden:
            return call(*args, **kwargs)
        return _applied(module, path, args[0] if args else kwargs["inputs"])

    def low_rank(*args: Any, **kwargs: Any) -> Any:
        with nn.intercept_methods(intercept):
            return function(*args, **kwargs)

    return low_rank


def flat_params(variables: PyTree) -> dict[str, Any]:
    """The parameters by path, "head/Dense_0/kernel"."""
    with imports_for("low_rank_mlp"):
        from flax.traverse_util import flatten_dict

    return flatten_dict(variables["params"], sep="/", keep_empty_nodes=True)


def with_params(variables: PyTree, flat: dict[str, Any]) -> PyTree:
    """The variables with these parameters, by path; None for a parameter that is removed."""
    with imports_for("low_rank_mlp"):
        from flax.core import FrozenDict
        from flax.traverse_util import unflatten_dict

    held = {path: value for path, value in flat.items() if value is not None}
    changed = {**variables, "params": unflatten_dict(held, sep="/")}
    return FrozenDict(changed) if isinstance(variables, FrozenDict) else changed


def _held(variables: PyTree) -> set[str]:
    """The paths of the layers whose kernels the variables hold."""
    with imports_for("low_rank_mlp"):
        import flax.linen as nn

    if not isinstance(variables, Mapping) or "params" not in variables:
        msg = "variables must hold the collection 'params', as network.init returns them"
        raise ValueError(msg)
    flat = flat_params(variables)
    if boxed := [path for path, held in flat.items() if isinstance(held, nn.meta.AxisMetadata)]:
        msg = f"variables must be arrays, but {boxed} are boxed: use flax.linen.meta.unbox(variables)"
        raise ValueError(msg)
    return {path.rpartition("/")[0] for path in flat if path.rpartition("/")[2] == "kernel"}


def _calls(loss: Callable[[PyTree, Any], Scalar], variables: PyTree, batches: PyTree) -> list[_Call]:
    """The modules in the order of their calls, from a run on shapes only."""
    import flax.linen as nn

    # These combine all units, and may have no parameters.
    normalizations = (nn.BatchNorm, nn.GroupNorm, nn.InstanceNorm, nn.LayerNorm, nn.RMSNorm)
    calls = []

    def intercept(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        module = context.module
        if context.method_name == "__call__":
            own = [held for group in module.variables.values() for held in group.values()]
            weights = any(jnp.size(held) > 1 for held in own if not isinstance(held, Mapping))
            mixes = weights or isinstance(module, normalizations)
            calls.append(_Call("/".join(module.path), type(module).__name__, _is_dense(module), mixes))
        return call(*args, **kwargs)

    with nn.intercept_methods(intercept):
        jax.eval_shape(lambda held, data: loss(held, jax.tree.map(lambda x: x[0], data)), variables, batches)
    return calls


def _is_dense(module: Any) -> bool:
    """Whether it only multiplies by its kernel and adds its bias; a subclass of Dense may."""
    import flax.linen as nn

    is_plain = isinstance(module, nn.Dense) and type(module).__call__ is nn.Dense.__call__
    return is_plain and module.dot_general is None and module.dot_general_cls is None


def _applied(module: Any, path: str, x: Array) -> Array:
    """The product of the rows of x with the layer's factors, in the dtype and the precision of the layer."""
    held = module.variables.get("params", {})
    operands: list[Any] = module.promote_dtype(x, held.get("bias"), *factors_of(held, path), dtype=module.dtype)
    x, bias, *factors = operands
    x = ft.reduce(ft.partial(jnp.matmul, precision=module.precision), factors, x)
    return x if bias is None else x + jnp.reshape(bias, (1,) * (x.ndim - 1) + bias.shape)
