"""The small network under an optimizer against the whole one under the same: weights, state, loss; and the refusals."""

import functools as ft

import chex
import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.linalg
from draws import low_rank_matrix, orthogonal_layers
from jax import lax
from optax import contrib
from optimizers import EQUIVARIANT, MORE_EQUIVARIANT, OF_ENTRIES, projected

from lawlib import compress
from lawlib.compress.block_arrays import BlockArray
from lawlib.descent import steps
from lawlib.networks.deep_linear import end_to_end
from lawlib.theory.equivariance import check_transform
from lawlib.theory.parsimony import invariant_frames

SCALE, STEPS = 0.6, 20
SIZES = [(3, 12, 2), (2, 11, 1), (4, 13, 3)]  # depth, width, rank


def problem(sizes, case, dtype=jnp.float64, seed=0):
    depth, width, rank = sizes
    outputs = width if case == 1 else rank
    target = low_rank_matrix(seed, (width, width), rank, dtype)[:outputs] / 4
    return orthogonal_layers(seed, (*[width] * depth, outputs), SCALE, dtype), target


@ft.cache
def reduced(sizes, case, dtype=jnp.float64):
    """W(0), the target, and the reduction."""
    weights, target = problem(sizes, case, dtype)
    return weights, target, reduce(weights, target, sizes[2])


def loss(weights, target):
    return jnp.sum(jnp.square(end_to_end(weights) - target)) / 2


# Compiled as wholes: one by one their operations take longer.
reduce, frames_of = (jax.jit(function, static_argnums=2) for function in (compress.reduce, invariant_frames))
expand, reduced_loss, loss_of = jax.jit(compress.expand), jax.jit(compress.reduced_loss), jax.jit(loss)


def both(transform, sizes, case, dtype=jnp.float64):
    """W(0), the target, the reduction, and after as many steps the iterates of the whole and of the small network."""
    weights, target, reduction = reduced(sizes, case, dtype)
    whole, small = steps.transformed(loss, transform), compress.transformed(transform)

    @jax.jit
    def run(weights, target, reduction):
        one, other = whole.init(weights), small.init(reduction)
        return jax.lax.fori_loop(
            0, STEPS, lambda _, at: (whole.step(at[0], target), small.step(at[1], reduction)), (one, other)
        )

    return weights, target, reduction, *run(weights, target, reduction)


def in_frames(block, frames):
    """The whole array that a block array stands for."""
    array = np.asarray(block.core)
    if len(block.directions) == 2:
        array = scipy.linalg.block_diag(array, np.asarray(block.idle) * np.eye(block.num_idle, dtype=array.dtype))
    elif block.directions == (1,):
        array = np.pad(array, ((0, 0), (0, block.num_idle)))
    for place in block.directions:
        frame = frames[int(block.axes[place].name.split()[1])]
        whole = np.concatenate([frame.active, frame.idle], axis=1).astype(array.dtype)
        array = np.moveaxis(np.tensordot(whole, array, (1, place)), 0, place)
    return array


def assert_the_same_steps(sizes, found, atol):
    weights, target, reduction, whole, small = found
    expanded = expand(reduction, small.weights, weights)
    chex.assert_trees_all_close(expanded, whole.weights, rtol=0, atol=atol)
    frames = frames_of(weights, target, sizes[2])
    leaves = jax.tree.leaves(small.memory, is_leaf=lambda leaf: isinstance(leaf, BlockArray))
    whole_leaves = [in_frames(leaf, frames) if isinstance(leaf, BlockArray) else leaf for leaf in leaves]
    memory = jax.tree.structure(whole.memory).unflatten(whole_leaves)
    chex.assert_trees_all_close(memory, whole.memory, rtol=10 * atol, atol=10 * atol)
    losses = reduced_loss(reduction, small.weights), loss_of(whole.weights, target)
    np.testing.assert_allclose(*losses, rtol=100 * atol)
    assert max(float(np.abs(W - start).max()) for W, start in zip(whole.weights, weights, strict=True)) > 0.02


# Each optimizer in one case or the other, the first ones in both.
IN_DOUBLE = [(name, SIZES[(i + case) % 3], case) for i, name in enumerate(EQUIVARIANT) for case in (1, 2)]
IN_SINGLE = [(name, SIZES[i % 3], 1 + i % 2) for i, name in enumerate(EQUIVARIANT)]


