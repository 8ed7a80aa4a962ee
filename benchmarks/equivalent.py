"""The small equivalent network against the d x d one: d = 1000, r = 5, L = 3, float64; and its setup at d = 10^6.

Both are stepped in loops of their own inside one compiled program, in turn. The d x d step is six products of d x d
matrices, beside what the machine's rate allows for them. Figure 1's whole run is the small network to a mean loss of
1e-10; the d x d network takes the same number of steps (F1.steps of dln_factorization), and its whole run is these
steps times its seconds a step. The picture is the paper's right panel: the loss over wall time, steps times seconds a
step. The setup draws a target's singular vectors apart from the bases, which are timed alone.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from matplotlib.figure import Figure

from benchmarks.timing import alternate, limits, median, seconds
from experiments.runner import plots
from lawlib import compress
from lawlib.descent.steps import Iterate, gradient_descent, sum_squared_error
from lawlib.networks.deep_linear import end_to_end
from lawlib.networks.initializers import orthogonal, orthogonal_weights
from lawlib.problems.synthetic import low_rank_target

WIDTH, RANK, DEPTH, SCALE, STEP_SIZE, TOLERANCE = 1000, 5, 3, 1e-3, 1e-3, 1e-10
FULL_STEPS, SMALL_STEPS, REPEATS, LARGE = 3, 20_000, 5, 1_000_000


def measure() -> dict[str, float]:
    """Seconds a step of both, their ratio, Figure 1's run, and the setup at d = 10^6 with its orthonormality."""
    weights, target, reduction = draw()
    run = jax.jit(to_loss)
    full, small, ratios = alternate(full_steps(weights, target), small_steps(reduction), REPEATS)
    full_step, small_step = full / FULL_STEPS, small / SMALL_STEPS
    with_compilation = seconds(lambda: run(reduction))  # before any other call
    steps = float(run(reduction))
    products = 2 * DEPTH * 2 * WIDTH**3 / limits()["matmul_gflops"] / 1e9
    return {
        "full_step_s": full_step,
        "full_step_at_the_matmul_rate_s": products,
        "small_step_us": small_step * 1e6,
        "full_over_small_per_step": full_step / small_step,
        "full_over_small_least": min(ratios) * SMALL_STEPS / FULL_STEPS,
        "figure_1_with_compilation_s": with_compilation,
        "figure_1_s": median(lambda: run(reduction), REPEATS),
        "figure_1_steps": steps,
        "figure_1_d_x_d_s": steps * full_step,
        **_setup(),
    }


def figure(measured: Mapping[str, float]) -> Figure:
    """Figure 1, right: the loss over wall time."""
    means = np.asarray(jax.jit(_losses)(draw()[2])) / WIDTH**2
    # From the first step on, which a log axis can show, to the tolerance.
    steps = np.arange(1, np.count_nonzero(means > TOLERANCE) + 1)
    times = {"d x d network": measured["full_step_s"], "small equivalent": measured["small_step_us"] / 1e6}
    drawn = plots.figure(5.4, 3.8)
    axes = drawn.subplots()
    for look, (name, step) in zip(plots.looks(len(times)), times.items(), strict=True):
        axes.loglog(steps * step, means[steps], label=name, **look.curve)
    axes.set(xlabel="seconds (steps × measured seconds a step)", ylabel="mean loss")
    axes.set_title(f"d = {WIDTH}, r = {RANK}, L = {DEPTH}, ε = {SCALE:g}")
    axes.legend(loc="lower center")
    return drawn


def _losses(reduction: compress.Reduction) -> jax.Array:
    """The small network's loss at every step."""

    def step(iterate: Iterate, _: None) -> tuple[Iterate, jax.Array]:
        return _small_step(iterate, reduction), compress.reduced_loss(reduction, iterate.weights)

    return lax.scan(step, compress.init(reduction), length=SMALL_STEPS)[1]


def draw() -> tuple[tuple, jax.Array, compress.Reduction]:
    """The d x d weights, their target, and the small network."""
    key_target, key_weights = jax.random.split(jax.random.key(0))
    target = jax.jit(lambda key: low_rank_target(key, (WIDTH, WIDTH), RANK, jnp.float64))(key_target)
    weights = jax.jit(lambda key: orthogonal_weights(key, (WIDTH,) * (DEPTH + 1), SCALE, jnp.float64))(key_weights)
    return weights, target, jax.jit(lambda W, target: compress.reduce(W, target, RANK))(weights, target)


def full_steps(weights: tuple, target: jax.Array) -> Callable:
    """``FULL_STEPS`` steps of the d x d network."""
    descent = gradient_descent(lambda W, target: sum_squared_error(end_to_end(W), target))

    @jax.jit
    def run(weights: tuple, target: jax.Array) -> tuple:
        def step(_: int, iterate: Iterate) -> Iterate:
            return descent.step(iterate, target, step_size=STEP_SIZE, weight_decay=0.0)

        return lax.fori_loop(0, FULL_STEPS, step, descent.init(weights))

    return lambda: run(weights, target)


def _small_step(iterate: Iterate, reduction: compress.Reduction) -> Iterate:
    return compress.step(iterate, reduction, step_size=STEP_SIZE, weight_decay=0.0, momentum=0.0)


def small_steps(reduction: compress.Reduction) -> Callable:
    """``SMALL_STEPS`` steps of the small network."""

    @jax.jit
    def run(reduction: compress.Reduction) -> tuple:
        return lax.fori_loop(0, SMALL_STEPS, lambda _, it: _small_step(it, reduction), compress.init(reduction))

    return lambda: run(reduction)


def to_loss(reduction: compress.Reduction, mean_loss: float | jax.Array = TOLERANCE) -> jax.Array:
    """The steps of the small network until its loss is at most this; to be compiled."""

    def above(at: tuple) -> jax.Array:
        return compress.reduced_loss(reduction, at[1].weights) > mean_loss * WIDTH**2

    start = jnp.zeros((), jnp.int32), compress.init(reduction)
    return lax.while_loop(above, lambda at: (at[0] + 1, _small_step(at[1], reduction)), start)[0]


def _setup() -> dict[str, float]:
    """Bases at d = 10^6, both of 2r columns: seconds, and the largest entry of B^T B - I."""
    frame = jax.jit(lambda key: orthogonal(1.0)(key, (LARGE, RANK), jnp.float64))
    left, right = (frame(key) for key in jax.random.split(jax.random.key(1)))
    draw = jax.jit(compress.draw_bases)
    bases = draw(jax.random.key(2), left, right)
    off = max(float(jnp.max(jnp.abs(B.T @ B - jnp.eye(2 * RANK)))) for B in bases)
    taken = median(lambda: draw(jax.random.key(2), left, right), 3)
    return {"bases_at_a_million_s": taken, "bases_at_a_million_off_orthonormal": off}
