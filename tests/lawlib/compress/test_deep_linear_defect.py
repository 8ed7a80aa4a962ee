"""Which networks have a small equivalent: against the whole network's own descent, and refused where they have none."""

import functools as ft
import itertools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from draws import low_rank_matrix, orthogonal_layers

from lawlib import compress
from lawlib.theory.parsimony_widths import active_dimensions

RANK, STEPS, RATES = 2, 40, {"step_size": 0.02, "weight_decay": 0.3, "momentum": 0.6}


def problem(widths, dtype=jnp.float64, scale=0.9, seed=0):
    target = low_rank_matrix(seed, (max(widths[0], widths[-1]), widths[0]), RANK, dtype)[: widths[-1]]
    return orthogonal_layers(seed, widths, scale, dtype), target


def descend(weights, target, step_size, weight_decay, momentum):
    """Eqs. (4) and (16) of Yaras et al. 2023 in numpy, for a loss 1/2 ||W_{L:1} - Phi||_F^2: the weights at the end."""
    now = before = [np.asarray(W, np.float64) for W in weights]
    for _ in range(STEPS):
        below = list(itertools.accumulate(now, lambda P, W: W @ P, initial=np.eye(now[0].shape[1])))
        above = list(itertools.accumulate(reversed(now), lambda P, W: P @ W, initial=np.eye(len(now[-1]))))[::-1]
        gamma = below[-1] - np.asarray(target, np.float64)
        gradients = [above[i + 1].T @ gamma @ below[i].T for i in range(len(now))]
        moved = [
            (1 - step_size * weight_decay) * W - step_size * G + momentum * (W - B)
            for W, G, B in zip(now, gradients, before, strict=True)
        ]
        before, now = now, moved
    return now


@ft.partial(jax.jit, static_argnums=2)
def small(weights, target, rank):
    """The reduction, and after as many steps of the small network its loss and the unfolded weights; likewise at 0."""
    reduction = compress.reduce(weights, target, rank)
    start = compress.init(reduction)
    end = jax.lax.fori_loop(0, STEPS, lambda _, at: compress.step(at, reduction, **RATES), start).weights
    # Mapped, so that the way back is compiled once.
    both = jax.tree.map(lambda *pair: jnp.stack(pair), reduction.start, end)
    unfolded = jax.vmap(lambda reduced: compress.expand(reduction, reduced, weights))(both)
    return reduction, compress.reduced_loss(reduction, end), unfolded


def apart(weights, target, rank=RANK):
    """By how much the small network differs from the whole one, in loss and entries; how far that moved; the defect."""
    reduction, loss, unfolded = small(weights, target, rank)
    start, end = zip(*map(np.asarray, unfolded), strict=True)
    full = descend(weights, target, **RATES)
    of_full = np.sum((ft.reduce(lambda P, W: W @ P, full) - np.asarray(target)) ** 2) / 2
    pairs = zip((*full, *map(np.asarray, weights)), (*end, *start), strict=True)
    offs = [np.abs(W - U).max() for W, U in pairs]
    moved = max(np.abs(W - np.asarray(V)).max() for W, V in zip(full, weights, strict=True))
    return max(*offs, abs(of_full - float(loss)) / of_full), moved, reduction


WIDTHS = {
    (12, 20, 20, 2): (4, 6, 6),
    (12, 13, 13, 2): (4, 5, 5),
    (12, 9, 9, 2): (6, 4, 4),
    (12, 11, 7, 7, 8, 12, 2): (7, 6, 4, 4, 5, 7),
    (12, 3, 9, 2): (5, 3, 5),  # the narrowest has no idle direction
    (12, 1, 2): (3, 1),  # fewer hidden units than outputs
    (12, 2): (4,),
    # Widths that fall and then rise up to more outputs than the rank: Case 1.
    (12, 9, 12): (6, 4, 6),
    (9, 3, 9): (5, 3, 5),  # the narrowest has no idle direction
    (14, 7, 7, 10): (6, 4, 4, 6),
    (14, 11, 8, 9, 13): (8, 6, 4, 5, 7),
    (12, 12, 12, 5): (6, 6, 6, 4),
    # Widths with a peak, where directions mix.
    (12, 13, 12): (5, 6, 5),
    (12, 13, 12, 2): (5, 6, 5),
    (12, 9, 12, 9, 12, 2): (9, 7, 10, 7, 9),
    (12, 20, 20, 15): (9, 16, 16, 11),
    (9, 5, 12, 5, 9): (7, 5, 10, 5, 7),  # no interval in the third layer: all is mixed
}


