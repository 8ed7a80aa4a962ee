"""Functions of a whole network's arrays, such as the update of an optimizer, run on block arrays.

The function is traced at the sizes of the whole network, without any array of that size, and each of its operations is
done by its rule. What the rules let pass commutes with rotations of the idle directions, by construction.
"""

import functools as ft
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax import lax
from jax.extend.core import Jaxpr, Literal

from lawlib.compress.block_arithmetic import ARITHMETIC, chosen, default
from lawlib.compress.block_arrays import BlockArray, Choice, Eye, Fill, Iota, Unreadable, conformed, is_lazy
from lawlib.compress.block_products import DECOMPOSITIONS, dot_general
from lawlib.compress.block_shapes import SHAPES
from lawlib.types import PyTree

__all__ = ["Program", "called", "conformed_tree", "steady", "traced"]

# Operations that call a function once, with the parameter that holds it.
CALLS = ("jaxpr", "call_jaxpr", "fun_jaxpr")
# What an operation of JAX raises for operands that its rule did not foresee.
FAULTS = (TypeError, ValueError, LookupError, AttributeError, NotImplementedError)
CONSTANT = "it puts a constant in place of a layer's array where a condition holds"
CALLED = {"pjit", "jit", "closed_call", "core_call", "remat2", "checkpoint", "custom_jvp_call", "custom_vjp_call"}


class Program(NamedTuple):
    """A function traced for arguments of some shapes; ``outputs`` are the shapes of its results."""

    jaxpr: Jaxpr
    consts: list
    outputs: PyTree


def traced(function: Callable, *arguments: PyTree) -> Program:
    """A function of the whole arrays that the block arrays among the leaves of its arguments stand for."""
    leaves, tree = jax.tree.flatten(arguments, is_leaf=is_lazy)
    structs = [_struct(leaf) for leaf in leaves]
    found, shapes = jax.make_jaxpr(lambda *flat: function(*tree.unflatten(flat)), return_shape=True)(*structs)
    return Program(found.jaxpr, found.consts, shapes)


def called(program: Program, *arguments: PyTree, layers: frozenset) -> PyTree:
    """The program for arguments with block arrays among their leaves; ``layers`` are the shapes of layers.

    Raises:
        Unreadable: the function does what depends on the basis of the idle directions, or has no rule.
    """
    leaves = jax.tree.leaves(arguments, is_leaf=is_lazy)
    outputs = _run(program.jaxpr, program.consts, leaves, "", layers)
    for value in outputs:
        if isinstance(value, Choice):
            raise Unreadable(CONSTANT)
        if isinstance(value, BlockArray) and value.is_spectral:
            msg = "it keeps the vectors or values of a decomposition from step to step"
            raise Unreadable(msg)
    return jax.tree.structure(program.outputs).unflatten(outputs)


def conformed_tree(tree: PyTree, templates: PyTree) -> PyTree:
    """The zeros of a tree on the axes that their leaves have in the other."""
    return jax.tree.map(conformed, tree, templates, is_leaf=is_lazy)


def steady(body: Callable[[PyTree], PyTree], carry: PyTree) -> PyTree:
    """What a loop over ``body`` starts with, its zeros in the form that they have after a round."""
    while True:
        found = conformed_tree(carry, jax.eval_shape(body, carry))
        if jax.tree.structure(found) == jax.tree.structure(carry):
            return carry
        carry = found


def _struct(leaf: Any) -> jax.ShapeDtypeStruct:
    if is_lazy(leaf):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
    known = jax.typeof(leaf)
    return jax.ShapeDtypeStruct(known.shape, known.dtype, weak_type=getattr(known, "weak_type", False))


def _run(jaxpr: Jaxpr, consts: list, arguments: list, path: str, layers: frozenset) -> list:
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *arguments), strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else values[atom]

    for place, eqn in enumerate(jaxpr.eqns):
        found = _step(eqn, [read(atom) for atom in eqn.invars], f"{path}/{place}", layers)
        values |= zip(eqn.outvars, found, strict=True)
    return [read(atom) for atom in jaxpr.outvars]


def _step(eqn: Any, values: list, path: str, layers: frozenset) -> list:
    name = eqn.primitive.name
    if name in CALLED:
        inner = next(eqn.params[held] for held in CALLS if held in eqn.params)
        return _run(*_opened(inner), values, path, layers)
    choice = next((value for value in values if isinstance(value, Choice)), None)
    if choice is not None:
        return _by_cases(eqn, values, choice, path, layers)
    try:
        found = _by_rule(eqn, values, path, layers)
    except Unreadable:
        raise
    except FAULTS as fault:
        reason = str(fault).partition("\n")[0]
        msg = f"it applies {name!r} to a layer's array in a way that has no rule ({type(fault).__name__}: {reason})"
        raise Unreadable(msg) from fault
    for value, variable in zip(found, eqn.outvars, strict=True):
        _check_shape(value, tuple(variable.aval.shape), name)
    return found


def _check_shape(value: Any, shape: tuple[int, ...], name: str) -> None:
    """Refuse what has one copy where the array has several, but for values of a decomposition (``check_whole``)."""
    sizes = value.shape if is_lazy(value) else jax.numpy.shape(value)
    copies = isinstance(value, BlockArray) and value.kind == "values" and len(sizes) == len(shape)
    if sizes != shape and not (copies and all(size in (1, full) for size, full in zip(sizes, shape, strict=True))):
        msg = f"it repeats a layer's array along a new axis ({name})"
        raise Unreadable(msg)


