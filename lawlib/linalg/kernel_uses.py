"""Where a loss uses an array, read off its trace: what is multiplied with it, and what else becomes of it."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp

from lawlib.types import PyTree

__all__ = ["axes_of_factors", "float_dtypes", "leaf_index", "ndim", "uses"]

# What leaves a matrix the same one but for its dtype, its orientation and the size of its entries.
SAME = ("convert_element_type", "div", "mul", "transpose")

Use = tuple[jax.extend.core.JaxprEqn | None, int]


def uses(
    jaxpr: jax.extend.core.Jaxpr,
    index: int,
    through: tuple[str, ...] = (),
    closed: Callable[[jax.extend.core.JaxprEqn], bool] = lambda equation: False,
) -> list[Use]:
    """The equations that take the ``index``-th input of a program and the place it has there, in inner programs too.

    The equations named ``through`` are passed: what takes their result takes the input. Into those that are
    ``closed`` nothing is followed. An equation of None says that the input is a result of the program as it stands.
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
            # Of a cond the first input chooses the branch, of a while two programs share the inputs, and a rule of its
            # own may differentiate what is custom.
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
    """How many axes each array has that a product multiplies with one of these inputs: 1 where it is a vector.

    What ``lax.map`` or a scan that carries sums does is not among them: it may run over the samples of a batch.
    """
    found = [use for index in indices for use in uses(jaxpr, index, SAME, _carries_numbers)]
    products = [(each, place) for each, place in found if each is not None and each.primitive.name == "dot_general"]
    return [ndim(each.invars[1 - place]) for each, place in products]


def _carries_numbers(equation: jax.extend.core.JaxprEqn) -> bool:
    """Whether it is a scan whose steps hand on single numbers at most; a recurrent network's hand on its state."""
    if equation.primitive.name != "scan":
        return False
    first = equation.params["num_consts"]
    return all(ndim(carried) == 0 for carried in equation.invars[first : first + equation.params["num_carry"]])


def float_dtypes(jaxpr: jax.extend.core.Jaxpr) -> set[Any]:
    """The real dtypes in which a program computes, inner programs included."""
    avals: list[Any] = [variable.aval for equation in jaxpr.eqns for variable in equation.outvars]
    inner = [
        float_dtypes(body) for equation in jaxpr.eqns for body in jax.extend.core.jaxprs_in_params(equation.params)
    ]
    return {each.dtype for each in avals if jnp.issubdtype(each.dtype, jnp.floating)}.union(*inner)


def ndim(variable: Any) -> int:
    """The number of axes of what stands for an array in a program."""
    return len(variable.aval.shape)


def leaf_index(tree: PyTree, path: str) -> int:
    """The place of the leaf at the path "params/block/kernel" among the leaves of nested dictionaries."""
    paths = [jax.tree_util.keystr(at, simple=True, separator="/") for at, _ in jax.tree.leaves_with_path(tree)]
    return paths.index(path)
