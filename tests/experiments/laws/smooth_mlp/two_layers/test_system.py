"""Two-layer smooth MLPs: the gradient step, the blocks and bounds that are observed, and a smoke run."""

import functools as ft
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.stats
from synthetic import config_of

from experiments.laws.smooth_mlp.two_layers.system import dynamics
from experiments.runner.settings import expand
from lawlib.networks.activations import ACTIVATIONS

D, K, M, N = 6, 2, 8, 12
SMALL = {"net.width": M, "data.dimension": D, "data.num_classes": K, "data.num_samples": N, "net.scale": 0.3}


def small(name, **fields):
    ((_, config),) = expand(config_of(name, f"variants=({SMALL | fields!r},)"))
    return dynamics(config)


def time(t):
    return jnp.asarray(t, jnp.int32)


@ft.cache
def trained():
    """A small problem of the theorem, its first three weights, and the observations at the second."""
    system = small("mlp_theorem", **{"opt.step_size": 0.1})
    step = jax.jit(lambda state, problem: system.step(time(0), state, problem, ()))
    problem, start = jax.jit(lambda key: system.init(key, {}, ()))(jax.random.key(0))
    second = step(start, problem)
    seen = jax.jit(lambda state: system.observe(time(1), state, problem, ()))(second)
    states = start, second, step(second, problem)
    return jax.tree.map(np.asarray, (problem, [state.state.weights for state in states], seen))


def gradient(W, W_2, X, Y):
    """G_1 of GELU by eq. 12."""
    Z = W @ X
    cdf = scipy.stats.norm.cdf(Z)
    residual = W_2 @ (Z * cdf) - Y
    return (W_2.T @ residual * (cdf + Z * scipy.stats.norm.pdf(Z))) @ X.T, residual


