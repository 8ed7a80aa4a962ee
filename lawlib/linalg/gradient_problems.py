"""The gradients of a loss in some leaves of its parameters, posed once for both routes: arrays, program and layers."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from lawlib.frameworks.nnx import functional, holds_modules
from lawlib.linalg.batches import trace_of_a_batch
from lawlib.linalg.kernel_uses import read_as
from lawlib.linalg.leaves import Leaf, Where, array_leaves, pick
from lawlib.linalg.matricization import Matricization
from lawlib.types import Array, PyTree, Scalar

__all__ = ["Layer", "Problem", "posed"]


class Layer(NamedTuple):
    """A leaf among the arrays, how it is read, and the dtype of the products."""

    leaf: Leaf
    matricization: Matricization
    dtype: Any

    def shape(self) -> tuple[int, ...]:
        """The shape (m, n) of its matrix, or (L, m, n) if it is a whole stack of them."""
        stack = self.matricization.stack(self.leaf.value.shape)
        return (*([math.prod(stack)] if stack else []), *self.matricization.shape(self.leaf.value))

    def matrices(self, leaf: Array) -> Array:
        """The matrix (m, n) of an array like the leaf, or all matrices (L, m, n)."""
        read = self.matricization
        return read.matrices(leaf) if read.stack(leaf.shape) else read.matrix(leaf)


class Problem(NamedTuple):
    """loss(arrays, batch), the arrays, the program of one batch, and the layers among the arrays, by name."""

    loss: Callable[[list[Any], Any], Scalar]
    arrays: list[Any]
    program: Any
    layers: dict[str, Layer]

    def leaves(self) -> dict[str, Array]:
        """The arrays of the layers."""
        return {name: jnp.asarray(layer.leaf.value) for name, layer in self.layers.items()}

    def gradients(
        self, leaves: dict[str, Array], batch: Any, factor: Array | float = 1.0
    ) -> tuple[Scalar, dict[str, Array]]:
        """The loss of a batch, and the gradients of factor * loss in the leaves, in the dtypes of the products."""

        def of_leaves(leaves: dict[str, Array]) -> Scalar:
            arrays = list(self.arrays)
            for name, leaf in leaves.items():
                arrays[self.layers[name].leaf.place] = leaf
            return self.loss(arrays, batch)

        loss, pull = jax.vjp(of_leaves, leaves)
        (found,) = pull(jnp.asarray(factor, loss.dtype))
        return loss, {name: G.astype(self.layers[name].dtype) for name, G in found.items()}


def posed(
    loss: Callable[[PyTree, Any], Scalar],
    params: PyTree,
    layers: Sequence[tuple[Where, Matricization | None]],
    batches: PyTree,
    dtype: DTypeLike | None,
    *,
    stacks: bool = False,
) -> Problem:
    """The problem of ``gradients.gradient_products``, for one leaf or several; one batch is traced.

    With ``stacks`` a matricization without an index may stand for all matrices of a stack.

    Raises:
        ValueError: as ``gradients.gradient_products``, before anything is computed; or a leaf that is named twice.
    """
    is_modules = holds_modules(params)
    plain, state, _ = functional(loss, params) if is_modules else (loss, params, "")
    leaves = [pick(state, functional(loss, params, where)[2] if is_modules else where) for where, _ in layers]
    arrays, _, tree = array_leaves(state)

    def of_arrays(arrays: list[Any], batch: Any) -> Any:
        return plain(tree(arrays), batch)

    program = trace_of_a_batch(of_arrays, arrays, batches)
    found: dict[str, Layer] = {}
    for leaf, (_, matricization) in zip(leaves, layers, strict=True):
        if leaf.name in found:
            msg = f"each leaf has one gradient, and two of those that are named are {leaf.name!r}"
            raise ValueError(msg)
        wide = leaf.value.dtype if jnp.finfo(leaf.value.dtype).bits >= 32 else jnp.dtype(jnp.float32)
        read = read_as(leaf, matricization, program, stacks=stacks)
        found[leaf.name] = Layer(leaf, read, wide if dtype is None else jnp.dtype(dtype))
    return Problem(of_arrays, arrays, program, found)
