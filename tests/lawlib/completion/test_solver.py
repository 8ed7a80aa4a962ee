"""The solver on known targets, easy and hard; its pieces against dense algebra, its stopping rules and its refusals."""

import warnings

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.sparse

from lawlib.completion import centering, fitting, layouts, momentum, solver, stopping
from lawlib.completion.compressed_network import entries_of, product, two_factors
from lawlib.completion.entries import Entries, UnrecoverableWarning, from_coo, from_mask, relative_error
from lawlib.completion.momentum import entrywise, restarted_momentum
from lawlib.completion.solver import complete
from lawlib.completion.spectral_init import spectral_init, trimming_weights
from lawlib.compress import Bases
from lawlib.compress.adapters import Adapter, deep_lora


@pytest.fixture(autouse=True)
def few_loops(monkeypatch):
    """Fewer blocks, hence fewer loops to compile."""
    monkeypatch.setattr(layouts, "MOST_BLOCKS", 2)


def low_rank(shape, rank, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((shape[0], rank)) @ rng.standard_normal((rank, shape[1]))


def observed(matrix, share, dtype="float64", seed=1):
    rng = np.random.default_rng(seed)
    rows, columns = np.nonzero(rng.random(matrix.shape) < share)
    return Entries(rows.astype(np.int32), columns.astype(np.int32), matrix[rows, columns].astype(dtype), matrix.shape)


def recovery_error(found, matrix):
    recovered = np.asarray(found.left, np.float64) @ np.asarray(found.right, np.float64).T
    return np.linalg.norm(recovered - matrix) / np.linalg.norm(matrix)


@pytest.mark.parametrize("dense", [True, False])
def test_a_rectangle_is_recovered_with_its_rank_over_estimated(dense, dtype):
    matrix = low_rank((90, 60), 2)
    found = complete(jax.random.key(0), observed(matrix, 0.4, dtype), 4, dense=dense)
    assert found.converged
    assert found.reason == "tolerance"
    assert found.observed_error <= 2e-4
    assert recovery_error(found, matrix) < 1e-3
    assert found.held_out_error == pytest.approx(recovery_error(found, matrix), rel=0.5)
    assert found.left.shape == (90, 8)
    assert found.left.dtype == dtype


@pytest.mark.parametrize(("dtype", "power"), [("float64", 600), ("float64", -600), ("float32", 80), ("float32", -80)])
def test_the_same_call_serves_every_scale_of_the_data(dtype, power):
    entries = observed(low_rank((60, 60), 2), 0.5, dtype)
    scale = np.asarray(2.0**power, dtype)
    plain, scaled = (
        complete(jax.random.key(3), entries._replace(values=c * entries.values), 2)
        for c in (np.ones_like(scale), scale)
    )
    assert plain.converged
    assert scaled.steps == plain.steps
    np.testing.assert_allclose(scaled.left / scale, plain.left, rtol=1e-6, atol=1e-6)


def test_a_second_call_compiles_nothing():
    entries = observed(low_rank((60, 60), 2), 0.5)
    complete(jax.random.key(3), entries, 2)
    compiled = fitting._stretch._cache_size()
    complete(jax.random.key(3), entries._replace(values=2 * entries.values), 2, max_steps=20)
    assert fitting._stretch._cache_size() == compiled


@pytest.mark.parametrize("depth", [1, 3, 4])
def test_other_depths_recover_from_their_own_scale(depth):
    matrix = low_rank((60, 60), 2)
    found = complete(jax.random.key(0), observed(matrix, 0.5), 2, depth=depth)
    assert found.converged
    assert recovery_error(found, matrix) < 1e-3


def test_zeros_alone_held_out_and_one_value_alone_are_no_divergence():
    matrix = np.zeros((30, 30))
    matrix[0] = 1.0
    mostly_zero = observed(matrix, 0.5)
    found = complete(jax.random.key(1), mostly_zero, 1, held_out=0.02)
    assert found.reason in stopping.CONVERGED
    assert np.isfinite(found.held_out_error)
    alone = Entries(np.asarray([0, 1, 1], np.int32), np.asarray([0, 0, 1], np.int32), np.asarray([2.0, 0, 0]), (8, 8))
    with pytest.warns(UnrecoverableWarning):
        assert np.isfinite(complete(jax.random.key(15), alone, 1, held_out=0.9, max_steps=50).left[:2]).all()


def test_a_step_too_large_returns_the_start_rather_than_worse():
    entries = observed(low_rank((60, 60), 2), 0.5)
    found = complete(jax.random.key(0), entries, 2, transform=optax.sgd(4.0), held_out=0.0)
    assert not found.converged
    assert found.observed_error <= 1 + 1e-6


def test_tighter_tolerances_are_reached_exactly_when_they_say_so():
    matrix = low_rank((60, 60), 2)
    entries = observed(matrix, 0.5)
    found = complete(jax.random.key(3), entries, 2, tolerance=1e-6)
    left, right = np.asarray(found.left), np.asarray(found.right)
    recovered = (left @ right.T)[entries.rows, entries.columns]
    everywhere = np.linalg.norm(recovered - entries.values) / np.linalg.norm(entries.values)
    assert found.converged
    assert found.observed_error <= 1e-6
    # The observed error counts what was fitted; a twentieth of these entries was held out.
    assert everywhere == pytest.approx(found.observed_error, rel=0.5)


@pytest.mark.parametrize(
    ("transform", "max_steps"),
    [
        (optax.sgd(0.1), 3000),
        (optax.sgd(0.1, momentum=0.9, nesterov=True), 1000),
        (entrywise(optax.adam(0.02)), 1000),
        (optax.lbfgs(), 300),
    ],
    ids=["sgd", "nesterov", "adam", "lbfgs"],
)
def test_any_transform_of_optax_recovers(transform, max_steps):
    matrix = low_rank((60, 60), 2)
    found = complete(
        jax.random.key(0), observed(matrix, 0.5), 2, transform=transform, max_steps=max_steps, tolerance=1e-3
    )
    assert found.converged
    assert recovery_error(found, matrix) < 5e-3


def test_noise_is_reported_and_the_best_factors_are_returned():
    matrix = low_rank((100, 100), 2)
    noisy = matrix + 0.1 * np.linalg.norm(matrix) / 100 * np.random.default_rng(2).standard_normal(matrix.shape)
    found = complete(jax.random.key(0), observed(noisy, 0.4), 10)
    # Noise is no failure.
    assert found.converged
    assert found.reason == "error rises"
    assert found.observed_error > 2e-4
    # The held-out error contains the noise itself, a tenth, and the recovery error does not.
    assert 0.1 < found.held_out_error < 0.15
    assert recovery_error(found, matrix) < 0.08


def test_too_large_a_step_is_reported_as_divergence():
    entries = observed(low_rank((60, 60), 2), 0.5)
    with pytest.warns(UserWarning, match="predicted hardly better than by the mean"):
        found = complete(jax.random.key(0), entries, 2, transform=optax.sgd(100.0), max_steps=200)
    assert found.reason == "diverged"
    assert not found.converged
    assert np.isfinite(found.left).all()


def test_steps_end_at_their_number_and_nothing_held_out_is_nan():
    entries = observed(low_rank((60, 60), 2), 0.5)
    found = complete(jax.random.key(0), entries, 2, max_steps=13, held_out=0.0)
    assert (found.steps, found.reason, found.converged) == (13, "steps", False)
    assert np.isnan(found.held_out_error)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 0}, "rank must be in 1..10 for a 20 x 12 matrix"),
        ({"rank": 11}, "rank must be in 1..10"),
        ({"depth": 0}, "depth must be positive"),
        ({"scale": -1.0}, "scale must be positive"),
        ({"tolerance": float("nan")}, "tolerance must be positive"),
        ({"max_steps": 0}, "max_steps must be positive"),
        ({"held_out": 1.5}, "share to hold out"),
        ({"method": "sgd"}, "method must be one of 'deep', 'als', got 'sgd'"),
        ({"ridge": 0.1}, "ridge: only method='als' has this"),
        ({"method": "als", "depth": 2, "scale": 0.1}, "depth, scale: only method='deep' has this"),
        ({"method": "als", "ridge": -1.0}, "ridge must be a finite number and not negative, got -1"),
        ({"method": "als", "ridge": float("nan")}, "ridge must be a finite number"),
        ({"method": "als", "rank": 13}, "rank must be in 1..12 for a 20 x 12 matrix, its smaller side, got 13"),
    ],
)
def test_what_is_out_of_range_is_refused(options, message):
    entries = observed(low_rank((20, 12), 2), 0.5)
    with pytest.raises(ValueError, match=message):
        complete(jax.random.key(0), entries, **{"rank": 2, **options})