@pytest.mark.parametrize(("widths", "sizes"), WIDTHS.items(), ids=map(str, WIDTHS))
def test_layers_of_any_widths_have_an_equivalent(widths, sizes, tol):
    weights, target = problem(widths)
    off, moved, reduction = apart(weights, target)
    bases = len(widths) - (widths[-1] == RANK)
    assert tuple(basis.shape for basis in reduction.bases) == tuple(zip(widths[:bases], sizes, strict=True))
    assert moved > 0.1
    assert max(off, float(reduction.defect)) < tol(target)


@pytest.mark.parametrize("widths", [(12, 20, 20, 2), (14, 11, 8, 9, 13), (12, 13, 12)])
def test_single_precision_has_the_equivalent_to_its_own_rounding(widths, tol):
    weights, target = problem(widths, jnp.float32)
    off, _, reduction = apart(weights, target)
    assert max(off, float(reduction.defect)) < tol(target)


def exactly_of_rank(rank, outputs, width=12):
    """A target whose other singular values are 0 without rounding, so that their vectors are any."""
    rng = np.random.default_rng(rank)
    block = np.zeros((outputs, width))
    block[:rank, 1 : 3 * rank + 1] = rng.standard_normal((rank, 3 * rank))
    return block


TOO_LARGE = [
    ((12,) * 3, 5),
    ((12,) * 4, 4),
    ((12,) * 5, 3),
    ((12, 12, 4), 4),
    ((12,) * 4 + (3,), 3),
    ((12, 14, 12, 4), 4),
]


# In single precision one of square layers, one of Case 2 and one with a peak.
IN_BOTH = [(*case, jnp.float64, 1e-12) for case in TOO_LARGE] + [
    (*TOO_LARGE[place], jnp.float32, 2e-4) for place in (0, 2, 5)
]


@pytest.mark.parametrize("true", [0, 1, 2])
@pytest.mark.parametrize(("widths", "rank", "dtype", "allowed"), IN_BOTH, ids=str)
def test_a_rank_above_the_targets_gives_an_exact_equivalent(widths, rank, true, dtype, allowed):
    """Footnote 3 of Yaras et al. 2023: r^ >= r in place of r, here with weight decay and momentum."""
    weights, _ = problem(widths, dtype)
    off, moved, reduction = apart(weights, jnp.asarray(exactly_of_rank(true, widths[-1]), dtype), rank)
    assert len(reduction.bases[0].T) == active_dimensions(widths, rank).active[0]
    assert moved > 0.1
    assert max(off, float(reduction.defect)) < allowed


def test_a_rank_above_the_targets_serves_where_the_two_spaces_of_the_target_meet(tol):
    """W_{L:1}(0) = I and a symmetric target: the sum of its spaces has r dimensions, and the others are any."""
    weights = tuple(0.9 * jnp.eye(12, dtype=jnp.float64) for _ in range(3))
    target = jnp.diag(jnp.asarray([2.0, 1.0, *[0.0] * 10]))
    for rank in (2, 4):
        off, _, reduction = apart(weights, target, rank)
        assert max(off, float(reduction.defect)) < tol(target)


@pytest.mark.parametrize("factor", [0.0, 0.3, 5.0])
def test_the_last_layer_of_case_2_may_have_any_values(factor, tol):
    """The complements of the bases have no gradient whatever its scale and its singular values."""
    weights, target = problem((12, 12, 15, 2))
    last = factor * jnp.asarray([[1.0], [0.2]]) * weights[-1]
    if factor == 0.0:
        last = weights[-1].at[1].set(weights[-1][0])  # of rank one
    weights = (*weights[:-1], last)
    off, _, reduction = apart(weights, target)
    assert max(off, float(reduction.defect)) < tol(target)


