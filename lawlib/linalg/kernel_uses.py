"""How a loss uses an array, found in its jaxpr: which products it enters, and by which of its axes."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.extend
import jax.numpy as jnp

from lawlib.linalg.leaves import Leaf
from lawlib.linalg.matricization import Matricization

__all__ = ["as_used", "axes_of_factors", "equation_names", "float_dtypes", "inner_jaxprs", "ndim", "read_as", "uses"]

# Operations that change only the dtype, the orientation and the scale of a matrix.
SAME = ("convert_element_type", "div", "mul", "transpose")
PRODUCTS = ("conv_general_dilated", "dot_general")


class Use(NamedTuple):
    """An equation that takes an array, at the position ``place``, and the axis of the array for each axis there.

    An equation of None means that the array itself is the result at this position.
    """

    equation: jax.extend.core.JaxprEqn | None
    place: int
    axes: tuple[int, ...]


Rule = Callable[[jax.extend.core.JaxprEqn], bool]


def uses(jaxpr: jax.extend.core.Jaxpr, index: int, through: Rule, closed: Rule = lambda equation: False) -> list[Use]:
    """The equations that take the ``index``-th input of a jaxpr, inner jaxprs included.

    Equations for which ``through`` holds are passed: an equation that takes their result takes the input, with the same
    axes. Equations that are ``closed`` are not entered.
    """
    variable = jaxpr.invars[index]
    return list(_uses(jaxpr, variable, tuple(range(ndim(variable))), through, closed))


def _uses(
    jaxpr: jax.extend.core.Jaxpr, variable: object, axes: tuple[int, ...], through: Rule, closed: Rule
) -> Iterator[Use]:
    for equation in jaxpr.eqns:
        for place, taken in enumerate(equation.invars):
            if taken is not variable:
                continue
            # The first input of a cond chooses the branch, the inputs of a while belong to two programs, and a custom
            # function may have its own derivative.
            inner = [] if closed(equation) else inner_jaxprs(equation)
            skipped = [len(equation.invars) - len(body.invars) for body in inner]
            opaque = equation.primitive.name == "while" or equation.primitive.name.startswith("custom")
            if inner and not opaque and place >= max(skipped) and min(skipped) >= 0:
                for body, first in zip(inner, skipped, strict=True):
                    within = body.invars[place - first]
                    # A scan takes slices of what it runs over.
                    for use in _uses(body, within, axes[len(axes) - ndim(within) :], through, closed):
                        if use.equation is not None:
                            yield use
                        elif ndim(equation.outvars[use.place]) == len(use.axes):
                            yield from _uses(jaxpr, equation.outvars[use.place], use.axes, through, closed)
            elif through(equation):
                turned = equation.params["permutation"] if equation.primitive.name == "transpose" else range(len(axes))
                yield from _uses(jaxpr, equation.outvars[0], tuple(axes[i] for i in turned), through, closed)
            else:
                yield Use(equation, place, axes)
    yield from (Use(None, place, axes) for place, given in enumerate(jaxpr.outvars) if given is variable)


def inner_jaxprs(equation: jax.extend.core.JaxprEqn) -> list[jax.extend.core.Jaxpr]:
    """The programs that an equation runs."""
    return list(jax.extend.core.jaxprs_in_params(equation.params))


def as_used(jaxpr: jax.extend.core.Jaxpr, index: int) -> Matricization | None:
    """How a program multiplies by its ``index``-th input: the axes that it sums over, and those of the results.

    Of a convolution these are (spatial axes, inputs) and outputs. None where no product takes the array, or where two
    take it by other axes, as a matrix and as its transpose.
    """
    found = {_axes_in_a_product(use) for use in uses(jaxpr, index, _is_elementwise)} - {None}
    return found.pop() if len(found) == 1 else None


def _is_elementwise(equation: jax.extend.core.JaxprEqn) -> bool:
    """Whether its result has the axes of any input that has as many."""
    if equation.primitive.name in PRODUCTS or len(equation.outvars) != 1:
        return False
    shape = _shape(equation.outvars[0])
    return equation.primitive.name == "transpose" or all(_shape(given) in (shape, ()) for given in equation.invars)


def _axes_in_a_product(use: Use) -> Matricization | None:
    if use.equation is None:
        return None
    name, params = use.equation.primitive.name, use.equation.params
    if name == "dot_general":
        contracted, batch = (sides[use.place] for sides in params["dimension_numbers"])
        reduction = tuple(sorted(use.axes[i] for i in contracted))
        output = tuple(sorted(axis for i, axis in enumerate(use.axes) if i not in (*contracted, *batch)))
    elif name == "conv_general_dilated" and use.place == 1:
        out, inputs, *spatial = params["dimension_numbers"].rhs_spec
        reduction, output = tuple(use.axes[i] for i in (*spatial, inputs)), (use.axes[out],)
    else:
        return None
    return Matricization(_short(reduction), _short(output)) if reduction and output else None


def _short(axes: tuple[int, ...]) -> tuple[int, ...] | int:
    return axes[0] if len(axes) == 1 else axes


def read_as(
    leaf: Leaf,
    matricization: Matricization | None,
    program: Any,
    mend: str = "pass matricization=Matricization(...)",
    *,
    stacks: bool = False,
) -> Matricization:
    """The matricization, checked against the leaf, an input of the program; by default that of a matrix.

    With ``stacks`` one without an index may also stand for all matrices of a stack.

    Raises:
        ValueError: none is given for a leaf that is no matrix, or it does not fit.
    """
    shape = leaf.value.shape
    if matricization is None and len(shape) == 2:
        return Matricization()
    if matricization is None:
        used = as_used(program.jaxpr, leaf.place)
        advice = f"which axes are rows and columns; the loss uses it as {used}" if used else "how to read it"
        if used and used.axes(len(shape)).batch:
            advice += ", a stack that also needs a batch_index"
        msg = f"the leaf {leaf.name!r} of shape {shape} is no matrix: {mend}, {advice}"
        raise ValueError(msg)
    try:
        if not (stacks and matricization.stack(shape)):
            matricization.indices(shape)
    except ValueError as error:
        msg = f"the leaf {leaf.name!r} of shape {shape} does not fit its matricization: {error}"
        raise ValueError(msg) from error
    return matricization


def axes_of_factors(jaxpr: jax.extend.core.Jaxpr, indices: list[int]) -> list[int]:
    """The number of axes of each array that is multiplied with one of these inputs: 1 for a vector.

    Products inside ``lax.map``, or a scan that carries sums, are left out: these may run over the samples of a batch.
    """
    found = [use for index in indices for use in uses(jaxpr, index, _is_same, _carries_numbers)]
    taken = [(use.equation, use.place) for use in found if use.equation is not None]
    return [ndim(each.invars[1 - place]) for each, place in taken if each.primitive.name == "dot_general"]


def _is_same(equation: jax.extend.core.JaxprEqn) -> bool:
    return equation.primitive.name in SAME


def _carries_numbers(equation: jax.extend.core.JaxprEqn) -> bool:
    """Whether it is a scan that carries only single numbers; that of a recurrent network carries its state."""
    if equation.primitive.name != "scan":
        return False
    # Its parameters have other names in each JAX. What it carries has the axes that it has in the body, what it stacks
    # has one more.
    (body,) = inner_jaxprs(equation)
    outputs = zip(map(ndim, equation.outvars), map(ndim, body.outvars), strict=True)
    return all(axes == 0 for axes, inside in outputs if axes == inside)


def float_dtypes(jaxpr: jax.extend.core.Jaxpr) -> set[Any]:
    """The real dtypes in which a program computes, inner programs included."""
    avals: list[Any] = [variable.aval for equation in jaxpr.eqns for variable in equation.outvars]
    inner = [float_dtypes(body) for equation in jaxpr.eqns for body in inner_jaxprs(equation)]
    return {each.dtype for each in avals if jnp.issubdtype(each.dtype, jnp.floating)}.union(*inner)


def equation_names(jaxpr: jax.extend.core.Jaxpr) -> set[str]:
    """The names of the operations of a program, inner programs included."""
    inner = [equation_names(body) for equation in jaxpr.eqns for body in inner_jaxprs(equation)]
    return {equation.primitive.name for equation in jaxpr.eqns}.union(*inner)


def ndim(variable: Any) -> int:
    """The number of axes of a variable of a jaxpr."""
    return len(_shape(variable))


def _shape(variable: Any) -> tuple[int, ...]:
    return variable.aval.shape
