"""What is wrong with the values of a loss and its gradients, by leaf; traced values are unknown and pass."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
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

__all__ = ["MEND", "check_entries", "check_losses", "check_products", "matrix_names", "warn_if_lost"]

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


def matrix_names(name: str, of_each: Any) -> list[str]:
    """The name of a leaf that is one matrix, or "name[0]", "name[1]", ... for a stack, from a number for each."""
    return [f"{name}[{i}]" for i in range(len(of_each))] if np.ndim(of_each) else [name]


def check_entries(problem: Problem, num_wrong: Mapping[str, Array]) -> None:
    """Check that no entries of the gradients are not finite, from their number in each leaf, or matrix of a stack.

    Raises:
        ValueError: some are not.
    """
    if not is_concrete(dict(num_wrong)):
        return
    refuse(
        *(
            f"{wrong} of {layer.leaf.value.size // np.size(num_wrong[name])} entries of the gradient in the leaf "
            f"{at!r} are not finite, though the loss is: scale the loss, use wider dtypes, or check for square roots "
            f"and logarithms at 0"
            for name, layer in problem.layers.items()
            for at, wrong in zip(matrix_names(name, num_wrong[name]), np.atleast_1d(num_wrong[name]), strict=True)
            if wrong
        )
    )


def warn_if_lost(problem: Problem, layer: Layer, G: Matrix, batches: PyTree) -> None:
    """Warn the caller's caller of a gradient that underflows; a traced one is unknown, and is not certified."""
    if not is_concrete(G):
        return
    name, at, largest = layer.leaf.name, _coarsest(problem, layer), float(jnp.max(jnp.abs(G)))
    if is_concrete((problem.arrays, batches)):
        first, leaves = jax.tree.map(lambda x: x[:1], batches), problem.leaves()
        directions = {name: _direction(layer.shape(), layer.dtype)}
        products, _, _ = _dense_products(problem, leaves, directions, first)
        if fault := _underflow(problem, leaves, directions, first, products):
            warnings.warn(fault, stacklevel=3)
            return
        # Numbers that keep their digits at another scale were not computed in a dtype that is too narrow for them.
        at = layer.dtype if jnp.any(products[name]) else at
    tiny = float(jnp.finfo(at).tiny)
    if largest < tiny:
        msg = (
            f"the largest entry of the gradient in the leaf {name!r} is {largest:g}, where {at} resolves {tiny:.1g}: "
            f"scale the loss, use wider dtypes, or check whether the loss depends on this leaf"
        )
        warnings.warn(msg, stacklevel=3)