def gaussian(widths):
    rng, pairs = np.random.default_rng(2), itertools.pairwise(widths)
    return tuple(jnp.asarray(rng.standard_normal((out, into)) / into**0.5) for into, out in pairs)


def scaled(widths, place, factor):
    weights, target = problem(widths)
    return tuple(factor * W if layer == place else W for layer, W in enumerate(weights)), target


SQUARE, WIDE = (12, 12, 12, 12), (12, 12, 12, 2)
NONE = {
    "a Gaussian start": ((gaussian(SQUARE), problem(SQUARE)[1]), RANK, "layer 1 is not orthogonal .* layer 3 is not"),
    "a Gaussian start, Case 2": (
        (gaussian(WIDE), problem(WIDE)[1]),
        RANK,
        "basis 1 is not orthonormal.* last layer has",
    ),
    "a layer of another scale": (scaled(SQUARE, 1, 1.2), RANK, r"\(layer 2 is not orthogonal[^;]*\)"),
    "a hidden layer of another scale, Case 2": (scaled(WIDE, 1, 1.2), RANK, r"\(layer 2 is not orthogonal[^;]*\)"),
    "the first layer of another scale": (scaled(SQUARE, 0, 1.2), RANK, r"layer 2 .* layer 3 is not"),
    "a rank told too small": (
        problem(SQUARE),
        1,
        r"\(the target has a part outside the bases, as of a rank above 1[^;]*\)",
    ),
    "a layer off by 1e-6": (
        ((problem(SQUARE)[0][0] + 1e-6, *problem(SQUARE)[0][1:]), problem(SQUARE)[1]),
        RANK,
        "layer 1 is not orth",
    ),
}


@pytest.mark.parametrize(("given", "rank", "message"), NONE.values(), ids=NONE)
def test_a_network_without_an_equivalent_is_refused_in_words(given, rank, message):
    weights, target = given
    with pytest.raises(ValueError, match=rf"defect \S+, tolerance \S+ .*{message}.*tolerance=math.inf"):
        compress.reduce(weights, target, rank)
    allowed = compress.reduce(weights, target, rank, tolerance=math.inf)
    off, *_ = apart(weights, target, rank)
    assert 1e-8 < off < 20 * float(allowed.defect)  # rightly, and the defect says how far
    assert compress.reduce(weights, target, rank, tolerance=1.01 * float(allowed.defect)).defect == allowed.defect
    with pytest.raises(ValueError, match="would not equal the full one"):
        compress.reduce(weights, target, rank, tolerance=0.99 * float(allowed.defect))


@pytest.mark.parametrize("widths", [SQUARE, WIDE])
@pytest.mark.parametrize("place", ["target", 0, 1, 2])
def test_what_is_not_finite_is_refused(widths, place):
    weights, target = problem(widths)
    broken = [W.at[0, 0].set(jnp.nan) if layer == place else W for layer, W in enumerate(weights)]
    target = target.at[0, 0].set(jnp.nan) if place == "target" else target
    with pytest.raises(ValueError, match="defect nan"):
        compress.reduce(tuple(broken), target, RANK)
    assert np.isnan(compress.reduce(tuple(broken), target, RANK, tolerance=math.inf).defect)


def test_under_jit_and_vmap_the_defect_is_returned_for_each_member():
    weights, target = problem(SQUARE)
    factors = jnp.asarray([1.0, 1.2])

    @jax.jit
    @jax.vmap
    def both(factor):
        return compress.reduce((*weights[:-1], factor * weights[-1]), target, RANK).defect

    found = both(factors)
    assert found[0] < 1e-12
    np.testing.assert_allclose(found[1], (1.2**2 - 1) * 12**0.5, rtol=1e-12)


MISFITS = {
    "all is mixed": ((12, 20, 12), r"no direction idles in layers of widths \(12, 20, 12\) with rank=2"),
    "mixed before the outputs": ((7, 14, 7, 2), r"no direction idles in layers of widths \(7, 14, 7, 2\)"),
    "narrow": ((2, 4, 2), r"no direction idles in layers of widths \(2, 4, 2\)"),
    "half of all": ((4, 4, 4), "0 < 2 rank < width, got rank=2 and width=4"),
}


