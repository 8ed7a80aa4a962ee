"""What a tracker may watch and compare with, and what it refuses, by name and all at once."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lawlib.linalg.matricization import Matricization
from lawlib.tracking import Reference, TrackedLeaf, tracker
from lawlib.tracking.tracked_leaves import leaves

M, N, K = 30, 24, 3
PARAMS = {"wide": jnp.ones((M, N)), "conv": jnp.ones((2, 2, 3, 5)), "bias": jnp.ones(M), "count": jnp.ones(3, int)}
ONE = {"wide": "wide"}


def frame(seed, rows, columns, dtype=jnp.float64):
    return jnp.asarray(np.linalg.qr(np.random.default_rng(seed).standard_normal((rows, columns)))[0], dtype)


def made(matrices=ONE, k=K, **options):
    # Without the tests' own check of types, as a user calls it.
    return inspect.unwrap(tracker)(matrices, k, **({"every": 1, "num_steps": 2} | options))


def begun(*given, value=PARAMS, **options):
    return made(*given, **options).init(jax.random.key(0), value)


SKEWED = {
    "scaled": lambda B: 2 * B,
    "turned into itself": lambda B: B.at[:, 0].set(B[:, 1]),
    "all but orthonormal": lambda B: B.at[0, 0].add(1e-3),
    "not finite": lambda B: B.at[0, 0].set(jnp.nan),
}


@pytest.mark.parametrize("skewed", SKEWED.values(), ids=SKEWED)
def test_a_reference_that_is_not_orthonormal_is_refused(skewed, dtype):
    left, right = frame(5, M, 4, dtype), frame(6, N, 7, dtype)
    made(reference={"wide": Reference(left, right)})
    with pytest.raises(ValueError, match=r"left basis is not orthonormal: \S+ B - I\S+ is .*jnp.linalg.qr\(B\)\[0\]"):
        made(reference={"wide": Reference(skewed(left), right)})
    with pytest.raises(ValueError, match="'wide': the reference's right basis is not orthonormal"):
        made(reference={"wide": Reference(left, skewed(right))})


def test_a_traced_reference_is_taken_as_it_is():
    def shape(left, right):
        return jnp.asarray(begun(reference={"wide": Reference(left, right)}).matrices["wide"].last.svd.left.shape)

    np.testing.assert_array_equal(jax.jit(shape)(2 * frame(5, M, 4), frame(6, N, 7)), (M, K))


def test_a_reference_of_numpy_has_the_precision_that_jax_gives_it():
    rng = np.random.default_rng(0)
    bases = (np.linalg.qr(rng.standard_normal((d, 3)))[0] for d in (M, N))
    with jax.enable_x64(False):
        assert made(reference={"wide": Reference(*bases)}) is not None


FRAMES = Reference(frame(5, M, 4), frame(6, N, 7))
BUILT = {
    "a function of the tree": ((lambda p: p["wide"],), {}, "matrices must map names to leaves, .* got function"),
    "no matrix": (({},), {}, "matrices must map names to leaves, .* got none"),
    "a number for a leaf": (({"wide": 3},), {}, "TrackedLeaf.* got 'wide': 3"),
    "no step": ((), {"every": 0}, "every must be a whole number of at least 1, got 0"),
    "half a step": ((), {"every": 2.5}, "every must be a whole number of at least 1, got 2.5"),
    "no steps": ((), {"num_steps": 0, "every": -1}, "every must be .* got -1; num_steps must be .* got 0"),
    "no triplets": ((ONE, 0), {}, "k must be a whole number of at least 1, got 0"),
    "one word": ((), {"against": "start"}, "against must be a tuple of .*'start', 'last'.* got 'start'"),
    "another word": ((), {"against": ("first",)}, "against must be .* got \\('first',\\)"),
    "a word twice": ((), {"against": ("last", "last")}, "against must be .* at most once"),
    "a reference of nothing": ((), {"reference": {"deep": FRAMES}}, r"reference for \['deep'\], the .* \['wide'\]"),
    "one basis": (
        (),
        {"reference": {"wide": FRAMES[0]}},
        r"'wide': a reference is Reference\(left, right\), got Array",
    ),
    "a vector": ((), {"reference": {"wide": FRAMES._replace(left=jnp.ones(M))}}, r"needs the shape .*, got \(30,\)"),
    "no column": ((), {"reference": {"wide": FRAMES._replace(left=jnp.ones((M, 0)))}}, "1 to 30 columns, .* got 0"),
    "too many": ((), {"reference": {"wide": FRAMES._replace(left=jnp.ones((M, 31)))}}, "1 to 30 columns, .* got 31"),
    "whole numbers": (
        (),
        {"reference": {"wide": FRAMES._replace(right=jnp.eye(N, 2, dtype=int))}},
        "right.* got int64",
    ),
}


@pytest.mark.parametrize(("given", "options", "message"), BUILT.values(), ids=BUILT)
def test_what_no_tracker_can_do_is_refused_when_it_is_built(given, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        made(*given, **options)


STARTED = {
    "no such leaf": (({"deep": "deep"},), {}, "'deep': the parameters have no leaf 'deep': they have .*'wide'"),
    "whole numbers": (({"n": "count"},), {}, "'n': the leaf 'count' must have a real floating dtype, got int64"),
    "a vector": (({"b": "bias"},), {}, r"'b': the leaf of shape \(30,\) is no matrix: .*Matricization\("),
    "no matricization": (({"c": "conv"},), {}, r"'c': the leaf of shape \(2, 2, 3, 5\) is no matrix"),
    "an axis twice": (
        ({"c": TrackedLeaf("conv", Matricization((0, 1), 1))},),
        {},
        "'c': the leaf does not fit its matric",
    ),
    "too large for one": (
        ({"wide": "wide", "c": TrackedLeaf("conv", Matricization((0, 1, 2), 3))}, 6),
        {},
        r"^'c': k must be in 1..5 for a matrix of shape \(12, 5\), got 6$",
    ),
    "a computed leaf": (({"two": lambda p: p["wide"] * 2},), {}, "'two': where must pick a leaf .* compute nothing"),
    "turned": (
        (),
        {"reference": {"wide": Reference(*FRAMES[::-1])}},
        r"'wide': .* need \(30, 24\) rows.* got \(24, 30\)",
    ),
    "a tolerance": ((), {"tolerance": -1.0}, "tolerance must be finite and above 0"),
    "too few passes": ((), {"max_passes": 1}, "max_passes must be a whole number of at least 2"),
}


@pytest.mark.parametrize(("given", "options", "message"), STARTED.values(), ids=STARTED)
def test_what_no_observation_can_show_is_refused_at_the_start(given, options, message):
    with pytest.raises(ValueError, match=message):
        begun(*given, **options)


def test_all_problems_are_told_at_once():
    with pytest.raises(ValueError, match="'deep': the parameters have no leaf") as refused:
        begun({"n": "count", "deep": "deep"})
    assert [line[:4] for line in str(refused.value).splitlines()] == ["'n':", "'dee"]
    with pytest.raises(ValueError, match="against") as refused:
        made(against=("first",), reference={"deep": FRAMES, "wide": FRAMES._replace(left=jnp.ones(M))})
    assert len(str(refused.value).splitlines()) == 3


def test_another_matrix_than_at_the_start_is_refused():
    monitor = made()
    tracks = monitor.init(jax.random.key(0), PARAMS)
    with pytest.raises(ValueError, match=r"'wide': the matrix had the shape \(30, 24\) in init, got \(24, 30\)"):
        monitor.update(tracks, 0, {"wide": PARAMS["wide"].T})
    with pytest.raises(ValueError, match=r"a tracker of \['wide'\], not of \['other'\]"):
        made({"other": "wide"}).update(tracks, 0, PARAMS)


def test_leaves_keep_their_names_and_may_be_picked_twice():
    tracked = {"one": TrackedLeaf(lambda p: p["wide"]), "two": TrackedLeaf("wide", Matricization(1, 0))}
    found = leaves(tracked, PARAMS)
    assert list(found) == ["one", "two"]
    assert tracked["two"].matrix(found["two"]).shape == (N, M)
