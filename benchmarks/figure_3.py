"""A hundred seeds of Figure 3 with the spectra of all layers at every step: seconds after compilation.

d = 30, r = 3, L = 3, 50 steps, 51 observations. Beside it, the time that the singular value decompositions alone take:
15300 full ones of 30 x 30 and as many of the values only.
"""

import jax
import jax.numpy as jnp

from benchmarks.timing import median, seconds
from experiments.laws.parsimony.theorem import system as theorem
from experiments.runner.run import observation_times
from experiments.runner.settings import expand, read
from lawlib.dynamics.sweep import grid, plan, sweep

NUM_SEEDS = 100


def measure(num_seeds: int = NUM_SEEDS) -> dict[str, float]:
    """Seconds of the sweep, of its first call with compilation, and of its decompositions alone."""
    config = next(variant.config for variant in expand(read("configs/dln_parsimony.py")) if variant.name == "case1_L3")
    system, key, times = theorem.dynamics(config), jax.random.key(0), observation_times(config)
    members, mesh = grid(num_seeds, {}, "float64"), jax.make_mesh((1,), ("members",))
    cut = plan(system, key, members, (), len(times), on_cpu=jax.default_backend() == "cpu")

    def run() -> list:
        return [s.observations for s in sweep(system, key, members, (), times.tolist(), plan=cut, mesh=mesh)]

    first = seconds(run)
    matrices = jax.random.normal(key, (300, 30, 30), jnp.float64)
    decompose = jax.jit(lambda A: (jnp.linalg.svd(A), jnp.linalg.svd(A, compute_uv=False)))
    alone = median(lambda: decompose(matrices), 5) * num_seeds * config.net.depth * len(times) / len(matrices)
    return {"with_compilation_s": first, "sweep_s": median(run, 3), "decompositions_s": alone}