def _by_cases(eqn: Any, values: list, choice: Choice, path: str, layers: frozenset) -> list:
    """The operation on each of the values that a number chooses from."""
    found = []
    for place in range(len(choice.cases)):
        cases = [v.cases[place] if isinstance(v, Choice) and v.which is choice.which else v for v in values]
        found.append(_step(eqn, cases, f"{path}.{place}", layers))
    of_each = zip(eqn.outvars, zip(*found, strict=True), strict=True)
    return [chosen(choice.which, cases, variable.aval.dtype) for variable, cases in of_each]


def _by_rule(eqn: Any, values: list, path: str, layers: frozenset) -> list:
    name = eqn.primitive.name
    if name in CONTROL:
        return CONTROL[name](eqn, values, path, layers)
    if name in DECOMPOSITIONS and isinstance(values[0], BlockArray):
        _check_vectors(eqn, layers)
        return DECOMPOSITIONS[name](eqn, values[0], path)
    return RULES.get(name, default)(eqn, values, layers)


def _check_vectors(eqn: Any, layers: frozenset) -> None:
    """Refuse singular vectors in Case 2, which has a layer that is not square.

    There the gradients of all layers have singular values of 0: U f(S) V^T is no function of them unless f(0) = 0.
    """
    if eqn.params.get("compute_uv") and any(rows != columns for rows, columns in layers):
        msg = "it takes singular vectors, which those gradients leave open that have singular values of 0, as in Case 2"
        raise Unreadable(msg)


def _opened(program: Any) -> tuple[Jaxpr, list]:
    return (program.jaxpr, list(program.consts)) if hasattr(program, "consts") else (program, [])


def _cond(eqn: Any, values: list, path: str, layers: frozenset) -> list:
    """The branches on the same block arrays; what one of them leaves at zero is a block array of zeros."""
    which, *operands = values
    runs = [
        ft.partial(_branch, *_opened(branch), f"{path}.{place}", layers)
        for place, branch in enumerate(eqn.params["branches"])
    ]
    shapes = [jax.eval_shape(run, operands) for run in runs]
    templates = [_template(list(of_one)) for of_one in zip(*shapes, strict=True)]
    alike = [lambda operands, run=run: conformed_tree(run(operands), templates) for run in runs]
    return lax.switch(_index(which), alike, operands)


def _branch(jaxpr: Jaxpr, consts: list, path: str, layers: frozenset, operands: list) -> list:
    return [_settled(value) for value in _run(jaxpr, consts, operands, path, layers)]


def _settled(value: Any) -> Any:
    """Numbers become arrays, so that all branches and rounds return the same types."""
    if isinstance(value, Choice):
        raise Unreadable(CONSTANT)
    if isinstance(value, Eye | Fill | Iota):
        msg = "it builds constant matrices in a branch or a loop"
        raise Unreadable(msg)
    if isinstance(value, BlockArray) and value.is_spectral:
        msg = "it keeps the vectors or values of a decomposition from round to round"
        raise Unreadable(msg)
    return value if is_lazy(value) else jax.numpy.asarray(value)


def _index(which: Any) -> Any:
    if is_lazy(which):
        msg = "it branches on the entries of a layer's array"
        raise Unreadable(msg)
    return jax.numpy.asarray(which, "int32")


def _template(values: list) -> Any:
    return next((value for value in values if isinstance(value, BlockArray)), values[0])


def _scan(eqn: Any, values: list, path: str, layers: frozenset) -> list:
    """A loop of a known number of rounds, over plain arrays."""
    counts = _scan_counts(eqn.params)
    consts, carry, given = values[: counts[0]], values[counts[0] : sum(counts)], values[sum(counts) :]
    if any(map(is_lazy, given)):
        msg = "it loops over the rows of a layer's array"
        raise Unreadable(msg)
    jaxpr, closed = _opened(eqn.params["jaxpr"])

    def body(carry: list, item: list) -> tuple[list, list]:
        found = _branch(jaxpr, closed, path, layers, [*consts, *carry, *item])
        if any(map(is_lazy, found[counts[1] :])):
            msg = "it stacks a layer's arrays in a loop"
            raise Unreadable(msg)
        return found[: counts[1]], found[counts[1] :]

    first = [item[0] for item in given]
    carry = _steady(lambda carry: body(carry, first)[0], carry)
    rest = {name: eqn.params[name] for name in ("length", "reverse", "unroll")}
    last, stacked = lax.scan(body, carry, given, **rest)
    return [*last, *stacked]


def _scan_counts(params: dict[str, Any]) -> tuple[int, int]:
    """The numbers of constants and of carried values, which jax 0.12 keeps in another form."""
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    consts, carry, _ = params["ft_in"].unpack()
    return len(list(consts)), len(list(carry))


def _while(eqn: Any, values: list, path: str, layers: frozenset) -> list:
    """A loop until a number says so."""
    of_test, of_body = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
    tests, bodies, carry = values[:of_test], values[of_test : of_test + of_body], values[of_test + of_body :]
    test, body = _opened(eqn.params["cond_jaxpr"]), _opened(eqn.params["body_jaxpr"])

    def again(carry: list) -> Any:
        (found,) = _branch(*test, f"{path}.test", layers, [*tests, *carry])
        if is_lazy(found):
            msg = "it loops until the entries of a layer's array say so"
            raise Unreadable(msg)
        return found

    def round_of(carry: list) -> list:
        return _branch(*body, f"{path}.body", layers, [*bodies, *carry])

    return lax.while_loop(again, round_of, _steady(round_of, carry))


def _steady(body: Callable[[list], list], carry: list) -> list:
    return steady(body, [_settled(value) for value in carry])


RULES = {**ARITHMETIC, **SHAPES, "dot_general": dot_general}
CONTROL: dict[str, Callable] = {"cond": _cond, "scan": _scan, "while": _while}
