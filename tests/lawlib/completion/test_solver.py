"""The solver on targets that are known, its pieces against dense algebra, and its refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lawlib.completion import compressed_network, fitting, layouts, stopping
from lawlib.completion.compressed_network import Factors, entries_of
from lawlib.completion.entries import Entries, UnrecoverableWarning
from lawlib.completion.momentum import entrywise, restarted_momentum
from lawlib.completion.solver import complete
from lawlib.completion.spectral_init import spectral_init, trimming_weights
from lawlib.compress import Bases


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
    ],
)
def test_what_is_out_of_range_is_refused(options, message):
    entries = observed(low_rank((20, 12), 2), 0.5)
    with pytest.raises(ValueError, match=message):
        complete(jax.random.key(0), entries, **{"rank": 2, **options})


def test_whole_numbers_and_finite_values_are_asked_for():
    entries = observed(low_rank((20, 12), 2), 0.5)
    for options in ({"rank": 2.0}, {"depth": 2.5}, {"max_steps": 10.5}):
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
    factors = Factors(*(jax.tree.map(lambda x: jnp.asarray(x, dtype), part) for part in (U, (W1, W2, W3), V)))
    dense = U @ W3 @ W2 @ W1 @ V.T
    left, right = compressed_network.two_factors(factors)
    np.testing.assert_allclose(compressed_network.product(factors), dense, atol=tol(left) * np.abs(dense).max())
    rows, columns = np.asarray([0, 8, 3]), np.asarray([6, 0, 3])
    picked = entries_of(left, right, jnp.asarray(rows), jnp.asarray(columns))
    np.testing.assert_allclose(picked, dense[rows, columns], atol=tol(left) * np.abs(dense).max())
    assert np.isnan(entries_of(left, right, jnp.asarray([9]), jnp.asarray([0])))


def test_the_network_starts_at_its_bases_and_its_scale():
    left, right = np.linalg.qr(np.random.default_rng(0).standard_normal((9, 4)))[0], np.eye(7, 4)
    factors = compressed_network.start(Bases(jnp.asarray(left), jnp.asarray(right)), depth=3, scale=0.5)
    np.testing.assert_allclose(compressed_network.product(factors), 0.125 * left @ right.T, atol=1e-12)
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
    jax.tree.map(lambda u, g: np.testing.assert_allclose(u, -0.1 * g, rtol=1e-12), updates, gradients)
    polyak = entrywise(optax.polyak_sgd())
    polyak.update(gradients, polyak.init(params), params, value=jnp.asarray(1.0))
    signs = entrywise(optax.sign_sgd(0.1))
    updates, _ = signs.update(gradients, signs.init(params), params)
    np.testing.assert_allclose(np.abs(updates["U"]), 0.1 / 10)
    np.testing.assert_allclose(np.abs(updates["W"]), 0.1 / 2)
