"""A loss with low-rank shifts of leaves of its parameters, as thin products: no array of a leaf's size is formed.

The program of the loss is run equation by equation. A product with a leaf, K, gets the product with the shift
A V^T added: that with A, then that with V^T. The results are those of the program with K + A V^T, for a shift of any
size, unless a product takes two shifted arrays: the product of the two shifts is left out. The derivatives in A and in
V at a shift of zero do not need it. Any other use of a leaf is refused.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.extend
import jax.numpy as jnp
from jax import lax

from lawlib.linalg.kernel_uses import inner_jaxprs, ndim
from lawlib.linalg.matricization import Matricization
from lawlib.linalg.shifts import Shift
from lawlib.types import Array, PyTree, Scalar

__all__ = ["Uses", "shifted_loss", "shifted_results"]

# Equations that run one program on their inputs, and the names of its parameter, in all releases of JAX.
CALLS = ("closed_call", "core_call", "jit", "pjit")
CHECKPOINTS = ("checkpoint", "remat", "remat2")
PROGRAM = ("call_jaxpr", "jaxpr")


class Uses(NamedTuple):
    """The operations that use a shifted leaf, by name: a list to which each run or trace of the program adds.

    ``products`` are those that its shift passes through, ``pairs`` those of them that take two shifted arrays, and
    ``others`` those that it cannot pass through.
    """

    products: list[str]
    others: list[str]
    pairs: list[str]

    def fault(self) -> str:
        """Why the derivatives at a shift of zero are not those in the leaf; empty if they are."""
        if self.others:
            return f"the loss uses it in other operations: {', '.join(sorted(set(self.others)))}"
        return "" if self.products else "the loss does not use it"


class _Part(NamedTuple):
    """The shift of a variable that is the leaf, transposed, cast, or one slice of it.

    ``axes`` are the leaf's axes in the order of the variable's; the shift is the sum over the last axis of ``left``
    and ``right``, whose other axes are those of the leaf in ``left_axes`` and ``right_axes``. ``uses`` are the leaf's.
    """

    axes: tuple[int, ...]
    left: Array
    left_axes: tuple[int, ...]
    right: Array
    right_axes: tuple[int, ...]
    uses: Uses


Parts = dict[int, _Part]
Results = tuple[list[Any], Parts]


def shifted_loss(
    closed: Any, arrays: Sequence[Any], layers: Mapping[str, tuple[int, Matricization, Uses]]
) -> Callable[[Mapping[str, Shift], PyTree], Scalar]:
    """A loss(shifts, batch), from the program ``closed`` of loss(arrays, batch), with some of the arrays shifted.

    ``layers`` has the place of each, how it is read, and its uses, by name; shifts of others of them are left out. The
    value at shifts of zero and the first derivatives there are right where all ``uses.others`` stay empty.
    """

    def loss(shifts: Mapping[str, Shift], batch: PyTree) -> Scalar:
        placed = {layers[name][0]: (shift, *layers[name][1:]) for name, shift in shifts.items()}
        return shifted_results(closed, [*arrays, *jax.tree.leaves(batch)], placed)[0]

    return loss


def shifted_results(
    closed: Any, inputs: Sequence[Any], shifts: Mapping[int, tuple[Shift, Matricization, Uses]]
) -> list[Any]:
    """The results of a program on inputs of which some are shifted: by place, the shift and how the input is read.

    They are right where all ``uses.others`` and ``uses.pairs`` stay empty, for shifts of any size. Of a stack that is
    read without a ``batch_index`` all matrices are shifted: both factors have a first axis that numbers them.
    """
    parts = {place: _part(*shifted, jnp.shape(inputs[place])) for place, shifted in shifts.items()}
    results, kept = _run(closed, inputs, parts)
    _log(kept, "a result")
    return results


def _log(parts: Parts, other: str) -> None:
    for part in parts.values():
        part.uses.others.append(other)


def _part(shift: Shift, matricization: Matricization, uses: Uses, shape: tuple[int, ...]) -> _Part:
    axes = matricization.axes(len(shape))
    sizes = lambda side: [shape[axis] for axis in side]  # noqa: E731
    stack = axes.batch if matricization.stack(shape) else ()
    left = shift.left.reshape(*sizes((*stack, *axes.reduction)), -1)
    right = shift.right.reshape(*sizes((*stack, *axes.output)), -1)
    if axes.batch and not stack:
        index = matricization.indices(shape)
        left = jnp.zeros((*sizes(axes.batch), *left.shape), left.dtype).at[index].set(left)
    return _Part(tuple(range(len(shape))), left, axes.batch + axes.reduction, right, stack + axes.output, uses)


def _run(program: Any, inputs: Sequence[Any], parts: Parts) -> Results:
    """The results of a program, and the parts of those that are the leaf."""
    jaxpr = getattr(program, "jaxpr", program)
    values: dict[Any, Any] = dict(zip(jaxpr.constvars, getattr(program, "consts", ()), strict=True))
    values |= zip(jaxpr.invars, inputs, strict=True)
    held = {jaxpr.invars[place]: part for place, part in parts.items()}

    def read(variable: Any) -> Any:
        return variable.val if isinstance(variable, jax.extend.core.Literal) else values[variable]

    for equation in jaxpr.eqns:
        given = [read(variable) for variable in equation.invars]
        is_variable = [not isinstance(variable, jax.extend.core.Literal) for variable in equation.invars]
        own = {i: held[v] for i, v in enumerate(equation.invars) if is_variable[i] and v in held}
        results, kept = _shifted(equation, given, own) if own else (_plain(equation, given), {})
        values |= zip(equation.outvars, results, strict=True)
        held |= {equation.outvars[place]: part for place, part in kept.items()}
    kept = {i: held[v] for i, v in enumerate(jaxpr.outvars) if not isinstance(v, jax.extend.core.Literal) and v in held}
    return [read(variable) for variable in jaxpr.outvars], kept


def _plain(equation: jax.extend.core.JaxprEqn, given: Sequence[Any]) -> list[Any]:
    primitive = equation.primitive
    results = primitive.bind(*given, **primitive.get_bind_params(equation.params))
    return list(results) if primitive.multiple_results else [results]


def _shifted(equation: jax.extend.core.JaxprEqn, given: list[Any], own: Parts) -> Results:
    """The results of an equation that takes the leaf."""
    name, params = equation.primitive.name, equation.params
    if name in CALLS:
        return _run(next(params[at] for at in PROGRAM if at in params), given, own)
    if name in CHECKPOINTS:
        return _checkpointed(equation, given, own)
    if name == "scan":
        return _scanned(equation, given, own)
    results, (place, part) = _plain(equation, given), next(iter(own.items()))
    if name == "transpose":
        return results, {0: part._replace(axes=tuple(part.axes[i] for i in params["permutation"]))}
    if name in ("convert_element_type", "copy") and jnp.issubdtype(results[0].dtype, jnp.floating):
        return results, {0: part}
    for place, part in own.items():
        term = _term(equation, given, place, part)
        (part.uses.others if term is None else part.uses.products).append(name)
        part.uses.pairs.extend([name] if len(own) > 1 else [])
        if term is not None:
            results = [results[0] + term.astype(results[0].dtype)]
    return results, {}


def _checkpointed(equation: jax.extend.core.JaxprEqn, given: list[Any], own: Parts) -> Results:
    params, kept = equation.params, {}

    def run(*inputs: Any) -> list[Any]:
        results, found = _run(params["jaxpr"], inputs, own)
        kept.update(found)
        return results

    return jax.checkpoint(run, policy=params["policy"], prevent_cse=params["prevent_cse"])(*given), kept


def _scanned(equation: jax.extend.core.JaxprEqn, given: list[Any], own: Parts) -> Results:
    """A scan that closes over the leaf, or runs over a stack of layers."""
    (body,) = inner_jaxprs(equation)
    # What a scan runs over, and what it stacks, has one axis more than inside; the names of its parameters vary.
    num_xs = sum(ndim(outer) != ndim(inner) for outer, inner in zip(equation.invars, body.invars, strict=True))
    num_carry = sum(ndim(outer) == ndim(inner) for outer, inner in zip(equation.outvars, body.outvars, strict=True))
    first_x = len(given) - num_xs
    first_carry = first_x - num_carry
    stacks = {i: part for i, part in own.items() if i >= first_x}
    inside = {i: part for i, part in own.items() if i < first_carry}
    _log({i: part for i, part in own.items() if first_carry <= i < first_x}, "the state of a scan")

    def step(carry: Any, sliced: Any) -> tuple[Any, Any]:
        xs, factors = sliced
        layers = {i: _layer(part, factors[i]) for i, part in stacks.items()}
        results, kept = _run(equation.params["jaxpr"], [*given[:first_carry], *carry, *xs], inside | layers)
        _log(kept, "the results of a scan")
        return results[:num_carry], results[num_carry:]

    fronts = {i: _fronts(part) for i, part in stacks.items()}
    options = {name: equation.params[name] for name in ("length", "reverse", "unroll")}
    carry, stacked = lax.scan(step, given[first_carry:first_x], (given[first_x:], fronts), **options)
    return [*carry, *stacked], {}


def _fronts(part: _Part) -> tuple[Array | None, Array | None]:
    """The factors that have the first axis of the variable, with this axis in front; None for one that has not."""

    def front(factor: Array, axes: tuple[int, ...]) -> Array | None:
        return jnp.moveaxis(factor, axes.index(part.axes[0]), 0) if part.axes[0] in axes else None

    return front(part.left, part.left_axes), front(part.right, part.right_axes)


def _layer(part: _Part, slices: tuple[Array | None, Array | None]) -> _Part:
    """One slice of a variable along its first axis, with slices of the factors that have this axis."""
    stack, *axes = part.axes
    left, right = slices
    return part._replace(
        axes=tuple(axes),
        left=part.left if left is None else left,
        left_axes=tuple(axis for axis in part.left_axes if axis != stack),
        right=part.right if right is None else right,
        right_axes=tuple(axis for axis in part.right_axes if axis != stack),
    )


# Products with the shift. ---------------------------------------------------------------------------------------------


def _term(equation: jax.extend.core.JaxprEqn, given: list[Any], place: int, part: _Part) -> Array | None:
    """What the shift adds to a product with the leaf, at least in the shift's dtype; None for other operations."""
    if equation.primitive.name == "dot_general":
        return _dot_general(equation.params["dimension_numbers"], place, *_promoted(given[1 - place], part))
    if equation.primitive.name != "conv_general_dilated" or place != 1 or equation.params["batch_group_count"] != 1:
        return None
    out, inputs, *spatial = (part.axes[i] for i in equation.params["dimension_numbers"].rhs_spec)
    if part.right_axes != (out,) or {*part.left_axes} != {inputs, *spatial}:
        return None
    return _convolution(equation.params, *_promoted(given[0], part))


