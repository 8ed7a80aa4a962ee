"""Figure 1 of the induced flow: every depth and scale of the target as one program, 10^5 steps of Euler's method each.

m = 50, d_x = 5, d_y = 1, float64, N = 2, 3, 4, 5, 10 and s_Z = 0.1, 0.3, 1, 2 three seeds each: 60 members. Euler's
method alone in a bare loop, and the experiment's: beside Euler's method with half the step, and the adaptive solver
that follows 10^4 intervals.
"""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks.timing import median, seconds
from experiments.laws.induced_flow.rank_one import system as rank_one
from experiments.runner.settings import expand, hyperparameters, load
from lawlib.descent.flows import euler_step
from lawlib.dynamics.sweep import grid, plan, sweep
from lawlib.theory import induced_flow as flow

CONFIG = Path(__file__).parents[1] / "configs" / "induced_flow.py"
STEPS, STEP_S, REPEATS, TIMES = 100_000, 1e-6, 3, (0, 1, 10, 100, 1000, 10_000)


def measure() -> dict[str, float]:
    """Seconds of the bare loop, us of one of its steps, and seconds of the experiment with and without compilation."""
    bare = euler_steps()
    alone = median(bare, REPEATS)
    with_compilation, again = seconds(_beside), seconds(_beside)
    return {
        "members": 60.0,
        "euler_s": alone,
        "euler_us_per_step": alone / STEPS * 1e6,
        "beside_first_s": with_compilation,
        "beside_again_s": again,
    }


def euler_steps() -> Callable[[], jax.Array]:
    """All steps of all members in a bare loop."""
    depths = jnp.tile(jnp.asarray([2.0, 3.0, 4.0, 5.0, 10.0]), 12)
    scales = jnp.repeat(jnp.asarray([0.1, 0.3, 1.0, 2.0]), 15)
    drawn = jax.random.normal(jax.random.key(0), (2, 60, 1, 5))
    unit = drawn / jnp.linalg.norm(drawn, axis=-1, keepdims=True)
    Z = scales[:, None, None] * unit[0]

    @jax.jit
    def run(W: jax.Array) -> jax.Array:
        step = jax.vmap(lambda W, Z, N: euler_step(lambda W: flow.field(W, Z, num_samples=50.0, depth=N), W, STEP_S))
        return lax.fori_loop(0, STEPS, lambda _, W: step(W, Z, depths), W)

    return lambda: run(10 * Z + scales[:, None, None] * unit[1])


def _beside() -> list:
    (config,) = (own for name, own in expand(load(f"{CONFIG}:cpu")) if name == "time")
    scales = {"data.scale": (0.1, 0.3, 1.0, 2.0)}
    members = grid(config.num_seeds, hyperparameters(config) | scales, config.precision)
    system = rank_one.dynamics(config), jax.random.key(0), members, ()
    cut = plan(*system, len(TIMES), on_cpu=True)
    mesh = jax.make_mesh((1,), ("members",))
    return [segment.observations for segment in sweep(*system, TIMES, plan=cut, mesh=mesh)]
