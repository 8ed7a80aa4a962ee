"""Alternating least squares against the least squares of numpy, the convex problem behind it, and known targets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import baselines
from lawlib.completion import alternating, complete, layouts, predict
from lawlib.completion.entries import Entries, UnrecoverableWarning, from_coo, from_mask
from lawlib.completion.layouts import arrange_dense, arrange_sparse

SHAPE = 40, 30
ridge_rows = jax.jit(alternating.ridge_rows)


@pytest.fixture(autouse=True)
def one_loop(monkeypatch):
    """One block, hence one loop to compile."""
    monkeypatch.setattr(layouts, "MOST_BLOCKS", 1)


def target(rank=2, seed=0, shape=SHAPE):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((shape[0], rank)) @ rng.standard_normal((rank, shape[1]))


def mask(share, seed=1, shape=SHAPE):
    return np.random.default_rng(seed).random(shape) < share


def als(data, rank, **options):
    return complete(jax.random.key(0), data, rank, method="als", **options)


def error(found, matrix):
    W = np.asarray(found.left, float) @ np.asarray(found.right, float).T
    return np.linalg.norm(W - matrix) / np.linalg.norm(matrix)


@pytest.mark.parametrize("arrangement", [arrange_sparse, arrange_dense])
def test_each_row_is_numpys_least_squares(arrangement, dtype, tol):
    rng = np.random.default_rng(2)
    seen = rng.random(SHAPE) < np.geomspace(0.1, 0.9, SHAPE[0])[:, None]
    seen[3], seen[7] = False, np.arange(SHAPE[1]) < 1  # no entry, and fewer than columns
    values = rng.standard_normal(SHAPE).astype(dtype)
    rows, columns = np.nonzero(seen)
    entries = Entries(rows.astype(np.int32), columns.astype(np.int32), values[seen], SHAPE)
    basis = np.linalg.qr(rng.standard_normal((SHAPE[1], 4)))[0].astype(dtype)
    penalty = np.asarray([0.01, 0.1, 1.0, 10.0])
    found = ridge_rows(arrangement(entries), jnp.asarray(basis), jnp.asarray(penalty, dtype))
    assert found.dtype == dtype
    for row, own, shown in zip(np.asarray(found), seen, np.asarray(values, float), strict=True):
        stacked = np.concatenate([np.asarray(basis, float)[own], np.diag(np.sqrt(penalty))])
        expected = np.linalg.lstsq(stacked, np.concatenate([shown[own], np.zeros(4)]), None)[0]
        np.testing.assert_allclose(row, expected, atol=tol(found))


def test_a_row_is_as_exact_as_its_condition_number_allows():
    """Without the correction the error in float32 is 3e-6: what is added to the diagonals, and a condition squared."""
    rng = np.random.default_rng(3)
    basis = np.linalg.qr(rng.standard_normal((SHAPE[1], 4)))[0].astype(np.float32)
    rows = rng.standard_normal((SHAPE[0], 4))
    matrix = rows @ np.asarray(basis, float).T
    entries = from_mask(matrix.astype(np.float32), mask(0.7))
    found = ridge_rows(arrange_dense(entries), jnp.asarray(basis), jnp.zeros(4, jnp.float32))
    assert np.linalg.norm(np.asarray(found) - rows) < 4e-7 * np.linalg.norm(rows)


@pytest.mark.parametrize("dense", [True, False])
def test_a_matrix_is_recovered_to_rounding_at_its_rank(dense, dtype):
    matrix = target()
    eps = float(np.finfo(dtype).eps)
    found = als((matrix.astype(dtype), mask(0.6)), 2, tolerance=20 * eps, dense=dense)
    assert (found.converged, found.reason, found.left.dtype) == (True, "tolerance", dtype)
    assert (found.left.shape, found.right.shape) == ((40, 2), (30, 2))
    assert error(found, matrix) < 100 * eps
    assert 0 < found.held_out_error < 100 * eps


def test_small_singular_values_take_no_more_sweeps():
    rng = np.random.default_rng(4)
    left, right = (np.linalg.qr(rng.standard_normal((size, 2)))[0] for size in SHAPE)
    found = [als((left * [1.0, s] @ right.T, mask(0.6)), 2, tolerance=1e-9, dense=True) for s in (1.0, 1e-4)]
    assert [one.reason for one in found] == ["tolerance"] * 2
    # A ridge has to fall below the smaller value as well, by 0.7 in a sweep.
    assert found[1].steps - found[0].steps < 2 * np.log(1e4) / -np.log(0.7)


@pytest.mark.parametrize("dense", [True, False])
def test_a_ridge_with_columns_to_spare_solves_the_convex_problem(dense):
    """The minimum over A B^T = W of ridge/2 (||A||^2 + ||B||^2) is ridge ||W||_*."""
    matrix, seen = 100 * target(), mask(0.6)
    ridge = 200.0
    found = als((matrix, seen), 8, ridge=ridge, held_out=0.0, max_steps=400, dense=dense)
    W = np.asarray(found.left @ found.right.T)
    G = np.where(seen, matrix - W, 0.0)
    assert (found.reason, found.ridge) == ("stalled", pytest.approx(ridge))
    assert 0.05 < found.observed_error < 0.5
    assert np.linalg.norm(G, 2) <= ridge * (1 + 1e-5)
    np.testing.assert_allclose(np.sum(G * W), ridge * np.linalg.norm(W, "nuc"), rtol=1e-5)


def test_a_ridge_is_that_of_the_plain_normal_equations():
    matrix, seen = target(), mask(0.6)
    found = als((matrix, seen), 2, ridge=0.5, held_out=0.0, dense=True)
    # The balanced factors of W = left right^T, whose right is orthonormal.
    root = jnp.sqrt(jnp.linalg.norm(found.left, axis=0))[None]
    given = jnp.asarray(matrix), jnp.asarray(seen, float), found.right * root
    np.testing.assert_allclose(jax.jit(baselines.ridge_rows)(*given, 0.5), found.left / root, rtol=1e-4, atol=1e-4)


def test_a_rank_that_is_wrong_shows_in_the_error_of_the_entries_held_out():
    matrix, seen = target(rank=3, shape=(80, 60)), mask(0.5, shape=(80, 60))
    told = {rank: als((matrix, seen), rank, dense=True) for rank in (2, 5)}
    assert told[2].held_out_error > 0.2
    assert abs(told[2].held_out_error - error(told[2], matrix)) < 3 * told[2].held_out_spread
    assert told[2].reason != "tolerance"
    assert error(told[5], matrix) < 1e-3


def test_the_entries_held_out_choose_the_ridge_under_noise():
    shape = 80, 60
    matrix, seen = target(rank=2, shape=shape), mask(0.4, shape=shape)
    noisy = matrix + np.random.default_rng(5).standard_normal(shape)
    found = als((noisy, seen), 6, dense=True)
    assert (found.converged, found.reason) == (True, "error rises")
    bare = als((noisy, seen), 6, ridge=1e-9, max_steps=50, held_out=0.0, dense=True)
    again = als((noisy, seen), 6, ridge=found.ridge, held_out=0.0, dense=True)
    assert error(found, matrix) < 0.7 * error(bare, matrix)
    assert error(again, matrix) < 0.7 * error(bare, matrix)


@pytest.mark.parametrize(("dtype", "power"), [("float64", 600), ("float32", -80)])
def test_the_same_call_serves_every_scale_of_the_data(dtype, power):
    matrix, scale = target().astype(dtype), np.asarray(2.0**power, dtype)
    plain, scaled = (als((c * matrix, mask(0.6)), 2, dense=True) for c in (np.ones_like(scale), scale))
    assert scaled.steps == plain.steps
    assert scaled.ridge / float(scale) == pytest.approx(plain.ridge)
    np.testing.assert_allclose(scaled.left / scale, plain.left, rtol=1e-6)


def test_a_ridge_beyond_the_largest_singular_value_leaves_nothing():
    with pytest.warns(UserWarning, match="hardly better than by the mean"):
        found = als((target(), mask(0.6)), 2, ridge=1e6, dense=True)
    assert np.linalg.norm(found.left @ found.right.T) < 1e-6
    assert found.held_out_error == pytest.approx(1.0)
    assert (found.reason, found.steps) == ("stalled", 51)
    none = als((target(), mask(0.6)), 2, ridge=1e6, held_out=0.0, max_steps=3, dense=True)
    assert np.isfinite(none.left).all()
    assert (none.observed_error, none.reason, none.ridge) == (1.0, "steps", np.inf)


def test_additive_data_are_their_levels_and_no_factor():
    rng = np.random.default_rng(6)
    matrix = 3 + rng.standard_normal((40, 1)) + rng.standard_normal((1, 30))
    found = als((matrix, mask(0.6)), 2, center="both")
    assert (found.steps, found.reason, found.ridge, found.left.shape) == (0, "tolerance", 0.0, (40, 4))
    assert error(found, matrix) < 1e-6


def ratings(seed, shape=(300, 120)):
    """Whole numbers 1..5 with levels, two tastes and noise; users and items of very different counts, some of none."""
    rng = np.random.default_rng(seed)
    activity, fame = rng.lognormal(0, 1, shape[0]), 1 / np.arange(1, shape[1] + 1) ** 0.7
    odds = np.clip(0.25 * np.outer(activity / activity.mean(), fame / fame.mean()), 0, 0.9)
    seen = rng.random(shape) < odds
    seen[:3], seen[:, -2:] = False, False
    levels = 3.5 + 0.4 * rng.standard_normal((shape[0], 1)) + 0.4 * rng.standard_normal((1, shape[1]))
    score = levels + 0.8 * target(2, seed + 1, shape) / 2**0.5 + 0.5 * rng.standard_normal(shape)
    return np.clip(np.rint(score), 1, 5).astype(int), seen


def least_squares_levels(rows, columns, values, shape):
    """The minimum-norm fit of a_i + b_j by numpy."""
    design = np.concatenate([np.eye(shape[0])[rows], np.eye(shape[1])[columns]], 1)
    fit = np.linalg.lstsq(design, values, None)[0]
    return lambda i, j: fit[i] + fit[shape[0] + j]


def test_ratings_are_predicted_better_than_by_levels_of_users_and_items():
    """Whole numbers, noise, heavy tails, and users and items that nobody has rated."""
    stars, seen = ratings(0)
    rows, columns = np.nonzero(seen)
    test = np.random.default_rng(7).random(len(rows)) < 0.2
    test &= (np.bincount(rows[~test], minlength=300)[rows] > 0) & (
        np.bincount(columns[~test], minlength=120)[columns] > 0
    )
    fitted = rows[~test], columns[~test], stars[rows, columns][~test]
    with pytest.warns(UnrecoverableWarning):
        entries = from_coo(*fitted, stars.shape)
    with pytest.warns(UnrecoverableWarning):
        found = als(entries, 2, center="both")
    assert found.empty_rows >= 3
    assert found.empty_columns >= 2
    at, truth = (rows[test], columns[test]), stars[rows, columns][test]
    ours = np.sqrt(np.mean((np.asarray(predict(found, *at)) - truth) ** 2))
    levels = np.sqrt(np.mean((least_squares_levels(*fitted, stars.shape)(*at) - truth) ** 2))
    assert ours < 0.92 * levels
    with pytest.warns(UnrecoverableWarning, match="1 of 1 places .*row 0.*level of the others"):
        assert 2 < predict(found, 0, 5) < 5