def _promoted(x: Any, part: _Part) -> tuple[Array, _Part]:
    """All in the dtype of the shift, or of the inputs where that is more precise; integers are converted."""
    with jax.numpy_dtype_promotion("standard"):
        dtype = jnp.promote_types(x.dtype, part.left.dtype)
    return x.astype(dtype), part._replace(left=part.left.astype(dtype), right=part.right.astype(dtype))


def _dot_general(numbers: Any, place: int, x: Array, part: _Part) -> Array:
    """A dot_general of x with the shift: a product with the factor that shares the most with x, then the other."""
    contracted, batch = numbers
    rank = max(*part.axes, *part.left_axes, *part.right_axes) + 1
    names = list(range(rank + 1, rank + 1 + x.ndim))
    for pairs in (contracted, batch):
        for i, j in zip(pairs[place], pairs[1 - place], strict=True):
            names[j] = part.axes[i]
    sides = [names, names]
    sides[place] = list(part.axes)
    free = [
        [name for i, name in enumerate(side) if i not in (*contracted[at], *batch[at])] for at, side in enumerate(sides)
    ]
    outputs = [part.axes[i] for i in batch[place]] + free[0] + free[1]
    factors = [(part.left, [*part.left_axes, rank]), (part.right, [*part.right_axes, rank])]
    summed = {part.axes[i] for i in contracted[place]}
    (first, first_axes), (second, second_axes) = factors if summed & {*part.left_axes} else factors[::-1]
    between = [i for i in dict.fromkeys((*names, *first_axes)) if i in (*outputs, *second_axes)]
    thin = jnp.einsum(x, names, first, first_axes, between, precision="highest")
    return jnp.einsum(thin, between, second, second_axes, outputs, precision="highest")


