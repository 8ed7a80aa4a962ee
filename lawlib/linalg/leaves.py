"""One array of a tree of parameters, picked by a function or by its name, and the tree as a function of its arrays."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from lawlib.types import Array, PyTree

__all__ = ["Leaf", "Where", "array_leaves", "pick", "replace"]

# Picks a leaf of a tree: a function such as ``lambda model: model.layers[0].weight``, or the leaf's name, its path.
Where = Callable[[PyTree], Any] | str

SHOWN = 20


class Leaf(NamedTuple):
    """An array of a tree: its name "params/Dense_0/kernel", its value, and its place among the arrays of the tree."""

    name: str
    value: Array
    place: int


class _Mark:
    """Takes the place of a leaf while ``where`` runs."""

    def __init__(self, name: str):
        self.name = name

    def __getitem__(self, key: Any) -> "_Mark":
        if key is not Ellipsis:
            msg = f"the leaf {self.name!r} cannot be indexed"
            raise TypeError(msg)
        return self


def pick(params: PyTree, where: Where) -> Leaf:
    """The leaf that ``where`` picks: an array with real floating entries.

    A function is called once, on the tree with other objects in place of its leaves, and what it returns is found by
    identity. A node with one leaf, such as a variable of Flax NNX or a box of Flax linen, is taken for the leaf.

    Raises:
        ValueError: it picks nothing, several leaves, something that is no leaf, or a leaf that is no such array.
    """
    held = jax.tree.leaves_with_path(params)
    names = [_name(path) for path, _ in held]
    chosen = _named(where, names) if isinstance(where, str) else _marked(where, names, jax.tree.structure(params))
    if len(chosen) > 1:
        msg = f"where must pick one leaf, got {_listed([names[i] for i in chosen])}: name one of them"
        raise ValueError(msg)
    (at,) = chosen
    leaf = held[at][1]
    _check_leaf(names[at], leaf)
    return Leaf(names[at], leaf, sum(_is_array(other) for _, other in held[:at]))


def array_leaves(params: PyTree) -> tuple[list[Any], list[str], Callable[[list[Any]], PyTree]]:
    """The arrays of a tree, their names, and the tree as a function of them; functions, strings and so on stay."""
    held, structure = jax.tree.flatten_with_path(params)
    leaves = [leaf for _, leaf in held]
    places = [i for i, leaf in enumerate(leaves) if _is_array(leaf)]

    def tree(arrays: list[Any]) -> PyTree:
        changed = dict(zip(places, arrays, strict=True))
        return jax.tree.unflatten(structure, [changed.get(i, leaf) for i, leaf in enumerate(leaves)])

    return [leaves[i] for i in places], [_name(held[i][0]) for i in places], tree


def replace(params: PyTree, where: Where, value: Array) -> PyTree:
    """The tree with another value of the leaf that ``where`` picks. Raises as ``pick``."""
    arrays, _, tree = array_leaves(params)
    place = pick(params, where).place
    return tree([*arrays[:place], value, *arrays[place + 1 :]])


def _named(where: str, names: list[str]) -> list[int]:
    chosen = [i for i, name in enumerate(names) if name == where or name.startswith(f"{where}/")]
    if not chosen:
        msg = f"the parameters have no leaf {where!r}: they have {_listed(names)}"
        raise ValueError(msg)
    return chosen


def _marked(where: Callable[[PyTree], Any], names: list[str], structure: Any) -> list[int]:
    marks = [_Mark(name) for name in names]
    rule = "where must pick a leaf of the parameters and compute nothing from it"
    among = f"the leaves are {_listed(names)}"
    try:
        marked = jax.tree.unflatten(structure, marks)
    except Exception as error:
        msg = f"the parameters have a node that refuses other leaves: give where as a name; {among}"
        raise ValueError(msg) from error
    try:
        picked = where(marked)
    except Exception as error:
        msg = f"{rule}; it raised {type(error).__name__}: {error}; {among}"
        raise ValueError(msg) from error
    found = jax.tree.leaves(picked)
    wrong = [type(one).__name__ for one in found if not isinstance(one, _Mark)]
    if wrong or not found:
        msg = f"{rule}; it picked {'something else: ' + ', '.join(wrong) if wrong else 'nothing'}; {among}"
        raise ValueError(msg)
    return [i for i, mark in enumerate(marks) if any(mark is one for one in found)]


def _check_leaf(name: str, leaf: Any) -> None:
    if not _is_array(leaf):
        msg = f"the leaf {name!r} must be an array, got {type(leaf).__name__}"
        raise ValueError(msg)
    if not jax.numpy.issubdtype(leaf.dtype, jax.numpy.floating):
        msg = f"the leaf {name!r} must have a real floating dtype, got {leaf.dtype}"
        raise ValueError(msg)
    if leaf.size == 0:
        msg = f"the leaf {name!r} has no entries, its shape is {leaf.shape}"
        raise ValueError(msg)


def _name(path: tuple) -> str:
    """The path as a name; parameters that are one array have none."""
    return jax.tree_util.keystr(path, simple=True, separator="/") or "params"


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray)


def _listed(names: list[str]) -> str:
    rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{names[:SHOWN]}{rest}" if names else "none"
