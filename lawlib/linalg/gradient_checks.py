"""What is wrong with the values of a loss and its gradients, by leaf; traced values are unknown and pass."""

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike

from lawlib.checks import is_concrete, refuse
from lawlib.linalg.gradient_problems import Layer, Problem
from lawlib.linalg.kernel_uses import float_dtypes
from lawlib.linalg.spectra import JointProducts
from lawlib.types import Array, Matrix, PyTree, matmul

__all__ = ["MEND", "check_entries", "check_losses", "check_products", "warn_if_lost"]

MEND = "use route='parameter' of gradient_products"
# The two routes may differ by the rounding errors of products in half precision. A wrong gradient differs by more.
AGREEMENT = 2.0**-6
MARGIN = 10.0


def check_losses(names: Iterable[str], losses: Array) -> None:
    """Check that the loss of each batch, with gradients in the leaves of these names, is finite.

    Raises:
        ValueError: it is not.
    """
    wrong = np.flatnonzero(~np.isfinite(np.asarray(losses, np.float64))) if is_concrete(losses) else np.zeros(0)
    if wrong.size:
        first, *more = map(repr, names)
        msg = (
            f"the loss of batch {wrong[0]} is {losses[wrong[0]]} and has no gradient in the leaf {first}"
            f"{' or any other' if more else ''}: check the data, the parameters and the dtypes"
        )
        raise ValueError(msg)


def check_entries(problem: Problem, num_wrong: Mapping[str, Array]) -> None:
    """Check that no entries of the gradients are not finite, from their number in each leaf.

    Raises:
        ValueError: some are not.
    """
    if not is_concrete(dict(num_wrong)):
        return
    refuse(
        *(
            f"{num_wrong[name]} of {problem.layers[name].leaf.value.size} entries of the gradient in the leaf {name!r} "
            f"are not finite, though the loss is: scale the loss, use wider dtypes, or check for square roots and "
            f"logarithms at 0"
            for name in problem.layers
            if num_wrong[name]
        )
    )


def warn_if_lost(problem: Problem, layer: Layer, G: Matrix) -> None:
    """Warn the caller's caller of a gradient that underflows; a traced one is unknown, and is not certified."""
    if not is_concrete(G):
        return
    dtypes = float_dtypes(problem.program.jaxpr) | {layer.leaf.value.dtype, G.dtype}
    largest, coarsest = float(jnp.max(jnp.abs(G))), max(dtypes, key=lambda dtype: float(jnp.finfo(dtype).tiny))
    tiny = float(jnp.finfo(coarsest).tiny)
    if largest < tiny:
        msg = (
            f"the largest entry of the gradient in the leaf {layer.leaf.name!r} is {largest:g}, where {coarsest} "
            f"resolves {tiny:.1g}: scale the loss, use wider dtypes, or check whether the loss depends on this leaf"
        )
        warnings.warn(msg, stacklevel=3)


def check_products(problem: Problem, build: Callable[[PyTree], JointProducts], batches: PyTree) -> None:
    """Compare one product of each gradient, from ``build(batches)``, with the gradient itself, on the first batch.

    Raises:
        ValueError: the two routes differ; or a loss or a gradient that is not finite.
    """
    if not is_concrete((problem.arrays, batches)):
        return
    first, leaves = jax.tree.map(lambda x: x[:1], batches), problem.leaves()
    joint = build(first)
    directions = {name: _direction(shape, joint.dtypes[name]) for name, shape in joint.shapes.items()}
    ours = joint.apply(directions, {})
    wanted, num_wrong, losses = _dense_products(problem, leaves, directions, first)
    check_losses(leaves, losses)
    check_entries(problem, num_wrong)
    if not is_concrete((ours, wanted)):  # Under jit, of arrays that the compiled function closes over.
        return
    off = {name: float(jnp.linalg.norm(ours[name] - wanted[name])) for name in leaves}
    size = {name: float(jnp.linalg.norm(wanted[name])) for name in leaves}
    if all(off[name] <= AGREEMENT * size[name] for name in leaves):
        return
    # At a minimum G consists of rounding errors, and may be off by the effect of rounding the leaf.
    rounded = {name: _rounded(leaf, joint.dtypes[name]) for name, leaf in leaves.items()}
    moved, _, _ = _dense_products(problem, rounded, directions, first)
    change = {name: float(jnp.linalg.norm(moved[name] - wanted[name])) for name in leaves}
    refuse(
        *(
            f"the two routes to the gradient in the leaf {name!r} disagree on the first batch, by {off[name]:g} of "
            f"{size[name]:g} in one product: values are lost in their dtype, or the loss is not differentiable here; "
            f"{MEND}"
            for name in leaves
            if not off[name] <= AGREEMENT * size[name] + MARGIN * change[name]
        )
    )


def _dense_products(
    problem: Problem, leaves: dict[str, Array], directions: Mapping[str, Array], batch: PyTree
) -> tuple[dict[str, Array], dict[str, Array], Array]:
    """G v for each leaf from the gradients themselves, how many of their entries are not finite, and the losses."""

    def of_batch(batch: Any) -> tuple[dict[str, Array], dict[str, Array], Array]:
        loss, found = problem.gradients(leaves, batch)
        formed = {name: matmul(problem.layers[name].matrices(G), directions[name]) for name, G in found.items()}
        return formed, {name: jnp.sum(~jnp.isfinite(G)) for name, G in found.items()}, loss

    formed, num_wrong, losses = lax.map(of_batch, batch)
    return *jax.tree.map(lambda x: x[0], (formed, num_wrong)), losses


def _direction(shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """The block sin(1^2), ..., sin(n^2) of one column, for each matrix of a stack."""
    *stack, _, n = shape
    return jnp.broadcast_to(jnp.sin(jnp.arange(1, n + 1, dtype=dtype) ** 2)[:, None], (*stack, n, 1))


def _rounded(leaf: Array, dtype: DTypeLike) -> Array:
    """The leaf with an error of rounding in each entry."""
    signs = jnp.sign(jnp.sin(jnp.arange(1, leaf.size + 1, dtype=dtype))).reshape(leaf.shape)
    return leaf + (leaf * jnp.finfo(dtype).eps * signs).astype(leaf.dtype)