def _convolution(params: dict[str, Any], x: Array, part: _Part) -> Array:
    """A convolution with b outputs for each group of channels, and the product of these with the right factor."""
    groups, numbers = params["feature_group_count"], params["dimension_numbers"]
    out = numbers.rhs_spec[0]
    named = [*part.left_axes, None]
    wanted = [None if i == out else axis for i, axis in enumerate(part.axes)]
    kernel = jnp.transpose(part.left, [named.index(axis) for axis in wanted])
    kernel = jnp.concatenate([kernel] * groups, axis=out)
    thin = lax.conv_general_dilated(
        x,
        kernel,
        params["window_strides"],
        params["padding"],
        lhs_dilation=params["lhs_dilation"],
        rhs_dilation=params["rhs_dilation"],
        dimension_numbers=numbers,
        feature_group_count=groups,
        precision="highest",
    )
    at = numbers.out_spec[1]
    thin = jnp.moveaxis(thin, at, -1)
    thin = thin.reshape(*thin.shape[:-1], groups, -1)
    right = part.right.reshape(groups, -1, part.right.shape[-1])
    whole = jnp.einsum("...gb,gob->...go", thin, right, precision="highest")
    return jnp.moveaxis(whole.reshape(*whole.shape[:-2], math.prod(whole.shape[-2:])), -1, at)