@pytest.mark.parametrize(("name", "sizes", "case"), IN_DOUBLE, ids=str)
def test_the_small_network_takes_the_steps_of_the_whole_one(name, sizes, case):
    assert_the_same_steps(sizes, both(EQUIVARIANT[name], sizes, case), atol=1e-12)


@pytest.mark.parametrize(("name", "sizes", "case"), IN_SINGLE, ids=str)
def test_the_small_network_takes_the_same_steps_in_single_precision(name, sizes, case):
    assert_the_same_steps(sizes, both(EQUIVARIANT[name], sizes, case, jnp.float32), atol=2e-4)


@pytest.mark.parametrize(("name", "case"), [(name, 1 + i % 2) for i, name in enumerate(MORE_EQUIVARIANT)])
def test_options_that_count_steps_or_depend_on_sizes_and_losses_are_those_of_the_whole_network(name, case):
    # optax accumulates with weights in float32.
    atol = 1e-6 if name == "accumulation" else 1e-11
    assert_the_same_steps(SIZES[0], both(MORE_EQUIVARIANT[name], SIZES[0], case), atol=atol)


@pytest.mark.parametrize("name", OF_ENTRIES)
def test_steps_on_single_entries_are_refused_with_their_defect(name):
    *_, reduction = reduced(SIZES[0], 1)
    with pytest.raises(ValueError, match=r"does not commute with rotations: it applies .* single entries.*defect 0\."):
        compress.transformed(OF_ENTRIES[name]).init(reduction)


@pytest.mark.parametrize(
    ("transform", "reason"),
    [
        (optax.lbfgs(), r"commutes with rotations \(defect .*e-1.*asks for the loss at other weights"),
        (contrib.muon(0.1, preconditioning="aol"), r"not commute with rotations: it applies 'abs'"),
        (optax.noisy_sgd(0.1, key=jax.random.key(0)), r"not commute .* builds an array of a layer's shape"),
        (projected(2, optax.sgd(0.1)), "picks rows, columns or singular vectors"),
        (optax.centralize(), "single rows, columns or entries"),
        (optax.sgd(0.1, momentum=0.9, accumulator_dtype=jnp.bfloat16), "'convert_element_type' to the single entries"),
        (contrib.muon(0.1, mu_dtype=jnp.bfloat16), "'convert_element_type' to the single entries"),
        (optax.stateless(lambda G, _: jax.tree.map(lambda g: lax.reduce_precision(g, 5, 1), G)), "'reduce_precision'"),
        (optax.chain(optax.centralize(), optax.sgd(1e200)), "not known, as it diverges"),
    ],
    ids=["line search", "aol", "noise", "galore", "centralize", "short memory", "short Muon", "few bits", "diverging"],
)
def test_what_cannot_be_reduced_is_refused_with_the_reason(transform, reason):
    *_, reduction = reduced(SIZES[0], 1)
    with pytest.raises(ValueError, match=reason):
        compress.transformed(transform).init(reduction)


def test_the_polar_factor_is_refused_where_gradients_have_singular_values_of_0():
    def polar(G):
        U, _, Vt = jnp.linalg.svd(G, full_matrices=False)
        return -0.02 * U @ Vt

    exact = optax.stateless(lambda gradients, _: jax.tree.map(polar, gradients))
    compress.transformed(exact).init(reduced(SIZES[0], 1)[-1])
    with pytest.raises(ValueError, match=r"it takes singular vectors.*Case 2"):
        compress.transformed(exact).init(reduced(SIZES[0], 2)[-1])


def test_a_refusal_has_its_defect_under_jit_too():
    *_, reduction = reduced(SIZES[0], 2)
    with pytest.raises(ValueError, match=r"defect 0\."):
        jax.jit(compress.transformed(OF_ENTRIES["sign"]).init)(reduction)


def test_what_is_no_transformation_and_what_has_other_widths_is_refused():
    with pytest.raises(TypeError, match=r"wanted, with functions init and update, such as optax\.sgd\(0\.1\), got"):
        check_transform(optax.sgd)
    weights = orthogonal_layers(0, (12, 14, 12), SCALE)
    reduction = reduce(weights, problem(SIZES[0], 1)[1], 2)
    with pytest.raises(ValueError, match=r"all layers have one width .* use compress\.step"):
        compress.transformed(optax.sgd(0.1)).init(reduction)