def test_a_step_descends_in_the_first_layer_on_the_sum_loss():
    problem, (start, W, after), seen = trained()
    X, Y = problem.inputs, problem.targets
    np.testing.assert_allclose(X @ X.T, np.eye(D), atol=1e-14)
    np.testing.assert_array_equal(Y, np.repeat(np.eye(K), N // K, axis=1))
    np.testing.assert_allclose(start.T @ start, 0.09 * np.eye(D), atol=1e-14)
    assert problem.last.shape == (K, M)
    assert np.abs(problem.last).max() < 1
    G, residual = gradient(W, problem.last, X, Y)
    np.testing.assert_allclose(after, W - 0.1 * G, rtol=1e-12)
    assert float(seen["loss"]) == pytest.approx(np.sum(residual**2) / 2, rel=1e-12)
    np.testing.assert_allclose(seen["gradient_values"], np.linalg.svd(G, compute_uv=False), rtol=1e-12)


def test_blocks_and_bounds_are_those_of_the_dense_bases():
    problem, (start, W, after), seen = trained()
    data = problem.last, problem.inputs, problem.targets
    (G_0, _), (G, residual) = gradient(start, *data), gradient(W, *data)
    leading = [(U[:, :K], Vt[:K].T) for U, _, Vt in map(np.linalg.svd, (G_0, G))]
    (L_0, R_0), (L, R) = leading
    V_2 = scipy.linalg.null_space(np.hstack([R_0, start.T @ L_0]).T)
    U_2 = start @ V_2 / 0.3
    U, V = np.hstack([scipy.linalg.null_space(U_2.T), U_2]), np.hstack([scipy.linalg.null_space(V_2.T), V_2])

    def blocks(change):
        rotated, (i, j) = U.T @ change @ V, (M - V_2.shape[1], 2 * K)
        parts = rotated[:i, :j], rotated[:i, j:], rotated[i:, :j], rotated[i:, j:]
        return np.array([np.sum(part**2) for part in parts])

    p, s = D - 2 * K, np.linalg.svd(G, compute_uv=False)
    np.testing.assert_allclose(seen["blocks"], blocks(W - start), rtol=1e-9)
    np.testing.assert_allclose(seen["weight_blocks"], blocks(W), rtol=1e-9)
    np.testing.assert_allclose(seen["step_distances"], np.sqrt(blocks(after - W)[1:] / p), rtol=1e-9)
    sines = [np.linalg.norm(np.sin(scipy.linalg.subspace_angles(*pair))) for pair in ((L, L_0), (R, R_0))]
    np.testing.assert_allclose([seen["left_sine"], seen["right_sine"]], sines, rtol=1e-9)
    np.testing.assert_allclose(
        seen["step_bound"], 0.1 * np.sqrt(s[0] ** 2 * max(sines) ** 2 / p + s[K] ** 2), rtol=1e-9
    )
    assert float(seen["gradient_change"]) == pytest.approx(np.linalg.norm(G - G_0), rel=1e-12)
    phi, W_2 = ACTIVATIONS["gelu"], problem.last
    assert float(seen["largest_residual"]) == pytest.approx(np.abs(residual).max(), rel=1e-12)
    steep = phi.mu * np.abs(residual).max() * np.abs(W_2).sum(0).max() + (phi.beta * np.linalg.norm(W_2, 2)) ** 2
    assert float(seen["lipschitz"]) == pytest.approx(steep, rel=1e-12)
    # The random subspace is as large, another one, and keeps all of the change.
    assert seen["random_blocks"].sum() == pytest.approx(np.sum((W - start) ** 2), rel=1e-12)
    assert seen["random_blocks"][0] < 0.9 * seen["blocks"][0]
    # A step divides among the blocks of the same random bases.
    U_2, V_2 = problem.start.random
    np.testing.assert_allclose(V_2.T @ V_2, np.eye(p), atol=1e-14)
    both, left, right = (np.sum(A**2) for A in (U_2.T @ (after - W) @ V_2, U_2.T @ (after - W), (after - W) @ V_2))
    others = np.sqrt(np.array([right - both, left - both, both]) / p)
    np.testing.assert_allclose(seen["random_step_distances"], others, rtol=1e-9)


def test_eps_is_studied_with_the_blocks_and_residuals_of_the_theorem():
    system = small("mlp_epsilon", **{"net.activation": "leaky_relu"})
    problem, state = jax.jit(lambda key: system.init(key, {}, ()))(jax.random.key(0))
    seen = jax.jit(lambda state: system.observe(time(0), state, problem, ()))(state)
    others = small("mlp_gradient_decay", **{"net.activation": "leaky_relu"})
    known = others.observe(time(0), *others.init(jax.random.key(0), {}, ())[::-1], ())
    assert seen.keys() - known.keys() >= {"step_distances", "random_step_distances"}
    assert float(seen["largest_residual"]) == pytest.approx(float(known["largest_residual"]), rel=1e-12)
    W, X, W_2 = (np.asarray(A) for A in (state.state.weights, problem.inputs, problem.last))
    outputs = W_2 @ np.where(W @ X > 0, W @ X, 0.01 * (W @ X))
    assert float(seen["largest_residual"]) == pytest.approx(np.abs(outputs - problem.targets).max(), rel=1e-12)


def test_proposition_b1_has_its_own_start_and_its_bound():
    square = {"net.init": "normal", "net.activation": "relu", "data.num_samples": D, "net.width": 3000}
    system = small("mlp_gradient_tail", **square)
    problem, state, seen = jax.jit(
        lambda key: (*(drawn := system.init(key, {}, ())), system.observe(time(0), *drawn[::-1], ()))
    )(jax.random.key(1))
    W, X, Y, W_2 = (np.asarray(A) for A in (state.state.weights, problem.inputs, problem.targets, problem.last))
    assert W.std() == pytest.approx(0.3 / 3000**0.5, rel=0.03)
    np.testing.assert_allclose(X.T @ X, np.eye(D), atol=1e-14)
    residual = W_2 @ np.maximum(W @ X, 0) - Y
    E, V = W_2.T @ residual, scipy.linalg.null_space(residual)
    low, *_, high = np.linalg.eigvalsh(V.T @ np.diag(np.sum(E**2, 0)) @ V)
    R, log = np.max(np.sum(E**2, 1)), np.log(2 * (D - K) / 0.1)
    expected = np.sqrt(low / 4 - (R * log / 6 + np.sqrt(2 * log * R * high / 16)))
    assert float(seen["relu_bound"]) == pytest.approx(expected, rel=1e-10)
    assert "spread" not in seen


def test_the_smoke_run_of_figures_12_and_13_keeps_its_laws(smoke):
    folder, (code, _, err) = smoke("mlp_gradient_decay")
    assert (code, err) == (0, "")
    rows = json.loads((folder / "claims.json").read_text())["claims"]
    assert {row["id"] for row in rows if row["status"] == "holds"} == {
        "F12.early[GELU]",
        "F12.late[GELU]",
        "F12.values[GELU]",
        "F12.rate[GELU]",
        "F12.leading[GELU]",
        "F13[GELU, eps=0.01]",
    }
    assert {row["id"] for row in rows if row["status"] != "holds"} == {"F12.monotone[GELU]"}
    for name in ("decay", "gradient_tail"):
        assert (folder / "figures" / f"{name}.png").exists()
