"""Sample compression: gradient descent on n = 1000 samples against the s = 4 that say the same.

d = 64, m = 32, L = 3, d_w = 128, float64, 500 steps of size 1e-2 with weight decay 1e-3, both programs compiled. The
compression itself, once a run, is timed apart.
"""

import functools as ft

import jax
import jax.numpy as jnp

from benchmarks.timing import alternate, median
from lawlib.compress.samples import compress_samples
from lawlib.descent.rates import fan_in_weights
from lawlib.descent.steps import Iterate, gradient_descent, sum_squared_error
from lawlib.problems.inverse import draw_problem
from lawlib.types import Matrix, Scalar, Weights

SIZES = {"dimension": 64, "num_measurements": 32, "subspace_dimension": 4, "num_samples": 1000}
WIDTHS = (32, 128, 128, 64)
NUM_STEPS, STEP_SIZE, WEIGHT_DECAY = 500, 1e-2, 1e-3


def measure() -> dict[str, float]:
    """Microseconds a step, their ratio, the largest difference of a weight, and the seconds of the compression."""
    key_data, key_weights = jax.random.split(jax.random.key(0))
    data = draw_problem(key_data, **SIZES, dtype=jnp.float64)
    weights = fan_in_weights(key_weights, WIDTHS, jnp.float64)
    compress = jax.jit(ft.partial(compress_samples, rank=SIZES["subspace_dimension"]))
    few = compress(data.measurements, data.signals)
    all_samples = ft.partial(_descend, weights, data.measurements, data.signals)
    few_samples = ft.partial(_descend, weights, few.inputs, few.targets)
    slow, fast, ratios = alternate(all_samples, few_samples, 3)
    gaps = [float(jnp.max(jnp.abs(W - V))) for W, V in zip(all_samples(), few_samples(), strict=True)]
    return {
        "all 1000 samples: us a step": slow / NUM_STEPS * 1e6,
        "4 samples: us a step": fast / NUM_STEPS * 1e6,
        "speed-up, median": sorted(ratios)[1],
        "speed-up, smallest": min(ratios),
        "largest difference of a weight after 500 steps": max(gaps),
        "compression, seconds": median(lambda: compress(data.measurements, data.signals), 5),
    }


def _loss(weights: Weights, inputs: Matrix, targets: Matrix) -> Scalar:
    return sum_squared_error(ft.reduce(lambda Z, W: W @ Z, weights, inputs), targets)


@jax.jit
def _descend(weights: Weights, inputs: Matrix, targets: Matrix) -> Weights:
    descent = gradient_descent(_loss)

    def step(_: int, at: Iterate) -> Iterate:
        return descent.step(at, inputs, targets, step_size=STEP_SIZE, weight_decay=WEIGHT_DECAY)

    return jax.lax.fori_loop(0, NUM_STEPS, step, descent.init(weights)).weights