def where_small(constant):
    """A step with a constant in place of gradients of a small norm."""
    return optax.stateless(
        lambda gradients, _: jax.tree.map(lambda G: -0.1 * jnp.where(jnp.linalg.norm(G) > 0.01, G, constant), gradients)
    )


@pytest.mark.parametrize("case", [1, 2])
@pytest.mark.parametrize(
    ("transform", "reason"),
    [
        (
            where_small(1.0),
            r"cannot be reduced: it puts a constant in place of a layer's array where a condition holds",
        ),
        (optax.lookahead(optax.sgd(0.1), 5, 0.5), r"fails with .*'fast'.*shapes \[\(12, 12\), .*inner transformation"),
    ],
    ids=["constant", "pairs"],
)
def test_what_is_not_a_step_of_the_small_network_is_refused_at_the_start(transform, reason, case):
    with pytest.raises(ValueError, match=reason):
        compress.transformed(transform).init(reduced(SIZES[0], case)[-1])


def test_an_iterate_of_another_reduction_or_of_gradient_descent_is_refused():
    small, given, other = (
        compress.transformed(optax.sgd(0.1)),
        *(reduced(s, 1)[-1] for s in SIZES[:2]),
    )
    with pytest.raises(ValueError, match=r"iterate of this reduction.*\(4, 4\)\], got \[\(2, 2\)"):
        small.step(small.init(other), given)
    with pytest.raises(ValueError, match="made by the init beside it, with an idle value for each layer"):
        small.step(compress.init(given), given)


def test_complex_weights_are_refused():
    *_, given = reduced(SIZES[1], 1)
    start = given.start._replace(weights=tuple(W.astype(complex) for W in given.start.weights))
    with pytest.raises(ValueError, match="weights must be real, got complex128"):
        compress.transformed(optax.sgd(0.1)).init(given._replace(start=start))


def test_many_networks_are_trained_in_one_program():
    """The start, the steps and the way back under jit and vmap, against a network at a time."""
    muon = compress.transformed(contrib.muon(0.02))

    def end(seed_weights, target):
        reduction = compress.reduce(seed_weights, target, 2)
        small = jax.lax.fori_loop(0, 5, lambda _, at: muon.step(at, reduction), muon.init(reduction))
        return compress.expand(reduction, small.weights, seed_weights)

    pairs = [problem(SIZES[0], 1, seed=seed) for seed in range(2)]
    together = jax.jit(jax.vmap(end))(*jax.tree.map(lambda *xs: jnp.stack(xs), *pairs))
    chex.assert_trees_all_close(jax.tree.map(lambda x: x[1], together), jax.jit(end)(*pairs[1]), rtol=0, atol=1e-11)


def test_no_array_grows_faster_than_the_width():
    width = 100_000
    (left,), (right,) = (orthogonal_layers(seed, (2, width), 1.0) for seed in range(2))
    target = compress.LowRank(left, jnp.asarray([2.0, 1.0]), right)
    draw = jax.jit(compress.draw_reduction, static_argnames="depth")
    reduction = draw(jax.random.key(1), target, depth=3, scale=0.1)
    muon = compress.transformed(contrib.muon(0.01, consistent_rms=0.2))
    start = jax.jit(muon.init)(reduction)
    step = jax.jit(lambda at: muon.step(at, reduction))
    # Of the reduction a step reads the small target alone, besides shapes.
    assert 0 < max(_sizes(step.trace(start).jaxpr.jaxpr)) < 100
    after = step(start).weights
    # The first step of Muon is 0.01 * 0.2 sqrt(d) phi(v / ||V||): the factor depends on the width of the whole layer.
    moved = np.linalg.norm(after.weights[1] - reduction.start.weights[1], 2)
    assert 0.6 < moved / (0.01 * 0.2 * width**0.5) < 1.3


def _sizes(jaxpr):
    for equation in jaxpr.eqns:
        yield from (int(np.prod(out.aval.shape)) for out in equation.outvars)
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            yield from _sizes(inner)