def test_whole_numbers_and_finite_values_are_asked_for():
    entries = observed(low_rank((20, 12), 2), 0.5)
    for options in ({"rank": 2.0}, {"depth": 2.5}, {"max_steps": 10.5}, {"rank": None}):
        with pytest.raises(TypeError):
            complete(jax.random.key(0), entries, **{"rank": 2, **options})
    with pytest.raises(ValueError, match="must be finite"):
        complete(jax.random.key(0), entries._replace(values=entries.values * np.nan), 2)
    with pytest.raises(ValueError, match="nothing to complete in a 1 x 1 matrix"):
        complete(jax.random.key(0), Entries(*(np.zeros(1, np.int32),) * 2, np.ones(1), (1, 1)), 1)


def test_only_zeros_are_refused():
    entries = observed(np.zeros((20, 12)), 0.5)
    with pytest.raises(ValueError, match="every observed value is 0"):
        complete(jax.random.key(0), entries, 2)


def test_the_compressed_network_is_its_product(dtype, tol):
    rng = np.random.default_rng(0)
    shapes = [(9, 4), (4, 4), (4, 4), (4, 4), (7, 4)]
    U, W1, W2, W3, V = (rng.standard_normal(shape) for shape in shapes)
    factors = Adapter(*(jax.tree.map(lambda x: jnp.asarray(x, dtype), part) for part in (U, (W1, W2, W3), V)))
    dense = U @ W3 @ W2 @ W1 @ V.T
    left, right = two_factors(factors)
    np.testing.assert_allclose(product(factors), dense, atol=tol(left) * np.abs(dense).max())
    rows, columns = np.asarray([0, 8, 3]), np.asarray([6, 0, 3])
    picked = entries_of(left, right, jnp.asarray(rows), jnp.asarray(columns))
    np.testing.assert_allclose(picked, dense[rows, columns], atol=tol(left) * np.abs(dense).max())
    assert np.isnan(entries_of(left, right, jnp.asarray([9]), jnp.asarray([0])))


