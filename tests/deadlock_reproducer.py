"""Hangs in about a quarter of its runs where XLA sees two cores: LAPACK calls in loops starve its thread pool.

``PYTHONPATH=. NPROC=2 python tests/deadlock_reproducer.py`` shows it; without NPROC, ``experiments`` prevents it.
"""

import experiments  # noqa: F401, I001  (sets NPROC before JAX touches a device)

import jax
import jax.numpy as jnp

jax.config.update("jax_enable_x64", True)


def run(key):
    draw = jax.nn.initializers.orthogonal(1.0)
    weights = tuple(draw(k, (30, 30), jnp.float64) for k in jax.random.split(key, 3))

    def loss(weights):
        return jnp.sum((weights[2] @ weights[1] @ weights[0] - 1) ** 2) / 2

    def step(weights, _):
        weights = jax.tree.map(lambda W, G: W - 1e-3 * G, weights, jax.grad(loss)(weights))
        return weights, jnp.linalg.svd(weights[0], compute_uv=False)

    return jax.lax.scan(step, weights, length=50)[1]


values = jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(0), 32)).block_until_ready()
print(values.shape, bool(jnp.all(jnp.isfinite(values))))
