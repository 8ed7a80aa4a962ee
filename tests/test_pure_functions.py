"""Pure functions of lawlib give the same, compiled and not: what numpy finds by another formula."""

import functools as ft

import chex
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from absl.testing import parameterized

from lawlib.descent import schedules, steps
from lawlib.linalg import subspaces
from lawlib.networks.activations import LINEAR
from lawlib.networks.deep_linear import end_to_end
from lawlib.networks.mlp import apply
from lawlib.problems import synthetic
from lawlib.theory import collapse, induced_flow, inverse_problems, parsimony, rank_jumps, rank_jumps_region, smooth_mlp
from lawlib.theory.parsimony_widths import layer_scale

RNG = np.random.default_rng(0)
norm, sqrtm = np.linalg.norm, scipy.linalg.sqrtm


def matrix(rows, columns):
    return RNG.standard_normal((rows, columns))


def frame(rows, columns):
    return np.linalg.qr(matrix(rows, columns))[0]


# Subspaces: two at known angles; a matrix in the blocks of whole bases.
ANGLES = np.array([0.3, 1.1])
U, V = np.eye(6)[:, :2], np.concatenate([np.diag(np.cos(ANGLES)), np.diag(np.sin(ANGLES)), np.zeros((2, 2))])
LEFT, RIGHT, WHOLE = frame(6, 6), frame(5, 5), matrix(6, 5)
BLOCKS = np.square(LEFT.T @ WHOLE @ RIGHT)
ENERGIES = np.array([BLOCKS[i, j].sum() for i in (np.s_[2:], np.s_[:2]) for j in (np.s_[3:], np.s_[:3])])

# A linear network of two layers and its data; matrices to complete; features of three classes.
W_1, W_2, X, Y, Z = matrix(4, 3), matrix(2, 4), matrix(3, 7), matrix(2, 7), matrix(2, 3)
NETWORK, RESIDUAL = (W_1, W_2), W_2 @ W_1 @ X - Y
A, TARGET, MASK = matrix(4, 3), matrix(4, 3), (matrix(4, 3) > 0).astype(float)
FEATURES, CLASSES = matrix(5, 6), np.repeat(np.eye(3), 2, axis=1)
BY_CLASS = FEATURES.reshape(5, 3, 2)
SEPARATION = np.var(BY_CLASS, axis=2).sum() / 3 / np.var(BY_CLASS.mean(2), axis=1).sum()
ROOT = sqrtm(A.T @ A)

RATES = {"step_size": 0.01, "weight_decay": 0.3}
PHASES = schedules.piecewise([(3, 0.5, 0.1), (2, 0.25, 0.2)], (0.125, 0.3))


def projector(basis):
    return basis @ basis.T


def two_steps(method, weights, *data, **rates):
    descent = method(lambda weights, X, Y: steps.sum_squared_error(end_to_end(weights) @ X, Y))
    start = descent.init(weights)
    return descent.step(descent.step(start, *data, **rates), *data, **rates).weights


def two_steps_in_numpy(momentum):
    before = now = NETWORK
    for _ in range(2):
        residual = now[1] @ now[0] @ X - Y
        gradients = now[1].T @ residual @ X.T, residual @ (now[0] @ X).T
        each = zip(now, gradients, before, strict=True)
        moved = tuple((1 - 0.01 * 0.3) * W - 0.01 * G + momentum * (W - B) for W, G, B in each)
        before, now = now, moved
    return now


# Name, function, arguments, expected.
CASES = [
    ("angles", subspaces.principal_angles, (U, V), ANGLES),
    ("sines", subspaces.sin_theta, (U, V), norm(np.sin(ANGLES))),
    ("distance", subspaces.projector_distance, (U, V), norm(U @ U.T - V @ V.T)),
    ("complement", lambda U: projector(subspaces.complement(U)), (V,), np.eye(6) - V @ V.T),
    (
        "sum",
        lambda U, V: projector(subspaces.orthonormal_sum(U, V, dimension=4).basis),
        (U, V),
        np.diag([1.0, 1, 1, 1, 0, 0]),
    ),
    ("blocks", subspaces.block_energies, (WHOLE, LEFT[:, :2], RIGHT[:, :3]), ENERGIES),
    ("rho_square", ft.partial(parsimony.rho_square, before=0.9, depth=3, momentum=0.5, **RATES), (0.8,), 0.7443232),
    ("rho_wide", ft.partial(parsimony.rho_wide, before=0.9, momentum=0.5, **RATES), (0.8,), 0.7476),
    ("layer_scale", layer_scale, (0.7 * frame(5, 3),), 0.7),
    (
        "spectrum",
        ft.partial(parsimony.predicted_spectrum, rho=-0.5, width=5),
        (np.diag([3.0, 0.1]),),
        np.array([3, 0.5, 0.5, 0.5, 0.1]),
    ),
    ("separation", collapse.separation, (FEATURES, CLASSES), SEPARATION),
    (
        "factor_field",
        ft.partial(induced_flow.factor_field, num_samples=7),
        (NETWORK, Z),
        (-7 * W_2.T @ (W_2 @ W_1 - Z), -7 * (W_2 @ W_1 - Z) @ W_1.T),
    ),
    (
        "operator",
        ft.partial(induced_flow.operator, depth=2, rank=3),
        (A, TARGET),
        A @ np.linalg.inv(ROOT) @ A.T @ TARGET + TARGET @ ROOT,
    ),
    ("regression_error", inverse_problems.regression_error, (NETWORK, X, Y), norm(RESIDUAL) / norm(Y)),
    ("off_subspace", inverse_problems.off_subspace_error, (NETWORK, RIGHT[:3, :2]), norm(W_2 @ W_1 @ RIGHT[:3, :2], 2)),
    (
        "cost",
        ft.partial(rank_jumps.representation_cost, depth=4),
        (A,),
        4 * np.trace(sqrtm(ROOT)),
    ),
    ("observed", rank_jumps.observed_loss, (A, TARGET, MASK), np.mean((A - TARGET)[MASK > 0] ** 2) / 2),
    ("soft_rank", ft.partial(rank_jumps_region.soft_rank, cutoff=4.0), (np.diag([3.0, 1.0, 0.0]),), 1 + 7 / 16),
    (
        "first_layer",
        ft.partial(smooth_mlp.first_layer_gradient, phi=LINEAR),
        (NETWORK, X, Y),
        W_2.T @ RESIDUAL @ X.T,
    ),
    ("network", ft.partial(apply, phi=LINEAR), (NETWORK, X), W_2 @ W_1 @ X),
    ("white", lambda X: synthetic.whiten_symmetric(X).transform, (X,), np.linalg.inv(sqrtm(X @ X.T))),
    ("descent", ft.partial(two_steps, steps.gradient_descent, **RATES), (NETWORK, X, Y), two_steps_in_numpy(0.0)),
    (
        "heavy_ball",
        ft.partial(two_steps, steps.heavy_ball, momentum=0.5, **RATES),
        (NETWORK, X, Y),
        two_steps_in_numpy(0.5),
    ),
    ("schedule", lambda step: schedules.rates_at(PHASES, step).step_size, (np.int32(4),), 0.25),
]


class PureFunctions(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.named_parameters(*CASES)
    def test_what_numpy_finds(self, function, arguments, expected):
        found = self.variant(function)(*jax.tree.map(jnp.asarray, arguments))
        chex.assert_trees_all_close(found, expected, rtol=1e-12, atol=1e-13)