def test_the_network_starts_at_its_bases_and_its_scale():
    left, right = np.linalg.qr(np.random.default_rng(0).standard_normal((9, 4)))[0], np.eye(7, 4)
    factors = deep_lora(Bases(jnp.asarray(left), jnp.asarray(right)), depth=3, scale=0.5)
    np.testing.assert_allclose(product(factors), 0.125 * left @ right.T, atol=1e-12)
    assert len(factors.core) == 3


def test_the_guess_is_the_trimmed_svd_undone():
    entries = observed(low_rank((80, 50), 2) * np.linspace(0.2, 2, 50), 0.5)
    values = np.zeros(entries.shape)
    values[entries.rows, entries.columns] = entries.values
    by_row, by_column = (np.asarray(w) for w in trimming_weights(entries))
    for weights, norms in ((by_row, np.linalg.norm(values, axis=1)), (by_column, np.linalg.norm(values, axis=0))):
        limit = np.sqrt(np.mean(norms**2)) / 2
        np.testing.assert_allclose(weights, np.minimum(1, limit / norms))
    left, _, right = np.linalg.svd(by_row[:, None] * values * by_column)
    init = jax.jit(spectral_init, static_argnames="rank")(
        jax.random.key(0), layouts.arrange_sparse(entries), trimming_weights(entries), rank=2
    )
    for found, vectors in (
        (init.left, left[:, :2] / by_row[:, None]),
        (init.right, right[:2].T / by_column[:, None]),
    ):
        expected = np.linalg.qr(vectors)[0]
        np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-4)
    np.testing.assert_allclose(init.norm, np.linalg.norm(init.left.T @ values @ init.right, 2), rtol=1e-10)


