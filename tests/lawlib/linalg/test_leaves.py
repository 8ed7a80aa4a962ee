"""Leaves picked by a function or by name, in trees of several frameworks; what is refused and in which words."""

import typing

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import freeze

from lawlib.linalg.leaves import array_leaves, pick, replace


class Layer(typing.NamedTuple):
    weight: jax.Array
    bias: jax.Array | None


W = jnp.ones((2, 3))
TREE = {
    "layers": [Layer(W, None), Layer(2 * W, jnp.ones(3))],
    "phi": jnp.tanh,
    "name": "tree",
    "depth": 2,
    "steps": jnp.arange(3),
    "phase": jnp.ones((2, 2), "complex64"),
    "empty": jnp.ones((0, 3)),
    "host": np.ones((4, 4), np.float32),
}


@pytest.mark.parametrize(
    ("where", "name", "place"),
    [
        (lambda tree: tree["layers"][1].weight, "layers/1/weight", 2),
        ("layers/1/weight", "layers/1/weight", 2),
        (lambda tree: tree["layers"][0].weight, "layers/0/weight", 1),
        # A node with one leaf.
        (lambda tree: tree["layers"][0], "layers/0/weight", 1),
        ("layers/0", "layers/0/weight", 1),
        (lambda tree: tree["layers"][0].weight[...], "layers/0/weight", 1),
        (lambda tree: next(leaf for leaf in tree["layers"]).weight, "layers/0/weight", 1),
    ],
)
def test_a_leaf_is_found_though_others_are_equal_or_no_arrays(where, name, place):
    tree = {key: TREE[key] for key in ("layers", "phi", "name", "depth")} | {"a": W}
    leaf = pick(tree, where)
    arrays, names, _ = array_leaves(tree)
    assert (leaf.name, leaf.place, names[leaf.place]) == (name, place, name)
    assert arrays[leaf.place] is leaf.value


AMONG = r"the leaves are \['depth', 'empty', 'host', 'layers/0/weight', .*'steps'\]"
RULE = "where must pick a leaf of the parameters and compute nothing from it"
REFUSED = {
    "nothing": (lambda tree: None, f"{RULE}; it picked nothing; {AMONG}"),
    "no bias": (lambda tree: tree["layers"][0].bias, f"{RULE}; it picked nothing; {AMONG}"),
    "two": (lambda tree: (tree["host"], tree["steps"]), r"one leaf, got \['host', 'steps'\]: name one"),
    "a subtree": (lambda tree: tree["layers"][1], r"one leaf, got \['layers/1/weight', 'layers/1/bias'\]"),
    "a named subtree": ("layers", r"one leaf, got \['layers/0/weight', 'layers/1/weight', 'layers/1/bias'\]"),
    "a transpose": (lambda tree: tree["host"].T, f"{RULE}; it raised AttributeError: .* 'T'; {AMONG}"),
    "a product": (lambda tree: 2 * tree["host"], f"{RULE}; it raised TypeError: .*; {AMONG}"),
    "an entry": (lambda tree: tree["host"][0], rf"{RULE}; it raised TypeError: the leaf 'host' cannot be indexed"),
    "a shape": (lambda tree: 7, f"{RULE}; it picked something else: int; {AMONG}"),
    "an array": (lambda tree: W, f"{RULE}; it picked something else: ArrayImpl; {AMONG}"),
    "a wrong key": (lambda tree: tree["lays"], f"{RULE}; it raised KeyError: 'lays'; {AMONG}"),
    "a wrong name": ("layers/2", r"have no leaf 'layers/2': they have \['depth', .*'steps'\]"),
    "half a name": ("layer", "have no leaf 'layer'"),
    "a function": ("phi", "the leaf 'phi' must be an array, got "),
    "a string": (lambda tree: tree["name"], "the leaf 'name' must be an array, got str"),
    "a number": ("depth", "the leaf 'depth' must be an array, got int"),
    "integers": ("steps", "the leaf 'steps' must have a real floating dtype, got int"),
    "complex": ("phase", "the leaf 'phase' must have a real floating dtype, got complex64"),
    "no entries": ("empty", r"the leaf 'empty' has no entries, its shape is \(0, 3\)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_leaf_is_refused_in_a_line_that_names_the_leaves(case):
    where, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        pick(TREE, where)


def test_parameters_that_are_one_array_are_a_leaf():
    assert pick(W, "params").value is W
    assert pick(W, lambda params: params)[::2] == ("params", 0)


def test_only_twenty_leaves_are_listed():
    with pytest.raises(ValueError, match=r"they have \['0', .*'19'\] and 10 more$"):
        pick([W] * 30, "x")


def test_a_node_that_refuses_other_leaves_is_picked_by_name():
    @jax.tree_util.register_pytree_node_class
    class Strict:
        def __init__(self, weight):
            assert isinstance(weight, jax.Array)
            self.weight = weight

        def tree_flatten(self):
            return (self.weight,), None

        @classmethod
        def tree_unflatten(cls, _, children):
            return cls(*children)

    with pytest.raises(
        ValueError, match=r"a node that refuses other leaves: give where as a name; the leaves are \['0"
    ):
        pick([Strict(W)], lambda tree: tree[0].weight)
    assert pick([Strict(W)], "0").value is W


def test_boxes_frozen_variables_and_models_of_equinox_are_trees():
    boxed = {"params": {"layer": {"kernel": nn.Partitioned(W, (None, None))}}}
    assert pick(boxed, lambda held: held["params"]["layer"]["kernel"]).value is W
    assert pick(freeze({"params": {"kernel": W}}), "params/kernel").value is W
    model = eqx.nn.MLP(2, 3, 4, 1, key=jax.random.key(0))
    assert pick(model, lambda model: model.layers[1].weight).value is model.layers[1].weight


def test_a_leaf_is_replaced_and_nothing_else():
    changed = replace(TREE, "layers/1/weight", 5 * W)
    np.testing.assert_array_equal(changed["layers"][1].weight, 5 * W)
    changed["layers"][1] = TREE["layers"][1]
    assert all(ours is theirs for ours, theirs in zip(*map(jax.tree.leaves, (changed, TREE)), strict=True))
