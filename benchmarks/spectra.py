"""Leading triplets of a gradient, k = 20, against jnp.linalg.svd; and without the gradient.

Matrices of 784 x 784 and 4608 x 4096 with sigma_k / sigma_{k+1} = 30 and a tail that falls evenly to a hundredth; and a
layer of 50,000 x 8,192 whose gradient is never formed, in a process of its own. Each pair runs in turn in one process.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import alternate, seconds
from lawlib.linalg.shifts import Shift, shifted_gradient_products
from lawlib.linalg.spectra import block_krylov_svd, matrix_svd
from lawlib.linalg.subspaces import sin_theta

K, GAP, REPEATS = 20, 30, 5
LAYER, LAYER_RANK, SAMPLES, BATCHES = (50_000, 8_192), 10, 48, 4


def measure() -> dict[str, float]:
    """Times over those of the dense SVD, errors and bounds; the layer's memory."""
    measured = against_svd((784, 784), jnp.float32, 1e-4, REPEATS)
    measured |= against_svd((784, 784), jnp.float64, 1e-6, REPEATS)
    measured |= against_svd((4608, 4096), jnp.float32, 1e-4, 1)
    measured |= {f"layer_{name}": value for name, value in _layer_in_a_process().items()}
    return measured


def against_svd(shape: tuple[int, int], dtype: Any, tolerance: float, repeats: int) -> dict[str, float]:
    """Milliseconds of our triplets and of the dense SVD, their ratio, and what ours are worth."""
    G, left, right = _gapped(shape, dtype)
    key = jax.random.key(1)
    iterative = jax.jit(lambda key, G: matrix_svd(key, G, K, tolerance=tolerance)).lower(key, G).compile()
    dense = jax.jit(lambda G: jnp.linalg.svd(G, full_matrices=False)).lower(G).compile()
    ours, svd = lambda: iterative(key, G), lambda: dense(G)
    if repeats > 1:
        fast, slow, ratios = alternate(ours, svd, repeats)
    else:  # The full decomposition takes most of a minute.
        fast, slow = min(seconds(ours) for _ in range(3)), seconds(svd)
        ratios = [fast / slow]
    found = iterative(key, G)
    error = max(_sine(left, found.svd.left), _sine(right, found.svd.right))
    name = f"{shape[0]}x{shape[1]}_{jnp.dtype(dtype).name}"
    return {
        f"{name}_ms": fast * 1e3,
        f"{name}_svd_ms": slow * 1e3,
        f"{name}_over_svd": float(np.median(ratios)),
        f"{name}_error": error,
        f"{name}_bound": float(found.bound),
        f"{name}_certified": float(found.certified),
        f"{name}_passes": float(found.passes),
    }


def _gapped(shape: tuple[int, int], dtype: Any) -> tuple[jax.Array, np.ndarray, np.ndarray]:
    """Orthogonal by reflections from few random vectors, so that no large decomposition is needed."""
    rng, size = np.random.default_rng(0), min(shape)
    values = np.concatenate([np.linspace(3, 1, K), np.linspace(1, 0.01, size - K) / GAP])
    matrix = np.zeros(shape)
    np.fill_diagonal(matrix, values)
    left, right = np.eye(shape[0], K), np.eye(shape[1], K)
    for _ in range(3):
        u, v = (x / np.linalg.norm(x) for x in (rng.standard_normal((d, 1)) for d in shape))
        matrix -= 2 * u @ (u.T @ matrix)
        matrix -= 2 * (matrix @ v) @ v.T
        left, right = left - 2 * u @ (u.T @ left), right - 2 * v @ (v.T @ right)
    return jnp.asarray(matrix, dtype), left, right


def _sine(truth: np.ndarray, found: jax.Array) -> float:
    return float(sin_theta(jnp.asarray(truth, jnp.float64), jnp.linalg.qr(found.astype(jnp.float64))[0]))


def _layer_in_a_process() -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.spectra", "layer"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _layer() -> dict[str, float]:
    """1/2 ||tanh(W x) - y||^2 over samples of which ten are large: peak memory, time, error of the subspaces."""
    m, n = LAYER
    rng = np.random.default_rng(0)
    W = rng.standard_normal(LAYER, np.float32)
    W /= np.float32(n**0.5)
    W = jnp.asarray(W)
    sizes = np.where(np.arange(SAMPLES) < LAYER_RANK, 1, GAP**-0.5 / 1.5).astype(np.float32)
    X = rng.standard_normal((n, SAMPLES), np.float32) * sizes
    Y = 3 * rng.standard_normal((m, SAMPLES), np.float32) * sizes
    batches = tuple(jnp.asarray(np.stack(np.split(A, BATCHES, axis=1))) for A in (X, Y))

    def search(key: jax.Array, W: jax.Array, batches: tuple) -> Any:
        def loss(shift: Shift, batch: tuple) -> jax.Array:
            x, y = batch
            return jnp.sum(jnp.square(jnp.tanh(W @ x + shift.columns(x)) - y)) / 2

        return block_krylov_svd(
            key, shifted_gradient_products(loss, batches, LAYER), LAYER_RANK, tolerance=1e-5, max_passes=6
        )

    compiled = jax.jit(search).lower(jax.random.key(0), W, batches).compile()
    jax.block_until_ready(W)
    began = time.perf_counter()
    found = jax.block_until_ready(compiled(jax.random.key(0), W, batches))
    taken = time.perf_counter() - began
    memory = compiled.memory_analysis()
    if memory is None:
        msg = "this backend does not count the memory of a compiled program"
        raise RuntimeError(msg)
    # By XLA's count: to the system, pages that were freed before hide it.
    extra = (memory.temp_size_in_bytes + memory.output_size_in_bytes) / 2**20
    left, values, right = _outer(W, X, Y)
    gradient_mb = 4 * m * n / 2**20
    errors = _sine(left[:, :LAYER_RANK], found.svd.left), _sine(right[:, :LAYER_RANK], found.svd.right)
    return {
        "temporaries_and_results_mb": extra,
        "gradient_mb": gradient_mb,
        "extra_over_gradient": extra / gradient_mb,
        "seconds": taken,
        "gap": values[LAYER_RANK - 1] / values[LAYER_RANK],
        "error": max(errors),
        "bound": float(found.bound),
        "certified": float(found.certified),
        "passes": float(found.passes),
    }


def _outer(W: jax.Array, X: np.ndarray, Y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Singular triplets of G = Delta X^T from its two thin factors, in float64 but for W X."""
    out = np.tanh(np.asarray(W @ jnp.asarray(X), np.float64))
    delta = (out - Y) * (1 - out**2)
    (Q, R), (P, S) = (np.linalg.qr(np.asarray(A, np.float64)) for A in (delta, X))
    U, s, Vt = np.linalg.svd(R @ S.T)
    return Q @ U, s, P @ Vt.T


if __name__ == "__main__":
    import experiments  # noqa: F401  (prepares the process before JAX touches a device)

    jax.config.update("jax_enable_x64", True)
    part: dict[str, Callable[[], dict[str, float]]] = {"layer": _layer}
    print(json.dumps(part[sys.argv[1]]() if len(sys.argv) > 1 else measure()))