def test_restarted_momentum_is_nesterovs_recursion():
    curvature, step_size = np.asarray([1.0, 0.05]), 0.9
    transform = restarted_momentum(step_size)
    y = jnp.asarray([1.0, -1.0])
    state, points = transform.init(y), []
    for _ in range(60):
        updates, state = transform.update(jnp.asarray(curvature) * y, state, y)
        y = optax.apply_updates(y, updates)
        points.append(np.asarray(y))
    x = extrapolated = np.asarray([1.0, -1.0])
    since, restarts = 0, 0
    for point in points:
        gradient = curvature * extrapolated
        after = extrapolated - step_size * gradient
        restarts += (uphill := gradient @ (after - x) > 0)
        since = 0 if uphill else since + 1
        extrapolated, x = after + since / (since + 3) * (after - x), after
        np.testing.assert_allclose(point, extrapolated, rtol=1e-12, atol=1e-14)
    assert restarts > 0


def test_entrywise_leaves_gradient_descent_alone_and_scales_signs_by_size():
    rng = np.random.default_rng(0)
    shapes = {"U": (100, 2), "W": (4, 4)}
    params, gradients = (
        {name: jnp.asarray(rng.standard_normal(shape)) for name, shape in shapes.items()} for _ in range(2)
    )
    descent = entrywise(optax.sgd(0.1))
    updates, _ = descent.update(gradients, descent.init(params), params)
    chex.assert_trees_all_close(updates, jax.tree.map(lambda g: -0.1 * g, gradients), rtol=1e-12)
    polyak = entrywise(optax.polyak_sgd())
    polyak.update(gradients, polyak.init(params), params, value=jnp.asarray(1.0))
    signs = entrywise(optax.sign_sgd(0.1))
    updates, _ = signs.update(gradients, signs.init(params), params)
    np.testing.assert_allclose(np.abs(updates["U"]), 0.1 / 10)
    np.testing.assert_allclose(np.abs(updates["W"]), 0.1 / 2)


# Spread spectra, means, noise, and the rules of stopping -------------------------------------------------------------


ROWS, COLUMNS = 150, 100


def additive(rng):
    return 3 + rng.standard_normal((ROWS, 1)) + rng.standard_normal((1, COLUMNS))


def with_values(rng, values):
    left, right = (np.linalg.qr(rng.standard_normal((size, len(values))))[0] for size in (ROWS, COLUMNS))
    return left * np.asarray(values) @ right.T


def gaussian(rng, rank):
    return rng.standard_normal((ROWS, rank)) @ rng.standard_normal((rank, COLUMNS))


HARD = {
    "mean": lambda rng: 10 + gaussian(rng, 3),
    "mean, rows, columns": lambda rng: additive(rng) + gaussian(rng, 2),
    "spread": lambda rng: with_values(rng, [50.0, 1.0]),
}


def least_squares(matrix, seen, rank, ridge, sweeps=60):
    """Alternating least squares in numpy from the leading singular vectors."""
    shown = np.where(seen, matrix, 0.0)
    _, s, Vt = np.linalg.svd(shown, full_matrices=False)
    V = Vt[:rank].T * np.sqrt(s[:rank] / seen.mean())

    def rows(shown, seen, V):
        grams = np.einsum("ij,jk,jl->ikl", seen.astype(float), V, V) + ridge * np.eye(rank)
        return np.linalg.solve(grams, (shown @ V)[..., None])[..., 0]

    for _ in range(sweeps):
        U = rows(shown, seen, V)
        V = rows(shown.T, seen.T, U)
    return U @ V.T


