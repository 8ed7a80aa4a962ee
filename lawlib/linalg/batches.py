"""Batches of data for a loss: checks that they are one tree of arrays whose leading axis runs over the batches."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from lawlib.linalg.kernel_uses import axes_of_factors
from lawlib.types import PyTree, Scalar

__all__ = ["check_batches", "trace_of_a_batch"]

ONE_AXIS = "batches must be a tree of arrays whose leading axis runs over the batches"
RESHAPE = "reshape X to (batches, samples, ...) and y likewise, or use (X[None], y[None]) for one batch of all samples"


def check_batches(loss: Callable[[PyTree, Any], Scalar], parameters: PyTree, batches: PyTree) -> None:
    """Check that batches are a tree of arrays with one leading axis, and that the loss is a number, by shapes only.

    ``loss(parameters, batch)`` is traced once, for the first batch. Data without an axis of batches, such as (X, y)
    with samples along the leading axis, may have the same shapes as batches. They are recognized by their single
    samples: every product of the loss with a matrix of the parameters is then a product with a vector. A loss that maps
    over the samples of a batch, by ``jax.vmap``, ``lax.map`` or a scan that sums, is accepted.

    Raises:
        ValueError: leading axes differ or are missing; data without an axis of batches; a list of batches; a loss that
            returns anything other than one real number, such as auxiliary outputs.
    """
    trace_of_a_batch(loss, parameters, batches)


def trace_of_a_batch(loss: Callable[[PyTree, Any], Scalar], parameters: PyTree, batches: PyTree) -> Any:
    """The program of the loss for one batch, after the checks of ``check_batches``.

    Its first inputs are the leaves of the parameters. Raises as ``check_batches``.
    """
    _check_axes(loss, parameters, batches)
    first = jax.eval_shape(lambda held: jax.tree.map(lambda x: x[0], held), batches)
    try:
        closed, result = jax.make_jaxpr(loss, return_shape=True)(parameters, first)
    except Exception as error:
        _explain(error, loss, parameters, batches, first)
        raise
    _check_result(result)
    leaves = jax.tree.leaves(parameters)
    axes = axes_of_factors(closed.jaxpr, [i for i, leaf in enumerate(leaves) if jnp.ndim(leaf) == 2])
    if axes and max(axes) == 1:
        msg = (
            f"{ONE_AXIS}, and a batch of {_shapes(first)} is a single sample to the network: the leading axis "
            f"of {_shapes(batches)} seems to run over samples; {RESHAPE}"
        )
        raise ValueError(msg)
    return closed


def _check_axes(loss: Callable, parameters: PyTree, batches: Any) -> None:
    leaves: list[Any] = [batches] if issubclass(type(batches), Iterator) else jax.tree.leaves(batches)
    if not all(hasattr(leaf, "shape") and hasattr(leaf, "dtype") for leaf in leaves) or not leaves:
        kinds = sorted({type(leaf).__name__ for leaf in leaves}) or "no leaves"
        msg = f"{ONE_AXIS}, got {type(batches).__name__} with {kinds}; stack the batches of a loader into arrays"
        raise ValueError(msg)
    sizes = {leaf.shape[0] if leaf.shape else None for leaf in leaves}
    if len(sizes) == 1 and not sizes & {None, 0}:
        return
    if _is_a_list(loss, parameters, batches):
        msg = (
            f"{ONE_AXIS}, got a list of {len(batches)} batches whose sizes differ, {_shapes(batches)}: leave out the "
            f"last or pad it with samples that the loss does not count, then stack them"
        )
        raise ValueError(msg)
    msg = f"{ONE_AXIS}, at least one, and the same number in all arrays, got {_shapes(batches)}; {RESHAPE}"
    raise ValueError(msg)


def _explain(error: Exception, loss: Callable, parameters: PyTree, batches: PyTree, first: PyTree) -> None:
    """Raise an error that says how to reshape the data, if the loss runs on the data as given."""
    if _is_a_list(loss, parameters, batches):
        stack = "jax.tree.map(lambda *x: jnp.stack(x), *batches)"
        msg = f"{ONE_AXIS}, got a list of {len(batches)} batches: stack them, {stack}"
        raise ValueError(msg) from error
    if _runs(loss, parameters, batches):
        msg = (
            f"{ONE_AXIS}, got {_shapes(batches)}, on which the loss runs as one batch, but on {_shapes(first)} it does "
            f"not: {RESHAPE}"
        )
        raise ValueError(msg) from error
    error.add_note(f"The loss was run on the first of the batches, of shapes {_shapes(first)}.")


def _is_a_list(loss: Callable, parameters: PyTree, batches: PyTree) -> bool:
    return type(batches) in (list, tuple) and all(_runs(loss, parameters, batches[i]) for i in (0, -1))


def _runs(loss: Callable, parameters: PyTree, batch: PyTree) -> bool:
    try:
        jax.eval_shape(loss, parameters, batch)
    except Exception:
        return False
    return True


def _check_result(result: Any) -> None:
    number = isinstance(result, jax.ShapeDtypeStruct) and result.shape == ()
    if not number or not jnp.issubdtype(result.dtype, jnp.floating):
        msg = (
            f"the loss must return one real number for a batch, got {jax.tree.map(str, result)}; leave out auxiliary "
            f"outputs: lambda variables, batch: loss(variables, batch)[0]"
        )
        raise ValueError(msg)


def _shapes(tree: PyTree) -> str:
    return ", ".join(str(jnp.shape(leaf)) for leaf in jax.tree.leaves(tree))
