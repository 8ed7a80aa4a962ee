"""Arithmetic of block arrays: what an operation of JAX makes of diag(core, c I), one rule for each.

An operation that would depend on the basis of the idle directions, as a square root of single entries, or that has no
rule, raises ``Unreadable``. The sizes are those of the whole network, so that norms, means and factors that depend on
the shape of a layer are right. ``layers`` are the shapes of the layers, of which no array is formed.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import Tracer

from lawlib.compress.block_arrays import (
    BlockArray,
    Choice,
    Eye,
    Fill,
    Iota,
    Raveled,
    Unreadable,
    Zero,
    conformed,
    is_lazy,
    without,
)
from lawlib.types import Array

__all__ = ["ARITHMETIC", "check_whole", "chosen", "default", "entrywise", "formed", "is_zero", "like_a_layer", "refuse"]

# Plain arrays that a transformation may form for itself.
MAX_PLAIN = 10**6


def like_a_layer(shape: tuple[int, ...], layers: frozenset) -> bool:
    """Whether an array is too large to be formed, or has the shape of a layer but for axes of size 1."""
    return math.prod(shape) > MAX_PLAIN or any(_long(shape) == _long(layer) for layer in layers)


def _long(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)


def default(eqn: Any, values: list, layers: frozenset) -> list:
    """The operation itself, on arrays that no rotation concerns; refused for others."""
    name = eqn.primitive.name
    if any(isinstance(value, BlockArray | Raveled) for value in values):
        refuse(name)
    shapes = [variable.aval.shape for variable in eqn.outvars]
    shapes += [value.shape for value in values if is_lazy(value)]
    if any(like_a_layer(shape, layers) for shape in shapes):
        msg = f"it builds an array of a layer's shape ({name}), other than zeros and identities"
        raise Unreadable(msg)
    found = eqn.primitive.bind(*map(formed, values), **eqn.params)
    return list(found) if eqn.primitive.multiple_results else [found]


def refuse(name: str) -> NoReturn:
    """Raise ``Unreadable`` for an operation on single entries."""
    msg = f"it applies {name!r} to the single entries of a layer's array, in a way that depends on the basis"
    raise Unreadable(msg)


def formed(value: Any) -> Any:
    """A small array in full."""
    if isinstance(value, Zero):
        return jnp.zeros(value.shape, value.dtype)
    if isinstance(value, Fill):
        return jnp.full(value.shape, value.value)
    if isinstance(value, Eye):
        return value.value * jnp.eye(*value.shape, dtype=value.dtype)
    if isinstance(value, Iota):
        return lax.broadcasted_iota(value.dtype, value.shape, value.place)
    return value


def _number(value: Any, block: BlockArray) -> tuple[Any, Any] | None:
    """What multiplies core and idle value, if the factor is the same along all directions; else None."""
    if isinstance(value, Fill):
        return value.value, value.value
    if is_lazy(value):
        return None
    shape = jnp.shape(value)
    if shape == ():
        return value, value
    if len(shape) != len(block.axes) or any(shape[place] != 1 for place in block.directions):
        return None
    return value, jnp.reshape(value, without(block.directions, shape))


def _both(eqn: Any, *operands: tuple[Any, Any]) -> tuple[Array, Array]:
    """The operation on the cores and on the idle values."""
    cores, idles = zip(*operands, strict=True)
    return tuple(_bound(eqn, parts) for parts in (cores, idles))


def _bound(eqn: Any, parts: tuple) -> Any:
    return eqn.primitive.bind(*(jnp.asarray(part) for part in parts), **eqn.params)


def _parts(block: BlockArray) -> tuple[Array, Array]:
    return block.core, block.idle


def _unary(eqn: Any, values: list, layers: frozenset) -> list:
    """Linear operations on one array."""
    (value,) = values
    dtype = eqn.outvars[0].aval.dtype
    if isinstance(value, BlockArray):
        if value.kind == "finite" or (value.kind != "values" and not _keeps_entries(value.dtype, dtype)):
            refuse(eqn.primitive.name)
        return [value.like(*_both(eqn, _parts(value)))]
    if isinstance(value, Zero):
        return [Zero(value.shape, dtype)]
    if isinstance(value, Fill | Eye):
        return [type(value)(_bound(eqn, (value.value,)), value.shape)]
    return default(eqn, values, layers)


def _keeps_entries(dtype: Any, into: Any) -> bool:
    """Whether entries keep their values up to rounding in float32: whole numbers and short floats are quantizers."""
    if not jnp.issubdtype(into, jnp.floating):
        return False
    return float(jnp.finfo(into).eps) <= max(float(jnp.finfo(kept).eps) for kept in (dtype, jnp.float32))


def entrywise(eqn: Any, values: list, layers: frozenset) -> list:
    """Any function of single numbers: of the values of a decomposition, or of one number in all entries."""
    blocks = [value for value in values if isinstance(value, BlockArray)]
    if not blocks:
        fills = [value for value in values if isinstance(value, Fill)]
        alike = all(isinstance(value, Fill) or (not is_lazy(value) and jnp.ndim(value) == 0) for value in values)
        if fills and alike:
            number = _bound(eqn, tuple(v.value if isinstance(v, Fill) else v for v in values))
            return [Fill(number, eqn.outvars[0].aval.shape)]
        return default(eqn, values, layers)
    if not all(block.kind == "values" and block.axes == blocks[0].axes for block in blocks):
        refuse(eqn.primitive.name)
    values = [conformed(value, blocks[0]) for value in values]
    pairs = (_parts(value) if isinstance(value, BlockArray) else _number(value, blocks[0]) for value in values)
    operands = [pair for pair in pairs if pair is not None]
    if len(operands) < len(values):
        refuse(eqn.primitive.name)
    return [blocks[0].like(*_both(eqn, *operands))]


def _sum_of_two(eqn: Any, values: list, layers: frozenset) -> list:
    """a + b and a - b, of two arrays on the same axes."""
    first, second = values
    shape = eqn.outvars[0].aval.shape
    if isinstance(second, Zero) or (isinstance(first, Zero) and eqn.primitive.name != "sub"):
        other: Any = first if isinstance(second, Zero) else second
        return [
            other if is_lazy(other) or jnp.shape(other) == shape else Fill(jnp.reshape(jnp.asarray(other), ()), shape)
        ]
    # Countings have no numbers to negate.
    if isinstance(first, Zero) and isinstance(second, BlockArray | Fill | Eye | Raveled):
        return [jax.tree.map(jnp.negative, second)]
    if isinstance(first, Iota) and not is_lazy(second) and is_zero(second):
        return [first]
    block = next((value for value in values if isinstance(value, BlockArray)), None)
    if block is None or block.kind == "values":
        return entrywise(eqn, values, layers)
    first, second = (conformed(value, block) for value in values)
    if not (isinstance(first, BlockArray) and isinstance(second, BlockArray)) or not _alike(first, second):
        refuse(eqn.primitive.name)
    return [block.like(*_both(eqn, _parts(first), _parts(second)))]


def _alike(first: BlockArray, second: BlockArray) -> bool:
    return first.axes == second.axes and first.kind == second.kind


def _product(eqn: Any, values: list, layers: frozenset) -> list:
    """a b and a / b entrywise: by a number, by the values of a decomposition along one axis, or to be summed up."""
    first, second = values
    if any(isinstance(value, Zero) for value in values[: 1 + (eqn.primitive.name == "mul")]):
        return [Zero(eqn.outvars[0].aval.shape, eqn.outvars[0].aval.dtype)]
    if isinstance(first, BlockArray) and isinstance(second, BlockArray):
        return [_product_of_blocks(eqn, first, second)]
    if isinstance(second, BlockArray) and (eqn.primitive.name == "mul" or second.kind == "values"):
        factor = _number(first, second)
        if factor is not None:
            return [second.like(*_both(eqn, factor, _parts(second)))]
    elif isinstance(first, BlockArray):
        factor = _number(second, first)
        if factor is not None:
            return [first.like(*_both(eqn, _parts(first), factor))]
    if isinstance(second, Eye) and eqn.primitive.name == "mul":
        first, second = second, first
    number: Any = second.value if isinstance(second, Fill) else second
    if isinstance(first, Eye) and not is_lazy(number) and jnp.ndim(number) == 0:
        return [Eye(_bound(eqn, (first.value, number)), first.shape)]
    return entrywise(eqn, values, layers)


def _product_of_blocks(eqn: Any, first: BlockArray, second: BlockArray) -> BlockArray:
    kinds, multiplied = {first.kind, second.kind}, eqn.primitive.name == "mul"
    if first.axes == second.axes and kinds == {"values"}:
        return first.like(*_both(eqn, _parts(first), _parts(second)))
    if first.axes == second.axes and kinds == {"turning"} and multiplied:
        return BlockArray(*_both(eqn, _parts(first), _parts(second)), first.axes, "entries")
    if first.kind == "values" and multiplied:
        first, second = second, first
    # U diag(s): the values were repeated along the other axes, which have size 1 in their core.
    along = [(one, other) for one, other in zip(first.axes, second.axes, strict=True) if other]
    repeated = all(second.core.shape[place] == 1 for place in first.directions if second.axes[place] is None)
    if (first.kind, second.kind) != ("turning", "values") or any(one != other for one, other in along) or not repeated:
        refuse(eqn.primitive.name)
    sizes = [1 if axis else size for size, axis in zip(second.core.shape, second.axes, strict=True)]
    tail = jnp.reshape(second.idle, without(first.directions, tuple(sizes)))
    return first.like(*_both(eqn, _parts(first), (second.core, tail)))


def is_zero(value: Any) -> bool:
    """Whether a value is the number 0, known now."""
    return not isinstance(value, Tracer) and jnp.ndim(value) == 0 and bool(value == 0)


def _power(eqn: Any, values: list, layers: frozenset) -> list:
    """x^2 is a product; other powers are of single numbers."""
    (value,) = values
    exponent = eqn.params.get("y", 2)
    if not isinstance(value, BlockArray) or value.kind == "values":
        return [value] if isinstance(value, Zero) and exponent > 0 else entrywise(eqn, values, layers)
    if exponent == 1:
        return [value]
    if exponent != 2 or value.kind != "turning":
        refuse(eqn.primitive.name)
    return [BlockArray(value.core**2, value.idle**2, value.axes, "entries")]


def _select(eqn: Any, values: list, layers: frozenset) -> list:
    """One of several arrays, by one number; or, one by one, of the values of a decomposition."""
    which, *cases = values
    which = which.value if isinstance(which, Fill) else which
    if not any(map(is_lazy, cases)) or is_lazy(which) or jnp.size(which) != 1:
        return entrywise(eqn, values, layers)
    return [chosen(which, cases, eqn.outvars[0].aval.dtype)]


def chosen(which: Any, cases: Sequence, dtype: Any) -> Any:
    """One of several values, by a number: of their form if they have one, or else a ``Choice``."""
    which = which if jnp.ndim(which) == 0 else jnp.reshape(which, ())
    block = next((case for case in cases if isinstance(case, BlockArray)), None)
    cases = [conformed(case, block) for case in cases]
    if not all(map(is_lazy, cases)):
        # Beside a plain array, which is small, the others are formed.
        if any(is_lazy(case) and not isinstance(case, Zero | Fill | Eye) for case in cases):
            refuse("select")
        return lax.select_n(which, *(jnp.asarray(formed(case), dtype) for case in cases))
    if block is not None and all(isinstance(case, BlockArray) and _alike(case, block) for case in cases):
        parts = zip(*map(_parts, cases), strict=True)
        return block.like(*(lax.select_n(which, *part) for part in parts))
    if all(isinstance(case, Zero) for case in cases):
        return cases[0]
    if all(isinstance(case, Fill) for case in cases):
        return Fill(lax.select_n(which, *(jnp.asarray(case.value, dtype) for case in cases)), cases[0].shape)
    return Choice(which, tuple(cases))


def _all_finite(eqn: Any, values: list, layers: frozenset) -> list:
    """Whether entries are finite: asked of all of them, it depends on no basis."""
    (value,) = values
    if not isinstance(value, BlockArray):
        return entrywise(eqn, values, layers)
    if value.kind not in ("turning", "values"):
        refuse(eqn.primitive.name)
    return [BlockArray(*_both(eqn, _parts(value)), value.axes, "finite" if value.kind == "turning" else "values")]


def _equal(eqn: Any, values: list, layers: frozenset) -> list:
    """Two countings along different axes are equal on the diagonal."""
    if all(isinstance(value, Iota) for value in values) and {value.place for value in values} == {0, 1}:
        return [Eye(jnp.ones((), bool), values[0].shape)]
    return entrywise(eqn, values, layers)


def check_whole(eqn: Any, *values: Any) -> None:
    """Refuse values of a decomposition repeated along other axes, of which one copy is kept."""
    for value, variable in zip(values, eqn.invars, strict=True):
        if isinstance(value, BlockArray) and value.shape != tuple(variable.aval.shape):
            refuse(eqn.primitive.name)


ARITHMETIC: dict[str, Callable] = {
    **dict.fromkeys(("neg", "convert_element_type", "copy", "copy_p", "real"), _unary),
    **dict.fromkeys(("add", "sub", "add_any"), _sum_of_two),
    **dict.fromkeys(("mul", "div"), _product),
    **dict.fromkeys(("integer_pow", "square"), _power),
    **dict.fromkeys(("abs", "sign", "sqrt", "rsqrt", "cbrt", "exp", "log", "log1p", "expm1", "tanh", "not"), entrywise),
    "reduce_precision": entrywise,
    **dict.fromkeys(("pow", "max", "min", "lt", "le", "gt", "ge", "ne", "and", "or", "clamp"), entrywise),
    "eq": _equal,
    "select_n": _select,
    "is_finite": _all_finite,
}
