"""A network whose gradients and changes have known subspaces: a loss that is linear in every layer.

loss = sum_l <X_l W_l, Y_l> has the gradient X_l^T Y_l, whatever the weights. The two held-out batches are X_l = I with
Y_l = -D_l / 2 and -3 D_l / 2, where D_l is the change of the layer, so that their mean loss is -sum_l <D_l, W_l>.
"""

import functools as ft

import jax
import jax.numpy as jnp
import numpy as np

from lawlib.diagnose import after, before

K, RANKS, DRAWS = 2, (1, 2, 4, 6), 200
SHAPES = {"first": (9, 8), "last": (8, 3), "second": (9, 8)}
BATCHES, SAMPLES = 2, 7


def loss(params, batch):
    return sum(jnp.sum((x @ params[name]) * y) for name, (x, y) in batch.items())


def gapped(rng, shape, values):
    """A matrix with these singular values."""
    frames = [np.linalg.qr(rng.standard_normal((side, len(values))))[0] for side in shape]
    return frames[0] * np.asarray(values) @ frames[1].T


def problem(dtype=np.float64):
    """Weights, batches, the changes of the layers, and held-out data; in numpy."""
    rng = np.random.default_rng(0)
    weights = {name: rng.standard_normal(shape) for name, shape in SHAPES.items()}
    x = {name: rng.standard_normal((BATCHES, SAMPLES, m)) for name, (m, _) in SHAPES.items()}
    batches = {name: (x[name], rng.standard_normal((BATCHES, SAMPLES, n))) for name, (_, n) in SHAPES.items()}
    changes = {name: gapped(rng, shape, [3, 2, 0.5][: min(shape)]) for name, shape in SHAPES.items()}
    changes["first"] += 0.05 * rng.standard_normal(SHAPES["first"])
    held_out = {
        name: (np.stack([np.eye(SHAPES[name][0])] * 2), np.stack([-0.5 * D, -1.5 * D])) for name, D in changes.items()
    }
    return jax.tree.map(lambda held: held.astype(dtype), (weights, batches, changes, held_out))


@jax.jit
def compiled_before(weights, batches):
    return before(jax.random.key(0), loss, weights, batches, k=K)


@jax.jit
def compiled_after(start, weights, held_out):
    return after(jax.random.key(1), start, weights, held_out, ranks=RANKS, draws=DRAWS)


@ft.cache
def started(dtype=None):
    """What is found before training, compiled: by default in float64."""
    weights, batches, _, _ = jax.tree.map(jnp.asarray, problem(dtype or np.float64))
    return compiled_before(weights, batches)


@ft.cache
def reported(dtype=None, frozen=()):
    """The report, compiled; layers may be left as they are."""
    weights, _, changes, held_out = jax.tree.map(jnp.asarray, problem(dtype or np.float64))
    trained = {name: W if name in frozen else W + changes[name] for name, W in weights.items()}
    return compiled_after(started(dtype), trained, held_out)


def big(name):
    """Orthonormal bases of S_big of inputs and outputs of a layer, by dense decompositions."""
    weights, batches, _, _ = problem()
    x, y = batches[name]
    L, s, Rt = np.linalg.svd(sum(one.T @ other for one, other in zip(x, y, strict=True)))
    W, L, R = weights[name], L[:, :K], Rt[:K].T
    sides = [np.linalg.svd(np.concatenate(both, axis=1))[0] for both in ((L, W @ R), (R, W.T @ L))]
    return [frame[:, : 2 * K] for frame in sides], s