@pytest.mark.parametrize("name", HARD)
def test_a_spread_spectrum_is_recovered_to_three_times_the_error_of_least_squares(name):
    matrix = HARD[name](np.random.default_rng(0))
    # The same entries for all, and so the same programs.
    seen = np.random.default_rng(1).random(matrix.shape) < 0.3
    found = complete(jax.random.key(0), (matrix, seen), 8)
    rival = np.linalg.norm(least_squares(matrix, seen, 4, 1e-3) - matrix) / np.linalg.norm(matrix)
    assert (found.converged, found.reason) == (True, "tolerance")
    assert recovery_error(found, matrix) < 3 * rival
    assert found.steps < 500
    assert recovery_error(found, matrix) == pytest.approx(found.held_out_error, rel=0.6)


def test_steps_grow_by_less_than_the_condition_number():
    """About its square root: U and V turn towards small directions at rates that shrink with them, the core does not.

    Gradient descent takes steps in proportion to the condition number, a slope of 1.
    """
    conditions, steps = np.asarray([10.0, 100.0, 1000.0]), []
    seen = np.random.default_rng(1).random((ROWS, COLUMNS)) < 0.5
    for condition in conditions:
        matrix = with_values(np.random.default_rng(2), [1.0, 1 / condition])
        found = complete(jax.random.key(0), (matrix, seen), 4, tolerance=1e-3 / condition)
        assert found.reason == "tolerance"
        steps.append(found.steps)
    assert np.polyfit(np.log(conditions), np.log(steps), 1)[0] < 0.7


@pytest.mark.parametrize("level", [0.2, 1.0])
def test_noise_ends_the_descent_early_and_is_no_failure(level):
    rng = np.random.default_rng(3)
    matrix = gaussian(rng, 3)
    seen = rng.random(matrix.shape) < 0.4
    noisy = matrix + level * matrix.std() * rng.standard_normal(matrix.shape)
    found = complete(jax.random.key(0), (noisy, seen), 8)
    rival = np.linalg.norm(least_squares(noisy, seen, 8, 1e-3) - matrix) / np.linalg.norm(matrix)
    assert (found.converged, found.reason) == (True, "error rises")
    assert recovery_error(found, matrix) < 0.75 * rival
    # Twenty looks of five steps after the lowest error, of a descent that takes about a hundred to get there.
    assert found.steps < 500