@pytest.mark.parametrize(("widths", "message"), MISFITS.values(), ids=MISFITS)
@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["plain", "jit"])
def test_widths_of_which_no_direction_idles_are_refused(widths, message, wrap):
    weights, target = problem(widths)
    with pytest.raises(ValueError, match=message):
        wrap(lambda weights: compress.reduce(weights, target, RANK))(weights)


def test_shapes_that_do_not_meet_are_refused():
    weights, target = problem(SQUARE)
    with pytest.raises(ValueError, match="do not form a network with a target of shape"):
        compress.reduce((weights[0], weights[1][:7], weights[2]), target, RANK)


def test_unfolding_with_other_weights_is_refused():
    for widths in (SQUARE, WIDE):
        weights, target = problem(widths)
        reduction = compress.reduce(weights, target, RANK)
        other = problem(widths, seed=7)[0]
        for layer in range(len(weights)):
            mixed = tuple(other[i] if i == layer else W for i, W in enumerate(weights))
            with pytest.raises(ValueError, match=f"layer {layer + 1} of W.0. is not the layer that was reduced"):
                compress.expand(reduction, reduction.start, mixed)
        assert compress.expand(reduction, reduction.start, other, tolerance=math.inf)[0].shape == weights[0].shape
        with pytest.raises(ValueError, match=r"layer 1 of W\(0\) is not the layer"):
            compress.expand(reduction, reduction.start, tuple(W[:, :5] for W in weights))


def test_unfolding_tells_weights_that_agree_on_the_bases_alone():
    weights, target = problem(SQUARE)
    reduction = compress.reduce(weights, target, RANK)
    V, U = (np.asarray(basis) for basis in reduction.bases[:2])
    turned = weights[0] - 2 * (np.asarray(weights[0]) - U @ U.T @ np.asarray(weights[0]))  # -W off the bases
    np.testing.assert_allclose(turned @ V, weights[0] @ V, atol=1e-13)
    with pytest.raises(ValueError, match="layer 1"):
        compress.expand(reduction, reduction.start, (turned, *weights[1:]))


def test_a_reduction_of_jit_unfolds_with_its_weights_outside(dtype, tol):
    weights, target = problem(SQUARE, dtype)
    reduction = jax.jit(lambda W, target: compress.reduce(W, target, RANK))(weights, target)
    unfolded = compress.expand(reduction, reduction.start, weights)
    chex.assert_trees_all_close(unfolded, weights, rtol=0, atol=tol(weights[0]))


def low_rank(width=20):
    (left,), (right,) = (orthogonal_layers(seed, (RANK, width), 1.0) for seed in (1, 2))
    return compress.LowRank(left, jnp.asarray([2.0, 1.0]), right)


DRAWN = {
    "a frame that is not orthonormal": ({"left": 1.1 * low_rank().left}, 0.3, "basis 1 is not orthonormal"),
    "a value that is not finite": ({"values": jnp.asarray([2.0, jnp.nan])}, 0.3, "defect nan.*outside the bases"),
    "sides of other lengths": ({"right": low_rank(25).right}, 0.3, "basis 1 is not orthonormal"),
    "no scale": ({}, 0.0, "the scale is not a positive number"),
    "an infinite scale": ({}, math.inf, "the scale is not a positive number"),
}


@pytest.mark.parametrize(("changes", "scale", "message"), DRAWN.values(), ids=DRAWN)
def test_a_drawn_reduction_measures_its_target(changes, scale, message):
    draw = ft.partial(compress.draw_reduction, jax.random.key(0), depth=3)
    assert draw(low_rank(), scale=0.3).defect < 1e-13
    with pytest.raises(ValueError, match=message):
        draw(low_rank()._replace(**changes), scale=scale)
    assert not draw(low_rank()._replace(**changes), scale=scale, tolerance=math.inf).defect < 0.1
