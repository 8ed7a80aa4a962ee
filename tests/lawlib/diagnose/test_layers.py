"""Which layers a diagnosis covers, how they are read and written, and which are refused."""

import four_ways
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lawlib.diagnose.layers import mapped, planned, read, unpacked, written
from lawlib.linalg.matricization import Matricization
from lawlib.tracking import TrackedLeaf

WIDE = {
    "whole": jnp.ones((6, 5)),
    "thin": jnp.ones((5, 2)),
    "bias": jnp.ones(2),
    "table": jnp.ones((3, 6)),
    "counts": jnp.ones((6, 6), jnp.int32),
    "waves": jnp.ones((6, 6), jnp.complex64),
}
BATCHES = jnp.ones((2, 7, 6))


def loss(params, batch):
    x = batch + params["table"][0][None] + (batch @ params["counts"].astype(batch.dtype))
    return jnp.sum((jnp.tanh(x @ params["whole"]) @ params["thin"] + params["bias"][None]) ** 2)


@pytest.mark.parametrize("name", four_ways.WAYS)
def test_by_default_all_leaves_are_covered_that_the_loss_multiplies_by(name):
    way = four_ways.WAYS[name](jnp.float64)
    plan = planned(way.loss, way.params, four_ways.batches(jnp.float64), 2, None)
    sizes = sorted(plan.sizes().values())
    assert sizes == sorted([(8, 6), (6, 6), (6, 6), (6, 7), (7, 4)])
    assert plan.left_out == ()
    _, arrays, _ = unpacked(way.loss, way.params)
    matrices = read(plan.layers, [arrays[layer.place] for layer in plan.layers])
    again = written(plan.layers, matrices, arrays)
    jax.tree.map(np.testing.assert_array_equal, again, arrays)
    doubled = written(plan.layers, [2 * M for M in matrices], arrays)
    jax.tree.map(lambda one, other: np.testing.assert_array_equal(one, 2 * other), doubled, arrays)


def test_leaves_that_are_too_small_are_left_out_and_those_that_are_no_factors_do_not_count():
    plan = planned(loss, WIDE, BATCHES, 3, None)
    assert plan.names() == ["whole"]
    assert plan.left_out == ("thin",)
    assert plan.unread == ("table",)
    assert planned(loss, WIDE, BATCHES, 2, None).names() == ["thin", "whole"]


def test_a_plan_is_static_and_equal_to_its_like():
    one, other = (planned(loss, WIDE, BATCHES, 2, None) for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    assert jax.tree.leaves(one) == []


def test_a_stack_is_read_whole_or_at_an_index():
    params = {"stack": jnp.arange(24.0).reshape(2, 4, 3)}
    takes = lambda params, batch: jnp.sum(batch @ jnp.swapaxes(params["stack"], 1, 2)[0]) ** 2  # noqa: E731
    for index, names in (((), ["s[0]", "s[1]"]), (1, ["s"]), ([1], ["s"])):
        matrices = {"s": TrackedLeaf("stack", Matricization([1], [2], index))}
        plan = planned(takes, params, jnp.ones((1, 2, 3)), 3, matrices)
        assert plan.names() == names
        assert hash(plan)
        found = read(plan.layers, [params["stack"]])
        np.testing.assert_array_equal(found[-1], params["stack"][1])
        (again,) = written(plan.layers, [2 * M for M in found], [params["stack"]])
        np.testing.assert_array_equal(again[1], 2 * params["stack"][1])
        np.testing.assert_array_equal(again[0], (2 if len(names) == 2 else 1) * params["stack"][0])


def test_half_precision_is_read_in_float32_and_written_back():
    params = {"whole": jnp.ones((6, 5), jnp.bfloat16)}
    plan = planned(
        lambda held, batch: jnp.sum((batch @ held["whole"]).astype(jnp.float32)),
        params,
        BATCHES.astype(jnp.bfloat16),
        2,
        None,
    )
    (M,) = read(plan.layers, [params["whole"]])
    assert M.dtype == jnp.float32
    assert written(plan.layers, [M], [params["whole"]])[0].dtype == jnp.bfloat16


def test_a_function_is_mapped_over_arguments_of_several_shapes_in_their_order():
    keys = jax.random.split(jax.random.key(0), 3)
    given = list(zip(keys, (jnp.ones((2, 3)), jnp.ones(4), 2 * jnp.ones((2, 3))), strict=True))
    found = mapped(lambda key, x: (jax.random.normal(key), jnp.sum(x)), given)
    for (drawn, total), (key, x) in zip(found, given, strict=True):
        assert drawn == jax.random.normal(key)
        assert total == jnp.sum(x)


@pytest.mark.parametrize(
    ("k", "matrices", "message"),
    [
        (0, None, "k must be a whole number of at least 1, got 0"),
        (2.0, None, "k must be a whole number"),
        (
            6,
            None,
            r"no leaf that has 6 rows and columns or more: .*'thin' \(5, 2\), 'whole' \(6, 5\), and not.*'table'",
        ),
        (3, {"a": "whole", "b": "thin"}, r"'b': k must be in 1..2 for the leaf 'thin', a matrix \(5, 2\), got 3"),
        (2, {"a": "whole", "b": lambda params: params["whole"]}, r"\['a', 'b'\] are the same leaf"),
        (2, {"a": TrackedLeaf("whole", change=True)}, "'a': a diagnosis always covers .* leave out change=True"),
        (2, {"a": "bias"}, r"'a': the leaf 'bias' of shape \(2,\) is no matrix"),
        (2, {"a": "counts"}, "'a': the leaf 'counts' must have a real floating dtype, got int32"),
        (2, {"a": "waves"}, "'a': the leaf 'waves' must have a real floating dtype, got complex64"),
        (2, {"a": "none", "b": "bias"}, "(?s)'a': the parameters have no leaf 'none'.*'b': the leaf 'bias'"),
        (2, {"a": TrackedLeaf("whole", Matricization(0, 2))}, "'a': a matricization needs"),
        (2, {}, "must map names to leaves"),
    ],
)
def test_what_cannot_be_covered_is_refused_by_name(k, matrices, message):
    with pytest.raises(ValueError, match=message):
        planned(loss, WIDE, BATCHES, k, matrices)


def test_matrices_that_are_no_mapping_are_refused():
    with pytest.raises(TypeError, match="must map names to leaves"):
        planned(loss, WIDE, BATCHES, 2, ["whole"])


def test_flat_data_are_refused():
    with pytest.raises(ValueError, match="leading axis runs over the batches"):
        planned(loss, WIDE, BATCHES[0], 2, None)
