"""A step of Muon on three layers of width 1000, and the same step in the small network; and at width 10^6."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from optax import contrib

from benchmarks.timing import alternate, median, seconds
from lawlib import compress
from lawlib.descent.steps import Descent, sum_squared_error, transformed
from lawlib.networks.deep_linear import end_to_end
from lawlib.networks.initializers import orthogonal, orthogonal_weights
from lawlib.problems.synthetic import low_rank_target

WIDTH, RANK, DEPTH, SCALE, STEP_SIZE, LARGE = 1000, 5, 3, 0.01, 1e-3, 1_000_000
FULL_STEPS, SMALL_STEPS, REPEATS = 2, 2000, 3


def measure() -> dict[str, float]:
    """Seconds a step of both, their ratio in turns of one process, how far apart they end, and a step at d = 10^6."""
    key_target, key_weights = jax.random.split(jax.random.key(0))
    target = low_rank_target(key_target, (WIDTH, WIDTH), RANK, jnp.float64)
    weights = orthogonal_weights(key_weights, (WIDTH,) * (DEPTH + 1), SCALE, jnp.float64)
    reduction = compress.reduce(weights, target, RANK)
    whole = transformed(lambda W: sum_squared_error(end_to_end(W), target), contrib.muon(STEP_SIZE))
    small = compress.transformed(contrib.muon(STEP_SIZE))
    many = jax.jit(lambda at: lax.fori_loop(0, FULL_STEPS, lambda _, at: whole.step(at), at))
    few, start, first = _steps(small, SMALL_STEPS), whole.init(weights), small.init(reduction)
    full, reduced, ratios = alternate(lambda: many(start), lambda: few(first, reduction), REPEATS)
    ended = compress.expand(reduction, _steps(small, FULL_STEPS)(first, reduction).weights, weights)
    pairs = zip(ended, many(start).weights, strict=True)
    return {
        "full_step_s": full / FULL_STEPS,
        "small_step_us": reduced / SMALL_STEPS * 1e6,
        "full_over_small_per_step": full / FULL_STEPS / (reduced / SMALL_STEPS),
        "full_over_small_least": min(ratios) * SMALL_STEPS / FULL_STEPS,
        "largest_difference_of_an_entry": max(float(jnp.abs(one - other).max()) for one, other in pairs),
        **_at_a_million(small, few),
    }


def _steps(small: Descent, num_steps: int) -> Callable:
    return jax.jit(lambda at, of: lax.fori_loop(0, num_steps, lambda _, at: small.step(at, of), at))


def _at_a_million(small: Descent, few: Callable) -> dict[str, float]:
    frame = jax.jit(lambda key: orthogonal(1.0)(key, (LARGE, RANK), jnp.float64))
    left, right = (frame(key) for key in jax.random.split(jax.random.key(1)))
    target = compress.LowRank(left, jnp.linspace(2.0, 1.0, RANK), right)
    reduction = compress.draw_reduction(jax.random.key(2), target, depth=DEPTH, scale=SCALE)
    begun = seconds(lambda: small.init(reduction))
    first = small.init(reduction)
    step = median(lambda: few(first, reduction), REPEATS) / SMALL_STEPS
    return {"init_at_a_million_s": begun, "small_step_at_a_million_us": step * 1e6}