def check_products(problem: Problem, build: Callable[[PyTree], JointProducts], batches: PyTree) -> None:
    """Compare one product of each gradient, from ``build(batches)``, with the gradient itself, on the first batch.

    Raises:
        ValueError: the two routes differ; or a loss or a gradient that is not finite.

    Warns:
        UserWarning: a product that underflow in a narrow dtype changes by more than its rounding, or that overflows at
            each scale of the loss, so that it is not checked.
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
    if fault := _underflow(problem, leaves, directions, first, wanted):
        warnings.warn(fault, stacklevel=4)
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


def _underflow(
    problem: Problem,
    leaves: dict[str, Array],
    directions: Mapping[str, Array],
    first: PyTree,
    products: Mapping[str, Array],
) -> str:
    """Which products change with the scale of the loss, by more than rounding to the coarsest dtype does; or nothing.

    Without under- and overflow a power of two as the factor of a loss is one of its gradient, to the last bit. A
    product of numbers that are all subnormal, or are lost, has other digits.
    """
    narrow = {name: _coarsest(problem, layer) for name, layer in problem.layers.items()}
    narrow = {
        name: at for name, at in narrow.items() if jnp.finfo(at).tiny > jnp.finfo(problem.layers[name].dtype).tiny
    }
    if not narrow:
        return ""
    faults: dict[str, list[str]] = {}
    for factor in _factors(narrow.values()):
        scaled, _, _ = _dense_products(problem, leaves, directions, first, factor)
        for name in narrow.keys() - faults:
            other = scaled[name] / factor
            if jnp.all(jnp.isfinite(other - products[name])):
                faults[name] = _off(name, products[name], other, factor, narrow[name])
        if len(faults) == len(narrow):
            break
    unknown = (
        "the gradient in the layer {!r} overflows at each scale of the loss, and is not checked for underflow in {}"
    )
    each = [faults.get(name, [unknown.format(name, at)]) for name, at in narrow.items()]
    words = "; ".join(fault for of_leaf in each for fault in of_leaf)
    return f"{words}: multiply the loss by a power of two, or compute in float32" if words else ""


def _factors(dtypes: Iterable[Any]) -> Iterator[float]:
    """Powers of two, until one leaves all products finite; 1/2 is for numbers that overflow at twice their size."""
    # The first lifts the smallest subnormal number to the smallest normal one.
    exponent = -int(np.log2(min(float(jnp.finfo(at).eps) for at in dtypes)))
    while exponent:
        yield 2.0**exponent
        exponent //= 2
    yield 0.5


def _off(name: str, ours: Array, other: Array, factor: float, dtype: DTypeLike) -> list[str]:
    """In words, the matrices of a leaf whose products change by more than rounding to the dtype."""
    sizes, off = (np.linalg.norm(np.asarray(x, np.float64), axis=(-2, -1)) for x in (ours, other - ours))
    largest, info = np.max(np.abs(np.asarray(ours)), axis=(-2, -1)), jnp.finfo(dtype)
    each = zip(matrix_names(name, sizes), *map(np.atleast_1d, (sizes, off, largest)), strict=True)
    return [
        f"the gradient in the layer {at!r} underflows in {dtype}: its largest product with a test vector is "
        f"{most:.2g}, where {dtype} resolves {float(info.tiny):.1g}, and {factor:g} times the loss changes the product "
        f"by {gone:.2g} in the norm"
        for at, size, gone, most in each
        if gone > float(info.eps) * size
    ]


def _coarsest(problem: Problem, layer: Layer) -> Any:
    """Of the dtypes that a gradient is computed in, that with the largest smallest number."""
    dtypes = float_dtypes(problem.program.jaxpr) | {layer.leaf.value.dtype, layer.dtype}
    return max(map(jnp.dtype, dtypes), key=lambda dtype: float(jnp.finfo(dtype).tiny))


def _dense_products(
    problem: Problem,
    leaves: dict[str, Array],
    directions: Mapping[str, Array],
    batch: PyTree,
    factor: Array | float = 1.0,
) -> tuple[dict[str, Array], dict[str, Array], Array]:
    """G v for each leaf from the gradients of factor * loss themselves, and the losses.

    Between them, how many entries of each gradient are not finite, or of each matrix of a stack.
    """
    factor = jnp.asarray(factor)  # An argument of the compiled loop, so that the same program runs for each factor.

    def of_batch(batch: Any) -> tuple[dict[str, Array], dict[str, Array], Array]:
        loss, found = problem.gradients(leaves, batch, factor)
        read = {name: problem.layers[name].matrices(G) for name, G in found.items()}
        formed = {name: matmul(M, directions[name]) for name, M in read.items()}
        axes = {name: (1, 2) if M.ndim > 2 else None for name, M in read.items()}
        wrong = {name: jnp.sum(~jnp.isfinite(read[name] if axes[name] else G), axes[name]) for name, G in found.items()}
        return formed, wrong, loss

    formed, num_wrong, losses = lax.map(of_batch, batch)
    return *jax.tree.map(lambda x: x[0], (formed, num_wrong)), losses


def _direction(shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """The block sin(1^2), ..., sin(n^2) of one column, for each matrix of a stack."""
    *stack, _, n = shape
    return jnp.broadcast_to(jnp.sin(jnp.arange(1, n + 1, dtype=dtype) ** 2)[:, None], (*stack, n, 1))


def _rounded(leaf: Array, dtype: DTypeLike) -> Array:
    """The leaf with an error of rounding in each entry."""
    signs = jnp.sign(jnp.sin(jnp.arange(1, leaf.size + 1, dtype=dtype))).reshape(leaf.shape)
    return leaf + (leaf.astype(dtype) * jnp.finfo(dtype).eps * signs).astype(leaf.dtype)
