"""The runner's overhead: a monitored sweep in segments with checkpoints, against a bare jitted scan of the same step.

d = 100, L = 3, float64, Case 1, 10^4 steps, the loss observed every 100. The runner checks every step for values that
are not finite, cuts the run into segments, fetches observations and writes a checkpoint every 5 s, as configs do.
"""

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks.timing import alternate
from experiments.runner.checkpoints import Checkpoints
from experiments.runner.saving import Saver
from lawlib.descent.steps import gradient_descent, sum_squared_error
from lawlib.dynamics.sweep import grid, plan, sweep
from lawlib.dynamics.system import Dynamics, Hyperparameters, Time
from lawlib.networks.deep_linear import end_to_end
from lawlib.networks.initializers import orthogonal
from lawlib.problems.synthetic import low_rank_target

WIDTH, DEPTH, RANK, NUM_STEPS, EVERY, REPEATS = 100, 3, 5, 10_000, 100, 5


def measure() -> dict[str, float]:
    """Seconds of both, and the overhead as a share: median, least and most over the repeats."""
    system, key = observed_loss(), jax.random.key(0)
    with tempfile.TemporaryDirectory() as folder:
        ran, scanned, ratios = alternate(_runner(system, key, Path(folder)), _bare(system, key), REPEATS)
    return {
        "runner_s": ran,
        "scan_s": scanned,
        "us_per_step": scanned / NUM_STEPS * 1e6,
        "overhead": statistics.median(ratios) - 1,
        "overhead_least": min(ratios) - 1,
        "overhead_most": max(ratios) - 1,
    }


def observed_loss() -> Dynamics:
    """Gradient descent on a deep linear network, its loss observed: the cheapest thing there is to look at."""

    def loss(weights: tuple, target: jax.Array) -> jax.Array:
        return sum_squared_error(end_to_end(weights), target)

    descent = gradient_descent(loss)

    def init(key: jax.Array, hyperparameters: Hyperparameters, shared: tuple) -> tuple:
        key_target, *keys = jax.random.split(key, DEPTH + 1)
        target = low_rank_target(key_target, (WIDTH, WIDTH), RANK, jnp.float64)
        return target, descent.init(tuple(orthogonal(0.5)(k, (WIDTH, WIDTH), jnp.float64) for k in keys))

    def step(_: Time, iterate: tuple, target: jax.Array, shared: tuple) -> tuple:
        return descent.step(iterate, target, step_size=1e-3, weight_decay=0.0)

    return Dynamics(init, step, lambda _, iterate, target, shared: {"loss": loss(iterate.weights, target)})


def _runner(system: Dynamics, key: jax.Array, folder: Path) -> Callable:
    members, mesh = grid(1, {}, "float64"), jax.make_mesh((1,), ("members",))
    times = range(0, NUM_STEPS + 1, EVERY)
    cut = plan(system, key, members, (), len(times), on_cpu=True)

    def run() -> None:
        checkpoints = Checkpoints(folder)
        saver = Saver(checkpoints, every_s=5.0)
        for segment in sweep(system, key, members, (), times, plan=cut, mesh=mesh):
            saver.add({"variant": 0, **segment.position._asdict(), "last": segment.last}, segment)
            if saver.is_due:
                saver.save()
        saver.save()
        checkpoints.clear()

    return run


def _bare(system: Dynamics, key: jax.Array) -> Callable:
    @jax.jit
    def scan(key: jax.Array) -> tuple:
        target, state = system.init(jax.random.fold_in(key, 0), {}, ())

        def stretch(state: tuple, _: None) -> tuple:
            state, _ = lax.scan(lambda s, t: (system.step(t, s, target, ()), None), state, jnp.arange(EVERY))
            return state, system.observe(jnp.asarray(EVERY), state, target, ())

        return lax.scan(stretch, state, length=NUM_STEPS // EVERY)

    return lambda: scan(key)
