"""Records are found wherever an optimizer keeps them."""

import jax
import jax.numpy as jnp
import optax
import pytest
from flax import nnx

from lawlib.tracking import TransformState, records, tracker

PARAMS = {"W": jnp.ones((5, 4))}


def transform(name):
    return tracker({name: "W"}, 2, every=1, num_steps=3).transform(jax.random.key(0))


def test_the_records_of_all_trackers_of_a_nested_state_are_found_by_name():
    inner = optax.chain(optax.adam(0.1), transform("updates"))
    state = optax.chain(transform("gradients"), optax.apply_if_finite(inner, 3)).init(PARAMS)
    assert isinstance(state[0], TransformState)
    assert sorted(records(state)) == ["gradients", "updates"]
    assert records({"opt": [state]})["updates"].step.tolist() == [-1] * 3


def test_names_twice_are_refused_as_is_a_state_without_a_tracker():
    twice = optax.chain(transform("first"), transform("first"), transform("other"))
    with pytest.raises(ValueError, match=r"two trackers in this state have a matrix \['first'\]"):
        records(twice.init(PARAMS))
    with pytest.raises(ValueError, match="there is no tracker in this state, tuple: pass"):
        records(optax.adam(0.1).init(PARAMS))


def test_arrays_are_taken_out_of_the_variables_of_flax():
    model = nnx.Linear(5, 4, use_bias=False, rngs=nnx.Rngs(0))
    monitor = tracker({"kernel": "kernel"}, 2, every=1, num_steps=3)
    own = nnx.Optimizer(model, monitor.transform(jax.random.key(0)), wrt=nnx.Param)
    for state in (own, own.opt_state):
        assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(records(state), is_leaf=is_variable))


def is_variable(node):
    return isinstance(node, nnx.Variable)
