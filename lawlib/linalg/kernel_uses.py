"""How a loss uses an array, found in its jaxpr: which products it enters, and which other operations."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp

from lawlib.types import PyTree

__all__ = ["axes_of_factors", "float_dtypes", "leaf_index", "ndim", "uses"]

# Operations that change only the dtype, the orientation and the scale of a matrix.
SAME = ("convert_element_type", "div", "mul", "transpose")

Use = tuple[jax.extend.core.JaxprEqn | None, int]


def uses(
    jaxpr: jax.extend.core.Jaxpr,
    index: int,
    through: tuple[str, ...] = (),
    closed: Callable[[jax.extend.core.JaxprEqn], bool] = lambda equation: False,
) -> list[Use]:
    """The equations that take the ``index``-th input of a jaxpr, and its position there, inner jaxprs included.

    Equations named in ``through`` are passed: an equation that takes their result takes the input. Equations that are
    ``closed`` are not entered. An equation of None means that the input itself is a result of the program.
    """
    return list(_uses(jaxpr, jaxpr.invars[index], through, closed))


def _uses(
    jaxpr: jax.extend.core.Jaxpr,
    variable: object,
    through: tuple[str, ...],
    closed: Callable[[jax.extend.core.JaxprEqn], bool],
) -> Iterator[Use]:
    for equation in jaxpr.eqns:
        for place, taken in enumerate(equation.invars):
            if taken is not variable:
                continue
            inner = list(jax.extend.core.jaxprs_in_params(equation.params))
            # The first input of a cond chooses the branch, the inputs of a while belong to two programs, and a custom
            # function may have its own derivative.
            skipped = [len(equation.invars) - len(body.invars) for body in inner]
            opaque = equation.primitive.name == "while" or equation.primitive.name.startswith("custom")
            opaque = opaque or closed(equation)
            if inner and not opaque and place >= max(skipped) and min(skipped) >= 0:
                for body, first in zip(inner, skipped, strict=True):
                    yield from _uses(body, body.invars[place - first], through, closed)
            elif equation.primitive.name in through:
                yield from _uses(jaxpr, equation.outvars[0], through, closed)
            else:
                yield equation, place
    yield from ((None, place) for place, given in enumerate(jaxpr.outvars) if given is variable)


def axes_of_factors(jaxpr: jax.extend.core.Jaxpr, indices: list[int]) -> list[int]:
    """The number of axes of each array that is multiplied with one of these inputs: 1 for a vector.

    Products inside ``lax.map``, or a scan that carries sums, are left out: these may run over the samples of a batch.
    """
    found = [use for index in indices for use in uses(jaxpr, index, SAME, _carries_numbers)]
    products = [(each, place) for each, place in found if each is not None and each.primitive.name == "dot_general"]
    return [ndim(each.invars[1 - place]) for each, place in products]


def _carries_numbers(equation: jax.extend.core.JaxprEqn) -> bool:
    """Whether it is a scan that carries only single numbers; that of a recurrent network carries its state."""
    if equation.primitive.name != "scan":
        return False
    # Its parameters have other names in each JAX. What it carries has the axes that it has in the body, what it stacks
    # has one more.
    (body,) = jax.extend.core.jaxprs_in_params(equation.params)
    outputs = zip(map(ndim, equation.outvars), map(ndim, body.outvars), strict=True)
    return all(axes == 0 for axes, inside in outputs if axes == inside)


def float_dtypes(jaxpr: jax.extend.core.Jaxpr) -> set[Any]:
    """The real dtypes in which a program computes, inner programs included."""
    avals: list[Any] = [variable.aval for equation in jaxpr.eqns for variable in equation.outvars]
    inner = [
        float_dtypes(body) for equation in jaxpr.eqns for body in jax.extend.core.jaxprs_in_params(equation.params)
    ]
    return {each.dtype for each in avals if jnp.issubdtype(each.dtype, jnp.floating)}.union(*inner)


def ndim(variable: Any) -> int:
    """The number of axes of a variable of a jaxpr."""
    return len(variable.aval.shape)


def leaf_index(tree: PyTree, path: str) -> int:
    """The index of the leaf at the path "params/block/kernel" among the leaves of nested dictionaries."""
    paths = [jax.tree_util.keystr(at, simple=True, separator="/") for at, _ in jax.tree.leaves_with_path(tree)]
    return paths.index(path)