def test_the_preconditioned_step_is_the_dense_one():
    rng = np.random.default_rng(0)
    shapes = [(9, 3), (3, 3), (3, 3), (7, 3)]
    U, W2, W1, V = (rng.standard_normal(shape) for shape in shapes)
    gU, g2, g1, gV = (rng.standard_normal(shape) for shape in shapes)
    transform = momentum.preconditioned(0.5)
    params, gradients = (
        jax.tree.map(jnp.asarray, Adapter(left, (first, second), right))
        for left, second, first, right in ((U, W2, W1, V), (gU, g2, g1, gV))
    )
    moved, _ = transform.update(gradients, transform.init(params), params, value=jnp.asarray(0.02))
    damped = lambda P: np.linalg.inv(P.T @ P + 0.5 * 0.2 * np.eye(3))  # noqa: E731
    expected = Adapter(
        gU @ damped(V @ W1.T @ W2.T),
        (damped(U @ W2) @ g1 @ damped(V), damped(U) @ g2 @ damped(V @ W1.T)),
        gV @ damped(U @ W2 @ W1),
    )
    chex.assert_trees_all_close(moved, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("center", ["rows", "columns", "both"])
def test_levels_are_the_least_squares_and_come_back_with_the_factors(center):
    rng = np.random.default_rng(4)
    matrix = additive(rng) + 0.1 * gaussian(rng, 1)
    seen = rng.random(matrix.shape) < 0.3
    entries = from_mask(matrix, seen)
    rows, columns = np.eye(ROWS)[entries.rows], np.eye(COLUMNS)[entries.columns]
    design = {"rows": rows, "columns": columns, "both": np.concatenate([rows, columns], 1)}[center]
    fitted = design @ np.linalg.lstsq(design, entries.values, None)[0]
    a, b = centering.levels(entries, center)
    np.testing.assert_allclose(a[entries.rows] + b[entries.columns], fitted, atol=1e-6)
    found = complete(jax.random.key(0), entries, 5, center=center)
    assert found.reason == "tolerance"
    assert recovery_error(found, matrix) < 3e-4
    assert found.left.shape == (ROWS, 12)


def test_additive_data_are_their_levels():
    matrix = additive(np.random.default_rng(5))
    found = complete(jax.random.key(0), (matrix, np.random.default_rng(6).random(matrix.shape) < 0.3), 2, center="both")
    assert (found.steps, found.reason) == (0, "tolerance")
    assert recovery_error(found, matrix) < 1e-4
    with pytest.raises(ValueError, match="center must be one of None, 'rows', 'columns', 'both', got 'mean'"):
        complete(jax.random.key(0), from_mask(matrix, np.ones(matrix.shape)), 2, center="mean")


def test_lines_without_entries_are_nan_or_at_the_others_level():
    rng = np.random.default_rng(7)
    matrix = 5 + gaussian(rng, 1)[:40, :30]
    seen = rng.random(matrix.shape) < 0.6
    seen[3], seen[:, 7] = False, False
    hidden = np.where(seen, matrix, np.nan)
    with pytest.warns(UnrecoverableWarning) as caught:
        found = complete(jax.random.key(0), hidden, 3)
    assert {warning.filename for warning in caught} == {__file__}
    whole = np.asarray(found.left @ found.right.T)
    assert (found.empty_rows, found.empty_columns) == (1, 1)
    unseen = np.zeros_like(seen)
    unseen[3], unseen[:, 7] = True, True
    np.testing.assert_array_equal(np.isnan(whole), unseen)
    assert np.abs(whole - matrix)[~unseen].max() < 0.05
    with pytest.warns(UnrecoverableWarning):
        by_columns = complete(jax.random.key(0), hidden, 3, center="columns", held_out=0.0)
    whole = np.asarray(by_columns.left @ by_columns.right.T)
    np.testing.assert_allclose(np.delete(whole[3], 7), np.nanmean(np.delete(hidden, 7, axis=1), axis=0), rtol=1e-5)
    assert np.isnan(whole[:, 7]).all()


def test_every_form_of_the_entries_is_one_and_the_same():
    rng = np.random.default_rng(8)
    matrix = gaussian(rng, 1)[:30, :20]
    seen = rng.random(matrix.shape) < 0.7
    rows, columns = np.nonzero(seen)
    coo = from_coo(rows, columns, matrix[rows, columns], matrix.shape)
    forms = (
        scipy.sparse.csr_array((coo.values, (rows, columns)), matrix.shape),
        (matrix, seen),
        np.where(seen, matrix, np.nan),
        np.ma.masked_array(matrix, ~seen),
    )
    expected = complete(jax.random.key(0), coo, 2, max_steps=10).left
    for form in forms:
        np.testing.assert_array_equal(complete(jax.random.key(0), form, 2, max_steps=10).left, expected)
    with pytest.raises(TypeError, match="an m x n array with NaN for entries that are not observed, got list"):
        complete(jax.random.key(0), [1.0], 2)
    twice = coo._replace(rows=np.append(rows, rows[0]), columns=np.append(columns, columns[0]))
    with pytest.raises(ValueError, match="must be given once"):
        complete(jax.random.key(0), twice._replace(values=np.append(coo.values, 1.0)), 2)


@pytest.mark.parametrize("unit", [1e-50, 1e50])
def test_entries_beyond_the_dtype_are_refused(unit):
    matrix = gaussian(np.random.default_rng(9), 1)[:20, :12]
    seen = np.ones(matrix.shape)
    with jax.enable_x64(False), pytest.raises(ValueError, match=r"to compute in float32.*jax_enable_x64"):
        complete(jax.random.key(0), (matrix * unit, seen), 1)
    with pytest.raises(ValueError, match="to compute in float64, got"):
        complete(jax.random.key(0), (matrix * 1e307, seen), 1)


@pytest.mark.parametrize(("count", "least"), [(18, 0.8), (400, 0.92)])
def test_the_spread_of_the_held_out_error_covers_the_truth(count, least):
    rng, covered = np.random.default_rng(10), []
    for _ in range(400):
        values = rng.standard_normal(count)
        error, spread = relative_error(0.1 * rng.standard_normal(count), values, 1.0)
        covered.append(abs(error - 0.1) < 2 * spread)
    assert least < np.mean(covered) < 0.99
    assert relative_error(np.ones(1), np.ones(1), 1.0) == (1.0, np.inf)
    assert np.isnan(relative_error(np.ones(0), np.ones(0), 1.0)).all()


def test_the_result_says_how_many_entries_its_estimate_rests_on():
    rng = np.random.default_rng(11)
    matrix = gaussian(rng, 2)
    found = complete(jax.random.key(0), (matrix, rng.random(matrix.shape) < 0.3), 4)
    assert found.held_out_count == pytest.approx(0.05 * 0.3 * matrix.size, rel=0.3)
    assert 0 < found.held_out_spread < found.held_out_error


def scripted(monkeypatch, errors, judged=None, held=True):
    """The descent's rules alone, on errors that are given: what it says and which look's factors it returns."""
    looks = iter(range(len(errors)))
    judged = errors if judged is None else judged

    def stretch(progress, task, last, *, transform):
        at = next(looks)
        factors = Adapter(jnp.full((1, 1), float(at)), (), jnp.ones((1, 1)))
        return fitting._Progress(factors, (), jnp.asarray(errors[at]), last), jnp.asarray(judged[at])

    monkeypatch.setattr(fitting, "_stretch", stretch)
    zero = jnp.zeros(1 if held else 0)
    unseen = fitting._Judged(zero.astype(int), zero.astype(int), zero, jnp.asarray(1.0))
    task = fitting.Task(None, unseen, jnp.asarray(1.0), jnp.asarray(1.0), jnp.asarray(1e-9))
    begun = Adapter(jnp.full((1, 1), -1.0), (), jnp.ones((1, 1)))
    factors, steps, reason = fitting.descend(begun, task, optax.sgd(0.1), stopping.CHECK * len(errors))
    return float(factors.left[0, 0]), steps // stopping.CHECK, reason


def test_the_best_factors_are_returned_after_twenty_looks_without_better(monkeypatch):
    falling = list(np.linspace(0.9, 0.1, 100))
    judged = [0.8, 0.5, *[0.55] * 98]
    assert scripted(monkeypatch, falling, judged) == (1.0, 22, "error rises")
    assert scripted(monkeypatch, falling, judged, held=False) == (1.0, 22, "diverged")
    # Two per cent above the lowest are no rise.
    assert scripted(monkeypatch, falling, [0.8, 0.5, *[0.509] * 98]) == (1.0, 100, "steps")
    assert scripted(monkeypatch, falling, [0.8, 0.5, *[0.511] * 98])[2] == "error rises"


def test_fifty_looks_on_a_floor_are_enough_and_the_start_is_none(monkeypatch):
    on_a_floor = [0.5] * 80
    assert scripted(monkeypatch, on_a_floor, list(np.linspace(0.9, 0.1, 80))) == (50.0, 51, "stalled")
    assert scripted(monkeypatch, [0.95] * 80, list(np.linspace(0.9, 0.1, 80)))[2] == "steps"
    slowly = list(0.5 * (1 - 3e-6) ** np.arange(80))
    assert scripted(monkeypatch, slowly, list(np.linspace(0.9, 0.1, 80)))[2] == "steps"


def test_nothing_moves_after_the_tolerance():
    rng = np.random.default_rng(12)
    matrix = gaussian(rng, 1)
    seen = rng.random(matrix.shape) < 0.5
    whole = complete(jax.random.key(0), (matrix, seen), 2, held_out=0.0)
    exact = complete(jax.random.key(0), (matrix, seen), 2, held_out=0.0, max_steps=whole.steps)
    np.testing.assert_array_equal(whole.left, exact.left)
    assert whole.observed_error <= 3e-5
    assert complete(jax.random.key(0), (matrix, seen), 2, held_out=0.0, max_steps=whole.steps - 1).reason == "steps"


def test_factors_at_the_tolerance_come_back_untouched():
    left, right = (jnp.asarray(np.random.default_rng(15).standard_normal((size, 2))) for size in (8, 6))
    given = from_mask(1.0001 * np.asarray(left @ right.T), np.ones((8, 6)))
    task = fitting.task_of(layouts.arrange_dense(given), given, given, sigma=jnp.ones(()), tolerance=1e-3)
    begun = Adapter(left, (jnp.eye(2),), right)
    found, steps, reason = fitting.descend(begun, task, optax.sgd(0.1), 10)
    assert (steps, reason) == (0, "tolerance")
    chex.assert_trees_all_equal(found, begun, strict=True)


def test_a_floor_where_nothing_is_held_out_is_an_end_and_too_few_steps_are_none():
    rng = np.random.default_rng(14)
    noisy = rng.standard_normal((20, 15)), np.ones((20, 15))
    found = complete(jax.random.key(0), noisy, 2, held_out=0.0)
    assert (found.reason, found.converged) == ("stalled", True)
    few = complete(jax.random.key(0), noisy, 2, held_out=0.0, max_steps=5)
    assert (few.reason, few.converged) == ("steps", False)


def test_the_loss_is_that_of_the_fullest_line_and_a_step_the_inverse_of_its_curvature(monkeypatch):
    """A line seen whole among sparse ones: with the mean density the step would be too large for it."""
    rng = np.random.default_rng(13)
    seen = rng.random((ROWS, COLUMNS)) < 0.2
    seen[:5], seen[:, :5] = True, True
    entries = from_mask(gaussian(rng, 2), seen)
    assert fitting._fullest_share(entries) == 1.0
    for depth, scale in ((1, 3e-4), (2, 3e-4), (3, 3.4e-6 ** (1 / 3)), (4, 3.4e-6**0.25)):
        assert solver._default_scale(depth) == pytest.approx(scale)
        x, g = jnp.ones((3, 2)), jnp.ones((3, 2))
        params = Adapter(x, (jnp.eye(2),) * depth, x)
        made = solver._default_transform(depth)
        moved, _ = made.update(Adapter(g, (jnp.eye(2),) * depth, g), made.init(params), params, value=jnp.asarray(0.5))
        gram = np.ones((2, 2)) * 3 + 0.5 * np.eye(2)
        np.testing.assert_allclose(moved.left, -np.ones((3, 2)) @ np.linalg.inv(gram) / (depth + 2) * 1.25, rtol=1e-9)
    found = complete(jax.random.key(0), entries, 4)
    assert found.reason == "tolerance"


def test_a_mean_that_hides_the_rest_is_told():
    """A relative error of .3 % is all there is to find beside a mean 300 times as large."""
    rng = np.random.default_rng(0)
    matrix = 500 + rng.standard_normal((120, 3)) @ rng.standard_normal((3, 80)) + 0.1 * rng.standard_normal((120, 80))
    seen = rng.random(matrix.shape) < 0.4
    entries = from_mask(matrix.astype(np.float32), seen)
    with pytest.warns(UserWarning, match=r"hardly better than by the mean of the others .*center='both'"):
        found = complete(jax.random.key(0), entries, 8)
    missed = np.asarray(found.left) @ np.asarray(found.right).T - matrix
    assert np.sqrt(np.mean(missed[~seen] ** 2)) > 0.9 * matrix.std()
    assert found.held_out_error < 0.01
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = complete(jax.random.key(0), entries, 8, center="both")
    missed = np.asarray(found.left) @ np.asarray(found.right).T - matrix
    assert np.sqrt(np.mean(missed[~seen] ** 2)) < 0.25 * matrix.std()
